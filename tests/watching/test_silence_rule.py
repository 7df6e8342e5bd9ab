"""Silence: of the publisher, not of the connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.watched import event, log

from codeworm_monitor.watching.notices import NoticeKind
from codeworm_monitor.watching.rules import Machine
from codeworm_monitor.watching.silence_rule import Silence

FIRED, CLEARED = NoticeKind.FIRED, NoticeKind.CLEARED


def machine(after: str | None = "30s", *, began: float = 1000.0, last: float | None = 1000.0) -> Machine:
    made = Machine(Silence(after=after, cooldown=0))
    made.condition.begin(began, last)
    return made


def kind(turn: object) -> NoticeKind | None:
    return getattr(turn, "kind", None)


@pytest.mark.parametrize("word", ["log", "event"])
def test_it_fires_after_the_time_allowed_and_any_message_clears(word: str) -> None:
    made = machine()
    assert made.due(1000) == 1030
    assert made.tick(1029.9) is None
    assert kind(made.tick(1030)) is FIRED
    assert made.tick(5000) is None
    assert kind(made.take(log("x") if word == "log" else event("x"), 5001)) is CLEARED
    assert made.due(5001) == 5031


def test_time_in_which_nobody_listened_is_none() -> None:
    made = machine()
    made.lose(1010, 1040)
    assert made.tick(1069) is None
    turn = made.tick(1070)
    assert kind(turn) is FIRED
    assert turn is not None
    assert turn.since == 1040


def test_a_silence_that_began_before_the_watch_counts() -> None:
    assert kind(machine(last=900).tick(1000)) is FIRED


def test_if_nothing_was_ever_heard_it_counts_from_the_beginning() -> None:
    made = machine(last=None)
    assert made.tick(1029) is None
    turn = made.tick(1030)
    assert turn is not None
    assert turn.text == "nothing heard for 30 s, 30 s are allowed"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 80))
def test_it_is_firing_exactly_when_it_was_quiet_for_too_long(pauses: list[float], limit: int) -> None:
    made = Machine(Silence(after=limit, cooldown=0))
    now = 1e9
    made.take(log("x"), now)
    for pause in pauses:
        heard, now = now, now + pause
        made.tick(now)
        assert made.is_firing == (now >= heard + limit)
        made.take(log("x"), now)
        assert not made.is_firing


# As learnt


def learnt(every: float = 60.0, count: int = 200) -> tuple[Machine, float]:
    made = machine(None)
    now = 1000.0
    for _ in range(count):
        now += every
        made.take(log("cycle_starting", now), now)
    return made, now


def test_the_learnt_limit_fires_and_says_why() -> None:
    made, now = learnt()
    assert not made.is_firing
    assert made.tick(now + 100) is None
    turn = made.tick(now + 300)
    assert kind(turn) is FIRED
    assert turn is not None
    assert turn.text.startswith("Quiet for 5 min: too long")
    assert turn.since == pytest.approx(now)
    assert kind(made.take(log("x"), now + 301)) is CLEARED


def test_the_next_look_is_never_too_late() -> None:
    made, now = learnt()
    looks = 0
    while not made.is_firing:
        due = made.due(now)
        assert due > now
        made.tick(due - 0.001)
        assert not made.is_firing or due - now <= 0.2
        now, looks = due, looks + 1
        made.tick(now)
    assert looks < 10
    assert made.due(now) == float("inf")


def test_an_announced_pause_is_no_silence_and_a_stop_on_purpose_neither() -> None:
    made, now = learnt()
    made.take(log("backing_off", now, extra={"seconds": 3000, "consecutive_failures": 3}), now + 1)
    assert made.tick(now + 2000) is None
    made.take(log("daemon_stopped", now), now + 2001)
    assert made.tick(now + 1e6) is None


def test_a_new_watch_on_what_has_never_spoken_waits_as_long_as_the_daemon_would() -> None:
    made = machine(None, last=None)
    assert made.tick(1000 + 44 * 60) is None
    turn = made.tick(1000 + 46 * 60)
    assert turn is not None
    assert turn.text.startswith("Nothing was heard since listening began")
    spoken = machine(None, last=1000 - 46 * 60)
    assert kind(spoken.tick(1000)) is FIRED


def test_an_outage_is_no_silence() -> None:
    made, now = learnt()
    made.lose(now + 10, now + 5_000)
    assert made.tick(now + 5_010) is None
    assert kind(made.tick(now + 5_300)) is FIRED


@pytest.mark.parametrize("wrong", [0, "0s", -5])
def test_a_limit_is_at_least_a_second(wrong: object) -> None:
    with pytest.raises(ValueError, match="after"):
        Silence(after=wrong)  # type: ignore[arg-type]
