"""What strangers may send to the relay's port: spoilt HTTP, spoilt WebSocket frames, spoilt words of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import orjson
import pytest
from support.complaints import complaints
from support.mutation import WORDS, mutated, pieces
from support.readers import V2Reader, v2_reader
from support.served import LOGS, Served, served
from support.waiting import eventually
from support.wire_reader import reading, upgrade
from websockets.frames import Frame, Opcode

from codeworm_monitor import endpoint as endpoint_module
from codeworm_monitor.envelope import Cursor
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Ping, Subscribe, encode_from_client
from codeworm_monitor.sources import Message

TOKEN = "correct-horse-battery"
CASES = 400
AT_ONCE = 20

ORIGINS = ("http://[", "http://[::1", "https://evil.example", "null", "http://127.0.0.1:99999999", "//", "http://é")
TARGETS = (
    "/ws",
    "/ws?token=x",
    "//[",
    "http://[::1/ws",
    "/ws?" + "&" * 30,
    "*",
    "/livez",
    "/ws/../info",
    "/%00",
    "?",
    "/é",
)
REQUESTS = [
    upgrade(),
    upgrade(subprotocol="codeworm.v2"),
    upgrade(subprotocol=f"codeworm.v2, codeworm.token.{TOKEN}"),
    upgrade(token=TOKEN),
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /info HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: http://localhost\r\n\r\n",
    b"POST /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello",
    *(upgrade("/ws", f"Origin: {origin}") for origin in ORIGINS),
    *(upgrade(target) for target in TARGETS),
]
HEADERS = (
    *(
        b"Host: [\r\n",
        b"Host: \r\n",
        b"Host: a b\r\n",
        b"Origin: http://[\r\n",
        b"Origin: \xff\r\n",
        b"Upgrade: h2c\r\n",
    ),
    *(b"Connection: close\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"X: " + b"y" * 9000),
    *(b"Authorization: Bearer\r\n", b"Authorization: \xff\xfe\r\n", b"Sec-WebSocket-Key: ?\r\n", b"A: b\r\n" * 200),
    *(b"Sec-WebSocket-Version: 0\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b" folded\r\n", b"//["),
    *(b"Sec-WebSocket-Protocol: " + b"," * 500 + b"\r\n", b"HTTP/1.0", b"HTTP/2", b"\x16\x03\x01", b"PRI * HTTP/2.0"),
)
WORDS_OF_V2 = [
    encode_from_client(frame)
    for frame in (
        Ping(),
        Subscribe(),
        Subscribe(tail=1000, filter=Filter(level="error", text="x")),
        Subscribe(cursor=Cursor("e", 2**53 - 1), filter=Filter(channels=frozenset({LOGS}))),
        Subscribe(cursor=Cursor("é" * 30, 1)),
        Subscribe(time=-1e300),
    )
] + [
    b"ping",
    b"",
    orjson.dumps({"type": "subscribe", "\U0001f41b" * 40: 1}),
    orjson.dumps({"type": "\U0001f41b" * 40}),
    orjson.dumps({"type": "subscribe", "filter": {"é" * 200: 1}}),
    orjson.dumps({"type": "subscribe", "since": {"cursor": "\U0001f41b" * 80}}),
]


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "SWEEP", 0.05)


def http_case(random: Random) -> bytes:
    """A request, spoilt more often than not."""
    text = random.choice(REQUESTS)
    return text if random.random() < 0.2 else mutated(random, text, REQUESTS, (*WORDS, *HEADERS))


def frames_case(random: Random) -> bytes:
    """A right opening, and frames: right ones, wrong ones, spoilt ones."""
    conversation = b"".join(_frame(random) for _ in range(random.randint(1, 8)))
    if random.random() < 0.3:
        conversation = mutated(random, conversation, [conversation])
    return (
        upgrade(subprotocol=random.choice((None, "codeworm.v1", "codeworm.v2", "codeworm.v2")), token=TOKEN)
        + conversation
    )


def _frame(random: Random) -> bytes:
    words = random.choice(WORDS_OF_V2)
    match random.randrange(8):
        case 0:
            payload = mutated(random, words, WORDS_OF_V2)
            return Frame(Opcode.TEXT, payload).serialize(mask=True)
        case 1:
            return Frame(random.choice((Opcode.TEXT, Opcode.BINARY)), words).serialize(mask=True)
        case 2:  # a message in several frames, perhaps without an end
            parts = [Frame(Opcode.CONT if n else Opcode.TEXT, words, fin=False) for n in range(random.randint(1, 30))]
            end = [Frame(Opcode.CONT, b"")] if random.random() < 0.5 else []
            return b"".join(part.serialize(mask=True) for part in [*parts, *end])
        case 3:  # close, with codes and reasons of all kinds
            code = struct.pack("!H", random.choice((0, 999, 1000, 1005, 1006, 3000, 4500, 65535)))
            return Frame(Opcode.CLOSE, random.choice((b"", b"\x03", code, code + b"\xff", code + b"bye"))).serialize(
                mask=True
            )
        case 4:
            kind = random.choice((Opcode.PING, Opcode.PONG))
            return Frame(kind, random.randbytes(random.choice((0, 5, 125)))).serialize(mask=True)
        case 5:  # not masked, or over the largest size, or of a length that says otherwise
            return random.choice((b"\x81\x02hi", b"\x81\xff" + (2**62).to_bytes(8, "big"), b"\x81\xfe\x00\x01mask!"))
        case 6:
            return Frame(Opcode.TEXT, b"x" * random.choice((126, 65_535, 65_536, 70_000))).serialize(mask=True)
        case _:
            return random.randbytes(random.randint(1, 40))


async def send(port: int, random: Random, text: bytes) -> None:
    """Connect, send this in some way, and end the connection in some way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(OSError):  # the relay may have ended it before we do
            for piece in pieces(random, text):
                writer.write(piece)
                await writer.drain()
                if random.random() < 0.2:
                    await asyncio.sleep(0)
            match random.randrange(4):
                case 0:
                    writer.transport.abort()
                case 1:
                    connection: socket.socket = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case _:
                    # The relay answers what there is to answer, and sees that nothing more will come.
                    writer.write_eof()
                    while await reader.read(65536):
                        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def a_healthy_reader(relay: Served) -> AsyncIterator[V2Reader]:
    async with v2_reader(relay.url, TOKEN) as healthy:
        await healthy.subscribe()
        yield healthy


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


@pytest.mark.parametrize("case", [http_case, frames_case])
@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "with a token"])
async def test_nothing_that_is_sent_is_an_error_of_the_relay_or_hurts_a_reader(case, token):
    random = Random(f"{case.__name__} {token}")
    with complaints() as complained:
        async with served(token=token, inbound_rate=1e6) as relay, a_healthy_reader(relay) as healthy:
            before = descriptors()
            for batch in range(CASES // AT_ONCE):
                texts = [case(random) for _ in range(AT_ONCE)]
                relay.hub.receive([Message(LOGS, b"%d" % batch, 1000.0)])
                async with asyncio.timeout(30), asyncio.TaskGroup() as senders:
                    for number, text in enumerate(texts):
                        senders.create_task(send(relay.port, Random(number), text))
                await healthy.read_until(batch + 1)
                assert not complained, f"after one of {texts}: {complained}"
            await relay.is_free(readers=1)
            await eventually(lambda: descriptors() <= before, otherwise="descriptors are left")
        assert healthy.data == list(range(CASES // AT_ONCE))
        assert healthy.is_whole
    assert not complained


@pytest.mark.parametrize("request_", [upgrade("/ws", "Origin: http://["), upgrade("//[")], ids=["origin", "target"])
async def test_an_address_that_cannot_be_parsed_is_refused_by_the_rules(request_):
    with complaints() as complained:
        async with served() as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(request_)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
    assert answer.split(b" ", 2)[1] in (b"400", b"403", b"404")
    assert not complained


async def test_an_error_in_letters_that_take_several_bytes_is_told_whole_and_closes_with_4500():
    with complaints() as complained:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.connection.send(orjson.dumps({"type": "subscribe", "\U0001f41b" * 40: 1}), text=True)
            frame = await reader.read()
            assert "\U0001f41b" * 40 in frame.message
            await reader.connection.wait_closed()
            assert reader.connection.close_code == 4500
    assert not complained


@pytest.mark.parametrize("subprotocol", ["codeworm.v1", "codeworm.v2"])
async def test_a_reader_that_is_killed_while_its_answer_waits_is_no_error(subprotocol):
    is_v2 = subprotocol == "codeworm.v2"
    with complaints() as complained:
        async with served(inbound_rate=1e6) as relay:
            relay.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            async with reading(relay.port, receive_buffer=2048, subprotocol=subprotocol) as wire:
                if is_v2:
                    await wire.subscribe(Subscribe())
                await eventually(lambda: relay.endpoint.fanout.readers)
                wire.may_read.clear()
                connection = relay.endpoint.fanout.readers[0].connection
                relay.hub.receive([Message(LOGS, b'"%b"' % (b"x" * 100_000), 1000.0)])
                await wire.send(encode_from_client(Ping()) if is_v2 else b"ping")
                await eventually(lambda: connection.drain_waiters)
            await relay.is_free()
    assert not complained
