"""Rates: how many messages came in each second of the last hour."""

from __future__ import annotations

from collections import deque

__all__ = ["KEPT", "Rates"]

KEPT = 3600
"""Seconds that are remembered."""
SET_BACK = 60
"""Seconds by which a message that seems older than the newest one tells that the clock was set back: it begins anew."""


class Rates:
    """Counts messages by the second in which the relay read them; memory is bounded by `KEPT`."""

    def __init__(self) -> None:
        self._counts: deque[list[int]] = deque()  # [second, messages], ascending

    def add(self, at: float, count: int = 1) -> None:
        """Count messages read at a time, in Unix seconds. Those that are older than the newest count with that."""
        second = int(at)
        if self._counts and second < self._counts[-1][0] - SET_BACK:
            self._counts.clear()
        if self._counts and second <= self._counts[-1][0]:
            self._counts[-1][1] += count
            return
        self._counts.append([second, count])
        while self._counts[0][0] <= second - KEPT:
            self._counts.popleft()

    def spans(self, now: float, *, count: int, seconds: int) -> list[int]:
        """Return how many messages came in each of the last `count` spans of `seconds`, the oldest first.

        The spans begin at multiples of their length, so that a picture of them moves in steps.
        """
        end = int(now) // seconds
        found = [0] * count
        for second, messages in reversed(self._counts):
            place = count - 1 - (end - second // seconds)
            if place < 0:
                break
            found[min(place, count - 1)] += messages
        return found

    def per_second(self, now: float, over: int = 10) -> float:
        """Return messages a second over the last so many seconds."""
        return sum(messages for second, messages in self._counts if int(now) - over < second) / over
