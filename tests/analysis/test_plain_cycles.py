"""Plain cycles: taken as a whole, they are what their steps make one by one, whatever happens around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cycle_truth import traffic_of
from support.recorded_frames import recording

from codeworm_monitor.analysis import tracker as tracker_module
from codeworm_monitor.analysis.plain_cycles import LENGTH, plain_cycles
from codeworm_monitor.analysis.steps import Steps
from codeworm_monitor.analysis.tracker import Cycle, Tracker
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.synthetic import Days, Episode, Faults, Plan, Trouble

HOUR = 3_600.0
STEPS = ("step", "is_log", "cycle_num", "targets", "commits", "is_one_shot", "_source", "_row")


def state(tracker: Tracker) -> dict[str, object]:
    """Return all that a tracker knows at the end, with the cycles by their places in it."""

    def plain(value: object) -> object:
        match value:
            case Cycle():
                return ("cycle", value.index)
            case dict():
                return {plain(key): plain(one) for key, one in value.items()}
            case int() | float() | str() | None:
                return value
            case _:
                return [plain(one) for one in value]  # type: ignore[attr-defined]

    known = {name: value for name, value in vars(tracker).items() if name not in ("_steps", "cycles", "_numbers")}
    cycles = [{name: plain(getattr(one, name)) for name in Cycle.__slots__} for one in tracker.cycles]
    return {name: plain(value) for name, value in known.items()} | {"cycles": cycles}


def tracked(steps: Steps, *, by_whole: bool) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        if not by_whole:
            patch.setattr(tracker_module, "plain_cycles", lambda _, places: np.zeros(len(places), np.bool_))
        tracker = Tracker(steps)
        tracker.track()
    return state(tracker)


def assert_same(traffic: Traffic) -> int:
    """Hold both ways against each other; return how many cycles were plain."""
    steps = Steps(traffic)
    assert tracked(steps, by_whole=True) == tracked(steps, by_whole=False)
    return int(plain_cycles(steps, np.arange(len(steps))).sum())


@pytest.mark.parametrize("number", [1, 2])
def test_recordings_have_the_same_cycles(number: int) -> None:
    assert assert_same(recording(number)) > 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from((0.0, 0.005, 0.05, 0.3)),
    st.sampled_from((0.0, 0.05, 0.5)),
    st.sampled_from(("normal", "dry_run")),
)
def test_made_days_have_the_same_cycles_whatever_is_lost_or_comes_twice(
    seed: int, drop: float, duplicate: float, mode: str
) -> None:
    plan = Plan.drawn(seed, lasts=2 * HOUR, mode=mode)
    assert_same(traffic_of(Days.of(plan, Faults(seed=seed, drop=drop, duplicate=duplicate, duplicate_after=2.0))))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0, 3, 30)), st.sampled_from((0, 5, 40)), st.booleans(), st.booleans())
def test_steps_in_any_order_make_the_same_cycles(
    seed: int,
    swaps: int,
    losses: int,
    counts_anew: bool,  # noqa: FBT001
    commits_again: bool,  # noqa: FBT001
) -> None:
    steps, random = Steps(recording(1 + seed % 2)), np.random.default_rng(seed)
    order = np.arange(len(steps))
    for at in random.integers(0, len(order) - 12, swaps).tolist():
        length = int(random.integers(2, 12))
        order[at : at + length] = random.permutation(order[at : at + length])
    for at in random.integers(0, len(order) - 12, losses).tolist():
        order[at : at + int(random.integers(1, 12))] = -1
    order = order[order >= 0]
    if counts_anew:  # after restarts of which nothing was heard
        steps.cycle_num = steps.cycle_num % 9
    if commits_again:
        steps.commits = np.where(steps.commits >= 0, steps.commits % 3, -1)
    for name in STEPS:
        setattr(steps, name, getattr(steps, name)[order])
    assert tracked(steps, by_whole=True) == tracked(steps, by_whole=False)


@pytest.mark.parametrize("seed", range(4))
def test_cycles_for_which_the_scheduler_waited_no_longer_end_the_same(seed: int) -> None:
    trouble = Episode(what=Trouble.OLLAMA_DOWN, at=1_800, lasts=2_700.0 + 300 * seed)
    assert_same(traffic_of(Days.of(Plan(seed=seed, lasts=3 * HOUR, failures=0, episodes=(trouble,)))))


def test_what_names_two_targets_or_commits_or_numbers_is_not_plain() -> None:
    steps = Steps(recording(1))
    begin = int(np.flatnonzero(plain_cycles(steps, np.arange(len(steps))))[0])
    span = np.arange(begin, begin + LENGTH)
    assert plain_cycles(steps, span).tolist() == [True, *[False] * (LENGTH - 1)]
    for name, place, value in (
        ("targets", 4, 10**6),
        ("targets", 2, -1),
        ("commits", 6, 10**6),
        ("cycle_num", 1, 10**6),
        ("cycle_num", 0, np.nan),
        ("is_one_shot", 3, True),
        ("is_log", 5, False),
    ):
        values = getattr(steps, name)
        kept = values[begin + place]
        values[begin + place] = value
        assert not plain_cycles(steps, span).any(), name
        values[begin + place] = kept
    assert not plain_cycles(steps, span[:-1]).any()
    assert not plain_cycles(steps, span[:0]).any()
