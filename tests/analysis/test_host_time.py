"""Local times of a host: through changes of its clocks, with a known zone, a wrong one, and none that messages agree to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.analysis.coverage import MISSING
from codeworm_monitor.analysis.host_time import in_utc, utc_offsets

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
KOLKATA = ZoneInfo("Asia/Kolkata")
QUARTER = 900_000_000


def at(text):
    return int(np.datetime64(text, "us").astype(np.int64))


def times(*texts):
    return np.array([MISSING if text is None else at(text) for text in texts], np.int64)


def told(local, zone, *known):
    """Returns local times in UTC, as texts; `known` are moments by their places."""
    moments = np.full(len(local), MISSING)
    for place, text in known:
        moments[place] = at(text)
    found = in_utc(times(*local), moments, zone)
    return [None if one == MISSING else str(np.datetime64(int(one), "us"))[:16] for one in found]


@pytest.mark.parametrize(
    ("local", "moment", "minutes"),
    [
        ("2026-11-22T16:58:50.764", "2026-11-22T21:58:50.766", -300),
        ("2026-11-22T16:58:50", "2026-11-22T11:28:51", 330),
        ("2026-11-22T16:58:50", "2026-11-22T11:13:49", 345),
        ("2026-11-22T12:00", "2026-11-22T12:00:59", 0),
        ("2026-11-23T02:00", "2026-11-22T12:00", 14 * 60),
        ("2026-11-22T12:00", "2026-11-22T12:02", None),  # no offset in use
        ("2026-11-22T12:00", "2026-11-21T12:00", None),
        (None, "2026-11-22T12:00", None),
        ("2026-11-22T12:00", None, None),
    ],
)
def test_a_known_moment_tells_the_offset_to_the_quarter_of_an_hour(local, moment, minutes):
    (offset,) = utc_offsets(times(local), times(moment))
    assert offset == (MISSING if minutes is None else minutes * 60_000_000)


def test_without_any_known_moment_the_zone_counts_summer_and_winter():
    assert told(["2026-07-01T12:00", "2026-12-01T12:00", None], BERLIN) == [
        "2026-07-01T10:00",
        "2026-12-01T11:00",
        None,
    ]


def test_a_zone_that_agrees_with_the_known_moments_counts_in_other_seasons():
    local = ["2026-07-01T12:00", "2026-12-01T12:00"]
    assert told(local, NEW_YORK, (1, "2026-12-01T17:00:00.2")) == ["2026-07-01T16:00", "2026-12-01T17:00"]


def test_a_zone_that_does_not_agree_counts_nowhere():
    local = ["2026-12-01T11:00", "2026-12-01T12:00", "2026-12-01T13:00"]
    assert told(local, BERLIN, (1, "2026-12-01T17:00")) == ["2026-12-01T16:00", "2026-12-01T17:00", "2026-12-01T18:00"]


@pytest.mark.parametrize("zone", [NEW_YORK, tz.gettz("America/New_York")], ids=["zoneinfo", "dateutil"])
def test_the_hour_that_comes_twice_is_told_by_the_order(zone):
    # 1 November 2026, 2:00 becomes 1:00.
    local = [f"2026-11-01T{one}" for one in ("00:50", "01:10", "01:40", "01:05", "01:50", "02:10")]
    assert told(local, zone) == [f"2026-11-01T{one}" for one in ("04:50", "05:10", "05:40", "06:05", "06:50", "07:10")]


def test_a_known_moment_tells_which_of_the_two_hours_it_was():
    assert told(["2026-11-01T01:10", "2026-11-01T01:20"], NEW_YORK, (0, "2026-11-01T06:10")) == [
        "2026-11-01T06:10",
        "2026-11-01T06:20",
    ]


def test_a_time_that_no_clock_showed_is_moved_on():
    # 8 March 2026, 2:00 becomes 3:00.
    assert told(["2026-03-08T01:59", "2026-03-08T02:30", "2026-03-08T03:01"], NEW_YORK) == [
        "2026-03-08T06:59",
        "2026-03-08T07:30",
        "2026-03-08T07:01",
    ]


def test_without_a_zone_that_agrees_the_clocks_change_where_they_leap():
    local = ["2026-11-01T01:10", "2026-11-01T01:40", "2026-11-01T01:05", "2026-11-01T01:50"]
    known = [(0, "2026-11-01T05:10"), (3, "2026-11-01T06:50")]
    assert told(local, BERLIN, *known) == [f"2026-11-01T{one}" for one in ("05:10", "05:40", "06:05", "06:50")]
    local = ["2026-03-08T01:30", "2026-03-08T01:45", None, "2026-03-08T03:05", "2026-03-08T03:30"]
    known = [(0, "2026-03-08T06:30"), (4, "2026-03-08T07:30")]
    assert told(local, BERLIN, *known) == [
        "2026-03-08T06:30",
        "2026-03-08T06:45",
        None,
        "2026-03-08T07:05",
        "2026-03-08T07:30",
    ]


def test_times_at_the_ends_of_the_calendar_are_unknown():
    assert told(["0001-01-01T00:00", "9999-12-31T23:59", "2026-07-01T12:00"], BERLIN) == [
        None,
        None,
        "2026-07-01T10:00",
    ]


def test_nothing_is_nothing():
    assert told([], BERLIN) == []
    assert told([None, None], BERLIN) == [None, None]


@given(
    st.sampled_from([BERLIN, NEW_YORK, KOLKATA, ZoneInfo("Australia/Lord_Howe"), UTC]),
    st.lists(st.integers(0, 400 * 96), min_size=1, max_size=40).map(sorted),
    st.data(),
)
def test_what_a_host_wrote_is_told_as_it_was(zone, quarters, data):
    """Documents of a year and more, ten minutes apart at least; the zone is known, and so is any part of the moments."""
    moments = [
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter) for quarter in dict.fromkeys(quarters)
    ]
    local = [one.astimezone(zone) for one in moments]
    truth = np.array([at(one.replace(tzinfo=None).isoformat()) for one in moments])
    written = np.array([at(one.replace(tzinfo=None).isoformat()) for one in local])
    is_known = np.array(data.draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth))))
    found = in_utc(written, np.where(is_known, truth, MISSING), zone)
    assert (found[is_known] == truth[is_known]).all()
    is_doubtful = np.array([one.utcoffset() != one.replace(fold=1 - one.fold).utcoffset() for one in local])
    assert (found[~is_doubtful] == truth[~is_doubtful]).all()
    assert (np.abs(found - truth) <= 4 * QUARTER).all()


@given(
    st.lists(st.tuples(st.one_of(st.just(MISSING), st.integers(-(2**62), 2**62)), st.booleans()), max_size=20),
    st.sampled_from([BERLIN, KOLKATA]),
)
def test_any_numbers_are_told_or_missing(rows, zone):
    local = np.array([time for time, _ in rows], np.int64)
    moments = np.array(
        [time + 3_600_000_000 if known and time != MISSING else MISSING for time, known in rows], np.int64
    )
    found = in_utc(local, moments, zone)
    assert found.shape == local.shape
    assert ((found == MISSING) | (np.abs(found - local) <= 15 * 3_600_000_000)).all()
