"""Delays between attempts, as a generator."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["delays"]


def delays(*, first: float = 0.1, longest: float = 10.0, factor: float = 2.0) -> Iterator[float]:
    """Yield delays in seconds, without end, by exponential backoff with full jitter.

    Each delay is drawn evenly from 0 to a bound that grows by `factor` from `first` to `longest`, so that many
    clients that lost the same server do not return together. Start a new generator after success.

    Source of the rule: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    bound = min(longest, first)
    while True:
        yield random.uniform(0, bound)
        bound = min(longest, bound * factor)
