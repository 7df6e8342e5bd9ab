"""Quiet: whether the publisher has been silent for longer than it usually is, or than it announced."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from codeworm_monitor.analysis.pauses import Pauses
from codeworm_monitor.records import AnyRecord, LogLine, WormEvent

__all__ = ["ANNOUNCING", "Quiet", "announced_by"]

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
        name, wait = None, None
        begin = record.timestamp.timestamp() if record.timestamp is not None else at
        if isinstance(record, LogLine):
            name = record.event
            if name in ANNOUNCING:
                wait = announced_by(name, record.extra, begin)
        elif isinstance(record, WormEvent):
            name = record.type
            if name == "next_cycle" and record.next_cycle_at is not None:
                wait = record.next_cycle_at.timestamp() - begin
        self.hear_named(at, name, wait)

    def hear_named(self, at: float, name: str | None, wait: float | None = None) -> None:
        """Learn likewise, without a record.

        Args:
            at: When it was read, Unix seconds.
            name: The log line's event or the event's type; None: it has none.
            wait: In how many seconds it announces the next message; None: it does not.
        """
        self.hear_any(at)
        if name in _TURNS:
            self._is_stopped = name == "daemon_stopped"
            if name in _WAITED_FOR:
                self._expected = None
        if wait is not None and 0 < wait <= FURTHEST:
            self._expected = at + wait

    def hear_any(self, at: float) -> None:
        """Learn likewise from a message that announces nothing, and of which the name does not matter."""
        heard_at, expected = self.heard_at, self._expected
        if heard_at is not None and at < heard_at - SET_BACK:
            heard_at = self.message_at = expected = self._expected = None
        if heard_at is None:
            self.heard_at = at
        else:
            begin = heard_at if expected is None or expected < heard_at else expected
            if at > begin and not (self._is_interrupted or self._is_stopped):
                self._pauses.add(at - begin)
                self._count += 1
            self.heard_at = max(heard_at, at)
        if self.message_at is None or at > self.message_at:
            self.message_at = at
        self._is_interrupted = False
        if expected is not None and expected <= at:
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


_TURNS = frozenset({"cycle_starting", "daemon_starting", "daemon_stopped", "state_loaded"})
_WAITED_FOR = frozenset({"cycle_starting", "daemon_stopped"})
ANNOUNCING = {"backing_off": "seconds", "ollama_unavailable_waiting": "retry_in_seconds", "next_scheduled_run": "time"}
"""Log events that announce the next message, each with the key under which it stands."""


def announced_by(name: str, line: Mapping[str, Any], begin: float) -> float | None:
    """Return in how many seconds a log line announces the next message.

    Args:
        name: Its event, one of `ANNOUNCING`.
        line: The payload.
        begin: When it was written, Unix seconds.
    """
    value = line.get(ANNOUNCING[name])
    if isinstance(value, str) and len(value) <= 40:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            return None
        return None if time.tzinfo is None else time.timestamp() - begin
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 else None
