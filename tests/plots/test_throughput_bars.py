"""Throughput: bars that are the counts, beside what the schedule has room for."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from support.rated import traffic_of
from support.seen import verts, words

from codeworm_monitor.analysis.rates import throughput as asked
from codeworm_monitor.plots import throughput
from codeworm_monitor.plots.buckets import GROUPS
from codeworm_monitor.plots.palette import BLUE, GREY


def held(count: int = 400, *, holes=(), repos=("a",), since="2026-10-20T00:00+02:00", until="2026-10-30T00:00+01:00"):
    times = pd.date_range(*pd.to_datetime([since, until], utc=True), periods=count + 2)[1:-1]
    return traffic_of(
        {"ended_at": list(times.astype(str)), "repo": [repos[i % len(repos)] for i in range(count)]},
        since,
        until,
        holes,
    )


def shades(ax) -> np.ndarray:
    """Return the band as left, right, bottom, top."""
    band = next(one for one in ax.collections if one.get_alpha() == 0.3)
    return np.array([(*path.vertices[[0, 1], 0], *path.vertices[[0, 2], 1]) for path in band.get_paths()])


def test_a_bar_is_as_high_as_its_count() -> None:
    frame = asked(held(), every="1d", zone="Europe/Berlin")
    ax = throughput(frame)
    found = verts(ax, BLUE)
    assert found[:, 3] == pytest.approx(frame["committed"])
    assert "400 documents in all" in words(ax)
    assert "Europe/Berlin (CEST, CET)" in ax.get_xlabel()


def test_the_band_is_of_the_days_true_length() -> None:
    ax = throughput(asked(held(), every="1d", zone="Europe/Berlin"))
    band = shades(ax)
    hours = np.round((band[:, 1] - band[:, 0]) * 24)
    assert sorted(set(hours)) == [24, 25]
    assert band[:, 2] == pytest.approx(120 * hours / 24)
    assert band[:, 3] == pytest.approx(144 * hours / 24)
    assert shades(throughput(asked(held(), every="6h", zone="UTC")))[:, 3] == pytest.approx([36] * 41)


def test_another_schedule_can_be_drawn() -> None:
    ax = throughput(asked(held(), every="1d", zone="UTC"), target=(10, 20))
    assert "10\N{EN DASH}20 a day" in words(ax)


def test_the_largest_groups_are_stacked_and_the_others_taken_together() -> None:
    repos = [f"r{i}" for i in range(8)]
    frame = asked(held(800, repos=repos), every="1d", by="repo", zone="Europe/Berlin")
    ax = throughput(frame)
    tops = [verts(ax, look.colour)[:, 3] for look in GROUPS]
    assert all((above >= below).all() for below, above in pairwise(tops))
    assert "3 others" in words(ax)
    assert verts(ax, GREY)[:, 3] == pytest.approx(frame.groupby("started_at")["committed"].sum())


def test_what_was_not_heard_is_hatched_and_estimated_where_enough_was() -> None:
    holes = [("2026-10-22T00:00+02:00", "2026-10-22T12:00+02:00"), ("2026-10-24T00:00+02:00", "2026-10-25T00:00+02:00")]
    ax = throughput(asked(held(holes=holes), every="1d", zone="Europe/Berlin"))
    assert "partly heard" in words(ax)
    assert "not heard" in words(ax)
    rings = next(line for line in ax.lines if line.get_marker() == "o")
    frame = asked(held(holes=holes), every="1d", zone="Europe/Berlin")
    assert rings.get_ydata() == pytest.approx([frame["committed"].iloc[2] * 2])


def test_thousands_of_stretches_are_taken_together() -> None:
    traffic = held(5000, since="2026-01-01T00:00+00:00", until="2026-12-01T00:00+00:00")
    frame = asked(traffic, every=timedelta(hours=1), zone="UTC")
    ax = throughput(frame)
    found = verts(ax, BLUE)
    assert len(found) <= 200
    assert found[:, 3].sum() == frame["committed"].sum() == 5000
    assert "of the answer's stretches together" in words(ax)


def test_the_answers_own_zone_is_that_of_the_picture() -> None:
    frame = asked(held(), every="1d", zone="Asia/Kathmandu")
    assert "Asia/Kathmandu" in throughput(frame).get_xlabel()
    assert throughput(frame, zone="UTC").get_xlabel() == "time, UTC"
