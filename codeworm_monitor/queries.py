"""Queries: SQL over all that an archive holds, the database's rows and the Parquet files as one, and over live tables."""

from __future__ import annotations

import glob
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.archive.database import DATABASE, plain_error
from codeworm_monitor.archive.parquet import Part, first_line, literal
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.columns import TEXT, TIME
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError
from codeworm_monitor.progress import Progress
from codeworm_monitor.records import Kind, kind_of
from codeworm_monitor.stored import stream_name
from codeworm_monitor.stretches import hot_rows
from codeworm_monitor.views import CYCLES, DOCUMENTS, LABELS, STORED_COLUMNS, gaps_view, label, message_view

if TYPE_CHECKING:
    import duckdb

    from codeworm_monitor.intake import Intake

__all__ = ["ArchiveQueries"]

LOADED_AT_ONCE = 50_000
"""Offsets of the database taken over in one go."""

_TYPES = {"offset": "BIGINT", "received_at": "TIMESTAMPTZ"}
_HOT = f"""
CREATE TABLE hot (epoch_key BIGINT, {", ".join(f'"{name}" {_TYPES.get(name, "VARCHAR")}' for name in STORED_COLUMNS)})
"""
_COLUMNS = ", ".join(f'"{name}"' for name in STORED_COLUMNS)


_DATE_TRUNC = """
CREATE MACRO date_trunc
    (part VARCHAR, t TIMESTAMPTZ) AS
        make_timestamptz(epoch_us(system.main.date_trunc(part, make_timestamp(epoch_us(t))))),
    (part VARCHAR, t TIMESTAMP) AS system.main.date_trunc(part, t),
    (part VARCHAR, t DATE) AS system.main.date_trunc(part, t),
    (part VARCHAR, t INTERVAL) AS system.main.date_trunc(part, t)
"""
"""In UTC, the only zone here, a calendar of zones need not be asked: over millions of rows ten times as fast."""


class ArchiveQueries:
    """Answers SQL over an archive, while others write to it. Any thread may ask; one query runs at a time.

    Promises: a query sees one moment, at which each row is there once, whatever a compaction moves meanwhile. Nothing
    is ever written: a query is one SELECT, and reaches no file but the archive's Parquet files, and no network.

    Rows of the database are taken over when first asked for, and then only what is new. Files are read as far as a
    query needs them.

    Args:
        directory: The archive; None: there is none, and the live tables are all there is.
        live: Live tables, whose rows count as far as they are not in the archive yet.

    Raises:
        ArchiveError: There is no archive, it cannot be read, or DuckDB is not installed.
    """

    def __init__(self, directory: Path | None, *, live: Intake | None = None) -> None:
        self.directory = directory
        self._live = live
        self._lock = threading.Lock()
        self._reader = None if directory is None else ArchiveReader(directory, check_same_thread=False)
        self._data_version: int | None = None
        self._parts: list[Part] = []
        self._names: dict[int, str] = {}
        self._loaded: dict[int, tuple[int, int]] = {}  # by epoch: newest offset, rows
        self._newest: dict[str, int] = {}  # by the epoch's name: newest offset that is archived
        self._has_views = False
        try:
            self._duck = _connect(directory)
        except BaseException:
            self.close()
            raise
        self._duck.execute(_HOT)

    def close(self) -> None:
        """Let go of all; may be called again."""
        if (reader := getattr(self, "_reader", None)) is not None:
            reader.close()
        if (duck := getattr(self, "_duck", None)) is not None:
            duck.close()

    def __del__(self) -> None:
        self.close()  # nothing is lost by a query that nobody can ask any more

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return what a query finds.

        Args:
            query: One SELECT (WITH, FROM, DESCRIBE and SUMMARIZE too) in DuckDB's SQL, over the views `logs`, `events`,
                `stats`, `gaps`, `documents`, `cycles`, and `messages`, which holds every channel's. Times are in UTC.
            parameters: Values of `?` or `$1`, or, by name, of `$name`.

        Raises:
            ValueError: The query is no such, or has a mistake; says which.
            ArchiveDamagedError: A file is missing or damaged.
            ArchiveError: The archive cannot be read.
        """
        import duckdb

        with self._lock:
            self._check(query)
            for attempt in range(3):
                try:
                    self._refresh()
                    return _frame(self._duck.sql(query, params=parameters).to_arrow_table())
                except duckdb.IOException as error:
                    # A file that is gone was too old to be kept, and left the list before it went.
                    self._data_version = None
                    if attempt == 2 or self.directory is None:
                        raise ArchiveDamagedError(self.directory or Path(), first_line(error)) from error
                except duckdb.PermissionException as error:
                    raise ValueError(f"a query reads nothing but the archive: {first_line(error)}") from error
                except duckdb.Error as error:
                    raise ValueError(_plain(error)) from error
            raise AssertionError

    def _check(self, query: str) -> None:
        import duckdb

        try:
            statements = self._duck.extract_statements(query)
        except duckdb.Error as error:
            raise ValueError(_plain(error)) from error
        if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
            raise ValueError("a query is one SELECT: the archive is only read")

    # What there is

    def _refresh(self) -> None:
        has_changed = self._reader is not None and self._take_over(self._reader)
        if self._live is not None:
            self._register_live(self._live)
        if has_changed or not self._has_views:
            self._has_views = False
            self._make_views()
            self._has_views = True

    def _take_over(self, reader: ArchiveReader) -> bool:
        """Bring `hot` and the list of files to one moment of the archive; return whether anything was new."""
        database = reader.database
        try:
            database.execute("BEGIN")
            try:
                database.execute("SELECT 1 FROM epochs LIMIT 1").fetchone()  # the moment begins with the first look
                (version,) = database.execute("PRAGMA data_version").fetchone()
                if version == self._data_version:
                    return False
                self._names = dict(database.execute("SELECT id, name FROM epochs").fetchall())
                parts = [
                    Part(*row) for row in database.execute("SELECT * FROM parts ORDER BY first_at, path").fetchall()
                ]
                self._drop_moved(parts)
                self._load(database)
            finally:
                database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise plain_error(reader.directory / DATABASE, error) from error
        self._parts = parts
        self._newest = {self._names[key]: newest for key, (newest, _) in self._loaded.items()}
        for part in parts:
            name = self._names[part.epoch]
            self._newest[name] = max(self._newest.get(name, 0), part.last_offset)
        self._data_version = version
        return True

    def _drop_moved(self, parts: list[Part]) -> None:
        known = {part.path for part in self._parts}
        for part in parts:
            if part.path not in known and part.epoch in self._loaded:
                (count,) = self._one(
                    'DELETE FROM hot WHERE epoch_key = ? AND channel = ? AND "offset" BETWEEN ? AND ? '
                    "AND received_at BETWEEN make_timestamptz(?) AND make_timestamptz(?)",
                    [part.epoch, part.channel, part.first_offset, part.last_offset, part.first_at, part.last_at],
                )
                newest, rows = self._loaded[part.epoch]
                self._loaded[part.epoch] = (newest, rows - count)

    def _load(self, database: sqlite3.Connection) -> None:
        there = {
            key: (rows, newest)
            for key, rows, newest in database.execute("SELECT epoch, count(*), max(offset) FROM entries GROUP BY epoch")
        }
        for key in self._loaded.keys() - there.keys():
            self._duck.execute("DELETE FROM hot WHERE epoch_key = ?", [key])
            del self._loaded[key]
        wanted = sum(rows - self._loaded.get(key, (-1, 0))[1] for key, (rows, _) in there.items())
        done = 0
        with Progress("reading the archive") as shown:

            def tell(count: int) -> None:
                nonlocal done
                done += count
                shown.tell(done / max(1, wanted))

            for key, (rows, newest) in there.items():
                before, loaded = self._loaded.get(key, (-1, 0))
                loaded += self._load_epoch(database, key, before, newest, tell)
                if loaded != rows:  # rows came or went in the midst: an import, or old age
                    self._duck.execute("DELETE FROM hot WHERE epoch_key = ?", [key])
                    self._load_epoch(database, key, -1, newest, tell)
                self._loaded[key] = (newest, rows)

    def _load_epoch(
        self, database: sqlite3.Connection, key: int, after: int, newest: int, tell: Callable[[int], None]
    ) -> int:
        count = 0
        while after < newest:
            row = database.execute(
                "SELECT offset FROM entries WHERE epoch = ? AND offset > ? ORDER BY offset LIMIT 1 OFFSET ?",
                (key, after, LOADED_AT_ONCE - 1),
            ).fetchone()
            last = newest if row is None else row[0]
            batch = hot_rows(database, (key, self._names[key]), "offset BETWEEN ? AND ?", (after + 1, last))
            count += batch.num_rows
            self._insert(key, batch)
            tell(batch.num_rows)
            after = last
        return count

    def _insert(self, key: int, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        channels = batch.column("channel")
        kinds = pa.array(["gap" if name == "" else str(kind_of(name)) for name in channels.dictionary.to_pylist()])
        table = pa.table(
            {
                "epoch": batch.column("epoch").cast(TEXT),
                "offset": batch.column("offset"),
                "received_at": batch.column("received_at").cast(TIME),
                "channel": channels.cast(TEXT),
                "kind": kinds.take(channels.indices),
                "mark": batch.column("mark"),
                "payload": batch.column("payload").cast(TEXT),
            }
        )
        labels = ", ".join(
            f"TRY(CASE kind WHEN 'events' THEN {label(Kind.EVENTS, name)} WHEN 'gap' THEN NULL ELSE {label(Kind.LOGS, name)} END)"
            for name in LABELS
        )
        self._duck.register("incoming", table)
        try:
            self._duck.execute(
                f'INSERT INTO hot SELECT {key}, epoch, "offset", received_at, channel, kind, {labels}, mark, '
                "rtrim(payload, chr(10)) FROM incoming"
            )
        finally:
            self._duck.unregister("incoming")

    def _register_live(self, live: Intake) -> None:
        for kind, stream in live.by_kind.items():
            table = stream.arrow()
            epochs = table.column("epoch").cast(TEXT)
            for epoch in epochs.unique().to_pylist():
                if newest := self._newest.get(epoch, 0):
                    is_there = pc.and_(pc.equal(epochs, epoch), pc.less_equal(table.column("offset"), newest))
                    table, epochs = table.filter(pc.invert(is_there)), epochs.filter(pc.invert(is_there))
            self._duck.register(f"live_{kind}", table)
        gaps = live.gaps.arrow()
        if self._reader is not None:  # those of the log are in the archive, or about to be
            gaps = gaps.filter(pc.is_null(gaps.column("offset")))
        self._duck.register("live_gaps", gaps)

    def _make_views(self) -> None:
        cold: dict[str, list[str]] = {}
        for part in self._parts:
            assert self.directory is not None
            cold.setdefault(part.channel, []).append(glob.escape(str(self.directory.resolve() / part.path)))
        files = {channel: f"[{', '.join(map(literal, paths))}]" for channel, paths in cold.items()}
        by_channel = {
            channel: f"SELECT {_selected(channel)} FROM read_parquet({paths}, hive_partitioning = false)"
            for channel, paths in files.items()
        }
        for kind in Kind:
            sources = [source for channel, source in by_channel.items() if channel and stream_name(channel) == kind]
            hot = f"SELECT {_COLUMNS} FROM hot WHERE channel = '{kind}' OR ends_with(channel, ':{kind}')"
            self._duck.execute(message_view(kind, [hot, *sources], None if self._live is None else f"live_{kind}"))
        gap_files = [by_channel[""]] if "" in by_channel else []
        hot = f"SELECT {_COLUMNS} FROM hot WHERE channel = ''"
        self._duck.execute(gaps_view([hot, *gap_files], None if self._live is None else "live_gaps"))
        everything = [f"SELECT {_COLUMNS} FROM hot WHERE channel <> ''"]
        everything += [source for channel, source in by_channel.items() if channel]
        self._duck.execute(f"CREATE OR REPLACE VIEW messages AS {' UNION ALL '.join(everything)}")
        self._duck.execute(DOCUMENTS)
        self._duck.execute(CYCLES)

    def _one(self, statement: str, values: list[Any]) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._duck.execute(statement, values).fetchone()
        assert row is not None
        return row


def _connect(directory: Path | None) -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ImportError as error:
        raise ArchiveError("SQL needs DuckDB: pip install 'codeworm-monitor[analysis]'") from error
    duck = duckdb.connect()
    with suppress(duckdb.Error):  # a release that knows no types of parameters: slower, and the same
        duck.execute(_DATE_TRUNC)
    allowed = []
    if directory is not None:  # also as patterns spell it: it is these that are judged
        spelled = {str(directory.resolve()), glob.escape(str(directory.resolve()))}
        allowed = [f"allowed_directories = [{', '.join(map(literal, spelled))}]"]
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",  # or a query could mean variables of ours
        "parquet_metadata_cache = true",
        "TimeZone = 'UTC'",
        *allowed,
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        duck.execute(f"SET {setting}")
    return duck


def _selected(channel: str) -> str:
    return ", ".join(
        f'{literal(channel)} AS "channel"' if name == "channel" else f'"{name}"' for name in STORED_COLUMNS
    )


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return a frame with the dtypes of the tables: no decimals, no intervals, no JSON of a type of its own."""
    for index, field in enumerate(table.schema):
        column = table.column(index)
        if isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], field.type.storage_type)
        if pa.types.is_decimal(column.type):
            with suppress(pa.ArrowInvalid):  # counts and sums
                if field.type.scale == 0:
                    column = column.cast(pa.int64())
            if pa.types.is_decimal(column.type):
                column = column.cast(pa.float64())
        elif column.type == pa.month_day_nano_interval():
            column = _durations(column)
        if column.type != field.type:
            table = table.set_column(index, field.name, column)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _durations(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return intervals as durations, which pandas reckons with; a month is none: where there is one, they stay."""
    values = column.to_pylist()
    if any(value is not None and value.months for value in values):
        return column
    day = 86_400 * 10**9
    lengths = [None if value is None else (value.days * day + value.nanoseconds) // 1000 for value in values]
    return pa.chunked_array([pa.array(lengths, pa.duration("us"))])


def _plain(error: Exception) -> str:
    """Return what DuckDB says, without the name of its class, and the place in the query."""
    return str(error).partition("\n\nLINE ")[0]
