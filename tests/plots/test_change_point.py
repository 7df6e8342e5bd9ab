"""Slowdown: the evidence as dots, and the change where it was found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.pictures import traffic
from support.seen import words

from codeworm_monitor.analysis.slowdown import slowdown as asked
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.plots import slowdown


def slower() -> pd.DataFrame:
    """Return the answer of cycles that became half as fast in the middle."""
    cycles = traffic("months").found["cycles"].iloc[:1500].copy()
    cycles.loc[cycles.index >= 750, "generate_s"] *= 2
    held = Traffic.of(
        since=cycles["started_at"].iloc[0].to_pydatetime(), until=cycles["started_at"].iloc[-1].to_pydatetime()
    )
    held.found["cycles"] = cycles
    return asked(held)


def test_the_change_is_drawn_where_it_was_found_with_both_levels() -> None:
    frame = slower()
    assert frame["verdict"].iloc[0] == "slower"
    ax = slowdown(frame, zone="UTC")
    assert ax.get_title(loc="left") == "Generation has become slower"
    assert f"{frame['ratio'].iloc[0]:.2f} times as long as before" in words(ax)
    since = frame["since"].iloc[0].timestamp() / 86_400
    across = [path.vertices for one in ax.collections for path in one.get_paths() if len(path.vertices) == 2]
    assert any(line[:, 0] == pytest.approx([since, since]) for line in across)
    level = np.log2(frame["ratio"].iloc[0])
    assert any(line[:, 1] == pytest.approx([level, level]) and line[0, 0] == pytest.approx(since) for line in across)
    assert any(line[:, 1] == pytest.approx([0, 0]) and line[1, 0] == pytest.approx(since) for line in across)


def test_groups_that_changed_have_a_lane() -> None:
    frame = slower()
    changed = frame.iloc[1:][frame["verdict"].iloc[1:].isin(["slower", "faster", "was_slower", "was_faster"])]
    assert len(changed)
    said = words(slowdown(frame, zone="UTC"))
    for row in changed.head(8).to_dict("records"):
        assert f"{row['doc_type']} {row['ratio']:.2f}\N{MULTIPLICATION SIGN}" in said


def test_every_cycle_of_the_evidence_is_drawn() -> None:
    frame = slower()
    ax = slowdown(frame, zone="UTC")
    dots = sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() in {".", "^", "v"})
    assert dots == len(frame.attrs["points"]["at"])


def test_a_steady_generation_has_no_change_in_it() -> None:
    ax = slowdown(asked(traffic("months")), zone="UTC")
    assert ax.get_title(loc="left") == "Generation is as fast as it was"
    assert "level before and after" not in words(ax)


def test_points_that_are_none_are_not_drawn() -> None:
    frame = slower()
    frame.attrs["points"] = {"at": ["2026-10-13T00:00:00+00:00", "never", "2026-10-14"], "relative": [1.0, 1.0, -2.0]}
    ax = slowdown(frame.iloc[:1], zone="UTC")
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == ".") == 1


def test_without_its_evidence_there_is_nothing_to_draw() -> None:
    frame = slower()
    frame.attrs = {}
    assert "No cycle" in words(slowdown(frame))
