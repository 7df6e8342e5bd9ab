"""Buckets: answers that have a row for each stretch of time and group, read for drawing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.plots.canvas import has
from codeworm_monitor.plots.palette import BLUE, GOLD, GREEN, PINK, RED, Look
from codeworm_monitor.plots.time_axis import Days, days

__all__ = ["GROUPS", "Buckets", "Group", "buckets_of", "groups_of", "merged"]

GROUPS = (
    Look(BLUE, "", "o"),
    Look(RED, "//", "s"),
    Look(GREEN, "..", "^"),
    Look(PINK, "xx", "D"),
    Look(GOLD, "\\\\", "v"),
)
"""Groups in the order of their size; more are not told apart by looks."""
_BOUNDS = ("started_at", "ended_at", "covered")
Group = tuple[Hashable, ...]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Buckets:
    """Stretches of time, in their order.

    Attributes:
        begin: Days since 1970.
        end: So.
        covered: Share of each that was heard, 0 to 1; NaN: not known.
        at: Which of them each row of the frame belongs to; -1: to none that can be drawn.
    """

    begin: Days
    end: Days
    covered: Numbers
    at: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def middle(self) -> Days:
        """The middle of each."""
        middle: Days = (self.begin + self.end) / 2
        return middle

    def summed(self, values: Numbers, weights: npt.NDArray[np.bool_] | None = None) -> Numbers:
        """Return the sum of a column's values in each bucket.

        Args:
            values: Of shape (rows,); NaN counts nothing.
            weights: Which rows count; None: all.
        """
        counts = (self.at >= 0) & np.isfinite(values)
        if weights is not None:
            counts &= weights
        # Of nothing at all, bincount's are integers.
        return np.bincount(self.at[counts], weights=values[counts], minlength=len(self)).astype(np.float64)


def buckets_of(answer: pd.DataFrame) -> Buckets:
    """Return the stretches of time of an answer; rows without a time belong to none.

    Raises:
        ValueError: It has none.
    """
    has(answer, *_BOUNDS)
    begin, end = days(answer["started_at"]), days(answer["ended_at"])
    covered = answer["covered"].to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(begin) & np.isfinite(end) & (end > begin)
    starts, first, place = np.unique(begin[known], return_index=True, return_inverse=True)
    at = np.full(len(answer), -1, np.int64)
    at[known] = place
    return Buckets(starts, end[known][first], covered[known][first], at)


def groups_of(answer: pd.DataFrame, measures: Sequence[str], size: str) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Return the groups of an answer and which rows are theirs, the largest first; without groups one, "all".

    Args:
        answer: Its columns that are neither bounds nor measures tell the groups apart.
        measures: Columns that measure.
        size: The column that says how large a group is.

    Raises:
        ValueError: A measure is missing.
    """
    has(answer, *measures)
    columns = [name for name in answer.columns if name not in {*_BOUNDS, *measures}]
    if not columns or answer.empty:
        return [("all", np.ones(len(answer), np.bool_))]
    texts = [answer[name].astype(object).where(answer[name].notna(), "unknown").astype(str) for name in columns]
    keys = texts[0]
    for one in texts[1:]:
        keys = keys + " \N{MIDDLE DOT} " + one
    codes, names = pd.factorize(keys)
    sizes = np.bincount(codes, weights=np.nan_to_num(answer[size].to_numpy(np.float64, na_value=np.nan)))
    return [(str(names[code]), codes == code) for code in np.argsort(-sizes, kind="stable")]


def merged(buckets: Buckets, most: int) -> tuple[Buckets, int]:
    """Return as few buckets as a picture can show, neighbours taken together, and how many each is of.

    Args:
        buckets: Many.
        most: Most that are wanted.
    """
    each = -(-len(buckets) // most) if len(buckets) else 1
    if each == 1:
        return buckets, 1
    first = np.arange(0, len(buckets), each)
    last = np.minimum(first + each, len(buckets)) - 1
    lengths = buckets.end - buckets.begin
    heard = np.add.reduceat(np.nan_to_num(buckets.covered) * lengths, first)
    # What lies between two buckets, where rows were taken out, was not said to be heard.
    covered = heard / (buckets.end[last] - buckets.begin[first])
    at = np.where(buckets.at >= 0, buckets.at // each, -1)
    return Buckets(buckets.begin[first], buckets.end[last], covered, at), each
