"""Repair of databases that were really damaged."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import sqlite3
import subprocess
import sys

import orjson
import pytest
from support.made_archives import (
    LOGS,
    NOON,
    damage,
    damage_at_random,
    gap_ranges,
    make_archive,
    messages,
    row,
    stored,
)

from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.database import DATABASE, PAGE_SIZE, SCHEMA_VERSION
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.repair import quick_check, repair, verify
from codeworm_monitor.archive.rows import GAP, entry_of, gap_payload
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError, ArchiveTooNewError

ROWS = 200_000
PAGE = PAGE_SIZE


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """An archive of 200,000 rows that ended in good order; to be copied."""
    directory = tmp_path_factory.mktemp("large")
    make_archive(directory, ROWS)
    return directory


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One of 2,000 rows."""
    directory = tmp_path_factory.mktemp("small")
    make_archive(directory, 2000)
    return directory


@pytest.fixture
def archive(small, tmp_path):
    return shutil.copytree(small, tmp_path / "archive")


def numbering(directory):
    store = Store(directory)
    try:
        return store.numbering()
    finally:
        store.close()


def root_of(directory, table):
    # Read-only: else the write-ahead log would be taken in.
    with contextlib.closing(sqlite3.connect(f"file:{directory / DATABASE}?mode=ro", uri=True)) as database:
        return database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]


def damage_row(path, offset):
    """Blank the page on which a row lies."""
    damage(path, path.read_bytes().index(row(1, offset).payload) // PAGE * PAGE, bytes(PAGE))


def names(directory):
    with ArchiveReader(directory) as reader:
        return {epoch.key: (epoch.name, epoch.origin) for epoch in reader.epochs().values()}


def accounted_for(directory, head):
    """Assert that each offset is a row as it was written or within a gap, and never both; return the rows."""
    rows = {one.offset: one for one in messages(directory)}
    assert all(one == row(one.epoch, offset) for offset, one in rows.items())
    missing = {offset for first, last in gap_ranges(directory) for offset in range(first, last + 1)}
    assert rows.keys() | missing == set(range(1, head + 1))
    assert rows.keys().isdisjoint(missing)
    return rows


# A sound archive, or none


def test_what_is_sound_or_empty_or_missing_is_left_alone(archive, tmp_path):
    before = (archive / DATABASE).read_bytes()
    assert quick_check(archive) == []
    done = repair(archive)
    assert done.set_aside is None
    assert str(done) == "the archive is sound: nothing was done"
    assert (archive / DATABASE).read_bytes() == before
    empty = tmp_path / "empty"
    assert quick_check(empty) == []
    assert repair(empty).set_aside is None
    empty.mkdir()
    (empty / DATABASE).touch()
    assert quick_check(empty) == []
    assert repair(empty).set_aside is None
    assert numbering(empty) is None
    assert not (empty / "damaged").exists()


# Pages damaged


@pytest.mark.parametrize("seed", range(4))
def test_of_200_000_rows_all_but_those_on_32_kb_of_damage_are_saved(large, tmp_path, seed):
    archive = shutil.copytree(large, tmp_path / "archive")
    damage_at_random(archive / DATABASE, seed)
    assert quick_check(archive)
    said = []
    done = repair(archive, on_progress=said.append, now=1_795_300_000.0)
    assert done.rows >= ROWS - 3 * 60  # a page holds fewer than 60 rows
    assert done.rows + done.lost == ROWS
    assert len(accounted_for(archive, ROWS)) == done.rows
    assert len(gap_ranges(archive)) == done.gaps
    assert quick_check(archive) == []
    assert verify(archive).problems == []
    assert done.has_numbering
    assert (numbering(archive).name, numbering(archive).head, numbering(archive).has_crashed) == ("first", ROWS, False)
    assert done.set_aside == archive / "damaged" / "2026-11-21T22-26-40Z"
    assert (done.set_aside / DATABASE).stat().st_size == (large / DATABASE).stat().st_size
    assert {path.name for path in archive.iterdir()} <= {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "damaged"}
    assert said


def test_a_gap_stands_where_rows_are_lost_and_has_their_times(archive):
    damage_row(archive / DATABASE, 1000)
    done = repair(archive)
    ((first, last),) = gap_ranges(archive)
    assert first <= 1000 <= last
    assert done.lost == last - first + 1 == 2000 - done.rows
    (found,) = [one for one in stored(archive) if one.mark == GAP]
    gap = entry_of(*found[1:])
    assert gap.cause is GapCause.NOT_ARCHIVED
    assert found.received_at == NOON + (first - 1) * 1000
    assert (gap.started_at, gap.ended_at) == ((NOON + (first - 1) * 1000) / 1e6, (NOON + (last + 1) * 1000) / 1e6)
    accounted_for(archive, 2000)


@pytest.mark.parametrize("size", [16, 100, 500, PAGE])
def test_with_its_first_page_damaged_all_rows_and_the_numbering_are_saved(archive, size):
    damage(archive / DATABASE, 0, random.Random(size).randbytes(size))
    assert quick_check(archive)
    done = repair(archive)
    assert (done.rows, done.lost, done.gaps, done.has_numbering) == (2000, 0, 0, True)
    accounted_for(archive, 2000)
    assert numbering(archive).name == "first"


def test_with_the_table_of_epochs_damaged_all_rows_are_kept_under_a_name_that_no_cursor_has(archive):
    damage(archive / DATABASE, (root_of(archive, "epochs") - 1) * PAGE, b"\xff" * PAGE)
    assert quick_check(archive)
    done = repair(archive)
    assert (done.rows, done.has_numbering) == (2000, False)
    assert "a new numbering begins" in str(done)
    accounted_for(archive, 2000)
    ((key, (name, origin)),) = names(archive).items()
    assert (key, origin) == (1, "salvaged")
    assert name.startswith("salvaged-1-")
    assert numbering(archive) is None
    store = Store(archive)
    assert store.begin("second") == 2
    store.close()
    assert verify(archive).problems == []


def test_an_epoch_whose_row_alone_can_be_read_keeps_its_name_but_does_not_go_on(archive):
    """Another row of the table is damaged: it may have been of a newer numbering."""
    store = Store(archive)
    store.begin("second")
    store.close()
    content = (archive / DATABASE).read_bytes()
    place = content.index(b"secondrelay")
    damage(archive / DATABASE, place - 9, b"\xff" * 12)
    assert repair(archive).has_numbering is False
    assert names(archive) == {1: ("first", "salvaged")}
    assert numbering(archive) is None


def test_rows_beyond_what_was_set_aside_are_kept_and_the_numbering_does_not_go_on(archive):
    with contextlib.closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute("UPDATE epochs SET reserved = 1500")
        database.commit()
    damage(archive / DATABASE, (archive / DATABASE).stat().st_size // 2, bytes(PAGE))
    done = repair(archive)
    assert not done.has_numbering
    with ArchiveReader(archive) as reader:
        assert reader.epochs()[1].reserved == 2000
    assert verify(archive).problems == []


@pytest.mark.parametrize("seed", range(6))
def test_a_database_cut_anywhere_is_saved_as_far_as_it_reaches(archive, seed):
    path = archive / DATABASE
    size = random.Random(seed).randrange(8 * PAGE, path.stat().st_size - PAGE)
    os.truncate(path, size)
    assert quick_check(archive)
    done = repair(archive)
    assert done.rows > 0
    rows = accounted_for(archive, 2000)  # also those at the end: the numbering ended in good order
    assert len(rows) == done.rows
    assert verify(archive).problems == []


def test_what_is_lost_at_the_end_of_a_run_that_crashed_is_left_for_the_relay_to_tell(tmp_path):
    make_archive(tmp_path, 2000, reserved=10_000, is_finished=False)
    damage_row(tmp_path / DATABASE, 2000)
    repair(tmp_path)
    found = numbering(tmp_path)
    assert (found.head, found.has_crashed) == (10_000, True)
    assert found.archived < 2000


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_damaged_no_row_is_invented_and_no_offset_can_be_given_twice(archive, seed):
    """Noise, zeros or a copy of another stretch, of random size and place, several times."""
    chance = random.Random(seed)
    path = archive / DATABASE
    size = path.stat().st_size
    for _ in range(chance.randrange(1, 6)):
        length = chance.choice([1, 3, 40, 700, PAGE, 20_000])
        place = chance.randrange(0, size - length)
        source = chance.randrange(0, size - length)
        noise = [chance.randbytes(length), bytes(length), path.read_bytes()[source : source + length]]
        damage(path, place, chance.choice(noise))
    try:
        done = repair(archive)
    except ArchiveTooNewError:
        return
    assert quick_check(archive) == []
    if done.set_aside is None:
        return
    known = numbering(archive)
    assert known is None or (known.name, known.head) == ("first", 2000)
    for one in messages(archive):
        if one.payload != row(1, one.offset).payload:  # a few bytes within a text: nothing can tell
            orjson.loads(one.payload)
    assert not done.has_numbering or done.rows + sum(b - a + 1 for a, b in gap_ranges(archive)) >= 1990


def test_large_payloads_are_saved_and_one_of_which_a_page_is_lost_is_not(tmp_path):
    store = Store(tmp_path)
    key = store.begin("first")
    rows = [row(key, offset, size=offset * 3000) for offset in range(1, 60)]
    store.append(rows)
    store.finish(key, 59)
    store.close()
    content = (tmp_path / DATABASE).read_bytes()
    place = content.index(b"number_40") // PAGE * PAGE
    overflow = content.index(b"x" * 4000, place + 20 * PAGE) // PAGE * PAGE
    damage(tmp_path / DATABASE, overflow + 10, b"\x00\xff" * 2000)
    damage(tmp_path / DATABASE, (root_of(tmp_path, "entries_by_time") - 1) * PAGE, b"\xff" * PAGE)
    done = repair(tmp_path)
    assert (done.rows, done.lost) == (58, 1)
    saved = messages(tmp_path)
    assert all(one == rows[one.offset - 1] for one in saved)
    assert gap_ranges(tmp_path) == [
        (offset, offset) for offset in {one.offset for one in rows} - {s.offset for s in saved}
    ]


def test_gaps_that_tell_why_offsets_are_missing_are_not_told_twice(tmp_path):
    """After a crash a relay goes on after all that was set aside, and a gap says so."""
    store = Store(tmp_path)
    key = store.begin("first", reserved=200_000)
    gap = Gap(
        cause=GapCause.RELAY_RESTART,
        started_at=1.0,
        ended_at=2.0,
        offset=100_001,
        first_offset=1001,
        last_offset=100_000,
    )
    store.append([row(key, offset) for offset in range(1, 1001)])
    store.append([row(key, 100_001)._replace(channel="", mark=GAP, payload=gap_payload(gap))])
    store.append([row(key, offset) for offset in range(100_002, 101_000)])
    store.finish(key, 100_999)
    store.close()
    damage(tmp_path / DATABASE, (root_of(tmp_path, "entries") - 1) * PAGE, bytes(PAGE))
    done = repair(tmp_path)
    assert done.rows >= 1990 - 60
    assert done.rows + done.lost == 1999
    with ArchiveReader(tmp_path) as reader:
        assert entry_of(*reader.after(key, 100_000, limit=1)[0][1:]) == gap


def test_rows_that_were_deleted_do_not_come_back(archive):
    with contextlib.closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute("PRAGMA secure_delete = OFF")  # else nothing would be left to come back
        database.execute("DELETE FROM entries WHERE offset <= 1200")
        database.commit()
    damage(archive / DATABASE, (root_of(archive, "entries_by_time") - 1) * PAGE, bytes(PAGE))
    done = repair(archive)
    assert (done.rows, done.lost, done.gaps) == (800, 0, 0)
    assert [one.offset for one in messages(archive)] == list(range(1201, 2001))


# The write-ahead log


@pytest.fixture
def crashed(tmp_path):
    """An archive as a crash leaves it: the rows from 1001 on are in the log alone."""
    make_archive(tmp_path / "alive", 1000, is_finished=False)
    store = Store(tmp_path / "alive")
    store.reserve(1, 1500)
    for first in range(1001, 1501, 100):
        store.append([row(1, offset) for offset in range(first, first + 100)])
    shutil.copytree(tmp_path / "alive", tmp_path / "crashed")
    store.close()
    return tmp_path / "crashed"


def test_what_is_in_the_log_alone_is_saved_too(crashed):
    damage_row(crashed / DATABASE, 500)
    assert quick_check(crashed)
    done = repair(crashed)
    assert done.rows + done.lost == 1500
    assert len(accounted_for(crashed, 1500)) == done.rows >= 1440
    assert done.has_numbering
    assert numbering(crashed).head == 1500


def test_a_log_of_garbage_is_complained_of_for_offsets_that_were_in_it_could_be_given_twice(crashed):
    for ending in ("-wal", "-shm"):
        (crashed / f"{DATABASE}{ending}").write_bytes(random.Random(1).randbytes(50_000))
    assert "log is damaged" in quick_check(crashed)[0]
    done = repair(crashed)
    assert (done.rows, done.has_numbering) == (1000, False)
    assert names(crashed) == {1: ("first", "salvaged")}
    assert numbering(crashed) is None
    assert {path.name for path in done.set_aside.iterdir()} == {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
    assert quick_check(crashed) == []


def test_batches_after_a_damaged_place_in_the_log_are_saved_although_sqlite_would_drop_them(crashed):
    log = crashed / f"{DATABASE}-wal"
    damage(log, log.stat().st_size // 3, b"\xff" * 64)
    assert "commits cannot be taken" in quick_check(crashed)[0]
    done = repair(crashed)
    assert not done.has_numbering
    saved = [one.offset for one in messages(crashed)]
    assert set(range(1401, 1501)) < set(saved)
    assert len(saved) > 1450
    accounted_for(crashed, 1500)


def test_a_database_that_is_gone_is_saved_from_its_log(crashed):
    (crashed / DATABASE).write_bytes(b"")
    assert quick_check(crashed)
    done = repair(crashed)
    assert done.rows > 400
    assert {one.offset for one in messages(crashed)} > set(range(1101, 1501))
    assert all(one == row(1, one.offset) for one in messages(crashed))


def test_a_log_without_a_break_is_no_reason_to_complain_wherever_it_ends(crashed):
    log = crashed / f"{DATABASE}-wal"
    for size in range(log.stat().st_size, 0, -1777):
        os.truncate(log, size)
        assert quick_check(crashed) == []


# What is no archive


def test_a_text_in_its_place_is_set_aside_and_a_new_archive_begins(tmp_path):
    (tmp_path / DATABASE).write_text("not a database at all\n" * 1000)
    assert quick_check(tmp_path) == ["file is not a database"]
    done = repair(tmp_path)
    assert (done.rows, done.has_numbering) == (0, False)
    assert (done.set_aside / DATABASE).read_text().startswith("not a database")
    assert numbering(tmp_path) is None


@pytest.mark.parametrize("is_damaged", [False, True])
def test_another_programs_database_is_never_set_aside(tmp_path, is_damaged):
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("PRAGMA application_id = 7")
        database.execute("CREATE TABLE bookmarks (x)")
        database.executemany("INSERT INTO bookmarks VALUES (?)", [(f"a text {n}" * 10,) for n in range(5000)])
        database.commit()
    if is_damaged:
        damage(tmp_path / DATABASE, 5 * PAGE, b"\xff" * PAGE * 5)
        assert quick_check(tmp_path)
        with pytest.raises(ArchiveError, match="another program"):
            repair(tmp_path)
    else:
        assert quick_check(tmp_path) == []
        assert repair(tmp_path).set_aside is None
        with pytest.raises(ArchiveError, match="another program"):
            Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()][:1] == [DATABASE]
    assert not (tmp_path / "damaged").exists()


def test_a_damaged_database_of_a_newer_release_is_left_to_that(archive):
    with contextlib.closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    damage(archive / DATABASE, 20 * PAGE, b"\xff" * PAGE)
    before = (archive / DATABASE).read_bytes()
    with pytest.raises(ArchiveTooNewError):
        repair(archive)
    assert (archive / DATABASE).read_bytes() == before
    assert not (archive / "damaged").exists()


# Parquet files


@pytest.fixture(scope="module")
def half_cold(tmp_path_factory):
    """An archive of two days, of which the first is Parquet: the offsets up to 1500, on two channels."""
    directory = tmp_path_factory.mktemp("half") / "archive"
    store = Store(directory)
    key = store.begin("first")
    day = 86_400_000_000
    for offset in range(1, 2001):
        at = NOON + offset * 1000 + (day if offset > 1500 else 0)
        store.append([row(key, offset, at=at, channel=(LOGS, "codeworm:events")[offset % 2])])
    store.finish(key, 2000)
    assert compact(store, now=(NOON + day) / 1e6).files == 2
    store.close()
    return directory


@pytest.fixture
def mixed(half_cold, tmp_path):
    return shutil.copytree(half_cold, tmp_path / "archive")


def all_offsets(directory):
    with ArchiveReader(directory) as reader:
        return [one.offset for one in reader.after(1, 0, limit=10_000)]


def test_a_list_of_files_that_can_be_read_stays(mixed):
    damage(mixed / DATABASE, (root_of(mixed, "entries_by_time") - 1) * PAGE, bytes(PAGE))
    done = repair(mixed)
    assert (done.rows, done.parts, done.lost, done.problems) == (500, 2, 0, ())
    assert all_offsets(mixed) == list(range(1, 2001))
    assert verify(mixed).problems == []


def test_a_list_of_files_that_cannot_be_read_is_made_anew_from_the_files(mixed):
    damage(mixed / DATABASE, (root_of(mixed, "parts") - 1) * PAGE, b"\xff" * PAGE)
    done = repair(mixed)
    assert (done.rows, done.parts, done.lost, done.has_numbering) == (500, 2, 0, True)
    assert all_offsets(mixed) == list(range(1, 2001))
    found = verify(mixed)
    assert (found.problems, found.orphans, found.cold) == ([], [], 1500)


def test_names_of_numberings_are_found_in_the_files_if_nowhere_else(mixed):
    (mixed / DATABASE).write_bytes(b"\xff" * 50_000)
    done = repair(mixed)
    assert (done.rows, done.parts, done.has_numbering) == (0, 2, False)
    assert names(mixed) == {1: ("first", "salvaged")}
    assert all_offsets(mixed) == list(range(1, 1501))
    assert verify(mixed).problems == []


def test_without_duckdb_files_that_are_no_longer_listed_stay_and_that_is_said(mixed, monkeypatch):
    files = sorted(mixed.glob("date=*/*/*"))
    damage(mixed / DATABASE, (root_of(mixed, "parts") - 1) * PAGE, b"\xff" * PAGE)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "duckdb" else find(name, *rest)
    )
    done = repair(mixed)
    assert "pip install 'codeworm-monitor[analysis]'" in done.problems[0]
    assert (done.rows, done.parts) == (500, 0)
    assert sorted(mixed.glob("date=*/*/*")) == files
    assert numbering(mixed).head == 2000
    monkeypatch.undo()
    assert len(verify(mixed).orphans) == 2


def test_rows_that_a_file_holds_too_are_dropped(mixed):
    """As when a compaction wrote a file and was killed before it was listed, and the list is lost then."""
    store = Store(mixed)
    key = 1
    store.append([row(key, offset, channel=(LOGS, "codeworm:events")[offset % 2]) for offset in range(1001, 1501)])
    store.close()
    damage(mixed / DATABASE, (root_of(mixed, "parts") - 1) * PAGE, b"\xff" * PAGE)
    done = repair(mixed)
    assert (done.rows, done.parts, done.lost) == (500, 2, 0)
    assert all_offsets(mixed) == list(range(1, 2001))
    assert verify(mixed).problems == []


def test_a_listed_file_that_is_gone_counts_as_lost(mixed):
    gone = sorted(mixed.glob("date=*/*/*"))[0]
    gone.unlink()
    damage(mixed / DATABASE, (root_of(mixed, "entries_by_time") - 1) * PAGE, bytes(PAGE))
    done = repair(mixed)
    assert (done.parts, done.lost) == (1, 750)
    assert "is gone, with 750 rows" in done.problems[0]


# While others are about, and when the disk is full


def test_a_reader_from_before_notices_that_the_database_is_another(archive):
    with ArchiveReader(archive) as reader:
        damage(archive / DATABASE, (root_of(archive, "entries") - 1) * PAGE, bytes(PAGE))
        repair(archive)
        assert not reader.is_there


def test_an_exchange_that_was_interrupted_does_not_have_offsets_given_twice(crashed):
    """Killed after the log went aside, before the new database took its place."""
    damage_row(crashed / DATABASE, 500)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from codeworm_monitor.archive import repair\n"
        "real = os.replace\n"
        "def replace(source, target):\n"
        "    if Path(target).name == 'archive.sqlite': os.kill(os.getpid(), 9)\n"
        "    real(source, target)\n"
        "os.replace = replace\n"
        "repair.repair(Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(crashed)]).returncode == -9
    assert "log is damaged" in quick_check(crashed)[0]
    assert not repair(crashed).has_numbering
    assert (crashed / "damaged").is_dir()
    assert len(list((crashed / "damaged").iterdir())) == 2


def test_when_the_disk_is_full_the_damaged_database_stays_where_it_was(archive):
    damage(archive / DATABASE, (root_of(archive, "entries") - 1) * PAGE, bytes(PAGE))
    before = (archive / DATABASE).read_bytes()
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.repair import repair\n"
        "from codeworm_monitor.errors import ArchiveError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    repair(Path(sys.argv[1]))\n"
        "except ArchiveError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(archive)], capture_output=True, text=True, check=True)
    assert "did not come to its end" in done.stdout
    assert f"is still {archive / DATABASE}" in done.stdout
    assert (archive / DATABASE).read_bytes() == before
    assert {path.name for path in archive.iterdir()} <= {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
    assert repair(archive).rows > 1900


def test_several_repairs_in_one_second_each_have_a_place_of_their_own(archive):
    places = set()
    for _ in range(3):
        damage(archive / DATABASE, (root_of(archive, "entries") - 1) * PAGE, bytes(PAGE))
        places.add(repair(archive, now=1_795_300_000.0).set_aside)
    assert len(places) == 3
    assert all((place / DATABASE).exists() and place.stat().st_mode & 0o777 == 0o700 for place in places)


def test_damage_makes_the_store_refuse_and_repair_makes_it_work_again(archive):
    damage(archive / DATABASE, 0, b"\xff" * 100)
    with pytest.raises(ArchiveDamagedError):
        Store(archive)
    repair(archive)
    store = Store(archive)
    store.append([row(1, 2001)])
    store.close()
    assert len(messages(archive)) == 2001
