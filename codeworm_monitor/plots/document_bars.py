"""Documents along the time, told apart by repository, and which of them nobody heard being made."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.buckets import GROUPS
from codeworm_monitor.plots.canvas import amounts, blank, canvas, has, head, width_in
from codeworm_monitor.plots.lanes import Lanes, boxes
from codeworm_monitor.plots.lettering import SMALL, counted, inert
from codeworm_monitor.plots.palette import GREY, Look, ground
from codeworm_monitor.plots.time_axis import Days, days, edges, time_axis

__all__ = ["documents"]

_MOST = 110
_TITLE = "Documents by repository"


def documents(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw how many documents were made when, the five busiest repositories told apart.

    A lane above tells how many of them nobody heard being made: they are known from CodeWorm's database alone.

    Args:
        answer: As `Monitor.documents`; documents without a time are left out, and counted above.
        zone: Of the time axis, and of days; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(answer, "documented_at", "repo", "is_recorded")
    place = resolved(zone)
    at = days(answer["documented_at"])
    known = np.isfinite(at)
    if not known.any():
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No document: none is known of this stretch of time.")
    begin, end = float(at[known].min()), float(at[known].max())
    # Its last moment is part of it, and a single document has a stretch of time as well.
    bounds, called = edges(begin, max(end, begin + 1 / 144) + 1e-6, place, _MOST)
    bucket = np.clip(np.searchsorted(bounds, at[known], "right") - 1, 0, len(bounds) - 2)
    repo = answer["repo"].astype(object).where(answer["repo"].notna(), "unknown").astype(str)[known]
    is_unheard = ~answer["is_recorded"].to_numpy(bool, na_value=False)[known]
    codes, names = pd.factorize(repo)
    order = np.argsort(-np.bincount(codes), kind="stable")
    with canvas(ax, height=4.6) as made:
        time_axis(made, bounds[0], bounds[-1], place)
        is_wide = width_in(made) * 72 / (len(bounds) - 1) >= 9
        gap = np.diff(bounds) * 0.06
        base = np.zeros(len(bounds) - 1)
        legend: list[Artist] = []
        groups: list[tuple[str, list[int], Look]] = [
            (str(names[code]), [int(code)], look) for code, look in zip(order, GROUPS, strict=False)
        ]
        if len(order) > len(GROUPS):
            rest = [int(code) for code in order[len(GROUPS) :]]
            groups.append((f"{len(rest)} others", rest, Look(GREY, "--", "")))
        for name, members, look in groups:
            shown = look if is_wide else look._replace(hatch="")
            top = base + np.bincount(bucket[np.isin(codes, members)], minlength=len(base))
            some = top > base
            made.add_collection(
                boxes((bounds[:-1] + gap)[some], (bounds[1:] - gap)[some], base[some], top[some], shown, ground(made)),
                autolim=False,
            )
            base = top
            legend.append(
                Patch(
                    facecolor=shown.colour,
                    edgecolor=ground(made),
                    linewidth=0,
                    hatch=shown.hatch or None,
                    label=inert(name, 140),
                )
            )
        lanes = _unheard(
            made, np.bincount(bucket[is_unheard], minlength=len(base)), bounds[:-1] + gap, bounds[1:] - gap
        )
        amounts(made, "y", is_whole=True)
        lanes.reserve(float(base.max()) * 1.08, f"documents in {called}")
        made.tick_params(axis="y", labelsize=SMALL)
        notes = [f"Left out: {counted((~known).sum(), 'document')} without a time." if not known.all() else ""]
        head(made, f"{_TITLE}: {known.sum():,}", notes=notes, legend=legend)
        return made


def _unheard(ax: Axes, count: npt.NDArray[np.int64], left: Days, right: Days) -> Lanes:
    most = int(count.max())
    if not most:
        return Lanes(ax, [], 0.0)
    lanes = Lanes(ax, [f"not heard,\nup to {most:,}"], 0.16)
    bottom = lanes.middle(0) - 0.46 * lanes.height
    top = bottom + lanes.height * 0.9 * count / most
    some = count > 0
    ax.add_collection(
        boxes(left[some], right[some], bottom, top[some], Look(GREY, "", ""), "none", transform=lanes.transform),
        autolim=False,
    )
    return lanes
