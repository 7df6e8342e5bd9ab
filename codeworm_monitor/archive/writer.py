"""The writer: keeps the relay's log on disk, behind its back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from codeworm_monitor.archive import repair
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import GAP, StoredRow, entry_of, gap_payload, micros, rows_of
from codeworm_monitor.archive.store import Numbering, Store, WriterLock
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.backoff import delays
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.errors import ArchiveBusyError, ArchiveDamagedError, ArchiveError, ArchiveTooNewError

__all__ = ["ArchiveStatus", "ArchiveWriter", "Opening"]

BATCH_ROWS = 2_000
BATCH_BYTES = 8 * 2**20
BATCH_SECONDS = 0.5
"""A batch is written when it has so many rows, or so many bytes by the backlog's reckoning, or after so long."""
BLOCK = 2**24
"""Offsets set aside at one time; the next are when half are given. So large that they last while a disk is full for
weeks: an offset that was not set aside could be given twice."""
PAST = 1_000
"""Newest messages of the last run that are given to the next one."""
LONGEST_PAUSE = 30.0
"""Seconds between attempts to write while the disk refuses, at most."""
READERS = 2
"""Threads that read for readers of the relay."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an archive says of the run before.

    Attributes:
        epoch: Name of the numbering to go on with.
        head: Its newest offset: the next entry gets the one after.
        gap: What may be missing since; None if the archive is new.
        past: The newest messages that are kept, oldest first.
    """

    epoch: str
    head: int
    gap: Gap | None
    past: list[Envelope]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveStatus:
    """The archive at one moment.

    Attributes:
        directory: Where it is.
        is_writing: Whether it can be written; else it keeps trying.
        reason: Why not; else empty.
        since: Since when that is so, Unix seconds.
        archived: Newest offset that is on disk.
        waiting: Entries that are not there yet.
        lost: Entries that left the relay's memory before they could be written.
        repaired: What was done to a damaged archive at the start; else empty.
    """

    directory: str
    is_writing: bool
    reason: str
    since: float
    archived: int
    waiting: int
    lost: int
    repaired: str


class ArchiveWriter:
    """Keeps one log in one archive.

    Promises:

    - Fan-out never waits for the disk. The queue before it is the backlog itself: no entry is held twice, and one that
      leaves the backlog unwritten is told by a gap (`not_archived`) in its place.
    - An entry is on disk half a second after it came, if the disk keeps up; `archived` says up to where. What is on
      disk survives `kill -9`. No offset that may have been given is given again.
    - While the disk is full, read-only or failing, the relay runs on; writing goes on by itself. `note` is told.

    It belongs to the event loop in which `open` was called; one thread of its own writes, and few read.

    Args:
        directory: The archive.
        note: Told of what befalls it: an event's name, a level, details (`Journal.note`).
    """

    def __init__(self, directory: Path, *, note: Callable[..., None] = lambda event, **details: None) -> None:
        self.directory = directory
        self.archived = 0
        self.oldest: int | None = None
        """Oldest offset of the numbering that is on disk, at the last look; None: nothing is."""
        self._note = note
        self._lock: WriterLock | None = None
        self._store: Store | None = None
        self._epoch = 0  # the key of the numbering; 0: it is not in the archive yet
        self._name = ""
        self._reserved = 0
        self._lost = 0
        self._problem: str | None = None
        self._since = time.time()
        self._repaired = ""
        self._backlog: Backlog | None = None
        self._written_at = time.time()
        self._thread = ThreadPoolExecutor(1, "codeworm_monitor:archive")
        self._readers = ThreadPoolExecutor(READERS, "codeworm_monitor:archive-read")
        self._local = threading.local()
        self._opened: list[ArchiveReader] = []
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pauses = delays(first=1.0, longest=LONGEST_PAUSE)
        self._is_closing = False

    @property
    def status(self) -> ArchiveStatus:
        """How it is."""
        head = self.archived if self._backlog is None else self._backlog.head
        return ArchiveStatus(
            directory=str(self.directory),
            is_writing=self._problem is None,
            reason=self._problem or "",
            since=self._since,
            archived=self.archived,
            waiting=max(0, head - self.archived),
            lost=self._lost,
            repaired=self._repaired,
        )

    def __str__(self) -> str:
        """Return how it is, for anybody: where it is must not be told to those without a token."""
        if self._problem is None:
            return "written"
        where = str(self.directory)
        return f"cannot be written: {self._problem.replace(f'{where}/', '').replace(where, 'its directory')}"

    @property
    def key(self) -> int:
        """Key of the numbering in the archive; 0 while it is not in there."""
        return self._epoch

    async def open(self, name: str) -> Opening:
        """Take the archive, repair it if it is damaged, and return how to go on.

        Where the disk refuses, numbering begins under the name given, in memory, and is written later.

        Raises:
            ArchiveBusyError: Another relay writes to it.
            ArchiveTooNewError: A newer release wrote it.
        """
        try:
            return await self._write(self._open, name)
        except (ArchiveBusyError, ArchiveTooNewError):
            await self.aclose()
            raise
        except ArchiveError as error:
            log.error("the archive cannot be written, messages are relayed all the same: %s", error)
            await self._write(self._abandon)
            self._problem, self._name = str(error), name
            return Opening(epoch=name, head=0, gap=None, past=[])

    def follow(self, backlog: Backlog) -> None:
        """Begin to write what is in a backlog and what comes; `on_growth` is to be called when it grows."""
        self._backlog = backlog
        self.archived = max(self.archived, backlog.head if not len(backlog) else backlog.oldest - 1)
        if self._problem is not None:
            self._note("archive_failing", level="error", error=self._problem[:500])
        self.on_growth()

    def on_growth(self) -> None:
        """Have what is new written soon; costs next to nothing."""
        assert self._backlog is not None
        if self._writing is not None or self._is_closing:
            return
        is_full = self._problem is None and self._is_batch_full(self._backlog)
        if self._timer is not None:
            if not is_full:
                return
            self._timer.cancel()
        if is_full:
            self._begin_writing()
        else:
            self._set_timer(BATCH_SECONDS if self._problem is None else next(self._pauses))

    async def flushed(self, offset: int) -> bool:
        """Wait until all up to an offset is on disk; tell whether it is, which it is not while the disk refuses."""
        assert self._backlog is not None
        while self.archived < min(offset, self._backlog.head) and self._problem is None and not self._is_closing:
            if self._writing is None:
                self._begin_writing()
            assert self._writing is not None
            await asyncio.shield(self._writing)
        return self.archived >= offset

    async def look(self) -> None:
        """Look anew what there is, after something was removed.

        Raises:
            ArchiveError: It cannot be read.
        """
        bounds = await self.read(lambda reader: reader.bounds(self._epoch))
        self.oldest = None if bounds is None else bounds[0]

    async def read(self, ask: Callable[[ArchiveReader], T]) -> T:
        """Return what a function makes of the archive, called in a thread of those that read.

        Raises:
            ArchiveError: It cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._ask, ask)

    async def aclose(self, *, within: float = 5.0) -> None:
        """Write what waits, end the numbering in good order, and let others have the archive; may be called again.

        Takes `within` seconds at most, and a moment. What could not be written by then shows as a gap at the next start,
        and others have the archive when the disk lets go of it.
        """
        if self._is_closing:
            return
        is_finished = False
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(within):
                if self._backlog is not None and self._store is not None and self._problem is None:
                    await self.flushed(self._backlog.head)
                self._is_closing = True
                await self._write(self._finish)
                is_finished = True
        except TimeoutError:
            log.error("the archive could not be written within %.1f s: its end will show as a gap", within)
        finally:
            self._is_closing = True
            if self._timer is not None:
                self._timer.cancel()
            if not is_finished:
                self._thread.submit(self._finish)
            self._thread.shutdown(wait=False)
            self._readers.shutdown(wait=False, cancel_futures=True)
            threading.Thread(target=self._close_readers, name="codeworm_monitor:archive-close", daemon=True).start()

    # In the loop

    def _is_batch_full(self, backlog: Backlog) -> bool:
        """Tell whether enough waits for a batch, or so much that it might leave the backlog before its time."""
        waiting = backlog.head - self.archived
        is_pressed = waiting * 4 >= backlog.max_entries or (
            backlog.bytes * 2 > backlog.max_bytes and waiting * 4 >= len(backlog)
        )
        return waiting >= BATCH_ROWS or is_pressed

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin_writing)

    def _begin_writing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_closing or self._writing is not None:
            return
        self._writing = asyncio.create_task(self._write_all(), name="relay:archive")

    async def _write_all(self) -> None:
        """Write batch after batch, until less than a full one waits or the disk refuses."""
        backlog = self._backlog
        assert backlog is not None
        try:
            while self.archived < backlog.head and not self._is_closing:
                await self._write_batch(backlog)
                if not self._is_batch_full(backlog):
                    break
        except ArchiveError as error:
            self._fail(error)
        except Exception as error:  # whatever it is, the archive must not stop in silence
            log.exception("writing the archive failed")
            self._fail(ArchiveError(f"{type(error).__name__}: {error}"))
        finally:
            self._writing = None
            if self.archived < backlog.head and not self._is_closing and self._timer is None:
                self._set_timer(BATCH_SECONDS if self._problem is None else next(self._pauses))

    async def _write_batch(self, backlog: Backlog) -> None:
        first, missing = self.archived + 1, None
        times, channels, data, notes = backlog.columns(first, max_bytes=BATCH_BYTES, max_entries=BATCH_ROWS)
        if first < backlog.oldest:
            missing = Gap(
                cause=GapCause.NOT_ARCHIVED,
                started_at=min(self._written_at, times[0]),
                ended_at=times[0],
                first_offset=first,
                last_offset=backlog.oldest - 1,
                detail=f"the archive could not be written: {self._problem or 'the disk was too slow'}"[:500],
            )
            first = backlog.oldest
        await self._write(self._append, first, times, channels, data, notes, missing)
        if missing is not None:
            self._lost += missing.missed or 0
        if self.oldest is None:
            self.oldest = first
        self.archived, self._written_at = first + len(times) - 1, time.time()
        if self._problem is not None:
            log.warning("the archive is written again, after %.0f s", time.time() - self._since)
            self._note("archive_written_again", lost=self._lost, after_seconds=round(time.time() - self._since, 3))
            self._problem, self._since = None, time.time()
            self._pauses = delays(first=1.0, longest=LONGEST_PAUSE)

    async def _write(self, work: Callable[..., T], *values: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *values)

    def _fail(self, error: ArchiveError) -> None:
        if self._problem is None:
            log.error("the archive cannot be written, messages are relayed all the same: %s", error)
            self._since = time.time()
            self._problem = str(error)  # before the note, which comes back as an entry to be written
            self._note("archive_failing", level="error", error=str(error)[:500])
        self._problem = str(error)

    # In the thread that writes

    def _open(self, name: str) -> Opening:
        if self._lock is None:
            self._lock = WriterLock(self.directory)
        store = self._open_store()
        numbering = store.numbering()
        if numbering is None:
            self._name, head, gap = name, 0, None
            self._epoch = store.begin(name)
        else:
            self._name, self._epoch, head = numbering.name, numbering.key, numbering.head
            gap = None if numbering.ended_at is None else _restart_gap(numbering, numbering.ended_at)
        self._store = store
        self._reserve(store, head)
        with ArchiveReader(self.directory) as reader:
            self.oldest = (reader.bounds(self._epoch) or (None,))[0]
            rows = reader.newest(self._epoch, limit=PAST)
        entries = [entry_of(*row[1:]) for row in reversed(rows)]
        past = [one for one in entries if isinstance(one, Envelope)]
        return Opening(epoch=self._name, head=head, gap=gap, past=past)

    def _abandon(self) -> None:
        """Forget what was found: of the numbering begun in memory instead, nothing may be written under its key."""
        self._close_store()
        self._epoch = self._reserved = 0
        self.oldest = None

    def _open_store(self) -> Store:
        complaints = repair.quick_check(self.directory)
        if complaints:
            log.error("the archive is damaged (%s): saving what can be read", complaints[0])
            self._repaired = str(repair.repair(self.directory))
            log.warning("%s", self._repaired)
        return Store(self.directory, check_same_thread=False)

    def _reserve(self, store: Store, head: int) -> None:
        store.reserve(self._epoch, head + BLOCK)
        self._reserved = head + BLOCK

    def _append(
        self,
        first: int,
        times: list[float],
        channels: list[str],
        data: list[bytes],
        notes: list[Any],
        missing: Gap | None,
    ) -> None:
        if self._lock is None:
            self._lock = WriterLock(self.directory)
        if self._store is not None and not self._store.is_there:
            self._close_store()
        store = self._store or self._open_anew(first + len(times))
        try:
            if missing is not None and missing.first_offset is not None:
                # Together: if only the gap were written, it would stay as it is while the range grows.
                row = StoredRow(
                    self._epoch, missing.first_offset, micros(missing.ended_at), "", GAP, gap_payload(missing)
                )
                store.append([row, *rows_of(self._epoch, first, times, channels, data, notes)])
            else:
                store.append_columns(self._epoch, first, times, channels, data, notes)
        except ArchiveDamagedError:
            self._close_store()  # the next attempt repairs it
            raise
        if first + len(times) > self._reserved - BLOCK // 2:
            self._reserve(store, first + len(times))

    def _open_anew(self, head: int) -> Store:
        """Open an archive that could not be opened at the start, was damaged, or is gone; the numbering stays."""
        store = self._open_store()
        try:
            known = store.take_over(self._name, head + BLOCK)
            self._epoch = store.begin(self._name, reserved=head + BLOCK) if known is None else known
            self._reserved = head + BLOCK
        except ArchiveError:
            store.close()
            raise
        self._store = store
        return store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _finish(self) -> None:
        store, self._store = self._store, None
        try:
            if store is not None:
                if self._problem is None and self._backlog is not None and self.archived == self._backlog.head:
                    store.finish(self._epoch, self.archived)
                store.close()
        except ArchiveError as error:
            log.error("the archive was not closed in good order: %s", error)
        finally:
            if self._lock is not None:
                self._lock.release()

    # In the threads that read

    def _ask(self, ask: Callable[[ArchiveReader], T]) -> T:
        reader: ArchiveReader | None = getattr(self._local, "reader", None)
        if reader is not None and not reader.is_there:
            self._drop(reader)
            reader = None
        if reader is None:
            reader = self._local.reader = ArchiveReader(self.directory, check_same_thread=False)
            self._opened.append(reader)
        try:
            return ask(reader)
        except ArchiveDamagedError:
            self._drop(reader)  # it may be repaired by the time the next one asks
            raise

    def _drop(self, reader: ArchiveReader) -> None:
        self._local.reader = None
        self._opened.remove(reader)
        reader.close()

    # In a thread of its own

    def _close_readers(self) -> None:
        """Close what reading has opened, when nobody reads any more: SQLite does not take it well before."""
        self._readers.shutdown()
        for reader in self._opened:
            reader.close()


def _restart_gap(before: Numbering, ended_at: float) -> Gap:
    now = time.time()
    is_torn = before.has_crashed and before.archived < before.head
    how = "ended without a word: what it took last may be missing," if before.has_crashed else "was stopped:"
    return Gap(
        cause=GapCause.RELAY_RESTART,
        started_at=min(ended_at, now),
        ended_at=now,
        first_offset=before.archived + 1 if is_torn else None,
        last_offset=before.head if is_torn else None,
        detail=f"the relay {how} what was published while it was away is lost",
    )
