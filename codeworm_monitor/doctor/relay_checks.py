"""Checks of the relay: whether it is reached, hears, and lets us in: by token, by name, by a page's origin."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from shlex import quote
from urllib.parse import urlsplit

from codeworm_monitor.doctor.asking import fetch
from codeworm_monitor.doctor.case import Case, Finding, Outcome
from codeworm_monitor.errors import ConnectError, TokenRefusedError

__all__ = ["check_relay"]

_TOKEN = (
    "give the token that it showed when it started: --token …, or CODEWORM_MONITOR_TOKEN; "
    "a relay makes a new one at each start unless its own --token sets it"
)


def check_relay(case: Case) -> Iterator[Finding]:
    """Look at the relay as a notebook would."""
    place = case.place
    try:
        alive = fetch(place, "/livez", within=case.step)
    except ConnectError as error:
        yield Finding(
            "relay.reachable",
            Outcome.FAILED,
            f"no relay answers at {place.url}: {error}",
            "start it: python -m codeworm_monitor; or name it: --url ws://HOST:8765/ws",
        )
        return
    if alive.status == HTTPStatus.FORBIDDEN:
        yield Finding("relay.reachable", Outcome.OK, f"{place.url} answers")
        host = urlsplit(place.url).hostname or "NAME"
        yield Finding("relay.host", Outcome.FAILED, alive.said, f"start the relay with --allowed-host {quote(host)}")
        return
    if alive.status != HTTPStatus.OK or not alive.body.startswith(b"alive"):
        yield Finding(
            "relay.reachable",
            Outcome.FAILED,
            f"what answers at {place.url} is no relay (status {alive.status})",
            "name the relay: --url ws://HOST:8765/ws; or free its port, or have it take another with --port",
        )
        return
    yield Finding("relay.reachable", Outcome.OK, f"{place.url} answers, also under that name")
    yield from _hears(case)
    yield from _token(case)
    if case.origin is not None:
        yield _origin(case, case.origin)


def _hears(case: Case) -> Iterator[Finding]:
    try:
        ready = fetch(case.place, "/readyz", within=case.step)
    except ConnectError as error:
        yield Finding("relay.hears", Outcome.FAILED, f"/readyz does not answer: {error}", "restart the relay")
        return
    if ready.status == HTTPStatus.OK:
        yield Finding("relay.hears", Outcome.OK, "it hears Redis")
        return
    first = ready.body.decode(errors="replace").partition("\n")[0]
    yield Finding(
        "relay.hears",
        Outcome.FAILED,
        f"it is {first}" if first.startswith("deaf") else f"/readyz answers {ready.status}: {first}",
        "mend what the checks of redis say; the relay then returns by itself",
    )


def _token(case: Case) -> Iterator[Finding]:
    try:
        case.info()
    except TokenRefusedError as error:
        yield Finding("relay.token", Outcome.FAILED, str(error), _TOKEN)
        return
    except ConnectError as error:
        yield Finding("relay.token", Outcome.FAILED, f"/info: {error}", "bring relay and this side to one release")
        return
    yield Finding("relay.token", Outcome.OK, "the token is right" if case.place.token else "it wants no token")
    try:
        case.clock()
    except ConnectError as error:
        yield Finding(
            "relay.websocket",
            Outcome.FAILED,
            f"HTTP is answered, but no WebSocket is opened: {error}",
            "have what lies between pass it on (nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade, "
            'proxy_set_header Connection "upgrade"), and see that the URL ends in the relay\'s --path',
        )
        return
    yield Finding("relay.websocket", Outcome.OK, "a WebSocket is opened, and greeted")


def _origin(case: Case, origin: str) -> Finding:
    try:
        reply = fetch(case.place, "/info", within=case.step, headers={"Origin": origin})
    except ConnectError as error:
        return Finding("relay.origin", Outcome.FAILED, str(error), "see relay.reachable")
    if reply.status == HTTPStatus.FORBIDDEN:
        mend = f"start the relay with --v1-origin {quote(origin)}"
        return Finding("relay.origin", Outcome.FAILED, f"pages of {origin} are refused: {reply.said}", mend)
    if reply.status == HTTPStatus.UNAUTHORIZED:
        return Finding("relay.origin", Outcome.FAILED, f"pages of {origin} need a token", _TOKEN)
    return Finding("relay.origin", Outcome.OK, f"pages of {origin} are let in")
