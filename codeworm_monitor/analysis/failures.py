"""Failures: what went wrong, errors of one kind taken together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.blame import last_line
from codeworm_monitor.analysis.coverage import MISSING, Coverage, Micros, micros
from codeworm_monitor.analysis.error_lines import ErrorLines, Level, error_lines, event_name, root_of
from codeworm_monitor.analysis.rates import bucket_edges, utc_times
from codeworm_monitor.analysis.sequence import Places
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.dtypes import TEXT_DTYPE, text_column

__all__ = ["GROUPS", "HEIGHTS", "MOST_BUCKETS", "STRIP", "error_times", "errors", "similar"]

GROUPS = ("repo", "doc_type", "target", "component")
"""Columns that errors can be told apart by."""
STRIP = 60
"""Characters of a strip."""
HEIGHTS = "▁▂▃▄▅▆▇█"
"""Characters of a strip for 1, 2, 4, … 128 and more messages."""
MOST_BUCKETS = 240
"""Buckets of `error_times`, if nobody says how long they are: at most."""

_UNHEARD = "░"
_EVERY = tuple(
    timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 1_440, 10_080, 40_320, 201_600, 2_016_000)
)

Every = str | timedelta | None
Zone = str | tzinfo | None


def errors(traffic: Traffic, *, level: Level = ">=warning", by: str | None = None) -> Answer:
    """Return what went wrong: one row per kind of error, the most frequent first, of equals the newest.

    Errors are of one kind if they have the same event and the same template (see `templates.template`), which is made of
    the row's `error`; without one, of the last line of its traceback; else of what it calls its message. The row's own
    target, commit and repository are masked in it. A line that came twice counts once. What was not heard is not
    counted: see `covered`.

    Args:
        traffic: Messages and gaps of a stretch of time.
        level: Of the log lines that count, as for `where`; None: all, also without a level.
        by: Of `GROUPS`: tell errors apart by it too. Where a line does not name it, what its cycle named last counts.

    Returns:
        Columns: event (str; missing: none) · template (str; empty: there are no words but the event) · that of `by`
        (str; missing: unknown) · level (category; the worst) · count (int64) · first, last (datetime64[us, UTC], by the
        relay's clock) · cycles (int64; how many it came in; an error between two cycles is of the earlier) · cycle_share
        (float64; of those that were seen to begin, 0 to 1; missing: none was) · strip (str; `STRIP` characters, each a
        part of the stretch of equal length: a space for none, `HEIGHTS` for 1, 2, 4, 8, … messages and more, ░ where
        nothing was listened to) · preceded_by (str; the most frequent sequence of the last three different names of
        messages before it in the same run of the daemon, `a → b → c`; missing: nothing came before, or it was not
        heard) · preceded_share (float64; share of the errors that it came before) · example (str; what the newest
        says, in full, with the traceback's last line) · exception (str; the newest traceback; missing: none) · root
        (str; `file:line function` where that was raised, the innermost that is neither Python's nor a library's) ·
        example_epoch (str), example_offset (int64; where the newest is in the relay's log, -1: not known).

    Raises:
        TypeError: `level` has the wrong type.
        ValueError: `level` or `by` cannot be read; says what can.
    """
    if by is not None and by not in GROUPS:
        raise ValueError(f"by={by!r} tells no errors apart: give one of {', '.join(GROUPS)}, or None")
    told = error_lines(traffic, level)
    kinds = _Kinds(told, None if by is None else told.sequence.said(by, told.places))
    frame = pd.DataFrame({"event": kinds.events, "template": kinds.templates})
    if by is not None:
        frame[by] = kinds.groups
    frame["level"] = kinds.levels
    frame["count"] = kinds.count
    frame["first"], frame["last"] = utc_times(kinds.first), utc_times(kinds.last)
    frame["cycles"] = kinds.cycles
    frame["cycle_share"] = kinds.cycles / (told.sequence.cycles or np.nan)
    frame["strip"] = text_column(_strips(kinds, traffic.coverage))
    frame["preceded_by"], frame["preceded_share"] = _preceded(kinds)
    logs = traffic.logs
    newest = told.rows[kinds.newest]
    has_traceback = logs["exception"].notna().to_numpy()[told.rows]
    tracebacks = kinds.latest(has_traceback)
    raised = _values(logs["exception"], np.where(tracebacks >= 0, told.rows[tracebacks], -1))
    of_newest = _values(logs["exception"], newest)
    words = zip(_values(logs["error"], newest), of_newest, _values(logs["extra"], newest), strict=True)
    frame["example"] = text_column([_example(*each) for each in words])
    frame["exception"] = text_column(raised)
    frame["root"] = text_column([None if text is None else root_of(text) for text in raised])
    frame["example_epoch"] = text_column(_values(logs["epoch"], newest))
    offsets = pd.to_numeric(logs["offset"].iloc[newest], errors="coerce")
    frame["example_offset"] = offsets.fillna(-1).to_numpy(np.int64)
    order = np.lexsort((-kinds.last, -kinds.count))
    return answer(frame.iloc[order].reset_index(drop=True), traffic.coverage, "errors")


def error_times(traffic: Traffic, *, every: Every = None, level: Level = ">=warning", zone: Zone = None) -> Answer:
    """Count errors of each kind in buckets of time.

    Args:
        traffic: Messages and gaps of a stretch of time.
        every: Length of a bucket: a part of a day (15min, 1h, 6h) or whole days (1d, 1w); None: so long that there are
            at most `MOST_BUCKETS`.
        level: As for `errors`.
        zone: Whose midnight and hours; None: this machine's.

    Returns:
        One row per bucket and kind that came in it, in the order of time, the most frequent first. Columns: started_at,
        ended_at (datetime64[us, UTC]; those of the whole bucket) · covered (float64; share of it that was heard, 0 to 1) ·
        event, template (str) · level (category; the worst) · count (int64).

    Raises:
        TypeError: `level` has the wrong type.
        ValueError: `level`, `every` or `zone` cannot be read, or there would be too many buckets.
    """
    told = error_lines(traffic, level)
    edges = np.empty(0, np.int64)
    if traffic.since is not None and traffic.until is not None:
        if every is None:
            wanted = (traffic.until - traffic.since) / (MOST_BUCKETS - 2)
            every = next((length for length in _EVERY if length >= wanted), _EVERY[-1])
        edges = bucket_edges(traffic.since, traffic.until, every, resolved(zone))
    starts, ends = edges[:-1], edges[1:]
    buckets = np.clip(np.searchsorted(starts, told.times, "right") - 1, 0, max(len(starts) - 1, 0))
    kinds = _Kinds(told, (buckets, list(map(str, range(len(starts))))))
    bucket = buckets[kinds.newest]
    frame = pd.DataFrame({"started_at": utc_times(starts[bucket]), "ended_at": utc_times(ends[bucket])})
    frame["covered"] = traffic.coverage.shares(starts, ends)[bucket]
    frame["event"], frame["template"], frame["level"] = kinds.events, kinds.templates, kinds.levels
    frame["count"] = kinds.count
    order = np.lexsort((-kinds.count, bucket))
    return answer(frame.iloc[order].reset_index(drop=True), traffic.coverage, "errors")


def similar(traffic: Traffic, row: pd.Series[Any] | Mapping[str, Any], *, level: Level = ">=warning") -> pd.DataFrame:
    """Return the log lines of one kind of error, in their order, with the columns of the logs.

    Args:
        traffic: What `errors` was asked of.
        row: A row of its answer; of it `event`, `template` and those of `GROUPS` that it has.
        level: As `errors` was asked.

    Raises:
        ValueError: The row has no event and no template.

    Example:
        >>> found = errors(traffic)
        >>> similar(traffic, found.iloc[0])
    """
    if "event" not in row or "template" not in row:
        raise ValueError("row has neither event nor template: give a row of errors(), such as errors().iloc[0]")
    told = error_lines(traffic, level)
    is_like = np.ones(len(told.rows), np.bool_)
    parts = [("event", told.events, told.names), ("template", told.codes, told.templates)]
    parts += [(name, *told.sequence.said(name, told.places)) for name in GROUPS if name in row]
    for name, codes, texts in parts:
        wanted = row[name]
        code = -1 if pd.isna(wanted) else next((at for at, text in enumerate(texts) if text == wanted), -2)
        is_like &= codes == code
    return traffic.logs.iloc[told.rows[is_like]].reset_index(drop=True)


class _Kinds:
    """Kinds of errors: those of the same event, template and group.

    Attributes:
        count: How many there are of each.
        newest: By kind, the newest, as a number of `told`.
        first: Microseconds.
        last: So.
        cycles: How many cycles each came in.
        codes: By error, its kind.
    """

    def __init__(self, told: ErrorLines, by: tuple[Places, list[str]] | None) -> None:
        self.told = told
        keys = (told.events + 1) * len(told.templates) + told.codes
        if by is not None:
            keys = keys * (len(by[1]) + 1) + by[0] + 1
        self.codes: Places
        _, self.codes = np.unique(keys, return_inverse=True)
        size = int(self.codes.max()) + 1 if len(keys) else 0
        self.count: Places = np.bincount(self.codes, minlength=size).astype(np.int64)
        self.newest: Places = np.zeros(size, np.int64)
        self.newest[self.codes] = np.arange(len(keys))
        self.first: Micros = np.full(size, np.iinfo(np.int64).max)
        self.last: Micros = np.full(size, MISSING)
        worst = np.full(size, -1, np.int64)
        np.minimum.at(self.first, self.codes, told.times)
        np.maximum.at(self.last, self.codes, told.times)
        np.maximum.at(worst, self.codes, told.levels)
        self.levels = pd.Categorical.from_codes(worst, categories=pd.Index(told.ranked, dtype=TEXT_DTYPE))
        cycle = told.sequence.cycle[told.places]
        width = told.sequence.cycles + 1
        pairs = np.unique(self.codes[cycle >= 0] * width + cycle[cycle >= 0])
        self.cycles: Places = np.bincount(pairs // width, minlength=size).astype(np.int64)
        self.events = text_column(_chosen(told.names, told.events[self.newest]))
        self.templates = text_column(_chosen(told.templates, told.codes[self.newest]))
        self.groups = None if by is None else text_column(_chosen(by[1], by[0][self.newest]))

    def __len__(self) -> int:
        return len(self.count)

    def latest(self, which: npt.NDArray[np.bool_]) -> Places:
        """Return, by kind, the newest of those errors that are meant, as a number of `told`; -1: none is."""
        found = np.full(len(self), -1, np.int64)
        meant = np.flatnonzero(which)
        found[self.codes[meant]] = meant
        return found


def _chosen(texts: list[str], codes: Places) -> list[str | None]:
    return [None if code < 0 else texts[code] for code in codes.tolist()]


def _strips(kinds: _Kinds, coverage: Coverage) -> list[str]:
    if coverage.since is None or coverage.until is None or not len(kinds):
        return [" " * STRIP] * len(kinds)
    begin, end = micros(pd.DatetimeIndex([coverage.since, coverage.until])).tolist()
    edges = begin + (end - begin) * np.arange(STRIP + 1) // STRIP
    at = np.clip(np.searchsorted(edges, kinds.told.times, "right") - 1, 0, STRIP - 1)
    pairs, counts = np.unique(kinds.codes * STRIP + at, return_counts=True)
    unheard = (coverage.shares(edges[:-1], edges[1:]) == 0) & (end > begin)
    characters = np.tile(np.where(unheard, ord(_UNHEARD), ord(" ")).astype(np.uint32), (len(kinds), 1))
    height = np.minimum(np.log2(counts).astype(np.int64), len(HEIGHTS) - 1)
    characters.reshape(-1)[pairs] = np.array([ord(one) for one in HEIGHTS], np.uint32)[height]
    strips: list[str] = characters.view(f"<U{STRIP}").ravel().tolist()
    return strips


def _preceded(kinds: _Kinds) -> tuple[pd.Series[str], npt.NDArray[np.float64]]:
    told = kinds.told
    before = told.sequence.before(told.places)
    names = [event_name(name) for name in told.sequence.names] if len(before) else []
    share = np.full(len(kinds), np.nan)
    texts: list[str | None] = [None] * len(kinds)
    has_any = before[:, 0] >= 0
    frame = pd.DataFrame(before[has_any]).assign(kind=kinds.codes[has_any])
    if len(frame):
        columns = ["kind", 0, 1, 2]
        sizes = frame.groupby(columns, sort=False).size().reset_index(name="size")
        most = sizes.sort_values("size", ascending=False, kind="stable").drop_duplicates("kind")
        for kind, *codes, size in most[[*columns, "size"]].to_numpy().tolist():
            texts[kind] = " → ".join(names[code] for code in reversed(codes) if code >= 0)
            share[kind] = size / kinds.count[kind]
    return text_column(texts), share


def _example(error: str | None, exception: str | None, extra: str | None) -> str | None:
    line = None if exception is None else last_line(exception).strip()
    if error and line:
        return line if error in line else f"{error}\n{line}"
    return error or line or extra


def _values(column: pd.Series[Any], rows: Places) -> list[str | None]:
    """Return what rows have in a column of texts; None where they have nothing, or are none."""
    known = rows >= 0
    found: list[str | None] = [None] * len(rows)
    values = column.iloc[rows[known]].to_numpy(object)
    for place, value in zip(np.flatnonzero(known).tolist(), values, strict=True):
        found[place] = None if pd.isna(value) else str(value)
    return found
