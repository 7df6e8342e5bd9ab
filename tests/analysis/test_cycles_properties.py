"""Cycles and outages of synthetic days, held against what truly happened in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cycle_truth import TELLING, check, matched, micros, outage_faults, traffic_of

from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.outages import outages
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.synthetic import Away, Days, Episode, Faults, Plan, Trouble

HOUR = 3_600.0
seeds = st.integers(0, 2**32)
causes = st.sampled_from(("silent", "source_outage", "relay_restart", "new_epoch"))
stretches = st.builds(Away, at=st.floats(0, 3 * HOUR), lasts=st.sampled_from((0.3, 4.0, 60.0, 900.0)), cause=causes)
relay_steps = st.tuples(st.floats(0, 3 * HOUR), st.sampled_from((-3_600, -90, -2, 2, 90, 3_600, 5_000)))


def wrong(days, *, is_whole=False):
    return check(matched(days, cycles(traffic_of(days))), is_whole=is_whole)


def patient(seed, **settings):
    """Return a drawn plan in which no cycle takes over half an hour."""
    plan = Plan.drawn(seed, lasts=3 * HOUR, **settings)
    short = tuple(
        replace(one, lasts=min(one.lasts, 900.0), how="oom" if one.how == "silence" else one.how)
        for one in plan.episodes
    )
    return replace(plan, episodes=short, cycles_per_day=min(plan.cycles_per_day, 1_500.0))


def plan_time(plan, seconds):
    return (plan.starts_at.timestamp() + seconds) * 1e6


def impatient(seed, *, lasts, what=Trouble.OLLAMA_DOWN, how=""):
    trouble = Episode(what=what, at=1_800, lasts=lasts, how=how)
    return Plan(seed=seed, lasts=lasts + 2 * HOUR, failures=0, episodes=(trouble,))


@settings(max_examples=25)
@given(seeds)
def test_every_cycle_is_found_exactly_whatever_befalls_the_daemon(seed):
    assert wrong(Days.of(patient(seed)), is_whole=True) == []


@pytest.mark.parametrize("seed", range(12))
def test_every_cycle_is_found_exactly(seed):
    assert wrong(Days.of(patient(seed)), is_whole=True) == []


@settings(max_examples=15)
@given(seeds, st.floats(0.01, 1), st.sampled_from((0.001, 0.5, 30.0)))
def test_what_comes_twice_counts_once(seed, share, after):
    days = Days.of(patient(seed), Faults(seed=seed, duplicate=share, duplicate_after=after))
    assert wrong(days, is_whole=True) == []


@settings(max_examples=25)
@given(seeds, st.sampled_from((0.005, 0.05, 0.3, 0.7)))
def test_no_loss_makes_anything_wrong(seed, share):
    assert wrong(Days.of(patient(seed), Faults(seed=seed, drop=share))) == []


@settings(max_examples=15)
@given(seeds, st.sampled_from((0.02, 0.2)))
def test_a_dry_run_whose_end_was_lost_is_no_commit(seed, share):
    assert wrong(Days.of(patient(seed, mode="dry_run"), Faults(seed=seed, drop=share))) == []


@settings(max_examples=25)
@given(seeds, st.lists(stretches, min_size=1, max_size=8))
def test_a_cycle_that_a_gap_touches_does_not_pass_for_complete_and_nothing_is_wrong(seed, away):
    assert wrong(Days.of(patient(seed), Faults(seed=seed, away=tuple(away)))) == []


@settings(max_examples=15)
@given(seeds, st.floats(0, HOUR), st.floats(HOUR, 3 * HOUR))
@example(285, 4_069.84, 9_868.4)
def test_a_stretch_that_begins_and_ends_in_the_middle_of_things_is_told_as_far_as_it_was_heard(seed, since, until):
    assert wrong(Days.of(patient(seed), Faults(since=since, until=until))) == []


@settings(max_examples=15)
@given(seeds, st.lists(relay_steps, min_size=1, max_size=3))
def test_the_relays_clock_changes_neither_order_nor_durations(seed, steps):
    assert wrong(Days.of(patient(seed), Faults(clock_steps=tuple(steps))), is_whole=True) == []


@settings(max_examples=15)
@given(seeds, st.lists(relay_steps, min_size=1, max_size=3))
def test_the_publishers_clock_makes_no_duration_wrong(seed, steps):
    set_by = tuple(Episode(what=Trouble.CLOCK_STEP, at=at, by=by) for at, by in steps)
    plan = patient(seed)
    assert wrong(Days.of(replace(plan, episodes=plan.episodes + set_by)), is_whole=True) == []


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("America/New_York", datetime(2026, 3, 8, 5, 30, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 13, 30, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_times_are_right_through_a_change_of_daylight_saving_time(zone, start, seed):
    days = Days.of(patient(seed, zone=zone, starts_at=start))
    frame = cycles(traffic_of(days))
    assert check(matched(days, frame), is_whole=True) == []
    assert wrong(replace(days, heard=[one for one in days.heard if one.channel == "codeworm:events"])) == []


@settings(max_examples=10)
@given(seeds, st.sampled_from(("codeworm:logs", "codeworm:events", "codeworm:stats")))
def test_a_channel_that_was_not_listened_to_makes_nothing_wrong(seed, channel):
    days = Days.of(patient(seed))
    days = replace(days, heard=[one for one in days.heard if one.channel != channel])
    assert wrong(days) == []


@settings(max_examples=10)
@given(seeds)
def test_logs_alone_tell_every_cycle_and_its_end(seed):
    days = Days.of(patient(seed))
    days = replace(days, heard=[one for one in days.heard if one.channel == "codeworm:logs"])
    frame = cycles(traffic_of(days))
    match = matched(days, frame)
    assert check(match) == []
    assert frame.outcome.notna().all()
    assert len(frame) == sum(bool(match.names(cycle) & TELLING) for cycle in days.truth.cycles)


@settings(max_examples=10)
@given(seeds, st.data())
def test_rows_in_another_order_give_the_same_cycles(seed, data):
    frames = Days.of(patient(seed)).frames()
    mixed = {
        name: frame.sample(frac=1, random_state=data.draw(st.integers(0, 1_000))) for name, frame in frames.items()
    }
    pd.testing.assert_frame_equal(cycles(Traffic.of(**frames)), cycles(Traffic.of(**mixed)), check_categorical=False)


@pytest.mark.parametrize("how", ["silence", ""])
@pytest.mark.parametrize("seed", range(4))
def test_a_cycle_that_the_daemon_gave_up_has_the_end_that_it_tells_later(seed, how):
    """The schedule waits half an hour for a cycle, says that it failed, and goes on; the cycle goes on as well."""
    what = Trouble.LLM_ERRORS if how else Trouble.OLLAMA_DOWN
    days = Days.of(impatient(seed, lasts=3 * HOUR, what=what, how=how))
    assert any(step.name == "logs/scheduled_task_error" for cycle in days.truth.cycles for step in cycle.steps)
    assert wrong(days, is_whole=True) == []


@settings(max_examples=20)
@given(seeds)
def test_whatever_befalls_the_daemon_and_the_transport_no_cycle_is_invented(seed):
    plan = Plan.drawn(seed, lasts=4 * HOUR)
    assert wrong(Days.of(plan), is_whole=True) == []
    assert wrong(Days.of(plan, Faults(seed=seed, drop=0.1, duplicate=0.05, away=(Away(at=HOUR, lasts=900),)))) == []


@settings(max_examples=20)
@given(seeds)
def test_every_sign_of_failure_lies_in_an_outage_of_its_kind_and_no_outage_is_invented(seed):
    days = Days.of(patient(seed, failures=0.0))
    assert outage_faults(days, outages(traffic_of(days))) == []


@settings(max_examples=20)
@given(seeds, st.lists(stretches, min_size=1, max_size=6), st.sampled_from((0.0, 0.05)))
def test_no_loss_makes_an_outage_wrong(seed, away, share):
    days = Days.of(patient(seed, failures=0.0), Faults(seed=seed, away=tuple(away), drop=share))
    assert outage_faults(days, outages(traffic_of(days))) == []


def test_what_the_relay_says_of_itself_is_no_sign_of_life_of_the_daemon():
    """The relay's notes about its upstream stand among the logs; they neither end nor hide the daemon's silence."""
    kill = Episode(what=Trouble.KILL, at=HOUR, lasts=2 * HOUR)
    days = Days.of(Plan(seed=1, lasts=3.5 * HOUR, episodes=(kill,)))
    died, back = days.truth.runs[0].ended_at, days.truth.runs[1].started_at
    notes = Days.of(
        days.plan, Faults(away=tuple(Away(at=at, lasts=0.1, cause="source_outage") for at in range(3_900, 10_800, 600)))
    )
    assert sum(died < one.received_at * 1e6 < back for one in notes.heard) > 20
    last = max(one.stamp for one in days.published if one.stamp < died)
    found = outages(traffic_of(notes))
    [down] = found[found.kind == "daemon"].itertuples()
    assert abs(micros(down.started_at) - last) < 1_000_000
    assert micros(down.ended_at) == back


def test_a_relay_that_talks_to_itself_does_not_keep_a_cycle_running():
    plan = Plan(seed=1, lasts=4 * HOUR, cycles_per_day=5_000, min_gap=1, generate_s=30)
    cut = next(
        one for one in Days.of(plan).published if one.name == "events/generating" and one.at > plan_time(plan, HOUR)
    )
    days = Days.of(plan)
    heard = [one for one in days.heard if one.number <= cut.number]
    note = heard[-1]._replace(
        channel="codeworm:relay", payload=b'{"event":"reader_joined","component":"relay"}', number=-1
    )
    notes = [note._replace(offset=note.offset + n, received_at=note.received_at + 600 * n) for n in range(1, 10)]
    frame = cycles(traffic_of(replace(days, heard=heard + notes)))
    assert frame.outcome.iloc[-1] == "interrupted"


def test_rows_are_in_the_order_of_the_log_and_offsets_lead_to_their_messages():
    days = Days.of(patient(3), Faults(clock_steps=((HOUR, -1_800),)))
    match = matched(days, cycles(traffic_of(days)))
    assert match.frame.first_offset.is_monotonic_increasing
    offsets = {one.number: one.offset for one in days.heard}
    for row, cycle in match.pairs:
        own = [offsets[step.number] for step in cycle.steps if step.number in offsets]
        assert row.first_offset == own[0]
        assert own[0] <= row.last_offset <= own[-1]
        assert micros(row.started_at) == cycle.started_at
