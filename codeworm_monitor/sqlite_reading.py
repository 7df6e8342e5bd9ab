"""Reading a SQLite file of another program beside that program: nothing is written, nothing made, nobody kept waiting."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

__all__ = ["LONGEST_READ", "read", "stamp"]

LONGEST_READ = 5.0
"""Seconds that one read may take. With a rollback journal a writer waits for as long: CodeWorm gives up after 10."""
_LARGEST_COPY = 2**30
_LARGEST_ROW = 2**26
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1
_LONGEST_WAIT = 0.5
_PAUSE_OF_LOOKS = 0.002

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int, int] | None, ...]

_one_at_a_time = threading.Lock()
"""Closing a file lets go of every lock that the process has on it: no copy is made while another thread reads."""


class _ChangedError(Exception):
    """What was read without a lock was written to."""


def read(path: Path, work: Callable[[sqlite3.Connection], T], *, patience: float = 10.0) -> T:
    """Return what a function finds in a database, at one moment of it, while others write.

    No file is made, not even those that SQLite itself makes beside a database in WAL mode, and no lock is taken but the
    shared one of a reader. What a program that was killed left half done is finished in a copy.

    Args:
        path: The file.
        work: Is given a connection within a transaction; may be called again. Should fetch and not reckon: with a
            rollback journal, a writer waits for it.
        patience: Seconds to wait for a writer that holds the file, or changes its form.

    Raises:
        OSError: The file is not there, is no plain file, or may not be read.
        sqlite3.Error: It is no database or damaged, stays locked for longer, or `work` fails or takes over
            `LONGEST_READ` seconds.
        ValueError: The path has a NUL.
    """
    path = path.resolve()
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE
    is_abandoned = False
    while True:
        _check_is_file(path)
        try:
            with _one_at_a_time:
                return _attempt(path, work, deadline, may_copy=is_abandoned)
        except (_ChangedError, FileNotFoundError, sqlite3.OperationalError) as error:
            left = deadline - time.monotonic()
            if isinstance(error, sqlite3.OperationalError):
                if not _may_pass(error):
                    raise
                # A living writer finishes its journal itself; who was killed never will.
                is_abandoned = error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK and left < patience * 0.9
            if left <= 0:
                if isinstance(error, _ChangedError):
                    raise sqlite3.OperationalError("it is written to without a pause") from error
                raise
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)


def stamp(path: Path) -> _Stamp:
    """Return what changes whenever a database is written to: compared with a former one, it tells whether to read again."""
    path = path.resolve()
    return tuple(_identity(one) for one in (path, _beside(path, "-wal"), _beside(path, "-journal")))


def _attempt(path: Path, work: Callable[[sqlite3.Connection], T], deadline: float, *, may_copy: bool) -> T:
    if may_copy:
        return _from_copy(path, work)
    until = min(deadline, time.monotonic() + _LONGEST_WAIT)
    if not _is_in_wal_mode(path):
        return _within(path, "mode=ro", work, until)
    if _beside(path, "-shm").exists():  # the parameter keeps SQLite from making it anew, should it go meanwhile
        return _within(path, "mode=ro&readonly_shm=1", work, until)
    if _size(_beside(path, "-wal")):
        return _from_copy(path, work)
    # Nobody has it open, so that reading needs no locks, nor the files that SQLite would make to keep them.
    before = stamp(path)
    try:
        found = _within(path, "mode=ro&immutable=1", work, until)
    except sqlite3.Error as error:
        if stamp(path) != before or _beside(path, "-shm").exists():
            raise _ChangedError from error
        raise
    if stamp(path) != before or _beside(path, "-shm").exists():
        raise _ChangedError
    return found


def _within(path: Path, parameters: str, work: Callable[[sqlite3.Connection], T], until: float) -> T:
    with closing(_connected(path, parameters)) as database:
        database.execute("PRAGMA trusted_schema = OFF")  # what its schema says was written by others
        database.execute("PRAGMA cell_size_check = ON")
        database.execute("PRAGMA query_only = ON")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_ROW)
        database.execute("BEGIN")
        _take_lock(database, until)
        end = time.monotonic() + LONGEST_READ
        database.set_progress_handler(lambda: time.monotonic() > end, 20_000)
        return work(database)


def _take_lock(database: sqlite3.Connection, until: float) -> None:
    # SQLite's own waiting, up to 100 ms between two looks, may never meet a busy writer at the right moment.
    while True:
        try:
            database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE_OF_LOOKS)
        else:
            return


def _connected(path: Path, parameters: str) -> sqlite3.Connection:
    # Two slashes more, or what begins with two would be the name of a machine.
    address = f"file://{quote(os.fsencode(path))}?{parameters}"
    return sqlite3.connect(address, uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def _is_in_wal_mode(path: Path) -> bool:
    # Not by a look into the file: closing it would let go of the locks that others in this process have on it. Without
    # locks SQLite refuses a database in WAL mode, before it makes anything. What else it finds is for those with locks.
    with closing(_connected(path, "mode=ro&nolock=1")) as database:
        try:
            database.execute("PRAGMA schema_version").fetchone()
        except sqlite3.DatabaseError as error:
            return bool(error.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN)
    return False


def _from_copy(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Read a database that was left with a journal and that nobody writes to, from a copy in which that is played."""
    before = stamp(path)
    if sum(one[3] for one in before if one is not None) > _LARGEST_COPY:
        raise sqlite3.OperationalError("its writer was killed in the midst, and must be started once to mend it")
    with _copied(path) as copy:
        if stamp(path) != before or _beside(path, "-shm").exists():
            raise _ChangedError
        return _within(copy, "mode=rw", work, time.monotonic())


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="codeworm_monitor-") as folder:
        copy = Path(folder, "copy.db")
        shutil.copyfile(path, copy)
        for suffix in ("-wal", "-journal"):
            if _size(_beside(path, suffix)):
                shutil.copyfile(_beside(path, suffix), _beside(copy, suffix))
        yield copy


def _may_pass(error: sqlite3.OperationalError) -> bool:
    """Tell whether an error may be gone with the next attempt: a lock, or files that come and go."""
    code = getattr(error, "sqlite_errorcode", None)  # our own has none
    return code is not None and (code in _PASSING or code & 0xFF in _PASSING_GROUPS)


_PASSING = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_READONLY_CANTINIT,
        sqlite3.SQLITE_READONLY_CANTLOCK,
        sqlite3.SQLITE_READONLY_RECOVERY,
        sqlite3.SQLITE_READONLY_ROLLBACK,
    }
)
_PASSING_GROUPS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def _check_is_file(path: Path) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a directory")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is no plain file")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read by this user")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
