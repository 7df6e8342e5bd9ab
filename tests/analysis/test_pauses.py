"""Pauses: quantiles of what was learnt, within a bin of the exact ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.analysis.pauses import LONGEST, MEMORY, Pauses

BIN = 2 ** (1 / 8)


def learnt(seconds):
    pauses = Pauses()
    for one in seconds:
        pauses.add(one)
    return pauses


@given(st.lists(st.floats(1.0, 1000.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.995]))
def test_a_quantile_is_that_of_the_pauses_within_a_bin(seconds, share):
    # The shortest may be passed over, as many as make up a hundredth of the time; a bin's own error comes on top.
    total, counted = sum(seconds), sorted(seconds)
    kept = [one for place, one in enumerate(counted) if sum(counted[: place + 1]) > 0.011 * total]
    low = np.quantile(counted, max(0.0, share - 0.02), method="inverted_cdf")
    high = np.quantile(kept, min(1.0, share + 0.02), method="higher")
    assert low / BIN <= learnt(seconds).quantile(share) <= high * BIN


def test_steps_within_a_burst_are_no_pauses():
    bursts = [0.0005] * 999 + [3600.0]
    pauses = learnt(bursts * 3)
    assert pauses.count == pytest.approx(3, rel=0.5)
    assert pauses.quantile(0.5) == pytest.approx(3600, rel=0.1)


def test_what_is_long_past_counts_for_nothing():
    pauses = learnt([1.0] * MEMORY + [60.0] * 8 * MEMORY)
    assert pauses.quantile(0.01) == pytest.approx(60, rel=0.1)
    assert pauses.count == pytest.approx(MEMORY, rel=0.01)


def test_memory_is_fixed_and_weights_stay_finite():
    pauses = Pauses()
    size = len(pauses._weights)
    pauses._weight = 9e99
    for _ in range(MEMORY):
        pauses.add(2.0)
    assert len(pauses._weights) == size
    assert pauses._weight < 1e100
    assert pauses.quantile(0.5) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("seconds", [math.nan, -1.0, -math.inf])
def test_what_is_no_length_of_time_is_no_pause(seconds):
    assert learnt([seconds]).count == 0
    assert math.isnan(learnt([seconds]).quantile(0.5))


def test_longest_and_shortest_are_bounded():
    assert learnt([math.inf, 1e300]).quantile(1) <= LONGEST * BIN**2
    assert learnt([0.0]).quantile(1) <= 0.0011
