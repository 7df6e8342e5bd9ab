"""The feed: what the tables got since a look, as records with times, in the order of the relay's log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from codeworm_monitor.records import AnyRecord, Kind, LogLine, StatsSnapshot, WormEvent
from codeworm_monitor.tables import Table
from codeworm_monitor.watching.rules import Reads

__all__ = ["LIMIT", "Arrived", "Feed", "Shelf", "selected"]

LIMIT = 10_000
"""Records taken at one look, the newest; what more there was is counted."""

_TYPES: dict[Kind, type[LogLine] | type[WormEvent] | type[StatsSnapshot]] = {
    Kind.LOGS: LogLine,
    Kind.EVENTS: WormEvent,
    Kind.STATS: StatsSnapshot,
}


class Arrived(NamedTuple):
    """A record, and when the relay received it, in Unix seconds."""

    at: float
    record: AnyRecord


class Shelf:
    """What tables hold, looked up once for many readers.

    Args:
        tables: By name; may have more the next time.
    """

    def __init__(self, tables: Callable[[], Mapping[str, Table]]) -> None:
        self._tables = tables
        self._known: dict[str, tuple[int, pa.Table]] = {}

    def contents(self) -> Mapping[str, tuple[int, pa.Table]]:
        """Return by name how many rows a table ever got, and those that it holds of them."""
        for name, table in self._tables().items():
            known = self._known.get(name)
            if known is None or known[0] != table.version:
                self._known[name] = _contents(table)
        return self._known


class Feed:
    """Reads what tables get, each row once.

    Promises: rows that the tables hold are neither missed nor read twice, whatever comes meanwhile; rows that left a full
    table between two looks are missed. The tables are read, not listened to: what they get does not wait behind a slow
    callback, has the relay's time, and costs the thread that receives nothing.
    """

    def __init__(self) -> None:
        self._read: dict[str, int] = {}

    def look(self, contents: Mapping[str, tuple[int, pa.Table]]) -> dict[str, pa.Table]:
        """Return the rows since the last look, or from the first on, by table; tables without any are left out."""
        found = {}
        for name, (count, rows) in contents.items():
            fresh = count - self._read.get(name, 0)
            self._read[name] = count
            if fresh and rows.num_rows:
                found[name] = rows.slice(max(0, rows.num_rows - fresh))
        return found


def _contents(table: Table) -> tuple[int, pa.Table]:
    for _ in range(10):
        dropped = table.dropped
        rows = table.arrow()
        if table.dropped == dropped:  # else some left in between
            break
    return dropped + rows.num_rows, rows


def _kind(rows: pa.Table) -> Kind:
    names = rows.column_names
    return Kind.STATS if "by_repo" in names else Kind.EVENTS if "type" in names else Kind.LOGS


def selected(
    tables: Iterable[pa.Table], reads: Mapping[Kind, Reads], *, limit: int | None = LIMIT
) -> tuple[list[Arrived], int]:
    """Return the records that are wanted, in the order of the relay's log, and how many older ones were left out.

    Args:
        tables: Rows with the columns of live tables.
        reads: What is wanted, by kind.
        limit: Most records, the newest; None: all.
    """
    parts = []
    for rows in tables:
        kind = _kind(rows)
        wanted = reads.get(kind)
        if wanted is not None:
            chosen = rows.filter(pa.array(wanted.conditions.mask(rows)))
            if chosen.num_rows:
                parts.append((kind, chosen, wanted.fields))
    if not parts:
        return [], 0
    order = _order([rows for _, rows, _ in parts])
    left_out = 0 if limit is None else max(0, len(order) - limit)
    if left_out:
        order = order[left_out:]
        parts, order = _thinned(parts, order)
    records: list[Arrived] = []
    for kind, rows, names in parts:
        records += map(Arrived, _seconds(rows).tolist(), _records(kind, rows, names))
    return [records[place] for place in order.tolist()], left_out


def _order(tables: list[pa.Table]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the places of all rows, laid end to end, in the order of the log: by epoch as these began, then by offset."""
    epochs = [name for rows in tables for name in rows.column("epoch").to_pylist()]
    offsets = np.concatenate([rows.column("offset").to_numpy() for rows in tables])
    times = np.concatenate([_seconds(rows) for rows in tables])
    names, codes = np.unique(np.array([name or "" for name in epochs], dtype=object), return_inverse=True)
    began = np.full(len(names), np.inf)
    np.minimum.at(began, codes, times)
    order: np.ndarray[Any, np.dtype[np.intp]] = np.lexsort((offsets, began[codes]))
    return order


def _thinned(
    parts: list[tuple[Kind, pa.Table, frozenset[str] | None]], order: np.ndarray[Any, np.dtype[np.intp]]
) -> tuple[list[tuple[Kind, pa.Table, frozenset[str] | None]], np.ndarray[Any, np.dtype[np.intp]]]:
    """Return the parts without the rows that no place of the order names, and the order of what is left."""
    total = sum(rows.num_rows for _, rows, _ in parts)
    is_kept = np.zeros(total, dtype=bool)
    is_kept[order] = True
    thin, start = [], 0
    for kind, rows, names in parts:
        thin.append((kind, rows.filter(pa.array(is_kept[start : start + rows.num_rows])), names))
        start += rows.num_rows
    return thin, (np.cumsum(is_kept) - 1)[order]


def _seconds(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.float64]]:
    seconds: np.ndarray[Any, np.dtype[np.float64]] = rows.column("received_at").cast(pa.int64()).to_numpy() / 1e6
    return seconds


def _records(kind: Kind, rows: pa.Table, names: frozenset[str] | None) -> Iterator[AnyRecord]:
    """Yield rows as records; fields that are not wanted stay empty."""
    made = _TYPES[kind]
    taken = [one.name for one in fields(made) if names is None or one.name in names]
    columns = [_values(rows, name) for name in taken]
    empty: dict[str, Any] = {} if "timestamp" in taken else {"timestamp": None}
    for values in zip(*columns, strict=True):
        yield made(**dict(zip(taken, values, strict=True)), **empty)


def _values(rows: pa.Table, name: str) -> list[Any]:
    values: list[Any] = rows.column(name).to_pylist()
    if name in ("extra", "by_repo"):  # JSON text in a table, a dict in a record
        return [_decoded(value) for value in values]
    return values


def _decoded(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:  # nested deeper than orjson reads
        return {}
    return value if isinstance(value, dict) else {}
