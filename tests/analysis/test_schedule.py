"""Days against CodeWorm's schedule, and what a day that is not over will come to."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom
from support.rated import at, traffic_of

from codeworm_monitor import open_recording
from codeworm_monitor.analysis.schedule import _interval, schedule
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.errors import MissingExtraError

FORECAST = ["forecast", "forecast_low", "forecast_high"]


def every(step: str, since: str, until: str) -> dict[str, pd.DatetimeIndex]:
    """Return cycles that are committed at even steps, and began a minute before."""
    ended = pd.date_range(since, until, freq=step, inclusive="left")
    return {"ended_at": ended, "started_at": ended - pd.Timedelta("1min")}


# Days


def test_days_are_those_of_the_zone_and_are_judged_alike_however_long_they_are() -> None:
    traffic = traffic_of(
        every("11min", "2026-10-23T22:05Z", "2026-10-26T22:59Z"), "2026-10-23T22:00Z", "2026-10-26T23:00Z"
    )
    found = schedule(traffic, zone="Europe/Berlin")
    assert found["day"].tolist() == ["2026-10-24", "2026-10-25", "2026-10-26"]
    assert ((found["ended_at"] - found["started_at"]) / pd.Timedelta("1h")).tolist() == [24, 25, 24]
    assert found["commits"].tolist() == [131, 136, 131]
    assert found["is_whole"].all()
    assert not found["is_running"].any()
    assert found["verdict"].tolist() == ["within"] * 3
    assert found[FORECAST].isna().all(axis=None)
    assert found.attrs["zone"] == "Europe/Berlin"
    assert found.attrs["picture"] == "schedule"
    assert schedule(traffic, zone="Europe/Berlin", target=(132, 135))["verdict"].tolist() == ["below", "above", "below"]


def test_a_day_that_begins_late_or_goes_on_is_not_whole() -> None:
    found = schedule(
        traffic_of(every("11min", "2026-11-20T06:00Z", "2026-11-22T06:00Z"), "2026-11-20T06:00", "2026-11-22T06:00"),
        zone="UTC",
    )
    assert found["covered"].tolist() == [0.75, 1, 0.25]
    assert found["is_whole"].tolist() == [False, True, False]
    assert found["is_running"].tolist() == [False, False, True]
    assert found["verdict"].astype(object).where(found["verdict"].notna(), None).tolist() == [None, "within", None]


@pytest.mark.parametrize(
    ("count", "hole_minutes", "verdict"),
    [
        (119, 0, "below"),
        (120, 0, "within"),
        (144, 0, "within"),
        (145, 0, "above"),
        (145, 300, "above"),  # more cannot make it less
        (118, 9, "below"),  # one at most is missing
        (119, 9, None),  # and that one would do
        (118, 10, None),  # two at its ends
        (130, 60, "within"),
        (140, 60, None),
    ],
)
def test_a_verdict_is_given_where_what_was_not_heard_could_not_change_it(
    count: int, hole_minutes: int, verdict: str | None
) -> None:
    start, end = at("2026-11-22T00:00"), at("2026-11-22T00:00") + timedelta(minutes=hole_minutes)
    begun = pd.date_range("2026-11-21", periods=20, freq="10min", tz="UTC")  # keeps to the minimum
    ended = pd.date_range("2026-11-22T12:00", periods=count, freq="1s", tz="UTC")
    outcomes = ["failed"] * len(begun) + ["committed"] * count
    cycles = {"ended_at": begun.append(ended), "started_at": begun.append(begun[:1].repeat(count)), "outcome": outcomes}
    holes = [(start.isoformat(), end.isoformat())] if hole_minutes else []
    cycles["started_at"] = [*begun, *[None] * count]
    found = schedule(traffic_of(cycles, "2026-11-21", "2026-11-23", holes), zone="UTC").iloc[-1]
    assert found["commits"] == count
    assert (None if pd.isna(found["verdict"]) else found["verdict"]) == verdict


def test_where_starts_do_not_keep_their_distance_a_hole_may_hide_any_number() -> None:
    cycles = every("1min", "2026-11-22T12:00Z", "2026-11-22T13:00Z")
    hole = ("2026-11-22T05:00", "2026-11-22T05:01")
    found = schedule(traffic_of(cycles, "2026-11-22", "2026-11-23", [hole]), zone="UTC").iloc[0]
    assert found["commits"] == 60
    assert pd.isna(found["verdict"])
    assert schedule(traffic_of(cycles, "2026-11-22", "2026-11-23"), zone="UTC")["verdict"].item() == "below"


# Gaps


def test_gaps_are_between_commits_made_without_a_hole_between_them() -> None:
    traffic = traffic_of(
        {
            "ended_at": [
                "2026-11-21T23:55:00",
                "2026-11-22T00:06:00",  # 11 min
                "2026-11-22T00:15:59",  # 9 min 59 s
                "2026-11-22T00:25:59",  # 10 min
                "2026-11-22T02:00:00",  # after a hole
                None,  # committed, but nobody knows when
                "2026-11-22T04:00:00",
                "2026-11-22T05:02:00",  # made an hour later, and pushed for two minutes
            ],
            "started_at": [
                "2026-11-21T23:50",
                "2026-11-22T00:00",
                "2026-11-22T00:09",
                "2026-11-22T00:20",
                "2026-11-22T01:30",
                "2026-11-22T03:00",
                "2026-11-22T03:30",
                "2026-11-22T04:30",
            ],
            "push_s": [None, None, 0, None, None, None, None, 120],
        },
        "2026-11-21T12:00",
        "2026-11-23T00:00",
        [("2026-11-22T01:00", "2026-11-22T01:01")],
    )
    found = schedule(traffic, zone="UTC").set_index("day")
    assert found["commits"].tolist() == [1, 7]
    assert found["gaps"].tolist() == [0, 4]
    one = found.loc["2026-11-22"]
    assert one[["under_min", "under_min_share", "starts_under_min"]].tolist() == [1, 0.25, 1]
    assert one[["gap_p50_s", "gap_max_s"]].tolist() == [(660 + 600) / 2, 3600]
    assert found.loc["2026-11-21", ["under_min_share", "gap_p50_s", "gap_max_s"]].isna().all()
    assert schedule(traffic, zone="UTC", min_gap="9min")["under_min"].sum() == 0
    assert schedule(traffic, zone="UTC", min_gap=timedelta(minutes=12)).attrs["min_gap_s"] == 720


seconds = st.lists(st.integers(0, 3 * 86_400 - 1), max_size=25, unique=True)
spans = st.lists(st.tuples(st.integers(0, 3 * 86_400), st.integers(1, 20_000)), max_size=3)


@given(seconds, spans, st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]))
def test_commits_and_gaps_are_those_counted_one_by_one(
    made: list[int], holes: list[tuple[int, int]], zone: str
) -> None:
    start = at("2026-10-31T00:00")

    def time(second: int) -> pd.Timestamp:
        return pd.Timestamp(start + timedelta(seconds=second))

    until = start + timedelta(days=3)
    heard = [(time(a).isoformat(), time(min(a + n, 3 * 86_400)).isoformat()) for a, n in holes if a < 3 * 86_400]
    traffic = traffic_of({"ended_at": [time(second) for second in made]}, start, until, heard)
    found = schedule(traffic, zone=zone, min_gap="1h").set_index("day")
    place = ZoneInfo(zone)
    days: dict[str, list[int]] = {day: [] for day in found.index}
    commits = dict.fromkeys(found.index, 0)
    for second in made:
        commits[time(second).astimezone(place).date().isoformat()] += 1
    for a, b in pairwise(sorted(made)):
        if not any(first <= b and a <= min(first + n, 3 * 86_400) for first, n in holes):
            days[time(b).astimezone(place).date().isoformat()].append(b - a)
    assert found["commits"].to_dict() == commits
    for day, gaps in days.items():
        one = found.loc[day]
        assert one["gaps"] == len(gaps)
        assert one["under_min"] == sum(gap < 3600 for gap in gaps)
        assert one["gap_p50_s"] == pytest.approx(np.median(gaps) if gaps else np.nan, nan_ok=True)
        assert one["gap_max_s"] == pytest.approx(max(gaps, default=np.nan), nan_ok=True)
    running = found[found["is_running"]]
    assert len(running) == (zone != "UTC")
    for one in running.to_dict("records"):
        assert one["commits"] <= one["forecast_low"] <= one["forecast"] <= one["forecast_high"]


def test_a_zone_may_be_one_that_has_rules_and_no_name() -> None:
    cycles = every("12min", "2026-10-23T22:00Z", "2026-10-26T12:00Z")
    traffic = traffic_of(cycles, "2026-10-23T22:00Z", "2026-10-26T12:00Z")
    ruled, named = (schedule(traffic, zone=zone) for zone in (tz.tzstr("CET-1CEST,M3.5.0,M10.5.0/3"), "Europe/Berlin"))
    pd.testing.assert_frame_equal(ruled, named)
    assert "zone" not in ruled.attrs


# Forecasts


def test_the_forecast_learns_which_hours_of_the_day_are_quiet() -> None:
    days = pd.date_range("2026-11-10", periods=10, freq="1D", tz="UTC")
    busy = [time for day in days for time in pd.date_range(day + pd.Timedelta("12h"), periods=66, freq="10min")]
    for hour, left in ((6, 66), (12, 66), (17, 36), (23, 0)):
        now = at("2026-11-20T00:00") + timedelta(hours=hour)
        today = pd.date_range("2026-11-20T12:00Z", periods=66, freq="10min")
        times = pd.DatetimeIndex([*busy, *today[today < now]])
        cycles = {"ended_at": times, "started_at": times - pd.Timedelta("1min")}
        found = schedule(traffic_of(cycles, "2026-11-10T00:00", now), zone="UTC").iloc[-1]
        assert found["commits"] == 66 - left
        assert found["forecast"] == pytest.approx(66, abs=7)
        assert found["forecast_low"] <= 66 <= found["forecast_high"]
        assert found["forecast_high"] - found["forecast_low"] < max(8, left)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(20261122)
    start, held, widths = at("2026-11-01T00:00"), 0, []
    for number in range(60):
        scale = rng.uniform(4, 12)
        times = start + pd.to_timedelta(np.sort(rng.uniform(0, 6 * 86_400, rng.poisson(scale * 144))), unit="s")
        now = start + timedelta(days=5, hours=1 + number % 23)
        known = times[times < now]
        cycles = {"ended_at": known, "started_at": known - pd.Timedelta("1min")}
        found = schedule(traffic_of(cycles, start, now), zone="UTC").iloc[-1]
        truth = int((times >= found["started_at"]).sum())
        held += found["forecast_low"] <= truth <= found["forecast_high"]
        widths.append((found["forecast_high"] - found["forecast_low"]) / np.sqrt(found["forecast"] - found["commits"]))
    assert held / 60 >= 0.9
    assert 3.9 < np.median(widths) < 6  # 3.92 if the rates were known


def test_outages_of_the_past_widen_the_interval() -> None:
    steady = every("12min", "2026-11-10T00:00Z", "2026-11-20T08:00Z")["ended_at"]
    is_out = (steady.day % 2 == 0) & (steady.hour >= 9) & (steady.hour < 18)
    widths = []
    for times, expected in ((steady, 120), (steady[~is_out], 120 - 9 * 5 / 2)):
        cycles = {"ended_at": times, "started_at": times - pd.Timedelta("1min")}
        found = schedule(traffic_of(cycles, "2026-11-10T00:00", "2026-11-20T08:00"), zone="UTC").iloc[-1]
        assert found["forecast"] == pytest.approx(expected, abs=4)
        widths.append(found["forecast_high"] - found["forecast_low"])
    assert widths[1] > 1.5 * widths[0]


def test_what_was_not_heard_of_the_day_so_far_is_expected_too() -> None:
    cycles = every("12min", "2026-11-10T00:00Z", "2026-11-20T12:00Z")
    is_heard = ~((cycles["ended_at"] >= at("2026-11-20T02:00")) & (cycles["ended_at"] < at("2026-11-20T10:00")))
    some = {name: times[is_heard] for name, times in cycles.items()}
    hole = ("2026-11-20T02:00", "2026-11-20T10:00")
    found = schedule(traffic_of(some, "2026-11-10T00:00", "2026-11-20T12:00", [hole]), zone="UTC").iloc[-1]
    assert found["commits"] == 20
    assert found["forecast"] == pytest.approx(120, abs=3)


def test_of_next_to_nothing_the_forecast_is_the_schedule_s_within_what_the_minimum_leaves_room_for() -> None:
    found = schedule(traffic_of(None, "2026-11-22T00:00", "2026-11-22T00:00"), zone="UTC").iloc[0]
    assert found["commits"] == 0
    assert found["forecast"] == pytest.approx(132)
    assert found["forecast_high"] == 144 + 1
    assert found["forecast_low"] < 20
    late = schedule(traffic_of(None, "2026-11-22T23:45", "2026-11-22T23:50"), zone="UTC", target=(1, 3)).iloc[0]
    assert late["forecast_low"] == 0


def test_a_fast_schedule_is_forecast_as_it_is() -> None:
    cycles = every("30s", "2026-11-22T20:00Z", "2026-11-22T22:00Z")
    found = schedule(traffic_of(cycles, "2026-11-22T00:00", "2026-11-22T22:00"), zone="UTC").iloc[0]
    assert found["commits"] == 240
    assert found["verdict"] == "above"
    assert found["forecast"] > 240
    assert found["forecast_high"] > 240 + 2 * 6 + 1


def test_the_day_is_forecast_in_the_zone_s_own_hours_when_the_clocks_change() -> None:
    cycles = every("12min", "2026-10-20T22:00Z", "2026-10-24T22:00Z")
    found = schedule(traffic_of(cycles, "2026-10-20T22:00Z", "2026-10-24T22:00Z"), zone="Europe/Berlin")
    assert not found["is_running"].any()
    one = schedule(traffic_of(cycles, "2026-10-20T22:00Z", "2026-10-24T22:01Z"), zone="Europe/Berlin").iloc[-1]
    assert one["day"] == "2026-10-25"
    assert one["forecast"] == pytest.approx(125, abs=3)  # five in each of 25 hours


@given(st.floats(0.01, 1e5), st.floats(1e-3, 1e3))
def test_the_interval_is_that_of_the_negative_binomial_distribution(mean: float, excess: float) -> None:
    variance = mean * (1 + excess)
    middle, low, high = _interval(mean, variance, np.inf)
    known = nbinom(mean**2 / (variance - mean), mean / variance).ppf([0.025, 0.975])
    assert middle == mean
    assert (low, high) == (known[0], max(known[1], np.ceil(mean)))
    assert _interval(mean, variance, 3.0).max() <= 3


def test_without_scipy_only_a_running_day_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    cycles = every("12min", "2026-11-20T00:00Z", "2026-11-21T00:00Z")
    assert len(schedule(traffic_of(cycles, "2026-11-20", "2026-11-21"), zone="UTC")) == 1
    with pytest.raises(MissingExtraError, match="scipy"):
        schedule(traffic_of(cycles, "2026-11-20", "2026-11-20T12:00"), zone="UTC")


# Arguments


def test_of_nothing_there_are_no_days() -> None:
    empty = schedule(traffic_of(None, None, None))
    full = schedule(traffic_of(None, "2026-11-20", "2026-11-21"), zone="UTC")
    assert empty.empty
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert full["commits"].tolist() == [0]
    assert full["verdict"].tolist() == ["below"]


@pytest.mark.parametrize("target", [(144, 120), (-1, 5), (0, 0)])
def test_a_target_that_is_none_is_refused(target: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"such as \(120, 144\)"):
        schedule(traffic_of(None, "2026-11-20", "2026-11-21"), target=target)


@pytest.mark.parametrize("min_gap", ["ten", "0min", "-1min", 10, timedelta(0), "3 fortnights"])
def test_a_gap_that_is_none_is_refused(min_gap: str) -> None:
    with pytest.raises(ValueError, match="write 10min"):
        schedule(traffic_of(None, "2026-11-20", "2026-11-21"), min_gap=min_gap)


# Recordings


def test_a_recording_s_commits_and_gaps_are_those_its_messages_tell(recording: Path) -> None:
    with open_recording(recording) as rec:
        traffic = Traffic.of(logs=rec.logs.df, events=rec.events.df, stats=rec.stats.df, gaps=rec.gaps)
    with gzip.open(recording, "rt") as lines:
        told = [json.loads(one["payload"]) for one in map(json.loads, lines) if one["channel"] == "codeworm:logs"]
    made = [pd.Timestamp(one["timestamp"]) for one in told if one["event"] == "documentation_committed"]
    gaps = np.diff(np.array([time.value for time in made])) / 1e9
    found = schedule(traffic, zone="America/New_York").iloc[0]
    assert found["day"] == "2026-11-22"
    assert found["commits"] == len(made)
    assert found["under_min"] == found["gaps"] == len(gaps)
    assert found["under_min_share"] == 1  # recordings run a faster schedule
    assert found[["gap_p50_s", "gap_max_s"]].tolist() == pytest.approx([np.median(gaps), gaps.max()], abs=0.05)
    assert found["is_running"]
    assert found["forecast_low"] > found["commits"]
