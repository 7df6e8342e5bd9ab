"""Catching up: readers whose place in the log lies before the backlog are served from the archive until it is not."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

import orjson
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import StoredRow, entry_of, micros
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.connection import ReaderConnection
from codeworm_monitor.envelope import Entry, Gap, GapCause
from codeworm_monitor.errors import ArchiveError
from codeworm_monitor.fanout import BATCH, Fanout, Reader
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Position, Subscribe, encode_entries, encode_v2, join_frames, text_frame
from codeworm_monitor.hub import Hub, Start
from codeworm_monitor.journal import RELAY_CHANNEL

__all__ = ["CatchUp"]

TAIL_PAGE = 5_000
LOOKED_AT = 2_000_000
"""Entries looked at to find where a tail begins, in pages of `TAIL_PAGE`."""
PAGE = 1_000
"""Rows read and sent at one time: a few milliseconds of a thread's work."""
PAGE_BYTES = 2**20
"""Bytes of payloads after which a page ends: what waits for a socket must stay below what its reader is cut for."""
FAR = 9e12
"""Seconds, before or after 1970, beyond which no time is told apart: the archive's are of 64 bits."""

log = logging.getLogger(__name__)


class CatchUp:
    """Brings readers from a place in the archive to the backlog, without a seam: each offset once, in ascending order.

    Each reader has a task of its own, waits for its socket between two pages, and holds one page at most. Reading,
    filtering and encoding happen in the archive's threads; others are not kept waiting.

    Args:
        hub: The log.
        fanout: Takes over readers that have caught up.
        archive: What is read.
    """

    def __init__(self, hub: Hub, fanout: Fanout, archive: ArchiveWriter) -> None:
        self._hub = hub
        self._fanout = fanout
        self._archive = archive
        self._tasks: dict[ReaderConnection, asyncio.Task[None]] = {}

    @property
    def readers(self) -> int:
        """Readers that are catching up."""
        return len(self._tasks)

    @property
    def oldest(self) -> int:
        """Oldest offset that can be had."""
        oldest = self._hub.backlog.oldest
        return oldest if self._archive.oldest is None else min(oldest, self._archive.oldest)

    async def start_of(self, request: Subscribe) -> Start | None:
        """Return where a subscription begins that the backlog falls short of; None: with what the backlog has."""
        key, counted, oldest = self._archive.key, self._hub.count(request.filter.channels), self._hub.backlog.oldest
        if key == 0:
            return None
        try:
            if request.tail is not None:
                start = await self._start_of_tail(key, request.tail - counted, oldest, request.filter.channels)
            else:
                start = await self._archive.read(lambda reader: _start_of(reader, key, request, oldest))
        except ArchiveError as error:
            log.error("the archive cannot be read for a reader: %s", error)
            return None
        if start is not None and start.gap is not None:
            self._hub.gaps[start.gap.cause] += 1
        return start

    async def _start_of_tail(self, key: int, count: int, before: int, channels: frozenset[str]) -> Start | None:
        """Return where the newest messages before an offset begin, so many of these channels, or of any if empty.

        A page at a time, so that others have their turn; beyond `LOOKED_AT` entries it looks no further.
        """
        offset: int | None = None
        for _ in range(LOOKED_AT // TAIL_PAGE):
            page = await self._archive.read(partial(_before, key=key, offset=before))
            for row in page:
                count -= row.channel in channels if channels else row.channel not in ("", RELAY_CHANNEL)
                if count == 0:
                    return Start(row.offset - 1)
            if not page:
                break
            offset = before = page[-1].offset
        return None if offset is None else Start(offset - 1)

    def begin(self, connection: ReaderConnection, wanted: Filter, offset: int) -> None:
        """Send a reader of v2 what follows an offset, and add it to the fan-out when it has caught up."""
        task = asyncio.create_task(self._bring(connection, wanted, offset), name="relay:catch-up")
        self._tasks[connection] = task
        task.add_done_callback(lambda _: self._forget(connection, task))

    def take_over(self, reader: Reader) -> bool:
        """Take a reader that fell behind the backlog out of the fan-out; tell whether it was taken."""
        if not reader.lane.is_v2 or not self._archive.status.is_writing or self._archive.key == 0:
            return False
        connection, wanted, offset = reader.connection, reader.lane.wanted, reader.offset
        self._fanout.remove(reader)
        self.begin(connection, wanted, offset)
        return True

    async def end(self, connection: ReaderConnection) -> None:
        """Stop serving a reader."""
        task = self._tasks.get(connection)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def aclose(self) -> None:
        """Stop serving all."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _forget(self, connection: ReaderConnection, task: asyncio.Task[None]) -> None:
        if self._tasks.get(connection) is task:
            del self._tasks[connection]

    async def _bring(self, connection: ReaderConnection, wanted: Filter, offset: int) -> None:
        try:
            while offset < self._hub.backlog.oldest - 1 and connection.state is State.OPEN:
                offset = await self._send_page(connection, wanted, offset)
            if connection.state is State.OPEN:
                self._fanout.add(connection, is_v2=True, wanted=wanted, offset=offset)
        except (ConnectionClosed, OSError):
            pass  # it has left
        except Exception:  # a reader must not wait for ever for what will not come
            log.exception("a reader could not be brought up to date")
            connection.transport.abort()

    async def _send_page(self, connection: ReaderConnection, wanted: Filter, offset: int) -> int:
        """Send what follows an offset, of one page; return the offset up to which entries were looked at."""
        archive, key, last = self._archive, self._archive.key, self._archive.archived
        try:
            frames, reached, told = await archive.read(lambda reader: _page(reader, key, wanted, offset, last))
        except ArchiveError as error:
            log.error("the archive cannot be read for a reader: %s", error)
            return self._skip(connection, offset)
        if frames:
            connection.send_frame(frames)
            self._fanout.bytes_sent += len(frames)
        if reached > told:
            connection.send_frame(text_frame(encode_v2(Position(reached))))
        await connection.drain()
        if reached == offset:  # what follows has left the backlog, and is not on disk yet
            is_there = await archive.flushed(self._hub.backlog.oldest - 1)
            return offset if is_there else self._skip(connection, offset)
        return reached

    def _skip(self, connection: ReaderConnection, offset: int) -> int:
        """Move a reader on to the backlog, with a gap for what cannot be had."""
        gap = self._hub.missed_by_slow(offset, time.time(), GapCause.NOT_ARCHIVED)
        if gap is None:
            return offset
        connection.send_frame(text_frame(encode_v2(gap)))
        return self._hub.backlog.oldest - 1


def _before(reader: ArchiveReader, key: int, offset: int) -> list[StoredRow]:
    return reader.before(key, offset, limit=TAIL_PAGE)


def _start_of(reader: ArchiveReader, key: int, request: Subscribe, oldest: int) -> Start | None:
    bounds = reader.bounds(key)
    if bounds is None:
        return None
    first = bounds[0]
    if request.cursor is not None:
        cursor = request.cursor.offset
        if cursor >= first - 1:
            return Start(cursor, recovered=True)
        gap = _trimmed(reader, key, first, 0.0)
        return Start(first - 1, recovered=False, reason="trimmed", gap=gap)
    if request.time is not None:
        offset = reader.offset_at(key, micros(max(-FAR, min(FAR, request.time))))
        if offset is None or offset > oldest:
            return None
        is_trimmed = offset == first > 1
        return Start(offset - 1, gap=_trimmed(reader, key, first, request.time) if is_trimmed else None)
    return None


def _trimmed(reader: ArchiveReader, key: int, first: int, since: float) -> Gap:
    """Return the gap before the first entry that is kept: no count, as some offsets were never given."""
    rows = reader.after(key, first - 1, limit=1)
    ended_at = rows[0].received_at / 1_000_000 if rows else time.time()
    detail = "what came before is no longer in the archive"
    return Gap(cause=GapCause.TRIMMED, started_at=min(since, ended_at), ended_at=ended_at, detail=detail)


def _page(reader: ArchiveReader, key: int, wanted: Filter, offset: int, last: int) -> tuple[bytes, int, int]:
    """Return frames, the offset up to which entries were looked at, and the newest one that the frames tell."""
    # Of all channels: to look for one that is rare could mean to look at all there is.
    rows = reader.after(key, offset, limit=PAGE, max_bytes=PAGE_BYTES)
    is_cut = len(rows) == PAGE or sum([len(row.payload) for row in rows]) >= PAGE_BYTES
    reached = rows[-1].offset if is_cut else max(offset, last, *[row.offset for row in rows[-1:]])
    entries: list[Entry] = []
    told = offset
    if offset < last and (not rows or rows[0].offset > offset + 1):
        first = (reader.bounds(key) or (last + 1,))[0]
        if first > offset + 1:  # meanwhile, by retention
            since = rows[0].received_at / 1_000_000 if rows else time.time()
            entries.append(_trimmed(reader, key, first, since))
    for row in rows:
        entry = entry_of(*row[1:])
        if isinstance(entry, Gap):
            entries.append(entry)
            told = entry.offset or entry.last_offset or told
        elif wanted.accepts(entry, orjson.loads(entry.data) if wanted.reads_payload else None):
            entries.append(entry)
            told = entry.offset
    return join_frames(entries, encode_entries(entries), max_bytes=BATCH), max(reached, told), told
