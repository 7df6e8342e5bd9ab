"""The log's list: it follows the end, holds what is read in its place, and keeps few elements whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.front_page import Front
from support.log_page import MOUNT_LOG, START, LogPage, log_page, log_row, log_rows

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened() -> Iterator[LogPage]:
    with Front({"mount_log.js": MOUNT_LOG}) as front, log_page(front, width=900, height=700) as one:
        yield one


@pytest.fixture
def page(opened: LogPage) -> Iterator[LogPage]:
    yield opened
    opened.clear()


def test_rows_show_time_level_component_event_and_what_matters(page: LogPage) -> None:
    row = log_row(1, "documentation_failed", level="error", target="Parser.parse", error="Connection refused")
    event = [2, START + 2.25, "codeworm:events", {"type": "generating", "data": {"target": "loop", "repo": "click"}}]
    log = page.mount([row, event])
    lines = [text for text, _ in log.in_sight]
    assert lines == [
        "22:56:47.000ERRORdaemondocumentation_failedConnection refused · Parser.parse",
        "22:56:48.250eventgeneratingloop · in click",
    ]


def test_the_end_is_followed_until_the_reader_scrolls_up(page: LogPage) -> None:
    log = page.mount(log_rows(1, 100))
    log.wait_last("event_100")
    log.add(log_rows(101, 150))
    log.wait_last("event_150")
    log.wheel(-480)
    log.wait_sight("rows.length > 0 && rows.every(([text]) => !text.includes('event_150'))")
    log.settle()
    before = log.in_sight
    log.add(log_rows(151, 163))
    log.fresh.get_by_text("13 new").wait_for()
    assert log.in_sight == before
    log.wheel(10_000)
    log.wait_last("event_163")
    log.fresh.wait_for(state="hidden")
    log.add(log_rows(164, 170))
    log.wait_last("event_170")


def test_the_button_goes_to_the_newest_row(page: LogPage) -> None:
    log = page.mount(log_rows(1, 100))
    log.wheel(-600)
    log.fresh.wait_for()
    log.add(log_rows(101, 102))
    log.fresh.get_by_text("2 new").click()
    log.wait_last("event_102")
    assert not log.fresh.is_visible()


def test_what_is_read_keeps_its_place_when_the_oldest_rows_go(page: LogPage) -> None:
    log = page.mount(log_rows(1, 1000), capacity=1000)
    log.wheel(-6000)
    log.wait_sight("rows[0]?.[0].includes('event_7')")
    log.settle()
    before = log.in_sight
    log.add(log_rows(1001, 1200))
    log.fresh.get_by_text("200 new").wait_for()
    assert log.in_sight == before
    log.wait_status("1,000 rows")


def test_a_row_that_is_read_is_kept_by_standing_still_before_it_would_go(page: LogPage) -> None:
    log = page.mount(log_rows(1, 1000), capacity=1000)
    log.wheel(-19_200)
    log.wait_sight("/event_1?\\d\\d$/.test(rows[0]?.[0])")
    log.settle()
    before = log.in_sight
    first = int(before[0][0].rpartition("_")[2])
    log.add(log_rows(1001, 1000 + first - 50))
    log.el.locator(".cwm-log-notice", has_text="the rows you read were about to make room").wait_for()
    for start in range(2000, 4000, 500):
        log.add(log_rows(start, start + 499))
    log.settle()
    assert log.in_sight == before
    log.page.keyboard.press("Tab")
    log.fresh.click()
    log.wait_last("event_3999")


def test_fifty_thousand_rows_are_held_by_few_elements_and_all_can_be_reached(page: LogPage) -> None:
    log = page.mount()
    log.page.evaluate(
        "start => storeOf('one').fill(Array.from({ length: 60000 }, (_, i) => [i, start + i, 'codeworm:logs', "
        "{ event: `event_${i}`, level: i % 1000 ? 'info' : 'error' }]), true)",
        START,
    )
    log.wait_status("50,000 rows")
    log.wait_last("event_59999")
    assert log.el.locator(".cwm-log-row").count() < 40
    log.list.focus()
    log.page.keyboard.press("Home")
    log.wait_first("event_10000")
    log.query.fill("event_34567")
    log.wait_status("1 of 50,000 rows")
    log.query.fill("level:error")
    log.wait_status("50 of 50,000 rows")
    assert log.el.locator(".cwm-log-chip-error").inner_text().split() == ["error", "50"]


def test_filtering_keeps_the_row_that_is_read_in_its_place(page: LogPage) -> None:
    log = page.mount([log_row(i, level="error" if i % 2 else "info") for i in range(1, 2001)])
    log.wheel(-20_000)
    log.wait_sight("rows.length > 0 && rows.every(([text]) => !text.includes('event_2000'))")
    log.settle()
    text, top = next((text, top) for text, top in log.in_sight if "ERROR" in text and top >= 0)
    log.row(text[-10:]).first.click()
    log.query.fill("level:error")
    log.wait_status("1,000 of 2,000 rows")
    log.settle()
    shown = dict(log.in_sight)
    assert text in shown
    assert abs(shown[text] - top) <= 24


def test_older_rows_are_loaded_above_what_is_read(page: LogPage) -> None:
    log = page.mount(log_rows(1001, 1100))
    log.wheel(-10_000)
    log.el.get_by_text("loading older rows…").wait_for()
    assert log.asked == [[1001, 1000]]
    before = log.in_sight
    log.answer(log_rows(901, 1000))
    log.wait_status("200 rows")
    log.settle()
    shown = dict(log.in_sight)
    assert all(shown[text] == top for text, top in before if text in shown)
    assert before[0][0] in shown
    log.wheel(-10_000)
    log.page.wait_for_function("() => panels[0].asked.length === 2")
    assert log.asked[1] == [901, 1000]
    log.answer(log_rows(801, 900), is_all=True)
    log.wait_status("300 rows")
    log.wheel(-10_000)
    log.el.get_by_text("nothing older is kept").wait_for()
    log.wheel(-100)
    log.settle()
    assert len(log.asked) == 2


def test_older_rows_are_asked_for_where_no_row_has_an_offset(page: LogPage) -> None:
    log = page.mount([[None, *row[1:]] for row in log_rows(1001, 1100)])
    log.wheel(-10_000)
    log.el.get_by_text("loading older rows…").wait_for()
    assert log.asked == [[None, 1000]]
    log.answer([[None, *row[1:]] for row in log_rows(901, 1000)], is_all=True)
    log.wait_status("200 rows")
    log.wheel(-10_000)
    log.wait_first("event_901")
    log.el.get_by_text("nothing older is kept").wait_for()


def test_trouble_with_older_rows_is_said_and_can_be_tried_again(page: LogPage) -> None:
    log = page.mount(log_rows(1001, 1003))
    log.el.get_by_role("button", name="Load older rows").click()
    log.answer([], problem="the archive is locked")
    log.el.get_by_text("older rows did not come: the archive is locked").wait_for()
    log.el.get_by_role("button", name="Try again").click()
    log.page.evaluate("panels[0].answers.shift().refuse(new Error('the relay is gone'))")
    log.el.get_by_text("the relay is gone").wait_for()
    log.el.get_by_role("button", name="Try again").click()
    log.answer(log_rows(1, 1000), is_all=True)
    log.wait_status("1,003 rows")


def test_older_rows_that_have_no_room_are_shown_in_a_view_that_stands_still(page: LogPage) -> None:
    log = page.mount(log_rows(501, 600), capacity=100)
    log.wheel(-10_000)
    log.el.locator(".cwm-log-notice", has_text="older rows have no room beside new ones").wait_for()
    log.answer(log_rows(401, 500))
    log.wait_status("200 rows")
    log.add(log_rows(601, 650))
    log.fresh.get_by_text("50 new").wait_for()
    log.wheel(-10_000)
    log.el.get_by_text("no room for more rows here: all are in mon.logs.df").wait_for()
    log.fresh.click()
    log.wait_last("event_650")
    log.wait_status("100 rows")


def test_two_views_share_the_rows_and_nothing_else(page: LogPage) -> None:
    one = page.mount(log_rows(1, 50), height=160)
    other = page.mount(height=160)
    other.wait_last("event_50")
    one.query.fill("event_7")
    one.wait_status("1 of 50 rows")
    other.wheel(-200)
    other.fresh.wait_for()
    one.add(log_rows(70, 79))
    one.wait_status("11 of 60 rows")
    other.wait_status("60 rows")
    one.wait_last("event_79")
    page.page.evaluate("panels[0].dispose()")
    other.add(log_rows(80, 80))
    page.page.wait_for_function("() => panels[1].el.querySelector('.cwm-log-status').textContent === '61 rows'")


def test_a_list_that_was_hidden_is_where_it_was(page: LogPage) -> None:
    log = page.mount(log_rows(1, 500))
    log.wheel(-3000)
    log.fresh.wait_for()
    log.settle()
    before = log.in_sight
    page.page.evaluate("panels[0].el.style.display = 'none'")
    log.add(log_rows(501, 520))
    log.settle()
    page.page.evaluate("panels[0].el.style.display = ''")
    log.wait_sight(f"rows.length >= {len(before)}")
    assert log.in_sight == before


def test_a_row_that_is_pressed_is_selected_and_stays_while_rows_come(page: LogPage) -> None:
    log = page.mount(log_rows(1, 60))
    box = log.row("event_57").bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + 200, box["y"] + 12)
    page.page.mouse.down()
    log.add(log_rows(61, 63))
    log.fresh.get_by_text("3 new").wait_for()
    page.page.mouse.move(box["x"] + 200, box["y"] - 60)
    page.page.mouse.up()
    log.wait_view("JSON.stringify(view.selected) === '[57]' && view.last === 63")
    after = log.row("event_57").bounding_box()
    assert after == box
    page.page.mouse.move(box["x"] + 200, box["y"] + 12)
    page.page.keyboard.down("Shift")
    page.page.mouse.down()
    log.wait_view("JSON.stringify(view.selected) === '[57]'")
    page.page.mouse.move(box["x"] + 200, box["y"] - 36)
    page.page.mouse.up()
    page.page.mouse.down()
    log.wait_view("JSON.stringify(view.selected) === '[55,56,57]'")
    page.page.mouse.up()
    page.page.keyboard.up("Shift")


def test_a_tap_selects_the_row_on_which_it_began(page: LogPage) -> None:
    log = page.mount(log_rows(1, 60))
    told = page.page.evaluate(
        """() => {
          const row = [...document.querySelectorAll(".cwm-log-row")].find(one => one.textContent.includes("event_58"));
          const list = document.querySelector(".cwm-log-list");
          const how = { bubbles: true, isPrimary: true, button: 0, pointerType: "touch", detail: 1 };
          row.dispatchEvent(new PointerEvent("pointerdown", how));
          const early = document.querySelectorAll(".cwm-log-selected").length;
          list.dispatchEvent(new PointerEvent("click", how));
          return early;
        }"""
    )
    assert told == 0  # a finger may be about to scroll
    log.wait_view("JSON.stringify(view.selected) === '[58]'")
    page.page.evaluate("[...document.querySelectorAll('.cwm-log-row')].at(-1).click()")  # as a screen reader does
    log.wait_view("JSON.stringify(view.selected) === '[60]'")


def test_a_hidden_tab_keeps_the_row_that_is_read(page: LogPage) -> None:
    log = page.mount(log_rows(1, 1000), capacity=1000)
    log.wheel(-19_200)
    log.wait_sight("/event_1?\\d\\d$/.test(rows[0]?.[0])")
    log.settle()
    before = log.in_sight
    page.page.evaluate("() => { window.frames_ = requestAnimationFrame; window.requestAnimationFrame = () => 0; }")
    for start in range(1001, 4000, 50):
        log.add(log_rows(start, start + 49))
    page.page.evaluate("() => { window.requestAnimationFrame = window.frames_; }")
    log.add(log_rows(5000, 5000))
    log.el.locator(".cwm-log-notice", has_text="the rows you read were about to make room").wait_for()
    assert log.in_sight == before


def test_heavy_rows_leave_no_room_for_older_ones_and_it_is_said(page: LogPage) -> None:
    page.page.evaluate(
        "at => { window.heavy = Array.from({ length: 40 }, (_, i) => "
        "[1000 + i, at + i, 'codeworm:logs', { event: `event_${1000 + i}`, text: 'x'.repeat(1000) }]); }",
        START,
    )
    log = page.mount(None, heaviest=20_000, height=160)
    page.page.evaluate("storeOf('one').fill(heavy, false)")
    log.wait_last("event_1039")
    log.wheel(-10_000)
    log.el.locator(".cwm-log-notice", has_text="older rows have no room beside new ones").wait_for()
    page.page.wait_for_function("() => panels[0].answers.length === 1")
    log.answer([log_row(i, text="x" * 1000) for i in range(900, 1000)])
    log.wheel(-10_000)
    log.el.get_by_text("no room for more rows here: all are in mon.logs.df").wait_for()
    assert not log.el.get_by_role("button", name="Load older rows").is_visible()


def test_a_slow_drag_of_the_scroll_bar_reaches_the_beginning(page: LogPage) -> None:
    log = page.mount(log_rows(1, 2000))
    # Only the clock is moved on: each scroll of the drag is real.
    page.page.evaluate(
        "() => { const now = performance.now.bind(performance); window.later = 0; performance.now = () => now() + later; }"
    )
    try:
        page.page.evaluate(
            "document.querySelector('.cwm-log-list').dispatchEvent("
            "new PointerEvent('pointerdown', { bubbles: true, isPrimary: true, button: 0, buttons: 1, pointerType: 'mouse' }))"
        )
        for top in (30_000, 20_000, 0):
            page.page.evaluate(
                "top => { later += 3000; document.querySelector('.cwm-log-list').scrollTop = top; }", top
            )
            log.settle()
        log.wait_first("event_1")
        log.page.wait_for_function("() => panels[0].asked.length === 1")
    finally:
        page.page.evaluate("delete performance.now")


def test_the_handle_to_make_the_list_taller_is_below_its_scroll_bar(page: LogPage) -> None:
    log = page.mount(log_rows(1, 500))
    place = log.el.locator(".cwm-log-place").bounding_box()
    box = log.list.bounding_box()
    assert place is not None
    assert box is not None
    assert place["y"] + place["height"] - box["y"] - box["height"] >= 16
    page.page.mouse.move(place["x"] + place["width"] - 5, place["y"] + place["height"] - 5)
    page.page.mouse.down()
    page.page.mouse.move(place["x"] + place["width"] - 5, place["y"] + place["height"] + 55, steps=3)
    page.page.mouse.up()
    page.page.wait_for_function(
        "was => document.querySelector('.cwm-log-list').offsetHeight >= was + 50", arg=box["height"]
    )


def test_of_two_views_that_speaks_which_was_touched_last(page: LogPage) -> None:
    one = page.mount(log_rows(1, 50), height=160)
    other = page.mount(height=160)
    one.wait_view("view.last === 50")
    one.query.fill("event_5")
    one.wait_view("view.query === 'event_5'")
    one.add(log_rows(51, 51))
    one.wait_view("view.last === 51")
    assert other.view is None
    other.list.click(position={"x": 100, "y": 60})
    other.wait_view("view.query === '' && view.selected.length === 1")
    page.page.evaluate("panels[0].views.length = 0")
    one.add(log_rows(52, 52))
    other.wait_view("view.last === 52")
    assert one.view is None
    page.page.evaluate("panels[1].dispose()")
    one.wait_view("view.query === 'event_5' && view.last === 52")


def test_rows_of_a_narrow_list_have_two_lines_and_what_is_read_keeps_its_place(page: LogPage) -> None:
    log = page.mount(log_rows(1, 500), height=330)
    log.wheel(-5000)
    log.fresh.wait_for()
    log.settle()
    wide = log.in_sight
    assert wide[1][1] - wide[0][1] == 24
    try:
        page.page.set_viewport_size({"width": 390, "height": 700})
        log.wait_sight("rows[1] && rows[1][1] - rows[0][1] === 44")
        log.settle()
        narrow = log.in_sight
        assert [text for text, _ in narrow] == [text for text, _ in wide[: len(narrow)]]
        assert 6 <= len(narrow) <= 9
        assert narrow[0][1] == pytest.approx(wide[0][1] * 44 / 24, abs=1)
        log.add(log_rows(501, 520))
        log.fresh.get_by_text("20 new").wait_for()
        assert log.in_sight == narrow
        log.row(narrow[2][0][-9:]).click()
        log.list.press("ArrowDown")
        log.wait_view(f"view.selected[0] === {int(narrow[3][0].rpartition('_')[2])}")
        log.list.press("Home")
        log.wait_first("event_1")
        assert log.in_sight[0][1] == 24
        log.list.press("End")
        log.wait_last("event_520")
        log.add(log_rows(521, 530))
        log.wait_last("event_530")
        assert log.in_sight[-1][1] == log.list.evaluate("el => el.clientHeight") - 44
    finally:
        page.page.set_viewport_size({"width": 900, "height": 700})
    log.wait_sight("rows[1] && rows[1][1] - rows[0][1] === 24 && rows.at(-1)[0].includes('event_530')")


def test_a_disposed_panel_leaves_nothing_and_hears_nothing(page: LogPage) -> None:
    log = page.mount(log_rows(1, 5))
    page.page.evaluate("panels[0].dispose()")
    assert page.page.evaluate("panels[0].el.childNodes.length") == 0
    log.add(log_rows(6, 10))
    log.settle()
    assert page.page.evaluate("storeOf('one').size") == 10
