from __future__ import annotations

import gzip
from itertools import groupby
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor import activity
from codeworm_monitor.activity import Activity, Counters, Snapshot, Stage, next_cycle_at, read_counters
from codeworm_monitor.records import PublisherClock, parse_record

DATA = Path(__file__).parent / "data"
LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
names = st.sampled_from(
    [
        *activity._LOG_STAGES,
        "push_successful",
        "next_scheduled_run",
        "analyzing",
        "generating",
        "next_cycle",
        "state_loaded",
        "shutdown_signal_received",
    ]
)
keys = st.sampled_from(
    [
        *(
            "event",
            "type",
            "data",
            "time",
            "timestamp",
            "cycle_num",
            "target",
            "function",
            "repo",
            "doc_type",
            "language",
        ),
        *("commit", "error", "seconds", "total_cycles", "success_rate", "by_repo"),
    ]
)
odd_payloads = json_values | st.builds(
    lambda fields, name, inner: {**fields, "event": name, "type": name, "data": inner},
    st.dictionaries(keys, json_values, max_size=6),
    names,
    st.dictionaries(keys, json_values | st.just("2026-11-22T21:57:35+00:00"), max_size=6) | json_values,
)
odd_messages = st.lists(st.tuples(st.sampled_from([LOGS, EVENTS, STATS, "other"]), odd_payloads), max_size=20)


def log(name, **fields):
    return LOGS, {"event": name, "component": "daemon", **fields}


def event(name, **inner):
    return EVENTS, {"type": name, "timestamp": "2026-11-22T16:57:26", "data": inner}


def stats(**fields):
    return STATS, {"timestamp": "2026-11-22T16:57:26", **fields}


def fold(*messages, into=None, start=100.0):
    """Folds messages that arrive a second apart."""
    folded = Activity() if into is None else into
    for at, (channel, payload) in enumerate(messages):
        folded.fold(channel, payload, start + at)
    return folded.snapshot


def recorded(number):
    with gzip.open(DATA / f"recording-{number}.jsonl.gz") as lines:
        for line in lines:
            one = orjson.loads(line)
            yield one["channel"], orjson.loads(one["payload"]), one["t"]


def history(number):
    """Yields each recorded message's name and the snapshot after it."""
    folded = Activity()
    for channel, payload, at in recorded(number):
        folded.fold(channel, payload, at)
        yield payload.get("event") or payload.get("type") or "stats", at, folded.snapshot


def cycles(number):
    """Yields the recorded cycles: of each the names of its messages, and its stages without repeats."""
    names, stages = [], []
    for name, _, snapshot in history(number):
        if name in ("cycle_starting", "daemon_starting") and (not names or names[-1] != "cycle_starting"):
            yield names, [stage for stage, _ in groupby(stages)]
            names, stages = [], []
        names.append(name)
        stages.append(snapshot.stage)
    yield names, [stage for stage, _ in groupby(stages)]


CYCLE = (
    log("cycle_starting", cycle_num=3),
    event("cycle_starting", cycle_num=3),
    event("analyzing", target="dedent", doc_type="til", repo="textwrap"),
    log("documenting", target="dedent", doc_type="til", repo="textwrap", score=33.98, dry_run=False),
    event("generating", target="dedent", doc_type="til", repo="textwrap", language="python"),
)
COMMIT = (
    log("documentation_committed", target="dedent", doc_type="til", commit="bf74fa5b", tokens=1218, time_ms=1476),
    event(
        "documentation_committed",
        target="dedent",
        doc_type="til",
        commit="bf74fa5b",
        tokens=1218,
        time_ms=1476,
        repo="textwrap",
        language="python",
        commit_message="Clarify dedent",
    ),
)
NEXT_CYCLE = event("next_cycle", time="2026-11-22T21:57:35+00:00")


# Recorded traffic


@pytest.mark.parametrize("number", [1, 2])
def test_a_recorded_good_cycle_passes_its_stages_in_order_and_ends_idle(number):
    commits = sum(payload.get("type") == "documentation_committed" for _, payload, _ in recorded(number))
    good = [(names, stages) for names, stages in cycles(number) if "push_successful" in names or "push_failed" in names]
    for names, stages in good:
        expected = [Stage.STARTING, Stage.ANALYZING, Stage.GENERATING, Stage.COMMITTED, Stage.IDLE, Stage.STOPPED]
        if "ollama_recovered" in names:
            expected[:0] = [Stage.STARTING, Stage.WAITING]
        if "next_cycle" not in names:  # stopped before the next one was scheduled
            expected.remove(Stage.IDLE)
        if "daemon_stopped" not in names:
            expected.remove(Stage.STOPPED)
        assert stages == expected
    assert len(good) == commits > 40


def test_a_recorded_failed_cycle_ends_failed_then_idle_and_names_the_error():
    failed = [(names, stages) for names, stages in cycles(1) if "documentation_failed" in names or "llm_error" in names]
    assert len(failed) == 10
    for names, stages in failed:
        expected = [Stage.STARTING, Stage.ANALYZING, Stage.GENERATING, Stage.FAILED, Stage.IDLE]
        assert stages == expected + [Stage.BACKING_OFF] * ("backing_off" in names)
    for name, at, snapshot in history(1):
        if name in ("documentation_failed", "llm_error"):
            assert (snapshot.last_error["event"], snapshot.last_error["at"]) == (name, at)
            assert snapshot.last_error["target"]
            assert snapshot.last_error["error"]
            assert snapshot.target is None


def test_a_recorded_back_off_ends_when_it_said_it_would():
    ends = None
    count = 0
    for name, at, snapshot in history(1):
        if name == "backing_off":
            assert snapshot.stage is Stage.BACKING_OFF
            ends = snapshot.next_cycle_at
        elif ends is not None:
            assert name == "cycle_starting"
            assert at == pytest.approx(ends, abs=0.1)
            assert snapshot.stage is Stage.STARTING
            ends, count = None, count + 1
    assert count == 4


def test_the_recorded_waits_for_ollama_lead_back_to_what_they_interrupted():
    after = []
    waited = False
    for name, _, snapshot in history(1):
        waited |= name == "ollama_unavailable_waiting"
        if name == "ollama_unavailable_waiting":
            assert snapshot.stage is Stage.WAITING
            assert snapshot.last_error["event"] == name
        if name == "ollama_recovered":
            after.append(snapshot.stage)
    assert waited
    assert after == [Stage.IDLE, Stage.STARTING]


@pytest.mark.parametrize("number", [1, 2])
def test_a_recorded_start_waits_only_until_the_model_answers(number):
    """Where Ollama is there at once, no `ollama_recovered` follows `waiting_for_ollama`."""
    starts = 0
    for name, _, snapshot in history(number):
        if name == "waiting_for_ollama":
            assert snapshot.stage is Stage.WAITING
        if name == "llm_initialized":
            starts += 1
            assert snapshot.stage is Stage.IDLE
            assert snapshot.cycle_num is None
    assert starts == {1: 2, 2: 3}[number]


@pytest.mark.parametrize(("number", "stops"), [(1, 2), (2, 2)])
def test_a_recorded_stop_is_the_end_until_the_next_start(number, stops):
    seen = 0
    previous = None
    for name, at, snapshot in history(number):
        if name == "daemon_stopped":
            seen += 1
            assert (snapshot.stage, snapshot.since) == (Stage.STOPPED, at)
            assert (snapshot.target, snapshot.next_cycle_at) == (None, None)
        elif previous == "daemon_stopped":
            assert (name, snapshot.stage) == ("daemon_starting", Stage.IDLE)
        previous = name
    assert seen == stops


def test_a_recorded_cycle_without_candidate_ends_idle():
    skipped = [stages for names, stages in cycles(2) if "cycle_skipped_no_candidates" in names]
    assert len(skipped) == 26
    assert all(stages[:2] == [Stage.STARTING, Stage.IDLE] for stages in skipped)


def test_a_recorded_failed_push_is_an_error_of_a_committed_cycle():
    pushes = 0
    for name, _, snapshot in history(1):
        if name == "push_failed":
            pushes += 1
            assert snapshot.stage is Stage.COMMITTED
            assert snapshot.last_error["error"].startswith("Push ")
    assert pushes == 13


@pytest.mark.parametrize("number", [1, 2])
def test_the_target_is_known_exactly_while_one_is_worked_on(number):
    for _, _, snapshot in history(number):
        is_worked_on = snapshot.stage in (Stage.ANALYZING, Stage.GENERATING, Stage.COMMITTED)
        assert (snapshot.target is not None) == is_worked_on
        assert (snapshot.repo is not None) == is_worked_on


@pytest.mark.parametrize("number", [1, 2])
def test_the_next_cycle_is_announced_for_the_future_or_not_at_all(number):
    for _, at, snapshot in history(number):
        assert snapshot.next_cycle_at is None or snapshot.next_cycle_at > at - 0.01
        assert snapshot.next_cycle_at is None or snapshot.stage in (Stage.IDLE, Stage.BACKING_OFF)


@pytest.mark.parametrize("number", [1, 2])
def test_a_stage_begins_when_its_first_message_arrives(number):
    previous = Snapshot()
    for _, at, snapshot in history(number):
        assert snapshot.last_message_at == at
        if snapshot.stage is previous.stage:
            assert snapshot.since == previous.since
        else:
            assert snapshot.since == at
        previous = snapshot


@pytest.mark.parametrize("number", [1, 2])
def test_the_counters_are_those_of_the_newest_recorded_stats(number):
    *_, newest = (payload for channel, payload, _ in recorded(number) if channel == STATS)
    *_, (_, _, snapshot) = history(number)
    for name in Counters.__slots__:
        assert getattr(snapshot.counters, name) == newest[name]


@pytest.mark.parametrize("number", [1, 2])
def test_the_last_recorded_commit_is_kept_in_full(number):
    *_, (newest, at) = (
        (payload["data"], at)
        for channel, payload, at in recorded(number)
        if payload.get("type") == "documentation_committed"
    )
    *_, (_, _, snapshot) = history(number)
    assert snapshot.last_commit == newest | {"at": at}


@pytest.mark.parametrize("number", [1, 2])
def test_a_fold_taken_up_from_a_written_snapshot_goes_on_as_if_never_put_down(number):
    whole, pieces = Activity(), Activity()
    for channel, payload, at in recorded(number):
        if pieces.snapshot.stage is not Stage.WAITING:
            pieces = Activity(Snapshot.from_dict(orjson.loads(orjson.dumps(pieces.snapshot.as_dict()))))
        for one in (whole, pieces):
            one.fold(channel, payload, at)
        assert pieces.snapshot == whole.snapshot


# Message by message


def test_nothing_is_known_at_first():
    assert Activity().snapshot == Snapshot()
    assert Snapshot().stage is Stage.UNKNOWN


def test_a_good_cycle_ends_idle_with_its_commit():
    assert fold(*CYCLE) == Snapshot(
        stage=Stage.GENERATING,
        since=104.0,
        cycle_num=3,
        target="dedent",
        repo="textwrap",
        doc_type="til",
        language="python",
        last_message_at=104.0,
    )
    done = fold(*CYCLE, *COMMIT, log("push_successful"), NEXT_CYCLE)
    assert (done.stage, done.target, done.cycle_num) == (Stage.IDLE, None, 3)
    assert done.next_cycle_at == 1795384655.0
    assert done.last_commit == {
        "at": 106.0,
        "target": "dedent",
        "repo": "textwrap",
        "doc_type": "til",
        "language": "python",
        "commit": "bf74fa5b",
        "commit_message": "Clarify dedent",
        "tokens": 1218,
        "time_ms": 1476.0,
    }


@pytest.mark.parametrize("name", ["llm_error", "documentation_failed", "scheduled_task_error"])
def test_a_failure_ends_the_cycle_and_is_remembered_after_it(name):
    failed = fold(*CYCLE, log(name, target="dedent", error="CUDA error: out of memory"))
    assert (failed.stage, failed.since, failed.target) == (Stage.FAILED, 105.0, None)
    after = fold(*CYCLE, log(name, target="dedent", error="CUDA error: out of memory"), NEXT_CYCLE, *CYCLE, *COMMIT)
    assert after.stage is Stage.COMMITTED
    assert after.last_error == {"at": 105.0, "event": name, "target": "dedent", "error": "CUDA error: out of memory"}


def test_an_error_whose_fields_are_no_text_is_remembered_by_its_name():
    assert fold(log("llm_error", target=5, error=["x"])).last_error == {
        "at": 100.0,
        "event": "llm_error",
        "target": None,
        "error": None,
    }


def test_a_late_documenting_line_does_not_take_generating_back():
    assert fold(*CYCLE, CYCLE[3]) == fold(*CYCLE, log("state_loaded"))


def test_the_one_shot_mode_without_events_names_its_function():
    snapshot = fold(log("documenting", function="dedent", repo="textwrap"))
    assert (snapshot.stage, snapshot.target, snapshot.repo) == (Stage.ANALYZING, "dedent", "textwrap")


def test_a_dry_run_ends_idle_without_a_commit():
    snapshot = fold(*CYCLE, log("dry_run_complete", target="dedent", would_commit=True))
    assert (snapshot.stage, snapshot.target, snapshot.last_commit) == (Stage.IDLE, None, {})


@pytest.mark.parametrize("seconds", [None, "60", [], {}])
def test_a_back_off_of_unknown_length_announces_no_cycle(seconds):
    snapshot = fold(NEXT_CYCLE, log("backing_off", seconds=seconds))
    assert (snapshot.stage, snapshot.next_cycle_at) == (Stage.BACKING_OFF, None)


def test_a_wait_within_a_cycle_returns_to_the_cycle():
    wait = log("ollama_unavailable_waiting", url="http://localhost:11434", retry_in_seconds=10)
    assert fold(*CYCLE[:2], wait, wait, log("ollama_recovered")).stage is Stage.STARTING
    assert fold(wait, log("ollama_recovered")).stage is Stage.IDLE
    assert fold(*CYCLE[:2], wait, NEXT_CYCLE).stage is Stage.WAITING
    assert fold(*CYCLE[:2], wait, log("llm_initialized")).stage is Stage.WAITING


def test_a_wait_before_any_cycle_ends_with_the_model_or_the_first_schedule():
    starting = (log("daemon_starting"), log("waiting_for_ollama"))
    assert fold(*starting).stage is Stage.WAITING
    assert fold(*starting, log("llm_initialized")).stage is Stage.IDLE
    assert fold(*starting, NEXT_CYCLE).stage is Stage.IDLE


def test_a_model_that_is_initialized_in_mid_cycle_changes_nothing():
    assert fold(*CYCLE, log("llm_initialized")).stage is Stage.GENERATING


@pytest.mark.parametrize("name", ["push_failed", "push_successful", "next_scheduled_run", "reload_signal_received"])
def test_lines_beside_the_cycle_leave_its_stage(name):
    assert fold(*CYCLE, *COMMIT, log(name)).stage is Stage.COMMITTED


def test_a_start_of_the_daemon_forgets_the_cycle_before_it():
    snapshot = fold(*CYCLE, log("daemon_starting"))
    assert (snapshot.stage, snapshot.cycle_num, snapshot.target) == (Stage.IDLE, None, None)


def test_a_stop_forgets_the_announced_cycle():
    snapshot = fold(NEXT_CYCLE, log("daemon_stopped"))
    assert (snapshot.stage, snapshot.next_cycle_at) == (Stage.STOPPED, None)


@pytest.mark.parametrize("number", ["3", None, True, 3.0])
def test_a_cycle_number_of_another_type_is_unknown(number):
    assert fold(log("cycle_starting", cycle_num=number)).cycle_num is None


def test_an_announced_cycle_without_readable_time_is_unknown():
    assert fold(NEXT_CYCLE, event("next_cycle", time="soon")).next_cycle_at is None


@pytest.mark.parametrize(
    "message",
    [
        ("weather", {"temperature": 5}),
        ("weather:stats", {"temperature": 5, "by_repo": {}}),
        (EVENTS, {"type": "rain", "data": {"target": "x"}}),
        (LOGS, {"event": "unheard_of", "target": "x"}),
        (LOGS, {"event": ["cycle_starting"]}),
        (LOGS, [1]),
        (STATS, "text"),
        (EVENTS, None),
    ],
)
def test_messages_of_other_programs_change_nothing_but_the_time_of_the_newest(message):
    known = fold(*CYCLE, stats(total_cycles=3, by_repo={"textwrap": 1}))
    after = fold(*CYCLE, stats(total_cycles=3, by_repo={"textwrap": 1}), message)
    assert after.last_message_at == 106.0
    assert after == Snapshot(**{name: getattr(known, name) for name in Snapshot.__slots__} | {"last_message_at": 106.0})


def test_new_stats_replace_the_counters_whole():
    snapshot = fold(stats(total_cycles=3, last_7_days=5), stats(total_cycles=1, by_repo={"click": 2}))
    assert snapshot.counters == Counters(total_cycles=1, by_repo={"click": 2})


# Whatever comes


@given(odd_messages)
def test_any_json_is_folded_into_a_snapshot_that_survives_the_wire(messages):
    folded = Activity()
    for at, (channel, payload) in enumerate(messages):
        folded.fold(channel, payload, float(at))
        snapshot = folded.snapshot
        assert Snapshot.from_dict(orjson.loads(orjson.dumps(snapshot.as_dict()))) == snapshot
        assert snapshot.last_message_at == at


@given(odd_messages)
def test_a_snapshot_once_taken_does_not_change(messages):
    folded = Activity()
    taken = []
    for at, (channel, payload) in enumerate(messages):
        folded.fold(channel, payload, float(at))
        taken.append((folded.snapshot, orjson.dumps(folded.snapshot.as_dict())))
    assert all(orjson.dumps(snapshot.as_dict()) == written for snapshot, written in taken)


def test_a_snapshot_of_a_newer_version_is_read_as_far_as_it_is_known():
    values = Snapshot(stage=Stage.IDLE, cycle_num=4).as_dict()
    values["counters"]["cups_of_tea"] = 3
    newer = values | {"stage": "dreaming", "mood": "good"}
    assert Snapshot.from_dict(newer) == Snapshot(stage=Stage.UNKNOWN, cycle_num=4)
    assert Snapshot.from_dict({}) == Snapshot()
    assert Snapshot.from_dict({"stage": None, "counters": None}) == Snapshot()


def test_every_stage_is_reached_by_some_message():
    reached = {Stage.UNKNOWN}
    for number in (1, 2):
        reached |= {snapshot.stage for _, _, snapshot in history(number)}
    assert reached == set(Stage)


# What is read by the names of fields is what the typed records say

written = st.sampled_from(
    [
        *("2026-11-22T21:57:35+00:00", "2026-11-22T16:57:26.5", "2026-11-22T21:57:26Z", "2026-11-23T05:42:26+05:45"),
        *("2026-11-22", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "9999-12-31T23:59:59-12:00", "yesterday", ""),
    ]
)
dated = st.builds(
    lambda payload, at, due: (
        {
            **payload,
            "timestamp": at,
            "data": {**payload["data"], "time": due} if isinstance(payload.get("data"), dict) else due,
        }
        if isinstance(payload, dict)
        else payload
    ),
    odd_payloads,
    written | json_values,
    written | json_values,
)


def assert_alike(messages):
    typed, quick = PublisherClock(), PublisherClock()
    for channel, payload, at in messages:
        record = parse_record(channel, payload, at, typed)
        fields = payload if isinstance(payload, dict) else {}
        hear = quick.hear_log if channel in (LOGS, "other") else quick.hear
        assert seconds(record.timestamp) == pytest.approx(hear(fields.get("timestamp"), at), abs=1e-4)
        assert (quick.skew, quick.utc_offset) == (typed.skew, typed.utc_offset)
        if channel == EVENTS:
            assert seconds(record.next_cycle_at) == pytest.approx(next_cycle_at(fields, quick), abs=1e-4)
        elif channel == STATS:
            told = {name: getattr(record, name) for name in Counters.__dataclass_fields__}
            assert (read_counters(fields) or Counters()) == Counters(**told)


def seconds(time):
    return None if time is None else time.timestamp()


@given(st.lists(st.tuples(st.sampled_from([LOGS, EVENTS, STATS, "other"]), dated), max_size=10))
def test_odd_messages_are_read_as_records_read_them(messages):
    start = 1_795_384_600.0  # 2026-11-22T21:56:40Z
    assert_alike((channel, payload, start + number) for number, (channel, payload) in enumerate(messages))


@pytest.mark.parametrize("number", [1, 2])
def test_recorded_messages_are_read_as_records_read_them(number):
    assert_alike(recorded(number))
