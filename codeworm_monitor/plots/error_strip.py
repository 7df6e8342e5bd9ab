"""Error strip: when which error was told, a row for each."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.plots.canvas import blank, canvas, fitting, has, head, heard, rows, width_in, zone_of
from codeworm_monitor.plots.hearing import hatch_unheard
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import counted, inert
from codeworm_monitor.plots.palette import BLUE, GOLD, GREY, PINK, RED, Look, ground, ink
from codeworm_monitor.plots.time_axis import Days, days, span, time_axis

__all__ = ["errors"]

_LEVELS = {
    "critical": Look(PINK, "xx", ""),
    "error": Look(RED, "", ""),
    "warning": Look(GOLD, "//", ""),
    "info": Look(BLUE, "..", ""),
    "debug": Look(GREY, "", ""),
}
_HEIGHTS = "▁▂▃▄▅▆▇█"
"""Of a strip: 1, 2-3, 4-7, … messages."""
_UNHEARD = "░"
_MOST_ROWS = 18
_TITLE = "Errors along the time"
Numbers = npt.NDArray[np.float64]


def errors(answer: pd.DataFrame, *, zone: str | tzinfo | None = None, ax: Axes | None = None) -> Axes:
    """Draw when each kind of error was told: a row for each, the most frequent on top, higher where there were more.

    Each step up is twice as many messages. What was not listened to is hatched. Rarer kinds than the 18 most frequent are
    not shown; the picture says how many.

    Args:
        answer: As `Monitor.errors`, or as `analysis.failures.error_times`.
        zone: Of the time axis; None: that of the answer, else this machine's.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column, or there is no such zone.
    """
    has(answer, "event", "template", "level", "count")
    place = resolved(zone_of(answer, zone))
    is_told = "strip" not in answer.columns
    if is_told:
        has(answer, "started_at", "ended_at")
    begin, end = (days(answer[name]) if is_told else np.empty(0) for name in ("started_at", "ended_at"))
    stretch = span(answer, begin, end)
    if answer.empty or stretch is None:
        with canvas(ax, height=2.2) as made:
            return blank(made, _TITLE, _none(answer))
    keys, kinds = _kinds(answer)
    shown = kinds.iloc[: fitting(ax, _MOST_ROWS, 16)]
    with canvas(ax, width=11.0, height=1.8 + 0.32 * len(shown)) as made:
        room = width_in(made) * 72 * 0.42
        rows(made, [inert(_name(kind), room) for kind in shown.to_dict("records")])
        time_axis(made, *stretch, place)
        made.hlines(
            np.arange(len(shown)) + 0.42, *made.get_xlim(), color=ink(made), alpha=0.15, linewidth=0.8, zorder=0.5
        )
        legend: list[Artist] = []
        if is_told:
            _draw_told(made, answer, keys, shown, (begin, end))
        else:
            legend = _draw_strips(made, shown, stretch)
        seen = [level for level in _LEVELS if (shown["level"].astype(str) == level).any()]
        patches = [
            Patch(
                facecolor=_LEVELS[level].colour,
                edgecolor=ground(made),
                linewidth=0,
                hatch=_LEVELS[level].hatch or None,
                label=level,
            )
            for level in seen
        ]
        notes = [f"{counted(kinds['count'].sum(), 'message')} of {counted(len(kinds), 'kind')}.", heard(answer)]
        if len(kinds) > len(shown):
            rest = counted(kinds["count"].iloc[len(shown) :].sum(), "message")
            notes.append(f"Not shown: {counted(len(kinds) - len(shown), 'rarer kind')} with {rest}.")
        head(made, _TITLE, notes=notes, legend=[*patches, *legend])
        return made


def _kinds(answer: pd.DataFrame) -> tuple[npt.NDArray[np.int64], pd.DataFrame]:
    """Return which kind each row is of, and the kinds: the first row of each with its count, most first."""
    columns = [
        name for name in ("event", "template", "component", "doc_type", "repo", "target") if name in answer.columns
    ]
    texts = [answer[name].astype(object).where(answer[name].notna(), "").astype(str) for name in columns]
    keys = pd.factorize(pd.MultiIndex.from_arrays(texts))[0].astype(np.int64)
    if "strip" in answer.columns:
        keys = np.arange(len(answer), dtype=np.int64)
    count = np.bincount(keys, weights=answer["count"].to_numpy(np.float64, na_value=0)).astype(np.int64)
    first = np.unique(keys, return_index=True)[1]
    kinds = answer.iloc[first].assign(count=count, kind=np.arange(len(first)))
    return keys, kinds.sort_values("count", ascending=False, kind="stable")


def _name(kind: dict[object, object]) -> str:
    """Return what a row is called; not inert yet."""
    words = [str(kind[name])[:200] for name in ("event", "template") if isinstance(kind[name], str) and kind[name]]
    groups = [
        str(kind[name])[:80] for name in ("component", "doc_type", "repo", "target") if isinstance(kind.get(name), str)
    ]
    # The groups first: of a long text the end is cut.
    name = ": ".join([", ".join(groups), *words] if groups else words) or "no name"
    return f"{kind['count']:,}\N{MULTIPLICATION SIGN} {name}"


def _draw_strips(ax: Axes, shown: pd.DataFrame, stretch: tuple[float, float]) -> list[Artist]:
    legend: list[Artist] = []
    for row, kind in enumerate(shown.to_dict("records")):
        strip = str(kind["strip"])
        edges = np.linspace(*stretch, len(strip) + 1)
        height = np.array([_HEIGHTS.find(character) + 1 for character in strip], np.float64) / len(_HEIGHTS)
        _cells(ax, row, edges[:-1], edges[1:], height, kind["level"])
        unheard = np.array([character == _UNHEARD for character in strip])
        found = hatch_unheard(
            ax,
            edges[:-1][unheard],
            edges[1:][unheard],
            np.zeros(unheard.sum()),
            bottom=row - 0.5,
            top=row + 0.5,
            transform=ax.transData,
        )
        legend = legend or found
    return legend


def _draw_told(
    ax: Axes, answer: pd.DataFrame, keys: npt.NDArray[np.int64], shown: pd.DataFrame, times: tuple[Days, Days]
) -> None:
    begin, end = times
    # Of months in minutes nothing would be left to see.
    end = np.maximum(end, begin + (ax.get_xlim()[1] - ax.get_xlim()[0]) / 400)
    count = answer["count"].to_numpy(np.float64, na_value=0)
    for row, kind in enumerate(shown["kind"]):
        some = (keys == kind) & np.isfinite(begin) & np.isfinite(end) & (count > 0)
        height = np.minimum(np.floor(np.log2(np.maximum(1, count[some]))) + 1, len(_HEIGHTS)) / len(_HEIGHTS)
        _cells(ax, row, begin[some], end[some], height, shown["level"].iloc[row])


def _cells(ax: Axes, row: int, left: Numbers, right: Numbers, height: Numbers, level: object) -> None:
    look = _LEVELS.get(str(level), _LEVELS["debug"])
    some = height > 0
    # Rows go down: what is higher has the smaller number.
    ax.add_collection(
        boxes(left[some], right[some], row + 0.42, row + 0.42 - 0.84 * height[some], look, ground(ax)), autolim=False
    )


def _none(answer: pd.DataFrame) -> str:
    covered = answer.attrs.get("covered")
    if isinstance(covered, float) and covered < 1:
        return f"No error was told in the {int(covered * 1000) / 10:g} % of this stretch of time that was heard."
    return "No error was told in this stretch of time."
