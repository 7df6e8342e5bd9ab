"""Timeline of cycles: what each did, how it ended, and what was down meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.canvas import amounts, blank, canvas, fitting, head, heard
from codeworm_monitor.plots.hearing import coverage_of, hatch_unheard
from codeworm_monitor.plots.lanes import Lanes, boxes
from codeworm_monitor.plots.ledger import draw_ledger
from codeworm_monitor.plots.lettering import SMALL, counted, spoken
from codeworm_monitor.plots.outage_spans import Spans, spans_of, united
from codeworm_monitor.plots.palette import GREY, OUTAGES, OUTCOMES, STAGES, Look, ground, ink
from codeworm_monitor.plots.stages import Bars, bars_of, cut_at
from codeworm_monitor.plots.time_axis import Days, edges, span, time_axis

__all__ = ["cycles", "timeline"]

_MOST_ROWS = 40
"""Cycles and outages that are shown one by one with their names; more are bars along the time."""
_MOST_BARS = 300
"""Cycles that are shown one by one; more are taken together."""
_LEAST_PART = 1 / 10
"""Of a stretch of time: cycles that are all within less of it are shown as if there were no more."""
_NARROWEST = 1 / 400
"""Of the stretch of time: a bar is at least so wide, or it could not be seen."""


def timeline(
    cycles: pd.DataFrame,
    outages: pd.DataFrame | None = None,
    *,
    gaps: pd.DataFrame | None = None,
    zone: str | tzinfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw cycles with their stages, their outcomes and the outages meanwhile.

    Up to 40 cycles and outages are rows with names, the seconds of a cycle along the x axis. More are bars at the time of
    their start, as high as they lasted, outcomes and outages in lanes above. Too many for that are taken together by
    equal stretches of time: then a bar is their mean, and a lane shows the share of each outcome. Bars far longer than
    the others are cut. What was taken together, cut or left out is written above the picture.

    Args:
        cycles: As `Monitor.cycles`. A stage that is not known is not drawn; cycles without any time are left out.
        outages: As `Monitor.outages`; None: none are shown.
        gaps: As `Monitor.gaps`: hatched where the cycles stand along the time; None: only the share heard is told.
        zone: Of the times; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    place = resolved(zone)
    bars = bars_of(cycles)
    stretch = span(cycles, bars.begin)
    if stretch is None or not len(shown := bars.between(*stretch)):
        with canvas(ax, height=2.2) as made:
            return blank(made, "Cycles", "No cycle: none was heard in this stretch of time.")
    spans = spans_of(outages, *stretch)
    notes = [_left_out(len(cycles) - len(shown)), heard(cycles)]
    if len(shown) + len(spans) <= fitting(ax, _MOST_ROWS):
        with canvas(ax, height=1.9 + 0.24 * (len(shown) + len(spans))) as made:
            draw_ledger(made, cycles, shown, spans, place)
            head(made, "Cycles: stages and outcome of each", notes=notes, legend=_stages(shown, made))
            return made
    stretch, note = _zoomed(shown, stretch, place)
    if note:
        spans = spans_of(outages, *stretch)
        notes.append(note)
    lanes = len(_outcomes(shown)) + len(spans.kinds)
    with canvas(ax, height=3.0 + 0.26 * lanes) as made:
        notes += _draw_bars(made, shown, spans, stretch, place)
        holes = coverage_of(gaps, *stretch).holes / 86_400e6
        unheard = hatch_unheard(made, holes[:, 0], holes[:, 1], np.zeros(len(holes)))
        legend = [*_stages(shown, made), *unheard]
        head(made, "Cycles: stages, outcomes and outages", notes=notes, legend=legend)
        return made


def cycles(
    answer: pd.DataFrame,
    outages: pd.DataFrame | None = None,
    *,
    gaps: pd.DataFrame | None = None,
    zone: str | tzinfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what `Monitor.cycles` gives: its `timeline`.

    Args:
        answer: The cycles.
        outages: As `Monitor.outages`; None: none are shown.
        gaps: As `Monitor.gaps`: hatched where the cycles stand along the time; None: only the share heard is told.
        zone: Of the times; None: this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.
    """
    return timeline(answer, outages, gaps=gaps, zone=zone, ax=ax)


def _draw_bars(ax: Axes, bars: Bars, spans: Spans, stretch: tuple[float, float], zone: tzinfo) -> list[str]:
    """Draw cycles along the time; return what is to be said of it."""
    begin, end = stretch
    outcomes = _outcomes(bars)
    names = [f"{_called(outcome)}  {(bars.outcome == outcome).sum():,}" for outcome in outcomes]
    names += [f"outage: {kind}  {(spans.kind == kind).sum():,}" for kind in spans.kinds]
    lanes = Lanes(ax, names, min(0.6, 0.055 * len(names) + 0.05))
    time_axis(ax, begin, end, zone)
    thinnest = (end - begin) * _NARROWEST
    usual = float(np.quantile(np.diff(bars.begin), 0.1)) if len(bars) > 1 else end - begin
    if len(bars) <= _MOST_BARS and usual >= thinnest / 2:
        width = min(max(thinnest, usual * 0.8), (end - begin) / 120)
        left, seconds, notes = bars.begin, bars.seconds, []
        for place, outcome in enumerate(outcomes):
            look, at = OUTCOMES[outcome], bars.begin[bars.outcome == outcome] + width / 2
            ax.plot(
                at,
                np.full(len(at), lanes.middle(place)),
                look.marker,
                color=look.colour,
                markersize=4.5,
                transform=lanes.transform,
            )
        right = left + width
    else:
        left, right, seconds, called = _together(ax, lanes, bars, outcomes, stretch, zone)
        notes = [
            f"{len(bars):,} cycles taken together by {called}: a bar is their mean, a lane the share of one outcome, as high as its highest; "
            "single cycles are not shown."
        ]
    limit = cut_at(seconds.sum(axis=1))
    _draw_stages(ax, left, right, seconds, limit)
    cut = int((seconds.sum(axis=1) > limit).sum())
    if cut:
        notes.append(
            f"\N{BLACK UP-POINTING TRIANGLE} {cut} cut at {spoken(limit)}, the longest lasted {spoken(seconds.sum(axis=1).max())}."
        )
    _draw_outages(ax, lanes, spans, len(outcomes), thinnest)
    amounts(ax, "y")
    lanes.reserve(limit * 1.06, "seconds")
    ax.tick_params(axis="y", labelsize=SMALL)
    return notes


def _together(
    ax: Axes, lanes: Lanes, bars: Bars, outcomes: list[str], stretch: tuple[float, float], zone: tzinfo
) -> tuple[Days, Days, np.ndarray[tuple[int, int], np.dtype[np.float64]], str]:
    """Draw the lanes of cycles taken together; return the bars: left and right ends, mean seconds, and by what length."""
    bounds, called = edges(*stretch, zone, 110)
    bucket = np.clip(np.searchsorted(bounds, bars.begin, "right") - 1, 0, len(bounds) - 2)
    count = np.bincount(bucket, minlength=len(bounds) - 1)
    some = count > 0
    left, right = np.maximum(bounds[:-1], stretch[0])[some], np.minimum(bounds[1:], stretch[1])[some]
    seconds = np.stack(
        [
            np.bincount(bucket, weights=bars.seconds[:, i], minlength=len(count))[some] / count[some]
            for i in range(len(STAGES))
        ],
        1,
    )
    for place, outcome in enumerate(outcomes):
        share = np.bincount(bucket[bars.outcome == outcome], minlength=len(count))[some] / count[some]
        seen = share > 0
        bottom = lanes.middle(place) - 0.42 * lanes.height
        # Each lane by its own highest share: of the whole, what is rare could not be seen to change.
        top = bottom + lanes.height * 0.84 * np.maximum(0.15, share[seen] / share.max())
        ax.add_collection(
            boxes(
                left[seen],
                right[seen],
                bottom,
                top,
                Look(OUTCOMES[outcome].colour, "", ""),
                ground(ax),
                transform=lanes.transform,
            ),
            autolim=False,
        )
    return left, right, seconds, called


def _draw_stages(
    ax: Axes, left: Days, right: Days, seconds: np.ndarray[tuple[int, int], np.dtype[np.float64]], limit: float
) -> None:
    top = np.minimum(np.cumsum(seconds, axis=1), limit)
    bottom = np.concatenate([np.zeros((len(left), 1)), top[:, :-1]], axis=1)
    for place, look in enumerate(STAGES.values()):
        some = top[:, place] > bottom[:, place]
        if some.any():
            ax.add_collection(
                boxes(left[some], right[some], bottom[some, place], top[some, place], look, ground(ax)), autolim=False
            )
    is_cut = seconds.sum(axis=1) > limit
    ax.plot(((left + right) / 2)[is_cut], np.full(is_cut.sum(), limit * 1.03), "^", color=ink(ax), markersize=4)


def _draw_outages(ax: Axes, lanes: Lanes, spans: Spans, first: int, thinnest: float) -> None:
    ends = np.maximum(spans.end, spans.begin + thinnest)
    long = spans.end - spans.begin >= thinnest * 3
    if long.any():
        begin, end = united(spans.begin[long], ends[long])
        shade = boxes(begin, end, 0.0, 1.0, Look(GREY, "", ""), "none", transform=lanes.transform, alpha=0.18, zorder=0)
        ax.add_collection(shade, autolim=False)
    for place, kind in enumerate(spans.kinds, first):
        some, middle = spans.kind == kind, lanes.middle(place)
        bottom, top = middle - 0.36 * lanes.height, middle + 0.36 * lanes.height
        for is_long in (True, False):
            part = some & (long == is_long)
            look = OUTAGES[kind] if is_long else OUTAGES[kind]._replace(hatch="")  # which would leave nothing of it
            ax.add_collection(
                boxes(spans.begin[part], ends[part], bottom, top, look, ground(ax), transform=lanes.transform),
                autolim=False,
            )


def _zoomed(bars: Bars, stretch: tuple[float, float], zone: tzinfo) -> tuple[tuple[float, float], str]:
    """Return the part of a stretch in which the cycles are, if that is a small one, and what is to be said of it."""
    first, last = float(bars.begin[0]), float(bars.begin[-1])
    if last - first >= (stretch[1] - stretch[0]) * _LEAST_PART:
        return stretch, ""
    margin = max((last - first) * 0.05, 1 / 1440)
    part = max(stretch[0], first - margin), min(stretch[1], last + margin)
    since, until = (datetime.fromtimestamp(end * 86_400, UTC).astimezone(zone) for end in stretch)
    return (
        part,
        f"There is no other cycle from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}, of which only this part is shown.",
    )


def _outcomes(bars: Bars) -> list[str]:
    return [outcome for outcome in OUTCOMES if (bars.outcome == outcome).any()]


def _called(outcome: str) -> str:
    return {"unknown": "end lost", "dry_run": "dry run", "llm_error": "LLM error"}.get(outcome, outcome)


def _stages(bars: Bars, ax: Axes) -> list[Artist]:
    known = [bool(told.any()) for told in bars.seconds.T]
    return [
        Patch(facecolor=look.colour, edgecolor=ground(ax), linewidth=0, hatch=look.hatch or None, label=stage)
        for (stage, look), is_known in zip(STAGES.items(), known, strict=True)
        if is_known
    ]


def _left_out(count: int) -> str:
    if not count:
        return ""
    return f"{counted(count, 'cycle')} left out: no time known, or outside of this stretch by their own clock."
