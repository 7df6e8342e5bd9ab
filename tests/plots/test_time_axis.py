"""Times in the viewer's zone, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from support.seen import assert_legible

from codeworm_monitor.plots.time_axis import days, edges, span, time_axis, zone_label

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]


def day(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() / 86_400


def axes(width: float = 9.0):
    figure = Figure(figsize=(width, 3), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def labels(ax) -> list[tuple[datetime, str]]:
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    return [
        (datetime.fromtimestamp(round(tick.get_loc() * 86_400, 3), UTC), tick.label1.get_text())
        for tick in ax.xaxis.get_major_ticks()
        if low <= tick.get_loc() <= high
    ]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("hours", [0.02, 1, 6, 30, 200, 2000, 20_000])
@pytest.mark.parametrize("begin", ["2026-10-24T18:00+00:00", "2026-03-28T20:00+00:00"])
def test_labels_tell_the_clock_of_the_zone(zone: str, hours: float, begin: str) -> None:
    ax = axes()
    time_axis(ax, day(begin), day(begin) + hours / 24, ZoneInfo(zone))
    told = labels(ax)
    assert 2 <= len(told) <= 12
    for moment, text in told:
        local = moment.astimezone(ZoneInfo(zone))
        first = text.partition("\n")[0]
        said = {local.strftime(form) for form in ("%H:%M:%S", "%H:%M", "%d %b", "%b", "%Y")}
        assert first in said
        assert local.second % 5 == 0
    assert str(told[0][0].astimezone(ZoneInfo(zone)).year) in told[0][1]
    assert_legible(ax)


def test_an_hour_that_comes_twice_is_told_apart() -> None:
    ax = axes()
    time_axis(ax, day("2026-10-25T00:00+00:00"), day("2026-10-25T03:00+00:00"), BERLIN)
    told = labels(ax)
    assert [text.partition("\n")[0] for _, text in told].count("02:00") >= 1
    assert any("CET" in text for _, text in told)
    assert ax.get_xlabel() == "time, Europe/Berlin (CEST, CET)"


def test_a_narrow_axis_has_fewer_labels() -> None:
    ax = axes(3.0)
    time_axis(ax, day("2026-10-24T18:00+00:00"), day("2026-10-26T18:00+00:00"), BERLIN)
    assert len(labels(ax)) <= 4
    assert_legible(ax)


@pytest.mark.parametrize(
    ("zone", "label"),
    [
        (BERLIN, "Europe/Berlin (CEST)"),
        (ZoneInfo("UTC"), "UTC"),
        (UTC, "UTC"),
        (tz.tzoffset("CEST", 7200), "CEST"),
        (tz.tzoffset("$x$\n\x00", 3600), r"\$x\$"),
    ],
)
def test_what_a_zone_is_called(zone, label: str) -> None:
    assert zone_label(zone, day("2026-07-01T00:00+00:00"), day("2026-07-02T00:00+00:00")) == label


def test_times_that_no_clock_of_a_daemon_shows_are_missing() -> None:
    times = pd.Series(np.array(["0001-01-01", "NaT", "2026-01-01", "9999-12-31"], "datetime64[us]")).dt.tz_localize(
        "UTC"
    )
    assert np.isnan(days(times)).tolist() == [True, True, False, True]
    assert days(pd.Series([], dtype="datetime64[us, UTC]")).tolist() == []


@pytest.mark.parametrize("until", ["2026-10-13T06:30:00+00:00", "2026-10-13T06:30:00.123456+00:00"])
def test_a_picture_shows_the_stretch_of_its_answer(until: str) -> None:
    frame = pd.DataFrame()
    frame.attrs = {"since": "2026-10-12T06:30:00+00:00", "until": until}
    assert span(frame, np.array([day("2026-10-12T12:00+00:00")])) == (day(frame.attrs["since"]), day(until))
    # By a clock that is years off nothing is within: then the times themselves are shown.
    assert span(frame, np.array([day("2020-01-01T00:00+00:00"), day("2020-01-02T00:00+00:00")])) == (18262.0, 18263.0)


def test_nothing_has_no_stretch_and_one_moment_has_some() -> None:
    assert span(pd.DataFrame(), np.array([np.nan])) is None
    begin, end = span(pd.DataFrame(), np.array([18262.0]))
    assert begin < 18262.0 < end


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)),
    st.floats(0.001, 4000),
    st.sampled_from(ZONES),
    st.integers(5, 200),
)
def test_round_stretches_cover_everything_and_begin_where_the_clock_is_round(
    begin: datetime, length: float, zone: str, most: int
) -> None:
    first = begin.replace(tzinfo=UTC).timestamp() / 86_400
    found, called = edges(first, first + length, ZoneInfo(zone), most)
    assert found[0] <= first
    assert found[-1] >= first + length
    assert (np.diff(found) > 0).all()
    assert len(found) - 1 <= most + 2
    inner = [datetime.fromtimestamp(round(edge * 86_400, 3), UTC).astimezone(ZoneInfo(zone)) for edge in found[1:-1]]
    if called.endswith("d") or called == "24 h":
        # Or right behind it, where the clock skips midnight.
        assert all(moment.hour * 60 + moment.minute <= 60 for moment in inner)
    else:
        assert all(moment.second == 0 for moment in inner)


def test_a_day_in_which_the_clock_changes_is_one_stretch() -> None:
    found, called = edges(day("2026-10-20T00:00+02:00"), day("2026-10-30T00:00+01:00"), BERLIN, 13)
    assert called == "24 h"
    hours = np.diff(found) * 24
    assert sorted(set(np.round(hours).astype(int))) == [24, 25]
    local = [datetime.fromtimestamp(edge * 86_400, UTC).astimezone(BERLIN) for edge in found]
    assert {moment.time() for moment in local} == {datetime.min.time()}
