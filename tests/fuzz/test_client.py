"""What something that calls itself a relay may send to the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

import pytest
from fuzz.parsers import PARSERS
from support.complaints import complaints
from support.mutation import WORDS, mutated, pieces
from websockets.utils import accept_key

from codeworm_monitor.client import Address, Ended, Happening, Lost, RelayClient
from codeworm_monitor.envelope import Cursor, Envelope, Gap, GapCause
from codeworm_monitor.frames import (
    Batch,
    ErrorFrame,
    Hello,
    Pong,
    Position,
    Subscribe,
    Subscribed,
    encode_v2,
    text_frame,
)

CASES = 300
KNOWN = (Hello, Subscribed, Batch, Gap, Position, ErrorFrame, Lost, Ended)

HELLO = Hello(
    version="1", epoch="e", oldest=1, head=2, channels=["c"], snapshot={}, limits={"heartbeat_seconds": 15}, time=3.5
)
CONVERSATION = [
    encode_v2(HELLO),
    encode_v2(Subscribed(cursor=Cursor("e", 0), recovered=True)),
    encode_v2([Envelope(1, 1.5, "c", b"{}"), Envelope(2, 2.5, "d", b"[1]")]),
    encode_v2(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.5, ended_at=2.5, offset=3)),
    encode_v2(Gap(cause=GapCause.SLOW_READER, started_at=1.5, ended_at=2.5, first_offset=4, last_offset=9)),
    encode_v2(Position(12)),
    encode_v2(Pong(1.5)),
    encode_v2([Envelope(13, 1.5, "c", b'"x"')]),
    encode_v2(ErrorFrame("no")),
]
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: codeworm.v2\r\n\r\n"
)
REFUSALS = [
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno\n",
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nfull",
    b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/ws\r\n\r\n",
]
LINES = (
    *(b"Content-Length: -1\r\n", b"Content-Length: x\r\n", b"Content-Length: 99999999999999999999\r\n", b": \r\n"),
    *(b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"Location: http://[\r\n", b"HTTP/1.1 999 ", b"HTTP/1.1 -1 "),
    *(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"Sec-WebSocket-Accept: \xff\r\n", b"X: y\r\n" * 200),
)


def sentences_case(random: Random, accept: bytes) -> bytes:
    """A right conversation, of which the words are spoilt."""
    words = (*WORDS, *PARSERS["parse_from_server"].words)
    said = [mutated(random, one, CONVERSATION, words) if random.random() < 0.3 else one for one in CONVERSATION]
    if random.random() < 0.3:
        random.shuffle(said)
    return ANSWER % accept + b"".join(map(text_frame, said))


def frames_case(random: Random, accept: bytes) -> bytes:
    """A right conversation, of which the bytes are spoilt, and between them control frames of all kinds."""
    frames = b""
    for one in CONVERSATION:
        frames += text_frame(one)
        if random.random() < 0.2:
            payload = random.choice((b"", b"\x03\xe8", b"\x11\x94no", b"\x00", b"\xff" * 125))
            frames += bytes((random.choice((0x80, 0x00)) | random.choice(range(16)), len(payload))) + payload
    return ANSWER % accept + mutated(random, frames, [frames])


def answer_case(random: Random, accept: bytes) -> bytes:
    """The answer to the handshake, spoilt."""
    answer = random.choice((ANSWER % accept, *REFUSALS))
    return mutated(random, answer, [ANSWER % accept, *REFUSALS], (*WORDS, *LINES)) + text_frame(encode_v2(HELLO))


class Impostor:
    """A server that answers each connection with the next of some texts, and closes."""

    def __init__(self, case: Callable[[Random, bytes], bytes], random: Random) -> None:
        self.said = b""
        self._case = case
        self._random = random
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        random = self._random
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            key = next(line[19:] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
            self.said = self._case(random, accept_key(key.decode()).encode())
            for piece in pieces(random, self.said):
                writer.write(piece)
                await writer.drain()
            # A client that understood the opening answers it; what it does not see before the end it need not judge.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.03):
                    await reader.read(65536)
            if random.random() < 0.5:
                writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has heard enough
        finally:
            writer.close()

    async def aclose(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def ascending(happenings: list[Happening]) -> Iterator[bool]:
    """Tell of each pair of messages between two answers to `subscribe` whether the second is newer."""
    run: list[int] = []
    for happening in happenings:
        match happening:
            case Subscribed() | Lost():
                run = []
            case Batch(envelopes):
                run += [envelope.offset for envelope, _ in envelopes]
                yield from (first < second for first, second in pairwise(run))


@pytest.mark.parametrize("case", [sentences_case, frames_case, answer_case])
async def test_whatever_a_relay_sends_the_client_says_what_was_wrong_and_goes_on(case):
    impostor = Impostor(case, Random(case.__name__))
    server = await asyncio.start_server(impostor.serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
    seen: set[type] = set()
    tasks = asyncio.all_tasks()
    with complaints() as complained:
        for number in range(CASES):
            client = RelayClient(lambda: [Address(url, "token")], Subscribe(tail=10), first_delay=0.001)
            happenings: list[Happening] = []
            try:
                async with asyncio.timeout(20), contextlib.aclosing(client.stream()) as stream:
                    async for happening in stream:
                        happenings.append(happening)
                        if isinstance(happening, Lost | Ended):
                            break
            except Exception as error:
                raise AssertionError(f"case {number}: {error!r} after {impostor.said!r}") from error
            assert happenings
            assert all(type(one) in KNOWN for one in happenings)
            assert all(ascending(happenings)), impostor.said
            assert not complained, f"{complained} after {impostor.said!r}"
            seen |= {type(one) for one in happenings}
        await impostor.aclose()
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(10):
            while left := asyncio.all_tasks() - tasks:
                await asyncio.wait(left)
    assert seen >= ({Hello, Lost} if case is answer_case else {Hello, Subscribed, Batch, Gap, Position, Lost})
