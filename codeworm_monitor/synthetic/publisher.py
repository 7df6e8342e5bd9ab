"""The publisher: writes messages as CodeWorm does, by its own clock and in its own zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from codeworm_monitor.synthetic.truth import Published

__all__ = ["Publisher", "time_text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Publisher:
    """Makes messages; times of logs are in UTC, of all others naive and local, as CodeWorm has them.

    Attributes:
        clock: Microseconds by which its clock is ahead.
        published: What was made and not yet taken.
    """

    def __init__(self, zone: str, clock: int) -> None:
        self.clock = clock
        self.published: list[Published] = []
        self._zone = ZoneInfo(zone)
        self._count = 0

    def local(self, stamp: int) -> str:
        """Return a time of its clock as the daemon writes local times."""
        return self.wall(stamp).isoformat()

    def wall(self, stamp: int) -> datetime:
        """Return a time of its clock as a naive local time."""
        return _time(stamp).astimezone(self._zone).replace(tzinfo=None)

    def hour(self, at: int) -> int:
        """Return the hour of the local day at a true time."""
        return _time(at + self.clock).astimezone(self._zone).hour

    def log(
        self,
        at: int,
        name: str,
        level: str = "info",
        *,
        exception: str | None = None,
        component: str = "daemon",
        **keys: Any,
    ) -> Published:
        """Publish a log line."""
        written = f"{time_text(at + self.clock)}Z"
        line = {"component": component, **keys, "event": name, "level": level, "timestamp": written}
        if exception is not None:
            line["exception"] = exception
        return self._publish(at, "logs", name, line)

    def event(self, at: int, name: str, **details: Any) -> Published:
        """Publish an event."""
        return self._publish(
            at, "events", name, {"type": name, "timestamp": self.local(at + self.clock), "data": details}
        )

    def stats(self, at: int, counters: dict[str, Any]) -> Published:
        """Publish counters."""
        return self._publish(at, "stats", "stats", {"timestamp": self.local(at + self.clock), **counters})

    def _publish(self, at: int, kind: str, name: str, payload: dict[str, Any]) -> Published:
        made = Published(self._count, at, at + self.clock, f"codeworm:{kind}", orjson.dumps(payload), f"{kind}/{name}")
        self._count += 1
        self.published.append(made)
        return made


def time_text(micros: int) -> str:
    """Return a time, microseconds since 1970, in UTC, without a zone."""
    return _time(micros).replace(tzinfo=None).isoformat()


def _time(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND
