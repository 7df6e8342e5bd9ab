"""Silence: whether it is quiet for too long, from the pauses so far and from what the daemon announced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

import numpy as np
import pandas as pd

from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.pauses import Pauses
from codeworm_monitor.analysis.steps import extra_value
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.conditions import Moment, moment
from codeworm_monitor.moments import in_two_units
from codeworm_monitor.records import Kind, LogLine, StatsSnapshot, WormEvent

__all__ = ["Silence", "SilenceModel", "silence"]

PRIOR = 45 * 60.0
"""Seconds of quiet allowed until enough is learnt: after as long without a commit the daemon itself raises an alarm."""
ENOUGH = 50
"""Pauses from which on the limit is learnt."""
SHARE = 0.995
"""Share of the pauses that the limit rests on: one hang in two hundred does not make a hang usual."""
USUAL = 0.95
"""Share of the pauses that may lift the limit above `PRIOR`: what is rarer may not, few as they are at first."""
MARGIN = 3.0
"""How many times as long as those it may be quiet."""
LEAST = 5.0
"""Seconds of quiet that are always allowed: a busy machine, a slow network."""
FURTHEST = 86_400.0
"""Seconds: what is announced for later than this is not believed."""
NEWEST = 50_000
"""Messages of a stretch that are learnt from, the newest: those before count for nothing by then."""

_ANNOUNCING = {
    "next_cycle": "next_cycle_at",
    "next_scheduled_run": "time",
    "backing_off": "seconds",
    "ollama_unavailable_waiting": "retry_in_seconds",
}
"""Messages that say when the next one comes, and the field that says it."""
_RUNNING = frozenset({"daemon_starting", "state_loaded", "waiting_for_ollama", "llm_initialized", "cycle_starting"})
"""Messages that only a daemon which works sends: what goes on after `daemon_stopped` is the end of the last cycle."""
_ISO_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Silence:
    """Whether it is quiet for too long.

    Attributes:
        quiet_for: Seconds since the newest message, or since listening began again if that was later; NaN: nothing was
            heard, and nobody listened, so far.
        typical: Median pause between messages, announced ones included and the steps within a burst not, in seconds;
            NaN: there was none.
        limit: Seconds that it may be quiet for; infinite while the daemon is stopped on purpose or nobody listens.
        expected_at: When the next message was announced for, in UTC; None: for no time.
        last_message_at: When the newest message was received, in UTC; None: none was.
        is_silent: Whether it is quiet for longer than the limit.
        is_learnt: Whether the limit comes from the pauses so far, and not only from CodeWorm's schedule.
        reason: All this in one sentence.
    """

    quiet_for: float
    typical: float
    limit: float
    expected_at: datetime | None
    last_message_at: datetime | None
    is_silent: bool
    is_learnt: bool
    reason: str

    def __repr__(self) -> str:
        return f"<Silence is_silent={self.is_silent}: {self.reason}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"


class SilenceModel:
    """Learns how long it is usually quiet, and tells whether it is for too long; live, message by message.

    What is learnt are the pauses that were not announced: from the newest message, or from the time that was announced
    for the next one (a cycle, a retry, the end of backing off) if that is later, to the next message. The limit is
    three times what 99.5 % of them do not exceed, counted from the same moment on, and above 45 minutes what 95 % do
    not; until fifty are known it is 45 minutes, or what was announced. So a pause that the daemon announced is not too
    long, up to a day, and what comes after it soon is.

    Not learnt are pauses that a new start of the daemon ends (it was down), that follow `daemon_stopped`, and in which
    nobody listened for a while (`miss`), which are no silence of the daemon's either: quiet is counted anew after them.

    Memory is fixed and the work per message constant. Times are those of the relay's clock; an announced time is taken
    as the span from the message's own timestamp, so that the publisher's clock may be wrong. Content of any type is
    borne. Not safe for several threads.
    """

    def __init__(self) -> None:
        self._unannounced, self._all = Pauses(), Pauses()
        self._heard_at: float | None = None
        self._quiet_since: float | None = None  # the newest message, or since when somebody listens again
        self._expected: float | None = None
        self._stopped_at: float | None = None
        self._deaf_since: float | None = None
        self._is_interrupted = self._is_ending = False

    @classmethod
    def of(cls, traffic: Traffic, *, now: datetime | None = None) -> SilenceModel:
        """Return a model that knows a stretch of time, of its messages the newest 50,000.

        Args:
            traffic: Messages and gaps; a message without a time of receipt is passed by.
            now: What came later is not known yet; None: all is.
        """
        model = cls()
        if traffic.since is None:
            return model
        model.miss(traffic.since.timestamp(), traffic.since.timestamp())
        end = math.inf if now is None else now.timestamp()
        holes = [(start / 1e6, stop / 1e6) for start, stop in traffic.coverage.holes.tolist() if start / 1e6 < end]
        holes.reverse()
        for time, name, wait in _messages(traffic, now):
            while holes and holes[-1][1] <= time:
                model.miss(*holes.pop())
            model._hear(time, name, wait)
        for start, stop in reversed(holes):
            model.miss(start, None if stop >= end else stop)
        return model

    def observe(self, time: float, kind: str, name: str | None, fields: Mapping[str, object]) -> None:
        """Learn from a message.

        Args:
            time: When the relay read it, in Unix seconds.
            kind: logs, events or stats.
            name: What a log line calls `event`, and an event `type`.
            fields: What it says: `timestamp` and `next_cycle_at` as aware datetimes, `time` as an ISO text, `seconds`,
                `retry_in_seconds`; the rest is ignored, as is what has another type.
        """
        if not math.isfinite(time):
            return
        if kind == Kind.STATS:
            name = None
        wait = None
        if name in _ANNOUNCING:
            written = fields.get("timestamp")
            # Both by the publisher's clock, where it says when it wrote.
            begin = written.timestamp() if isinstance(written, datetime) and _is_aware(written) else time
            wait = _wait(fields.get(_ANNOUNCING[name]), begin)
        self._hear(time, name, wait)

    def observe_record(self, time: float, record: LogLine | WormEvent | StatsSnapshot) -> None:
        """Learn from a record, received at a time in Unix seconds."""
        match record:
            case LogLine():
                self.observe(time, record.kind, record.event, {**record.extra, "timestamp": record.timestamp})
            case WormEvent():
                fields = {"timestamp": record.timestamp, "next_cycle_at": record.next_cycle_at}
                self.observe(time, record.kind, record.type, fields)
            case _:
                self.observe(time, record.kind, None, {})

    def miss(self, started: float, ended: float | None) -> None:
        """Learn that nobody listened for a while, in which anything may have been said.

        Args:
            started: When that began, in Unix seconds; the same time twice says that listening begins then.
            ended: When it ended; None: not until the next message, or the next call.
        """
        self._is_interrupted = True
        if ended is None:
            self._deaf_since = started if self._deaf_since is None else min(started, self._deaf_since)
            return
        self._deaf_since = None
        self._quiet_since = ended if self._quiet_since is None else max(ended, self._quiet_since)
        if self._expected is not None and self._expected <= ended:
            self._expected = None

    def limit_at(self, now: float) -> float:
        """Return for how many seconds it may be quiet, as of a time in Unix seconds; infinite: for ever."""
        return self.state(now).limit

    def state(self, now: float) -> Silence:
        """Return whether it is quiet for too long at a time, in Unix seconds, not before the newest message."""
        is_learnt = self._unannounced.count >= ENOUGH
        quiet_for, limit = math.nan, math.inf
        if self._quiet_since is not None:
            quiet_for = max(0.0, (now if self._deaf_since is None else self._deaf_since) - self._quiet_since)
            if self._stopped_at is None and self._deaf_since is None:
                limit = self._limit(self._quiet_since, is_learnt=is_learnt)
        is_silent = quiet_for > limit
        return Silence(
            quiet_for=quiet_for,
            typical=self._all.quantile(0.5),
            limit=limit,
            expected_at=_utc(self._expected),
            last_message_at=_utc(self._heard_at),
            is_silent=is_silent,
            is_learnt=is_learnt,
            reason=self._reason(now, quiet_for, limit, is_silent=is_silent, is_learnt=is_learnt),
        )

    def _hear(self, time: float, name: str | None, wait: float | None) -> None:
        """Learn from a message that says for in how many seconds the next one is announced, if it does."""
        heard_at, expected = self._heard_at, self._expected
        is_break = self._is_interrupted or self._stopped_at is not None or name == "daemon_starting"
        if heard_at is not None and time > heard_at and not is_break:
            self._all.add(time - heard_at)
            if expected is None:
                self._unannounced.add(time - heard_at)
            elif expected <= time:
                self._unannounced.add(time - max(heard_at, expected))
        if expected is not None and expected <= time:
            self._expected = None
        self._heard_at = self._quiet_since = time
        self._deaf_since, self._is_interrupted = None, False
        if name in _RUNNING:
            self._stopped_at = self._expected = None
            self._is_ending = False
        elif name == "daemon_stopped":
            self._stopped_at, self._expected = time, None
        elif name == "shutdown_signal_received":
            self._is_ending, self._expected = True, None
        elif wait is not None:
            self._expected = time + wait

    def _limit(self, quiet_since: float, *, is_learnt: bool) -> float:
        announced = 0.0 if self._expected is None else max(0.0, self._expected - quiet_since)
        if not is_learnt:
            return max(PRIOR, announced + LEAST)
        usual = max(PRIOR, MARGIN * self._unannounced.quantile(USUAL))
        return announced + max(LEAST, min(usual, MARGIN * self._unannounced.quantile(SHARE)))

    def _reason(self, now: float, quiet_for: float, limit: float, *, is_silent: bool, is_learnt: bool) -> str:
        if self._deaf_since is not None:
            return f"Nobody has listened for {_spoken(now - self._deaf_since)}: whether it is quiet is not known."
        if math.isnan(quiet_for):
            return "Nothing was heard so far."
        if self._stopped_at is not None:
            return f"The daemon was stopped on purpose {_spoken(now - self._stopped_at)} ago."
        said = f"Quiet for {_spoken(quiet_for)}"
        if self._heard_at is None:
            said = f"Nothing was heard since listening began {_spoken(quiet_for)} ago"
        why = "from the pauses so far" if is_learnt else "by CodeWorm's own schedule"
        allowed = f"{_spoken(limit)} {'were' if is_silent else 'are'} allowed, {why}"
        if self._expected is not None:
            left = self._expected - now
            when = f"in {_spoken(left)}" if left >= 0 else f"for {_spoken(-left)} ago"
            allowed += f"; the next message {'is' if left >= 0 else 'was'} announced {when}"
        if self._is_ending:
            allowed += "; the daemon was told to stop and has not said that it did"
        return f"{said}: {'too long, ' if is_silent else ''}{allowed}."


def silence(traffic: Traffic, *, now: Moment | None = None) -> Silence:
    """Tell whether it is quiet for too long.

    Gaps are no silence: quiet is counted from the end of the newest one, and no pause with one in it is learnt.

    Args:
        traffic: Messages and gaps of a stretch of time; the longer, the better the limit.
        now: The moment to judge, which knows nothing of later messages, and up to which somebody listened but for the
            gaps; None: the end of the stretch. "15min" counts back from there.

    Raises:
        TypeError: `now` is no time.
        ValueError: So.
    """
    at = traffic.until
    if now is not None:
        at = moment(now, (at or datetime.now(UTC)).timestamp())
    if at is None:
        return SilenceModel().state(0.0)
    return SilenceModel.of(traffic, now=at).state(at.timestamp())


def _messages(traffic: Traffic, now: datetime | None) -> list[tuple[float, str | None, float | None]]:
    """Return the newest messages in order: time of receipt, name, and in how many seconds the next one is announced."""
    frames = {Kind.LOGS: traffic.logs, Kind.EVENTS: traffic.events, Kind.STATS: traffic.stats}
    end = np.iinfo(np.int64).max if now is None else int(micros(pd.DatetimeIndex([now]))[0])
    times = {kind: micros(frame["received_at"]) for kind, frame in frames.items()}
    known = np.concatenate([one[(one > MISSING) & (one <= end)] for one in times.values()])
    if not len(known):
        return []
    oldest = max(0, len(known) - NEWEST)
    begin = np.partition(known, oldest)[oldest]
    found: list[tuple[int, float, str | None, float | None]] = []
    for kind, frame in frames.items():
        rows = np.flatnonzero((times[kind] >= begin) & (times[kind] <= end))
        received, chosen = times[kind][rows], frame.iloc[rows]
        names: list[str | None] = [None] * len(rows)
        waits: list[float | None] = [None] * len(rows)
        if kind != Kind.STATS:
            said = chosen["event" if kind == Kind.LOGS else "type"].astype("object").tolist()
            names = [name if isinstance(name, str) else None for name in said]
            waits = _announced(chosen, kind, names, received)
        offsets = np.nan_to_num(chosen["offset"].to_numpy(np.float64))
        found += zip(received.tolist(), offsets.tolist(), names, waits, strict=True)
    found.sort(key=lambda one: one[:2])
    return [(at / 1e6, name, wait) for at, _, name, wait in found]


def _announced(rows: pd.DataFrame, kind: Kind, names: list[str | None], received: Micros) -> list[float | None]:
    """Return in how many seconds each message announces the next one."""
    written = micros(rows["timestamp"])
    begins = np.where(written == MISSING, received, written)
    waits: list[float | None] = [None] * len(rows)
    places = [place for place, name in enumerate(names) if name in _ANNOUNCING]
    if kind == Kind.EVENTS:
        spans = (micros(rows["next_cycle_at"]).astype(np.float64) - begins) / 1e6
        for place in places:
            if 0 < spans[place] <= FURTHEST:
                waits[place] = float(spans[place])
    else:
        extras = rows["extra"].tolist()
        for place in places:
            waits[place] = _wait(extra_value(extras[place], _ANNOUNCING[str(names[place])]), begins[place] / 1e6)
    return waits


def _wait(value: object, begin: float) -> float | None:
    """Return how long after a time, in Unix seconds, the next message is announced for; None: it is not."""
    if isinstance(value, str) and len(value) <= _ISO_LENGTH:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    match value:
        case bool():
            return None
        case int() | float() if 0 < value <= FURTHEST:
            return float(value)
        case datetime() if _is_aware(value):
            wait = value.timestamp() - begin
            return wait if 0 < wait <= FURTHEST else None
        case _:
            return None


def _is_aware(time: datetime) -> bool:
    return time == time and time.tzinfo is not None  # pandas' missing time is a datetime, and not equal to itself


def _utc(time: float | None) -> datetime | None:
    try:
        return None if time is None else datetime.fromtimestamp(time, UTC)
    except (OverflowError, OSError, ValueError):  # beyond the years 1 to 9999
        return None


def _spoken(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    return in_two_units(seconds)
