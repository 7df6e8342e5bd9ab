"""The journal: what befalls the relay itself, as records of its own channel in the same log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from codeworm_monitor.records import RELAY_CHANNEL
from codeworm_monitor.sources import Message

__all__ = ["RELAY_CHANNEL", "Journal"]


class Journal:
    """Writes records about the relay, and few of them even if much befalls it.

    Of one event at most `burst` records are written in `window` seconds; what more there was is counted, and told by
    the next record of that event as `unmentioned`. So a flood of connections cannot become a flood of records.

    Args:
        write: Takes the finished messages, such as `Hub.receive`.
        burst: Records of one event in one window.
        window: Seconds.
    """

    def __init__(self, write: Callable[[list[Message]], None], *, burst: int = 10, window: float = 5.0) -> None:
        self._write = write
        self._burst = burst
        self._window = window
        self._opened_at = 0.0
        self._written: Counter[str] = Counter()
        self._unmentioned: Counter[str] = Counter()

    def note(self, event: str, *, level: str = "info", **details: Any) -> None:
        """Write a record of something that just happened; `details` must fit into JSON."""
        now = time.time()
        if not 0 <= now - self._opened_at < self._window:  # a clock set back opens a new window, too
            self._opened_at = now
            self._written.clear()
        self._written[event] += 1
        if self._written[event] > self._burst:
            self._unmentioned[event] += 1
            return
        if unmentioned := self._unmentioned.pop(event, 0):
            details["unmentioned"] = unmentioned
        timestamp = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
        record = {"event": event, "level": level, "component": "relay", "timestamp": timestamp, **details}
        self._write([Message(RELAY_CHANNEL, orjson.dumps(record), now)])
