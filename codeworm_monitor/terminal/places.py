"""Places: where the terminal's commands look for a relay, and what they say when none is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

from codeworm_monitor import discovery
from codeworm_monitor.client import Address, Lost
from codeworm_monitor.errors import ConnectError, RelayNotFoundError, SettingError, TokenRefusedError
from codeworm_monitor.settings import ENVIRONMENT_PREFIX

__all__ = ["Place", "failure"]

TOKEN_VARIABLE = f"{ENVIRONMENT_PREFIX}TOKEN"


class Place:
    """Where a relay is: named, or the newest one of this user on this machine.

    Args:
        url: As a person writes it: ws, wss, http or https, with or without a path, and perhaps with the token.
            None: found on this machine.
        token: What to present. None: the one in the URL, or what the relay on this machine announced.

    Raises:
        SettingError: The URL cannot be read.
    """

    def __init__(self, url: str | None, token: str | None = None) -> None:
        self.url: str | None = None
        found: str | None = None
        if url is not None:
            self.url, found = _plain_url(url)
        self._token = token or found

    @classmethod
    def named(cls, url: str | None) -> Place:
        """Return the place that an option names.

        Its token is the one in the URL, else it lies in the environment, where no list of processes shows it.
        """
        place = cls(url)
        place._token = place._token or os.environ.get(TOKEN_VARIABLE) or None
        return place

    def addresses(self, last: str | None) -> list[Address]:
        """Return where the relay may be, the best first; reads files.

        Args:
            last: Where it was last; None: nowhere yet.
        """
        announced = discovery.find(self.url)
        if self.url is not None:
            return [Address(self.url, self._token or next((one.token for one in announced), None))]
        # It comes back where it was, most likely; with several relays, one does not take the other's place.
        announced.sort(key=lambda one: one.url != last)
        found = [Address(one.url, self._token or one.token) for one in announced]
        return found or [Address(last or discovery.DEFAULT_URL, self._token)]

    def locate(self, last: Callable[[], str | None]) -> Callable[[], list[Address]]:
        """Return what a `RelayClient` asks before each attempt."""
        return lambda: self.addresses(last())


def failure(lost: Lost) -> ConnectError:
    """Return the error that says why there is no connection, and what to do."""
    if lost.wants_token:
        return TokenRefusedError(
            f"the relay at {lost.url} refused: {lost.reason}; put the token that it showed when it started into {TOKEN_VARIABLE}"
        )
    if lost.is_refusal:
        return ConnectError(f"the relay at {lost.url} refused: {lost.reason}")
    place = f"no relay answers at {lost.url} ({lost.reason})" if lost.url else "no relay is known on this machine"
    return RelayNotFoundError(
        f"{place}: start one with `python -m codeworm_monitor`, name another with --url, or wait for it with --wait"
    )


def _plain_url(url: str) -> tuple[str, str | None]:
    problem = SettingError(
        "url", f"a relay's URL looks like {discovery.DEFAULT_URL}"
    )  # not quoted: it may hold a token
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        has_place = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise problem from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not has_place or "@" in parts.netloc or not parts.geturl().isprintable():
        raise problem
    query = parse_qs(parts.query)
    token = query.pop("token", [None])[0]
    path = "/ws" if parts.path in ("", "/") else parts.path
    plain = parts._replace(scheme=scheme, path=path, query=urlencode(query, doseq=True), fragment="")
    return plain.geturl(), token
