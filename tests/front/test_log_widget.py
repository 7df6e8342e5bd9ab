"""The log panel's line to the kernel: what was asked is answered, by the browser itself if the kernel does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page
from support.front_page import Front
from support.log_page import MOUNT_LOG, START, LogPanel, log_rows

pytestmark = pytest.mark.browser

_MOUNT = """
import { LogStore } from "/front/log_store.js";
import { logWidget } from "/front/widget_log.js";

window.sent = [];
window.told = [];
const heard = new Map();
const model = {
  get: () => "",
  set() {},
  save_changes() {},
  on: (name, listener) => heard.set(name, listener),
  off() {},
  send: (message) => sent.push(message),
  widget_manager: { get_model: () => new Promise(() => {}) },
};
const widget = logWidget((el, store, source) => { window.source = source; return () => {}; }, LogStore)();
const end = widget.initialize({ model });
widget.render({ model, el: document.getElementById("panels") });
window.say = (content) => heard.get("msg:custom")(content, []);
window.askOlder = () => source.askOlder(100, 10).then((answer) => told.push(answer));
window.endWidget = end;
"""

_SHOW = """
import "/made/mount_log.js";
import { renderLog } from "/front/log.js";
import { LogStore } from "/front/log_store.js";
import { logWidget } from "/front/widget_log.js";

window.sent = [];
const heard = new Map();
const model = {
  get: () => "",
  set() {},
  save_changes() {},
  on: (name, listener) => heard.set(name, listener),
  off() {},
  send: (message) => sent.push(message),
  widget_manager: { get_model: () => new Promise(() => {}) },
};
const widget = logWidget(renderLog, LogStore)();
widget.initialize({ model });
const el = document.getElementById("panels");
el.style.setProperty("--cwm-log-height", "240px");
widget.render({ model, el });
panels.push({ el });
window.say = (content) => heard.get("msg:custom")(content, []);
"""


@contextmanager
def shown_widget() -> Iterator[tuple[Page, LogPanel]]:
    """Show the widget as a notebook does."""
    files = {"mount_log.js": MOUNT_LOG, "show.js": _SHOW}
    with Front(files) as front, front.page(width=900, height=700) as one:
        one.page.evaluate("() => import('/made/show.js').then(() => null)")
        yield one.page, LogPanel(one.page, 0, "one")


def say_fill(page: Page, number: int, rows: list[Any]) -> None:
    page.evaluate("([n, rows]) => say({ type: 'fill', n, rows, is_all: false })", [number, rows])


def as_tables_tell(rows: list[Any]) -> list[Any]:
    """Return rows with their times a little off: tables hold microseconds."""
    return [[offset, at + 4e-7, *rest] for offset, at, *rest in rows]


def test_a_fill_for_another_page_of_the_notebook_adds_only_what_is_newer() -> None:
    with shown_widget() as (page, log):
        say_fill(page, 1, log_rows(101, 200))
        log.wait_last("event_200")
        log.wheel(-10_000)
        page.wait_for_function("() => sent.some(one => one.type === 'older')")
        page.evaluate(
            "rows => say({ type: 'older', id: 1, rows, is_all: false, problem: null })",
            log_rows(1, 100),
        )
        log.wait_status("200 rows")
        log.row("event_103").click()
        log.settle()
        before = log.in_sight
        say_fill(page, 2, as_tables_tell(log_rows(151, 203)))
        log.wait_status("203 rows")
        log.settle()
        assert log.in_sight == before
        assert log.row("event_103").get_attribute("aria-selected") == "true"
        say_fill(page, 3, as_tables_tell(log_rows(151, 203)))
        page.evaluate("rows => say({ type: 'batch', n: 4, rows })", log_rows(204, 204))
        log.wait_status("204 rows")
        assert log.in_sight == before


def test_such_a_fill_doubles_neither_a_gap_nor_rows_of_a_former_numbering() -> None:
    gap = {"cause": "relay_restart", "started_at": START + 50, "ended_at": START + 60, "missed": None, "detail": ""}
    rows = [[None, *row[1:]] for row in log_rows(1, 50)]
    told = [None, START + 60, "gap", gap]
    again = [None, START + 60 + 4e-7, "gap", {**gap, "started_at": START + 50 + 4e-7}]
    with shown_widget() as (page, log):
        say_fill(page, 1, [*rows, told])
        log.wait_status("51 rows")
        log.wheel(-240)
        log.fresh.wait_for()
        log.settle()
        before = log.in_sight
        say_fill(page, 2, [*as_tables_tell(rows[20:]), again])
        say_fill(page, 3, [*as_tables_tell(rows[20:]), again, *log_rows(61, 62)])
        log.wait_status("53 rows")
        assert log.in_sight == before


def test_a_fill_that_does_not_lead_on_from_what_is_held_replaces_it() -> None:
    with shown_widget() as (page, log):
        say_fill(page, 1, log_rows(1, 50))
        log.wait_last("event_50")
        # Of another numbering, then with a hole, then behind a batch that was lost.
        others = [[None, *row[1:]] for row in log_rows(41, 50)]
        say_fill(page, 2, [*others, *[[row[0] - 59, *row[1:]] for row in log_rows(60, 61)]])
        log.wait_status("12 rows")
        say_fill(page, 3, log_rows(90, 99))
        log.wait_status("10 rows")
        say_fill(page, 5, log_rows(95, 104))
        log.wait_last("event_104")
        log.wait_status("10 rows")


def test_older_rows_that_the_kernel_never_sends_are_given_up() -> None:
    with Front({"widget.js": _MOUNT}) as front, front.page() as one:
        page = one.page
        page.clock.install(time=1_795_384_606)
        page.clock.pause_at(1_795_384_607)
        page.evaluate("() => import('/made/widget.js').then(() => { askOlder(); askOlder(); })")
        ids = page.evaluate("sent.filter(one => one.type === 'older').map(one => one.id)")
        assert len(set(ids)) == 2
        page.evaluate("id => say({ type: 'older', id, rows: [[1, 1, 'x', {}]], is_all: true, problem: null })", ids[1])
        page.wait_for_function("told.length === 1")
        page.clock.run_for(19_900)
        assert page.evaluate("told") == [{"rows": [[1, 1, "x", {}]], "isAll": True, "problem": None}]
        page.clock.run_for(200)
        page.wait_for_function("told.length === 2")
        assert page.evaluate("told[1]") == {"rows": [], "isAll": False, "problem": "the kernel does not answer"}
        page.evaluate("id => say({ type: 'older', id, rows: [], is_all: true, problem: null })", ids[0])
        page.evaluate("endWidget()")
        assert page.evaluate("told.length") == 2
