"""Band: how many documents the daemon's schedule has room for, behind what it made."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from codeworm_monitor.plots.lanes import Numbers, boxes
from codeworm_monitor.plots.palette import GREY, Look, ink
from codeworm_monitor.plots.time_axis import Days

__all__ = ["TARGET", "draw_band"]

TARGET = (120, 144)
"""Commits a day, fewest and most, of CodeWorm's own schedule."""


def draw_band(ax: Axes, begin: Days, end: Days, low: Numbers, high: Numbers, label: str) -> Artist:
    """Draw the band of each stretch of time, and return what the legend says of it.

    Args:
        ax: The Axes.
        begin: Of the stretches, days since 1970.
        end: So.
        low: Fewest documents in each.
        high: Most.
        label: Of the legend.
    """
    ax.add_collection(boxes(begin, end, low, high, Look(GREY, "", ""), "none", alpha=0.3, zorder=0.7), autolim=False)
    for level in (low, high):
        ax.hlines(level, begin, end, color=ink(ax), linewidth=0.9, linestyle=(0, (4, 2)), zorder=2.5)
    return Patch(facecolor=to_rgba(GREY, 0.3), edgecolor=ink(ax), linestyle="--", linewidth=0.9, label=label)
