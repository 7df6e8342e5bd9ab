"""Cycles: what the recordings are known to hold, and what hand-made losses may and may not change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import orjson
import pandas as pd
import pytest
from support.recorded_frames import DATA, Script, recording

from codeworm_monitor.analysis.cycles import OUTCOMES, cycles
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.envelope import Gap, GapCause

COLUMNS = {
    "cycle_num": "float64",
    "scheduled_at": "datetime64[us, UTC]",
    "started_at": "datetime64[us, UTC]",
    "ended_at": "datetime64[us, UTC]",
    "target": "str",
    "repo": "category",
    "language": "category",
    "doc_type": "category",
    "find_s": "float64",
    "generate_s": "float64",
    "commit_s": "float64",
    "push_s": "float64",
    "tokens": "float64",
    "tokens_per_s": "float64",
    "commit": "str",
    "commit_message": "str",
    "pushed": "boolean",
    "outcome": "category",
    "error": "str",
    "wait_s": "float64",
    "model": "category",
    "run": "int64",
    "is_complete": "bool",
    "epoch": "str",
    "first_offset": "int64",
    "last_offset": "int64",
}


def only(script, **words):
    found = cycles(script.traffic(**words))
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("traffic", [recording(1), recording(2), Traffic.of(), Script().good(1).traffic()])
def test_columns_and_dtypes_are_those_of_the_docstring_always(traffic):
    texts = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
    expected = {name: texts if dtype == "str" else dtype for name, dtype in COLUMNS.items()}
    assert {name: str(dtype) for name, dtype in cycles(traffic).dtypes.items()} == expected
    assert tuple(cycles(traffic).outcome.cat.categories) == OUTCOMES


def test_the_first_recording_has_the_cycles_that_its_episodes_tell_of():
    found = cycles(recording(1))
    counts = found.groupby(["run", "outcome"], observed=True).size().to_dict()
    assert counts == {
        (1, "committed"): 6,
        (1, "failed"): 2,
        (2, "committed"): 93,
        (2, "failed"): 4,
        (2, "llm_error"): 4,
        (2, "interrupted"): 1,
    }
    assert found.cycle_num.tolist() == [*range(1, 9), *range(1, 103)]
    assert found.is_complete.all()
    assert (found.pushed == False).sum() == 13  # noqa: E712  # missing values are neither
    assert found.model.eq("qwen2.5:7b").all()
    waited = found[found.wait_s > 0]
    assert waited.cycle_num.tolist() == [82]
    assert waited.wait_s.item() == pytest.approx(10.02, abs=0.01)
    assert waited.find_s.item() < 2
    slow = found[found.generate_s > 10]
    assert slow.cycle_num.tolist() == [98, 99]
    assert found[found.push_s > 10].cycle_num.tolist() == [73]


def test_the_second_has_skips_a_kill_and_a_crash_restart():
    found = cycles(recording(2))
    counts = found.groupby(["run", "outcome"], observed=True).size().to_dict()
    assert counts == {(2, "committed"): 11, (2, "skipped"): 26, (3, "committed"): 25, (4, "committed"): 13}
    assert found.groupby("run").cycle_num.max().to_dict() == {2: 37, 3: 25, 4: 13}
    assert found[found.outcome == "skipped"].target.isna().all()


@pytest.mark.parametrize("number", [1, 2])
def test_every_cycle_began_when_it_was_announced(number):
    found = cycles(recording(number))
    late = (found.started_at - found.scheduled_at).dt.total_seconds()
    backed_off = late > 1
    assert found.scheduled_at.notna().all()
    assert (late >= 0).all()
    # Only after failures in a row, when the daemon waits before it goes on.
    assert found[backed_off].cycle_num.tolist() == ([3, 43, 82, 96] if number == 1 else [])
    assert late[backed_off].between(60, 61).all()


@pytest.mark.parametrize("number", [1, 2])
def test_commits_are_those_of_the_database_one_to_one(number):
    traffic = recording(number)
    with closing(sqlite3.connect(DATA / "codeworm.db")) as database:
        rows = database.execute(
            "SELECT git_commit, documented_at, source_repo, doc_type FROM documented_snippets"
        ).fetchall()
    offset = timedelta(hours=5)
    stretch = [pd.Timestamp(one).tz_convert(None) - offset for one in (traffic.since, traffic.until)]
    within = [row for row in rows if stretch[0] <= pd.Timestamp(row[1]) <= stretch[1]]
    found = cycles(traffic)
    found = found[found.outcome == "committed"]
    assert sorted(found.commit) == sorted(row[0] for row in within)
    by_commit = found.set_index("commit")
    for commit, written, repo, doc_type in within:
        cycle = by_commit.loc[commit]
        assert (cycle.repo, cycle.doc_type) == (repo, doc_type)
        done = cycle.ended_at - pd.Timedelta(seconds=cycle.push_s)
        assert abs((pd.Timestamp(written) + offset).tz_localize("UTC") - done) < pd.Timedelta("0.1s")


@pytest.mark.parametrize("number", [1, 2])
def test_durations_are_those_that_the_messages_tell(number):
    found = cycles(recording(number))
    done = found[found.outcome == "committed"]
    whole = (done.ended_at - done.started_at).dt.total_seconds()
    stages = done.find_s + done.wait_s + done.generate_s + done.commit_s + done.push_s
    assert (whole - stages).abs().max() < 0.05
    assert (done.tokens / done.generate_s - done.tokens_per_s).abs().max() < 1e-9


def test_each_message_twice_changes_nothing():
    once, traffic = cycles(recording(1)), recording(1)
    twice = {}
    for name in ("logs", "events", "stats"):
        frame = getattr(traffic, name)
        late = frame.assign(offset=frame.offset + 100_000, received_at=frame.received_at + pd.Timedelta("2s"))
        twice[name] = pd.concat([frame, late])
    again = cycles(Traffic.of(**twice))
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(once), check_categorical=False)


def test_without_events_only_what_they_alone_tell_is_missing():
    traffic = recording(1)
    found, whole = cycles(Traffic.of(logs=traffic.logs)), cycles(traffic)
    for name in ("cycle_num", "outcome", "target", "doc_type", "commit", "tokens", "pushed", "error", "run"):
        assert found[name].astype(object).equals(whole[name].astype(object)), name
    assert found.language.isna().all()
    assert found.commit_message.isna().all()


def test_without_logs_a_failure_is_unknown_and_a_commit_is_not():
    traffic = recording(1)
    found, whole = cycles(Traffic.of(events=traffic.events, stats=traffic.stats)), cycles(traffic)
    assert found.cycle_num.tolist() == whole.cycle_num.tolist()
    assert found.outcome[found.commit.notna()].eq("committed").all()
    assert found.outcome.iloc[-1] == "running"
    # The counters prove that these failed, and not of what.
    assert whole.outcome[found.outcome.isna()].isin(["failed", "llm_error"]).all()


def test_a_lost_end_is_missing_and_never_guessed():
    found = cycles(Script().start(1).work("a").wait(60).good(2, "b").traffic())
    assert found.outcome.isna().tolist() == [True, False]
    assert found.is_complete.tolist() == [False, True]
    assert found.ended_at.isna().tolist() == [True, False]


def test_a_push_proves_the_commit_whose_messages_were_lost():
    row = only(Script().good(1).drop(2, 3))
    assert (row.outcome, row.pushed) == ("committed", True)
    assert pd.isna(row.commit)
    assert not row.is_complete


def test_counters_prove_an_outcome_where_they_leave_only_one():
    script = Script().log("daemon_starting", mode="normal").start(1).wait(5).start(2).work("b").wait(5)
    script.good(3).stats(3, 1, failed=1, skipped=1)
    assert cycles(script.traffic()).outcome.isna().tolist() == [True, True, False]  # which is which, nobody tells
    script = Script().log("daemon_starting", mode="normal").start(1).wait(5).good(2).stats(2, 1, skipped=1)
    assert cycles(script.traffic()).outcome.tolist() == ["skipped", "committed"]
    script = Script().log("daemon_starting", mode="normal").start(1).wait(5).good(2).stats(2, 1, failed=1)
    assert cycles(script.traffic()).outcome.isna().tolist() == [True, False]  # failed, but of what?


@pytest.mark.parametrize(("is_dry", "outcome"), [(True, "dry_run"), (False, "committed"), (None, None)])
def test_a_success_that_only_counters_tell_is_a_commit_only_if_it_was_no_dry_run(is_dry, outcome):
    script = Script().start(1)
    words = {} if is_dry is None else {"dry_run": is_dry}
    script.log("documenting", target="a", doc_type="til", repo="click", **words).wait(2).stats(1, 1)
    row = only(script)
    assert (row.outcome if outcome else pd.isna(row.outcome)) == (outcome or True)


def test_what_was_announced_after_a_start_separates_two_cycles():
    script = Script().start(1).wait(5).event("next_cycle", time=None).wait(60).work("b").commit("b", "bbbbbbbb")
    found = cycles(script.traffic())
    assert found.outcome.isna().tolist() == [True, False]
    assert found.target.isna().tolist() == [True, False]


def test_a_cycle_that_the_scheduler_gave_up_says_itself_how_it_ends():
    script = Script().start(1).log("ollama_unavailable_waiting", retry_in_seconds=60).wait(1800)
    script.log("scheduled_task_error", level="error", error="", exception="Traceback\nTimeoutError")
    assert only(script).outcome == "failed"
    script.start(2).log("ollama_unavailable_waiting", retry_in_seconds=60).wait(60)
    script.log("ollama_recovered", after_failures=9).log("ollama_recovered", after_failures=1)
    script.work("a").commit("a", "aaaaaaaa").push().work("b").commit("b", "bbbbbbbb").push()
    found = cycles(script.traffic())
    assert found.cycle_num.tolist() == [1, 2]
    assert found.commit.tolist() == ["aaaaaaaa", "bbbbbbbb"]
    assert found.outcome.eq("committed").all()
    assert found.error.isna().all()
    assert found.wait_s.round().tolist() == [1861, 60]


@pytest.mark.parametrize("place", [1, 2])
def test_a_wait_whose_beginning_or_end_was_lost_is_missing(place):
    script = Script().start(1).log("ollama_unavailable_waiting", retry_in_seconds=10).wait(30).log("ollama_recovered")
    row = only(script.drop(place).work("a").commit("a", "aaaaaaaa").push())
    assert pd.isna(row.wait_s)
    assert pd.isna(row.find_s)


def test_a_lost_start_leaves_the_number_that_its_neighbours_leave():
    script = Script().good(1, "a").good(2, "b").drop(7, 8).good(3, "c")
    assert len(script.messages) == 24
    found = cycles(script.traffic())
    assert found.cycle_num.tolist() == [1, 2, 3]
    assert found.is_complete.tolist() == [True, False, True]
    assert pd.isna(found.find_s[1])


def test_numbers_that_begin_again_are_another_run_though_nobody_said_so():
    found = cycles(Script().good(7, "a").start(8).work("b").wait(1).good(1, "c").traffic())
    assert found.run.tolist() == [1, 1, 2]
    assert found.outcome.tolist() == ["committed", "interrupted", "committed"]


def test_a_stretch_that_begins_within_a_cycle_has_two_runs_if_the_daemon_starts_in_it():
    script = Script().commit("a", "aaaaaaaa").push().log("daemon_starting", mode="normal").good(1, "b")
    assert cycles(script.traffic()).run.tolist() == [1, 2]


def test_one_that_was_told_to_stop_may_still_commit():
    script = Script().start(1).work("a").log("shutdown_signal_received", signal="SIGTERM")
    script.log("daemon_stopped", stats={}).wait(1)
    assert only(script).outcome == "interrupted"
    script.log("daemon_starting", mode="normal").start(1)
    script.commit("a", "aaaaaaaa").push().work("b").commit("b", "bbbbbbbb").push()
    found = cycles(script.traffic())
    assert found.outcome.tolist() == ["committed", "committed"]
    assert found.commit.tolist() == ["aaaaaaaa", "bbbbbbbb"]
    assert found.pushed.tolist() == [True, True]
    assert found.run.tolist() == [1, 2]


def test_a_push_that_lasts_beyond_the_next_start_is_that_of_its_own_commit():
    for timeout in (False, True):
        script = Script().start(1).work("a").commit("a", "aaaaaaaa").wait(20)
        if timeout:
            script.log("scheduled_task_error", level="error", error="", exception="Traceback\nTimeoutError")
            script.event("next_cycle", time=None)
        script.start(2).log("push_failed", level="warning", error="refused").work("b").commit("b", "bbbbbbbb").push()
        found = cycles(script.traffic())
        assert found.cycle_num.tolist() == [1, 2]
        assert found.commit.tolist() == ["aaaaaaaa", "bbbbbbbb"]
        assert found.pushed.tolist() == [False, True]


def test_other_components_use_the_same_words_and_are_not_meant():
    script = Script().start(1).work("a").log("push_successful", component="git").commit("a", "aaaaaaaa").push()
    row = only(script)
    assert (row.commit, row.is_complete) == ("aaaaaaaa", True)


def test_numbers_that_are_missing_prove_a_loss_that_no_gap_tells_of():
    script = Script().good(1).event("next_cycle", time=None).wait(600).good(5)
    traffic = script.traffic()
    found = cycles(traffic)
    assert found.cycle_num.tolist() == [1, 5]
    assert found.coverage < 0.1
    assert traffic.told_coverage.share == 1
    announced = Script().good(1)
    announced.event("next_cycle", time=(announced.at + timedelta(seconds=300)).isoformat()).wait(600).good(3)
    assert cycles(announced.traffic()).scheduled_at.isna().all()  # it was announced for the one that is missing


def test_what_an_llm_says_at_its_start_proves_that_the_daemon_started():
    script = Script().good(1, "a").start(2).work("b").wait(60).log("llm_initialized", model="m").wait(5).good(1, "c")
    found = cycles(script.traffic())
    assert found.run.tolist() == [1, 1, 2]
    assert found.outcome.tolist() == ["committed", "interrupted", "committed"]
    assert found.model.tolist()[-1] == "m"


def test_an_error_without_words_is_told_by_its_traceback():
    script = Script().start(1).work("a")
    script.log("documentation_failed", level="error", target="a", error="", exception="Traceback\nhttpx.ReadTimeout\n")
    assert only(script).error == "httpx.ReadTimeout"


def test_a_dry_run_commits_nothing_and_keeps_what_it_would_have():
    script = Script().start(1)
    script.log("documenting", target="a", doc_type="til", repo="click", dry_run=True).wait(1)
    script.log("dry_run_complete", target="a", doc_type="til", tokens=500, time_ms=250, would_commit="Say it")
    row = only(script.stats(1, 1))
    assert (row.outcome, row.commit_message, row.tokens_per_s) == ("dry_run", "Say it", 2000)
    assert pd.isna(row.commit)


def test_a_one_shot_run_beside_the_daemon_is_a_cycle_of_its_own():
    script = Script().start(5).work("a")
    script.log("documenting", function="single", repo="httpx").wait(1)
    script.log("documentation_committed", function="single", commit="11111111", tokens=10, time_ms=100)
    script.commit("a", "22222222").push().good(6)
    found = cycles(script.traffic())
    assert found.target.tolist() == ["a", "single", "dedent"]
    assert found.commit.tolist() == ["22222222", "11111111", "00000006"]
    assert found.cycle_num.isna().tolist() == [False, True, False]
    assert found.run.tolist() == [1, 1, 1]
    assert found.is_complete.all()


def test_an_error_after_the_commit_leaves_it_committed():
    script = Script().start(1).work("a").commit("a", "11111111")
    script.log(
        "documentation_failed",
        level="error",
        target="a",
        error="database is locked",
        exception="Traceback\nsqlite3.E: x",
    )
    row = only(script)
    assert (row.outcome, row.error) == ("committed", "database is locked")


def test_waiting_for_ollama_is_neither_search_nor_generation():
    script = (
        Script()
        .start(1)
        .log("ollama_unavailable_waiting", url="x", retry_in_seconds=10, consecutive_failures=1)
        .wait(30)
    )
    script.log("ollama_recovered", after_failures=1).work("a").commit("a", "11111111").push()
    row = only(script)
    assert row.wait_s == pytest.approx(30, abs=0.1)
    assert row.find_s == pytest.approx(1, abs=0.1)


def test_a_gap_within_makes_it_incomplete_and_one_beside_it_does_not():
    script = Script().good(1).wait(60)
    between = script.at.timestamp()
    script.wait(60).start(2).work("b")
    within = script.at.timestamp()
    script.wait(10).commit("b", "bbbbbbbb").push()

    def gap(at):
        return Gap(cause=GapCause.SOURCE_OUTAGE, started_at=at - 0.5, ended_at=at + 0.5)

    assert cycles(script.traffic([gap(between)])).is_complete.tolist() == [True, True]
    assert cycles(script.traffic([gap(within)])).is_complete.tolist() == [True, False]


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_set_leaves_order_and_durations(hours):
    script = Script().good(1, "a").start(2).work("b")
    step = timedelta(hours=hours)
    before = len(script.messages)
    script.commit("b", "bbbbbbbb").push().wait(600).good(3, "c")
    moved = []
    for place, (envelope, payload) in enumerate(script.messages):
        if place >= before and envelope.channel == "codeworm:logs":
            time = pd.Timestamp(payload["timestamp"]) + step
            payload = payload | {"timestamp": time.isoformat().replace("+00:00", "Z")}
        elif place >= before:
            payload = payload | {"timestamp": (pd.Timestamp(payload["timestamp"]) + step).isoformat()}
        moved.append((envelope, payload))
    script.messages = moved
    found = cycles(script.traffic())
    assert found.target.tolist() == ["a", "b", "c"]
    assert found.find_s.round().tolist() == [1, 1, 1]
    assert found.push_s.between(0, 1).all()
    assert found.commit_s.between(0, 1).all()


def test_what_is_open_at_the_end_runs_unless_nothing_was_heard_for_too_long():
    script = Script().start(1).work("a")
    row = only(script)
    assert row.outcome == "running"
    assert pd.isna(row.ended_at)
    traffic = script.traffic()
    late = traffic.until + timedelta(minutes=46)
    given_up = Traffic.of(logs=traffic.logs, events=traffic.events, until=late)
    assert cycles(given_up).outcome.tolist() == ["interrupted"]


@pytest.mark.parametrize("value", [2**62, -5, 1e300, "NaN", None, [1], {"a": 1}, "\ud800", "x" * 100_000])
def test_no_value_of_any_field_breaks_it(value):
    words = dict.fromkeys(
        ("cycle_num", "target", "repo", "commit", "tokens", "time_ms", "error", "function", "stats", "time"), value
    )
    script = Script()
    for name in (
        "cycle_starting",
        "documenting",
        "documentation_committed",
        "documentation_failed",
        "next_scheduled_run",
        "daemon_stopped",
    ):
        script.log(name, **words)
    for name in ("cycle_starting", "analyzing", "generating", "documentation_committed", "next_cycle"):
        script.event(name, **words)
    found = cycles(script.traffic())
    assert len(found) >= 1
    assert orjson.loads(pd.DataFrame(found).head().to_json(date_format="iso"))
