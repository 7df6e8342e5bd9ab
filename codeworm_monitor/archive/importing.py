"""Importing: messages from files, into an archive that may hold some of them already."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from codeworm_monitor.archive.daemon_log import LOGS, looks_like_daemon_log, read_daemon_log
from codeworm_monitor.archive.database import take_lock
from codeworm_monitor.archive.reader import ArchiveReader, Key
from codeworm_monitor.archive.rows import GAP, StoredRow, micros
from codeworm_monitor.archive.store import Store, insert
from codeworm_monitor.envelope import Mark
from codeworm_monitor.errors import ArchiveError, RecordingError
from codeworm_monitor.payloads import normalise
from codeworm_monitor.sources.recording import read_recording

__all__ = ["ORIGIN", "FileKind", "Imported", "import_daemon_log", "import_lock", "import_recording", "recognise"]

ORIGIN = "import"
"""Of the epochs that hold what was imported."""
LOCK = "import.lock"
BATCH = 4_000
"""Messages looked up, and written, at one time."""
BATCH_BYTES = 16 * 2**20
PAGE = 5_000
NEAR = 5_000_000
"""Microseconds by which two of our clocks may differ on one message."""
FAR = 60_000_000
"""The same for a payload that has its time in it to the millisecond at least: no two messages share that."""
WINDOWS = 16
"""Stretches of time asked for at most for one batch; those that lie nearest are joined."""
SETTLING = 5_000_000
"""Microseconds that a message may take through a relay into the archive: before, it may seem to be missing there."""
_CHUNK = 15  # bits of an offset within one map
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_800_000_000  # years 1 to 9999
_OWN_TIME = re.compile(rb'"timestamp": ?"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{3}')


class FileKind(StrEnum):
    """What a file holds."""

    RECORDING = "recording"
    """JSON Lines of messages with their times; see `sources.recording.read_recording`."""
    DAEMON_LOG = "daemon log"
    """CodeWorm's own log file; see `daemon_log`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did.

    Attributes:
        path: The file.
        kind: What it held.
        messages: How many it held.
        added: How many of them were new to the archive.
        epoch: Name of the numbering that has them; None if there were none.
        first_at: Time of the earliest message of the file, microseconds since 1970, UTC; None if it held none.
        last_at: Time of the latest.
    """

    path: Path
    kind: FileKind
    messages: int
    added: int
    epoch: str | None
    first_at: int | None
    last_at: int | None

    @property
    def known(self) -> int:
        """How many the archive held already."""
        return self.messages - self.added


class _Arrival(NamedTuple):
    received_at: int
    channel: str
    payload: bytes
    mark: Mark | None


Progress = Callable[[str, int, int], None]


def import_recording(store: Store, path: str | PathLike[str], *, on_progress: Progress | None = None) -> Imported:
    """Add the messages of a recording that the archive does not hold.

    Promises:

    - A message that is there already, from a relay or another import, is not added again: one of the same channel and
      payload, received within 5 s, or within a minute if the payload has its own time to the millisecond. Each of the
      archive's rows accounts for one message of the file: what came twice is kept twice.
    - The others get a numbering of their own, in the order of the file, with the file's times as those of receipt; they
      are written some thousand at a time. An import that is interrupted, or meets damage, keeps what was written, and
      the next one adds the rest.
    - A relay may write meanwhile, and a compaction; a second import waits. Memory is bounded.

    Args:
        store: The archive.
        path: The file, plain or gzip.
        on_progress: Called after each batch with the file's name, the messages read so far, and 0: nobody knows how many
            will come. What it raises ends the import.

    Raises:
        RecordingError: The file is missing, damaged, or no recording.
        ArchiveError: The archive cannot be read or written.
    """
    return _Import(store, Path(path), FileKind.RECORDING, on_progress).run(_recorded(path))


def import_daemon_log(
    store: Store,
    path: str | PathLike[str],
    *,
    on_progress: Progress | None = None,
    utc_offset: timedelta | None = None,
) -> Imported:
    """Add what CodeWorm's own log file says, and the archive does not hold, to the channel `codeworm:logs`.

    Each line of the file is kept: what Redis carried is recognised if a relay was there; the rest, console lines and
    plain text, Redis never carried. `daemon_log` says what becomes of each. Promises and errors are those of
    `import_recording`.

    Args:
        store: The archive.
        path: The file, plain or gzip.
        on_progress: As for `import_recording`.
        utc_offset: Local time of the file less UTC; None: learnt from the file.
    """
    return _Import(store, Path(path), FileKind.DAEMON_LOG, on_progress).run(
        _Arrival(message.received_at, LOGS, message.payload, message.mark)
        for message in read_daemon_log(path, utc_offset=utc_offset)
    )


def recognise(path: str | PathLike[str]) -> FileKind:
    """Tell by its beginning what a file holds.

    Raises:
        RecordingError: It cannot be read, or is neither.
    """
    try:
        for _ in islice(read_recording(path), 1):
            return FileKind.RECORDING
    except RecordingError as error:
        if isinstance(error.__cause__, OSError):
            raise
    if looks_like_daemon_log(path):
        return FileKind.DAEMON_LOG
    raise RecordingError(
        f"{path} holds neither recorded traffic (JSON Lines with t, channel, payload) nor a log file of CodeWorm"
    )


@contextlib.contextmanager
def import_lock(directory: Path) -> Iterator[None]:
    """Keep others from importing; waits for one that is under way.

    Raises:
        ArchiveError: The lock's file cannot be made.
    """
    descriptor = take_lock(directory / LOCK, waits=True)
    try:
        yield
    finally:
        os.close(descriptor)


def _recorded(path: str | PathLike[str]) -> Iterator[_Arrival]:
    for number, message in enumerate(read_recording(path), 1):
        received_at = micros(message.received_at) if abs(message.received_at) < 1e12 else _LATEST
        if not _EARLIEST <= received_at < _LATEST:
            raise RecordingError(f"{path}, message {number}: {message.received_at} is no time of the years 1 to 9999")
        payload, _, mark = normalise(message.payload)
        yield _Arrival(received_at, message.channel, payload, mark)


class _Import:
    def __init__(self, store: Store, path: Path, kind: FileKind, on_progress: Progress | None) -> None:
        self._store = store
        self._path = path
        self._kind = kind
        self._tell = on_progress or (lambda label, done, total: None)
        self._name = f"import-{secrets.token_hex(6)}"
        self._epoch: int | None = None
        self._head = 0
        self._accounted = _OffsetSet()

    def run(self, arrivals: Iterable[_Arrival]) -> Imported:
        messages = 0
        first: int | None = None
        last: int | None = None
        with import_lock(self._store.directory), ArchiveReader(self._store.directory) as reader:
            try:
                for batch in _batches(arrivals):
                    times = [arrival.received_at for arrival in batch]
                    first = min(times) if first is None else min(first, *times)
                    last = max(times) if last is None else max(last, *times)
                    _let_settle(last)
                    self._write([batch[index] for index in self._unknown(reader, batch)])
                    messages += len(batch)
                    self._tell(self._path.name, messages, 0)
            finally:
                if self._epoch is not None:
                    with contextlib.suppress(ArchiveError):  # the numbering counts as under way: no harm
                        self._store.finish(self._epoch, self._head)
        return Imported(
            path=self._path,
            kind=self._kind,
            messages=messages,
            added=self._head,
            epoch=None if self._epoch is None else self._name,
            first_at=first,
            last_at=last,
        )

    def _write(self, arrivals: list[_Arrival]) -> None:
        if not arrivals:
            return
        if self._epoch is None:
            self._epoch = self._store.begin(self._name, origin=ORIGIN)
        epoch, head = self._epoch, self._head + len(arrivals)
        self._store.reserve(epoch, head)
        with self._store.transaction() as database:
            insert(
                database,
                [
                    StoredRow(epoch, offset, arrival.received_at, arrival.channel, arrival.mark, arrival.payload)
                    for offset, arrival in enumerate(arrivals, self._head + 1)
                ],
            )
        self._head = head

    def _unknown(self, reader: ArchiveReader, batch: list[_Arrival]) -> list[int]:
        """Return the places of those messages of a batch for which no row of the archive accounts."""
        missing = sorted(range(len(batch)), key=lambda index: batch[index].received_at)
        missing = self._unaccounted(reader, batch, missing, NEAR)
        exact = sorted(
            (index for index in missing if _OWN_TIME.search(batch[index].payload)),
            key=lambda index: batch[index].received_at,
        )
        found = set(exact).difference(self._unaccounted(reader, batch, exact, FAR))
        return sorted(index for index in missing if index not in found)

    def _unaccounted(
        self, reader: ArchiveReader, batch: list[_Arrival], places: list[int], tolerance: int
    ) -> list[int]:
        """Return which of these messages, given by time, have no row within `tolerance`; each row accounts for one."""
        wanted: dict[tuple[str, bytes], deque[int]] = {}
        for index in places:
            wanted.setdefault((batch[index].channel, batch[index].payload), deque()).append(index)
        channels, unaccounted = frozenset(channel for channel, _ in wanted), []
        for since, until in _windows([batch[index].received_at for index in places], tolerance):
            for row in _rows(reader, since, until, channels):
                alike = wanted.get((row.channel, row.payload))
                if alike is None or row.mark == GAP or row.epoch == self._epoch:
                    continue
                # Rows and messages come by time, so what is too early for this row is so for all that follow.
                while alike and batch[alike[0]].received_at < row.received_at - tolerance:
                    unaccounted.append(alike.popleft())
                is_met = bool(alike) and batch[alike[0]].received_at <= row.received_at + tolerance
                if is_met and self._accounted.add(row.epoch, row.offset):
                    alike.popleft()
        return [*unaccounted, *(index for alike in wanted.values() for index in alike)]


class _OffsetSet:
    """Offsets by epoch, a bit each: they lie close together."""

    def __init__(self) -> None:
        self._maps: dict[tuple[int, int], bytearray] = {}

    def add(self, epoch: int, offset: int) -> bool:
        """Add one; tell whether it is new."""
        bits = self._maps.setdefault((epoch, offset >> _CHUNK), bytearray(1 << _CHUNK >> 3))
        place, bit = (offset & (1 << _CHUNK) - 1) >> 3, 1 << (offset & 7)
        is_new = not bits[place] & bit
        bits[place] |= bit
        return is_new


def _batches(arrivals: Iterable[_Arrival]) -> Iterator[list[_Arrival]]:
    """Yield messages in batches; those before an error come before the error."""
    batch: list[_Arrival] = []
    size = 0
    try:
        for arrival in arrivals:
            batch.append(arrival)
            size += len(arrival.payload)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except RecordingError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _let_settle(newest: int) -> None:
    """Wait until what was said just now has had time to come through a relay, if there is one."""
    left = newest + SETTLING - time.time_ns() // 1000
    if 0 < left <= SETTLING:
        time.sleep(left / 1_000_000)


def _windows(times: list[int], tolerance: int) -> list[tuple[int, int]]:
    """Return stretches, first included and last not, that hold all times with the tolerance to either side."""
    if not times:
        return []
    parted = [index for index in range(1, len(times)) if times[index] - times[index - 1] > 2 * tolerance]
    parted = sorted(sorted(parted, key=lambda index: times[index - 1] - times[index])[: WINDOWS - 1])
    starts, ends = [0, *parted], [*parted, len(times)]
    return [(times[start] - tolerance, times[end - 1] + tolerance + 1) for start, end in zip(starts, ends, strict=True)]


def _rows(reader: ArchiveReader, since: int, until: int, channels: frozenset[str]) -> Iterator[StoredRow]:
    after: Key | None = None
    while rows := reader.page(since, until, after=after, channels=channels, limit=PAGE):
        yield from rows
        if len(rows) < PAGE:
            return
        after = (rows[-1].received_at, rows[-1].epoch, rows[-1].offset)
