"""The intake: messages in, tables, current state and figures out. No thread and no socket."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from codeworm_monitor.activity import Activity, Snapshot
from codeworm_monitor.arrivals import Arrival, Dispatcher
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.records import Kind, PublisherClock, kind_of, parse_record
from codeworm_monitor.rows import Row, RowReader
from codeworm_monitor.streams import Stream
from codeworm_monitor.tables import gap_table

__all__ = ["Intake"]

RATE_SECONDS = 10

_SINCE_WE_LEFT = frozenset({GapCause.RELAY_RESTART, GapCause.TRIMMED})


class Intake:
    """Streams by channel, the current state, and counts of what came.

    One thread feeds it; any may read it.

    Args:
        dispatcher: Calls the callbacks.
        capacity: Most rows of each stream.
        is_live: Whether "15min" counts back from the relay's present; else from the newest row.
        replay: For a recording, makes an iterator over a stream's arrivals.
        in_view: As for `Table`.

    Attributes:
        gaps: Table of the gaps.
        snapshot: The current state.
        received: Messages taken.
        gap_count: Gaps taken.
        lag: Seconds from the relay's reading of the newest live message until it was taken; None before the first.
        clock_ahead: The relay's clock less this machine's, seconds.
        lost_at: When the last connection ended, Unix seconds by the relay's clock; None: none has.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        capacity: int,
        is_live: bool = True,
        replay: Callable[[Stream], Iterator[Arrival]] | None = None,
        in_view: Callable[[pa.Table, object], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self._in_view = in_view
        self.clock_ahead = 0.0
        self.snapshot = Snapshot()
        self.received = 0
        self.gap_count = 0
        self.lag: float | None = None
        self._dispatcher = dispatcher
        self._capacity = capacity
        self._now = self.relay_time if is_live else None
        self._replay = replay
        self._end: str | None = None
        self.by_kind = {kind: self._new_stream(kind) for kind in Kind}
        self.others: dict[str, Stream] = {}
        self.gaps = gap_table(now=self._now)
        self.lost_at: float | None = None
        self._reader = RowReader()
        self._journal_reader = RowReader()  # the relay's own lines tell nothing of the publisher's clock
        self._activity = Activity(clock=self._reader.clock)
        self._live_from = 0  # what has a larger offset is not in the snapshot yet
        self._by_second: deque[tuple[int, int]] = deque(maxlen=RATE_SECONDS + 2)

    @property
    def clock(self) -> PublisherClock:
        """The publisher's clock, as the messages taken tell it."""
        return self._reader.clock

    @property
    def live_from(self) -> int:
        """Offset up to which the relay's own state, told when it was connected to, holds everything."""
        return self._live_from

    def relay_time(self) -> float:
        """Return the time by the relay's clock, Unix seconds."""
        return time.time() + self.clock_ahead

    def stream(self, channel: str) -> Stream:
        """Return the stream of a channel: by its kind, or one of its own where its name tells none."""
        kind = kind_of(channel)
        if kind is not Kind.LOGS or channel.rpartition(":")[2] == Kind.LOGS:
            return self.by_kind[kind]
        stream = self.others.get(channel)
        if stream is None:
            stream = self.others.setdefault(channel, self._new_stream(Kind.LOGS))
        return stream

    def streams(self) -> list[Stream]:
        """Return all streams."""
        return [*self.by_kind.values(), *list(self.others.values())]

    def sizes(self) -> list[tuple[str, int]]:
        """Return the name and the number of rows of each stream."""
        named = [(str(kind), stream) for kind, stream in self.by_kind.items()] + list(self.others.items())
        return [(name, len(stream)) for name, stream in named]

    def restart(self, snapshot: Snapshot, *, live_from: int) -> None:
        """Take the relay's state at an offset: what is replayed up to there is in it, and not folded again."""
        self._activity = Activity(snapshot, clock=self._reader.clock)
        self._live_from = live_from
        self.snapshot = snapshot

    def take(self, epoch: str, messages: Iterable[tuple[Envelope, Any]]) -> None:
        """Take messages, in the order of the log, each with its decoded payload."""
        groups: dict[Stream, tuple[list[Row], list[Arrival]]] = {}
        # By channel: whether records are wanted, and where rows and records go.
        places: dict[str, tuple[bool, list[Row], list[Arrival]]] = {}
        count, live_at = 0, None
        for envelope, payload in messages:
            channel = envelope.channel
            is_journal = channel == RELAY_CHANNEL
            reader = self._journal_reader if is_journal else self._reader
            count += not is_journal
            place = places.get(channel)
            if place is None:
                stream = self.stream(channel)
                place = places[channel] = (stream.has_listeners, *groups.setdefault(stream, ([], [])))
            is_heard, rows, arrivals = place
            record = None
            if is_heard:
                record = parse_record(channel, payload, envelope.received_at, reader.clock)
                arrivals.append(Arrival(record, channel, epoch, None if envelope.mark is None else str(envelope.mark)))
            rows.append(reader.read(epoch, envelope, payload, record))
            if envelope.offset > self._live_from and not is_journal:
                self._activity.fold(channel, payload, envelope.received_at)
                live_at = envelope.received_at
        for stream, (rows, arrivals) in groups.items():
            stream.receive(rows, arrivals)
        self.received += count
        self._count(count)
        if live_at is not None:
            self.snapshot = self._activity.snapshot
            if live_at > self.relay_time():  # its clock is further ahead than its greeting said: it runs faster
                self.clock_ahead = live_at - time.time()
            self.lag = max(0.0, self.relay_time() - live_at)

    def take_gap(self, epoch: str, gap: Gap) -> None:
        """Take a gap."""
        if (
            gap.cause in _SINCE_WE_LEFT and gap.offset is None and self.lost_at is not None
        ):  # the relay cannot know when this reader left
            gap = replace(gap, started_at=min(self.lost_at, gap.ended_at))
        self.gaps.append([(epoch, gap)])
        self.gap_count += 1

    def seal(self) -> None:
        """Turn waiting payloads into columns."""
        for stream in self.streams():
            stream.seal()

    def shut(self, reason: str) -> None:
        """End all waiting: nothing will come any more."""
        self._end = reason
        for stream in self.streams():
            stream.shut(reason)

    @property
    def rate(self) -> float:
        """Messages a second, over the last `RATE_SECONDS` whole seconds."""
        now = int(time.monotonic())
        return sum(n for second, n in list(self._by_second) if now - RATE_SECONDS <= second < now) / RATE_SECONDS

    def _count(self, count: int) -> None:
        second = int(time.monotonic())
        before = self._by_second.pop()[1] if self._by_second and self._by_second[-1][0] == second else 0
        self._by_second.append((second, before + count))

    def _new_stream(self, kind: Kind) -> Stream:
        stream = Stream(kind, self._dispatcher, capacity=self._capacity, now=self._now, replay=self._replay)
        stream.in_view = self._in_view
        if self._end is not None:
            stream.shut(self._end)
        return stream
