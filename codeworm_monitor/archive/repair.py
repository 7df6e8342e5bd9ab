"""Repair: a damaged database is set aside, and all that can be read of it goes into a new one."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from codeworm_monitor.archive.database import APPLICATION_ID, DATABASE, SCHEMA_VERSION, plain_error
from codeworm_monitor.archive.database_pages import MAGIC, DatabasePages
from codeworm_monitor.archive.salvage import Salvage
from codeworm_monitor.archive.store import Store
from codeworm_monitor.archive.verification import Verification, complaints_of, quick_check, verify
from codeworm_monitor.errors import ArchiveError, ArchiveTooNewError

__all__ = ["Repair", "Verification", "quick_check", "repair", "verify"]

DAMAGED = "damaged"
_COMPANIONS = ("-wal", "-shm", "-journal")
_NO_LOG = b"The write-ahead log that was here is in the directory `damaged`.\n"
"""Stands in for the log while the new database takes its place. SQLite takes nothing from it, and should the exchange be
interrupted just then, `quick_check` complains of it: without the log, offsets could be given twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did.

    Attributes:
        set_aside: Where the damaged files are now; None: nothing was damaged, and nothing was done.
        rows: Rows saved.
        lost: Rows known to be lost.
        gaps: Gaps written where rows are lost, so that every reader is told.
        parts: Parquet files that count.
        has_numbering: Whether the relay's numbering goes on. Else the next relay begins a new one, for an offset could
            be given twice.
        problems: What else a person should know, a line each.
        seconds: How long it took.
    """

    set_aside: Path | None
    rows: int = 0
    lost: int = 0
    gaps: int = 0
    parts: int = 0
    has_numbering: bool = True
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.set_aside is None:
            return "the archive is sound: nothing was done"
        numbering = "the numbering goes on" if self.has_numbering else "a new numbering begins"
        said = (
            f"the archive was damaged: {self.rows:,} rows were saved, {self.lost:,} are lost as far as is known, "
            f"{numbering}; the damaged files are in {self.set_aside}"
        )
        return "; ".join((said, *self.problems))


def repair(directory: Path, *, on_progress: Callable[[str], None] | None = None, now: float | None = None) -> Repair:
    """Save all that can be read of a damaged database into a new one, and set the damaged one aside.

    The caller holds the `WriterLock`, nobody else writes, and this process has no other connection to the database.

    Promises: nothing is deleted; until the new database is complete, the damaged one stays where it is. Every row that
    lies on an undamaged page is saved, in seconds for a million. Where rows are lost, a gap tells so. No offset is given
    twice afterwards: where that is in doubt, the numberings are kept under their names, but none goes on.

    Args:
        directory: The archive. One that is sound is left alone.
        on_progress: Told in a line what is under way.
        now: Unix seconds; None: by the clock.

    Raises:
        ArchiveTooNewError: A newer release wrote it.
        ArchiveError: It is a database of another program, or the disk is full or failing; it is as it was then.
    """
    started = time.monotonic()
    tell = on_progress or (lambda line: None)
    path = directory / DATABASE
    tell("checking the database")
    if not complaints_of(directory):
        return Repair(set_aside=None, seconds=round(time.monotonic() - started, 3))
    now = time.time() if now is None else now
    if not path.exists():  # a write-ahead log without its database
        path.touch(0o600)
    aside, new = None, None
    try:
        with DatabasePages(path) as source:
            _check_ours(source, path)
            aside = _make_room(directory, now)
            new = aside / "new"
            rows, salvage = _save(source, new, directory, round(now * 1_000_000), tell)
        tell("putting the new database in its place")
        _exchange(path, new / DATABASE, aside)
    except (ArchiveTooNewError, OSError, ArchiveError) as error:
        # Only what was made here goes: before the exchange that is all there is.
        with contextlib.suppress(OSError):
            if new is not None:
                shutil.rmtree(new, ignore_errors=True)
            if aside is not None:
                aside.rmdir()
                aside.parent.rmdir()
        if aside is None:
            raise plain_error(path, error) if isinstance(error, OSError) else error from None
        reason = str(plain_error(path, error)) if isinstance(error, OSError) else str(error)
        where = aside if aside.exists() else path
        raise ArchiveError(
            f"the repair did not come to its end ({reason}); the damaged archive is still {where}"
        ) from error
    shutil.rmtree(new, ignore_errors=True)
    return Repair(
        set_aside=aside,
        rows=rows,
        lost=salvage.lost,
        gaps=salvage.gaps,
        parts=salvage.parts,
        has_numbering=salvage.has_numbering,
        problems=tuple(salvage.problems),
        seconds=round(time.monotonic() - started, 3),
    )


def _check_ours(source: DatabasePages, path: Path) -> None:
    """Refuse what another program, or a newer release, wrote, as far as that can be told."""
    page = source.page(1)
    if not page.startswith(MAGIC) or len(page) < 100:
        return
    version, application = struct.unpack(">I", page[60:64])[0], struct.unpack(">I", page[68:72])[0]
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise ArchiveTooNewError(path, version, SCHEMA_VERSION)
        return
    # Not our mark: another program's, or damaged itself. What is in there tells.
    tables, is_whole = source.tree(1)
    names = {cell[2] for cell in tables if len(cell) == 6}
    if is_whole and names and b"entries" not in names:
        raise ArchiveError(f"{path} is a damaged database of another program: choose another directory")


def _make_room(directory: Path, now: float) -> Path:
    name = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H-%M-%SZ}"
    (directory / DAMAGED).mkdir(mode=0o700, exist_ok=True)
    for number in range(1, 1000):
        aside = directory / DAMAGED / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            aside.mkdir(mode=0o700)
            return aside
    raise ArchiveError(f"{directory / DAMAGED} is full of repairs of {name}: remove some")


def _save(
    source: DatabasePages, new: Path, directory: Path, now: int, tell: Callable[[str], None]
) -> tuple[int, Salvage]:
    store = Store(new)
    try:
        # Nobody reads it, and if it does not become complete it goes: so nothing need survive, nor be undone.
        store.database.execute("PRAGMA journal_mode = MEMORY")
        store.database.execute("PRAGMA synchronous = OFF")
        salvage = Salvage(source, store, directory, now, tell)
        salvage.run()
        (rows,) = store.database.execute("SELECT count(*) FROM entries").fetchone()
    finally:
        store.close()
    _sync(new / DATABASE)
    return rows - salvage.gaps, salvage


def _exchange(path: Path, new: Path, aside: Path) -> None:
    """Have the new database in the place of the old, which goes aside; at no moment is there none of that name."""
    try:
        os.link(path, aside / path.name)
    except OSError:  # a file system without links
        shutil.copy2(path, aside / path.name)
        _sync(aside / path.name)
    for ending in _COMPANIONS:
        companion = path.with_name(path.name + ending)
        if not companion.exists():
            continue
        if ending == "-wal" and companion.stat().st_size:
            stand_in = new.with_name("no.log")
            stand_in.write_bytes(_NO_LOG)
            _sync(stand_in)
            shutil.copy2(companion, aside / companion.name)
            _sync(aside / companion.name)
            os.replace(stand_in, companion)
        else:
            os.replace(companion, aside / companion.name)
    _sync(aside)
    os.replace(new, path)
    _sync(path.parent)
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
