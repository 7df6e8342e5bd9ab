"""A task that reads a source and keeps all that it said."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from codeworm_monitor.sources import Connected, Disconnected, Message, Source


class Witness:
    """What a source has said so far.

    Attributes:
        messages: All messages in order.
        batches: Sizes of the lists they came in.
        changes: `Connected` and `Disconnected` in order, with the number of messages before each.
        may_read: Cleared to be a reader that takes nothing.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.batches: list[int] = []
        self.changes: list[tuple[Connected | Disconnected, int]] = []
        self.told_at: list[float] = []
        self.may_read = asyncio.Event()
        self.may_read.set()

    @property
    def is_connected(self) -> bool:
        return bool(self.changes) and isinstance(self.changes[-1][0], Connected)

    @property
    def disconnected(self) -> list[Disconnected]:
        return [change for change, _ in self.changes if isinstance(change, Disconnected)]

    @property
    def connected(self) -> list[Connected]:
        return [change for change, _ in self.changes if isinstance(change, Connected)]

    @property
    def shape(self) -> str:
        """The changes as letters: `C` connected, `D` disconnected."""
        return "".join("C" if isinstance(change, Connected) else "D" for change, _ in self.changes)

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    async def read(self, source: Source) -> None:
        """Take all that the source says, until cancelled."""
        async with contextlib.aclosing(source.__aiter__()) as happenings:
            async for happening in happenings:
                if isinstance(happening, list):
                    assert happening, "a batch is never empty"
                    self.messages += happening
                    self.batches.append(len(happening))
                else:
                    self.changes.append((happening, len(self.messages)))
                    self.told_at.append(time.time())
                await self.may_read.wait()


@contextlib.asynccontextmanager
async def watching(source: Source) -> AsyncIterator[Witness]:
    """Read a source in a task; at the end it is cancelled, which must take less than a second."""
    witness = Witness()
    task = asyncio.create_task(witness.read(source), name="test:witness")
    try:
        yield witness
    finally:
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=1.0)
        assert done, "the source does not end within a second of its cancellation"
        if not task.cancelled():
            task.result()
