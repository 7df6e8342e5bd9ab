"""Everything that can be clicked, typed and pressed in the log panel, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.front_page import Front
from support.log_page import MOUNT_LOG, START, LogPage, LogPanel, cycle_rows, log_page, log_row, log_rows

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front({"mount_log.js": MOUNT_LOG}) as opened:
        yield opened


@pytest.fixture(scope="module")
def opened(front: Front) -> Iterator[LogPage]:
    with log_page(front, width=900, height=900) as one:
        yield one


@pytest.fixture
def page(opened: LogPage) -> Iterator[LogPage]:
    yield opened
    opened.clear()


def mixed() -> list[list[object]]:
    levels = ["debug", "info", "warning", "error", "critical"]
    return [log_row(i + 1, level=level, component=f"part_{i % 2}") for i, level in enumerate(levels)]


def mount_with_source(page: LogPage, rows: list[Any]) -> LogPanel:
    """Show a panel whose source names the selection, and says where other rows are; that place may change."""
    page.page.evaluate(
        """async (rows) => {
          const { renderLog } = await import("/front/log.js");
          const store = new LogStore();
          store.fill(rows, false);
          const panel = { el: document.createElement("div"), views: [] };
          panel.el.style.setProperty("--cwm-log-height", "240px");
          document.getElementById("panels").append(panel.el);
          panel.source = {
            askOlder: () => new Promise(() => {}), setView: (view) => panel.views.push(view), now: () => 0,
            capacityNote: "mon.logs.df", selectionName: "panel.selection",
            onNote: (listener) => {
              panel.source.changed = listener;
              return () => {};
            },
          };
          panel.dispose = renderLog(panel.el, store, panel.source);
          panels.push(panel);
        }""",
        rows,
    )
    log = LogPanel(page.page, 0, "")
    log.wait_sight("rows.length > 0")
    log.settle()
    return log


def test_without_rows_it_says_what_to_wait_for(page: LogPage) -> None:
    log = page.mount()
    log.el.get_by_text("No rows yet: they appear here").wait_for()
    log.add(log_rows(1, 1))
    log.wait_last("event_1")
    assert not log.el.get_by_text("No rows yet").is_visible()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_chip_hides_and_shows_its_level(page: LogPage, level: str) -> None:
    log = page.mount(mixed())
    chip = log.el.get_by_role("button", name=level)
    assert chip.get_attribute("aria-pressed") == "true"
    assert chip.inner_text().split() == [level, "1"]
    chip.click()
    log.wait_status("4 of 5 rows")
    assert chip.get_attribute("aria-pressed") == "false"
    log.wait_view(f"!view.levels.includes('{level}')")
    chip.click()
    log.wait_status("5 rows")


def test_the_component_can_be_chosen_from_those_seen(page: LogPage) -> None:
    log = page.mount(mixed())
    log.el.locator("datalist option").nth(1).wait_for(state="attached")
    box = log.el.get_by_label("Component")
    box.fill("PART_1")
    log.wait_status("2 of 5 rows")
    log.wait_view("view.component === 'PART_1'")
    box.fill("part_")  # not yet a name: what was shown stays
    log.settle()
    assert log.status.inner_text() == "2 of 5 rows"
    box.press("Enter")
    log.el.get_by_text("No row fulfils the filter: 5 held.").wait_for()
    log.el.locator(".cwm-log-empty").get_by_role("button", name="Clear filter").click()
    log.wait_status("5 rows")
    assert box.input_value() == ""


def test_a_mistake_is_told_and_the_last_good_filter_stays(page: LogPage) -> None:
    log = page.mount(mixed())
    log.query.fill("level:>=error")
    log.wait_status("2 of 5 rows")
    log.query.fill("level:>=loud")
    log.el.get_by_text("loud is no level: write one of debug, info").wait_for()
    assert log.query.get_attribute("aria-invalid") == "true"
    assert log.status.inner_text() == "2 of 5 rows"
    log.query.fill("level:>=error")
    log.el.locator(".cwm-log-mistake").wait_for(state="hidden")
    log.wait_view("view.query === 'level:>=error'")


def test_a_slow_regex_is_switched_off_and_the_page_answers(page: LogPage) -> None:
    log = page.mount([log_row(i, text="x" * 3900) for i in range(1, 200)])
    log.query.fill("/x*x*x*y/")
    log.el.get_by_text("this regex is too slow: the filter is off").wait_for()
    log.wait_status("199 rows")


def test_enter_takes_the_filter_at_once_and_escape_clears_it(page: LogPage) -> None:
    log = page.mount(mixed())
    log.query.fill("event_3")
    log.query.press("Enter")
    log.wait_status("1 of 5 rows")
    log.query.press("Escape")
    log.wait_status("5 rows")
    assert log.query.input_value() == ""
    assert page.page.evaluate("document.activeElement.classList[0]") == "cwm-log-list"


def test_help_opens_by_button_and_key_and_closes_by_escape(page: LogPage) -> None:
    log = page.mount(mixed())
    button = log.el.get_by_role("button", name="Help on the filter and the keys")
    button.click()
    log.el.locator(".cwm-log-help").get_by_text("level:>=warning").wait_for()
    assert button.get_attribute("aria-expanded") == "true"
    log.list.focus()
    page.page.keyboard.press("Escape")
    log.el.locator(".cwm-log-help").wait_for(state="hidden")
    page.page.keyboard.press("?")
    log.el.locator(".cwm-log-help").wait_for()


def test_space_pauses_while_rows_are_counted_and_goes_on_at_the_end(page: LogPage) -> None:
    log = page.mount(log_rows(1, 60))
    log.list.focus()
    page.page.keyboard.press("Space")
    log.el.locator(".cwm-log-notice", has_text="paused").wait_for()
    before = log.in_sight
    log.add(log_rows(61, 100))
    log.fresh.get_by_text("40 new").wait_for()
    assert log.in_sight == before
    log.wait_view("view.is_paused && view.last === 60")
    log.query.fill("event_9")  # filters work on what is held and on what is new
    log.wait_status("1 of 60 rows")
    log.fresh.get_by_text("10 new").wait_for()
    log.el.get_by_role("button", name="Clear filter").first.click()
    log.list.focus()
    page.page.keyboard.press("Space")
    log.wait_last("event_100")
    log.wait_view("!view.is_paused && view.last === 100")


def test_the_pause_button_says_what_it_does_next(page: LogPage) -> None:
    log = page.mount(log_rows(1, 3))
    log.el.get_by_role("button", name="Pause").click()
    button = log.el.get_by_role("button", name="Go on")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    log.el.get_by_role("button", name="Pause").wait_for()


def test_keys_move_select_and_jump(page: LogPage) -> None:
    log = page.mount(log_rows(1, 100), is_all=True)
    key = page.page.keyboard.press
    log.list.focus()
    key("Home")
    log.wait_sight("rows[0]?.[0].includes('event_1') && rows[0][1] === 24")
    key("ArrowDown")
    key("ArrowDown")
    log.wait_view("view.selected[0] === 2")
    key("Shift+ArrowDown")
    key("Shift+ArrowDown")
    log.wait_view("JSON.stringify(view.selected) === '[2,3,4]'")
    log.wait_status("100 rows · 3 selected")
    key("Shift+ArrowUp")
    log.wait_view("JSON.stringify(view.selected) === '[2,3]'")
    key("PageDown")
    log.wait_view("view.selected.length === 1 && view.selected[0] > 8")
    key("PageUp")
    log.wait_view("view.selected[0] === 3")
    key("Shift+End")
    log.wait_view("view.selected.length === 98 && view.selected[97] === 100")
    key("Home")
    key("End")
    log.wait_last("event_100")
    log.fresh.wait_for(state="hidden")
    row = log.row("event_100")
    assert row.get_attribute("aria-selected") == "true"
    assert log.list.get_attribute("aria-activedescendant") == row.get_attribute("id")
    assert (row.get_attribute("aria-posinset"), row.get_attribute("aria-setsize")) == ("100", "100")


def test_clicks_select_one_a_range_and_single_ones(page: LogPage) -> None:
    log = page.mount(log_rows(1, 8))
    log.row("event_2").click()
    log.row("event_5").click(modifiers=["Shift"])
    log.wait_view("JSON.stringify(view.selected) === '[2,3,4,5]'")
    log.row("event_3").click(modifiers=["ControlOrMeta"])
    log.row("event_8").click(modifiers=["ControlOrMeta"])
    log.wait_view("JSON.stringify(view.selected) === '[2,4,5,8]'")
    log.row("event_1").click()
    log.wait_view("JSON.stringify(view.selected) === '[1]'")


def test_the_selection_survives_rows_that_come_go_and_are_sent_again(page: LogPage) -> None:
    log = page.mount(log_rows(51, 150), capacity=200)
    log.row("event_148").click()
    log.row("event_149").click(modifiers=["Shift"])
    log.wait_view("JSON.stringify(view.selected) === '[148,149]'")
    log.add(log_rows(151, 260))
    log.wait_status("200 rows · 2 selected")
    log.fill(log_rows(101, 290))
    log.wait_status("190 rows · 2 selected")
    log.wait_view("JSON.stringify(view.selected) === '[148,149]' && view.first === 101 && view.last === 290")
    assert log.row("event_148").get_attribute("aria-selected") == "true"


def test_enter_opens_a_record_with_its_traceback_and_closes_it(page: LogPage) -> None:
    trace = 'Traceback (most recent call last):\n  File "daemon.py", line 595\nBadName: no HEAD'
    log = page.mount(
        [log_row(1, "documentation_failed", level="error", exception=trace, score=33.98, tags=["a", None])]
    )
    log.list.focus()
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    record = log.el.locator(".cwm-log-details")
    record.wait_for()
    assert record.locator(".cwm-log-traceback").inner_text() == trace
    shown = record.locator(".cwm-log-json")
    assert json.loads(shown.inner_text())["score"] == 33.98
    assert shown.locator(".cwm-log-json-number").inner_text() == "33.98"
    assert '"event"' in shown.locator(".cwm-log-json-name").all_inner_texts()
    page.page.keyboard.press("Enter")
    record.wait_for(state="hidden")
    log.row("documentation_failed").dblclick()
    record.wait_for()
    record.get_by_role("button", name="Close").click()
    record.wait_for(state="hidden")
    buttons = log.el.locator(".cwm-log-buttons")
    buttons.get_by_role("button", name="Open").click()
    record.wait_for()
    buttons.get_by_role("button", name="Close").click()
    record.wait_for(state="hidden")


def test_an_open_record_follows_the_arrows_and_stays_when_its_row_goes(page: LogPage) -> None:
    log = page.mount(log_rows(1, 50), capacity=100)
    log.list.focus()
    page.page.keyboard.press("ArrowUp")
    page.page.keyboard.press("Enter")
    title = log.el.locator(".cwm-log-details-title")
    title.get_by_text("event_50").wait_for()
    page.page.keyboard.press("ArrowUp")
    title.get_by_text("event_49").wait_for()
    log.el.get_by_role("button", name="Pause").click()
    log.el.get_by_role("button", name="Go on").click()
    log.add(log_rows(51, 200))
    log.wait_last("event_200")
    assert "event_49" in title.inner_text()
    log.list.focus()
    page.page.keyboard.press("Escape")
    title.wait_for(state="hidden")


def test_keys_act_only_inside_and_not_while_typing_and_none_reaches_the_host(page: LogPage) -> None:
    log = page.mount(log_rows(1, 5))
    page.page.evaluate("window.heard = []; document.addEventListener('keydown', event => heard.push(event.key))")
    log.query.focus()
    page.page.keyboard.type("a y/c ")
    assert log.query.input_value() == "a y/c "
    log.list.focus()
    for key in ["ArrowDown", "Space", "Enter", "y", "Escape", "Home", "End", "PageUp", "PageDown", "/"]:
        page.page.keyboard.press(key)
    assert page.page.evaluate("document.activeElement.classList.contains('cwm-log-query')")
    assert page.page.evaluate("heard") == []
    log.list.focus()
    page.page.keyboard.press("b")  # not ours
    page.page.evaluate("document.activeElement.blur()")
    page.page.keyboard.press("Space")
    assert page.page.evaluate("heard") == ["b", " "]
    assert log.list.get_attribute("data-lm-suppress-shortcuts") == "true"  # JupyterLab asks what had the focus


def test_rows_of_one_cycle_are_marked_together_and_can_be_shown_alone(page: LogPage) -> None:
    log = page.mount([*cycle_rows(1, 1), *cycle_rows(101, 2), *cycle_rows(201, 3)], height=600)
    log.row("analyzingtarget_2").click()
    log.settle()
    marked = log.el.locator(".cwm-log-same-cycle").all_inner_texts()
    assert len(marked) == 5
    assert all("relay" not in text and "other" not in text for text in marked)
    page.page.keyboard.press("y")
    log.wait_status("5 of 21 rows")
    log.wait_view("view.first === 101 && view.last === 106")
    assert log.row("analyzingtarget_2").get_attribute("aria-selected") == "true"
    log.el.get_by_role("button", name="All cycles").click()
    log.wait_status("21 rows")
    log.row("relay_1").click()
    log.el.locator("button:disabled", has_text="Only this cycle").wait_for()
    log.row("target_3").first.hover()
    log.page.wait_for_function(
        "() => [...document.querySelectorAll('.cwm-log-same-cycle')].some(row => row.textContent.includes('target_3'))"
    )


def test_one_cycle_alone_is_told_by_its_rows_where_none_is_selected(page: LogPage) -> None:
    log = page.mount([*cycle_rows(1, 1), *cycle_rows(101, 2), *cycle_rows(201, 3)], height=600)
    log.row("analyzingtarget_2").click()
    page.page.keyboard.press("y")
    log.wait_view("JSON.stringify(view.selected) === '[103]'")
    page.page.keyboard.press("Escape")
    log.wait_view("JSON.stringify(view.selected) === '[101,102,103,105,106]'")
    log.query.fill("documentation")
    log.wait_view("JSON.stringify(view.selected) === '[105]'")
    log.el.get_by_role("button", name="All cycles").click()
    log.wait_view("JSON.stringify(view.selected) === '[]'")


def test_it_says_how_many_of_the_selected_rows_the_notebook_can_tell(page: LogPage) -> None:
    rows = [[None, *row[1:]] for row in log_rows(1, 3)] + log_rows(4, 1200)
    log = mount_with_source(page, rows)
    log.row("event_1200").click()
    log.list.press("Shift+Home")
    log.wait_status("1,200 rows · 1,200 selected, 1,000 of them in panel.selection")
    log.wait_view("view.selected.length === 1000")
    log.list.press("Home")
    log.row("event_1").first.click()
    log.wait_status("1,200 rows · 1 selected, which panel.selection cannot tell")
    log.row("event_4").first.click(modifiers=["Shift"])
    log.wait_status("1,200 rows · 4 selected, 1 of them in panel.selection")
    log.row("event_5").first.click()
    log.wait_status("1,200 rows")


def test_where_the_other_rows_are_is_told_anew_when_it_is_another_place(page: LogPage) -> None:
    large = [3, START + 3, "codeworm:logs", {"event": "large", "truncated": 70_000}]
    log = mount_with_source(page, [log_row(1), [None, START + 2, "skipped", {"count": 12}], large])
    log.row("large").dblclick()
    record = log.el.locator(".cwm-log-details")
    record.get_by_text("the whole is in mon.logs.df").wait_for()
    page.page.evaluate("() => { const { source } = panels[0]; source.capacityNote = 'the archive'; source.changed(); }")
    log.row("12 rows not shown, all in the archive").wait_for()
    record.get_by_text("the whole is in the archive.").wait_for()


def test_a_gap_and_rows_left_out_look_like_neither_and_pass_every_filter(page: LogPage) -> None:
    gap = {"cause": "source_outage", "started_at": START, "ended_at": START + 75, "missed": 17, "detail": "Redis"}
    log = page.mount([log_row(1), [2, START + 75, "gap", gap], [None, START + 76, "skipped", {"count": 12345}]])
    log.query.fill("nothing has this")
    log.wait_status("2 of 3 rows")
    told = [text for text, _ in log.in_sight]
    assert "gap: source outage, 22:56:46\u201322:58:01 (1 min 15 s), 17 messages missed · Redis" in told[0]
    assert "12,345 rows not shown, all in mon.logs.df" in told[1]
    assert log.el.locator(".cwm-log-gap").count() == log.el.locator(".cwm-log-skipped").count() == 1


def test_the_strip_goes_to_the_time_that_is_clicked_or_chosen_by_key(page: LogPage) -> None:
    gap = [301, START + 500, "gap", {"cause": "x", "started_at": START + 400, "ended_at": START + 500, "missed": 1}]
    log = page.mount([*log_rows(1, 300), gap, *log_rows(600, 1000)])
    bars = log.el.get_by_role("slider")
    page.page.wait_for_function("() => document.querySelector('.cwm-log-bar-info').getAttribute('d')")
    assert log.el.locator(".cwm-log-hatch").get_attribute("d")
    box = bars.bounding_box()
    assert box is not None
    bars.click(position={"x": box["width"] * 0.1, "y": 10})
    log.wait_sight("/event_(9\\d|10\\d)/.test(rows[0]?.[0])")
    seen = log.el.locator(".cwm-log-sight")
    page.page.wait_for_function("() => Number(document.querySelector('.cwm-log-sight').getAttribute('x')) < 200")
    assert float(seen.get_attribute("width") or 0) > 2
    bars.focus()
    page.page.keyboard.press("Home")
    log.wait_first("event_1")
    assert "9 rows" in (bars.get_attribute("aria-valuetext") or "")
    page.page.keyboard.press("End")
    log.wait_last("event_1000")
    page.page.keyboard.press("ArrowLeft")
    log.wait_sight("/event_98\\d/.test(rows.at(-1)?.[0]) || /event_98\\d|event_99\\d/.test(rows[0]?.[0])")


def test_the_strip_tells_the_days_where_the_rows_are_of_several(page: LogPage) -> None:
    log = page.mount([log_row(1), log_row(3600)])
    ends = log.el.locator(".cwm-log-scale span")
    ends.get_by_text("22:56:47", exact=True).wait_for()
    log.add([log_row(86_400)])
    ends.get_by_text("2026-11-23 22:56:46").wait_for()


def test_what_was_shown_before_is_shown_again(page: LogPage) -> None:
    view = {"query": "event_1", "levels": ["error", "info"], "component": "daemon"}
    log = page.mount([log_row(1), log_row(2), log_row(10, level="debug"), log_row(11)], view=view)
    log.wait_status("2 of 4 rows")
    assert log.query.input_value() == "event_1"
    log.wait_view("view.query === 'event_1' && view.component === 'daemon' && view.levels.length === 2")


def test_escape_closes_then_clears_the_selection_then_the_filter(page: LogPage) -> None:
    log = page.mount(log_rows(1, 30))
    log.query.fill("event_2")
    log.wait_status("11 of 30 rows")
    log.row("event_21").click()
    page.page.keyboard.press("Enter")
    log.el.locator(".cwm-log-details").wait_for()
    log.wait_view("view.selected.length === 1")
    page.page.keyboard.press("Escape")
    log.el.locator(".cwm-log-details").wait_for(state="hidden")
    assert log.row("event_21").get_attribute("aria-selected") == "true"
    page.page.keyboard.press("Escape")
    log.wait_view("view.selected.length === 0 && view.query === 'event_2'")
    assert log.list.get_attribute("aria-activedescendant") is None
    page.page.keyboard.press("Escape")
    log.wait_status("30 rows")


def test_single_rows_are_added_and_taken_away_while_a_record_is_open(page: LogPage) -> None:
    log = page.mount(log_rows(51, 60))
    log.row("event_58").click()
    log.row("event_55").click(modifiers=["ControlOrMeta"])
    log.row("event_56").click(modifiers=["ControlOrMeta"])
    page.page.keyboard.press("Enter")
    title = log.el.locator(".cwm-log-details-title")
    title.get_by_text("event_56").wait_for()
    log.row("event_55").click(modifiers=["ControlOrMeta"])
    title.get_by_text("event_55").wait_for()
    log.wait_view("JSON.stringify(view.selected) === '[56,58]'")


def test_the_focus_stays_in_the_list_when_a_button_that_was_pressed_goes(page: LogPage) -> None:
    log = page.mount(log_rows(1, 60))
    focused = "document.activeElement.className"
    log.query.fill("none has this")
    empty = log.el.locator(".cwm-log-empty").get_by_role("button", name="Clear filter")
    empty.focus()
    page.page.keyboard.press("Enter")
    empty.wait_for(state="hidden")
    assert page.page.evaluate(focused) == "cwm-log-list"
    log.query.fill("event_5")
    log.wait_status("11 of 60 rows")
    log.el.locator(".cwm-log-buttons").get_by_role("button", name="Clear filter").press("Enter")
    log.wait_status("60 rows")
    assert page.page.evaluate(focused) == "cwm-log-list"
    page.page.keyboard.press("Home")
    log.wait_first("event_1")
    log.fresh.press("Enter")
    log.wait_last("event_60")
    assert page.page.evaluate(focused) == "cwm-log-list"
    log.query.fill("event_1")
    log.wait_status("11 of 60 rows")
    log.query.fill("event_60")
    log.wait_status("1 of 60 rows")
    log.el.get_by_role("button", name="Load older rows").press("Enter")
    log.el.get_by_text("loading older rows").wait_for()
    assert page.page.evaluate(focused) == "cwm-log-list"


def test_arrows_go_on_from_where_end_and_home_went(page: LogPage) -> None:
    log = page.mount(log_rows(1, 200), is_all=True)
    key = page.page.keyboard.press
    log.list.focus()
    key("Home")
    log.wait_first("event_1")
    log.row("event_3").first.click()
    key("End")
    log.wait_last("event_200")
    key("ArrowUp")
    log.wait_view("JSON.stringify(view.selected) === '[199]'")
    log.wait_last("event_200")
    key("Home")
    log.wait_first("event_1")
    key("ArrowDown")
    log.wait_view("JSON.stringify(view.selected) === '[2]'")
    key("End")
    log.wait_last("event_200")
    log.add(log_rows(201, 300))
    log.wait_last("event_300")
    key("ArrowUp")
    log.wait_view("JSON.stringify(view.selected) === '[300]'")
    log.wait_last("event_300")


def test_one_cycle_alone_stays_whole_when_older_rows_begin_it_earlier(page: LogPage) -> None:
    rows = cycle_rows(100, 7)
    more = [108, START + 104, "codeworm:logs", {"event": "push_successful", "level": "info"}]
    log = page.mount(rows[1:])
    log.row("analyzingtarget_7").click()
    page.page.keyboard.press("y")
    log.wait_status("4 of 6 rows")
    log.el.get_by_role("button", name="Load older rows").click()
    log.answer(rows[:1], is_all=True)
    log.wait_status("5 of 7 rows")
    log.add([more])
    log.wait_status("6 of 8 rows")
    page.page.keyboard.press("y")
    log.wait_status("8 rows")


def test_one_cycle_alone_is_the_same_one_standing_still_and_going_on(page: LogPage) -> None:
    rows = cycle_rows(100, 7)
    more = [108, START + 104, "codeworm:logs", {"event": "push_successful", "level": "info"}]
    log = page.mount(rows[1:], height=300)
    log.row("analyzingtarget_7").click()
    log.el.get_by_role("button", name="Pause").click()
    log.el.get_by_role("button", name="Only this cycle").click()
    log.wait_status("4 of 6 rows")
    log.el.get_by_role("button", name="Load older rows").click()
    log.answer(rows[:1], is_all=True)
    log.wait_status("5 of 7 rows")
    log.add([more])
    log.fresh.get_by_text("1 new").wait_for()
    log.el.get_by_role("button", name="Go on").click()
    log.wait_status("5 of 7 rows")
    log.wait_last("push_successful")


def test_a_record_keeps_its_white_space(page: LogPage) -> None:
    text = "a    b\u00a0c  return\n  x\t\u202ey"
    log = page.mount([log_row(1, "x", error=text)])
    log.el.locator(".cwm-log-row").first.dblclick()
    told = log.el.locator(".cwm-log-json").evaluate("el => el.textContent")
    assert json.loads(told)["error"] == text
    assert "\u202e" not in told


def test_a_regex_that_was_too_slow_is_not_begun_again_unasked(page: LogPage) -> None:
    rows = [log_row(i, text="x" * 3900) for i in range(1, 50)]
    log = page.mount(rows)
    log.query.fill("/x*x*x*z/")
    log.el.get_by_text("this regex is too slow: the filter is off").wait_for()
    log.wait_view("view.query === ''")
    again = page.mount(rows, name="other", view={"query": "/x*x*x*z/"})
    again.el.get_by_text("this regex is too slow: the filter is off").wait_for()
    again.wait_status("49 rows")
    assert again.query.input_value() == ""


def test_who_has_come_to_the_strip_is_not_told_of_each_row(page: LogPage) -> None:
    log = page.mount(log_rows(1, 60))
    bars = log.el.get_by_role("slider")
    page.page.wait_for_function("() => document.querySelector('.cwm-log-bars').getAttribute('aria-valuetext')")
    bars.focus()
    before = bars.get_attribute("aria-valuetext")
    end = log.el.locator(".cwm-log-to")
    was = end.inner_text()
    log.add(log_rows(400, 460))
    page.page.wait_for_function("was => document.querySelector('.cwm-log-to').textContent !== was", arg=was)
    assert bars.get_attribute("aria-valuetext") == before
    log.list.focus()
    log.add(log_rows(900, 960))
    page.page.wait_for_function(
        "was => document.querySelector('.cwm-log-bars').getAttribute('aria-valuetext') !== was", arg=before
    )


def test_the_component_has_no_mark_that_hides_its_words(page: LogPage) -> None:
    log = page.mount(mixed())
    box = log.el.get_by_label("Component")
    box.hover()
    marked = box.screenshot()
    box.evaluate("el => el.removeAttribute('list')")
    assert box.screenshot() == marked


def test_on_a_touch_screen_inputs_are_large_enough_not_to_be_enlarged(front: Front) -> None:
    with log_page(front, width=390, has_touch=True, is_mobile=True) as page:
        log = page.mount(mixed())
        assert log.query.evaluate("el => getComputedStyle(el).fontSize") == "16px"


def test_a_screen_reader_is_told_of_new_rows_seldom(front: Front) -> None:
    with log_page(front) as page:
        page.page.clock.install(time=START)
        page.page.clock.pause_at(START + 1)
        log = page.mount()
        log.add([log_row(4, level="error"), *log_rows(5, 15)])
        announcer = log.el.get_by_role("status")
        page.page.clock.run_for(4900)
        assert announcer.inner_text() == ""
        page.page.clock.run_for(200)
        assert announcer.inner_text() == "12 new rows, 1 error"
        assert log.list.get_attribute("aria-live") == "off"
