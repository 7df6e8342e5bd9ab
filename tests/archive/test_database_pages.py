"""Pages and records read without SQLite, held against what SQLite says."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made_archives import damage, make_archive, row

from codeworm_monitor.archive.database import DATABASE, PAGE_SIZE
from codeworm_monitor.archive.database_pages import DatabasePages, read_log
from codeworm_monitor.archive.store import Store
from codeworm_monitor.errors import ArchiveError

VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9000)


def root(path, name):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]


@given(st.lists(st.tuples(VALUES, VALUES), max_size=40), st.sampled_from([512, 4096, 65536]))
def test_all_values_are_read_as_sqlite_reads_them(tmp_path_factory, rows, size):
    path = tmp_path_factory.mktemp("pages") / "database"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size = {size}")
        database.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, x, y)")
        database.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, x, y) WITHOUT ROWID")
        for table in "ab":
            database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(n - 9, *one) for n, one in enumerate(rows)])
        database.commit()
    told = [[value.encode() if isinstance(value, str) else value for value in one] for one in rows]
    with DatabasePages(path) as pages:
        assert pages.size == size
        for table, expected in (
            ("a", [[number - 9, None, *one] for number, one in enumerate(told)]),
            ("b", [[number - 9, *one] for number, one in enumerate(told)]),
        ):
            cells, is_whole = pages.tree(root(path, table))
            assert is_whole
            assert sorted(cells, key=lambda cell: expected.index(cell)) == expected


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("made")
    make_archive(directory, 5000)
    return directory


def entries(pages):
    found = []
    for number, content in pages.all_pages():
        page = pages.parse(number, content)
        cells = page.cells if page is not None and number > 1 else []
        found += [cell[1] for cell in cells if len(cell) == 6 and cell[0] == 1 and isinstance(cell[1], int)]
    return sorted(found)


def test_every_row_is_on_some_page_once(made):
    with DatabasePages(made / DATABASE) as pages:
        assert entries(pages) == list(range(1, 5001))


def test_pages_that_are_free_are_passed_over(made, tmp_path):
    archive = shutil.copytree(made, tmp_path / "archive")
    with contextlib.closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute("PRAGMA secure_delete = OFF")  # else nothing would be left to be found
        database.execute("DELETE FROM entries WHERE offset <= 3000")
        database.commit()
        (free,) = database.execute("PRAGMA freelist_count").fetchone()
    with DatabasePages(archive / DATABASE) as pages:
        assert entries(pages) == list(range(3001, 5001))
        assert sum(map(pages.is_free, range(1, pages.count + 1))) == free > 50


def test_pages_are_of_the_newest_commit_in_the_log(made, tmp_path):
    archive = shutil.copytree(made, tmp_path / "archive")
    store = Store(archive)
    store.append([row(1, offset) for offset in range(5001, 5101)])
    shutil.copytree(archive, tmp_path / "copy")
    store.close()
    copy = tmp_path / "copy"
    log = read_log(copy / f"{DATABASE}-wal")
    assert log.is_whole
    assert log.intact == len(log.frames) > 0
    with DatabasePages(copy / DATABASE) as pages:
        assert entries(pages) == list(range(1, 5101))


def test_a_tree_of_which_a_page_is_damaged_is_not_whole(made, tmp_path):
    archive = shutil.copytree(made, tmp_path / "archive")
    path = archive / DATABASE
    start = root(path, "entries")
    damage(path, path.read_bytes().index(row(1, 2500).payload) // PAGE_SIZE * PAGE_SIZE, bytes(PAGE_SIZE))
    with DatabasePages(path) as pages:
        cells, is_whole = pages.tree(start)
        assert not is_whole
        assert 5000 - 1800 < len(cells) < 5000  # at worst, a branch with all below it


@pytest.mark.parametrize("seed", range(40))
def test_noise_is_read_without_an_error_and_in_the_end(made, tmp_path, seed):
    """Also where pages point at themselves, at each other, and at nowhere."""
    archive = shutil.copytree(made, tmp_path / "archive")
    chance = random.Random(seed)
    path = archive / DATABASE
    for _ in range(200):
        damage(path, chance.randrange(100, path.stat().st_size), chance.randbytes(chance.choice([1, 2, 4, 30])))
    with DatabasePages(path) as pages:
        assert len(entries(pages)) > 1000
        for number in range(1, 8):
            pages.tree(number)


def test_a_log_of_which_a_commit_is_damaged_tells_how_many_cannot_be_taken(made, tmp_path):
    archive = shutil.copytree(made, tmp_path / "archive")
    store = Store(archive)
    for offset in range(5001, 5011):
        store.append([row(1, offset)])
    shutil.copytree(archive, tmp_path / "copy")
    store.close()
    path = tmp_path / "copy" / f"{DATABASE}-wal"
    whole = read_log(path)
    number, place = whole.frames[len(whole.frames) // 2]
    damage(path, place + 2000, b"\xff\x00" * 8)
    log = read_log(path)
    assert not log.is_whole
    assert 0 < log.intact < len(whole.frames) // 2 + 1
    assert len(log.frames) == len(whole.frames) - 1
    assert 4 <= log.commits_lost <= 6
    assert (number, place) not in log.frames


def test_no_log_is_a_sound_one_and_a_log_of_zeros_was_never_written(tmp_path):
    assert read_log(tmp_path / "none").is_whole
    for content, is_readable in ((b"", True), (b"short", True), (bytes(5000), True), (b"x" * 5000, False)):
        (tmp_path / "log").write_bytes(content)
        assert read_log(tmp_path / "log").is_readable is is_readable
        assert read_log(tmp_path / "log").frames == ()


def test_what_cannot_be_opened_is_an_error_of_the_archive(tmp_path):
    with pytest.raises(ArchiveError):
        DatabasePages(tmp_path / "nothing")
