"""The store on a real disk: killed, full, locked, and read all the while."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.made_archives import LOGS, NOON, make_archive, messages, row, stored
from support.processes import can_mount

from codeworm_monitor.archive.database import DATABASE, PAGE_SIZE, open_for_reading
from codeworm_monitor.archive.repair import quick_check
from codeworm_monitor.archive.rows import StoredRow, rows_of
from codeworm_monitor.archive.store import ROWS_AT_ONCE, Numbering, Store, WriterLock, newest_of
from codeworm_monitor.envelope import Gap, GapCause, Mark
from codeworm_monitor.errors import ArchiveBusyError, ArchiveDamagedError, ArchiveError


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "archive")
    yield store
    store.close()


def run(script, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], **options)


# Numbering


def test_a_new_archive_knows_no_numbering(store):
    assert store.numbering() is None


def test_a_numbering_that_ended_in_good_order_goes_on_right_after_its_head(store):
    key = store.begin("abc")
    store.reserve(key, 10_000)
    store.append([row(key, offset) for offset in range(1, 8)])
    store.finish(key, 7)
    numbering = store.numbering()
    assert (numbering.key, numbering.name, numbering.head, numbering.archived) == (key, "abc", 7, 7)
    assert not numbering.has_crashed
    assert abs(numbering.ended_at - time.time()) < 60


def test_a_numbering_that_crashed_goes_on_after_all_that_was_set_aside(store):
    key = store.begin("abc")
    store.reserve(key, 10_000)
    store.append([row(key, offset) for offset in range(1, 8)])
    assert store.numbering() == Numbering(key, "abc", 10_000, 7, (NOON + 7000) / 1e6, has_crashed=True)


def test_a_numbering_that_goes_on_counts_as_under_way_again(store):
    key = store.begin()
    store.finish(key, 7)
    store.reserve(key, 10_007)
    assert (store.numbering().has_crashed, store.numbering().head) == (True, 10_007)


def test_what_is_set_aside_never_shrinks(store):
    key = store.begin(reserved=500)
    store.reserve(key, 20)
    assert store.numbering().head == 500


def test_a_numbering_of_which_nothing_was_written_has_no_end(store):
    key = store.begin(reserved=5)
    assert store.numbering() == Numbering(key, store.numbering().name, 5, 0, None, has_crashed=True)


def test_the_relay_goes_on_with_its_own_newest_numbering_not_with_one_imported(store):
    store.begin("older")
    newest = store.begin("newer")
    store.begin("imported", origin="import")
    assert store.numbering().key == newest


def test_random_names_differ(store):
    names = {store.numbering().name for _ in range(20) if store.begin()}
    assert len(names) == 20


def test_the_newest_offset_is_found_where_it_is_in_the_database_or_in_a_file(store):
    key = store.begin(reserved=100)
    assert newest_of(store.database, key) == (0, None)
    store.append([row(key, 40)])
    assert newest_of(store.database, key) == (40, NOON + 40_000)
    part = ("date=2023-11-15/channel=a/1-50-90.parquet", "2023-11-15", "a", key, 50, 90, NOON, NOON + 90_000, 41, 1000)
    with store.transaction() as database:
        database.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", part)
    assert newest_of(store.database, key) == (90, NOON + 90_000)


# Rows


def test_rows_come_back_byte_for_byte_in_batches_of_any_size(store):
    key = store.begin(reserved=10_000)
    written, offset = [], 0
    for size in (0, 1, 9, 10, 49, 50, 51, 249, 250, 251, 777):
        batch = [row(key, offset + number, size=number) for number in range(1, size + 1)]
        store.append(batch)
        written += batch
        offset += size
    assert stored(store.directory) == written
    assert max(ROWS_AT_ONCE) == 250


def test_a_row_that_is_written_twice_is_kept_once_as_it_was_first(store):
    key = store.begin(reserved=10)
    store.append([row(key, 1), row(key, 2)])
    store.append([row(key, 2)._replace(payload=b"other"), row(key, 3)])
    assert stored(store.directory) == [row(key, 1), row(key, 2), row(key, 3)]


def test_columns_are_written_as_rows_are_whatever_is_noted_of_them(store):
    outage = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.5, offset=2)
    for notes in ([None] * 3, [Mark.RAW, outage, None]):
        key = store.begin(reserved=10)
        columns = [1.5, 2.5, 1_795_300_000.123456], [LOGS, "", "é"], [b"1", b"", '{"ü":2}'.encode()], notes
        store.append_columns(key, 1, *columns)
        assert [one for one in stored(store.directory) if one.epoch == key] == rows_of(key, 1, *columns)


def test_payloads_are_text_to_sql(store):
    key = store.begin(reserved=10)
    store.append([row(key, 1)])
    query = "SELECT typeof(payload), json_extract(payload, '$.event') FROM entries"
    assert store.database.execute(query).fetchall() == [("text", "number_1")]


def test_a_batch_is_written_whole_or_not_at_all(store):
    key = store.begin(reserved=1000)
    batch = [row(key, offset) for offset in range(1, 600)]
    batch[450] = StoredRow(key, 451, None, "a", None, b"1")
    with pytest.raises(ArchiveError):
        store.append(batch)
    assert stored(store.directory) == []
    store.append(batch[:450])
    assert len(stored(store.directory)) == 450


def test_a_store_may_be_closed_twice_and_says_that_its_file_was_removed(tmp_path):
    store = Store(tmp_path)
    assert store.is_there
    (tmp_path / DATABASE).unlink()
    assert not store.is_there
    store.close()
    store.close()


# Others at work


def test_a_batch_waits_for_another_process_that_writes(store):
    key = store.begin(reserved=10)
    holder = run(
        "import sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('BEGIN IMMEDIATE')\n"
        "print(flush=True)\n"
        "sys.stdin.readline()\n"
        "database.execute('COMMIT')\n",
        store.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    store.database.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(ArchiveError, match="locked"):
        store.append([row(key, 1)])
    assert not store.database.in_transaction
    assert quick_check(store.directory) == []  # which does not wait
    store.database.execute("PRAGMA busy_timeout = 30000")
    release = threading.Timer(0.05, holder.communicate, [b"\n"])
    release.start()
    store.append([row(key, 1)])
    release.join()
    assert stored(store.directory) == [row(key, 1)]
    assert holder.returncode == 0


def test_a_second_writer_is_refused_and_told_which_process_holds_the_archive(tmp_path):
    lock = WriterLock(tmp_path)
    with pytest.raises(ArchiveBusyError, match=rf"process {os.getpid()}\b.*--archive"):
        WriterLock(tmp_path)
    lock.release()
    lock.release()
    WriterLock(tmp_path).release()
    assert (tmp_path / "writer.lock").stat().st_mode & 0o777 == 0o600


def test_a_writer_that_is_killed_leaves_the_archive_to_the_next(tmp_path):
    holder = run(
        "import sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.store import WriterLock\n"
        "lock = WriterLock(Path(sys.argv[1]))\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n",
        tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        holder.stdout.readline()
        with pytest.raises(ArchiveBusyError, match=f"process {holder.pid}"):
            WriterLock(tmp_path)
        holder.kill()
        holder.wait()
    WriterLock(tmp_path).release()


# Killed

ROUNDS = 240
WRITER = """
import os, sys
from pathlib import Path
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.archive.store import Store

def write(directory, pipe):
    store = Store(directory)
    known = store.numbering()
    key, head = (store.begin(), 0) if known is None else (known.key, known.head)
    while True:
        reserved = head + 400
        store.reserve(key, reserved)
        while head + 40 <= reserved:
            rows = [StoredRow(key, head + n, (head + n) * 1000, "a", None, b'{"number":%d}' % (head + n)) for n in range(1, 41)]
            head += 40
            os.write(pipe, b"given %d\\n" % head)  # a reader has them now, whether or not they are kept
            store.append(rows)
            os.write(pipe, b"kept %d\\n" % head)

directory, pipe = Path(sys.argv[1]), int(sys.argv[2])
for line in sys.stdin:
    child = os.fork()
    if not child:
        write(directory, pipe)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""
READER = """
import sqlite3, sys
from pathlib import Path
from codeworm_monitor.archive.database import open_for_reading

queries, newest = 0, 0
database = open_for_reading(Path(sys.argv[1]))
print("reading", flush=True)
while not Path(sys.argv[2]).exists():
    count, last = database.execute("SELECT count(*), coalesce(max(offset), 0) FROM entries").fetchone()
    tail = database.execute("SELECT offset, payload FROM entries ORDER BY offset DESC LIMIT 50").fetchall()
    assert last >= newest and all(payload == '{"number":%d}' % offset for offset, payload in tail)
    newest = last
    queries += 1
print(queries, flush=True)
"""


def test_killed_at_any_moment_it_keeps_all_it_acknowledged_and_gives_no_offset_twice(tmp_path):
    """Each round a writer sets blocks aside, numbers, writes, and is killed; a reader reads all the while."""
    chance = random.Random(240)
    archive = tmp_path / "archive"
    Store(archive).close()
    acknowledged: set[int] = set()
    given: set[int] = set()
    read_end, write_end = os.pipe()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        run(WRITER, archive, write_end, pass_fds=[write_end], **pipes) as parent,
        run(READER, archive, tmp_path / "enough", stdout=subprocess.PIPE, text=True) as reader,
        os.fdopen(read_end, "rb", buffering=0) as told,
    ):
        os.close(write_end)
        os.set_blocking(read_end, False)
        assert reader.stdout.readline() == "reading\n"
        for _ in range(ROUNDS):
            parent.stdin.write("\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            said, lines = b"", chance.randrange(0, 25)
            deadline = time.monotonic() + 30
            while said.count(b"\n") < lines and time.monotonic() < deadline:
                said += told.read(65536) or b""
            for _ in range(chance.randrange(0, 3000)):  # somewhere within what it does next
                pass
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "dead\n"
            while more := told.read(65536):
                said += more
            assert said.count(b"\n") >= lines
            for word, head in (line.split() for line in said.splitlines()):
                batch = range(int(head) - 39, int(head) + 1)
                if word == b"kept":
                    acknowledged.update(batch)
                else:
                    assert given.isdisjoint(batch), "an offset was given twice"
                    given.update(batch)
        (tmp_path / "enough").touch()
        queries = int(reader.stdout.readline())
        parent.stdin.close()
    assert reader.returncode == parent.returncode == 0
    assert queries > 10
    assert len(acknowledged) > 20 * ROUNDS
    assert quick_check(archive) == []
    kept = {one.offset: one for one in stored(archive)}
    assert acknowledged <= kept.keys() <= given
    assert all(one[2:] == (offset * 1000, "a", None, b'{"number":%d}' % offset) for offset, one in kept.items())
    store = Store(archive)
    numbering = store.numbering()
    store.close()
    assert numbering.has_crashed
    assert numbering.head >= max(given)
    assert numbering.archived == max(kept)


# The log of what was written last


def crashed_copy(tmp_path):
    """Return a copy of an archive as a crash leaves it: 5 batches are in the write-ahead log alone."""
    make_archive(tmp_path / "first", 1000, reserved=100_000, is_finished=False)
    store = Store(tmp_path / "first")
    for first in range(1001, 1501, 100):
        store.append([row(1, offset) for offset in range(first, first + 100)])
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    store.close()
    (tmp_path / "copy" / f"{DATABASE}-shm").unlink()
    return tmp_path / "copy"


@pytest.mark.parametrize("seed", range(8))
def test_of_a_log_that_was_cut_all_batches_before_the_cut_are_there(tmp_path, seed):
    archive = crashed_copy(tmp_path)
    log = archive / f"{DATABASE}-wal"
    os.truncate(log, random.Random(seed).randrange(0, log.stat().st_size))
    assert quick_check(archive) == []
    Store(archive).close()
    offsets = [one.offset for one in stored(archive)]
    assert offsets == list(range(1, len(offsets) + 1))
    assert len(offsets) in range(1000, 1501, 100)
    assert quick_check(archive) == []


def test_the_log_is_taken_in_although_a_crash_left_no_index_of_it(tmp_path):
    archive = crashed_copy(tmp_path)
    with contextlib.closing(open_for_reading(archive)) as database:
        assert database.execute("SELECT count(*) FROM entries").fetchone() == (1500,)


def test_damage_that_is_met_while_writing_is_called_so(tmp_path):
    key = make_archive(tmp_path, 20_000)
    store = Store(tmp_path)
    with store.path.open("r+b") as file:
        for page in range(4, store.path.stat().st_size // PAGE_SIZE):
            file.seek(page * PAGE_SIZE)
            file.write(b"\xff" * PAGE_SIZE)
    with pytest.raises(ArchiveDamagedError, match="archive repair"):
        store.append([row(key, 20_001)])
    store.close()


# A full disk

FILLING = """
import resource, signal, sys
from pathlib import Path
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.archive.store import Store
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError

def fill(store, key, offset):
    while True:
        try:
            store.append([StoredRow(key, offset + n, 1, "a", None, b'"%s"' % (b"x" * 900)) for n in range(50)])
        except ArchiveDamagedError:
            raise
        except ArchiveError as error:
            print(error)
            return offset
        offset += 50

def check(store, upto):
    offsets = [offset for (offset,) in store.database.execute("SELECT offset FROM entries ORDER BY offset")]
    assert offsets == list(range(1, upto)), (len(offsets), upto)
    assert store.database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

directory = Path(sys.argv[1])
"""


def test_where_a_file_may_not_grow_a_batch_is_refused_and_is_written_when_it_may(tmp_path):
    script = FILLING + (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store(directory)\n"
        "key = store.begin(reserved=10**6)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))\n"
        "upto = fill(store, key, 1)\n"
        "assert upto > 200 and fill(store, key, upto) == upto\n"
        "check(store, upto)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "store.append([StoredRow(key, upto, 1, 'a', None, b'1')])\n"
        "check(store, upto + 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / DATABASE))
    assert quick_check(tmp_path) == []


@pytest.mark.skipif(not can_mount(), reason="needs to mount a file system within a namespace of its own")
def test_on_a_full_disk_a_batch_is_refused_and_is_written_once_there_is_room(tmp_path):
    script = FILLING + (
        "ballast = directory / 'ballast'\n"
        "ballast.write_bytes(bytes(2**20))\n"
        "store = Store(directory / 'archive')\n"
        "key = store.begin(reserved=10**6)\n"
        "upto = fill(store, key, 1)\n"
        "assert upto > 200 and fill(store, key, upto) == upto\n"
        "check(store, upto)\n"
        "store.close()\n"
        "ballast.unlink()\n"
        "store = Store(directory / 'archive')\n"
        "check(store, upto)\n"
        "store.append([StoredRow(key, upto, 1, 'a', None, b'1')])\n"
        "check(store, upto + 1)\n"
    )
    command = 'mount -t tmpfs -o size=6m none "$1" && exec "$2" -c "$3" "$1"'
    run = ["unshare", "-m", "sh", "-ec", command, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout


def test_a_row_that_is_read_is_what_sqlite_has_on_its_own(tmp_path):
    key = make_archive(tmp_path, 10)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        assert database.execute("SELECT epoch, offset, channel, mark FROM entries WHERE offset = 7").fetchall() == [
            (key, 7, LOGS, None)
        ]
    assert messages(Path(tmp_path))[6] == row(key, 7)
