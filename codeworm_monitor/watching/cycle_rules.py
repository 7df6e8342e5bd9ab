"""Rules on how documentation cycles end: failures in a row, their share, and how long the generation takes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.records import AnyRecord, Kind
from codeworm_monitor.watching.endings import ENDING_NAMES, Ending, Endings
from codeworm_monitor.watching.latch import Judgement
from codeworm_monitor.watching.rules import MOST, Condition, Reads, Rule
from codeworm_monitor.watching.spans import Span, seconds_of, spoken, whole

__all__ = ["ErrorRate", "FailuresInARow", "SlowGeneration"]

_FIELDS = frozenset(
    {"timestamp", "event", "type", "target", "error", "doc_type", "commit", "tokens", "time_ms", "extra"}
)
_READS: Mapping[Kind, Reads] = MappingProxyType(
    {
        Kind.LOGS: Reads(Conditions(LAYOUTS[Kind.LOGS], event=ENDING_NAMES[Kind.LOGS]), _FIELDS),
        Kind.EVENTS: Reads(Conditions(LAYOUTS[Kind.EVENTS], type=ENDING_NAMES[Kind.EVENTS]), _FIELDS),
    }
)


@dataclass(frozen=True)
class _CycleRule(Rule):
    @property
    def needs_all(self) -> bool:
        return True


class _EndingCondition(Condition):
    """A condition that looks at the endings of cycles."""

    reads = _READS

    def __init__(self) -> None:
        self._endings = Endings()

    def take(self, record: AnyRecord, at: float) -> None:
        ending = self._endings.take(record, at)
        if ending is not None:
            self.end(ending)

    def end(self, ending: Ending) -> None:
        raise NotImplementedError


# Failures in a row


@dataclass(frozen=True)
class FailuresInARow(_CycleRule):
    """So many cycles failed one after the other; clears with the next that ends well, a dry run too.

    A hole in what was heard ends a row, as a success may lie in it; the count that the daemon itself tells before it
    pauses (`backing_off`) is taken where it is larger. Skipped and interrupted cycles neither end a row nor count.

    Attributes:
        count: So many.
    """

    count: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.count, "count", 1, MOST)

    def begin(self) -> Condition:  # noqa: D102
        return _Row(self.count)

    def __str__(self) -> str:
        return f"failures >= {self.count}"


class _Row(_EndingCondition):
    def __init__(self, count: int) -> None:
        super().__init__()
        self._wanted = count
        self._seen = 0
        self._began: float | None = None
        self._newest: Ending | None = None
        self._is_known = True  # whether the newest ending is; not so after a hole

    def end(self, ending: Ending) -> None:
        self._newest, self._is_known = ending, True
        if ending.is_failure:
            self._began = self._began if self._seen else ending.at
            self._seen += 1
        else:
            self._seen, self._began = 0, None

    def lose(self, started: float, ended: float) -> None:
        self._seen, self._began, self._is_known = 0, None, False
        self._endings.told_failures = 0

    def judge(self, now: float) -> Judgement:
        count = self._count()
        return Judgement(is_met=count >= self._wanted, is_clear=count == 0 and self._is_known)

    def describe(self, now: float) -> str:
        count, newest = self._count(), self._newest
        if not count:
            return "a cycle ended well"
        if newest is None or not newest.is_failure:
            return f"{_cycles(count)} failed in a row, the daemon says"
        return f"{_cycles(count)} failed in a row; the newest: {_failure(newest)}"

    def since(self, now: float) -> float | None:
        return self._began

    def _count(self) -> int:
        return max(self._seen, self._endings.told_failures)


def _cycles(count: int) -> str:
    return "1 cycle" if count == 1 else f"{count:,} cycles"


def _failure(ending: Ending) -> str:
    return " · ".join(word for word in (ending.outcome, ending.target, ending.error) if word)


# Share of failures


@dataclass(frozen=True)
class ErrorRate(_CycleRule):
    """Of the newest cycles, more than this share failed.

    Judged from half of `of` cycles on. Only cycles that ended in a commit or in a failure count; those before a hole in
    what was heard go on counting.

    Attributes:
        above: Share, 0 to 1.
        of: How many of the newest cycles are looked at.
        clear_below: It is well over when the share is at most this; None: half of `above`.
    """

    above: float = 0.5
    of: int = 20
    clear_below: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= _number(self.above, "above") < 1:
            raise ValueError(f"above is a share from 0 to less than 1, not {self.above} (50 % is 0.5)")
        whole(self.of, "of", 2, MOST)
        if self.clear_below is not None and not 0 <= _number(self.clear_below, "clear_below") <= self.above:
            raise ValueError(f"clear_below is between 0 and above, not {self.clear_below}")

    def begin(self) -> Condition:  # noqa: D102
        return _Share(self)

    def __str__(self) -> str:
        return f"error_rate > {self.above * 100:g}% of {self.of}"


class _Share(_EndingCondition):
    def __init__(self, rule: ErrorRate) -> None:
        super().__init__()
        self._above = rule.above
        self._clear_below = rule.above / 2 if rule.clear_below is None else rule.clear_below
        self._least = math.ceil(rule.of / 2)
        self._newest: deque[Ending] = deque(maxlen=rule.of)
        self._failed = 0

    def end(self, ending: Ending) -> None:
        if ending.outcome == "dry_run":
            return
        if len(self._newest) == self._newest.maxlen:
            self._failed -= self._newest[0].is_failure
        self._newest.append(ending)
        self._failed += ending.is_failure

    def judge(self, now: float) -> Judgement:
        cycles = len(self._newest)
        if cycles < self._least:
            return Judgement()
        share = self._failed / cycles
        return Judgement(is_met=share > self._above, is_clear=share <= self._clear_below)

    def describe(self, now: float) -> str:
        text = f"{self._failed:,} of the newest {_cycles(len(self._newest))} failed"
        newest = next((ending for ending in reversed(self._newest) if ending.is_failure), None)
        return text if newest is None else f"{text}; the newest: {_failure(newest)}"

    def since(self, now: float) -> float | None:
        return next((ending.at for ending in self._newest if ending.is_failure), None)


# Duration of the generation

_LEARNT_FROM = 200
"""Newest durations of one kind of document that its usual one is the median of."""
_LEAST_OF_KIND = 5
"""With fewer, nothing of that kind is judged."""
_MOST_KINDS = 100


@dataclass(frozen=True)
class SlowGeneration(_CycleRule):
    """The model takes longer than usual, or than it may, for a document.

    Looks at the median of the newest commits, each taken in proportion to the median of those before it with its
    `doc_type`; the first five of a type are only learnt from. From commits that are slow nothing is learnt, so slowness
    does not become usual while it is told. Generations that failed have no duration.

    Attributes:
        times: So many times as long as usual. Not used with `seconds`.
        seconds: Longer than this, a `Span`, kept as seconds; None: compare with what is usual.
        of: How many of the newest commits are looked at.
        clear_below: It is well over when the median is at most this part of the bound; default three quarters.
    """

    times: float = 2.0
    seconds: Span | None = None
    of: int = 5
    clear_below: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 < _number(self.times, "times") <= 1000:
            raise ValueError(f"times is more than 1, not {self.times}")
        if self.seconds is not None:
            object.__setattr__(self, "seconds", seconds_of(self.seconds, "seconds", least=0.001))
        whole(self.of, "of", 1, 1000)
        if not 0 < _number(self.clear_below, "clear_below") <= 1:
            raise ValueError(f"clear_below is more than 0 and at most 1, not {self.clear_below}")

    def begin(self) -> Condition:  # noqa: D102
        return _Slowness(self)

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"slow > {spoken(seconds_of(self.seconds, 'seconds'))} of {self.of}"
        return f"slow > {self.times:g}x of {self.of}"


class _Slowness(_EndingCondition):
    def __init__(self, rule: SlowGeneration) -> None:
        super().__init__()
        self._is_absolute = rule.seconds is not None
        self._bound = rule.times if rule.seconds is None else seconds_of(rule.seconds, "seconds")
        self._clear_below = rule.clear_below * self._bound
        self._of = rule.of
        self._newest: deque[tuple[Ending, float]] = deque()  # with its measure: seconds, or in proportion
        self._usual: dict[str, deque[float]] = {}

    def end(self, ending: Ending) -> None:
        if ending.seconds is None:
            return
        if self._is_absolute:
            self._newest.append((ending, ending.seconds))
            if len(self._newest) > self._of:
                self._newest.popleft()
            return
        usual = self._usual_of(ending.doc_type)
        if usual is None:
            self._learn(ending)
            return
        self._newest.append((ending, ending.seconds / usual))
        if len(self._newest) > self._of:
            oldest, measure = self._newest.popleft()
            if measure <= self._bound and self._middle() <= self._clear_below:
                self._learn(oldest)

    def judge(self, now: float) -> Judgement:
        if len(self._newest) < self._of:
            return Judgement()
        middle = self._middle()
        return Judgement(is_met=middle > self._bound, is_clear=middle <= self._clear_below)

    def describe(self, now: float) -> str:
        if not self._newest:
            return "no generation was timed"
        newest = self._newest[-1][0]
        took = f"the newest, a {newest.doc_type or 'document'}, took {spoken(newest.seconds or 0.0)}"
        if self._is_absolute:
            return f"half of the newest {len(self._newest)} generations took over {spoken(self._middle())}; {took}"
        usual = self._usual_of(newest.doc_type)
        beside = "" if usual is None else f", {spoken(usual)} is usual"
        return f"generation takes {self._middle():.2g} times as long as usual; {took}{beside}"

    def since(self, now: float) -> float | None:
        slow = next((ending for ending, measure in self._newest if measure > self._bound), None)
        return None if slow is None else slow.at

    def _middle(self) -> float:
        return median(measure for _, measure in self._newest)

    def _usual_of(self, doc_type: str) -> float | None:
        known = self._usual.get(doc_type, ())
        return None if len(known) < _LEAST_OF_KIND else max(median(known), 0.001)

    def _learn(self, ending: Ending) -> None:
        if ending.seconds is None:
            return
        if ending.doc_type in self._usual or len(self._usual) < _MOST_KINDS:  # names are anybody's
            self._usual.setdefault(ending.doc_type, deque(maxlen=_LEARNT_FROM)).append(ending.seconds)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r}")
    return float(value)
