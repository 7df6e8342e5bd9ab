"""A relay that tells what a test says: canned answers over HTTP, and a clock of its own at the opening of a WebSocket."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from support.scripted_relay import ScriptedRelay


class FakedRelay(ScriptedRelay):
    """Answers `/livez`, `/readyz` and `/info` as a relay with which all is well, until `answers` says otherwise.

    Attributes:
        answers: Status and body by path.
        ahead: Seconds by which its clock is ahead.
    """

    def __init__(self, *, ahead: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.ahead = ahead
        self.answers: dict[str, tuple[int, bytes]] = {
            "/livez": (200, b"alive\n"),
            "/readyz": (200, b"ready\n"),
            "/info": (200, orjson.dumps({"statistics": {"is_connected": True}, "snapshot": {}})),
        }

    def tell(self, path: str, value: Any, status: int = 200) -> None:
        """Answer a path with a JSON value."""
        self.answers[path] = status, orjson.dumps(value)

    def hello(self, **changes: Any) -> bytes:
        return super().hello(time=time.time() + self.ahead, **changes)

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path in ("/livez", "/readyz") or (refused := super()._check(connection, request)) is None:
            if path == "/ws":
                return None
            status, body = self.answers.get(path, (404, b"Nothing is here.\n"))
            return connection.respond(HTTPStatus(status), body.decode())
        return refused
