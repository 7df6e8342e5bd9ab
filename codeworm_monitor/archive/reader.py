"""Reading the archive: rows in the database and rows in Parquet files as one, by offset or by time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from codeworm_monitor.archive import parquet
from codeworm_monitor.archive.database import DATABASE, identity, open_for_reading, plain_error
from codeworm_monitor.archive.parquet import Part
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.errors import ArchiveDamagedError

__all__ = ["ArchiveReader", "Epoch", "Key"]

Key = tuple[int, int, int]
"""Place of a row in the order of time: received_at, epoch, offset."""
_COLUMNS = "epoch, offset, received_at, channel, mark, CAST(payload AS BLOB)"


class Epoch(NamedTuple):
    """One numbering; times are microseconds since 1970, UTC.

    Attributes:
        key: Its key in the archive.
        name: As cursors spell it.
        origin: `relay`, or what was imported.
        started_at: When it began.
        reserved: No larger offset was ever given.
        closed_at: When it ended in good order; None: it is under way, or the relay crashed.
    """

    key: int
    name: str
    origin: str
    started_at: int
    reserved: int
    closed_at: int | None


class ArchiveReader:
    """Reads an archive while others write to it, and without ever keeping them waiting.

    Each answer is of one moment: what a compaction moves meanwhile is neither missed nor met twice. What it returns is
    bounded by `limit`; nothing is held between two calls. Belongs to one thread.

    Args:
        directory: The archive.

    Raises:
        ArchiveError: There is none, or it cannot be read.
    """

    def __init__(self, directory: Path, *, check_same_thread: bool = True) -> None:
        self.directory = directory
        self.database = open_for_reading(directory, check_same_thread=check_same_thread)
        self._identity = identity(directory / DATABASE)

    @property
    def is_there(self) -> bool:
        """Whether its file is still the one of that name."""
        return identity(self.directory / DATABASE) == self._identity

    def close(self) -> None:
        """Close it; may be called again."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def epochs(self) -> dict[int, Epoch]:
        """Return all numberings by their key, the oldest first."""
        rows = self._all("SELECT id, name, origin, started_at, reserved, closed_at FROM epochs ORDER BY id")
        return {row[0]: Epoch(*row) for row in rows}

    def epoch(self, name: str) -> Epoch | None:
        """Return the numbering of this name; None if there is none."""
        rows = self._all("SELECT id, name, origin, started_at, reserved, closed_at FROM epochs WHERE name = ?", (name,))
        return Epoch(*rows[0]) if rows else None

    def parts(self) -> list[Part]:
        """Return the Parquet files that count, the oldest first."""
        return [Part(*row) for row in self._all("SELECT * FROM parts ORDER BY first_at, path")]

    def span(self) -> tuple[int, int] | None:
        """Return when the earliest and the latest row were received, in microseconds; None if there is none."""
        times = [
            time
            for table, first, last in (("entries", "received_at", "received_at"), ("parts", "first_at", "last_at"))
            for time in (
                self._all(f"SELECT min({first}) FROM {table}")[0][0],
                self._all(f"SELECT max({last}) FROM {table}")[0][0],
            )
            if time is not None
        ]
        return (min(times), max(times)) if times else None

    def channels(self) -> dict[str, int]:
        """Return how many rows there are, by channel; gaps under an empty name."""
        return dict(
            self._all(
                "SELECT channel, sum(rows) FROM (SELECT channel, count(*) AS rows FROM entries GROUP BY channel "
                "UNION ALL SELECT channel, rows FROM parts) GROUP BY channel ORDER BY channel"
            )
        )

    def bounds(self, epoch: int) -> tuple[int, int] | None:
        """Return the oldest and the newest offset that is kept of a numbering; None if there is none."""
        found = [
            self._all(f"SELECT {function}({column}) FROM {table} WHERE epoch = ?", (epoch,))[0][0]
            for table, first, last in (("entries", "offset", "offset"), ("parts", "first_offset", "last_offset"))
            for function, column in (("min", first), ("max", last))  # apart: together SQLite would look at each row
        ]
        offsets = [offset for offset in found if offset is not None]
        return (min(offsets), max(offsets)) if offsets else None

    def after(
        self,
        epoch: int,
        offset: int,
        *,
        limit: int,
        channels: frozenset[str] = frozenset(),
        max_bytes: int | None = None,
    ) -> list[StoredRow]:
        """Return the rows that follow an offset, in ascending order, `limit` of them at most.

        Args:
            epoch: Key of the numbering.
            offset: The newest that is not wanted.
            limit: Rows.
            channels: Where they were published; anywhere if empty. Gaps come in any case.
            max_bytes: Bytes of payloads after which no more rows come, whatever their number; None: as many as there are.
        """
        return self._by_offset(epoch, offset, limit=limit, channels=channels, reverse=False, max_bytes=max_bytes)

    def before(self, epoch: int, offset: int, *, limit: int, channels: frozenset[str] = frozenset()) -> list[StoredRow]:
        """Return the rows that precede an offset, as `after` does but the newest first."""
        return self._by_offset(epoch, offset, limit=limit, channels=channels, reverse=True)

    def newest(self, epoch: int, *, limit: int) -> list[StoredRow]:
        """Return the newest rows that are in the database, the newest first; Parquet files are not looked at."""
        return self._rows(
            f"SELECT {_COLUMNS} FROM entries WHERE epoch = ? ORDER BY offset DESC LIMIT ?", (epoch, limit)
        )

    def page(
        self,
        since: int,
        until: int,
        *,
        after: Key | None = None,
        channels: frozenset[str] = frozenset(),
        limit: int,
        reverse: bool = False,
        max_bytes: int | None = None,
    ) -> list[StoredRow]:
        """Return rows of all numberings in the order of time.

        Args:
            since: Microseconds; the earliest that is wanted.
            until: Microseconds; the first that is not.
            after: Where the page before ended; None: it is the first.
            channels: As for `after`.
            limit: Rows.
            reverse: The latest first.
            max_bytes: As for `after`.
        """
        if after is not None:
            since, until = (since, min(until, after[0] + 1)) if reverse else (max(since, after[0]), until)
        order, sign = ("DESC", "<") if reverse else ("ASC", ">")
        beyond = "" if after is None else f"AND (received_at, epoch, offset) {sign} (?, ?, ?)"
        values = () if after is None else after
        wanted, names = _channel_test(channels)
        with self._moment():
            hot = self._rows(
                f"SELECT {_COLUMNS} FROM entries WHERE received_at >= ? AND received_at < ? {beyond} {wanted} "
                f"ORDER BY received_at {order}, epoch {order}, offset {order} LIMIT ?",
                (since, until, *values, *names, limit),
                max_bytes,
            )
            parts = self._parts("first_at < ? AND last_at >= ?", (until, since))
        if _is_full(hot, limit, max_bytes):
            limit = len(hot)
            last_at = hot[-1].received_at
            parts = [one for one in parts if (one.last_at >= last_at if reverse else one.first_at <= last_at)]
        if not parts:
            return hot
        try:
            cold = parquet.rows_by_time(
                self.directory,
                parts,
                since=since,
                until=until,
                after=after,
                channels=channels,
                limit=limit,
                reverse=reverse,
            )
        except ArchiveDamagedError:
            if self._are_listed(parts):
                raise
            return self.page(
                since, until, after=after, channels=channels, limit=limit, reverse=reverse, max_bytes=max_bytes
            )
        return _up_to(sorted([*cold, *hot], key=_key, reverse=reverse)[:limit], max_bytes)

    def offset_at(self, epoch: int, received_at: int) -> int | None:
        """Return the smallest offset of a numbering received at or after a time, in microseconds; None if none was."""
        with self._moment():
            hot = self._all(
                "SELECT min(offset) FROM (SELECT offset FROM entries WHERE received_at >= ? AND epoch = ? "
                "ORDER BY received_at LIMIT 1000)",
                (received_at, epoch),
            )[0][0]
            parts = self._parts("epoch = ? AND last_at >= ?", (epoch, received_at))
        cold: list[StoredRow] = []
        if parts:
            earliest = min(parts, key=lambda part: part.first_offset)
            same = [part for part in parts if part.first_offset <= earliest.last_offset]
            cold = parquet.rows_by_time(
                self.directory, same, since=received_at, until=2**62, after=None, channels=frozenset(), limit=1
            )
        offsets = [offset for offset in (hot, cold[0].offset if cold else None) if offset is not None]
        return min(offsets) if offsets else None

    def _by_offset(
        self,
        epoch: int,
        offset: int,
        *,
        limit: int,
        channels: frozenset[str],
        reverse: bool,
        max_bytes: int | None = None,
    ) -> list[StoredRow]:
        sign, order = ("<", "DESC") if reverse else (">", "ASC")
        wanted, names = _channel_test(channels)
        with self._moment():
            hot = self._rows(
                f"SELECT {_COLUMNS} FROM entries WHERE epoch = ? AND offset {sign} ? {wanted} ORDER BY offset {order} LIMIT ?",
                (epoch, offset, *names, limit),
                max_bytes,
            )
            column = "first_offset" if reverse else "last_offset"
            parts = self._parts(f"epoch = ? AND {column} {sign} ?", (epoch, offset))
        if _is_full(hot, limit, max_bytes):  # rows of the files that all lie beyond those found need not be looked at
            limit, last = len(hot), hot[-1].offset
            parts = [one for one in parts if (one.last_offset > last if reverse else one.first_offset < last)]
        if not parts:
            return hot
        try:
            cold = parquet.rows_by_offset(
                self.directory, parts, after=offset, limit=limit, channels=channels, reverse=reverse
            )
        except ArchiveDamagedError:
            if self._are_listed(parts):
                raise
            return self._by_offset(epoch, offset, limit=limit, channels=channels, reverse=reverse, max_bytes=max_bytes)
        return _up_to(sorted([*cold, *hot], key=lambda row: row.offset, reverse=reverse)[:limit], max_bytes)

    def _are_listed(self, parts: list[Part]) -> bool:
        """Tell whether all files still count; one that retention has taken meanwhile is none to complain of."""
        return {part.path for part in parts} <= {part.path for part in self.parts()}

    def _moment(self) -> _Moment:
        return _Moment(self.database)

    def _parts(self, condition: str, values: tuple[int, ...]) -> list[Part]:
        return [Part(*row) for row in self._all(f"SELECT * FROM parts WHERE {condition}", values)]

    def _rows(self, query: str, values: tuple[int | str, ...], max_bytes: int | None = None) -> list[StoredRow]:
        if max_bytes is None:
            return [StoredRow(*row) for row in self._all(query, values)]
        try:
            with contextlib.closing(self.database.execute(query, values)) as cursor:
                return _up_to(map(StoredRow._make, cursor), max_bytes)
        except sqlite3.Error as error:
            raise plain_error(self.directory / DATABASE, error) from error

    def _all(self, query: str, values: Iterable[int | str] = ()) -> list[Any]:
        try:
            return self.database.execute(query, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise plain_error(self.directory / DATABASE, error) from error


class _Moment:
    """A read transaction: what is read within it is of one moment. Ends at once, whatever happens."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")


def _channel_test(channels: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    if not channels:
        return "", ()
    names = ("", *sorted(channels))
    return f"AND channel IN ({', '.join('?' * len(names))})", names


def _is_full(rows: list[StoredRow], limit: int, max_bytes: int | None) -> bool:
    """Tell whether a bound ended these rows, so that more may follow."""
    return len(rows) >= limit or (max_bytes is not None and sum([len(row.payload) for row in rows]) >= max_bytes)


def _up_to(rows: Iterable[StoredRow], max_bytes: int | None) -> list[StoredRow]:
    """Return rows until their payloads have so many bytes."""
    if max_bytes is None:
        return list(rows)
    taken, size = [], 0
    for row in rows:
        taken.append(row)
        size += len(row.payload)
        if size >= max_bytes:
            break
    return taken


def _key(row: StoredRow) -> Key:
    return row.received_at, row.epoch, row.offset
