"""Distributions: the quantiles of each group, and what is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.drawn_cycles import DOC_TYPES, drawn_cycles
from support.seen import verts, words

from codeworm_monitor.plots import duration_distribution, tokens_per_s_distribution
from codeworm_monitor.plots.palette import BLUE, GREEN


def labels(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def test_a_box_is_the_middle_half_of_its_group() -> None:
    frame = drawn_cycles(2000)
    ax = duration_distribution(frame)
    groups = frame[frame["generate_s"] > 0].groupby("doc_type", observed=True)["generate_s"]
    found = verts(ax, BLUE)
    assert len(found) == len(DOC_TYPES)
    for label, (left, right, *_) in zip(labels(ax), found, strict=True):
        name, _, count = label.partition("  ")
        values = groups.get_group(name)
        assert (left, right) == pytest.approx(tuple(np.quantile(values, [0.25, 0.75])))
        assert count == f"(n = {len(values):,})"


def test_the_largest_group_is_on_top_and_that_of_no_name_last() -> None:
    frame = drawn_cycles(300)
    frame["doc_type"] = frame["doc_type"].astype(object).where(frame.index % 2 == 0, None)
    names = [label.partition("  ")[0] for label in labels(duration_distribution(frame))]
    assert names[-1] == "unknown"
    counts = frame[frame["generate_s"] > 0]["doc_type"].value_counts()
    assert names[0] == counts.index[0]


def test_few_cycles_are_dots_without_a_box() -> None:
    frame = drawn_cycles(3).assign(generate_s=[1.0, 2.0, 40.0])
    ax = duration_distribution(frame, by=None)
    assert len(verts(ax, BLUE)) == 0
    assert sorted(ax.lines[0].get_xdata()) == [1.0, 2.0, 40.0]


@pytest.mark.parametrize("stage", ["find", "generate", "commit", "push", "wait", "cycle"])
def test_every_stage_can_be_asked_for(stage: str) -> None:
    assert duration_distribution(drawn_cycles(200), by="repo", stage=stage).get_xlabel() == "seconds"


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="'sleep' is no stage: choose cycle, find, generate"):
        duration_distribution(drawn_cycles(5), stage="sleep")


def test_what_is_not_known_is_counted_and_impossible_numbers_are_not_drawn() -> None:
    frame = drawn_cycles(100).assign(generate_s=5.0)
    frame.loc[:4, "generate_s"] = [np.nan, np.inf, -np.inf, 0.0, -3.0]
    ax = duration_distribution(frame, by=None)
    ax.figure.canvas.draw()
    assert "5 of 100 cycles left out" in words(ax)
    assert labels(ax) == ["all  (n = 95)"]


def test_more_groups_than_have_room_are_counted() -> None:
    frame = drawn_cycles(400).assign(generate_s=5.0)
    ax = duration_distribution(frame, by="target")
    assert len(labels(ax)) == 14
    assert "Not shown: 386 groups with 386 cycles." in words(ax)


def test_only_some_dots_of_many_are_drawn_and_the_picture_says_so() -> None:
    ax = tokens_per_s_distribution(drawn_cycles(9000))
    dots = max((line for line in ax.lines if line.get_marker() == "."), key=lambda line: len(line.get_xdata()))
    assert 200 <= len(dots.get_xdata()) <= 400
    assert "at most 400 cycles are dots" in words(ax)
    assert len(verts(ax, GREEN)) == 1


def test_a_picture_is_the_same_each_time() -> None:
    frame = drawn_cycles(500)
    first, second = (duration_distribution(frame) for _ in range(2))
    for one, other in zip(first.lines, second.lines, strict=True):
        assert np.array_equal(one.get_xydata(), other.get_xydata())


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no column mood"):
        duration_distribution(drawn_cycles(5), by="mood")
    with pytest.raises(ValueError, match="no column tokens_per_s"):
        tokens_per_s_distribution(pd.DataFrame({"model": ["a"]}))
