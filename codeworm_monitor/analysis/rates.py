"""Rates: how much was documented, how well, how fast and in how many tokens, by time and by group.

A cycle counts in the bucket in which it ended, or in which it began where no end is known. Buckets follow the clock of the
viewer's zone: hours begin at the full hour, days at midnight, weeks on Monday; when the clocks change, a day has 23 or 25
hours, and rates are per hour that passed. Cycles tell the publisher's time: one that lies outside the stretch, as the clocks
of publisher and relay differ, counts in the first or the last bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.coverage import MISSING, Coverage, Micros, micros
from codeworm_monitor.analysis.cycles import OUTCOMES, cycles
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.moments import duration, micros_of, time_of

__all__ = [
    "GROUPS",
    "HOUR",
    "STAGES",
    "bucket_edges",
    "durations",
    "success_rate",
    "throughput",
    "tokens",
    "utc_times",
    "wilson",
    "zone_name",
    "zone_offsets",
]

GROUPS = ("repo", "doc_type", "language", "model", "outcome", "target")
"""Columns of the cycles that rates can be parted by."""
STAGES = ("find", "generate", "commit", "push")
"""Stages of a cycle, in their order; the column of each ends in `_s`."""
HOUR = 3_600_000_000
"""An hour in microseconds."""
MAX_CELLS = 500_000
"""Most rows of one answer: buckets times groups."""

_DAY = 24 * HOUR
_MONDAY = 4 * _DAY
"""The first Monday after the beginning of 1970, on any clock."""

By = str | Sequence[str] | None
Every = str | timedelta | None
Zone = str | tzinfo | None
Floats = npt.NDArray[np.float64]


def throughput(traffic: Traffic, *, every: Every = "1h", by: By = None, zone: Zone = None) -> Answer:
    """Count cycles by outcome, and documents per hour, in buckets of time.

    Args:
        traffic: Messages and gaps of a stretch of time.
        every: Length of a bucket: a part of a day (15min, 1h, 6h) or whole days (1d, 1w); None: the stretch as one.
        by: Of `GROUPS`, one or several; None: all in one.
        zone: Whose midnight and hours; None: this machine's.

    Returns:
        One row per bucket and group, every bucket of the stretch being there for every group of the stretch. Columns:
        started_at, ended_at (datetime64[us, UTC]; those of the whole bucket) · covered (float64; share of it that was heard,
        0 to 1) · those of `by` (missing: unknown, a group of its own) · hours (float64; how many of it were heard) · cycles ·
        committed, failed, llm_error, skipped, dry_run, interrupted, running, unknown (int64; cycles by outcome, unknown where
        the end was lost) · documents_per_h (float64; committed per hour that was heard).

        In an hour that was heard and quiet counts are 0. What happened in a gap is not in the counts; where all of a bucket
        is one, `covered` is 0 and `documents_per_h` is missing.

    Raises:
        ValueError: `every`, `by` or `zone` cannot be read, or there would be more than `MAX_CELLS` rows.
    """
    found = cycles(traffic)
    cells = _cells(found, traffic.coverage, every, by, resolved(zone))
    counts = _outcomes(found, cells)
    frame = cells.frame.assign(hours=cells.hours, cycles=counts.sum(axis=1))
    frame[[*OUTCOMES, "unknown"]] = counts
    frame["documents_per_h"] = _ratio(frame["committed"].to_numpy(), cells.hours)
    return _answer(frame, traffic, "throughput", zone)


def success_rate(
    traffic: Traffic, *, every: Every = None, by: By = None, confidence: float = 0.95, zone: Zone = None
) -> Answer:
    """Return which share of the attempts to document ended in a commit, with its Wilson interval.

    Committed is a success; failed and llm_error are failures. What was skipped, interrupted or a dry run, still runs, or
    lost its end says nothing of success and counts neither way: `uncounted` tells how many those are.

    Args:
        traffic: Messages and gaps of a stretch of time.
        every: As for `throughput`.
        by: As for `throughput`.
        confidence: Of the interval, between 0 and 1.
        zone: As for `throughput`.

    Returns:
        One row per bucket and group. Columns: started_at, ended_at, covered and those of `by` as of `throughput` · attempts,
        succeeded, failed, uncounted (int64) · rate, low, high (float64; 0 to 1; missing where there were no attempts). The
        interval is Wilson's score interval without correction (E. B. Wilson, Probable inference, the law of succession, and
        statistical inference, J. Am. Stat. Assoc. 22, 1927). It says what chance alone may do to the attempts that were
        heard; what a gap hid is in neither count.

    Raises:
        ValueError: `every`, `by`, `confidence` or `zone` cannot be read, or there would be more than `MAX_CELLS` rows.
    """
    found = cycles(traffic)
    cells = _cells(found, traffic.coverage, every, by, resolved(zone))
    counts = _outcomes(found, cells)
    succeeded = counts[:, OUTCOMES.index("committed")]
    failed = sum((counts[:, OUTCOMES.index(name)] for name in ("failed", "llm_error")), np.zeros(len(counts), np.int64))
    attempts = succeeded + failed
    low, high = wilson(succeeded, attempts, confidence)
    uncounted = counts.sum(axis=1) - attempts
    frame = cells.frame.assign(attempts=attempts, succeeded=succeeded, failed=failed, uncounted=uncounted)
    made = _answer(frame.assign(rate=_ratio(succeeded, attempts), low=low, high=high), traffic, "success", zone)
    made.attrs["confidence"] = confidence
    return made


def durations(traffic: Traffic, *, by: By = None, every: Every = None, zone: Zone = None) -> Answer:
    """Return how long the stages of the cycles took: median, and what one in ten and one in a hundred exceeds.

    Args:
        traffic: Messages and gaps of a stretch of time.
        by: As for `throughput`.
        every: As for `throughput`.
        zone: As for `throughput`.

    Returns:
        One row per bucket, group and stage. Columns: started_at, ended_at, covered and those of `by` as of `throughput` ·
        stage (category, ordered: find, generate, commit, push; columns of the cycles with `_s` after it) · count (int64; how
        many cycles tell the length of this stage) · p50, p90, p99 (float64, seconds; missing where count is 0). A cycle that
        does not tell a length is left out of that stage alone. Between two lengths the percentiles are linear (definition 7
        of R. J. Hyndman and Y. Fan, Sample quantiles in statistical packages, Am. Stat. 50, 1996): p99 of a few is near to
        the longest.

    Raises:
        ValueError: `every`, `by` or `zone` cannot be read, or there would be more than `MAX_CELLS` buckets times groups.
    """
    found = cycles(traffic)
    cells = _cells(found, traffic.coverage, every, by, resolved(zone))
    size, count = len(cells.frame), len(STAGES)
    counts, levels = np.empty((size, count), np.int64), np.empty((size, count, 3))
    for at, stage in enumerate(STAGES):
        counts[:, at], levels[:, at] = _percentiles(found[f"{stage}_s"], cells, (0.5, 0.9, 0.99))
    frame = cells.frame.take(np.repeat(np.arange(size), count)).reset_index(drop=True)
    frame["stage"] = pd.Categorical(list(STAGES) * size, list(STAGES), ordered=True)
    frame["count"] = counts.ravel()
    frame[["p50", "p90", "p99"]] = levels.reshape(-1, 3)
    return _answer(frame, traffic, "durations", zone)


def tokens(traffic: Traffic, *, by: By = None, every: Every = None, zone: Zone = None) -> Answer:
    """Return how many tokens were generated, and how fast.

    Args:
        traffic: Messages and gaps of a stretch of time.
        by: As for `throughput`.
        every: As for `throughput`.
        zone: As for `throughput`.

    Returns:
        One row per bucket and group. Columns: started_at, ended_at, covered and those of `by` as of `throughput` · count (int64;
        cycles that tell their tokens) · tokens (float64; of these in all) · mean (float64; per cycle) · timed (int64; cycles
        that tell their tokens per second too) · tokens_per_s_p10, tokens_per_s_p50, tokens_per_s_p90 (float64; percentiles
        over the cycles, as of `durations`). A cycle that does not tell a figure is left out of it; a mean or percentile of
        none is missing.

    Raises:
        ValueError: `every`, `by` or `zone` cannot be read, or there would be more than `MAX_CELLS` rows.
    """
    found = cycles(traffic)
    cells = _cells(found, traffic.coverage, every, by, resolved(zone))
    amounts = found["tokens"].to_numpy(np.float64)
    is_known = ~np.isnan(amounts) & (cells.codes >= 0)
    count = np.bincount(cells.codes[is_known], minlength=len(cells.frame))
    total = np.bincount(cells.codes[is_known], amounts[is_known], minlength=len(cells.frame))
    timed, speeds = _percentiles(found["tokens_per_s"], cells, (0.1, 0.5, 0.9))
    frame = cells.frame.assign(count=count, tokens=total.astype(np.float64), mean=_ratio(total, count), timed=timed)
    frame[[f"tokens_per_s_p{level}" for level in (10, 50, 90)]] = speeds
    return _answer(frame, traffic, "tokens", zone)


def wilson(
    succeeded: npt.NDArray[np.int64], attempts: npt.NDArray[np.int64], confidence: float
) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of Wilson's score interval (1927), NaN where there were no attempts.

    Raises:
        ValueError: `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a share between 0 and 1, such as 0.95")
    # By hand: SciPy has it for one count at a time, 0.4 ms each, and an answer may have 100,000.
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    n = np.where(attempts > 0, attempts, np.nan)
    share = succeeded / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the two sides of the sum are equal but for rounding.
    low = np.where(succeeded == 0, np.where(attempts > 0, 0.0, np.nan), middle - half)
    return low, np.where((succeeded == attempts) & (attempts > 0), 1.0, middle + half)


def bucket_edges(since: datetime, until: datetime, every: str | timedelta, zone: tzinfo) -> Micros:
    """Return where the buckets of a stretch begin, and where the last one ends.

    Buckets begin where the clock shows a multiple of their length: of days counted from a Monday, of less from midnight. A
    beginning that the clock skips is at the skip. Where it is set back, buckets of an hour and less come twice, and longer
    ones last longer.

    Args:
        since: Beginning of the stretch, in the first bucket.
        until: Its end, in the last one or at its end.
        every: A part of a day (15min, 1h, 6h) or whole days (1d, 1w).
        zone: Whose clock.

    Returns:
        Microseconds since 1970, ascending, at least two.

    Raises:
        ValueError: `every` cannot be read or is neither, or there would be more than `MAX_CELLS` buckets.
    """
    length = _length(every)
    begin, end = micros_of(since), micros_of(until)
    if (end - begin) // length >= MAX_CELLS:
        raise ValueError(f"every={every!r} makes more than {MAX_CELLS:,} buckets: give a longer one")
    margin = length + _DAY
    offsets = zone_offsets(begin - margin, end + margin, zone)
    stops = [start for start, _ in offsets[1:]] + [end + margin]
    pieces: list[Micros] = []
    newest: int | None = None  # number of the furthest bucket so far
    for (start, offset), stop in zip(offsets, stops, strict=True):
        shift = offset - _MONDAY
        first = -(-(start + shift) // length)
        starts = np.arange(first * length - shift, stop, length, dtype=np.int64)
        if newest is not None:
            if length > HOUR:
                starts = starts[(starts + shift) // length > newest]
            if (start + shift) % length and (start + shift) // length > newest:
                starts = np.concatenate([np.array([start], np.int64), starts])
        last = (stop - 1 + shift) // length
        newest = last if newest is None else max(newest, last)
        pieces.append(starts)
    edges = np.concatenate(pieces)
    low = int(np.searchsorted(edges, begin, "right")) - 1
    high = max(int(np.searchsorted(edges, end, "left")), low + 1)
    return edges[low : high + 1]


def utc_times(times: Micros) -> pd.DatetimeIndex:
    """Return microseconds since 1970 as times in UTC."""
    return pd.DatetimeIndex(times.view("datetime64[us]"), tz="UTC")


def zone_name(zone: Zone) -> str | None:
    """Return the name by which a zone can be found again; None: it has none."""
    place = resolved(zone)
    name = "UTC" if place is UTC else getattr(place, "key", None)
    return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class _Cells:
    """Buckets by groups.

    Attributes:
        frame: A row for each: started_at, ended_at, covered, and the columns of the groups.
        hours: How many hours of each were heard.
        codes: Of each cycle, the row that it counts in.
    """

    frame: pd.DataFrame
    hours: Floats
    codes: npt.NDArray[np.int64]


def _cells(found: pd.DataFrame, coverage: Coverage, every: Every, by: By, zone: tzinfo) -> _Cells:
    starts, ends = _buckets(coverage, every, zone)
    groups, keys = _groups(found, by)
    width, size = len(keys), len(keys) * len(starts)
    if size > MAX_CELLS:
        raise ValueError(
            f"{len(starts):,} buckets of {width:,} groups are too many rows: give a longer every, or another by"
        )
    times = micros(found["ended_at"].where(found["ended_at"].notna(), found["started_at"]))
    if len(starts):
        bucket = np.clip(np.searchsorted(starts, times, "right") - 1, 0, len(starts) - 1)
        codes = np.where(times == MISSING, -1, bucket * width + groups)
    else:
        codes = np.full(len(found), -1)
    shares = coverage.shares(starts, ends)
    times_of = {"started_at": utc_times(np.repeat(starts, width)), "ended_at": utc_times(np.repeat(ends, width))}
    frame = pd.DataFrame({**times_of, "covered": np.repeat(shares, width)})
    tiled = keys.take(np.tile(np.arange(width), len(starts)))
    for name in keys.columns:
        frame[name] = tiled[name].array
    hours = np.nan_to_num(shares) * (ends - starts) / HOUR
    return _Cells(frame, np.repeat(hours, width), codes.astype(np.int64))


def _buckets(coverage: Coverage, every: Every, zone: tzinfo) -> tuple[Micros, Micros]:
    edges = np.empty(0, np.int64)
    if coverage.since is not None and coverage.until is not None:
        edges = np.array([micros_of(coverage.since), micros_of(coverage.until)], np.int64)
        if every is not None:
            edges = bucket_edges(coverage.since, coverage.until, every, zone)
    return edges[:-1], edges[1:]


def _groups(found: pd.DataFrame, by: By) -> tuple[npt.NDArray[np.int64], pd.DataFrame]:
    """Return the number of each cycle's group, and the groups' columns, in their order."""
    if by is not None and not isinstance(by, (str, list, tuple)):
        raise TypeError(f"by is one of {', '.join(GROUPS)}, or a list of them, not {type(by).__name__}")
    names = list(dict.fromkeys([by] if isinstance(by, str) else by or []))
    for name in names:
        if name not in GROUPS:
            raise ValueError(f"by={name!r} parts no cycles: give one of {', '.join(GROUPS)}, or a list of them")
    if not names:
        return np.zeros(len(found), np.int64), pd.DataFrame(index=pd.RangeIndex(1))
    codes = np.asarray(found.groupby(names, dropna=False, observed=True, sort=True).ngroup(), np.int64)
    return codes, pd.DataFrame(found[names]).take(np.unique(codes, return_index=True)[1]).reset_index(drop=True)


def _outcomes(found: pd.DataFrame, cells: _Cells) -> npt.NDArray[np.int64]:
    """Return how many cycles of each outcome there are, of shape (cells, outcomes + 1), the last of them unknown."""
    codes = pd.Categorical(found["outcome"], categories=list(OUTCOMES)).codes.astype(np.int64)
    codes[codes < 0] = len(OUTCOMES)
    width, is_placed = len(OUTCOMES) + 1, cells.codes >= 0
    counts = np.bincount((cells.codes * width + codes)[is_placed], minlength=len(cells.frame) * width)
    return counts.astype(np.int64).reshape(-1, width)


def _percentiles(
    values: pd.Series[float], cells: _Cells, levels: tuple[float, ...]
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return how many values each cell has, and their percentiles, of shape (cells, levels)."""
    size = len(cells.frame)
    known = values.to_numpy(np.float64)
    is_known = ~np.isnan(known) & (cells.codes >= 0)
    codes, known = cells.codes[is_known], known[is_known]
    counts = np.bincount(codes, minlength=size).astype(np.int64)
    found = np.full((size, len(levels)), np.nan)
    if len(known):
        parts = pd.Series(known).groupby(codes).quantile(np.array(levels)).unstack()
        found[parts.index.to_numpy()] = parts.to_numpy()
    return counts, found


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """Return part / whole, NaN of nothing."""
    return part.astype(np.float64) / np.where(whole > 0, whole.astype(np.float64), np.nan)


def _answer(frame: pd.DataFrame, traffic: Traffic, picture: str, zone: Zone) -> Answer:
    made = answer(frame, traffic.coverage, picture)
    if (name := zone_name(zone)) is not None:
        made.attrs["zone"] = name
    return made


def _length(every: str | timedelta) -> int:
    """Return the length of a bucket in microseconds."""
    span = every if isinstance(every, timedelta) else None
    if isinstance(every, str) and "M" not in every:  # pandas' months are none of a fixed length
        with suppress(ValueError, OverflowError):
            span = duration((every if every[:1].isdigit() else f"1{every}").lower())
    length = 0 if span is None else span // timedelta(microseconds=1)
    if length <= 0 or (_DAY % length and length % _DAY):
        raise ValueError(f"every={every!r} is neither a part of a day (15min, 1h, 6h) nor whole days (1d, 1w)")
    return length


def zone_offsets(begin: int, end: int, zone: tzinfo) -> list[tuple[int, int]]:
    """Return from when on a zone's clock is how far ahead of UTC, in microseconds, the first being `begin`."""

    def offset(at: int) -> int:
        return (time_of(at).astimezone(zone).utcoffset() or timedelta()) // timedelta(microseconds=1)

    found = [(begin, offset(begin))]
    for low in range(begin, end, _DAY):
        old, high = found[-1][1], min(low + _DAY, end)
        if (new := offset(high)) == old:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == old else (low, middle)
        found.append((high, new))
    return found
