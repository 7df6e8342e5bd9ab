"""Every picture, drawn: seen in light and dark, labelled, legible, however much or little there is."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from support.pictures import HARMFUL, NAMES, harmful_pictures, pictures, traffic
from support.recorded_frames import recording
from support.seen import assert_legible, pixels, texts, words

from codeworm_monitor import plots
from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.outages import outages

STYLES = ["default", "dark_background"]
ZONE = "Europe/Berlin"


def picture(size: str, name: str):
    return pictures(size)[name]


def title(ax: Axes) -> str:
    return ax.get_title(loc="left")


@pytest.mark.parametrize(
    ("size", "style"), [*((size, "default") for size in ("none", "one", "months")), ("day", "dark_background")]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_seen_labelled_and_legible(name: str, size: str, style: str) -> None:
    with plt.style.context(style):
        ax = picture(size, name)(zone=ZONE)
        assert_legible(ax)
        seen = pixels(ax)
        assert title(ax)
        ground = np.round(np.array(to_rgb(ax.figure.get_facecolor())) * 255)
        assert (np.abs(seen[..., :3] - ground).max(axis=-1) > 40).mean() > 0.005
        assert np.abs(seen[0, 0, :3] - ground).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_nothing_says_what_is_missing(name: str) -> None:
    ax = picture("none", name)(zone=ZONE)
    assert title(ax)
    assert any(text.get_text().startswith("No ") for text in ax.texts), words(ax)
    assert not ax.get_xlabel()


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_something_names_its_axes(name: str) -> None:
    ax = picture("day", name)(zone=ZONE)
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert ax.get_ylabel() or any(label.get_text() for label in ax.get_yticklabels())
    if ax.get_xlabel().startswith(("time", "day")):
        assert "Europe/Berlin (CE" in ax.get_xlabel()


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_goes_into_the_axes_it_is_given(name: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    assert picture("day", name)(zone=ZONE, ax=right) is right
    assert plt.get_fignums() == []
    assert not left.has_data()
    assert_legible(right)


def test_a_picture_without_axes_makes_one_figure_that_pyplot_shows() -> None:
    ax = plots.cycles(traffic("day").found["cycles"])
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("name", HARMFUL)
def test_text_of_others_is_drawn_as_it_reads_and_breaks_nothing(name: str) -> None:
    ax = harmful_pictures()[name](zone=ZONE)
    assert_legible(ax)
    assert ax.get_window_extent().width > ax.figure.bbox.width * 0.3
    said = "".join(text.get_text() for text in texts(ax))
    assert not set(said) & set("\x00\x07\x1b\u202e\u2066\u200f\ufffe\r\t漢")


def test_text_of_others_never_goes_to_tex() -> None:
    with mpl.rc_context({"text.usetex": True, "text.parse_math": False}):
        ax = harmful_pictures()["timeline"](zone=ZONE)
    assert_legible(ax)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("style", STYLES)
def test_a_recording_is_drawn_legibly(number: int, style: str) -> None:
    held = recording(number)
    done, down = cycles(held), outages(held)
    with plt.style.context(style):
        for ax in (
            plots.timeline(done, down, zone=ZONE),
            plots.timeline(done.tail(30), zone=ZONE),
            plots.activity_calendar(done, gaps=held.gaps, zone=ZONE),
            plots.duration_distribution(done, stage="cycle", zone=ZONE),
            plots.outages(down, zone=ZONE),
        ):
            assert_legible(ax)
    assert f"{(done['outcome'] == 'committed').sum()}" in words(plots.timeline(done, zone=ZONE))


@pytest.mark.parametrize("size", ["day", "months"])
def test_an_answer_draws_its_own_picture(size: str) -> None:
    held = traffic(size)
    done = cycles(held)
    assert title(done.plot(zone=ZONE)) == title(plots.cycles(done, zone=ZONE))


def test_no_picture_is_forgotten() -> None:
    assert sorted(pictures("few")) == sorted(NAMES)
    assert sorted(harmful_pictures()) == sorted(HARMFUL)
    assert {name.partition("-")[0] for name in NAMES} == set(plots.__all__)


def test_every_question_has_its_picture() -> None:
    wanted = "cycles outages throughput success durations tokens schedule slowdown errors documents repos"
    assert set(wanted.split()) <= set(plots.__all__)
    assert plots.__all__ == sorted(plots.__all__)


@pytest.mark.parametrize("name", [name for name in NAMES if "distribution" not in name])
def test_an_unknown_zone_is_refused_and_leaves_no_figure(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        picture("day", name)(zone="Middle/Earth")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", sorted(set(plots.__all__)))
def test_a_frame_without_its_columns_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no column"):
        getattr(plots, name)(traffic("day").found["cycles"][["target"]])
    assert plt.get_fignums() == []
