"""Compaction: the rows of closed UTC days move from the database into Parquet files, a tenth of the size.

A slice of rows is written aside, made durable under its name, read again, and only then, in one transaction, listed as
a part and deleted. Whatever is interrupted, each row stays in exactly one of the two places; what lies about is
removed at the beginning of the next compaction.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from codeworm_monitor.archive.database import DATABASE, plain_error, take_lock
from codeworm_monitor.archive.parquet import Part, connect, offsets_within
from codeworm_monitor.archive.part_writer import Group, PartWriter
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.archive.store import Store
from codeworm_monitor.errors import ArchiveError
from codeworm_monitor.moments import time_of

if TYPE_CHECKING:
    import duckdb

__all__ = ["Compaction", "compact", "is_due"]

LOCK = "compaction.lock"
CLOSED_AFTER = 300
"""Seconds after midnight until a day counts as closed: what came before it is then written down."""
MAX_ROWS = 250_000
MAX_BYTES = 64 * 2**20
"""Bounds of a file: they bound the memory needed, and for how long the rows' deletion keeps other writers waiting."""
CHUNK_ROWS = 5_000
CHUNK_BYTES = 4 * 2**20
"""Read from the database in one go."""
PAGES_AT_ONCE = 1_000
"""Pages given back to the file system in one go."""
PAUSE = 0.02
"""Seconds in between, in which others write."""

_DAY = 86_400_000_000
_EARLIEST = -62_135_596_800_000_000
"""The year 1 in microseconds: before it no day has a name, and rows stay where they are."""
_DIRECTORIES = (re.compile(r"date=\d{4}-\d\d-\d\d"), re.compile(r"channel=[^/]+"))
_PART = re.compile(r"(\d+)-(\d+)-(\d+)\.parquet")
_ASIDE = re.compile(r"\.\d+-\d+-\d+\.(parquet|rows)\.tmp")


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did.

    Attributes:
        days: UTC days of which rows were moved.
        rows: Rows moved.
        files: Parquet files written.
        bytes: Their size.
        doubles: Rows deleted because a Parquet file held them already.
        orphans: Files removed that an interrupted compaction had left.
        strays: Parquet files of the archive that are not listed, and hold rows that nothing else holds: left alone.
            Relative paths.
        seconds: How long it took.
    """

    days: int
    rows: int
    files: int
    bytes: int
    doubles: int
    orphans: int
    strays: tuple[str, ...]
    seconds: float


def is_due(archive: Store | ArchiveReader, now: float) -> bool:
    """Return whether the database holds rows of a closed day; takes next to no time.

    Args:
        archive: The archive, open for writing or reading.
        now: Unix seconds.

    Raises:
        ArchiveDamagedError: The database is damaged.
        ArchiveError: It cannot be read.
    """
    with _plain_errors(archive.directory):
        return _earliest_day(archive.database, _EARLIEST, now) is not None


def compact(
    store: Store,
    *,
    now: float | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    max_rows: int = MAX_ROWS,
) -> Compaction:
    """Move the rows of all closed days into Parquet files, the oldest day first.

    Promises: whatever interrupts it, at any moment, no row is lost and none is kept twice; the next compaction goes on
    where this one ended. Others may read and append meanwhile; the database is kept from them for about a second
    at a time. Memory is bounded, whatever the size of a day. It blocks: call it in a thread or a process of its own.

    Args:
        store: The archive.
        now: Unix seconds; None: by the clock.
        on_progress: Called after each file with the date, the rows of that day moved so far, and all of that day. What
            it raises ends the compaction in good order.
        max_rows: Most rows of a file.

    Raises:
        ArchiveDamagedError: The database, or a Parquet file just written, is damaged.
        ArchiveError: Another compaction is under way, DuckDB is not installed, or the archive cannot be written.
    """
    with _plain_errors(store.directory), _lock(store.directory):
        return _Run(store, max_rows, on_progress).run(time.time() if now is None else now)


class _Run:
    def __init__(self, store: Store, max_rows: int, on_progress: Callable[[str, int, int], None] | None) -> None:
        self._store = store
        self._database = store.database
        self._directory = store.directory.resolve()
        self._max_rows = max_rows
        self._on_progress = on_progress
        self._rows = self._files = self._bytes = self._doubles = 0

    def run(self, now: float) -> Compaction:
        started = time.monotonic()
        orphans, strays = _remove_orphans(self._database, self._directory)
        days, since = 0, _EARLIEST
        with contextlib.ExitStack() as stack:
            duck: duckdb.DuckDBPyConnection | None = None
            while (start := _earliest_day(self._database, since, now)) is not None:
                duck = duck or stack.enter_context(connect(self._directory))
                self._move_day(duck, start)
                _give_back_pages(self._database)
                days, since = days + 1, start + _DAY
        return Compaction(
            days,
            self._rows,
            self._files,
            self._bytes,
            self._doubles,
            orphans,
            strays,
            round(time.monotonic() - started, 3),
        )

    def _move_day(self, duck: duckdb.DuckDBPyConnection, start: int) -> None:
        database, date = self._database, _date(start)
        # Which rows move is settled first: more may come while they do.
        database.execute("DROP TABLE IF EXISTS temp.moving")
        database.execute(
            "CREATE TEMP TABLE moving (epoch INTEGER, channel TEXT, offset INTEGER, PRIMARY KEY (epoch, channel, offset)) "
            "WITHOUT ROWID"
        )
        for hour in range(start, start + _DAY, _DAY // 24):
            database.execute(
                "INSERT INTO temp.moving SELECT epoch, channel, offset FROM entries "
                "WHERE received_at >= ? AND received_at < ?",
                (hour, hour + _DAY // 24),
            )
        groups = database.execute(
            "SELECT epoch, name, channel, count(*) FROM temp.moving LEFT JOIN epochs ON id = epoch GROUP BY epoch, channel"
        ).fetchall()
        moved, total = 0, sum(count for *_, count in groups)
        for epoch, name, channel, _ in groups:
            group = Group(date, epoch, name, channel)
            moved += self._drop_doubles(group)
            after = -1
            while part := self._write_part(duck, group, after):
                self._list_part(part)
                after = part.last_offset
                moved += part.rows
                if self._on_progress is not None:
                    self._on_progress(date, moved, total)
        database.execute("DROP TABLE temp.moving")

    def _drop_doubles(self, group: Group) -> int:
        """Delete rows that a part holds already, as when a recording is imported again."""
        database, dropped = self._database, 0
        first, last = database.execute(
            "SELECT min(offset), max(offset) FROM temp.moving WHERE epoch = ? AND channel = ?",
            (group.epoch, group.channel),
        ).fetchone()
        parts = database.execute(
            "SELECT * FROM parts WHERE epoch = ? AND channel = ? AND date = ? AND first_offset <= ? AND last_offset >= ?",
            (group.epoch, group.channel, group.date, last, first),
        ).fetchall()
        for part in (Part(*row) for row in parts):
            held = orjson.dumps(offsets_within(self._directory, part, first, last)).decode()
            with self._store.transaction():
                dropped += database.execute(
                    "DELETE FROM entries WHERE epoch = ?1 AND offset IN (SELECT m.offset FROM json_each(?3) "
                    "JOIN temp.moving AS m ON m.epoch = ?1 AND m.channel = ?2 AND m.offset = value)",
                    (group.epoch, group.channel, held),
                ).rowcount
                database.execute(
                    "DELETE FROM temp.moving WHERE epoch = ? AND channel = ? AND offset IN (SELECT value FROM json_each(?))",
                    (group.epoch, group.channel, held),
                )
        self._doubles += dropped
        return dropped

    def _write_part(self, duck: duckdb.DuckDBPyConnection, group: Group, after: int) -> Part | None:
        writer: PartWriter | None = None
        try:
            while writer is None or (writer.rows < self._max_rows and writer.bytes < MAX_BYTES):
                after = after if writer is None else writer.last_offset
                rows = self._chunk(group, after, self._max_rows - (0 if writer is None else writer.rows))
                if not rows:
                    break
                writer = writer or PartWriter(duck, self._directory, group, rows[0].offset)
                writer.add(rows)
            return None if writer is None else writer.finish()
        finally:
            if writer is not None:
                writer.close()

    def _chunk(self, group: Group, after: int, most: int) -> list[StoredRow]:
        cursor = self._database.execute(
            "SELECT e.epoch, e.offset, e.received_at, e.channel, e.mark, CAST(e.payload AS BLOB) FROM temp.moving AS m "
            "CROSS JOIN entries AS e ON e.epoch = m.epoch AND e.offset = m.offset "
            "WHERE m.epoch = ? AND m.channel = ? AND m.offset > ? ORDER BY m.offset LIMIT ?",
            (group.epoch, group.channel, after, min(CHUNK_ROWS, most)),
        )
        rows: list[StoredRow] = []
        size = 0
        with contextlib.closing(cursor):
            for row in map(StoredRow._make, cursor):
                rows.append(row)
                size += len(row.payload)
                if size > CHUNK_BYTES:
                    break
        return rows

    def _list_part(self, part: Part) -> None:
        with self._store.transaction() as database:
            database.execute(f"INSERT INTO parts VALUES ({', '.join('?' * len(part))})", part)
            deleted = database.execute(
                "DELETE FROM entries WHERE epoch = ?1 AND offset IN "
                "(SELECT offset FROM temp.moving WHERE epoch = ?1 AND channel = ?2 AND offset BETWEEN ?3 AND ?4)",
                (part.epoch, part.channel, part.first_offset, part.last_offset),
            ).rowcount
            if deleted != part.rows:
                raise ArchiveError(
                    f"{self._store.path}: another process deleted rows of {part.date} that were being compacted; "
                    "nothing is lost, try again"
                )
        self._rows += part.rows
        self._files += 1
        self._bytes += part.bytes


def _earliest_day(database: sqlite3.Connection, since: int, now: float) -> int | None:
    """Return when the earliest closed day begins that has rows received at or after `since`, in microseconds."""
    closed = int((now - CLOSED_AFTER) * 1_000_000) // _DAY * _DAY
    (earliest,) = database.execute(
        "SELECT min(received_at) FROM entries WHERE received_at >= ? AND received_at < ?", (since, closed)
    ).fetchone()
    return None if earliest is None else earliest // _DAY * _DAY


def _date(start: int) -> str:
    return time_of(start).date().isoformat()


def _remove_orphans(database: sqlite3.Connection, directory: Path) -> tuple[int, tuple[str, ...]]:
    """Remove what an interrupted compaction left; return how many files, and the Parquet files of unknown descent.

    An interrupted compaction leaves a file whose rows are all in the database still. One whose rows are not there is
    something else, such as the files of a database that was lost: it may be the only place where they are.
    """
    listed = {path for (path,) in database.execute("SELECT path FROM parts").fetchall()}
    orphans, strays = 0, []
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        match = _PART.fullmatch(path.name)
        if match is None:
            is_orphan = _ASIDE.fullmatch(path.name) is not None
        elif name in listed:
            continue
        else:
            epoch, first, last = map(int, match.groups())
            (found,) = database.execute(
                "SELECT count(*) FROM entries WHERE epoch = ? AND offset IN (?, ?)", (epoch, first, last)
            ).fetchone()
            is_orphan = found == len({first, last})
            if not is_orphan:
                strays.append(name)
        if is_orphan:
            path.unlink(missing_ok=True)
            orphans += 1
    return orphans, tuple(sorted(strays))


def _files(directory: Path) -> Iterator[Path]:
    """Yield the files where parts are; symbolic links are neither followed nor yielded."""
    places = [directory]
    for pattern in _DIRECTORIES:
        found = []
        for place in places:
            with os.scandir(place) as entries:
                found += [
                    Path(one) for one in entries if pattern.fullmatch(one.name) and one.is_dir(follow_symlinks=False)
                ]
        places = found
    for place in places:
        with os.scandir(place) as entries:
            yield from [Path(one) for one in entries if one.is_file(follow_symlinks=False)]


def _give_back_pages(database: sqlite3.Connection) -> None:
    """Give the room of deleted rows back to the file system, a little at a time."""
    left = None
    while (free := database.execute("PRAGMA freelist_count").fetchone()[0]) and free != left:
        left = free
        # Not `execute`, which leaves this statement after its first page.
        database.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
        time.sleep(PAUSE)
    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    try:
        descriptor = take_lock(directory / LOCK, waits=False)
    except BlockingIOError as error:
        raise ArchiveError(f"another compaction of {directory} is under way: let it end") from error
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _plain_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise plain_error(directory / DATABASE, error) from error
    except OSError as error:
        raise plain_error(Path(error.filename or directory), error) from error
