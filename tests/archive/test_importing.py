from __future__ import annotations

import contextlib
import gzip
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from support.made_archives import stored

from codeworm_monitor.archive import importing
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.importing import (
    FileKind,
    Imported,
    import_daemon_log,
    import_recording,
    recognise,
)
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Mark
from codeworm_monitor.errors import RecordingError
from codeworm_monitor.sources.recording import read_recording

DATA = Path(__file__).parent.parent / "data"
RECORDING, LOG = DATA / "recording-1.jsonl.gz", DATA / "daemon.log.gz"
LOGS = "codeworm:logs"
NOON = 1_700_049_600.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "archive")) as store:
        yield store


def write(path: Path, *messages: tuple[float, str, str]) -> Path:
    """Write a recording."""
    lines = [json.dumps({"t": t, "channel": channel, "payload": payload}) for t, channel, payload in messages]
    path.write_text("\n".join(lines) + "\n")
    return path


def relayed(store: Store, *messages: tuple[float, str, str]) -> int:
    """Have messages in the archive as from a relay."""
    key = store.begin()
    rows = [
        StoredRow(key, offset, round(t * 1e6), channel, None, payload.encode())
        for offset, (t, channel, payload) in enumerate(messages, 1)
    ]
    store.append(rows)
    return key


def counts(imported: Imported) -> tuple[int, int, int]:
    return imported.messages, imported.added, imported.known


def timed(index: int) -> str:
    return f'{{"event":"n","n":{index},"timestamp":"2023-11-15T12:00:00.{index:06}Z"}}'


def test_a_recording_is_archived_message_by_message_in_an_epoch_of_its_own(store: Store, recording: Path) -> None:
    imported = import_recording(store, recording)
    expected = [(round(m.received_at * 1e6), m.channel, None, m.payload) for m in read_recording(recording)]
    rows = stored(store.directory)
    assert [row[2:] for row in rows] == expected
    assert [row.offset for row in rows] == list(range(1, len(expected) + 1))
    with ArchiveReader(store.directory) as reader:
        (epoch,) = reader.epochs().values()
    assert (epoch.name, epoch.origin, epoch.reserved) == (imported.epoch, "import", len(expected))
    assert epoch.name.startswith("import-")
    assert epoch.closed_at is not None
    assert counts(imported) == (len(expected), len(expected), 0)
    assert (imported.first_at, imported.last_at) == (expected[0][0], expected[-1][0])
    assert imported.kind is FileKind.RECORDING


def test_the_relays_numbering_is_left_alone(store: Store) -> None:
    key = relayed(store, (NOON, LOGS, "1"))
    import_recording(store, RECORDING)
    numbering = store.numbering()
    assert numbering is not None
    assert numbering.key == key


def test_the_same_file_twice_adds_nothing_and_begins_no_epoch(store: Store, recording: Path) -> None:
    first = import_recording(store, recording)
    again = import_recording(store, recording)
    assert counts(again) == (first.messages, 0, first.messages)
    assert again.epoch is None
    log = import_daemon_log(store, LOG)
    assert counts(import_daemon_log(store, LOG)) == (log.messages, 0, log.messages)


def test_a_log_file_adds_to_a_recording_only_what_redis_never_carried(store: Store) -> None:
    lines = gzip.decompress(LOG.read_bytes()).splitlines()
    carried = Counter(m.payload for m in read_recording(RECORDING) if m.channel == LOGS)
    json_lines = Counter(line for line in lines if line.startswith(b"{"))
    assert json_lines == carried
    assert carried.total() == 570
    others = [line for line in lines if line and not line.startswith((b"{", b"  "))]  # an indented line belongs above
    assert len(others) == 415

    assert counts(import_recording(store, RECORDING)) == (1316, 1316, 0)
    assert counts(import_daemon_log(store, LOG)) == (985, 415, 570)
    rows = stored(store.directory)
    assert Counter(row.payload for row in rows if row.payload.startswith(b'{"component":"daemon"')) == carried
    assert len(rows) == 1316 + 415


def test_a_recording_adds_to_a_log_file_what_that_does_not_tell(store: Store) -> None:
    assert counts(import_daemon_log(store, LOG)) == (985, 985, 0)
    assert counts(import_recording(store, RECORDING)) == (1316, 1316 - 570, 570)


def test_what_lies_in_parquet_files_is_recognised_as_well(store: Store) -> None:
    import_recording(store, RECORDING)
    assert compact(store).rows == 1316
    assert stored(store.directory) == []
    assert counts(import_recording(store, RECORDING)) == (1316, 0, 1316)
    assert counts(import_daemon_log(store, LOG)) == (985, 415, 570)


def test_each_row_accounts_for_one_message(store: Store, tmp_path: Path) -> None:
    relayed(store, (NOON, LOGS, "{}"), (NOON + 1, LOGS, "{}"))
    path = write(tmp_path / "r.jsonl", *[(NOON + step / 10, LOGS, "{}") for step in range(5)])
    assert counts(import_recording(store, path)) == (5, 3, 2)
    assert counts(import_recording(store, path)) == (5, 0, 5)


def test_what_comes_twice_in_a_file_is_kept_twice(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", *[(NOON, LOGS, timed(1))] * 3)
    assert counts(import_recording(store, path)) == (3, 3, 0)
    assert len(stored(store.directory)) == 3


@pytest.mark.parametrize(
    ("payload", "skew", "known"),
    [
        ("{}", 4.9, 1),
        ("{}", -4.9, 1),
        ("{}", 5.1, 0),
        ("{}", -5.1, 0),
        (timed(1), 59.0, 1),
        (timed(1), -59.0, 1),
        (timed(1), 61.0, 0),
        ('{"timestamp":"2023-11-15T12:00:00Z"}', 6.0, 0),
    ],
)
def test_clocks_may_differ_by_a_little_and_by_more_where_the_payload_has_its_time(
    store: Store, tmp_path: Path, payload: str, skew: float, known: int
) -> None:
    relayed(store, (NOON, LOGS, payload))
    assert import_recording(store, write(tmp_path / "r.jsonl", (NOON + skew, LOGS, payload))).known == known


def test_another_channel_is_another_message(store: Store, tmp_path: Path) -> None:
    relayed(store, (NOON, "a", "{}"))
    assert import_recording(store, write(tmp_path / "r.jsonl", (NOON, "b", "{}"))).added == 1


def test_one_skew_for_all_pairs_each_message_with_its_own_row(store: Store, tmp_path: Path) -> None:
    times = [
        NOON + 2 * step for step in range(100)
    ]  # closer than the tolerance: a nearest match would take others' rows
    relayed(store, *[(t, LOGS, "{}") for t in times])
    path = write(tmp_path / "r.jsonl", *[(t - 4.5, LOGS, "{}") for t in times])
    assert counts(import_recording(store, path)) == (100, 0, 100)


def test_files_out_of_order_keep_their_order_and_are_recognised(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 7)
    monkeypatch.setattr(importing, "PAGE", 3)
    shuffled = [(NOON + index * 3600 * (index % 5), LOGS, f"{index % 40}") for index in range(200)]
    random.Random(3).shuffle(shuffled)
    path = write(tmp_path / "r.jsonl", *shuffled)
    assert import_recording(store, path).added == 200
    assert [row.received_at for row in stored(store.directory)] == [round(t * 1e6) for t, _, _ in shuffled]
    assert import_recording(store, path).added == 0


def test_payloads_are_made_readable_as_a_relay_does(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", (NOON, LOGS, "no json"), (NOON, LOGS, "x" * 600_000), (-NOON, LOGS, "{}"))
    import_recording(store, path)
    rows = stored(store.directory)
    assert [row.mark for row in rows] == [Mark.RAW, Mark.TRUNCATED, None]
    assert orjson.loads(rows[0].payload) == {"raw": "no json"}
    assert rows[2].received_at == -NOON * 1e6
    assert import_recording(store, path).added == 0


def test_damage_is_told_and_what_comes_before_it_is_kept_and_not_doubled_later(store: Store, tmp_path: Path) -> None:
    whole = write(tmp_path / "r.jsonl", *[(NOON + index, LOGS, timed(index)) for index in range(50)])
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(whole.read_text().splitlines(keepends=True)[:30]) + "{broken\n")
    with pytest.raises(RecordingError, match="line 31"):
        import_recording(store, broken)
    assert len(stored(store.directory)) == 30
    with ArchiveReader(store.directory) as reader:
        assert all(epoch.closed_at is not None for epoch in reader.epochs().values())
    assert counts(import_recording(store, whole)) == (50, 20, 30)


def test_times_outside_the_calendar_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="years 1 to 9999"):
        import_recording(store, write(tmp_path / "r.jsonl", (1e15, LOGS, "{}")))
    assert stored(store.directory) == []


def test_progress_is_told_and_may_end_the_import(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 10)
    path = write(tmp_path / "r.jsonl", *[(NOON + index, LOGS, timed(index)) for index in range(35)])
    told: list[tuple[str, int, int]] = []

    def tell(label: str, done: int, total: int) -> None:
        told.append((label, done, total))
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_recording(store, path, on_progress=tell)
    assert told == [("r.jsonl", 10, 0), ("r.jsonl", 20, 0)]
    assert counts(import_recording(store, path)) == (35, 15, 20)


def test_what_was_said_just_now_is_given_time_to_come_through_a_relay(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    path = write(tmp_path / "r.jsonl", (now - 60, LOGS, timed(1)), (now - 0.5, LOGS, timed(2)))
    waits: list[float] = []

    def wait(seconds: float) -> None:  # the relay's writer is done meanwhile
        waits.append(seconds)
        relayed(store, (now - 0.5, LOGS, timed(2)))

    monkeypatch.setattr(importing.time, "sleep", wait)
    assert counts(import_recording(store, path)) == (2, 1, 1)
    assert len(waits) == 1
    assert waits[0] <= 5


def _import_in_a_process(directory: Path, path: Path) -> None:
    with contextlib.closing(Store(directory)) as store:
        import_recording(store, path)


def test_two_imports_of_one_file_at_one_time_add_it_once(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", *[(NOON + index / 100, LOGS, timed(index)) for index in range(20_000)])
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_import_in_a_process, args=(store.directory, path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert Counter(Counter(row.payload for row in stored(store.directory)).values()) == {1: 20_000}


def test_an_import_that_was_killed_is_completed_by_the_next(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", *[(NOON + index / 100, LOGS, timed(index)) for index in range(60_000)])
    process = multiprocessing.get_context("spawn").Process(target=_import_in_a_process, args=(store.directory, path))
    process.start()
    while not (before := len(stored(store.directory))):
        assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert before >= 1
    imported = import_recording(store, path)
    assert imported.messages == 60_000
    assert Counter(Counter(row.payload for row in stored(store.directory)).values()) == {1: 60_000}


def test_a_writer_goes_on_while_a_file_is_imported(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", *[(NOON + index / 100, LOGS, timed(index)) for index in range(20_000)])
    process = multiprocessing.get_context("spawn").Process(target=_import_in_a_process, args=(store.directory, path))
    key = store.begin()
    process.start()
    written = 0
    while process.is_alive():
        written += 1
        store.append([StoredRow(key, written, time.time_ns() // 1000, LOGS, None, b"{}")])
        process.join(0.01)  # no relay writes without a pause
    assert process.exitcode == 0
    rows = stored(store.directory)
    assert sum(row.epoch == key for row in rows) == written
    assert len(rows) == written + 20_000


@pytest.mark.parametrize(("name", "kind"), [("recording-2.jsonl.gz", "recording"), ("daemon.log.gz", "daemon log")])
def test_files_are_told_by_their_content(name: str, kind: str, tmp_path: Path) -> None:
    renamed = tmp_path / "file"
    renamed.write_bytes((DATA / name).read_bytes())
    assert recognise(renamed) == FileKind(kind)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"hello\n", b"\x1f\x8b\x08broken", b'{"t":1}\n', b"\x00" * 5000])
def test_files_of_another_kind_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"neither recorded traffic|damaged"):
        recognise(path)
    with pytest.raises(RecordingError, match="No such file"):
        recognise(tmp_path / "none")
