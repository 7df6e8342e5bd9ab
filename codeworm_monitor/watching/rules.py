"""Rules: what is watched for, and the state machines made of them. Neither threads nor clocks: time is told."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from codeworm_monitor.conditions import Conditions
from codeworm_monitor.records import AnyRecord, Kind
from codeworm_monitor.watching.latch import Judgement, Latch
from codeworm_monitor.watching.notices import NoticeKind
from codeworm_monitor.watching.spans import Span, seconds_of

__all__ = ["MOST", "Condition", "Machine", "Reads", "Rule", "Turn"]

MOST = 10_000
"""Most cycles or records that a rule counts."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Which records of one kind a condition wants.

    Attributes:
        conditions: Those that fulfil these.
        fields: Fields of the record that it looks at; None: all.
    """

    conditions: Conditions
    fields: frozenset[str] | None = None


class Condition(ABC):
    """What a rule knows while it is watched: fed by one thread, in the order of the relay's log. Times are Unix seconds.

    Attributes:
        reads: What it wants to be fed, by kind.
    """

    reads: Mapping[Kind, Reads]

    def begin(self, now: float, last_message_at: float | None) -> None:  # noqa: B027 - most have nothing to do
        """Take note that the watch begins, after it was fed what there was.

        Args:
            now: When.
            last_message_at: When the relay heard the publisher last, if it has; this may be before all that was fed.
        """

    @abstractmethod
    def take(self, record: AnyRecord, at: float) -> None:
        """Take a record, and when the relay received it."""

    def lose(self, started: float, ended: float) -> None:  # noqa: B027 - most have nothing to do
        """Take note that nobody listened from one time to another."""

    @abstractmethod
    def judge(self, now: float) -> Judgement:
        """Say how it stands."""

    def due(self, now: float) -> float:
        """Return before when time alone cannot change the judgement of now; infinite: it never can."""
        return math.inf

    @abstractmethod
    def describe(self, now: float) -> str:
        """Return a sentence on how it stands, for a person; may quote messages."""

    def since(self, now: float) -> float | None:
        """Return when what it describes began; None: that is not known."""
        return None


@dataclass(frozen=True)
class Rule(ABC):
    """What is watched for; equal rules have equal arguments.

    Attributes:
        clear_after: How long it must be well over, without interruption, before that is told: a `Span`, kept as seconds.
        cooldown: At least so long passes between two times that it fires; a `Span`, kept as seconds.
        remind: Tell again after so long, and again, while it holds; a `Span`, kept as seconds; None: tell once.
    """

    clear_after: Span = field(default=0.0, kw_only=True)
    cooldown: Span = field(default=300.0, kw_only=True)
    remind: Span | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.name in ("clear_after", "cooldown", "remind") and getattr(self, one.name) is not None:
                least = 1.0 if one.name == "remind" else 0.0
                object.__setattr__(self, one.name, seconds_of(getattr(self, one.name), one.name, least=least))

    @abstractmethod
    def begin(self) -> Condition:
        """Return a condition that knows nothing yet."""

    @property
    def learns(self) -> bool:
        """Whether what was received before the watch began counts."""
        return True

    @property
    def needs_all(self) -> bool:
        """Whether it cannot be told from a part of the messages."""
        return False

    @property
    def identity(self) -> object:
        """What is equal of two rules that watch for the same."""
        return self

    def changed(self, **changes: Any) -> Rule:
        """Return this rule with other arguments."""
        return replace(self, **changes)

    def latch(self) -> Latch:
        """Return a latch as this rule wants it."""
        remind = None if self.remind is None else seconds_of(self.remind, "remind")
        return Latch(
            clear_after=seconds_of(self.clear_after, "clear_after"),
            cooldown=seconds_of(self.cooldown, "cooldown"),
            remind=remind,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """What a machine has to tell.

    Attributes:
        kind: fired, reminded or cleared.
        at: When, Unix seconds.
        text: What was seen; may quote messages.
        since: When it began; None: not known.
        withheld: Times that it would have fired but for the cooldown, since the last turn.
    """

    kind: NoticeKind
    at: float
    text: str
    since: float | None
    withheld: int


class Machine:
    """A rule at work: takes records, holes and ticks, and says what is to be told. One thread may use it at a time.

    Args:
        rule: What is watched for.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.condition = rule.begin()
        self._latch = rule.latch()

    @property
    def is_firing(self) -> bool:
        """Whether it has fired and not cleared."""
        return self._latch.is_firing

    def take(self, record: AnyRecord, at: float) -> Turn | None:
        """Take a record received at a time, none of them before the last one."""
        self.condition.take(record, at)
        return self.tick(at)

    def lose(self, started: float, ended: float) -> None:
        """Take note that nobody listened from one time to another."""
        self.condition.lose(started, ended)

    def tick(self, now: float) -> Turn | None:
        """Look at the clock."""
        judgement = self.condition.judge(now)
        kind = self._latch.step(judgement, now)
        if kind is None:
            return None
        withheld, self._latch.withheld = self._latch.withheld, 0
        return Turn(kind, now, self.condition.describe(now), self.condition.since(now), withheld)

    def due(self, now: float) -> float:
        """Return when to look again, if nothing comes before; infinite: never."""
        return min(self.condition.due(now), self._latch.due())

    def start_again(self, seconds: float) -> None:
        """Forget what was learnt, but not what was told: the clock was set, forward by so many seconds."""
        self.condition = self.rule.begin()
        self._latch.shift(seconds)
