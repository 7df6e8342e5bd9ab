"""Lettering: text that others wrote, made fit to be drawn, and figures as a person reads them."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

__all__ = ["SMALL", "counted", "inert", "spoken", "width_of"]

SMALL = 8.5
"""Points: what stands beside a picture, smaller than its title."""
_LONGEST = 300
"""Characters that are looked at; what follows would not fit anyway."""
_HINTED = 1.13
"""Where dots are few, letters are moved to whole ones, and a line becomes wider by as much."""
_UNKNOWN = "\N{WHITE SQUARE}"
_CUT = "\N{HORIZONTAL ELLIPSIS}"


def inert(text: object, points: float = 160.0, *, size: float = SMALL) -> str:
    """Return a text of unknown origin as one line that is drawn as it reads and cannot break the drawing.

    Line breaks are spaces, control and direction characters go, dollar signs begin no formula, what the viewer's font
    lacks is a square, and what is too wide ends in an ellipsis.

    Args:
        text: Anything; a missing value, and a text without anything to draw, is a dash.
        points: Widest it may be.
        size: Of its letters, points.
    """
    if not isinstance(text, str):
        text = "\N{EN DASH}" if text is None or text != text else str(text)
    glyphs = _glyphs()
    line, marks = "", 0
    for character in unicodedata.normalize("NFC", text[:_LONGEST]):
        kind = unicodedata.category(character)
        marks = marks + 1 if kind in {"Mn", "Me"} else 0
        if kind in {"Zs", "Zl", "Zp"} or character in "\t\n\v\f\r":
            line += " "
        elif kind in {"Cc", "Cf"} or marks > 1:
            continue
        else:
            line += character if ord(character) in glyphs else _UNKNOWN if ord(_UNKNOWN) in glyphs else "?"
    line = " ".join(line.split()) or "\N{EN DASH}"
    line = _fitted(line, points, size, is_cut=len(text) > _LONGEST)
    # Matplotlib takes an even number of bare dollar signs for a formula; an escaped one never counts.
    return line.replace("$", r"\$")


def width_of(line: str, size: float = SMALL) -> float:
    """Return how wide a line is drawn at most, in points."""
    width, _, _ = text_to_path.get_text_width_height_descent(
        line.replace(r"\$", "$"), FontProperties(size=size), ismath=False
    )
    return float(width) * _HINTED


def counted(count: float, noun: str) -> str:
    """Return a number and what it is of: "1 cycle", "1,200 cycles"."""
    return f"{count:,.0f} {noun}" if count == 1 else f"{count:,.0f} {noun}s"


def spoken(seconds: float) -> str:
    """Return a duration as a person writes it, in two figures or so."""
    if seconds != seconds:
        return "unknown"
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= 1.5 * length:
            return (
                f"{seconds / length:,.3g} {unit}" if abs(seconds) < 100 * length else f"{seconds / length:,.0f} {unit}"
            )
    return f"{seconds:.2g} s" if abs(seconds) < 10 else f"{seconds:.0f} s"


def _fitted(line: str, points: float, size: float, *, is_cut: bool) -> str:
    if not is_cut and width_of(line, size) <= points:
        return line
    length = len(line)
    while length:
        width = width_of(line[:length].rstrip() + _CUT, size)
        if width <= points:
            break
        length = min(length - 1, int(length * points / width) + 1)
    return line[:length].rstrip() + _CUT


def _glyphs() -> frozenset[int]:
    """Return what the fonts of the viewer's style can draw."""
    style: Any = rcParams
    families = tuple(style["font.family"])
    generic = tuple(name for family in families for name in style.get(f"font.{family}", ()))
    return _glyphs_of(families, generic)


@lru_cache(maxsize=8)
def _glyphs_of(families: tuple[str, ...], generic: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for family in families:
        try:
            path = findfont(FontProperties(family=[family]), fallback_to_default=False)
        except ValueError:
            continue  # not installed: Matplotlib takes the next one
        found.update(get_font(path).get_charmap())
    return frozenset(found or get_font(findfont(FontProperties())).get_charmap())
