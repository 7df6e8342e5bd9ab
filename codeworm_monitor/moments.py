"""Moments: how a person writes a time, read without pandas; and times as the archive counts them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["duration", "in_two_units", "micros_of", "plain_moment", "time_of"]

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_UNITS = {
    unit: seconds
    for units, seconds in (
        ("ms", 0.001),
        ("s sec second seconds", 1),
        ("m min minute minutes", 60),
        ("h hour hours", 3600),
        ("d day days", 86_400),
        ("w week weeks", 604_800),
    )
    for unit in units.split()
}


def plain_moment(value: str | datetime | timedelta, now: float, *, zone: tzinfo | None = UTC) -> datetime:
    """Return the time that a value says, in UTC.

    Args:
        value: An ISO date or time, a datetime, how long ago ("15min", "1h 30min", "2d", a timedelta), "now", "today" or
            "yesterday".
        now: Unix seconds that a duration is counted back from.
        zone: Of what has none, and of days, which begin at midnight: UTC, as all times of the tables are; None: this
            machine's.

    Raises:
        TypeError: It is of another type.
        ValueError: It cannot be read, or lies outside the years 1 to 9999.
    """
    present = datetime.fromtimestamp(now, UTC)
    try:
        match value:
            case "now":
                return present
            case "today" | "yesterday":
                today = present.astimezone(zone).date() - timedelta(days=value == "yesterday")
                time = datetime(today.year, today.month, today.day)
            case str():
                if (ago := duration(value)) is not None:
                    return present - ago
                time = datetime.fromisoformat(value)
            case timedelta():
                return present - value
            case datetime():
                time = value
            case _:
                raise TypeError(f"a time is a text, a datetime or a timedelta, not {type(value).__name__}")
        # Without a zone, `astimezone` takes a time for one of this machine's.
        return (time.replace(tzinfo=zone) if time.tzinfo is None else time).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"{value!r} is no time: write a duration (15min, 2h, 1d), today, yesterday, or 2026-11-22T21:56"
        ) from error


def duration(text: str) -> timedelta | None:
    """Return the duration that a text such as "1h 30min" says, or None if it is of another form.

    Raises:
        ValueError: Its unit is none.
        OverflowError: It is longer than any.
    """
    # By hand: pandas takes fewer spellings with each release ("1d" is deprecated), and Python has no parser of its own.
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[a-z]+\s*)+", text):
        return None
    total = timedelta()
    for number, unit in re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text):
        seconds = _UNITS.get(unit)
        if seconds is None:
            raise ValueError(f"{unit} is no unit of time")
        total += timedelta(seconds=float(number) * seconds)
    return total


def in_two_units(seconds: float) -> str:
    """Return a length of time, rounded to seconds, in its two largest units: "1 h 30 min"."""
    left, words = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            words.append(f"{number} {unit}")
    return " ".join(words[:2])


def time_of(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware time in UTC."""
    return _START + micros * _MICROSECOND


def micros_of(time: datetime) -> int:
    """Return an aware time as microseconds since 1970, exactly."""
    return (time - _START) // _MICROSECOND
