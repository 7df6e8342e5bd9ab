"""Zones: days and hours as the person who looks counts them."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil import tz

__all__ = ["resolved"]


def resolved(zone: str | tzinfo | None) -> tzinfo:
    """Return a time zone.

    Args:
        zone: A name such as "Europe/Berlin", or a zone; None: this machine's, with its changes of daylight saving time.

    Raises:
        TypeError: It is neither.
        ValueError: There is no zone of that name.
    """
    if isinstance(zone, tzinfo):
        return zone
    if zone is None:
        local = tz.gettz() or UTC
        # Of a zone that is spelt out as its rules (TZ=CET-1CEST) pandas knows nothing; the C library does.
        return tz.tzlocal() if isinstance(local, tz.tzrange) else local
    if not isinstance(zone, str):
        raise TypeError(f"a zone is a name such as Europe/Berlin, or a tzinfo, not {type(zone).__name__}")
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{zone!r} is no time zone: write a name such as Europe/Berlin, or UTC") from error
