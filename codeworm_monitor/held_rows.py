"""Held rows: what the tables of a monitor hold, as rows of the log panel: the newest, those before, those a panel shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.dtypes import TEXT_DTYPE
from codeworm_monitor.states.log_filter import View, row_text
from codeworm_monitor.states.wire_rows import WireRow
from codeworm_monitor.table_rows import gap_rows, merged, message_rows, of_epoch
from codeworm_monitor.tables import Table

__all__ = ["HeldRows", "rows_frame", "shown", "view_of"]

_LABELS = ("channel", "level", "component", "event", "repo")


class HeldRows:
    """Reads the tables; any thread may.

    Args:
        tables: Those of messages.
        gaps: That of gaps.
        epoch: The numbering in use; None: there is only one, or none yet.
    """

    def __init__(
        self, tables: Callable[[], Sequence[Table]], gaps: Callable[[], Table], epoch: Callable[[], str | None]
    ) -> None:
        self._tables = tables
        self._gaps = gaps
        self.epoch = epoch

    def newest(self, count: int) -> tuple[list[WireRow], bool]:
        """Return the newest rows, the oldest first, and whether these are all."""
        tables = [table.arrow() for table in self._tables()]
        gaps = self._gaps().arrow()
        rows = self._rows(
            (table.slice(max(0, table.num_rows - count)) for table in tables), gaps.slice(max(0, gaps.num_rows - count))
        )
        return rows[-count:], sum(table.num_rows for table in tables) + gaps.num_rows <= count

    def before(self, offset: int | None, at: float, count: int) -> list[WireRow]:
        """Return the rows before one, the oldest first, as far back as the tables are whole.

        Args:
            offset: Of that one, in the numbering in use; None: it has none.
            at: When it was read, Unix seconds.
            count: Most rows.
        """
        tables = self._tables()
        begin = self._whole_from(tables)
        parts = [self._older(table.arrow(), offset, at, begin, count) for table in tables]
        gaps = self._gaps().arrow()
        ended = _seconds(gaps.column("ended_at"))
        return self._rows(parts, gaps.filter(pa.array((ended < at) & (ended >= begin))))[-count:]

    def time_of(self, offset: int) -> float | None:
        """Return when the row of an offset was read, Unix seconds; None: it is not held."""
        for one in self._tables():
            table = one.arrow()
            is_it = of_epoch(table, self.epoch()) & (table.column("offset").to_numpy() == offset)
            if is_it.any():
                return float(_seconds(table.column("received_at"))[is_it][0])
        return None

    def shown(self, view: View) -> list[WireRow]:
        """Return the rows that a panel shows, or of them those selected there, the oldest first."""
        epoch = self.epoch()
        parts = []
        for one in self._tables():
            table = one.arrow()
            parts.append(table.filter(pa.array(_in_range(table, view, epoch, is_selected=True))))
        gaps = self._gaps().arrow()
        gaps = gaps.slice(0, 0) if view.selected else gaps.filter(pa.array(_gaps_in_range(gaps, view, parts)))
        return [row for row in self._rows(parts, gaps) if view.accepts(row)]

    def _rows(self, tables: Iterable[pa.Table], gaps: pa.Table) -> list[WireRow]:
        epoch = self.epoch()
        return merged([*(message_rows(table, epoch) for table in tables), gap_rows(gaps, epoch)])

    def _older(self, table: pa.Table, offset: int | None, at: float, begin: float, count: int) -> pa.Table:
        times = _seconds(table.column("received_at"))
        is_older = times < at
        if offset is not None:
            is_known = of_epoch(table, self.epoch())
            is_older = np.where(is_known, table.column("offset").to_numpy() < offset, is_older)
        older = table.filter(pa.array(is_older & (times >= begin)))
        return older.slice(max(0, older.num_rows - count))

    def _whole_from(self, tables: Sequence[Table]) -> float:
        """Return since when the tables are whole: where a full one let its oldest rows go, the others tell only a part."""
        oldest = [pc.min(table.arrow().column("received_at")).as_py() for table in tables if table.dropped]
        return max((one.timestamp() for one in oldest if one is not None), default=0.0)


def view_of(value: object) -> View:
    """Return the view of a log panel, or of a dict such as its `view`.

    Raises:
        TypeError: It is neither.
    """
    told = value if isinstance(value, dict) else getattr(value, "view", None)
    if not isinstance(told, dict):
        raise TypeError(f"view is a log panel, or a dict like its .view; not {type(value).__name__}")
    return View.from_dict(told)


def shown(table: pa.Table, value: object, epoch: str | None) -> npt.NDArray[np.bool_]:
    """Return which rows of a table of messages a panel shows.

    Args:
        table: With the columns of one kind.
        value: See `view_of`.
        epoch: The numbering in use.
    """
    view = view_of(value)
    mask = _in_range(table, view, epoch, is_selected=False)
    rows = message_rows(table.filter(pa.array(mask)), epoch)
    mask[mask] = [view.accepts(row) for row in rows]
    return mask


def rows_frame(rows: Sequence[WireRow]) -> pd.DataFrame:
    """Return rows as a frame; columns as `widgets.LogPanel.selection` tells."""
    columns: dict[str, list[Any]] = {name: [] for name in ("level", "component", "event", "target", "repo")}
    for _, _, _, data in rows:
        inner = data.get("data") if isinstance(data, dict) else None
        for name, values in columns.items():
            value = _text(data, name) or (_text(data, "type") if name == "event" else None)
            if value is None and name in ("target", "repo"):
                value = _text(inner, name)
            values.append(value.lower() if name == "level" and value is not None else value)
    times = [datetime.fromtimestamp(row[1], UTC) for row in rows]
    frame = pd.DataFrame(
        {
            "offset": pd.array([np.nan if row[0] is None else float(row[0]) for row in rows], dtype="float64"),
            "received_at": pd.Series(times, dtype="datetime64[us, UTC]"),
            "channel": [row[2] for row in rows],
            **columns,
            "text": [row_text(row[3]) for row in rows],
            "payload": [_json(row[3]) for row in rows],
        }
    )
    frame["offset"] = frame["offset"].astype("float64")
    for name in ("target", "text", "payload", *_LABELS):
        frame[name] = frame[name].astype(TEXT_DTYPE)
    return frame.astype(dict.fromkeys(_LABELS, "category"))


def _in_range(table: pa.Table, view: View, epoch: str | None, *, is_selected: bool) -> npt.NDArray[np.bool_]:
    offsets = table.column("offset").to_numpy()
    mask = np.ones(table.num_rows, dtype=bool)
    if is_selected and view.selected:
        return of_epoch(table, epoch) & np.isin(offsets, view.selected)
    if view.first is not None or view.last is not None:
        mask &= of_epoch(table, epoch)
    if view.first is not None:
        mask &= offsets >= view.first
    if view.last is not None:
        mask &= offsets <= view.last
    return mask


def _gaps_in_range(gaps: pa.Table, view: View, parts: Sequence[pa.Table]) -> npt.NDArray[np.bool_]:
    """Return which gaps lie within the times of the rows shown; of a panel that shows all, all."""
    ended = _seconds(gaps.column("ended_at"))
    times = [_seconds(part.column("received_at")) for part in parts if part.num_rows]
    if (view.first is None and view.last is None) or not times:
        return np.ones(gaps.num_rows, dtype=bool)
    first, last = min(one.min() for one in times), max(one.max() for one in times)
    inside: npt.NDArray[np.bool_] = (ended >= first) & (ended <= last)
    return inside


def _seconds(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    seconds: npt.NDArray[np.float64] = column.cast(pa.int64()).to_numpy() / 1_000_000
    return seconds


def _text(data: Any, name: str) -> str | None:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else None


def _json(data: Any) -> str:
    try:
        return orjson.dumps(data).decode()
    except (TypeError, RecursionError):  # what only Python can hold
        return repr(data)[:100_000]
