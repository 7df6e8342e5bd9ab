"""Messages off the wire with their payloads byte for byte: a v2 batch, taken apart without decoding what it carries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from codeworm_monitor.client import Lost, RelayClient
from codeworm_monitor.envelope import Mark
from codeworm_monitor.errors import FrameError

__all__ = ["ExactClient", "ExactMessage", "exact_messages"]

_HEAD = b'{"type":"batch","envelopes":['
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
"""Strings, and what opens, closes or parts; each place in a text can be read in one way only, so that none is read twice."""
_DATA = b',"data":'
_MARK = re.compile(rb',"mark":"([a-z_]{1,20})"\}\Z')


class ExactMessage(NamedTuple):
    """One message as the relay has it.

    Attributes:
        offset: Its place in the relay's log.
        received_at: When the relay read it, Unix seconds.
        channel: Where it was published.
        data: JSON text: the payload as it came, unless `mark` says otherwise.
        mark: None, or why it differs.
    """

    offset: int
    received_at: float
    channel: str
    data: bytes
    mark: str | None


class ExactClient(RelayClient):
    """A client that keeps the text of the newest frame, from which `exact_messages` takes what decoding would change.

    Attributes:
        text: The newest frame, as it came.
    """

    text: bytes = b""

    async def _connect(self) -> tuple[Any, Lost]:
        connection, lost = await super()._connect()
        return (None if connection is None else _Tapped(connection, self)), lost


class _Tapped:
    """A connection whose texts are seen as they are read."""

    def __init__(self, connection: Any, client: ExactClient) -> None:
        self._connection, self._client = connection, client

    async def recv(self, *, decode: bool) -> Any:
        self._client.text = text = await self._connection.recv(decode=decode)
        return text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def exact_messages(text: bytes) -> Iterator[ExactMessage]:
    """Yield the messages of a `batch` frame, their data being slices of its text.

    Takes the form that relays write (`frames.encode_entries`): the keys of an envelope in their order, no space between.

    Args:
        text: The frame, which is valid JSON.

    Raises:
        FrameError: It is written in another form.
    """
    for envelope in _elements(text):
        start = envelope.find(_DATA)
        # A channel's name could hold the key: only quoted, where its quotes are escaped.
        if start < 0 or not envelope.endswith(b"}"):
            raise FrameError("an envelope is written in another form than is known here")
        marked = _MARK.search(envelope)
        end = len(envelope) - 1
        try:
            head = orjson.loads(envelope[:start] + b"}")
            mark = None
            if marked is not None:  # a payload's own key of this name has the payload's brace behind it
                mark, end = str(Mark(marked[1].decode())), marked.start()
            offset, received_at, channel = head["offset"], head["received_at"], head["channel"]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise FrameError(f"an envelope is written in another form than is known here: {error}") from error
        yield ExactMessage(offset, received_at, channel, envelope[start + len(_DATA) : end], mark)


def _elements(text: bytes) -> Iterator[bytes]:
    """Yield the text of each envelope of a batch."""
    if not text.startswith(_HEAD):
        raise FrameError("a batch is written in another form than is known here")
    depth, begins = 0, len(_HEAD)
    for token in _TOKEN.finditer(text, begins):
        match token[0]:
            case b"{" | b"[":
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if depth == 0:
                    yield text[begins : token.end()]
                elif depth < 0:
                    return
            case b"," if depth == 0:
                begins = token.end()
