"""Palette: colours, hatches and marks, told apart without colour and seen on white and on dark."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

__all__ = [
    "BLUE",
    "GOLD",
    "GREEN",
    "GREY",
    "OUTAGES",
    "OUTCOMES",
    "PINK",
    "RED",
    "STAGES",
    "Look",
    "contrast",
    "figure_of",
    "ground",
    "ink",
    "legible_on",
]

# After Okabe and Ito, "Color Universal Design" (2008), darkened or lightened until each has a contrast of 3:1 or more to
# white, to black and to #1e1e1e (WCAG 2.2, 1.4.11); next to one another only where also a mark or a hatch differs.
BLUE, GREEN, RED, PINK, GOLD, GREY = "#0072B2", "#009E73", "#D55E00", "#C56C9F", "#B58900", "#808080"


class Look(NamedTuple):
    """How something is drawn.

    Attributes:
        colour: Of its area.
        hatch: Of its area, for who cannot tell colours.
        marker: Of a point.
    """

    colour: str
    hatch: str
    marker: str


STAGES: dict[str, Look] = {
    "find": Look(GOLD, "", "s"),
    "wait": Look(RED, "\\\\", "s"),
    "generate": Look(BLUE, "", "s"),
    "commit": Look(PINK, "xx", "s"),
    "push": Look(GREEN, "..", "s"),
    "other": Look(GREY, "//", "s"),
}
"""The stages of a cycle in their order; wait: for Ollama; other: what no message tells of."""

OUTCOMES: dict[str, Look] = {
    "committed": Look(GREEN, "", "o"),
    "dry_run": Look(BLUE, "", "D"),
    "skipped": Look(GREY, "", "v"),
    "llm_error": Look(PINK, "", "s"),
    "failed": Look(RED, "", "X"),
    "interrupted": Look(GOLD, "", "P"),
    "running": Look(BLUE, "", ">"),
    "unknown": Look(GREY, "", "d"),
}
"""The outcomes of a cycle; unknown: its end was lost."""

OUTAGES: dict[str, Look] = {
    "ollama": Look(RED, "//", "s"),
    "commit": Look(PINK, "xx", "s"),
    "push": Look(GOLD, "..", "s"),
    "database": Look(GREEN, "++", "s"),
    "redis": Look(BLUE, "o", "s"),
    "relay": Look(GREY, "--", "s"),
    "daemon": Look(BLUE, "||", "s"),
}
"""The kinds of outage."""


def ink(ax: Axes) -> ColorType:
    """Return the colour that the viewer's style gives to text."""
    colour: ColorType = ax.title.get_color()
    return colour


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure that the Axes are part of, also where they are in a part of it."""
    figure: Any = ax.figure
    # Until Matplotlib 3.10 there was no `get_figure(root=True)`; a figure is its own.
    return cast("Figure", figure.figure)


def ground(ax: Axes) -> tuple[float, float, float]:
    """Return the colour behind what is drawn; where all is transparent, the one opposite to the text."""
    for face in (ax.get_facecolor(), figure_of(ax).get_facecolor()):
        red, green, blue, alpha = to_rgba(face)
        if alpha > 0.5:
            return red, green, blue
    return (1.0, 1.0, 1.0) if _luminance(ink(ax)) < 0.18 else (0.0, 0.0, 0.0)


def contrast(one: ColorType, other: ColorType) -> float:
    """Return the contrast of two opaque colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def legible_on(colour: ColorType) -> str:
    """Return black or white, whichever is read better on a colour."""
    return max(("black", "white"), key=lambda text: contrast(text, colour))


def _luminance(colour: ColorType) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
