"""Text of others as one harmless line, and figures as a person reads them."""

from __future__ import annotations

import unicodedata

import matplotlib as mpl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure

from codeworm_monitor.plots.lettering import SMALL, counted, inert, spoken, width_of


@given(st.text(max_size=400) | st.text(alphabet="$\\\u0301\u202e\U0001f600漢a\n", max_size=60))
@example("\ud800")
@example("a" + "\u0301" * 10_000)
def test_any_text_becomes_one_line_that_is_no_formula_and_has_a_width(text: str) -> None:
    line = inert(text, 120.0)
    assert line
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in line)
    assert not is_math_text(line)
    assert width_of(line) <= 120.0


@given(st.text(max_size=80))
def test_what_was_made_inert_is_drawn_without_a_warning(text: str) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    drawn = figure.text(0, 0, inert(text, 300.0), fontsize=SMALL)
    assert drawn.get_window_extent().width * 72 / figure.dpi <= 301.0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("a\n  b\r\n\tc", "a b c"),
        ("a\x00b\x1bc\u202ed", "abcd"),
        ("cost: $5, $6", r"cost: \$5, \$6"),
        (r"\$5$", r"\\$5\$"),
        ("e\u0301\u0301\u0301", "é\u0301"),
        ("漢字", "\N{WHITE SQUARE}" * 2),
        ("  \n ", "\N{EN DASH}"),
        ("", "\N{EN DASH}"),
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (7, "7"),
    ],
)
def test_what_a_text_is_drawn_as(text: object, line: str) -> None:
    assert inert(text) == line


def test_dollars_are_drawn_as_they_read() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    widths = [figure.text(0, 0, text).get_window_extent().width for text in (inert("$x$", 200), "x")]
    assert widths[0] > 2 * widths[1]


def test_what_is_too_wide_ends_in_an_ellipsis_and_uses_its_room() -> None:
    line = inert("Wi" * 200, 150.0)
    assert line.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert line.startswith("WiWiWi")
    assert 130.0 < width_of(line) <= 150.0


def test_what_the_viewers_font_has_is_drawn() -> None:
    assert inert("√ → ☺") == "√ → ☺"
    with mpl.rc_context({"font.family": ["No Such Font", "DejaVu Sans"]}):
        assert inert("Ω") == "Ω"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0346, "0.035 s"),
        (1.25, "1.2 s"),
        (42.4, "42 s"),
        (89.0, "89 s"),
        (90.0, "1.5 min"),
        (600.0, "10 min"),
        (9000.0, "2.5 h"),
        (500_000.0, "5.79 d"),
        (1e10, "115,741 d"),
        (float("nan"), "unknown"),
    ],
)
def test_how_a_duration_is_written(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_how_a_count_is_written() -> None:
    assert [counted(count, "cycle") for count in (0, 1, 2000)] == ["0 cycles", "1 cycle", "2,000 cycles"]
