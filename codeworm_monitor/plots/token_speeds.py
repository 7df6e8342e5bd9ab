"""Tokens: how many were generated, and how fast."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.buckets import GROUPS, Buckets, buckets_of, groups_of, merged
from codeworm_monitor.plots.canvas import amounts, blank, canvas, fitting, head, heard, rows, width_in, zone_of
from codeworm_monitor.plots.hearing import hatch_unheard
from codeworm_monitor.plots.lanes import Lanes, boxes
from codeworm_monitor.plots.lettering import SMALL, counted, inert
from codeworm_monitor.plots.palette import GREEN, GREY, Look, ink
from codeworm_monitor.plots.time_axis import time_axis

__all__ = ["tokens"]

_LEVELS = ("tokens_per_s_p10", "tokens_per_s_p50", "tokens_per_s_p90")
_MEASURES = ("count", "tokens", "mean", "timed", *_LEVELS)
_MOST_MARKS = 150
_MOST_ROWS = 20
_TITLE = "Tokens generated, and per second"
Rows = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


def tokens(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw tokens per second, the median and the middle four fifths: along the time, or, of one stretch, a row for each group.

    Along the time a lane above tells how many tokens were generated, and the three largest groups are told apart.

    Args:
        answer: As `Monitor.tokens`.
        zone: Of the time axis; None: that of the answer, else this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    place = resolved(zone_of(answer, zone))
    groups = groups_of(answer, _MEASURES, "tokens")
    buckets = buckets_of(answer)
    if not len(buckets) or not answer["timed"].to_numpy(np.float64, na_value=0).sum() > 0:
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No tokens: no cycle was heard that tells how many it generated, and how fast.")
    total = answer["tokens"].to_numpy(np.float64, na_value=0)
    notes = [f"{total.sum():,.0f} tokens in all.", heard(answer)]
    if len(buckets) == 1:
        shown = groups[: fitting(ax, _MOST_ROWS)]
        with canvas(ax, height=1.9 + 0.36 * len(shown)) as made:
            _rows(made, answer, shown)
            head(made, _TITLE, notes=[*notes, _left_out(len(groups) - len(shown))], legend=_legend(made))
            return made
    lines = groups[:3]
    thinned, each = merged(buckets, _MOST_MARKS // len(lines))
    with canvas(ax, height=4.6) as made:
        sums = thinned.summed(total)
        lanes = Lanes(made, [f"tokens, up to\n{sums.max():,.0f}"], 0.2)
        time_axis(made, thinned.begin[0], thinned.end[-1], place)
        legend, highest = _lines(made, answer, thinned, lines)
        bottom = lanes.middle(0) - 0.46 * lanes.height
        top = bottom + lanes.height * 0.9 * sums / max(1.0, sums.max())
        made.add_collection(
            boxes(thinned.begin, thinned.end, bottom, top, Look(GREY, "", ""), "none", transform=lanes.transform),
            autolim=False,
        )
        amounts(made, "y")
        lanes.reserve(highest * 1.06, "tokens per second")
        made.tick_params(axis="y", labelsize=SMALL)
        legend += _legend(made) + hatch_unheard(made, thinned.begin, thinned.end, thinned.covered)
        notes.append(f"Each mark is the mean of {each} of the answer's stretches." if each > 1 else "")
        head(made, _TITLE, notes=[*notes, _left_out(len(groups) - len(lines))], legend=legend)
        return made


def _lines(
    ax: Axes, answer: pd.DataFrame, buckets: Buckets, lines: list[tuple[str, Rows]]
) -> tuple[list[Artist], float]:
    """Draw the speeds; return what the legend says of them and how high the highest is."""
    timed = answer["timed"].to_numpy(np.float64, na_value=0)
    legend: list[Artist] = []
    highest = 0.0
    for nth, (name, some) in enumerate(lines):
        look = GROUPS[nth]
        count = buckets.summed(timed, some)
        count[count == 0] = np.nan
        low, middle, high = (
            buckets.summed(answer[level].to_numpy(np.float64, na_value=np.nan) * timed, some) / count
            for level in _LEVELS
        )
        at = buckets.begin + (buckets.end - buckets.begin) * (nth + 1) / (len(lines) + 1)
        ax.vlines(at, low, high, color=look.colour, linewidth=1.2)
        ax.plot(at, middle, look.marker, color=look.colour, markersize=4.5, linestyle="none")
        highest = max(highest, float(np.nanmax(high, initial=0.0)))
        if len(lines) > 1:
            legend.append(
                Line2D(
                    [],
                    [],
                    color=look.colour,
                    marker=look.marker,
                    markersize=5,
                    linestyle="none",
                    label=inert(name, 150),
                )
            )
    return legend, highest or 1.0


def _rows(ax: Axes, answer: pd.DataFrame, shown: list[tuple[str, Rows]]) -> None:
    room = width_in(ax) * 72 * 0.35
    names, highest = [], 0.0
    for row, (name, some) in enumerate(shown):
        low, middle, high = (
            float(answer.loc[some, level].to_numpy(np.float64, na_value=np.nan)[0]) for level in _LEVELS
        )
        names.append(f"{inert(name, room)}  ({np.nansum(answer.loc[some, 'tokens'].to_numpy(np.float64)):,.0f} tokens)")
        ax.plot([low, high], [row, row], color=GREEN, linewidth=2)
        ax.plot([middle], [row], "o", color=GREEN, markersize=7)
        highest = max(highest, high) if high == high else highest
    rows(ax, names)
    ax.set_xlim(0, (highest or 1.0) * 1.06)
    amounts(ax, "x")
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlabel("tokens per second", fontsize=SMALL + 0.5)


def _legend(ax: Axes) -> list[Artist]:
    return [
        Line2D([], [], color=ink(ax), marker="o", markersize=5, linestyle="none", label="median"),
        Line2D([], [], color=ink(ax), linewidth=1.5, label="middle 80 %"),
    ]


def _left_out(count: int) -> str:
    return f"Not shown: {counted(count, 'smaller group')}." if count > 0 else ""
