"""Rules and their machines: what all of them share, and one of the user's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from support.watched import log

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.records import AnyRecord, Kind
from codeworm_monitor.watching import ErrorRate, FailuresInARow, OnRecord, Rule, Silence, SlowGeneration
from codeworm_monitor.watching.latch import Judgement
from codeworm_monitor.watching.notices import NoticeKind
from codeworm_monitor.watching.rules import Condition, Machine, Reads
from codeworm_monitor.watching.shorthand import read_rule

RULES = [Silence(), Silence(after=60), FailuresInARow(), ErrorRate(), SlowGeneration(), OnRecord(level="error")]


@dataclass(frozen=True)
class TooManyTokens(Rule):
    """One of the user's own: a document of more tokens than this."""

    most: int = 100

    def begin(self) -> Condition:
        return _Tokens(self.most)


class _Tokens(Condition):
    reads = {Kind.LOGS: Reads(Conditions(LAYOUTS[Kind.LOGS], event="documentation_committed"))}  # noqa: RUF012

    def __init__(self, most: int) -> None:
        self._most = most
        self._newest = 0

    def take(self, record: AnyRecord, at: float) -> None:
        self._newest = getattr(record, "tokens", None) or 0

    def judge(self, now: float) -> Judgement:
        return Judgement(is_met=self._newest > self._most, is_clear=self._newest <= self._most)

    def describe(self, now: float) -> str:
        return f"{self._newest} tokens"


def test_a_rule_of_the_users_own_has_the_calm_of_all() -> None:
    rule = read_rule(TooManyTokens(1000, cooldown="10min", remind="1h"))
    machine = Machine(rule)
    turns = [
        machine.take(log("documentation_committed", tokens=tokens), at) for at, tokens in enumerate([1, 2000, 1, 2000])
    ]
    assert [turn and (turn.kind, turn.text) for turn in turns] == [
        None,
        (NoticeKind.FIRED, "2000 tokens"),
        (NoticeKind.CLEARED, "1 tokens"),
        None,
    ]
    assert machine.due(3.0) == 601.0
    turn = machine.tick(601.0)
    assert turn is not None
    assert (turn.kind, turn.withheld, turn.since) == (NoticeKind.FIRED, 0, None)
    assert machine.due(601.0) == 601.0 + 3600.0


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_calm_can_be_changed_and_equal_arguments_are_equal_rules(rule: Rule) -> None:
    changed = rule.changed(cooldown="1h", clear_after="5min", remind=7200)
    assert (changed.cooldown, changed.clear_after, changed.remind) == (3600, 300, 7200)
    assert type(changed) is type(rule)
    assert str(changed) == str(rule)
    assert changed != rule
    again = changed.changed(cooldown=rule.cooldown, clear_after=rule.clear_after, remind=rule.remind)
    assert again == rule
    assert again.identity == rule.identity != changed.identity
    assert len({rule, again, changed}) == 2


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_machine_that_was_told_nothing_says_nothing(rule: Rule) -> None:
    machine = Machine(rule)
    assert machine.tick(0.0) is None
    machine.lose(0.0, 1.0)
    assert machine.tick(2.0) is None
    assert not machine.is_firing
    assert machine.due(2.0) > 2.0
    assert isinstance(machine.condition.describe(2.0), str)
    since = machine.condition.since(2.0)
    assert since is None or math.isfinite(since)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_two_machines_of_one_rule_share_nothing(rule: Rule) -> None:
    first, second = Machine(rule), Machine(rule)
    for at in range(5):
        first.take(log("documentation_failed", at, level="error", target=str(at)), float(at))
    first.tick(1e6)
    assert not second.is_firing
    assert second.tick(1e6) is None


def test_only_rules_on_cycles_need_all_messages() -> None:
    assert [rule.needs_all for rule in RULES] == [False, False, True, True, True, False]
