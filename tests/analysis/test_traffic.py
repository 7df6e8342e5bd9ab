"""Frames of any origin as one stretch of traffic."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from codeworm_monitor.analysis.traffic import Traffic

TIMES = pd.to_datetime(["2026-11-22T21:00:00Z", "2026-11-22T21:10:00Z"])


def test_columns_that_a_frame_lacks_are_missing_in_every_row():
    traffic = Traffic.of(logs=pd.DataFrame({"timestamp": TIMES, "event": ["a", "b"]}))
    assert traffic.logs["target"].isna().all()
    assert traffic.logs["received_at"].tolist() == list(TIMES)
    assert (traffic.since, traffic.until) == (TIMES[0], TIMES[1])
    assert len(traffic) == 2
    assert traffic.coverage.share == 1


def test_naive_times_are_utc():
    traffic = Traffic.of(events=pd.DataFrame({"received_at": TIMES.tz_localize(None), "type": ["a", "b"]}))
    assert traffic.events["received_at"].dt.tz is UTC or str(traffic.events["received_at"].dt.tz) == "UTC"
    assert traffic.since == TIMES[0]


def test_a_frame_without_times_is_refused_with_what_to_take():
    with pytest.raises(ValueError, match=r"take a frame such as mon\.logs\.df"):
        Traffic.of(logs=pd.DataFrame({"event": ["a"]}))
    with pytest.raises(TypeError, match="events is a frame"):
        Traffic.of(events=[1, 2])


def test_nothing_is_a_stretch_of_no_length():
    traffic = Traffic.of()
    assert len(traffic) == 0
    assert traffic.since is None
    assert traffic.between(datetime(2026, 1, 1, tzinfo=UTC), None).until is None


def test_a_part_has_the_messages_and_gaps_of_its_time():
    gaps = pd.DataFrame(
        {
            "started_at": pd.to_datetime(["2026-11-22T21:01:00Z", "2026-11-22T21:06:00Z"]),
            "ended_at": pd.to_datetime(["2026-11-22T21:02:00Z", "2026-11-22T21:07:00Z"]),
        }
    )
    whole = Traffic.of(logs=pd.DataFrame({"received_at": TIMES, "event": ["a", "b"]}), gaps=gaps)
    part = whole.between(datetime(2026, 11, 22, 21, 5, tzinfo=UTC), None)
    assert part.logs["event"].tolist() == ["b"]
    assert len(part.gaps) == 1
    assert part.coverage.share == pytest.approx(0.8)
    assert whole.between(None, None) is whole
