"""Coverage: which part of a stretch of time was listened to, so that no answer passes for complete that is not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["MISSING", "Coverage", "Micros", "micros"]

MISSING = np.iinfo(np.int64).min
"""A time that is missing, as `micros` gives it."""

Micros = npt.NDArray[np.int64]
"""Times as microseconds since 1970, UTC."""


def micros(times: pd.Series[pd.Timestamp] | pd.DatetimeIndex) -> Micros:
    """Return times as microseconds since 1970; a missing one is the smallest integer. Naive times count as UTC."""
    index = pd.DatetimeIndex(times)
    index = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
    return index.as_unit("us").asi8


@dataclass(frozen=True, slots=True)
class Coverage:
    """A stretch of time, and the holes in it.

    Attributes:
        since: Its beginning, in UTC; None: nothing is known at all.
        until: Its end, which is not part of it.
        holes: Int64 array of shape (n, 2), microseconds: disjoint, ascending, within the stretch.
    """

    since: datetime | None
    until: datetime | None
    holes: Micros

    @classmethod
    def of(
        cls, since: datetime | None, until: datetime | None, gaps: pd.DataFrame, *, heard_from: datetime | None = None
    ) -> Coverage:
        """Unite the gaps of a stretch.

        Args:
            since: Its beginning.
            until: Its end.
            gaps: As `Monitor.gaps`; of it `started_at` and `ended_at`.
            heard_from: When listening began, if that was later.
        """
        if since is None or until is None:
            return cls(since, until, np.empty((0, 2), np.int64))
        begin, end = micros(pd.DatetimeIndex([since, until])).tolist()
        starts, ends = micros(gaps["started_at"]), micros(gaps["ended_at"])
        # One that does not say when it began, or ended, may be any longer.
        starts, ends = np.where(starts == MISSING, begin, starts), np.where(ends == MISSING, end, ends)
        if heard_from is not None:
            starts = np.append(starts, begin)
            ends = np.append(ends, micros(pd.DatetimeIndex([heard_from])))
        is_inside = (ends > begin) & (starts < end)
        united: list[list[int]] = []
        for start, stop in sorted(zip(starts[is_inside].tolist(), ends[is_inside].tolist(), strict=True)):
            start, stop = max(begin, start), min(end, stop)
            if united and start <= united[-1][1]:
                united[-1][1] = max(united[-1][1], stop)
            elif stop > start:
                united.append([start, stop])
        return cls(since, until, np.array(united, np.int64).reshape(-1, 2))

    @property
    def share(self) -> float:
        """Share of the stretch that was listened to, from 0 to 1; NaN of none."""
        if self.since is None or self.until is None:
            return float("nan")
        begin, end = micros(pd.DatetimeIndex([self.since, self.until])).tolist()
        return float(self.shares(np.array([begin]), np.array([end]))[0])

    def shares(self, starts: Micros, ends: Micros) -> npt.NDArray[np.float64]:
        """Return the share of each span that lies in the stretch and was listened to; NaN for a span of no length.

        Args:
            starts: Microseconds, of shape (n,).
            ends: As many, none before its start.
        """
        lengths = (ends - starts).astype(np.float64)
        lengths[lengths <= 0] = np.nan
        if self.since is None or self.until is None:
            return np.zeros_like(lengths)
        begin, end = micros(pd.DatetimeIndex([self.since, self.until])).tolist()
        first, last = np.clip(starts, begin, end), np.clip(ends, begin, end)
        shares: npt.NDArray[np.float64] = (last - first - self._missed(first, last)) / lengths
        return shares

    def overlaps(self, starts: Micros, ends: Micros) -> npt.NDArray[np.bool_]:
        """Tell of each span, both ends included, whether a hole touches it."""
        after = np.searchsorted(self.holes[:, 1], starts, "left")
        found: npt.NDArray[np.bool_] = after < np.searchsorted(self.holes[:, 0], ends, "right")
        return found

    def _missed(self, first: Micros, last: Micros) -> Micros:
        total = np.concatenate([[0], np.cumsum(self.holes[:, 1] - self.holes[:, 0])])

        def before(times: Micros) -> Micros:
            """Return how long the holes before a time are in all."""
            whole = np.searchsorted(self.holes[:, 1], times, "right")
            part = np.zeros_like(times)
            has_next = whole < len(self.holes)
            part[has_next] = np.maximum(0, times[has_next] - self.holes[whole[has_next], 0])
            missed: Micros = total[whole] + part
            return missed

        return before(last) - before(first)
