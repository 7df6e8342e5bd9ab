"""Steps: the order of the relay's log, each message once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.recorded_frames import Script, recording

from codeworm_monitor.analysis.coverage import MISSING
from codeworm_monitor.analysis.steps import Step, Steps, extra_value
from codeworm_monitor.analysis.traffic import Traffic


def logs(rows):
    frame = pd.DataFrame(rows, columns=["epoch", "offset", "received_at", "timestamp", "cycle_num"])
    for name in ("received_at", "timestamp"):
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
    return frame.assign(event="cycle_starting")


def numbers(rows):
    return Steps(Traffic.of(logs=logs(rows))).cycle_num.tolist()


def at(minute):
    return f"2026-11-22T21:{minute:02}:00Z"


def test_within_an_epoch_the_offset_decides_whatever_the_clock_says():
    rows = [("a", 1, at(30), at(30), 1), ("a", 2, at(5), at(31), 2), ("a", 3, at(6), at(32), 3)]
    assert numbers(rows) == numbers(rows[::-1]) == [1, 2, 3]


def test_epochs_are_laid_together_by_time_of_receipt():
    rows = [
        ("b", 1, at(10), at(10), 2),
        ("a", 8, at(5), at(5), 1),
        ("a", 9, at(15), at(15), 3),
        ("b", 2, at(20), at(20), 4),
    ]
    assert numbers(rows) == [1, 2, 3, 4]


def test_what_has_no_offset_is_placed_by_its_time():
    rows = [(None, None, at(20), at(20), 2), (None, None, at(10), at(10), 1), ("a", 1, at(15), at(15), 9)]
    assert numbers(rows) == [1, 9, 2]


def test_what_was_said_twice_is_there_once_and_what_differs_stays():
    rows = [("a", 1, at(1), at(1), 1), ("b", 7, at(9), at(1), 1), ("b", 8, at(10), at(1), 2), ("a", 2, at(3), None, 1)]
    assert numbers(rows) == [1, 1, 2]


def test_a_time_that_is_missing_is_that_of_receipt():
    steps = Steps(Traffic.of(logs=logs([("a", 1, at(1), None, 1)])))
    assert steps.time.tolist() == steps.received.tolist()


def test_announced_times_are_read_from_events_and_logs_alike():
    script = Script()
    script.event("next_cycle", time="2026-11-22T21:57:35+00:00").log(
        "next_scheduled_run", time="2026-11-22T21:57:35+00:00"
    )
    script.log("next_scheduled_run", time="tomorrow").log("next_scheduled_run")
    steps = Steps(script.traffic())
    assert steps.step.tolist() == [Step.ANNOUNCED] * 4
    first = int(pd.Timestamp("2026-11-22T21:57:35Z").timestamp() * 1e6)
    assert steps.next_at.tolist() == [first, first, MISSING, MISSING]


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_of_a_recording_is_lost_or_moved(number):
    traffic = recording(number)
    steps = Steps(traffic)
    places = np.arange(len(steps))
    offsets = steps.numbers("offset", places)
    assert (np.diff(offsets) > 0).all()
    others = traffic.logs.event.isin(["cycle_stats", "state_loaded", "waiting_for_ollama", "reload_signal_received"])
    assert steps.is_log.sum() == len(traffic.logs) - others.sum()
    assert (steps.step == Step.STATS).sum() == len(traffic.stats)
    targets = steps.texts("target", places)
    assert len({*targets} - {None}) == len(set(steps.targets) - {-1})


@pytest.mark.parametrize("extra", [None, "", "[1]", "{", '{"b":1}', 5, float("nan")])
def test_an_extra_that_says_nothing_is_none(extra):
    assert extra_value(extra, "a") is None
