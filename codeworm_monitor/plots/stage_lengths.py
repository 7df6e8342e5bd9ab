"""Lengths of the stages: medians and what few exceed, along the time or by group."""

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
from codeworm_monitor.plots.canvas import blank, canvas, fitting, head, heard, logarithmic, rows, width_in, zone_of
from codeworm_monitor.plots.hearing import hatch_unheard
from codeworm_monitor.plots.lettering import SMALL, counted, inert
from codeworm_monitor.plots.palette import BLUE, GOLD, GREEN, PINK, Look, ink
from codeworm_monitor.plots.time_axis import time_axis

__all__ = ["durations"]

_MEASURES = ("stage", "count", "p50", "p90", "p99")
_STAGES = {
    "find": Look(GOLD, "", "^"),
    "generate": Look(BLUE, "", "o"),
    "commit": Look(PINK, "", "D"),
    "push": Look(GREEN, "", "s"),
}
_MOST_ROWS = 32
_MOST_MARKS = 150
_TITLE = "Duration of the stages"
Rows = npt.NDArray[np.bool_]
Line = tuple[str, Rows, Look]


def durations(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw how long stages took, on a logarithmic axis: along the time, or, of one stretch, a row for each.

    A mark is the median; a line goes on to what one in ten exceeds, in rows a second mark says what one in a hundred does.
    Along the time, of several groups the generation alone is shown, and of the three largest.

    Args:
        answer: As `Monitor.durations`.
        zone: Of the time axis; None: that of the answer, else this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    place = resolved(zone_of(answer, zone))
    groups = groups_of(answer, _MEASURES, "count")
    buckets = buckets_of(answer)
    known = answer["p50"].to_numpy(np.float64, na_value=np.nan) > 0
    if not len(buckets) or not known.any():
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, "No duration: no cycle was heard that tells how long its stages took.")
    stage = answer["stage"].astype(str).to_numpy(object)
    lines: list[Line] = [
        (name, some & (stage == one) & known, look) for name, some in groups for one, look in _STAGES.items()
    ]
    if len(buckets) == 1:
        return _draw_rows(
            answer, [line for line in lines if line[1].any()], place_of=stage, is_grouped=len(groups) > 1, ax=ax
        )
    return _draw_lines(answer, buckets, groups, stage, known, place, ax)


def _draw_rows(
    answer: pd.DataFrame, lines: list[Line], *, place_of: npt.NDArray[np.object_], is_grouped: bool, ax: Axes | None
) -> Axes:
    shown = lines[: fitting(ax, _MOST_ROWS)]
    with canvas(ax, height=1.9 + 0.26 * len(shown)) as made:
        room = width_in(made) * 72 * 0.4
        names, before = [], None
        for name, some, _ in shown:
            stage = str(place_of[some][0])
            is_new = name != before
            names.append(f"{inert(name, room)}   {stage}" if is_grouped and is_new else stage)
            if is_new and before is not None:
                made.axhline(len(names) - 1.5, color=ink(made), alpha=0.4, linewidth=0.8)
            before = name
        rows(made, names)
        highest, lowest = 0.0, np.inf
        for row, (_, some, look) in enumerate(shown):
            p50, p90, p99 = (answer.loc[some, name].to_numpy(np.float64)[0] for name in ("p50", "p90", "p99"))
            made.plot([p50, p99], [row, row], color=look.colour, linewidth=1, zorder=2)
            made.plot([p50, p90], [row, row], color=look.colour, linewidth=4, solid_capstyle="butt", zorder=2)
            made.plot([p50], [row], look.marker, color=look.colour, markersize=7, zorder=3)
            made.plot([p99], [row], "|", color=look.colour, markersize=8, markeredgewidth=1.6)
            lowest, highest = min(lowest, p50), max(highest, p99)
        logarithmic(made, "x", lowest, highest)
        made.set_xlabel("seconds", fontsize=SMALL + 0.5)
        left_out = len(lines) - len(shown)
        notes = [heard(answer), f"Not shown: {counted(left_out, 'row')} of smaller groups." if left_out else ""]
        marks: list[Artist] = [
            Line2D([], [], color=ink(made), marker="o", linestyle="none", label="median"),
            Line2D([], [], color=ink(made), linewidth=4, label="to what 1 in 10 exceeds"),
            Line2D(
                [], [], color=ink(made), linewidth=1, marker="|", markeredgewidth=1.6, label="to what 1 in 100 exceeds"
            ),
        ]
        head(made, _TITLE, notes=notes, legend=marks)
        return made


def _draw_lines(
    answer: pd.DataFrame,
    buckets: Buckets,
    groups: list[tuple[str, Rows]],
    stage: npt.NDArray[np.object_],
    known: Rows,
    zone: tzinfo,
    ax: Axes | None,
) -> Axes:
    is_grouped = len(groups) > 1
    if is_grouped:
        lines: list[Line] = [
            (name, some & known & (stage == "generate"), look)
            for (name, some), look in zip(groups[:3], GROUPS, strict=False)
        ]
    else:
        lines = [(one, known & (stage == one), look) for one, look in _STAGES.items()]
    thinned, each = merged(buckets, _MOST_MARKS // (len(lines) if is_grouped else 1))
    with canvas(ax) as made:
        time_axis(made, thinned.begin[0], thinned.end[-1], zone)
        legend: list[Artist] = []
        ends: list[float] = []
        for nth, (name, some, look) in enumerate(lines):
            beside = 0.5 + (nth - (len(lines) - 1) / 2) * 0.12
            levels = _levels(answer, thinned, some)
            seen = np.isfinite(levels["p50"])
            at = (thinned.begin + (thinned.end - thinned.begin) * beside)[seen]
            p50, p90 = levels["p50"][seen], levels["p90"][seen]
            if not len(at):
                continue
            made.vlines(at, p50, p90, color=look.colour, linewidth=1)
            made.plot(at, p50, color=look.colour, linewidth=0.8)
            made.plot(at, p50, look.marker, color=look.colour, markersize=4, linestyle="none")
            ends += [float(p50.min()), float(p90.max())]
            legend.append(
                Line2D(
                    [], [], color=look.colour, marker=look.marker, markersize=4, linewidth=0.8, label=inert(name, 140)
                )
            )
        logarithmic(made, "y", min(ends, default=1.0), max(ends, default=10.0))
        made.set_ylabel("seconds", fontsize=SMALL + 0.5)
        legend.append(
            Line2D(
                [],
                [],
                color=ink(made),
                marker="|",
                markersize=9,
                linestyle="none",
                label="from median to what 1 in 10 exceeds",
            )
        )
        legend += hatch_unheard(made, thinned.begin, thinned.end, thinned.covered)
        notes = [heard(answer)]
        if each > 1:
            notes.append(f"Each mark is the mean of {each} of the answer's stretches.")
        if len(groups) > len(lines) and is_grouped:
            notes.append(f"Not shown: {counted(len(groups) - len(lines), 'smaller group')}.")
        head(made, "Duration of generation" if is_grouped else _TITLE, notes=notes, legend=legend)
        return made


def _levels(answer: pd.DataFrame, buckets: Buckets, some: Rows) -> dict[str, npt.NDArray[np.float64]]:
    """Return the percentiles of each bucket; where several are one, their mean by how many cycles each is of."""
    count = answer["count"].to_numpy(np.float64)
    total = buckets.summed(count, some)
    total[total == 0] = np.nan
    return {
        name: buckets.summed(answer[name].to_numpy(np.float64, na_value=np.nan) * count, some) / total
        for name in ("p50", "p90")
    }
