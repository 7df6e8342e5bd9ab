"""HTTP on the relay's port: health, metrics and what else is asked without a WebSocket."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

__all__ = ["JSON", "TEXT", "Answer", "respond"]

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered.

    Attributes:
        status: HTTP status.
        body: Its bytes.
        content_type: Their media type.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


def respond(request: Request, answer: Answer) -> Response:
    """Return the response to a request: GET is answered, HEAD without the body, anything else 405."""
    method = getattr(request, "method", "GET")
    if method not in ("GET", "HEAD"):
        answer = Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"Only GET is answered here.\n")
    headers = Headers(
        {
            "Connection": "close",
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )
    if answer.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="codeworm_monitor"'
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD"
    body = b"" if method == "HEAD" else answer.body
    return Response(answer.status.value, answer.status.phrase, headers, body)
