"""The text of a log row, in which words are looked for; the browser makes the same of the same payload."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

__all__ = ["row_text", "text_at"]

LONGEST = 4_000
"""Characters of the text."""
DEEPEST = 4
"""Nesting up to which values are taken."""


def row_text(data: Any) -> str:
    """Return what words are looked for in: a payload's event name and all its texts and numbers, one space between."""
    parts = [name] if (name := text_at(data, "event") or text_at(data, "type")) else []
    length = sum(map(len, parts))
    for part in _values(data, 0):
        parts.append(part[:LONGEST])
        length += len(part) + 1
        if length > LONGEST:
            break
    return " ".join(parts)[:LONGEST]


def _values(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        yield _number_text(value)
    elif isinstance(value, dict | list) and depth < DEEPEST:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _values(one, depth + 1)


def _number_text(value: float) -> str:
    """Return a number as browsers write it, which know doubles only (ECMA-262, Number::toString)."""
    try:
        number = float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"
    if not math.isfinite(number):
        return ""
    if number == int(number) and abs(number) < 2**53:
        return str(int(number))
    sign, digits = ("-" if number < 0 else ""), repr(abs(number))
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def text_at(data: Any, key: str) -> str | None:
    """Return the text that a payload has under a key; None: it has none."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else None
