"""Local times of a log file, told in UTC by the help of the times in UTC that stand between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from codeworm_monitor.errors import RecordingError

__all__ = ["EPOCH", "LocalTime", "learnt_offset", "micros_of"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAIRS = 200
"""Pairs of neighbours from which the first offset is learnt."""
_QUARTER = timedelta(minutes=15)  # every UTC offset in use is a multiple of it
_WIDEST = timedelta(hours=14, minutes=30)  # the widest UTC offset in use is +14:00
_NEAR = _QUARTER / 3
_AT_ONCE = timedelta(seconds=2)  # local times are cut off to the second
_HOUR = timedelta(hours=1)


def micros_of(time: datetime) -> int:
    """Return an aware time as microseconds since 1970, UTC."""
    return (time - EPOCH) // timedelta(microseconds=1)


def learnt_offset(times: Iterable[datetime]) -> timedelta | None:
    """Return local time less UTC, as most pairs of neighbours have it, one local and one aware; None without a pair.

    Args:
        times: Times in the order in which they were written; no more are asked for than are needed.
    """
    votes: Counter[timedelta] = Counter()
    best: tuple[timedelta, timedelta] | None = None
    for one, other in pairwise(times):
        if (one.tzinfo is None) == (other.tzinfo is None):
            continue
        local, utc = (one, other) if one.tzinfo is None else (other, one)
        offset, error = _offset(local, utc)
        if abs(offset) > _WIDEST:
            continue
        if best is None or error < best[1]:
            best = (offset, error)
        votes[offset] += error < _NEAR
        if votes.total() >= PAIRS:
            break
    if best is None:
        return None
    return votes.most_common(1)[0][0] if votes.total() else best[0]


class LocalTime:
    """Tells local times in UTC, and notices where the offset changes.

    Args:
        utc_offset: Local time less UTC, as far as it is known.
        is_fixed: Whether it never changes.
    """

    def __init__(self, utc_offset: timedelta | None, *, is_fixed: bool) -> None:
        self.utc_offset = utc_offset
        """Newest offset found."""
        self._is_fixed = is_fixed

    def to_utc(self, local: datetime, before: datetime | None, after: datetime | None) -> datetime:
        """Return the UTC time of a local time that was written between two others.

        The offset known holds as long as the time lies between its neighbours. It is another where that one makes the
        time fit, or, by an hour, where that puts it right beside a neighbour: clocks were changed in the silence.

        Raises:
            RecordingError: No offset is known.
            OverflowError: The time lies outside the years 1 to 9999 in UTC.
        """
        if self.utc_offset is None:
            raise RecordingError(
                "its console lines are in local time, and no JSON line tells which: give the offset (--utc-offset -05:00)"
            )
        time = local.replace(tzinfo=UTC)
        neighbours = [] if self._is_fixed else [near for near in (before, after) if near is not None]
        if not neighbours or min(abs(time - self.utc_offset - near) for near in neighbours) < _AT_ONCE:
            return time - self.utc_offset
        fits = _lies(time - self.utc_offset, before, after)
        for offset, error in sorted((_offset(local, near) for near in neighbours), key=lambda found: found[1]):
            is_change = abs(offset - self.utc_offset) == _HOUR and error < _AT_ONCE if fits else error < _NEAR
            if is_change and abs(offset) <= _WIDEST and _lies(time - offset, before, after):
                self.utc_offset = offset
                break
        return time - self.utc_offset


def _offset(local: datetime, utc: datetime) -> tuple[timedelta, timedelta]:
    difference = local.replace(tzinfo=UTC) - utc
    offset = round(difference / _QUARTER) * _QUARTER
    return offset, abs(difference - offset)


def _lies(time: datetime, before: datetime | None, after: datetime | None) -> bool:
    is_late_enough = before is None or time >= before - _AT_ONCE
    return is_late_enough and (after is None or time <= after + _AT_ONCE)
