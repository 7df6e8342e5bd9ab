"""What a relay told, had by HTTP and read with care: it may be older, newer, or none at all."""

from __future__ import annotations

import http.client
import math
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit

__all__ = ["Told", "http_get", "plainly"]

_LONGEST = 300
_MOST = 1e15


class Told:
    """A decoded JSON value, asked by paths of keys; what is missing or of another type is None.

    Args:
        value: The value, of any type.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def at(self, *path: str) -> Any:
        """Return the value at a path; None: there is none."""
        value = self._value
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def text(self, *path: str) -> str | None:
        """Return a text, its first 300 characters in one line; None: there is none, or it is empty."""
        value = self.at(*path)
        return " ".join(value[: 4 * _LONGEST].split())[:_LONGEST] or None if isinstance(value, str) else None

    def number(self, *path: str) -> float | None:
        """Return a finite number."""
        value = self.at(*path)
        is_usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
        return float(value) if is_usable and math.isfinite(value) else None

    def time(self, *path: str) -> float | None:
        """Return a time in Unix seconds, of the years 1970 to 9999."""
        value = self.number(*path)
        return value if value is not None and 0 < value < 253_402_300_800 else None

    def count(self, *path: str) -> int | None:
        """Return a whole number, not below 0."""
        value = self.number(*path)
        return int(value) if value is not None and value >= 0 else None

    def flag(self, *path: str) -> bool | None:
        """Return a truth value."""
        value = self.at(*path)
        return value if isinstance(value, bool) else None

    def counts(self, *path: str) -> dict[str, int]:
        """Return an object's whole numbers by name, of its first 50."""
        value = self.at(*path)
        if not isinstance(value, dict):
            return {}
        inner = Told(value)
        read = {str(name)[:_LONGEST]: inner.count(name) for name in list(value)[:50]}
        return {name: number for name, number in read.items() if number is not None}

    def object(self, *path: str) -> Told | None:
        """Return an object that is not empty."""
        value = self.at(*path)
        return Told(value) if isinstance(value, dict) and value else None


def http_get(
    url: str,
    token: str | None,
    path: str,
    query: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    timeout: float,
    most: int,
    deadline: float = math.inf,
) -> tuple[int, bytes]:
    """Return what a relay answers to GET, status and body; follows no redirect, takes no proxy. Blocks this thread.

    Args:
        url: WebSocket URL of the relay; wss is asked by https.
        token: What to present; None: nothing.
        path: Such as `/info`.
        query: Parameters; None: not given. A list: several times.
        headers: What else is sent.
        timeout: Seconds that a connection, and each piece of the answer, may take.
        most: Bytes of the body that are wanted; of a longer one a little more is returned, not all.
        deadline: When the last piece must have come, by `time.monotonic`.

    Raises:
        OSError: Nothing answers, or not in time.
        http.client.HTTPException: What answers speaks no HTTP.
        ValueError: The host's name, or the token, holds what cannot be sent; its text may quote the token.
    """
    parts = urlsplit(url)
    given = {name: value for name, value in query.items() if value is not None}
    target = f"{path}?{urlencode(given, doseq=True)}" if given else path
    sent = {**headers, "Authorization": f"Bearer {token}"} if token else dict(headers)
    connection: http.client.HTTPConnection
    if parts.scheme == "wss":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    with closing(connection):
        connection.request("GET", target, headers=sent)
        response = connection.getresponse()
        body = bytearray()
        while len(body) <= most and (piece := response.read1(65536)):
            body += piece
            if time.monotonic() > deadline:
                raise TimeoutError
    return response.status, bytes(body)


def plainly(error: Exception) -> str:
    """Return why another program told nothing, in a few words for a person."""
    match error:
        case ConnectionRefusedError():
            return "nothing listens there"
        case TimeoutError():
            return "it did not answer in time"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error) or type(error).__name__
