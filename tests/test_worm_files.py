"""Where CodeWorm's own files are: who says so first, and what is said if nobody does."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeworm_monitor.errors import CodeWormFileError, RelayNotFoundError
from codeworm_monitor.worm_files import VARIABLES, WormFiles, told

NAMES = {"codeworm_db": "codeworm.db", "codeworm_config": "repos.yaml"}
OURS = {name: f"CODEWORM_MONITOR_{name.upper()}" for name in NAMES}


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch):
    """Nothing says where the files are unless a test says so."""
    for variable in (*VARIABLES.values(), *OURS.values()):
        monkeypatch.delenv(variable, raising=False)


def found(files, name):
    return files.database(or_none=True) if name == "codeworm_db" else files.configuration(or_none=True)


def laid(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAMES[name]).touch()
    return folder / NAMES[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_more_particular_goes_before_the_more_general(tmp_path, monkeypatch, name):
    given, relays, near = (laid(tmp_path / folder, name) for folder in ("given", "relays", "near"))
    info = {"codeworm": told(**dict.fromkeys(NAMES, str(relays)))}
    settings = {"relay": lambda: info, "beside": near.parent / "traffic.jsonl"}
    assert found(WormFiles(**{name: given}, **settings), name) == given
    assert found(WormFiles(**settings), name) == relays
    assert found(WormFiles(beside=settings["beside"]), name) == near
    monkeypatch.setenv(VARIABLES[name], str(tmp_path / "theirs"))
    assert found(WormFiles(beside=settings["beside"]), name) == near
    assert found(WormFiles(), name) == tmp_path / "theirs"
    monkeypatch.setenv(OURS[name], str(tmp_path / "ours"))
    assert found(WormFiles(), name) == tmp_path / "ours"


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_says_it_the_error_names_every_way_to(name):
    files = WormFiles()
    assert found(files, name) is None
    with pytest.raises(CodeWormFileError) as caught:
        files.database() if name == "codeworm_db" else files.configuration()
    for way in (f"{name}=", f"--{name.replace('_', '-')}", VARIABLES[name]):
        assert way in str(caught.value)


def test_what_a_relay_tells_is_taken_only_if_the_same_file_is_here(tmp_path):
    path = laid(tmp_path, "codeworm_db")
    truth = told(str(path), None)["codeworm_db"]
    assert truth["path"] == str(path)
    assert WormFiles(relay=lambda: {"codeworm": {"codeworm_db": truth}}).database() == path
    for answer in (
        {"codeworm": {"codeworm_db": {**truth, "inode": truth["inode"] + 1}}},  # of another machine
        {"codeworm": {"codeworm_db": {**truth, "inode": None}}},  # it was not there either
        {"codeworm": {"codeworm_db": {**truth, "path": path.name}}},
        {"codeworm": {"codeworm_db": {**truth, "path": "/a\0b"}}},
        {"codeworm": {"codeworm_db": str(path)}},
        {"codeworm": {"codeworm_db": None}},
        {"codeworm": None},
        {},  # of an older relay
        None,
        [],
    ):
        assert WormFiles(relay=lambda answer=answer: answer).database(or_none=True) is None


def test_a_relay_that_does_not_answer_leaves_it_to_the_rest(tmp_path, monkeypatch):
    def gone():
        raise RelayNotFoundError("gone")

    assert WormFiles(relay=gone).database(or_none=True) is None
    monkeypatch.setenv("CODEWORM_DB_PATH", str(tmp_path / "codeworm.db"))
    assert WormFiles(relay=gone).database() == tmp_path / "codeworm.db"


@pytest.mark.parametrize("place", ["archive", ".", "data", "archive/data"])
def test_the_database_is_found_in_an_archive_and_beside_it(tmp_path, place):
    archive = tmp_path / "archive"
    archive.mkdir()
    path = laid(tmp_path / place, "codeworm_db")
    assert WormFiles(beside=archive).database() == path


@pytest.mark.parametrize("place", [".", "config"])
def test_the_list_of_repositories_is_found_beside_a_recording(tmp_path, place):
    recording = tmp_path / "traffic.jsonl.gz"
    recording.touch()
    path = laid(tmp_path / place, "codeworm_config")
    assert WormFiles(beside=recording).configuration() == path
    assert WormFiles(beside=recording).database(or_none=True) is None


def test_files_that_come_later_are_found_later(tmp_path):
    files = WormFiles(beside=tmp_path / "traffic.jsonl")
    assert files.database(or_none=True) is None
    assert files.database(or_none=True) is None
    path = laid(tmp_path, "codeworm_db")
    assert files.database() == path


def test_paths_are_absolute_and_know_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/worm")
    files = WormFiles("data/codeworm.db", "~/CodeWorm/config")
    assert files.database() == tmp_path / "data" / "codeworm.db"
    assert files.configuration() == Path("/home/worm/CodeWorm/config")
    assert told("~/codeworm.db", None) == {
        "codeworm_db": {"path": "/home/worm/codeworm.db", "inode": None},
        "codeworm_config": None,
    }
