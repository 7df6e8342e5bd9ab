"""What a check finds, and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys

import pytest
from support.made_archives import LOGS, NOON, damage, damage_at_random, make_archive, row

from codeworm_monitor.archive import verification
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.database import DATABASE, PAGE_SIZE, SCHEMA_VERSION
from codeworm_monitor.archive.store import Store
from codeworm_monitor.archive.verification import describe_part, part_files, part_numbers, quick_check, verify
from codeworm_monitor.errors import ArchiveError, ArchiveTooNewError

DAY = 86_400_000_000
CHANNELS = (LOGS, "codeworm:events", "gaps", "a/b c*[x]" + "ü" * 120)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Two days on four channels, of which one has a name too long for a path; the first day is Parquet."""
    directory = tmp_path_factory.mktemp("sound") / "it's an archive"
    store = Store(directory)
    key = store.begin("first", reserved=3000)
    for day in range(2):
        offsets = range(day * 1000 + 1, (day + 1) * 1000 + 1)
        store.append([row(key, one, at=NOON + day * DAY + one, channel=CHANNELS[one % 4]) for one in offsets])
    assert compact(store, now=(NOON + DAY) / 1e6).files == 4
    store.close()
    return directory


@pytest.fixture
def archive(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / sound.name)


def change(directory, statement, *values):
    with contextlib.closing(sqlite3.connect(directory / DATABASE)) as database:
        assert database.execute(statement, values).rowcount
        database.commit()


def the_problem(directory):
    (problem,) = verify(directory).problems
    return problem


def test_a_sound_archive_has_no_problems_and_is_counted(archive):
    said = []
    found = verify(archive, on_progress=said.append)
    assert (found.problems, found.orphans) == ([], [])
    assert (found.hot, found.cold, found.epochs, found.parts) == (1000, 1000, 1, 4)
    assert found.has_read_parts
    assert found.bytes > 50_000
    assert len(said) > 4
    assert quick_check(archive) == []


def test_a_check_changes_nothing(archive):
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    verify(archive)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_no_archive_is_an_error_of_its_own(tmp_path):
    with pytest.raises(ArchiveError, match="holds no archive"):
        verify(tmp_path)


def test_a_newer_form_is_no_problem_but_another_releases_affair(archive):
    with contextlib.closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(ArchiveTooNewError):
        verify(archive)


def test_damage_to_the_database_is_a_problem(archive):
    damage(archive / DATABASE, 6 * PAGE_SIZE, b"\xff" * PAGE_SIZE)
    found = verify(archive)
    assert found.problems
    assert found.orphans == []


def test_an_index_that_lacks_a_row_is_a_problem(archive):
    with contextlib.closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'received_at', 'channel') WHERE name = 'entries_by_time'"
        )
        database.commit()
    assert any("entries_by_time" in line for line in verify(archive).problems)


def test_offsets_that_were_never_set_aside_are_a_problem(archive):
    change(archive, "UPDATE epochs SET reserved = 1500")
    assert (
        the_problem(archive) == "the numbering first holds the offset 2000, but only those up to 1500 were ever given"
    )


def test_rows_of_no_numbering_are_a_problem(archive):
    change(archive, "UPDATE entries SET epoch = 7 WHERE offset > 1990")
    assert the_problem(archive) == "10 rows are of the numbering 7, which is not known"


def test_a_payload_that_is_no_json_is_a_problem(archive):
    change(archive, "UPDATE entries SET payload = '{' WHERE offset = 1500")
    assert the_problem(archive) == "1 rows hold no JSON"


def test_a_missing_file_is_a_problem(archive):
    path = part_files(archive)[0]
    (archive / path).unlink()
    assert path in the_problem(archive)
    assert "missing" in the_problem(archive)


def test_a_damaged_file_is_a_problem(archive):
    path = part_files(archive)[0]
    size = (archive / path).stat().st_size
    damage(archive / path, size - 200, b"\xff" * 100)
    assert "cannot be read" in the_problem(archive)
    os.truncate(archive / path, size - 1)
    assert any(f"has {size - 1} bytes, not {size}" in line for line in verify(archive).problems)


@pytest.mark.parametrize("column", ["rows", "first_at", "last_at"])
def test_a_file_that_holds_something_else_than_is_listed_is_a_problem(archive, column):
    change(archive, f"UPDATE parts SET {column} = {column} + 1 WHERE path = ?", part_files(archive)[0])
    assert "does not hold what the database says" in the_problem(archive)


def test_a_file_of_another_numbering_is_a_problem(archive):
    change(archive, "UPDATE epochs SET name = 'second'")
    problems = verify(archive).problems
    assert len(problems) == 4
    assert all("is of the numbering first, not second" in line for line in problems)


def test_rows_in_the_database_and_in_a_file_are_a_problem(archive):
    store = Store(archive)
    store.append([row(1, offset) for offset in (400, 404)])
    store.close()
    assert "2 rows are in the database and in" in the_problem(archive)
    assert "the first at offset 400" in the_problem(archive)


def test_rows_in_two_files_are_a_problem(archive):
    path = next(one for one in part_files(archive) if "logs" in one)
    other = path.replace("date=2023-11-15", "date=2023-11-16")
    (archive / other).parent.mkdir(parents=True)
    shutil.copy(archive / path, archive / other)
    assert verify(archive).orphans == [other]
    change(archive, "INSERT INTO parts SELECT ?, '2023-11-16', " + _REST + " FROM parts WHERE path = ?", other, path)
    assert the_problem(archive) == f"250 rows of {other} are in another file too"


_REST = "channel, epoch, first_offset, last_offset, first_at, last_at, rows, bytes"


def test_a_file_that_is_not_listed_is_an_orphan_and_no_problem(archive):
    path = part_files(archive)[0]
    change(archive, "DELETE FROM parts WHERE path = ?", path)
    found = verify(archive)
    assert (found.problems, found.orphans, found.cold) == ([], [path], 750)


def test_what_is_open_to_others_is_a_problem(archive):
    archive.chmod(0o755)
    (archive / DATABASE).chmod(0o644)
    problems = verify(archive).problems
    assert "chmod 700" in problems[0]
    assert problems[1] == f"{archive / DATABASE} is open to other users: chmod 600 it"


def test_without_duckdb_files_are_not_opened_and_that_is_said(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    damage(archive / part_files(archive)[0], 0, b"\xff" * 20)
    found = verify(archive)
    assert (found.problems, found.has_read_parts) == ([], False)


def test_paths_that_are_not_of_our_making_are_passed_over(archive):
    strange = archive / "date=2023-11-15" / "channel=x" / "notes.parquet"
    strange.parent.mkdir()
    strange.write_text("")
    assert len(part_files(archive)) == 4
    assert part_numbers("date=2023-11-15/channel=x/1-2-3.parquet") == (1, 2, 3)
    assert part_numbers("../channel=x/1-2-3.parquet") is None
    assert "not that of a file" in describe_part(archive, "date=2023-11-15/channel=x/notes.parquet")


# The quick check of a large database, which is looked into here and there


def test_of_a_large_database_the_small_tables_and_many_places_are_read(tmp_path, monkeypatch):
    make_archive(tmp_path, 20_000)
    monkeypatch.setattr(verification, "QUICK_BYTES", 2**20)
    assert quick_check(tmp_path) == []
    found = 0
    for seed in range(10):
        archive = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-{seed}")
        damage_at_random(archive / DATABASE, seed, size=200_000)
        found += bool(quick_check(archive))
        shutil.rmtree(archive)
    assert found >= 8
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'epochs'").fetchone()
    damage(tmp_path / DATABASE, (root - 1) * PAGE_SIZE, b"\xff" * PAGE_SIZE)
    assert quick_check(tmp_path)


def test_of_a_large_database_no_more_is_read_than_there_is_time_for(tmp_path, monkeypatch):
    make_archive(tmp_path, 20_000)
    monkeypatch.setattr(verification, "QUICK_BYTES", 2**20)
    monkeypatch.setattr(verification, "QUICK_SECONDS", 0.0)
    damage(tmp_path / DATABASE, (tmp_path / DATABASE).stat().st_size // 2, b"\xff" * 200_000)
    assert quick_check(tmp_path) == []


def test_a_directory_in_its_place_is_no_damage_but_an_error(tmp_path):
    (tmp_path / DATABASE).mkdir()
    with pytest.raises(ArchiveError):
        quick_check(tmp_path)
