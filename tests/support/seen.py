"""What a person sees of a picture: its text, where that is, and whether it can be read."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.text import Text

_READABLE = 4.5
"""Contrast of text, WCAG 2.2, 1.4.3."""


def luminance(colour) -> float:
    """Return the relative luminance of an opaque colour, as WCAG 2.2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other) -> float:
    """Return the contrast ratio of two opaque colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def pixels(ax: Axes) -> np.ndarray:
    """Return the pixels of the figure, drawn before, of shape (height, width, 4)."""
    return np.asarray(ax.figure.canvas.buffer_rgba())


def texts(ax: Axes) -> list[Text]:
    """Return the text that is seen in the Axes and around it, drawn before."""
    legend = ax.get_legend()
    found = [
        *ax.texts,
        *(getattr(ax, name) for name in ("title", "_left_title", "_right_title")),
        *(part for axis in (ax.xaxis, ax.yaxis) for part in (axis.label, axis.offsetText)),
        *(label for axis in (ax.xaxis, ax.yaxis) for label in _tick_labels(axis)),
        *(legend.get_texts() if legend is not None else ()),
    ]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def words(ax: Axes) -> str:
    """Return all text that is seen, as one; drawn before or not."""
    if ax.figure.stale:
        ax.figure.canvas.draw()
    return " | ".join(text.get_text().replace("\n", " ") for text in texts(ax))


def counted(ax: Axes, label: str) -> int:
    """Return the number that stands behind a label, such as of a lane."""
    found = re.search(rf"{re.escape(label)}\s+([\d,]+)", words(ax))
    assert found is not None, words(ax)
    return int(found.group(1).replace(",", ""))


def assert_legible(ax: Axes) -> None:
    """Draw a picture and check that no text hides another, is cut off, is a formula, or lacks contrast."""
    ax.figure.canvas.draw()
    renderer = ax.figure.canvas.get_renderer()
    seen = texts(ax)
    width, height = ax.figure.bbox.size
    boxes = []
    for text in seen:
        box = text.get_window_extent(renderer)
        boxes.append(box)
        said = text.get_text()
        assert not is_math_text(said), said
        assert not text.get_usetex()
        assert box.x0 >= -1, said
        assert box.y0 >= -1, said
        assert box.x1 <= width + 1, said
        assert box.y1 <= height + 1, said
        assert contrast(text.get_color(), _behind(ax, text)) >= _READABLE, said
    for (one, first), (other, second) in combinations(zip(seen, boxes, strict=True), 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        # Letters have air around them: what touches by a dot or so does not hide anything.
        assert min(across, down) <= 1.5, (one.get_text(), other.get_text())


def verts(ax: Axes, colour: str, *, is_hatched: bool | None = None) -> np.ndarray:
    """Return the boxes of one colour as left, right, bottom, top, of shape (n, 4)."""
    found = []
    for collection in ax.collections:
        faces = collection.get_facecolor()
        if is_hatched is not None and bool(collection.get_hatch()) != is_hatched:
            continue
        if len(faces) and to_rgba(faces[0])[:3] == to_rgba(colour)[:3] and faces[0][3] == 1:
            for path in collection.get_paths():
                points = path.vertices
                found.append((*points[:, 0][[0, 1]], points[0, 1], points[2, 1]))
    return np.array(found).reshape(-1, 4)


def _tick_labels(axis) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    low, high = low - abs(low) * 1e-12, high + abs(high) * 1e-12
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def _behind(ax: Axes, text: Text):
    """Return the colour behind a text: of its box, of the Axes if it is in it, of the figure."""
    patch = text.get_bbox_patch()
    if patch is not None:
        return patch.get_facecolor()
    box, inside = text.get_window_extent(), ax.get_window_extent()
    is_inside = inside.x0 <= (box.x0 + box.x1) / 2 <= inside.x1 and inside.y0 <= (box.y0 + box.y1) / 2 <= inside.y1
    return ax.get_facecolor() if is_inside else ax.figure.get_facecolor()
