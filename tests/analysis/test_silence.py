"""Silence: what is learnt, what the daemon announces, and what is no silence of its."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded_frames import DATA, START, Script, episodes, recording

from codeworm_monitor.analysis.silence import FURTHEST, PRIOR, Silence, SilenceModel, _messages, silence
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.recording import recorded_arrivals
from codeworm_monitor.records import Kind, LogLine, StatsSnapshot, WormEvent
from codeworm_monitor.synthetic import Days, Episode, Faults, Plan, Trouble

HOUR = 3600.0


def times_of(frames):
    return sorted(time.timestamp() for frame in frames for time in frame["received_at"])


def alarms(traffic):
    """Returns when it was quiet for too long, as a live watch would have found: from when to when, Unix seconds."""
    model, found, previous = SilenceModel(), [], None
    for time, name, wait in _messages(traffic, None):
        if previous is not None and (state := model.state(time)).is_silent:
            found.append((previous + state.limit, time))
        model._hear(time, name, wait)
        previous = time
    return found


def busy(*, cycles=40, start=START, work=2.0, rest=20.0, script=None):
    """A daemon that announces each cycle and keeps to it."""
    script = script or Script(start)
    for number in range(1, cycles + 1):
        script.start(number).work("dedent").commit("dedent", f"{number:08x}").push()
        script.stats(number, number).wait(0.01)
        script.event("next_cycle", time=(script.at + timedelta(seconds=rest)).isoformat()).wait(rest)
    return script


def learnt(pauses=(2.0,) * 100, start=1000.0):
    """A model that heard messages so far apart, and when the newest was."""
    model, time = SilenceModel(), start
    model.observe(time, Kind.LOGS, None, {})
    for pause in pauses:
        time += pause
        model.observe(time, Kind.LOGS, "something", {})
    return model, time


# The recordings


def test_in_recording_1_only_ollama_out_of_memory_is_too_quiet():
    [(begin, end)] = alarms(recording(1))
    marks = [one for one in episodes(1) if one["episode"] == "ollama_mode"]
    oom, after = next((one["t"], other["t"]) for one, other in pairwise(marks) if one["mode"] == "oom")
    assert oom < begin < end < after


def test_in_recording_2_nothing_is_too_quiet():
    assert alarms(recording(2)) == []


def test_recording_1_ends_with_a_stop_on_purpose():
    for later in (0, 60, 86_400):
        state = silence(recording(1), now=recording(1).until + timedelta(seconds=later))
        assert not state.is_silent
        assert state.limit == math.inf
        assert "stopped on purpose" in state.reason


def test_the_daemon_killed_in_recording_2_is_silent_when_its_next_cycle_does_not_come():
    [killed] = [one["t"] for one in episodes(2) if one["episode"] == "daemon_sigkill"]
    moment = datetime.fromtimestamp(killed, UTC)
    traffic = recording(2).between(None, moment)
    state = silence(traffic, now=moment)
    assert not state.is_silent
    assert state.is_learnt
    late = silence(traffic, now=state.last_message_at + timedelta(seconds=state.limit + 1))
    assert late.is_silent
    assert late.limit < 60
    assert "too long" in late.reason


@pytest.mark.parametrize("number", [1, 2])
def test_live_record_by_record_it_is_as_of_the_frames(number):
    traffic = recording(number)
    model = SilenceModel()
    model.miss(traffic.since.timestamp(), traffic.since.timestamp())
    times = times_of([traffic.logs, traffic.events, traffic.stats])
    for time, arrival in zip(times, recorded_arrivals(DATA / f"recording-{number}.jsonl.gz"), strict=True):
        model.observe_record(time, arrival.record)
    for later in (0.0, 5.0, 1e5):
        now = traffic.until + timedelta(seconds=later)
        assert model.state(now.timestamp()) == silence(traffic, now=now)


def test_in_ordinary_days_nothing_is_too_quiet_and_a_hang_is():
    plain = Traffic.of(**Days.of(Plan(seed=4, lasts=2 * 86_400)).frames())
    assert alarms(plain) == []
    hang = Episode(what=Trouble.HANG, at=86_400.0, lasts=2 * HOUR, how="resumed")
    days = Traffic.of(**Days.of(Plan(seed=4, lasts=2 * 86_400, episodes=(hang,))).frames())
    [(begin, end)] = alarms(days)
    start = days.since.timestamp() + hang.at
    assert start < begin < start + HOUR
    assert end >= start + hang.lasts - 60


def test_a_relay_that_was_away_is_no_silence_of_the_daemon():
    plan = Plan(seed=4, lasts=86_400)
    begin = plan.starts_at.timestamp()
    whole = Traffic.of(**Days.of(plan).frames())
    out = (plan.starts_at + timedelta(hours=10), plan.starts_at + timedelta(hours=14))
    kept = {
        name: frame[~frame["received_at"].between(*out)]
        for name, frame in (("logs", whole.logs), ("events", whole.events), ("stats", whole.stats))
    }
    gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=out[0].timestamp(), ended_at=out[1].timestamp())
    holed = replace(Script().traffic([gap]), **kept, since=whole.since, until=whole.until)
    assert holed.coverage.share == pytest.approx(20 / 24, abs=0.01)
    assert silence(holed, now=out[1] + timedelta(seconds=30)).quiet_for == pytest.approx(30)
    assert math.isnan(SilenceModel().state(begin).quiet_for)
    # What is learnt is what both heard: four hours of silence are not in it.
    assert silence(holed).limit == pytest.approx(silence(whole).limit, rel=0.5)
    within = silence(holed.between(None, out[1]), now=out[1])
    assert not within.is_silent
    assert within.limit == math.inf
    assert "Nobody has listened" in within.reason


# What is learnt


def test_until_enough_is_known_it_may_be_quiet_for_45_minutes():
    model, time = learnt(pauses=(2.0,) * 10)
    assert not model.state(time + PRIOR - 1).is_silent
    state = model.state(time + PRIOR + 1)
    assert state.is_silent
    assert not state.is_learnt
    assert "CodeWorm's own schedule" in state.reason


def test_nothing_at_all_since_listening_began_is_silence_after_the_same_time():
    model = SilenceModel()
    assert math.isnan(model.state(1e9).quiet_for)
    assert not model.state(1e9).is_silent
    model.miss(1000.0, 1000.0)
    assert not model.state(1000.0 + PRIOR).is_silent
    state = model.state(1000.0 + PRIOR + 1)
    assert state.is_silent
    assert state.last_message_at is None
    assert "since listening began" in state.reason


@given(st.floats(0.5, 500.0))
def test_the_limit_is_three_times_the_longest_usual_pause_at_any_pace(pause):
    model, time = learnt(pauses=(pause,) * 200)
    limit = model.limit_at(time)
    assert max(5.0, 2.7 * pause) <= limit <= max(5.0, 3.6 * pause)
    assert not model.state(time + limit - 0.01).is_silent
    assert model.state(time + limit + 0.01).is_silent
    assert model.state(time).typical == pytest.approx(pause, rel=0.1)


def test_one_hang_in_many_pauses_is_not_usual_afterwards():
    model, time = learnt(pauses=(2.0,) * 200 + (900.0,) + (2.0,) * 200)
    assert model.limit_at(time) < 10


def test_rare_long_pauses_among_few_do_not_lift_the_limit_above_45_minutes():
    model, time = learnt(pauses=(60.0,) * 80 + (4 * HOUR,))
    assert model.limit_at(time) == PRIOR


def test_a_publisher_that_is_always_slow_has_a_higher_limit_than_45_minutes():
    model, time = learnt(pauses=(HOUR,) * 60)
    assert model.limit_at(time) == pytest.approx(3 * HOUR, rel=0.1)


def test_pauses_between_bursts_are_what_counts_however_many_messages_a_burst_has():
    model, time = learnt(pauses=((0.001,) * 500 + (600.0,)) * 60)
    assert model.limit_at(time) > 600


def test_a_pause_that_a_new_start_ends_is_not_learnt():
    model, time = learnt(pauses=(2.0,) * 60)
    limit = model.limit_at(time)
    for _ in range(60):
        time += 500.0
        model.observe(time, Kind.LOGS, "daemon_starting", {})
        time += 2.0
        model.observe(time, Kind.LOGS, "state_loaded", {})
    assert model.limit_at(time) == limit


# What is announced


@pytest.mark.parametrize("skew", [0.0, -7200.0, 90.0])
@given(wait=st.floats(1.0, FURTHEST))
def test_until_the_announced_time_it_is_never_too_quiet_and_soon_after_it_is(skew, wait):
    model, time = learnt()
    spare = model.limit_at(time)
    written = datetime.fromtimestamp(time + skew, UTC)
    fields = {"timestamp": written, "next_cycle_at": written + timedelta(seconds=wait)}
    model.observe(time, Kind.EVENTS, "next_cycle", fields)
    assert not model.state(time + wait).is_silent
    assert model.limit_at(time) == pytest.approx(wait + spare, abs=0.01)
    assert model.state(time + wait + spare + 0.1).is_silent
    assert abs((model.state(time).expected_at - datetime.fromtimestamp(time + wait, UTC)).total_seconds()) < 0.01


def test_announced_pauses_are_not_learnt_as_usual():
    traffic = busy(cycles=60, rest=900.0).traffic()
    state = silence(traffic)
    left = (state.expected_at - state.last_message_at).total_seconds()
    assert state.is_learnt
    assert state.limit - left < 30


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("backing_off", {"seconds": 300}),
        ("ollama_unavailable_waiting", {"retry_in_seconds": 300.0}),
        (
            "next_scheduled_run",
            {"time": "1970-01-01T00:25:00+00:00", "timestamp": datetime(1970, 1, 1, 0, 20, tzinfo=UTC)},
        ),
    ],
)
def test_backing_off_retries_and_the_schedule_in_the_log_announce_too(name, fields):
    model, time = learnt(start=1000.0)
    spare = model.limit_at(time)
    model.observe(time, Kind.LOGS, name, fields)
    assert model.limit_at(time) == pytest.approx(spare + 300)
    # The next cycle clears it, though it comes before its time.
    model.observe(time + 10, Kind.LOGS, "cycle_starting", {})
    assert model.state(time + 10).expected_at is None


def test_what_comes_meanwhile_leaves_an_announcement_as_it_is():
    model, time = learnt()
    model.observe(time, Kind.LOGS, "backing_off", {"seconds": 300})
    model.observe(time + 100, Kind.LOGS, "reload_signal_received", {})
    assert not model.state(time + 300).is_silent
    assert model.state(time + 330).is_silent


def test_a_hole_over_the_announced_time_takes_the_announcement_along():
    model, time = learnt()
    model.observe(time, Kind.LOGS, "backing_off", {"seconds": 300})
    model.miss(time + 10, time + 200)
    assert model.state(time + 200).expected_at is not None
    model.miss(time + 250, time + 310)
    state = model.state(time + 312)
    assert state.expected_at is None
    assert state.quiet_for == pytest.approx(2)


def test_while_nobody_listens_nothing_is_known_and_the_next_message_ends_that():
    model, time = learnt()
    limit = model.limit_at(time)
    model.miss(time + 1, None)
    state = model.state(time + 1e6)
    assert (state.quiet_for, state.limit, state.is_silent) == (pytest.approx(1), math.inf, False)
    assert "Nobody has listened" in state.reason
    model.observe(time + 1e6, Kind.LOGS, "something", {})
    assert model.limit_at(time + 1e6) == limit
    assert model.state(time + 1e6 + limit + 1).is_silent


# Stops


def test_after_a_stop_on_purpose_it_is_not_silence_until_a_new_start():
    model, time = learnt()
    model.observe(time, Kind.LOGS, "shutdown_signal_received", {})
    assert "told to stop" in model.state(time + 1e5).reason
    model.observe(time + 1, Kind.LOGS, "daemon_stopped", {})
    assert not model.state(time + 1e6).is_silent
    # The cycle under way may still end.
    model.observe(time + 20, Kind.LOGS, "documentation_committed", {})
    assert not model.state(time + 1e6).is_silent
    model.observe(time + 5000, Kind.LOGS, "daemon_starting", {})
    assert not model.state(time + 5000).is_silent
    assert model.state(time + 6000).is_silent


def test_a_daemon_whose_start_was_lost_runs_as_soon_as_it_starts_a_cycle():
    model, time = learnt()
    model.observe(time, Kind.LOGS, "daemon_stopped", {})
    model.observe(time + 60, Kind.EVENTS, "cycle_starting", {})
    assert model.state(time + 600).is_silent


# Content


NAMES = ["next_cycle", "next_scheduled_run", "backing_off", "ollama_unavailable_waiting", "daemon_stopped", "x", None]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=60),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
    st.lists(st.integers(), max_size=2),
    st.just(10**400),
    st.sampled_from(["9999-12-31T23:59:59+00:00", "2026-01-01", "0001-01-01T00:00:00-14:00"]),
)
FIELDS = st.dictionaries(
    st.sampled_from(["timestamp", "next_cycle_at", "time", "seconds", "retry_in_seconds"]), ANYTHING
)


@given(st.lists(st.tuples(st.floats(), st.sampled_from(NAMES), FIELDS), max_size=30), st.floats(0, 4e9))
def test_any_content_is_borne_and_puts_off_an_alarm_by_a_day_at_most(messages, now):
    model = SilenceModel()
    for time, name, fields in messages:
        model.observe(time, Kind.LOGS, name, fields)
    state = model.state(now)
    assert isinstance(state, Silence)
    assert state.limit == math.inf or state.limit <= FURTHEST + PRIOR + 1e-3
    assert state.is_silent == (state.quiet_for > state.limit)
    assert "<" not in state._repr_html_().removeprefix("<code>").removesuffix("</code>")
    assert state.reason in repr(state)


def test_frames_without_announcements_names_or_rows_are_borne():
    assert "so far" in silence(Traffic.of()).reason
    script = Script()
    for _ in range(3):
        script.log("next_scheduled_run", time=7).wait(5)
        script.log("backing_off", seconds="soon").wait(5)
        script.event("next_cycle", time="never").wait(5)
    traffic = script.traffic()
    assert silence(traffic).expected_at is None
    logs = traffic.logs[["received_at", "event"]]
    assert not silence(Traffic.of(logs=logs)).is_silent
    later = silence(Traffic.of(logs=logs), now=logs["received_at"].max() + timedelta(hours=1))
    assert later.is_silent


def test_records_of_each_kind_are_heard():
    model = SilenceModel()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    model.observe_record(moment.timestamp(), StatsSnapshot(timestamp=moment))
    assert model.state(moment.timestamp()).last_message_at == moment
    next_cycle = WormEvent(timestamp=moment, type="next_cycle", next_cycle_at=moment + timedelta(seconds=50))
    model.observe_record(moment.timestamp(), next_cycle)
    assert model.state(moment.timestamp()).expected_at == moment + timedelta(seconds=50)
    model.observe_record(moment.timestamp(), LogLine(timestamp=moment, event="backing_off", extra={"seconds": 70}))
    assert model.state(moment.timestamp()).expected_at == moment + timedelta(seconds=70)


def test_a_clock_that_is_set_back_starts_the_quiet_anew():
    model, time = learnt()
    model.observe(time - 7200, Kind.LOGS, "something", {})
    assert model.state(time - 7200 + 3).quiet_for == pytest.approx(3)


def test_now_may_be_a_text_and_what_came_later_is_not_known_then():
    traffic = busy(cycles=60).traffic()
    earlier = silence(traffic, now="10min")
    assert earlier.last_message_at <= traffic.until - timedelta(minutes=10)
    with pytest.raises(ValueError, match="is no time"):
        silence(traffic, now="soon")


def test_lost_and_doubled_messages_do_not_make_ordinary_days_silent():
    days = Days.of(Plan(seed=9, lasts=86_400), Faults(seed=1, drop=0.05, duplicate=0.05))
    found = alarms(Traffic.of(**days.frames()))
    assert found == []
