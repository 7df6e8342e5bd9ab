"""What tests of the dashboard in a notebook say and do: cells, rows, controls, hostile recordings, how pictures look."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from playwright.sync_api import Browser, Locator, Page

from support.chromium import Complaints, Look
from support.lab import KERNEL, Notebook
from support.live_relay import LOGS, LiveRelay
from support.waiting import until

DATA = Path(__file__).parents[1] / "data"
PANELS = ("activity", "stats", "health", "log", "commits", "repositories")
ROW = ".cwm-log-row"
FOREIGN = (
    "The node to be removed is not a child of this node",  # JupyterLab's own lists, when they are redrawn
    "Cannot read properties of undefined (reading 'schema')",  # Notebook 7's shortcuts, when its settings are loaded
)
"""What the applications complain of themselves, also without a dashboard."""
OPEN = f"""
from codeworm_monitor import open_recording
mon = open_recording("{DATA / "recording-1.jsonl.gz"}", codeworm_db="{DATA / "codeworm.db"}", codeworm_config="{DATA / "config"}")
board = mon.dashboard()
panel = board.log
"""


def connected(relay: LiveRelay, *, more: str = "") -> str:
    return (
        f"from codeworm_monitor import connect\nmon = connect({relay.address}{more})\n"
        "board = mon.dashboard()\npanel = board.log"
    )


def shows_rows(page: Page, *, views: int = 1) -> None:
    """Wait until every view of the log shows rows."""
    page.wait_for_function(
        "([views, row]) => { const logs = [...document.querySelectorAll('.cwm-log')];"
        " return logs.length === views && logs.every((log) => log.querySelectorAll(row).length > 3) }",
        arg=[views, ROW],
    )


def is_painted(look: Look, theme: str) -> bool:
    """Tell whether a picture shows text of a panel, on the background of a theme."""
    return (
        (look.background > 0.85 if theme == "light" else look.background < 0.25)
        and look.ink > 0.01
        and look.contrast > 0.5
    )


def of_ours(complaints: Complaints) -> list[str]:
    """Return what was complained of but by the application itself, see `FOREIGN`."""
    return [one for one in complaints.exceptions + complaints.errors if not any(text in one for text in FOREIGN)]


def search(page: Page, query: str) -> None:
    """Type into the filter of the first log."""
    box = page.get_by_label("Filter", exact=True).first
    box.click()
    box.fill(query)


def pause(page: Page) -> None:
    """Click what pauses the first log, or lets it go on."""
    page.locator(".cwm-log-buttons").first.get_by_role("button", name=re.compile("^(Pause|Go on)$")).click()


def only(page: Page, pattern: str, *, view: int = 0) -> None:
    """Wait until the rows of a log are of one kind, by their text, and there are some."""
    page.wait_for_function(
        "([pattern, view, row]) => {"
        " const log = document.querySelectorAll('.cwm-log')[view];"
        " const found = [...(log?.querySelectorAll(row) ?? [])];"
        " return found.length > 0 && found.every((one) => new RegExp(pattern, 'i').test(one.textContent)) }",
        arg=[pattern, view, ROW],
    )


def notice(page: Page) -> Locator:
    """Return the locator of what is said of the kernel over the log."""
    return page.locator(".cwm-widget:has(.cwm-log) .cwm-notice:not(.cwm-problem)")


def wait_busy(notebook: Notebook) -> None:
    """Wait until a cell runs."""
    notebook.page.wait_for_function(f"{KERNEL}?.status === 'busy'")


@contextlib.contextmanager
def reading(browser: Browser, path: Path) -> Iterator[tuple[Page, Complaints]]:
    """Open a file in a browser that knows nothing of Jupyter."""
    page = browser.new_page(viewport={"width": 1100, "height": 1400})
    try:
        complaints = Complaints(page)
        page.goto(path.as_uri())
        yield page, complaints
    finally:
        page.close()


def until_equal(notebook: Notebook, expression: str, value: object) -> None:
    """Wait until an expression in the kernel has a value."""
    until(lambda: notebook.ask(expression) == value)


MARK = "document.documentElement.dataset.reached=1"
HOSTILE = (
    f"</script></pre></div><script>{MARK}</script><img src=x onerror='{MARK}'><svg onload='{MARK}'>"
    f"\u2028\u2029javascript:{MARK}<a href='javascript:{MARK}'>here</a>\"'&amp;\x1b[31m\u202egnp.exe\x00"
)


def hostile_recording(path: Path) -> Path:
    """Write a recording with hostile text in every field of every kind of message."""
    told = ("event", "level", "component", "target", "repo", "doc_type", "commit", "error", "exception", "other")
    done = ("target", "repo", "doc_type", "language", "commit", "commit_message", "other")
    kinds = ("cycle_starting", "analyzing", "documentation_committed", HOSTILE)
    said: list[tuple[str, Any]] = [
        (LOGS, {**dict.fromkeys(told, HOSTILE), "level": "error"}),
        (LOGS, {**dict.fromkeys(told, HOSTILE), HOSTILE: {HOSTILE: [HOSTILE]}, "event": "push_failed"}),
        *(("codeworm:events", {"type": kind, "data": dict.fromkeys(done, HOSTILE)}) for kind in kinds),
        ("codeworm:stats", {"total_documented": 1, "by_repo": {HOSTILE: 1}, "last_success": HOSTILE}),
        (HOSTILE, {"event": HOSTILE, "__proto__": HOSTILE, "constructor": HOSTILE}),
        ("codeworm:events", {"type": "analyzing", "timestamp": HOSTILE, "data": dict.fromkeys(done, HOSTILE)}),
    ]
    lines = [
        {"t": 1_795_384_600.0 + number, "channel": channel, "payload": orjson.dumps(payload).decode()}
        for number, (channel, payload) in enumerate(said)
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return path


INERT = (
    "() => document.documentElement.dataset.reached === undefined"
    " && document.querySelector('img[src=x], svg[onload], a[href^=javascript]') === null"
)


def html_of(output: dict[str, Any]) -> str:
    text = output["data"]["text/html"]
    return text if isinstance(text, str) else "".join(text)
