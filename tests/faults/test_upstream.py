"""Faults upstream, cases 1 to 9, against a relay process and real servers.

What is under test: an interruption is a gap that every reader sees, between what came before and after it; nothing
else is lost; the relay comes back by itself, and says meanwhile why it is deaf.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest
from redis.asyncio import from_url
from support.load import LOGS, kept_reading, under_load, unexplained
from support.processes import TOKEN, descendants, is_running, relay_process
from support.readers import V2Reader, v2_reader
from support.servers import Proxy, SentinelSet, Server, free_port, require_program, stand_in
from support.vitals import Vitals, watched_relay
from support.waiting import eventually

from codeworm_monitor.envelope import GapCause

NOTICED_WITHIN = 10.0
"""Seconds within which every outage must be noticed with the default settings."""
LONG = pytest.mark.skipif(
    not os.environ.get("CODEWORM_MONITOR_LONG_TESTS"),
    reason="long: CODEWORM_MONITOR_LONG_TESTS=1 runs it, as CI does",
)


@contextlib.asynccontextmanager
async def a_reader(relay: Vitals) -> AsyncIterator[V2Reader]:
    """A subscribed reader that takes all that comes; at the end, what it took must be whole."""
    async with v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe()
        async with kept_reading(reader):
            yield reader
    assert reader.is_whole


async def hears(reader: V2Reader, server: Server, word: str) -> None:
    """Show that what is published now reaches the reader."""
    await server.publish(LOGS, [orjson.dumps({"event": word})])
    await eventually(lambda: {"event": word} in reader.data, NOTICED_WITHIN)


async def is_deaf(relay: Vitals, why: str) -> bool:
    """Tell whether the relay says that it is deaf, for this reason."""
    status, text = await relay.fetch("/readyz")
    return status == 503 and why in text


def words(reader: V2Reader) -> list[str]:
    """Return the events and gaps that a reader saw, in their order."""
    seen = [(envelope.offset, data["event"]) for envelope, data in zip(reader.envelopes, reader.data, strict=True)] + [
        (gap.offset or 0, str(gap.cause)) for gap in reader.gaps
    ]
    return [word for _, word in sorted(seen)]


async def test_a_redis_that_is_down_at_the_start_is_an_outage_until_it_is_up() -> None:
    """Case 1."""
    port = free_port()
    async with watched_relay(redis_url=f"redis://127.0.0.1:{port}", is_heard=False) as relay, a_reader(relay) as reader:
        await eventually(lambda: is_deaf(relay, "Connection refused"))
        async with Server(port=port) as server:
            await eventually(relay.is_ready, NOTICED_WITHIN)
            await hears(reader, server, "up")
    assert words(reader) == ["source_outage", "up", *words(reader)[2:]]
    assert "Connection refused" in reader.gaps[0].detail


@pytest.mark.parametrize("away", [1, pytest.param(15, marks=LONG), pytest.param(60, marks=LONG)])
async def test_a_redis_that_was_killed_and_came_back_is_a_gap_as_long_as_it_was_away(away: int) -> None:
    """Case 2."""
    async with Server() as server, watched_relay(redis_url=server.url) as relay, a_reader(relay) as reader:
        await hears(reader, server, "before")
        await server.kill()
        await eventually(lambda: is_deaf(relay, "closed"))
        await asyncio.sleep(away)  # not a wait for something: the length of the outage
        await server.start()
        await eventually(relay.is_ready, NOTICED_WITHIN)
        await hears(reader, server, "after")
    assert words(reader) == ["before", "source_outage", "after"]
    (gap,) = reader.gaps
    assert away - 0.1 <= gap.ended_at - gap.started_at < away + NOTICED_WITHIN


async def test_client_kill_under_load_loses_nothing_that_no_gap_tells() -> None:
    """Case 3."""
    async with Server() as server, watched_relay(redis_url=server.url) as relay, a_reader(relay) as reader:
        async with under_load(server, 2_000) as load:
            for kills in (1, 2, 3):
                await eventually(lambda kills=kills: len(reader.envelopes) > 200 * kills)
                await server.do("CLIENT", "KILL", "TYPE", "pubsub")
                await eventually(lambda kills=kills: len(reader.gaps) == kills, NOTICED_WITHIN)
        await load.publish()
        await eventually(lambda: reader.data and reader.data[-1]["n"] == load.published - 1)
    assert [gap.cause for gap in reader.gaps] == [GapCause.SOURCE_OUTAGE] * 3
    assert unexplained(reader) == []


async def test_a_relay_that_redis_drops_for_being_slow_tells_the_gap_behind_what_had_come() -> None:
    """Case 4: the relay stands still while more is published than Redis keeps for it."""
    async with Server() as server, watched_relay(redis_url=server.url) as relay, a_reader(relay) as reader:
        await server.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0")
        relay.relay.process.send_signal(signal.SIGSTOP)
        payloads = [orjson.dumps({"event": "one", "n": n, "pad": "x" * 10_000}) for n in range(3_000)]
        assert await server.publish(LOGS, payloads) < 3_000
        relay.relay.process.send_signal(signal.SIGCONT)
        await eventually(lambda: reader.gaps, NOTICED_WITHIN)
        await hears(reader, server, "after")
    received = [data["n"] for data in reader.data[:-1]]
    assert 0 < len(received) < 3_000
    assert received == list(range(len(received)))
    assert words(reader)[-2:] == ["source_outage", "after"]
    assert len(reader.gaps) == 1


async def test_a_redis_that_falls_silent_is_noticed_within_10_seconds_by_the_defaults() -> None:
    """Case 5: SIGSTOP, and a network that swallows packets; connections stay open. Both at once, to save time."""

    async def fall_silent(*, is_frozen: bool) -> None:
        async with Server() as server, Proxy(server.port) as proxy:
            async with watched_relay("--no-archive", redis_url=proxy.url) as relay, a_reader(relay) as reader:
                await hears(reader, server, "before")
                if is_frozen:
                    server.freeze()
                else:
                    proxy.is_swallowing = True
                await eventually(lambda: is_deaf(relay, "has not answered PING for 4 s"), NOTICED_WITHIN)
                server.thaw()
                proxy.is_swallowing = False
                await eventually(relay.is_ready, NOTICED_WITHIN)
                await hears(reader, server, "after")
            assert words(reader) == ["before", "source_outage", "after"]

    async with asyncio.TaskGroup() as both:
        both.create_task(fall_silent(is_frozen=True))
        both.create_task(fall_silent(is_frozen=False))


class FarRelay:
    """A network namespace for a relay, with one link to its Redis and one to its readers.

    Attributes:
        inside: Command under which to run the relay.
        redis_host: Address on this side, for Redis.
        relay_host: Address on that side, for the relay.
    """

    redis_host, relay_host = "10.213.81.1", "10.213.82.2"

    def __init__(self) -> None:
        self.name = f"cwf{os.getpid()}"
        self.inside = ("ip", "netns", "exec", self.name)
        self.upstream, self.downstream = f"{self.name}u", f"{self.name}d"

    def make(self) -> str | None:
        """Make it, and return why that is not permitted here."""
        steps = [("ip", "netns", "add", self.name)]
        for near, network in ((self.upstream, "10.213.81"), (self.downstream, "10.213.82")):
            far = f"{near}f"
            steps += [
                ("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name),
                ("ip", "address", "add", f"{network}.1/30", "dev", near),
                ("ip", "link", "set", near, "up"),
                (*self.inside, "ip", "address", "add", f"{network}.2/30", "dev", far),
                (*self.inside, "ip", "link", "set", far, "up"),
            ]
        # The kernel gives up after three repetitions, some two seconds, not after a quarter of an hour.
        steps.append((*self.inside, "sh", "-c", "echo 3 > /proc/sys/net/ipv4/tcp_retries2"))
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{' '.join(step)}: {done.stderr.strip()}"
        return None

    def set_upstream(self, state: str) -> None:
        """Set the link to Redis `up` or `down`."""
        subprocess.run(("ip", "link", "set", self.upstream, state), check=True)

    def remove(self) -> None:
        """Remove all of it."""
        subprocess.run(("ip", "netns", "delete", self.name), capture_output=True, check=False)
        for near in (self.upstream, self.downstream):
            subprocess.run(("ip", "link", "delete", near), capture_output=True, check=False)


@pytest.fixture
def far_relay() -> Iterator[FarRelay]:
    """A network namespace for a relay."""
    require_program("ip", "apt install iproute2")
    network = FarRelay()
    try:
        if problem := network.make():
            pytest.skip(f"no network namespace may be made here: {problem}")
        yield network
    finally:
        network.remove()


async def test_the_kernels_etimedout_is_an_outage_like_any_other(far_relay: FarRelay) -> None:
    """Case 6: the relay's own patience is longer than the kernel's."""
    server = Server("redis", "--protected-mode", "no", bind=far_relay.redis_host)
    options = ("--host", far_relay.relay_host, "--dead-after", "60")
    async with server, watched_relay(*options, redis_url=server.url, before=far_relay.inside) as relay:
        async with a_reader(relay) as reader:
            await hears(reader, server, "before")
            far_relay.set_upstream("down")
            await eventually(lambda: is_deaf(relay, os.strerror(errno.ETIMEDOUT)), 20)
            far_relay.set_upstream("up")
            await eventually(relay.is_ready, NOTICED_WITHIN)
            await hears(reader, server, "after")
        assert words(reader) == ["before", "source_outage", "after"]


async def test_a_forbidden_subscription_is_told_until_it_is_granted() -> None:
    """Case 7: SUBSCRIBE."""
    async with Server() as server:
        await server.do("ACL", "SETUSER", "worm", "on", ">secret-word", "resetchannels", "+subscribe", "+ping")
        url = f"redis://worm:secret-word@127.0.0.1:{server.port}"
        async with watched_relay(redis_url=url, is_heard=False) as relay, a_reader(relay) as reader:
            await eventually(lambda: is_deaf(relay, "NOPERM"))
            await server.do("ACL", "SETUSER", "worm", "&codeworm:*")
            await eventually(relay.is_ready, NOTICED_WITHIN)
            await hears(reader, server, "granted")
        assert words(reader) == ["source_outage", "granted"]


async def test_a_wrong_password_is_told_and_kept_secret_until_it_is_mended() -> None:
    """Case 7: AUTH."""
    async with Server("redis", "--requirepass", "right-word") as server:
        url = f"redis://:wrong-word@127.0.0.1:{server.port}"
        async with watched_relay(redis_url=url, is_heard=False) as relay, a_reader(relay) as reader:
            await eventually(lambda: is_deaf(relay, "password"))
            for path in ("/readyz", "/info", "/metrics"):
                assert "wrong-word" not in (await relay.fetch(path))[1]
            async with server.client(password="right-word") as client:
                await client.execute_command("CONFIG", "SET", "requirepass", "wrong-word")
                await eventually(relay.is_ready, NOTICED_WITHIN)
                await client.publish(LOGS, '{"event":"mended"}')
            await eventually(lambda: words(reader) == ["source_outage", "mended"])
            status, out, err = await relay.relay.stop()
    assert status == 0
    assert "wrong-word" not in out + err


async def test_a_redis_with_too_many_clients_is_an_outage_until_there_is_room() -> None:
    """Case 8: maxclients."""
    async with Server("redis", "--maxclients", "3") as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.client()) for _ in range(3)]
        for client in clients:
            await client.ping()
        async with watched_relay(redis_url=server.url, is_heard=False) as relay, a_reader(relay) as reader:
            await eventually(lambda: is_deaf(relay, "max number of clients"))
            for client in clients[1:]:
                await client.aclose()
            await eventually(relay.is_ready, NOTICED_WITHIN)
            await clients[0].publish(LOGS, '{"event":"room"}')
            await eventually(lambda: words(reader) == ["source_outage", "room"])


async def test_a_redis_that_is_loading_is_an_outage_until_it_has_loaded() -> None:
    """Case 8: LOADING."""
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    async with stand_in(loading + loading) as url:
        port = int(url.rpartition(":")[2])
        async with watched_relay(redis_url=url, is_heard=False) as relay, a_reader(relay) as reader:
            await eventually(lambda: is_deaf(relay, "LOADING"))
    # The stand-in has to be gone before a Redis can take its port.
    async with watched_relay(redis_url=url, is_heard=False) as relay, a_reader(relay) as reader:
        await eventually(lambda: is_deaf(relay, "refused"))
        async with Server(port=port) as server:
            await eventually(relay.is_ready, NOTICED_WITHIN)
            await hears(reader, server, "loaded")


async def test_a_redis_that_knows_no_hello_will_do() -> None:
    """Case 8: HELLO refused."""
    async with (
        Server("redis", "--rename-command", "HELLO", "") as server,
        watched_relay(redis_url=server.url) as relay,
        a_reader(relay) as reader,
    ):
        await hears(reader, server, "heard")
    assert words(reader) == ["heard"]


async def test_a_sentinel_failover_is_one_gap_and_leads_to_the_new_master() -> None:
    """Case 8: Sentinel."""
    async with SentinelSet() as nodes, watched_relay(redis_url=nodes.url) as relay, a_reader(relay) as reader:
        old = await nodes.master()
        await hears(reader, old, "before")
        await old.kill()
        await eventually(lambda: is_deaf(relay, ""))
        await eventually(relay.is_ready, 20, otherwise=lambda: nodes.sentinel.log)
        new = await nodes.master()
        assert new is not old
        await hears(reader, new, "after")
    assert words(reader) == ["before", "source_outage", "after"]


async def test_the_embedded_server_killed_is_started_again_on_its_port_and_is_a_gap() -> None:
    """Case 9: the server is killed."""
    async with watched_relay() as relay, a_reader(relay) as reader, from_url(relay.relay.redis_url) as publisher:
        await publisher.publish(LOGS, '{"event":"before"}')
        await eventually(lambda: words(reader) == ["before"])
        below = descendants(relay.pid)
        os.kill(below[-1], signal.SIGKILL)
        await eventually(lambda: reader.gaps, NOTICED_WITHIN)
        await eventually(relay.is_ready, NOTICED_WITHIN)
        async with from_url(relay.relay.redis_url) as again:
            await again.publish(LOGS, '{"event":"after"}')
        await eventually(lambda: words(reader) == ["before", "source_outage", "after"])
        assert any(line["event"] == "embedded_server_restarted" for line in reader.journal)
        assert not any(map(is_running, below))
        relay.descriptors_at_rest = relay.descriptors  # the reader's is among them: pipes of the new server may not be
    assert reader.is_whole


async def test_a_relay_killed_with_9_under_load_leaves_nothing_behind() -> None:
    """Case 9: we are killed."""
    async with relay_process() as relay, from_url(relay.redis_url) as publisher:
        below = descendants(relay.process.pid)
        assert len(below) >= 2  # the guard and the server
        async with v2_reader(relay.url, TOKEN) as reader, kept_reading(reader):
            await reader.connection.send('{"type":"subscribe"}')
            for n in range(100):
                await publisher.publish(LOGS, n)
            await eventually(lambda: len(reader.data) > 50)
            status, _, _ = await relay.stop(signal.SIGKILL)
        assert status == -signal.SIGKILL
        assert reader.is_whole
        await eventually(lambda: not any(map(is_running, below)))
