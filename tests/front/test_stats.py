from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.front_page import Front, FrontPage
from support.panel_states import NOW, busy, normal

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as opened:
        yield opened


@pytest.fixture
def page(front: Front) -> Iterator[FrontPage]:
    with front.page() as opened:
        yield opened


def test_the_counters_are_told_and_what_is_not_known_is_a_dash(page: FrontPage) -> None:
    number = page.mount("stats", normal("stats"), at=NOW)
    assert page.page.locator(".cwm-tile").all_inner_texts() == [
        "Total\n1,299",
        "Today\n27",
        "7 days\n189",
        "30 days\n712",
    ]
    page.update(number, busy("stats"))
    assert page.page.locator(".cwm-tile dd").all_inner_texts() == ["99", "27", "\u2013", "\u2013"]
    assert page.page.locator(".cwm-tile dd").nth(2).get_attribute("title") == "Not known yet"


def test_a_counter_is_named_before_its_value_but_the_value_stands_above_its_name(page: FrontPage) -> None:
    page.mount("stats", normal("stats"), at=NOW)
    found = page.page.locator(".cwm-tile").evaluate_all(
        "all => all.map((one) => [...one.children].map((part) => [part.tagName, part.getBoundingClientRect().top]))"
    )
    for (first, low), (second, high) in found:
        assert (first, second) == ("DT", "DD")
        assert high < low


def test_a_share_of_all_stays_in_its_column(page: FrontPage) -> None:
    page.mount("stats", {**normal("stats"), "by_repo": [["click", 456]]}, at=NOW)
    share = page.page.get_by_role("list", name="By repository").locator(".cwm-bar-share")
    assert share.inner_text() == "100 %"
    assert share.evaluate("one => one.scrollWidth - one.clientWidth") == 0


def test_no_line_breaks_within_an_option(page: FrontPage) -> None:
    page.mount("stats", busy("stats"), at=NOW)
    lines = set()
    for width in range(240, 420, 3):
        page.page.set_viewport_size({"width": width, "height": 600})
        lines.add(page.page.locator(".cwm-note").bounding_box()["height"])  # type: ignore[index]
        assert page.page.locator(".cwm-note .cwm-option").evaluate("one => one.getClientRects().length") == 1
    assert len(lines) > 1
    assert page.page.locator(".cwm-note").inner_text().endswith("for totals start the relay with --codeworm-db.")


def test_success_and_failures_in_a_row_are_told(page: FrontPage) -> None:
    number = page.mount("stats", normal("stats"), at=NOW)
    line = page.page.locator(".cwm-line")
    assert line.locator("span").all_inner_texts() == [
        "92.1 % of cycles succeed",
        "no failure since the last success",
        "101 cycles: 93 good, 8 failed, 0 skipped",
    ]
    assert line.locator(".cwm-tone-bad").count() == 0
    page.update(number, {**normal("stats"), "consecutive_failures": 1})
    assert line.locator(".cwm-tone-bad").inner_text() == "1 failure in a row"


def test_bars_show_name_count_and_share_and_the_rest_when_asked(page: FrontPage) -> None:
    number = page.mount("stats", normal("stats"), at=NOW)
    bars = page.page.get_by_role("list", name="By repository").get_by_role("listitem")
    assert bars.count() == 8
    assert bars.first.inner_text().split("\n") == ["click", "456", "35 %"]
    widths = page.page.get_by_role("list", name="By repository").locator(".cwm-bar-fill")
    assert widths.first.evaluate("one => one.style.width") == "100%"
    assert widths.nth(1).evaluate("one => one.style.width") == "72.8%"
    more = page.page.get_by_role("button", name="and 2 more")
    more.focus()
    page.page.keyboard.press("Enter")
    assert bars.count() == 10
    assert bars.nth(8).locator(".cwm-bar-name").get_attribute("title") == normal("stats")["by_repo"][8][0]
    less = page.page.get_by_role("button", name="show fewer")
    assert less.get_attribute("aria-expanded") == "true"
    # An update leaves it open.
    page.update(number, {**normal("stats"), "by_repo": [["new", 500], *normal("stats")["by_repo"]]})
    assert bars.count() == 11
    assert bars.first.locator(".cwm-bar-name").inner_text() == "new"
    less.click()
    assert bars.count() == 8
    assert page.page.get_by_role("button", name="and 3 more").get_attribute("aria-expanded") == "false"


def test_a_list_without_a_name_says_so(page: FrontPage) -> None:
    page.mount("stats", {**normal("stats"), "by_language": []}, at=NOW)
    assert page.page.get_by_text("None yet").locator("visible=true").count() == 1


def test_the_hours_are_bars_with_a_title_and_those_not_heard_are_hollow(page: FrontPage) -> None:
    number = page.mount("stats", normal("stats"), at=NOW)
    spark = page.page.locator(".cwm-spark")
    titles = spark.locator("title").all_text_contents()
    assert len(titles) == 24
    assert titles[0] == "00:00 to 01:00: not heard"
    assert titles[3:5] == ["03:00 to 04:00: 0 documents", "04:00 to 05:00: 2 documents"]
    assert titles[23] == "23:00 to 00:00: 1 document"
    assert (spark.locator(".cwm-unheard").count(), spark.locator(".cwm-hour").count()) == (3, 18)
    heights = spark.locator(".cwm-hour").evaluate_all("all => all.map((one) => Number(one.getAttribute('height')))")
    assert max(heights) == heights[9] == 46
    assert spark.get_attribute("aria-label") == (
        "Documents per hour over 24 hours: 88 in all; at most 12, 15:00 to 16:00; 3 hours not heard"
    )
    page.update(number, {**normal("stats"), "per_hour": {"start": NOW, "counts": [None] * 24}})
    assert spark.get_attribute("aria-label") == "Documents per hour over 24 hours: nothing heard yet"
    page.update(number, {**normal("stats"), "per_hour": {"start": None, "counts": [1, 2]}})
    assert spark.locator("title").all_text_contents()[21:] == [
        "3 h ago: not heard",
        "2 h ago: 1 document",
        "1 h ago: 2 documents",
    ]


def test_it_is_told_where_the_figures_come_from(page: FrontPage) -> None:
    number = page.mount("stats", normal("stats"), at=NOW)
    assert page.page.locator(".cwm-aside").inner_text() == "from CodeWorm's database"
    assert not page.page.locator(".cwm-note").is_visible()
    page.update(number, busy("stats"))
    assert page.page.locator(".cwm-aside").inner_text() == "counted from messages"
    assert page.page.locator(".cwm-note").inner_text() == (
        "Counted since 2026-11-22 12:15:50; for totals start the relay with --codeworm-db."
    )
