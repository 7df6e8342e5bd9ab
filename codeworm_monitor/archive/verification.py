"""Whether an archive is sound: a quick look at the start, and a full one for who asks."""

from __future__ import annotations

import glob
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from codeworm_monitor.archive.database import DATABASE, connect_for_reading, open_for_reading, plain_error
from codeworm_monitor.archive.database_pages import read_log
from codeworm_monitor.archive.parquet import GAPS, Part, connect, first_line, offsets_within, part_path
from codeworm_monitor.envelope import MAX_OFFSET
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError, ArchiveTooNewError

__all__ = [
    "Verification",
    "complaints_of",
    "describe_part",
    "part_files",
    "part_numbers",
    "quick_check",
    "verify",
]

QUICK_SECONDS = 2.0
QUICK_BYTES = 2**30
"""A larger database is not looked through at the start, but in places: SQLite reads some hundred megabytes a second
where the disk is quick, and cannot be stopped within a table."""
SAMPLES = 200
MOST_COMPLAINTS = 20
_PATH = re.compile(r"date=(\d{4}-\d\d-\d\d)/channel=([^/]+)/(\d+)-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a full check of an archive found.

    Attributes:
        problems: What is wrong, a line each; none: the archive is sound.
        hot: Rows in the database.
        cold: Rows in Parquet files.
        epochs: Numberings.
        parts: Parquet files that count.
        orphans: Parquet files that do not, by their paths: what an interrupted compaction left. They do no harm.
        bytes: What all of it takes.
        has_read_parts: Whether the Parquet files were opened: that needs DuckDB.
        seconds: How long the check took.
    """

    problems: list[str]
    hot: int
    cold: int
    epochs: int
    parts: int
    orphans: list[str]
    bytes: int
    has_read_parts: bool
    seconds: float


def quick_check(directory: Path) -> list[str]:
    """Return what is wrong with the database of an archive, as far as a few seconds can tell; none: it is sound.

    A database of up to 1 GiB is looked through by SQLite's own quick check; of a larger one the small tables, both ends
    and a few hundred places are read, for 2 s. Of the write-ahead log SQLite itself takes what is whole and says nothing
    of the rest; what was lost with that is a complaint here. Nothing is written. No database is a sound one.

    Raises:
        ArchiveError: It cannot be looked at: the disk fails, or another process locks it.
    """
    return complaints_of(directory, seconds=QUICK_SECONDS)


def complaints_of(directory: Path, *, seconds: float | None = None) -> list[str]:
    """Return what is wrong with the database of an archive, as `quick_check` does; None: however long it takes.

    Raises:
        ArchiveError: It cannot be looked at.
    """
    path = directory / DATABASE
    wal = path.with_name(f"{DATABASE}-wal")
    size, wal_size = (one.stat().st_size if one.exists() else 0 for one in (path, wal))
    if size == 0:  # SQLite would delete the log of an empty database
        return [f"{DATABASE} is empty, but its write-ahead log is not"] if wal_size else []
    deadline = None if seconds is None else time.monotonic() + seconds
    if complaint := _complaint_of_log(wal, deadline):
        return [complaint]
    try:
        with closing(_look_into(path)) as database:
            if deadline is not None and size > QUICK_BYTES:
                return _sample(database, deadline)
            check = "integrity_check" if seconds is None else "quick_check"
            found = [line for (line,) in database.execute(f"PRAGMA {check}({MOST_COMPLAINTS})").fetchall()]
            return [] if found == ["ok"] else [line for text in found for line in text.splitlines()]
    except sqlite3.Error as error:
        plain = plain_error(path, error)
        if isinstance(plain, ArchiveDamagedError):
            return [str(error)]
        raise plain from error


def _complaint_of_log(wal: Path, deadline: float | None) -> str:
    for _ in range(3):
        before = wal.stat() if wal.exists() else None
        log = read_log(wal, deadline=deadline)
        if not log.is_readable:
            complaint = "the write-ahead log is damaged from its beginning"
        elif log.commits_lost > 1:  # one may be what a loss of power cut short, and nobody was told that it was written
            complaint = f"the write-ahead log is damaged: {log.commits_lost} commits cannot be taken from it"
        else:
            return ""
        after = wal.stat() if wal.exists() else None
        if before and after and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return complaint
    return ""  # another process writes to it all the while


def _look_into(path: Path) -> sqlite3.Connection:
    # Read-only: a connection that may write would take in the log when it closes, and delete what it could not.
    database = connect_for_reading(path)
    database.text_factory = lambda text: text.decode(errors="replace")
    return database


def _sample(database: sqlite3.Connection, deadline: float) -> list[str]:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not {"epochs", "parts", "entries"} <= tables:
        return []  # whose it is, opening it tells
    for table in ("epochs", "parts"):
        found = [line for (line,) in database.execute(f"PRAGMA quick_check({table})").fetchall()]
        if found != ["ok"]:
            return found
    for (epoch,) in database.execute("SELECT id FROM epochs ORDER BY id DESC").fetchall():
        (first,) = database.execute("SELECT min(offset) FROM entries WHERE epoch = ?", (epoch,)).fetchone()
        (last,) = database.execute("SELECT max(offset) FROM entries WHERE epoch = ?", (epoch,)).fetchone()
        if first is None:
            continue
        step = max(1, (last - first) // SAMPLES)
        for offset in [*range(last, first, -step), first]:
            if time.monotonic() > deadline:
                return []
            rows = database.execute(
                "SELECT received_at, CAST(payload AS BLOB) FROM entries WHERE epoch = ? AND offset <= ? "
                "ORDER BY offset DESC LIMIT 50",
                (epoch, offset),
            ).fetchall()
            for received_at, _ in rows[:1]:
                database.execute(
                    "SELECT epoch, offset FROM entries WHERE received_at >= ? ORDER BY received_at LIMIT 1",
                    (received_at,),
                ).fetchall()
    return []


def verify(directory: Path, *, on_progress: Callable[[str], None] | None = None) -> Verification:
    """Check all of an archive: database, Parquet files, and that each row is in one place only. Nothing is written.

    Others may read and write meanwhile; what a compaction moves just then may show as a problem, so ask again.

    Args:
        directory: The archive.
        on_progress: Told in a line what is under way.

    Raises:
        ArchiveError: There is none, or it cannot be looked at.
    """
    started = time.monotonic()
    tell = on_progress or (lambda line: None)
    path = directory / DATABASE
    if not path.exists():
        raise ArchiveError(f"{directory} holds no archive ({DATABASE} is missing)")
    tell("checking the database")
    problems = complaints_of(directory)
    hot = epochs = 0
    parts: list[Part] = []
    has_read = False
    if not problems:
        try:
            with closing(open_for_reading(directory)) as database:
                (hot,) = database.execute("SELECT count(*) FROM entries").fetchone()
                (epochs,) = database.execute("SELECT count(*) FROM epochs").fetchone()
                parts = [Part(*row) for row in database.execute("SELECT * FROM parts ORDER BY path").fetchall()]
                problems += _problems_of_rows(database, tell)
                has_read = _can_read_parts(directory)
                names = dict(database.execute("SELECT id, name FROM epochs").fetchall())
                problems += _problems_of_parts(directory, parts, names, tell, has_read=has_read)
                problems += _doubles(directory, database, parts, tell, has_read=has_read)
        except ArchiveTooNewError:
            raise
        except (ArchiveError, sqlite3.Error) as error:
            problems.append(str(error))
    listed = {part.path for part in parts}
    files = part_files(directory)
    database_files = [one for one in (path, path.with_name(f"{DATABASE}-wal")) if one.exists()]
    sizes = [one.stat().st_size for one in [*database_files, *(directory / file for file in files)] if one.exists()]
    return Verification(
        problems=[*problems, *_open_to_others(directory)],
        hot=hot,
        cold=sum(part.rows for part in parts),
        epochs=epochs,
        parts=len(parts),
        orphans=[] if problems and not parts else [file for file in files if file not in listed],
        bytes=sum(sizes),
        has_read_parts=has_read,
        seconds=round(time.monotonic() - started, 3),
    )


def _problems_of_rows(database: sqlite3.Connection, tell: Callable[[str], None]) -> Iterator[str]:
    tell("checking the rows")
    for epoch, rows in database.execute(
        "SELECT epoch, count(*) FROM entries WHERE epoch NOT IN (SELECT id FROM epochs) GROUP BY epoch"
    ).fetchall():
        yield f"{rows} rows are of the numbering {epoch}, which is not known"
    for name, reserved, newest in database.execute(
        "SELECT name, reserved, newest FROM epochs JOIN "
        "(SELECT epoch, max(offset) AS newest FROM "
        "(SELECT epoch, offset FROM entries UNION ALL SELECT epoch, last_offset FROM parts) GROUP BY epoch) "
        "ON epoch = id WHERE newest > reserved"
    ).fetchall():
        yield f"the numbering {name} holds the offset {newest}, but only those up to {reserved} were ever given"
    (bad,) = database.execute("SELECT count(*) FROM entries WHERE NOT json_valid(payload)").fetchone()
    if bad:
        yield f"{bad} rows hold no JSON"


def _problems_of_parts(
    directory: Path, parts: list[Part], names: dict[int, str], tell: Callable[[str], None], *, has_read: bool
) -> Iterator[str]:
    for number, part in enumerate(parts):
        tell(f"checking Parquet file {number + 1} of {len(parts)}")
        try:
            size = (directory / part.path).stat().st_size
        except OSError as error:
            yield f"{part.path}, with {part.rows} rows, is missing: {error.strerror}"
            continue
        if size != part.bytes:
            yield f"{part.path} has {size} bytes, not {part.bytes}"
        if part.epoch not in names:
            yield f"{part.path} is of the numbering {part.epoch}, which is not known"
        if has_read:
            found = describe_part(directory, part.path, channel=part.channel)
            if isinstance(found, str):
                yield f"{part.path} cannot be read: {found}"
            elif found[0]._replace(bytes=part.bytes) != part:
                yield f"{part.path} does not hold what the database says: {found[0]}, not {part}"
            elif found[1] != names.get(part.epoch, found[1]):
                yield f"{part.path} is of the numbering {found[1]}, not {names[part.epoch]}"


def _doubles(
    directory: Path, database: sqlite3.Connection, parts: list[Part], tell: Callable[[str], None], *, has_read: bool
) -> Iterator[str]:
    tell("looking for rows in two places")
    for part in parts:
        hot = {
            offset
            for (offset,) in database.execute(
                "SELECT offset FROM entries WHERE epoch = ? AND offset BETWEEN ? AND ?", part[3:6]
            ).fetchall()
        }
        if hot and has_read:
            twice = hot.intersection(_offsets(directory, part, min(hot), max(hot)))
            if twice:
                yield f"{len(twice)} rows are in the database and in {part.path} too, the first at offset {min(twice)}"
    for cluster in _clusters(parts):
        if not has_read:
            for one, other in pairwise(cluster):
                if one[1:4] == other[1:4]:
                    yield f"{one.path} and {other.path} overlap"
            continue
        seen: set[int] = set()
        for part in cluster:
            offsets = set(_offsets(directory, part, 0, MAX_OFFSET))
            if seen & offsets:
                yield f"{len(seen & offsets)} rows of {part.path} are in another file too"
            seen |= offsets


def _offsets(directory: Path, part: Part, first: int, last: int) -> list[int]:
    try:
        return offsets_within(directory, part, first, last)
    except ArchiveDamagedError:  # told of already
        return []


def _clusters(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield parts of one numbering whose ranges of offsets overlap, which those of several channels may."""
    cluster: list[Part] = []
    end = 0
    for part in sorted(parts, key=lambda part: (part.epoch, part.first_offset, part.last_offset)):
        if cluster and (part.epoch != cluster[0].epoch or part.first_offset > end):
            yield cluster
            cluster, end = [], 0
        cluster.append(part)
        end = max(end, part.last_offset)
    if cluster:
        yield cluster


def _open_to_others(directory: Path) -> list[str]:
    """Return what other users of the machine could read or change."""
    found = []
    if directory.stat().st_mode & 0o077:
        found.append(f"{directory} is open to other users: chmod 700 it")
    # Within a directory that is closed nothing can be reached; the database is copied about more than the rest.
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        path = directory / name
        if path.exists() and path.stat().st_mode & 0o077:
            found.append(f"{path} is open to other users: chmod 600 it")
    return found


def part_files(directory: Path) -> list[str]:
    """Return the Parquet files of an archive, whether they count or not, by their paths relative to it."""
    paths = (file.relative_to(directory).as_posix() for file in directory.glob("date=*/channel=*/*.parquet"))
    return sorted(path for path in paths if _PATH.fullmatch(path))


def part_numbers(path: str) -> tuple[int, int, int] | None:
    """Return epoch, first and last offset that the path of a Parquet file tells; None if it is not of our making."""
    named = _PATH.fullmatch(path)
    return None if named is None else (int(named[3]), int(named[4]), int(named[5]))


def describe_part(directory: Path, path: str, *, channel: str | None = None) -> tuple[Part, str] | str:
    """Return what a Parquet file holds, and the name of its epoch; or why it cannot be read.

    Args:
        directory: The archive.
        path: Relative to it.
        channel: Its channel, if that is known; None: as the path says.

    Raises:
        ArchiveError: DuckDB is not installed.
    """
    named = _PATH.fullmatch(path)
    if named is None:
        return "its name is not that of a file of the archive"
    directory = directory.resolve()
    with connect(directory) as connection:
        import duckdb

        try:
            found = connection.execute(
                'SELECT count(*), count(DISTINCT "offset"), min("offset"), max("offset"), '
                "epoch_us(min(received_at)), epoch_us(max(received_at)), "
                "any_value(epoch), count(DISTINCT epoch), coalesce(bool_and(mark = 'gap'), false) "
                "FROM read_parquet($1, hive_partitioning = false)",
                [glob.escape(str(directory / path))],
            ).fetchall()
            size = (directory / path).stat().st_size
        except (duckdb.Error, OSError) as error:
            return first_line(error)
    rows, offsets, first, last, first_at, last_at, name, names, is_gap = found[0]
    date, epoch, first_named, last_named = named[1], int(named[3]), int(named[4]), int(named[5])
    if (first, last) != (first_named, last_named) or names != 1 or offsets != rows:
        return f"it holds {rows} rows with {offsets} offsets, {first} to {last}, of {names} numberings"
    if channel is None:
        channel = "" if is_gap and named[2] == GAPS else unquote(named[2])
    if part_path(date, channel, epoch, first, last) != path:
        return "the name of its channel was too long for a path, and is not known any more"
    return Part(path, date, channel, epoch, first, last, first_at, last_at, rows, size), name


def _can_read_parts(directory: Path) -> bool:
    try:
        connect(directory.resolve()).close()
    except ArchiveError:
        return False
    return True
