"""Values of anybody's making, read with care: what has another type than it should is None."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

__all__ = ["LONGEST", "count", "name_counts", "number", "text", "time"]

LONGEST = 500
"""Characters of a text."""
_LARGEST = 1e15
_LAST = 253_402_300_800.0  # the end of the year 9999, Unix seconds


def text(value: Any, most: int = LONGEST) -> str | None:
    """Return a text, cut, without halves of characters, which JSON in UTF-8 cannot hold."""
    if not isinstance(value, str):
        return None
    cut = value if len(value) <= most else f"{value[: most - 1]}…"
    return cut if cut.isascii() else cut.encode(errors="replace").decode()


def number(value: Any) -> float | None:
    """Return a finite number of sensible size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        return None
    return float(value)


def count(value: Any) -> int | None:
    """Return a whole number, not below 0."""
    return value if type(value) is int and 0 <= value < _LARGEST else None


def time(value: Any) -> float | None:
    """Return a time in Unix seconds, of the years 1970 to 9999."""
    found = number(value)
    return found if found is not None and math.isfinite(found) and 0 <= found < _LAST else None


def name_counts(value: Any, most: int = 1_000) -> dict[str, int]:
    """Return the whole numbers of an object by name, of its first ones."""
    if not isinstance(value, dict):
        return {}
    found: dict[str, int] = {}
    for name, many in islice(value.items(), most):
        if type(many) is int and 0 <= many < _LARGEST and (read := text(name)) is not None:
            found[read] = found.get(read, 0) + many
    return found
