"""Typed views of payloads: `LogLine`, `WormEvent`, `StatsSnapshot`.

CodeWorm writes the times of its logs in UTC and those of its events and stats as naive local time of the daemon's
host. `PublisherClock` learns the difference; every time of a record is aware and in UTC.

Payloads are untrusted: whatever does not fit a field (another type, a number out of range, an unreadable time) goes,
like every unknown key, into the record's `extra` and is never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, cast

__all__ = [
    "LEVELS",
    "RELAY_CHANNEL",
    "Kind",
    "LogLine",
    "PublisherClock",
    "Record",
    "StatsSnapshot",
    "WormEvent",
    "kind_of",
    "level_rank",
    "parse_record",
    "read_time",
]

LEVELS = ("debug", "info", "warning", "error", "critical")
"""Levels from the least to the most severe."""

RELAY_CHANNEL = "codeworm:relay"
"""Channel of the relay's own records: log lines, of component `relay`. Readers of v1, which has no such, get none."""

_RANKS = {name: rank for rank, name in enumerate(LEVELS)} | {"warn": 2, "exception": 3, "fatal": 4}
_QUARTER = timedelta(minutes=15)  # every UTC offset in use is a multiple of it
_NEAR = _QUARTER / 3  # a time this near to what an offset would make it was written under that offset
_SURELY_NEAR = _NEAR.total_seconds() - 1
_EPOCH = datetime(1970, 1, 1)  # of naive times
_WIDEST = timedelta(hours=14, minutes=30)  # the widest UTC offset in use is +14:00
_INT64 = 2**63


def level_rank(level: str | None) -> int | None:
    """Return the severity of a level, 0 for debug, or None for a word that is no level."""
    return None if level is None else _RANKS.get(level.lower())


class Kind(StrEnum):
    """What a channel carries, told by the last part of its name."""

    LOGS = "logs"
    EVENTS = "events"
    STATS = "stats"


@lru_cache(maxsize=1024)
def kind_of(channel: str) -> Kind:
    """Return what a channel carries: by its name's part after the last colon, log lines if that tells nothing."""
    try:
        return Kind(channel.rpartition(":")[2])
    except ValueError:
        return Kind.LOGS


class PublisherClock:
    """Learns the publisher's UTC offset from the messages themselves.

    A naive local time less the moment of arrival is the UTC offset plus the delivery delay (milliseconds) plus the
    error of the publisher's clock. UTC offsets are multiples of 15 minutes, so rounding gives the offset, message by
    message, also through a change of daylight saving time. The clock's error is known from the times that come in
    UTC, those of the logs, and is taken off first.
    """

    def __init__(self) -> None:
        self.skew = timedelta(0)
        """Publisher's clock less the relay's, from the newest log line."""
        self.utc_offset = timedelta(0)
        """Newest offset found: local time less UTC."""

    def observe(self, timestamp: datetime, received_at: datetime) -> None:
        """Learn the clock's error from an aware time and the moment its message arrived."""
        self.skew = timestamp - received_at

    def hear(self, written: object, received_at: float) -> float | None:
        """Learn from the `timestamp` of an event or of stats what reading it as a record would teach, only quicker.

        Args:
            written: What stands there, which may be anything.
            received_at: When the message arrived, Unix seconds.

        Returns:
            The time, Unix seconds; None: it cannot be read.
        """
        try:
            time = datetime.fromisoformat(written)  # type: ignore[arg-type]  # what is no text is a TypeError
        except (TypeError, ValueError):
            return None
        if time.tzinfo is None:
            seconds = (time - _EPOCH - self.utc_offset).total_seconds()
            if abs(seconds - received_at - self.skew.total_seconds()) < _SURELY_NEAR:  # it teaches nothing new
                return seconds
        elif time.tzinfo is UTC:
            return time.timestamp()
        read = read_time(written, lambda naive: self.to_utc(naive, datetime.fromtimestamp(received_at, UTC)))
        return None if read is None else read.timestamp()

    def hear_log(self, written: object, received_at: float) -> float | None:
        """Do the same with the `timestamp` of a log line."""
        received = datetime.fromtimestamp(received_at, UTC)
        time = read_time(written, lambda naive: self.to_utc(naive, received))
        if time is None:
            return None
        self.observe(time, received)
        return time.timestamp()

    def to_utc(self, naive: datetime, received_at: datetime) -> datetime:
        """Return the UTC time of a naive local time that was written when its message was sent.

        Raises:
            OverflowError: The time lies outside the years 1 to 9999 in UTC.
        """
        time = naive.replace(tzinfo=UTC) - self.utc_offset
        error = time - received_at - self.skew
        if -_NEAR < error < _NEAR:  # the offset known still holds: the usual case, made quick
            return time
        difference = error + self.utc_offset
        offset = round(difference / _QUARTER) * _QUARTER
        if abs(offset) <= _WIDEST and abs(difference - offset) < _NEAR:
            self.utc_offset = offset
        return naive.replace(tzinfo=UTC) - self.utc_offset


def read_time(value: object, to_utc: Callable[[datetime], datetime]) -> datetime | None:
    """Return the UTC time that an ISO 8601 text says, or None for what is no text or says none.

    Args:
        value: The text.
        to_utc: Called for a time without a zone; may raise OverflowError.
    """
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return to_utc(time) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class _Fields:
    """Takes typed fields out of a payload; what is left over, or does not fit, is `extra`."""

    __slots__ = ("extra",)

    def __init__(self, payload: object) -> None:
        self.extra: dict[str, Any] = dict(payload) if isinstance(payload, Mapping) else {"value": payload}

    def text(self, key: str) -> str | None:
        return cast("str | None", self._take(key, _is_text))

    def integer(self, key: str) -> int | None:
        return cast("int | None", self._take(key, _is_int64))

    def number(self, key: str) -> float | None:
        value = self._take(key, _is_number)
        return None if value is None else float(value)

    def counts(self, key: str) -> dict[str, int]:
        return self._take(key, _is_counts) or {}

    def time(self, key: str, to_utc: Callable[[datetime], datetime]) -> datetime | None:
        value = self.extra.get(key)
        if value is None:
            self.extra.pop(key, None)
            return None
        time = read_time(value, to_utc)
        if time is not None:
            del self.extra[key]
        return time

    def _take(self, key: str, fits: Callable[[Any], bool]) -> Any:
        value = self.extra.get(key)
        if value is None:
            self.extra.pop(key, None)
        elif fits(value):
            del self.extra[key]
        else:
            value = None
        return value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_int64(value: object) -> bool:
    return type(value) is int and -_INT64 <= value < _INT64


def _is_number(value: object) -> bool:
    return type(value) is float or _is_int64(value)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_int64, value.values()))


def _brief(value: object) -> str:
    text = f"{value:%Y-%m-%d %H:%M:%S.%fZ}" if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record:
    """What every record has.

    Attributes:
        timestamp: When the publisher wrote it, aware, in UTC; None if it does not say or cannot be read.
        extra: Keys of the payload that are no field of the record, and values that fit none.
    """

    kind: ClassVar[Kind]
    timestamp: datetime | None
    extra: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the fields that say something; times as text, a traceback cut short."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        shown = ", ".join(f"{name}={_brief(value)}" for name, value in said.items() if value not in (None, {}))
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LogLine(Record):
    """One line of the daemon's log, from `codeworm:logs`.

    Attributes:
        level: Lower case; one of `LEVELS` from CodeWorm.
        component: Which part of the publisher speaks.
        event: Name of what happened, in snake case.
        target: What is being documented.
        repo: Its repository.
        doc_type: Kind of document.
        cycle_num: Number of the documentation cycle since the daemon's start.
        commit: Hash of the commit, 8 characters.
        tokens: Tokens generated.
        time_ms: Duration of the generation, in milliseconds.
        error: What failed, in one line.
        exception: Traceback.
    """

    kind: ClassVar[Kind] = Kind.LOGS
    level: str | None = None
    component: str | None = None
    event: str | None = None
    target: str | None = None
    repo: str | None = None
    doc_type: str | None = None
    cycle_num: int | None = None
    commit: str | None = None
    tokens: int | None = None
    time_ms: float | None = None
    error: str | None = None
    exception: str | None = None

    @classmethod
    def from_payload(cls, payload: object, received_at: datetime, clock: PublisherClock) -> LogLine:
        """Read a decoded payload; never raises for what it holds."""
        fields = _Fields(payload)
        timestamp = fields.time("timestamp", lambda naive: clock.to_utc(naive, received_at))
        if timestamp is not None:
            clock.observe(timestamp, received_at)
        level = fields.text("level")
        return cls(
            timestamp=timestamp,
            level=None if level is None else level.lower(),
            component=fields.text("component"),
            event=fields.text("event"),
            target=fields.text("target"),
            repo=fields.text("repo"),
            doc_type=fields.text("doc_type"),
            cycle_num=fields.integer("cycle_num"),
            commit=fields.text("commit"),
            tokens=fields.integer("tokens"),
            time_ms=fields.number("time_ms"),
            error=fields.text("error"),
            exception=fields.text("exception"),
            extra=fields.extra,
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WormEvent(Record):
    """One step of a documentation cycle, from `codeworm:events`.

    Attributes:
        type: One of `cycle_starting`, `analyzing`, `generating`, `documentation_committed`, `next_cycle` from CodeWorm.
        cycle_num: Number of the cycle since the daemon's start.
        target: What is being documented.
        repo: Its repository.
        doc_type: Kind of document.
        language: Programming language of the target.
        commit: Hash of the commit, 8 characters.
        commit_message: First line of its message.
        tokens: Tokens generated.
        time_ms: Duration of the generation, in milliseconds.
        next_cycle_at: When the next cycle will start, aware, in UTC.
    """

    kind: ClassVar[Kind] = Kind.EVENTS
    type: str | None = None
    cycle_num: int | None = None
    target: str | None = None
    repo: str | None = None
    doc_type: str | None = None
    language: str | None = None
    commit: str | None = None
    commit_message: str | None = None
    tokens: int | None = None
    time_ms: float | None = None
    next_cycle_at: datetime | None = None

    @classmethod
    def from_payload(cls, payload: object, received_at: datetime, clock: PublisherClock) -> WormEvent:
        """Read a decoded payload; never raises for what it holds. Keys of its `data` are taken as its own."""
        outer = _Fields(payload)
        timestamp = outer.time("timestamp", lambda naive: clock.to_utc(naive, received_at))
        type_ = outer.text("type")
        details = outer.extra.pop("data", None)
        fields = _Fields({} if details is None else details)
        return cls(
            timestamp=timestamp,
            type=type_,
            cycle_num=fields.integer("cycle_num"),
            target=fields.text("target"),
            repo=fields.text("repo"),
            doc_type=fields.text("doc_type"),
            language=fields.text("language"),
            commit=fields.text("commit"),
            commit_message=fields.text("commit_message"),
            tokens=fields.integer("tokens"),
            time_ms=fields.number("time_ms"),
            next_cycle_at=fields.time("time", lambda naive: naive.replace(tzinfo=UTC) - clock.utc_offset),
            # Where both have a key, the inner ones stay together.
            extra={"data": fields.extra, **outer.extra}
            if fields.extra.keys() & outer.extra.keys()
            else {**fields.extra, **outer.extra},
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StatsSnapshot(Record):
    """Counters of the daemon after a successful cycle, from `codeworm:stats`.

    Attributes:
        last_success: When the newest successful cycle ended, aware, in UTC.
        total_cycles: Cycles since the daemon's start, as are the next three.
        successful_cycles: Cycles that ended well.
        failed_cycles: Cycles that failed.
        skipped_cycles: Cycles without a candidate.
        success_rate: Successful cycles in percent of all.
        consecutive_failures: Failures since the newest success.
        total_documented: Documents ever made; does not start again with the daemon.
        last_7_days: Documents of the last seven days.
        by_repo: Documents by repository.
    """

    kind: ClassVar[Kind] = Kind.STATS
    last_success: datetime | None = None
    total_cycles: int | None = None
    successful_cycles: int | None = None
    failed_cycles: int | None = None
    skipped_cycles: int | None = None
    success_rate: float | None = None
    consecutive_failures: int | None = None
    total_documented: int | None = None
    last_7_days: int | None = None
    by_repo: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_payload(cls, payload: object, received_at: datetime, clock: PublisherClock) -> StatsSnapshot:
        """Read a decoded payload; never raises for what it holds."""
        fields = _Fields(payload)
        timestamp = fields.time("timestamp", lambda naive: clock.to_utc(naive, received_at))
        return cls(
            timestamp=timestamp,
            last_success=fields.time("last_success", lambda naive: naive.replace(tzinfo=UTC) - clock.utc_offset),
            total_cycles=fields.integer("total_cycles"),
            successful_cycles=fields.integer("successful_cycles"),
            failed_cycles=fields.integer("failed_cycles"),
            skipped_cycles=fields.integer("skipped_cycles"),
            success_rate=fields.number("success_rate"),
            consecutive_failures=fields.integer("consecutive_failures"),
            total_documented=fields.integer("total_documented"),
            last_7_days=fields.integer("last_7_days"),
            by_repo=fields.counts("by_repo"),
            extra=fields.extra,
        )


AnyRecord = LogLine | WormEvent | StatsSnapshot

_TYPES: dict[Kind, type[LogLine] | type[WormEvent] | type[StatsSnapshot]] = {
    Kind.LOGS: LogLine,
    Kind.EVENTS: WormEvent,
    Kind.STATS: StatsSnapshot,
}


def parse_record(channel: str, payload: object, received_at: float, clock: PublisherClock) -> AnyRecord:
    """Return the typed view of a decoded payload.

    Args:
        channel: Where it was published; tells the kind.
        payload: What its JSON text says: usually a dict, but anything is taken.
        received_at: When the relay read it, in Unix seconds.
        clock: The publisher's clock, which learns from each message; feed messages in order.
    """
    return _TYPES[kind_of(channel)].from_payload(payload, datetime.fromtimestamp(received_at, UTC), clock)
