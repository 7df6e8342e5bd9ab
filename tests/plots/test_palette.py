"""Colours that are seen on white and on dark, and never alone tell things apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from support import seen

from codeworm_monitor.plots.buckets import GROUPS
from codeworm_monitor.plots.palette import (
    BLUE,
    GOLD,
    GREEN,
    GREY,
    OUTAGES,
    OUTCOMES,
    PINK,
    RED,
    STAGES,
    contrast,
    ground,
    ink,
    legible_on,
)

COLOURS = [BLUE, GREEN, RED, PINK, GOLD, GREY]
# Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009), severity 1.
SIGHTS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def as_seen(colour: str, sight: str) -> np.ndarray:
    """Return a colour as somebody with a deficiency sees it, in CIE L*a*b*."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
    xyz = TO_XYZ @ np.clip(np.array(SIGHTS[sight]) @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("ground_colour", ["#ffffff", "#000000", "#111111", "#1e1e1e"])
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_seen_on_light_and_dark(colour: str, ground_colour: str) -> None:
    assert seen.contrast(colour, ground_colour) >= 3


@pytest.mark.parametrize("sight", SIGHTS)
def test_stages_that_touch_are_told_apart_by_who_sees_fewer_colours(sight: str) -> None:
    # A hatch tells what lies close.
    for one, other in combinations(STAGES.values(), 2):
        distance = np.linalg.norm(as_seen(one.colour, sight) - as_seen(other.colour, sight))
        assert distance >= 15 or one.hatch != other.hatch


@pytest.mark.parametrize("looks", [list(STAGES.values()), list(OUTAGES.values()), list(GROUPS)])
def test_areas_are_told_apart_without_their_colour(looks: list) -> None:
    alike = [pair for pair in combinations(looks, 2) if pair[0].hatch == pair[1].hatch]
    # Of the stages, finding and generating are both plain: one is always first, the other always after it.
    assert alike in ([], [(STAGES["find"], STAGES["generate"])])


def test_points_are_told_apart_without_their_colour() -> None:
    for looks in (OUTCOMES.values(), GROUPS):
        markers = [look.marker for look in looks]
        assert len(set(markers)) == len(markers)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)
    assert contrast("red", "red") == 1


@pytest.mark.parametrize("colour", [*COLOURS, "white", "black", "#777777"])
def test_text_on_a_colour_can_be_read(colour: str) -> None:
    assert seen.contrast(legible_on(colour), colour) >= 4.5


@pytest.mark.parametrize(
    ("figure_face", "axes_face", "text", "behind"),
    [
        ("red", "black", "white", (0, 0, 0)),
        ("white", "none", "black", (1, 1, 1)),
        ("none", "none", "black", (1, 1, 1)),
        ("none", "none", "white", (0, 0, 0)),
    ],
)
def test_the_ground_is_what_is_behind(figure_face: str, axes_face: str, text: str, behind: tuple[float, ...]) -> None:
    figure = Figure(facecolor=figure_face)
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.set_facecolor(axes_face)
    ax.title.set_color(text)
    assert ground(ax) == behind
    assert to_rgb(ink(ax)) == to_rgb(text)
