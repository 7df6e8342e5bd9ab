"""The watch: what reaches whom, how often, and what is kept of it."""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.watched import NASTY, committed, failed, log

from codeworm_monitor.watching.actions import Action, Call
from codeworm_monitor.watching.cycle_rules import FailuresInARow
from codeworm_monitor.watching.feed import Arrived
from codeworm_monitor.watching.notices import Notice, NoticeKind
from codeworm_monitor.watching.record_rule import OnRecord
from codeworm_monitor.watching.rules import Rule
from codeworm_monitor.watching.silence_rule import Silence
from codeworm_monitor.watching.watch import BURST, EVERY, KEPT, Hole, Watch, WatchState

FIRED, CLEARED, BLIND, SEEING = NoticeKind.FIRED, NoticeKind.CLEARED, NoticeKind.BLIND, NoticeKind.SEEING
QUICK = {"cooldown": 0.0, "clear_after": 0.0}


class Seen(list[Notice]):
    """A watch on a rule, what its action was given, and a clock."""

    def __init__(self, rule: Rule, *actions: Action, **options: Any) -> None:
        self.watch = Watch(rule, [Call(self.append), *actions], monitor="default", name=str(rule), **options)
        self.now = 1_795_000_000.0
        self.watch.begin([], self.now, None)

    def after(self, seconds: float, *records: Any) -> Seen:
        self.now += seconds
        self.watch.take([Arrived(self.now, record) for record in records])
        self.watch.tick(self.now)
        self.watch.wait()
        return self

    @property
    def kinds(self) -> list[NoticeKind]:
        return [one.kind for one in self]


def test_it_tells_when_it_fires_and_when_it_is_over() -> None:
    seen = Seen(FailuresInARow(2))
    seen.after(1, failed(1), failed(2, error="out of memory"))
    assert seen.watch.state is WatchState.FIRING
    assert seen.after(60, committed(3)).kinds == [FIRED, CLEARED]
    assert seen.watch.state is WatchState.CLEAR
    assert (seen.watch.told, seen.watch.withheld, seen.watch.failures) == (2, 0, 0)
    first = seen[0]
    assert (first.rule, first.monitor) == ("failures >= 2", "default")
    assert first.text == "2 cycles failed in a row; the newest: failed · f · out of memory"
    assert first.since is not None
    assert first.time.timestamp() == seen.now - 60


def test_its_history_is_a_frame() -> None:
    seen = Seen(FailuresInARow(1, **QUICK))
    empty = seen.watch.history
    seen.after(1, failed(1)).after(1, committed(2))
    frame = seen.watch.history
    assert list(frame.columns) == ["time", "rule", "kind", "text", "since", "is_told"]
    for one in (empty, frame):
        assert str(one.time.dtype) == str(one.since.dtype) == "datetime64[us, UTC]"
        assert isinstance(one.kind.dtype, pd.CategoricalDtype)
        assert one.is_told.dtype == bool
    assert frame.kind.tolist() == ["fired", "cleared"]
    assert frame.since.isna().tolist() == [False, True]
    assert len(empty) == 0


def test_what_was_before_it_began_counts_but_is_not_told_as_past() -> None:
    watch = Watch(FailuresInARow(2), [], monitor="m", name="n")
    watch.begin([Arrived(10, failed(1)), Arrived(20, failed(2)), Arrived(30, committed(3))], 40, 30)
    assert watch.notices == []
    watch.tick(41)
    assert watch.notices == []
    watch = Watch(FailuresInARow(2), [], monitor="m", name="n")
    watch.begin([Arrived(10, failed(1)), Arrived(20, failed(2))], 40, 30)
    watch.tick(41)
    assert [(one.kind, one.since.timestamp()) for one in watch.notices if one.since] == [(FIRED, 10)]


def test_notices_are_rationed_and_the_next_says_how_many_were_held_back() -> None:
    seen = Seen(FailuresInARow(1, **QUICK))
    for number in range(10):
        seen.after(0.001, failed(number + 0.5))
        if not seen.watch.history.is_told.all():
            break
        seen.after(0.001, committed(number))
    assert seen.kinds == [FIRED, CLEARED] * 2 + [FIRED, CLEARED]
    for number in range(100):
        seen.after(0.001, committed(1000 + number)).after(0.001, failed(1000 + number + 0.5))
    assert len(seen) == 6
    seen.after(EVERY, committed(5000))
    assert seen[-1].kind is CLEARED
    assert seen[-1].withheld == seen.watch.withheld == 201
    assert seen.after(2 * EVERY, failed(5001))[-1].withheld == 0


@hypothesis_settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from("FC")), max_size=150))
def test_what_reaches_an_action_is_bounded_and_a_told_alarm_is_always_taken_back(
    moves: list[tuple[float, str]],
) -> None:
    seen = Seen(FailuresInARow(1, **QUICK))
    for number, (pause, letter) in enumerate(moves):
        seen.after(pause, failed(number) if letter == "F" else committed(number))
    told = [one for one in seen if one.kind is not CLEARED]
    times = [one.time.timestamp() for one in told]
    for first, last in itertools.combinations(range(len(times)), 2):
        assert last - first + 1 <= BURST + (times[last] - times[first]) / EVERY + 1e-6
    frame = seen.watch.history
    alarms, ends = frame[frame.kind == "fired"], frame[frame.kind == "cleared"]
    for is_told, is_taken_back in zip(alarms.is_told, ends.is_told, strict=False):
        assert is_taken_back or not is_told
    assert sum(one.withheld for one in seen) <= seen.watch.withheld
    assert len(seen) == seen.watch.told


def test_a_storm_of_failing_cycles_is_one_notice() -> None:
    seen = Seen(FailuresInARow(3))
    for start in range(0, 100_000, 10_000):
        seen.after(0.5, *(failed(start + number) for number in range(10_000)))
    assert seen.kinds == [FIRED]
    assert len(seen.watch.history) == 1


def test_history_is_bounded() -> None:
    seen = Seen(FailuresInARow(1, **QUICK))
    for number in range(KEPT):
        seen.watch.take([Arrived(seen.now, failed(number)), Arrived(seen.now, committed(number))])
    assert len(seen.watch.history) == len(seen.watch.notices) == KEPT


# Blind


def test_while_it_cannot_see_nothing_is_judged_and_that_is_told_once() -> None:
    seen = Seen(Silence(after=30), blind_after=60)
    seen.after(1, log("x"))
    for _ in range(1_000):
        seen.now += 1
        seen.watch.cannot_see(seen.now, "the relay is not heard: ConnectionRefusedError")
    assert seen.watch.state is WatchState.BLIND
    seen.watch.wait()
    assert [(one.kind, one.text) for one in seen] == [(BLIND, "the relay is not heard: ConnectionRefusedError")]
    assert seen[0].since is not None
    assert (seen[0].time - seen[0].since).total_seconds() == 60
    seen.watch.take([Hole(seen.now - 999, seen.now)])
    assert seen.after(1, log("y")).kinds == [BLIND, SEEING]
    assert seen.watch.state is WatchState.CLEAR


def test_a_short_blindness_is_not_told() -> None:
    seen = Seen(Silence(after=300), blind_after=60)
    for _ in range(100):
        for _ in range(59):
            seen.now += 1
            seen.watch.cannot_see(seen.now, "away")
        seen.after(1, log("x"))
    assert seen.kinds == []


def test_an_alarm_outlives_blindness() -> None:
    seen = Seen(FailuresInARow(1), blind_after=60)
    seen.after(1, failed(1))
    seen.watch.cannot_see(seen.now, "away")
    assert seen.watch.state is WatchState.BLIND
    assert seen.after(1).watch.state is WatchState.FIRING
    assert seen.after(1, committed(2)).kinds == [FIRED, CLEARED]


# The clock


def test_times_before_the_last_count_as_the_last() -> None:
    seen = Seen(Silence(after=30, cooldown=0))
    seen.after(10, log("x"))
    seen.watch.take([Arrived(seen.now - 5_000, log("y"))])
    assert seen.after(29).kinds == []
    assert seen.after(1).kinds == [FIRED]


def test_a_clock_that_was_set_changes_what_it_knows_but_not_what_it_told() -> None:
    seen = Seen(FailuresInARow(2, cooldown=100))
    seen.after(0, failed(1), failed(2))
    seen.now += 86_400
    seen.watch.start_again(86_400)
    seen.watch.begin([Arrived(seen.now, failed(1)), Arrived(seen.now, failed(2))], seen.now, None)
    assert seen.after(1).kinds == [FIRED]
    assert seen.after(1, committed(3)).after(1, failed(4), failed(5)).kinds == [FIRED, CLEARED]
    assert seen.after(97).kinds == [FIRED, CLEARED, FIRED]


# Failures


def test_a_function_of_the_rule_that_raises_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def choose(record: Any) -> bool:
        raise ValueError(f"no: {NASTY}")

    with caplog.at_level(logging.WARNING):
        seen = Seen(OnRecord(choose))
        seen.after(1, log("x"), log("y"), log("z"))
    assert seen.watch.failures == 3
    assert isinstance(seen.watch.last_error, ValueError)
    assert len(caplog.records) == 1
    assert "\x1b" not in caplog.text
    assert seen.kinds == []


def test_actions_that_fail_are_counted_and_the_others_are_told() -> None:
    def fail(_: Notice) -> None:
        raise OSError("disk full")

    seen = Seen(FailuresInARow(1, **QUICK), Call(fail))
    seen.after(1, failed(1)).after(1, committed(2))
    assert seen.kinds == [FIRED, CLEARED]
    assert seen.watch.failures == 2
    assert str(seen.watch.last_error) == "disk full"
    assert "2 failures" in repr(seen.watch)


def test_what_an_action_was_too_slow_for_is_told_by_a_later_notice() -> None:
    seen = Seen(FailuresInARow(1, **QUICK))
    seen.watch._couriers[0]._dropped = 7
    assert seen.after(1, failed(1))[0].withheld == 7
    assert seen.watch.withheld == 7


# The end


def test_stopped_it_tells_nothing_any_more() -> None:
    seen = Seen(FailuresInARow(1, **QUICK))
    with seen.watch as watch:
        seen.after(1, failed(1))
    assert watch.state is WatchState.ENDED
    watch.stop()
    seen.after(1, committed(2))
    assert seen.kinds == [FIRED]
    assert len(watch.history) == 1


def test_an_action_may_stop_its_watch() -> None:
    box: list[Watch] = []
    seen = Seen(FailuresInARow(1), Call(lambda _: box[0].stop()))
    box.append(seen.watch)
    began = time.monotonic()
    seen.after(1, failed(1))
    assert seen.watch.state is WatchState.ENDED
    assert time.monotonic() - began < 5


# What is shown


def test_it_shows_itself_in_a_line_and_as_inert_html() -> None:
    seen = Seen(OnRecord(event="x", text=NASTY, within=1000))
    assert "clear: 0 notices to " in repr(seen.watch)
    seen.after(1, log("x", target=NASTY, error=NASTY))

    class FailedError(Exception):
        pass

    seen.watch._fail(FailedError(NASTY))
    html = seen.watch._repr_html_()
    assert len(seen) == 1
    for text in (html, repr(seen.watch), str(seen[0])):
        assert not {"\x1b", "\0", "\n", "\u2028", "\u202e"} & set(text)
    assert "<script" not in html
    assert "<img" not in html
    assert "FailedError" in html
