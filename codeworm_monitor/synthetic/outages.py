"""Outages: when what the daemon works with was down, and when it did not run itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codeworm_monitor.synthetic.clockwork import SECOND
from codeworm_monitor.synthetic.plan import Plan, Trouble
from codeworm_monitor.synthetic.truth import TrueOutage, TrueRun

__all__ = ["true_outages"]

_KINDS = {
    Trouble.OLLAMA_DOWN: "ollama",
    Trouble.LLM_ERRORS: "ollama",
    Trouble.PUSH_BROKEN: "push",
    Trouble.COMMIT_BROKEN: "commit",
    Trouble.DATABASE_LOCKED: "database",
}


def true_outages(plan: Plan, begin: int, runs: Sequence[TrueRun]) -> list[TrueOutage]:
    """Return the outages of a stretch, in the order in which they began; some of them no message tells of.

    Args:
        plan: What was to happen.
        begin: Start of the plan, microseconds since 1970.
        runs: Of the daemon.
    """
    skew = round(plan.skew * SECOND)
    found = []
    for episode in plan.episodes:
        kind = _KINDS.get(episode.what)
        if kind is None or episode.at >= plan.lasts:
            continue
        start = begin + skew + round(episode.at * SECOND)
        is_over = not math.isinf(episode.lasts) and episode.at + episode.lasts <= plan.lasts
        end = start + round(episode.lasts * SECOND) if is_over else None
        found.append(TrueOutage(kind=kind, started_at=start, ended_at=end))
    for run, following in zip(runs, [*runs[1:], None], strict=True):
        if run.ended_at is not None:
            until = None if following is None else following.started_at
            found.append(TrueOutage(kind="daemon", started_at=run.ended_at, ended_at=until))
    return sorted(found, key=lambda outage: outage.started_at)
