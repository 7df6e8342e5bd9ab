"""What leaves an archive, and what stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from support.made_archives import LOGS, NOON, make_archive, messages, row

from codeworm_monitor.archive import retention
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.database import DATABASE, PAGE_SIZE, open_for_reading
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.repair import quick_check, verify
from codeworm_monitor.archive.retention import ROWS_AT_ONCE, Trimmed, size_of, trim
from codeworm_monitor.archive.store import Store
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError

DAY = 86_400_000_000
CHANNELS = (LOGS, "codeworm:events")
PER_DAY = 1000


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """Four days of 1,000 rows on two channels; all but the last are Parquet."""
    directory = tmp_path_factory.mktemp("cold") / "archive"
    store = Store(directory)
    key = store.begin("first", reserved=50_000)
    for day in range(4):
        offsets = range(day * PER_DAY + 1, (day + 1) * PER_DAY + 1)
        store.append([row(key, one, at=NOON + day * DAY + one, channel=CHANNELS[one % 2]) for one in offsets])
    assert compact(store, now=(NOON + 3 * DAY) / 1e6).files == 6
    store.close()
    return directory


@pytest.fixture
def store(cold, tmp_path):
    store = Store(shutil.copytree(cold, tmp_path / "archive"))
    yield store
    store.close()


def offsets(store):
    with ArchiveReader(store.directory) as reader:
        return [one.offset for one in reader.after(1, 0, limit=100_000)]


def files(store):
    return sorted(path.relative_to(store.directory).as_posix() for path in store.directory.glob("date=*/*/*"))


def test_files_and_rows_older_than_a_time_leave_and_empty_directories_with_them(store):
    done = trim(store, older_than=(NOON + DAY) / 1e6)
    assert (done.rows, done.files) == (PER_DAY, 2)
    assert done.bytes > 0
    assert offsets(store) == list(range(PER_DAY + 1, 4 * PER_DAY + 1))
    assert {path.name for path in store.directory.glob("date=*")} == {"date=2023-11-16", "date=2023-11-17"}
    assert verify(store.directory).problems == []


def test_a_day_stays_until_its_newest_row_is_too_old_a_row_of_the_database_goes_by_its_own_time(store):
    assert trim(store, older_than=(NOON + 3 * DAY + 3500) / 1e6) == Trimmed(
        rows=3 * PER_DAY + 499, files=6, bytes=pytest.approx(200_000, abs=200_000)
    )
    assert offsets(store)[0] == 3500
    other = Store(store.directory)
    assert trim(other, older_than=0.0) == Trimmed(0, 0, 0)
    other.close()


def test_of_a_day_no_part_leaves(store):
    assert trim(store, older_than=(NOON + 500) / 1e6).rows == 0
    assert offsets(store) == list(range(1, 4 * PER_DAY + 1))


def test_what_is_too_much_leaves_the_oldest_first_until_it_fits_with_room_to_spare(store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT", 0.99)
    store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    sizes = [(store.directory / path).stat().st_size for path in files(store)]
    limit = size_of(store.directory) - max(sizes) // 2
    done = trim(store, max_bytes=limit)
    assert done.files in range(1, 6)
    assert done.rows == 500 * done.files
    assert limit * 0.99 - 2 * max(sizes) <= size_of(store.directory) <= limit
    assert offsets(store) == list(range(done.rows + 1, 4 * PER_DAY + 1))  # no day is half gone
    assert trim(store, max_bytes=limit) == Trimmed(0, 0, 0)
    assert verify(store.directory).problems == []


def test_when_all_files_are_gone_the_oldest_rows_of_the_database_leave(tmp_path):
    make_archive(tmp_path, 40_000)
    store = Store(tmp_path)
    limit = size_of(tmp_path) // 2
    said = []
    done = trim(store, max_bytes=limit, on_progress=said.append)
    assert done.rows % ROWS_AT_ONCE == 0
    assert limit * 0.6 < size_of(tmp_path) <= limit
    kept = [one.offset for one in messages(tmp_path)]
    assert kept == list(range(done.rows + 1, 40_001))
    assert said
    assert store.database.execute("PRAGMA freelist_count").fetchone() == (0,)
    store.close()
    assert quick_check(tmp_path) == []


def test_what_is_small_enough_is_left_alone(store):
    before = size_of(store.directory)
    assert trim(store, max_bytes=before) == Trimmed(0, 0, 0)
    assert trim(store) == Trimmed(0, 0, 0)
    assert len(files(store)) == 6


def test_an_archive_that_is_trimmed_to_nothing_knows_its_numbering(store):
    done = trim(store, older_than=4e9)
    assert (done.rows, done.files) == (4 * PER_DAY, 6)
    assert files(store) == []
    numbering = store.numbering()
    assert (numbering.name, numbering.head, numbering.archived) == ("first", 50_000, 0)
    assert store.begin("second") == numbering.key + 1
    assert verify(store.directory).problems == []
    assert size_of(store.directory) < 200_000


def test_a_limit_below_the_least_size_ends_too(store):
    trim(store, max_bytes=1)
    assert offsets(store) == []


def test_several_numberings_leave_by_time_not_by_key(tmp_path):
    store = Store(tmp_path)
    first, second = store.begin(reserved=10), store.begin(reserved=10)
    store.append([row(first, 1, at=NOON + 5), row(second, 1, at=NOON + 1), row(second, 2, at=NOON + 9)])
    trim(store, older_than=(NOON + 5) / 1e6)
    assert [one[:2] for one in messages(tmp_path)] == [(first, 1), (second, 2)]
    store.close()


def test_no_transaction_deletes_more_than_a_slice(tmp_path):
    make_archive(tmp_path, 17_000)
    store = Store(tmp_path)
    counts = []
    store.database.set_trace_callback(lambda statement: counts.append(statement))
    assert trim(store, older_than=4e9).rows == 17_000
    deletes = [one for one in counts if one.startswith("DELETE FROM entries")]
    assert len(deletes) == 5  # three whole slices, the rest, and one that finds nothing
    assert all(f"LIMIT {ROWS_AT_ONCE}" in one for one in deletes)
    assert counts.count("COMMIT") >= len(deletes)
    store.close()


def test_an_open_reader_neither_waits_nor_is_waited_for(tmp_path):
    """It sees what was there when it began; what it needs of the log stays."""
    make_archive(tmp_path, 20_000)
    store = Store(tmp_path)
    with contextlib.closing(open_for_reading(tmp_path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (20_000,)
        assert trim(store, max_bytes=size_of(tmp_path) // 2).rows > 0
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (20_000,)
        reader.execute("ROLLBACK")
        assert reader.execute("SELECT count(*) FROM entries").fetchone()[0] < 20_000
    assert store.database.execute("PRAGMA busy_timeout").fetchone() == (10_000,)
    store.close()


def test_a_file_that_is_gone_already_does_no_harm(store):
    (store.directory / files(store)[0]).unlink()
    assert trim(store, older_than=4e9).files == 6


def test_a_path_that_leads_elsewhere_is_never_removed(store, tmp_path):
    precious = tmp_path / "precious.parquet"
    precious.write_text("")
    with store.transaction() as database:
        database.execute("UPDATE parts SET path = '../precious.parquet' WHERE path = ?", (files(store)[0],))
    assert trim(store, older_than=4e9).files == 6
    assert precious.exists()


def test_killed_at_any_moment_each_listed_file_is_there(cold, tmp_path):
    script = (
        "import os, sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.retention import trim\n"
        "from codeworm_monitor.archive.store import Store\n"
        "count = int(sys.argv[2])\n"
        "def stop(line):\n"
        "    global count\n"
        "    count -= 1\n"
        "    if count < 0: os.kill(os.getpid(), 9)\n"
        "import pathlib\n"
        "unlink = pathlib.Path.unlink\n"
        "pathlib.Path.unlink = lambda self, **options: (stop(''), unlink(self, **options))[1]\n"
        "trim(Store(Path(sys.argv[1])), older_than=4e9, on_progress=stop)\n"
    )
    for count in range(0, 11, 2):
        archive = shutil.copytree(cold, tmp_path / str(count))
        assert subprocess.run([sys.executable, "-c", script, str(archive), str(count)]).returncode == -9
        assert verify(archive).problems == []


def test_size_counts_database_log_and_files_but_not_what_a_repair_set_aside(store):
    store.append([row(1, 4001)])
    (store.directory / "damaged").mkdir()
    (store.directory / "damaged" / DATABASE).write_bytes(bytes(10_000_000))
    parts = sum((store.directory / path).stat().st_size for path in files(store))
    names = (DATABASE, f"{DATABASE}-wal")
    assert size_of(store.directory) == parts + sum(os.path.getsize(store.directory / name) for name in names)
    assert size_of(store.directory / "nowhere") == 0


def test_what_cannot_be_done_is_an_error_of_the_archive(tmp_path):
    make_archive(tmp_path, 20_000)
    store = Store(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.database.execute("PRAGMA busy_timeout = 20")
        with pytest.raises(ArchiveError, match="locked"):
            trim(store, older_than=4e9)
        other.execute("ROLLBACK")
    with store.path.open("r+b") as file:
        for page in range(7, store.path.stat().st_size // PAGE_SIZE):
            file.seek(page * PAGE_SIZE)
            file.write(b"\xff" * PAGE_SIZE)
    with pytest.raises(ArchiveDamagedError):
        trim(store, older_than=4e9)
    store.close()
