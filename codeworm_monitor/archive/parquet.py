"""Closed days: the Parquet files of the archive, how one is named, and how rows are read back from them.

A file holds rows of one epoch, UTC date and channel, by ascending offset. It carries what a payload says in columns of
its own, so that other programs need not read JSON, and the payload byte for byte. Date and channel stand in its path
(hive partitioning). Other programs read `date=*/channel=*/*.parquet`: files that do not count yet have names that begin
with a dot and end otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError

if TYPE_CHECKING:
    import duckdb

__all__ = ["Part", "connect", "first_line", "literal", "offsets_within", "part_path", "rows_by_offset", "rows_by_time"]

GAPS = "gaps"
MEMORY = "256MB"
_LONGEST_NAME = 200
"""Bytes of a channel's name in a path; file systems end at 255."""
_NULL_NAME = "__HIVE_DEFAULT_PARTITION__"
"""What stands for no value in such paths, whether or not it is percent-encoded."""


class Part(NamedTuple):
    """One Parquet file that counts: the columns of the table `parts`, in order.

    Attributes:
        path: Relative to the archive's directory.
        date: UTC date of its rows, `YYYY-MM-DD`.
        channel: Their channel; empty for gaps.
        epoch: Key of their epoch in the table `epochs`.
        first_offset: Least offset.
        last_offset: Largest offset.
        first_at: Earliest time of receipt, microseconds since 1970, UTC.
        last_at: Latest time of receipt.
        rows: How many.
        bytes: Size of the file.
    """

    path: str
    date: str
    channel: str
    epoch: int
    first_offset: int
    last_offset: int
    first_at: int
    last_at: int
    rows: int
    bytes: int


def part_path(date: str, channel: str, epoch: int, first: int, last: int) -> str:
    """Return the path of a file, relative to the archive, always of the form `date=…/channel=…/….parquet`.

    The channel is percent-encoded, as readers of hive partitions decode it. A name that is too long for a path is cut
    and told apart by a hash; `Part.channel` has the whole.
    """
    name = quote(channel, safe="") or GAPS
    if len(name) > _LONGEST_NAME or channel == _NULL_NAME:
        kept = channel[:_LONGEST_NAME]
        while len(quote(kept, safe="")) > _LONGEST_NAME - 20:
            kept = kept[:-1]
        name = f"{quote(kept, safe='')}%23{sha256(channel.encode()).hexdigest()[:16]}"
    return f"date={date}/channel={name}/{epoch}-{first}-{last}.parquet"


def rows_by_offset(
    directory: Path,
    parts: Iterable[Part],
    *,
    after: int,
    limit: int,
    channels: frozenset[str] = frozenset(),
    reverse: bool = False,
) -> list[StoredRow]:
    """Return rows of one epoch in the order of their offsets.

    Args:
        directory: The archive.
        parts: Files of one epoch; only those are opened that can hold a row of the answer.
        after: Offsets are above it, and ascend; in reverse they are below it, and descend.
        limit: Most rows.
        channels: Only these, and gaps; empty: all.
        reverse: See `after`.

    Raises:
        ArchiveDamagedError: A file is missing or damaged; says which.
        ArchiveError: DuckDB is not installed, or the memory does not suffice.
    """
    wanted = [
        part for part in _of(parts, channels) if (part.first_offset < after if reverse else part.last_offset > after)
    ]

    def keys(part: Part, worst: _Key | None, most: int) -> list[_Key]:
        first, last = (part.first_offset, after - 1) if reverse else (after + 1, part.last_offset)
        if worst is not None:
            first, last = (max(first, worst[0]), last) if reverse else (first, min(last, worst[0]))
        way = "DESC" if reverse else "ASC"
        return _query(
            directory,
            part,
            f'SELECT "offset" FROM {_FILE} WHERE "offset" BETWEEN $2 AND $3 ORDER BY "offset" {way} LIMIT $4',
            [first, last, most],
        )

    def nearest(part: Part) -> _Key:
        return (part.last_offset,) if reverse else (part.first_offset,)

    rows = _rows(directory, _nearest_keys(wanted, keys, nearest, limit, reverse=reverse))
    return sorted(rows, key=lambda row: row.offset, reverse=reverse)


def rows_by_time(
    directory: Path,
    parts: Iterable[Part],
    *,
    since: int,
    until: int,
    after: tuple[int, int, int] | None = None,
    channels: frozenset[str] = frozenset(),
    limit: int,
    reverse: bool = False,
) -> list[StoredRow]:
    """Return rows in the order of (time of receipt, key of the epoch, offset).

    Args:
        directory: The archive.
        parts: Files of any epochs; only those are opened that can hold a row of the answer.
        since: Rows were received then or later, in microseconds since 1970.
        until: And before then.
        after: Rows come after the one of this time, epoch and offset in the order asked for; None: from the beginning.
        channels: Only these, and gaps; empty: all.
        limit: Most rows.
        reverse: Latest first.

    Raises:
        ArchiveDamagedError: A file is missing or damaged; says which.
        ArchiveError: DuckDB is not installed, or the memory does not suffice.
    """
    earliest, latest = since, until - 1
    if after is not None:
        earliest, latest = (earliest, min(latest, after[0])) if reverse else (max(earliest, after[0]), latest)
    wanted = [part for part in _of(parts, channels) if part.last_at >= earliest and part.first_at <= latest]

    def keys(part: Part, worst: _Key | None, most: int) -> list[_Key]:
        # Never beyond the file's own times: not every number is a time for DuckDB.
        first, last = max(earliest, part.first_at), min(latest, part.last_at)
        if worst is not None:
            first, last = (max(first, worst[0]), last) if reverse else (first, min(last, worst[0]))
        if first > last:
            return []
        beyond, arguments = "", [first, last, most]
        if after is not None:
            # At the very moment of `after`, what comes behind it is told by the epoch, then by the offset.
            start = after[2] if part.epoch == after[1] else None
            if start is not None:
                beyond = f'AND (epoch_us(received_at) <> $5 OR "offset" {"<" if reverse else ">"} $6)'
                arguments += [after[0], start]
            elif (part.epoch > after[1]) is reverse:
                beyond = "AND epoch_us(received_at) <> $5"
                arguments += [after[0]]
        way = "DESC" if reverse else "ASC"
        found = _query(
            directory,
            part,
            f'SELECT epoch_us(received_at), "offset" FROM {_FILE} WHERE received_at BETWEEN {_time(2)} AND {_time(3)} '
            f'{beyond} ORDER BY received_at {way}, "offset" {way} LIMIT $4',
            arguments,
        )
        return [(time, part.epoch, offset) for time, offset in found]

    def nearest(part: Part) -> _Key:
        return (part.last_at,) if reverse else (part.first_at,)

    rows = _rows(directory, _nearest_keys(wanted, keys, nearest, limit, reverse=reverse))
    return sorted(rows, key=lambda row: (row.received_at, row.epoch, row.offset), reverse=reverse)


def offsets_within(directory: Path, part: Part, first: int, last: int) -> list[int]:
    """Return the offsets from `first` to `last` that a file holds.

    Raises:
        ArchiveDamagedError: It is missing or damaged.
        ArchiveError: DuckDB is not installed.
    """
    found = _query(
        directory,
        part,
        f'SELECT "offset" FROM {_FILE} WHERE "offset" BETWEEN $2 AND $3 ORDER BY "offset"',
        [first, last],
    )
    return [offset for (offset,) in found]


_Key = tuple[int, ...]
"""What rows are ordered by; its last is the offset."""
_FILE = "read_parquet($1, hive_partitioning = false)"


def _time(parameter: int) -> str:
    return f"CAST(make_timestamp(CAST(${parameter} AS BIGINT)) AS TIMESTAMPTZ)"


def _of(parts: Iterable[Part], channels: frozenset[str]) -> Iterable[Part]:
    return (part for part in parts if not channels or not part.channel or part.channel in channels)


def _nearest_keys(
    parts: list[Part],
    keys: Callable[[Part, _Key | None, int], list[_Key]],
    nearest: Callable[[Part], _Key],
    limit: int,
    *,
    reverse: bool,
) -> dict[Part, list[_Key]]:
    """Return the first `limit` keys of all files, by file. Files are opened in order, until the next is too far off."""
    chosen: list[tuple[_Key, Part]] = []
    for part in sorted(parts, key=nearest, reverse=reverse) if limit > 0 else ():
        worst = None
        if len(chosen) >= limit:
            worst = chosen[-1][0]
            near = nearest(part)[0]
            if near < worst[0] if reverse else near > worst[0]:
                break
        chosen += [(key, part) for key in keys(part, worst, limit)]
        chosen.sort(key=lambda one: one[0], reverse=reverse)
        del chosen[limit:]
    by_part: dict[Part, list[_Key]] = {}
    for key, part in chosen:
        by_part.setdefault(part, []).append(key)
    return by_part


def _rows(directory: Path, wanted: dict[Part, list[_Key]]) -> list[StoredRow]:
    rows: list[StoredRow] = []
    for part, keys in wanted.items():
        offsets = {key[-1] for key in keys}
        found = _query(
            directory,
            part,
            f'SELECT "offset", epoch_us(received_at), mark, encode(payload) FROM {_FILE} WHERE "offset" BETWEEN $2 AND $3',
            [min(offsets), max(offsets)],
        )
        before = len(rows)
        rows += [StoredRow(part.epoch, row[0], row[1], part.channel, *row[2:]) for row in found if row[0] in offsets]
        if len(rows) - before != len(offsets):
            raise ArchiveDamagedError(directory / part.path, "it holds rows twice, or not at all")
    return rows


def _query(directory: Path, part: Part, statement: str, arguments: Sequence[int]) -> list[Any]:
    path = directory / part.path
    directory = directory.resolve()
    if _own.connection is None or _own.directory != directory:
        _own.connection, _own.directory = connect(directory), directory
    import duckdb

    try:
        return _own.connection.execute(statement, [str(directory / part.path), *arguments]).fetchall()
    except duckdb.Error as error:
        _own.connection = None  # some errors spoil it
        if isinstance(error, duckdb.OutOfMemoryException):
            raise ArchiveError(f"{path} cannot be read in {MEMORY} of memory: ask for fewer rows") from error
        raise ArchiveDamagedError(path, first_line(error) if path.exists() else "it is missing") from error


class _Own(threading.local):
    """A thread's connection, and the directory of which alone it may read."""

    directory: Path | None = None
    connection: duckdb.DuckDBPyConnection | None = None


_own = _Own()


def connect(directory: Path) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that keeps nothing, takes `MEMORY` and one thread, and reaches no file but those of a directory.

    Args:
        directory: Absolute, without symbolic links.

    Raises:
        ArchiveError: DuckDB is not installed, or is too old.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ArchiveError(
            "Parquet files of the archive need DuckDB: pip install 'codeworm-monitor[analysis]'"
        ) from error
    try:
        connection = duckdb.connect(config={"threads": 1, "memory_limit": MEMORY})
        for setting in (
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "enable_external_file_cache = false",  # the system keeps what was read, and can take it back
            "temp_directory = ''",
            "TimeZone = 'UTC'",
            f"allowed_directories = [{literal(str(directory))}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
    except duckdb.Error as error:
        raise ArchiveError(f"DuckDB {duckdb.__version__} cannot be used: {first_line(error)}") from error
    return connection


def literal(text: str) -> str:
    """Return a text as SQL spells it."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """Return what DuckDB says of an error without the advice and the statement that follow."""
    return str(error).partition("\n")[0]
