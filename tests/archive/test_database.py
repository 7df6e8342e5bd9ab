"""The archive's database as a file: what is made, what is taken, what is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from support.made_archives import make_archive, messages, row
from support.processes import can_mount

from codeworm_monitor.archive import database as database_module
from codeworm_monitor.archive.database import DATABASE, SCHEMA_VERSION, open_for_reading, open_for_writing
from codeworm_monitor.archive.store import Store
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError, ArchiveTooNewError


def asked(database, pragma):
    return database.execute(f"PRAGMA {pragma}").fetchone()[0]


def test_a_new_database_is_its_owners_alone_and_its_log_too(tmp_path):
    before = os.umask(0)
    try:
        with closing(open_for_writing(tmp_path / "deep" / "archive")) as database:
            database.execute("INSERT INTO epochs VALUES (1, 'a', 'relay', 0, 0, NULL)")
            files = list((tmp_path / "deep" / "archive").iterdir())
            assert {file.name for file in files} == {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
            assert (tmp_path / "deep" / "archive").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_it_survives_a_loss_of_power_and_gives_back_what_is_free(tmp_path):
    with closing(open_for_writing(tmp_path)) as database:
        assert asked(database, "journal_mode") == "wal"
        assert asked(database, "synchronous") == 2
        assert asked(database, "auto_vacuum") == 2
        assert asked(database, "user_version") == SCHEMA_VERSION
    with closing(open_for_writing(tmp_path)) as database:  # and so when it is there already
        assert (asked(database, "synchronous"), asked(database, "auto_vacuum")) == (2, 2)


def test_of_several_processes_that_make_it_at_one_time_each_finds_it_made(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.database import open_for_writing\n"
        "sys.stdin.read(1)\n"
        "database = open_for_writing(Path(sys.argv[1]))\n"
        "print(database.execute('SELECT count(*) FROM entries').fetchone()[0])\n"
    )
    run = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
    for process in processes:
        process.stdin.write(b"x")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == [b"0\n"] * 6


@pytest.mark.parametrize("opening", [open_for_reading, open_for_writing])
def test_one_that_another_process_makes_while_it_is_looked_at_is_an_archive(tmp_path, monkeypatch, opening):
    """What is asked of the file is answered before that process commits, or after it: both in one opening."""
    asked_of = database_module._check_application
    answered = []

    class Asked:
        def __init__(self, database):
            self.database = database

        def execute(self, statement):
            found = self.database.execute(statement).fetchall()
            if not answered:
                answered.append(statement)
                monkeypatch.setattr(database_module, "_check_application", asked_of)
                open_for_writing(tmp_path).close()
            return self.database.execute("SELECT * FROM (VALUES (?))", found[0])

    monkeypatch.setattr(database_module, "_check_application", lambda database, path: asked_of(Asked(database), path))
    (tmp_path / DATABASE).touch()
    opening(tmp_path).close()
    assert answered


def test_opening_it_again_leaves_the_locks_of_the_connection_that_is_there(tmp_path):
    """Else another process deletes the log on closing, under the connection that goes on writing to it."""
    store = Store(tmp_path)
    key = store.begin(reserved=10)
    Store(tmp_path).close()
    script = (
        "import sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.store import Store\n"
        "Store(Path(sys.argv[1])).close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    store.append([row(key, 1)])
    count = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM entries').fetchone())"
    )
    found = subprocess.run([sys.executable, "-c", count, str(store.path)], check=True, capture_output=True)
    store.close()
    assert found.stdout == b"(1,)\n"


def test_a_newer_form_is_refused_by_readers_and_writers_and_left_as_it_is(tmp_path):
    make_archive(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for opening in (open_for_writing, open_for_reading):
        with pytest.raises(ArchiveTooNewError, match="update codeworm_monitor") as caught:
            opening(tmp_path)
        assert caught.value.version == SCHEMA_VERSION + 1
    assert len(messages(tmp_path)) == 3


def test_an_older_form_is_brought_up_to_date_by_who_writes_and_refused_by_who_reads(tmp_path, monkeypatch):
    make_archive(tmp_path, 3)
    newer = (*database_module._MIGRATIONS, lambda database: database.execute("CREATE TABLE more (x) "))
    monkeypatch.setattr(database_module, "_MIGRATIONS", newer)
    monkeypatch.setattr(database_module, "SCHEMA_VERSION", len(newer))
    with pytest.raises(ArchiveError, match="older form"):
        open_for_reading(tmp_path)
    with closing(open_for_writing(tmp_path)) as database:
        assert database.execute("SELECT count(*) FROM more").fetchone() == (0,)
    open_for_reading(tmp_path).close()
    assert len(messages(tmp_path)) == 3


def test_a_migration_that_fails_leaves_the_form_that_was(tmp_path, monkeypatch):
    make_archive(tmp_path, 3)

    def fail(database):
        database.execute("CREATE TABLE more (x)")
        database.execute("no SQL")

    monkeypatch.setattr(database_module, "_MIGRATIONS", (*database_module._MIGRATIONS, fail))
    monkeypatch.setattr(database_module, "SCHEMA_VERSION", 2)
    with pytest.raises(ArchiveError):
        open_for_writing(tmp_path)
    monkeypatch.undo()
    with closing(open_for_writing(tmp_path)) as database:
        assert database.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone() == (0,)
        assert asked(database, "user_version") == SCHEMA_VERSION


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path):
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("CREATE TABLE bookmarks (x)")
    before = (tmp_path / DATABASE).read_bytes()
    for opening in (open_for_writing, open_for_reading):
        with pytest.raises(ArchiveError, match="another program"):
            opening(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before


def test_what_is_no_database_is_called_damaged(tmp_path):
    (tmp_path / DATABASE).write_bytes(b"a text that is long enough to be looked at, and more\n" * 40)
    for opening in (open_for_writing, open_for_reading):
        with pytest.raises(ArchiveDamagedError, match="archive repair"):
            opening(tmp_path)


def test_a_reader_makes_no_archive_where_none_is(tmp_path):
    with pytest.raises(ArchiveError, match="holds no archive"):
        open_for_reading(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(tmp_path):
    make_archive(tmp_path, 3)
    with closing(open_for_reading(tmp_path)) as database, pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.execute("DELETE FROM entries")


def test_a_directory_that_cannot_be_made_is_said_to_be_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match="cannot be made"):
        open_for_writing(tmp_path / "file" / "archive")


@pytest.mark.skipif(not can_mount(), reason="needs to mount a file system within a namespace of its own")
def test_on_a_read_only_file_system_it_can_be_read_and_writing_says_why_not(tmp_path):
    make_archive(tmp_path, 3)
    script = (
        "import sys; from pathlib import Path\n"
        "from codeworm_monitor.archive.database import open_for_reading\n"
        "from codeworm_monitor.archive.repair import quick_check\n"
        "from codeworm_monitor.archive.store import Store\n"
        "from codeworm_monitor.errors import ArchiveError\n"
        "there = Path(sys.argv[1])\n"
        "print(open_for_reading(there).execute('SELECT count(*) FROM entries').fetchone(), quick_check(there))\n"
        "try:\n"
        "    store = Store(there)\n"
        "    store.begin()\n"
        "except ArchiveError as error:\n"
        "    print(error)\n"
    )
    command = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$1"'
    run = ["unshare", "-m", "sh", "-ec", command, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    read, refused = done.stdout.splitlines()
    assert read == "(3,) []"
    assert refused == f"{tmp_path} cannot be written: it is read-only, or another user's"
