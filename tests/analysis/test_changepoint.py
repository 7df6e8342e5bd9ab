"""Change points: found where they are, seldom where they are not, and never in a few values."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from codeworm_monitor.analysis.changepoint import MOST_BLOCKS, SHORTEST, newest_change, shift_of
from codeworm_monitor.errors import MissingExtraError


def skewed(random, count):
    """Logarithms of times as they are: skewed, with a long tail, about 0.4 wide."""
    return 0.3 * random.gumbel(size=count)


def autoregressive(random, count, r):
    values = random.normal(size=count)
    for place in range(1, count):
        values[place] = r * values[place - 1] + math.sqrt(1 - r * r) * values[place]
    return 0.4 * values


def stepped(seed, *stretches):
    """Stretches of so many values each about a level."""
    random = np.random.default_rng(seed)
    return np.concatenate([skewed(random, count) + level for count, level in stretches])


@pytest.mark.parametrize(("count", "runs"), [(20, 400), (60, 400), (150, 400), (700, 300), (2500, 100)])
def test_without_a_change_at_most_one_series_in_twenty_raises_an_alarm(count, runs):
    random = np.random.default_rng(count)
    alarms = sum(newest_change(skewed(random, count))[0] is not None for _ in range(runs))
    # Were the true rate above 5 %, so few alarms would come in one of a hundred such tests.
    assert binomtest(alarms, runs, 0.05, alternative="greater").pvalue > 0.01
    if runs >= 300:
        assert alarms / runs < 0.05


def test_values_that_go_along_with_their_neighbours_raise_hardly_more_alarms():
    random = np.random.default_rng(5)
    alarms = sum(newest_change(autoregressive(random, 150, 0.4))[0] is not None for _ in range(300))
    assert binomtest(alarms, 300, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("before", [40, 100, 1000, 9000])
def test_a_slowdown_by_half_is_found_within_40_values(before):
    found = 0
    runs = 60 if before <= 1000 else 15
    for seed in range(runs):
        change, _ = newest_change(stepped(seed, (before, 0.0), (40, math.log(1.5))), level=0.025)
        found += change is not None and change.shift > 0 and abs(change.start - before) <= 12
    assert found >= 0.85 * runs


def test_its_size_is_told_with_an_interval_that_mostly_holds_it():
    within, shifts = 0, []
    for seed in range(100):
        change, _ = newest_change(stepped(seed, (200, 0.0), (60, math.log(2))))
        within += change.low <= math.log(2) <= change.high
        shifts.append(change.shift)
    assert within >= 88
    assert np.mean(shifts) == pytest.approx(math.log(2), abs=0.05)


def test_a_stretch_that_is_over_is_told_with_its_end():
    change, p_value = newest_change(stepped(1, (120, 0.0), (40, math.log(3)), (120, 0.0)))
    assert abs(change.start - 120) <= 3
    assert abs(change.end - 160) <= 3
    assert change.shift == pytest.approx(math.log(3), abs=0.2)
    assert p_value < 1e-6


def test_a_stretch_of_several_levels_that_is_over_is_one():
    change, _ = newest_change(stepped(2, (120, 0.0), (30, math.log(8)), (30, math.log(3)), (120, 0.0)))
    assert abs(change.start - 120) <= 3
    assert abs(change.end - 180) <= 3


def test_what_varies_within_a_slowdown_is_part_of_it():
    change, _ = newest_change(stepped(3, (150, 0.0), (60, math.log(6)), (60, math.log(4.5))))
    assert abs(change.start - 150) <= 3
    assert change.end == 270


def test_after_an_old_stretch_that_is_over_a_new_small_slowdown_is_the_news():
    change, _ = newest_change(stepped(4, (150, 0.0), (40, math.log(20)), (150, 0.0), (60, math.log(1.6))))
    assert abs(change.start - 340) <= 12
    assert change.end == 400
    assert change.before == pytest.approx(190, abs=3)


def test_of_two_steps_up_the_newer_is_told_if_it_is_as_large():
    change, _ = newest_change(stepped(5, (100, 0.0), (80, math.log(2)), (80, math.log(4))))
    assert abs(change.start - 180) <= 8
    assert change.shift == pytest.approx(math.log(2), abs=0.25)


def test_the_return_to_an_old_and_shorter_level_is_news():
    slow = math.log(3)
    change, _ = newest_change(stepped(6, (60, slow), (400, 0.0), (50, slow)))
    assert (abs(change.start - 460) <= 3, change.end, change.shift > 0) == (True, 510, True)
    change, _ = newest_change(stepped(7, (60, 0.0), (400, slow), (50, 0.0)))
    assert (abs(change.start - 460) <= 3, change.end, change.shift < 0) == (True, 510, True)
    # After a short quicker stretch things are only as they were.
    change, _ = newest_change(stepped(8, (400, slow), (50, 0.0), (60, slow)))
    assert (abs(change.start - 400) <= 3, abs(change.end - 450) <= 3) == (True, True)


@given(st.integers(1, SHORTEST - 4), st.integers(0, 10_000), st.floats(1.0, 1e6))
def test_one_or_two_values_however_far_off_are_no_change(few, seed, far):
    values = stepped(seed % 20, (120, 0.0))
    places = seed % 110 + np.arange(few)
    calm, _ = newest_change(values)
    values[places] += far
    change, _ = newest_change(values)
    assert change is None or calm is not None


def test_a_change_smaller_than_the_least_that_counts_is_none():
    values = stepped(6, (3000, 0.0), (3000, math.log(1.05)))
    assert newest_change(values, least=0.0)[0] is not None
    change, p_value = newest_change(values, least=math.log(1.1))
    assert change is None
    assert p_value < 0.05  # sure, but small


@given(st.integers(0, 50), st.floats(-5, 5), st.floats(0.01, 100))
def test_moved_and_stretched_values_have_the_same_change(seed, by, factor):
    values = stepped(seed, (60, 0.0), (40, math.log(3)))
    change, p_value = newest_change(values)
    other, other_p = newest_change(values * factor + by)
    assert (other.before, other.start, other.end) == (change.before, change.start, change.end)
    assert other.shift == pytest.approx(change.shift * factor, rel=1e-6)
    assert other_p == pytest.approx(p_value)


def test_of_many_values_changes_new_and_old_are_found_to_the_value():
    calm = stepped(7, (100_000, 0.0))
    assert newest_change(calm)[0] is None
    old = calm.copy()
    old[40_000:] += math.log(1.3)
    change, _ = newest_change(old)
    assert abs(change.start - 40_000) <= 40
    new = calm.copy()
    new[-40:] += math.log(1.8)
    change, _ = newest_change(new)
    assert abs(change.start - 99_960) <= 5
    assert change.end == 100_000


def test_the_search_goes_in_a_bounded_number_of_steps(monkeypatch):
    import ruptures

    sizes = []
    fit = ruptures.KernelCPD.fit
    monkeypatch.setattr(ruptures.KernelCPD, "fit", lambda self, signal: sizes.append(len(signal)) or fit(self, signal))
    newest_change(stepped(8, (50_001, 0.0)))
    assert sizes == [MOST_BLOCKS, math.ceil(50_001 / math.ceil(50_001 / MOST_BLOCKS))]
    assert max(sizes) <= MOST_BLOCKS


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 11, [2.0] * 500, [1.0, 2.0] * 250])
def test_constant_short_and_regular_series_have_no_change(values):
    change, p_value = newest_change(np.array(values, np.float64))
    assert change is None
    assert 0 < p_value <= 1


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_the_shift_is_the_median_of_all_differences_within_its_interval(after, before):
    shift, low, high = shift_of(np.array(after), np.array(before))
    assert shift == pytest.approx(np.median([one - other for one in after for other in before]), abs=1e-9)
    assert low <= shift <= high


def test_the_interval_of_a_shift_covers_it_in_95_of_100():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        _, low, high = shift_of(skewed(random, 30) + 1, skewed(random, 50))
        covered += low <= 1 <= high
    assert binomtest(covered, 400, 0.95).pvalue > 0.01


def test_of_many_values_the_shift_is_that_of_as_many_quantiles():
    random = np.random.default_rng(4)
    after, before = random.normal(2, 1, 5000), random.normal(0, 1, 4000)
    shift, low, high = shift_of(after, before)
    assert shift == pytest.approx(2, abs=0.06)
    assert 0 < high - low < 0.12


@pytest.mark.parametrize("missing", ["ruptures", "scipy"])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf"{missing}: pip install 'codeworm-monitor\[analysis\]'"):
        newest_change(stepped(0, (60, 0.0)))
