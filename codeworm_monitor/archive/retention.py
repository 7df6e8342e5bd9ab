"""Retention: what is too old, or too much, leaves the archive, the oldest first."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from codeworm_monitor.archive.database import BUSY_TIMEOUT, DATABASE, plain_error
from codeworm_monitor.archive.rows import micros
from codeworm_monitor.archive.store import Store
from codeworm_monitor.archive.verification import part_files, part_numbers

__all__ = ["Trimmed", "size_of", "trim"]

ROWS_AT_ONCE = 5_000
"""Rows deleted in one transaction, and pages given back in one: nobody waits long for either."""
PAGES_AT_ONCE = 1_000
KEPT = 0.95
"""What is trimmed for its size is trimmed to so much of it, so that the next message does not begin it again."""
CHECKPOINT_TIMEOUT = 0.2
"""Seconds that taking in the write-ahead log waits for readers; what they still need stays in it."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What was removed.

    Attributes:
        rows: Rows, of the database and of the files.
        files: Parquet files.
        bytes: By how much the archive is smaller now.
    """

    rows: int
    files: int
    bytes: int


def size_of(directory: Path) -> int:
    """Return the bytes that an archive takes: database, write-ahead log, Parquet files, whether they count or not.

    What a repair set aside is not of the archive any more.
    """
    size = 0
    for path in (DATABASE, f"{DATABASE}-wal", *part_files(directory)):
        with contextlib.suppress(FileNotFoundError):  # moved or taken in meanwhile
            size += (directory / path).stat().st_size
    return size


def trim(
    store: Store,
    *,
    older_than: float | None = None,
    max_bytes: int | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Trimmed:
    """Remove what is older than a time; and then, if the rest takes too much, the oldest until it fits.

    A day's files go as a whole, when the newest of their rows is too old. The numberings stay: no offset is given again.
    Others may read and write meanwhile; they wait for a few thousand rows at most. Interrupted, it loses nothing but
    what was to go.

    Args:
        store: The archive.
        older_than: Unix seconds: what was received before goes; None: nothing for its age.
        max_bytes: Most bytes that `size_of` may say; None: as many as there are. Then it is trimmed to 95 % of it.
        on_progress: Told in a line what is under way.

    Raises:
        ArchiveDamagedError: The database is damaged.
        ArchiveError: It cannot be written, or a file cannot be removed.
    """
    before = size_of(store.directory)
    trimming = _Trimming(store, on_progress or (lambda line: None))
    with _plain(store):
        if older_than is not None:
            trimming.by_age(micros(older_than))
        if max_bytes is not None:
            trimming.by_size(max_bytes)
        if trimming.rows:
            trimming.give_back()
    return Trimmed(trimming.rows, trimming.files, max(0, before - size_of(store.directory)))


@contextlib.contextmanager
def _plain(store: Store) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise plain_error(store.path, error) from error


class _Trimming:
    def __init__(self, store: Store, tell: Callable[[str], None]) -> None:
        self._store = store
        self._database = store.database
        self._tell = tell
        self.rows = 0
        self.files = 0

    def by_age(self, before: int) -> None:
        days = self._database.execute(
            "SELECT date FROM parts GROUP BY date HAVING max(last_at) < ? ORDER BY date", (before,)
        ).fetchall()
        for (date,) in days:
            self._remove_day(date)
        while self._remove_rows(before):
            pass

    def by_size(self, max_bytes: int) -> None:
        if size_of(self._store.directory) <= max_bytes:
            return
        self.give_back()  # what is free already, first
        enough = int(max_bytes * KEPT)
        if size_of(self._store.directory) <= max_bytes:
            return
        for (date,) in self._database.execute("SELECT DISTINCT date FROM parts ORDER BY date").fetchall():
            if self._size() <= enough:
                return
            self._remove_day(date)
        while self._size() > enough and self._remove_rows(None):
            pass

    def _size(self) -> int:
        """Return what the archive takes once free pages are given back and the log is taken in."""
        (pages,), (free,), (size,) = (
            self._database.execute(f"PRAGMA {one}").fetchone() for one in ("page_count", "freelist_count", "page_size")
        )
        files = 0
        for path in part_files(self._store.directory):
            with contextlib.suppress(FileNotFoundError):
                files += (self._store.directory / path).stat().st_size
        return int((pages - free) * size + files)

    def _remove_day(self, date: str) -> None:
        """Remove the files of a day, all at once: of a day half gone nobody could tell what is missing."""
        with self._store.transaction() as database:
            gone = database.execute("DELETE FROM parts WHERE date = ? RETURNING path, rows", (date,)).fetchall()
        for path, rows in gone:
            self.rows += rows
            self.files += 1
            if part_numbers(path) is None:  # no path of ours: nothing outside the archive is ever removed
                continue
            file = self._store.directory / path
            file.unlink(missing_ok=True)
            for directory in (file.parent, file.parent.parent):
                with contextlib.suppress(OSError):  # not empty
                    directory.rmdir()
        self._tell(f"removed {self.rows:,} rows")

    def _remove_rows(self, before: int | None) -> int:
        """Remove the oldest rows, of those before a time, a slice of them; return how many."""
        condition, values = ("", []) if before is None else ("WHERE received_at < ?", [before])
        with self._store.transaction() as database:
            removed = database.execute(
                "DELETE FROM entries WHERE (epoch, offset) IN (SELECT epoch, offset FROM entries "
                f"{condition} ORDER BY received_at, epoch, offset LIMIT {ROWS_AT_ONCE})",
                values,
            ).rowcount
        self.rows += removed
        self._tell(f"removed {self.rows:,} rows")
        return removed

    def give_back(self) -> None:
        """Make the database's file smaller by what is free in it, and take in the write-ahead log."""
        self._tell("giving back what is free")
        database = self._database
        (free,) = database.execute("PRAGMA freelist_count").fetchone()
        for _ in range(-(-free // PAGES_AT_ONCE)):
            # By `execute` it would give back one page: it stops at the first row, of which this pragma has one a page.
            database.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
        database.execute(f"PRAGMA busy_timeout = {round(CHECKPOINT_TIMEOUT * 1000)}")
        try:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            database.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000)}")
