"""A source fed by the program itself: for tests, and for relaying what is not on Redis."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

import orjson

from codeworm_monitor.sources import Connected, Disconnected, Happening, Message

__all__ = ["MemorySource"]


class MemorySource:
    """Messages that the program publishes itself, in its own event loop.

    Messages are delivered in the order of `publish`. At `max_messages` waiting ones, `publish` raises rather than
    growing without bound; a relay takes them at every turn of the loop.

    Example:
        >>> source = MemorySource()
        >>> source.publish("codeworm:logs", {"event": "hello", "level": "info"})
    """

    def __init__(self, *, name: str = "memory", max_messages: int = 1_000_000) -> None:
        self._name = name
        self._max_messages = max_messages
        self._waiting: list[Message] = []
        self._changes: deque[Happening] = deque()
        self._wake = asyncio.Event()

    @property
    def name(self) -> str:
        """Where the messages come from, for a person."""
        return self._name

    def publish(self, channel: str, payload: bytes | str | object, *, received_at: float | None = None) -> None:
        """Add a message; anything but bytes and text is written as JSON.

        Raises:
            BufferError: `max_messages` are waiting: nobody reads, or the loop was not given a turn.
        """
        if len(self._waiting) >= self._max_messages:
            raise BufferError(
                f"{self._max_messages} messages are waiting: is the relay started, and does the loop run?"
            )
        match payload:
            case bytes():
                raw = payload
            case str():
                raw = payload.encode("utf-8", "surrogatepass")
            case _:
                raw = orjson.dumps(payload)
        self._waiting.append(Message(channel, raw, time.time() if received_at is None else received_at))
        self._wake.set()

    def interrupt(self, reason: str = "interrupted") -> None:
        """Report the loss of upstream; `restore` ends it."""
        self._change(Disconnected(time.time(), reason))

    def restore(self) -> None:
        """Report that upstream is heard again."""
        self._change(Connected(time.time()))

    def _change(self, change: Happening) -> None:
        self._flush()
        self._changes.append(change)
        self._wake.set()

    def _flush(self) -> None:
        if self._waiting:
            self._changes.append(self._waiting)
            self._waiting = []

    async def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Yield what was published, until closed."""
        yield Connected(time.time())
        while True:
            self._wake.clear()
            self._flush()
            # Taken one by one: what is left when the iterator is closed waits for the next one.
            while self._changes:
                yield self._changes.popleft()
            await self._wake.wait()
