"""Success: points and whiskers that are those of the answer."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import traffic
from support.seen import words

from codeworm_monitor.analysis.rates import success_rate, wilson
from codeworm_monitor.plots import success


def lines(ax) -> np.ndarray:
    """Return the whiskers as three columns: where, from, to."""
    found = []
    for one in ax.collections:
        for path in one.get_paths():
            if len(path.vertices) == 2:
                (x0, y0), (x1, y1) = path.vertices
                found.append((x0, y0, y1) if x0 == x1 else (y0, x0, x1))
    return np.array(found)


def test_along_the_time_points_and_whiskers_are_the_answers() -> None:
    frame = success_rate(traffic("day"), every="2h", zone="UTC")
    ax = success(frame)
    told = frame[frame["attempts"] > 0]
    assert lines(ax)[:, 1] == pytest.approx(told["low"])
    assert lines(ax)[:, 2] == pytest.approx(told["high"])
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert points.get_ydata() == pytest.approx(told["rate"])


def test_of_one_stretch_each_group_is_a_row() -> None:
    frame = success_rate(traffic("day"), by="repo", confidence=0.8)
    ax = success(frame)
    order = frame.sort_values("attempts", ascending=False, kind="stable")
    assert lines(ax)[:, 1] == pytest.approx(order["low"])
    assert lines(ax)[:, 2] == pytest.approx(order["high"])
    first = order.iloc[0]
    assert ax.get_yticklabels()[0].get_text() == f"{first['repo']}  ({first['succeeded']} of {first['attempts']})"
    assert "interval of 80 % (Wilson)" in words(ax)


def test_neighbours_that_are_taken_together_get_their_own_interval() -> None:
    frame = success_rate(traffic("months"), every="1h", zone="UTC")
    ax = success(frame)
    found = lines(ax)
    assert len(found) <= 160
    assert "of the answer's stretches together" in words(ax)
    each = -(-len(frame) // 160)
    sums = frame.groupby(np.arange(len(frame)) // each)[["succeeded", "attempts"]].sum()
    low, high = wilson(sums["succeeded"].to_numpy(), sums["attempts"].to_numpy(), 0.95)
    assert found[:, 1] == pytest.approx(low[sums["attempts"] > 0])
    assert found[:, 2] == pytest.approx(high[sums["attempts"] > 0])


def test_what_counts_neither_way_is_told() -> None:
    frame = success_rate(traffic("day"))
    assert f"{frame['uncounted'].sum()} cycles counted neither way" in words(success(frame))


def test_the_axis_holds_all_whiskers() -> None:
    for by in ("repo", "doc_type"):
        ax = success(success_rate(traffic("few"), by=by))
        assert ax.get_xlim()[0] < lines(ax)[:, 1].min()
        assert ax.get_xlim()[1] > lines(ax)[:, 2].max()


def test_without_attempts_there_is_nothing_to_draw() -> None:
    frame = success_rate(traffic("day")).assign(attempts=0, succeeded=0, failed=0, rate=np.nan, low=np.nan, high=np.nan)
    assert "No attempt" in words(success(frame))
