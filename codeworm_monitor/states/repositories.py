"""Repositories: those that CodeWorm documents, how far it is with each, and which is in work."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from codeworm_monitor.records import PublisherClock
from codeworm_monitor.states import values
from codeworm_monitor.states.activity import ActivityState
from codeworm_monitor.states.commits import Commit
from codeworm_monitor.states.stats import StatsState

__all__ = ["RepositoriesState"]

MOST = 200
"""Repositories shown."""
MOST_HEARD = 1_000
"""Repositories of which the newest commit is remembered."""


class RepositoriesState:
    """The configured repositories in the order of the file and, behind them, others that were heard of.

    Args:
        activity: Tells which one is in work.
        stats: Counts documents.
        clock: The publisher's clock, for times that it writes without a zone.
    """

    def __init__(self, activity: ActivityState, stats: StatsState, clock: PublisherClock) -> None:
        self._activity = activity
        self._stats = stats
        self._clock = clock
        self._configured: list[dict[str, Any]] = []
        self._heard: dict[str, float] = {}

    def add_commit(self, commit: Commit) -> None:
        """Take note of a commit."""
        repo = commit.repo
        if repo is not None and (repo in self._heard or len(self._heard) < MOST_HEARD):
            self._heard[repo] = max(commit.at, self._heard.get(repo, commit.at))

    def take_repositories(self, told: Any) -> None:
        """Take the configuration: a list of `{name, weight, enabled, docs_generated, last_activity}`, others ignored."""
        self._configured = []
        for one in told[:MOST] if isinstance(told, list) else []:
            if not isinstance(one, dict) or (name := values.text(one.get("name"))) is None:
                continue
            is_enabled = one.get("enabled")
            last = one.get("last_activity")
            self._configured.append(
                {
                    "name": name,
                    "is_enabled": is_enabled if isinstance(is_enabled, bool) else None,
                    "weight": values.number(one.get("weight")),
                    "documents": values.count(one.get("docs_generated")),
                    "last_activity": last if isinstance(last, str) and len(last) <= 40 else None,
                }
            )

    def as_dict(self, now: float) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        documents, active = self._stats.documents_by_repo(), self._activity.repo
        rows = {}
        for one in self._configured:
            name, told = one["name"], one["documents"]
            counted = documents.get(name)
            times = [self._time(one["last_activity"]), self._heard.get(name)]
            rows[name] = one | {
                "documents": told if counted is None else max(counted, told or 0),
                "last_activity": max((at for at in times if at is not None), default=None),
                "is_active": name == active,
            }
        others = [*([active] if active is not None else []), *self._heard]
        if not self._configured:
            others = sorted({*documents, *others}, key=lambda name: (-documents.get(name, 0), name))
        for name in others:
            if name not in rows and len(rows) < MOST:
                rows[name] = {
                    "name": name,
                    "is_enabled": None,
                    "weight": None,
                    "documents": documents.get(name),
                    "last_activity": self._heard.get(name),
                    "is_active": name == active,
                }
        source = "configuration" if self._configured else "messages"
        return {"repositories": list(rows.values()), "source": source}

    def _time(self, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                at = at.replace(tzinfo=timezone(self._clock.utc_offset))
            return values.time(at.timestamp())
        except (ValueError, OverflowError):
            return None
