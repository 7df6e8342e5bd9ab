"""What watches need in tests: records, a station that publishes, a web server that behaves as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from codeworm_monitor.records import LogLine, WormEvent
from codeworm_monitor.relay_thread import RelayThread, start_relay_in_thread
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.watching.notices import Notice, NoticeKind

LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"
NASTY = "<script>alert(1)</script>\x1b[31mred\x1b[0m\x00nul\u2028line\u202etxt <img src=x onerror=alert(2)> $(touch x) `x`; x"


def log(event: str, at: float = 0.0, **fields: Any) -> LogLine:
    return LogLine(timestamp=datetime.fromtimestamp(at, UTC), event=event, **fields)


def failed(at: float, target: str = "f", **fields: Any) -> LogLine:
    return log("documentation_failed", at, level="error", target=target, **fields)


def committed(at: float, seconds: float = 1.0, doc_type: str = "til", target: str = "done") -> LogLine:
    fields = {"commit": f"{int(at * 1000) % 2**32:08x}", "time_ms": seconds * 1000, "tokens": 7}
    return log("documentation_committed", at, level="info", target=target, doc_type=doc_type, **fields)


def event(type_: str, at: float = 0.0, **fields: Any) -> WormEvent:
    return WormEvent(timestamp=datetime.fromtimestamp(at, UTC), type=type_, **fields)


def notice(text: str = "three in a row", kind: NoticeKind = NoticeKind.FIRED, **fields: Any) -> Notice:
    values = {"time": datetime(2026, 11, 22, tzinfo=UTC), "rule": "failures >= 3", "monitor": "default"} | fields
    return Notice(kind=kind, text=text, **values)


class Station:
    """A relay in its thread, fed from the test's."""

    def __init__(self, **options: Any) -> None:
        self.options = {"port": 0, "token": "test-token-123", "heartbeat": 0.5, "no_archive": True} | options
        self.start()

    def start(self) -> None:
        self.source = MemorySource()
        self.thread: RelayThread = start_relay_in_thread(source=self.source, **self.options)
        self.options["port"] = self.thread.relay.port

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        self.thread._loop.call_soon_threadsafe(function, *args)

    def publish(self, *messages: tuple[str, Any]) -> None:
        def put() -> None:
            for channel, payload in messages:
                self.source.publish(channel, payload)

        self.call(put)

    def fail(self, count: int = 1, target: str = "f", error: str = "out of memory") -> None:
        fields = {"event": "documentation_failed", "level": "error", "target": target, "error": error}
        self.publish(*((LOGS, fields | {"timestamp": datetime.now(UTC).isoformat()}) for _ in range(count)))

    def commit(self, seconds: float = 1.0) -> None:
        fields = {"target": "done", "doc_type": "til", "commit": f"{time.monotonic_ns():x}", "time_ms": seconds * 1000}
        self.publish(
            (LOGS, {"event": "documentation_committed", "level": "info"} | fields),
            (EVENTS, {"type": "documentation_committed", "data": fields}),
        )

    def cut(self) -> None:
        server = self.thread.relay._endpoint._server  # type: ignore[union-attr]
        self.call(lambda: [one.transport.abort() for one in list(server.connections)])


class Answers(list[Any]):
    """What the web server does with the next requests: a status, or a function of the handler; at the end, 200."""


@contextlib.contextmanager
def web_server(*answers: Any) -> Iterator[tuple[str, list[dict[str, Any]], Answers]]:
    """Run a web server; yield its URL, the requests that it got, and what it will answer."""
    received: list[dict[str, Any]] = []
    waiting = Answers(answers)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.append({"path": self.path, "headers": dict(self.headers), "json": json.loads(body)})
            answer = waiting.pop(0) if waiting else 200
            if callable(answer):
                answer(self, over)
                return
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", "file:///etc/passwd")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            received.append({"path": self.path, "method": "GET"})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the other side gave up, as it was meant to

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received, waiting
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
