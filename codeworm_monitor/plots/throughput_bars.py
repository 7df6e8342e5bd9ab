"""Throughput: documents in each stretch of time, against the daemon's own schedule."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from codeworm_monitor.analysis.cycles import OUTCOMES
from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.band import TARGET, draw_band
from codeworm_monitor.plots.buckets import GROUPS, Buckets, buckets_of, groups_of, merged
from codeworm_monitor.plots.canvas import amounts, blank, canvas, head, heard, width_in, zone_of
from codeworm_monitor.plots.hearing import hatch_unheard
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import SMALL, inert, spoken
from codeworm_monitor.plots.palette import GREY, Look, ground, ink
from codeworm_monitor.plots.time_axis import time_axis

__all__ = ["throughput"]

_MEASURES = ("hours", "cycles", *OUTCOMES, "unknown", "documents_per_h")
_MOST = 200
"""Bars; of more, neighbours are taken together."""
_TITLE = "Documents against the schedule"
Rows = npt.NDArray[np.bool_]


def throughput(
    answer: pd.DataFrame,
    *,
    target: tuple[float, float] = TARGET,
    zone: str | tzinfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw documents by stretch of time as bars, and the band of the daemon's own 120 to 144 a day behind them.

    The band is of the whole of each stretch. Where that was not wholly heard, it is hatched, and a ring tells how many
    documents there would be if the rest had gone like what was heard. The five largest groups are told apart.

    Args:
        answer: As `Monitor.throughput`.
        target: Documents a day, fewest and most, that the schedule has room for.
        zone: Of the time axis; None: that of the answer, else this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    place = resolved(zone_of(answer, zone))
    groups = groups_of(answer, _MEASURES, "committed")
    all_buckets = buckets_of(answer)
    if not len(all_buckets):
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No stretch of time: nothing was heard that could be counted.")
    buckets, each = merged(all_buckets, _MOST)
    with canvas(ax) as made:
        time_axis(made, buckets.begin[0], buckets.end[-1], place)
        legend, highest = _bars(made, buckets, answer["committed"].to_numpy(np.float64), groups)
        low, high = (level * (buckets.end - buckets.begin) for level in target)
        label = f"the schedule, {target[0]:g}\N{EN DASH}{target[1]:g} a day"
        legend.append(draw_band(made, buckets.begin, buckets.end, low, high, label))
        total = buckets.summed(answer["committed"].to_numpy(np.float64))
        more, expected = _estimates(made, buckets, total)
        legend += more
        legend += hatch_unheard(made, buckets.begin, buckets.end, buckets.covered)
        made.set_ylim(0, max(highest, float(high.max()), expected) * 1.08)
        amounts(made, "y", is_whole=True)
        made.tick_params(axis="y", labelsize=SMALL)
        length = float(np.median(buckets.end - buckets.begin)) * 86_400
        made.set_ylabel(f"documents in {spoken(length)}", fontsize=SMALL + 0.5)
        notes = [
            f"{total.sum():,.0f} documents in all.",
            heard(answer),
            f"Each bar is {each} of the answer's stretches together." if each > 1 else "",
        ]
        head(made, _TITLE, notes=notes, legend=legend)
        return made


def _bars(
    ax: Axes, buckets: Buckets, documents: npt.NDArray[np.float64], groups: list[tuple[str, Rows]]
) -> tuple[list[Artist], float]:
    """Draw the bars; return what the legend says of them and how high the highest is."""
    gap = (buckets.end - buckets.begin) * 0.08
    left, right = buckets.begin + gap, buckets.end - gap
    shown = [(name, rows, look) for (name, rows), look in zip(groups, GROUPS, strict=False)]
    if len(groups) > len(GROUPS):
        rest = np.logical_or.reduce([rows for _, rows in groups[len(GROUPS) :]])
        shown.append((f"{len(groups) - len(GROUPS)} others", rest, Look(GREY, "--", "")))
    # In thin bars hatches hide what they are to tell apart; there the order does, which is the legend's.
    is_wide = width_in(ax) * 72 / len(buckets) >= 9
    base = np.zeros(len(buckets))
    legend: list[Artist] = []
    for name, rows, look in shown:
        top = base + buckets.summed(documents, rows)
        look = look if is_wide else look._replace(hatch="")
        ax.add_collection(boxes(left, right, base, top, look, ground(ax)), autolim=False)
        base = top
        label = inert(name, 140) if len(groups) > 1 else "documents"
        legend.append(
            Patch(facecolor=look.colour, edgecolor=ground(ax), linewidth=0, hatch=look.hatch or None, label=label)
        )
    return legend, float(base.max())


def _estimates(ax: Axes, buckets: Buckets, total: npt.NDArray[np.float64]) -> tuple[list[Artist], float]:
    """Mark what stretches would have had that were heard in part; of little that was heard nothing is said."""
    some = (buckets.covered >= 0.1) & (buckets.covered < 0.995)
    if not some.any():
        return [], 0.0
    expected = total[some] / buckets.covered[some]
    ax.plot(
        buckets.middle[some],
        expected,
        "o",
        markersize=5,
        markerfacecolor="none",
        markeredgecolor=ink(ax),
        linestyle="none",
        zorder=3,
    )
    ring = Line2D(
        [],
        [],
        marker="o",
        markersize=5,
        markerfacecolor="none",
        markeredgecolor=ink(ax),
        linestyle="none",
        label="if the rest went alike",
    )
    return [ring], float(expected.max())
