"""Written times: the times of many messages at once, as they are written, and as they are in UTC.

The meaning is that of `records.read_time` and `records.PublisherClock`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.columns import TIME
from codeworm_monitor.moments import micros_of, time_of
from codeworm_monitor.records import PublisherClock, read_time

__all__ = ["WrittenTimes", "read_times", "settle"]

_NEAR = 300_000_000  # microseconds; see `records.PublisherClock`
_EARLIEST, _LATEST = -62_104_060_800_000_000, 253_370_764_800_000_000  # years 2 to 9998: no zone leads out of 1 to 9999
_MICROSECOND = timedelta(microseconds=1)
_CLOCK_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?"
_IS_AWARE = _CLOCK_TIME + r"(?:Z|[+-][0-9]{2}:[0-5][0-9])$"
_IS_NAIVE = _CLOCK_TIME + "$"
_NONE, _AWARE, _NAIVE = 0, 1, 2
_FEW = 256
"""Messages whose times are settled one by one without more ado."""

Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


class WrittenTimes(NamedTuple):
    """Times as they are written: microseconds, and whether they have a zone, have none, or cannot be read."""

    micros: Integers
    states: npt.NDArray[np.int8]

    @classmethod
    def none(cls, count: int) -> WrittenTimes:
        """Return so many that say nothing."""
        return cls(np.zeros(count, np.int64), np.zeros(count, np.int8))

    @property
    def are_at_the_edge(self) -> Truths:
        """Which have no zone, and may turn out to be none of the years 1 to 9999."""
        found: Truths = (self.states == _NAIVE) & ((self.micros < _EARLIEST) | (self.micros > _LATEST))
        return found

    def put(self, rows: Integers, times: WrittenTimes) -> None:
        """Put some in their places."""
        self.micros[rows], self.states[rows] = times

    @property
    def are_missing(self) -> Truths:
        """Which say nothing, or nothing that can be read."""
        found: Truths = self.states == _NONE
        return found

    def at(self, row: int) -> datetime | None:
        """Return one of them, if it is settled."""
        return None if self.states[row] == _NONE else time_of(int(self.micros[row]))

    def take(self, rows: Integers | Truths) -> WrittenTimes:
        """Return some of them."""
        return WrittenTimes(self.micros[rows], self.states[rows])

    def part(self, rows: slice) -> WrittenTimes:
        """Return some of them, which are these and no copies."""
        return WrittenTimes(self.micros[rows], self.states[rows])

    def as_arrow(self) -> pa.Array:
        """Return them as a column, if they are settled."""
        return pa.array(self.micros, mask=self.are_missing).cast(TIME)

    def resolve(self, row: np.intp, to_utc: Callable[[datetime], datetime]) -> None:
        """Settle one that has no zone."""
        naive = time_of(int(self.micros[row])).replace(tzinfo=None)
        try:
            self.micros[row] = micros_of(to_utc(naive))
        except OverflowError:
            self.states[row] = _NONE


def settle(clock: PublisherClock, own: WrittenTimes, other: WrittenTimes, is_log: Truths, received: Integers) -> None:
    """Bring times to UTC, in place; the clock learns from them as from messages in this order.

    Args:
        clock: The publisher's.
        own: Times of writing.
        other: Second times, such as `next_cycle_at`.
        is_log: Which messages are log lines, by whose times the error of the publisher's clock is known.
        received: When the messages were received, microseconds.
    """
    # Mostly what the clock has learnt holds for all. Where it does not, for all but a few: these are looked for by halves.
    count = len(received)
    if _settle_at_once(clock, own, other, is_log, received):
        return
    if count <= _FEW:
        _settle_one_by_one(clock, own, other, is_log, received)
        return
    for half in (slice(0, count // 2), slice(count // 2, count)):
        settle(clock, own.part(half), other.part(half), is_log[half], received[half])


def _settle_at_once(
    clock: PublisherClock, own: WrittenTimes, other: WrittenTimes, is_log: Truths, received: Integers
) -> bool:
    """Bring times without a zone to UTC, if the UTC offset known holds for all of them; tell whether it does."""
    naive = np.flatnonzero(own.states == _NAIVE)
    if is_log[naive].any() or own.are_at_the_edge.any() or other.are_at_the_edge.any():
        return False
    told = np.flatnonzero(is_log & (own.states == _AWARE))  # these say how far off the publisher's clock is
    skews = own.micros[told] - received[told]
    utc_offset = clock.utc_offset // _MICROSECOND
    if len(naive):
        place = np.searchsorted(told, naive)
        skew = np.concatenate([[clock.skew // _MICROSECOND], skews])[place]
        times = own.micros[naive] - utc_offset
        if (np.abs(times - received[naive] - skew) >= _NEAR).any():
            return False
        own.micros[naive] = times
    if len(told):
        clock.skew = int(skews[-1]) * _MICROSECOND
    other.micros[other.states == _NAIVE] -= utc_offset
    return True


def _settle_one_by_one(
    clock: PublisherClock, own: WrittenTimes, other: WrittenTimes, is_log: Truths, received: Integers
) -> None:
    for row in np.flatnonzero((own.states == _NAIVE) | (other.states == _NAIVE) | (is_log & (own.states == _AWARE))):
        received_at = time_of(int(received[row]))
        if own.states[row] == _NAIVE:
            own.resolve(row, partial(clock.to_utc, received_at=received_at))
        if is_log[row] and own.states[row] != _NONE:
            clock.skew = int(own.micros[row] - received[row]) * _MICROSECOND
        if other.states[row] == _NAIVE:
            other.resolve(row, lambda naive: naive.replace(tzinfo=UTC) - clock.utc_offset)


def read_times(texts: pa.Array) -> WrittenTimes:
    """Read times as `records.read_time` does, but for the zone where none is written."""
    times = WrittenTimes.none(len(texts))
    if texts.null_count == len(texts):
        return times
    for shape, state, type_ in ((_IS_AWARE, _AWARE, TIME), (_IS_NAIVE, _NAIVE, pa.timestamp("us"))):
        fits = pc.fill_null(pc.match_substring_regex(texts, shape), False).to_numpy(zero_copy_only=False)  # noqa: FBT003
        if not fits.any():
            continue
        try:
            micros = texts.filter(pa.array(fits)).cast(type_).cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:  # no such day
            continue
        fits[np.flatnonzero(fits)[(micros < _EARLIEST) | (micros > _LATEST)]] = False
        times.micros[fits] = micros[(micros >= _EARLIEST) & (micros <= _LATEST)]
        times.states[fits] = state
        if fits.all():
            return times
    left = pc.is_valid(texts).to_numpy(zero_copy_only=False) & (times.states == _NONE)
    for row in np.flatnonzero(left):
        is_naive: list[datetime] = []
        time = read_time(texts[row].as_py(), partial(_as_if_utc, is_naive))
        if time is not None:
            times.micros[row] = micros_of(time)
            times.states[row] = _NAIVE if is_naive else _AWARE
    return times


def _as_if_utc(noted: list[datetime], naive: datetime) -> datetime:
    noted.append(naive)
    return naive.replace(tzinfo=UTC)
