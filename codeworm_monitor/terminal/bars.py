"""Bars: a line of little bars for counts."""

from __future__ import annotations

__all__ = ["bars"]

_BARS = "▁▂▃▄▅▆▇█"


def bars(counts: list[int]) -> str:
    """Return a bar for each count, the largest as high as a line; nothing is a space."""
    most = max(counts, default=0)
    return "".join(_BARS[max(0, -(-count * len(_BARS) // most) - 1)] if count else " " for count in counts)
