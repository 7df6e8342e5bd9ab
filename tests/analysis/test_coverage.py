"""Which part of a stretch was heard, against a count of its seconds one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.analysis.coverage import Coverage, micros

START = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
LENGTH = 100


def second(number):
    return START + timedelta(seconds=number)


def gap_frame(spans):
    times = [pd.DatetimeIndex([second(one[i]) for one in spans], tz="UTC").as_unit("us") for i in range(2)]
    return pd.DataFrame({"started_at": times[0], "ended_at": times[1]})


spans = st.lists(st.tuples(st.integers(-20, 120), st.integers(0, 60)).map(lambda p: (p[0], p[0] + p[1])), max_size=6)


@given(spans, st.lists(st.tuples(st.integers(-30, 130), st.integers(0, 50)), min_size=1, max_size=8))
def test_shares_are_those_of_seconds_counted_one_by_one(holes, asked):
    coverage = Coverage.of(START, second(LENGTH), gap_frame(holes))
    heard = [not any(a <= s < b for a, b in holes) for s in range(LENGTH)]
    assert coverage.share == pytest.approx(sum(heard) / LENGTH)
    starts = micros(pd.DatetimeIndex([second(a) for a, _ in asked]))
    ends = micros(pd.DatetimeIndex([second(a + n) for a, n in asked]))
    for (begin, length), share in zip(asked, coverage.shares(starts, ends), strict=True):
        if not length:
            assert np.isnan(share)
            continue
        counted = sum(heard[s] for s in range(begin, begin + length) if 0 <= s < LENGTH)
        assert share == pytest.approx(counted / length)


@given(spans)
def test_a_span_overlaps_a_hole_that_it_touches(holes):
    coverage = Coverage.of(START, second(LENGTH), gap_frame(holes))
    starts = micros(pd.DatetimeIndex([second(s) for s in range(LENGTH)]))
    for at, found in zip(range(LENGTH), coverage.overlaps(starts, starts + 500_000), strict=True):
        inside = [(max(a, 0), min(b, LENGTH)) for a, b in holes]
        assert found == any(a <= at <= b for a, b in inside if a < b)


def test_what_lay_before_listening_began_was_not_heard():
    coverage = Coverage.of(START, second(LENGTH), gap_frame([(80, 90)]), heard_from=second(25))
    assert coverage.share == pytest.approx(0.65)
    assert Coverage.of(START, second(LENGTH), gap_frame([]), heard_from=second(-5)).share == 1


def test_of_nothing_nothing_is_known():
    coverage = Coverage.of(None, None, gap_frame([]))
    assert np.isnan(coverage.share)
    assert coverage.shares(np.array([0]), np.array([10])).tolist() == [0]


def test_missing_and_naive_times_are_microseconds_as_well():
    naive = pd.Series([pd.Timestamp("2026-11-22 21:00"), pd.NaT])
    assert micros(naive).tolist() == [int(START.timestamp() * 1e6), np.iinfo(np.int64).min]
