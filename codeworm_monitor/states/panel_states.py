"""All panels' states, folded from one stream of messages and read from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from codeworm_monitor.activity import LOG_EVENTS, Snapshot, next_cycle_at, read_counters
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.records import RELAY_CHANNEL, Kind, PublisherClock, kind_of
from codeworm_monitor.states import values
from codeworm_monitor.states.activity import ActivityState
from codeworm_monitor.states.commits import Commit, CommitsState
from codeworm_monitor.states.health import OLLAMA_EVENTS, HealthState
from codeworm_monitor.states.quiet import ANNOUNCING, SET_BACK, announced_by
from codeworm_monitor.states.repositories import RepositoriesState
from codeworm_monitor.states.snapshots import sound
from codeworm_monitor.states.stats import STATS_EVENTS, StatsState
from codeworm_monitor.status import State, Status

__all__ = ["PanelStates"]

BURST = 0.001
"""Seconds: a log line that tells nothing and comes sooner after another is passed over by what learns pauses."""

MOST_CHANNELS = 1_000

_TELLING = LOG_EVENTS | STATS_EVENTS | ANNOUNCING.keys()
"""Log events that are looked into."""


class PanelStates:
    """What the five panels show. One thread feeds it, any may read it.

    Of a message that was there before the start only the lists, the rates and what is usual are made; the activity is
    what the relay told. Most log lines of a flood tell nothing and are only counted; of the others just what changes
    something is read, by the names of their fields: typed records would take ten times as long.

    Args:
        now: When it begins, Unix seconds by the relay's clock.

    Attributes:
        activity: What the daemon is doing.
        stats: Counts.
        commits: The newest documents.
        repositories: What it documents.
        health: What lies between.
    """

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._clock = PublisherClock()
        self.activity = ActivityState(self._clock)
        self.commits = CommitsState()
        self.stats = StatsState(self.commits, self._clock)
        self.repositories = RepositoriesState(self.activity, self.stats, self._clock)
        self.health = HealthState(now)
        self._epoch: str | None = None
        self._live_from = 0
        self._newest_at = now
        self._unread: tuple[Envelope, Any] | None = None  # the newest log line, from which the clock may learn
        self._kinds: dict[str, Kind | None] = {RELAY_CHANNEL: None}

    def restart(self, snapshot: Snapshot, *, live_from: int, epoch: str) -> None:
        """Take a relay's state at an offset: what is replayed up to there is in it.

        Args:
            snapshot: The state.
            live_from: The offset.
            epoch: Identity of the numbering.
        """
        with self._lock:
            self.activity.restart(snapshot)
            self.stats.restart(sound(snapshot), is_same_log=epoch == self._epoch)
            self._live_from, self._epoch = live_from, epoch

    def take(self, epoch: str, messages: Sequence[tuple[Envelope, Any]]) -> None:
        """Take messages, in the order of the log, each with its decoded payload; never raises for what they hold."""
        with self._lock:
            if epoch != self._epoch:  # nothing was told of this numbering
                self._epoch, self._live_from = epoch, 0
            if messages:
                self._take(messages)

    def take_gap(self, epoch: str, gap: Gap) -> None:
        """Take a gap."""
        with self._lock:
            self.activity.quiet.miss(gap.ended_at)
            self.health.take_gap(gap)

    def take_info(self, info: dict[str, Any] | None, problem: str = "") -> None:
        """Take what the relay answered to `/info`, or why it did not."""
        with self._lock:
            self.health.take_info(info, problem)
            self.activity.is_heard = self.health.hears_upstream

    def take_status(self, status: Status, *, retry_at: float | None = None) -> None:
        """Take how a monitor stands to its relay; `retry_at` is when it tries again, Unix seconds."""
        with self._lock:
            self.health.take_status(status, retry_at=retry_at)
            self.activity.is_listening = status.state is State.CONNECTED

    def take_statistics(self, told: dict[str, Any] | None, *, at: float | None = None) -> None:
        """Take what CodeWorm's database says, as the relay answers to `/stats`.

        Args:
            told: The answer; None: there is no database.
            at: When it was read, Unix seconds by the relay's clock; None: after the newest message taken.
        """
        with self._lock:
            self.stats.take_statistics(told, self._newest_at if at is None else at)

    def take_repositories(self, told: list[dict[str, Any]] | None) -> None:
        """Take what the relay answers to `/repos`; None: nothing is configured."""
        with self._lock:
            self.repositories.take_repositories(told)

    def seed_clock(self, clock: PublisherClock) -> None:
        """Take over what was learnt of the publisher's clock from messages that are not folded here as they came."""
        with self._lock:
            self._clock.skew, self._clock.utc_offset = clock.skew, clock.utc_offset

    def seed_commits(self, commits: Iterable[dict[str, Any]], heard_since: float | None) -> None:
        """Take commits that were heard of before this was made; those that are here already are left out.

        Args:
            commits: With the names of `Commit`'s fields; `time_ms` may stand for `seconds`.
            heard_since: From when on these are all, Unix seconds; None: not known.
        """
        with self._lock:
            read = [commit for one in commits if (commit := Commit.from_dict(one)) is not None]
            added = self.commits.seed(read)
            self.stats.seed(added, values.time(heard_since))
            for commit in added:
                self.repositories.add_commit(commit)

    def as_dict(self, now: float) -> dict[str, Any]:
        """Return the states by panel, ready for JSON.

        Args:
            now: Unix seconds by the relay's clock.
        """
        with self._lock:
            self._read_clock()
            return {
                "activity": self.activity.as_dict(now),
                "stats": self.stats.as_dict(now),
                "commits": self.commits.as_dict(now),
                "repositories": self.repositories.as_dict(now),
                "health": self.health.as_dict(now),
            }

    def _take(self, messages: Sequence[tuple[Envelope, Any]]) -> None:
        kinds, live_from, quiet = self._kinds, self._live_from, self.activity.quiet
        logs, events = Kind.LOGS, Kind.EVENTS
        heard_at = quiet.message_at or 0.0
        earliest = latest = messages[0][0].received_at
        unread, last, of_relay = self._unread, None, 0
        for message in messages:
            envelope, payload = message
            offset, at, channel, _, _ = envelope
            if at < earliest:
                earliest = at
            elif at > latest:
                latest = at
            try:
                kind = kinds[channel]
            except KeyError:
                kind = self._kind(channel)
            if kind is None:
                of_relay += 1
                self._take_line(payload, is_live=offset > live_from)
                continue
            last = envelope
            if kind is logs:
                try:
                    name = payload["event"]
                    is_telling = name in _TELLING
                except (KeyError, TypeError):  # no object, or one without a name
                    is_telling = False
                if not is_telling:
                    unread = message
                    if not -SET_BACK < at - heard_at <= BURST:
                        quiet.hear_any(at)
                        heard_at = at
                    continue
                self._take_log(name, payload, at, is_live=offset > live_from)
            else:
                if unread is not None:
                    self._learn(unread)
                take = self._take_event if kind is events else self._take_stats
                take(payload if isinstance(payload, dict) else {}, at, is_live=offset > live_from)
            unread, heard_at = None, at
        self._unread = unread
        self._hear(earliest, latest)
        if last is None:
            return
        self.health.count(messages, but=of_relay)
        if last.offset > live_from:
            self.activity.fold.touch(last.received_at)

    def _take_log(self, name: str, line: dict[str, Any], at: float, *, is_live: bool) -> None:
        """Take a log line whose event is one of `_TELLING`."""
        written_at, wait = self._clock.hear_log(line.get("timestamp"), at), None
        if name in ANNOUNCING:
            wait = announced_by(name, line, at if written_at is None else written_at)
        self.activity.quiet.hear_named(at, name, wait)
        if is_live and name in LOG_EVENTS:
            self.activity.fold.fold_log(name, line, at)
        if name in STATS_EVENTS:
            self.stats.take_log(name, line, at)

    def _take_event(self, event: dict[str, Any], at: float, *, is_live: bool) -> None:
        """Take an event, which has at least no fields."""
        clock, name = self._clock, event.get("type")
        quiet, fold = self.activity.quiet, self.activity.fold
        written_at = clock.hear(event.get("timestamp"), at)
        if name == "next_cycle":
            due_at = next_cycle_at(event, clock)
            wait = None if due_at is None else due_at - (at if written_at is None else written_at)
            quiet.hear_named(at, name, wait)
            if is_live:
                fold.fold_next_cycle(due_at, at)
            return
        quiet.hear_named(at, name if isinstance(name, str) else None)
        if is_live:
            fold.fold_event(event, at)
        if name == "documentation_committed":
            commit = Commit.from_event(event, at)
            self.commits.add(commit)
            self.stats.add_commit(commit)
            self.repositories.add_commit(commit)

    def _take_stats(self, stats: dict[str, Any], at: float, *, is_live: bool) -> None:
        """Take the daemon's own counters."""
        self._clock.hear(stats.get("timestamp"), at)
        self.activity.quiet.hear_any(at)
        counters = read_counters(stats)
        if counters is not None:
            self.stats.take_stats(counters)
            if is_live:
                self.activity.fold.fold_counters(counters, at)

    def _take_line(self, line: Any, *, is_live: bool) -> None:
        """Take a line of the relay's own, which tells nothing of the publisher."""
        name = line.get("event") if isinstance(line, dict) else None
        if is_live and isinstance(name, str) and name in OLLAMA_EVENTS:
            self.health.take_line(name, line)

    def _hear(self, earliest: float, latest: float) -> None:
        if self.stats.heard_since is None or earliest < self.stats.heard_since:
            self.stats.heard_since = earliest
        self._newest_at = max(self._newest_at, latest)

    def _learn(self, message: tuple[Envelope, Any]) -> None:
        """Let the publisher's clock learn from a log line that tells nothing else."""
        envelope, payload = message
        if isinstance(payload, dict):
            self._clock.hear_log(payload.get("timestamp"), envelope.received_at)

    def _read_clock(self) -> None:
        if self._unread is not None:
            self._learn(self._unread)
            self._unread = None

    def _kind(self, channel: str) -> Kind | None:
        if len(self._kinds) > MOST_CHANNELS:
            self._kinds = {RELAY_CHANNEL: None}
        self._kinds[channel] = kind = kind_of(channel)
        return kind
