"""Slowdown: whether generation has become slower, since when, by document type or model, and on what evidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.changepoint import Change, levels_of, newest_change
from codeworm_monitor.analysis.coverage import Coverage
from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.traffic import Traffic

__all__ = ["ALL", "GROUPS", "MEASURES", "VERDICTS", "slowdown", "slowdown_of"]

GROUPS = ("doc_type", "model", "repo", "language")
"""What cycles can be told apart by."""
MEASURES = ("generate_s", "find_s", "commit_s", "push_s")
"""Durations that can be asked for: columns of the cycles."""
VERDICTS = ("slower", "faster", "was_slower", "was_faster", "steady", "too_few")
"""What may be said, in the order of the categories."""
ALL = "all"
"""Group of the first row, that of all cycles together."""

FALSE_ALARMS = 0.05
"""Chance that any row at all tells of a change where there is none."""
FEWEST = 20
"""Cycles without which nothing is said."""
MOST_GROUPS = 50
"""Groups that get a row."""
MOST_POINTS = 1_000
"""Cycles that go along with the answer for its picture."""

_GOOD = ("committed", "dry_run")
_INSTANT = 0.001  # s: what the daemon tells is in milliseconds
_POLISHES = 3
_PASSES = 3
_FAR_OFF = 3.5  # robust standard deviations: Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers
_TO_DEVIATION = 1.4826  # of a median absolute deviation, of the normal distribution

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


def slowdown(traffic: Traffic, *, by: str = "doc_type", measure: str = "generate_s", least: float = 1.1) -> Answer:
    """Tell whether generation has become slower, since when, of all cycles together and by group.

    See `slowdown_of`, which this asks of the cycles of a stretch of time.

    Args:
        traffic: Messages and gaps of a stretch of time.
        by: What the groups are.
        measure: Duration looked at.
        least: Smallest ratio that counts as a change.

    Returns:
        As `slowdown_of`.

    Raises:
        MissingExtraError: SciPy or ruptures is not installed.
        ValueError: `by`, `measure` or `least` is of no use.
    """
    return slowdown_of(cycles(traffic), traffic.coverage, by=by, measure=measure, least=least)


def slowdown_of(
    frame: pd.DataFrame,
    coverage: Coverage,
    *,
    by: str = "doc_type",
    measure: str = "generate_s",
    least: float = 1.1,
) -> Answer:
    """Tell whether the cycles of a frame have become slower, since when, of all together and by group.

    Compared are relative times: a cycle's time over what is usual for its document type and group (medians, by Tukey's
    median polish of the logarithms, after the level of the time) and, of `generate_s`, for its tokens (a power of them
    from 0 to 1, a weighted median of slopes between cycles of one type). So other documents, or longer ones, are no
    slowdown. `newest_change` says how the change is found and tested: by ranks and in stretches of at least six cycles,
    so one slow cycle, or a pair, is no change but counts in `n_outliers`.

    Left out are cycles that did not end well (of `push_s`, whose push did not), that waited for Ollama (an outage is no
    change), or whose measure or time is unknown: what a gap has swallowed. A gap thus makes the evidence less, and a
    change within one is dated to the first cycle after it.

    Args:
        frame: Cycles, with the columns of `cycles`.
        coverage: Of the stretch they are of.
        by: What the groups are: doc_type, model, repo or language.
        measure: Duration looked at: generate_s, find_s, commit_s or push_s.
        least: Smallest ratio that counts as a change, from 1; what is less, either way, is steady.

    Returns:
        One row of all cycles together, whose group is `ALL`, then one a group with a name, most cycles first, at most
        50. Columns: as `by` says (str; the group) · verdict (category of slower, faster, was_slower, was_faster,
        steady, too_few) · since, until (datetime64[us, UTC]; start of the first cycle after the change, and of the
        first one that is as before again; of was_slower and was_faster both, of slower and faster the first, else
        missing) · before_s, after_s (float64; medians of the measure before the change, and from since to until;
        seconds as they are, so they show other documents too) · ratio, ratio_low, ratio_high (float64; after over
        before, of relative times, with its 95 % interval given the moment found) · n_before, n_after (int64; cycles of
        either; without a change all are before) · p_value (float64; of no change, corrected for the search and for the
        groups: half of the 5 % that any row may be wrong goes to the first row, half to the others in equal parts; of
        steady, that of the strongest candidate; missing if there were too few) · tokens_per_s_before,
        tokens_per_s_after (float64; medians) · n_outliers (int64; single cycles far slower than their stretch). What is
        unknown is missing. `attrs` also has `by`, `measure` and `points`: at (ISO 8601, UTC), relative (1 is usual
        before the change) and group of at most 1,000 cycles, evenly taken, in order of time.

    Raises:
        MissingExtraError: SciPy or ruptures is not installed.
        ValueError: `by`, `measure` or `least` is of no use.
    """
    for name, value, known in (("by", by, GROUPS), ("measure", measure, MEASURES)):
        if value not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}; not {value!r}")
    if not 1 <= least < math.inf:
        raise ValueError(f"least is a ratio from 1 on, such as 1.1 for a tenth; not {least!r}")
    rows = _usable(frame, measure)
    groups = rows[by].astype("object")
    relative = _relative(rows, by, measure)
    sizes = groups.value_counts().head(MOST_GROUPS)
    tested = int((sizes >= FEWEST).sum())
    found = [_judged(rows, relative, measure, least, parts=2 if tested else 1)]
    for name in sizes.index:
        is_of = (groups == name).to_numpy()
        found.append(_judged(rows[is_of], relative[is_of], measure, least, parts=2 * tested))
    made = pd.DataFrame(found)
    made.insert(0, by, pd.Series([ALL, *map(str, sizes.index)], dtype="str"))
    made["verdict"] = pd.Categorical(made["verdict"], categories=list(VERDICTS))
    for name in ("since", "until"):
        made[name] = pd.to_datetime(made[name], utc=True).dt.as_unit("us")
    since, until = made["since"].iloc[0], made["until"].iloc[0]
    is_before = (rows["started_at"] < since) | (rows["started_at"] >= until) | pd.isna(since)
    usual = _median(relative[is_before.to_numpy()])
    told = answer(made, coverage, "slowdown")
    told.attrs |= {"by": by, "measure": measure, "points": _points(rows, relative - usual, groups)}
    return told


def _usable(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the cycles that can be compared, in order of time."""
    seconds = frame[measure]
    is_usable = frame["outcome"].isin(_GOOD) & np.isfinite(seconds) & (seconds >= 0) & frame["started_at"].notna()
    is_usable &= ~(frame["wait_s"] > 0)
    if measure == "push_s":
        is_usable &= frame["pushed"].fillna(value=False).astype(bool)  # a refusal comes quicker, or slower
    rows: pd.DataFrame = frame[is_usable]
    return rows.sort_values("started_at", kind="stable", ignore_index=True)


def _relative(rows: pd.DataFrame, by: str, measure: str) -> Floats:
    """Return the logarithm of each cycle's time over what is usual for its kind."""
    logs: Floats = np.log(np.maximum(rows[measure].to_numpy(np.float64), _INSTANT))
    if not len(logs):
        return logs
    factors = [_codes(rows[name]) for name in dict.fromkeys(("doc_type", by))]
    if measure == "generate_s":
        logs = logs - _of_tokens(logs, rows["tokens"].to_numpy(np.float64), factors[0])
    relative, levels = logs, np.zeros_like(logs)
    # What is usual for a kind is told apart from the level of its time, so that a kind seen mostly after a change does
    # not take the change for its own; by turns, as either needs the other.
    for _ in range(_PASSES):
        rest = logs - levels
        for _ in range(_POLISHES if len(factors) > 1 else 1):
            for codes in factors:
                rest = rest - _medians(rest, codes)
        relative = rest + levels
        levels = levels_of(relative)
    return relative


def _codes(values: pd.Series[Any]) -> Codes:
    codes, _ = pd.factorize(values, use_na_sentinel=False)
    return codes


def _medians(values: Floats, codes: Codes) -> Floats:
    """Return for each value the median of its group; NaN values are passed by."""
    medians: Floats = pd.Series(values).groupby(codes).transform("median").to_numpy(np.float64)
    return medians


def _of_tokens(logs: Floats, tokens: Floats, codes: Codes) -> Floats:
    """Return what part of the logarithm of a time its tokens account for; zero where that is unknown."""
    sizes = np.log(np.where(tokens > 0, tokens, np.nan))
    known = np.flatnonzero(np.isfinite(sizes))
    known = known[np.lexsort((sizes[known], codes[known]))]
    # Theil's (1950) incomplete method: of each type the shorter half, each with its fellow of the longer half.
    firsts = np.flatnonzero(np.diff(codes[known], prepend=-1))
    counts = np.diff(np.append(firsts, len(known)))
    halves, places = np.repeat(counts // 2, counts), np.arange(len(known)) - np.repeat(firsts, counts)
    short = np.flatnonzero(places < halves)
    long = short + np.repeat(counts - counts // 2, counts)[short]
    more = sizes[known[long]] - sizes[known[short]]
    longer = logs[known[long]] - logs[known[short]]
    longer, more = longer[more > 0], more[more > 0]
    if len(more) < FEWEST // 2:
        return np.zeros_like(logs)
    slopes = longer / more
    order = np.argsort(slopes)
    total = np.cumsum(more[order])
    slope = min(1.0, max(0.0, float(slopes[order][np.searchsorted(total, total[-1] / 2)])))
    part: Floats = slope * np.nan_to_num(sizes - _medians(sizes, codes))
    return part


def _judged(rows: pd.DataFrame, relative: Floats, measure: str, least: float, *, parts: int) -> dict[str, object]:
    """Return the answer on some cycles; `parts` is how many such questions share the chance of a false alarm."""
    count = len(rows)
    if count >= FEWEST:
        change, p_value = newest_change(relative, level=FALSE_ALARMS / parts, least=math.log(least))
        verdict = _verdict(change, count)
    else:
        change, p_value, verdict = None, math.nan, "too_few"
    places = np.arange(count)
    is_after = np.zeros(count, dtype=bool)
    is_before = ~is_after
    if change is not None:
        is_after = (places >= change.start) & (places < change.end)
        is_before = ~is_after & (places >= change.before)
    seconds, rate = rows[measure].to_numpy(np.float64), rows["tokens_per_s"].to_numpy(np.float64)
    started = rows["started_at"]
    return {
        "verdict": verdict,
        "since": pd.NaT if change is None else started.iloc[change.start],
        "until": pd.NaT if change is None or change.end == count else started.iloc[change.end],
        "before_s": _median(seconds[is_before]),
        "after_s": _median(seconds[is_after]),
        "ratio": math.nan if change is None else math.exp(change.shift),
        "ratio_low": math.nan if change is None else math.exp(change.low),
        "ratio_high": math.nan if change is None else math.exp(change.high),
        "n_before": int(is_before.sum()),
        "n_after": int(is_after.sum()),
        "p_value": float(np.minimum(1.0, p_value * parts)),
        "tokens_per_s_before": _median(rate[is_before]),
        "tokens_per_s_after": _median(rate[is_after]),
        "n_outliers": _outliers(relative, is_after),
    }


def _verdict(change: Change | None, count: int) -> str:
    if change is None:
        return "steady"
    word = "slower" if change.shift > 0 else "faster"
    return word if change.end == count else f"was_{word}"


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def _outliers(relative: Floats, is_after: npt.NDArray[np.bool_]) -> int:
    """Return how many cycles are far slower than their stretch."""
    if not len(relative):
        return 0
    off = relative - _medians(relative, is_after.astype(np.intp))
    return int((off > _FAR_OFF * _TO_DEVIATION * float(np.median(np.abs(off)))).sum())


def _points(rows: pd.DataFrame, relative: Floats, groups: pd.Series[Any]) -> dict[str, list[Any]]:
    """Return what a picture of the evidence shows."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).round().astype(np.intp))
    return {
        "at": [time.isoformat() for time in rows["started_at"].iloc[places]],
        "relative": np.exp(relative[places]).round(4).tolist(),
        "group": groups.iloc[places].where(groups.iloc[places].notna(), "").astype(str).tolist(),
    }
