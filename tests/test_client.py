"""The client: resumes without loss or duplicate, and survives relays that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.scripted_relay import ScriptedRelay
from support.waiting import eventually
from websockets.asyncio.server import ServerConnection

from codeworm_monitor import frames
from codeworm_monitor.backoff import delays
from codeworm_monitor.client import Address, Ended, Happening, Lost, RelayClient
from codeworm_monitor.envelope import Cursor, Envelope, Gap, GapCause
from codeworm_monitor.frames import Batch, Hello, Subscribe, Subscribed


class Reading:
    """A client read by a task; `happenings` grows."""

    def __init__(self, client: RelayClient) -> None:
        self.client = client
        self.happenings: list[Happening] = []

    async def run(self) -> None:
        async with contextlib.aclosing(self.client.stream()) as stream:
            async for happening in stream:
                self.happenings.append(happening)

    def of(self, kind: type) -> list[Any]:
        return [happening for happening in self.happenings if isinstance(happening, kind)]

    @property
    def offsets(self) -> list[int]:
        return [envelope.offset for batch in self.of(Batch) for envelope, _ in batch.envelopes]


@contextlib.asynccontextmanager
async def reading(*addresses: Address, subscribe: Subscribe | None = None, **options: Any) -> AsyncIterator[Reading]:
    options = {"first_delay": 0.01, "longest_delay": 0.05} | options
    one = Reading(RelayClient(lambda: addresses, subscribe or Subscribe(tail=1000), **options))
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    async with ScriptedRelay().running() as scripted:
        yield scripted


async def test_the_backlog_comes_first_then_what_is_new(relay: ScriptedRelay) -> None:
    relay.publish(*range(5))
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.offsets == [1, 2, 3, 4, 5])
        relay.publish("new")
        await eventually(lambda: one.offsets == [1, 2, 3, 4, 5, 6])
        assert [type(happening) for happening in one.happenings[:2]] == [Hello, Subscribed]
        assert one.client.cursor == Cursor("epoch-1", 6)


async def test_from_now_on_means_from_the_state_that_hello_told(relay: ScriptedRelay) -> None:
    relay.publish(1, 2)
    async with reading(Address(relay.url), subscribe=Subscribe()) as one:
        await eventually(lambda: one.of(Subscribed))
        assert relay.requests[0]["since"] == {"cursor": "epoch-1:2"}


async def test_a_cut_connection_is_resumed_without_loss_or_duplicate(relay: ScriptedRelay) -> None:
    async with reading(Address(relay.url)) as one:
        for round_ in range(10):
            relay.publish(*range(20))
            await eventually(lambda seen=23 * round_: one.offsets and one.offsets[-1] > seen)
            relay.publish(*range(3))
            relay.cut()
            await eventually(lambda connections=round_ + 2: relay.connected >= connections)
        await eventually(lambda: one.offsets == list(range(1, 231)))
        assert all(request["since"] == {"tail": 1000} for request in relay.requests[:1])
        assert all("cursor" in request["since"] for request in relay.requests[1:])


async def test_what_comes_twice_is_given_once(relay: ScriptedRelay) -> None:
    async def repeat(connection: ServerConnection) -> None:
        await relay.greet(connection)
        for first, last in ((1, 3), (2, 5), (4, 5), (6, 6)):
            await connection.send(relay.batch(first, last), text=True)
        await connection.wait_closed()

    relay.publish(*range(6))
    relay.behaviours.append(repeat)
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.offsets == [1, 2, 3, 4, 5, 6])


async def test_another_epoch_is_accepted_with_its_gap(relay: ScriptedRelay) -> None:
    async def restarted(connection: ServerConnection) -> None:
        await relay.greet(connection)
        gap = Gap(cause=GapCause.RELAY_RESTART, started_at=1.0, ended_at=2.0)
        await connection.send(frames.encode_v2(gap), text=True)
        await connection.send(relay.batch(1, 2), text=True)
        await connection.wait_closed()

    relay.publish(*range(9))
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: len(one.offsets) == 9)
        relay.epoch, relay.log = "epoch-2", ["a", "b"]
        relay.behaviours.append(restarted)
        relay.cut()
        await eventually(lambda: one.offsets == [*range(1, 10), 1, 2])
        assert [gap.cause for gap in one.of(Gap)] == [GapCause.RELAY_RESTART]
        assert one.client.cursor == Cursor("epoch-2", 2)


@pytest.mark.parametrize(
    "garbage",
    [
        b"{",
        b"[]",
        b'{"type":"batch"}',
        b'{"type":"batch","envelopes":[{}]}',
        b'{"type":"position","offset":"x"}',
        frames.encode_v2([Envelope(5, 1.0, "c", b"1"), Envelope(4, 1.0, "c", b"1")]),
        frames.encode_v2([Envelope(5, 1e300, "c", b"1")]),
        frames.encode_v2([Envelope(2**60, 1.0, "c", b"1")]),
        frames.encode_v2(Gap(cause=GapCause.TRIMMED, started_at=1e300, ended_at=1.0)),
    ],
)
async def test_garbage_ends_one_connection_and_nothing_else(relay: ScriptedRelay, garbage: bytes) -> None:
    async def talk_nonsense(connection: ServerConnection) -> None:
        await relay.greet(connection)
        await connection.send(garbage, text=True)
        await connection.wait_closed()

    relay.publish(1, 2, 3)
    relay.behaviours.append(talk_nonsense)
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.offsets == [1, 2, 3])
        assert [lost.reason[:36] for lost in one.of(Lost)] == ["the relay sent what cannot be read: "[:36]]


@pytest.mark.parametrize("frame", [b'{"type":"position","offset":1}', b'{"type":"batch","envelopes":[]}'])
async def test_a_conversation_that_does_not_begin_with_hello_is_refused(relay: ScriptedRelay, frame: bytes) -> None:
    async def blurt(connection: ServerConnection) -> None:
        await connection.send(frame, text=True)
        await connection.wait_closed()

    relay.behaviours.append(blurt)
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.of(Subscribed))
        assert "not hello" in one.of(Lost)[0].reason


async def test_frames_of_a_newer_relay_are_passed_over(relay: ScriptedRelay) -> None:
    async def newer(connection: ServerConnection) -> None:
        await connection.send('{"type":"fanfare"}')
        await relay.serve_log(connection)

    relay.publish(1)
    relay.behaviours.append(newer)
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.offsets == [1])
        assert not one.of(Lost)


async def test_a_relay_that_accepts_and_closes_is_not_hammered(relay: ScriptedRelay) -> None:
    async def close(connection: ServerConnection) -> None:
        await connection.close(1012)

    relay.behaviours += [close] * 1000
    async with reading(Address(relay.url), first_delay=0.1, longest_delay=10.0):
        await asyncio.sleep(1.0)
    assert 2 <= relay.connected <= 30


async def test_a_connection_closed_after_hello_is_not_hammered_either(relay: ScriptedRelay) -> None:
    async def greet_and_close(connection: ServerConnection) -> None:
        await relay.greet(connection)

    relay.behaviours += [greet_and_close] * 1000
    async with reading(Address(relay.url), first_delay=0.1, longest_delay=10.0):
        await asyncio.sleep(1.0)
    assert 2 <= relay.connected <= 30


async def test_silence_is_noticed(relay: ScriptedRelay) -> None:
    async def fall_silent(connection: ServerConnection) -> None:
        await relay.greet(connection)
        await connection.wait_closed()

    relay.heartbeat = 0.1
    relay.behaviours.append(fall_silent)
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: relay.connected == 2, within=3)
        assert "nothing was heard" in one.of(Lost)[0].reason


async def test_positions_keep_it_alive_and_move_the_cursor(relay: ScriptedRelay) -> None:
    async def beat(connection: ServerConnection) -> None:
        await relay.greet(connection)
        for offset in range(1, 8):
            await connection.send(frames.encode_v2(frames.Position(offset)), text=True)
            await asyncio.sleep(0.1)
        await connection.wait_closed()

    relay.heartbeat = 0.2
    relay.behaviours.append(beat)
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.client.cursor == Cursor("epoch-1", 7))
        assert not one.of(Lost)


async def test_a_relay_that_says_not_to_come_back_is_obeyed(relay: ScriptedRelay) -> None:
    async def dismiss(connection: ServerConnection) -> None:
        await relay.greet(connection)
        await connection.close(4500, "that was no frame")

    relay.behaviours.append(dismiss)
    async with reading(Address(relay.url)) as one:
        (ended,) = await eventually(lambda: one.of(Ended))
        assert (ended.code, ended.reason) == (4500, "that was no frame")
        await asyncio.sleep(0.2)
        assert relay.connected == 1


async def test_the_token_goes_into_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    relay = ScriptedRelay(token="secret-token")
    async with relay.running(), reading(Address(relay.url, "secret-token")) as one:
        await eventually(lambda: one.of(Subscribed))
        assert relay.headers[0]["Authorization"] == "Bearer secret-token"
        assert "secret-token" not in relay.paths[0]
    told = [record.name for record in caplog.records if "secret-token" in record.getMessage()]
    assert all(name.startswith("websockets.server") for name in told)  # the test's own server, at debug level
    assert "secret-token" not in repr(one.client) + repr(Address(relay.url, "secret-token")) + repr(one.happenings)


async def test_a_refused_token_is_told_and_tried_again_slowly_with_what_is_found_then() -> None:
    addresses: list[Address] = []
    async with ScriptedRelay(token="new-token").running() as relay:
        addresses.append(Address(relay.url, "old-token"))
        one = Reading(RelayClient(lambda: addresses, Subscribe(tail=5), first_delay=0.01, longest_delay=0.02))
        task = asyncio.create_task(one.run())
        (lost,) = await eventually(lambda: one.of(Lost))
        assert lost.is_refusal
        assert lost.wants_token
        assert "A token is wanted" in lost.reason
        assert lost.retry_in <= 2.0
        addresses[:] = [Address(relay.url, "new-token")]
        await eventually(lambda: one.of(Subscribed))
        task.cancel()
        await asyncio.wait([task])


async def test_no_redirect_takes_the_token_elsewhere() -> None:
    async with ScriptedRelay().running() as elsewhere:

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        server = await asyncio.start_server(redirect, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, reading(Address(f"ws://127.0.0.1:{port}/ws", "secret-token")) as one:
            assert "302" in (await eventually(lambda: one.of(Lost)))[0].reason
        assert elsewhere.headers == []


async def test_a_server_that_does_not_speak_v2_is_told_apart() -> None:
    relay = ScriptedRelay()
    relay.subprotocol = None
    async with relay.running(), reading(Address(relay.url)) as one:
        assert "no relay of this kind" in (await eventually(lambda: one.of(Lost)))[0].reason


async def test_the_first_address_that_answers_is_taken(relay: ScriptedRelay) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"ws://127.0.0.1:{closed.getsockname()[1]}/ws"
        async with reading(Address(dead), Address("ws://bad host"), Address(relay.url)) as one:
            await eventually(lambda: one.of(Subscribed))
            assert one.client.url == relay.url
            assert not one.of(Lost)


async def test_an_unknown_relay_is_waited_for() -> None:
    async with reading() as one:
        assert (await eventually(lambda: one.of(Lost)))[0] == Lost(
            reason="no relay is known", url=None, retry_in=one.of(Lost)[0].retry_in
        )


async def test_closing_is_quick_though_the_relay_does_not_answer(relay: ScriptedRelay) -> None:
    async def stall(connection: ServerConnection) -> None:
        await relay.greet(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(4)

    relay.behaviours.append(stall)
    started = asyncio.get_running_loop().time()
    async with reading(Address(relay.url)) as one:
        await eventually(lambda: one.of(Subscribed))
    assert asyncio.get_running_loop().time() - started < 3


def test_delays_are_drawn_evenly_below_a_growing_bound() -> None:
    drawn = [next(delays(first=1.0)) for _ in range(200)]
    assert 0 <= min(drawn) < 0.3
    assert 0.7 < max(drawn) <= 1.0
