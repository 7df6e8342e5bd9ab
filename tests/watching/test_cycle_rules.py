"""Rules on cycles: failures in a row, their share, slow generation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.watched import committed, failed, log

from codeworm_monitor.monitor import open_recording
from codeworm_monitor.watching.cycle_rules import ErrorRate, FailuresInARow, SlowGeneration
from codeworm_monitor.watching.notices import NoticeKind
from codeworm_monitor.watching.rules import Machine, Rule, Turn

FIRED, CLEARED, REMINDED = NoticeKind.FIRED, NoticeKind.CLEARED, NoticeKind.REMINDED


def run(rule: Rule, letters: str, *, every: float = 60.0) -> list[tuple[NoticeKind, int]]:
    """Let cycles end, a minute apart: F fails, C commits, D is a dry run, H is a hole; return turns and their places."""
    machine = Machine(rule)
    turns: list[tuple[NoticeKind, int]] = []
    for place, letter in enumerate(letters):
        turn = step(machine, letter, place * every)
        if turn is not None:
            turns.append((turn.kind, place))
    return turns


def step(machine: Machine, letter: str, at: float) -> Turn | None:
    if letter == "H":
        machine.lose(at - 10, at)
        return machine.tick(at)
    target = f"f{at}"
    made = {"F": failed(at, target), "C": committed(at, target=target), "D": log("dry_run_complete", at, target=target)}
    return machine.take(made[letter], at)


# Failures in a row


def test_failures_in_a_row_fire_once_and_the_next_success_clears() -> None:
    assert run(FailuresInARow(3), "CFFCFFFFFCC") == [(FIRED, 6), (CLEARED, 9)]
    assert run(FailuresInARow(1), "F") == [(FIRED, 0)]
    assert run(FailuresInARow(2), "FFD") == [(FIRED, 1), (CLEARED, 2)]


def test_a_hole_ends_a_row_and_clears_nothing() -> None:
    assert run(FailuresInARow(3), "FFHFF") == []
    assert run(FailuresInARow(3), "FFFHFFC") == [(FIRED, 2), (CLEARED, 6)]


def test_the_daemons_own_count_fills_what_was_not_heard() -> None:
    machine = Machine(FailuresInARow(3))
    turn = machine.take(log("backing_off", extra={"consecutive_failures": 4}), 60)
    assert turn is not None
    assert turn.text == "4 cycles failed in a row, the daemon says"
    assert machine.take(committed(120), 120) is not None


@given(st.text("FCDH", max_size=120), st.integers(1, 5), st.sampled_from([0.0, 300.0, 3600.0]))
def test_it_holds_exactly_while_so_many_failed_since_the_last_success(
    letters: str, count: int, cooldown: float
) -> None:
    fired: list[float] = []
    machine = Machine(FailuresInARow(count, cooldown=cooldown))
    row = 0
    for place, letter in enumerate(letters):
        turn = step(machine, letter, place * 60.0)
        row = row + 1 if letter == "F" else 0
        if turn is not None and turn.kind is FIRED:
            assert row >= count
            fired.append(turn.at)
        if not cooldown and letter != "H":
            assert not (row >= count and not machine.is_firing)
        if letter in "CD":
            assert not machine.is_firing
    assert all(later - earlier >= cooldown for earlier, later in itertools.pairwise(fired))


def test_a_storm_of_failures_is_one_notice_and_reminders_are_as_rare_as_wanted() -> None:
    machine = Machine(FailuresInARow(3, remind="1h"))
    turns = [machine.take(failed(at / 10), at / 10) for at in range(100_000)]
    kinds = [turn.kind for turn in turns if turn is not None]
    assert kinds == [FIRED, REMINDED, REMINDED]
    text = next(turn.text for turn in reversed(turns) if turn is not None)
    assert text.startswith("72,003 cycles failed in a row")


def test_success_and_failure_in_quick_change_fire_once_a_cooldown() -> None:
    machine = Machine(FailuresInARow(1, cooldown="5min"))
    turns = [step(machine, "FC"[at % 2], float(at)) for at in range(20_000)]
    fired = [turn for turn in turns if turn is not None and turn.kind is FIRED]
    assert len(fired) == 20_000 // 300 + 1
    assert sum(turn.withheld for turn in turns if turn is not None) > 9_800


# Share of failures


def test_the_share_of_the_newest_fires_above_and_clears_well_below() -> None:
    rule = ErrorRate(0.5, 4)
    assert run(rule, "F") == []
    assert run(rule, "FF") == [(FIRED, 1)]
    assert run(rule, "CFCF") == []  # half is not more than half
    assert run(rule, "CCCCFFF") == [(FIRED, 6)]
    assert run(rule, "FFCFC") == [(FIRED, 1)]  # half of the newest four: not well under
    assert run(rule, "FFCFCC") == [(FIRED, 1), (CLEARED, 5)]
    assert run(ErrorRate(0.5, 4, clear_below=0), "FFCCCC") == [(FIRED, 1), (CLEARED, 5)]


def test_dry_runs_do_not_count_and_holes_change_nothing() -> None:
    assert run(ErrorRate(0.5, 4), "DDDDF") == []
    assert run(ErrorRate(0.5, 4), "DFHF") == [(FIRED, 3)]


@given(st.text("FC", max_size=200), st.integers(2, 30), st.floats(0, 0.95))
def test_the_share_is_that_of_the_newest_cycles(letters: str, of: int, above: float) -> None:
    machine = Machine(ErrorRate(above, of, cooldown=0))
    for place in range(len(letters)):
        step(machine, letters[place], float(place))
        newest = letters[max(0, place + 1 - of) : place + 1]
        share = newest.count("F") / len(newest)
        if len(newest) * 2 >= of and share > above:
            assert machine.is_firing
        if share <= above / 2 and len(newest) * 2 >= of:
            assert not machine.is_firing


# Slow generation


def timed(rule: Rule, *seconds: float, doc_types: tuple[str, ...] = ("til",)) -> list[tuple[NoticeKind, int]]:
    machine = Machine(rule)
    kinds = itertools.cycle(doc_types)
    turns = [machine.take(committed(at, one, next(kinds)), float(at)) for at, one in enumerate(seconds)]
    return [(turn.kind, at) for at, turn in enumerate(turns) if turn is not None]


def test_generation_twice_as_slow_as_usual_fires_and_clears_when_it_is_quick_again() -> None:
    assert timed(SlowGeneration(2.0, of=3), *[1.0] * 8, *[2.5] * 2, *[1.0] * 3) == [(FIRED, 9), (CLEARED, 11)]
    assert timed(SlowGeneration(2.0, of=3), *[1.0] * 8, *[1.9] * 9) == []
    assert timed(SlowGeneration(2.0, of=3), *[1.0] * 8, 30.0, 1.0, 30.0, 1.0, 1.0) == [(FIRED, 10), (CLEARED, 11)]


def test_one_slow_document_is_no_slowdown() -> None:
    assert timed(SlowGeneration(of=5), *[1.0] * 20, 100.0, 100.0, *[1.0] * 20) == []


def test_slowness_does_not_become_usual_while_it_lasts() -> None:
    assert timed(SlowGeneration(of=3), *[1.0] * 20, *[5.0] * 1_000, *[1.0] * 3) == [(FIRED, 21), (CLEARED, 1_021)]


def test_each_kind_of_document_has_its_own_usual_duration() -> None:
    both = [1.0, 10.0] * 30
    assert timed(SlowGeneration(2, of=4), *both, doc_types=("til", "module_doc")) == []
    assert timed(SlowGeneration(2, of=4), *both, *[3.0, 30.0] * 3, doc_types=("til", "module_doc")) == [(FIRED, 62)]


def test_a_bound_in_seconds_needs_nothing_to_compare_with() -> None:
    assert timed(SlowGeneration(seconds="2s", of=2), 3.0, 3.0, 1.0, 1.0) == [(FIRED, 1), (CLEARED, 3)]
    assert timed(SlowGeneration(seconds=2, of=2), 3.0, 2.0, 1.6, 2.0) == [
        (FIRED, 1)
    ]  # within three quarters: not well under


def test_names_that_are_anybodys_cost_bounded_memory() -> None:
    machine = Machine(SlowGeneration())
    for number in range(5_000):
        machine.take(committed(number, 1.0, f"kind-{number}"), float(number))
    assert len(machine.condition._usual) <= 100
    assert not machine.is_firing


# Arguments


@pytest.mark.parametrize(
    "make",
    [
        lambda: FailuresInARow(0), lambda: FailuresInARow(10**9), lambda: ErrorRate(1.0), lambda: ErrorRate(-0.1),
        lambda: ErrorRate(0.5, 1), lambda: ErrorRate(0.5, clear_below=0.6), lambda: SlowGeneration(1.0),
        lambda: SlowGeneration(float("nan")), lambda: SlowGeneration(seconds=0), lambda: SlowGeneration(of=0),
        lambda: SlowGeneration(clear_below=1.5), lambda: FailuresInARow(cooldown=-1),
        lambda: FailuresInARow(remind=0), lambda: FailuresInARow(clear_after="soon"),
    ],
)  # fmt: skip
def test_arguments_out_of_bounds_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+ is|: .* is"):
        make()


@pytest.mark.parametrize("make", [lambda: FailuresInARow("3"), lambda: ErrorRate("50%"), lambda: SlowGeneration(None)])
def test_arguments_of_other_types_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match="number"):
        make()


# What was recorded


def episodes(recording: Path, name: str, **fields: Any) -> list[float]:
    lines = (recording.parent / f"{recording.name.partition('.')[0]}.episodes.jsonl").read_bytes().splitlines()
    found = [one for one in map(orjson.loads, lines) if one["episode"] == name]
    return [one["t"] for one in found if all(one.get(key) == value for key, value in fields.items())]


def times(recording: Path, rule: Rule | str) -> list[tuple[str, float]]:
    with open_recording(recording) as rec:
        watch = rec.watch(rule)
    return [(str(one.kind), one.time.timestamp()) for one in watch.notices]


def test_recorded_failures_in_a_row_are_the_known_ones(recording: Path) -> None:
    """Two in a row each: before the first commit, out of memory, connections reset, answers that are no JSON."""
    found = times(recording, FailuresInARow(2, cooldown=0))
    if recording.name.startswith("recording-2"):
        assert found == []
        return
    causes = [(episodes(recording, "daemon_start")[0], episodes(recording, "operator_initial_commit")[0])]
    causes += [
        (episodes(recording, "ollama_mode", mode=mode)[0], episodes(recording, "ollama_mode", mode=mode)[0] + 60)
        for mode in ("oom_commit", "reset", "badjson")
    ]
    fired = [at for kind, at in found if kind == "fired"]
    assert [kind for kind, _ in found] == ["fired", "cleared"] * 4
    assert all(begin < at < end for at, (begin, end) in zip(fired, causes, strict=True))
    assert times(recording, "failures >= 3") == []


def test_the_recorded_slow_model_is_noticed(recording: Path) -> None:
    found = [at for kind, at in times(recording, SlowGeneration(5, of=3)) if kind == "fired"]
    slow = episodes(recording, "ollama_mode", mode="slow")
    assert len(found) == len(slow)
    assert all(begin < at < begin + 90 for begin, at in zip(slow, found, strict=True))
