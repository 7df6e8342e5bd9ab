"""Schedule: commits per day against what CodeWorm sets itself, the gaps between them, and what today will come to.

CodeWorm draws a number of commits for each day of its own zone, and moments for them that are some minutes apart. A day of
the viewer's zone is measured by the same number, also where the clocks change; give CodeWorm's zone to see its own days.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta, tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.coverage import MISSING, Coverage, Micros, micros
from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.extras import needed
from codeworm_monitor.analysis.rates import HOUR, bucket_edges, utc_times, zone_name, zone_offsets
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.moments import duration, micros_of, time_of

__all__ = ["CONFIDENCE", "TARGET", "VERDICTS", "schedule"]

TARGET = (120, 144)
"""Fewest and most commits of a day that CodeWorm's configuration asks for."""
VERDICTS = ("below", "within", "above")
"""How the commits of a day stand to their target, in the order of the categories."""
CONFIDENCE = 0.95
"""Of the interval of the forecast."""

_STRAY = 0.1
"""Share of starts that may come too early, after a restart or a long cycle, where the schedule still keeps its gap."""

Floats = npt.NDArray[np.float64]


def schedule(
    traffic: Traffic,
    *,
    target: tuple[int, int] = TARGET,
    min_gap: str | timedelta = "10min",
    zone: str | tzinfo | None = None,
) -> Answer:
    """Return the commits of each day against the schedule, and a forecast for the day that is running at the end.

    Args:
        traffic: Messages and gaps of a stretch of time.
        target: Fewest and most commits of a day, by CodeWorm's configuration.
        min_gap: Least time between the starts of two cycles by its configuration, such as "10min".
        zone: Whose days; None: this machine's.

    Returns:
        One row per day that the stretch touches. Columns: day (str; its ISO date) · started_at, ended_at (datetime64[us,
        UTC]; its midnights) · covered (float64; share of the day that was heard, 0 to 1) · is_whole (bool; heard from
        midnight to midnight) · is_running (bool; the stretch ends within it) · commits (int64; those that were heard) ·
        target_low, target_high (int64) · verdict (category, ordered: below, within, above; missing where what was not
        heard could change it, by a commit per `min_gap` and one more for each hole, or by any number if starts do not
        keep to `min_gap`) · gaps (int64; between two commits one after the other, of which the later is of this day;
        those with a hole in between are left out, as a commit may be missing there) · under_min (int64; of these
        shorter than `min_gap`) · under_min_share (float64; missing where there are no gaps) · starts_under_min (int64;
        the same of the starts of cycles, which are what the scheduler keeps apart: a commit after a long search or
        generation comes nearer to the next) · gap_p50_s, gap_max_s (float64, seconds; median and longest) · forecast,
        forecast_low, forecast_high (float64; commits of the running day in the end, with the ends of an interval of
        `CONFIDENCE`; missing on other days).

        The forecast adds to the commits that were heard what is to be expected in all of the day that was not: its rest, its
        holes, and what lay before the stretch. Each hour of the clock has a rate that is Gamma distributed: known by the
        commits and the time heard in that hour on all days of the stretch, and by the rate of the stretch as a whole, which
        counts as one hour; that in turn by the middle of `target`, which counts as one commit. Counts are then distributed
        as a negative binomial (Gelman et al., Bayesian Data Analysis, 3rd ed. 2013, sections 2.6 and 5.1), wider by as
        much as the hours or the days of the stretch varied more than by chance (McCullagh and Nelder, Generalized
        Linear Models, 2nd ed. 1989, section 6.2), and are no more than `min_gap` leaves room for, if starts keep to it.
        So it supposes that CodeWorm goes on as in the stretch, with outages as often as there. An hour of the clock
        that was never heard is expected to be like the rest: before it has heard a whole day, the forecast knows of no
        quiet nights.

    Raises:
        MissingExtraError: SciPy is not installed.
        ValueError: `target`, `min_gap` or `zone` cannot be read.
    """
    low, high = _bounds(target)
    space = _space(min_gap)
    place = resolved(zone)
    found, coverage = cycles(traffic), traffic.coverage
    edges = np.empty(0, np.int64)
    if coverage.since is not None and coverage.until is not None:
        edges = bucket_edges(coverage.since, coverage.until, "1d", place)
    starts, ends, count = edges[:-1], edges[1:], max(len(edges) - 1, 0)
    is_running = np.zeros(count, np.bool_)
    if count and coverage.until is not None:
        is_running[-1] = micros_of(coverage.until) < ends[-1]
    shares = coverage.shares(starts, ends)

    times, is_exact = _commit_times(found)
    commits = _counts(times, edges)
    gaps, gap_ends = _gaps(times, is_exact, coverage)
    begun = micros(found["started_at"].dropna().sort_values())
    start_gaps, start_gap_ends = _gaps(begun, np.ones(len(begun), np.bool_), coverage)
    keeps_gap = (start_gaps < space).sum() <= _STRAY * len(start_gaps)
    room = _room(coverage, starts, ends, shares, space if keeps_gap else 0)
    lengths = pd.Series(gaps / 1e6).groupby(_places(gap_ends, edges)).agg(["median", "max"]).reindex(range(count))
    gap_counts, short = _counts(gap_ends, edges), _counts(gap_ends[gaps < space], edges)

    forecast = np.full((count, 3), np.nan)
    if is_running.any():
        mean, variance = _expected(coverage, times, edges, place, (low + high) / 2)
        forecast[-1] = commits[-1] + _interval(mean, variance, float(room[-1]))
    frame = pd.DataFrame(
        {
            "day": pd.Series(_clock(starts, place).strftime("%Y-%m-%d"), dtype="str"),
            "started_at": utc_times(starts),
            "ended_at": utc_times(ends),
            "covered": shares,
            "is_whole": shares >= 1,
            "is_running": is_running,
            "commits": commits,
            "target_low": np.full(count, low, np.int64),
            "target_high": np.full(count, high, np.int64),
            "verdict": _verdicts(commits, commits + room, low, high),
            "gaps": gap_counts,
            "under_min": short,
            "under_min_share": short / np.where(gap_counts > 0, gap_counts, np.nan),
            "starts_under_min": _counts(start_gap_ends[start_gaps < space], edges),
            "gap_p50_s": lengths["median"].to_numpy(np.float64),
            "gap_max_s": lengths["max"].to_numpy(np.float64),
            "forecast": forecast[:, 0],
            "forecast_low": forecast[:, 1],
            "forecast_high": forecast[:, 2],
        }
    )
    made = answer(frame, coverage, "schedule")
    made.attrs |= {"min_gap_s": space / 1e6, "confidence": CONFIDENCE}
    if (name := zone_name(zone)) is not None:
        made.attrs["zone"] = name
    return made


def _bounds(target: tuple[int, int]) -> tuple[int, int]:
    low, high = target if isinstance(target, (tuple, list)) and len(target) == 2 else (1, 0)
    if not 0 <= low <= high or high < 1:
        raise ValueError(f"target={target!r}: give the fewest and the most commits of a day, such as (120, 144)")
    return int(low), int(high)


def _space(min_gap: str | timedelta) -> int:
    """Return a length of time in microseconds."""
    span = min_gap if isinstance(min_gap, timedelta) else None
    if isinstance(min_gap, str):
        with suppress(ValueError, OverflowError):
            span = duration(min_gap)
    if span is None or span <= timedelta():
        raise ValueError(f"min_gap={min_gap!r} is no length of time: write 10min, or give a timedelta")
    return span // timedelta(microseconds=1)


def _commit_times(found: pd.DataFrame) -> tuple[Micros, npt.NDArray[np.bool_]]:
    """Return when commits were made, ascending, and of which this is known: else it is when the cycle began."""
    committed = found[found["outcome"] == "committed"]
    pushing = np.nan_to_num(committed["push_s"].to_numpy(np.float64))
    ended = micros(committed["ended_at"])
    is_exact = ended != MISSING
    times = np.where(is_exact, ended - (pushing * 1e6).astype(np.int64), micros(committed["started_at"]))
    is_placed = times != MISSING
    times, is_exact = times[is_placed], is_exact[is_placed]
    order = np.argsort(times, kind="stable")
    return times[order], is_exact[order]


def _gaps(times: Micros, is_exact: npt.NDArray[np.bool_], coverage: Coverage) -> tuple[Micros, Micros]:
    """Return the lengths of the gaps between neighbours that are known and have no hole between them, and their ends."""
    first, last = times[:-1], times[1:]
    is_known = is_exact[:-1] & is_exact[1:] & ~coverage.overlaps(first, last)
    return (last - first)[is_known], last[is_known]


def _clock(times: Micros, zone: tzinfo) -> pd.DatetimeIndex:
    """Return what the clock of a zone shows at times that ascend."""
    shown = times
    if len(times):  # by hand: pandas cannot read the zone of a setting such as TZ=CET-1CEST
        offsets = np.array(zone_offsets(int(times[0]), int(times[-1]) + 1, zone), np.int64)
        shown = times + offsets[np.searchsorted(offsets[:, 0], times, "right") - 1, 1]
    return pd.DatetimeIndex(shown.view("datetime64[us]"))


def _places(times: Micros, edges: Micros) -> Micros:
    """Return in which bucket a time lies; one outside the stretch lies in the first or the last."""
    return np.clip(np.searchsorted(edges, times, "right") - 1, 0, max(len(edges) - 2, 0))


def _counts(times: Micros, edges: Micros) -> Micros:
    """Return how many times lie in each bucket."""
    return np.bincount(_places(times, edges), minlength=max(len(edges) - 1, 0)).astype(np.int64)


def _room(coverage: Coverage, starts: Micros, ends: Micros, shares: Floats, space: int) -> Floats:
    """Return how many commits may at most have been in the part of each day that was not heard; infinite if space is 0."""
    if coverage.since is None or coverage.until is None:
        return np.zeros(len(starts))
    holes = coverage.holes
    spans = np.searchsorted(holes[:, 0], ends, "left") - np.searchsorted(holes[:, 1], starts, "right")
    spans += (starts < micros_of(coverage.since)).astype(np.int64) + (ends > micros_of(coverage.until))
    if not space:
        return np.where(spans > 0, np.inf, 0.0)
    unheard = np.round((1 - shares) * (ends - starts)).astype(np.int64)
    return (unheard // space + spans).astype(np.float64)


def _verdicts(least: Micros, most: Floats, low: int, high: int) -> pd.Categorical:
    """Return how days stand to their target that have so many commits at least, and at most."""
    codes = np.where(most < low, 0, np.where(least > high, 2, np.where((least >= low) & (most <= high), 1, -1)))
    return pd.Categorical(np.array([*VERDICTS, None], object)[codes], list(VERDICTS), ordered=True)


def _expected(coverage: Coverage, times: Micros, days: Micros, zone: tzinfo, usual: float) -> tuple[float, float]:
    """Return how many commits are to be expected in the part of the last day that was not heard, and their variance.

    Args:
        coverage: Of the stretch.
        times: Of its commits.
        days: Edges of its days.
        zone: Whose hours.
        usual: Commits of a day, by the schedule.
    """
    edges = bucket_edges(time_of(int(days[0])), time_of(int(days[-1])), "1h", zone)
    hours = np.diff(edges) / HOUR
    heard = coverage.shares(edges[:-1], edges[1:]) * hours
    counts = _counts(times, edges)
    clock = _clock(edges[:-1], zone).hour.to_numpy()

    def by_clock(values: npt.NDArray[Any]) -> Floats:
        return np.bincount(clock, values.astype(np.float64), 24).astype(np.float64)

    shape, spent = counts.sum() + 1, heard.sum() + 24 / usual
    overall = shape / spent
    weight = by_clock(heard) + 1
    rates = (by_clock(counts) + overall) / weight
    left = by_clock(np.where(edges[:-1] >= days[-2], hours - heard, 0))
    mean = float(left @ rates)
    known = left @ (left * rates / weight) + shape / spent**2 * (left / weight).sum() ** 2
    usual_counts = heard * rates[clock]
    spread = 1.0
    for blocks, fitted in ((np.arange(len(heard)), 24), (_places(edges[:-1], days), 1)):
        size = len(np.unique(blocks[heard > 0]))
        if size - fitted >= max(fitted, 3):
            squares = np.bincount(blocks, counts - usual_counts) ** 2
            spread = max(spread, squares.sum() / usual_counts.sum() * size / (size - fitted))
    return mean, float(mean * spread + known)


def _interval(mean: float, variance: float, room: float) -> Floats:
    """Return a mean, and the ends of the interval of the negative binomial distribution that has it and the variance."""
    if variance <= mean:  # nothing is left of the day
        return np.full(3, min(mean, room))
    tail = (1 - CONFIDENCE) / 2
    successes, chance = mean**2 / (variance - mean), mean / variance
    # `scipy.stats.nbinom.ppf` says the same and takes four times as long to import.
    inverse = needed("scipy.special").nbdtrik(np.array([tail, 1 - tail]), successes, chance)
    # Near midnight next to nothing is expected, and nothing is likelier still.
    ends = np.fmax(np.ceil(inverse), [0, np.ceil(mean)])
    found: Floats = np.minimum([mean, ends[0], ends[1]], room)
    return found
