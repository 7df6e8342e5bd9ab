from __future__ import annotations

from codeworm_monitor.states.rates import KEPT, Rates


def test_messages_are_counted_by_spans_that_begin_at_multiples_of_their_length() -> None:
    rates = Rates()
    for at in (100.0, 100.9, 104.0, 105.0, 112.5):
        rates.add(at)
    assert rates.spans(113.0, count=3, seconds=5) == [3, 1, 1]
    assert rates.spans(113.0, count=2, seconds=5) == [1, 1]
    assert rates.spans(130.0, count=3, seconds=5) == [0, 0, 0]


def test_a_clock_behind_ours_loses_no_message() -> None:
    rates = Rates()
    rates.add(200.0)
    rates.add(150.0)
    assert rates.spans(190.0, count=1, seconds=5) == [2]


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    rates = Rates()
    for at in range(100, 120):
        rates.add(at)
    assert rates.per_second(119.5) == 1.0
    assert rates.per_second(500.0) == 0.0


def test_memory_is_an_hour() -> None:
    rates = Rates()
    for at in range(3 * KEPT):
        rates.add(at)
    assert len(rates._counts) == KEPT


def test_a_clock_that_is_set_back_begins_anew() -> None:
    rates = Rates()
    rates.add(100_000.0)
    rates.add(1_000.0, 5)
    assert rates.spans(1_000.0, count=2, seconds=1) == [0, 5]
    assert rates.per_second(1_000.0) == 0.5
