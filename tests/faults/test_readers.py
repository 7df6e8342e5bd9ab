"""Readers that stall, flood, lie and come in crowds, cases 19 to 27, against a relay process.

What is under test: whatever one reader does, another is served, the relay's memory keeps its bound, and nothing of the
culprit is left when it has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import orjson
import pytest
from hypothesis import strategies as st
from support.load import LOGS, Load, kept_reading, under_load, unexplained
from support.processes import TOKEN
from support.raw_readers import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    RawReader,
    close_code,
    masked_frame,
    raw_reader,
    upgrade,
)
from support.readers import V2Reader, v1_reader, v2_reader
from support.servers import Server
from support.vitals import MIB, Vitals, watched_relay
from support.waiting import eventually
from websockets.exceptions import ConnectionClosed

from codeworm_monitor.envelope import Cursor, GapCause
from codeworm_monitor.filters import MAX_CHOICES, MAX_TEXT
from codeworm_monitor.frames import MAX_TAIL, ErrorFrame

V2 = "codeworm.v2"
SUBSCRIBE = masked_frame(TEXT, b'{"type":"subscribe"}')


class Setting:
    """A relay, its Redis, and a healthy reader that takes all that comes.

    Attributes:
        server: The Redis.
        relay: The relay.
        healthy: The reader.
    """

    def __init__(self, server: Server, relay: Vitals, healthy: V2Reader) -> None:
        self.server = server
        self.relay = relay
        self.healthy = healthy

    async def is_served(self, word: str) -> None:
        """Show that what is published now reaches the healthy reader within five seconds."""
        await self.server.publish(LOGS, [orjson.dumps({"event": word})])
        await eventually(lambda: {"event": word} in self.healthy.data, 5)


@contextlib.asynccontextmanager
async def a_setting(*options: str) -> AsyncIterator[Setting]:
    """A relay with a healthy reader, which must have seen all of the log when the body is over."""
    async with Server() as server, watched_relay(*options, redis_url=server.url) as relay:
        async with v2_reader(relay.url, TOKEN) as healthy:
            await healthy.subscribe()
            async with kept_reading(healthy):
                setting = Setting(server, relay, healthy)
                yield setting
                await setting.is_served("the end")
        assert healthy.is_whole
        assert healthy.gaps == []
        assert unexplained(healthy) == []


def delays_of(reader: V2Reader) -> list[float]:
    """Return how long each message of a load was under way, in seconds, in ascending order."""
    pairs = zip(reader.envelopes, reader.data, strict=True)
    return sorted(envelope.received_at - data["at"] for envelope, data in pairs if "at" in data)


async def test_a_stalled_reader_is_cut_and_neither_delays_another_nor_fills_the_memory() -> None:
    """Case 19."""
    latest: list[float] = []
    async with a_setting("--send-timeout", "1", "--backlog-bytes", str(8 * MIB)) as setting:
        relay, healthy = setting.relay, setting.healthy
        at_rest = relay.memory

        def note_arrival() -> int:
            if healthy.data and "at" in healthy.data[-1]:
                latest.append(time.time() - healthy.data[-1]["at"])
            return len(healthy.data)

        async with (
            raw_reader(relay.port, receive_buffer=4096) as stalled_v1,
            raw_reader(relay.port, receive_buffer=4096, protocol=V2) as stalled_v2,
            under_load(setting.server, 1_000, size=10_000) as load,
        ):
            await stalled_v2.send(SUBSCRIBE)

            async def are_cut() -> bool:
                note_arrival()
                return await relay.metric("readers_evicted_total") == 2

            await eventually(are_cut, 20)
            assert (
                relay.memory - at_rest < 64 * MIB
            )  # a backlog of 8 MiB, twice 4 MiB of buffers, and what allocators keep
            assert await relay.metric("readers") == 1
            assert stalled_v1.answer.startswith(b"HTTP/1.1 101")
        await eventually(lambda: note_arrival() >= load.published)
    assert latest
    assert sorted(latest)[int(len(latest) * 0.99)] < 1.0


async def test_a_reader_of_one_kilobyte_a_second_skips_with_gaps_and_is_not_cut() -> None:
    """Case 20."""
    async with a_setting("--backlog", "500") as setting:
        relay = setting.relay
        async with (
            raw_reader(relay.port, receive_buffer=4096, protocol=V2) as slow,
            under_load(setting.server, 500, size=10_000),
        ):
            await slow.send(SUBSCRIBE)
            started = time.monotonic()
            taken = 0
            while time.monotonic() - started < 14:  # longer than the send timeout; its kernel asks for more every 6 s
                more = await slow.take(256)
                assert more, f"cut after {time.monotonic() - started:.1f} s and {taken} bytes"
                taken += len(more)
                await asyncio.sleep(0.25)  # the reader's pace: it is the case
            assert await relay.metric("readers_evicted_total") == 0
            assert await relay.metric("readers_connected_total") == 2


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (None, masked_frame(TEXT, b"ping")),
        (None, masked_frame(PING, b"x" * 125)),
        (V2, masked_frame(TEXT, b'{"type":"ping"}')),
    ],
    ids=["v1", "control frames", "v2"],
)
async def test_a_flood_of_pings_delays_nobody(protocol: str | None, message: bytes) -> None:
    """Case 21: 10,000 a second and more, for as long as it takes; the answers are not read."""
    async with a_setting("--send-timeout", "2") as setting:
        at_rest = setting.relay.memory
        async with raw_reader(setting.relay.port, protocol=protocol) as flood:
            if protocol:
                await flood.send(SUBSCRIBE)
            sending = asyncio.create_task(_flood(flood, message * 500, times=40))
            for n in range(10):
                await setting.is_served(f"meanwhile {n}")
            assert setting.relay.memory - at_rest < 64 * MIB
            sending.cancel()
            await asyncio.wait([sending])


async def _flood(reader: RawReader, data: bytes, *, times: int) -> None:
    with contextlib.suppress(ConnectionError):  # being cut is an answer, too
        for _ in range(times):
            await reader.send(data)


async def test_a_flood_of_subscriptions_with_hostile_texts_delays_nobody() -> None:
    """Case 21: 100,000 subscriptions, each with another filter and the whole backlog wanted again."""
    texts = ["(a+)+$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$", "\\", "%s%n{0}", "\u0130" * 100, "[" * 200, "'; --"]
    async with a_setting() as setting:
        at_rest = setting.relay.memory
        await setting.server.publish(LOGS, [orjson.dumps({"event": "x" * 200 + "y" * n}) for n in range(2_000)])
        async with raw_reader(setting.relay.port, protocol=V2) as flood:
            wanted = [
                orjson.dumps(
                    {"type": "subscribe", "since": {"tail": MAX_TAIL}, "filter": {"text": f"{texts[n % 8]}{n}"}}
                )
                for n in range(100_000)
            ]
            sending = asyncio.create_task(
                _flood(flood, b"".join(masked_frame(TEXT, one) for one in wanted), times=1), name="test:flood"
            )
            for n in range(20):
                await setting.is_served(f"meanwhile {n}")
            assert setting.relay.memory - at_rest < 64 * MIB
            sending.cancel()
            await asyncio.wait([sending])


async def test_a_subscription_out_of_bounds_ends_with_the_reason() -> None:
    """Case 21."""
    requests: list[dict[str, Any]] = [
        {"filter": {"text": "x" * (MAX_TEXT + 1)}},
        {"filter": {"text": "\ufb03" * MAX_TEXT}},  # one character, three once letter case is folded
        {"filter": {"repo": ["r"] * (MAX_CHOICES + 1)}},
        {"filter": {"level": "(a+)+$"}},
        {"filter": {"regex": ".*"}},
        {"channels": [[["deep"]]]},
        {"since": {"tail": MAX_TAIL + 1}},
        {"since": {"time": "now"}},
        {"since": {"cursor": "e" * 60_000}},
    ]
    async with a_setting() as setting:
        for request in requests:
            async with v2_reader(setting.relay.url, TOKEN) as reader:
                await reader.connection.send(orjson.dumps({"type": "subscribe", **request}), text=True)
                frame = await reader.read()
                assert isinstance(frame, ErrorFrame), request
                assert len(frame.message) < 300
                with pytest.raises(ConnectionClosed) as closed:
                    await reader.read()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4500


async def test_frames_that_break_the_protocol_end_their_own_connection_only() -> None:
    """Case 22."""
    cases: dict[str, tuple[bytes, int]] = {
        "a message over the limit": (masked_frame(TEXT, b"x" * (64 * 2**10 + 1)), 1009),
        "the head of a frame of 2^62 bytes": (bytes([0x81, 0xFF]) + (2**62).to_bytes(8, "big") + bytes(4), 1009),
        "the head of a frame of 2^63 bytes": (bytes([0x81, 0xFF]) + (2**63).to_bytes(8, "big") + bytes(4), 1009),
        "many fragments over the limit": (_fragments(b"x" * 64, 5_000), 1009),
        "a reserved bit": (masked_frame(TEXT, b"ping", reserved=4), 1002),
        "reserved bits": (masked_frame(TEXT, b"ping", reserved=3), 1002),
        "no mask": (masked_frame(TEXT, b"ping", is_masked=False), 1002),
        "an unknown opcode": (masked_frame(0x3, b"ping"), 1002),
        "a continuation of nothing": (masked_frame(CONTINUATION, b"ping"), 1002),
        "a message within a message": (masked_frame(TEXT, b"a", is_final=False) + masked_frame(TEXT, b"b"), 1002),
        "a fragmented ping": (masked_frame(PING, b"a", is_final=False), 1002),
        "a long ping": (masked_frame(PING, b"a" * 126), 1002),
        "no UTF-8": (masked_frame(TEXT, b"\xff\xfe"), 1007),
        "close code 999": (masked_frame(CLOSE, (999).to_bytes(2, "big")), 1002),
        "close code 1005": (masked_frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
        "close code 65535": (masked_frame(CLOSE, (65535).to_bytes(2, "big")), 1002),
        "half a close code": (masked_frame(CLOSE, b"\x03"), 1002),
        "a close reason that is no UTF-8": (masked_frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    }
    async with a_setting() as setting:
        for what, (data, expected) in cases.items():
            async with raw_reader(setting.relay.port) as reader:
                with contextlib.suppress(ConnectionError):
                    await reader.send(data)
                async with asyncio.timeout(5):
                    assert close_code(await reader.take_all()) == expected, what
        await setting.is_served("still")


def _fragments(piece: bytes, count: int) -> bytes:
    middle = masked_frame(CONTINUATION, piece, is_final=False)
    return masked_frame(TEXT, piece, is_final=False) + middle * count + masked_frame(CONTINUATION, piece)


async def test_fragments_without_end_and_without_content_are_bounded_in_memory() -> None:
    """Case 22: a million empty fragments of one message, of six bytes each."""
    async with a_setting() as setting:
        at_rest = setting.relay.memory
        async with raw_reader(setting.relay.port) as reader:
            sending = asyncio.create_task(_flood(reader, _fragments(b"", 10_000)[:-6], times=100))
            async with asyncio.timeout(20):
                taken = await reader.take_all()
            sending.cancel()
            await asyncio.wait([sending])
        assert close_code(taken) in (1002, 1009, None)  # None: reset, as more had been sent than was read
        assert setting.relay.memory - at_rest < 32 * MIB


async def test_compression_is_not_negotiated_and_a_bomb_is_a_broken_frame() -> None:
    """Case 22."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_no_context_takeover"
    async with a_setting() as setting, raw_reader(setting.relay.port, offer) as reader:
        assert b"extensions" not in reader.answer.lower()
        await reader.send(masked_frame(BINARY, b"\xed\xc0\x01\x01\x00" * 1_000, reserved=4))
        assert close_code(await reader.take_all()) == 1002


async def test_500_half_open_handshakes_hinder_nobody_and_are_let_go() -> None:
    """Case 23: each sends another byte of its request now and then, and never the last."""
    request = upgrade()
    async with a_setting() as setting, contextlib.AsyncExitStack() as stack:
        relay = setting.relay
        half_open = [stack.enter_context(RawReader(relay.port)) for _ in range(500)]
        for reader in half_open:
            await reader.connect()
            await reader.send(request[:20])
        await eventually(lambda: _reaches(relay, "handshakes", 500))
        await setting.is_served("beside 500")
        async with v1_reader(relay.url, TOKEN) as newcomer:
            await newcomer.send("ping")
            async with asyncio.timeout(5):
                while await newcomer.recv() != '{"type":"pong"}':
                    pass

        async def are_gone() -> bool:
            for reader in half_open[:50]:
                with contextlib.suppress(ConnectionError):
                    await reader.send(request[20:21])
            return await relay.metric("handshakes") <= 1  # the request that asks is one

        await eventually(are_gone, 20)
        assert relay.descriptors <= relay.descriptors_at_rest + 1


async def _reaches(relay: Vitals, name: str, number: float) -> bool:
    return await relay.metric(name) >= number


async def test_the_bound_of_handshakes_cuts_what_is_over_it_and_frees() -> None:
    """Case 23."""
    async with a_setting("--max-handshakes", "20") as setting:
        with contextlib.ExitStack() as stack:
            half_open = [stack.enter_context(RawReader(setting.relay.port)) for _ in range(60)]
            for reader in half_open:
                await reader.connect()
            for reader in half_open[20:]:  # they are accepted in this order
                async with asyncio.timeout(5):
                    assert await reader.take_all() == b""
            await setting.is_served("beside the bound")
        await eventually(lambda: setting.relay.descriptors <= setting.relay.descriptors_at_rest + 1)
        assert await setting.relay.metric("bound_refusals_total") >= 40


async def test_origin_host_and_token_are_checked() -> None:
    """Case 24."""
    origins = [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost:5173\r\nOrigin: https://evil.example",
        "http://evil.example@127.0.0.1",
        "http://127.0.0.1.evil.example",
        "javascript:alert(1)",
        "",
    ]
    hosts = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1"]
    async with a_setting() as setting:
        relay = setting.relay
        for origin in origins:  # with the right token
            assert await _status(relay, upgrade(f"Origin: {origin}")) == 403, origin
        assert await _status(relay, upgrade()) == 101  # no browser
        for host in hosts:
            assert await _status(relay, upgrade(host=host)) == 403, host
        for token in (None, "wrong-horse-battery", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper()):
            assert await _status(relay, upgrade(token=token)) == 401, token
            for path in ("/metrics", "/info", "/history"):
                assert (await relay.fetch(path, token))[0] == 401, token


async def _status(relay: Vitals, request: bytes) -> int:
    with RawReader(relay.port) as reader:
        await reader.connect()
        await reader.send(request)
        return int((await reader.take()).split()[1])


async def test_the_token_is_in_no_log_line_metric_or_message() -> None:
    """Case 24: at the most talkative level; what the process wrote is looked through when it ends."""
    wrong = "wrong-horse-battery"
    async with a_setting("--log-level", "debug") as setting:
        relay = setting.relay
        for token in (TOKEN, wrong):
            for request in (
                upgrade(token=token),
                upgrade(token=None).replace(b"/ws", b"/ws?token=" + token.encode()),
                upgrade(token=None, protocol=f"codeworm.token.{token}"),
                b"GET /ws?token=" + token.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nBroken\r\n\r\n",
                b"GET /ws?token=" + token.encode() + b"\r\n\r\n",
            ):
                with RawReader(relay.port) as reader:
                    await reader.connect()
                    await reader.send(request)
                    answer = await reader.take()
                    assert token.encode() not in answer.replace(b"codeworm.token." + token.encode(), b"")
        for path in ("/metrics", "/info", "/livez", "/readyz"):
            _, text = await relay.fetch(path)
            assert TOKEN not in text
            assert wrong not in text
        await setting.is_served("after")
        assert not any(word in repr(setting.healthy.journal) for word in (TOKEN, wrong))


async def test_500_readers_return_at_once_to_a_relay_started_again_on_its_port() -> None:
    """Case 25: each goes on where it was, is told that the relay was away, and none is kept waiting."""
    count = 500
    async with Server() as server, contextlib.AsyncExitStack() as first:
        async with watched_relay(redis_url=server.url) as relay:
            port = relay.port
            readers = [await first.enter_async_context(v2_reader(relay.url, TOKEN)) for _ in range(count)]
            for reader in readers:
                await reader.subscribe()
            await server.publish(LOGS, [b"%d" % n for n in range(10)])
            for reader in readers:
                await reader.read_until(10)
            cursors = [Cursor(reader.hello.epoch, reader.seen[-1]) for reader in readers]
            status, _, err = await relay.relay.stop()
            assert status == 0, err
        codes = []
        for reader in readers:
            with pytest.raises(ConnectionClosed) as closed:
                await reader.read_until(2**60)
            codes.append(closed.value.rcvd.code if closed.value.rcvd else None)
        assert codes == [1012] * count
        async with (
            watched_relay(redis_url=server.url, port=port) as relay,
            contextlib.AsyncExitStack() as second,
            asyncio.timeout(20),
        ):

            async def come_back(cursor: Cursor) -> V2Reader:
                reader = await second.enter_async_context(v2_reader(relay.url, TOKEN, open_timeout=20))
                answer = await reader.subscribe(cursor=cursor)
                assert (answer.recovered, answer.reason) == (True, None)
                return reader

            readers = await asyncio.gather(*map(come_back, cursors))
            assert await relay.metric("readers") == count
            await server.publish(LOGS, [b"10"])
            for reader in readers:
                await reader.read_until(1)
                assert reader.data == [10]
                assert [gap.cause for gap in reader.gaps] == [GapCause.RELAY_RESTART]
                assert reader.is_whole


async def test_readers_that_join_and_leave_in_mid_broadcast_make_nobody_skip_or_see_twice() -> None:
    """Case 26."""
    dice = random.Random(26)
    async with a_setting() as setting, contextlib.AsyncExitStack() as stack:
        relay = setting.relay
        steady = [await stack.enter_async_context(v2_reader(relay.url, TOKEN)) for _ in range(10)]
        old = await stack.enter_async_context(v1_reader(relay.url, TOKEN, max_queue=None))
        for reader in steady:
            await reader.subscribe()
            await stack.enter_async_context(kept_reading(reader))
        guests: list[V2Reader] = []

        async def come_and_go() -> None:
            for _ in range(15):
                async with v2_reader(relay.url, TOKEN) as guest:
                    wanted: dict[str, Any] = dice.choice([{}, {"tail": dice.randrange(500)}])
                    await guest.subscribe(**wanted)
                    guests.append(guest)
                    for _ in range(dice.randrange(1, 6)):
                        await guest.read()
                    if dice.random() < 0.5:
                        guest.connection.transport.abort()

        async with under_load(setting.server, 3_000) as load:
            await asyncio.gather(*(come_and_go() for _ in range(6)))
        await eventually(lambda: all(len(reader.data) == load.published for reader in steady))
        numbers = [orjson.loads(await old.recv(decode=False))["data"]["n"] for _ in range(load.published)]
        assert numbers == list(range(load.published))
        for reader in steady:
            assert [data["n"] for data in reader.data] == list(range(load.published))
            assert reader.is_whole
        assert len(guests) == 90
        for guest in guests:
            assert guest.is_whole
            assert unexplained(guest) == []


WAYS = {
    "its own": lambda hello, own, dice: own,
    "0": lambda hello, own, dice: Cursor(hello.epoch, 0),
    "the head": lambda hello, own, dice: Cursor(hello.epoch, hello.head),
    "the future": lambda hello, own, dice: Cursor(hello.epoch, hello.head + 10**9),
    "another epoch": lambda hello, own, dice: Cursor("another", own.offset),
    "trimmed": lambda hello, own, dice: Cursor(hello.epoch, dice.randrange(max(1, hello.oldest - 1))),
    "kept": lambda hello, own, dice: Cursor(hello.epoch, dice.randrange(hello.oldest - 1, hello.head + 1)),
}


class Ingest:
    """A relay of little memory under load, and all that was ever published, to compare with."""

    def __init__(self, relay: Vitals, load: Load, witness: V2Reader) -> None:
        self.relay = relay
        self.load = load
        self.witness = witness


@pytest.fixture
async def ingest() -> AsyncIterator[Ingest]:
    """A relay that keeps 2,000 entries of 2,000 a second."""
    async with Server() as server, watched_relay("--backlog", "2000", redis_url=server.url) as relay:
        async with v2_reader(relay.url, TOKEN) as witness:
            await witness.subscribe()
            async with kept_reading(witness), under_load(server, 2_000) as load:
                await eventually(lambda: len(witness.data) > 3_000)
                yield Ingest(relay, load, witness)
        assert witness.is_whole
        assert witness.gaps == []
        assert unexplained(witness) == []


@hypothesis.given(st.lists(st.tuples(st.sampled_from(sorted(WAYS)), st.integers(1, 8), st.booleans()), max_size=6))
@hypothesis.settings(
    max_examples=15, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None
)
async def test_resuming_in_whatever_way_during_ingest_is_as_the_model_says(
    ingest: Ingest, visits: list[tuple[str, int, bool]]
) -> None:
    """Case 27: the model is the log itself, as one reader that never left saw it."""
    relay, dice = ingest.relay, random.Random(27)
    own = Cursor(ingest.witness.hello.epoch, ingest.witness.seen[0])
    for way, frames, is_aborted in visits:
        async with v2_reader(relay.url, TOKEN) as reader:
            hello = reader.hello
            cursor = WAYS[way](hello, own, dice)
            answer = await reader.subscribe(cursor=cursor)
            while len(reader.seen) == 0 or frames > 0:
                await reader.read()
                frames -= 1
            if is_aborted:
                reader.connection.transport.abort()
        assert reader.is_whole
        first, is_resumed = reader.seen[0], answer.recovered
        match answer.reason:
            case "epoch":
                assert cursor.epoch != hello.epoch
                assert [gap.cause for gap in reader.gaps] == [GapCause.RELAY_RESTART]
                assert hello.oldest <= first
            case "future":
                assert cursor.offset > hello.head
                assert first > hello.head
            case "trimmed":
                assert first == cursor.offset + 1
                assert reader.gaps[0].cause is GapCause.TRIMMED
            case None:
                assert cursor.epoch == hello.epoch
                assert hello.oldest - 1 <= cursor.offset
                assert first == cursor.offset + 1
        assert is_resumed is (answer.reason is None)
        # Not only the right offsets: the same messages under them.
        await eventually(lambda reader=reader: ingest.witness.seen[-1] >= reader.seen[-1])
        truth = dict(zip(ingest.witness.offsets, (data["n"] for data in ingest.witness.data), strict=True))
        for offset, data in zip(reader.offsets, reader.data, strict=True):
            assert truth.get(offset, data["n"]) == data["n"]
        own = Cursor(hello.epoch, reader.seen[-1])
