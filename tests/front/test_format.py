from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.front_page import Front, FrontPage

pytestmark = pytest.mark.browser

DASH = "\u2013"


@pytest.fixture(scope="module")
def page() -> Iterator[FrontPage]:
    with Front() as front, front.page() as opened:
        yield opened


def call(page: FrontPage, name: str, *arguments: object) -> object:
    return page.page.evaluate(
        "async ([name, values]) => (await import('/front/format.js'))[name](...values)", [name, list(arguments)]
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (12, "12 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (7200, "2 h"),
        (7259, "2 h"),
        (7260, "2 h 1 min"),
        (90000, "1 d 1 h"),
        (1e12, "11,574,074 d 1 h"),
        (-4, "0 s"),
        (None, DASH),
        ("12", DASH),
    ],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(page: FrontPage, seconds: object, text: str) -> None:
    assert call(page, "length", seconds) == text


@pytest.mark.parametrize(
    ("t", "text"),
    [(999.5, "just now"), (960, "40 s ago"), (815, "3 min ago"), (1005, "in 5 s"), (1200, "in 3 min"), ("x", DASH)],
)
def test_an_age_is_told_without_unrest(page: FrontPage, t: object, text: str) -> None:
    assert call(page, "ago", t, 1000) == text


def test_times_are_those_of_the_readers_clock(page: FrontPage) -> None:
    assert call(page, "clock", 1795386150) == "23:22:30"
    assert call(page, "dateTime", 1795386150.9) == "2026-11-22 23:22:30"
    assert call(page, "when", 1795386150, 1795386160) == "23:22:30"
    assert call(page, "when", 1795386150, 1795486160) == "2026-11-22 23:22:30"
    for none in (None, "1", -1, 0, 1e300, [], {}, True):
        assert call(page, "clock", none) == call(page, "dateTime", none) == DASH


def test_numbers_have_their_thousands_apart(page: FrontPage) -> None:
    assert call(page, "count", 1234567) == "1,234,567"
    assert call(page, "count", 12.345, 1) == "12.3"
    assert call(page, "count", 1e300) == "1.00e+300"
    assert call(page, "count", "7") == DASH
    assert call(page, "counted", 1, "gap") == "1 gap"
    assert call(page, "counted", 2000, "gap") == "2,000 gaps"
    assert [call(page, "bytes", n) for n in (0, 999, 1000, 5137025024, -1, None)] == [
        "0 B",
        "999 B",
        "1 kB",
        "5.1 GB",
        DASH,
        DASH,
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        ("  two\n\tlines\r\nand  more ", "two lines and more"),
        ("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\", "red link"),
        ("\x00\x07\x1b", "\u2400\u2407\u241b"),
        ("a\u202eb\u2066c\u200bd", "a\\u202eb\\u2066c\\u200bd"),
        ("\u2028\u2029\ufeff\x85", "\\u2028\\u2029\\ufeff\\u0085"),
        ("\U000e0041\U000f0000", "\\u{e0041}\\u{f0000}"),
        ("e" + "\u0301" * 9, "e" + "\u0301" * 4),
        ("grüße 漢字 \U0001f600", "grüße 漢字 \U0001f600"),
        (12.5, "12.5"),
        (True, "true"),
        (None, ""),
        ({"a": 1}, ""),
        (["x"], ""),
    ],
)
def test_text_is_made_inert(page: FrontPage, text: object, shown: str) -> None:
    assert call(page, "inert", text) == shown


def test_halves_of_a_pair_are_shown_and_none_is_made_by_cutting(page: FrontPage) -> None:
    inert = "async (text) => (await import('/front/format.js')).inert(...JSON.parse(text))"
    assert page.page.evaluate(inert, r'["a\ud800b\udc00"]') == r"a\ud800b\udc00"
    assert page.page.evaluate(inert, r'["\ud83d\ude00\ud83d\ude00\ud83d\ude00", 4]') == "\U0001f600…"


def test_very_long_text_is_cut(page: FrontPage) -> None:
    page.page.evaluate(
        "() => { window.long = ['\\u001b]', 'x', '\\u0301', ' ', '\\u001b['].map((one) => one.repeat(5000000)); }"
    )
    cut = (
        "async () => { const { inert, inertLines } = await import('/front/format.js');"
        " return window.long.map((one) => Math.max(inert(one, 100).length, inertLines(one, 100).length)); }"
    )
    assert max(page.page.evaluate(cut)) <= 100


def test_text_of_lines_keeps_them(page: FrontPage) -> None:
    assert call(page, "inertLines", "a\r\nb\tc\rd\u2028\x00") == "a\nb\tc\nd\\u2028\u2400"
