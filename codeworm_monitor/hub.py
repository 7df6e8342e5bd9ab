"""The hub: numbers what arrives, remembers the newest of it, and tells who listens that there is more."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from codeworm_monitor.activity import LOG_EVENTS, Activity, Snapshot
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.envelope import Cursor, Entry, Envelope, Gap, GapCause, Mark
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Subscribe
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.payloads import MAX_PAYLOAD, PLAIN, normalise
from codeworm_monitor.records import Kind, kind_of
from codeworm_monitor.sources import Message

__all__ = ["Hub", "Start", "Subscriber"]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins.

    Attributes:
        offset: Delivery starts with the entry after it.
        recovered: Whether all that followed the given cursor will be delivered; None without a cursor.
        reason: Why not: `epoch`, `trimmed` or `future`; else None.
        gap: What is missing before the first delivery, or None.
    """

    offset: int
    recovered: bool | None = None
    reason: str | None = None
    gap: Gap | None = None


class Hub:
    """In-process fan-out over one numbered log.

    Order: entries get ascending offsets, without holes, in the order in which they are given, over all channels.
    Loss: none within the bounds of the backlog; a subscriber that falls behind it is told so by a gap.
    Memory: the backlog's bound, whatever the number and speed of subscribers: each is a cursor into it.

    It belongs to one event loop and is not thread-safe. Nothing in it waits.

    Args:
        backlog: Memory of the newest entries.
        epoch: Identity of the numbering; None: a new random one.
        max_payload: Largest payload relayed whole, in bytes.
    """

    def __init__(
        self, *, backlog: Backlog | None = None, epoch: str | None = None, max_payload: int = MAX_PAYLOAD
    ) -> None:
        self.backlog = Backlog() if backlog is None else backlog
        self.epoch = secrets.token_hex(8) if epoch is None else epoch
        self.started_at = time.time()
        self.received: Counter[str] = Counter()
        """Messages by channel."""
        self.marked: Counter[Mark] = Counter()
        """Messages whose data is not the payload, by mark."""
        self.gaps: Counter[GapCause] = Counter()
        """Gaps by cause, those of single readers included."""
        self.past: Sequence[Envelope] = ()
        """The newest messages before the first of the backlog, as far as they are known: of the run before."""
        self._max_payload = max_payload
        self._born = self.backlog.head
        self._activity = Activity()
        # Of the channels seen so far, those of log lines: most of these change nothing in the state.
        self._quiet: set[str] = {RELAY_CHANNEL}
        self._channels = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def head(self) -> int:
        """Newest offset given."""
        return self.backlog.head

    @property
    def cursor(self) -> Cursor:
        """The newest place in the log."""
        return Cursor(self.epoch, self.backlog.head)

    @property
    def snapshot(self) -> Snapshot:
        """What the publisher is doing now, as far as the messages tell."""
        return self._activity.snapshot

    @property
    def reaches_back(self) -> bool:
        """Whether the backlog still begins where it began, so that `past` lies directly before it."""
        return self.backlog.oldest == self._born + 1

    def take_up(self, epoch: str, head: int, past: Sequence[Envelope] = ()) -> None:
        """Go on with the numbering of a run before, and with the state of the publisher as its newest messages tell it.

        To be called before anything is received.

        Args:
            epoch: Identity of the numbering.
            head: Newest offset that was given.
            past: The newest messages that are kept, oldest first.
        """
        self.backlog.begin_at(head)
        self.epoch, self._born, self.past = epoch, head, past
        for envelope in past:
            if envelope.channel != RELAY_CHANNEL and envelope.mark is None:
                self._activity.fold(envelope.channel, orjson.loads(envelope.data), envelope.received_at)

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, without arguments, after each growth of the log. It must neither wait nor raise."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Undo `listen`."""
        self._listeners.remove(listener)

    def receive(self, messages: Sequence[Message]) -> None:
        """Number messages from upstream, in order, and tell the listeners once."""
        # The relay's hot path, together with the source's parsing and the lanes' encoding: few calls, local names.
        loads, plain, quiet = orjson.loads, min(PLAIN, self._max_payload), self._quiet
        fold, fold_log = self._activity.fold, self._activity.fold_log
        data: list[bytes] = []
        keep = data.append
        notes: list[Mark | Gap | None] = [None] * len(messages)
        for channel, payload, received_at in messages:
            mark = None
            try:
                if len(payload) > plain:
                    payload, value, mark = normalise(payload, self._max_payload)
                else:
                    value = loads(payload)
            except orjson.JSONDecodeError:
                payload, value, mark = normalise(payload, self._max_payload)
            keep(payload)
            if mark is not None:
                notes[len(data) - 1] = mark
                self.marked[mark] += 1
            elif channel in quiet and type(value) is dict:
                event = value.get("event")
                if type(event) is str and event in LOG_EVENTS:
                    fold_log(event, value, received_at)
            else:
                fold(channel, value, received_at)
        channels = [message[0] for message in messages]
        times = [message[2] for message in messages]
        if channels and channels[-1] != RELAY_CHANNEL:  # its own journal is no sign of life of the publisher
            self._activity.touch(times[-1])
        self.backlog.extend(times, channels, data, notes)
        self.received.update(channels)
        if len(self.received) != self._channels:
            self._channels = len(self.received)
            self._quiet = {one for one in self.received if kind_of(one) is Kind.LOGS} | {RELAY_CHANNEL}
        self._tell()

    def report(self, gap: Gap) -> None:
        """Number a gap that concerns every reader, and tell the listeners."""
        self.gaps[gap.cause] += 1
        self.backlog.append(replace(gap, offset=self.backlog.head + 1))
        self._tell()

    def falls_short(self, request: Subscribe) -> bool:
        """Tell whether a subscription asks for entries that are older than the backlog's."""
        backlog = self.backlog
        if backlog.oldest == 1:
            return False
        if request.cursor is not None:
            return request.cursor.epoch == self.epoch and request.cursor.offset < backlog.oldest - 1
        if request.tail is not None:
            return request.tail > self.count(request.filter.channels)
        return request.time is not None and backlog.offset_at(request.time) == backlog.oldest

    def count(self, channels: frozenset[str] = frozenset()) -> int:
        """Return how many messages of publishers the backlog holds, on these channels, or on any if empty."""
        return self.backlog.count(channels=channels, but=RELAY_CHANNEL)

    def start_of(self, request: Subscribe) -> Start:
        """Return where a subscription begins, and what it has missed, as far as the backlog reaches."""
        backlog = self.backlog
        before_oldest = backlog.oldest - 1
        if request.cursor is not None:
            return self._resume(request.cursor)
        if request.tail is not None:
            return Start(self._before_newest(request.tail, request.filter.channels))
        if request.time is not None:
            offset = backlog.offset_at(request.time) - 1
            if offset == before_oldest > 0:  # what came at that time may have left the backlog
                gap = self._missed(GapCause.TRIMMED, request.time, None, before_oldest)
                return Start(offset, gap=gap)
            return Start(offset)
        return Start(backlog.head)

    def _before_newest(self, count: int, channels: frozenset[str]) -> int:
        """Return the offset before the newest so many messages of publishers, on these channels, or on any if empty."""
        if count == 0:
            return self.backlog.head
        return self.backlog.offset_of_newest(count, channels=channels, but=RELAY_CHANNEL) - 1

    def _resume(self, cursor: Cursor) -> Start:
        before_oldest = self.backlog.oldest - 1
        if cursor.epoch != self.epoch:
            detail = "the relay was restarted: what was published while it was away is lost"
            gap = Gap(cause=GapCause.RELAY_RESTART, started_at=self.started_at, ended_at=self.started_at, detail=detail)
            self.gaps[gap.cause] += 1
            return Start(before_oldest, recovered=False, reason="epoch", gap=gap)
        if cursor.offset > self.backlog.head:
            return Start(self.backlog.head, recovered=False, reason="future")
        if cursor.offset < before_oldest:
            gap = self._missed(GapCause.TRIMMED, self.started_at, cursor.offset + 1, before_oldest)
            return Start(before_oldest, recovered=False, reason="trimmed", gap=gap)
        return Start(cursor.offset, recovered=True)

    def missed_by_slow(self, offset: int, sent_at: float, cause: GapCause = GapCause.SLOW_READER) -> Gap | None:
        """Return the gap of a reader whose cursor fell behind the backlog, or None if it did not.

        Args:
            offset: The reader's cursor.
            sent_at: When it was last sent something, Unix seconds.
            cause: Why nothing older can be had.
        """
        before_oldest = self.backlog.oldest - 1
        if offset >= before_oldest:
            return None
        return self._missed(cause, sent_at, offset + 1, before_oldest)

    def _missed(self, cause: GapCause, started_at: float, first: int | None, last: int) -> Gap:
        """Return the gap up to an offset; `first` is None where nobody can tell how many are missing."""
        self.gaps[cause] += 1
        if first is not None and first <= self._born:
            first = None  # between the offsets of two runs may be some that were never given: no count is known
        ended_at = _time_of(next(iter(self.backlog.between(last + 1, last + 1)), None)) or time.time()
        return Gap(
            cause=cause,
            started_at=min(started_at, ended_at),
            ended_at=ended_at,
            first_offset=first,
            last_offset=None if first is None else last,
            detail=f"{'what came before' if first is None else f'{last - first + 1} messages'} had left the relay's memory",
        )

    def subscribe(self, request: Subscribe | None = None) -> Subscriber:
        """Return a subscriber in this process, from now on unless the request says otherwise."""
        return Subscriber(self, Subscribe() if request is None else request)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


class Subscriber:
    """One consumer in the relay's own process: an asynchronous iterator over the log.

    Order: ascending offsets, no duplicates. Loss: entries that left the backlog before they were taken come as one
    `Gap` (cause `slow_reader`). Memory: a cursor; nothing is queued for it.

    Cancelling the task that iterates ends the iteration; nothing is lost that was not yielded.

    Example:
        >>> async for entry in relay.hub.subscribe():
        ...     print(entry.offset)
    """

    def __init__(self, hub: Hub, request: Subscribe) -> None:
        start = hub.start_of(request)
        self.offset = start.offset
        """Offset of the newest entry yielded or filtered out."""
        self._hub = hub
        self._filter = request.filter
        self._gap = start.gap

    async def __aiter__(self) -> AsyncIterator[Entry]:
        """Yield envelopes and gaps until closed."""
        hub, grown = self._hub, asyncio.Event()
        hub.listen(grown.set)
        taken_at = time.time()
        try:
            while True:
                if gap := self._gap or hub.missed_by_slow(self.offset, taken_at):
                    self._gap = None
                    self.offset = max(self.offset, gap.last_offset or 0)
                    yield gap
                for entry in hub.backlog.between(self.offset + 1, self.offset + 256):
                    self.offset = _offset_of(entry)
                    if isinstance(entry, Gap) or self._filter.accepts(entry, _decoded(entry, self._filter)):
                        yield entry
                taken_at = time.time()
                if self.offset >= hub.head:
                    grown.clear()
                    await grown.wait()
        finally:
            hub.unlisten(grown.set)


def _decoded(envelope: Envelope, wanted: Filter) -> Any:
    """Return an envelope's decoded data, or None if the filter does not read it."""
    return orjson.loads(envelope.data) if wanted.reads_payload else None


def _offset_of(entry: Entry) -> int:
    assert entry.offset is not None  # the log holds only numbered gaps
    return entry.offset


def _time_of(entry: Entry | None) -> float | None:
    match entry:
        case Envelope():
            return entry.received_at
        case Gap():
            return entry.ended_at
        case None:
            return None
