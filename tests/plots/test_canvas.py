"""Where a picture is drawn: a figure of its own, a part of another, or a place without any layout."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from support.drawn_cycles import drawn_cycles
from support.pictures import pictures
from support.seen import assert_legible, words

from codeworm_monitor import plots
from codeworm_monitor.plots.canvas import canvas, fitting, has, head, heard, logarithmic, width_in, zone_of
from codeworm_monitor.plots.palette import figure_of


def figure(width: float = 12.0, height: float = 6.0, layout: str | None = "constrained") -> Figure:
    made = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(made)
    return made


def test_a_figure_that_fails_half_way_is_closed() -> None:
    with pytest.raises(ZeroDivisionError), canvas(None):
        _ = 1 / 0
    assert plt.get_fignums() == []


def test_given_axes_stay_with_who_gave_them() -> None:
    ax = figure().subplots()
    with canvas(ax) as made:
        assert made is ax
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ["timeline", "durations-0", "schedule-0", "outages-0"])
def test_a_picture_goes_into_a_part_of_a_figure(name: str) -> None:
    whole = figure(18.0)
    left, right = whole.subfigures(1, 2)
    left.subplots()
    ax = pictures("day")[name](zone="UTC", ax=right.subplots())
    assert figure_of(ax) is whole
    whole.canvas.draw()
    legend = ax.get_legend()
    assert legend is None or all(text.get_window_extent().x1 <= whole.bbox.width for text in legend.get_texts())
    assert ax.get_window_extent().x0 > whole.bbox.width / 2


@pytest.mark.parametrize("name", ["timeline", "duration_distribution-0", "errors-0", "repos-0"])
def test_a_picture_goes_into_axes_without_a_layout(name: str) -> None:
    whole = figure(9.0, 6.0, None)
    whole.subplots_adjust(left=0.35, top=0.72, bottom=0.15)
    assert_legible(pictures("day")[name](zone="UTC", ax=whole.subplots()))


def test_rows_that_have_no_room_are_not_shown() -> None:
    small = figure(9.0, 3.5).subplots()
    assert fitting(None, 40) == 40
    assert 2 <= fitting(small, 40) < 15
    ax = plots.duration_distribution(drawn_cycles(300), by="target", ax=small)
    assert len(ax.get_yticklabels()) == fitting(small, 14, 16)
    assert "Not shown:" in words(ax)


def test_the_width_is_less_what_labels_take() -> None:
    ax = figure(9.0).subplots()
    before = width_in(ax)
    ax.set_yticks([0, 1], ["a very long label of a row, longer than any other", "b"])
    assert width_in(ax) < before - 1
    ax.figure.canvas.draw()
    assert width_in(ax) == pytest.approx(ax.get_window_extent().width / ax.figure.dpi, abs=0.6)


def test_notes_and_legend_stand_between_title_and_axes() -> None:
    ax = figure(5.0, 5.0).subplots()
    handles = [ax.plot([0], [0], label=f"the group of number {i}")[0] for i in range(7)]
    head(
        ax, "A title that is too long for one line of this narrow picture", notes=["A note. " * 20, ""], legend=handles
    )
    assert_legible(ax)
    assert "\n" in ax.get_title(loc="left")
    boxes = [
        ax.get_window_extent(),
        ax.get_legend().get_window_extent(),
        *(one.get_window_extent() for one in ax.texts),
    ]
    assert boxes == sorted(boxes, key=lambda box: box.y0)
    assert ax.title.get_window_extent().y0 >= boxes[-1].y1 - 1 or not ax.title.get_text()


@pytest.mark.parametrize(
    ("covered", "note"),
    [
        (1.0, ""),
        (float("nan"), ""),
        (None, ""),
        ("much", ""),
        (0.0, "Not complete: 0 % of this stretch of time was heard."),
        (0.99999, "Not complete: 99.9 % of this stretch of time was heard."),
    ],
)
def test_what_is_said_of_what_was_heard(covered: object, note: str) -> None:
    frame = pd.DataFrame()
    frame.attrs["covered"] = covered
    assert heard(frame) == note


def test_the_zone_that_is_asked_for_comes_before_the_answers() -> None:
    frame = pd.DataFrame()
    assert zone_of(frame, None) is None
    frame.attrs["zone"] = "Asia/Kathmandu"
    assert zone_of(frame, None) == "Asia/Kathmandu"
    assert zone_of(frame, "UTC") == "UTC"


def test_missing_columns_are_named() -> None:
    with pytest.raises(ValueError, match="no column b, c: hand over the whole answer"):
        has(pd.DataFrame({"a": [1]}), "a", "b", "c")


@pytest.mark.parametrize(("low", "high"), [(0.001, 0.0011), (1.0, 1.0), (0.01, 5.0), (1e-6, 1e9), (3.0, 40.0)])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_logarithmic_axis_has_few_ticks_and_room_for_all(low: float, high: float, which: str) -> None:
    ax = figure(6.0, 4.0).subplots()
    logarithmic(ax, which, low, high)
    limits = ax.get_xlim() if which == "x" else ax.get_ylim()
    assert limits[0] < low
    assert limits[1] > high
    assert_legible(ax)
    ticks = ax.get_xticks() if which == "x" else ax.get_yticks()
    assert sum(limits[0] <= tick <= limits[1] for tick in ticks) >= 1
