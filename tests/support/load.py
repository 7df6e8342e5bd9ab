"""Numbered messages at a steady rate, and readers that keep reading meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator

import orjson
from websockets.exceptions import ConnectionClosed

from codeworm_monitor.envelope import Gap
from support.readers import V2Reader
from support.servers import Server

LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"
TICK = 0.02


class Load:
    """Log lines published at a steady rate: `n` counts them, `at` is when each was published.

    Attributes:
        published: How many so far.
    """

    def __init__(self, server: Server, rate: float, size: int) -> None:
        self.published = 0
        self._server = server
        self._rate = rate
        self._pad = "x" * size
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Publish until told to stop; what the server does not take is not counted as published."""
        started = time.monotonic()
        while not self._is_over.is_set():
            due = int((time.monotonic() - started) * self._rate) + 1
            if due > self.published:
                await self.publish(due - self.published)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), TICK)

    async def publish(self, count: int = 1) -> None:
        """Publish the next so many."""
        now, first = time.time(), self.published
        self.published += count
        lines = [{"event": "load", "level": "info", "n": first + n, "at": now, "pad": self._pad} for n in range(count)]
        await self._server.publish(LOGS, map(orjson.dumps, lines))

    def stop(self) -> None:
        """Have `run` return."""
        self._is_over.set()


@contextlib.asynccontextmanager
async def under_load(server: Server, rate: float = 1_000, *, size: int = 150) -> AsyncIterator[Load]:
    """Publish so many messages a second, with `size` bytes of padding each, while the body runs."""
    load = Load(server, rate, size)
    task = asyncio.create_task(load.run(), name="test:load")
    try:
        yield load
    finally:
        load.stop()
        await task


@contextlib.asynccontextmanager
async def kept_reading(reader: V2Reader) -> AsyncIterator[V2Reader]:
    """Have a reader take all that comes while the body runs; the end of its connection ends it."""

    async def read() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await reader.read()

    task = asyncio.create_task(read(), name="test:reader")
    try:
        yield reader
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


def unexplained(reader: V2Reader, *, key: str = "n") -> list[tuple[int, int]]:
    """Return where the numbers of a load's messages are not one more than the last, though no gap lies between."""
    gaps = [offset for gap in reader.gaps for offset in _covered(gap)]
    pairs = [
        (envelope.offset, data[key])
        for envelope, data in zip(reader.envelopes, reader.data, strict=True)
        if isinstance(data, dict) and key in data
    ]
    return [
        (before, after)
        for (offset, before), (next_offset, after) in itertools.pairwise(pairs)
        if after != before + 1 and (after <= before or not any(offset < gap < next_offset for gap in gaps))
    ]


def _covered(gap: Gap) -> list[int]:
    if gap.offset is not None:
        return [gap.offset]
    if gap.first_offset is None or gap.last_offset is None:
        return []
    return [gap.first_offset, gap.last_offset]
