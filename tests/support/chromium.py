"""Debian's Chromium, driven by Playwright, and what its pictures show."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator

import matplotlib.image
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

__all__ = ["Complaints", "Look", "SharedChromium", "chromium", "chromium_program", "look_at", "shared_chromium"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Heap figures to the byte, and a collector that a measurement may call.
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
]


def chromium_program() -> str:
    """Return Chromium's path; without it skip the test and say what to install, or fail where it should be."""
    if path := shutil.which("chromium"):
        return path
    message = "chromium is not installed: apt install chromium"
    if os.environ.get("CI") == "true" or os.environ.get("CODEWORM_MONITOR_LONG_TESTS"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium.

    While it runs, this thread counts as one with a running event loop: no `asyncio.run`, no test that is a coroutine.
    In a block of `shared_chromium` it is the block's, and is not closed here: close the contexts you make.
    """
    if _shared is not None:
        yield _shared.browser
        return
    with _started() as browser:
        yield browser


class SharedChromium:
    """A Chromium that starts when it is first asked for, and again if it was stopped or has died."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._browser: Browser | None = None

    @property
    def browser(self) -> Browser:
        """The running browser."""
        if self._browser is not None and not self._browser.is_connected():
            self.stop()
        if self._browser is None:
            self._browser = self._stack.enter_context(_started())
        return self._browser

    def stop(self) -> None:
        """Stop it, if it runs: afterwards this thread has no running event loop."""
        self._browser = None
        self._stack.close()


_shared: SharedChromium | None = None


@contextlib.contextmanager
def shared_chromium() -> Iterator[SharedChromium]:
    """Make all uses of `chromium` in the block share one browser, which stops at its end."""
    global _shared
    shared = _shared = SharedChromium()
    try:
        yield shared
    finally:
        _shared = None
        shared.stop()


@contextlib.contextmanager
def _started() -> Iterator[Browser]:
    program = chromium_program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Complaints:
    """What a page complains of: exceptions that nobody caught, and lines of its console that tell of errors.

    Attributes:
        exceptions: Texts of the exceptions.
        errors: Lines of the console, each with where it came from.
    """

    def __init__(self, page: Page) -> None:
        self.exceptions: list[str] = []
        self.errors: list[str] = []
        self._page = page
        page.on("pageerror", self._take_exception)
        page.on("console", self._take_line)

    def close(self) -> None:
        """Listen no more."""
        self._page.remove_listener("pageerror", self._take_exception)
        self._page.remove_listener("console", self._take_line)

    def _take_exception(self, error: Error) -> None:
        self.exceptions.append(f"{error}\n{error.stack or ''}")

    def _take_line(self, line: ConsoleMessage) -> None:
        if line.type == "error":
            self.errors.append(f"{line.text} ({line.location.get('url', '')})")


class Look:
    """What the pixels of a picture say.

    Attributes:
        background: Lightness of its commonest colour, from 0 (black) to 1 (white).
        ink: Share of the pixels that have another one.
        contrast: Largest distance of a pixel's lightness to the background's.
    """

    def __init__(self, png: bytes) -> None:
        pixels = matplotlib.image.imread(io.BytesIO(png), format="png")[:, :, :3]
        steps = np.rint(pixels * 255).astype(np.uint32)
        colours = (steps[:, :, 0] << 16) | (steps[:, :, 1] << 8) | steps[:, :, 2]
        values, counts = np.unique(colours, return_counts=True)
        commonest = int(values[counts.argmax()])
        rgb = np.array([commonest >> 16, commonest >> 8 & 255, commonest & 255]) / 255
        weights = np.array([0.2126, 0.7152, 0.0722])
        self.background = float(rgb @ weights)
        self.ink = 1 - float(counts.max()) / colours.size
        self.contrast = float(np.abs(pixels @ weights - self.background).max())

    def __repr__(self) -> str:
        return f"Look(background={self.background:.2f}, ink={self.ink:.3f}, contrast={self.contrast:.2f})"


def look_at(page: Page, selector: str, *, number: int = 0) -> Look:
    """Return the look of an element as a person sees it: from a picture, not from the document."""
    return Look(page.locator(selector).nth(number).screenshot(animations="disabled"))
