"""Outages: those that were made while the recordings ran, and those that hand-made messages tell of."""

from __future__ import annotations

import pandas as pd
import pytest
from support.recorded_frames import Script, episodes, recording

from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.outages import KINDS, outages
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.envelope import Gap, GapCause

REFUSED = (
    "Push failed after 3 retries: Cmd('git') failed due to: exit code(128)\n  stderr: 'fatal: unable to connect to x'"
)


def shown(found):
    return [(row.kind, row.cause, row.cycles_lost) for row in found.itertuples()]


def only(script, **words):
    found = outages(script.traffic(**words))
    assert len(found) == 1, found.to_string()
    return found.iloc[0]


def test_the_first_recording_has_those_that_were_made():
    found = outages(recording(1))
    assert shown(found) == [
        ("ollama", "not reachable", 0),
        ("commit", "no commit to build on", 2),
        ("daemon", "stopped (SIGTERM)", 0),
        ("ollama", "out of memory", 1),
        ("ollama", "out of memory", 2),
        ("push", "remote missing", 0),
        ("push", "rejected: the remote has other commits", 0),
        ("push", "remote not reachable", 0),
        ("ollama", "connection broken; not reachable", 2),
        ("ollama", "model not found", 1),
        ("ollama", "answered nonsense", 2),
        ("daemon", "stopped (SIGTERM)", 1),
    ]
    # One begins after the fault was made, and by its first victim; it ends with what first went well after the mending.
    made = [
        (one["t"], (one["episode"], one.get("mode") or one.get("sig") or ""))
        for one in episodes(1)
        if one["episode"] not in ("normal", "done", "operator_initial_commit", "sighup", "daemon_exit")
    ]
    harms = {("ollama_mode", mode) for mode in ("stopped", "oom", "oom_commit", "reset", "notfound", "badjson")}
    harms |= {("push_broken", ""), ("push_rejected", ""), ("push_refused", ""), ("daemon_signal", "SIGTERM")}
    faults = [t for t, what in made if what in harms]
    mended = [t for t, what in made if what not in harms]
    for row in found.itertuples():
        if row.kind == "commit":
            continue  # that the repository was empty is no episode
        begun = row.started_at.timestamp()
        fault = max(t for t in faults if t <= begun)
        assert begun - fault < 15, row
        if not pd.isna(row.ended_at):
            assert row.ended_at.timestamp() >= min(t for t in mended if t > fault), row


def test_the_second_has_two_restarts_and_a_kill():
    found = outages(recording(2))
    assert shown(found) == [
        ("daemon", "stopped", 0),
        ("daemon", "stopped (SIGINT)", 0),
        ("daemon", "ended without a word (killed or crashed)", 0),
    ]
    killed = next(one["t"] for one in episodes(2) if one["episode"] == "daemon_sigkill")
    assert abs(found.started_at.iloc[2].timestamp() - killed) < 1


@pytest.mark.parametrize("traffic", [Traffic.of(), Script().good(1).traffic()])
def test_without_any_the_frame_is_empty_with_all_columns(traffic):
    found = outages(traffic)
    assert list(found.columns) == ["kind", "started_at", "ended_at", "cause", "evidence", "cycles_lost"]
    assert len(found) == 0
    assert tuple(found.kind.cat.categories) == KINDS
    assert str(found.started_at.dtype) == "datetime64[us, UTC]"


def test_one_that_lasts_has_no_end():
    script = Script().start(1).work("a").log("llm_error", level="error", target="a", error="Generation timed out")
    row = only(script)
    assert (row.kind, row.cause, row.cycles_lost) == ("ollama", "timed out", 1)
    assert pd.isna(row.ended_at)


def test_failures_of_two_kinds_at_one_time_are_two():
    script = Script().good(1, "a")
    script.start(2).work("b").commit("b", "bbbbbbbb").log("push_failed", level="warning", error=REFUSED)
    script.start(3).work("c").log("llm_error", level="error", target="c", error="Model OOM: out of memory")
    script.good(4, "d")
    assert shown(outages(script.traffic())) == [("push", "remote not reachable", 0), ("ollama", "out of memory", 1)]


@pytest.mark.parametrize(
    ("exception", "kind", "cause"),
    [
        ("Traceback\nsqlite3.OperationalError: database is locked", "database", "database locked"),
        ("Traceback\nsqlite3.DatabaseError: database disk image is malformed", "database", "database damaged"),
        ("Traceback\ngit.exc.GitCommandError: Unable to create '/x/.git/index.lock'", "commit", "repository locked"),
        ('  File "/x/codeworm/llm/client.py", line 1\nKeyError: response', "ollama", "it broke"),
        ("Traceback\nOSError: [Errno 28] No space left on device", "daemon", "disk full"),
        ("", "daemon", "it broke"),
    ],
)
def test_a_traceback_tells_whose_fault_it_was(exception, kind, cause):
    script = Script().start(1).work("a").wait(1)
    script.log("documentation_failed", level="error", target="a", error="it broke", exception=exception)
    row = only(script.good(2))
    assert (row.kind, row.cause, row.cycles_lost) == (kind, cause, 1)


def test_a_task_that_failed_before_any_cycle_is_the_daemons_fault():
    script = (
        Script()
        .good(1)
        .log("scheduled_task_error", level="error", error="boom", exception="Traceback\nValueError: boom")
    )
    row = only(script.wait(60).good(2))
    assert (row.kind, row.cause, row.cycles_lost) == ("daemon", "boom", 0)


def test_a_kill_in_mid_cycle_costs_that_cycle_and_begins_with_the_last_word():
    script = Script().good(1).start(2).work("a")
    last = script.at
    row = only(script.wait(300).log("daemon_starting", mode="normal").good(1, "b"))
    assert (row.kind, row.cycles_lost) == ("daemon", 1)
    assert abs((row.started_at - last).total_seconds()) < 5
    assert (row.ended_at - row.started_at).total_seconds() == pytest.approx(302, abs=1)


def test_a_hang_shows_when_a_cycle_was_due_and_nothing_came():
    script = Script()
    for number in range(1, 4):
        script.good(number)
        script.event("next_cycle", time=(script.at + pd.Timedelta("12min")).isoformat()).wait(720)
    begun = script.at
    row = only(script.wait(3 * 3600).good(4))
    assert (row.kind, row.cause) == ("daemon", "silent though a cycle was due")
    assert row.ended_at > begun
    quiet = Script().good(1)
    quiet.event("next_cycle", time=(quiet.at + pd.Timedelta("3h")).isoformat()).wait(3 * 3600).good(2)
    assert len(outages(quiet.traffic())) == 0


def test_what_the_relay_did_not_hear_is_its_own_and_no_silence_of_the_daemon():
    script = Script().good(1)
    begun = script.at.timestamp()
    script.wait(7200)
    ended = script.at.timestamp()
    script.wait(1).good(5)
    gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=begun, ended_at=ended, detail="Redis was gone")
    row = only(script, gaps=[gap])
    assert (row.kind, row.evidence, row.cycles_lost) == ("redis", "Redis was gone", 3)
    gap = Gap(cause=GapCause.RELAY_RESTART, started_at=begun, ended_at=ended)
    assert only(script, gaps=[gap]).kind == "relay"


def test_a_dead_mans_switch_counts_where_nothing_else_explains_it():
    switch = {"level": "warning", "minutes_since_last_commit": 45}
    script = Script().good(1)
    for number in (2, 3, 4):
        script.wait(900).start(number)
    row = only(script.log("dead_mans_switch_triggered", **switch).good(5))
    assert (row.kind, row.cause) == ("daemon", "no commit for 45 minutes")
    exhausted = Script().good(1).wait(900).start(2).log("cycle_skipped_no_candidates", repos_exhausted=[]).wait(1900)
    assert len(outages(exhausted.log("dead_mans_switch_triggered", **switch).good(3).traffic())) == 0


@pytest.mark.parametrize("number", [1, 2])
def test_cycles_lost_are_those_that_did_not_end_well(number):
    rows = cycles(recording(number))
    lost = rows.outcome.isin(["failed", "llm_error", "interrupted"]).sum()
    assert outages(recording(number)).cycles_lost.sum() == lost


def test_each_cycle_is_lost_once_and_only_if_it_did_not_end_well():
    script = Script().log("daemon_starting").start(1).work("a").wait(9)
    for _ in range(3):
        script.log("daemon_starting").wait(9)
    assert outages(script.traffic()).cycles_lost.tolist() == [1, 0, 0]
    script = Script().start(1).work("a").commit("a", "aaaaaaaa")
    at_commit = script.at
    script.wait(1).log("documentation_failed", level="error", target="a", error="database is locked")
    row = only(script)
    assert (row.kind, row.cycles_lost) == ("database", 0)
    assert row.started_at > at_commit


def test_messages_that_nobody_noticed_to_be_lost_are_an_outage():
    script = Script().good(1).wait(600).good(5)
    row = only(script)
    assert (row.kind, row.cause, row.cycles_lost) == ("redis", "messages lost", 3)
    assert row.evidence == "cycles 2 to 4 were never heard"
