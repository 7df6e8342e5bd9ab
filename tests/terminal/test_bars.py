from __future__ import annotations

from codeworm_monitor.terminal.bars import bars


def test_the_largest_count_is_a_full_bar_and_nothing_is_a_space() -> None:
    assert bars([0, 1, 4, 8]) == " ▁▄█"
    assert bars([1]) == "█"
    assert bars([1, 1_000_000]) == "▁█"
    assert bars([]) == ""
