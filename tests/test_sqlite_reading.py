"""Reading beside a writer: nothing is missed, made, locked or torn, whatever state the file is in."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from support.worm_database import (
    INSERT,
    KILLED_AFTER_A_COMMIT,
    KILLED_IN_THE_MIDST,
    files,
    make_database,
    row,
    run_killed,
    writer,
)

from codeworm_monitor import sqlite_reading
from codeworm_monitor.sqlite_reading import read, stamp

MODES = ["delete", "truncate", "persist", "wal"]
NOBODY = 65_534


def ids(database):
    return sorted(one for (one,) in database.execute("SELECT id FROM documented_snippets"))


def repos(database):
    return {one for (one,) in database.execute("SELECT DISTINCT source_repo FROM documented_snippets")}


@pytest.mark.parametrize("is_kept", [True, False], ids=["one connection", "a connection for each"])
@pytest.mark.parametrize("mode", MODES)
def test_beside_a_writer_every_read_is_of_one_moment_and_the_writer_is_never_refused(tmp_path, mode, is_kept):
    path = make_database(tmp_path / "codeworm.db", mode=mode)
    counts = []
    with writer(path, is_kept=is_kept) as stop:
        while len(counts) < 30 or counts[-1] == counts[0]:
            found = read(path, ids)
            halves = [one for one in found if one[0] == "a"]
            assert len(found) == 2 * len(halves)
            counts.append(len(halves))
        written = stop()
    assert counts == sorted(counts)
    assert len(read(path, ids)) == 2 * written


@pytest.mark.parametrize("mode", MODES)
def test_of_a_file_that_nobody_has_open_nothing_is_made(tmp_path, mode):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode=mode)
    before = files(path)
    assert read(path, ids) == ["id1"]
    assert files(path) == before


@pytest.mark.parametrize("mode", MODES)
def test_while_a_writer_waits_in_its_transaction_what_was_committed_is_read(tmp_path, mode):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode=mode)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute(INSERT, row(2))
        assert read(path, ids) == ["id1"]
        other.execute("COMMIT")
        assert read(path, ids) == ["id1", "id2"]


def test_a_lock_of_this_process_outlives_a_read(tmp_path):
    """POSIX drops all locks of a process on a file when it closes any descriptor of it."""
    path = make_database(tmp_path / "codeworm.db", [row(1)])
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    with closing(sqlite3.connect(path, isolation_level=None)) as ours:
        ours.execute("BEGIN IMMEDIATE")
        assert read(path, ids) == ["id1"]
        other = subprocess.run([sys.executable, "-c", script, str(path)], check=False, capture_output=True, text=True)
    assert "database is locked" in other.stderr


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist"])
def test_a_read_waits_for_one_that_holds_the_file_to_itself(tmp_path, mode):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode=mode)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute(INSERT, row(2))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            read(path, ids, patience=0.1)
        timer = threading.Timer(0.2, lambda: other.execute("COMMIT"))
        timer.start()
        assert read(path, ids) == ["id1", "id2"]
        timer.join()


def test_one_that_shares_its_write_ahead_log_with_nobody_does_not_hide_what_it_committed(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode="wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute(INSERT, row(2))
        assert "codeworm.db-shm" not in files(path)
        assert read(path, ids) == ["id1", "id2"]


def test_what_two_questions_of_one_read_find_is_of_one_moment(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode="wal")
    with closing(sqlite3.connect(path)) as daemon:
        daemon.execute(INSERT, row(2))
        daemon.commit()

        def work(database):
            before = ids(database)
            daemon.execute(INSERT, row(3))
            daemon.commit()
            return before, ids(database)

        assert read(path, work) == (["id1", "id2"], ["id1", "id2"])
        assert read(path, ids) == ["id1", "id2", "id3"]


def test_what_was_read_without_a_lock_is_read_again_if_it_was_written_to(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode="wal")
    found = []

    def work(database):
        found.append(ids(database))
        if len(found) == 1:
            with closing(sqlite3.connect(path)) as daemon:
                daemon.execute(INSERT, row(2))
                daemon.commit()
        return found[-1]

    assert read(path, work) == ["id1", "id2"]
    assert found == [["id1"], ["id1", "id2"]]


@pytest.mark.parametrize(
    ("script", "mode", "gone", "expected"),
    [
        (KILLED_IN_THE_MIDST, "delete", "", ["id1"]),
        (KILLED_IN_THE_MIDST, "truncate", "", ["id1"]),
        (KILLED_IN_THE_MIDST, "persist", "", ["id1"]),
        (KILLED_IN_THE_MIDST, "wal", "", ["id1"]),
        (KILLED_AFTER_A_COMMIT, "wal", "", ["id1", "last"]),
        (KILLED_AFTER_A_COMMIT, "wal", "-shm", ["id1", "last"]),
    ],
)
def test_what_a_killed_writer_committed_is_read_and_what_it_left_half_done_is_not(
    tmp_path, script, mode, gone, expected
):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode=mode)
    run_killed(script, path)
    if gone:
        path.with_name(path.name + gone).unlink()
    before, content = files(path), path.read_bytes()
    assert read(path, ids, patience=2) == expected
    assert read(path, repos, patience=2) == {"click"}
    assert files(path) == before
    assert path.read_bytes() == content


def test_a_file_that_a_killed_writer_left_is_read_again_once_it_is_mended(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)])
    run_killed(KILLED_IN_THE_MIDST, path)
    with closing(sqlite3.connect(path)) as daemon:
        daemon.execute(INSERT, row(2))
        daemon.commit()
    assert read(path, ids) == ["id1", "id2"]


FROM_A_READ_ONLY_PLACE = """
import json, os, sys
from pathlib import Path
from codeworm_monitor.sqlite_reading import read
path = Path(sys.argv[1])
if os.getuid() == 0:  # who may do everything
    os.setgroups([])
    os.setuid(int(sys.argv[2]))
assert not os.access(path.parent, os.W_OK) and not os.access(path, os.W_OK)
found = read(path, lambda d: sorted(one for (one,) in d.execute("SELECT id FROM documented_snippets")), patience=2)
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("script", "mode", "gone", "expected"),
    [
        (None, "delete", "", ["id1"]),
        (None, "wal", "", ["id1"]),
        (KILLED_IN_THE_MIDST, "delete", "", ["id1"]),
        (KILLED_AFTER_A_COMMIT, "wal", "", ["id1", "last"]),
        (KILLED_AFTER_A_COMMIT, "wal", "-shm", ["id1", "last"]),
    ],
)
def test_a_place_that_may_only_be_read_will_do(script, mode, gone, expected):
    with tempfile.TemporaryDirectory() as folder:  # others may not enter the one that pytest makes
        path = make_database(Path(folder, "codeworm.db"), [row(1)], mode=mode)
        if script:
            run_killed(script, path)
        if gone:
            path.with_name(path.name + gone).unlink()
        before = files(path)
        for name in before:
            Path(folder, name).chmod(0o444)
        Path(folder).chmod(0o555)
        ended = subprocess.run(
            [sys.executable, "-c", FROM_A_READ_ONLY_PLACE, str(path), str(NOBODY)],
            check=False,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert files(path) == before
        Path(folder).chmod(0o755)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == expected


def test_a_file_put_in_the_place_of_the_former_is_read(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)])
    other = make_database(tmp_path / "other.db", [row(2)])
    assert read(path, ids) == ["id1"]
    before = stamp(path)
    other.replace(path)
    assert read(path, ids) == ["id2"]
    assert stamp(path) != before


@pytest.mark.parametrize("mode", MODES)
def test_the_stamp_changes_with_each_commit_and_else_stays(tmp_path, mode):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode=mode)
    with closing(sqlite3.connect(path)) as daemon:
        known = {stamp(path)}
        for number in range(2, 5):
            assert read(path, ids)
            assert stamp(path) in known
            daemon.execute(INSERT, row(number))
            daemon.commit()
            assert stamp(path) not in known
            known.add(stamp(path))


def test_a_link_and_a_name_of_odd_letters_lead_to_the_file(tmp_path):
    path = make_database(tmp_path / "a?b#c%20 d'é.db", [row(1)], mode="wal")
    run_killed(KILLED_AFTER_A_COMMIT, path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert read(path, ids) == read(link, ids) == ["id1", "last"]


def test_a_read_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_reading, "LONGEST_READ", 0.05)
    path = make_database(tmp_path / "codeworm.db", [row(number) for number in range(300)])
    table = "documented_snippets"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        read(path, lambda d: d.execute(f"SELECT count(*) FROM {table}, {table}, {table} b, {table} c").fetchall())


def test_what_is_asked_writes_nothing(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)])
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        read(path, lambda d: d.execute("DELETE FROM documented_snippets"))
    assert read(path, ids) == ["id1"]


def test_a_pipe_a_directory_and_nothing_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", OSError), ("", IsADirectoryError), ("none", FileNotFoundError)):
        with pytest.raises(kind):
            read(tmp_path / name, ids, patience=0.1)
