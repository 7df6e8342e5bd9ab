"""Fan-out to sockets: readers are cursors, those that want the same bytes share them, and writes are joined.

What a delivery costs is the write into the kernel, not its size. So everything from a reader's cursor to the head
goes out as one write, the first message after a quiet moment at once, the following ones joined for a window. Readers
whose sockets take all they are given stay together: one cursor for all of them, and one system call for each.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import orjson
from websockets.protocol import State

from codeworm_monitor.connection import ReaderConnection
from codeworm_monitor.envelope import Entry, Envelope, Gap
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Position, encode_entries, encode_v1_frames, encode_v2, join_frames, text_frame
from codeworm_monitor.hub import Hub
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.statistics import ReaderLag

__all__ = ["BATCH", "Fanout", "Lane", "Reader", "is_v1"]

CHUNK = 2**20
"""Bytes that the entries of one write are reckoned at, by the backlog, unless one alone is larger."""
BATCH = 128 * 2**10
"""Bytes that one frame of v2 holds, about, unless one message alone is larger."""
ENTRIES = 2048
"""Entries looked at for one write at most, so that a filter which lets nothing through cannot hold the loop."""
TURN = 2
"""Writes that one reader gets before others have their turn."""
ROUNDS = 32
"""Turns of the loop for which new messages wait at most, for the sake of readers that are behind: none can stop them."""
EAGER = 2048
"""Entries waiting that end a window early."""
EVERYTHING = Filter()
NOT_IN_V1 = frozenset({"", RELAY_CHANNEL})
"""Channels that v1 is not sent: of gaps, for which it has no word, and of the relay's own journal."""


class Reader:
    """One connected reader: a cursor, and the connection to write to.

    Attributes:
        connection: Its WebSocket.
        lane: What it wants; readers of one lane get the same bytes.
        descriptor: Its socket's, or -1 where bytes may not be written to it directly (TLS).
        offset: Its cursor: the newest offset written to it or filtered out. While it is together with others, the
            lane's holds, as for the next two.
        told: Newest offset it can know of.
        sent_at: When it was last written to, on the loop's clock.
    """

    __slots__ = ("connection", "descriptor", "lane", "offset", "sent_at", "told")

    def __init__(self, connection: ReaderConnection, lane: Lane, offset: int) -> None:
        self.connection = connection
        self.lane = lane
        self.offset = offset
        self.told = offset
        self.sent_at = connection.loop.time()
        self.descriptor = -1
        if connection.transport.get_extra_info("sslcontext") is None:
            self.descriptor = connection.transport.get_extra_info("socket").fileno()

    @property
    def is_clear(self) -> bool:
        """Whether frames may go straight into its socket: the connection is open, and nothing waits before them."""
        connection = self.connection
        return (
            connection.state is State.OPEN
            and not connection.paused
            and not connection.transport.is_closing()
            and connection.transport.get_write_buffer_size() == 0
        )


Chunk = tuple[bytes, int, int]
"""Frames, the offset up to which entries were looked at, and the newest one that the frames themselves tell."""


class _Chunks:
    """The chunks last made, for readers that want the same: so many at most, and so many bytes."""

    MOST, MOST_BYTES = 64, 8 * 2**20

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Lane, int], Chunk] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[Lane, int]) -> Chunk | None:
        return self._kept.get(key)

    def put(self, key: tuple[Lane, int], chunk: Chunk) -> None:
        self._kept[key] = chunk
        self._bytes += len(chunk[0])
        while len(self._kept) > self.MOST or (self._bytes > self.MOST_BYTES and len(self._kept) > 1):
            _, (frames, _, _) = self._kept.popitem(last=False)
            self._bytes -= len(frames)

    def drop(self, lane: Lane) -> None:
        for key in [key for key in self._kept if key[0] is lane]:
            self._bytes -= len(self._kept.pop(key)[0])


class Lane:
    """Readers that speak the same protocol under the same filter, and the bytes they share.

    Most of them are `together`: they have had the same, up to the lane's `offset`, and their sockets took it all, so
    that nothing need be known of each. Those whose socket did not are apart, each with its own cursor and its
    transport's buffer, until they have caught up.

    Args:
        fanout: Whose lane it is.
        is_v2: Protocol of its readers.
        wanted: Their filter.
    """

    def __init__(self, fanout: Fanout, *, is_v2: bool, wanted: Filter) -> None:
        self.fanout = fanout
        self.is_v2 = is_v2
        self.wanted = wanted
        self.offset = self.told = fanout.hub.head
        self.sent_at = fanout.now()
        self._together: dict[int, Reader] = {}
        self._apart: dict[Reader, None] = {}  # an ordered set

    def __iter__(self) -> Iterator[Reader]:
        return iter([*self._together.values(), *self._apart])

    def __len__(self) -> int:
        return len(self._together) + len(self._apart)

    def behind(self, head: int) -> list[Reader]:
        """Return the readers apart that have not been sent all; those together have, but for a window."""
        return [reader for reader in self._apart if reader.offset < head]

    @property
    def oldest_cursor(self) -> int:
        """Offset of the reader farthest behind."""
        offsets = [reader.offset for reader in self._apart]
        return min([*offsets, self.offset] if self._together else offsets, default=self.offset)

    def add(self, reader: Reader) -> None:
        """Add a reader, and send it what it has not had."""
        self._apart[reader] = None
        self.catch_up(reader)

    def remove(self, reader: Reader) -> None:
        """Remove a reader, wherever it is."""
        self.part(reader)
        self._apart.pop(reader, None)

    def part(self, reader: Reader) -> None:
        """Let a reader have a cursor of its own, where it now stands."""
        if self._together.get(reader.descriptor) is reader:
            del self._together[reader.descriptor]
            self._apart[reader] = None
            reader.offset, reader.told, reader.sent_at = self.offset, self.told, self.sent_at

    def _join(self, reader: Reader) -> None:
        if reader.descriptor < 0 or not reader.is_clear:
            return
        if not self._together:
            self.offset, self.told, self.sent_at = reader.offset, reader.told, reader.sent_at
        if reader.offset == self.offset and reader.told == self.told:
            del self._apart[reader]
            self._together[reader.descriptor] = reader
            self.sent_at = min(self.sent_at, reader.sent_at)

    def advance(self) -> bool:
        """Write to all readers what they have not had, as far as they take it; tell whether some could have more."""
        head, oldest = self.fanout.hub.head, self.fanout.hub.backlog.oldest
        for _ in range(TURN):
            if not self._together or self.offset >= head:
                break
            if self.offset < oldest - 1:  # each has to be told what it missed
                for reader in list(self._together.values()):
                    self.part(reader)
                break
            frames, reached, told = self.chunk(self.offset)
            if frames:
                self._write_together(frames, reached, told)
            self.offset = reached
        is_behind = bool(self._together) and self.offset < head
        for reader in list(self._apart):
            is_behind = self.catch_up(reader) or is_behind
        return is_behind

    def _write_together(self, frames: bytes, reached: int, told: int) -> None:
        """Write to all that are together; `reached` and `told` are where the frames take them."""
        # The cost of a delivery is this loop. The sockets do not block; what does not fit goes the transport's way.
        size, write = len(frames), os.write
        short: list[tuple[int, int]] = []
        for descriptor in self._together:
            try:
                sent = write(descriptor, frames)
            except OSError:
                sent = 0
            if sent != size:
                short.append((descriptor, sent))
        self.fanout.bytes_sent += size * len(self._together)
        for descriptor, sent in short:
            reader = self._together[descriptor]
            self.part(reader)
            reader.offset, reader.told, reader.sent_at = reached, told, self.fanout.now()
            reader.connection.send_frame(frames[sent:])
        self.told, self.sent_at = told, self.fanout.now()

    def catch_up(self, reader: Reader) -> bool:
        """Write to a reader that is apart what it has not had; tell whether it could have more at once."""
        fanout = self.fanout
        head, oldest = fanout.hub.head, fanout.hub.backlog.oldest
        for _ in range(TURN):
            if reader.offset >= head or reader.connection.paused:
                break
            if reader.offset < oldest - 1:
                if fanout.take_over(reader):
                    return False
                fanout.skip(reader)
            frames, reader.offset, told = self.chunk(reader.offset)
            if frames:
                reader.connection.send_frame(frames)
                reader.told, reader.sent_at = told, fanout.now()
                fanout.bytes_sent += len(frames)
        if reader.offset < head:
            return not reader.connection.paused
        self._join(reader)
        return False

    def tell_position(self, now: float, heartbeat: float) -> None:
        """Tell readers how far they are, where they cannot know it or were sent nothing for `heartbeat` seconds."""
        if self._together and (self.told < self.offset or now - self.sent_at >= heartbeat):
            self._write_together(text_frame(encode_v2(Position(self.offset))), self.offset, self.offset)
        for reader in list(self._apart):
            if not reader.connection.paused and (reader.told < reader.offset or now - reader.sent_at >= heartbeat):
                reader.connection.send_frame(text_frame(encode_v2(Position(reader.offset))))
                reader.told, reader.sent_at = reader.offset, now
                if reader.offset == self.fanout.hub.head:
                    self._join(reader)

    def chunk(self, offset: int) -> Chunk:
        """Return what is written for the entries after `offset`, of one `CHUNK` at most."""
        chunks = self.fanout.chunks
        chunk = chunks.get((self, offset))
        if chunk is None:
            chunk = self._chunk_v2(offset) if self.is_v2 else self._chunk_v1(offset)
            if len(self) > 1:
                chunks.put((self, offset), chunk)
        return chunk

    def _chunk_v1(self, offset: int) -> Chunk:
        channels, data = self.fanout.hub.backlog.span_columns(offset + 1, max_bytes=CHUNK, max_entries=ENTRIES)
        reached = offset + len(channels)
        return encode_v1_frames(channels, data, but=NOT_IN_V1), reached, reached

    def _chunk_v2(self, offset: int) -> Chunk:
        span = self.fanout.span(offset)
        entries, texts = span.entries, span.texts
        reached = told = offset + len(entries)
        if self.wanted != EVERYTHING:
            values = span.values if self.wanted.reads_payload else [None] * len(entries)
            accepts = self.wanted.accepts
            chosen = [
                place
                for place, (one, value) in enumerate(zip(entries, values, strict=True))
                if isinstance(one, Gap) or accepts(one, value)
            ]
            entries, texts = [entries[place] for place in chosen], [texts[place] for place in chosen]
            told = (entries[-1].offset or 0) if entries else offset
        return join_frames(entries, texts, max_bytes=BATCH), reached, told


class _Span:
    """Entries of one chunk, and what lanes with different filters have in common of them, made when first wanted."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    @functools.cached_property
    def texts(self) -> list[bytes]:
        """Text of each, as v2 sends it."""
        return encode_entries(self.entries)

    @functools.cached_property
    def values(self) -> list[Any]:
        """Decoded data of each; None for a gap."""
        loads = orjson.loads
        return [None if isinstance(one, Gap) else loads(one.data) for one in self.entries]


def is_v1(entry: Entry) -> TypeGuard[Envelope]:
    """Tell whether v1 has a word for an entry: it knows neither gaps nor the relay's own channel."""
    return isinstance(entry, Envelope) and entry.channel not in NOT_IN_V1


class Fanout:
    """Brings the log to every reader.

    Order: each reader gets ascending offsets, without duplicates. Loss: none while its cursor is within the backlog;
    behind that, a v2 reader is taken over (`take_over`) or told by a gap and moved on, and a v1 reader, whose protocol has no word for it, is
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
        self.now = self._loop.time
        """The clock for all but times that are told."""
        self._lanes: dict[tuple[bool, Filter], Lane] = {}
        self._spans: dict[int, _Span] = {}
        self.take_over: Callable[[Reader], bool] = lambda reader: False
        """Asked to take a reader out whose cursor fell behind the backlog; if it does not, the reader is moved on."""
        self.chunks = _Chunks()
        """Bytes that lanes share among their readers."""
        self._flushed_at = -1.0
        self._is_behind = False
        self._eager = min(EAGER, max(1, hub.backlog.max_entries // 4))  # before a small backlog has lost them
        self._flushed_offset = hub.head
        self._timer: asyncio.TimerHandle | None = None
        hub.listen(self._on_growth)

    @property
    def readers(self) -> list[Reader]:
        """All readers."""
        return [reader for lane in self._lanes.values() for reader in lane]

    def lags(self) -> list[ReaderLag]:
        """Return the readers that have not been sent all, the slowest first."""
        head = self.hub.head
        lags = [
            ReaderLag(reader.connection.address, "v2" if lane.is_v2 else "v1", head - reader.offset)
            for lane in self._lanes.values()
            for reader in lane.behind(head)
        ]
        return sorted(lags, key=lambda lag: lag.behind, reverse=True)

    @property
    def most_behind(self) -> int:
        """Entries by which the reader farthest behind is behind."""
        return max((self.hub.head - lane.oldest_cursor for lane in self._lanes.values()), default=0)

    def add(self, connection: ReaderConnection, *, is_v2: bool, wanted: Filter, offset: int) -> Reader:
        """Add a reader that has everything up to `offset`, and send it what follows."""
        lane = self._lanes.get((is_v2, wanted))
        if lane is None:
            lane = self._lanes[is_v2, wanted] = Lane(self, is_v2=is_v2, wanted=wanted)
        reader = Reader(connection, lane, offset)
        connection.reader = reader
        lane.add(reader)
        if reader.offset < self.hub.head:
            self.flush_soon()
        return reader

    def remove(self, reader: Reader) -> None:
        """Remove a reader; one that was removed already stays so."""
        lane = reader.lane
        reader.connection.reader = None
        lane.remove(reader)
        if not len(lane) and self._lanes.get((lane.is_v2, lane.wanted)) is lane:
            del self._lanes[lane.is_v2, lane.wanted]
            self.chunks.drop(lane)

    def close(self) -> None:
        """Stop; readers keep what they were sent."""
        self.hub.unlisten(self._on_growth)
        if self._timer is not None:
            self._timer.cancel()

    def skip(self, reader: Reader) -> None:
        """Move a reader whose cursor fell behind the backlog on to its oldest entry, and tell it what it missed."""
        gap = self.hub.missed_by_slow(reader.offset, time.time() - (self.now() - reader.sent_at))
        if gap is not None:
            reader.offset = self.hub.backlog.oldest - 1
            if reader.lane.is_v2:
                reader.connection.send_frame(text_frame(encode_v2(gap)))

    def tell_positions(self) -> None:
        """Tell v2 readers how far they are; call it now and then."""
        now = self.now()
        for lane in list(self._lanes.values()):
            if lane.is_v2:
                lane.tell_position(now, self.heartbeat)

    def _on_growth(self) -> None:
        is_eager = self.hub.head - self._flushed_offset >= self._eager
        if self._timer is not None:
            if not is_eager:
                return
            self._timer.cancel()
        due = self._flushed_at + self.window
        if is_eager or self.now() >= due:
            self._flush()
        else:
            self._timer = self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        self._timer = None
        is_behind = False
        for lane in list(self._lanes.values()):
            is_behind = lane.advance() or is_behind
        self._spans.clear()
        self._flushed_at = self.now()
        self._flushed_offset = self.hub.head
        self._is_behind = is_behind
        if is_behind:
            self.flush_soon()

    def span(self, offset: int) -> _Span:
        """Return the entries after `offset`, of one `CHUNK` at most; lanes that are at the same place share them."""
        span = self._spans.get(offset)
        if span is None:
            entries = self.hub.backlog.span(offset + 1, max_bytes=CHUNK, max_entries=ENTRIES)
            span = self._spans[offset] = _Span(entries)
            if len(self._spans) > TURN:
                del self._spans[next(iter(self._spans))]
        return span

    async def let_catch_up(self) -> None:
        """Let readers that take all they are given have what is there, or much of it, before more comes.

        Without it a flood from upstream would lap them: it arrives in larger portions than `TURN` chunks.
        """
        for _ in range(ROUNDS):
            if not self._is_behind:
                break
            await asyncio.sleep(0)

    def flush_soon(self) -> None:
        """Go on with the next turn of the loop."""
        if self._timer is None:
            self._timer = self._loop.call_later(0, self._flush)
