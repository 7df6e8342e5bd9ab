"""The rule on records: conditions as of `where`, or any function."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.watched import event, failed, log

from codeworm_monitor.records import Kind, StatsSnapshot
from codeworm_monitor.watching.notices import NoticeKind
from codeworm_monitor.watching.record_rule import OnRecord
from codeworm_monitor.watching.rules import Machine

FIRED, CLEARED = NoticeKind.FIRED, NoticeKind.CLEARED


def test_one_record_fires_and_it_clears_when_none_came_for_a_while() -> None:
    machine = Machine(OnRecord(level="error", within="1min", clear_after="2min"))
    turn = machine.take(failed(0, error="out of memory", repo="click"), 1000)
    assert turn is not None
    assert (turn.kind, turn.text) == (
        FIRED,
        "1 so far; the newest: error · documentation_failed · click · f · out of memory",
    )
    assert machine.tick(1060) is None
    assert machine.take(failed(1), 1061) is None
    assert machine.tick(1122) is None  # since now none came for a minute
    assert machine.tick(1241) is None
    turn = machine.tick(1242)
    assert turn is not None
    assert (turn.kind, turn.text) == (CLEARED, "none for 3 min 1 s")


def test_several_within_a_time() -> None:
    machine = Machine(OnRecord(event="x", count=3, within=10, clear_after=0))
    assert [machine.take(log("x"), at) for at in (0.0, 9.0, 11.0)] == [None] * 3
    assert machine.take(log("x"), 18.0) is not None
    assert machine.due(18.0) > 19.0
    turn = machine.tick(19.1)
    assert turn is not None
    assert turn.text == "fewer than 3 in 10 s"


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_it_holds_exactly_while_so_many_came_within_the_time(pauses: list[float], count: int) -> None:
    machine = Machine(OnRecord(count=count, within=20, clear_after=0, cooldown=0))
    now, times = 0.0, []
    for pause in pauses:
        now += pause
        machine.tick(now)
        assert machine.is_firing == (len(times) >= count and now - times[-count] <= 20)
        machine.take(log("x"), now)
        times.append(now)
        assert machine.is_firing == (len(times) >= count and now - times[-count] <= 20)


def test_the_kinds_are_those_that_have_what_is_asked_for() -> None:
    assert set(OnRecord(level="error").begin().reads) == {Kind.LOGS}
    assert set(OnRecord(type="analyzing").begin().reads) == {Kind.EVENTS}
    assert set(OnRecord(repo="click").begin().reads) == {Kind.LOGS, Kind.EVENTS}
    assert set(OnRecord(text="timeout").begin().reads) == set(Kind)
    assert set(OnRecord(bool).begin().reads) == set(Kind)
    assert set(OnRecord(bool, kind="stats").begin().reads) == {Kind.STATS}


def test_a_function_decides() -> None:
    machine = Machine(OnRecord(lambda record: record.failed_cycles > 3, kind="stats"))
    assert machine.take(StatsSnapshot(timestamp=None, failed_cycles=3, total_cycles=9), 1.0) is None
    turn = machine.take(StatsSnapshot(timestamp=None, failed_cycles=4, total_cycles=9), 2.0)
    assert turn is not None
    assert turn.text.endswith("4 of 9 cycles failed")


def test_any_record_can_be_told() -> None:
    for record in (event("analyzing", target="f"), log(""), event("")):
        turn = Machine(OnRecord()).take(record, 1.0)
        assert turn is not None
        assert "\n" not in turn.text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"colour": "red"}, TypeError),
        ({"level": "loud >"}, ValueError),
        ({"kind": "numbers"}, ValueError),
        ({"kind": "stats", "level": "error"}, TypeError),
        ({"count": 0}, ValueError),
        ({"within": "soon"}, ValueError),
        ({"since": "1h"}, TypeError),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(arguments: dict[str, Any], problem: type[Exception]) -> None:
    with pytest.raises(problem):
        OnRecord(**arguments)
    with pytest.raises(TypeError, match="function or keywords"):
        OnRecord(3)  # type: ignore[arg-type]


def test_equal_arguments_are_equal_rules_and_others_can_be_changed() -> None:
    assert OnRecord(level=["error", "critical"]) == OnRecord(level=("error", "critical"))
    assert len({OnRecord(level="error"), OnRecord(level="error")}) == 1
    changed = OnRecord(len, level="error", count=2).changed(cooldown="1h")
    assert changed == OnRecord(len, level="error", count=2, cooldown=3600)
    assert not changed.learns


def test_it_says_what_it_is() -> None:
    assert str(OnRecord(level="error")) == "record with level='error'"
    assert str(OnRecord(len, kind="logs", count=3)) == "logs with len 3 times in 1 min"
    assert str(OnRecord()) == "record with anything"
