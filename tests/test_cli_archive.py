from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson
import pytest
from click.testing import CliRunner, Result

from codeworm_monitor.archive.rows import GAP, StoredRow, gap_payload
from codeworm_monitor.archive.store import Store, WriterLock
from codeworm_monitor.cli_archive import COMMANDS
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.sources.recording import read_recording

DATA = Path(__file__).parent / "data"
RECORDING, LOG = DATA / "recording-1.jsonl.gz", DATA / "daemon.log.gz"
LOGS, EVENTS = "codeworm:logs", "codeworm:events"
NOON = 1_700_049_600_000_000  # 2023-11-15 12:00 UTC

main = click.Group(commands={command.name or "": command for command in COMMANDS})
PROGRAM = (
    "import click; from codeworm_monitor.cli_archive import COMMANDS;"
    "click.Group(commands={command.name: command for command in COMMANDS})()"
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive's place, named by the environment."""
    directory = tmp_path / "archive"
    monkeypatch.setenv("CODEWORM_MONITOR_ARCHIVE", str(directory))
    monkeypatch.setenv("TZ", "UTC")
    return directory


@pytest.fixture
def archive(directory: Path) -> Iterator[Path]:
    """An archive of three messages on two days, and a gap between them."""
    with contextlib.closing(Store(directory)) as store:
        key = store.begin("first", reserved=10)
        gap = Gap(
            cause=GapCause.SOURCE_OUTAGE,
            started_at=NOON / 1e6,
            ended_at=NOON / 1e6 + 90,
            offset=2,
            detail="no\x1bRedis",
        )
        day = 86_400_000_000
        rows = [
            (NOON, LOGS, None, {"event": "cycle_starting", "level": "info", "cycle_num": 1}),
            (NOON + 90_000_000, "", GAP, None),
            (NOON + day, EVENTS, None, {"type": "analyzing", "data": {"target": "evil\x1b[2J\n"}}),
            (NOON + day, LOGS, None, {"event": "push_failed", "level": "error", "error": "=refused"}),
        ]
        store.append(
            [
                StoredRow(key, offset, at, channel, mark, gap_payload(gap) if fields is None else orjson.dumps(fields))
                for offset, (at, channel, mark, fields) in enumerate(rows, 1)
            ]
        )
        yield directory


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def lines(*arguments: str | Path) -> list[str]:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_every_command_has_an_example() -> None:
    group = next(command for command in COMMANDS if isinstance(command, click.Group))
    for name in (*main.commands, *(f"archive {one}" for one in group.commands)):
        if name != "archive":
            text = run(*name.split(), "--help").stdout
            assert f"\n  Example: python -m codeworm_monitor {name}" in text
            assert "\\b" not in text


def test_history_is_a_line_a_record_the_oldest_first_with_days_and_gaps(archive: Path) -> None:
    day, starting, gap, next_day, analyzing, failed = lines("history")
    assert (day, next_day) == ("== Wednesday 2023-11-15, UTC+0000", "== Thursday 2023-11-16, UTC+0000")
    assert starting.split() == ["12:00:00", "logs", "info", "cycle_starting", "cycle_num=1"]
    assert gap == "12:01:30  -- gap: source_outage -- no·Redis (90 s)"
    assert "analyzing" in analyzing
    assert failed.endswith("error=refused") or failed.endswith("error==refused")


def test_nothing_in_history_is_obeyed_by_a_terminal(archive: Path) -> None:
    (analyzing,) = [line for line in lines("history") if "analyzing" in line]
    assert "evil·[2J·" in analyzing
    assert all(line.isprintable() for line in lines("history"))


def test_history_takes_the_newest_and_turns_them_round(archive: Path) -> None:
    assert [line.split()[1] for line in lines("history", "--limit", "2")[1:]] == ["events", "logs"]
    assert [line.split()[1] for line in lines("history", "--limit", "3", "--reverse") if line[0] != "="] == [
        *("logs", "events", "--")
    ]
    assert len(lines("history", "--limit", "0")) == 6


def test_history_by_time_channel_and_level(archive: Path) -> None:
    assert len(lines("history", "--until", "2023-11-16")) == 3
    assert len(lines("history", "--since", "2023-11-15T12:00:01", "--until", "2023-11-16T12:00")) == 2
    for channel in (EVENTS, "events"):
        assert [line.split()[1] for line in lines("history", "--channel", channel) if line[0] != "="] == [
            "--",
            "events",
        ]
    assert [line.split()[1] for line in lines("history", "--level", ">=warning") if line[0] != "="] == ["--", "logs"]


@pytest.mark.parametrize("arguments", [["--since", "2h"], ["--since", "2h", "--limit", "0", "--json"]])
def test_history_that_finds_nothing_says_so_beside_what_it_prints(archive: Path, arguments: list[str]) -> None:
    result = run("history", *arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing found: `archive info` says what there is\n"


def test_history_as_json_is_a_recording(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("\n".join(lines("history", "--json", "--limit", "2")))
    messages = list(read_recording(path))
    assert [message.channel for message in messages] == [EVENTS, LOGS]
    assert orjson.loads(messages[1].payload)["event"] == "push_failed"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["history", "--since", "whenever"], "write a duration"),
        (["history", "--level", "odd"], "debug, info, warning, error, critical"),
        (["history", "--since", "2h", "--until", "3h"], "--until must be later than --since"),
        (["export", "-", "--since", "2023-11-16", "--until", "2023-11-15"], "--until must be later than --since"),
        (["import", "file", "--utc-offset", "5"], "-05:00"),
        (["export", "file.bin"], "--format"),
        (["export", "out.parquet", "--format", "xml"], "xml"),
    ],
)
def test_mistakes_on_the_command_line_are_told(archive: Path, arguments: list[str], told: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    "command",
    ["history", "query SELECT", "export -", "archive info", "archive verify", "archive repair", "archive compact"],
)
def test_where_there_is_no_archive_one_line_says_so_and_none_is_made(directory: Path, command: str) -> None:
    result = run(*command.split())
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {directory} holds no archive")
    assert not directory.exists()


def test_files_of_both_kinds_are_imported_once(directory: Path) -> None:
    first, second = lines("import", RECORDING, LOG)
    assert "a recording of 1,316 messages: 1,316 added, in import-" in first
    assert "a daemon log of 985 messages: 415 added, in import-" in second
    (again,) = lines("import", LOG, "--utc-offset", "-05:00")
    assert again == f"{LOG}: a daemon log of 985 messages: 0 added, 985 known already"


def test_a_file_that_cannot_be_imported_does_not_keep_others_out(directory: Path) -> None:
    result = run("import", DATA / "codeworm.db", "missing", RECORDING)
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["Error", "Error"]
    assert "1,316 added" in result.stdout


def test_export_goes_to_a_file_of_the_form_its_name_tells(directory: Path, tmp_path: Path) -> None:
    lines("import", RECORDING)
    for name in ("out.jsonl", "out.jsonl.gz", "out.csv", "out.csv.gz", "out.parquet", "out.arrow"):
        (told,) = lines("export", tmp_path / name)
        assert told.startswith(f"{tmp_path / name}: 1,316 rows, ")
    assert (tmp_path / "out.parquet").read_bytes()[:4] == b"PAR1"
    refused = run("export", tmp_path / "out.csv")
    assert (refused.exit_code, "--force" in refused.stderr) == (1, True)
    lines("export", tmp_path / "out.csv", "--force", "--level", "error")
    assert len((tmp_path / "out.csv").read_text().splitlines()) < 100


def test_export_to_standard_output_is_nothing_but_the_rows(archive: Path) -> None:
    assert [json.loads(line)["channel"] for line in lines("export", "-")] == [LOGS, EVENTS, LOGS]
    assert len(lines("export", "-", "--format", "csv")) == 5


def test_an_export_says_what_it_left_out(archive: Path, tmp_path: Path) -> None:
    (told,) = lines("export", tmp_path / "out.jsonl")
    assert told.endswith("; 1 gaps left out")


def test_query_answers_as_a_table_as_csv_and_as_json(archive: Path) -> None:
    table = lines("query", "SELECT event, level FROM logs ORDER BY received_at")
    assert [line.split() for line in table] == [
        ["event", "level"],
        ["cycle_starting", "info"],
        ["push_failed", "error"],
        ["(2", "rows)"],
    ]
    csv = lines(
        "query", "SELECT error, count(*) AS n FROM logs WHERE error IS NOT NULL GROUP BY error", "--format", "csv"
    )
    assert csv == ["error,n", "'=refused,1"]
    rows = lines("query", "SELECT received_at, cycle_num, error FROM logs ORDER BY received_at", "--format", "json")
    assert json.loads(rows[0]) == {"received_at": "2023-11-15T12:00:00.000000Z", "cycle_num": 1, "error": None}
    assert len(rows) == 2


def test_a_table_shows_nothing_where_there_is_nothing(archive: Path) -> None:
    head, first, second, _ = lines("query", "SELECT event, error, repo, 'x' AS last FROM logs ORDER BY received_at")
    assert [line.split() for line in (head, first, second)] == [
        ["event", "error", "repo", "last"],
        ["cycle_starting", "x"],
        ["push_failed", "=refused", "x"],
    ]
    assert lines("query", "SELECT event, level FROM logs WHERE event = 'no'") == ["event  level", "(0 rows)"]


def test_nothing_in_an_answer_is_obeyed_by_a_terminal(archive: Path) -> None:
    assert all(line.isprintable() for line in lines("query", "SELECT target, payload FROM events"))


def test_a_mistake_in_a_query_is_told_in_one_piece(archive: Path) -> None:
    for sql in ("SELEC", "SELECT nothing FROM logs", "DROP TABLE logs", "SELECT * FROM read_csv('/etc/passwd')"):
        result = run("query", sql)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
        assert "Traceback" not in result.stderr


def test_info_tells_size_rows_times_numberings_and_channels(archive: Path) -> None:
    facts = json.loads(run("archive", "info", "--json").stdout)
    assert facts["path"] == str(archive)
    assert facts["rows"] == {"database": 4, "parquet": 0, "files": 0}
    assert facts["channels"] == {EVENTS: 1, LOGS: 2}
    assert (facts["gaps"], facts["span"]) == (1, ["2023-11-15T12:00:00Z", "2023-11-16T12:00:00Z"])
    assert [(one["name"], one["origin"], one["is_open"]) for one in facts["epochs"]] == [("first", "relay", True)]
    lines("archive", "compact")
    told = "\n".join(lines("archive", "info"))
    assert "0 in the database, 4 in 4 Parquet files" in told
    assert "2  codeworm:logs" in told
    assert "--archive-days" in told


def test_compact_moves_closed_days_and_history_stays_the_same(archive: Path) -> None:
    before = lines("history")
    (told,) = lines("archive", "compact")
    assert told.startswith("4 rows of 2 days moved into 4 files")
    assert lines("history") == before


def test_verify_ends_with_1_if_something_is_wrong(archive: Path) -> None:
    assert lines("archive", "verify")[-1].startswith("no problems: 4 rows in the database")
    lines("archive", "compact")
    next(archive.glob("date=*/*/*.parquet")).unlink()
    result = run("archive", "verify")
    assert result.exit_code == 1
    assert "parquet" in result.stdout
    assert "\n1 problem: " in result.stdout


def test_repair_leaves_a_sound_archive_alone_and_keeps_off_while_a_relay_writes(archive: Path) -> None:
    assert lines("archive", "repair") == ["the archive is sound: nothing was done"]
    lock = WriterLock(archive)
    try:
        result = run("archive", "repair")
    finally:
        lock.release()
    assert result.exit_code == 1
    assert "another relay" in result.stderr


def test_repair_saves_what_a_damaged_archive_still_holds(directory: Path) -> None:
    lines("import", RECORDING)
    database = directory / "archive.sqlite"
    with database.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(b"\xa5" * 4096)
    checked = run("archive", "verify")
    assert checked.exit_code == 1
    assert checked.stdout.endswith("; the Parquet files were not opened\n")  # and what is here need not be installed
    told = lines("archive", "repair")[-1]
    assert "rows saved" in told
    assert str(directory / "damaged") in told
    assert lines("history")


def test_the_benchmark_measures_everything_beside_plain_sqlite() -> None:
    figures = json.loads("\n".join(lines("archive", "bench", "--rows", "10000", "--json")))
    assert figures["rows"] == 10_000
    assert all(value > 0 for value in figures.values())
    assert {"append_rows_per_second", "plain_rows_per_second", "last_ms", "plain_last_ms", "count_ms"} <= figures.keys()


def test_a_reader_that_goes_away_ends_it_without_a_complaint(directory: Path) -> None:
    lines("import", RECORDING)
    for command in (["history", "--limit", "0"], ["export", "-"], ["history", "--limit", "0", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() in (0, 1)


def test_progress_is_shown_on_a_terminal_only(directory: Path) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "import", str(RECORDING)], stdout=subprocess.PIPE, stderr=secondary
    )
    os.close(secondary)
    out, _ = process.communicate()
    shown = os.read(primary, 10_000).decode()
    os.close(primary)
    assert process.returncode == 0
    assert "importing recording-1.jsonl.gz 1,316" in shown
    assert b"\x1b" not in out


def test_ctrl_c_ends_an_import_in_good_order(directory: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "import", str(pipe)], stderr=subprocess.PIPE)
    with pipe.open("wb"):  # opened by now at the other end
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in err
