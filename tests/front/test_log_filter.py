"""The browser's reader of the filter language agrees with the kernel's, and no regex holds up the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page
from support.filter_cases import CASES, VIEW_CASES
from support.front_page import Front
from support.log_page import MOUNT_LOG, log_page

pytestmark = pytest.mark.browser

_ASK = """cases => cases.map(([view, row]) => {
  try { return passes(view, row); } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error.message;
  }
})"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Front({"mount_log.js": MOUNT_LOG}) as front, log_page(front) as opened:
        yield opened.page


def test_every_case_of_the_language_is_read_as_the_kernel_reads_it(page: Page) -> None:
    told = page.evaluate(_ASK, [[{"query": query}, row] for query, row, _ in CASES])
    wrong = [
        (query, expected, answer)
        for (query, _, expected), answer in zip(CASES, told, strict=True)
        if not (
            answer is expected
            if isinstance(expected, bool)
            else isinstance(answer, str) and expected.lower() in answer.lower()
        )
    ]
    assert wrong == []


def test_chips_and_component_pass_what_they_pass_in_the_kernel(page: Page) -> None:
    told = page.evaluate(_ASK, [[view, row] for view, row, _ in VIEW_CASES])
    assert [answer for *_, answer in VIEW_CASES] == told


@pytest.mark.parametrize(
    "regex",
    [
        *("(a+)+$", "(a|aa)+$", "(a|a?)+$", "(\\w+\\s?)*$", "(a?){30}a{30}", "(.*)*x", "(?:a+){2,}b", "((a+))+b"),
        *("a?" * 30 + "a" * 30, "(a|a)" * 30 + "b", "((((a?){4}){4}){4}){4}b", "a*" * 30 + "b"),
        *("(a+){" + "0" * 40 + "1,}b", "a*a*a*a*b", "b|a.*a+a{2,}.*c", "(a*b){4}", "(a*|b)(c|a*a*)a*", "a{0,999}" * 4),
    ],
)
def test_a_regex_that_can_take_for_ever_is_not_begun(page: Page, regex: str) -> None:
    row = [1, 1.0, "codeworm:logs", {"event": "a" * 4000 + "!"}]
    (answer,) = page.evaluate(_ASK, [[{"query": f"/{regex}/"}, row]])
    assert "for ever" in answer


@pytest.mark.parametrize("regex", ["a*a*a*b", "a?" * 12 + ".*.*b", "(a|a)(a|a)(a|a)a*a*a*b"])
def test_a_regex_that_takes_long_on_a_row_is_stopped_on_its_beginning(page: Page, regex: str) -> None:
    told = page.evaluate(
        """query => {
          try { passes({ query }, [1, 1, "codeworm:logs", { event: "a".repeat(4000) }]); return "passed"; }
          catch (error) { return error.constructor.name; }
        }""",
        f"/{regex}/",
    )
    assert told == "SlowRegex"


@pytest.mark.parametrize("place", [0, 1000, 2335, 3700])
def test_a_regex_that_takes_long_anywhere_in_a_row_is_stopped_before_the_whole_is_tried(page: Page, place: int) -> None:
    told, longest = page.evaluate(
        """place => {
          const text = "b".repeat(place) + "x".repeat(4000 - place);
          let longest = 0;
          const test = RegExp.prototype.test;
          RegExp.prototype.test = function (tried) {
            if (this.source === "x.*x.*x.*y") longest = Math.max(longest, tried.length);
            return test.call(this, tried);
          };
          try { passes({ query: "/x.*x.*x.*y/" }, [1, 1, "codeworm:logs", { event: text }]); return ["passed", longest]; }
          catch (error) { return [error.constructor.name, longest]; }
          finally { RegExp.prototype.test = test; }
        }""",
        place,
    )
    # How far it gets hangs on the machine; twice as many x take sixteen times as long.
    assert told == "SlowRegex"
    assert longest < 400


@pytest.mark.parametrize(
    "regex",
    [
        *("(?:\\d{1,3}\\.){3}\\d{1,3}", "(no|or)?rr", "\\(x\\)+", "[(]a+[)]+", "(?<=a)b+", "^.*$", "a{2}"),
        *("a*b|a.*b.*c.*d|a+", "(a+|b+)(c*|d*)b?", "(rr.*)?a.*b"),
        "a|b|c|d|e|f|g|h|i|j|k|l|m|n|o|p|q|r|s|t|u|v|w",
    ],
)
def test_a_harmless_regex_is_taken(page: Page, regex: str) -> None:
    row = [1, 1.0, "codeworm:logs", {"event": "127.0.0.1 (x) (aa) ab rr"}]
    (answer,) = page.evaluate(_ASK, [[{"query": f"/{regex}/"}, row]])
    assert answer is True
