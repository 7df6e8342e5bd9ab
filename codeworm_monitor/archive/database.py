"""The archive's database: its tables, how it is opened, and how an older one is brought up to date."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import platformdirs

from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError, ArchiveTooNewError

__all__ = [
    "DATABASE",
    "PAGE_SIZE",
    "SCHEMA_VERSION",
    "connect_for_reading",
    "create_directory",
    "default_directory",
    "identity",
    "named_directory",
    "open_for_reading",
    "open_for_writing",
    "plain_error",
    "take_lock",
]

DATABASE = "archive.sqlite"
APPLICATION_ID = 0x43574D41
"""Marks the file as ours (`CWMA`), so that nothing else is taken for an archive."""
PAGE_SIZE = 16_384
"""Bytes. A row is kept within its page up to a quarter of it; a larger one takes a page of its own: with SQLite's 4,096
a message of 1,100 bytes took 4,700."""
BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes: a compaction, an import."""

_FIRST = """
CREATE TABLE epochs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,   -- as cursors spell it
    origin TEXT NOT NULL,        -- 'relay', or what was imported
    started_at INTEGER NOT NULL, -- microseconds since 1970, UTC, as all times here
    reserved INTEGER NOT NULL,   -- no larger offset was ever given
    closed_at INTEGER            -- when the relay that numbered ended in good order; null: it runs, or crashed
) STRICT;

CREATE TABLE entries (
    epoch INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    channel TEXT NOT NULL,       -- '' for a gap
    mark TEXT,                   -- 'gap', or why the payload is not what was published
    payload TEXT NOT NULL,       -- JSON; of a gap, its fields
    PRIMARY KEY (epoch, offset)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_by_time ON entries (received_at);

CREATE TABLE parts (             -- the Parquet files that count
    path TEXT PRIMARY KEY,       -- relative to the directory
    date TEXT NOT NULL,
    channel TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    first_offset INTEGER NOT NULL,
    last_offset INTEGER NOT NULL,
    first_at INTEGER NOT NULL,   -- earliest received_at
    last_at INTEGER NOT NULL,    -- latest
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (lambda database: _run(database, _FIRST),)
"""What brings a database from each version to the next; never changed once released, only added to."""

SCHEMA_VERSION = len(_MIGRATIONS)


def default_directory() -> Path:
    """Return where this user's archive is, unless another place is named."""
    return platformdirs.user_data_path("codeworm_monitor", appauthor=False) / "archive"


def named_directory(name: str | None) -> Path:
    """Return the archive that a setting names, `~` being the user's home; None: the default one."""
    if name is None:
        return default_directory()
    return Path(os.path.expanduser(name))  # Path.expanduser raises where it finds no home


def create_directory(directory: Path) -> None:
    """Make the archive's directory, for its owner alone, unless it is there.

    Raises:
        ArchiveError: It cannot be made, or something else has its name.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"{directory} cannot be made: {error.strerror or error}") from error


def open_for_writing(directory: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Open the database of an archive, make it if there is none, and bring it up to date.

    The connection is in autocommit mode: transactions are begun by `BEGIN IMMEDIATE`. Several processes may write;
    each waits `BUSY_TIMEOUT` seconds for the others.

    Raises:
        ArchiveTooNewError: A newer release wrote it.
        ArchiveDamagedError: It is no database, or it is damaged.
        ArchiveError: It cannot be opened or written.
    """
    create_directory(directory)
    path = directory / DATABASE
    try:
        # Only if it is new: closing any descriptor of a file lets go of all locks that the process has on it, and another
        # process would then delete the log that a connection here still writes to. SQLite gives -wal and -shm its mode.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for place in (directory, path):
            if not os.access(place, os.W_OK):
                raise ArchiveError(f"{place} cannot be written: it is read-only, or another user's")
        database = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=check_same_thread
        )
    except (OSError, sqlite3.Error) as error:
        raise plain_error(path, error) from error
    try:
        _check_application(database, path)
        if (version := _version(database)) > SCHEMA_VERSION:
            raise ArchiveTooNewError(path, version, SCHEMA_VERSION)
        database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        _migrate(database, path)
    except sqlite3.Error as error:
        database.close()
        raise plain_error(path, error) from error
    except ArchiveError:
        database.close()
        raise
    return database


def open_for_reading(directory: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Open the database of an archive without ever writing to it, also while others write.

    Fetch all and close a cursor soon: one that is left open keeps the write-ahead log from being taken in.

    Raises:
        ArchiveTooNewError: A newer release wrote it.
        ArchiveDamagedError: It is no database, or it is damaged.
        ArchiveError: There is none, or it cannot be read.
    """
    path = directory / DATABASE
    if not path.exists():
        raise ArchiveError(f"{directory} holds no archive ({DATABASE} is missing)")
    database = None
    try:
        database = connect_for_reading(path, check_same_thread=check_same_thread)
        _check_application(database, path)
        version = _version(database)
    except sqlite3.Error as error:
        if database is not None:
            database.close()
        raise plain_error(path, error) from error
    except ArchiveError:
        assert database is not None
        database.close()
        raise
    if version != SCHEMA_VERSION:
        database.close()
        if version > SCHEMA_VERSION:
            raise ArchiveTooNewError(path, version, SCHEMA_VERSION)
        raise ArchiveError(f"{path} is of an older form ({version}): open it for writing once, by starting the relay")
    return database


def connect_for_reading(path: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Return a connection to a database that never writes to it nor takes in its log; what it is, is not looked at.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    # Beside a database in WAL mode SQLite wants to make files: where it may not, nobody writes, and none are needed.
    is_frozen = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-shm").exists()
    address = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if is_frozen else ''}"
    return sqlite3.connect(
        address, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=check_same_thread
    )


def take_lock(path: Path, *, waits: bool) -> int:
    """Lock a file, which is made if it is not there; return its descriptor, which holds the lock until it is closed.

    Raises:
        BlockingIOError: Another process holds it, and `waits` is False.
        ArchiveError: The file cannot be made or locked.
    """
    create_directory(path.parent)
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            raise plain_error(path, error) from error
        raise
    return descriptor


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of the same name; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def plain_error(path: Path, error: Exception) -> ArchiveError:
    """Return the error of this package that says what SQLite, or the system, said of a file."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return ArchiveDamagedError(path, reason)
    return ArchiveError(f"{path}: {reason}")


_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _check_application(database: sqlite3.Connection, path: Path) -> None:
    # In this order: who makes the tables marks the file in the same transaction, maybe between these two questions.
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID and tables:
        raise ArchiveError(f"{path} is a database of another program: choose another directory")


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    if _version(database) == SCHEMA_VERSION:
        return
    database.execute("BEGIN IMMEDIATE")  # of several processes that start at one time, one migrates
    try:
        version = _version(database)
        if version > SCHEMA_VERSION:  # of a newer release, meanwhile
            raise ArchiveTooNewError(path, version, SCHEMA_VERSION)
        for migration in _MIGRATIONS[version:]:
            migration(database)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def _run(database: sqlite3.Connection, script: str) -> None:
    """Run statements within the transaction under way, which `executescript` would end."""
    for statement in script.split(";\n"):
        if statement.strip():
            database.execute(statement)
