"""Stats: how many documents there are and how the cycles went, by what the daemon, its database and its messages say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from codeworm_monitor.activity import Counters, Snapshot, Stage
from codeworm_monitor.health import FAILED_EVENTS, SUCCEEDED_EVENTS
from codeworm_monitor.records import PublisherClock
from codeworm_monitor.states import values
from codeworm_monitor.states.commits import Commit, CommitsState

__all__ = ["STATS_EVENTS", "StatsState"]

HOUR, DAY = 3600, 86_400
HOURS = 24
SHOWN = 50
"""Names shown of each kind."""
MOST_NAMES = 1_000
"""Names counted of each kind."""
ON_THE_WAY = 2
"""Documents that may be in the database while their events are still to come."""

STATS_EVENTS = (
    FAILED_EVENTS
    | SUCCEEDED_EVENTS
    | {"backing_off", "cycle_skipped_no_candidates", "cycle_stats", "daemon_starting", "state_loaded"}
)
"""Log events that change the counters."""

_CYCLES = ("total_cycles", "successful_cycles", "failed_cycles", "skipped_cycles")


@dataclass
class _Reading:
    """What the database said, and how many of the newest commits it does not hold; below 0: it has some to come."""

    at: float
    total: int
    today: int
    last_7_days: int
    last_30_days: int
    by_repo: dict[str, int]
    by_language: dict[str, int]
    by_doc_type: dict[str, int]
    missing: int = 0


class StatsState:
    """Counts; each follows the messages between two readings of where it comes from.

    - Documents: the daemon's stats, or the database, whichever says more, and what was committed since.
    - By language and type, and by days: the database and what was committed since it was read; without one, what was
      heard of.
    - Cycles: the daemon's stats, which come only after a success, and what its log told since; they begin at 0 with it.

    Args:
        commits: The commits that were heard of; add to them before `add_commit`.
        clock: The publisher's clock, for its midnight.

    Attributes:
        heard_since: From when on all is known, Unix seconds; None: nothing was heard.
    """

    def __init__(self, commits: CommitsState, clock: PublisherClock) -> None:
        self.heard_since: float | None = None
        self._commits = commits
        self._clock = clock
        self._cycles: dict[str, int | None] = dict.fromkeys(_CYCLES)
        self._told_rate: float | None = None
        self._in_a_row: int | None = None
        self._total: int | None = None
        self._last_7_days: int | None = None
        self._by_repo: Counter[str] = Counter()
        self._told_at = -math.inf  # the counters are of then: what came before is in them
        self._heard: dict[str, Counter[str]] = {name: Counter() for name in ("language", "doc_type", "repo")}
        self._reading: _Reading | None = None

    @property
    def total(self) -> int | None:
        """Documents in all."""
        reading = self._reading
        if reading is None:
            return self._total
        return max(reading.total + max(0, reading.missing), self._total or 0)

    def restart(self, snapshot: Snapshot, *, is_same_log: bool) -> None:
        """Take the counters that a relay told.

        They come with successes: those of the newest commit are of that moment, and what is replayed from before it is
        in them.

        Args:
            snapshot: A sound one.
            is_same_log: Whether the numbering is the one before: then what was heard of is known as well or better.
        """
        counters = snapshot.counters
        is_told = any(getattr(counters, name) is not None for name in (*_CYCLES, "total_documented"))
        if not is_told or (is_same_log and self._total is not None):
            return
        self._cycles = {name: values.count(getattr(counters, name)) for name in _CYCLES}
        self._told_rate = counters.success_rate
        begun, ended = values.count(snapshot.cycle_num), self._cycles["total_cycles"]
        if begun is not None and ended is not None and begun < ended:  # of the daemon before the present one
            self._cycles, self._told_rate = dict.fromkeys(_CYCLES), None
        self._in_a_row = None if _failed_since(snapshot) else values.count(counters.consecutive_failures)
        self._total, self._last_7_days = values.count(counters.total_documented), values.count(counters.last_7_days)
        self._by_repo = Counter(values.name_counts(counters.by_repo))
        told_at = values.time(snapshot.last_commit.get("at"))
        if snapshot.stage is Stage.COMMITTED and snapshot.since is not None:  # its stats come once it is pushed
            told_at = math.nextafter(snapshot.since, -math.inf)
        told_at = values.time(snapshot.last_message_at) if told_at is None else told_at
        self._told_at = -math.inf if told_at is None else told_at

    def take_stats(self, stats: Counters) -> None:
        """Take the daemon's own counters."""
        told = {name: values.count(getattr(stats, name)) for name in _CYCLES}
        if any(value is not None for value in told.values()):
            self._take_cycles(told, stats.success_rate, values.count(stats.consecutive_failures))
        if (total := values.count(stats.total_documented)) is not None:
            self._total, self._told_at = total, -math.inf
            self._by_repo = Counter(values.name_counts(stats.by_repo))
        if (days := values.count(stats.last_7_days)) is not None:
            self._last_7_days = days

    def take_log(self, name: str, line: Mapping[str, Any], at: float) -> None:
        """Take a log line whose event, one of `STATS_EVENTS`, is `name`.

        Args:
            name: Its event.
            line: The payload.
            at: When it was read, Unix seconds.
        """
        if name in FAILED_EVENTS:
            if at > self._told_at:
                self._in_a_row = (self._in_a_row or 0) + 1
            self._count("failed_cycles", at)
        elif name in SUCCEEDED_EVENTS:
            self._in_a_row = 0
            self._count("successful_cycles", at)
        elif name == "cycle_skipped_no_candidates":
            self._count("skipped_cycles", at)
        elif name == "backing_off":
            if (failures := values.count(line.get("consecutive_failures"))) is not None:
                self._in_a_row = failures
        elif name == "daemon_starting":
            self._take_cycles(dict.fromkeys(_CYCLES, 0), None, 0)
        elif name == "cycle_stats":
            told = {key: values.count(line.get(key)) for key in _CYCLES}
            if all(value is not None for value in told.values()):
                self._take_cycles(told, values.number(line.get("success_rate")), None)
        elif name == "state_loaded" and (total := values.count(line.get("total_documented"))) is not None:
            self._total, self._told_at = total, -math.inf
            self._last_7_days = values.count(line.get("last_7_days"))

    def add_commit(self, commit: Commit) -> None:
        """Count a commit that was just heard of."""
        self._remember(commit)
        if commit.at > self._told_at:
            self._total = None if self._total is None else self._total + 1
            self._last_7_days = None if self._last_7_days is None else self._last_7_days + 1
            if self._total is not None:
                _add(self._by_repo, commit.repo)
        if self._reading is not None and commit.at > self._reading.at:
            self._reading.missing += 1

    def seed(self, commits: Iterable[Commit], heard_since: float | None) -> None:
        """Count commits that were heard of before this was made."""
        for commit in commits:
            self._remember(commit)
        if heard_since is not None and (self.heard_since is None or heard_since < self.heard_since):
            self.heard_since = heard_since

    def take_statistics(self, told: Any, at: float) -> None:
        """Take what CodeWorm's database says.

        Args:
            told: `total_documented, by_repo, by_language, by_doc_type, last_7_days, last_30_days, today`; one without
                documents, as of a database that is not there, ends the use of a former one.
            at: When it was read, Unix seconds by the relay's clock.
        """
        if not isinstance(told, dict) or not (total := values.count(told.get("total_documented"))):
            self._reading = None
            return
        today, week, month = (values.count(told.get(name)) or 0 for name in ("today", "last_7_days", "last_30_days"))
        repo, language, kind = (
            values.name_counts(told.get(name)) for name in ("by_repo", "by_language", "by_doc_type")
        )
        reading = _Reading(at, total, today, week, month, repo, language, kind)
        newer = len(self._commits.since(at))
        # A copy that does not grow lacks more than that; a row may also be there before its event is.
        behind = 0 if self._total is None else self._total - newer - total
        reading.missing = newer + (behind if behind >= -ON_THE_WAY else 0)
        self._reading = reading

    def as_dict(self, now: float) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        reading = self._reading
        lacking = [] if reading is None else self._commits.last(reading.missing)
        by_repo = self._by_repo or self._heard["repo"] if reading is None else _with(reading.by_repo, lacking, "repo")
        language = self._heard["language"] if reading is None else _with(reading.by_language, lacking, "language")
        kind = self._heard["doc_type"] if reading is None else _with(reading.by_doc_type, lacking, "doc_type")
        return {
            "total": self.total,
            **self._by_days(now, lacking),
            "success_rate": self._success_rate(),
            "consecutive_failures": self._in_a_row,
            **self._cycles,
            "by_repo": _most(by_repo),
            "by_language": _most(language),
            "by_doc_type": _most(kind),
            "per_hour": self._per_hour(now),
            "source": "messages" if reading is None else "database",
            "known_since": values.time(self.heard_since),
        }

    def documents_by_repo(self) -> dict[str, int]:
        """Return documents by repository."""
        if self._reading is not None:
            return _with(self._reading.by_repo, self._commits.last(self._reading.missing), "repo")
        return dict(self._by_repo or self._heard["repo"])

    def _by_days(self, now: float, lacking: Iterable[Commit]) -> dict[str, int | None]:
        reading, midnight = self._reading, self._midnight(now)
        # The database is asked for the day of UTC, in which it finds that of the daemon's host: while these are two days,
        # what it finds is of yesterday or of tomorrow.
        is_one_day = (now + self._clock.utc_offset.total_seconds()) // DAY == now // DAY
        # Of a recording it tells what there was before the day on which it was read, not before the recording's end.
        is_of_now = reading is not None and abs(now - reading.at) < DAY
        found: dict[str, int | None] = {}
        for name, begin in (("today", midnight), ("last_7_days", now - 7 * DAY), ("last_30_days", now - 30 * DAY)):
            is_today = name == "today"
            if reading is not None and is_of_now and (is_one_day or not is_today):
                base = 0 if is_today and now // DAY != reading.at // DAY else int(getattr(reading, name))
                found[name] = base + sum(one.at >= begin for one in lacking)
            elif self.heard_since is not None and (is_today or self.heard_since <= begin):
                found[name] = self._commits.between(begin, now + DAY)
            else:
                found[name] = self._last_7_days if name == "last_7_days" else None
        return found

    def _per_hour(self, now: float) -> dict[str, Any]:
        start = now // HOUR * HOUR - (HOURS - 1) * HOUR
        counts: list[int | None] = []
        for hour in range(HOURS):
            begin = start + hour * HOUR
            is_known = self.heard_since is not None and self.heard_since < begin + HOUR
            counts.append(self._commits.between(begin, begin + HOUR) if is_known else None)
        return {"start": start, "counts": counts}

    def _midnight(self, now: float) -> float:
        """Return when the day began where the daemon runs."""
        offset = self._clock.utc_offset.total_seconds()
        return (now + offset) // DAY * DAY - offset

    def _success_rate(self) -> float | None:
        total, well = self._cycles["total_cycles"], self._cycles["successful_cycles"]
        if total and well is not None:
            return round(100 * well / total, 1)
        return values.number(self._told_rate)

    def _take_cycles(self, told: dict[str, int | None], rate: float | None, in_a_row: int | None) -> None:
        self._cycles, self._told_rate, self._told_at = told, rate, -math.inf
        if in_a_row is not None:
            self._in_a_row = in_a_row

    def _count(self, name: str, at: float) -> None:
        for one in (name, "total_cycles"):
            if at > self._told_at and (known := self._cycles[one]) is not None:
                self._cycles[one] = known + 1

    def _remember(self, commit: Commit) -> None:
        for name, counter in self._heard.items():
            _add(counter, getattr(commit, name))


def _failed_since(snapshot: Snapshot) -> bool:
    """Tell whether cycles failed since the newest commit; the daemon's counter of them comes with the next success."""
    error, commit = snapshot.last_error, snapshot.last_commit
    failed_at, committed_at = values.time(error.get("at")), values.time(commit.get("at"))
    is_failure = isinstance(error.get("event"), str) and error["event"] in FAILED_EVENTS
    return is_failure and failed_at is not None and failed_at > (committed_at or 0.0)


def _add(counter: Counter[str], name: str | None) -> None:
    if name is not None and (name in counter or len(counter) < MOST_NAMES):
        counter[name] += 1


def _with(counts: Mapping[str, int], commits: Iterable[Commit], field: str) -> dict[str, int]:
    found = Counter(counts)
    for commit in commits:
        _add(found, getattr(commit, field))
    return dict(found)


def _most(counts: Mapping[str, int]) -> list[list[Any]]:
    return [[name, count] for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]]
