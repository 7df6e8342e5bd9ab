"""Steady traffic, and readers that judge what came without decoding it twice: for load that lasts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import lru_cache

import orjson

from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.frames import Batch, Position, Subscribed, parse_from_server
from support.servers import Server

LOGS = "codeworm:logs"
TICK = 0.02


@lru_cache(maxsize=256)
def _span(text: bytes) -> tuple[list[int], object]:
    """Return what a frame says of offsets; readers that are together get the same frames."""
    frame = parse_from_server(text)
    return ([envelope.offset for envelope, _ in frame.envelopes], None) if isinstance(frame, Batch) else ([], frame)


class Ledger:
    """What one v2 reader without a filter was told: give it each text.

    Attributes:
        at: Newest offset it was told of; None before the answer to `subscribe`.
        received: Messages.
        gaps: Gaps, by their cause.
        faults: What broke a promise.
    """

    def __init__(self) -> None:
        self.at: int | None = None
        self.received = 0
        self.gaps: list[GapCause] = []
        self.faults: list[str] = []

    def take(self, text: bytes) -> None:
        """Take a text frame."""
        offsets, frame = _span(text)
        if offsets:
            if self.at is None or offsets[0] != self.at + 1 or offsets[-1] - offsets[0] != len(offsets) - 1:
                self.faults.append(f"{offsets[0]} to {offsets[-1]}, {len(offsets)} messages, after {self.at}")
            self.at = offsets[-1]
            self.received += len(offsets)
        match frame:
            case Subscribed():
                self.at = frame.cursor.offset
            case Gap(offset=int(offset)):
                self._go_on(offset, offset, frame)
            case Gap(first_offset=int(first), last_offset=int(last)) if frame.cause is GapCause.SLOW_READER:
                self._go_on(first, last, frame)
            case Position(offset) if offset != self.at:
                self.faults.append(f"position {offset} after {self.at}")
            case _:
                pass

    def _go_on(self, first: int, last: int, gap: Gap) -> None:
        self.gaps.append(gap.cause)
        if first - 1 != self.at:
            self.faults.append(f"{gap} after {self.at}")
        self.at = last


@contextlib.asynccontextmanager
async def published(server: Server, *, per_second: int, size: int = 120) -> AsyncIterator[list[int]]:
    """Publish log lines at a rate as long as the block runs, and yield a list whose one number counts them."""
    count = [0]
    pad = "x" * size
    head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(LOGS), LOGS.encode())

    # One connection without a library: at this rate its pipelines would cost more than the relay does.
    reader, writer = await asyncio.open_connection(server.bind, server.port)

    async def publish() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            due = min(int((loop.time() - begun) * per_second), count[0] + per_second // 5)
            for number in range(count[0], due):
                line = orjson.dumps({"event": "analyzing_file", "level": "info", "n": number, "target": pad})
                writer.write(head + b"$%d\r\n%b\r\n" % (len(line), line))
            await writer.drain()
            for _ in range(count[0], due):
                await reader.readuntil(b"\r\n")
            count[0] = max(count[0], due)
            await asyncio.sleep(TICK)

    task = asyncio.create_task(publish(), name="test:publisher")
    try:
        yield count
    finally:
        task.cancel()
        await asyncio.wait([task])
        writer.close()
        await writer.wait_closed()
        if not task.cancelled():
            task.result()
