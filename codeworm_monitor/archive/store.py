"""The store: the archive as the one thread that writes sees it."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from codeworm_monitor.archive.database import DATABASE, identity, open_for_writing, plain_error, take_lock
from codeworm_monitor.archive.rows import StoredRow, rows_of
from codeworm_monitor.envelope import Gap, Mark
from codeworm_monitor.errors import ArchiveBusyError

__all__ = ["Numbering", "Store", "WriterLock", "insert", "newest_of"]

LOCK = "writer.lock"
ROWS_AT_ONCE = (250, 50, 10, 1)
"""Rows of one INSERT, the most first. SQLite runs it without the interpreter's lock, and `executemany` would ask for that lock with each
row: under a busy event loop 1,300 rows/s instead of 36,000."""
CHECKPOINTS = 20
"""Attempts to have the log taken in, a hundredth of a second apart."""
WAL_KEPT = 16 * 2**20
"""Bytes that the write-ahead log keeps when it has been taken in."""

_ROW = "(?, ?, ?, ?, ?, CAST(? AS TEXT))"  # payloads are bytes here, and text there: JSON functions want text


@dataclass(frozen=True, slots=True)
class Numbering:
    """What is known of the numbering that an archive holds.

    Attributes:
        key: Key of the epoch in the archive.
        name: Its name, as cursors spell it.
        head: No larger offset was ever given; numbering goes on after it.
        archived: Newest offset that was written; 0 if none was.
        ended_at: When numbering ended, Unix seconds: at the end of the last relay, or, if that crashed, at the newest
            entry; None if nothing was ever written.
        has_crashed: Whether the last relay ended without a word.
    """

    key: int
    name: str
    head: int
    archived: int
    ended_at: float | None
    has_crashed: bool


class WriterLock:
    """Keeps a second relay from an archive, for as long as the process lives or until it is released.

    Raises:
        ArchiveBusyError: Another holds it.
        ArchiveError: The lock's file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        try:
            self._descriptor = take_lock(path, waits=False)
        except BlockingIOError as error:
            holder = path.read_bytes()[:20].decode(errors="replace").strip()
            raise ArchiveBusyError(directory, f"process {holder}" if holder.isdecimal() else "") from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it; may be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Store:
    """Writes to one archive: numberings, entries. Belongs to one thread; others, and other processes, may read.

    Promises: what a method wrote when it returned survives `kill -9` and a loss of power. An entry that is written
    twice is kept once. No offset that was reserved is given again.

    Args:
        directory: The archive; made if it is not there.

    Raises:
        ArchiveTooNewError: A newer release wrote it.
        ArchiveDamagedError: Its database is damaged.
        ArchiveError: It cannot be opened or written.
    """

    def __init__(self, directory: Path, *, check_same_thread: bool = True) -> None:
        self.directory = directory
        self.path = directory / DATABASE
        self.database = open_for_writing(directory, check_same_thread=check_same_thread)
        self.database.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
        self._identity = identity(self.path)

    @property
    def is_there(self) -> bool:
        """Whether its file is still the one of that name: what is written to one that was removed is lost."""
        return identity(self.path) == self._identity

    def close(self) -> None:
        """Close the database; may be called again."""
        self.database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Have all that is done within written together, or nothing of it.

        Raises:
            ArchiveDamagedError: The database turned out to be damaged.
            ArchiveError: The disk is full, failing or read-only, or another process writes for too long.
        """
        database = self.database
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # a full disk may have ended it already
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise plain_error(self.path, error) from error

    def numbering(self) -> Numbering | None:
        """Return the numbering that the newest relay left behind; None if there was none."""
        try:
            row = self.database.execute(
                "SELECT id, name, reserved, closed_at FROM epochs WHERE origin = 'relay' ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            key, name, reserved, closed_at = row
            archived, newest_at = newest_of(self.database, key)
        except sqlite3.Error as error:
            raise plain_error(self.path, error) from error
        ended_at = closed_at if closed_at is not None else newest_at
        return Numbering(
            key, name, reserved, archived, None if ended_at is None else ended_at / 1_000_000, closed_at is None
        )

    def begin(self, name: str | None = None, *, origin: str = "relay", reserved: int = 0) -> int:
        """Begin a numbering and return its key; None: under a new random name."""
        with self.transaction() as database:
            (key,) = database.execute(
                "INSERT INTO epochs (name, origin, started_at, reserved) VALUES (?, ?, ?, ?) RETURNING id",
                (secrets.token_hex(8) if name is None else name, origin, time.time_ns() // 1000, reserved),
            ).fetchone()
        self._take_in_log()
        return int(key)

    def reserve(self, epoch: int, offset: int) -> None:
        """Set offsets aside, up to this one, to be given from now on; the numbering counts as under way."""
        with self.transaction() as database:
            database.execute(
                "UPDATE epochs SET reserved = max(reserved, ?), closed_at = NULL WHERE id = ?", (offset, epoch)
            )
        self._take_in_log()

    def take_over(self, name: str, offset: int) -> int | None:
        """Go on with a numbering of this name, whatever it counts as, and set offsets aside as `reserve` does.

        Only for who knows its newest offset, as a relay does whose archive was repaired under it. Returns its key; None
        if there is none of that name.
        """
        with self.transaction() as database:
            row = database.execute(
                "UPDATE epochs SET origin = 'relay', reserved = max(reserved, ?), closed_at = NULL WHERE name = ? RETURNING id",
                (offset, name),
            ).fetchone()
        self._take_in_log()
        return None if row is None else int(row[0])

    def _take_in_log(self) -> None:
        """Have what was reserved in the database itself: a log that is lost or cut off must not take it along.

        Who reads at this moment may keep the newest of the log from it; that is over in no time, mostly.
        """
        try:
            for _ in range(CHECKPOINTS):
                _, frames, taken_in = self.database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if taken_in == frames:
                    break
                time.sleep(0.01)
        except sqlite3.Error as error:
            raise plain_error(self.path, error) from error

    def finish(self, epoch: int, head: int) -> None:
        """End a numbering in good order: it can go on right after `head`, the newest offset that was given."""
        with self.transaction() as database:
            database.execute(
                "UPDATE epochs SET reserved = ?, closed_at = ? WHERE id = ?", (head, time.time_ns() // 1000, epoch)
            )

    def append(self, rows: Sequence[StoredRow]) -> None:
        """Write entries, all of them or none."""
        with self.transaction() as database:
            insert(database, rows)

    def append_columns(
        self,
        epoch: int,
        first: int,
        times: Sequence[float],
        channels: Sequence[str],
        payloads: Sequence[bytes],
        notes: Sequence[Mark | Gap | None],
    ) -> None:
        """Write consecutive entries, all of them or none, given as the backlog's columns (`rows.rows_of`)."""
        if any(notes):
            self.append(rows_of(epoch, first, times, channels, payloads, notes))
            return
        # The relay's way, some thousand rows a second and more: no object for a row, and few values to bind.
        width = 4
        values: list[object] = [None] * (width * len(times))
        values[0::width] = range(first, first + len(times))
        values[1::width] = [round(time * 1_000_000) for time in times]
        values[2::width] = channels
        values[3::width] = [
            payload.decode() for payload in payloads
        ]  # text is bound as it is; of bytes, sqlite3 asks each how it adapts
        row = f"({epoch:d}, ?, ?, ?, NULL, ?)"
        with self.transaction() as database:
            _insert(database, row, width, values)


def insert(database: sqlite3.Connection, rows: Sequence[StoredRow]) -> None:
    """Add entries within the transaction under way; those that are there already stay as they are."""
    _insert(database, _ROW, len(StoredRow._fields), list(chain.from_iterable(rows)))


def _insert(database: sqlite3.Connection, row: str, width: int, values: Sequence[object]) -> None:
    """Add rows, each written in SQL as `row` with so many of the values in turn, in as few statements as may be."""
    start = 0
    for count in ROWS_AT_ONCE:
        statement = f"INSERT INTO entries VALUES {', '.join([row] * count)} ON CONFLICT DO NOTHING"
        while len(values) - start >= count * width:
            database.execute(statement, values[start : start + count * width])
            start += count * width


def newest_of(database: sqlite3.Connection, epoch: int) -> tuple[int, int | None]:
    """Return the newest offset that was written of an epoch, and when it was received; 0 and None if none was."""
    hot = database.execute(
        "SELECT offset, received_at FROM entries WHERE epoch = ? ORDER BY offset DESC LIMIT 1", (epoch,)
    ).fetchone()
    cold = database.execute(  # the newer of both: after the clock was set back, new rows may be of a closed day
        "SELECT last_offset, last_at FROM parts WHERE epoch = ? ORDER BY last_offset DESC LIMIT 1", (epoch,)
    ).fetchone()
    offset, received_at = max(hot or (0, None), cold or (0, None), key=lambda found: found[0])
    return offset, received_at
