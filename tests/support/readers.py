"""Readers for tests: plain `websockets` clients that speak v1 and v2 and keep exactly what they received."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from codeworm_monitor import frames
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.journal import RELAY_CHANNEL


@contextlib.asynccontextmanager
async def v1_reader(url: str, token: str | None = None, **options: Any) -> AsyncIterator[ClientConnection]:
    """Connect as the original dashboard does; the token goes into the URL."""
    url = f"{url}?token={token}" if token else url
    async with connect(url, proxy=None, compression=None, **options) as connection:
        yield connection


class V2Reader:
    """A v2 reader that keeps what it reads.

    Attributes:
        hello: The relay's opening.
        texts: Frames as they came.
        envelopes: Messages of publishers, without data.
        data: Their decoded data.
        journal: Decoded data of the relay's own records.
        gaps: Gaps.
        others: Other frames.
        seen: Every offset that came, or was covered by a gap, in order.
    """

    def __init__(self, connection: ClientConnection, hello: frames.Hello) -> None:
        self.connection = connection
        self.hello = hello
        self.texts: list[bytes] = []
        self.envelopes: list[Envelope] = []
        self.data: list[Any] = []
        self.gaps: list[Gap] = []
        self.journal: list[Any] = []
        self.seen: list[int] = []
        self.others: list[Any] = []

    async def subscribe(self, **request: Any) -> frames.Subscribed:
        """Send `subscribe` and return the answer."""
        await self.connection.send(frames.encode_from_client(frames.Subscribe(**request)), text=True)
        while True:
            frame = await self.read()
            if isinstance(frame, frames.Subscribed):
                return frame

    async def read(self) -> Any:
        """Take one frame."""
        text = await self.connection.recv(decode=False)
        assert isinstance(text, bytes)
        self.texts.append(text)
        frame = frames.parse_from_server(text)
        match frame:
            case frames.Batch(envelopes=pairs):
                self.seen += [envelope.offset for envelope, _ in pairs]
                for envelope, data in pairs:
                    if envelope.channel == RELAY_CHANNEL:
                        self.journal.append(data)
                    else:
                        self.envelopes.append(envelope)
                        self.data.append(data)
            case Gap():
                self.gaps.append(frame)
                if frame.offset is not None:
                    self.seen.append(frame.offset)
                elif frame.first_offset is not None and frame.last_offset is not None:
                    self.seen += range(frame.first_offset, frame.last_offset + 1)
            case _:
                self.others.append(frame)
        return frame

    async def read_until(self, count: int) -> None:
        """Take frames until so many envelopes were received in all."""
        while len(self.envelopes) < count:
            await self.read()

    @property
    def offsets(self) -> list[int]:
        """Offsets of the publishers' messages received."""
        return [envelope.offset for envelope in self.envelopes]

    @property
    def is_whole(self) -> bool:
        """Whether every offset between the first and the last came once, in order, or was covered by a gap."""
        return not self.seen or self.seen == list(range(self.seen[0], self.seen[-1] + 1))


@contextlib.asynccontextmanager
async def v2_reader(url: str, token: str | None = None, **options: Any) -> AsyncIterator[V2Reader]:
    """Connect by v2 and take `hello`; the token goes into a header."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options = {"max_size": 2**26, **options}
    async with connect(
        url, proxy=None, compression=None, subprotocols=["codeworm.v2"], additional_headers=headers, **options
    ) as connection:
        hello = frames.parse_from_server(await connection.recv(decode=False))
        assert isinstance(hello, frames.Hello)
        yield V2Reader(connection, hello)


def v1_text(channel: str, payload: bytes) -> bytes:
    """Return the original's frame for a payload that is JSON."""
    return b'{"channel":' + orjson.dumps(channel) + b',"data":' + payload + b"}"
