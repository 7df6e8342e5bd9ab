"""Stages: cycles as bars, how long each of them did what."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.plots.canvas import has
from codeworm_monitor.plots.palette import OUTCOMES, STAGES
from codeworm_monitor.plots.time_axis import Days, days

__all__ = ["Bars", "bars_of", "cut_at", "numbers"]

_COLUMNS = {"find": "find_s", "wait": "wait_s", "generate": "generate_s", "commit": "commit_s", "push": "push_s"}
_DAY = 86_400.0
_LONGEST = 366 * _DAY
"""Seconds; what claims to have lasted longer is not believed."""


@dataclass(frozen=True)
class Bars:
    """What is drawn of cycles, in the order of their starts.

    Attributes:
        begin: When each started, days since 1970.
        seconds: Of shape (n, stages), as `STAGES` orders them; 0: nothing known.
        outcome: Keys of `OUTCOMES`.
        row: Where each is in the frame.
    """

    begin: Days
    seconds: npt.NDArray[np.float64]
    outcome: npt.NDArray[np.object_]
    row: npt.NDArray[np.int64]

    @property
    def totals(self) -> npt.NDArray[np.float64]:
        """How long each lasted, seconds."""
        totals: npt.NDArray[np.float64] = self.seconds.sum(axis=1)
        return totals

    def __len__(self) -> int:
        return len(self.begin)

    def between(self, begin: float, end: float) -> Bars:
        """Return those that started in a stretch, both ends included."""
        kept = (self.begin >= begin) & (self.begin <= end)
        return replace(
            self, begin=self.begin[kept], seconds=self.seconds[kept], outcome=self.outcome[kept], row=self.row[kept]
        )


def bars_of(cycles: pd.DataFrame) -> Bars:
    """Return the bars of cycles; one of which no time is known is left out.

    What passed between start and end and is of no stage that is known counts as other; a running cycle lasts until the
    end of the stretch of time that the frame is of.

    Args:
        cycles: As `Monitor.cycles`; of it started_at, ended_at, outcome and the stages.

    Raises:
        ValueError: The frame lacks one of them.
    """
    has(cycles, "started_at", "ended_at", "outcome", *_COLUMNS.values())
    started, ended = days(cycles["started_at"]), days(cycles["ended_at"])
    begin = np.where(np.isnan(started), ended, started)
    outcome = np.array([one if one in OUTCOMES else "unknown" for one in cycles["outcome"].astype(object)], object)
    until = cycles.attrs.get("until")
    if isinstance(until, str):
        now = days(pd.Series(pd.to_datetime([until], utc=True, errors="coerce", format="ISO8601")))[0]
        ended = np.where((outcome == "running") & np.isnan(ended), now, ended)
    seconds = np.zeros((len(cycles), len(STAGES)))
    for place, stage in enumerate(STAGES):
        if stage in _COLUMNS:
            told = numbers(cycles[_COLUMNS[stage]])
            seconds[:, place] = np.where((told > 0) & (told < _LONGEST), told, 0)
    rest = (ended - started) * _DAY - seconds.sum(axis=1)
    # Below, it is the moments between two messages.
    seconds[:, list(STAGES).index("other")] = np.where((rest > 0.5) & (rest < _LONGEST), rest, 0)
    known = np.flatnonzero(np.isfinite(begin))
    order = known[np.argsort(begin[known], kind="stable")]
    return Bars(begin[order], seconds[order], outcome[order], order)


def cut_at(totals: npt.NDArray[np.float64]) -> float:
    """Return where bars are cut so that a few very long ones do not make the others too small to see."""
    if not len(totals) or not totals.max() > 0:
        return 1.0
    usual = float(np.quantile(totals[totals > 0], 0.9))
    return float(totals.max()) if totals.max() <= 6 * usual else 3 * usual


def numbers(values: pd.Series[float]) -> npt.NDArray[np.float64]:
    """Return a column of numbers; what is none, or infinite, is NaN."""
    made = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(made), made, np.nan)
