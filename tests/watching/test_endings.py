"""Endings: each cycle ends once, however often, and by whichever channel, that is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.watched import committed, event, failed, log

from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.monitor import open_recording
from codeworm_monitor.recording import recorded_arrivals
from codeworm_monitor.watching.endings import ENDING_NAMES, Endings


def outcomes(*records: Any) -> list[str]:
    endings = Endings()
    found = [endings.take(record, float(number)) for number, record in enumerate(records)]
    return [one.outcome for one in found if one is not None]


def test_a_commit_told_by_both_channels_counts_once() -> None:
    line = committed(5, target="f")
    told = event("documentation_committed", 5, commit=line.commit, target="f", tokens=7, time_ms=line.time_ms)
    assert outcomes(log("cycle_starting"), line, told) == ["committed"]
    assert outcomes(log("cycle_starting"), told, line) == ["committed"]
    assert outcomes(told) == ["committed"]


def test_a_commit_without_a_hash_counts_once_too() -> None:
    line = log("documentation_committed", target="f")
    assert outcomes(log("cycle_starting"), line, event("documentation_committed", target="f")) == ["committed"]


def test_what_comes_twice_counts_once() -> None:
    assert outcomes(failed(1), failed(1), failed(2)) == ["failed", "failed"]
    assert outcomes(*[log("dry_run_complete", 3, target="f")] * 2) == ["dry_run"]


def test_a_failure_after_the_commit_of_its_target_is_about_the_push() -> None:
    assert outcomes(log("cycle_starting"), committed(1, target="f"), failed(2)) == ["committed"]
    assert outcomes(committed(1), failed(2, target="other")) == ["committed", "failed"]
    assert outcomes(committed(1, target="f"), log("cycle_starting", 2), failed(3)) == ["committed", "failed"]


def test_a_task_error_fails_only_what_is_under_way() -> None:
    error = log("scheduled_task_error", 4, error="disk full")
    assert outcomes(error) == []
    assert outcomes(log("cycle_starting"), error, error) == ["failed"]
    assert outcomes(log("cycle_starting"), committed(1), error) == ["committed"]


def test_model_errors_are_told_apart_and_skips_end_nothing() -> None:
    assert outcomes(log("llm_error", 1, target="f"), log("cycle_skipped_no_candidates"), event("next_cycle")) == [
        "llm_error"
    ]


def test_the_daemons_own_count_is_taken_if_it_is_one() -> None:
    endings = Endings()
    for told, known in ((3, 3), (True, 3), ("9", 3), (-1, 3), (10**9, 3), (4, 4)):
        endings.take(log("backing_off", extra={"consecutive_failures": told}), 0)
        assert endings.told_failures == known
    endings.take(committed(1), 1)
    assert endings.told_failures == 0


@given(st.lists(st.tuples(st.sampled_from(ENDING_NAMES[next(iter(ENDING_NAMES))]), st.none() | st.text(max_size=3))))
def test_no_content_is_an_error(moves: list[tuple[str, str | None]]) -> None:
    endings = Endings()
    for number, (name, word) in enumerate(moves):
        record = log(name, number, target=word, commit=word, doc_type=word, time_ms=float("inf"), extra={"a": word})
        ending = endings.take(record, number)
        assert ending is None or ending.seconds is None


@pytest.mark.parametrize("records", [[log("")], [log("x", target="y")], [event("analyzing")]])
def test_other_messages_tell_nothing(records: list[Any]) -> None:
    assert outcomes(*records) == []


def test_recorded_endings_are_those_of_the_cycles(recording: Path) -> None:
    endings = Endings()
    found = [endings.take(arrival.record, 0.0) for arrival in recorded_arrivals(recording)]
    with open_recording(recording) as rec:
        frames = {"logs": rec.logs.df, "events": rec.events.df, "stats": rec.stats.df}
    table = cycles(Traffic.of(**frames))
    expected = table[table.outcome.isin(["committed", "failed", "llm_error"])]
    assert [(one.outcome, one.target) for one in found if one] == list(
        zip(expected.outcome.astype(str), expected.target, strict=True)
    )
    seconds = [one.seconds for one in found if one and one.seconds is not None]
    assert len(seconds) == (expected.outcome == "committed").sum()
    assert min(seconds) > 0.1
