"""Quiet: whether the publisher has been silent for longer than it usually is, or than it announced."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from codeworm_monitor.analysis.pauses import Pauses
from codeworm_monitor.records import AnyRecord, LogLine, WormEvent

__all__ = ["Quiet"]

PRIOR = 45 * 60.0
"""Seconds of quiet allowed until enough is learnt: after as long without a commit the daemon itself raises an alarm."""
ENOUGH = 50
"""Pauses from which on the limit is learnt."""
SET_BACK = 60.0
"""Seconds by which a message that seems older than the one before it tells that the clock was set back."""
FURTHEST = 86_400.0
"""Seconds: what is announced for later than this is not believed."""


class Quiet:
    """Learns pauses between messages, and tells how long it may be quiet: the rule of `analysis.silence`, without pandas.

    A pause counts from the newest message, or from what that announced (a cycle, a retry, the end of backing off).
    Those in which nobody listened, or the daemon was stopped, are not learnt.
    """

    def __init__(self) -> None:
        self.heard_at: float | None = None
        """When the newest message was read, or a gap after it ended, Unix seconds; None: none was."""
        self.message_at: float | None = None
        """When the newest message was read; None: none was."""
        self._pauses = Pauses()
        self._count = 0
        self._expected: float | None = None
        self._is_stopped = False
        self._is_interrupted = False

    def hear(self, at: float, record: AnyRecord) -> None:
        """Learn from a message that the relay read at a time, in Unix seconds."""
        name = record.event if isinstance(record, LogLine) else record.type if isinstance(record, WormEvent) else None
        self._learn(at, is_start=name == "cycle_starting")
        if name == "daemon_stopped":
            self._is_stopped, self._expected = True, None
        elif name in ("daemon_starting", "cycle_starting", "state_loaded"):
            self._is_stopped = False
        if (wait := _announced(name, record, at)) is not None and 0 < wait <= FURTHEST:
            self._expected = at + wait

    def hear_any(self, at: float) -> None:
        """Learn likewise from a message that announces nothing: the same as `hear` for most, without a record."""
        self._learn(at, is_start=False)

    def _learn(self, at: float, *, is_start: bool) -> None:
        if self.heard_at is not None and at < self.heard_at - SET_BACK:
            self.heard_at = self.message_at = self._expected = None
        begin = self._begin
        if begin is not None and at > begin and not (self._is_interrupted or self._is_stopped):
            self._pauses.add(at - begin)
            self._count += 1
        self.heard_at = at if self.heard_at is None else max(at, self.heard_at)
        self.message_at = at if self.message_at is None else max(at, self.message_at)
        self._is_interrupted = False
        if self._expected is not None and (self._expected <= at or is_start):
            self._expected = None

    def miss(self, until: float) -> None:
        """Learn that nobody listened until a time, in Unix seconds: quiet is counted anew."""
        self._is_interrupted = True
        if self.heard_at is not None:
            self.heard_at = max(self.heard_at, until)

    def limit(self) -> float | None:
        """Return for how many seconds after the newest message it may be quiet; None: for ever, or not known."""
        if self.heard_at is None or self._is_stopped:
            return None
        announced = 0.0 if self._expected is None else max(0.0, self._expected - self.heard_at)
        if self._count < ENOUGH or self._pauses.count < ENOUGH:
            return max(PRIOR, announced + 5.0)
        usual = max(PRIOR, 3 * self._pauses.quantile(0.95))
        return announced + max(5.0, min(usual, 3 * self._pauses.quantile(0.995)))

    @property
    def _begin(self) -> float | None:
        if self.heard_at is None or self._expected is None:
            return self.heard_at
        return max(self.heard_at, self._expected)


def _announced(name: str | None, record: AnyRecord, at: float) -> float | None:
    """Return in how many seconds a record announces the next message."""
    begin = record.timestamp.timestamp() if record.timestamp is not None else at
    if isinstance(record, WormEvent):
        return (
            None if name != "next_cycle" or record.next_cycle_at is None else record.next_cycle_at.timestamp() - begin
        )
    value: Any = None
    match name:
        case "backing_off":
            value = record.extra.get("seconds")
        case "ollama_unavailable_waiting":
            value = record.extra.get("retry_in_seconds")
        case "next_scheduled_run":
            value = record.extra.get("time")
    if isinstance(value, str) and len(value) <= 40:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            return None
        return None if time.tzinfo is None else time.timestamp() - begin
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 else None
