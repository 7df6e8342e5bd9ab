"""HTTP on the relay's port: what is answered without a WebSocket, and how it is put into a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        headers: What else its head says; goes before what every answer says.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


def respond(request: Request, answer: Answer) -> Response:
    """Return the response to a request: GET is answered, HEAD without the body, anything else 405.

    A refusal, and an answer without content (204, 304), is that to any method.
    """
    method = getattr(request, "method", "GET")
    is_empty = answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    if method not in ("GET", "HEAD") and not is_empty and answer.status < HTTPStatus.BAD_REQUEST:
        headers = {name: text for name, text in answer.headers.items() if name in _OF_ANY_METHOD}
        answer = Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"Only GET is answered here.\n", headers=headers)
    head = {"Connection": "close", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if not is_empty:
        head |= {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
    if answer.status == HTTPStatus.UNAUTHORIZED:
        head["WWW-Authenticate"] = 'Bearer realm="codeworm_monitor"'
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        head["Allow"] = "GET, HEAD"
    body = b"" if method == "HEAD" or is_empty else answer.body
    return Response(answer.status.value, answer.status.phrase, Headers({**head, **answer.headers}), body)


_OF_ANY_METHOD = frozenset({"Access-Control-Allow-Origin", "Vary"})
