"""Pauses: how long it was quiet between messages, learnt one by one in fixed memory."""

from __future__ import annotations

import math

__all__ = ["Pauses"]

SHORTEST = 0.001
"""Seconds: shorter pauses count as this long."""
LONGEST = 7 * 86_400.0
"""Seconds: longer ones as this long."""
MEMORY = 5_000
"""Pauses after which one weighs 1/e of a new one: about three days of CodeWorm's work at its usual rate."""
BURSTS = 0.01
"""Share of all the quiet that the shortest pauses make up together, which are none: the steps within a burst."""

_STEPS = 8  # bins to a doubling: a value is off by 9 % at most
_BINS = math.ceil(math.log2(LONGEST / SHORTEST) * _STEPS) + 1
_LENGTHS = [SHORTEST * 2 ** ((bin_ + 0.5) / _STEPS) for bin_ in range(_BINS)]
_GROWTH = math.exp(1 / MEMORY)
_LARGEST = 1e100


class Pauses:
    """Quantiles of pauses, the newest counting most, in a histogram of logarithmic bins: memory is fixed.

    Most of what lies between two messages of a publisher is no pause but the time from one line of its code to the
    next. Where a pause begins differs from one to another, so the shortest, as many as make up a hundredth of the time
    all took together, are passed over.
    """

    __slots__ = ("_found", "_weight", "_weights")

    def __init__(self) -> None:
        self._weights = [0.0] * _BINS
        self._weight = 1.0  # of the next pause: it grows, and so the older ones count less and less
        self._found: dict[float, float] = {}

    def add(self, seconds: float) -> None:
        """Learn a pause; one that is negative or no number is none."""
        if not seconds >= 0:
            return
        place = int(math.log2(min(seconds, LONGEST) / SHORTEST) * _STEPS) if seconds > SHORTEST else 0
        self._weights[place] += self._weight
        self._weight *= _GROWTH
        if self._weight > _LARGEST:
            self._weights = [weight / _LARGEST for weight in self._weights]
            self._weight /= _LARGEST
        if self._found:
            self._found = {}

    @property
    def count(self) -> float:
        """How many pauses the quantiles rest on, older ones counting less."""
        return math.fsum(self._weights[self._first() :]) / self._weight

    def quantile(self, share: float) -> float:
        """Return what so large a share of the pauses does not exceed, in seconds; NaN of none."""
        found = self._found.get(share)
        if found is None:
            found = self._found[share] = self._looked_up(share)
        return found

    def _first(self) -> int:
        """Return the first bin that holds pauses and not bursts."""
        times = [weight * length for weight, length in zip(self._weights, _LENGTHS, strict=True)]
        left = BURSTS * math.fsum(times)
        for place, time in enumerate(times):
            left -= time
            if left < 0:
                return place
        return 0

    def _looked_up(self, share: float) -> float:
        first, found = self._first(), None
        left = share * math.fsum(self._weights[first:])
        for place in range(first, _BINS):
            if self._weights[place]:
                found = place
                left -= self._weights[place]
                if left <= 0:
                    break
        return math.nan if found is None else float(SHORTEST * 2.0 ** ((found + 1) / _STEPS))
