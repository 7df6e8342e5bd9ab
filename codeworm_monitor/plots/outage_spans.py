"""Outage spans: stretches of time in which something was down, for the pictures that show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.plots.canvas import has
from codeworm_monitor.plots.palette import OUTAGES
from codeworm_monitor.plots.stages import numbers
from codeworm_monitor.plots.time_axis import Days, days

__all__ = ["Spans", "spans_of", "united"]


@dataclass(frozen=True)
class Spans:
    """Outages in the order of their beginnings.

    Attributes:
        kind: Keys of `OUTAGES`.
        begin: Days since 1970.
        end: So; of one that lasts, the end of the picture.
        lasts: Whether it had not ended.
        lost: Cycles lost.
        cause: As told: not inert.
    """

    kind: npt.NDArray[np.object_]
    begin: Days
    end: Days
    lasts: npt.NDArray[np.bool_]
    lost: npt.NDArray[np.float64]
    cause: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def kinds(self) -> list[str]:
        """The kinds there are, in the palette's order."""
        return [kind for kind in OUTAGES if (self.kind == kind).any()]


def united(begin: Days, end: Days) -> tuple[Days, Days]:
    """Return where the union of stretches begins and ends; shade on shade would be darker.

    Args:
        begin: Ascending.
        end: None before its beginning.
    """
    if not len(begin):
        return begin, end
    reached = np.maximum.accumulate(end)
    is_first = np.concatenate([[True], begin[1:] > reached[:-1]])
    return begin[is_first], reached[np.append(np.flatnonzero(is_first)[1:] - 1, len(end) - 1)]


def spans_of(outages: pd.DataFrame | None, begin: float, end: float) -> Spans:
    """Return the outages that touch a stretch of time, cut to it.

    Args:
        outages: As `Monitor.outages`; None: there are none.
        begin: Days since 1970.
        end: So.

    Raises:
        ValueError: The frame lacks one of its columns.
    """
    if outages is None or outages.empty:
        none = np.empty(0)
        return Spans(none.astype(object), none, none, none.astype(bool), none, none.astype(object))
    has(outages, "kind", "started_at", "ended_at")
    starts, ends = days(outages["started_at"]), days(outages["ended_at"])
    lasts = np.isnan(ends)
    starts, ends = np.where(np.isnan(starts), ends, starts), np.where(lasts, end, ends)
    kind = outages["kind"].astype(object).to_numpy(object)
    kept = np.flatnonzero(np.isin(kind.astype(str), list(OUTAGES)) & (starts <= end) & (ends >= begin))
    kept = kept[np.argsort(starts[kept], kind="stable")]
    lost = numbers(outages["cycles_lost"]) if "cycles_lost" in outages else np.zeros(len(outages))
    cause = outages["cause"].to_numpy(object) if "cause" in outages else np.full(len(outages), None, object)
    return Spans(
        kind[kept], np.maximum(starts, begin)[kept], np.minimum(ends, end)[kept], lasts[kept], lost[kept], cause[kept]
    )
