"""Closed days move into Parquet files: whole, once, and whatever interrupts it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeworm_monitor.archive.compaction import CLOSED_AFTER, Compaction, compact, is_due
from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.parquet import Part, rows_by_offset
from codeworm_monitor.archive.rows import GAP, StoredRow, gap_payload, micros
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError
from codeworm_monitor.payloads import normalise
from codeworm_monitor.sources.recording import read_recording

RECORDINGS = [Path(__file__).parents[1] / "data" / f"recording-{number}.jsonl.gz" for number in (1, 2)]
DAY = 86_400_000_000
MIDNIGHT = 1_700_006_400_000_000
"""2023-11-15 00:00 UTC."""
LATER = MIDNIGHT / 1e6 + 30 * 86_400
LOGS = "codeworm:logs"


@pytest.fixture
def store(tmp_path: Path):
    with contextlib.closing(Store(tmp_path / "archive")) as store:
        store.begin("first")
        store.begin("second")
        yield store


def a_row(offset: int, at: int, channel: str = LOGS, payload: bytes = b'{"event":"x"}', epoch: int = 1) -> StoredRow:
    return StoredRow(epoch, offset, at, channel, None, payload)


def a_gap(offset: int, at: int, epoch: int = 1) -> StoredRow:
    gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.0, offset=offset)
    return StoredRow(epoch, offset, at, "", GAP, gap_payload(gap))


def some_rows(count: int = 300, days: int = 3) -> list[StoredRow]:
    """Return rows of two epochs on several days, on two channels, with gaps; each payload tells its row."""
    rows = []
    for epoch in (1, 2):
        for offset in range(1, count + 1):
            at = MIDNIGHT + DAY * days * offset // (count + 1) + epoch
            if offset % 40 == 0:
                rows.append(a_gap(offset, at, epoch))
            else:
                channel = "codeworm:events" if offset % 7 == 0 else LOGS
                rows.append(a_row(offset, at, channel, b'{"event":"number_%d_%d"}' % (epoch, offset), epoch))
    return rows


def hot(store: Store) -> list[StoredRow]:
    return [
        StoredRow(*row)
        for row in store.database.execute(
            "SELECT epoch, offset, received_at, channel, mark, CAST(payload AS BLOB) FROM entries ORDER BY 1, 2"
        ).fetchall()
    ]


def parts_of(store: Store) -> list[Part]:
    return [Part(*row) for row in store.database.execute("SELECT * FROM parts ORDER BY path").fetchall()]


def cold(store: Store) -> list[StoredRow]:
    """Return what the files hold that count, each read whole."""
    rows: list[StoredRow] = []
    for part in parts_of(store):
        found = rows_by_offset(store.directory, [part], after=-1, limit=10**9)
        offsets = [row.offset for row in found]
        times = [row.received_at for row in found]
        assert part[4:9] == (offsets[0], offsets[-1], min(times), max(times), len(found))
        assert {datetime.fromtimestamp(time // 1_000_000, UTC).date().isoformat() for time in times} == {part.date}
        assert part.bytes == (store.directory / part.path).stat().st_size
        rows += found
    return sorted(rows)


def all_rows(store: Store) -> list[StoredRow]:
    """Return all rows of an archive; a row that is in two places comes twice."""
    return sorted([*hot(store), *cold(store)])


def files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.glob("date=*/**/*") if not path.is_dir()}


# What is moved


def test_rows_come_back_as_they_were(store: Store):
    rows = some_rows()
    store.append(rows)
    done = compact(store, now=LATER, max_rows=50)
    assert (done.days, done.rows, done.doubles, done.orphans, done.strays) == (3, 600, 0, 0, ())
    assert hot(store) == []
    assert cold(store) == sorted(rows)
    assert files(store.directory) == {part.path for part in parts_of(store)}
    assert (done.files, done.bytes) == (len(parts_of(store)), sum(part.bytes for part in parts_of(store)))
    assert max(part.rows for part in parts_of(store)) == 50


@given(
    payloads=st.lists(
        st.one_of(
            st.binary(max_size=40).map(lambda text: normalise(text)[0]),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9)),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                max_leaves=8,
            ).map(lambda value: normalise(json.dumps(value, ensure_ascii=False).encode(errors="replace"))[0]),
        ),
        min_size=1,
        max_size=30,
    ),
    step=st.sampled_from([1, 1000, DAY // 5]),
)
@settings(max_examples=25)
def test_payloads_of_any_shape_come_back(tmp_path_factory, payloads: list[bytes], step: int):
    rows = [a_row(n, MIDNIGHT + n * step, payload=payload) for n, payload in enumerate(payloads, 1)]
    with contextlib.closing(Store(tmp_path_factory.mktemp("archive"))) as store:
        store.begin()
        store.append(rows)
        compact(store, now=LATER)
        assert cold(store) == rows


def recorded(times: int) -> list[StoredRow]:
    """Return the recorded traffic, `times` over, half a day later each time; as it would come again.

    Times, hashes, tokens and durations within the payloads differ each time, as they would, or zstd would find whole
    repetitions.
    """
    chance = random.Random(5)
    rows: list[StoredRow] = []
    for turn in range(times):
        shift = turn * 43_200
        for path in RECORDINGS:
            for message in read_recording(path):
                payload = re.sub(rb"\d{6}(?=Z?\")", lambda _: b"%06d" % chance.randrange(10**6), message.payload)
                payload = re.sub(rb'(?<="timestamp":"\d{4}-\d\d-)\d\d', b"%02d" % (turn // 2 % 28 + 1), payload)
                payload = re.sub(rb'(?<="commit":")[0-9a-f]{8}', lambda _: b"%08x" % chance.randrange(2**32), payload)
                payload = re.sub(
                    rb'(?<="(?:tokens|ime_ms)":)\d+', lambda _: b"%d" % chance.randrange(500, 5000), payload
                )
                data, _, mark = normalise(payload)
                at = micros(message.received_at + shift)
                rows.append(StoredRow(1, len(rows) + 1, at, message.channel, mark, data))
    return rows


def test_recorded_traffic_comes_back_at_a_quarter_of_the_size(store: Store, record_property):
    rows = recorded(20)
    for start in range(0, len(rows), 5000):
        store.append(rows[start : start + 5000])
    store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = store.path.stat().st_size
    done = compact(store, now=rows[-1].received_at / 1e6 + 2 * 86_400)
    store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert cold(store) == rows
    assert done.days >= 10
    record_property("parquet_to_sqlite", f"{len(rows)} rows: {done.bytes} of {before} bytes")
    print(f"{len(rows)} rows: {done.bytes:,} bytes of Parquet, {before:,} of SQLite, {before / done.bytes:.1f} times")
    assert done.bytes <= before / 4
    assert store.path.stat().st_size < before / 10  # what was free is given back
    assert store.database.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_only_closed_days_are_moved(store: Store):
    rows = [a_row(n, MIDNIGHT + n * DAY // 2) for n in range(6)]
    store.append(rows)
    midnight = MIDNIGHT / 1e6 + 86_400
    for now in (midnight - 1, midnight, midnight + CLOSED_AFTER - 1):
        assert not is_due(store, now)
        assert compact(store, now=now).rows == 0
    assert is_due(store, midnight + CLOSED_AFTER)
    assert compact(store, now=midnight + CLOSED_AFTER).rows == 2
    assert not is_due(store, midnight + CLOSED_AFTER)
    assert hot(store) == rows[2:]
    assert cold(store) == rows[:2]


def test_a_day_that_gets_rows_later_gets_another_file(store: Store):
    rows = some_rows()
    store.append(rows[::2])
    compact(store, now=LATER)
    before = parts_of(store)
    store.append(rows[1::2])
    assert is_due(store, LATER)
    compact(store, now=LATER)
    assert set(before) < set(parts_of(store))
    assert all_rows(store) == sorted(rows)


def test_rows_that_are_imported_again_are_kept_once(store: Store):
    rows = some_rows()
    store.append(rows[:400])
    compact(store, now=LATER, max_rows=30)
    before = parts_of(store)
    store.append(rows)
    done = compact(store, now=LATER, max_rows=30)
    assert (done.doubles, done.rows) == (400, 200)
    assert set(before) < set(parts_of(store))
    assert hot(store) == []
    assert cold(store) == sorted(rows)


def test_rows_of_times_without_a_date_stay_where_they_are(store: Store):
    rows = [a_row(1, -(2**62)), a_row(2, MIDNIGHT), a_row(3, 2**62)]
    store.append(rows)
    assert compact(store, now=LATER).rows == 1
    assert not is_due(store, LATER)
    assert hot(store) == [rows[0], rows[2]]
    assert cold(store) == [rows[1]]


def test_a_file_is_bounded_in_bytes(store: Store):
    chance = random.Random(1)
    rows = [a_row(n, MIDNIGHT + n, payload=b'"%s"' % chance.randbytes(250_000).hex().encode()) for n in range(1, 151)]
    for row in rows:
        store.append([row])
    compact(store, now=LATER)
    assert [part.rows > 100 for part in parts_of(store)] == [True, False]
    assert cold(store) == rows


HOSTILE = [
    *("/", "..", ".", "a/../../../b", "/etc/passwd", "\\", "date=2020-01-01", "gaps", "%2e%2e%2f", "*", "[a]?"),
    *("'; DROP TABLE parts; --", '"', "a\x00b", "a\nb", "ünï✓🐛", "x" * 5000, "", " ", "__HIVE_DEFAULT_PARTITION__"),
]


def test_channels_may_have_any_name(store: Store):
    rows = [a_row(n, MIDNIGHT + n, channel) for n, channel in enumerate(HOSTILE, 1)]
    rows.append(a_gap(len(rows) + 1, MIDNIGHT))
    store.append(rows)
    outside = sorted(store.directory.parent.rglob("*"))
    compact(store, now=LATER)
    assert cold(store) == rows
    assert len(files(store.directory)) == len({part.path for part in parts_of(store)}) == len(HOSTILE)
    inside = {path for path in store.directory.parent.rglob("*") if store.directory in path.parents}
    assert {path for path in store.directory.parent.rglob("*") if path not in inside} <= set(outside)
    assert all(re.fullmatch(r"date=2023-11-15/channel=[^/]+/1-\d+-\d+\.parquet", part.path) for part in parts_of(store))
    assert compact(store, now=LATER) == Compaction(0, 0, 0, 0, 0, 0, (), pytest.approx(0, abs=60))


# Other programs


@pytest.fixture
def tree(store: Store) -> tuple[Path, list[StoredRow]]:
    rows = some_rows()
    store.append([*rows, a_row(1000, MIDNIGHT, "ünï/✓ c")])
    compact(store, now=LATER, max_rows=100)
    return store.directory, hot(store) + cold(store)


def as_told(rows: list[StoredRow]) -> set[tuple[str, str, int, str]]:
    return {
        (
            datetime.fromtimestamp(row.received_at // 1_000_000, UTC).date().isoformat(),
            row.channel or "gaps",
            row.offset,
            row.payload.decode(),
        )
        for row in rows
    }


def test_duckdb_reads_the_tree_as_it_lies(tree):
    import duckdb

    directory, rows = tree
    with duckdb.connect() as duck:
        found = duck.execute(
            'SELECT date, channel, "offset", payload FROM read_parquet(?, hive_partitioning = true)',
            [f"{directory}/date=*/channel=*/*.parquet"],
        ).fetchall()
    assert len(found) == len(rows)
    assert all(isinstance(row[0], date) for row in found)
    assert {(str(row[0]), *row[1:]) for row in found} == as_told(rows)


def test_pandas_reads_the_tree_as_it_lies(tree):
    import pandas as pd

    directory, rows = tree
    frame = pd.read_parquet(sorted(directory.glob("date=*/channel=*/*.parquet")))
    assert str(frame["received_at"].dtype) == "datetime64[us, UTC]"
    assert len(frame) == len(rows)
    found = frame[["date", "channel", "offset", "payload"]].astype({"date": str, "channel": str})
    assert set(found.itertuples(index=False, name=None)) == as_told(rows)
    day = pd.read_parquet(directory / "date=2023-11-16")
    assert sorted(day["offset"]) == sorted(row.offset for row in rows if 0 <= row.received_at - MIDNIGHT - DAY < DAY)
    assert set(day["channel"]) == {LOGS, "codeworm:events", "gaps"}


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask's, of a pandas newer than it
def test_dask_reads_the_tree_as_it_lies(tree):
    import dask.dataframe as dd

    directory, rows = tree
    frame = dd.read_parquet(f"{directory}/date=*/channel=*/*.parquet")
    counted = frame.groupby("kind")["offset"].count().compute().to_dict()
    assert counted == {"gap": 14, "events": 82, "logs": 505}
    found = frame[["date", "channel", "offset", "payload"]].compute().astype({"date": str, "channel": str})
    assert len(found) == len(rows)
    assert set(found.itertuples(index=False, name=None)) == as_told(rows)


# Interruptions

KILLER = r"""
import json, os, shutil, signal, sys
from pathlib import Path

import duckdb  # before the fork, once
from codeworm_monitor.archive import compaction, part_writer
from codeworm_monitor.archive.store import Store

template, target, now = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
FILES = {compaction.__file__, part_writer.__file__}


def on_disk(directory):
    found = sorted(path for path in directory.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]


def child(directory, stop):
    lines, seen, steps = 0, [], []

    def trace(frame, event, argument):
        nonlocal lines, seen
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            lines += 1
            if lines == stop:
                os.kill(os.getpid(), signal.SIGKILL)
            if stop is None and seen != (now := on_disk(directory)):
                seen = now
                steps.append((lines, f"{frame.f_code.co_name}, line {frame.f_lineno}"))
        return trace

    store = Store(directory)
    sys.settrace(trace)
    compaction.compact(store, now=now, max_rows=10)
    sys.settrace(None)
    (target / "steps.json").write_text(json.dumps(steps))


def run(name, stop):
    directory = target / name
    shutil.copytree(template, directory)
    pid = os.fork()
    if not pid:
        try:
            child(directory, stop)
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


run("whole", None)
ends = []
for number, (line, place) in enumerate(json.loads((target / "steps.json").read_text())):
    assert run(f"case-{number}", line) == signal.SIGKILL, place
    ends.append([f"case-{number}", place])
print(json.dumps(ends))
"""
"""Kills a compaction at each line of its that finds another state on the disk than the line before."""


def test_a_compaction_killed_anywhere_loses_nothing_and_keeps_nothing_twice(tmp_path: Path):
    template, target = tmp_path / "template", tmp_path / "cases"
    target.mkdir()
    rows = [a_row(n, MIDNIGHT + n * DAY // 15, payload=b"%d" % n) for n in range(24)]
    rows += [a_gap(n, MIDNIGHT + n * DAY // 20) for n in range(24, 26)]
    with contextlib.closing(Store(template)) as store:
        store.begin("first")
        store.append(rows[:5])
        compact(store, now=LATER)
        store.append(rows)  # some of them again
        shutil.copy(store.directory / parts_of(store)[0].path, store.directory / "kept.parquet")
        orphan = store.directory / Path(parts_of(store)[0].path).with_name("1-10-11.parquet")
        orphan.write_bytes(b"what another one left")
    done = subprocess.run(
        [sys.executable, "-c", KILLER, template, target, str(LATER)], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)
    assert len(cases) > 25
    had_orphans = had_some = 0
    for name, place in cases:
        with contextlib.closing(Store(target / name)) as store:
            assert all_rows(store) in (sorted(rows), sorted([*rows, *rows[:5]])), place
            had_some += 0 < len(hot(store)) < len(rows)
            again = compact(store, now=LATER, max_rows=10)
            had_orphans += again.orphans > 0
            assert all_rows(store) == sorted(rows), place
            assert hot(store) == [], place
            assert again.strays == (), place
            assert files(store.directory) == {part.path for part in parts_of(store)}, place
            assert (store.directory / "kept.parquet").exists()
        shutil.rmtree(target / name)
    assert had_orphans > 10
    assert had_some > 10


def test_a_progress_that_raises_ends_it_in_good_order(store: Store):
    rows = some_rows()
    store.append(rows)
    told: list[tuple[str, int, int]] = []

    class EnoughError(Exception):
        pass

    def tell(*progress) -> None:
        told.append(progress)
        if len(told) == 7:
            raise EnoughError

    with pytest.raises(EnoughError):
        compact(store, now=LATER, max_rows=40, on_progress=tell)
    assert not store.database.in_transaction
    assert len(parts_of(store)) == 7
    assert all_rows(store) == sorted(rows)
    assert files(store.directory) == {part.path for part in parts_of(store)}
    compact(store, now=LATER, max_rows=40, on_progress=lambda *progress: told.append(progress))
    assert all_rows(store) == sorted(rows)
    assert hot(store) == []
    assert [day for day, done, total in told if done == total] == ["2023-11-15", "2023-11-16", "2023-11-17"]


def test_rows_deleted_meanwhile_undo_the_listing_of_their_file(store: Store, monkeypatch: pytest.MonkeyPatch):
    from codeworm_monitor.archive.part_writer import PartWriter

    rows = some_rows()
    store.append(rows)
    finish = PartWriter.finish

    def and_lose_one(writer: PartWriter) -> Part:
        part = finish(writer)
        with contextlib.closing(sqlite3.connect(store.path)) as other, other:
            other.execute("DELETE FROM entries WHERE epoch = ? AND offset = ?", (part.epoch, part.first_offset))
        return part

    monkeypatch.setattr(PartWriter, "finish", and_lose_one)
    with pytest.raises(ArchiveError, match="try again"):
        compact(store, now=LATER)
    assert parts_of(store) == []
    assert len(hot(store)) == len(rows) - 1
    monkeypatch.undo()
    # The file that was written for nothing holds a row that is nowhere else now: it is not for us to remove it.
    assert len(compact(store, now=LATER).strays) == 1


# What lies about


def test_what_was_left_is_removed_and_what_is_foreign_stays(store: Store, tmp_path: Path):
    rows = some_rows()
    store.append(rows)
    compact(store, now=MIDNIGHT / 1e6 + 1.5 * 86_400)
    kept = parts_of(store)[0]
    place = (store.directory / kept.path).parent
    other = store.directory / "date=2023-11-17/channel=c"
    other.mkdir(parents=True)
    newest = rows[299]
    left = [
        other / f"1-{newest.offset - 1}-{newest.offset}.parquet",
        other / f"1-{newest.offset}-{newest.offset}.parquet",
        other / ".1-5-6.parquet.tmp",
        place / ".1-5-5.rows.tmp",
    ]
    outside = tmp_path / "outside"
    (outside / "channel=c").mkdir(parents=True)
    foreign = [
        store.directory / "1-299-300.parquet",
        store.directory / "date=2023-11-17" / "1-299-300.parquet",
        store.directory / "date=2023-11-17" / "channel=c" / "notes.txt",
        store.directory / "date=2023-11-17" / "channel=c" / "1-299-300.parquet.bak",
        store.directory / "date=2023-11-17" / "channel=c" / "x1-299-300.parquet",
        store.directory / "date=today" / "channel=c" / "1-299-300.parquet",
        store.directory / "damaged" / "date=2023-11-17" / "channel=c" / "1-299-300.parquet",
        outside / "channel=c" / "1-299-300.parquet",
        outside / "1-299-300.parquet",
    ]
    # Rows that are in no database: of an archive whose database was lost, say.
    strays = [other / "9-299-300.parquet", other / "1-900-901.parquet", place / "1-299-90000.parquet"]
    for path in [*left, *foreign, *strays]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (store.directory / "date=2023-11-18").symlink_to(outside)
    (other.parent / "channel=link").symlink_to(outside / "channel=c")
    (other / "1-298-299.parquet").symlink_to(outside / "1-299-300.parquet")
    done = compact(store, now=MIDNIGHT / 1e6 + 1.5 * 86_400)
    assert done.orphans == len(left)
    assert [path for path in left if path.exists()] == []
    assert [path for path in [*foreign, *strays] if path.read_text() != "mine"] == []
    assert done.strays == tuple(sorted(path.relative_to(store.directory).as_posix() for path in strays))
    assert all((store.directory / part.path).exists() for part in parts_of(store))
    assert all_rows(store) == sorted(rows)


def test_files_of_a_database_that_was_lost_are_left_alone(store: Store):
    rows = some_rows()
    store.append(rows)
    compact(store, now=LATER)
    before = files(store.directory)
    store.close()
    for path in store.directory.glob(f"{DATABASE}*"):
        path.unlink()
    with contextlib.closing(Store(store.directory)) as fresh:
        fresh.begin("third")
        fresh.append([a_row(900, MIDNIGHT)])
        assert set(compact(fresh, now=LATER).strays) == before
        assert before < files(store.directory)


def test_directories_and_files_are_for_their_owner_alone(store: Store):
    mask = os.umask(0)
    try:
        store.append(some_rows())
        compact(store, now=LATER)
    finally:
        os.umask(mask)
    found = list(store.directory.rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o600}


# Others at the same time

WRITER = """
import select, sys
from pathlib import Path
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.archive.store import Store

store, today, offset = Store(Path(sys.argv[1])), int(sys.argv[2]), 0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    offset += 10
    # New rows as a relay has them, and rows of closed days as an import has them, of the epoch that is compacted.
    store.append([StoredRow(2, n, today + n, "codeworm:logs", None, b"%d" % n) for n in range(offset, offset + 10)])
    store.append([StoredRow(1, 10**6 + offset, int(sys.argv[3]) + offset, "codeworm:logs", None, b"%d" % offset)])
    if offset == 10:
        print("appending", flush=True)
print(offset, flush=True)
"""


def test_what_is_appended_meanwhile_is_there(store: Store):
    rows = [
        a_row(n, MIDNIGHT + n * 5_000_000, payload=b'{"n":%d,"x":"%s"}' % (n, b"x" * 100)) for n in range(1, 60_001)
    ]
    store.append(rows)
    today = MIDNIGHT + 10 * DAY
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, store.directory, str(today), str(MIDNIGHT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "appending\n"
        seen: list[int] = []

        def look(*_: object) -> None:
            seen.append(store.database.execute("SELECT count(*) FROM entries WHERE epoch = 2").fetchone()[0])

        compact(store, now=today / 1e6 + 600, max_rows=5000, on_progress=look)
        written, _ = writer.communicate("stop\n", timeout=60)
    last = int(written)
    assert len(set(seen)) > 3  # it got its turn all the while
    appended = [StoredRow(2, n, today + n, LOGS, None, b"%d" % n) for n in range(10, last + 10)]
    imported = [StoredRow(1, 10**6 + n, MIDNIGHT + n, LOGS, None, b"%d" % n) for n in range(10, last + 10, 10)]
    assert all_rows(store) == sorted([*rows, *appended, *imported])
    compact(store, now=today / 1e6 + 600)
    assert all_rows(store) == sorted([*rows, *appended, *imported])
    assert hot(store) == appended


def test_a_second_compaction_is_refused(store: Store):
    rows = some_rows()
    store.append(rows)
    refused: list[str] = []

    def try_too(*_: object) -> None:
        with contextlib.closing(Store(store.directory)) as other, pytest.raises(ArchiveError) as caught:
            compact(other, now=LATER)
        refused.append(str(caught.value))

    compact(store, now=LATER, on_progress=try_too)
    assert len(refused) == len(parts_of(store))
    assert "another compaction" in refused[0]
    assert all_rows(store) == sorted(rows)
    assert compact(store, now=LATER).rows == 0


def test_a_compaction_that_was_killed_holds_no_lock(store: Store):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.compaction import compact; from codeworm_monitor.archive.store import Store\n"
        "compact(Store(Path(sys.argv[1])), now=float(sys.argv[2]),"
        " on_progress=lambda *_: os.kill(os.getpid(), signal.SIGKILL))"
    )
    rows = some_rows()
    store.append(rows)
    done = subprocess.run([sys.executable, "-c", script, store.directory, str(LATER)])
    assert done.returncode == -signal.SIGKILL
    assert len(parts_of(store)) == 1
    compact(store, now=LATER)
    assert cold(store) == sorted(rows)


# What goes wrong


def test_without_duckdb_nothing_is_moved(store: Store, monkeypatch: pytest.MonkeyPatch):
    rows = some_rows()
    store.append(rows)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ArchiveError, match=r"pip install 'codeworm-monitor\[analysis\]'"):
        compact(store, now=LATER)
    assert hot(store) == sorted(rows)
    assert compact(store, now=MIDNIGHT / 1e6).rows == 0  # nothing to move, no DuckDB needed


def test_a_full_disk_loses_nothing(store: Store, tmp_path: Path):
    script = (
        "import resource, signal, sys; from pathlib import Path; import duckdb\n"
        "from codeworm_monitor.archive.compaction import compact; from codeworm_monitor.archive.store import Store\n"
        "store = Store(Path(sys.argv[1])); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "compact(store, now=float(sys.argv[2]))"
    )
    chance = random.Random(1)
    rows = [a_row(n, MIDNIGHT + n, payload=b'"%s"' % chance.randbytes(2000).hex().encode()) for n in range(1, 501)]
    store.append(rows)
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # which writes, too
    for limit in (0, 100_000, 1_000_000, 2_100_000):
        done = subprocess.run(
            [sys.executable, "-c", script, store.directory, str(LATER), str(limit)],
            capture_output=True,
            text=True,
            env=unmeasured,
        )
        assert "codeworm_monitor.errors.Archive" in done.stderr.splitlines()[-1], done.stderr
        assert all_rows(store) == rows
    compact(store, now=LATER)
    assert cold(store) == rows
    assert files(store.directory) == {part.path for part in parts_of(store)}


def test_a_damaged_part_is_named_before_anything_is_dropped_for_it(store: Store):
    rows = some_rows()
    store.append(rows)
    compact(store, now=LATER)
    damaged = parts_of(store)[-1]
    (store.directory / damaged.path).write_bytes(b"damage")
    store.append(rows)
    with pytest.raises(ArchiveDamagedError, match=re.escape(damaged.path)):
        compact(store, now=LATER)
    same = [row for row in rows if (row.epoch, row.channel) == (damaged.epoch, damaged.channel)]
    held = {row for row in same if row.received_at >= damaged.first_at}
    assert len(held) >= damaged.rows
    assert held <= set(hot(store))


MEMORY = """
import sys
from pathlib import Path
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.store import Store

def kilobytes(name):
    return int(Path("/proc/self/status").read_text().partition(name + ":")[2].split()[0])

store = Store(Path(sys.argv[1]))
before = kilobytes("VmRSS")
rows = compact(store, now=float(sys.argv[2])).rows
print(rows, kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from /proc")
def test_memory_is_bounded_by_a_file_not_by_the_day(store: Store):
    for start in range(1, 300_001, 5000):
        store.append(
            [
                a_row(
                    n,
                    MIDNIGHT + n * 100_000,
                    payload=b'{"event":"number_%d","n":%d,"x":"%s"}' % (n, n * 7919, b"x" * 200),
                )
                for n in range(start, start + 5000)
            ]
        )
    store.close()
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, store.directory, str(LATER)], capture_output=True, text=True, check=True
    )
    rows, grown = map(int, done.stdout.split())
    assert rows == 300_000
    assert grown * 1024 < 400 * 2**20
