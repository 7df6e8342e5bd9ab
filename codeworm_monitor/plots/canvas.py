"""Canvas: the Axes a picture is drawn into, what stands above it, and what is drawn where there is nothing."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import tzinfo
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from codeworm_monitor.plots.lettering import SMALL, width_of
from codeworm_monitor.plots.palette import figure_of, ink

__all__ = [
    "amounts",
    "beside",
    "blank",
    "canvas",
    "fitting",
    "has",
    "head",
    "heard",
    "logarithmic",
    "rows",
    "width_in",
    "zone_of",
]

_BESIDE = 1.0
"""Inches of a figure's width that are not its Axes, at least."""
_ABOVE_AND_BELOW = 150.0
"""Points of a figure's height that are not its Axes, about."""


@contextmanager
def canvas(ax: Axes | None, *, width: float = 9.0, height: float = 4.2) -> Iterator[Axes]:
    """Yield the Axes to draw into: the given one, else that of a new figure in the viewer's style.

    Text is never handed to TeX within, whatever the style says: it quotes what others wrote.

    Args:
        ax: None: a new figure of pyplot, so that a notebook shows it.
        width: Of a new figure, inches.
        height: So.
    """
    if ax is not None:
        with _plain_text():
            yield ax
        return
    import matplotlib.pyplot as plt  # only who wants a figure of its own has pyplot's

    # Before the context: the first figure may load the notebook's backend, and the context would undo its settings.
    figure = plt.figure(figsize=(width, height), layout="constrained")
    with _plain_text():
        try:
            yield figure.subplots()
        except BaseException:
            plt.close(figure)
            raise


def _plain_text() -> AbstractContextManager[None]:
    return rc_context({"text.usetex": False, "text.parse_math": True, "axes.formatter.use_mathtext": False})


def width_in(ax: Axes) -> float:
    """Return about how wide the Axes will be, inches: less what its labels take, so far as there are any yet."""
    figure = figure_of(ax)
    place = ax.get_subplotspec()
    if place is None or figure.get_layout_engine() is None:
        return max(0.5, float(ax.get_window_extent().width / figure.dpi))
    share = len(place.colspan) / place.get_gridspec().ncols
    beside = [
        text.get_text() for text in [*ax.get_yticklabels(), *ax.texts] if text.get_horizontalalignment() == "right"
    ]
    labels = max((width_of(line) for text in beside for line in text.split("\n")), default=0.0)
    whole = float(ax.figure.bbox.width / figure.dpi)  # of the part of the figure, where it has parts
    return max(0.5, whole * share - max(_BESIDE, labels / 72 + 0.5))


def fitting(ax: Axes | None, most: int, each: float = SMALL * 1.35) -> int:
    """Return how many rows have room in the Axes.

    Args:
        ax: None: a figure made for as many as are wanted.
        most: That are wanted.
        each: Height of a row, points.
    """
    if ax is None:
        return most
    figure = figure_of(ax)
    place = ax.get_subplotspec()
    if place is None or figure.get_layout_engine() is None:
        high = float(ax.get_window_extent().height / figure.dpi) * 72
    else:
        high = float(ax.figure.bbox.height / figure.dpi) * 72 * len(place.rowspan) / place.get_gridspec().nrows
        high -= _ABOVE_AND_BELOW
    return max(2, min(most, int(high / each)))


def beside(ax: Axes, text: str, x: float, y: float, **options: Any) -> None:
    """Write text to the right of a point; it ends where the Axes ends, and moves nothing.

    Args:
        ax: The Axes.
        text: Made inert.
        x: Of the point.
        y: So.
        options: Of the text.
    """
    note = ax.annotate(
        text,
        (x, y),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=ink(ax),
        clip_on=True,
        **options,
    )
    note.set_in_layout(False)


def head(ax: Axes, title: str, *, notes: Sequence[str] = (), legend: Sequence[Artist] = ()) -> None:
    """Write the title of a picture, under it its notes, under them its legend; all above the Axes.

    Args:
        ax: The Axes.
        title: What is seen; ours, or made inert.
        notes: Lines in small letters: what is left out, how much was heard; broken where they are too long.
        legend: Handles with labels.
    """
    wide = width_in(ax) * 72
    height = 0.0
    if legend:
        height = _legend(ax, legend, wide)
    lines = [line for note in notes if note for line in _broken(note, wide, SMALL)]
    if lines:
        note = ax.annotate(
            "\n".join(lines),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, height + 4),
            textcoords="offset points",
            va="bottom",
            ha="left",
            fontsize=SMALL,
            color=ink(ax),
            annotation_clip=False,
        )
        note.set_in_layout(False)  # the title above it makes the room
        height += 4 + len(lines) * SMALL * 1.35
    size = 12.0
    ax.set_title("\n".join(_broken(title, wide, size)), loc="left", pad=height + 6, fontsize=size, color=ink(ax))


def blank(ax: Axes, title: str, reason: str) -> Axes:
    """Draw nothing, under a title, and say why."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(
        0.5,
        0.5,
        "\n".join(_broken(reason, width_in(ax) * 72 * 0.9, 10.0)),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=10.0,
        color=ink(ax),
    )
    head(ax, title)
    return ax


def heard(frame: pd.DataFrame) -> str:
    """Return one line on how much of its stretch of time was listened to; empty where that is unknown, or all."""
    covered = frame.attrs.get("covered")
    if not isinstance(covered, float) or not covered < 1:
        return ""
    return f"Not complete: {int(covered * 1000) / 10:g} % of this stretch of time was heard."


def zone_of(answer: pd.DataFrame, zone: str | tzinfo | None) -> str | tzinfo | None:
    """Return the zone that is asked for, else the one whose days an answer counts, None: it has none with a name."""
    told = answer.attrs.get("zone")
    return zone if zone is not None or not isinstance(told, str) else told


def has(frame: pd.DataFrame, *columns: str) -> None:
    """Refuse a frame that lacks columns.

    Raises:
        ValueError: Names them.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(
            f"the frame has no column {', '.join(missing)}: hand over the whole answer, or one with its columns"
        )


def rows(ax: Axes, names: Sequence[str], *, size: float = SMALL) -> None:
    """Label the rows 0, 1, … of the Axes, the first one on top.

    Args:
        ax: The Axes.
        names: Made inert.
        size: Of their letters, points.
    """
    ax.set_yticks(range(len(names)), list(names), fontsize=size)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def amounts(ax: Axes, which: str, *, is_whole: bool = False) -> None:
    """Give an axis of amounts few ticks with plain figures, and lines to read them by.

    Args:
        ax: The Axes.
        which: "x" or "y".
        is_whole: Whether there are no halves.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    most = max(2, min(7, int(width_in(ax) / 0.8))) if which == "x" else 6
    axis.set_major_locator(MaxNLocator(nbins=most, integer=is_whole, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}" if abs(value) < 1e7 else f"{value:.3g}"))
    axis.grid(visible=True, color=ink(ax), alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)


def logarithmic(ax: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic, with few ticks in plain figures.

    Args:
        ax: The Axes.
        which: "x" or "y".
        low: Least that is drawn, more than 0.
        high: Most.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = low * 0.85, max(high, low * 2) * 1.18
    if which == "x":
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        room = width_in(ax) / 0.55
    else:
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        room = 10
    decades = math.log10(high / low)
    subs = next((subs for subs in ((1.0, 2.0, 5.0), (1.0, 3.0)) if decades * len(subs) <= room), (1.0,))
    axis.set_major_locator(LogLocator(subs=subs, numticks=max(3, int(room))))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}" if 1e-3 <= value < 1e6 else f"{value:.0e}"))
    axis.set_minor_locator(NullLocator())
    axis.grid(visible=True, color=ink(ax), alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)
    axis.set_tick_params(labelsize=SMALL)


def _legend(ax: Axes, handles: Sequence[Artist], wide: float) -> float:
    """Draw a legend above the Axes and return how high it is, points."""
    widths = [width_of(str(handle.get_label())) + 4.4 * SMALL for handle in handles]
    columns = len(handles) if sum(widths) <= wide else max(1, min(len(handles), int(wide / max(widths))))
    legend = ax.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=ink(ax),
        borderaxespad=0.2,
        borderpad=0.2,
        labelspacing=0.35,
        handlelength=1.6,
        columnspacing=1.4,
    )
    legend.set_in_layout(False)  # so does the title for it
    return (-(-len(handles) // columns)) * SMALL * 1.55 + SMALL * 0.6


def _broken(text: str, wide: float, size: float) -> list[str]:
    """Return a text as lines that are not wider than a number of points."""
    if width_of(text, size) <= wide:
        return [text]
    return textwrap.wrap(text, max(10, int(len(text) * wide / width_of(text, size) * 0.95)))
