from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.backoff import delays


@pytest.fixture
def bounds(monkeypatch):
    """Makes each delay its own upper bound."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


@pytest.mark.usefixtures("bounds")
def test_the_bound_doubles_from_the_first_to_the_longest_and_stays():
    assert list(islice(delays(first=0.5, longest=6), 6)) == [0.5, 1, 2, 4, 6, 6]


@pytest.mark.usefixtures("bounds")
def test_the_bound_grows_by_the_factor_given():
    assert list(islice(delays(first=1, longest=100, factor=3), 5)) == [1, 3, 9, 27, 81]


@pytest.mark.usefixtures("bounds")
def test_a_first_delay_over_the_longest_is_cut_to_it():
    assert list(islice(delays(first=60, longest=10), 2)) == [10, 10]


def test_delays_spread_over_the_whole_range_from_zero():
    random.seed(1)
    drawn = [next(delays(first=10, longest=10)) for _ in range(1000)]
    assert min(drawn) < 0.5
    assert max(drawn) > 9.5
    assert 4.5 < sum(drawn) / len(drawn) < 5.5


@given(st.floats(0.001, 100), st.floats(0.001, 100), st.floats(1, 10))
def test_no_delay_is_negative_or_over_the_longest(first, longest, factor):
    assert all(0 <= delay <= longest for delay in islice(delays(first=first, longest=longest, factor=factor), 50))


def test_a_new_generator_starts_over():
    random.seed(1)
    used = delays(first=0.001, longest=1000)
    assert max(islice(used, 40)) > 1
    assert next(delays(first=0.001, longest=1000)) <= 0.001
