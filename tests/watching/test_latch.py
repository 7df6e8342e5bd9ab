"""Latches and allowances: whatever the judgements, notices are few and in turn."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.watching.latch import Allowance, Judgement, Latch
from codeworm_monitor.watching.notices import NoticeKind

FIRED, REMINDED, CLEARED = NoticeKind.FIRED, NoticeKind.REMINDED, NoticeKind.CLEARED
MET, BETWEEN, CLEAR = Judgement(is_met=True), Judgement(), Judgement(is_clear=True)

steps = st.lists(st.tuples(st.floats(0, 50), st.sampled_from([MET, BETWEEN, CLEAR])), max_size=200)
spans = st.sampled_from([0.0, 1.0, 7.5, 30.0, 100.0])


def told(latch: Latch, moves: list[tuple[float, Judgement]]) -> list[tuple[float, NoticeKind]]:
    now, found = 1000.0, []
    for pause, judgement in moves:
        now += pause
        kind = latch.step(judgement, now)
        if kind is not None:
            found.append((now, kind))
    return found


@given(steps, spans, spans, st.none() | st.sampled_from([1.0, 20.0]))
def test_it_never_fires_twice_within_the_cooldown_nor_without_clearing(
    moves: list[tuple[float, Judgement]], clear_after: float, cooldown: float, remind: float | None
) -> None:
    found = told(Latch(clear_after=clear_after, cooldown=cooldown, remind=remind), moves)
    fired = [at for at, kind in found if kind is FIRED]
    assert all(later - earlier >= cooldown for earlier, later in itertools.pairwise(fired))
    turns = [kind for _, kind in found if kind is not REMINDED]
    assert turns == [FIRED, CLEARED] * (len(turns) // 2) + [FIRED] * (len(turns) % 2)
    for (before, _), (at, kind) in itertools.pairwise(found):
        if kind is REMINDED:
            assert remind is not None
            assert at - before >= remind


@given(steps, spans, spans)
def test_it_clears_only_after_it_was_clear_without_interruption(
    moves: list[tuple[float, Judgement]], clear_after: float, cooldown: float
) -> None:
    latch = Latch(clear_after=clear_after, cooldown=cooldown)
    now, judged = 0.0, []
    for pause, judgement in moves:
        now += pause
        judged.append((now, judgement))
        if latch.step(judgement, now) is CLEARED:
            run = [at for at, _ in itertools.takewhile(lambda one: one[1] is CLEAR, reversed(judged))]
            assert now >= min(run) + clear_after


@given(steps, spans, spans, st.none() | st.sampled_from([1.0, 20.0]))
def test_time_alone_changes_nothing_before_it_is_due(
    moves: list[tuple[float, Judgement]], clear_after: float, cooldown: float, remind: float | None
) -> None:
    latch = Latch(clear_after=clear_after, cooldown=cooldown, remind=remind)
    now = 0.0
    for pause, judgement in moves:
        due = latch.due()
        now += pause
        latch.step(judgement, now)
        due = latch.due()
        if now < due:
            until = now + 1e6 if math.isinf(due) else math.nextafter(due, 0)
            assert latch.step(judgement, until) is None
            now = until
            if not math.isinf(due):
                assert latch.step(judgement, due) is not None
                now = due


def test_what_holds_when_the_cooldown_ends_fires_then_and_what_did_not_is_counted() -> None:
    latch = Latch(clear_after=0, cooldown=100)
    assert told(latch, [(0, MET), (1, CLEAR), (1, MET), (1, CLEAR), (1, MET), (95, MET)]) == [
        (1000, FIRED),
        (1001, CLEARED),
    ]
    assert latch.withheld == 2
    assert latch.due() == 1100
    assert latch.step(MET, 1100) is FIRED
    assert latch.withheld == 1  # the second is told now; the first was over


def test_between_the_bounds_it_stays_as_it_is() -> None:
    latch = Latch(clear_after=10, cooldown=0)
    assert told(
        latch, [(0, BETWEEN), (0, MET), (1000, BETWEEN), (0, CLEAR), (9, BETWEEN), (9, CLEAR), (10, CLEAR)]
    ) == [
        (1000, FIRED),
        (2028, CLEARED),
    ]


def test_a_clock_that_is_set_shifts_its_times() -> None:
    latch = Latch(clear_after=0, cooldown=100, remind=30)
    assert latch.step(MET, 1000) is FIRED
    latch.shift(86_400)
    assert latch.step(MET, 87_429) is None
    assert latch.step(MET, 87_430) is REMINDED
    assert latch.step(CLEAR, 87_431) is CLEARED
    assert latch.step(MET, 87_499) is None
    assert latch.step(MET, 87_500) is FIRED


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300), st.integers(1, 10), st.sampled_from([0.5, 60.0]))
def test_an_allowance_bounds_what_any_stretch_sees(pauses: list[float], burst: int, every: float) -> None:
    allowance = Allowance(burst, every)
    times = list(itertools.accumulate(pauses))
    taken = [at for at in times if allowance.take(at)]
    assert taken[0] == times[0]
    for first, last in itertools.combinations(range(len(taken)), 2):
        assert last - first + 1 <= burst + (taken[last] - taken[first]) / every + 1e-6


def test_an_allowance_bears_a_clock_set_back() -> None:
    allowance = Allowance(2, 10)
    assert [allowance.take(at) for at in (1000, 1000, 1000, 500, 509, 510)] == [True, True, False, False, False, True]


@pytest.mark.parametrize("judgement", [MET, BETWEEN, CLEAR])
def test_a_new_latch_is_not_firing(judgement: Judgement) -> None:
    latch = Latch(clear_after=0, cooldown=0)
    assert (latch.step(judgement, 0.0) is FIRED) == latch.is_firing == judgement.is_met
