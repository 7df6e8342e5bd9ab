"""Table rows: what the tables hold, as rows of the log panel again: payloads put together from their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.columns import TEXT, TIME
from codeworm_monitor.states.wire_rows import WireRow

__all__ = ["gap_rows", "merged", "message_rows", "of_epoch", "payloads"]

_AROUND = ("epoch", "offset", "received_at", "channel", "mark", "extra")
_FIRST = ("event", "type", "level", "component", "timestamp")
_RENAMED: dict[str, str] = {"next_cycle_at": "time"}
_MICROSECONDS = 1_000_000


def message_rows(table: pa.Table, epoch: str | None) -> list[WireRow]:
    """Return the rows of a table of messages, in its order.

    Args:
        table: With the columns of one kind (see `columns.LAYOUTS`).
        epoch: The numbering in use: of others the offsets say nothing, and are left out.
    """
    offsets = _known_offsets(table, epoch)
    times = (table.column("received_at").cast(pa.int64()).to_numpy() / _MICROSECONDS).tolist()
    channels = table.column("channel").cast(TEXT).to_pylist()
    return [list(row) for row in zip(offsets, times, channels, payloads(table), strict=True)]


def payloads(table: pa.Table) -> list[dict[str, Any]]:
    """Return the payloads of a table's messages, as nearly as the columns tell: what was missing is missing."""
    names: list[str] = [name for name in table.column_names if name not in _AROUND]
    ordered = [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]
    columns = [(_RENAMED.get(name, name), _values(name, table.column(name))) for name in ordered]
    filled: list[tuple[str, list[Any]]] = [(name, values) for name, values in columns if values is not None]
    extras = table.column("extra").to_pylist()
    is_event = "type" in names
    rows = []
    for index in range(table.num_rows):
        payload: dict[str, Any] = {name: value for name, values in filled if (value := values[index]) is not None}
        if (extra := extras[index]) is not None:
            payload |= _decoded(extra)
        rows.append(_as_event(payload) if is_event else payload)
    return rows


def gap_rows(table: pa.Table, epoch: str | None) -> list[WireRow]:
    """Return the rows of a table of gaps (see `columns.GAP_LAYOUT`); arguments as for `message_rows`."""
    rows = []
    offsets = _known_offsets(table, epoch)
    for offset, gap in zip(offsets, table.drop_columns(["offset"]).to_pylist(), strict=True):
        ended_at = gap["ended_at"].timestamp()
        told = {
            "cause": gap["cause"],
            "started_at": gap["started_at"].timestamp(),
            "ended_at": ended_at,
            "missed": gap["missed"],
            "detail": gap["detail"],
        }
        rows.append([offset, ended_at, "gap", told])
    return rows


def merged(streams: Iterable[Sequence[WireRow]]) -> list[WireRow]:
    """Return the rows of several streams in one order: that of their offsets, else that of their times.

    Rows without an offset are of an earlier numbering, or of one reader alone, and stand where their time puts them.
    """
    rows = [row for stream in streams for row in stream]
    numbered = sorted((row for row in rows if row[0] is not None), key=itemgetter(0))
    others = sorted((row for row in rows if row[0] is None), key=itemgetter(1))
    if not others:
        return numbered
    result: list[WireRow] = []
    place = 0
    for row in numbered:
        while place < len(others) and others[place][1] <= row[1]:
            result.append(others[place])
            place += 1
        result.append(row)
    return result + others[place:]


def of_epoch(table: pa.Table, epoch: str | None) -> npt.NDArray[np.bool_]:
    """Return which rows are of a numbering; None: all."""
    if epoch is None:
        return np.ones(table.num_rows, dtype=bool)
    is_equal = pc.equal(table.column("epoch").cast(TEXT), pa.scalar(epoch, TEXT))
    plain: npt.NDArray[np.bool_] = is_equal.to_numpy()
    return plain


def _known_offsets(table: pa.Table, epoch: str | None) -> list[int | None]:
    offsets: list[int | None] = table.column("offset").to_pylist()
    if epoch is None:
        return offsets
    return [
        offset if is_known else None for offset, is_known in zip(offsets, of_epoch(table, epoch).tolist(), strict=True)
    ]


def _values(name: str, column: pa.ChunkedArray) -> list[Any] | None:
    if column.null_count == len(column):
        return None
    if column.type == TIME:
        micros = column.cast(pa.int64()).to_pylist()
        return [None if one is None else _iso(one) for one in micros]
    if name == "by_repo":
        return [None if one is None else _decoded(one) for one in column.to_pylist()]
    values: list[Any] = (column.cast(TEXT) if pa.types.is_dictionary(column.type) else column).to_pylist()
    if pa.types.is_floating(column.type):
        # A whole number was most likely written as one.
        return [int(one) if isinstance(one, float) and one.is_integer() else one for one in values]
    return values


def _iso(micros: int) -> str:
    seconds, rest = divmod(micros, _MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest, tzinfo=None).isoformat() + "Z"


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError:  # nested deeper than orjson reads, or numbers that only Python writes
        return {"extra": text}
    return value if isinstance(value, dict) else {"extra": value}


def _as_event(payload: dict[str, Any]) -> dict[str, Any]:
    outer: dict[str, Any] = {name: payload.pop(name) for name in ("type", "timestamp") if name in payload}
    inner = payload.pop("data", None)
    if isinstance(inner, dict):
        payload |= inner
    elif inner is not None:
        payload["data"] = inner
    return {**outer, "data": payload}
