"""The schedule: each day beside the plan, with what is expected of today."""

from __future__ import annotations

import numpy as np
import pytest
from support.rated import traffic_of
from support.seen import verts, words

from codeworm_monitor.analysis.schedule import schedule as asked
from codeworm_monitor.plots import schedule
from codeworm_monitor.plots.palette import BLUE, GREEN, GREY, RED


def held(*counts: int, until: str = "2026-10-28T12:00+01:00"):
    """Return traffic from 24 October on in Berlin, with some commits on each day."""
    times = []
    for day, count in enumerate(counts):
        times += [
            f"2026-10-{24 + day}T{6 + i * 0.1 // 1:02.0f}:{(i * 6) % 60:02d}+00:00" for i in range(min(count, 150))
        ]
    return traffic_of({"ended_at": times, "started_at": times}, "2026-10-24T00:00+02:00", until)


def test_a_day_is_as_high_as_its_commits_and_looks_like_its_verdict() -> None:
    frame = asked(held(130, 20, 150, 130, 40), zone="Europe/Berlin")
    ax = schedule(frame)
    assert verts(ax, GREEN)[:, 3].tolist() == [130, 130]
    assert verts(ax, RED)[:, 3].tolist() == [20]
    assert verts(ax, BLUE)[:, 3].tolist() == [150]
    said = words(ax)
    assert all(verdict in said for verdict in ("below", "within", "above"))
    assert "120\N{EN DASH}144" in said
    assert "Europe/Berlin (CEST, CET)" in ax.get_xlabel()


def test_the_day_of_25_hours_is_one_bar() -> None:
    frame = asked(held(130, 130, 130, until="2026-10-27T00:00+01:00"), zone="Europe/Berlin")
    boxes = verts(schedule(frame), GREEN)
    assert len(boxes) == 3
    assert (boxes[:, 1] - boxes[:, 0]) * 24 / 0.8 == pytest.approx([24, 25, 24])


def test_the_running_day_has_its_forecast_with_an_interval() -> None:
    frame = asked(held(130, 130, 130, 130, 60), zone="Europe/Berlin")
    ax = schedule(frame)
    today = frame.iloc[-1]
    assert f"forecast: {today['forecast']:.0f}" in words(ax)
    mark = next(line for line in ax.lines if line.get_marker() == "D")
    assert mark.get_ydata() == pytest.approx([today["forecast"]])
    whiskers = [
        path.vertices[:, 1].tolist() for one in ax.collections for path in one.get_paths() if len(path.vertices) == 2
    ]
    assert [today["forecast_low"], today["forecast_high"]] in [pytest.approx(one) for one in whiskers]


def test_a_day_that_was_heard_in_part_is_not_judged_and_hatched() -> None:
    frame = asked(held(60), zone="Europe/Berlin")
    frame["verdict"] = np.nan
    ax = schedule(frame.assign(covered=[0.5, *[0.0] * (len(frame) - 1)]))
    assert verts(ax, GREY)[0, 3] == 60
    assert all(label in words(ax) for label in ("not judged", "partly heard", "not heard"))


def test_the_lane_tells_how_many_gaps_were_too_short() -> None:
    frame = asked(held(130, 130), zone="Europe/Berlin")
    most = frame["under_min_share"].max()
    assert most > 0
    assert f"gaps under 10 min, up to {most * 100:.0f} %" in words(schedule(frame))
    assert "no gap under 10 min" in words(schedule(frame.assign(under_min_share=0.0)))


def test_no_day_is_said() -> None:
    assert "No day" in words(schedule(asked(held(10), zone="UTC").iloc[:0]))
