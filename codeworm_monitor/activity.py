"""The fold from messages to the current state: what the daemon is doing now, and its last results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC
from enum import StrEnum
from typing import Any

from codeworm_monitor.records import Kind, PublisherClock, kind_of, read_time

__all__ = ["LOG_EVENTS", "Activity", "Counters", "Snapshot", "Stage", "next_cycle_at", "read_counters"]


class Stage(StrEnum):
    """What the daemon is doing."""

    UNKNOWN = "unknown"
    """Nothing has been heard yet."""
    IDLE = "idle"
    """Between cycles."""
    STARTING = "starting"
    """A cycle has begun and looks for a target."""
    ANALYZING = "analyzing"
    GENERATING = "generating"
    """The model writes."""
    COMMITTED = "committed"
    """The document is committed; the push may follow."""
    FAILED = "failed"
    """The cycle ended without a document."""
    WAITING = "waiting"
    """Ollama is away and the daemon waits for it."""
    BACKING_OFF = "backing_off"
    """A pause after repeated failures."""
    STOPPED = "stopped"
    """The daemon said that it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The daemon's counters, from its newest stats. None: not heard yet. Meaning of each: `StatsSnapshot`."""

    total_cycles: int | None = None
    successful_cycles: int | None = None
    failed_cycles: int | None = None
    skipped_cycles: int | None = None
    success_rate: float | None = None
    consecutive_failures: int | None = None
    total_documented: int | None = None
    last_7_days: int | None = None
    by_repo: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state at one moment. Times are Unix seconds in UTC; None: not known.

    Attributes:
        stage: What the daemon is doing.
        since: When that began.
        cycle_num: Number of the newest cycle since the daemon's start.
        target: What is being documented, as are the next three; None between cycles.
        repo: Its repository.
        doc_type: Kind of document.
        language: Its programming language.
        next_cycle_at: When the next cycle will start; None while one runs.
        last_message_at: When the newest message arrived, by the relay's clock.
        last_commit: Fields of the newest `documentation_committed`: `at, target, repo, doc_type, language, commit,
            commit_message, tokens, time_ms`; empty before the first.
        last_error: The newest failure: `at, event, target, error`; empty before the first.
        counters: The daemon's own counters.
    """

    stage: Stage = Stage.UNKNOWN
    since: float | None = None
    cycle_num: int | None = None
    target: str | None = None
    repo: str | None = None
    doc_type: str | None = None
    language: str | None = None
    next_cycle_at: float | None = None
    last_message_at: float | None = None
    last_commit: dict[str, Any] = field(default_factory=dict)
    last_error: dict[str, Any] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return {**asdict(self), "stage": str(self.stage)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Snapshot:
        """Read what `as_dict` wrote, by this version or a newer one; unknown fields are left out."""
        known = {f.name for f in fields(cls)}
        taken = {name: value for name, value in values.items() if name in known}
        stage = taken.pop("stage", None)
        counters = taken.pop("counters", None)
        known_counters = {f.name for f in fields(Counters)}
        return cls(
            stage=Stage(stage) if stage in set(Stage) else Stage.UNKNOWN,
            counters=Counters(**{name: value for name, value in (counters or {}).items() if name in known_counters}),
            **taken,
        )


class Activity:
    """Folds messages, in order, into the current `Snapshot`.

    The five event types say where a good cycle is; only the logs tell failures, waits and stops, so both are read.
    Messages of other programs change nothing but the time of the newest message.
    """

    def __init__(self, snapshot: Snapshot | None = None, *, clock: PublisherClock | None = None) -> None:
        self._snapshot: Snapshot | None = Snapshot() if snapshot is None else snapshot
        # Folding is on the relay's hot path: the state is a plain dict, from which a snapshot is made when asked for.
        self._state: dict[str, Any] = {one.name: getattr(self._snapshot, one.name) for one in fields(Snapshot)}
        self._clock = PublisherClock() if clock is None else clock
        self._is_in_cycle = self._state["stage"] in _IN_CYCLE

    @property
    def snapshot(self) -> Snapshot:
        """The state now."""
        if self._snapshot is None:
            self._snapshot = Snapshot(**self._state)
        return self._snapshot

    def touch(self, received_at: float) -> None:
        """Take note that a message arrived, whatever it says (Unix seconds)."""
        self._state["last_message_at"] = received_at
        self._snapshot = None

    def fold(self, channel: str, payload: object, received_at: float) -> None:
        """Take one message: where it was published, its decoded payload, and when it arrived (Unix seconds)."""
        self.touch(received_at)
        if not isinstance(payload, dict):
            return
        kind = kind_of(channel)
        if kind is Kind.LOGS:
            name = payload.get("event")
            if isinstance(name, str) and name in _LOG_STAGES:
                self.fold_log(name, payload, received_at)
            return
        self._clock.hear(payload.get("timestamp"), received_at)
        if kind is Kind.EVENTS:
            self.fold_event(payload, received_at)
        else:
            self.fold_counters(read_counters(payload), received_at)

    def fold_log(self, name: str, line: dict[str, Any], at: float) -> None:
        """Take a log line whose event, one of `LOG_EVENTS`, is `name`."""
        self.touch(at)
        state = self._state
        if name == "documenting":  # by far the most frequent
            if state["stage"] is not Stage.GENERATING:
                # The older one-shot mode sends no events, and names the target `function`: this line is all there is.
                target, repo, doc_type = (
                    line.get("target", line.get("function")),
                    line.get("repo"),
                    line.get("doc_type"),
                )
                if type(target) is str:
                    state["target"] = target
                if type(repo) is str:
                    state["repo"] = repo
                if type(doc_type) is str:
                    state["doc_type"] = doc_type
                if state["stage"] is not Stage.ANALYZING:
                    self._enter(Stage.ANALYZING, at)
            return
        stage = _LOG_STAGES[name]
        if name in _FAILURES:
            texts = {key: line[key] if isinstance(line.get(key), str) else None for key in ("target", "error")}
            self._change(last_error={"at": at, "event": name} | texts)
        match name:
            case "cycle_starting":
                number = line.get("cycle_num")
                number = number if type(number) is int else None
                self._enter(Stage.STARTING, at, **_NO_TARGET, cycle_num=number, next_cycle_at=None)
            case "backing_off":
                seconds = line.get("seconds")
                ends_at = at + seconds if isinstance(seconds, int | float) else None
                self._enter(Stage.BACKING_OFF, at, **_NO_TARGET, next_cycle_at=ends_at)
            case "daemon_starting":
                self._enter(Stage.IDLE, at, **_NO_TARGET, cycle_num=None, next_cycle_at=None)
            case "daemon_stopped":
                self._enter(Stage.STOPPED, at, **_NO_TARGET, next_cycle_at=None)
            case "llm_initialized":
                # The daemon says `ollama_recovered` only if it had to wait.
                if self._state["stage"] is Stage.WAITING and not self._is_in_cycle:
                    self._enter(Stage.IDLE, at)
            case "ollama_recovered":
                self._enter(Stage.STARTING if self._is_in_cycle else Stage.IDLE, at)
            case "documentation_committed" | "waiting_for_ollama" | "ollama_unavailable_waiting":
                self._enter(stage or self._state["stage"], at)
            case _ if stage is not None:
                self._enter(stage, at, **_NO_TARGET)

    def fold_event(self, event: dict[str, Any], at: float) -> None:
        """Take an event, from whose time the clock has learnt."""
        self.touch(at)
        name, data = event.get("type"), event.get("data")
        told = data if isinstance(data, dict) else {}
        if name == "next_cycle":
            self.fold_next_cycle(next_cycle_at(event, self._clock), at)
        elif name == "cycle_starting":
            number = _integer(told.get("cycle_num"))
            self._enter(Stage.STARTING, at, **_NO_TARGET, cycle_num=number, next_cycle_at=None)
        elif isinstance(name, str) and name in _EVENT_STAGES:
            state = self._state
            for key in _NO_TARGET:
                if isinstance(value := told.get(key), str):
                    state[key] = value
            if name == "documentation_committed":
                texts = {key: value if isinstance(value := told.get(key), str) else None for key in _COMMIT_TEXTS}
                numbers = {"tokens": _integer(told.get("tokens")), "time_ms": _number(told.get("time_ms"))}
                state["last_commit"] = {"at": at, **texts, **numbers}
            self._enter(_EVENT_STAGES[name], at)

    def fold_next_cycle(self, due_at: float | None, at: float) -> None:
        """Take an event `next_cycle`: when that will be, Unix seconds, and when the event arrived."""
        self.touch(at)
        stage = self._state["stage"]
        is_waiting = stage is Stage.WAITING and not self._is_in_cycle
        if is_waiting or stage in (Stage.UNKNOWN, Stage.COMMITTED, Stage.FAILED):
            self._enter(Stage.IDLE, at, **_NO_TARGET)
        self._state["next_cycle_at"] = due_at

    def fold_counters(self, counters: Counters | None, at: float) -> None:
        """Take the daemon's counters; None: they tell nothing."""
        self.touch(at)
        if counters is not None:
            self._state["counters"] = counters

    def _enter(self, stage: Stage, at: float, **changes: Any) -> None:
        if stage is not Stage.WAITING:
            self._is_in_cycle = stage in _IN_CYCLE
        state = self._state
        if state["stage"] is not stage:
            state["stage"], state["since"] = stage, at
        if changes:
            state.update(changes)
        self._snapshot = None

    def _change(self, **changes: Any) -> None:
        self._state.update(changes)
        self._snapshot = None


def next_cycle_at(event: dict[str, Any], clock: PublisherClock) -> float | None:
    """Return when the cycle starts that an event `next_cycle` announces, Unix seconds; None: it does not say."""
    data = event.get("data")
    value = data.get("time") if isinstance(data, dict) else None
    time = None if value is None else read_time(value, lambda naive: naive.replace(tzinfo=UTC) - clock.utc_offset)
    return None if time is None else time.timestamp()


def read_counters(stats: dict[str, Any]) -> Counters | None:
    """Return the counters that stats tell, of what has the type that `StatsSnapshot` has; None: none."""
    counts = {name: _integer(stats.get(name)) for name in _COUNTS}
    rate, by_repo = _number(stats.get("success_rate")), stats.get("by_repo")
    if not isinstance(by_repo, dict) or None in map(_integer, by_repo.values()):
        by_repo = {}
    if rate is None and not by_repo and all(count is None for count in counts.values()):
        return None
    return Counters(**counts, success_rate=rate, by_repo=by_repo)


def _integer(value: Any) -> int | None:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) is float or _integer(value) is not None else None


_INT64 = 2**63
_COUNTS = tuple(one.name for one in fields(Counters) if one.name not in ("success_rate", "by_repo"))
_IN_CYCLE = frozenset({Stage.STARTING, Stage.ANALYZING, Stage.GENERATING})

_LOG_STAGES: dict[str, Stage | None] = {
    "backing_off": Stage.BACKING_OFF,
    "cycle_skipped_no_candidates": Stage.IDLE,
    "cycle_starting": Stage.STARTING,
    "daemon_starting": Stage.IDLE,
    "daemon_stopped": Stage.STOPPED,
    "documentation_committed": Stage.COMMITTED,
    "documentation_failed": Stage.FAILED,
    "documenting": Stage.ANALYZING,
    "dry_run_complete": Stage.IDLE,
    "llm_error": Stage.FAILED,
    "llm_initialized": None,  # ends the first wait
    "ollama_recovered": None,  # back to what was interrupted
    "ollama_unavailable_waiting": Stage.WAITING,
    "push_failed": None,  # the cycle still counts as a success
    "scheduled_task_error": Stage.FAILED,
    "waiting_for_ollama": Stage.WAITING,
}
LOG_EVENTS = frozenset(_LOG_STAGES)
"""Log events that change the state; of others, which are most, nothing need be folded."""
_FAILURES = frozenset(
    {"documentation_failed", "llm_error", "ollama_unavailable_waiting", "push_failed", "scheduled_task_error"}
)
_NO_TARGET = dict.fromkeys(("target", "repo", "doc_type", "language"))
_COMMIT_TEXTS = (*_NO_TARGET, "commit", "commit_message")
_EVENT_STAGES = {
    "analyzing": Stage.ANALYZING,
    "generating": Stage.GENERATING,
    "documentation_committed": Stage.COMMITTED,
}
