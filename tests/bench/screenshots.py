#!/usr/bin/env python3
"""Make the README's pictures of the dashboard: in JupyterLab and as the page that the relay serves, light and dark.

    python tests/bench/screenshots.py [--to notebooks] [--width 1280]

What they show is recorded traffic of a real CodeWorm (tests/data), moved in time so that it ends now, in the middle of
a cycle, served by a relay; JupyterLab, its kernel and Chromium are real too. Writes dashboard-light.png,
dashboard-dark.png, page-light.png, page-dark.png and, as wide as a telephone, page-narrow.png.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.chromium import chromium
from support.lab import jupyterlab

from codeworm_monitor import start_relay_in_thread
from codeworm_monitor.sources.memory import MemorySource

DATA = Path(__file__).resolve().parents[1] / "data"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?")
SECONDS_IN = 40
"""How long the newest cycle has been generating when the pictures begin."""
KNOW = "import os\nos.environ.update(CODEWORM_MONITOR_URL={url!r}, CODEWORM_MONITOR_TOKEN={token!r})"
SHOW = "from codeworm_monitor import connect\n\nmon = connect()\nmon"
TALLEST = 1150
"""Pixels of a picture."""


def moved(text: str, by: timedelta) -> str:
    """Return a text with every time in it moved."""
    return TIME.sub(lambda match: (datetime.fromisoformat(match[0]) + by).isoformat(), text)


def recorded() -> list[tuple[float, str, str]]:
    """Return time, channel and payload of the recorded messages, up to one that says that a document is generated."""
    with gzip.open(DATA / "recording-2.jsonl.gz") as lines:
        messages = [(one["t"], one["channel"], one["payload"]) for one in map(orjson.loads, lines)]
    last = max(n for n, one in enumerate(messages) if orjson.loads(one[2]).get("type") == "generating")
    return messages[: last + 1]


def worm_files(folder: Path, by: timedelta) -> tuple[Path, Path]:
    """Copy CodeWorm's database, its times moved, and its configuration; return where both are."""
    database, configuration = folder / "codeworm.db", folder / "config"
    shutil.copy(DATA / "codeworm.db", database)
    shutil.copytree(DATA / "config", configuration)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.create_function("moved", 1, lambda text: moved(text, by))
        connection.execute("UPDATE documented_snippets SET documented_at = moved(documented_at)")
        connection.commit()
    return database, configuration


def settle(page: Page) -> None:
    """Wait until the panels hold something and nothing moves."""
    # Not by a script of one's own: the page's policy allows none.
    page.locator(".cwm-log-row").nth(5).wait_for(timeout=60_000)
    page.locator(".cwm-commits li, .cwm-commits tbody tr").nth(5).wait_for(timeout=60_000)
    page.wait_for_timeout(1500)  # counters, and the strip of rates, of the first seconds


def take_lab(browser: Browser, folder: Path, to: Path, *, know: str, width: int) -> None:
    """Take the dashboard in JupyterLab."""
    with jupyterlab(folder / "lab", browser) as lab, lab.notebook(know, SHOW) as notebook:
        notebook.page.set_viewport_size({"width": width, "height": 2400})
        notebook.run(0)
        notebook.run(1)
        for theme in ("light", "dark"):
            notebook.theme(theme)
            settle(notebook.page)
            place = notebook.page.locator(".jp-Notebook .jp-Cell").nth(1).bounding_box()
            assert place is not None
            clip = {**place, "height": min(place["height"], TALLEST)}
            notebook.page.screenshot(path=to / f"dashboard-{theme}.png", clip=clip)  # type: ignore[arg-type]


def take_page(browser: Browser, address: str, path: Path, *, scheme: str, width: int, height: int) -> None:
    """Take the page that the relay serves."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})  # type: ignore[arg-type]
    page.goto(address)
    settle(page)
    page.screenshot(path=path)
    page.close()


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("notebooks"), help="folder of the pictures (notebooks)")
    parser.add_argument("--width", type=int, default=1280, help="of the wide ones, in pixels (1280)")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    messages = recorded()
    by = timedelta(seconds=time.time() - SECONDS_IN - messages[-1][0])
    source = MemorySource(name="recorded traffic")
    for at, channel, payload in messages:
        source.publish(channel, moved(payload, by), received_at=at + by.total_seconds())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database, configuration = worm_files(folder, by)
        options = {"port": 0, "no_archive": True, "codeworm_db": str(database), "codeworm_config": str(configuration)}
        relay = stack.enter_context(start_relay_in_thread(source=source, **options))
        browser = stack.enter_context(chromium())
        know = KNOW.format(url=relay.url, token=relay.token)
        take_lab(browser, folder, given.to, know=know, width=given.width)
        address = relay.url.replace("ws://", "http://").removesuffix("/ws") + f"/#token={relay.token}"
        for scheme in ("light", "dark"):
            path = given.to / f"page-{scheme}.png"
            take_page(browser, address, path, scheme=scheme, width=given.width, height=900)
        take_page(browser, address, given.to / "page-narrow.png", scheme="dark", width=390, height=844)


if __name__ == "__main__":
    main()
