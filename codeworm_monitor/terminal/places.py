"""Places: where the terminal's commands look for a relay, and what they say when none is there."""

from __future__ import annotations

import os
from collections.abc import Callable

from codeworm_monitor import discovery
from codeworm_monitor.client import Address, Lost, known_addresses
from codeworm_monitor.errors import ConnectError, SettingError
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
            try:
                self.url, found = discovery.relay_url(url)
            except ValueError as error:
                raise SettingError("url", str(error)) from None
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
        return known_addresses(self.url, self._token, last)

    def locate(self, last: Callable[[], str | None]) -> Callable[[], list[Address]]:
        """Return what a `RelayClient` asks before each attempt."""
        return lambda: self.addresses(last())


def failure(lost: Lost) -> ConnectError:
    """Return the error that says why there is no connection, and what to do."""
    return lost.as_error(
        token=f"put the token that it showed when it started into {TOKEN_VARIABLE}",
        relay="start one with `python -m codeworm_monitor`, name another with --url, or wait for it with --wait",
    )
