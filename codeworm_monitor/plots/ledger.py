"""Ledger: few cycles, one row each with its name, its stages and how it ended; outages as rows between them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from codeworm_monitor.plots.canvas import amounts, beside, rows, width_in
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import SMALL, counted, inert, spoken
from codeworm_monitor.plots.outage_spans import Spans, united
from codeworm_monitor.plots.palette import GREY, OUTAGES, OUTCOMES, STAGES, Look, ground
from codeworm_monitor.plots.stages import Bars, cut_at
from codeworm_monitor.plots.time_axis import zone_label

__all__ = ["draw_ledger"]

_ROOM = 0.46
"""Share of the width that is for words behind the bars."""
_DAY = 86_400.0


def draw_ledger(ax: Axes, cycles: pd.DataFrame, bars: Bars, spans: Spans, zone: tzinfo) -> None:
    """Draw cycles and outages as rows, the earliest on top, with seconds since a cycle's start along the x axis.

    Args:
        ax: The Axes.
        cycles: The frame that the bars are of.
        bars: Few.
        spans: Few.
        zone: Of the times that the rows are labelled with.
    """
    times = np.concatenate([bars.begin, spans.begin])
    order = np.argsort(times, kind="stable")
    row = np.empty(len(order))
    row[order] = np.arange(len(order))
    clock = _clock(times, zone)
    wide = min(260.0, width_in(ax) * 72 * 0.42)
    names = [_name(cycles, place, wide - 50) for place in bars.row] + [f"outage: {kind}" for kind in spans.kind]
    rows(ax, [f"{clock[place]}  {names[place]}" for place in order])
    ax.set_ylabel(f"started, {zone_label(zone, times.min(), times.max())}", fontsize=SMALL + 0.5)
    amounts(ax, "x")
    ax.set_xlabel("seconds since its start", fontsize=SMALL + 0.5)
    ax.tick_params(axis="x", labelsize=SMALL)
    limit = cut_at(bars.totals)
    ax.set_xlim(0, limit / (1 - _ROOM))
    _shade(ax, bars, spans, row)
    _draw_stages(ax, bars, row[: len(bars)], limit)
    room = width_in(ax) * 72
    for place in range(len(bars)):
        total = min(bars.totals[place], limit)
        left = room * (1 - total / limit * (1 - _ROOM)) - 12
        _tell(ax, total, row[place], bars.outcome[place], _words(cycles, bars, place, limit), left)


def _draw_stages(ax: Axes, bars: Bars, row: np.ndarray[tuple[int], np.dtype[np.float64]], limit: float) -> None:
    right = np.minimum(np.cumsum(bars.seconds, axis=1), limit)
    left = np.concatenate([np.zeros((len(bars), 1)), right[:, :-1]], axis=1)
    for place, look in enumerate(STAGES.values()):
        some = right[:, place] > left[:, place]
        if some.any():
            at = row[some]
            ax.add_collection(
                boxes(left[some, place], right[some, place], at - 0.32, at + 0.32, look, ground(ax)), autolim=False
            )


def _shade(ax: Axes, bars: Bars, spans: Spans, row: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    top = row[len(bars) :]
    last = top.copy()
    for place in range(len(spans)):
        within = row[: len(bars)][(bars.begin >= spans.begin[place]) & (bars.begin <= spans.end[place])]
        last[place] = max(top[place], within.max(initial=0.0))
    wide = ax.get_xlim()[1]
    above, below = united(top - 0.5, last + 0.5)
    ax.add_collection(
        boxes(np.zeros(len(above)), wide, above, below, Look(GREY, "", ""), "none", alpha=0.18, zorder=0), autolim=False
    )
    for place in range(len(spans)):
        colour, hatch, _ = OUTAGES[spans.kind[place]]
        at = top[place : place + 1]
        ax.add_collection(
            boxes(np.zeros(1), wide, at - 0.38, at + 0.38, Look("none", hatch, ""), colour, alpha=0.7), autolim=False
        )
        length = spoken((spans.end[place] - spans.begin[place]) * _DAY)
        lasts = ", not over" if spans.lasts[place] else ""
        lost = f", {counted(spans.lost[place], 'cycle')} lost" if spans.lost[place] > 0 else ""
        said = f": {inert(spans.cause[place], width_in(ax) * 72 * 0.45)}" if isinstance(spans.cause[place], str) else ""
        box = {"facecolor": ground(ax), "edgecolor": "none", "pad": 1.5}
        beside(ax, f"down {length}{lasts}{lost}{said}", 0, float(top[place]), bbox=box)


def _tell(ax: Axes, total: float, row: float, outcome: str, words: str, room: float) -> None:
    look = OUTCOMES[outcome]
    ax.plot(
        [total],
        [row],
        marker=look.marker,
        markersize=6,
        color=look.colour,
        markeredgecolor=ground(ax),
        markeredgewidth=0.6,
        linestyle="none",
        clip_on=False,
        zorder=4,
    )
    beside(ax, inert(words, room), total, row)


def _words(cycles: pd.DataFrame, bars: Bars, place: int, limit: float) -> str:
    """Return how a cycle ended, for who reads; not inert yet."""
    outcome = bars.outcome[place]
    words = {"unknown": "its end was lost", "dry_run": "dry run", "llm_error": "LLM error"}.get(outcome, outcome)
    pushed = cycles["pushed"].iloc[bars.row[place]] if "pushed" in cycles else None
    if outcome == "committed" and not pd.isna(pushed) and not pushed:
        words = "committed, not pushed"
    if bars.totals[place] > limit:
        words = f"\N{RIGHTWARDS ARROW} {spoken(bars.totals[place])}, {words}"
    error = cycles["error"].iloc[bars.row[place]] if "error" in cycles else None
    # What quotes others may be of any length; no more of it than fits is ever shown.
    return f"{words}: {error[:200]}" if isinstance(error, str) else words


def _name(cycles: pd.DataFrame, row: int, wide: float) -> str:
    told = [cycles[name].iloc[row] for name in ("repo", "target") if name in cycles]
    known = [one[:200] for one in told if isinstance(one, str)]
    return inert(" \N{MIDDLE DOT} ".join(known) if known else "no target", wide)


def _clock(times: np.ndarray[tuple[int], np.dtype[np.float64]], zone: tzinfo) -> list[str]:
    moments = [datetime.fromtimestamp(day * _DAY, UTC).astimezone(zone) for day in times]
    form = "%H:%M:%S" if times.max() - times.min() < 0.2 else "%H:%M"
    if len({moment.date() for moment in moments}) > 1:
        form = f"%Y-%m-%d {form}" if len({moment.year for moment in moments}) > 1 else f"%d %b {form}"
    return [moment.strftime(form) for moment in moments]
