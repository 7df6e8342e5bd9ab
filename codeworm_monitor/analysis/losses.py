"""Losses: stretches that nobody noticed, and that the numbers of the cycles prove."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from codeworm_monitor.analysis.coverage import Coverage, Micros
from codeworm_monitor.analysis.steps import Step, Steps

if TYPE_CHECKING:
    from codeworm_monitor.analysis.tracker import Cycle

__all__ = ["Loss", "is_after_loss", "proven_losses"]


class Loss(NamedTuple):
    """A stretch whose messages were lost.

    Attributes:
        started_at: When the last message before it was received, microseconds.
        ended_at: When the first after it was.
        first: Number of the first cycle that was not heard.
        last: Of the last.
    """

    started_at: int
    ended_at: int
    first: int
    last: int


def is_after_loss(cycles: list[Cycle], steps: Steps) -> npt.NDArray[np.bool_]:
    """Tell of each cycle whether one or more between it and the one before were not heard.

    A daemon counts its cycles without a hole; one that its scheduler gave up, and that ends after all, it counts twice.
    """
    given_up = np.flatnonzero(steps.step == Step.TASK_ERROR)
    found = np.zeros(len(cycles), np.bool_)
    before: Cycle | None = None
    begun = 0
    for index, cycle in enumerate(cycles):
        if cycle.is_one_shot:
            continue
        if before is None or before.run != cycle.run:
            begun = cycle.first
        elif before.number is not None and cycle.number is not None:
            is_jump = cycle.number > before.number + 1
            found[index] = is_jump and np.searchsorted(given_up, begun) == np.searchsorted(given_up, cycle.first)
        before = cycle
    return found


def proven_losses(cycles: list[Cycle], steps: Steps, known: Coverage) -> list[Loss]:
    """Return the stretches in which cycles were lost whole, and no gap says so.

    Args:
        cycles: In their order, with their numbers.
        steps: Where they are.
        known: What is known to have been missed.
    """
    found = []
    received: Micros = steps.received
    for index in np.flatnonzero(is_after_loss(cycles, steps)).tolist():
        after = cycles[index]
        before = next(one for one in reversed(cycles[:index]) if not one.is_one_shot)
        span = np.array([received[max(0, after.first - 1)]]), np.array([received[after.first]])
        if not known.overlaps(*span)[0]:
            assert before.number is not None
            assert after.number is not None
            found.append(Loss(int(span[0][0]), int(span[1][0]), before.number + 1, after.number - 1))
    return found
