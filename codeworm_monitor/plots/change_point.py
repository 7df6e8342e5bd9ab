"""Slowdown: how fast generation was beside what is usual for its like, and where that changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.canvas import blank, canvas, has, head, heard, width_in
from codeworm_monitor.plots.lanes import Lanes, boxes
from codeworm_monitor.plots.lettering import SMALL, counted, inert
from codeworm_monitor.plots.palette import BLUE, GREY, RED, Look, ground, ink
from codeworm_monitor.plots.time_axis import days, span, time_axis

__all__ = ["slowdown"]

_COLUMNS = ("verdict", "since", "until", "ratio", "ratio_low", "ratio_high")
_FOUND = ("slower", "faster", "was_slower", "was_faster")
_LOOKS = {"slower": Look(RED, "//", "^"), "faster": Look(BLUE, "..", "v")}
_TITLES = {
    "slower": "Generation has become slower",
    "faster": "Generation has become faster",
    "was_slower": "Generation was slower for a time",
    "was_faster": "Generation was faster for a time",
    "steady": "Generation is as fast as it was",
    "too_few": "Generation: too few cycles to judge",
}
_MOST_LANES = 8
_FARTHEST = 3.0
"""Powers of two from what is usual; what is farther stands at the edge."""
_PARTS = 30
Numbers = npt.NDArray[np.float64]


def slowdown(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw each cycle's duration over what is usual for its like, along the time, and the changes that were found.

    The answer for all together is drawn among the dots: a line where it changed, the level after it with its interval. The
    groups that changed have a lane each above. Dots more than eight times off stand at the edge as triangles.

    Args:
        answer: As `Monitor.slowdown`; the cycles are in its attrs, those of a frame without them are not drawn.
        zone: Of the time axis; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(answer, *_COLUMNS)
    place = resolved(zone)
    at, relative = _points(answer)
    stretch = span(answer, at)
    if answer.empty or stretch is None or not len(at):
        with canvas(ax, height=2.2) as made:
            return blank(
                made, "Generation along the time", "No cycle: none was heard that tells how long its generation took."
            )
    first = answer.iloc[0]
    verdict = str(first["verdict"])
    by = answer.attrs.get("by")
    names = (
        answer[by].astype(object) if isinstance(by, str) and by in answer.columns else answer.iloc[:, 0].astype(object)
    )
    changed = [row for row in range(1, len(answer)) if str(answer["verdict"].iloc[row]) in _FOUND]
    shown = changed[:_MOST_LANES]
    with canvas(ax, height=4.0 + 0.28 * len(shown)) as made:
        room = width_in(made) * 72 * 0.35
        lanes = Lanes(
            made,
            [inert(f"{names.iloc[row]} {_ratio(answer.iloc[row])}", room) for row in shown],
            min(0.5, 0.065 * len(shown)),
        )
        time_axis(made, *stretch, place)
        low, high = _dots(made, at, relative)
        legend = _level(made, first, stretch)
        for lane, row in enumerate(shown):
            begin, end = _bounds(answer.iloc[row], stretch)
            middle = lanes.middle(lane)
            look = _LOOKS[str(answer["verdict"].iloc[row]).removeprefix("was_")]
            made.add_collection(
                boxes(
                    np.array([begin]),
                    end,
                    middle - 0.3 * lanes.height,
                    middle + 0.3 * lanes.height,
                    look,
                    ground(made),
                    transform=lanes.transform,
                ),
                autolim=False,
            )
        made.set_ylim(low, low + (high - low) / (1 - lanes.share))
        ticks = np.arange(np.ceil(low), np.floor(high) + 0.5)
        made.set_yticks(ticks, [f"{2.0**tick:g}\N{MULTIPLICATION SIGN}" for tick in ticks], fontsize=SMALL)
        made.grid(visible=True, axis="y", color=ink(made), alpha=0.15, linewidth=0.8)
        made.set_axisbelow(True)
        made.set_ylabel("times the usual duration", fontsize=SMALL + 0.5, y=(1 - lanes.share) / 2)
        notes = [heard(answer), _told(first)]
        if len(changed) > len(shown):
            notes.append(f"Not shown: {counted(len(changed) - len(shown), 'more group')} that changed.")
        head(made, _TITLES.get(verdict, "Generation along the time"), notes=notes, legend=legend)
        return made


def _points(answer: pd.DataFrame) -> tuple[Numbers, Numbers]:
    """Return when the cycles were, and the power of two of how long they took beside what is usual."""
    points = answer.attrs.get("points")
    if not isinstance(points, Mapping):
        return np.empty(0), np.empty(0)
    at = days(pd.Series(pd.to_datetime(list(points["at"]), utc=True, errors="coerce", format="ISO8601")))
    relative = np.asarray(points["relative"], np.float64)
    some = np.isfinite(at) & (relative > 0) & np.isfinite(relative)
    return at[some], np.log2(relative[some])


def _dots(ax: Axes, at: Numbers, power: Numbers) -> tuple[float, float]:
    """Draw the cycles and how their middle went; return the limits of the y axis."""
    low = float(np.clip(np.quantile(power, 0.005), -_FARTHEST, -1)) - 0.15
    high = float(np.clip(np.quantile(power, 0.995), 1, _FARTHEST)) + 0.15
    inside = (power >= low) & (power <= high)
    ax.plot(at[inside], power[inside], ".", color=GREY, markersize=3.5, linestyle="none", zorder=1.5)
    ax.plot(
        at[power > high], np.full((power > high).sum(), high - 0.06), "^", color=GREY, markersize=5, linestyle="none"
    )
    ax.plot(at[power < low], np.full((power < low).sum(), low + 0.06), "v", color=GREY, markersize=5, linestyle="none")
    parts = np.array_split(np.argsort(at, kind="stable"), max(1, min(_PARTS, len(at) // 8)))
    middle = [float(np.median(power[part])) for part in parts]
    ax.plot([float(np.median(at[part])) for part in parts], middle, color=ink(ax), linewidth=1.4, zorder=2.5)
    return low, high


def _level(ax: Axes, change: pd.Series[Any], stretch: tuple[float, float]) -> list[Artist]:
    """Draw the change of all together; return the legend."""
    legend: list[Artist] = [
        Line2D([], [], color=GREY, marker=".", linestyle="none", label="a cycle"),
        Line2D([], [], color=ink(ax), linewidth=1.4, label="median along the time"),
    ]
    verdict = str(change["verdict"])
    if verdict not in _FOUND:
        return legend
    look = _LOOKS[verdict.removeprefix("was_")]
    begin, end = _bounds(change, stretch)
    low, middle, high = (
        float(np.log2(value)) if value == value and value > 0 else np.nan
        for value in (change["ratio_low"], change["ratio"], change["ratio_high"])
    )
    ax.vlines(
        [begin, *([end] if end < stretch[1] else [])],
        0,
        1,
        transform=ax.get_xaxis_transform(),
        color=look.colour,
        linewidth=1.5,
        linestyle="--",
        zorder=2.6,
    )
    if np.isfinite(middle):
        ax.hlines(0, stretch[0], begin, color=look.colour, linewidth=2.5, zorder=2.6)
        ax.hlines(middle, begin, end, color=look.colour, linewidth=2.5, zorder=2.6)
    if np.isfinite(low) and np.isfinite(high):
        ax.add_collection(
            boxes(np.array([begin]), end, low, high, Look(look.colour, "", ""), "none", alpha=0.3, zorder=1.2),
            autolim=False,
        )
    legend.append(Line2D([], [], color=look.colour, linewidth=1.5, linestyle="--", label="change"))
    legend.append(Line2D([], [], color=look.colour, linewidth=2.5, label="level before and after"))
    return legend


def _bounds(change: pd.Series[Any], stretch: tuple[float, float]) -> tuple[float, float]:
    begin, end = days(pd.Series(pd.to_datetime([change["since"], change["until"]], utc=True)))
    return (stretch[0] if np.isnan(begin) else float(begin)), (stretch[1] if np.isnan(end) else float(end))


def _ratio(change: pd.Series[Any]) -> str:
    ratio = change["ratio"]
    return f"{ratio:.2f}\N{MULTIPLICATION SIGN}" if isinstance(ratio, float) and ratio == ratio else ""


def _told(change: pd.Series[Any]) -> str:
    ratio, low, high = (change[name] for name in ("ratio", "ratio_low", "ratio_high"))
    if str(change["verdict"]) not in _FOUND or not isinstance(ratio, float) or ratio != ratio:
        return ""
    interval = f" (95 %: {low:.2f} to {high:.2f})" if low == low and high == high else ""
    return f"{ratio:.2f} times as long as before{interval}."
