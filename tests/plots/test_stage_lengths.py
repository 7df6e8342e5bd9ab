"""Durations of the stages: the answer's percentiles."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import traffic
from support.seen import words

from codeworm_monitor.analysis.rates import durations as asked
from codeworm_monitor.plots import durations


def marks(ax, marker: str) -> list[float]:
    """Return where the marks of one kind are along the x axis, row by row."""
    return [
        float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == marker and len(line.get_xdata()) == 1
    ]


def test_of_one_stretch_each_stage_is_a_row_from_median_to_p99() -> None:
    frame = asked(traffic("day"))
    ax = durations(frame)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["find", "generate", "commit", "push"]
    assert marks(ax, "|") == pytest.approx(frame["p99"].tolist())
    for stage, marker in (("find", "^"), ("generate", "o"), ("commit", "D"), ("push", "s")):
        assert marks(ax, marker) == pytest.approx(frame.loc[frame["stage"] == stage, "p50"].tolist())


def test_along_the_time_the_medians_are_the_answers() -> None:
    frame = asked(traffic("day"), every="3h", zone="UTC")
    ax = durations(frame)
    line = next(line for line in ax.lines if line.get_marker() == "o")
    told = frame[(frame["stage"] == "generate") & (frame["count"] > 0)]
    assert line.get_ydata() == pytest.approx(told["p50"])


def test_along_the_time_groups_show_the_generation_of_the_largest() -> None:
    ax = durations(asked(traffic("day"), every="6h", by="doc_type", zone="UTC"))
    assert ax.get_title(loc="left") == "Duration of generation"
    assert "smaller group" in words(ax)
    assert len([line for line in ax.lines if line.get_marker() in {"o", "s", "^"}]) == 3


def test_neighbours_taken_together_count_by_how_many_cycles_they_are_of() -> None:
    frame = asked(traffic("months"), every="1h", zone="UTC")
    ax = durations(frame)
    line = next(line for line in ax.lines if line.get_marker() == "o")
    told = frame[frame["stage"] == "generate"]
    each = -(-len(told) // 150)
    place = np.arange(len(told)) // each
    weighted = (told["p50"].fillna(0) * told["count"]).groupby(place).sum() / told["count"].groupby(place).sum()
    assert line.get_ydata() == pytest.approx(weighted.dropna())
    assert f"the mean of {each} of the answer's stretches" in words(ax)
