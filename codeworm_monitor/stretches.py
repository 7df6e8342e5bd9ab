"""Stretches: what the archive holds of a span of time, read as columns, many thousand rows at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codeworm_monitor.archive.database import DATABASE, plain_error
from codeworm_monitor.archive.parquet import Part
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import GAP, entry_of
from codeworm_monitor.columns import LABEL, TEXT, TIME
from codeworm_monitor.envelope import Gap
from codeworm_monitor.errors import ArchiveDamagedError
from codeworm_monitor.records import Kind
from codeworm_monitor.stored import STORED, Integers, Messages, stored, stream_name

__all__ = ["Selection", "Stretch", "hot_rows", "read_stretches"]

HOT_ROWS = 25_000
COLD_ROWS = 250_000
"""About so many rows are read at one time from the database, or from Parquet files."""
DAY = 86_400_000_000
FEW_ROWS = 60_000
"""In so many rows of Parquet files several days are read at one time."""
_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which channels are wanted; gaps come in any case.

    Attributes:
        names: Channels by their full names, or `logs`, `events`, `stats` for all of that kind; empty: all.
    """

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, channel: str | list[str] | tuple[str, ...] | set[str] | frozenset[str] | None) -> Selection:
        """Read what a person asks for.

        Raises:
            TypeError: It is neither a string nor a list of strings.
        """
        if channel is None:
            return cls()
        chosen = [channel] if isinstance(channel, str) else list(channel)
        if not all(isinstance(name, str) for name in chosen):
            raise TypeError("channel is a string or a list of strings")
        return cls(frozenset(chosen))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds among the names."""
        return self.names & frozenset(Kind)

    def includes(self, channel: str) -> bool:
        """Tell whether a channel is wanted."""
        return not self.names or channel in self.names or (stream_name(channel) in self.kinds)

    def as_sql(self) -> tuple[str, list[str]]:
        """Return a condition on the column `channel` of the database, and its values."""
        if not self.names:
            return "", []
        tests, values = ["channel = ''"], list[str]()
        if others := sorted(self.names - self.kinds):
            tests.append(f"channel IN ({', '.join('?' * len(others))})")
            values += others
        for kind in sorted(self.kinds):
            tests.append("channel = ? OR substr(channel, ?) = ?")
            values += [kind, cast(str, -len(kind) - 1), f":{kind}"]
        return f"AND ({' OR '.join(tests)})", values


class Stretch(NamedTuple):
    """Rows of one span of time.

    Attributes:
        messages: Those wanted, by time, epoch and offset.
        gaps: The gaps, each with the name of its epoch, likewise.
        until: Where the span ends, microseconds.
        newest: By the name of each epoch, the newest row that was in the archive when this was read: its offset, and when
            it was received.
    """

    messages: Messages
    gaps: list[tuple[str, Gap]]
    until: int
    newest: dict[str, tuple[int, int]]


@dataclass(slots=True)
class _Pieces:
    """Pieces of what will be a stretch, each with the key of its epoch."""

    messages: list[pa.RecordBatch] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    gaps: list[tuple[int, int, int, str, Gap]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, key: int) -> None:
        marks = batch.column("mark")
        if marks.null_count < len(marks):
            is_gap = pc.fill_null(pc.equal(marks, GAP), False)  # noqa: FBT003 (a value, not a flag)
            for one in batch.filter(is_gap).to_pylist():
                at, offset = one["received_at"], one["offset"]
                gap = cast(Gap, entry_of(offset, at, "", GAP, one["payload"]))
                self.gaps.append((at, key, offset, one["epoch"], gap))
            batch = batch.filter(pc.invert(is_gap))
        if batch.num_rows:
            self.messages.append(batch)
            self.keys.append(key)

    def in_order(self) -> tuple[Messages, list[tuple[str, Gap]]]:
        """Return all by time, epoch and offset."""
        self.gaps.sort(key=itemgetter(0, 1, 2))
        return Messages.of(self.messages, self._order), [gap[3:] for gap in self.gaps]

    def _order(self, messages: pa.RecordBatch) -> Integers | None:
        times, offsets = messages.column("received_at").to_numpy(), messages.column("offset").to_numpy()
        keys = np.repeat(np.array(self.keys, np.int64), [batch.num_rows for batch in self.messages])
        later = times[1:] > times[:-1]
        same = (times[1:] == times[:-1]) & (
            (keys[1:] > keys[:-1]) | ((keys[1:] == keys[:-1]) & (offsets[1:] > offsets[:-1]))
        )
        return None if (later | same).all() else np.lexsort((offsets, keys, times))


_EMPTY = stored([], [], [], [], [], [])


def read_stretches(reader: ArchiveReader, since: int, until: int, selection: Selection) -> Iterator[Stretch]:
    """Yield what the archive holds of a span of time, stretch after stretch.

    Promises: each stretch is of one moment, so what a compaction moves meanwhile is in it, once. Nothing is held open
    between two of them.

    Args:
        reader: The archive.
        since: Microseconds since 1970, UTC; the earliest that is wanted.
        until: The first that is not.
        selection: Which channels.

    Raises:
        ArchiveDamagedError: A file is missing or damaged; says which.
        ArchiveError: The archive cannot be read.
    """
    while since < until:
        span = reader.span()
        if span is None or span[1] < since:
            since = until - 1  # once more, to tell the newest offsets
        since = max(since, min(span[0], until - 1)) if span else since
        try:
            stretch = _read(reader, since, until, selection)
        except FileNotFoundError:  # removed for its age, and left the list before that: look again
            try:
                stretch = _read(reader, since, until, selection)
            except FileNotFoundError as error:
                raise ArchiveDamagedError(str(error.filename), "it is missing") from error
        yield stretch
        since = stretch.until


def _read(reader: ArchiveReader, since: int, until: int, selection: Selection) -> Stretch:
    database = reader.database
    try:
        database.execute("BEGIN")
        try:
            parts = [Part(*row) for row in database.execute(_PARTS, (until, since)).fetchall()]
            end = _end(database, parts, since, until)
            parts = [
                part for part in parts if part.first_at < end and (not part.channel or selection.includes(part.channel))
            ]
            names = dict(database.execute("SELECT id, name FROM epochs").fetchall())
            newest = {}
            for key, name in names.items():
                found = [row for query in _NEWEST if (row := database.execute(query, (key,)).fetchone())]
                newest[name] = max(found, default=(0, 0))
            pieces = _Pieces()
            wanted, values = selection.as_sql()
            for key, first, last in _ranges(database, since, end):
                # Along the numbering: there the rows lie side by side.
                within = "offset BETWEEN ? AND ? AND +received_at >= ? AND +received_at < ?"
                batch = hot_rows(database, (key, names[key]), f"{within} {wanted}", (first, last, since, end, *values))
                pieces.add(batch, key)
        finally:
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise plain_error(reader.directory / DATABASE, error) from error
    for part in parts:
        pieces.add(_cold(reader.directory, part, names[part.epoch], since, end), part.epoch)
    return Stretch(*pieces.in_order(), end, newest)


_PARTS = "SELECT * FROM parts WHERE first_at < ? AND last_at >= ? ORDER BY first_at"
_NEWEST = (
    "SELECT offset, received_at FROM entries WHERE epoch = ? ORDER BY offset DESC LIMIT 1",
    "SELECT last_offset, last_at FROM parts WHERE epoch = ? ORDER BY last_offset DESC LIMIT 1",
)


def _ranges(database: sqlite3.Connection, since: int, until: int) -> list[tuple[int, int, int]]:
    """Return the epochs of the rows of a span, each with the least and the largest offset."""
    values = "min(epoch), max(epoch), min(offset), max(offset) FROM entries WHERE received_at >= ? AND received_at < ?"
    key, largest, first, last = database.execute(f"SELECT {values}", (since, until)).fetchone()
    if key == largest:  # the usual case, made quick: no sorting
        return [] if key is None else [(key, first, last)]
    return [
        (key, first, last)
        for key, _, first, last in database.execute(f"SELECT {values} GROUP BY epoch", (since, until)).fetchall()
    ]


def _end(database: sqlite3.Connection, parts: list[Part], since: int, until: int) -> int:
    """Return where the stretch that begins at `since` ends, so that it has not too many rows."""
    end = until
    if any(part.last_at >= since for part in parts):
        # By whole days, as files are; several, where few rows are in them.
        end, rows = (since // DAY + 1) * DAY, 0
        for part in parts:
            if part.first_at >= end and rows + part.rows > FEW_ROWS:
                break
            end, rows = max(end, (part.last_at // DAY + 1) * DAY), rows + part.rows
        end = min(until, end)
    row = database.execute(
        "SELECT received_at FROM entries WHERE received_at >= ? ORDER BY received_at LIMIT 1 OFFSET ?",
        (since, HOT_ROWS),
    ).fetchone()
    if row is not None:
        end = min(end, max(row[0], since + 1))
    rows = 0
    for part in parts:
        if rows >= COLD_ROWS and part.first_at > since:
            end = min(end, part.first_at)
            break
        rows += part.rows
    return end


def hot_rows(
    database: sqlite3.Connection, epoch: tuple[int, str], condition: str, values: Sequence[int | str]
) -> pa.RecordBatch:
    """Return rows of the database as columns, by ascending offset; gaps among them.

    Args:
        database: See `archive.database.open_for_reading`.
        epoch: Key and name of their epoch.
        condition: What else is asked of them, in SQL.
        values: Those of the condition.
    """
    source, arguments = f"FROM entries WHERE epoch = ? AND {condition}", (epoch[0], *values)
    try:
        batch = _joined(database, source, arguments, epoch[1])
    except sqlite3.DataError:  # longer than a text may be
        batch = None
    if batch is None:
        query = f"SELECT offset, received_at, channel, mark, CAST(payload AS BLOB) {source} ORDER BY offset"
        rows = database.execute(query, arguments).fetchall()
        offsets, times, channels, marks, payloads = zip(*rows, strict=True) if rows else ([],) * 5
        batch = stored([epoch[1]] * len(rows), offsets, times, channels, marks, payloads)
    return batch


def _joined(
    database: sqlite3.Connection, source: str, arguments: tuple[int | str, ...], epoch: str
) -> pa.RecordBatch | None:
    """Return rows that SQLite joined to one text per column, which is twice as fast; None if they do not come apart."""
    # SQLite goes along the primary key, so the rows of each column come in one order, that of their offsets.
    count, first, last, channel, largest, marked, times, payloads = database.execute(
        "SELECT count(*), min(offset), max(offset), min(channel), max(channel), count(mark), group_concat(received_at), "
        f"CAST(group_concat(payload, x'0a') || x'0a' AS BLOB) {source}",
        arguments,
    ).fetchone()
    if not count:
        return _EMPTY
    ends = np.flatnonzero(np.frombuffer(payloads, np.uint8) == ord(_SEPARATOR)) + 1
    if len(ends) != count:
        return None

    def column(name: str) -> list[Any]:  # what is mostly told by its first and last value, and then not fetched
        return [value for (value,) in database.execute(f"SELECT {name} {source}", arguments).fetchall()]

    starts = np.concatenate([[0], ends]).astype(np.int64)
    return pa.RecordBatch.from_arrays(
        [
            _label(epoch, count),
            pa.array(np.arange(first, last + 1) if last - first + 1 == count else column("offset"), pa.int64()),
            pa.array(np.array(orjson.loads(f"[{times}]"), np.int64)),
            _label(channel, count) if channel == largest else pa.array(column("channel"), TEXT).dictionary_encode(),
            pa.array(column("mark"), TEXT) if marked else pa.nulls(count, TEXT),
            pa.Array.from_buffers(pa.large_binary(), count, [None, pa.py_buffer(starts), pa.py_buffer(payloads)]),
        ],
        schema=STORED,
    )


def _cold(directory: Path, part: Part, epoch: str, since: int, until: int) -> pa.RecordBatch:
    path = directory / part.path
    is_cut = part.first_at < since or part.last_at >= until
    try:
        with closing(pq.ParquetFile(path)) as file:
            groups = _row_groups(file.metadata, since, until) if is_cut else list(range(file.num_row_groups))
            table = file.read_row_groups(
                groups, columns=["offset", "received_at", "mark", "payload"], use_threads=False
            )
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "missing", str(path)) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveDamagedError(path, str(error).partition("\n")[0]) from error
    times = table.column("received_at").cast(pa.int64()).combine_chunks()
    payloads = table.column("payload").cast(TEXT).combine_chunks()
    if is_cut:
        is_within = pc.and_(pc.greater_equal(times, since), pc.less(times, until))
        table, times, payloads = table.filter(is_within), times.filter(is_within), payloads.filter(is_within)
    text = payloads.buffers()[2]
    if text is not None and _SEPARATOR.encode() in text.to_pybytes():  # to copy and search is faster than to compare
        payloads = pc.replace_substring(payloads, _SEPARATOR, " ")
    lines = pc.binary_join_element_wise(payloads, pa.scalar("", TEXT), pa.scalar(_SEPARATOR, TEXT))
    count = len(times)
    return pa.RecordBatch.from_arrays(
        [
            _label(epoch, count),
            table.column("offset").combine_chunks(),
            times,
            _label(part.channel, count),
            table.column("mark").cast(TEXT).combine_chunks(),
            lines.cast(pa.large_binary()),
        ],
        schema=STORED,
    )


def _row_groups(metadata: pq.FileMetaData, since: int, until: int) -> list[int]:
    """Return the row groups of a file that can hold rows of a span: its times are written beside each group."""
    names = [metadata.schema.column(index).name for index in range(metadata.num_columns)]
    column = names.index("received_at")
    found = []
    for index in range(metadata.num_row_groups):
        told = metadata.row_group(index).column(column).statistics
        if told is not None and told.has_min_max:
            first, last = pa.array([told.min, told.max], TIME).cast(pa.int64()).to_pylist()
            if last < since or first >= until:
                continue
        found.append(index)
    return found


def _label(value: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value], TEXT)).cast(LABEL)
