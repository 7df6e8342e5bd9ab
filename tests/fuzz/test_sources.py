"""What something that calls itself Redis may send."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any, cast

from support.complaints import complaints
from support.mutation import WORDS, mutated, pieces

from codeworm_monitor.errors import SourceError
from codeworm_monitor.sources import Connected, Disconnected, Message
from codeworm_monitor.sources.redis import RedisSource
from codeworm_monitor.sources.redis_target import OpenedConnection
from codeworm_monitor.sources.subscription import Subscription

CHANNELS = ("codeworm:logs", "codeworm:events")
CASES = 4000
CONNECTIONS = 200


def bulk(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


CONFIRMED = b"".join(
    b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:%d\r\n" % (len(name), name.encode(), number)
    for number, name in enumerate(CHANNELS, 1)
)
REPLIES = [
    b"+OK\r\n",
    CONFIRMED,
    bulk(b"message", b"codeworm:logs", b'{"event":"a"}'),
    bulk(b"message", b"codeworm:events", b"\xff\x00\r\n" * 20),
    bulk(b"pong", b""),
    b"-NOPERM this user has no permissions\r\n",
    b"-ERR unknown\r\n",
    b"$-1\r\n*-1\r\n",
    b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n",
    bulk(b"message", b"nobody's", b"x"),
]
# Arrays announced to be huge are left out: hiredis makes room for as many as the server says there will be.
PIECES = (
    *(b"*3\r\n", b"*0\r\n", b"*-1\r\n", b"$-1\r\n", b":1\r\n", b"+\r\n", b"-\r\n", b"-LOADING x\r\n", b"$0\r\n\r\n"),
    *(b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(123\r\n", b"=7\r\ntxt:abc\r\n", b"%1\r\n+a\r\n+b\r\n", b"~1\r\n+a\r\n"),
    *(
        b">3\r\n$7\r\nmessage\r\n",
        b"*1\r\n" * 12,
        b"*3\r\n*1\r\n+message\r\n",
        b"$7\r\nmessage\r\n",
        b"\r\n",
        b"HTTP/1.1",
    ),
)


def conversation(random: Random) -> bytes:
    """What Redis would say, with replies in any order behind the first, and most often spoilt."""
    said = REPLIES[:2] + [random.choice(REPLIES) for _ in range(random.randint(0, 8))]
    text = b"".join(said)
    if random.random() < 0.85:
        place = random.choice((0, len(REPLIES[0] + CONFIRMED)))
        text = text[:place] + mutated(random, text[place:], REPLIES, (*WORDS, *PIECES))
    # See above.
    return text if _largest_array(text) < 100_000 else conversation(random)


def _largest_array(text: bytes) -> int:
    sizes = [line[1:20] for line in text.split(b"\r\n") if line[:1] in (b"*", b"%", b"~", b">", b"|")]
    return max((int(size) for size in sizes if size.isdigit()), default=0)


class Line(asyncio.Transport):
    """A transport on which nothing but the test sends."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol | None = None
        self.is_open = True

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        if self.is_open and self.protocol is not None:
            self.is_open = False
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Opened:
    """What `Subscription.start` takes over."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def hand_over(self, protocol: asyncio.Protocol) -> bytes:
        self._line.protocol = protocol
        return b""


async def test_whatever_redis_sends_is_messages_or_a_source_error():
    random = Random("subscription")
    ends: set[str] = set()
    whole = 0
    with complaints() as complained:
        for number in range(CASES):
            text = conversation(random)
            line = Line()
            subscription = Subscription(line, CHANNELS, dead_after=60, idle_after=60, max_waiting=10**6)
            await subscription.start(cast(OpenedConnection, Opened(line)))
            messages: list[Message] = []
            try:
                for piece in pieces(random, text):
                    if line.is_open:
                        subscription.data_received(piece)
                    if random.random() < 0.3:
                        subscription.ping()
                while subscription.has_messages:
                    messages += await subscription.take()
                line.abort()
                await subscription.wait_closed()
                with contextlib.suppress(SourceError):
                    await subscription.take()
            except Exception as error:
                raise AssertionError(f"case {number}: {error!r} from {text!r}") from error
            assert isinstance(subscription.lost, SourceError)
            assert all(message.channel in CHANNELS and type(message.payload) is bytes for message in messages)
            ends.add(str(subscription.lost)[:20])
            whole += bool(messages)
    assert not complained
    assert len(ends) > 5
    assert whole > CASES // 10


async def test_whatever_answers_as_redis_the_source_reports_an_interruption():
    random = Random("source")
    said = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        said = conversation(random)
        # The password is answered first, and answered wrongly now and then.
        texts = [b"+OK\r\n" if random.random() < 0.7 else mutated(random, b"+OK\r\n", REPLIES, PIECES), said]
        try:
            for text in texts:
                await reader.read(65536)
                for piece in pieces(random, text if _largest_array(text) < 100_000 else b""):
                    writer.write(piece)
                    await writer.drain()
        except ConnectionError:
            pass  # the source has heard enough
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    kinds: set[type] = set()
    with complaints() as complained:
        for number in range(CONNECTIONS):
            source = RedisSource(url, channels=CHANNELS, dead_after=0.3, probe_every=None)
            try:
                async with asyncio.timeout(20), contextlib.aclosing(source.__aiter__()) as happenings:
                    async for happening in happenings:
                        kinds.add(type(happening))
                        if isinstance(happening, Disconnected):
                            assert happening.reason
                            break
            except Exception as error:
                raise AssertionError(f"case {number}: {error!r} after {said!r}") from error
        server.close()
        await server.wait_closed()
    assert not complained
    assert kinds == {list, Connected, Disconnected}
