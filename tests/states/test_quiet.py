from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from codeworm_monitor.analysis.silence import SilenceModel
from codeworm_monitor.records import PublisherClock, parse_record
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.states.quiet import PRIOR, Quiet

LOGS = "codeworm:logs"


def hear(quiet: Quiet, at: float, **payload: Any) -> None:
    quiet.hear(at, parse_record(LOGS, payload, at, PublisherClock()))


def test_until_enough_is_learnt_the_daemons_own_alarm_is_the_limit() -> None:
    quiet = Quiet()
    assert quiet.limit() is None
    hear(quiet, 1000.0, event="x")
    assert quiet.limit() == PRIOR


def test_what_is_announced_may_be_waited_for() -> None:
    quiet = Quiet()
    hear(quiet, 1000.0, event="backing_off", seconds=4000)
    assert quiet.limit() == 4005.0
    hear(quiet, 1000.1, event="cycle_starting")
    assert quiet.limit() == PRIOR


def test_a_steady_publisher_is_missed_soon() -> None:
    quiet = Quiet()
    for number in range(200):
        hear(quiet, 1000.0 + 10 * number, event="x")
    limit = quiet.limit()
    assert limit is not None
    assert 25 < limit < 40


def test_a_daemon_that_stopped_may_be_silent_for_ever() -> None:
    quiet = Quiet()
    hear(quiet, 1000.0, event="daemon_stopped")
    assert quiet.limit() is None
    hear(quiet, 2000.0, event="daemon_starting")
    assert quiet.limit() == PRIOR


def test_after_a_gap_quiet_is_counted_anew() -> None:
    quiet = Quiet()
    hear(quiet, 1000.0, event="x")
    quiet.miss(5000.0)
    assert quiet.heard_at == 5000.0


def test_a_clock_that_is_set_back_does_not_make_it_wait_for_a_day() -> None:
    quiet = Quiet()
    hear(quiet, 90_000.0, event="backing_off", seconds=4000)
    hear(quiet, 1000.0, event="x")
    assert (quiet.heard_at, quiet.message_at, quiet.limit()) == (1000.0, 1000.0, PRIOR)
    quiet.hear_any(1001.0)
    assert quiet.heard_at == 1001.0


def test_values_of_any_kind_announce_nothing() -> None:
    quiet = Quiet()
    for value in (None, True, "soon", "9" * 100, 1e300, -1, float("inf"), [], {}):
        hear(quiet, 1000.0, event="backing_off", seconds=value)
        hear(quiet, 1000.0, event="next_scheduled_run", time=value)
    assert quiet.limit() == PRIOR


def test_on_recorded_traffic_the_limit_is_that_of_the_analysis(recording: Path) -> None:
    quiet, model, clock = Quiet(), SilenceModel(), PublisherClock()
    differences = []
    for number, message in enumerate(read_recording(recording)):
        record = parse_record(message.channel, orjson.loads(message.payload), message.received_at, clock)
        quiet.hear(message.received_at, record)
        model.observe_record(message.received_at, record)
        limit, wanted = quiet.limit(), model.limit_at(message.received_at)
        if number > 300 and limit is not None:
            differences.append(abs(limit - wanted) / wanted)
    assert len(differences) > 400
    assert sorted(differences)[len(differences) * 9 // 10] < 0.2
