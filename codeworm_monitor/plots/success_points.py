"""Success: which share of the attempts ended in a commit, with the interval that chance leaves."""

from __future__ import annotations

import math
from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from codeworm_monitor.analysis.rates import wilson
from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.buckets import GROUPS, Buckets, buckets_of, groups_of, merged
from codeworm_monitor.plots.canvas import amounts, blank, canvas, fitting, head, heard, rows, width_in, zone_of
from codeworm_monitor.plots.hearing import hatch_unheard
from codeworm_monitor.plots.lettering import SMALL, counted, inert
from codeworm_monitor.plots.palette import BLUE, Look, ink
from codeworm_monitor.plots.time_axis import time_axis

__all__ = ["success"]

_MEASURES = ("attempts", "succeeded", "failed", "uncounted", "rate", "low", "high")
_MOST_MARKS = 160
"""Of all groups together; of more stretches of time neighbours are taken together."""
_MOST_ROWS = 20
_TITLE = "Share of attempts that succeeded"
Rows = npt.NDArray[np.bool_]


def success(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw success rates as points with their Wilson intervals: along the time, or, of one stretch, a row for each group.

    Along the time the three largest groups are shown. Where there were no attempts there is no point.

    Args:
        answer: As `Monitor.success_rate`.
        zone: Of the time axis; None: that of the answer, else this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    place = resolved(zone_of(answer, zone))
    groups = groups_of(answer, _MEASURES, "attempts")
    buckets = buckets_of(answer)
    attempts, succeeded = (answer[name].to_numpy(np.float64, na_value=0) for name in ("attempts", "succeeded"))
    if not len(buckets) or not attempts.sum() > 0:
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No attempt: no cycle was heard that succeeded or failed.")
    confidence = answer.attrs.get("confidence")
    level = confidence if isinstance(confidence, float) and 0 < confidence < 1 else 0.95
    notes = [heard(answer), _uncounted(answer)]
    if len(buckets) == 1:
        shown = [
            (name, attempts[some].sum(), succeeded[some].sum()) for name, some in groups[: fitting(ax, _MOST_ROWS)]
        ]
        with canvas(ax, height=1.9 + 0.34 * len(shown)) as made:
            _rows(made, shown, level)
            notes.append(_left_out(len(groups) - len(shown)))
            head(made, _TITLE, notes=notes, legend=_legend(made, level))
            return made
    lines = groups[:3]
    thinned, each = merged(buckets, _MOST_MARKS // len(lines))
    with canvas(ax) as made:
        time_axis(made, thinned.begin[0], thinned.end[-1], place)
        legend: list[Artist] = []
        lows: list[float] = []
        for nth, (name, some) in enumerate(lines):
            look = GROUPS[nth]
            lows += _points(
                made,
                thinned,
                (thinned.summed(attempts, some), thinned.summed(succeeded, some)),
                level,
                look,
                (nth + 1) / (len(lines) + 1),
            )
            if len(groups) > 1:
                legend.append(
                    Line2D(
                        [],
                        [],
                        color=look.colour,
                        marker=look.marker,
                        linestyle="none",
                        markersize=5,
                        label=inert(name, 150),
                    )
                )
        legend += _legend(made, level) + hatch_unheard(made, thinned.begin, thinned.end, thinned.covered)
        made.set_ylim(_least(lows), 1.02)
        amounts(made, "y")
        made.yaxis.set_major_formatter(_PERCENT)
        made.tick_params(axis="y", labelsize=SMALL)
        made.set_ylabel("succeeded", fontsize=SMALL + 0.5)
        notes += [
            _left_out(len(groups) - len(lines)),
            f"Each point is {each} of the answer's stretches together." if each > 1 else "",
        ]
        head(made, _TITLE, notes=notes, legend=legend)
        return made


_PERCENT = FuncFormatter(lambda share, _: f"{share * 100:.4g} %")


def _points(
    ax: Axes,
    buckets: Buckets,
    counts: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    level: float,
    look: Look,
    beside: float,
) -> list[float]:
    """Draw points and their intervals; return the lower ends."""
    attempts, succeeded = (count.astype(np.int64) for count in counts)
    some = attempts > 0
    at = (buckets.begin + (buckets.end - buckets.begin) * beside)[some]
    low, high = wilson(succeeded[some], attempts[some], level)
    ax.vlines(at, low, high, color=look.colour, linewidth=1.3)
    ax.plot(at, succeeded[some] / attempts[some], look.marker, color=look.colour, markersize=4.5, linestyle="none")
    return [float(one) for one in low]


def _rows(ax: Axes, shown: list[tuple[str, float, float]], level: float) -> None:
    room = width_in(ax) * 72 * 0.4
    rows(ax, [f"{inert(name, room)}  ({good:,.0f} of {tried:,.0f})" for name, tried, good in shown])
    tried, good = (np.array([row[i] for row in shown], np.int64) for i in (1, 2))
    at = np.flatnonzero(tried > 0)
    low, high = wilson(good[at], tried[at], level)
    ax.hlines(at, low, high, color=BLUE, linewidth=1.6)
    ax.plot(good[at] / tried[at], at, "o", color=BLUE, markersize=6, linestyle="none")
    ax.set_xlim(_least([float(one) for one in low]), 1.02)
    amounts(ax, "x")
    ax.xaxis.set_major_formatter(_PERCENT)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlabel("succeeded", fontsize=SMALL + 0.5)


def _least(lows: list[float]) -> float:
    """Return where an axis of shares begins: a round tenth below all that is drawn."""
    least = math.floor(min(lows, default=0.0) * 10) / 10
    return min(0.9, least) - 0.02


def _legend(ax: Axes, level: float) -> list[Artist]:
    return [Line2D([], [], color=ink(ax), linewidth=1.3, label=f"interval of {level * 100:.4g} % (Wilson)")]


def _uncounted(answer: pd.DataFrame) -> str:
    count = float(answer["uncounted"].to_numpy(np.float64, na_value=0).sum())
    return (
        f"{counted(count, 'cycle')} counted neither way: skipped, dry run, interrupted, running, or its end lost."
        if count
        else ""
    )


def _left_out(count: int) -> str:
    return f"Not shown: {counted(count, 'smaller group')}." if count > 0 else ""
