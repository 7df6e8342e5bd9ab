"""Plain cycles: those of which every step came once and in order, as nearly all are, found at once by whole columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codeworm_monitor.analysis.steps import Places, Step, Steps

__all__ = ["LENGTH", "plain_cycles"]

_LOG, _OTHER = True, False
_FORM = (
    (_LOG, (Step.STARTING,)),
    (_OTHER, (Step.STARTING,)),
    (_OTHER, (Step.ANALYZING,)),
    (_LOG, (Step.DOCUMENTING,)),
    (_OTHER, (Step.GENERATING,)),
    (_LOG, (Step.COMMITTED,)),
    (_OTHER, (Step.COMMITTED,)),
    (_LOG, (Step.PUSHED, Step.PUSH_FAILED)),
    (_OTHER, (Step.STATS,)),
    (None, (Step.ANNOUNCED,)),
)
"""By step, whether a log line tells it, or an event or stats; None: either."""
LENGTH = len(_FORM)
_TARGETED = slice(2, 7)
_COMMITTED = slice(5, 7)


def plain_cycles(steps: Steps, places: Places) -> npt.NDArray[np.bool_]:
    """Tell at which of these places a cycle begins whose steps follow each other in the one order of a good cycle.

    Its steps name one number, one target and one commit, and none is of a `run-once`.

    Args:
        steps: All steps.
        places: Those that are gone through, ascending.
    """
    begins = np.zeros(len(places), np.bool_)
    count = len(places) - LENGTH + 1
    if count <= 0:
        return begins
    codes, is_log = steps.step[places], steps.is_log[places]
    candidates = np.flatnonzero(codes[:count] == Step.STARTING)
    for after, (source, wanted) in enumerate(_FORM):
        at = candidates + after
        fits = np.isin(codes[at], wanted)
        if source is not None:
            fits &= is_log[at] == source
        candidates = candidates[fits]
    whole = places[candidates[:, None] + np.arange(LENGTH)]
    targets = steps.targets[whole[:, _TARGETED]]
    commits = steps.commits[whole[:, _COMMITTED]]
    numbers = steps.cycle_num[whole[:, :2]]
    fits = (targets[:, :1] == targets).all(axis=1) & (targets[:, 0] >= 0)
    fits &= (commits[:, 0] == commits[:, 1]) & (commits[:, 0] >= 0)
    fits &= np.isfinite(numbers[:, 0]) & (numbers[:, 0] == numbers[:, 1])
    fits &= ~steps.is_one_shot[whole].any(axis=1)
    begins[candidates[fits]] = True
    return begins
