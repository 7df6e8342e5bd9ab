"""Repositories: how many documents each has, how many may be left, and when it was last at work."""

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
from codeworm_monitor.plots.canvas import amounts, beside, blank, canvas, fitting, has, head, heard, rows, width_in
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import SMALL, inert
from codeworm_monitor.plots.palette import BLUE, GOLD, GREY, Look, ground, ink
from codeworm_monitor.plots.stages import numbers
from codeworm_monitor.plots.time_axis import days, zone_label

__all__ = ["repos"]

_MOST_ROWS = 30
_ROOM = 0.5
"""Share of the width that is for words behind the bars."""
_TITLE = "Repositories"
Numbers = npt.NDArray[np.float64]


def repos(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw the documents of each repository, in the order of the answer, with the estimate of what is left.

    A mark tells where the documents would be if they went by the configured weights. The words behind say when there was
    a sign of it last, and whether it is exhausted or not enabled. What is not known is not drawn.

    Args:
        answer: As `Monitor.repos`; of more than 30 those with most documents are shown.
        zone: Of the times; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(answer, "name", "documents", "expected_share", "backlog_estimate", "last_activity", "exhausted_at", "enabled")
    place = resolved(zone)
    if answer.empty:
        with canvas(ax, height=2.2) as made:
            return blank(
                made, _TITLE, "No repository: none was seen at work, and CodeWorm's configuration is not known."
            )
    documents = np.nan_to_num(numbers(answer["documents"]))
    kept = np.sort(np.argsort(-documents, kind="stable")[: fitting(ax, _MOST_ROWS)])
    shown, count = answer.iloc[kept], documents[kept]
    left = np.nan_to_num(np.maximum(numbers(shown["backlog_estimate"]), 0))
    expected = numbers(shown["expected_share"]) * documents.sum()
    with canvas(ax, width=10.0, height=1.8 + 0.36 * len(shown)) as made:
        rows(made, [inert(name, width_in(made) * 72 * 0.3) for name in shown["name"]])
        at = np.arange(len(shown), dtype=np.float64)
        highest = float(np.nanmax([*(count + left), *expected, 1.0]))
        made.add_collection(
            boxes(np.zeros(len(at)), count, at - 0.32, at + 0.32, Look(BLUE, "", ""), "none"), autolim=False
        )
        some = left > 0
        made.add_collection(
            boxes(count[some], (count + left)[some], at[some] - 0.32, at[some] + 0.32, Look("none", "//", ""), GREY),
            autolim=False,
        )
        made.plot(expected, at, "D", color=GOLD, markeredgecolor=ink(made), markersize=6, linestyle="none", zorder=3)
        made.set_xlim(0, highest / (1 - _ROOM))
        last = days(answer["last_activity"])
        words = _words(shown, place)
        for row, said in enumerate(words):
            edge = float(np.nanmax([count[row] + left[row], expected[row]]))
            room = width_in(made) * 72 * (1 - edge / highest * (1 - _ROOM)) - 12
            beside(made, inert(said, room), edge, row)
        amounts(made, "x", is_whole=True)
        made.tick_params(axis="x", labelsize=SMALL)
        made.set_xlabel("documents", fontsize=SMALL + 0.5)
        notes = [heard(answer)]
        if np.isfinite(last).any():
            notes.append(f"Times: {zone_label(place, float(np.nanmin(last)), float(np.nanmax(last)))}")
        if len(answer) > len(shown):
            notes.append(f"Not shown: {len(answer) - len(shown):,} with fewer documents.")
        head(made, f"{_TITLE}: {documents.sum():,.0f} documents", notes=notes, legend=_legend(made, left, expected))
        return made


def _words(shown: pd.DataFrame, zone: tzinfo) -> list[str]:
    """Return what is said of each repository; not inert yet."""
    newest = shown["last_activity"].max()
    said = []
    for row in shown.to_dict("records"):
        words = [f"{row['documents']:,.0f}"]
        if row["backlog_estimate"] > 0:
            words.append(f"about {row['backlog_estimate']:,.0f} left")
        if not pd.isna(row["exhausted_at"]):
            words.append(f"exhausted since {_when(row['exhausted_at'], newest, zone)}")
        if not pd.isna(row["enabled"]) and not row["enabled"]:
            words.append("not enabled")
        if not pd.isna(row["last_activity"]):
            words.append(f"last {_when(row['last_activity'], newest, zone)}")
        said.append(", ".join(words))
    return said


def _when(time: pd.Timestamp, newest: pd.Timestamp, zone: tzinfo) -> str:
    """Return a time of a repository; the year is said where it is not that of the newest."""
    local = time.tz_convert(zone)
    is_of_year = not pd.isna(newest) and local.year == newest.tz_convert(zone).year
    return f"{local:%d %b %H:%M}" if is_of_year else f"{local:%d %b %Y %H:%M}"


def _legend(ax: Axes, left: Numbers, expected: Numbers) -> list[Artist]:
    legend: list[Artist] = [Patch(facecolor=BLUE, linewidth=0, label="documents")]
    if left.any():
        legend.append(Patch(facecolor=ground(ax), edgecolor=GREY, linewidth=0, hatch="//", label="left, estimated"))
    if np.isfinite(expected).any():
        mark = Line2D([], [], color=GOLD, marker="D", markeredgecolor=ink(ax), linestyle="none", label="by its weight")
        legend.append(mark)
    return legend
