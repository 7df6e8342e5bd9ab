"""CORS: what lets a page of another origin, that the relay allows, read an answer (https://fetch.spec.whatwg.org).

Only the original dashboard's REST API is opened to other origins, and only to those that the rules let in
(`access.AccessRules.check_origin`). No credentials are allowed, as no cookie means anything here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus

from websockets.http11 import Request

from codeworm_monitor.http import Answer

__all__ = ["is_preflight", "opened", "preflight_answer"]

MAX_AGE = 600
"""Seconds that a browser may remember what it was told."""


def is_preflight(request: Request) -> bool:
    """Tell whether a browser asks beforehand what a page may do."""
    return (
        getattr(request, "method", "GET") == "OPTIONS"
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def preflight_answer() -> Answer:
    """Return what is told beforehand: what may be asked, with which headers."""
    return Answer(
        HTTPStatus.NO_CONTENT,
        b"",
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": str(MAX_AGE),
        },
    )


def opened(answer: Answer, origins: Sequence[str]) -> Answer:
    """Return an answer that pages of the origin that asked may read; that it is allowed was judged before.

    Args:
        answer: What is answered.
        origins: Origin headers of the request; none: it needs none, but caches are told that it would matter.
    """
    headers = {**answer.headers, "Vary": "Origin"}
    if len(origins) == 1:
        headers["Access-Control-Allow-Origin"] = origins[0]
    return replace(answer, headers=headers)
