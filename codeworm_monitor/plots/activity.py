"""Activity calendar: in which hours of which days documents were made."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Patch

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.canvas import blank, canvas, has, head, heard, width_in
from codeworm_monitor.plots.hearing import coverage_of, hatch_unheard
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import SMALL
from codeworm_monitor.plots.palette import Look, contrast, ground, ink, legible_on
from codeworm_monitor.plots.time_axis import Days, days, span, zone_label

__all__ = ["activity_calendar"]

_MOST_COLUMNS = 370
_QUARTER = timedelta(minutes=15)
"""All zones of today differ from UTC by a multiple of it: none of their hours begins within one."""
_MOMENT = 1e-3 / 86_400
_CLASSES = 5
_TITLE = "Documents by day and hour"


class _Cells(NamedTuple):
    """Of shape (columns, 24): documents a day, and the share heard; NaN where a day has no such hour."""

    documents: npt.NDArray[np.float64]
    covered: npt.NDArray[np.float64]


def activity_calendar(
    cycles: pd.DataFrame,
    *,
    gaps: pd.DataFrame | None = None,
    zone: str | tzinfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many documents were committed in each hour of each day, the days side by side.

    Hours that were not listened to are hatched: those outside of the stretch of time of the answer, and those in a gap.
    An hour that a change of the clock leaves out is left out; one that it repeats counts both. More than a year is taken
    together by several days, and their mean is shown; the picture says so.

    Args:
        cycles: As `Monitor.cycles`; a document counts when its cycle ended (where that is lost: began).
        gaps: As `Monitor.gaps`; None: holes within the stretch are not hatched, only told as the share heard.
        zone: Of days and hours; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(cycles, "started_at", "ended_at", "outcome")
    place = resolved(zone)
    made_at = days(cycles["ended_at"])
    made_at = np.where(np.isnan(made_at), days(cycles["started_at"]), made_at)[
        (cycles["outcome"] == "committed").to_numpy(bool)
    ]
    stretch = span(cycles, made_at)
    if stretch is None:
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No document: nothing was heard, so there is no day to show.")
    # The end is not part of it: at midnight no other day begins.
    ends = (stretch[0], max(stretch[0], stretch[1] - _MOMENT))
    first, last = (datetime.fromtimestamp(end * 86_400, UTC).astimezone(place).date() for end in ends)
    step = -(-((last - first).days + 1) // _MOST_COLUMNS)
    columns = -(-((last - first).days + 1) // step)
    cells = _cells(
        made_at[(made_at >= stretch[0]) & (made_at <= stretch[1])], stretch, gaps, place, first, step, columns
    )
    notes = [heard(cycles)]
    if step > 1:
        notes.append(f"Each column is {step} days: the mean of a day is shown.")
    with canvas(ax, height=4.6) as made:
        legend = _draw(made, cells)
        _days_axis(made, first, step, columns)
        label = zone_label(place, *stretch)
        made.set_xlabel(f"day, {label}", fontsize=SMALL + 0.5)
        made.set_yticks(np.arange(0, 25, 3), [f"{hour:02d}:00" for hour in range(0, 25, 3)], fontsize=SMALL)
        made.set_ylim(24, 0)
        made.set_ylabel("hour of the day", fontsize=SMALL + 0.5)
        head(made, _TITLE, notes=notes, legend=legend)
        return made


def _cells(
    made_at: Days,
    stretch: tuple[float, float],
    gaps: pd.DataFrame | None,
    zone: tzinfo,
    first: date,
    step: int,
    columns: int,
) -> _Cells:
    begin = datetime.combine(first, datetime.min.time(), zone).astimezone(UTC) - _QUARTER * 8
    coverage = coverage_of(gaps, *stretch)
    quarters = pd.date_range(begin, periods=(columns * step + 1) * 96 + 16, freq=_QUARTER)
    column, hour = _places(quarters, zone, first, step)
    starts = quarters.as_unit("us").asi8
    shares = coverage.shares(starts, starts + int(_QUARTER / timedelta(microseconds=1)))
    inside = (column >= 0) & (column < columns)
    cell = column[inside] * 24 + hour[inside]
    length = np.bincount(cell, minlength=columns * 24).astype(np.float64)
    length[length == 0] = np.nan
    covered = np.bincount(cell, weights=shares[inside], minlength=columns * 24) / length
    # As days, a full hour may be a float just below it.
    moments = pd.DatetimeIndex(np.round(made_at * 86_400e6).astype("datetime64[us]"), tz="UTC")
    column, hour = _places(moments, zone, first, step)
    inside = (column >= 0) & (column < columns)
    count = np.bincount(column[inside] * 24 + hour[inside], minlength=columns * 24) / step
    count[np.isnan(length)] = np.nan
    return _Cells(count.reshape(columns, 24), np.round(covered, 9).reshape(columns, 24))


def _places(
    times: pd.DatetimeIndex, zone: tzinfo, first: date, step: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return column and hour of times, as the zone's clock has them."""
    local = times.tz_convert(zone)
    day = (local.tz_localize(None).normalize() - pd.Timestamp(first)) // pd.Timedelta("1D")
    return np.asarray(day, np.int64) // step, np.asarray(local.hour, np.int64)


def _draw(ax: Axes, cells: _Cells) -> list[Artist]:
    """Draw the cells and return what the legend says of them."""
    columns = len(cells.documents)
    left, top = (
        axis.ravel().astype(np.float64) for axis in np.meshgrid(np.arange(columns), np.arange(24), indexing="ij")
    )
    count, covered = cells.documents.ravel(), cells.covered.ravel()
    bounds = _bounds(float(np.nanmax(count)))
    shades = _shades(ax, len(bounds) - 1)
    legend: list[Artist] = [Patch(facecolor=ground(ax), edgecolor=ink(ax), linewidth=0.5, label="none")]
    level = np.searchsorted(bounds, count, "left") - 1  # NaN is after all
    for place, shade in enumerate(shades):
        some = (level == place) & (count > 0)
        ax.add_collection(
            boxes(left[some], left[some] + 1, top[some], top[some] + 1, Look(shade, "", ""), "none"), autolim=False
        )
        legend.append(
            Patch(facecolor=shade, edgecolor=ink(ax), linewidth=0.5, label=_called(bounds[place], bounds[place + 1]))
        )
    seen = np.isfinite(covered)
    legend += hatch_unheard(
        ax, left[seen], left[seen] + 1, covered[seen], bottom=top[seen], top=top[seen] + 1, transform=ax.transData
    )
    if width_in(ax) / columns >= 0.28:
        for cell in np.flatnonzero(count > 0):
            shade = shades[level[cell]]
            ax.text(
                left[cell] + 0.5,
                top[cell] + 0.5,
                f"{count[cell]:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color=legible_on(shade),
                bbox={"facecolor": shade, "edgecolor": "none", "pad": 0.6},  # or a hatch would run through it
            )
    return legend


def _bounds(most: float) -> list[float]:
    """Return the ends of at most so many classes from 0 on, whole numbers."""
    width = max(1, int(np.ceil(most / _CLASSES)))
    return [float(width * place) for place in range(int(np.ceil(max(1.0, most) / width)) + 1)]


def _called(low: float, high: float) -> str:
    return f"{high:.0f}" if high - low <= 1 else f"{low + 1:.0f}\N{EN DASH}{high:.0f}"


def _shades(ax: Axes, count: int) -> list[str]:
    """Return shades of blue, each farther from the ground than the one before, the first with 3:1 to it."""
    is_dark = contrast(ground(ax), "white") > contrast(ground(ax), "black")
    near, far = ("#3d76ad", "#e3f1ff") if is_dark else ("#5494cf", "#06233f")
    ends = np.array([to_rgb(near), to_rgb(far)])
    return [to_hex(ends[0] + (ends[1] - ends[0]) * place / max(1, count - 1)) for place in range(count)]


def _days_axis(ax: Axes, first: date, step: int, columns: int) -> None:
    each = max(1, int(np.ceil(columns * 0.62 / width_in(ax))))
    each = next((round_ for round_ in (1, 2, 7, 14, 28, 56, 91, 182) if round_ >= each), each)
    places = np.arange(0, columns, each)
    dates = [first + timedelta(days=int(place) * step) for place in places]
    years = [d.year for d in dates]
    labels = [
        f"{d:%d %b}"
        + (f"\n{d:%Y}" if not place or d.year != years[place - 1] else f"\n{d:%a}" if each * step == 1 else "")
        for place, d in enumerate(dates)
    ]
    ax.set_xticks(places + 0.5, labels, fontsize=SMALL)
    ax.set_xlim(0, columns)
