"""The board: all that the full screen shows, folded from what a relay sends; a plain class without a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codeworm_monitor.activity import Activity, Snapshot, Stage
from codeworm_monitor.client import Ended, Happening, Lost
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.frames import Batch, ErrorFrame, Hello, Position, Subscribed
from codeworm_monitor.health import FAILED_EVENTS, SUCCEEDED_EVENTS
from codeworm_monitor.records import RELAY_CHANNEL, LogLine, PublisherClock, WormEvent, level_rank, parse_record
from codeworm_monitor.states.quiet import Quiet
from codeworm_monitor.states.rates import Rates
from codeworm_monitor.states.snapshots import sound_snapshot
from codeworm_monitor.status import State
from codeworm_monitor.terminal.lines import details, failure_text, inert, subject_of

__all__ = ["Board", "Commit", "Failure"]

KEPT = 200
"""Commits and failures that are kept to be shown."""
COUNTED = 20_000
"""Commits whose times are kept to be counted."""
_FAILURES = frozenset(
    {"dead_mans_switch_triggered", "documentation_failed", "llm_error", "ollama_unavailable_waiting", "push_failed"}
)
"""Log events that tell a failure, whatever their level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A document that was committed. Texts are inert; `at` is Unix seconds, `seconds` the generation's length."""

    at: float
    repo: str = ""
    target: str = ""
    doc_type: str = ""
    commit: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong. Texts are inert; `at` is Unix seconds."""

    at: float
    name: str = ""
    subject: str = ""
    text: str = ""
    is_warning: bool = False


class Board:
    """Folds what a relay sends, and what becomes of the connection, into what is shown.

    What was there already fills the lists and the rates; the activity is what `hello` told and what came since.
    Times are Unix seconds by the relay's clock; `now` of each method is by this machine's.

    Args:
        now: When it begins.

    Attributes:
        state: How the connection stands.
        since: When that began, by this machine's clock.
        url: Where the relay is, or the last place tried.
        reason: The connection's newest trouble.
        retry_at: When the next attempt is made, by this machine's clock.
        skew: The relay's clock less this machine's.
        version: Of the relay.
        reconnects: How often the connection was made again.
        lag: Seconds from the relay's reading of the newest live message until it was here; None: none came yet.
        gaps: Gaps told, those before the start left out.
        last_gap: The newest of them.
        commits: The newest ones, the newest first.
        failures: Likewise.
        heard_since: From when on all is known; None: nothing was heard.
        info: What `/info` answered last; None: nothing yet.
        info_problem: Why it did not answer.
    """

    def __init__(self, now: float) -> None:
        self.state = State.CONNECTING
        self.since = now
        self.url: str | None = None
        self.reason = ""
        self.retry_at = now
        self.skew = 0.0
        self.version = ""
        self.reconnects = 0
        self.lag: float | None = None
        self.gaps = 0
        self.last_gap: Gap | None = None
        self.commits: deque[Commit] = deque(maxlen=KEPT)
        self.failures: deque[Failure] = deque(maxlen=KEPT)
        self.heard_since: float | None = None
        self.info: dict[str, Any] | None = None
        self.info_problem = ""
        self.quiet = Quiet()
        self.rates = Rates()
        self._commit_times: deque[float] = deque(maxlen=COUNTED)
        self._activity = Activity()
        self._clock = PublisherClock()
        self._failed: int | None = None  # cycles since the newest success; None: no end of one was heard
        self._head: int | None = None  # up to which all was there before; None: there was no connection yet
        self._epoch = ""

    @property
    def snapshot(self) -> Snapshot:
        """What the publisher is doing."""
        return self._activity.snapshot

    @property
    def failed_in_a_row(self) -> int | None:
        """How many cycles failed since the newest success; None: nothing tells. The daemon's counter comes with successes."""
        return self.snapshot.counters.consecutive_failures if self._failed is None else self._failed

    @property
    def due_at(self) -> float | None:
        """When the next cycle, or the next attempt, was announced for, by the relay's clock; None: it was not."""
        due = self.snapshot.next_cycle_at
        if due is None or self.snapshot.stage is Stage.BACKING_OFF:  # told as a length
            return due
        return due - self._clock.skew.total_seconds()

    def relay_time(self, now: float) -> float:
        """Return what the relay's clock says."""
        return now + self.skew

    def take(self, happening: Happening, now: float) -> None:
        """Take what the client yielded."""
        match happening:
            case Hello():
                self._greet(happening, now)
            case Batch(envelopes):
                self._take(envelopes, now)
            case Gap():
                self._take_gap(happening)
            case Lost():
                was = self.state
                self.state = State.REFUSED if happening.is_refusal else State.RECONNECTING
                if self._head is None and not happening.is_refusal:
                    self.state = State.CONNECTING
                if self.state is not was:
                    self.since = now
                self.url = happening.url or self.url
                self.reason = inert(happening.reason)
                if happening.wants_token:
                    self.reason = f"it wants another token; {self.reason}"
                self.retry_at = now + happening.retry_in
            case Ended():
                self.state, self.since, self.reason = State.CLOSED, now, inert(happening.reason)
            case ErrorFrame():
                self.reason = inert(happening.message)
            case Subscribed() | Position():
                pass

    def take_info(self, info: dict[str, Any] | None, problem: str = "") -> None:
        """Take what `/info` answered, or why it did not."""
        self.info_problem = inert(problem)
        if info is not None:
            self.info = info

    def commits_since(self, at: float) -> int:
        """Return how many documents were committed since a time by the relay's clock."""
        return sum(1 for time in self._commit_times if time >= at)

    def knows_since(self, at: float) -> bool:
        """Tell whether all that came since a time by the relay's clock is known."""
        return self.heard_since is not None and self.heard_since <= at

    def _greet(self, hello: Hello, now: float) -> None:
        self.reconnects += self._head is not None
        self.state, self.since, self.reason = State.CONNECTED, now, ""
        self.version = inert(hello.version, 40)
        if abs(hello.time - now) < 1e9:
            self.skew = hello.time - now
        is_new = self._head is None or hello.epoch != self._epoch
        self._epoch = hello.epoch
        if is_new:
            # What was there already makes the lists; where it leads to is told here.
            self._head = hello.head
            self._activity = Activity(sound_snapshot(hello.snapshot))

    def _take(self, envelopes: Sequence[tuple[Envelope, Any]], now: float) -> None:
        for envelope, data in envelopes:
            at = envelope.received_at
            if self.heard_since is None:
                self.heard_since = at
            is_live = self._head is not None and envelope.offset > self._head
            record = parse_record(envelope.channel, data, at, self._clock)
            if envelope.channel != RELAY_CHANNEL:
                self.rates.add(at)
                self.quiet.hear(at, record)
                if is_live:
                    self._activity.fold(envelope.channel, data, at)
            match record:
                case WormEvent(type="documentation_committed"):
                    self._add_commit(record, at)
                case LogLine():
                    self._look_for_failure(record, at)
                    self._count(record, is_live=is_live)
            if is_live:
                self.lag = max(0.0, self.relay_time(now) - at)

    def _add_commit(self, record: WormEvent, at: float) -> None:
        self._commit_times.append(at)
        self.commits.appendleft(
            Commit(
                at=at,
                repo=inert(record.repo or ""),
                target=inert(record.target or ""),
                doc_type=inert(record.doc_type or ""),
                commit=inert(record.commit or "", 40),
                seconds=None if record.time_ms is None else record.time_ms / 1000,
            )
        )

    def _look_for_failure(self, record: LogLine, at: float) -> None:
        rank = level_rank(record.level) or 0
        is_relays = record.component == "relay" and rank >= 2
        if rank >= 3 or is_relays or record.event in _FAILURES:
            self.failures.appendleft(
                Failure(
                    at=at,
                    name=inert(record.event or record.level or "", 80),
                    subject=subject_of(record),
                    text=failure_text(record) or " ".join(text for text, _ in details(record.extra)),
                    is_warning=rank < 3,
                )
            )

    def _count(self, record: LogLine, *, is_live: bool) -> None:
        if record.event in FAILED_EVENTS:
            known = self.failed_in_a_row if is_live else self._failed  # what `hello` told is of the end, not of then
            self._failed = (known or 0) + 1
        elif record.event in SUCCEEDED_EVENTS:
            self._failed = 0

    def _take_gap(self, gap: Gap) -> None:
        self.quiet.miss(gap.ended_at)
        if gap.offset is not None and self._head is not None and gap.offset <= self._head:
            return
        self.gaps += 1
        self.last_gap = gap
