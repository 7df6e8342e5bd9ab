"""The relay's page in a real browser: opened as a person opens it, and whatever went wrong on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Request, expect

from support.live_relay import TOKEN, LiveRelay

__all__ = ["Dashboard", "dashboard", "expect"]

_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""
_AWAY = ("net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE", "1012")
"""What a browser says of a relay that is away; the page is to bear it, the browser's console tells it all the same."""


class Dashboard:
    """A page.

    Attributes:
        page: Playwright's.
        requests: All that it asked for.
        problems: Lines of the console, exceptions, dialogs and windows that were opened.
        may_be_away: Whether the relay may be away.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self.may_be_away = False
        self.may_be_refused = False
        page.add_init_script(_VIOLATIONS)
        page.on("console", lambda said: self._note(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._note(f"{error}\n{error.stack}"))
        page.on("dialog", self._dismiss)
        page.on("popup", lambda popup: self._note(f"opened {popup.url}"))
        page.on("request", lambda request: self.requests.append(request))

    @property
    def state(self) -> Locator:
        """What the header says of the connection."""
        return self.page.locator(".cwm-page-text")

    @property
    def rows(self) -> Locator:
        """The log's lines that are drawn."""
        return self.page.locator(".cwm-log-row")

    @property
    def status(self) -> Locator:
        """How many rows the log has, in words."""
        return self.page.locator(".cwm-log-status")

    @property
    def form(self) -> Locator:
        """What asks for a token."""
        return self.page.locator(".cwm-page-form")

    def panel(self, name: str) -> Locator:
        """Return a panel."""
        return self.page.locator(f".cwm-page-of-{name}")

    def filter(self, query: str) -> None:
        """Type a filter into the log."""
        self.page.locator(".cwm-log-query").fill(query)

    def check(self) -> None:
        """Fail if anything went wrong."""
        problems = [*self.problems, *self.page.evaluate("window.violations")]
        assert not problems, "\n".join(problems)

    def _note(self, text: str) -> None:
        is_borne = (self.may_be_away and any(one in text for one in _AWAY)) or (
            self.may_be_refused and ("401" in text or "WebSocket connection to" in text)
        )
        if not is_borne:
            self.problems.append(text[:2000])

    def _dismiss(self, dialog: Any) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextlib.contextmanager
def dashboard(
    browser: Browser, relay: LiveRelay, address: str = f"/#token={TOKEN}", **context: Any
) -> Iterator[Dashboard]:
    """Open the page; at the end of the block all that went wrong on it fails the test, unless that failed already.

    Args:
        browser: Whose.
        relay: Whose page.
        address: What follows host and port.
        context: Options of Playwright's `new_context`.
    """
    options = {"viewport": {"width": 1400, "height": 1000}, "timezone_id": "Europe/Berlin", "locale": "en-GB"}
    opened = browser.new_context(**{**options, **context})
    try:
        page = opened.new_page()
        page.set_default_timeout(20_000)
        one = Dashboard(page)
        page.goto(f"http://127.0.0.1:{relay.port}{address}")
        yield one
        one.check()
    finally:
        opened.close()
