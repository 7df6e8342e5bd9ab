"""Commits: the documents that were committed, as far as they were heard of."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from codeworm_monitor.states import values

__all__ = ["Commit", "CommitsState"]

SHOWN = 50
KEPT = 20_000
"""Commits that are remembered: some months."""
_SAME = 0.01
"""Seconds within which two readings of a time are one."""
_at = attrgetter("at")


class Commit(NamedTuple):
    """A document that was committed; None: not told.

    Attributes:
        at: When the relay read that, Unix seconds.
        target: What it is about.
        repo: Repository.
        doc_type: Kind of document.
        language: Programming language.
        commit: Hash.
        commit_message: Its first line.
        tokens: Tokens generated.
        seconds: What the generation took.
    """

    at: float
    target: str | None = None
    repo: str | None = None
    doc_type: str | None = None
    language: str | None = None
    commit: str | None = None
    commit_message: str | None = None
    tokens: int | None = None
    seconds: float | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any], at: float) -> Commit:
        """Return the commit that the payload of an event `documentation_committed` tells."""
        told = event.get("data")
        return cls._read(at, told if isinstance(told, dict) else {}, None)

    @classmethod
    def from_dict(cls, told: Any) -> Commit | None:
        """Return the commit that a dict tells, with the names of the fields; `time_ms` may stand for `seconds`.

        None: it tells no time.
        """
        if not isinstance(told, dict) or (at := values.time(told.get("at"))) is None:
            return None
        return cls._read(at, told, values.number(told.get("seconds")))

    @classmethod
    def _read(cls, at: float, told: dict[str, Any], seconds: float | None) -> Commit:
        if seconds is None and (milliseconds := values.number(told.get("time_ms"))) is not None:
            seconds = milliseconds / 1000
        return cls(
            at=at,
            tokens=values.count(told.get("tokens")),
            seconds=seconds if seconds is not None and seconds >= 0 else None,
            **{name: values.text(told.get(name)) for name in _TEXTS},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, and `tokens_per_second`."""
        speed = self.tokens / self.seconds if self.tokens is not None and self.seconds else None
        return {**self._asdict(), "tokens_per_second": None if speed is None else values.number(round(speed, 2))}


_TEXTS = ("target", "repo", "doc_type", "language", "commit", "commit_message")


class CommitsState:
    """The newest commits, in the order of their times; memory is bounded by `KEPT`."""

    def __init__(self) -> None:
        self._commits: list[Commit] = []
        self._forgotten = 0

    @property
    def count(self) -> int:
        """How many were heard of."""
        return len(self._commits) + self._forgotten

    @property
    def newest(self) -> Commit | None:
        """The newest one; None: none was heard of."""
        return self._commits[-1] if self._commits else None

    def add(self, commit: Commit) -> None:
        """Add one."""
        if self._commits and commit.at < self._commits[-1].at:
            insort(self._commits, commit, key=_at)
        else:
            self._commits.append(commit)
        if len(self._commits) > KEPT:
            over = len(self._commits) - KEPT + KEPT // 10  # some at once: a list is not made to lose its first one
            del self._commits[:over]
            self._forgotten += over

    def seed(self, commits: Iterable[Commit]) -> list[Commit]:
        """Add those that are not here yet; return them."""
        known: dict[tuple[str | None, ...], list[float]] = {}
        for one in self._commits:
            known.setdefault(_identity(one), []).append(one.at)
        added = []
        for one in commits:
            times = known.setdefault(_identity(one), [])
            if not any(abs(one.at - at) < _SAME for at in times):
                times.append(one.at)
                added.append(one)
        self._commits = sorted([*self._commits, *added], key=_at)[-KEPT:]
        return added

    def since(self, at: float) -> Sequence[Commit]:
        """Return those after a time, Unix seconds, the oldest first."""
        return self._commits[bisect_right(self._commits, at, key=_at) :]

    def last(self, count: int) -> Sequence[Commit]:
        """Return the newest ones, the oldest first."""
        return self._commits[-count:] if count > 0 else []

    def between(self, begin: float, end: float) -> int:
        """Return how many there are from a time until before another, Unix seconds."""
        return bisect_left(self._commits, end, key=_at) - bisect_left(self._commits, begin, key=_at)

    def as_dict(self, now: float) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        return {"commits": [one.as_dict() for one in reversed(self.last(SHOWN))], "count": self.count}


def _identity(commit: Commit) -> tuple[str | None, ...]:
    return commit.commit, commit.target, commit.repo
