from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import relay_process
from support.waiting import eventually

from codeworm_monitor.servicemanager import notify, watchdog_interval


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)  # noqa: FBT003  # the library's spelling
        yield listener


def heard(manager: socket.socket) -> list[str]:
    texts = []
    while True:
        try:
            texts.append(manager.recv(4096).decode())
        except BlockingIOError:
            return texts


def test_a_state_reaches_the_manager(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    assert notify("READY=1")
    assert heard(manager) == ["READY=1"]


def test_an_abstract_socket_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"codeworm-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("WATCHDOG=1")
        assert listener.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "pid", "interval"),
    [("", "", None), ("10000000", None, 5.0), ("10000000", "1", None), ("nonsense", None, None), ("0", None, None)],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    microseconds: str, pid: str | None, interval: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid is None else pid)
    assert watchdog_interval() == interval


async def test_the_relay_tells_its_readiness_feeds_the_watchdog_and_tells_its_end(manager: socket.socket) -> None:
    texts: list[str] = []

    def has_heard(text: str) -> bool:
        texts.extend(heard(manager))
        return any(text in one for one in texts)

    async with relay_process(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="100000") as relay:
        await eventually(lambda: has_heard("READY=1"))
        await eventually(lambda: has_heard("WATCHDOG=1"))
        await relay.stop()
    await eventually(lambda: has_heard("STOPPING=1"))
    assert texts[0].startswith("READY=1\nSTATUS=relaying redis://127.0.0.1:")
