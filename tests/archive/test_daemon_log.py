from __future__ import annotations

import gzip
import json
from base64 import b64decode
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from support.mutation import mutated

from codeworm_monitor.archive.daemon_log import LoggedMessage, looks_like_daemon_log, read_daemon_log
from codeworm_monitor.envelope import Mark
from codeworm_monitor.errors import RecordingError
from codeworm_monitor.payloads import MAX_PAYLOAD

DATA = Path(__file__).parent.parent / "data"
LOG = DATA / "daemon.log.gz"
START = datetime(2026, 11, 22, 21, 57, 26, tzinfo=UTC)


def read(tmp_path: Path, *lines: str | bytes, **options: Any) -> list[LoggedMessage]:
    path = tmp_path / "codeworm.log"
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return list(read_daemon_log(path, **options))


def told(messages: list[LoggedMessage]) -> list[dict[str, Any]]:
    return [orjson.loads(message.payload) for message in messages]


def json_line(time: datetime, **fields: Any) -> str:
    return json.dumps({"component": "daemon", **fields, "timestamp": time.isoformat().replace("+00:00", "Z")})


def console_line(local: datetime, event: str = "happened") -> str:
    return f"{local:%Y-%m-%d %H:%M:%S} [info     ] {event:30} component=git"


def seconds(messages: list[LoggedMessage]) -> list[float]:
    return [message.received_at / 1e6 - START.timestamp() for message in messages]


def test_every_line_of_a_real_log_file_is_in_one_message() -> None:
    messages = list(read_daemon_log(LOG))
    lines = gzip.decompress(LOG.read_bytes()).splitlines()
    json_lines = [line for line in lines if line.startswith(b"{")]
    console = [line for line in lines if line[:4] == b"2026"]
    texts = [line for line in lines if line and line not in json_lines and line not in console]
    indented = [line for line in texts if line.startswith(b"  ")]
    assert (len(json_lines), len(console), len(texts), len(indented)) == (570, 323, 100, 8)
    assert len(messages) == 570 + 323 + 100 - 8
    assert [one.payload for one in messages if b'"component":"daemon"' in one.payload] == json_lines
    written = [line for one in told(messages) if "text" in one for line in one["text"].splitlines()]
    assert written == [line.decode() for line in texts]
    assert {one.mark for one in messages} == {None}


def test_the_times_of_a_real_log_file_never_go_back_and_are_those_of_its_json_lines() -> None:
    messages = list(read_daemon_log(LOG))
    times = [message.received_at for message in messages]
    assert times == sorted(times)
    for message, fields in zip(messages, told(messages), strict=True):
        if "timestamp" in fields:
            written = datetime.fromisoformat(fields["timestamp"]).timestamp()
            assert 0 <= message.received_at / 1e6 - written < 1
    assert datetime.fromtimestamp(times[0] / 1e6, UTC) == datetime(2026, 11, 22, 21, 56, 45, 946678, UTC)


def test_console_lines_have_typed_pairs_and_the_time_in_utc() -> None:
    (retry,) = [one for one in told(list(read_daemon_log(LOG))) if one["event"] == "push_retry" and one["attempt"] == 3]
    assert (retry["component"], retry["level"], retry["timestamp"]) == ("git", "warning", "2026-11-22T22:13:55Z")
    assert retry["error"].startswith("Cmd('git') failed due to: exit code(128)\n  cmdline: git push")
    assert retry["max_retries"] == 3


def test_plain_files_are_read_as_compressed_ones(tmp_path: Path) -> None:
    plain = tmp_path / "codeworm.log"
    plain.write_bytes(gzip.decompress(LOG.read_bytes()))
    assert list(read_daemon_log(plain)) == list(read_daemon_log(LOG))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC", "Pacific/Auckland", "Australia/Eucla"])
def test_the_offset_is_learnt_from_the_json_lines_wherever_the_file_was_written(tmp_path: Path, zone: str) -> None:
    lines = []
    for minute in range(0, 120, 12):
        at = START + timedelta(minutes=minute)
        lines += [console_line(at.astimezone(ZoneInfo(zone))), json_line(at + timedelta(milliseconds=2), event="x")]
    messages = read(tmp_path, *lines)
    assert seconds(messages)[::2] == [minute * 60 for minute in range(0, 120, 12)]


@pytest.mark.parametrize("change", [datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2026, 3, 8, 7, tzinfo=UTC)])
def test_a_change_of_daylight_saving_time_within_the_file_is_noticed(tmp_path: Path, change: datetime) -> None:
    lines, expected = [], []
    for minute in range(-300, 300, 11):  # a quiet night: the console line comes first after each silence
        at = change + timedelta(minutes=minute)
        lines += [console_line(at.astimezone(ZoneInfo("America/New_York"))), json_line(at + timedelta(milliseconds=2))]
        expected.append(at)
    messages = read(tmp_path, *lines)
    assert [datetime.fromtimestamp(one.received_at / 1e6, UTC) for one in messages[::2]] == expected


def test_a_silence_over_the_change_does_not_hide_it(tmp_path: Path) -> None:
    zone = ZoneInfo("America/New_York")
    before, after = datetime(2026, 11, 1, 5, 20, tzinfo=UTC), datetime(2026, 11, 1, 6, 40, tzinfo=UTC)
    messages = read(
        tmp_path,
        console_line(before.astimezone(zone)),
        json_line(before),
        console_line(after.astimezone(zone)),  # with the old offset it would lie in the silence: no contradiction
        json_line(after),
    )
    assert datetime.fromtimestamp(messages[2].received_at / 1e6, UTC) == after


def test_console_lines_in_the_middle_of_a_silence_keep_the_offset(tmp_path: Path) -> None:
    local = START.astimezone(ZoneInfo("America/New_York"))
    lines = [console_line(local), json_line(START)]
    lines += [console_line(local + timedelta(minutes=minute)) for minute in range(7, 240, 7)]
    lines.append(json_line(START + timedelta(minutes=240)))
    assert seconds(read(tmp_path, *lines))[2:-1] == [minute * 60 for minute in range(7, 240, 7)]


def test_without_a_json_line_the_offset_must_be_given(tmp_path: Path) -> None:
    line = console_line(datetime(2026, 11, 22, 16, 57, 26))
    with pytest.raises(RecordingError, match="--utc-offset"):
        read(tmp_path, line)
    assert seconds(read(tmp_path, line, utc_offset=timedelta(hours=-5))) == [0]


def test_a_given_offset_goes_before_what_the_file_tells(tmp_path: Path) -> None:
    lines = console_line(datetime(2026, 11, 22, 16, 57, 26)), json_line(START)
    assert seconds(read(tmp_path, *lines, utc_offset=timedelta(hours=-4)))[0] == -3600


def test_console_lines_of_one_second_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    local = datetime(2026, 11, 22, 16, 57, 26)
    messages = read(
        tmp_path,
        json_line(START + timedelta(seconds=0.9)),
        console_line(local),
        json_line(START + timedelta(seconds=0.95)),
    )
    assert seconds(messages) == pytest.approx([0.9, 0.9, 0.95], abs=1e-5)
    assert told(messages)[1]["timestamp"] == "2026-11-22T21:57:26Z"


def test_text_has_the_time_of_the_line_above_it_and_the_first_that_of_the_line_below(tmp_path: Path) -> None:
    later = START + timedelta(seconds=9)
    messages = read(tmp_path, "hello", json_line(START), "WARNING: odd", "  detail", json_line(later), "bye")
    assert seconds(messages) == [0, 0, 0, 9, 9]
    assert [one.get("text") for one in told(messages)] == ["hello", None, "WARNING: odd\n  detail", None, "bye"]
    assert [one.get("level") for one in told(messages)] == ["info", None, "warning", None, "info"]
    assert "timestamp" not in told(messages)[2]


def test_a_file_of_text_alone_has_the_time_of_the_file(tmp_path: Path) -> None:
    (message,) = read(tmp_path, "hello")
    assert message.received_at == (tmp_path / "codeworm.log").stat().st_mtime_ns // 1000


TRACEBACK = """Traceback (most recent call last):
  File "/a.py", line 1, in f
    g()
    ~^^
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/a.py", line 9, in <module>
    f()
codeworm.errors.PushError: refused"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/a.py", line 1, in f
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: a
    +---------------- 2 ----------------
    | ValueError: b
    +------------------------------------"""
BOXED = """╭───────────── Traceback (most recent call last) ──────────────╮
│ /a.py:1 in f                                                 │
╰──────────────────────────────────────────────────────────────╯
ValueError: boom"""


@pytest.mark.parametrize(
    ("traceback", "error"),
    [
        (TRACEBACK, "codeworm.errors.PushError: refused"),
        (GROUP, "+------------------------------------"),
        (BOXED, "ValueError: boom"),
    ],
    ids=["chained", "group", "boxed"],
)
def test_a_traceback_is_one_message_and_what_stands_around_it_is_not_of_it(
    tmp_path: Path, traceback: str, error: str
) -> None:
    messages = read(
        tmp_path,
        json_line(START),
        "Job raised an exception",
        *traceback.splitlines(),
        "Execution of job x skipped",
        "",
        "end",
    )
    _, first, found, after, end = told(messages)
    assert found == {
        "component": "log_file",
        "event": "traceback",
        "level": "error",
        "error": error,
        "exception": traceback,
    }
    assert (first["text"], end["text"]) == ("Job raised an exception", "end")
    assert (after["component"], after["level"]) == ("scheduler", "warning")


def test_a_traceback_ends_where_a_line_of_the_log_begins(tmp_path: Path) -> None:
    lines = TRACEBACK.splitlines()
    messages = read(tmp_path, *lines[:3], json_line(START, event="x"), *lines[3:5])
    assert [one["event"] for one in told(messages)] == ["traceback", "x", "log_text", "log_text"]


def test_two_tracebacks_in_a_row_are_two_messages(tmp_path: Path) -> None:
    messages = read(tmp_path, json_line(START), *TRACEBACK.splitlines(), *TRACEBACK.splitlines())
    assert [one.get("exception") for one in told(messages)] == [None, TRACEBACK, TRACEBACK]


@pytest.mark.parametrize("offset", [0, -5])
def test_the_banner_has_its_own_time_in_utc_or_local_as_its_neighbours_tell(tmp_path: Path, offset: int) -> None:
    local = datetime(2026, 11, 22, 16, 57, 26)
    banner = (START + timedelta(hours=offset, seconds=-1)).replace(tzinfo=None).isoformat()
    messages = read(tmp_path, f"===== {banner} codeworm run =====", console_line(local), json_line(START))
    assert seconds(messages)[0] == -1


def test_bytes_that_are_no_text_are_readable_and_kept_exactly(tmp_path: Path) -> None:
    broken = [b"\xff\xfe\x00 odd", b"2026-11-22 16:57:26 [info     ] e  a=\xe9", b'{"event":"\xff"}']
    messages = read(tmp_path, json_line(START), *broken)
    fields = told(messages)[1:]
    assert [b64decode(one["base64"]) for one in fields] == broken
    assert fields[0]["text"] == "\ufffd\ufffd\x00 odd"
    assert fields[1]["a"] == "\ufffd"


def test_huge_lines_are_cut_and_marked_and_what_follows_is_read(tmp_path: Path) -> None:
    huge = 9 * 2**20  # over the most of a line that is held
    messages = read(
        tmp_path,
        json_line(START),
        "x" * huge,
        '{"event":"' + "y" * huge,
        f"2026-11-22 16:57:26 [error    ] too_much  text={'z' * huge}",
        "\x01" * 200_000,  # grows sixfold as JSON
        json_line(START + timedelta(seconds=1), event="after"),
    )
    assert [one.mark for one in messages] == [None, *[Mark.TRUNCATED] * 4, None]
    assert max(len(one.payload) for one in messages) < MAX_PAYLOAD
    fields = told(messages)
    assert [one["bytes"] > huge for one in fields[2:4]] == [True, True]
    assert (fields[3]["event"], fields[3]["level"]) == ("too_much", "error")
    assert fields[5]["event"] == "after"


def test_a_long_block_goes_on_in_another_and_nothing_is_cut(tmp_path: Path) -> None:
    lines = ["head", *(f"  {number} {'x' * 1000}" for number in range(1000))]
    fields = told(read(tmp_path, *lines))
    assert len(fields) > 1
    assert "\n".join(one["text"] for one in fields).splitlines() == lines


def test_json_that_is_too_deep_is_raw_as_a_relay_would_have_it(tmp_path: Path) -> None:
    (message,) = read(tmp_path, '{"a":' + "[" * 240 + "]" * 240 + "}")
    assert message.mark is Mark.RAW


def test_a_damaged_file_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "cut.log.gz"
    path.write_bytes(LOG.read_bytes()[:9000])
    messages: list[LoggedMessage] = []
    with pytest.raises(RecordingError, match="cut off or damaged"):
        messages.extend(read_daemon_log(path))
    assert len(messages) > 100


def test_a_log_file_is_told_from_others(tmp_path: Path) -> None:
    assert looks_like_daemon_log(LOG)
    for other in ("codeworm.db", "recording-1.jsonl.gz", "config/repos.yaml", "README.md"):
        assert not looks_like_daemon_log(DATA / other), other


def test_spoilt_files_are_read_whatever_is_in_them(tmp_path: Path) -> None:
    random = Random(7)
    lines = gzip.decompress(LOG.read_bytes()).splitlines()[:200] + TRACEBACK.encode().splitlines()
    kinds: Counter[str] = Counter()
    for _ in range(60):
        spoilt = [mutated(random, line, lines) if random.random() < 0.4 else line for line in random.sample(lines, 80)]
        for message in read(tmp_path, *spoilt, utc_offset=timedelta(hours=-5)):
            value = orjson.loads(message.payload)
            assert isinstance(value, dict)
            assert len(message.payload) <= MAX_PAYLOAD
            kinds[str(value.get("event"))] += 1
    assert kinds["log_text"] > 100
    assert kinds["executing_scheduled_task"] > 50
