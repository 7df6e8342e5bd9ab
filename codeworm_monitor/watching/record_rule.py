"""The rule on records: some come that fulfil conditions."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.records import AnyRecord, Kind, LogLine, StatsSnapshot, WormEvent
from codeworm_monitor.watching.latch import Judgement
from codeworm_monitor.watching.notices import plain
from codeworm_monitor.watching.rules import MOST, Condition, Reads, Rule
from codeworm_monitor.watching.spans import Span, function_identity, seconds_of, spoken, whole

__all__ = ["OnRecord"]


@dataclass(frozen=True, init=False)
class OnRecord(Rule):
    """Records came that fulfil conditions; clears when none came for a while.

    What came before the watch began does not count.

    Args:
        predicate: Called with each record that fulfils the conditions; true means that it counts. It must be quick. What
            it raises counts as no, and is a failure of the watch.
        kind: `logs`, `events` or `stats`; None: all kinds that have what the conditions ask for.
        count: So many records, …
        within: … within so long, a `Span`.
        clear_after: See `Rule`, as are the next two; counted from when `within` has passed.
        cooldown: See `Rule`.
        remind: See `Rule`.
        conditions: As for `where`, but for times.

    Raises:
        TypeError: No kind of record has such a condition, or an argument has the wrong type.
        ValueError: One cannot be read.
    """

    predicate: Callable[[Any], object] | None
    kind: str | None
    count: int
    within: Span
    conditions: tuple[tuple[str, Any], ...]

    def __init__(
        self,
        predicate: Callable[[Any], object] | None = None,
        /,
        *,
        kind: str | None = None,
        count: int = 1,
        within: Span = 60.0,
        clear_after: Span = 60.0,
        cooldown: Span = 300.0,
        remind: Span | None = None,
        **conditions: Any,
    ) -> None:
        if predicate is not None and not callable(predicate):
            raise TypeError(
                f"a condition on records is a function or keywords such as level='error', not {predicate!r}"
            )
        given = {name: value for name, value in conditions.items() if value is not None}
        values = {
            "predicate": predicate,
            "kind": None if kind is None else str(Kind(kind)),
            "count": whole(count, "count", 1, MOST),
            "within": seconds_of(within, "within"),
            "conditions": tuple((name, _frozen(value)) for name, value in sorted(given.items())),
            "clear_after": clear_after,
            "cooldown": cooldown,
            "remind": remind,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.__post_init__()
        _reads_of(self)

    @property
    def learns(self) -> bool:  # noqa: D102
        return False

    @property
    def identity(self) -> object:  # noqa: D102
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return tuple((values | {"predicate": function_identity(self.predicate)}).items())

    def changed(self, **changes: Any) -> OnRecord:  # noqa: D102
        names = ("kind", "count", "within", "clear_after", "cooldown", "remind")
        values = {name: getattr(self, name) for name in names} | dict(self.conditions) | changes
        return OnRecord(self.predicate, **values)

    def begin(self) -> Condition:  # noqa: D102
        return _RecordCondition(self)

    def __str__(self) -> str:
        what = ", ".join(f"{name}={value!r}" for name, value in self.conditions)
        if self.predicate is not None:
            what = f"{what}{' and ' if what else ''}{getattr(self.predicate, '__qualname__', repr(self.predicate))}"
        often = "" if self.count == 1 else f" {self.count} times in {spoken(seconds_of(self.within, 'within'))}"
        return plain(f"{self.kind or 'record'} with {what or 'anything'}{often}", 200)


def _frozen(value: Any) -> Any:
    return value if isinstance(value, str) or not hasattr(value, "__iter__") else tuple(value)


def _reads_of(rule: OnRecord) -> dict[Kind, Reads]:
    given = dict(rule.conditions)
    found: dict[Kind, Reads] = {}
    problem: TypeError | None = None
    for kind in Kind if rule.kind is None else [Kind(rule.kind)]:
        try:
            found[kind] = Reads(Conditions(LAYOUTS[kind], **given))
        except TypeError as error:
            problem = problem or error
    if not found and problem is not None:
        raise problem
    return found


class _RecordCondition(Condition):
    def __init__(self, rule: OnRecord) -> None:
        self.reads = _reads_of(rule)
        self._rule = rule
        self._within = seconds_of(rule.within, "within")
        self._times: deque[float] = deque(maxlen=rule.count)
        self._newest: AnyRecord | None = None
        self._total = 0

    def take(self, record: AnyRecord, at: float) -> None:
        if self._rule.predicate is None or self._rule.predicate(record):
            self._times.append(at)
            self._newest = record
            self._total += 1

    def judge(self, now: float) -> Judgement:
        if len(self._times) < self._rule.count:
            return Judgement(is_clear=True)
        is_met = now <= self._times[0] + self._within
        return Judgement(is_met=is_met, is_clear=not is_met)

    def due(self, now: float) -> float:
        ends = self._times[0] + self._within if len(self._times) == self._rule.count else -math.inf
        return math.nextafter(ends, math.inf) if now <= ends else math.inf

    def describe(self, now: float) -> str:
        if self._newest is None or now > self._times[-1] + self._within:
            return f"none for {spoken(now - self._times[-1])}" if self._times else "none"
        if not self.judge(now).is_met:
            return f"fewer than {self._rule.count} in {spoken(self._within)}"
        return f"{self._total:,} so far; the newest: {_told(self._newest)}"

    def since(self, now: float) -> float | None:
        return self._times[0] if self._times else None


def _told(record: AnyRecord) -> str:
    """Return the words of a record that tell a person most."""
    match record:
        case LogLine():
            words = [record.level, record.event, record.repo, record.target, record.error]
        case WormEvent():
            words = [record.type, record.repo, record.target, record.commit_message]
        case StatsSnapshot():
            words = [f"{record.failed_cycles} of {record.total_cycles} cycles failed"]
    return plain(" · ".join(word for word in words if word) or repr(record), 300)
