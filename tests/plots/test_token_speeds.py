"""Tokens: the answer's speeds, and how many there were."""

from __future__ import annotations

import pytest
from support.pictures import traffic
from support.seen import verts, words

from codeworm_monitor.analysis.rates import tokens as asked
from codeworm_monitor.plots import tokens
from codeworm_monitor.plots.palette import GREY


def test_of_one_stretch_each_group_is_a_row_with_its_tokens() -> None:
    frame = asked(traffic("day"), by="repo").sort_values("tokens", ascending=False, kind="stable")
    ax = tokens(frame)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        f"{row['repo']}  ({row['tokens']:,.0f} tokens)" for row in frame.to_dict("records")
    ]
    points = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert points == pytest.approx(frame["tokens_per_s_p50"].tolist())


def test_along_the_time_the_lane_is_the_tokens_and_the_points_are_the_speeds() -> None:
    frame = asked(traffic("day"), every="2h", zone="UTC")
    ax = tokens(frame)
    found = verts(ax, GREY)
    height = found[:, 3] - found[:, 2]
    assert height / height.max() == pytest.approx(frame["tokens"] / frame["tokens"].max())
    assert f"up to {frame['tokens'].max():,.0f}" in words(ax)
    assert f"{frame['tokens'].sum():,.0f} tokens in all" in words(ax)
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert points.get_ydata() == pytest.approx(frame["tokens_per_s_p50"].tolist(), nan_ok=True)
    assert max(ax.get_yticks()) <= frame["tokens_per_s_p90"].max() * 1.1
