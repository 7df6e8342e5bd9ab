"""Distributions: how long generation takes and how fast it is, by kind of document or what else tells cycles apart."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from codeworm_monitor.plots.canvas import amounts, blank, canvas, fitting, has, head, heard, logarithmic, rows, width_in
from codeworm_monitor.plots.lanes import boxes
from codeworm_monitor.plots.lettering import SMALL, counted, inert
from codeworm_monitor.plots.palette import BLUE, GREEN, Look, ground, ink
from codeworm_monitor.plots.stages import numbers

__all__ = ["duration_distribution", "tokens_per_s_distribution"]

_MOST_ROWS = 14
_MOST_DOTS = 400
"""Dots of a row; of more, every so-manieth in the order of time is drawn. The boxes are always of all."""
_STAGES = {
    "find": "finding a target",
    "generate": "generation",
    "commit": "committing",
    "push": "pushing",
    "wait": "waiting for Ollama",
}
_GROUPS = {"doc_type": "document type", "repo": "repository"}
Numbers = npt.NDArray[np.float64]


def duration_distribution(
    cycles: pd.DataFrame,
    by: str | None = "doc_type",
    *,
    stage: str = "generate",
    zone: str | tzinfo | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how long a stage of the cycles takes: middle half, middle 90 % and median of each group, and single cycles.

    Args:
        cycles: As `Monitor.cycles`; those of which the duration is not known are left out, and counted above.
        by: A column that tells groups apart, most cycles on top; None: all together.
        stage: find, generate, commit, push, wait, or cycle: from its start to its end.
        zone: Of no use here; taken as by the other pictures.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes, with seconds on a logarithmic axis.

    Raises:
        ValueError: The frame lacks a column, or there is no such stage.
    """
    if stage == "cycle":
        has(cycles, "started_at", "ended_at")
        seconds = (cycles["ended_at"] - cycles["started_at"]).dt.total_seconds()
        what = "Duration of cycles"
    elif stage in _STAGES:
        has(cycles, f"{stage}_s")
        seconds = cycles[f"{stage}_s"]
        what = f"Duration of {_STAGES[stage]}"
    else:
        raise ValueError(f"{stage!r} is no stage: choose cycle, {', '.join(_STAGES)}")
    return _draw(cycles, numbers(seconds), by, what, "seconds", BLUE, ax)


def tokens_per_s_distribution(
    cycles: pd.DataFrame, by: str | None = "model", *, zone: str | tzinfo | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how many tokens a second were generated: middle half, middle 90 % and median of each group, and single cycles.

    Args:
        cycles: As `Monitor.cycles`; those of which it is not known are left out, and counted above.
        by: A column that tells groups apart, most cycles on top; None: all together.
        zone: Of no use here; taken as by the other pictures.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The frame lacks a column.
    """
    has(cycles, "tokens_per_s")
    return _draw(cycles, numbers(cycles["tokens_per_s"]), by, "Tokens per second", "tokens per second", GREEN, ax)


def _draw(
    cycles: pd.DataFrame, values: Numbers, by: str | None, what: str, unit: str, colour: str, ax: Axes | None
) -> Axes:
    has(cycles, *([] if by is None else [by]))
    title = what if by is None else f"{what} by {_GROUPS.get(by) or inert(by)}"
    known = np.flatnonzero(values > 0)
    if not len(known):
        with canvas(ax, height=2.2) as made:
            return blank(made, title, "No cycle of which this is known was heard in this stretch of time.")
    groups = _groups(cycles, by, known)
    shown = groups[: fitting(ax, _MOST_ROWS, 16)]
    notes = [heard(cycles)]
    if len(known) < len(values):
        notes.append(f"{len(values) - len(known):,} of {counted(len(values), 'cycle')} left out: not known, or none.")
    if len(groups) > len(shown):
        rest = sum(len(places) for _, places in groups[len(shown) :])
        notes.append(f"Not shown: {counted(len(groups) - len(shown), 'group')} with {counted(rest, 'cycle')}.")
    if max(len(places) for _, places in shown) > _MOST_DOTS:
        notes.append(f"Of a group at most {_MOST_DOTS} cycles are dots; box and line are of all.")
    with canvas(ax, height=1.8 + 0.42 * len(shown)) as made:
        room = width_in(made) * 72 * 0.4
        rows(made, [f"{inert(name, room)}  (n = {len(places):,})" for name, places in shown])
        for row, (_, places) in enumerate(shown):
            _row(made, row, values[places], colour)
        _axis(made, values[np.concatenate([places for _, places in shown])], unit)
        head(made, title, notes=notes, legend=_legend(made, colour))
        return made


def _groups(
    cycles: pd.DataFrame, by: str | None, known: npt.NDArray[np.int64]
) -> list[tuple[object, npt.NDArray[np.int64]]]:
    """Return the names of the groups and where their cycles are, most first; of those of no group last."""
    if by is None:
        return [("all", known)]
    codes, names = pd.factorize(cycles[by].iloc[known].astype(object), use_na_sentinel=True)
    found: list[tuple[object, npt.NDArray[np.int64]]] = [
        (name, known[codes == code]) for code, name in enumerate(names)
    ]
    found.sort(key=lambda group: -len(group[1]))
    return [*found, *([("unknown", known[codes < 0])] if (codes < 0).any() else [])]


def _row(ax: Axes, row: int, values: Numbers, colour: str) -> None:
    if len(values) < 4:
        ax.plot(values, np.full(len(values), row), "o", color=colour, markersize=5, linestyle="none")
        return
    dots = values[:: -(-len(values) // _MOST_DOTS)]
    # Spread as a low-discrepancy sequence is (multiples of the golden ratio): the same picture each time.
    spread = (np.arange(len(dots)) * 0.618034 % 1 - 0.5) * 0.62
    ax.plot(dots, row + spread, ".", color=colour, markersize=2.2, linestyle="none", zorder=1.5)
    low, first, middle, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    ax.plot([low, high], [row, row], color=ink(ax), linewidth=1.1, zorder=2)
    box = boxes(np.array([first]), third, row - 0.22, row + 0.22, Look(colour, "", ""), ink(ax), zorder=2.5)
    box.set_linewidth(0.8)
    ax.add_collection(box, autolim=False)
    ax.plot([middle, middle], [row - 0.3, row + 0.3], color=ground(ax), linewidth=4, solid_capstyle="butt", zorder=3)
    ax.plot([middle, middle], [row - 0.3, row + 0.3], color=ink(ax), linewidth=1.8, solid_capstyle="butt", zorder=3.1)


def _axis(ax: Axes, values: Numbers, unit: str) -> None:
    low, high = float(values.min()), float(values.max())
    if high / low > 5:
        logarithmic(ax, "x", low, high)
    else:
        room = max(high - low, high * 0.1) * 0.08
        ax.set_xlim(max(0.0, low - room), high + room)
        amounts(ax, "x")
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlabel(unit, fontsize=SMALL + 0.5)


def _legend(ax: Axes, colour: str) -> list[Artist]:
    return [
        Line2D(
            [],
            [],
            color=ink(ax),
            linewidth=1.8,
            marker="|",
            linestyle="none",
            markersize=9,
            markeredgewidth=1.8,
            label="median",
        ),
        Patch(facecolor=colour, edgecolor=ink(ax), linewidth=0.8, label="middle half"),
        Line2D([], [], color=ink(ax), linewidth=1.1, label="middle 90 %"),
        Line2D([], [], color=colour, marker=".", linestyle="none", label="a cycle"),
    ]
