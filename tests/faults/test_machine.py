"""Faults of the machine, cases 28 and 30 to 33; for 29, those of the archive, see `test_archive`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from support.load import LOGS, kept_reading, under_load, unexplained
from support.processes import MODULE, TOKEN, descendants, is_running, relay_process, run
from support.raw_readers import RawReader, raw_reader
from support.readers import v1_reader, v2_reader
from support.servers import Server
from support.vitals import watched_relay
from support.waiting import eventually
from websockets.exceptions import ConnectionClosed

from codeworm_monitor import Relay, start_relay_in_thread
from codeworm_monitor import endpoint as endpoint_module
from codeworm_monitor.envelope import Cursor
from codeworm_monitor.frames import Position
from codeworm_monitor.sources.memory import MemorySource

DAY = 86_400.0


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forward", "back"])
async def test_a_step_of_the_wall_clock_by_a_day_changes_times_and_nothing_else(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 28, in this process: the clock of a machine is not ours to set."""
    monkeypatch.setattr(endpoint_module, "SWEEP", 0.05)
    clock, ahead = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: clock() + ahead)
    source = MemorySource()
    async with Relay(source=source, port=0, token=TOKEN, heartbeat=0.2) as relay:
        async with v2_reader(relay.url, TOKEN) as reader, v1_reader(relay.url, TOKEN) as old:
            await reader.subscribe()
            source.publish(LOGS, b'{"n":1}')
            await reader.read_until(1)
            ahead = step
            # A reader that hears nothing is told so all the same, or it would leave.
            beats = len(reader.others)
            async with asyncio.timeout(5):
                while not any(isinstance(frame, Position) for frame in reader.others[beats:]):
                    await reader.read()
            source.interrupt("away")
            await eventually(lambda: not relay.statistics().is_connected)
            source.restore()
            source.publish(LOGS, b'{"n":2}')
            await reader.read_until(2)
            assert [orjson.loads(await old.recv())["data"]["n"] for _ in range(2)] == [1, 2]
            assert reader.envelopes[1].received_at - reader.envelopes[0].received_at == pytest.approx(step, abs=60)
            (gap,) = reader.gaps
            assert gap.started_at <= gap.ended_at
            async with v2_reader(relay.url, TOKEN) as other:
                answer = await other.subscribe(cursor=Cursor(reader.hello.epoch, reader.offsets[0]))
                await other.read_until(1)
                assert (answer.recovered, other.data) == (True, [{"n": 2}])
            async with v2_reader(relay.url, TOKEN) as other:
                await other.subscribe(time=reader.envelopes[1].received_at)
                # From the first that is not older: by a clock put back, the first message is the younger one.
                await other.read_until(1 if step > 0 else 2)
                assert other.data[-1] == {"n": 2}
            assert reader.is_whole
            assert relay.statistics().loop_lag < 5
        await eventually(lambda: relay.statistics().readers == 0)


async def test_a_relay_that_was_suspended_takes_no_silence_for_an_outage_that_was_none() -> None:
    """Case 28: stopped for longer than its patience, it hears on waking what came meanwhile."""
    async with Server() as server, watched_relay("--dead-after", "0.5", redis_url=server.url) as relay:
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            async with kept_reading(reader), under_load(server, 500) as load:
                await eventually(lambda: len(reader.data) > 100)
                relay.relay.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(1.5)  # not a wait for something: the length of the sleep
                relay.relay.process.send_signal(signal.SIGCONT)
                await eventually(lambda more=load.published: len(reader.data) > more)
        assert reader.is_whole
        assert unexplained(reader) == []
        assert reader.gaps == []


async def test_sigterm_under_load_with_a_stalled_reader_ends_it_in_time_and_tells_the_others() -> None:
    """Case 30."""
    async with Server() as server, relay_process("--redis-url", server.url, "--drain", "3") as relay:
        port = int(relay.url.rsplit(":", 1)[1].split("/")[0])
        async with (
            v2_reader(relay.url, TOKEN) as healthy,
            raw_reader(port, receive_buffer=4096) as stalled,
            under_load(server, 2_000, size=10_000),
        ):
            await healthy.subscribe()
            await healthy.read_until(2_000)  # 20 MB: more than sockets hold for the other
            relay.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await healthy.read_until(10**9)
            status, out, err = await relay.ended(within=3 + 5)
        assert stalled.answer
    assert (status, "Traceback" in out + err) == (0, False), err
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert healthy.is_whole
    assert unexplained(healthy) == []


async def test_a_second_sigterm_ends_it_at_once() -> None:
    """Case 30: one that listens to nobody holds the drain open; the first signal alone would wait for it."""
    async with relay_process("--drain", "60") as relay:
        below = descendants(relay.process.pid)
        async with raw_reader(int(relay.url.rsplit(":", 1)[1].split("/")[0])) as deaf:
            relay.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await deaf.take() != b""  # the close frame, which is never answered: it drains now
            status, _, _ = await relay.stop(signal.SIGTERM, within=5)
        assert status == 128 + signal.SIGTERM
        await eventually(lambda: not any(map(is_running, below)))


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


async def test_ctrl_c_in_the_terminal_ends_it_and_its_server() -> None:
    """Case 30: the key itself, at a terminal whose foreground the relay is."""
    primary, secondary = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", TAKE_TERMINAL, *MODULE, "--port", "0"),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env={**os.environ, "CODEWORM_MONITOR_TOKEN": TOKEN},
        start_new_session=True,
    )
    os.close(secondary)
    screen = b""
    try:
        while b"/readyz" not in screen:
            screen += await asyncio.to_thread(os.read, primary, 4096)
        below = descendants(process.pid)
        assert len(below) >= 2  # the guard and the server
        os.write(primary, b"\x03")
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal any more
            while more := await asyncio.to_thread(os.read, primary, 4096):
                screen += more
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        assert b"Traceback" not in screen
        await eventually(lambda: not any(map(is_running, below)))
    finally:
        os.close(primary)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_second_relay_on_a_port_says_so_and_leaves_the_first_alone(announcements: Path) -> None:
    """Case 31."""
    async with Server() as server, watched_relay(redis_url=server.url) as first:
        announced = {path: path.read_bytes() for path in announcements.iterdir()}
        async with v2_reader(first.url, TOKEN) as reader:
            await reader.subscribe()
            status, out, err = await run("--redis-url", server.url, "--port", str(first.port))
            assert status == 1
            assert out == ""
            assert str(first.port) in err
            assert len(err.strip().splitlines()) == 1, err
            assert {path: path.read_bytes() for path in announcements.iterdir()} == announced
            await server.publish(LOGS, [b"1"])
            await reader.read_until(1)
            assert reader.is_whole


async def test_without_descriptors_it_goes_on_for_its_readers_and_accepts_again_when_there_are_some() -> None:
    """Case 32."""
    async with Server() as server, watched_relay(redis_url=server.url, may_complain=True) as relay:  # noqa: SIM117
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            before = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
            used = max(map(int, os.listdir(f"/proc/{relay.pid}/fd"))) + 1
            resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (used, before[1]))
            with contextlib.ExitStack() as stack:
                waiting = [stack.enter_context(RawReader(relay.port)) for _ in range(20)]
                for one in waiting:
                    await one.connect()  # the kernel accepts, the relay cannot
                for n in range(30):
                    await server.publish(LOGS, [b"%d" % n])
                    async with asyncio.timeout(5):
                        await reader.read_until(n + 1)
                    await asyncio.sleep(0.1)  # the span in which accepting fails, two retries of the loop long
            resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, before)
            async with asyncio.timeout(10), v1_reader(relay.url, TOKEN) as newcomer:
                await newcomer.send("ping")
                while await newcomer.recv() != '{"type":"pong"}':
                    pass
            assert reader.is_whole
            assert reader.gaps == []


@contextlib.contextmanager
def _fork_allowed() -> Iterator[None]:
    with warnings.catch_warnings():
        # From 3.12 on Python warns of a fork beside threads, which is just what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


async def test_a_fork_of_the_program_leaves_its_relay_alone() -> None:
    """Case 33: the child ends without closing anything, as a worker of `multiprocessing` does."""
    others = descendants(os.getpid())  # of tests before
    relay = await asyncio.to_thread(start_relay_in_thread, port=0, token=TOKEN, redis_url=None)
    below = set(descendants(os.getpid())).difference(others)
    try:
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            with _fork_allowed():
                child = os.fork()
            if child == 0:
                os._exit(0)
            assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)
            redis_url = relay.relay.redis_url
            assert redis_url is not None
            async with Server() as other:
                other.port = int(redis_url.rpartition(":")[2])
                await other.do("PUBLISH", LOGS, b"1")
            await reader.read_until(1)
            assert reader.is_whole
    finally:
        await asyncio.to_thread(relay.close)
    await eventually(lambda: not any(map(is_running, below)))
