"""Fan-out to sockets: readers are cursors, those that want the same bytes share them, and writes are joined.

What a delivery costs is the write into the kernel, not its size. So everything from a reader's cursor to the head
goes out as one write, the first message after a quiet moment at once, the following ones joined for a window.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from codeworm_monitor.envelope import Entry, Envelope
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Position, encode_v1, encode_v2, split_runs, text_frame
from codeworm_monitor.hub import Hub, decoded

__all__ = ["Fanout", "Lane", "Reader", "ReaderConnection"]

CHUNK = 128 * 2**10
"""Bytes that one write holds, about; also the most that one frame of v2 holds, one larger message apart."""
ENTRIES = 2048
"""Entries looked at for one write at most, so that a filter which lets nothing through cannot hold the loop."""
TURN = 4
"""Writes that one reader gets before others have their turn."""
EAGER = 512
"""Entries waiting that end a window early."""
MAX_BUFFERED = 4 * 2**20
"""Bytes in one reader's write buffer that are not ours to explain (a flood of pings unread): cut at once."""


class ReaderConnection(ServerConnection):
    """A WebSocket connection that wakes its reader when the socket takes bytes again, and knows when it stalls."""

    reader: Reader | None = None
    _paused_at = 0.0
    _waiting = -1

    def pause_writing(self) -> None:
        """Called by the transport when its buffer passes the high-water mark."""
        super().pause_writing()
        self._paused_at = self.loop.time()

    def resume_writing(self) -> None:
        """Called by the transport when its buffer has drained."""
        super().resume_writing()
        if self.reader is not None:
            self.reader.lane.fanout.advance([self.reader])

    def is_stalled(self, timeout: float) -> bool:
        """Tell whether the other end took nothing for `timeout` seconds, or let far too much wait; ask now and then."""
        if not self.paused:
            return False
        waiting, now = self.transport.get_write_buffer_size(), self.loop.time()
        if waiting != self._waiting:  # it took something since the last look
            self._waiting, self._paused_at = waiting, now
        return now - self._paused_at >= timeout or waiting > MAX_BUFFERED


class Reader:
    """One connected reader: a cursor, and the connection to write to.

    Attributes:
        connection: Its WebSocket.
        lane: What it wants; readers of one lane get the same bytes.
        offset: Its cursor: the newest offset written to it or filtered out.
        told: Newest offset it can know of.
        sent_at: When it was last written to, Unix seconds.
    """

    __slots__ = ("connection", "lane", "offset", "sent_at", "told")

    def __init__(self, connection: ReaderConnection, lane: Lane, offset: int) -> None:
        self.connection = connection
        self.lane = lane
        self.offset = offset
        self.told = offset
        self.sent_at = time.time()

    def write(self, frames: bytes) -> None:
        """Hand whole frames to the transport; frames to a connection that is closing are dropped."""
        # Writing ready frames by-passes the connection, which would frame them anew for each reader. Right as long
        # as no extension is negotiated and no fragmented message is being sent; the endpoint does neither.
        connection = self.connection
        if connection.state is State.OPEN:
            connection.transport.write(frames)


class Lane:
    """Readers that speak the same protocol under the same filter, and the bytes they share.

    Args:
        fanout: Whose lane it is.
        is_v2: Protocol of its readers.
        wanted: Their filter.
    """

    KEPT = 8

    def __init__(self, fanout: Fanout, *, is_v2: bool, wanted: Filter) -> None:
        self.fanout = fanout
        self.is_v2 = is_v2
        self.wanted = wanted
        self.readers: dict[Reader, None] = {}  # an ordered set
        self._chunks: OrderedDict[int, tuple[bytes, int, int]] = OrderedDict()

    def chunk(self, offset: int) -> tuple[bytes, int, int]:
        """Return frames for the entries after `offset`, about `CHUNK` bytes at most.

        Also the offset up to which entries were looked at, and the newest one that the frames themselves tell.
        """
        try:
            return self._chunks[offset]
        except KeyError:
            pass
        backlog = self.fanout.hub.backlog
        entries: list[Entry] = []
        size, reached, told = 0, offset, offset
        for entry in backlog.between(offset + 1, min(backlog.head, offset + ENTRIES)):
            reached += 1
            if type(entry) is Envelope:
                if not self.wanted.accepts(entry, decoded(entry, self.wanted)):
                    continue
                size += len(entry.data) + 64
            entries.append(entry)
            told = reached
            if size >= CHUNK:
                break
        chunk = self._chunks[offset] = (self._encode(entries), reached, told)
        if len(self._chunks) > self.KEPT:
            self._chunks.popitem(last=False)
        return chunk

    def _encode(self, entries: Iterable[Entry]) -> bytes:
        if self.is_v2:
            return b"".join([text_frame(encode_v2(run)) for run in split_runs(entries, max_bytes=CHUNK)])
        return b"".join([text_frame(encode_v1(entry)) for entry in entries if type(entry) is Envelope])


class Fanout:
    """Brings the log to every reader.

    Order: each reader gets ascending offsets, without duplicates. Loss: none while its cursor is within the backlog;
    behind that, a v2 reader is told by a gap and moved on, and a v1 reader, whose protocol has no word for it, is
    moved on. Isolation: a reader whose socket takes no more is left alone until it does; what waits for it is at most
    one write (`CHUNK`) and the transport's high-water mark. The endpoint cuts those that take nothing.

    Args:
        hub: The log.
        window: Seconds in which messages after the first are joined.
        heartbeat: Seconds after which a v2 reader that was sent nothing is told the position.
    """

    def __init__(self, hub: Hub, *, window: float, heartbeat: float) -> None:
        self.hub = hub
        self.window = window
        self.heartbeat = heartbeat
        self.bytes_sent = 0
        """Bytes handed to sockets."""
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[tuple[bool, Filter], Lane] = {}
        self._flushed_at = -1.0
        self._flushed_offset = hub.head
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        hub.listen(self._on_growth)

    @property
    def readers(self) -> list[Reader]:
        """All readers."""
        return [reader for lane in self._lanes.values() for reader in lane.readers]

    def add(self, connection: ReaderConnection, *, is_v2: bool, wanted: Filter, offset: int) -> Reader:
        """Add a reader that has everything up to `offset`, and send it what follows."""
        lane = self._lanes.setdefault((is_v2, wanted), Lane(self, is_v2=is_v2, wanted=wanted))
        reader = Reader(connection, lane, offset)
        lane.readers[reader] = None
        connection.reader = reader
        self.advance([reader])
        return reader

    def remove(self, reader: Reader) -> None:
        """Remove a reader; one that was removed already stays so."""
        lane = reader.lane
        reader.connection.reader = None
        lane.readers.pop(reader, None)
        if not lane.readers:
            self._lanes.pop((lane.is_v2, lane.wanted), None)

    def close(self) -> None:
        """Stop; readers keep what they were sent."""
        self.hub.unlisten(self._on_growth)
        if self._timer is not None:
            self._timer.cancel()

    def _on_growth(self) -> None:
        if self._timer is not None:
            if self.hub.head - self._flushed_offset < EAGER:
                return
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        due = self._flushed_at + self.window
        if now >= due or self.hub.head - self._flushed_offset >= EAGER:
            self._flush()
        else:
            self._timer = self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        self._timer = None
        for lane in self._lanes.values():
            self.advance(lane.readers)
        self._flushed_at = self._loop.time()
        self._flushed_offset = self.hub.head

    def advance(self, readers: Iterable[Reader]) -> None:
        """Write to readers what they have not had, as far as their sockets take it."""
        head, oldest, sent_at = self.hub.head, self.hub.backlog.oldest, time.time()
        is_behind = False
        for reader in readers:
            for _ in range(TURN):
                if reader.offset >= head or reader.connection.paused:
                    break
                if reader.offset < oldest - 1:
                    self._skip(reader)
                frames, reader.offset, told = reader.lane.chunk(reader.offset)
                if frames:
                    reader.write(frames)
                    reader.told = told
                    reader.sent_at = sent_at
                    self.bytes_sent += len(frames)
            else:
                is_behind = is_behind or reader.offset < head
        if is_behind and self._timer is None:
            self._timer = self._loop.call_later(0, self._flush)

    def _skip(self, reader: Reader) -> None:
        gap = self.hub.missed_by_slow(reader.offset, reader.sent_at)
        if gap is not None and gap.last_offset is not None:
            reader.offset = gap.last_offset
            if reader.lane.is_v2:
                reader.write(text_frame(encode_v2(gap)))

    def tell_positions(self) -> None:
        """Tell v2 readers how far they are, where they cannot know it or were sent nothing for `heartbeat` seconds."""
        now = time.time()
        for lane in self._lanes.values():
            if not lane.is_v2:
                continue
            for reader in lane.readers:
                is_due = reader.told < reader.offset or now - reader.sent_at >= self.heartbeat
                if is_due and not reader.connection.paused:
                    reader.write(text_frame(encode_v2(Position(reader.offset))))
                    reader.told, reader.sent_at = reader.offset, now
