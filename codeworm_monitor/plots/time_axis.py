"""Time axis: moments in the zone of the person who looks."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from codeworm_monitor.analysis.coverage import MISSING, micros
from codeworm_monitor.analysis.rates import bucket_edges
from codeworm_monitor.plots.canvas import width_in
from codeworm_monitor.plots.lettering import SMALL, inert, spoken
from codeworm_monitor.plots.time_ticks import ClockFormatter, ClockLocator

__all__ = ["Days", "days", "edges", "span", "time_axis", "zone_label"]

Days = npt.NDArray[np.float64]
"""Times as Matplotlib counts them: days since 1970 in UTC; NaN: missing."""

_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() / 86_400 for year in (1971, 2200))
"""A clock may say anything; a picture reaches no further."""
_EDGE = 0.008
"""Of the stretch of time: room at both ends, so that a mark there is seen whole."""
_MINUTE = 1 / 1440
_LENGTHS = (
    *(timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
    *(timedelta(days=n) for n in (1, 2, 7, 14, 28)),
)


def days(times: pd.Series[pd.Timestamp]) -> Days:
    """Return times as Matplotlib counts them; NaN: missing, or of no year that a picture shows."""
    if times.empty:
        return np.empty(0)
    counts = micros(times)
    made = np.where(counts == MISSING, np.nan, counts / 86_400e6)
    made[(made < _FIRST) | (made > _LAST)] = np.nan
    return made


def span(frame: pd.DataFrame, *times: Days) -> tuple[float, float] | None:
    """Return the stretch of time a picture shows: that of the answer, else that of its times; None: there is none.

    Args:
        frame: An answer, with `since` and `until` in its attrs; or any frame.
        times: Of what is drawn.
    """
    known = np.concatenate([np.empty(0), *(one[np.isfinite(one)] for one in times)])
    since, until = (frame.attrs.get(name) for name in ("since", "until"))
    if isinstance(since, str) and isinstance(until, str):
        begin, end = days(pd.Series(pd.to_datetime([since, until], utc=True, errors="coerce", format="ISO8601")))
        if np.isfinite(begin) and np.isfinite(end) and (not len(known) or ((known >= begin) & (known <= end)).any()):
            return _widened(float(begin), float(end))
    return _widened(float(known.min()), float(known.max())) if len(known) else None


def time_axis(ax: Axes, begin: float, end: float, zone: tzinfo) -> None:
    """Make the x axis one of time, and say in whose zone.

    Args:
        ax: The Axes.
        begin: Its left end, days since 1970.
        end: Its right end.
        zone: Of the labels.
    """
    most = max(2, min(10, int(width_in(ax) / 0.75)))
    ax.xaxis.set_major_locator(ClockLocator(zone, most))
    ax.xaxis.set_major_formatter(ClockFormatter(zone))
    ax.set_xlim(begin - (end - begin) * _EDGE, end + (end - begin) * _EDGE)
    # In some styles ticks have no length, and the first label would touch that of the other axis.
    ax.tick_params(axis="x", labelsize=SMALL, length=3.5, pad=3.5)
    ax.set_xlabel(f"time, {zone_label(zone, begin, end)}", fontsize=SMALL + 0.5)


def zone_label(zone: tzinfo, begin: float, end: float) -> str:
    """Return the name of a zone and what its clock is called within a stretch of time, in the order of its changes."""
    names: dict[str, None] = {}
    for day in np.linspace(begin, end, 60):
        names[datetime.fromtimestamp(day * 86_400, UTC).astimezone(zone).strftime("%Z")] = None
    short = ", ".join(names)
    name = getattr(zone, "key", None)
    return inert(short if name is None or name == short else f"{name} ({short})")


def edges(begin: float, end: float, zone: tzinfo, most: int) -> tuple[Days, str]:
    """Return the edges of stretches of one round length, by the zone's clock, and what the length is called.

    Args:
        begin: Days since 1970.
        end: So.
        zone: Where days begin.
        most: Most stretches.
    """
    since, until = (datetime.fromtimestamp(day * 86_400, UTC) for day in (begin, end))
    # One more may begin before, and where the clock is set back one may come twice.
    fits = next((length for length in _LENGTHS if (until - since) / length + 2 <= most), None)
    length = fits or timedelta(days=28 * math.ceil((until - since) / timedelta(days=28) / max(1, most - 2)))
    found: Days = bucket_edges(since, until, length, zone) / 86_400e6
    return found, spoken(length.total_seconds())


def _widened(begin: float, end: float) -> tuple[float, float]:
    """Return a stretch that has some length."""
    return (begin, end) if end - begin >= _MINUTE else (begin - _MINUTE / 2, end + _MINUTE / 2)
