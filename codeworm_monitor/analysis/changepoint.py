"""Change points: where the level of a series shifted, found robustly, with a p-value that counts the search for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from codeworm_monitor.analysis.extras import needed

__all__ = ["MOST_BLOCKS", "SHORTEST", "Change", "levels_of", "newest_change", "shift_of"]

SHORTEST = 6
"""Values that make a stretch: what is shorter is an outlier, however far off it is."""
MOST_BLOCKS = 2_000
"""Steps the search goes in: of a longer series, several values are taken together."""

_PAIRED = 500  # values of either side whose pairs are compared: at most 250,000 differences
_STRONGEST = 0.9  # autocorrelation beyond which a series is taken for no more than this
_TWO_SIDED_95 = 1.959964  # of the normal distribution
_FARTHEST = 10  # stretches that a passing change may consist of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """A shift of level between neighbouring stretches of a series.

    Attributes:
        before: Where the level before begins.
        start: Where the other level begins.
        end: Where it ends: the length of the series, if it lasts; else what follows is as before again.
        p_value: Of no shift, corrected for the search.
        shift: The other level less the one before (and after it).
        low: Lower end of the 95 % interval of the shift, given the place of the change.
        high: Upper end.
    """

    before: int
    start: int
    end: int
    p_value: float
    shift: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def moved(self, by: int) -> Change:
        """Return the same change of a series that has so many more values in front."""
        return replace(self, before=self.before + by, start=self.start + by, end=self.end + by)


def newest_change(values: Floats, *, level: float = 0.05, least: float = 0.0) -> tuple[Change | None, float]:
    """Find the newest shift of level, which may be over by now.

    The values are replaced by their ranks, so that none counts for more than its place, and cut into stretches of one
    level each by PELT (Killick, Fearnhead and Eckley 2012) with the rank cost of Lung-Yut-Fong, Lévy-Leduc and Cappé
    (2015) and the penalty 2 ln n of the Schwarz criterion: a change costs two parameters, its place and its size. That
    only proposes. A change is one if the Wilcoxon-Mann-Whitney test between the stretches says so after correction for
    the places that were searched, and if it is as large as `least`; else the weakest boundary is given up, and so on.

    The correction: without any change, the largest statistic of all n places to split at behaves like that of 5 log2(n
    / SHORTEST) independent ones, and that of all stretches like 2 n (found by simulation, n from 30 to 500); half of
    `level` goes to either. Values that go along with their neighbours tell less than independent ones: variance is
    taken (1 + r) / (1 - r) times as large, as of an autoregressive series of first order, r being learnt from the
    differences of values one and two apart, which a shift hardly touches.

    What follows a rise and differs by less than half of it is part of it. A level that is followed by one nearer to the
    level before has passed, if it lasted less long: a higher one than what is before and after together, a lower one
    than what is before (else the return is the news).

    Of more than `MOST_BLOCKS` values, the newest so many are searched one by one, and then all in so many blocks of
    neighbours, whose means of ranks are taken; a boundary is put to the exact value afterwards. The work is thus
    bounded by the sorting of the values.

    Args:
        values: The series, in order of time; no NaN.
        level: Chance of a false alarm.
        least: Smallest shift that counts.

    Returns:
        The change, None if there is none; and its p-value, or that of the strongest candidate.

    Raises:
        MissingExtraError: SciPy or ruptures is not installed.
    """
    strongest = 1.0
    begins = [0] if len(values) <= MOST_BLOCKS else [len(values) - MOST_BLOCKS, 0]
    for begin in begins:
        change, p_value = _Search(values[begin:], least=least, tests=len(begins)).newest(level)
        if change is not None:
            return change.moved(begin), p_value
        strongest = min(strongest, p_value)
    return None, strongest


def levels_of(values: Floats) -> Floats:
    """Return for each value the level of its stretch, its median, where PELT cuts the series as `newest_change` says.

    What it proposes, untested: good enough to tell other effects apart from changes of level.

    Args:
        values: The series, in order of time; no NaN.

    Raises:
        MissingExtraError: SciPy or ruptures is not installed.
    """
    levels: Floats = np.zeros(len(values))
    bounds = _Search(values, least=0.0, tests=1).proposed()
    for begin, end in pairwise(bounds):
        levels[begin:end] = np.median(values[begin:end])
    return levels


def shift_of(after: Floats, before: Floats, *, inflation: float = 1.0) -> tuple[float, float, float]:
    """Return how much higher some values are than others, and the ends of the 95 % interval.

    The median of all differences between a value of one side and one of the other (Hodges and Lehmann 1963), and the
    quantiles of the differences that invert the Wilcoxon-Mann-Whitney test (Moses). Of more than 500 values of a side,
    500 evenly spaced quantiles are taken.

    Args:
        after: Values; at least one.
        before: Values; at least one.
        inflation: By how much the variance is larger than of independent values.
    """
    differences = (_thinned(after)[:, None] - _thinned(before)[None, :]).ravel()
    error = _TWO_SIDED_95 * math.sqrt(inflation * (len(after) + len(before) + 1) / (12 * len(after) * len(before)))
    shift, low, high = np.quantile(differences, [0.5, max(0.0, 0.5 - error), min(1.0, 0.5 + error)]).tolist()
    return shift, low, high


class _Search:
    """The search of one series."""

    def __init__(self, values: Floats, *, least: float, tests: int) -> None:
        self.stats = needed("scipy.stats")
        self.values, self.least, self.tests = values, least, tests
        ranks = self.stats.rankdata(values)
        spread = float(ranks.std()) if len(values) else 0.0
        self.is_constant = spread == 0
        self.scores: Floats = np.zeros(len(values)) if self.is_constant else (ranks - ranks.mean()) / spread
        self.sums = np.concatenate([[0.0], np.cumsum(self.scores)])
        self.inflation = _inflation(self.scores)

    def newest(self, level: float) -> tuple[Change | None, float]:
        """Return the newest change that holds and its p-value; else None and that of the strongest candidate."""
        count = len(self.values)
        if self.is_constant or count < 2 * SHORTEST:
            return None, 1.0
        bounds = self.proposed()
        if len(bounds) == 2:  # the penalty counts stretches; of a single split the test asks less
            bounds.insert(1, self._split(0, count, SHORTEST, count - SHORTEST))
        strongest = 1.0
        while len(bounds) > 2:
            change = self._newest_of(bounds)
            strongest = min(strongest, change.p_value)
            if change.p_value <= level:
                change = self._sized(change)
                if abs(change.shift) >= self.least:
                    return change, change.p_value
            weakest = min(range(1, len(bounds) - 1), key=lambda at: self._strength(*bounds[at - 1 : at + 2]))
            del bounds[weakest]
        return None, strongest

    def proposed(self) -> list[int]:
        """Return where PELT puts the boundaries, with 0 and the length."""
        count = len(self.values)
        if self.is_constant or count < 2 * SHORTEST:
            return [0, count] if count else [0]
        width = -(-count // MOST_BLOCKS)
        starts = np.arange(0, count, width)
        # Of unit variance: a block's sum over the root of its size.
        blocks = np.add.reduceat(self.scores, starts) / np.sqrt(np.diff(np.append(starts, count)))
        fewest = -(-SHORTEST // width)
        # Least squares of ranks is the rank cost, and the linear kernel's search is the one in C.
        search = needed("ruptures").KernelCPD(kernel="linear", min_size=fewest).fit(blocks[:, None])
        penalty = 2 * math.log(len(blocks)) * self.inflation
        bounds = [0, *(int(place) * width for place in search.predict(pen=penalty)[:-1]), count]
        if width > 1:
            for at in range(1, len(bounds) - 1):
                low = max(bounds[at] - width, bounds[at - 1] + 1)
                high = min(bounds[at] + width, bounds[at + 1] - 1)
                bounds[at] = self._split(bounds[at - 1], bounds[at + 1], low, high)
        return bounds

    def _split(self, begin: int, end: int, low: int, high: int) -> int:
        """Return the place from `low` to `high` that best splits a stretch in two."""
        places = np.arange(low, high + 1)
        left = (self.sums[places] - self.sums[begin]) / (places - begin)
        right = (self.sums[end] - self.sums[places]) / (end - places)
        return low + int(np.argmax((left - right) ** 2 * (places - begin) * (end - places)))

    def _strength(self, begin: int, place: int, end: int) -> float:
        left, right = place - begin, end - place
        shift = (self.sums[place] - self.sums[begin]) / left - (self.sums[end] - self.sums[place]) / right
        return abs(float(shift)) * math.sqrt(left * right / (left + right))

    def _newest_of(self, bounds: list[int]) -> Change:
        """Return the newest change, with its p-value."""
        bounds = list(bounds)
        while len(bounds) > 3:
            older, other, newest = (self._median(bounds[at], bounds[at + 1]) for at in (-4, -3, -2))
            if not (other > older and abs(newest - other) < (other - older) / 2):
                break
            del bounds[-2]
        start, end = bounds[-2], bounds[-1]
        newest = self._median(start, end)
        for at in range(len(bounds) - 3, max(0, len(bounds) - 3 - _FARTHEST), -1):
            away = self._median(bounds[at], start) - newest
            back = self._median(bounds[at - 1], bounds[at]) - newest
            if abs(back) < abs(away) / 2:
                around = bounds[at] - bounds[at - 1] + (end - start if away > 0 else 0)
                if start - bounds[at] < around:
                    return self._tested(bounds[at - 1], bounds[at], start)
                break
            if back * away <= 0:
                break
        return self._tested(bounds[-3], start, end)

    def _median(self, begin: int, end: int) -> float:
        return float(np.median(self.values[begin:end]))

    def _sides(self, change: Change) -> tuple[Floats, Floats]:
        return self.values[change.start : change.end], np.concatenate(
            [self.values[change.before : change.start], self.values[change.end :]]
        )

    def _tested(self, before: int, start: int, end: int) -> Change:
        count = len(self.values)
        change = Change(before, start, end, 1.0)
        single = self.stats.mannwhitneyu(*self._sides(change), alternative="two-sided", method="asymptotic").pvalue
        z = float(self.stats.norm.isf(float(single) / 2)) / math.sqrt(self.inflation)
        is_one_split = before == 0 and end == count
        searched = 2 * (5 * math.log2(count / SHORTEST) if is_one_split else 2 * count) * self.tests
        return replace(change, p_value=min(1.0, 2 * float(self.stats.norm.sf(z)) * searched))

    def _sized(self, change: Change) -> Change:
        shift, low, high = shift_of(*self._sides(change), inflation=self.inflation)
        return replace(change, shift=shift, low=low, high=high)


def _inflation(scores: Floats) -> float:
    """Return by how much the variance of a mean is larger than of independent values."""
    if len(scores) < 3:
        return 1.0
    near = float(np.mean(np.diff(scores) ** 2))
    far = float(np.mean((scores[2:] - scores[:-2]) ** 2))
    # Of an autoregressive series of first order, far / near is 1 + r.
    r = min(_STRONGEST, max(0.0, far / near - 1)) if near else 0.0
    return (1 + r) / (1 - r)


def _thinned(values: Floats) -> Floats:
    if len(values) <= _PAIRED:
        return values
    places = (np.arange(_PAIRED) + 0.5) / _PAIRED * len(values)
    thinned: Floats = np.sort(values)[places.astype(np.intp)]
    return thinned
