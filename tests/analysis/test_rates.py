"""Rates, against counts done one by one, and buckets that follow the clock of a zone."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from dateutil import tz
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from support.rated import at, traffic_of

from codeworm_monitor import open_recording
from codeworm_monitor.analysis.cycles import OUTCOMES, cycles
from codeworm_monitor.analysis.rates import (
    GROUPS,
    STAGES,
    bucket_edges,
    durations,
    success_rate,
    throughput,
    tokens,
    wilson,
)
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.moments import time_of

COUNTS = [*OUTCOMES, "unknown"]
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "Pacific/Apia",
]


def edges(since: str, until: str, every: str | timedelta, zone: str | tzinfo) -> list[datetime]:
    place = ZoneInfo(zone) if isinstance(zone, str) else zone
    return [time_of(int(edge)).astimezone(place) for edge in bucket_edges(at(since), at(until), every, place)]


def hours(found: list[datetime]) -> list[float]:
    return [(b.astimezone(UTC) - a.astimezone(UTC)) / timedelta(hours=1) for a, b in pairwise(found)]


def said(found: list[datetime]) -> list[str]:
    return [edge.strftime("%d %H:%M") for edge in found]


# Buckets


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-06-01", 24),
        ("America/New_York", "2026-03-08", 23),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Africa/Cairo", "2026-04-24", 23),  # there is no midnight: the day begins at one
        ("America/Havana", "2026-11-01", 25),  # midnight comes twice
        ("America/St_Johns", "2006-10-29", 25),  # a minute after midnight it is the day before again
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, length: float) -> None:
    since = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).isoformat()
    found = edges(since, since, "1d", zone)
    assert hours(found) == [length]
    assert found[0].date().isoformat() == day


@pytest.mark.parametrize(("day", "count"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
@pytest.mark.parametrize("zone", [BERLIN, tz.gettz("Europe/Berlin")], ids=["zoneinfo", "dateutil"])
def test_a_day_has_as_many_hours_as_pass_in_it(zone: tzinfo, day: str, count: int) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    found = edges(midnight.isoformat(), (midnight + timedelta(days=1)).isoformat(), "1h", zone)
    assert hours(found) == [1] * count
    assert {edge.minute for edge in found} == {0}


def test_buckets_longer_than_an_hour_stay_with_the_clock_when_it_is_set() -> None:
    assert hours(edges("2026-03-28T23:00Z", "2026-03-29T22:00Z", "6h", "Europe/Berlin")) == [5, 6, 6, 6]
    assert hours(edges("2026-10-24T22:00Z", "2026-10-25T23:00Z", "2h", "Europe/Berlin")) == [2, 3] + [2] * 10
    assert said(edges("2026-03-28T23:00Z", "2026-03-29T03:00Z", "2h", "Europe/Berlin")) == [
        "29 00:00",
        "29 03:00",  # there is no two o'clock
        "29 04:00",
        "29 06:00",
    ]


def test_hours_are_those_of_the_zone_where_it_is_half_an_hour_off() -> None:
    assert said(edges("2026-11-22T21:56Z", "2026-11-22T23:10Z", "1h", "Asia/Kolkata")) == [
        "23 03:00",
        "23 04:00",
        "23 05:00",
    ]


def test_weeks_begin_on_monday() -> None:
    found = edges("2026-11-20T00:00Z", "2026-11-24T00:00Z", "1w", "Europe/Berlin")
    assert [edge.strftime("%a %d %H:%M") for edge in found] == ["Mon 16 00:00", "Mon 23 00:00", "Mon 30 00:00"]


def test_a_stretch_that_ends_with_a_bucket_has_no_empty_one_after_it() -> None:
    assert said(edges("2026-11-22T10:00Z", "2026-11-22T12:00Z", "1h", "UTC")) == ["22 10:00", "22 11:00", "22 12:00"]
    assert said(edges("2026-11-22T10:00Z", "2026-11-22T10:00Z", "1h", "UTC")) == ["22 10:00", "22 11:00"]


lengths = st.sampled_from(["15min", "20min", "1h", "90min", "2h", "6h", "12h", "1d", "2d", "1w"])
moments_ = st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(moments_, st.timedeltas(timedelta(0), timedelta(days=20)), lengths, st.sampled_from(ZONES))
def test_buckets_hold_the_stretch_and_begin_on_the_clock_or_where_it_was_set(
    since: datetime, span: timedelta, every: str, name: str
) -> None:
    zone = ZoneInfo(name)
    found = bucket_edges(since, since + span, every, zone)
    assert (np.diff(found) > 0).all()
    assert time_of(int(found[0])) <= since
    assert time_of(int(found[1])) > since
    assert time_of(int(found[-2])) < max(since + span, since + timedelta(microseconds=1))
    assert time_of(int(found[-1])) >= since + span
    minutes = {"15min": 15, "20min": 20, "90min": 90}.get(every) or int(every[:-1]) * {"h": 60, "d": 1440, "w": 10080}[
        every[-1]
    ]
    for edge in found:
        here = time_of(int(edge)).astimezone(zone)
        before = (time_of(int(edge)) - timedelta(microseconds=1)).astimezone(zone)
        since_monday = (here.date() - datetime(1970, 1, 5).date()).days * 1440 + here.hour * 60 + here.minute
        is_whole = not (here.second or here.microsecond) and since_monday % minutes == 0
        assert is_whole or here.utcoffset() != before.utcoffset()


@given(moments_, st.integers(0, 400), st.sampled_from(ZONES))
def test_each_day_is_one_date(since: datetime, days: int, name: str) -> None:
    zone = ZoneInfo(name)
    found = bucket_edges(since, since + timedelta(days=days), "1d", zone)
    first = [time_of(int(edge)).astimezone(zone).date() for edge in found]
    last = [time_of(int(edge) - 1).astimezone(zone).date() for edge in found]
    assert first[:-1] == last[1:]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("every", ["7h", "36h", "0h", "1M", "W-MON", "1 fortnight", "", "-1h", timedelta(0), 5, "5h"])
def test_what_is_neither_a_part_of_a_day_nor_days_is_refused(every: str) -> None:
    traffic = traffic_of(None, "2026-11-22T10:00", "2026-11-22T12:00")
    with pytest.raises(ValueError, match="is neither a part of a day"):
        throughput(traffic, every=every)


@pytest.mark.parametrize("every", ["1h", "1H", "h", "60min", timedelta(hours=1), "0.5h 30min"])
def test_a_length_may_be_spelt_as_pandas_and_people_do(every: str) -> None:
    traffic = traffic_of(None, "2026-11-22T10:00", "2026-11-22T12:00")
    assert len(throughput(traffic, every=every, zone="UTC")) == 2


def test_an_answer_of_too_many_rows_is_refused_before_it_is_made() -> None:
    traffic = traffic_of(None, "1970-01-01", "2026-11-22")
    with pytest.raises(ValueError, match="more than 500,000 buckets"):
        throughput(traffic, every="1s")
    ended = pd.date_range("2026-10-01", periods=800, freq="1h", tz="UTC")
    many = traffic_of({"ended_at": ended, "target": [f"t{i}" for i in range(800)]}, ended[0], ended[-1])
    with pytest.raises(ValueError, match="799 buckets of 800 groups are too many"):
        throughput(many, by="target")


# Throughput


def test_a_quiet_hour_is_a_row_of_noughts_and_a_hole_has_no_rate() -> None:
    traffic = traffic_of(
        {
            "ended_at": ["2026-11-22T10:10", "2026-11-22T10:59:59.999999", "2026-11-22T13:00", "2026-11-22T13:40"],
            "outcome": ["committed", "failed", "committed", None],
        },
        "2026-11-22T10:00",
        "2026-11-22T14:30",
        [("2026-11-22T12:00", "2026-11-22T13:30")],
    )
    found = throughput(traffic, zone="UTC")
    assert found["cycles"].tolist() == [2, 0, 0, 2, 0]
    assert found["committed"].tolist() == [1, 0, 0, 1, 0]
    assert found["failed"].tolist() == [1, 0, 0, 0, 0]
    assert found["unknown"].tolist() == [0, 0, 0, 1, 0]
    assert found["covered"].tolist() == [1, 1, 0, 0.5, 0.5]
    assert found["hours"].tolist() == [1, 1, 0, 0.5, 0.5]
    np.testing.assert_array_equal(found["documents_per_h"], [1, 0, np.nan, 2, 0])
    assert found["started_at"].tolist() == list(pd.date_range("2026-11-22T10:00", periods=5, freq="1h", tz="UTC"))
    assert (found["ended_at"] - found["started_at"] == pd.Timedelta("1h")).all()
    assert found.coverage == pytest.approx(1 - 1.5 / 4.5)


def test_rates_are_per_hour_that_passed_also_when_the_clocks_change() -> None:
    ended = pd.date_range("2026-10-23T22:30Z", "2026-10-26T22:30Z", freq="1h")
    traffic = traffic_of({"ended_at": ended}, "2026-10-23T22:00Z", "2026-10-26T23:00Z")
    found = throughput(traffic, every="1d", zone="Europe/Berlin")
    assert found["committed"].tolist() == [24, 25, 24]
    assert found["hours"].tolist() == [24, 25, 24]
    assert found["documents_per_h"].tolist() == [1, 1, 1]
    assert found.attrs["zone"] == "Europe/Berlin"
    assert found.attrs["picture"] == "throughput"


def test_every_group_has_a_row_in_every_bucket_and_what_is_unknown_is_a_group() -> None:
    traffic = traffic_of(
        {
            "ended_at": ["2026-11-22T10:10", "2026-11-22T11:10", "2026-11-22T11:20", "2026-11-22T11:30"],
            "repo": ["click", "httpx", None, "click"],
            "target": ["f", "g", "h", "f"],
        },
        "2026-11-22T10:00",
        "2026-11-22T12:00",
    )
    found = throughput(traffic, by="repo", zone="UTC")
    assert found["repo"].astype(object).where(found["repo"].notna(), None).tolist() == ["click", "httpx", None] * 2
    assert found["cycles"].tolist() == [1, 0, 0, 1, 1, 1]
    assert isinstance(found["repo"].dtype, pd.CategoricalDtype)
    both = throughput(traffic, by=["target", "repo", "target"], every=None)
    assert both.columns[:5].tolist() == ["started_at", "ended_at", "covered", "target", "repo"]
    assert both["cycles"].tolist() == [2, 1, 1]
    assert len(throughput(traffic, by=[], every=None)) == 1


def test_a_cycle_counts_where_it_ended_or_else_where_it_began() -> None:
    traffic = traffic_of(
        {
            "started_at": ["2026-11-22T10:50", "2026-11-22T10:55", None],
            "ended_at": ["2026-11-22T11:05", None, None],
            "outcome": ["committed", "running", None],
        },
        "2026-11-22T10:00",
        "2026-11-22T12:00",
    )
    assert throughput(traffic, zone="UTC")["cycles"].tolist() == [1, 1]


def test_a_cycle_that_the_publisher_s_clock_puts_outside_counts_at_the_edge() -> None:
    ended = ["2026-11-22T09:59:59", "2026-11-22T12:00", "2026-11-23T08:00"]
    traffic = traffic_of({"ended_at": ended}, "2026-11-22T10:00", "2026-11-22T12:00")
    assert throughput(traffic, zone="UTC")["cycles"].tolist() == [1, 2]


def test_of_nothing_there_is_nothing_and_of_silence_there_are_noughts() -> None:
    nothing, silence = traffic_of(None, None, None), traffic_of(None, "2026-11-22T10:00", "2026-11-22T12:00")
    for question in (throughput, success_rate, durations, tokens):
        for every in ("1h", None):
            empty = question(nothing, every=every)
            assert empty.empty
            some = question(silence, every=every, zone="UTC")
            assert empty.dtypes.to_dict() == some.dtypes.to_dict()
            assert some["covered"].eq(1).all()
            assert question(silence, every=every, by="repo").empty
    assert len(throughput(silence, zone="UTC")) == 2
    assert success_rate(silence)[["attempts", "uncounted"]].to_numpy().sum() == 0
    assert success_rate(silence)[["rate", "low", "high"]].isna().all(axis=None)
    assert durations(silence)["stage"].tolist() == list(STAGES)
    assert durations(silence)[["p50", "p90", "p99"]].isna().all(axis=None)
    assert tokens(silence)["tokens"].tolist() == [0.0]
    assert tokens(silence)["mean"].isna().all()


@pytest.mark.parametrize("question", [throughput, success_rate, durations, tokens])
def test_a_group_that_there_is_not_is_refused_with_those_there_are(question) -> None:
    traffic = traffic_of(None, "2026-11-22T10:00", "2026-11-22T12:00")
    for wrong in ("colour", ["repo", "commit"], [3]):
        with pytest.raises(ValueError, match="give one of repo, doc_type, language, model, outcome, target"):
            question(traffic, by=wrong)
    with pytest.raises(ValueError, match="no time zone"):
        question(traffic, zone="Berlin")


@st.composite
def drawn(draw) -> Traffic:
    """Draw cycles over two days, some of whose facts are unknown."""
    count = draw(st.integers(0, 30))

    def column(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    start = at("2026-10-24T15:00")
    seconds = st.none() | st.floats(0, 500)
    minutes = st.none() | st.integers(-30, 2 * 1440)
    return traffic_of(
        {
            "started_at": [start + timedelta(minutes=n) for n in column(st.integers(0, 2 * 1440))],
            "ended_at": [None if n is None else start + timedelta(minutes=n) for n in column(minutes)],
            "outcome": column(st.sampled_from([*OUTCOMES, None])),
            "repo": column(st.sampled_from(["click", "httpx", None])),
            "model": column(st.sampled_from(["qwen2.5:7b", "<b>", None])),
            "target": column(st.sampled_from(["f", "g", "h", None])),
            "generate_s": column(seconds),
            "find_s": column(seconds),
            "tokens": column(st.none() | st.integers(0, 9000)),
            "tokens_per_s": column(seconds),
        },
        start,
        start + timedelta(days=2),
        draw(st.sampled_from([[], [("2026-10-25T00:30", "2026-10-25T07:00")]])),
    )


groupings = st.lists(st.sampled_from(["repo", "model", "outcome", "target"]), max_size=2, unique=True)
wishes = st.sampled_from([None, "3h", "1d"])


def plain(value):
    """Return a value by which groups can be told apart, whatever says that it is unknown."""
    return None if pd.isna(value) else value


def percentiles(values, levels):
    return np.percentile(values, levels).tolist() if values else [np.nan] * len(levels)


@settings(max_examples=60)
@given(drawn(), groupings, wishes)
def test_rates_are_those_of_cycles_counted_one_by_one(traffic: Traffic, by: list[str], every: str | None) -> None:
    how = {"every": every, "by": by, "zone": "Europe/Berlin"}
    made, rates, amounts = (question(traffic, **how) for question in (throughput, success_rate, tokens))
    lengths = durations(traffic, **how)
    starts = sorted(set(made["started_at"]))
    places: dict[object, list[dict]] = {}
    for one in cycles(traffic).to_dict("records"):
        moment = one["started_at"] if pd.isna(one["ended_at"]) else one["ended_at"]
        bucket = max([start for start in starts if start <= moment], default=starts[0])
        places.setdefault((bucket, *(plain(one[name]) for name in by)), []).append(one)
    keys = [tuple(map(plain, row)) for row in made[["started_at", *by]].itertuples(index=False)]
    assert len(keys) == len(set(keys)) == len(starts) * len({key[1:] for key in keys})
    assert set(places) <= set(keys)
    lines = lengths.to_dict("records")
    all_rows = zip(*(frame.to_dict("records") for frame in (made, rates, amounts)), strict=True)
    for at_row, (key, (count, rate, amount)) in enumerate(zip(keys, all_rows, strict=True)):
        some = places.get(key, [])
        outcomes = [plain(one["outcome"]) or "unknown" for one in some]
        assert [count[name] for name in COUNTS] == [outcomes.count(name) for name in COUNTS]
        assert count["cycles"] == len(some) == rate["attempts"] + rate["uncounted"]
        assert rate["succeeded"] == count["committed"]
        assert rate["failed"] == rate["attempts"] - rate["succeeded"] == count["failed"] + count["llm_error"]
        told = [one["tokens"] for one in some if not pd.isna(one["tokens"])]
        assert (amount["count"], amount["tokens"]) == (len(told), sum(told))
        assert amount["mean"] == pytest.approx(sum(told) / len(told) if told else np.nan, nan_ok=True)
        speeds = [one["tokens_per_s"] for one in some if not pd.isna(one["tokens_per_s"])]
        assert amount["timed"] == len(speeds)
        found = [amount[f"tokens_per_s_p{level}"] for level in (10, 50, 90)]
        assert found == pytest.approx(percentiles(speeds, [10, 50, 90]), nan_ok=True)
        for line, stage in zip(lines[at_row * len(STAGES) :], STAGES, strict=False):
            assert (line["stage"], *(plain(line[name]) for name in ("started_at", *by))) == (stage, *key)
            spans = [one[f"{stage}_s"] for one in some if not pd.isna(one[f"{stage}_s"])]
            assert line["count"] == len(spans)
            found = [line[f"p{level}"] for level in (50, 90, 99)]
            assert found == pytest.approx(percentiles(spans, [50, 90, 99]), nan_ok=True)


# Success


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.999])
def test_intervals_are_those_of_scipy(confidence: float) -> None:
    pairs = [(k, n) for n in (1, 2, 3, 7, 20, 144, 4000) for k in sorted({0, 1, n // 2, n - 1, n})]
    low, high = wilson(np.array([k for k, _ in pairs]), np.array([n for _, n in pairs]), confidence)
    for (k, n), a, b in zip(pairs, low, high, strict=True):
        known = binomtest(k, n).proportion_ci(confidence, method="wilson")
        assert (a, b) == pytest.approx((known.low, known.high), abs=1e-12)
        assert 0 <= a <= k / n <= b <= 1


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.01, 0.9999))
def test_an_interval_holds_its_rate(attempts: int, share: float, confidence: float) -> None:
    succeeded = round(attempts * share)
    (low,), (high,) = wilson(np.array([succeeded]), np.array([attempts]), confidence)
    assert 0 <= low <= succeeded / attempts <= high <= 1


def test_what_says_nothing_of_success_is_told_apart() -> None:
    ended = pd.date_range("2026-11-22T10:01", periods=9, freq="1min", tz="UTC")
    outcomes = ["committed", "committed", "failed", "llm_error", "skipped", "dry_run", "interrupted", "running", None]
    traffic = traffic_of({"ended_at": ended, "outcome": outcomes}, "2026-11-22T10:00", "2026-11-22T11:00")
    one = success_rate(traffic).iloc[0]
    assert one[["attempts", "succeeded", "failed", "uncounted"]].tolist() == [4, 2, 2, 5]
    assert one["rate"] == 0.5
    narrow, wide = (success_rate(traffic, confidence=share) for share in (0.5, 0.99))
    assert wide["low"].item() < narrow["low"].item() < 0.5 < narrow["high"].item() < wide["high"].item()
    assert wide.attrs["confidence"] == 0.99
    for wrong in (0, 1, 95):
        with pytest.raises(ValueError, match="share between 0 and 1"):
            success_rate(traffic, confidence=wrong)


# Recordings


def said_in(path: Path) -> list[dict]:
    """Return what the log lines of a recording say, read without the package."""
    with gzip.open(path, "rt") as lines:
        messages = [json.loads(line) for line in lines]
    return [json.loads(one["payload"]) for one in messages if one["channel"] == "codeworm:logs"]


def test_a_recording_s_documents_and_tokens_are_those_its_messages_tell(recording: Path) -> None:
    with open_recording(recording) as rec:
        traffic = Traffic.of(logs=rec.logs.df, events=rec.events.df, stats=rec.stats.df, gaps=rec.gaps)
    told = said_in(recording)
    commits = [one for one in told if one["event"] == "documentation_committed"]
    failures = [one for one in told if one["event"] in ("llm_error", "documentation_failed")]
    for every in (None, "15min", "1d"):
        for by in (None, *GROUPS):
            found = throughput(traffic, every=every, by=by, zone="America/New_York")
            assert found["committed"].sum() == len(commits)
            assert tokens(traffic, every=every, by=by)["tokens"].sum() == sum(one["tokens"] for one in commits)
    overall = success_rate(traffic).iloc[0]
    assert overall[["succeeded", "failed"]].tolist() == [len(commits), len(failures)]
    generate = durations(traffic).set_index("stage").loc["generate"]
    levels = np.percentile([one["time_ms"] / 1000 for one in commits], [50, 90, 99])
    assert generate[["p50", "p90", "p99"]].tolist() == pytest.approx(levels.tolist())


def test_by_of_another_type_says_what_it_may_be():
    with pytest.raises(TypeError, match="by is one of repo, doc_type"):
        throughput(Traffic.of(), by=3)
