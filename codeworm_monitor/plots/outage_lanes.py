"""Outages along the time, a row for each kind."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.canvas import beside, blank, canvas, has, head, heard, rows, width_in
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import counted, spoken, width_of
from codeworm_monitor.plots.outage_spans import Spans, spans_of
from codeworm_monitor.plots.palette import OUTAGES, ground, ink
from codeworm_monitor.plots.time_axis import days, span, time_axis

__all__ = ["outages"]

_TITLE = "Outages"


def outages(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw when something was down: a row for each kind, with how often and how long in all.

    What lasts has an arrow at its end. A number beside an outage is how many cycles it cost, where there is room for it.

    Args:
        answer: As `Monitor.outages`; an outage without a beginning is drawn at its end.
        zone: Of the time axis; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(answer, "kind", "started_at", "ended_at")
    place = resolved(zone)
    stretch = span(answer, days(answer["started_at"]), days(answer["ended_at"]))
    spans = None if stretch is None else spans_of(answer, *stretch)
    if stretch is None or spans is None or not len(spans):
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, _none(answer))
    kinds = spans.kinds
    with canvas(ax, height=1.7 + 0.5 * len(kinds)) as made:
        rows(made, [_told(spans, kind) for kind in kinds])
        time_axis(made, *stretch, place)
        for row, kind in enumerate(kinds):
            _row(made, row, spans, kind, stretch)
        notes = [heard(answer)]
        if len(answer) > len(spans):
            notes.append(
                f"{len(answer) - len(spans):,} left out: of no known kind or time, or outside of this stretch of time."
            )
        head(made, f"{_TITLE}: {len(spans):,}", notes=notes)
        return made


def _row(ax: Axes, row: int, spans: Spans, kind: str, stretch: tuple[float, float]) -> None:
    some = np.flatnonzero(spans.kind == kind)
    points = width_in(ax) * 72
    day = points / (stretch[1] - stretch[0])
    begin, end = spans.begin[some], np.maximum(spans.end[some], spans.begin[some] + 2.5 / day)
    ax.hlines(row, *ax.get_xlim(), color=ink(ax), alpha=0.15, linewidth=0.8, zorder=0.5)
    for is_long in (True, False):
        part = ((spans.end[some] - spans.begin[some]) * day >= 8) == is_long
        look = OUTAGES[kind] if is_long else OUTAGES[kind]._replace(hatch="")  # which would leave nothing of it
        ax.add_collection(boxes(begin[part], end[part], row - 0.3, row + 0.3, look, ground(ax)), autolim=False)
    lasts = spans.lasts[some]
    if lasts.any():
        arrows = ax.plot(
            end[lasts], np.full(lasts.sum(), row), ">", color=ink(ax), markersize=7, linestyle="none", zorder=4
        )
        arrows[0].set_clip_on(False)
    following = np.append(begin[1:], ax.get_xlim()[1])
    for place in np.flatnonzero((spans.lost[some] > 0) & ~lasts):
        words = f"{spans.lost[some][place]:,.0f}"
        if (following[place] - end[place]) * day > width_of(words) + 8:
            beside(ax, words, end[place] - 5 / day, row)


def _told(spans: Spans, kind: str) -> str:
    some = spans.kind == kind
    seconds = float((spans.end - spans.begin)[some].sum()) * 86_400
    lost = float(np.nansum(spans.lost[some]))
    return f"{kind}\n{some.sum():,}\N{MULTIPLICATION SIGN}, {spoken(seconds)}" + (
        f", {counted(lost, 'cycle')} lost" if lost else ""
    )


def _none(answer: pd.DataFrame) -> str:
    covered = answer.attrs.get("covered")
    if isinstance(covered, float) and covered < 1:
        return f"No outage was found in the {int(covered * 1000) / 10:g} % of this stretch of time that was heard."
    return "No outage was found in this stretch of time."
