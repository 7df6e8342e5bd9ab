#!/usr/bin/env python3
"""Make the README's pictures of the dashboard: in JupyterLab and as the page that the relay serves, light and dark.

    python tests/bench/screenshots.py [--to notebooks] [--width 1280]

What they show is recorded traffic of a real CodeWorm (tests/data), moved in time so that before each picture a cycle has
just begun to generate, served by a relay; JupyterLab, its kernel and Chromium are real too. Writes dashboard-light.png,
dashboard-dark.png, page-light.png, page-dark.png and, as wide as a telephone, page-narrow.png.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.chromium import chromium
from support.lab import jupyterlab

from codeworm_monitor import start_relay_in_thread
from codeworm_monitor.sources import Connected, Happening, Message

DATA = Path(__file__).resolve().parents[1] / "data"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?")
PICTURES = 5
MOMENT = 0.3
"""Seconds: less than has passed since the reader was connected, whose row comes before."""
KNOW = "import os\nos.environ.update(CODEWORM_MONITOR_URL={url!r}, CODEWORM_MONITOR_TOKEN={token!r})"
SHOW = "from codeworm_monitor import connect\n\nmon = connect()\nmon"
TALLEST = 1150
"""Pixels of a picture."""


def moved(text: str, by: timedelta) -> str:
    """Return a text with every time in it moved."""
    return TIME.sub(lambda match: (datetime.fromisoformat(match[0]) + by).isoformat(), text)


class Traffic:
    """A source of recorded messages: up to where a document is generated, then from there to the next such moment.

    Attributes:
        name: What a relay calls it.
        by: By how much the times of the first part were moved.
    """

    name = "recorded traffic"

    def __init__(self) -> None:
        with gzip.open(DATA / "recording-2.jsonl.gz") as lines:
            messages = [(one["t"], one["channel"], one["payload"]) for one in map(orjson.loads, lines)]
        ends = [n + 1 for n, one in enumerate(messages) if orjson.loads(one[2]).get("type") == "generating"]
        first, *others = ends[-PICTURES - 1 :]
        self._waiting: deque[Message] = deque()
        self._parts = iter([messages[one:other] for one, other in pairwise([first, *others])])
        self.by = timedelta(seconds=time.time() - 1 - messages[first - 1][0])
        for at, channel, payload in messages[:first]:
            self._publish(at, channel, payload, self.by)

    def go_on(self) -> None:
        """Publish the next part, as if it had come within the last moment."""
        part, now = next(self._parts), time.time()
        for n, (at, channel, payload) in enumerate(part, 1):
            to = now - MOMENT * (1 - n / len(part))
            self._publish(at, channel, payload, timedelta(seconds=to - at))

    def _publish(self, at: float, channel: str, payload: str, by: timedelta) -> None:
        self._waiting.append(Message(channel, moved(payload, by).encode(), at + by.total_seconds()))

    async def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Yield them, in the relay's thread, until closed."""
        yield Connected(time.time())
        while True:
            if self._waiting:
                yield [self._waiting.popleft() for _ in range(len(self._waiting))]
            await asyncio.sleep(0.05)


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


def settle(page: Page, traffic: Traffic) -> None:
    """Wait until the panels hold something, a cycle has begun, and nothing moves."""
    # Not by a script of one's own: the page's policy allows none.
    page.locator(".cwm-log-row").nth(5).wait_for(timeout=60_000)
    page.locator(".cwm-commits li, .cwm-commits tbody tr").nth(5).wait_for(timeout=60_000)
    traffic.go_on()
    page.wait_for_timeout(2000)  # counters, and the strip of rates, of the first seconds


def take_lab(browser: Browser, folder: Path, to: Path, traffic: Traffic, *, know: str, width: int) -> None:
    """Take the dashboard in JupyterLab."""
    with jupyterlab(folder / "lab", browser) as lab, lab.notebook(know, SHOW) as notebook:
        notebook.page.set_viewport_size({"width": width, "height": 2400})
        notebook.run(0)
        notebook.run(1)
        for theme in ("light", "dark"):
            notebook.theme(theme)
            settle(notebook.page, traffic)
            place = notebook.page.locator(".jp-Notebook .jp-Cell").nth(1).bounding_box()
            assert place is not None
            clip = {**place, "height": min(place["height"], TALLEST)}
            notebook.page.screenshot(path=to / f"dashboard-{theme}.png", clip=clip)  # type: ignore[arg-type]


def take_page(
    browser: Browser, address: str, path: Path, traffic: Traffic, *, scheme: str, width: int, height: int
) -> None:
    """Take the page that the relay serves."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})  # type: ignore[arg-type]
    page.goto(address)
    settle(page, traffic)
    page.screenshot(path=path)
    page.close()


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("notebooks"), help="folder of the pictures (notebooks)")
    parser.add_argument("--width", type=int, default=1280, help="of the wide ones, in pixels (1280)")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    traffic = Traffic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database, configuration = worm_files(folder, traffic.by)
        options = {"port": 0, "no_archive": True, "codeworm_db": str(database), "codeworm_config": str(configuration)}
        relay = stack.enter_context(start_relay_in_thread(source=traffic, **options))
        browser = stack.enter_context(chromium())
        know = KNOW.format(url=relay.url, token=relay.token)
        take_lab(browser, folder, given.to, traffic, know=know, width=given.width)
        address = relay.url.replace("ws://", "http://").removesuffix("/ws") + f"/#token={relay.token}"
        for scheme in ("light", "dark"):
            path = given.to / f"page-{scheme}.png"
            take_page(browser, address, path, traffic, scheme=scheme, width=given.width, height=900)
        take_page(browser, address, given.to / "page-narrow.png", traffic, scheme="dark", width=390, height=844)


if __name__ == "__main__":
    main()
