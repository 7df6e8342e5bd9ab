"""Host time: local times of the daemon's host, told in UTC by those of them whose moment is known from messages."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

import numpy as np

from codeworm_monitor.analysis.coverage import MISSING, Micros

__all__ = ["in_utc", "utc_offsets"]

_QUARTER = 900_000_000  # microseconds: every UTC offset in use is a multiple of 15 minutes
_NEAR = 60_000_000  # CodeWorm writes a document down within seconds of its log line
_WIDEST = 14 * 3_600_000_000 + _QUARTER  # the widest UTC offset in use is +14:00
_START = datetime(1970, 1, 1)
_EARLIEST, _LATEST = -62_104_060_800_000_000, 253_370_764_800_000_000  # years 2 to 9998: no zone leads out of 1 to 9999


def utc_offsets(local: Micros, moments: Micros) -> Micros:
    """Return local time less UTC, where both are known and make one: a multiple of 15 minutes, within a minute.

    Args:
        local: Local times as if they were UTC, microseconds, `MISSING` where unknown; of shape (n,).
        moments: As many moments in UTC, at which they were written.

    Returns:
        Microseconds, `MISSING` where there is none.
    """
    is_known = (local != MISSING) & (moments != MISSING)
    difference = np.where(is_known, local - np.where(is_known, moments, local), 0)
    offsets = (difference + _QUARTER // 2) // _QUARTER * _QUARTER
    is_one = is_known & (np.abs(difference - offsets) < _NEAR) & (np.abs(offsets) <= _WIDEST)
    found: Micros = np.where(is_one, offsets, MISSING)
    return found


def in_utc(local: Micros, moments: Micros, zone: tzinfo) -> Micros:
    """Return local times in UTC.

    Where the moment of a time is known, so is its offset. The others have that of `zone` if it agrees with all that is
    known so; else that of their neighbours, and between two that differ the change is where the clock leaps most.

    Args:
        local: Local times as if they were UTC, microseconds, in the order in which they were written, `MISSING` where
            unknown; of shape (n,).
        moments: As many moments in UTC, `MISSING` where unknown.
        zone: Likely zone of the host. An hour that its clocks pass through twice is told by the order.

    Returns:
        Microseconds, UTC; `MISSING` where the local time is, and outside the years 2 to 9998.
    """
    local = np.where((local >= _EARLIEST) & (local <= _LATEST), local, MISSING)
    offsets = utc_offsets(local, moments)
    is_told = offsets != MISSING
    early, late = _by_zone(local, zone)
    if is_told.any():
        told = np.where(is_told, local - np.where(is_told, offsets, 0), MISSING)
        if not ((told == early) | (told == late))[is_told].all():
            return _by_neighbours(local, offsets)
        early, late = np.where(is_told, told, early), np.where(is_told, told, late)
    found = early.copy()
    places = np.arange(len(local))
    newest = np.maximum.accumulate(np.where(local == MISSING, -1, places))
    for place in places[early != late]:
        before = newest[place - 1] if place else -1
        if before >= 0 and early[place] < found[before] < late[place] + _NEAR:
            found[place] = late[place]
    return found


def _by_neighbours(local: Micros, offsets: Micros) -> Micros:
    told = np.flatnonzero(offsets != MISSING)
    places = np.arange(len(local))
    chosen = offsets[told[np.maximum(np.searchsorted(told, places, "right") - 1, 0)]]
    changes = np.diff(offsets[told])
    for place in np.flatnonzero(changes):
        first, last = told[place], told[place + 1]
        span = places[first : last + 1][local[first : last + 1] != MISSING]
        leaps = np.diff(local[span])
        where = span[1:][np.argmax(leaps) if changes[place] > 0 else np.argmin(leaps)]
        chosen[where:last] = offsets[last]
    found: Micros = np.where(local == MISSING, MISSING, local - chosen)
    return found


def _by_zone(local: Micros, zone: tzinfo) -> tuple[Micros, Micros]:
    """Return local times in UTC, those that come twice as the earlier, and as the later; one that never came is moved on."""
    is_known = local != MISSING
    quarters, places = np.unique(local[is_known] // _QUARTER, return_inverse=True)  # clocks change between them
    found = np.full((2, len(local)), MISSING)
    for fold in (0, 1):
        offsets = [_offset(int(quarter), zone, fold) for quarter in quarters]
        found[fold, is_known] = local[is_known] - np.array(offsets, np.int64)[places]
    # Where the clocks leap ahead, the second reading is the earlier one: of a time that never came.
    return found[0], np.where(found[1] > found[0], found[1], found[0])


def _offset(quarter: int, zone: tzinfo, fold: int) -> int:
    time = (_START + quarter * timedelta(minutes=15)).replace(tzinfo=zone, fold=fold)
    return (time.utcoffset() or timedelta()) // timedelta(microseconds=1)
