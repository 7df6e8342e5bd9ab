"""A stand-in for Ollama: a small HTTP server with its shapes of answers, and with ways to fail.

Shapes as Ollama's API documentation and its `api/types.go` give them: `GET /api/version` and `GET /api/ps`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import orjson

QWEN = {
    "name": "qwen2.5-coder:7b",
    "model": "qwen2.5-coder:7b",
    "size": 6_591_830_464,
    "digest": "2b0496514337a3d5901f1d253d01726c890b721e891335a56d6e08cedf3e2cb0",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen2",
        "families": ["qwen2"],
        "parameter_size": "7.6B",
        "quantization_level": "Q4_K_M",
    },
    "expires_at": "2026-11-22T16:47:07.933551234-07:00",
    "size_vram": 5_333_539_264,
    "context_length": 4096,
}
"""What a release of today tells of a model, a part of which lies in main memory."""

OLDER = {
    "name": "mistral:latest",
    "model": "mistral:latest",
    "size": 5_137_025_024,
    "digest": "2ae6f6dd7a3dd734790bbbf58b8909a606e0e7e97e94b7604e0aa7ae4490e6d8",
    "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": None},
    "expires_at": "2024-06-04T14:38:31.83753-07:00",
}
"""What an early one told of a model that lies in main memory alone."""


def model(name: str = "qwen2.5-coder:7b", *, expires_in: float | None = 300.0, **words: Any) -> dict[str, Any]:
    """Return a model as Ollama tells it; `expires_in` None: kept for good, 292 years, the longest time Go knows."""
    kept = timedelta(days=106_751) if expires_in is None else timedelta(seconds=expires_in)
    expires = (datetime.now(UTC) + kept).isoformat().replace("+00:00", "123Z")
    return {**QWEN, "name": name, "model": name, "expires_at": expires, **words}


class OllamaStandIn:
    """Listens on a port of its own, in threads of its own; `with` starts it and takes it away.

    Attributes:
        mode: How it answers: `fine`, or one of the ways to fail that `_serve` knows; a status such as `500` as well.
        version: That it tells.
        models: That it tells.
        asked: Paths asked for, in order.
        most_at_once: Most requests that were under way at one time.
    """

    def __init__(self, *models: dict[str, Any], version: str = "0.12.6", mode: str = "fine") -> None:
        self.models: Any = list(models)
        self.version: Any = version
        self.mode = mode
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.most_at_once = 0
        self._under_way = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listen, on the port of before if it was stopped."""
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
        self.port = self._listener.getsockname()[1]
        self._begin(self._accept, self._listener, self._over)
        return self

    def stop(self) -> None:
        """Refuse connections, and cut those that there are."""
        self._over.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._threads.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _begin(self, target: Any, *words: Any) -> None:
        thread = threading.Thread(target=target, args=words, name="ollama-stand-in")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            self._begin(self._keep, connection, over)

    def _keep(self, connection: socket.socket, over: threading.Event) -> None:
        with connection, contextlib.suppress(OSError):
            while (head := _head(connection)) and not over.is_set():
                self.asked.append(head.split(b" ")[1].decode())
                self.hosts += [line[6:].decode() for line in head.split(b"\r\n") if line.lower().startswith(b"host: ")]
                if not self._counted(connection, over):
                    break
        with self._lock:
            self._open.discard(connection)

    def _counted(self, connection: socket.socket, over: threading.Event) -> bool:
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            return self._serve(connection, over)
        finally:
            with self._lock:
                self._under_way -= 1

    def _serve(self, connection: socket.socket, over: threading.Event) -> bool:
        """Answer one request; return whether the connection may stay."""
        body = {
            "/api/version": orjson.dumps({"version": self.version}),
            "/api/ps": orjson.dumps({"models": self.models}),
        }.get(self.asked[-1])
        match self.mode:
            case "fine" if body is not None:
                connection.sendall(_answer("200 OK", body))
                return True
            case "fine":
                connection.sendall(_answer("404 Not Found", b"404 page not found", "text/plain"))
                return True
            case "no ps" if self.asked[-1] == "/api/ps":
                connection.sendall(_answer("404 Not Found", b"404 page not found", "text/plain"))
            case "no ps" | "slow":
                over.wait(0.2 if self.mode == "slow" else 0)
                connection.sendall(_answer("200 OK", body or b""))
            case "hang":
                over.wait(60)
            case "trickle":
                for byte in _answer("200 OK", b" " * 10_000):
                    connection.sendall(bytes([byte]))
                    if over.wait(0.02):
                        break
            case "trickled head":
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.02):
                    connection.sendall(b"X: 1\r\n ")
            case "page":
                connection.sendall(_answer("200 OK", b"<html>Welcome to nginx!</html>", "text/html"))
            case "no http":
                connection.sendall(b"\x00\xff<script>\r\n" * 10)
            case "closed":
                pass
            case "large":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
                _pour(connection, over)
            case "endless":
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                _pour(connection, over)
            case "redirect":
                connection.sendall(
                    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/other\r\nContent-Length: 0\r\n\r\n"
                    % self.port
                )
            case "short":
                connection.sendall(_answer("200 OK", body or b"")[:-3])
            case "reset":
                connection.sendall(_answer("200 OK", body or b"")[:-3])
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case status if status.isdigit():
                connection.sendall(_answer(f"{status} So", b'{"error":"so"}'))
            case text:  # what it says instead of an answer
                connection.sendall(_answer("200 OK", text.encode("utf-8", "surrogatepass")))
        return False


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(4096)
        if not more:
            return b""
        head += more
    return head


def _answer(status: str, body: bytes, kind: str = "application/json; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _pour(connection: socket.socket, over: threading.Event) -> None:
    for _ in range(1600):
        connection.sendall(b" " * 65_536)
        if over.is_set():
            return
