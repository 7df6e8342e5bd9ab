"""A relay that does what a test says, protocol faults included: a plain `websockets` server with a numbered log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from codeworm_monitor import frames
from codeworm_monitor.envelope import Cursor, Envelope

Behaviour = Callable[[ServerConnection], Awaitable[None]]


class ScriptedRelay:
    """Speaks v2 as well as a relay, until `behaviours` says otherwise for the next connections, one each."""

    def __init__(self, *, epoch: str = "epoch-1", token: str | None = None, heartbeat: float = 15.0) -> None:
        self.epoch = epoch
        self.token = token
        self.heartbeat = heartbeat
        self.log: list[Any] = []
        self.behaviours: list[Behaviour] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.connected = 0
        self.subprotocol: str | None = frames.SUBPROTOCOL
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def publish(self, *payloads: Any) -> None:
        self.log += payloads

    def hello(self, **changes: Any) -> bytes:
        values = {
            "version": "test",
            "epoch": self.epoch,
            "oldest": 1,
            "head": len(self.log),
            "channels": ["codeworm:logs"],
            "snapshot": {},
            "limits": {"heartbeat_seconds": self.heartbeat},
            "time": time.time(),
        }
        return frames.encode_v2(frames.Hello(**values | changes))

    def batch(self, first: int, last: int) -> bytes:
        return frames.encode_v2(
            [
                Envelope(offset, time.time(), "codeworm:logs", orjson.dumps(self.log[offset - 1]))
                for offset in range(first, last + 1)
            ]
        )

    async def greet(self, connection: ServerConnection) -> int:
        """Say hello, read `subscribe`, answer; return the offset that delivery starts after."""
        await connection.send(self.hello(), text=True)
        request = orjson.loads(await connection.recv())
        self.requests.append(request)
        start, recovered = len(self.log), None
        match request["since"]:
            case {"cursor": text}:
                cursor = Cursor.parse(text)
                recovered = cursor.epoch == self.epoch
                start = cursor.offset if recovered else 0
            case {"tail": tail}:
                start = max(0, len(self.log) - tail)
        answer = frames.Subscribed(
            cursor=Cursor(self.epoch, start), recovered=recovered, reason=None if recovered is not False else "epoch"
        )
        await connection.send(frames.encode_v2(answer), text=True)
        return start

    async def serve_log(self, connection: ServerConnection) -> None:
        sent = await self.greet(connection)
        while connection.state is State.OPEN:
            if sent < len(self.log):
                await connection.send(self.batch(sent + 1, len(self.log)), text=True)
                sent = len(self.log)
            await asyncio.sleep(0.01)

    def cut(self) -> None:
        """Cut all connections, as a crash does."""
        assert self._server is not None
        for connection in list(self._server.connections):
            connection.transport.abort()

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(dict(request.headers.raw_items()))
        self.paths.append(request.path)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "A token is wanted.\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        self.connected += 1
        behaviour = self.behaviours.pop(0) if self.behaviours else self.serve_log
        with contextlib.suppress(ConnectionClosed):
            await behaviour(connection)

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[ScriptedRelay]:
        async with serve(
            self._handle,
            "127.0.0.1",
            port,
            subprotocols=[Subprotocol(frames.SUBPROTOCOL)] if self.subprotocol else None,
            process_request=self._check,
            compression=None,
            close_timeout=0.5,
        ) as self._server:
            self.port = next(iter(self._server.sockets)).getsockname()[1]
            yield self
            self.cut()
