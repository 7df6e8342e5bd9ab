"""Traffic: what an answer is made of, the messages and gaps of a stretch of time, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from codeworm_monitor.analysis.coverage import Coverage, micros
from codeworm_monitor.columns import GAP_LAYOUT, LAYOUTS, Layout
from codeworm_monitor.records import RELAY_CHANNEL, Kind

__all__ = ["Traffic", "ollama_records"]

_ENDS = ("started_at", "ended_at")
_JOURNAL = ("received_at", "timestamp", "event", "error", "extra")
_OF_OLLAMA = tuple(
    f"ollama_{what}"
    for what in ("reachable", "unreachable", "models", "version_changed", "unchanged", "still_unreachable")
)


@dataclass(frozen=True, eq=False)
class Traffic:
    """The messages and gaps of a stretch of time, as frames; made once, read only.

    Attributes:
        logs: Columns as `Monitor.logs.df`.
        events: Columns as `Monitor.events.df`.
        stats: Columns as `Monitor.stats.df`.
        gaps: Columns as `Monitor.gaps`.
        since: Beginning of the stretch, UTC; None: there is nothing.
        until: Its end: now, of what goes on; of a recording the newest message.
        heard_from: When listening began, if that was later than `since`; what lies before was not heard.
        journal: What the relay tells of Ollama, in the order it was told: received_at, timestamp (datetime64[us, UTC]),
            event, error, extra (object).
    """

    logs: pd.DataFrame
    events: pd.DataFrame
    stats: pd.DataFrame
    gaps: pd.DataFrame
    since: datetime | None
    until: datetime | None
    heard_from: datetime | None = None
    journal: pd.DataFrame = field(default_factory=lambda: ollama_records(None))
    found: dict[object, object] = field(default_factory=dict, repr=False)
    """What was worked out of it already, by question; an answer that rests on another finds it here."""

    @classmethod
    def of(
        cls,
        *,
        logs: pd.DataFrame | None = None,
        events: pd.DataFrame | None = None,
        stats: pd.DataFrame | None = None,
        gaps: pd.DataFrame | None = None,
        journal: pd.DataFrame | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Traffic:
        """Take frames; columns that one lacks are missing in every row.

        Args:
            logs: As `Monitor.logs.df`; None: there are none.
            events: So.
            stats: So.
            gaps: So.
            journal: The relay's own channel, columns as `logs`, if it is not among them.
            since: None: from the first message.
            until: None: to the last, which is part of it.

        Raises:
            TypeError: One is no frame.
            ValueError: A frame has no time of a message: neither `received_at` nor `timestamp`.
        """
        messages = {
            kind: _completed(frame, LAYOUTS[kind], kind)
            for kind, frame in ((Kind.LOGS, logs), (Kind.EVENTS, events), (Kind.STATS, stats))
        }
        # What the relay says of itself shows that it listened, and is no sign of the publisher's life.
        logs_of_all = messages[Kind.LOGS]
        is_journal = logs_of_all["channel"] == RELAY_CHANNEL
        messages[Kind.LOGS] = logs_of_all[~is_journal].reset_index(drop=True)
        told = ollama_records(logs_of_all[is_journal] if journal is None else journal)
        first, last = _span(
            frame["received_at"] for frame in (logs_of_all, messages[Kind.EVENTS], messages[Kind.STATS], told)
        )
        return cls(
            logs=messages[Kind.LOGS],
            events=messages[Kind.EVENTS],
            stats=messages[Kind.STATS],
            gaps=_completed(gaps, GAP_LAYOUT, "gaps"),
            since=first if since is None else since,
            until=last if until is None else until,
            journal=told,
        )

    @property
    def told_coverage(self) -> Coverage:
        """Which part of the stretch was listened to, by what is known of gaps."""
        return Coverage.of(self.since, self.until, self.gaps, heard_from=self.heard_from)

    @property
    def coverage(self) -> Coverage:
        """Which part of the stretch was listened to: also what the numbers of the cycles prove to be lost is not."""
        from codeworm_monitor.analysis.cycles import losses_of  # which rests on this module

        losses = losses_of(self)
        if not losses:
            return self.told_coverage
        times = [pd.to_datetime([getattr(one, name) for one in losses], unit="us", utc=True) for name in _ENDS]
        lost = pd.DataFrame(dict(zip(_ENDS, times, strict=True)))
        spans = pd.concat([self.gaps[list(_ENDS)], lost]) if len(self.gaps) else lost
        return Coverage.of(self.since, self.until, spans, heard_from=self.heard_from)

    def between(self, since: datetime | None, until: datetime | None) -> Traffic:
        """Return the part that was received in a span of time; None: as far as it reaches."""
        if since is None and until is None:
            return self
        logs, events, stats = (_within(frame, since, until) for frame in (self.logs, self.events, self.stats))
        gaps = self.gaps
        if since is not None:
            gaps = gaps[gaps["ended_at"] > since]
        if until is not None:
            gaps = gaps[gaps["started_at"] < until]
        begin = self.since if since is None else max(filter(None, (since, self.since)), default=None)
        end = self.until if until is None else min(filter(None, (until, self.until)), default=None)
        return replace(
            self,
            logs=logs,
            events=events,
            stats=stats,
            gaps=gaps.reset_index(drop=True),
            journal=_within(self.journal, since, until),
            since=begin,
            until=end,
            found={},
        )

    def __len__(self) -> int:
        return len(self.logs) + len(self.events) + len(self.stats)


def ollama_records(frame: pd.DataFrame | None) -> pd.DataFrame:
    """Return of the relay's own lines those that tell of Ollama, with the columns of `Traffic.journal`.

    Args:
        frame: Columns as `Monitor.logs.df`; None: there are none.

    Raises:
        TypeError: It is no frame.
        ValueError: It has no time of a message.
    """
    if isinstance(frame, pd.DataFrame) and "event" in frame:  # first, as little else is of use here
        frame = frame[frame["event"].isin(_OF_OLLAMA)]
    whole = _completed(frame, LAYOUTS[Kind.LOGS], "journal")
    some = whole[whole["event"].isin(_OF_OLLAMA)] if len(whole) else whole
    return some[list(_JOURNAL)].astype(dict.fromkeys(_JOURNAL[2:], object)).reset_index(drop=True)


def _completed(frame: pd.DataFrame | None, layout: Layout, name: str) -> pd.DataFrame:
    """Return a frame with all columns of a layout, times aware and in UTC."""
    if frame is None:
        frame = pd.DataFrame(index=pd.RangeIndex(0))
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{name} is a frame such as mon.{name}.df, not {type(frame).__name__}")
    if name != "gaps" and len(frame) and not {"received_at", "timestamp"} & set(frame.columns):
        raise ValueError(f"{name} has neither received_at nor timestamp: take a frame such as mon.{name}.df")
    known = {column.name: frame[column.name] for column in layout.columns if column.name in frame.columns}
    for time, other in (("received_at", "timestamp"), ("timestamp", "received_at")):
        if time not in known and other in known:
            known[time] = known[other]
    made = {}
    for column in layout.columns:
        values = known.get(column.name)
        if values is None:
            dtype = (
                column.dtype
                if column.dtype not in {"str", "category", "int64"}
                else "float64"
                if column.dtype == "int64"
                else "object"
            )
            values = pd.Series(None, index=frame.index, dtype=dtype)
        elif column.dtype.startswith("datetime"):
            values = _as_times(values, f"{name}.{column.name}")
        elif column.dtype in ("float64", "int64"):
            values = pd.to_numeric(values, errors="coerce").astype(np.float64)
        elif values.dtype == object:
            values = values.map(lambda value: value if isinstance(value, str) else None)
        made[column.name] = values
    return pd.DataFrame(made).reset_index(drop=True)


def _as_times(values: pd.Series[Any], name: str) -> pd.Series[pd.Timestamp]:
    if pd.api.types.is_numeric_dtype(values) and values.notna().any():
        raise ValueError(
            f"{name} holds numbers: make times of them, such as pd.to_datetime(seconds, unit='s', utc=True)"
        )
    try:
        text = pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)
        return pd.to_datetime(values, utc=True, format="ISO8601" if text else None).dt.as_unit("us")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} holds what is no time: {error}") from error


def _within(frame: pd.DataFrame, since: datetime | None, until: datetime | None) -> pd.DataFrame:
    times = frame["received_at"]
    is_inside = times.notna()
    if since is not None:
        is_inside &= times >= since
    if until is not None:
        is_inside &= times < until
    return frame[is_inside].reset_index(drop=True)


def _span(times: Iterable[pd.Series[pd.Timestamp]]) -> tuple[datetime | None, datetime | None]:
    known = [series for one in times if len(series := one.dropna())]
    if not known:
        return None, None
    first = min(micros(series).min() for series in known)
    last = max(micros(series).max() for series in known)
    start = pd.Timestamp(first, unit="us", tz=UTC)
    return start.to_pydatetime(), pd.Timestamp(last, unit="us", tz=UTC).to_pydatetime()
