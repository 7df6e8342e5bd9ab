"""Held rows: what tables hold, as rows of the log panel: the newest, those before, those a panel shows or was given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.columns import TEXT
from codeworm_monitor.dtypes import TEXT_DTYPE
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.states.log_filter import View, row_text
from codeworm_monitor.states.wire_rows import WireRow
from codeworm_monitor.table_rows import gap_rows, merged, message_rows, of_epoch
from codeworm_monitor.tables import Table

__all__ = [
    "Edge",
    "Given",
    "HeldRows",
    "commits_of",
    "gaps_of",
    "newest_offset",
    "newest_rows",
    "rows_before",
    "rows_frame",
    "shown",
    "view_of",
]

BROWSER_HOLDS = 50_000
"""Rows that a browser holds at most; the oldest go first."""
MOST_GIVEN = 50_000
"""Rows from farther back than the tables that are kept for `selection`, for each panel."""

_COMMIT = ("target", "repo", "doc_type", "language", "commit", "commit_message", "tokens", "time_ms")
_LABELS = ("channel", "level", "component", "event", "repo")


@dataclass(frozen=True, slots=True)
class Edge:
    """Where what a browser holds begins. Times are Unix seconds.

    Attributes:
        offset: Of its oldest row that has one; None: none has.
        at: When that row was read; without an offset, the oldest of all.
        others_at: When its oldest row without an offset was read; infinite: it holds none.
    """

    offset: int | None
    at: float
    others_at: float = float("inf")


class Given:
    """What a panel's browser was given since its newest fill, as far as older rows and the selection need it.

    Args:
        rows: Those of the fill, the oldest first.
        epoch: The numbering of their offsets.
        at: When it was, by the monotonic clock.

    Attributes:
        older: Rows by offset that came from farther back than the tables; the newest `MOST_GIVEN`.
    """

    def __init__(self, rows: Sequence[WireRow] = (), epoch: str | None = None, at: float = float("-inf")) -> None:
        self.epoch = epoch
        self.at = at
        self.older: dict[int, WireRow] = {}
        self._oldest_at = self._others_at = float("inf")
        self._newer = 0
        self._note(rows)

    def add_newer(self, count: int) -> None:
        """Note that so many rows were sent in a batch: in the end the browser lets those without an offset go."""
        self._newer += count
        if self._newer >= BROWSER_HOLDS:
            self._others_at, self._newer = float("inf"), 0

    def add_older(self, rows: Sequence[WireRow], *, is_held: bool) -> None:
        """Note rows that stand before the others; `is_held`: the tables hold them."""
        self._note(rows)
        self._newer = 0
        if not is_held:
            self.older.update((row[0], row) for row in rows if row[0] is not None)
            for offset in sorted(self.older, reverse=True)[MOST_GIVEN:]:
                del self.older[offset]

    def edge(self, before: int | None, time_of: Callable[[int], float | None], now: float) -> Edge:
        """Return where to go on.

        Args:
            before: Offset of the oldest row that the browser holds; None: it holds none that has one.
            time_of: Tells when a row of the tables was read.
            now: Unix seconds.
        """
        at = None
        if before is not None:
            known = self.older.get(before)
            at = time_of(before) if known is None else known[1]
        return Edge(before, min(self._oldest_at, now) if at is None else at, self._others_at)

    def shown(self, view: View) -> list[WireRow]:
        """Return those of `older` that a panel shows, or of them those selected there."""
        first = 0 if view.first is None else view.first
        last = float("inf") if view.last is None else view.last
        wanted = (row for row in self.older.values() if first <= row[0] <= last)
        if view.selected:
            wanted = (self.older[offset] for offset in view.selected if offset in self.older)
        return [row for row in wanted if view.accepts(row)]

    def _note(self, rows: Sequence[WireRow]) -> None:
        self._oldest_at = min([self._oldest_at, *(row[1] for row in rows[:1])])
        self._others_at = min([self._others_at, *(row[1] for row in rows if row[0] is None)])


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
        return newest_rows(tables, self._gaps().arrow(), self.epoch(), count)

    def before(self, edge: Edge, count: int) -> list[WireRow]:
        """Return the rows before an edge, the oldest first, at most `count`, as far back as the tables are whole."""
        tables = self._tables()
        begin = self._whole_from(tables)
        gaps = self._gaps().arrow()
        return rows_before([table.arrow() for table in tables], gaps, edge, self.epoch(), count, begin=begin)

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
        return [row for row in _rows(parts, gaps, epoch) if view.accepts(row)]

    def _whole_from(self, tables: Sequence[Table]) -> float:
        """Return since when the tables are whole: where a full one let its oldest rows go, the others tell only a part."""
        oldest = [pc.min(table.arrow().column("received_at")).as_py() for table in tables if table.dropped]
        return max((one.timestamp() for one in oldest if one is not None), default=0.0)


def newest_rows(
    tables: Iterable[pa.Table], gaps: pa.Table, epoch: str | None, count: int
) -> tuple[list[WireRow], bool]:
    """Return the newest rows of some tables, the oldest first, and whether these are all.

    Args:
        tables: Of messages.
        gaps: That of gaps.
        epoch: The numbering in use; None: there is only one.
        count: Most rows.
    """
    tables = list(tables)
    rows = _rows([_newest(table, count) for table in tables], _newest(gaps, count), epoch)
    return rows[-count:], sum(table.num_rows for table in tables) + gaps.num_rows <= count


def rows_before(
    tables: Iterable[pa.Table], gaps: pa.Table, edge: Edge, epoch: str | None, count: int, *, begin: float = 0.0
) -> list[WireRow]:
    """Return the newest rows of some tables that stand before an edge, the oldest first; no others become rows.

    Args:
        tables: Of messages.
        gaps: That of gaps.
        edge: Before which.
        epoch: The numbering in use; None: there is only one.
        count: Most rows.
        begin: When the earliest that is wanted was read, Unix seconds.
    """
    parts = [_newest(_older(table, "received_at", edge, epoch, begin), count) for table in tables]
    return _rows(parts, _newest(_older(gaps, "ended_at", edge, epoch, begin), count), epoch)[-count:]


def newest_offset(tables: Iterable[pa.Table], epoch: str | None) -> int:
    """Return the newest offset of a numbering in some tables of messages; 0: they hold none."""
    found = (table.column("offset").to_numpy()[of_epoch(table, epoch)] for table in tables)
    return max((int(offsets.max()) for offsets in found if len(offsets)), default=0)


def gaps_of(table: pa.Table) -> list[Gap]:
    """Return the gaps of a table of gaps."""
    found = []
    for row in table.to_pylist():
        times = {name: row[name].timestamp() for name in ("started_at", "ended_at")}
        places = {name: row[name] for name in ("offset", "first_offset", "last_offset")}
        found.append(Gap(cause=GapCause(row["cause"]), detail=row["detail"] or "", **times, **places))
    return found


def commits_of(events: pa.Table) -> list[dict[str, Any]]:
    """Return the commits that a table of events tells, with the names of `states.commits.Commit`."""
    is_commit = pc.equal(events.column("type").cast(TEXT), "documentation_committed")
    found = events.filter(pc.fill_null(is_commit, False)).select(["received_at", *_COMMIT])  # noqa: FBT003 (a value)
    return [{**row, "at": row["received_at"].timestamp()} for row in found.to_pylist()]


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


def _rows(tables: Iterable[pa.Table], gaps: pa.Table, epoch: str | None) -> list[WireRow]:
    return merged([*(message_rows(table, epoch) for table in tables), gap_rows(gaps, epoch)])


def _newest(table: pa.Table, count: int) -> pa.Table:
    return table.slice(max(0, table.num_rows - count))


def _older(table: pa.Table, time: str, edge: Edge, epoch: str | None, begin: float) -> pa.Table:
    times = _seconds(table.column(time))
    is_older = times < min(edge.at, edge.others_at)
    if edge.offset is not None:
        offsets = table.column("offset")
        is_known = of_epoch(table, epoch) & offsets.is_valid().to_numpy()
        is_older = np.where(is_known, offsets.fill_null(0).to_numpy() < edge.offset, is_older)
    return table.filter(pa.array(is_older & (times >= begin)))


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
