"""Activity: what the daemon is doing, since when, and whether it has been silent for too long."""

from __future__ import annotations

from typing import Any

from codeworm_monitor.activity import Activity, Snapshot, Stage
from codeworm_monitor.records import PublisherClock
from codeworm_monitor.states import values
from codeworm_monitor.states.quiet import PRIOR, Quiet
from codeworm_monitor.states.snapshots import sound

__all__ = ["ActivityState"]

_TEXTS = ("target", "repo", "doc_type", "language")
_AT_WORK = frozenset({Stage.ANALYZING, Stage.GENERATING, Stage.COMMITTED, Stage.WAITING})


class ActivityState:
    """What the daemon is doing; after a failed cycle that is `failed`, not what it did before.

    Args:
        clock: The publisher's clock, which learns elsewhere.

    Attributes:
        quiet: Learns how long silence may last.
        fold: Takes the messages that may change the state.
        is_listening: Whether the relay is heard; if not, silence is not the publisher's, and there is no limit.
        is_heard: Likewise, whether the relay hears Redis, as far as it tells.
    """

    def __init__(self, clock: PublisherClock) -> None:
        self.quiet = Quiet()
        self.is_listening = self.is_heard = True
        self._clock = clock
        self.fold = Activity(clock=clock)

    @property
    def snapshot(self) -> Snapshot:
        """The state as it was folded; texts are as long as they came."""
        return self.fold.snapshot

    @property
    def repo(self) -> str | None:
        """The repository in work."""
        snapshot = self.snapshot
        return values.text(snapshot.repo) if snapshot.stage in _AT_WORK else None

    def restart(self, snapshot: Snapshot) -> None:
        """Take the relay's state in the place of this one."""
        self.fold = Activity(sound(snapshot), clock=self._clock)

    def as_dict(self, now: float) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        snapshot = self.snapshot
        heard_at = self._heard_at(snapshot)
        return {
            "stage": str(snapshot.stage),
            "since": values.time(snapshot.since),
            "cycle_num": values.count(snapshot.cycle_num),
            **{name: values.text(getattr(snapshot, name)) for name in _TEXTS},
            "next_cycle_at": self._due_at(snapshot),
            "last_message_at": heard_at,
            "silence_limit": self._limit(snapshot, heard_at),
            "last_commit": _commit(snapshot.last_commit),
            "last_error": _error(snapshot.last_error),
        }

    def _due_at(self, snapshot: Snapshot) -> float | None:
        due = snapshot.next_cycle_at
        if due is None or snapshot.stage is Stage.BACKING_OFF:  # told as a length
            return values.time(due)
        return values.time(due - self._clock.skew.total_seconds())

    def _heard_at(self, snapshot: Snapshot) -> float | None:
        at = values.time(snapshot.last_message_at)
        return self.quiet.message_at if at is None else at

    def _limit(self, snapshot: Snapshot, heard_at: float | None) -> float | None:
        if heard_at is None or not (self.is_listening and self.is_heard) or snapshot.stage is Stage.STOPPED:
            return None
        limit = self.quiet.limit()
        if self.quiet.heard_at is None:
            return PRIOR
        # Quiet counts from the end of a gap, who reads this from the newest message.
        return None if limit is None else limit + max(0.0, self.quiet.heard_at - heard_at)


def _commit(told: dict[str, Any]) -> dict[str, Any]:
    if not told:
        return {}
    texts = {name: values.text(told.get(name)) for name in (*_TEXTS, "commit", "commit_message")}
    numbers = {"tokens": values.count(told.get("tokens")), "time_ms": values.number(told.get("time_ms"))}
    return {"at": values.time(told.get("at")), **texts, **numbers}


def _error(told: dict[str, Any]) -> dict[str, Any]:
    if not told:
        return {}
    return {
        "at": values.time(told.get("at")),
        **{name: values.text(told.get(name)) for name in ("event", "target", "error")},
    }
