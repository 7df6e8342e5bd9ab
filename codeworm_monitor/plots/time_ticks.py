"""Ticks of a time axis: where the clock of a zone is round, and what they are called.

Matplotlib's own locator gives up, with a warning, where few ticks have room; and its labels leave the day to a text at the
far end of the axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
from matplotlib.ticker import Formatter, Locator

__all__ = ["ClockFormatter", "ClockLocator"]

_DAY = 86_400
_STEPS: tuple[tuple[str, int, float], ...] = (
    *(("seconds", n, n / _DAY) for n in (1, 5, 10, 15, 30)),
    *(("seconds", n * 60, n * 60 / _DAY) for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
    *(("days", n, float(n)) for n in (1, 2, 7, 14)),
    *(("months", n, n * 30.4) for n in (1, 2, 3, 6)),
    *(("months", n * 12, n * 365.25) for n in (1, 2, 5, 10, 20, 50, 100)),
)
"""Unit, how many of it, and about how many days that is."""
_MONDAY = datetime(1970, 1, 5)


class ClockLocator(Locator):
    """Puts ticks where a zone's clock or calendar is round: an hour that comes twice has two, a skipped one has none.

    Args:
        zone: Whose clock.
        most: Ticks that have room.
    """

    def __init__(self, zone: tzinfo, most: int) -> None:
        self._zone = zone
        self._most = most

    def __call__(self) -> Sequence[float]:
        """Return the ticks of what the axis shows."""
        view = self.axis.get_view_interval() if self.axis is not None else (0.0, 1.0)
        return self.tick_values(*sorted(view))

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the ticks between two times, days since 1970."""
        found: list[float] = []
        for unit, count, length in reversed(_STEPS):
            if (vmax - vmin) / length > self._most + 1:
                break
            ticks = [tick for tick in self._round(vmin, vmax, unit, count) if vmin <= tick <= vmax]
            if len(ticks) > self._most and len(found) >= 2:
                break
            found = ticks
        return found if len(found) >= 2 else [vmin, vmax]

    def _round(self, vmin: float, vmax: float, unit: str, count: int) -> list[float]:
        first, last = (
            datetime.fromtimestamp(end * _DAY, UTC).astimezone(self._zone).replace(tzinfo=None) for end in (vmin, vmax)
        )
        found = set()
        # Where the clock was set between, the round times before and after may lie a little outside.
        for told in _rounds(first - timedelta(hours=2), last + timedelta(hours=2), unit, count):
            for fold in (0, 1):
                moment = told.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)
                if moment.astimezone(self._zone).replace(tzinfo=None) == told:
                    found.add(moment.timestamp() / _DAY)
        return sorted(found)


class ClockFormatter(Formatter):
    """Writes ticks by a zone's clock; what they leave unsaid stands below the first one, and wherever it changes.

    Args:
        zone: Whose clock.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return a time in full, as it is shown beside the pointer."""
        return f"{self._moment(x):%Y-%m-%d %H:%M:%S %Z}"

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of ticks, ascending, days since 1970."""
        moments = [self._moment(value) for value in values]
        step = float(min(np.diff(values), default=1.0))
        labels = []
        before: datetime | None = None
        for moment in moments:
            said, below = _said(moment, step), _unsaid(moment, before, step)
            labels.append(f"{said}\n{below}" if below else said)
            before = moment
        return labels

    def _moment(self, day: float) -> datetime:
        # Rounded: as days, a whole second is a float just below it.
        return datetime.fromtimestamp(round(day * _DAY, 3), UTC).astimezone(self._zone)


def _rounds(first: datetime, last: datetime, unit: str, count: int) -> Iterator[datetime]:
    """Yield the round times from one to another, by a clock that is never set."""
    if unit == "months":
        month = (first.year * 12 + first.month - 1) // count * count
        while month <= last.year * 12 + last.month:
            yield datetime(month // 12, month % 12 + 1, 1)
            month += count
        return
    length = timedelta(**{unit: count})
    # A step of less than a day divides it.
    time = _MONDAY + (first - _MONDAY) // length * length
    while time <= last:
        yield time
        time += length


def _said(moment: datetime, step: float) -> str:
    if step > 300:
        return f"{moment:%Y}"
    if step > 25:
        return f"{moment:%b}"
    if step > 0.9:
        return f"{moment:%d %b}"
    return f"{moment:%H:%M}" if step > 0.9 * 60 / _DAY else f"{moment:%H:%M:%S}"


def _unsaid(moment: datetime, before: datetime | None, step: float) -> str:
    """Return what a label does not say and the one before it did not imply."""
    if step > 300:
        return ""
    is_new_year = before is None or before.year != moment.year
    if step > 0.9:
        return f"{moment:%Y}" if is_new_year else ""
    # Where the clock is set, the same hour may come twice.
    was_set = before is not None and before.utcoffset() != moment.utcoffset()
    parts = [f"{moment:%d %b}"] if before is None or before.date() != moment.date() else []
    return " ".join([*parts, *([f"{moment:%Y}"] if is_new_year else []), *([f"{moment:%Z}"] if was_set else [])])
