"""The rule on silence: nothing is heard for too long, though somebody listens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from codeworm_monitor.analysis.silence import SilenceModel
from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.records import AnyRecord, Kind
from codeworm_monitor.watching.latch import Judgement
from codeworm_monitor.watching.rules import Condition, Reads, Rule
from codeworm_monitor.watching.spans import Span, seconds_of, spoken

__all__ = ["Silence"]

_QUIET_FIELDS = {
    Kind.LOGS: frozenset({"timestamp", "event", "extra"}),
    Kind.EVENTS: frozenset({"timestamp", "type", "next_cycle_at"}),
    Kind.STATS: frozenset({"timestamp"}),
}
_SOON = 2.0
"""Seconds of quiet that are never too long."""
_STEP = 0.1
"""Seconds between two looks at the model."""


@dataclass(frozen=True)
class Silence(Rule):
    """Nothing at all was heard for too long, though the relay listened.

    Time in which nobody listened is no silence. Any message ends it.

    Attributes:
        after: So long, a `Span`, kept as seconds; None: as learnt from the pauses so far and from what the daemon announces
            (see `analysis.silence.SilenceModel`): no alarm during an announced pause, nor after it said that it stops.
    """

    after: Span | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.after is not None:
            object.__setattr__(self, "after", seconds_of(self.after, "after", least=1.0))

    def begin(self) -> Condition:  # noqa: D102
        return _LearntSilence() if self.after is None else _FixedSilence(seconds_of(self.after, "after"))

    def __str__(self) -> str:
        return "silence" if self.after is None else f"silence > {spoken(seconds_of(self.after, 'after'))}"


def _everything() -> dict[Kind, Reads]:
    return {kind: Reads(Conditions(LAYOUTS[kind]), _QUIET_FIELDS[kind]) for kind in Kind}


class _FixedSilence(Condition):
    def __init__(self, limit: float) -> None:
        self.reads = _everything()
        self._limit = limit
        self._heard_at: float | None = None
        self._listening_since: float | None = None

    def begin(self, now: float, last_message_at: float | None) -> None:
        if self._heard_at is None:
            self._heard_at = last_message_at
        if self._quiet_since() is None:
            self._listening_since = now

    def take(self, record: AnyRecord, at: float) -> None:
        self._heard_at = at

    def lose(self, started: float, ended: float) -> None:
        self._listening_since = max(ended, self._listening_since or ended)

    def judge(self, now: float) -> Judgement:
        since = self._quiet_since()
        if since is None:
            return Judgement()
        is_met = now >= since + self._limit
        return Judgement(is_met=is_met, is_clear=not is_met)

    def due(self, now: float) -> float:
        since = self._quiet_since()
        due = math.inf if since is None else since + self._limit
        return due if due > now else math.inf

    def describe(self, now: float) -> str:
        quiet = now - (self._quiet_since() or now)
        if quiet < self._limit:
            return "messages come again"
        return f"nothing heard for {spoken(quiet)}, {spoken(self._limit)} are allowed"

    def since(self, now: float) -> float | None:
        return self._quiet_since()

    def _quiet_since(self) -> float | None:
        known = [time for time in (self._heard_at, self._listening_since) if time is not None]
        return max(known, default=None)


class _LearntSilence(Condition):
    def __init__(self) -> None:
        self.reads = _everything()
        self._model = SilenceModel()
        self._heard_at: float | None = None

    def begin(self, now: float, last_message_at: float | None) -> None:
        if self._heard_at is not None:
            return
        if last_message_at is None:
            self._model.miss(now, now)  # quiet is counted from here on
        else:
            self._heard_at = min(now, last_message_at)
            self._model.observe(self._heard_at, Kind.LOGS, None, {})

    def take(self, record: AnyRecord, at: float) -> None:
        self._model.observe_record(at, record)
        self._heard_at = at

    def lose(self, started: float, ended: float) -> None:
        self._model.miss(started, ended)

    def judge(self, now: float) -> Judgement:
        # Asked after each message, of which a burst has many: then there is nothing to reckon.
        is_silent = now != self._heard_at and self._model.state(now).is_silent
        return Judgement(is_met=is_silent, is_clear=not is_silent)

    def due(self, now: float) -> float:
        if now == self._heard_at:
            return now + _SOON
        state = self._model.state(now)
        left = state.limit - state.quiet_for
        return now + max(_STEP, left) if left >= 0 else math.inf

    def describe(self, now: float) -> str:
        return self._model.state(now).reason

    def since(self, now: float) -> float | None:
        quiet_for = self._model.state(now).quiet_for
        return None if math.isnan(quiet_for) else now - quiet_for
