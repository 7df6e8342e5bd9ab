"""What a relay told of itself, read with care: it may be older, newer, or none at all."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Told"]

_LONGEST = 300
_MOST = 1e15


class Told:
    """A decoded JSON value, asked by paths of keys; what is missing or of another type is None.

    Args:
        value: The value, of any type.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def at(self, *path: str) -> Any:
        """Return the value at a path; None: there is none."""
        value = self._value
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def text(self, *path: str) -> str | None:
        """Return a text, its first 300 characters in one line; None: there is none, or it is empty."""
        value = self.at(*path)
        return " ".join(value[: 4 * _LONGEST].split())[:_LONGEST] or None if isinstance(value, str) else None

    def number(self, *path: str) -> float | None:
        """Return a finite number."""
        value = self.at(*path)
        is_usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
        return float(value) if is_usable and math.isfinite(value) else None

    def time(self, *path: str) -> float | None:
        """Return a time in Unix seconds, of the years 1970 to 9999."""
        value = self.number(*path)
        return value if value is not None and 0 < value < 253_402_300_800 else None

    def count(self, *path: str) -> int | None:
        """Return a whole number, not below 0."""
        value = self.number(*path)
        return int(value) if value is not None and value >= 0 else None

    def flag(self, *path: str) -> bool | None:
        """Return a truth value."""
        value = self.at(*path)
        return value if isinstance(value, bool) else None

    def counts(self, *path: str) -> dict[str, int]:
        """Return an object's whole numbers by name, of its first 50."""
        value = self.at(*path)
        if not isinstance(value, dict):
            return {}
        inner = Told(value)
        read = {str(name)[:_LONGEST]: inner.count(name) for name in list(value)[:50]}
        return {name: number for name, number in read.items() if number is not None}

    def object(self, *path: str) -> Told | None:
        """Return an object that is not empty."""
        value = self.at(*path)
        return Told(value) if isinstance(value, dict) and value else None
