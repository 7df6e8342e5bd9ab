"""Probes against real servers, and what is between them and us."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.servers import Proxy, Server
from support.waiting import eventually
from support.watching import Witness, watching

from codeworm_monitor.errors import SettingError
from codeworm_monitor.sources import ProbeState, probe
from codeworm_monitor.sources.redis import RedisSource

CHANNELS = ("codeworm:logs", "codeworm:events", "codeworm:stats")
QUICK: dict[str, Any] = {"dead_after": 0.4, "idle_after": 0.3, "longest_pause": 0.2, "probe_every": 0.1}


@pytest.fixture
async def redis() -> AsyncIterator[Server]:
    """One running server: for what does not depend on the kind."""
    async with Server() as one:
        yield one


@contextlib.asynccontextmanager
async def probed(url: str, **options: Any) -> AsyncIterator[tuple[Witness, RedisSource]]:
    """Watch a source that is connected and impatient."""
    source = RedisSource(url, **{"channels": CHANNELS, **QUICK, **options})
    async with watching(source) as witness:
        await eventually(lambda: witness.is_connected)
        yield witness, source


async def passes(seconds: float) -> None:
    started = time.monotonic()
    await eventually(lambda: time.monotonic() - started > seconds)


class DeafProxy(Proxy):
    """A proxy that passes on everything but published messages, while it is deaf."""

    is_deaf = False
    _MESSAGE = re.compile(rb"\*3\r\n\$7\r\nmessage\r\n\$\d+\r\n.*?\r\n\$\d+\r\n.*?\r\n", re.DOTALL)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.is_swallowing:
                writer.write(self._MESSAGE.sub(b"", data) if self.is_deaf else data)
                await writer.drain()
        writer.transport.abort()


# While all is well


async def test_the_age_stays_small_and_no_probe_is_delivered(server: Server):
    async with probed(server.url) as (witness, source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        ages = []
        started = time.monotonic()
        while time.monotonic() - started < 1.0:
            await server.publish("codeworm:logs", [b"a message"])
            ages.append(source.probe.age)
            assert source.probe.state is ProbeState.HEARD
            await asyncio.sleep(0.01)
        assert max(ages) < 0.1 + 0.3
        # It is a new one again and again.
        assert min(ages) < 0.05
        assert 0 < source.probe.round_trip < 0.2
        assert source.probe.reason == ""
        assert set(witness.payloads) == {b"a message"}
        assert {message.channel for message in witness.messages} == {"codeworm:logs"}
        assert witness.shape == "C"


async def test_a_source_that_only_gets_probes_yields_nothing(server: Server):
    async with probed(server.url, probe_every=0.01) as (witness, source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        await passes(0.5)
        assert (witness.shape, witness.batches) == ("C", [])
        # What a stranger publishes there is neither delivered nor taken for a probe.
        async with server.client() as client:
            (channel,) = await client.pubsub_channels("codeworm_monitor:probe:*")
            assert await client.publish(channel, b"forged") == 1
        await passes(0.1)
        assert (witness.shape, witness.batches) == ("C", [])


async def test_without_probes_there_is_one_connection_and_the_state_says_so(redis: Server):
    async with Proxy(redis.port) as proxy, probed(proxy.url, probe_every=None) as (witness, source):
        await passes(0.5)
        assert source.probe.state is ProbeState.OFF
        assert source.probe.reason == "probes are not wanted"
        assert source.probe.age is None
        assert (witness.shape, proxy.connections) == ("C", 1)


@pytest.mark.parametrize("every", [0, -1.0, float("nan")])
def test_the_time_between_probes_is_above_0(every: float):
    with pytest.raises(SettingError, match="probe_every"):
        RedisSource("redis://localhost", channels=["a"], probe_every=every)


async def test_the_age_goes_on_while_the_channels_are_not_heard(redis: Server):
    source = RedisSource(redis.url, channels=CHANNELS, **QUICK)
    assert (source.probe.state, source.probe.age) == (ProbeState.WAITING, None)
    async with watching(source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        await redis.kill()
        await eventually(lambda: source.probe.state is ProbeState.WAITING)
        before = source.probe.age
        await passes(0.3)
        assert source.probe.age > before + 0.2
        await redis.start()
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        assert source.probe.age < before + 0.2
    assert source.probe.state is ProbeState.WAITING


# Deafness


async def test_a_subscription_that_hears_nothing_is_lost_once_until_it_hears(server: Server):
    async with DeafProxy(server.port) as proxy, probed(proxy.url) as (witness, source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        proxy.is_deaf, deaf_at = True, time.time()
        await eventually(lambda: witness.shape == "CD", 0.1 + 0.4 + 0.5)
        lost = witness.disconnected[0]
        assert lost.reason == "a probe published through Redis did not come back within 0.4 s"
        assert not lost.is_refusal
        # Not later than when a probe was last known to come through, whatever answers to PING came since.
        assert deaf_at - 0.4 < lost.at <= deaf_at
        # It answers, and confirms the channels: that is not enough any more.
        before = proxy.connections
        await passes(1.5)
        assert proxy.connections > before
        assert witness.shape == "CD"
        assert source.probe.state is ProbeState.LOST
        assert source.problem == source.probe.reason == lost.reason
        proxy.is_deaf = False
        await eventually(lambda: witness.shape == "CDC")
        await server.publish("codeworm:logs", [b"after"])
        await eventually(lambda: witness.payloads == [b"after"])
        assert source.probe.state is ProbeState.HEARD
        assert source.problem is None


async def test_a_subscription_that_is_deaf_from_the_start_is_lost_once(redis: Server):
    async with DeafProxy(redis.port) as proxy:
        proxy.is_deaf = True
        async with probed(proxy.url) as (witness, source):
            await eventually(lambda: witness.shape == "CD")
            await passes(1.0)
            assert witness.shape == "CD"
            assert source.probe.age is None
            proxy.is_deaf = False
            await eventually(lambda: witness.shape == "CDC")


async def test_publishers_that_are_led_elsewhere_are_noticed(redis: Server):
    # As with a name in DNS or a balancer that changed: connections that are open stay where they are.
    async with Server() as other, Proxy(redis.port) as proxy, probed(proxy.url) as (witness, _):
        proxy.target = other.port
        await eventually(lambda: witness.shape == "CDC")
        await other.publish("codeworm:logs", [b"heard"])
        await eventually(lambda: witness.payloads == [b"heard"])
        assert "did not come back" in witness.disconnected[0].reason
        assert await redis.subscribers() == 0


def test_by_default_deafness_is_noticed_within_10_seconds():
    defaults = inspect.signature(RedisSource).parameters
    assert defaults["probe_every"].default + defaults["dead_after"].default <= 9.5


async def test_a_reader_that_is_behind_is_not_deaf(redis: Server):
    await redis.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
    async with probed(redis.url, max_waiting=500_000) as (witness, source):
        witness.may_read.clear()
        await redis.publish("codeworm:logs", [b"x" * 10_000] * 2_000)
        await eventually(lambda: source.probe.age > 1.0)
        assert witness.shape == "C"
        witness.may_read.set()
        await eventually(lambda: len(witness.messages) == 2_000 and source.probe.age < 0.5)
        assert witness.shape == "C"


async def test_a_blocked_event_loop_is_not_deaf(redis: Server):
    async with probed(redis.url, probe_every=0.001, dead_after=0.1) as (witness, source):
        for pause in range(8):
            await asyncio.sleep(pause / 1_600)  # a probe is at any stage
            time.sleep(0.12)  # noqa: ASYNC251 - it is what is tested
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        assert witness.shape == "C"


# Where probes are not possible


@pytest.mark.parametrize(
    ("rights", "refusal"),
    [
        ("&codeworm:* &codeworm_monitor:probe:* -@all +subscribe +ping", "not permitted: Redis refused PUBLISH"),
        ("&codeworm:* -@all +subscribe +ping +publish", "not permitted: Redis refused SUBSCRIBE: NOPERM"),
        ("&codeworm:* -@all +subscribe", "not permitted: Redis refused SUBSCRIBE: NOPERM"),
    ],
)
async def test_where_probes_are_not_permitted_all_else_works_and_it_says_why(
    server: Server, rights: str, refusal: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(probe, "_REFUSED_PAUSE", 0.05)
    await server.do("ACL", "SETUSER", "worm", "on", "nopass", "resetchannels", *rights.split())
    async with probed(f"redis://worm:any@127.0.0.1:{server.port}", idle_after=0.02) as (witness, source):
        await eventually(lambda: source.probe.state is ProbeState.OFF)
        assert source.probe.reason.startswith(refusal)
        assert "+publish +subscribe &codeworm_monitor:probe:*" in source.probe.reason
        await passes(0.6)
        for channel in CHANNELS:
            assert await server.publish(channel, [b"heard"]) == 1
        await eventually(lambda: witness.payloads == [b"heard"] * 3)
        assert [one.message for one in caplog.records].count(
            f"that messages reach {source.name} cannot be proved: {source.probe.reason}"
        ) == 1
        await server.do("ACL", "SETUSER", "worm", "&codeworm_monitor:probe:*", "+publish")
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        assert witness.shape == "C"


async def test_a_server_without_room_for_the_publisher_is_no_loss():
    async with Server("redis", "--maxclients", "2") as server, probed(server.url) as (witness, source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        async with server.client() as other:
            await eventually(other.ping)
            await eventually(lambda: source.probe.state is ProbeState.UNSENT)
            assert "max number of clients" in source.probe.reason
            await eventually(lambda: source.probe.age > 1.0)
            await other.publish("codeworm:logs", b"heard")
            await eventually(lambda: witness.payloads == [b"heard"])
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        assert witness.shape == "C"


async def test_a_password_that_changed_is_no_loss_of_what_is_subscribed(redis: Server):
    async with probed(redis.url) as (witness, source):
        await redis.do("CONFIG", "SET", "requirepass", "new-word")
        await eventually(lambda: source.probe.state is ProbeState.UNSENT)
        assert "Authentication required" in source.probe.reason
        await passes(0.6)
        async with redis.client(password="new-word") as client:
            await client.publish("codeworm:logs", b"heard")
        await eventually(lambda: witness.payloads == [b"heard"])
        assert witness.shape == "C"


async def test_a_server_that_knows_no_publish_is_no_loss():
    async with (
        Server("redis", "--rename-command", "PUBLISH", "") as server,
        probed(server.url) as (witness, source),
    ):
        await eventually(lambda: source.probe.state is ProbeState.UNSENT)
        assert "unknown command" in source.probe.reason
        await passes(0.6)
        assert witness.shape == "C"


async def test_a_publisher_that_gets_no_answer_is_no_loss(redis: Server):
    async with Proxy(redis.port) as proxy, probed(proxy.url, idle_after=60, longest_pause=60) as (witness, source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        proxy.is_swallowing = True
        await eventually(lambda: source.probe.state is ProbeState.UNSENT)
        assert source.probe.reason == "no probe can be published: PUBLISH failed: no answer in time"
        assert witness.shape == "C"


# Its end


async def test_closing_at_any_step_of_a_probe_leaves_nothing(server: Server):
    source = RedisSource(server.url, channels=CHANNELS, **{**QUICK, "probe_every": 0.0001})
    for steps in range(60):
        happenings = source.__aiter__()
        await anext(happenings)
        for _ in range(steps):
            await asyncio.sleep(0)
        await happenings.aclose()
    async with server.client() as client:
        await eventually(lambda: _no_channel(client))


async def _no_channel(client: Any) -> bool:
    return await client.pubsub_channels() == []


@pytest.mark.parametrize("state", ["frozen", "swallowing", "deaf"])
async def test_cancellation_takes_less_than_a_second_whatever_a_probe_waits_for(redis: Server, state: str):
    async with DeafProxy(redis.port) as proxy, probed(proxy.url, dead_after=30, idle_after=30) as (_, source):
        await eventually(lambda: source.probe.state is ProbeState.HEARD)
        match state:
            case "frozen":
                redis.freeze()
            case "swallowing":
                proxy.is_swallowing = True
            case "deaf":
                proxy.is_deaf = True
        await eventually(lambda: source.probe.age > 0.5)
    # `watching` has asserted it.
