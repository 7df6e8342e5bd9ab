"""Rows: how decoded payloads become Arrow columns.

The meaning of a payload is that of `records`: a value that fits its field goes into the column, anything else, like
every unknown key, into `extra`. Here it is read column by column, which is several times faster than making a record
of every message first; a property test holds the two readings together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from codeworm_monitor.columns import GAP_LAYOUT, LAYOUTS, TEXT, TIME
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.records import AnyRecord, Kind, PublisherClock, kind_of, read_time

__all__ = ["BUILDERS", "OTHER_TIME", "Row", "RowReader", "build_gaps", "details", "extra_text"]


class Row(NamedTuple):
    """One message, its times read, the rest of it still as it came.

    Attributes:
        epoch: Identity of the numbering.
        envelope: Where and when it was published; its data is not looked at.
        payload: Decoded payload, as a dict in any case.
        timestamp: When the publisher wrote it, in UTC.
        other_time: `next_cycle_at` of an event, `last_success` of stats, in UTC.
    """

    epoch: str
    envelope: Envelope
    payload: dict[str, Any]
    timestamp: datetime | None
    other_time: datetime | None


class RowReader:
    """Reads the times of messages, which must be done in the order of the log: the publisher's clock learns from them."""

    def __init__(self) -> None:
        self.clock = PublisherClock()

    def read(self, epoch: str, envelope: Envelope, payload: object, record: AnyRecord | None = None) -> Row:
        """Return the row of a message; of its record's times where that was made already, with the same clock."""
        fields = payload if type(payload) is dict else {"value": payload}
        kind = kind_of(envelope.channel)
        if record is not None:
            other = getattr(record, OTHER_TIME[kind][0]) if kind in OTHER_TIME else None
            return Row(epoch, envelope, fields, record.timestamp, other)
        clock, other = self.clock, None
        received_at = datetime.fromtimestamp(envelope.received_at, UTC)
        timestamp = read_time(fields.get("timestamp"), lambda naive: clock.to_utc(naive, received_at))
        if kind is Kind.LOGS:
            if timestamp is not None:
                clock.observe(timestamp, received_at)
        else:
            holder = details(fields) if kind is Kind.EVENTS else fields
            written = holder.get(OTHER_TIME[kind][1])
            if written is not None:
                other = read_time(written, lambda naive: naive.replace(tzinfo=UTC) - clock.utc_offset)
        return Row(epoch, envelope, fields, timestamp, other)


OTHER_TIME = {Kind.EVENTS: ("next_cycle_at", "time"), Kind.STATS: ("last_success", "last_success")}
"""By kind, the second time: its column, and the key of the payload."""


def extra_text(extra: dict[str, Any]) -> str | None:
    """Return what fits no field as JSON text, or None if there is nothing; never raises for what JSON text can say."""
    if not extra:
        return None
    try:
        return orjson.dumps(extra).decode()
    except orjson.JSONEncodeError:  # nested deeper than orjson writes, or text that is no UTF-8
        return "".join(_write_json(extra))


class _Token(str):
    __slots__ = ()


def _write_json(value: Any) -> Iterable[str]:
    # Without recursion: the nesting is the sender's choice.
    waiting: list[Any] = [value]
    while waiting:
        match waiting.pop():
            case _Token() as token:
                yield token
            case dict() as mapping:
                yield "{"
                waiting.append(_Token("}"))
                for index, (key, item) in enumerate(reversed(mapping.items())):
                    if index:
                        waiting.append(_Token(","))
                    waiting += (item, _Token(json.dumps(str(key)) + ":"))
            case list() as items:
                yield "["
                waiting.append(_Token("]"))
                for index, item in enumerate(reversed(items)):
                    if index:
                        waiting.append(_Token(","))
                    waiting.append(item)
            case scalar:
                yield json.dumps(scalar, default=str)


def details(payload: dict[str, Any]) -> dict[str, Any]:
    """Return an event's own fields, as `WormEvent` reads them."""
    details = payload.get("data")
    if type(details) is dict:
        return details
    return {} if details is None else {"value": details}


class _Reader:
    """Takes columns out of payloads of one level; what is left over, or does not fit, is `extras`."""

    def __init__(self, sources: list[dict[str, Any]]) -> None:
        self._sources = sources
        self._known: set[str] = set()
        self._misfits: dict[int, dict[str, Any]] = {}

    def text(self, key: str) -> pa.Array:
        return _texts(self._take(key, _JUST_TEXT, _is_text))

    def label(self, key: str, change: Callable[[str], str] | None = None) -> pa.Array:
        values = self._take(key, _JUST_TEXT, _is_text)
        if change is not None:
            changed = {value: None if value is None else change(value) for value in set(values)}
            values = [changed[value] for value in values]
        return _texts(values).dictionary_encode()

    def integer(self, key: str) -> pa.Array:
        values = self._take(key, _JUST_INT, _is_int64)
        try:
            return pa.array(values, pa.int64())
        except OverflowError:
            return pa.array(self._take(key, frozenset(), _is_int64), pa.int64())

    def number(self, key: str) -> pa.Array:
        # Integers of 64 bits may be no exact float, which Arrow refuses and Python rounds.
        values = self._take(key, _JUST_FLOAT, _is_number)
        return pa.array([None if value is None else float(value) for value in values], pa.float64())

    def counts(self, key: str) -> pa.Array:
        return _texts([extra_text(value or {}) for value in self._take(key, frozenset(), _is_counts)])

    def time(self, key: str, times: list[datetime | None]) -> pa.Array:
        self._known.add(key)
        if None in times:
            for index, (time, source) in enumerate(zip(times, self._sources, strict=True)):
                if time is None and source.get(key) is not None:
                    self._misfits.setdefault(index, {})[key] = source[key]
        return pa.array(times, TIME)

    def skip(self, key: str) -> None:
        self._known.add(key)

    def extras(self) -> list[dict[str, Any]]:
        known = self._known
        extras = [
            {} if source.keys() <= known else {key: value for key, value in source.items() if key not in known}
            for source in self._sources
        ]
        for index, misfits in self._misfits.items():
            extras[index] |= misfits
        return extras

    def _take(self, key: str, types: frozenset[type], fits: Callable[[Any], bool]) -> list[Any]:
        self._known.add(key)
        values = [source.get(key) for source in self._sources]
        if not types.issuperset(map(type, values)):
            for index, value in enumerate(values):
                if value is not None and not fits(value):
                    self._misfits.setdefault(index, {})[key] = value
                    values[index] = None
        return values


_JUST_TEXT: frozenset[type] = frozenset({str, NoneType})
_JUST_INT: frozenset[type] = frozenset({int, NoneType})
_JUST_FLOAT: frozenset[type] = frozenset({float, NoneType})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_int64(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return type(value) is float or _is_int64(value)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_int64, value.values()))


def _texts(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, TEXT)
    except UnicodeEncodeError:  # lone surrogates
        return pa.array([None if v is None else v.encode("utf-8", "replace").decode() for v in values], TEXT)


def _labels(values: Sequence[str | None]) -> pa.Array:
    return _texts(list(values)).dictionary_encode()


def _unix_times(seconds: Sequence[float]) -> pa.Array:
    return pa.array([round(second * 1_000_000) for second in seconds], pa.int64()).cast(TIME)


def _lead(rows: Sequence[Row], timestamps: pa.Array) -> list[pa.Array]:
    epochs, envelopes, *_ = zip(*rows, strict=True)
    offsets, received, channels, _, _ = zip(*envelopes, strict=True)
    return [_labels(epochs), pa.array(offsets, pa.int64()), _unix_times(received), timestamps, _labels(channels)]


def _tail(rows: Sequence[Row], extras: list[dict[str, Any]]) -> list[pa.Array]:
    marks = _texts([None if row.envelope.mark is None else str(row.envelope.mark) for row in rows])
    return [marks, _texts([extra_text(extra) for extra in extras])]


def _build_logs(rows: Sequence[Row]) -> pa.RecordBatch:
    fields = _Reader([row.payload for row in rows])
    arrays = [
        *_lead(rows, fields.time("timestamp", [row.timestamp for row in rows])),
        fields.label("level", str.lower),
        fields.label("component"),
        fields.label("event"),
        fields.text("target"),
        fields.label("repo"),
        fields.label("doc_type"),
        fields.integer("cycle_num"),
        fields.text("commit"),
        fields.integer("tokens"),
        fields.number("time_ms"),
        fields.text("error"),
        fields.text("exception"),
        *_tail(rows, fields.extras()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=LAYOUTS[Kind.LOGS].schema)


def _build_events(rows: Sequence[Row]) -> pa.RecordBatch:
    outer = _Reader([row.payload for row in rows])
    fields = _Reader([details(row.payload) for row in rows])
    outer.skip("data")
    arrays = [
        *_lead(rows, outer.time("timestamp", [row.timestamp for row in rows])),
        outer.label("type"),
        fields.integer("cycle_num"),
        fields.text("target"),
        fields.label("repo"),
        fields.label("doc_type"),
        fields.label("language"),
        fields.text("commit"),
        fields.text("commit_message"),
        fields.integer("tokens"),
        fields.number("time_ms"),
        fields.time("time", [row.other_time for row in rows]),
    ]
    extras = [
        {"data": inner, **around} if inner.keys() & around.keys() else inner | around
        for inner, around in zip(fields.extras(), outer.extras(), strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays + _tail(rows, extras), schema=LAYOUTS[Kind.EVENTS].schema)


def _build_stats(rows: Sequence[Row]) -> pa.RecordBatch:
    fields = _Reader([row.payload for row in rows])
    arrays = [
        *_lead(rows, fields.time("timestamp", [row.timestamp for row in rows])),
        fields.time("last_success", [row.other_time for row in rows]),
        *(fields.integer(name) for name in ("total_cycles", "successful_cycles", "failed_cycles", "skipped_cycles")),
        fields.number("success_rate"),
        *(fields.integer(name) for name in ("consecutive_failures", "total_documented", "last_7_days")),
        fields.counts("by_repo"),
        *_tail(rows, fields.extras()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=LAYOUTS[Kind.STATS].schema)


def build_gaps(rows: Sequence[tuple[str, Gap]]) -> pa.RecordBatch:
    """Return a batch with the columns of `columns.GAP_LAYOUT` from pairs of an epoch and a gap."""
    epochs, gaps = zip(*rows, strict=True)
    arrays = [
        _labels(epochs),
        pa.array([gap.offset for gap in gaps], pa.int64()),
        _labels([str(gap.cause) for gap in gaps]),
        _unix_times([gap.started_at for gap in gaps]),
        _unix_times([gap.ended_at for gap in gaps]),
        pa.array([gap.first_offset for gap in gaps], pa.int64()),
        pa.array([gap.last_offset for gap in gaps], pa.int64()),
        pa.array([gap.missed for gap in gaps], pa.int64()),
        _texts([gap.detail for gap in gaps]),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=GAP_LAYOUT.schema)


BUILDERS: dict[Kind, Callable[[Sequence[Row]], pa.RecordBatch]] = {
    Kind.LOGS: _build_logs,
    Kind.EVENTS: _build_events,
    Kind.STATS: _build_stats,
}
"""By kind, what makes a batch with the columns of `columns.LAYOUTS` from rows."""
