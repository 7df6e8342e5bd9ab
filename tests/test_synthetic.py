"""Synthetic traffic has the form of the recorded, and its truth is that of its messages."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeworm_monitor.columns import GAP_LAYOUT, LAYOUTS
from codeworm_monitor.records import Kind
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.synthetic import Away, Days, Episode, Faults, Plan, Publishing, Trouble, heard

DATA = Path(__file__).parent / "data"
HOUR = 3_600.0
EVERYTHING = tuple(
    Episode(what=what, at=at * 1_000.0, lasts=lasts, how=how, by=by, then=then)
    for at, (what, lasts, how, by, then) in enumerate(
        (
            (Trouble.OLLAMA_DOWN, 500, "", 1, ""),
            (Trouble.LLM_ERRORS, 400, "oom", 1, ""),
            (Trouble.LLM_ERRORS, 400, "nonsense", 1, ""),
            (Trouble.COMMIT_BROKEN, 400, "", 1, ""),
            (Trouble.PUSH_BROKEN, 900, "fatal", 1, ""),
            (Trouble.PUSH_BROKEN, 900, "refused", 1, ""),
            (Trouble.EXHAUSTED, 900, "", 1, ""),
            (Trouble.RELOAD, 0, "", 1, ""),
            (Trouble.STOP, 30, "SIGTERM", 1, "debug"),
            (Trouble.DATABASE_LOCKED, 900, "", 1, ""),
            (Trouble.KILL, 10, "", 1, "dry_run"),
            (Trouble.RUN_ONCE, 0, "commit", 1, ""),
            (Trouble.STOP, 10, "SIGINT", 1, "normal"),
            (Trouble.RATE, 4_000, "", 0, ""),
        )
    )
)
ROUGH = Plan(seed=5, lasts=6 * HOUR, cycles_per_day=3_000, min_gap=3, generate_s=4, episodes=EVERYTHING, skips=0)


def recorded(number):
    with gzip.open(DATA / f"recording-{number}.jsonl.gz", "rt") as lines:
        for line in lines:
            record = orjson.loads(line)
            yield record["t"], record["channel"], orjson.loads(record["payload"])


def name_of(channel, payload):
    kind = channel.rpartition(":")[2]
    return f"{kind}/{payload.get('event') or payload.get('type') or 'stats'}"


def shape(payload):
    """Return names and types in their order; those of `by_repo` are data."""
    return tuple(
        (key, shape(value) if isinstance(value, dict) and key != "by_repo" else type(value).__name__)
        for key, value in payload.items()
    )


def shapes(messages):
    found = defaultdict(set)
    for channel, payload in messages:
        found[name_of(channel, payload)].add(shape(payload))
    return found


RECORDED = [(channel, payload) for number in (1, 2) for _, channel, payload in recorded(number)]


@pytest.fixture(scope="module")
def rough():
    return Days.of(ROUGH)


@pytest.fixture(scope="module")
def payloads(rough):
    return [(one.channel, orjson.loads(one.payload)) for one in rough.published]


def test_messages_of_each_kind_have_the_recorded_keys_in_the_recorded_order_with_the_recorded_types(payloads):
    made, real = shapes(one for one in payloads if "function" not in one[1]), shapes(RECORDED)
    for name, forms in real.items():
        assert made[name] >= forms, name
        # An extra form: before the first success `last_success` is null.
        assert {str(form).replace("NoneType", "str") for form in made[name]} == {str(form) for form in forms}, name


def test_only_messages_that_no_recording_caught_are_made_besides(payloads):
    assert shapes(payloads).keys() - shapes(RECORDED).keys() == {
        "logs/dead_mans_switch_triggered",
        "logs/dry_run_complete",
        "logs/scheduled_task_error",
        "logs/target_found",
    }


def test_a_dry_run_a_task_error_and_a_one_shot_run_say_what_codeworm_says(payloads):
    found = shapes(payloads)
    [dry] = found["logs/dry_run_complete"]
    assert [key for key, _ in dry] == [
        *("component", "target", "doc_type", "tokens", "time_ms", "would_commit", "event", "level", "timestamp")
    ]
    [task] = found["logs/scheduled_task_error"]
    assert [key for key, _ in task] == ["component", "error", "event", "level", "timestamp", "exception"]
    alone = [payload for _, payload in payloads if "function" in payload]
    assert [payload["event"] for payload in alone] == ["documenting", "documentation_committed"]
    assert not any("doc_type" in payload for payload in alone)


def test_one_kind_follows_the_other_as_in_the_recordings(rough, payloads):
    real = {pair for number in (1, 2) for pair in pairwise(name_of(c, p) for _, c, p in recorded(number))}
    names = [name_of(*message) for message in payloads]
    steps = {step.number for cycle in rough.truth.cycles for step in cycle.steps if cycle.run == 1}
    made = {(names[a], names[b]) for a, b in pairwise(sorted(steps)) if b == a + 1}
    assert made - real == set()
    assert len(made) > 20


def test_bursts_are_as_dense_as_the_recorded_ones():
    def spans(messages):
        found = defaultdict(list)
        for (before, _), (after, _), gap in messages:
            found[before, after].append(gap)
        return {pair: median(gaps) for pair, gaps in found.items() if len(gaps) >= 20}

    def timed(stamped):
        return (((a, 0), (b, 0), s - r) for (r, a), (s, b) in pairwise(stamped))

    real = spans(timed([(t, name_of(c, p)) for t, c, p in recorded(1)]))
    plan = Plan(seed=1, lasts=12 * HOUR, cycles_per_day=3_000, min_gap=3, generate_s=1.2)
    made = spans(timed([(one.at / 1e6, one.name) for one in Publishing(plan)]))
    dense = {pair for pair, gap in real.items() if gap < 0.1}
    assert len(dense & made.keys()) >= 8
    for pair in dense & made.keys():
        assert 0.1 < (made[pair] + 5e-4) / (real[pair] + 5e-4) < 10, pair


def test_a_relay_hears_messages_as_late_as_in_the_recordings(rough):
    at = {one.number: one.at for one in rough.published}
    late = sorted(one.received_at - at[one.number] / 1e6 for one in rough.heard)
    assert 0 < late[0] < late[len(late) // 2] < 0.002
    assert late[-1] < 0.03


def test_the_same_plan_gives_the_same_messages_and_another_seed_others():
    plan = Plan.drawn(3, lasts=HOUR)
    first, again, other = (list(Publishing(one)) for one in (plan, plan, Plan.drawn(4, lasts=HOUR)))
    assert first == again != other


@pytest.mark.parametrize(
    ("zone", "start", "offsets"),
    [
        ("America/New_York", datetime(2026, 3, 8, 5, 30, tzinfo=UTC), {-5, -4}),
        ("America/New_York", datetime(2026, 11, 1, 4, 30, tzinfo=UTC), {-4, -5}),
        ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC), {2, 1}),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 14, tzinfo=UTC), {11, 10.5}),
    ],
)
def test_events_and_stats_are_in_local_time_through_a_change_of_daylight_saving_time(zone, start, offsets):
    found = set()
    for one in Publishing(Plan(seed=1, starts_at=start, lasts=3 * HOUR, zone=zone, cycles_per_day=2_000, min_gap=9)):
        payload = orjson.loads(one.payload)
        written = datetime.fromisoformat(payload["timestamp"])
        true = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one.stamp)
        if one.name.startswith("logs/"):
            assert written == true
        else:
            assert written == true.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            found.add((written - true.replace(tzinfo=None)) / timedelta(hours=1))
    assert found == offsets


def test_counters_are_those_of_the_cycles_and_begin_again_with_each_run(rough):
    cycle_of = {step.number: cycle for cycle in rough.truth.cycles for step in cycle.steps}
    ended = Counter()
    documents = 0
    for one in rough.published:
        if one.name == "stats/stats":
            stats, cycle = orjson.loads(one.payload), cycle_of[one.number]
            ended[cycle.run] += 1
            documents += cycle.outcome == "committed"
            assert stats["successful_cycles"] == ended[cycle.run]
            assert stats["total_cycles"] == sum(stats[f"{what}_cycles"] for what in ("successful", "failed", "skipped"))
            assert sum(stats["by_repo"].values()) == stats["total_documented"] >= documents
    assert len(ended) == 4


def test_waits_double_as_the_daemon_doubles_them():
    down = Episode(what=Trouble.OLLAMA_DOWN, at=0, lasts=2_000)
    failing = Episode(what=Trouble.LLM_ERRORS, at=2_100, lasts=20_000, how="notfound")
    published = Publishing(Plan(seed=2, lasts=7 * HOUR, episodes=(down, failing)))
    seconds = defaultdict(list)
    for one in published:
        payload = orjson.loads(one.payload)
        if one.name in ("logs/backing_off", "logs/ollama_unavailable_waiting"):
            seconds[one.name].append(payload.get("seconds") or payload.get("retry_in_seconds"))
    assert seconds["logs/ollama_unavailable_waiting"][:9] == [10, 10, 20, 40, 80, 160, 300, 300, 300]
    assert seconds["logs/backing_off"][:6] == [60, 120, 240, 300, 300, 300]


def test_after_a_kill_nothing_is_heard_and_numbers_begin_again():
    plan = Plan(
        seed=7, lasts=HOUR, cycles_per_day=4_000, min_gap=2, episodes=(Episode(what=Trouble.KILL, at=900, lasts=60),)
    )
    publishing = Publishing(plan)
    messages = list(publishing)
    first, second = publishing.truth.runs
    assert (first.end, second.end) == ("killed", "running")
    assert not [one for one in messages if first.ended_at < one.stamp < second.started_at]
    numbers = [cycle.cycle_num for cycle in publishing.truth.cycles]
    assert numbers.count(1) == 2


def test_a_cycle_that_takes_over_half_an_hour_is_given_up_but_goes_on():
    plan = Plan(seed=1, lasts=4 * HOUR, episodes=(Episode(what=Trouble.OLLAMA_DOWN, at=600, lasts=2 * HOUR),))
    publishing = Publishing(plan)
    list(publishing)
    given_up = [
        [step.name for step in cycle.steps]
        for cycle in publishing.truth.cycles
        if any(step.name == "logs/scheduled_task_error" for step in cycle.steps)
    ]
    assert len(given_up) >= 3
    assert all(names.index("logs/scheduled_task_error") < names.index("events/analyzing") for names in given_up)


def test_a_clean_stop_ends_cycles_before_after_or_never():
    ends = set()
    for seed in range(40):
        stop = Episode(what=Trouble.STOP, at=300, lasts=5, late=seed % 2 == 0)
        plan = Plan(
            seed=seed, lasts=500, cycles_per_day=40_000, min_gap=1, generate_s=0.4 if seed % 3 else 3, episodes=(stop,)
        )
        publishing = Publishing(plan)
        names = [one.name for one in publishing]
        stopped = names.index("logs/daemon_stopped")
        cycle = next(c for c in reversed(publishing.truth.cycles) if c.run == 1)
        if cycle.steps[-1].number < names.index("logs/shutdown_signal_received"):
            ends.add("before the signal")
        elif cycle.outcome == "interrupted":
            ends.add("never")
        else:
            ends.add("after the stop" if cycle.steps[-1].number > stopped else "before the stop")
    assert ends == {"before the signal", "never", "after the stop", "before the stop"}


def test_a_recording_holds_what_was_heard(rough, tmp_path):
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        assert rough.write(tmp_path / name) == len(rough.published)
        read = list(read_recording(tmp_path / name))
        assert [(m.channel, m.payload, m.received_at) for m in read] == [
            (one.channel, one.payload, one.received_at) for one in rough.heard
        ]


def test_frames_have_the_columns_of_a_monitor():
    away = Away(at=HOUR, lasts=60, cause="source_outage")
    frames = Days.of(Plan(seed=1, lasts=2 * HOUR), Faults(away=(away,))).frames()
    for kind in Kind:
        assert list(frames[kind].columns) == [column.name for column in LAYOUTS[kind].columns]
        assert (frames[kind].epoch == "synthetic1").all()
    assert list(frames["gaps"].columns) == [column.name for column in GAP_LAYOUT.columns]
    assert len(frames["gaps"]) == 1
    assert frames["events"].next_cycle_at.notna().any()


def messages_of(seed, faults):
    published = list(Publishing(Plan(seed=seed, lasts=2 * HOUR, cycles_per_day=1_500, min_gap=9)))
    return published, list(heard(published, faults))


def test_without_faults_all_is_heard_in_order():
    published, taken = messages_of(1, None)
    assert [one.payload for one in taken] == [one.payload for one in published]
    assert [one.offset for one in taken] == list(range(1, len(taken) + 1))
    assert all(a.received_at <= b.received_at for a, b in pairwise(taken))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 30))
def test_losses_and_duplicates_change_no_message_and_leave_the_numbering_whole(seed, drop, duplicate, after):
    faults = Faults(seed=seed, drop=drop, duplicate=duplicate, duplicate_after=after)
    published, taken = messages_of(seed % 4, faults)
    assert [one.offset for one in taken] == list(range(1, len(taken) + 1))
    assert all(one.payload == published[one.number].payload for one in taken)
    counts = Counter(one.number for one in taken)
    assert set(counts.values()) <= {1, 2}
    assert (2 in counts.values()) == (duplicate > 0.02) or duplicate <= 0.02
    firsts = list(counts)
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(
    ("cause", "causes", "epochs"),
    [
        ("silent", [], 1),
        ("source_outage", ["source_outage"], 1),
        ("relay_restart", ["relay_restart"], 1),
        ("new_epoch", ["relay_restart"], 2),
    ],
)
def test_what_falls_into_a_stretch_away_is_lost_and_told_as_it_would_be(cause, causes, epochs):
    published, taken = messages_of(2, Faults(away=(Away(at=1_000, lasts=1_500, cause=cause),)))
    lost = {one.number for one in published} - {
        one.number for one in taken if not isinstance(one, tuple) or len(one) > 2
    }
    begin = published[0].at
    assert lost == {one.number for one in published if 1_000e6 <= one.at - begin < 2_500e6}
    gaps = [one for one in taken if len(one) == 2]
    assert [str(gap.cause) for _, gap in gaps] == causes
    assert all(gap.ended_at - gap.started_at == 1_500 for _, gap in gaps)
    messages = [one for one in taken if len(one) > 2]
    assert len({one.epoch for one in messages}) == epochs
    own = [orjson.loads(one.payload)["event"] for one in messages if one.number < 0]
    assert own == (["upstream_lost", "upstream_heard_again"] if cause == "source_outage" else [])


def test_the_clocks_of_relay_and_publisher_are_set_apart_from_each_other():
    plan = Plan(seed=3, lasts=HOUR, skew=-40, episodes=(Episode(what=Trouble.CLOCK_STEP, at=1_800, by=7.5),))
    days = Days.of(plan, Faults(clock_steps=((900, 3_600), (2_700, -3_600))))
    ahead = {round((one.stamp - one.at) / 1e6, 3) for one in days.published}
    assert ahead == {-40, -32.5}
    late = {round(one.received_at - days.published[one.number].at / 1e6) for one in days.heard}
    assert late == {0, 3_600}
    assert [one.offset for one in days.heard] == list(range(1, len(days.heard) + 1))


def test_thirty_days_at_codeworms_rate_are_about_a_hundred_thousand_messages():
    publishing = Publishing(Plan(seed=1, lasts=30 * 24 * HOUR, cycles_per_day=264, min_gap=120))
    count = sum(1 for _ in publishing)
    assert 80_000 < count < 110_000
    commits = [cycle.commit for cycle in publishing.truth.cycles if cycle.commit is not None]
    assert len(set(commits)) == len(commits) > 7_000


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="no zone"):
        Plan(starts_at=datetime(2026, 3, 1))
    with pytest.raises(ValueError, match="above 0"):
        Plan(lasts=0)
    with pytest.raises(ValueError, match="no cause"):
        Away(at=0, lasts=1, cause="magic")
    publishing = Publishing(Plan(lasts=60))
    list(publishing)
    with pytest.raises(RuntimeError, match="already"):
        list(publishing)
