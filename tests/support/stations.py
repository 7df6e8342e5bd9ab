"""A relay in a thread of its own, fed by the test, with a monitor that reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from codeworm_monitor.monitor import Monitor, connect
from codeworm_monitor.relay_thread import start_relay_in_thread
from codeworm_monitor.sources.memory import MemorySource

__all__ = ["EVENTS", "LOGS", "Station", "station"]

LOGS, EVENTS = "codeworm:logs", "codeworm:events"
TOKEN = "token-of-the-test-1"


class Station:
    """What a test publishes to, and the monitor that hears it.

    Args:
        name: Of the monitor.
        options: Of `connect`.
    """

    def __init__(self, name: str = "station", **options: Any) -> None:
        self.source = MemorySource()
        self.thread = start_relay_in_thread(source=self.source, port=0, token=TOKEN)
        url = f"ws://127.0.0.1:{self.thread.relay.port}/ws"
        self.monitor: Monitor = connect(url, token=TOKEN, name=name, **options)

    def publish(self, *messages: tuple[str, Any]) -> None:
        """Publish messages: channel and payload."""

        def put() -> None:
            for channel, payload in messages:
                self.source.publish(channel, payload)

        self.thread._loop.call_soon_threadsafe(put)

    def log(self, *events: str, **fields: Any) -> None:
        """Publish log lines."""
        self.publish(*((LOGS, {"event": event, "level": "info", "component": "daemon"} | fields) for event in events))

    def close(self) -> None:
        """End both."""
        self.monitor.close()
        self.thread.close()


@contextlib.contextmanager
def station(**options: Any) -> Iterator[Station]:
    """Start one, and end it."""
    made = Station(**options)
    try:
        yield made
    finally:
        made.close()
