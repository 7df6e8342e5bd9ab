"""Log panels in a browser's page, with rows made by the dozen, and questions about what they show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page

from support.front_page import Front, FrontPage

__all__ = ["MOUNT_LOG", "START", "LogPage", "LogPanel", "cycle_rows", "log_page", "log_row", "log_rows"]

START = 1795384606.0
"""When the first made row was received: 22 November 2026, 21:56:46 UTC."""

MOUNT_LOG = """
import { passes } from "/front/log_filter.js";
import { renderLog } from "/front/log.js";
import { LogStore } from "/front/log_store.js";

const stores = new Map();
const panels = [];
window.passes = passes;
window.LogStore = LogStore;
window.storeOf = (name) => stores.get(name);
window.panels = panels;
window.mountLog = ({ name, rows, isAll, options, view, height }) => {
  if (!stores.has(name)) {
    const store = new LogStore(options ?? {});
    stores.set(name, store);
    if (rows) store.fill(rows, isAll);
  }
  const el = document.createElement("div");
  if (height) el.style.setProperty("--cwm-log-height", `${height}px`);
  document.getElementById("panels").append(el);
  const panel = { el, views: [], asked: [], answers: [] };
  const source = {
    askOlder: (before, count) => {
      panel.asked.push([before, count]);
      return new Promise((answer, refuse) => panel.answers.push({ answer, refuse }));
    },
    setView: (view) => panel.views.push(view),
    capacityNote: "mon.logs.df",
    now: () => Date.now() / 1000,
    view,
  };
  panel.dispose = renderLog(el, stores.get(name), source);
  panels.push(panel);
  return panels.length - 1;
};
window.clearLogs = () => {
  for (const panel of panels.splice(0)) {
    panel.dispose();
    panel.el.remove();
  }
  stores.clear();
};
window.rowsInSight = (id) => {
  const list = panels[id].el.querySelector(".cwm-log-list");
  const box = list.getBoundingClientRect();
  return [...list.querySelectorAll(".cwm-log-row")]
    .map((row) => [row, row.getBoundingClientRect()])
    .filter(([, at]) => at.bottom > box.top + 1 && at.top < box.bottom - 1)
    .map(([row, at]) => [row.textContent, Math.round(at.top - box.top)]);
};
window.isLogReady = true;
"""


class LogPanel:
    """One mounted log panel.

    Attributes:
        el: Its element.
        id: Its number on the page.
        name: Name of its store, which other panels may share.
    """

    def __init__(self, page: Page, id: int, name: str) -> None:
        self.page = page
        self.id = id
        self.name = name
        self.el: Locator = page.locator(".cwm-log").nth(id)
        self.list: Locator = self.el.locator(".cwm-log-list")
        self.query: Locator = self.el.locator(".cwm-log-query")
        self.status: Locator = self.el.locator(".cwm-log-status")
        self.fresh: Locator = self.el.locator(".cwm-log-new")

    def add(self, rows: list[Any]) -> None:
        """Add rows to its store."""
        self.page.evaluate("([name, text]) => storeOf(name).add(JSON.parse(text))", [self.name, json.dumps(rows)])

    def fill(self, rows: list[Any], *, is_all: bool = False) -> None:
        """Put rows in the place of all there are."""
        self.page.evaluate(
            "([name, text, isAll]) => storeOf(name).fill(JSON.parse(text), isAll)",
            [self.name, json.dumps(rows), is_all],
        )

    def answer(self, rows: list[Any], *, is_all: bool = False, problem: str | None = None) -> None:
        """Answer the oldest open question for older rows."""
        self.page.evaluate(
            "([id, rows, isAll, problem]) => panels[id].answers.shift().answer({ rows, isAll, problem })",
            [self.id, rows, is_all, problem],
        )

    @property
    def asked(self) -> list[list[int]]:
        """Questions for older rows: before which offset, and how many."""
        asked: list[list[int]] = self.page.evaluate("id => panels[id].asked", self.id)
        return asked

    @property
    def view(self) -> dict[str, Any] | None:
        """What it told last of what it shows."""
        view: dict[str, Any] | None = self.page.evaluate("id => panels[id].views.at(-1) ?? null", self.id)
        return view

    def wait_view(self, condition: str) -> None:
        """Wait until what it told last fulfils a condition in JavaScript on `view`."""
        self.page.wait_for_function(
            f"id => {{ const view = panels[id].views.at(-1); return view && ({condition}); }}", arg=self.id
        )

    @property
    def in_sight(self) -> list[tuple[str, int]]:
        """Texts of the lines in sight, and how many pixels below the list's upper edge each is."""
        return [(text, top) for text, top in self.page.evaluate("id => rowsInSight(id)", self.id)]

    def wait_sight(self, condition: str) -> None:
        """Wait until `rows`, as `in_sight` gives them, fulfil a condition in JavaScript."""
        self.page.wait_for_function(f"id => {{ const rows = rowsInSight(id); return {condition}; }}", arg=self.id)

    def wait_last(self, text: str) -> None:
        """Wait until the last line in sight contains a text."""
        self.wait_sight(f"rows.at(-1)?.[0].includes({json.dumps(text)})")

    def wait_first(self, text: str) -> None:
        """Wait until the first line in sight contains a text."""
        self.wait_sight(f"rows[0]?.[0].includes({json.dumps(text)})")

    def wait_status(self, text: str) -> None:
        """Wait until it says this of its rows."""
        self.page.wait_for_function(
            "([id, text]) => panels[id].el.querySelector('.cwm-log-status').textContent === text", arg=[self.id, text]
        )

    def row(self, text: str) -> Locator:
        """Return the line that contains a text."""
        return self.el.locator(".cwm-log-row", has_text=text)

    def wheel(self, pixels: float) -> None:
        """Turn the wheel over the list."""
        self.list.hover(position={"x": 60, "y": 60})
        self.page.mouse.wheel(0, pixels)

    def settle(self) -> None:
        """Wait until two frames were drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


class LogPage:
    """A page on which log panels are mounted."""

    def __init__(self, front: FrontPage) -> None:
        self.front = front
        self.page = front.page
        self._count = 0

    def clear(self) -> None:
        """Take all panels away, and fail if the page met trouble."""
        self.page.evaluate("clearLogs()")
        self.page.mouse.move(0, 0)
        self.front.check()

    def mount(
        self,
        rows: list[Any] | None = None,
        *,
        is_all: bool = False,
        name: str = "one",
        capacity: int | None = None,
        heaviest: int | None = None,
        view: dict[str, Any] | None = None,
        height: int | None = 240,
    ) -> LogPanel:
        """Show a log panel; a second one of the same name shares the first one's rows."""
        given = {"capacity": capacity, "heaviest": heaviest}
        options = {name: value for name, value in given.items() if value is not None}
        text = json.dumps(
            {"name": name, "rows": rows, "isAll": is_all, "options": options, "view": view, "height": height}
        )
        number: int = self.page.evaluate("text => mountLog(JSON.parse(text))", text)
        panel = LogPanel(self.page, number, name)
        if rows:
            panel.wait_sight("rows.length > 0")
            panel.settle()
        return panel


@contextmanager
def log_page(front: Front, **options: Any) -> Iterator[LogPage]:
    """Open a page for log panels; the front must serve `MOUNT_LOG` as `mount_log.js`. Options: as for `Front.page`."""
    with front.page(**options) as page:
        page.page.evaluate("() => import('/made/mount_log.js').then(() => null)")
        yield LogPage(page)


def log_row(offset: int, event: str = "", **fields: Any) -> list[Any]:
    """Return a log line's row; one row is received each second."""
    data = {"event": event or f"event_{offset}", "level": "info", "component": "daemon", **fields}
    return [offset, START + offset, "codeworm:logs", data]


def log_rows(first: int, last: int, **fields: Any) -> list[Any]:
    """Return rows `event_<first>` to `event_<last>`."""
    return [log_row(offset, **fields) for offset in range(first, last + 1)]


def cycle_rows(first: int, number: int) -> list[Any]:
    """Return the seven rows of a good cycle on `target_<number>`."""
    at = START + first
    target = {"target": f"target_{number}", "doc_type": "til", "repo": "click"}
    said = [
        ("codeworm:logs", {"event": "cycle_starting", "level": "info", "component": "daemon", "cycle_num": number}),
        ("codeworm:events", {"type": "cycle_starting", "data": {"cycle_num": number}}),
        ("codeworm:events", {"type": "analyzing", "data": target}),
        ("codeworm:relay", {"event": f"relay_{number}", "level": "info", "component": "relay"}),
        ("codeworm:logs", {"event": "documentation_committed", "level": "info", "component": "daemon", **target}),
        ("codeworm:stats", {"total_documented": number, "by_repo": {"click": number}}),
        ("other:logs", {"event": f"other_{number}", "level": "info"}),
    ]
    return [[first + i, at + i * 0.1, channel, data] for i, (channel, data) in enumerate(said)]
