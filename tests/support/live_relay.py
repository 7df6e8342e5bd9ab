"""A real Redis and a relay in front of it, for tests that have no event loop of their own."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import redis

from support.servers import free_port, server_program
from support.waiting import until

__all__ = ["LOGS", "LiveRelay", "live_relay", "log_line", "recorded_messages"]

DATA = Path(__file__).parents[1] / "data"
LOGS = "codeworm:logs"
TOKEN = "of-the-test"


def recorded_messages(name: str = "recording-1") -> list[tuple[str, bytes]]:
    """Return channel and payload of each message of a recording."""
    with gzip.open(DATA / f"{name}.jsonl.gz") as lines:
        return [(one["channel"], one["payload"].encode()) for one in map(orjson.loads, lines)]


def log_line(event: str, **details: Any) -> tuple[str, bytes]:
    """Return a log line as it is published: channel and payload."""
    said = {"event": event, "level": "info", "component": "daemon", "timestamp": "2026-11-22T22:00:00Z"}
    return LOGS, orjson.dumps({**said, **details})


class LiveRelay:
    """A Redis and a relay, each a process.

    Args:
        folder: Where the relay keeps its archive and announces itself.
        options: Further words of the relay's command line.

    Attributes:
        port: Of the relay, the same at each start.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.redis_port = free_port()
        self._redis: subprocess.Popen[bytes] | None = None
        self._relay: subprocess.Popen[bytes] | None = None
        self._client = redis.Redis(port=self.redis_port)

    @property
    def address(self) -> str:
        """The arguments of `connect`, as text of a cell."""
        return f'"ws://127.0.0.1:{self.port}/ws", token="{TOKEN}"'

    @property
    def page(self) -> str:
        """The address of the dashboard's page, with its token."""
        return f"http://127.0.0.1:{self.port}/#token={TOKEN}"

    def open(self) -> None:
        """Start both."""
        words = ["--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        with (self.folder / "redis.log").open("ab") as log:
            command = [server_program("redis"), *words, "--appendonly", "no"]
            self._redis = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: _listens(self.redis_port), within=30)
        self.start()

    def start(self) -> None:
        """Start the relay, and wait until it hears Redis."""
        foreign = ("CODEWORM", "REDIS_", "OLLAMA", "XDG_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {"CODEWORM_MONITOR_RUNTIME_DIR": str(self.folder / "announcements"), "CODEWORM_MONITOR_TOKEN": TOKEN}
        own |= {"XDG_DATA_HOME": str(self.folder / "data"), "XDG_CONFIG_HOME": str(self.folder / "config")}
        words = ["relay", "--port", str(self.port), "--redis-url", f"redis://127.0.0.1:{self.redis_port}"]
        with (self.folder / "relay.log").open("ab") as log:
            self._relay = subprocess.Popen(
                [sys.executable, "-m", "codeworm_monitor", *words, *self.options],
                cwd=self.folder,
                env={**inherited, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._hears, within=30)

    def _hears(self) -> bool:
        assert self._relay is not None
        assert self._relay.poll() is None, (self.folder / "relay.log").read_text()
        return self._subscribers() > 0 and _listens(self.port)

    def _subscribers(self) -> int:
        ((_, number),) = self._client.pubsub_numsub(LOGS)
        return int(number)

    def stop(self) -> None:
        """Stop the relay, as `systemctl stop` does."""
        _end(self._relay)
        self._relay = None
        until(lambda: self._subscribers() == 0)

    @property
    def pid(self) -> int:
        """The relay's process."""
        assert self._relay is not None
        return self._relay.pid

    def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish messages, as fast as Redis takes them."""
        pipeline = self._client.pipeline(transaction=False)
        for channel, payload in messages:
            pipeline.publish(channel, payload)
        pipeline.execute()

    def close(self) -> None:
        """End both."""
        self._client.close()
        _end(self._relay)
        _end(self._redis)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def live_relay(*options: str) -> Iterator[LiveRelay]:
    """Start a Redis and a relay of this user's name, and end both afterwards."""
    with tempfile.TemporaryDirectory(prefix="codeworm-test-") as folder:
        relay = LiveRelay(Path(folder), *options)
        try:
            relay.open()
            yield relay
        finally:
            relay.close()
