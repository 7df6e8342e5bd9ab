"""Schedule: the commits of each day against the daemon's own plan, with a forecast for the day that goes on."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.band import draw_band
from codeworm_monitor.plots.buckets import buckets_of
from codeworm_monitor.plots.canvas import amounts, blank, canvas, has, head, heard, width_in, zone_of
from codeworm_monitor.plots.hearing import hatch_unheard
from codeworm_monitor.plots.lanes import Lanes, boxes
from codeworm_monitor.plots.lettering import SMALL, spoken
from codeworm_monitor.plots.palette import BLUE, GOLD, GREEN, GREY, RED, Look, ground, ink
from codeworm_monitor.plots.time_axis import time_axis

__all__ = ["schedule"]

_VERDICTS = {
    "below": Look(RED, "\\\\", "v"),
    "within": Look(GREEN, "", "o"),
    "above": Look(BLUE, "..", "^"),
    "not judged": Look(GREY, "--", ""),
}
_TITLE = "Commits a day against the schedule"
Numbers = npt.NDArray[np.float64]


def schedule(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw the commits of each day, the band of the plan, and the forecast of the day that goes on.

    A day is hatched by its verdict, and where it was not wholly heard. A lane above tells which share of the gaps between
    commits was shorter than the daemon's least.

    Args:
        answer: As `Monitor.schedule`.
        zone: Of the labels; None: that of the answer's days, else this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(
        answer,
        "commits",
        "target_low",
        "target_high",
        "verdict",
        "under_min_share",
        "is_running",
        "forecast",
        "forecast_low",
        "forecast_high",
    )
    place = resolved(zone_of(answer, zone))
    buckets = buckets_of(answer)
    if not len(buckets):
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No day: nothing was heard that could be counted.")
    row = np.full(len(buckets), 0)
    row[buckets.at[buckets.at >= 0]] = np.flatnonzero(buckets.at >= 0)
    days = answer.iloc[row]
    gap = (buckets.end - buckets.begin) * 0.1
    left, right = buckets.begin + gap, buckets.end - gap
    with canvas(ax, height=4.6) as made:
        lanes = _gaps(made, answer, days, left, right)
        time_axis(made, buckets.begin[0], buckets.end[-1], place)
        commits, low, high = (_numbers(days, name) for name in ("commits", "target_low", "target_high"))
        legend: list[Artist] = []
        told = days["verdict"].astype(object).where(days["verdict"].notna(), "not judged").to_numpy(object)
        for verdict, look in _VERDICTS.items():
            some = told == verdict
            if some.any():
                made.add_collection(
                    boxes(left[some], right[some], 0.0, commits[some], look, ground(made)), autolim=False
                )
                legend.append(
                    Patch(
                        facecolor=look.colour,
                        edgecolor=ground(made),
                        linewidth=0,
                        hatch=look.hatch or None,
                        label=verdict,
                    )
                )
        legend.append(draw_band(made, buckets.begin, buckets.end, low, high, _plan(low, high)))
        forecast, highest = _forecast(made, days, left, right)
        legend += forecast + hatch_unheard(made, buckets.begin, buckets.end, buckets.covered)
        top = max(float(commits.max()), float(high.max()), highest, 1.0)
        if len(days) <= width_in(made) * 72 / 17:
            _figures(made, (left + right) / 2, commits, top)
        amounts(made, "y", is_whole=True)
        lanes.reserve(top * 1.08, "commits a day")
        made.tick_params(axis="y", labelsize=SMALL)
        head(made, _TITLE, notes=[heard(answer)], legend=legend)
        return made


def _figures(ax: Axes, at: Numbers, commits: Numbers, top: float) -> None:
    for place, count in zip(at, commits, strict=True):
        # At the foot, where neither band nor forecast is.
        ax.annotate(
            f"{count:,.0f}",
            (place, min(count, top * 0.02)),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL - 1,
            color=ink(ax),
            bbox={"facecolor": ground(ax), "edgecolor": "none", "pad": 1.0},
            zorder=3,
        )


def _forecast(ax: Axes, days: pd.DataFrame, left: Numbers, right: Numbers) -> tuple[list[Artist], float]:
    """Draw what is expected; return what the legend says of it and how high it reaches."""
    expected, low, high = (_numbers(days, name) for name in ("forecast", "forecast_low", "forecast_high"))
    some = np.isfinite(expected)
    if not some.any():
        return [], 0.0
    middle = ((left + right) / 2)[some]
    box = boxes(left[some], right[some], 0.0, expected[some], Look("none", "", ""), ink(ax), zorder=2.6)
    box.set_linewidth(1.2)
    ax.add_collection(box, autolim=False)
    ax.vlines(middle, low[some], high[some], color=ink(ax), linewidth=2, zorder=2.7)
    ax.plot(
        middle, expected[some], "D", color=GOLD, markeredgecolor=ink(ax), markersize=6, linestyle="none", zorder=2.8
    )
    mark = Line2D(
        [],
        [],
        marker="D",
        color=ink(ax),
        markerfacecolor=GOLD,
        linewidth=2,
        markersize=6,
        label=f"forecast: {expected[some][-1]:.0f}",
    )
    return [mark], float(np.nanmax([high[some].max(), expected[some].max()]))


def _gaps(ax: Axes, answer: pd.DataFrame, days: pd.DataFrame, left: Numbers, right: Numbers) -> Lanes:
    share = _numbers(days, "under_min_share")
    least = answer.attrs.get("min_gap_s")
    length = spoken(float(least)) if isinstance(least, int | float) else "the least"
    most = float(np.nanmax(share, initial=0.0))
    lanes = Lanes(ax, [f"gaps under {length},\nup to {most * 100:.0f} %" if most else f"no gap\nunder {length}"], 0.16)
    some = share > 0
    bottom = lanes.middle(0) - 0.46 * lanes.height
    top = bottom + lanes.height * 0.9 * share[some] / (most or 1.0)
    ax.add_collection(
        boxes(left[some], right[some], bottom, top, Look(GOLD, "", ""), "none", transform=lanes.transform),
        autolim=False,
    )
    return lanes


def _plan(low: Numbers, high: Numbers) -> str:
    return f"the plan, {low.min():.0f}\N{EN DASH}{high.max():.0f}"


def _numbers(days: pd.DataFrame, name: str) -> Numbers:
    made: Numbers = days[name].to_numpy(np.float64, na_value=np.nan)
    return made
