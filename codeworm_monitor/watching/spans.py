"""Arguments of rules and actions: lengths of time, whole numbers, functions; read once, told clearly if unfit."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from codeworm_monitor.moments import duration, in_two_units

__all__ = ["Span", "function_identity", "seconds_of", "spoken", "whole"]

Span = float | str | timedelta
"""A length of time: seconds, a text such as "30min" or "1h 30min", or a timedelta."""
LONGEST_SPAN = 366 * 86_400.0


def seconds_of(value: Span, name: str, *, least: float = 0.0) -> float:
    """Return a length of time in seconds.

    Raises:
        TypeError: It has another type.
        ValueError: It cannot be read, or is out of bounds.
    """
    match value:
        case bool():
            raise TypeError(f"{name} is seconds or a text such as '30min', not {value!r}")
        case int() | float():
            seconds = float(value)
        case timedelta():
            seconds = value.total_seconds()
        case str():
            try:
                read = duration(value.strip().lower())
            except OverflowError:
                read = None
            if read is None:
                raise ValueError(f"{name}: {value!r} is no length of time: write 90s, 30min or 1h 30min")
            seconds = read.total_seconds()
        case _:
            raise TypeError(f"{name} is seconds or a text such as '30min', not {type(value).__name__}")
    if not least <= seconds <= LONGEST_SPAN:
        raise ValueError(f"{name}: {value!r} is not between {spoken(least)} and a year")
    return seconds


def function_identity(function: Any) -> object:
    """Return what stays equal of a function when the cell that defines it is run again; else the function itself."""
    code = getattr(function, "__code__", None)
    has_more = any(
        getattr(function, name, None) for name in ("__closure__", "__self__", "__defaults__", "__kwdefaults__")
    )
    return function if code is None or has_more else (function.__module__, function.__qualname__, code)


def whole(value: object, name: str, least: int, most: int) -> int:
    """Return a whole number.

    Raises:
        TypeError: It is none.
        ValueError: It is out of bounds.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} is between {least} and {most:,}, not {value}")
    return value


def spoken(seconds: float) -> str:
    """Return a length of time as a person writes it, in its two largest units: "1 h 30 min"; `seconds_of` reads it."""
    if not math.isfinite(seconds):
        return "for ever"
    if seconds < 10:
        return f"{max(0.0, round(seconds, 1)):g} s"
    return in_two_units(seconds)
