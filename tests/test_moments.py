from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from codeworm_monitor.moments import in_two_units, plain_moment

NOW = datetime(2026, 11, 22, 3, 30, tzinfo=UTC)


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this machine in New York."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    monkeypatch.undo()  # what C knows by now stays, until it is told again


@pytest.fixture(autouse=True)
def zone_of_old() -> object:
    yield
    time.tzset()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("now", NOW),
        ("1h 30min", NOW - timedelta(minutes=90)),
        ("today", NOW.replace(hour=0, minute=0)),
        ("yesterday", NOW.replace(day=21, hour=0, minute=0)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T10:00+02:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        (datetime(2026, 11, 20, 8), datetime(2026, 11, 20, 8, tzinfo=UTC)),
        (timedelta(hours=1), NOW - timedelta(hours=1)),
    ],
)
def test_what_has_no_zone_is_in_utc(value: str | datetime | timedelta, expected: datetime) -> None:
    assert plain_moment(value, NOW.timestamp()) == expected


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("today", datetime(2026, 11, 21, 5, tzinfo=UTC)),  # there the day before has not ended
        ("yesterday", datetime(2026, 11, 20, 5, tzinfo=UTC)),
        ("2026-07-01T10:00", datetime(2026, 7, 1, 14, tzinfo=UTC)),
        ("2026-07-01T10:00Z", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2h", NOW - timedelta(hours=2)),
        (datetime(2026, 7, 1, 10, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 7, 1, 9, tzinfo=UTC)),
    ],
)
def test_or_in_the_zone_of_this_machine_if_that_is_wanted(value: str | datetime, expected: datetime) -> None:
    assert plain_moment(value, NOW.timestamp(), zone=None) == expected


@pytest.mark.parametrize("value", ["", "soon", "3 parsecs", "2026-13-01", "9" * 400 + "d", "0001-01-01T00:00+10:00"])
@pytest.mark.parametrize("zone", [UTC, None])
def test_what_is_no_time_says_how_to_write_one(value: str, zone: timezone | None) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        plain_moment(value, NOW.timestamp(), zone=zone)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (60, "1 min"), (5400, "1 h 30 min"), (3601, "1 h 1 s"), (90_061, "1 d 1 h"), (59.6, "1 min")],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert in_two_units(seconds) == text
