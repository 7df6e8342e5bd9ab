"""Records are copied as JSON Lines: to the clipboard, or where that is not allowed, from a dialog."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.front_page import Front
from support.log_page import MOUNT_LOG, START, LogPage, log_page, log_row, log_rows

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front({"mount_log.js": MOUNT_LOG}) as opened:
        yield opened


@pytest.fixture(scope="module")
def allowed(front: Front) -> Iterator[LogPage]:
    with log_page(front, permissions=["clipboard-read", "clipboard-write"]) as page:
        yield page


def test_selected_records_go_to_the_clipboard_by_key_and_button(allowed: LogPage) -> None:
    log = allowed.mount([log_row(1), log_row(2, text="\u2028 \u202e <b>"), log_row(3)])
    log.row("event_1").click()
    log.row("event_2").click(modifiers=["Shift"])
    for copy in (
        lambda: allowed.page.keyboard.press("c"),
        lambda: allowed.page.keyboard.press("ControlOrMeta+c"),
        lambda: log.el.get_by_role("button", name="Copy 2").click(),
    ):
        allowed.page.evaluate("navigator.clipboard.writeText('')")
        copy()
        log.wait_status("3 rows · 2 selected · 2 records copied")
        lines = allowed.page.evaluate("navigator.clipboard.readText()").split("\n")
        assert [json.loads(line)["offset"] for line in lines] == [1, 2]
        assert json.loads(lines[1]) == {
            "offset": 2,
            "received_at": START + 2,
            "channel": "codeworm:logs",
            "data": log_row(2, text="\u2028 \u202e <b>")[3],
        }
    allowed.clear()


def test_an_open_record_is_copied_by_its_button(allowed: LogPage) -> None:
    log = allowed.mount(log_rows(1, 3))
    log.row("event_3").dblclick()
    log.el.get_by_role("button", name="Copy record").click()
    log.el.get_by_text("1 record copied").first.wait_for()
    assert json.loads(allowed.page.evaluate("navigator.clipboard.readText()"))["data"]["event"] == "event_3"
    allowed.clear()


def test_where_copying_is_not_allowed_the_text_is_shown_selected(front: Front) -> None:
    with log_page(front, width=320) as page:
        page.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        log = page.mount(log_rows(1, 3))
        log.row("event_3").click()
        page.page.keyboard.press("c")
        dialog = log.el.get_by_role("dialog", name="Copy records")
        dialog.wait_for()
        area = dialog.locator("textarea")
        text = area.input_value()
        assert json.loads(text)["offset"] == 3
        start, end = page.page.evaluate("[document.activeElement.selectionStart, document.activeElement.selectionEnd]")
        assert (start, end) == (0, len(text))
        page.page.keyboard.press("Tab")
        page.page.keyboard.press("Tab")
        assert page.page.evaluate("document.activeElement.tagName") == "TEXTAREA"
        page.page.keyboard.press("Escape")
        dialog.wait_for(state="detached")
        assert page.page.evaluate("document.activeElement.classList[0]") == "cwm-log-list"
