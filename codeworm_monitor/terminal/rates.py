"""Rates: how many messages came in each second of the last hour, and a line of little bars for them."""

from __future__ import annotations

from collections import deque

__all__ = ["KEPT", "Rates", "bars"]

KEPT = 3600
"""Seconds that are remembered."""
_BARS = "▁▂▃▄▅▆▇█"


class Rates:
    """Counts messages by the second in which the relay read them; memory is bounded by `KEPT`."""

    def __init__(self) -> None:
        self._counts: deque[list[int]] = deque()  # [second, messages], ascending

    def add(self, at: float) -> None:
        """Count a message read at a time, in Unix seconds. One that is older than the newest counts with that."""
        second = int(at)
        if self._counts and second <= self._counts[-1][0]:
            self._counts[-1][1] += 1
            return
        self._counts.append([second, 1])
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


def bars(counts: list[int]) -> str:
    """Return a bar for each count, the largest as high as a line; nothing is a space."""
    most = max(counts, default=0)
    return "".join(_BARS[max(0, -(-count * len(_BARS) // most) - 1)] if count else " " for count in counts)
