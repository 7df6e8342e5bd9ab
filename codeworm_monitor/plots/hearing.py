"""Hearing: hatches where a stretch of time was not listened to, so that silence is not taken for nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from codeworm_monitor.analysis.coverage import Coverage
from codeworm_monitor.plots.lanes import Numbers, boxes
from codeworm_monitor.plots.palette import Look, ground, ink
from codeworm_monitor.plots.time_axis import Days

__all__ = ["MARKS", "coverage_of", "hatch_unheard", "unheard_legend"]

MARKS = {"not heard": Look("none", "xxxx", ""), "partly heard": Look("none", "//", "")}
"""How a stretch is hatched of which nothing, or not all, was heard."""


def coverage_of(gaps: pd.DataFrame | None, begin: float, end: float) -> Coverage:
    """Return which part of a stretch of time was listened to.

    Args:
        gaps: As `Monitor.gaps`, of which one may be without times: it tells nothing of when; None: none is known.
        begin: Days since 1970.
        end: So.
    """
    since, until = (datetime.fromtimestamp(day * 86_400, UTC) for day in (begin, end))
    none = pd.DataFrame({"started_at": [], "ended_at": []})
    return Coverage.of(since, until, none if gaps is None else gaps.dropna(subset=["started_at", "ended_at"]))


def hatch_unheard(
    ax: Axes,
    left: Days,
    right: Days,
    covered: Numbers,
    *,
    bottom: Numbers | float = 0.0,
    top: Numbers | float = 1.0,
    **options: Any,
) -> list[Artist]:
    """Hatch stretches that were not, or not wholly, listened to; return what the legend says of it.

    Args:
        ax: The Axes.
        left: Where each begins, on the x axis.
        right: Where it ends.
        covered: Share of it that was heard, 0 to 1; NaN: not known, taken for heard.
        bottom: As `boxes` takes it.
        top: So.
        options: Of the collection; without `transform` they are shares of the Axes' height.
    """
    options.setdefault("transform", ax.get_xaxis_transform())
    found: list[Artist] = []
    for (label, look), some in zip(MARKS.items(), (covered <= 0, (covered > 0) & (covered < 1)), strict=True):
        if not some.any():
            continue
        low, high = (np.broadcast_to(side, left.shape)[some] for side in (bottom, top))
        ax.add_collection(
            boxes(left[some], right[some], low, high, look, ink(ax), zorder=1.4, alpha=0.55, **options), autolim=False
        )
        found += unheard_legend(ax, label)
    return found


def unheard_legend(ax: Axes, *labels: str) -> list[Artist]:
    """Return handles for marks."""
    return [
        Patch(facecolor=ground(ax), edgecolor=ink(ax), alpha=0.55, linewidth=0, hatch=MARKS[label].hatch, label=label)
        for label in labels
    ]
