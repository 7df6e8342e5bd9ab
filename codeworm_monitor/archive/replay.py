"""A source that serves a stretch of the past once more, from the archive, at the pace at which it came or faster."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import StoredRow, entry_of, micros
from codeworm_monitor.envelope import Envelope
from codeworm_monitor.errors import ArchiveError, SettingError
from codeworm_monitor.sources import Connected, Happening, Message

__all__ = ["ArchiveSource"]

PAGE = 1_000
LONGEST_WAIT = 0.5
"""Seconds slept at one time at most: the clock of the past is told meanwhile."""


class ArchiveSource:
    """A stretch of the archive, in the order of time, with the times at which the messages came.

    Promises: order, bytes and `received_at` are those of then, over all numberings and imports; gaps come as gaps. The
    pauses are those of then divided by `speed`, counted from the start. It ends after the last message. It holds
    `PAGE` rows at most.

    Args:
        directory: The archive; it may be written meanwhile.
        since: Unix seconds; the earliest that is wanted. None: from the beginning.
        until: The first that is not. None: up to what is there when it comes to it.
        speed: How many times faster than it came; infinite: as fast as messages are taken.

    Raises:
        SettingError: `speed` is not above 0, or `until` not above `since`.
        ArchiveError: There is no archive, or nothing in that stretch.
    """

    def __init__(
        self, directory: Path, *, since: float | None = None, until: float | None = None, speed: float = 1.0
    ) -> None:
        if not speed > 0:
            raise SettingError("speed", f"{speed} is not above 0")
        if since is not None and until is not None and not until > since:
            raise SettingError("until", "must be later than since")
        self._directory = directory
        self._since = 0 if since is None else micros(since)
        self._until = 2**62 if until is None else micros(until)
        self._speed = speed
        with ArchiveReader(directory) as reader:
            first = reader.page(self._since, self._until, limit=1)
        if not first:
            raise ArchiveError(f"{directory} holds nothing of that stretch: `archive info` says what it holds")
        self._first = first[0].received_at / 1_000_000
        self._reached = self._first

    @property
    def name(self) -> str:
        """The archive, for a person."""
        return f"the archive {self._directory}"

    def clock(self) -> float:
        """Return the time of then that the replay has reached, Unix seconds."""
        return self._reached

    async def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Serve it.

        Raises:
            ArchiveError: The archive cannot be read any more.
        """
        yield Connected(self._first)
        started, after = time.monotonic(), None
        # A thread of its own: what it reads when this is cancelled is read to its end, and then the reader is closed.
        reading = ThreadPoolExecutor(1, "replay:reader")
        in_turn = partial(asyncio.get_running_loop().run_in_executor, reading)
        opening = reading.submit(partial(ArchiveReader, self._directory, check_same_thread=False))
        try:
            reader = await asyncio.wrap_future(opening)
            while rows := await in_turn(partial(reader.page, self._since, self._until, after=after, limit=PAGE)):
                last = rows[-1]
                after = (last.received_at, last.epoch, last.offset)
                taken = 0
                while taken < len(rows):
                    if self._speed < math.inf:
                        self._reached = self._first + (time.monotonic() - started) * self._speed
                    else:
                        self._reached = rows[-1].received_at / 1_000_000
                    due = taken
                    while due < len(rows) and rows[due].received_at <= self._reached * 1_000_000:
                        due += 1
                    if due == taken:
                        pause = (rows[taken].received_at / 1_000_000 - self._reached) / self._speed
                        await asyncio.sleep(min(pause, LONGEST_WAIT))
                        continue
                    for happening in _happenings(rows[taken:due]):
                        yield happening
                    taken = due
        finally:
            closed = in_turn(_close, opening)
            reading.shutdown(wait=False)
            await closed


def _close(opening: Future[ArchiveReader]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _happenings(rows: list[StoredRow]) -> list[Happening]:
    """Return what rows say: messages that follow each other in one list, each gap by itself."""
    happenings: list[Happening] = []
    messages: list[Message] = []
    for row in rows:
        entry = entry_of(*row[1:])
        if isinstance(entry, Envelope):
            if not messages:
                happenings.append(messages)
            messages.append(Message(entry.channel, entry.data, entry.received_at))
        else:
            happenings.append(entry)
            messages = []
    return happenings
