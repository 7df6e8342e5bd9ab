"""Endings: how documentation cycles end, one after the other, from the messages as they come."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from codeworm_monitor.records import AnyRecord, Kind, LogLine, WormEvent

__all__ = ["ENDING_NAMES", "Ending", "Endings"]

_REMEMBERED = 256
"""Newest endings that are known again if they are told twice."""

ENDING_NAMES: dict[Kind, tuple[str, ...]] = {
    Kind.LOGS: (
        "cycle_starting",
        "documentation_committed",
        "documentation_failed",
        "llm_error",
        "dry_run_complete",
        "scheduled_task_error",
        "backing_off",
    ),
    Kind.EVENTS: ("cycle_starting", "documentation_committed"),
}
"""What must be read: of logs the `event`, of events the `type`."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one cycle.

    Attributes:
        at: When it was told, Unix seconds.
        outcome: committed, failed, llm_error or dry_run.
        target: What was documented.
        error: What failed.
        doc_type: Kind of document; empty if it is not told.
        seconds: How long the generation took; None: not told, or not finished.
    """

    at: float
    outcome: str
    target: str | None = None
    error: str | None = None
    doc_type: str = ""
    seconds: float | None = None

    @property
    def is_failure(self) -> bool:
        """Whether it ended without a document that was wanted."""
        return self.outcome in ("failed", "llm_error")


class Endings:
    """Finds the endings among records in the order of the relay's log.

    A commit is told twice, by the logs and by the events; either is enough. What comes twice with the same words counts
    once. A `scheduled_task_error` is a failure only of a cycle that began and has not ended; a `documentation_failed` of
    the target that was just committed is about what follows the commit. Skipped and interrupted cycles end nothing.

    Attributes:
        told_failures: What the daemon itself said last of its failures in a row, since it last ended a cycle well.
    """

    def __init__(self) -> None:
        self.told_failures = 0
        self._known: deque[tuple[object, ...]] = deque(maxlen=_REMEMBERED)
        self._is_open = False
        self._committed: str | None = None  # target of the newest cycle, if that ended well

    def take(self, record: AnyRecord, at: float) -> Ending | None:
        """Take a record received at a time (Unix seconds); return the ending that it tells, if it is news."""
        match record:
            case LogLine(event=str(name)):
                return self._take(name, record, at)
            case WormEvent(type="cycle_starting" | "documentation_committed" as name):
                return self._take(name, record, at)
        return None

    def _take(self, name: str, record: LogLine | WormEvent, at: float) -> Ending | None:
        match name:
            case "cycle_starting":
                self._is_open, self._committed = True, None
            case "backing_off":
                told = record.extra.get("consecutive_failures")
                if type(told) is int and 0 < told < 1_000_000:
                    self.told_failures = told
            case "documentation_committed":
                # Without a hash the second telling is known by there being no cycle that it could end.
                is_first = self._is_open if record.commit is None else True
                if is_first and self._is_news(name, record.commit, record.target, record.tokens, record.time_ms):
                    self._is_open, self._committed, self.told_failures = False, record.target, 0
                    return _ending("committed", record, at)
            case "dry_run_complete":
                if self._is_news(name, record.timestamp, record.target, record.time_ms):
                    self._is_open, self.told_failures = False, 0
                    return _ending("dry_run", record, at)
            case "documentation_failed" | "llm_error":
                after_commit = self._committed is not None and record.target == self._committed and not self._is_open
                if not after_commit and self._is_news(name, record.timestamp, record.target):
                    self._is_open, self._committed = False, None
                    return _ending("llm_error" if name == "llm_error" else "failed", record, at)
            case "scheduled_task_error":
                if self._is_open and self._is_news(name, record.timestamp):
                    self._is_open = False
                    return _ending("failed", record, at)
        return None

    def _is_news(self, *words: object) -> bool:
        if words[1] is None:  # without a time, or a hash, no two can be told apart
            return True
        if words in self._known:
            return False
        self._known.append(words)
        return True


def _ending(outcome: str, record: LogLine | WormEvent, at: float) -> Ending:
    error = record.error if isinstance(record, LogLine) else None
    seconds = None
    if outcome == "committed" and record.time_ms is not None and 0 <= record.time_ms < 1e12:
        seconds = record.time_ms / 1000
    return Ending(at, outcome, record.target, error, record.doc_type or "", seconds)
