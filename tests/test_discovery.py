"""Announcements: found by this user alone, and only while the relay lives."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from codeworm_monitor import discovery
from codeworm_monitor.errors import RelayError

URL = "ws://127.0.0.1:8765/ws"


def test_what_is_announced_is_found(announcements: Path) -> None:
    path = discovery.announce(8765, url=URL, token="secret-token", version="1")
    assert path == announcements / "relay-8765.json"
    (found,) = discovery.find()
    assert (found.url, found.token, found.pid, found.version) == (URL, "secret-token", os.getpid(), "1")


def test_file_and_folder_are_closed_to_others(announcements: Path) -> None:
    old = os.umask(0)
    try:
        path = discovery.announce(8765, url=URL, token="secret-token")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(announcements.stat().st_mode) == 0o700


def test_repr_does_not_show_the_token() -> None:
    discovery.announce(8765, url=URL, token="secret-token")
    assert "secret-token" not in repr(discovery.find())


def test_newest_first_and_by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for port, now in ((1, 100.0), (2, 300.0), (3, 200.0)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        discovery.announce(port, url=f"ws://127.0.0.1:{port}/ws", token=None)
    assert [a.url for a in discovery.find()] == [f"ws://127.0.0.1:{port}/ws" for port in (2, 3, 1)]
    assert [a.url for a in discovery.find("ws://localhost:3/ws/")] == ["ws://127.0.0.1:3/ws"]


def test_replays_come_last_however_new(monkeypatch: pytest.MonkeyPatch) -> None:
    for port, is_replay in ((1, False), (2, True), (3, False)):
        monkeypatch.setattr("time.time", lambda now=100.0 * port: now)
        discovery.announce(port, url=f"ws://127.0.0.1:{port}/ws", token=None, is_replay=is_replay)
    assert [(a.url[-4], a.is_replay) for a in discovery.find()] == [("3", False), ("1", False), ("2", True)]


def test_an_earlier_announcement_of_the_port_is_replaced() -> None:
    discovery.announce(8765, url=URL, token="old-token")
    discovery.announce(8765, url=URL, token="new-token")
    assert [a.token for a in discovery.find()] == ["new-token"]


def test_a_dead_relay_is_forgotten_and_its_file_removed(announcements: Path) -> None:
    path = discovery.announce(8765, url=URL, token=None)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": child.pid}))
    assert discovery.find() == []
    assert list(announcements.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_a_zombie_is_dead() -> None:
    path = discovery.announce(8765, url=URL, token=None)
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": child.pid}))
    assert discovery.find() == []
    child.wait()


def test_relays_of_another_machine_are_left_alone() -> None:
    path = discovery.announce(8765, url=URL, token=None)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere", "pid": 2**22 + 1}))
    assert discovery.find() == []
    assert path.exists()


def test_withdraw_removes_only_the_own() -> None:
    path = discovery.announce(8765, url=URL, token=None)
    discovery.withdraw(path)
    assert not path.exists()
    discovery.withdraw(path)
    discovery.announce(8765, url=URL, token=None)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": os.getppid()}))
    discovery.withdraw(path)
    assert path.exists()


def test_what_others_may_write_or_read_is_not_trusted(announcements: Path) -> None:
    path = discovery.announce(8765, url=URL, token=None)
    path.chmod(0o644)
    assert discovery.find() == []
    path.chmod(0o600)
    announcements.chmod(0o777)
    assert discovery.find() == []
    with pytest.raises(RelayError, match="open to other users"):
        discovery.announce(8765, url=URL, token=None)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_trusted() -> None:
    path = discovery.announce(8765, url=URL, token=None)
    os.chown(path, 65534, 65534)
    assert discovery.find() == []


def test_a_symbolic_link_is_not_followed(announcements: Path, tmp_path: Path) -> None:
    path = discovery.announce(8765, url=URL, token=None)
    elsewhere = path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(elsewhere)
    assert discovery.find() == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"url":1,"token":null,"pid":1}', '{"url":"x","token":null,"pid":-1}', "[" * 5000, "\x00"]
)
def test_garbage_is_no_announcement(announcements: Path, text: str) -> None:
    path = discovery.announce(8765, url=URL, token=None)
    path.write_text(text)
    assert discovery.find() == []


def test_a_fifo_does_not_block(announcements: Path) -> None:
    discovery.announce(1, url=URL, token=None)
    os.mkfifo(announcements / "relay-2.json", 0o600)
    assert len(discovery.find()) == 1


def test_without_a_runtime_directory_the_state_directory_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CODEWORM_MONITOR_RUNTIME_DIR")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("codeworm_monitor.discovery._runtime_folder", lambda: tmp_path / "missing")
    path = discovery.announce(8765, url=URL, token=None)
    assert path == tmp_path / "state" / "codeworm_monitor" / "run" / "relay-8765.json"
    # A reader that has a runtime directory finds it all the same.
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert len(discovery.find()) == 1
    assert discovery.announce(8765, url=URL, token=None).is_relative_to(tmp_path / "runtime")


def test_importing_it_loads_no_other_library() -> None:
    script = (
        "import codeworm_monitor.discovery, sys; "
        "assert not {'pandas', 'pyarrow', 'redis', 'websockets', 'ipywidgets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("text", "url", "token"),
    [
        ("host:1234", "ws://host:1234/ws", None),
        ("HTTP://host/", "ws://host/ws", None),
        ("https://host/worm#part", "wss://host/worm", None),
        ("ws://[::1]:1/ws?token=secret-word&x=1&x=2", "ws://[::1]:1/ws?x=1&x=2", "secret-word"),
        ("http://127.0.0.1:8765/#token=secret-word", "ws://127.0.0.1:8765/ws", "secret-word"),
        ("https://host/worm/dashboard#token=secret-word", "wss://host/worm/ws", "secret-word"),
    ],
)
def test_a_relays_url_is_taken_as_people_write_it(text: str, url: str, token: str | None) -> None:
    assert discovery.relay_url(text) == (url, token)
    assert discovery.relay_url(text, may_hold_user=True) == (url, token)


@pytest.mark.parametrize("may_hold_user", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "ws://",
        "ftp://hidden",
        "ws://hidden:port",
        "ws://hidden:0",
        "ws://hidden:99999",
        "ws://[hidden",
        "hidden/\x07",
    ],
)
def test_what_is_no_relays_url_is_refused_and_not_quoted(text: str, *, may_hold_user: bool) -> None:
    with pytest.raises(ValueError, match="looks like ws://") as caught:
        discovery.relay_url(text, may_hold_user=may_hold_user)
    assert "hidden" not in str(caught.value)


def test_a_user_in_a_relays_url_is_kept_only_where_one_may_be() -> None:
    assert discovery.relay_url("me:hidden@host", may_hold_user=True) == ("ws://me:hidden@host/ws", None)
    with pytest.raises(ValueError, match="looks like ws://") as caught:
        discovery.relay_url("me:hidden@host")
    assert "hidden" not in str(caught.value)
