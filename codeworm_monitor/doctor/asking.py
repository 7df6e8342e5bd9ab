"""Asking a relay, for those who load no pandas: where it is, and what it answers over HTTP, bounded in time and size."""

from __future__ import annotations

import http.client
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from codeworm_monitor import discovery
from codeworm_monitor.errors import ConnectError, RelayNotFoundError, SettingError, TokenRefusedError
from codeworm_monitor.settings import ENVIRONMENT_PREFIX
from codeworm_monitor.told import http_get, plainly

__all__ = ["Reply", "Whereabouts", "fetch", "fetch_json", "find_relay"]

MAX_ANSWER = 16 * 2**20
"""Bytes read of one answer: those asked for here have some thousands, a page of history a few million at most."""
_SAID = 200


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a relay is.

    Attributes:
        url: WebSocket URL, without the token.
        token: What to present; None: nothing. Not shown by `repr`.
        was_given_token: Whether somebody named the token; it counts then, whatever the relay announced.
        is_announced: Whether a relay of this user on this machine announced itself there.
        was_named: Whether somebody named it, by option or environment.
        is_replay: Whether it serves the past.
        version: What it announced of its version; else empty.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    was_given_token: bool = False
    is_announced: bool = False
    was_named: bool = False
    is_replay: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered.

    Attributes:
        status: HTTP status.
        body: Its bytes.
    """

    status: int
    body: bytes = field(repr=False)

    @property
    def said(self) -> str:
        """The beginning of its text, in one line."""
        return " ".join(self.body[: 4 * _SAID].decode(errors="replace").split())[:_SAID]


def find_relay(url: str | None = None, token: str | None = None) -> Whereabouts:
    """Return where the relay is that `connect()` would take: the one named, else the newest of this user, else the default.

    Args:
        url: WebSocket or HTTP URL; None: the environment's `CODEWORM_MONITOR_URL`, else it is looked for.
        token: What to present; None: the one in the URL, else the environment's `CODEWORM_MONITOR_TOKEN`, else what the
            relay announced.

    Raises:
        SettingError: The URL cannot be used.
    """
    url = url or os.environ.get(f"{ENVIRONMENT_PREFIX}URL") or None
    was_named = url is not None
    found: str | None = None
    if url is not None:
        try:
            url, found = discovery.relay_url(url)
        except ValueError as error:
            raise SettingError("url", str(error)) from None
    token = token or found or os.environ.get(f"{ENVIRONMENT_PREFIX}TOKEN") or None
    announced = next(iter(discovery.find(url)), None)
    if announced is None:
        place = url or discovery.DEFAULT_URL
        return Whereabouts(place, token, was_given_token=token is not None, was_named=was_named)
    return Whereabouts(
        url or announced.url,
        token or announced.token,
        was_given_token=token is not None,
        is_announced=True,
        was_named=was_named,
        is_replay=announced.is_replay,
        version=announced.version,
    )


def fetch(
    place: Whereabouts, path: str, *, within: float, headers: Mapping[str, str] | None = None, **query: Any
) -> Reply:
    """Return what a relay answers to GET; follows no redirect, takes no proxy. Blocks this thread.

    Args:
        place: The relay; wss is asked by https.
        path: Such as `/info`.
        within: Seconds for each step of it, and, between pieces of the answer, for all; see `bounding` for a firm bound.
        headers: Further headers.
        query: Parameters; None: not given.

    Raises:
        RelayNotFoundError: Nothing answers, or not in time, or no HTTP.
    """
    try:
        status, body = http_get(
            place.url,
            place.token,
            path,
            query,
            headers={"Accept": "application/json, text/plain", **(headers or {})},
            timeout=within,
            most=MAX_ANSWER,
            deadline=time.monotonic() + within,
        )
        if len(body) > MAX_ANSWER:
            raise OSError(f"the answer has over {MAX_ANSWER:,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a token that fits no header
        raise RelayNotFoundError(_plainly(error)) from None  # what it came from may quote the token
    return Reply(status, body)


def fetch_json(place: Whereabouts, path: str, *, within: float, **query: Any) -> Any:
    """Return what a relay answers to GET, decoded.

    Raises:
        RelayNotFoundError: See `fetch`.
        TokenRefusedError: The relay wants a token, or another one.
        ConnectError: It answers something else than what was asked for.
    """
    reply = fetch(place, path, within=within, **query)
    if reply.status == HTTPStatus.UNAUTHORIZED:
        raise TokenRefusedError(reply.said)
    if reply.status != HTTPStatus.OK:
        raise ConnectError(f"it answered {reply.status} to {path}: {reply.said}")
    try:
        return orjson.loads(reply.body)
    except ValueError as error:
        raise ConnectError(f"what it answered to {path} cannot be read: is it another program?") from error


def _plainly(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}): name your authority's in SSL_CERT_FILE"
        case ssl.SSLError():
            return "it does not speak TLS as expected: is ws:// meant, not wss://?"
        case http.client.HTTPException():
            return "what listens there speaks no HTTP"
        case ValueError():
            return "its host name, or the token, holds characters that cannot be sent"
        case _:
            return plainly(error)
