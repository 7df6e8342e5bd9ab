"""A database file read page by page without SQLite, which gives up where a page on its way is damaged.

The form is that of https://www.sqlite.org/fileformat2.html: b-tree pages, overflow chains, the map of pages (our
databases vacuum incrementally, so each has one), the write-ahead log.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from codeworm_monitor.archive.database import PAGE_SIZE, plain_error

__all__ = ["DatabasePages", "Log", "Page", "read_log"]

MAGIC = b"SQLite format 3\0"
LARGEST_RECORD = 64 * 2**20
DEEPEST = 20
PAGES_AT_ONCE = 256

_INDEX_BRANCH, _TABLE_BRANCH, _INDEX_LEAF, _TABLE_LEAF = _KINDS = 2, 5, 10, 13
_IS_FREE = 2
_INTEGER_SIZES = (0, 1, 2, 3, 4, 6, 8)
_LOG_HEADER, _FRAME_HEADER = 32, 24
_LOG_MAGIC = 0x377F0682  # the lowest bit tells the order of bytes in checksums

Value = int | bytes | None


class Page(NamedTuple):
    """What a page of a b-tree holds.

    Attributes:
        cells: The records on it, in their order; of a table with row ids, the id stands before the values.
        children: Numbers of the pages below it; none: it is a leaf.
        broken: Cells that cannot be read.
    """

    cells: list[list[Value]]
    children: list[int]
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a write-ahead log holds of its newest generation.

    Attributes:
        page_size: Bytes of a page; 0 if the log tells none.
        frames: Number and place of each page that is as it was written and was committed, in the order of writing.
        intact: How many of `frames` SQLite would take: those before the first break.
        pages: Pages of the database after the newest commit; 0 if the log tells none.
        commits_lost: Commits after the first break. One may be a write that a loss of power cut short, and that nobody
            was told of; more are damage.
        is_readable: Whether its header is.
    """

    page_size: int = 0
    frames: tuple[tuple[int, int], ...] = ()
    intact: int = 0
    pages: int = 0
    commits_lost: int = 0
    is_readable: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether it surely holds all that it ever held, but for a file cut short, which nobody can tell."""
        return self.is_readable and not self.commits_lost


def read_log(path: Path, *, deadline: float | None = None) -> Log:
    """Read a write-ahead log; none, or an empty one, is sound.

    Args:
        path: The file.
        deadline: Monotonic time from which on to stop reading, as if the file ended there.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_LOG_HEADER)
            if len(header) < _LOG_HEADER:
                return Log()
            magic, _, page_size, _ = struct.unpack(">4I", header[:16])
            if magic & ~1 != _LOG_MAGIC or page_size not in _PAGE_SIZES:
                return Log(is_readable=not any(header))  # zeros: a loss of power before anything was on the disk
            order = ">" if magic & 1 else "<"
            seed = _checksum(order, (0, 0), header[:24])
            if seed != struct.unpack(">2I", header[24:]):
                return Log(is_readable=False)
            return _read_frames(file.read, order, seed, header[16:24], page_size, deadline)
    except FileNotFoundError:
        return Log()
    except OSError as error:
        raise plain_error(path, error) from error


_PAGE_SIZES = frozenset(2**power for power in range(9, 17))


def _read_frames(
    read: Callable[[int], bytes],
    order: str,
    seed: tuple[int, int],
    salts: bytes,
    page_size: int,
    deadline: float | None,
) -> Log:
    frames: list[tuple[int, int]] = []
    committed = intact = pages = lost = 0
    is_broken = False
    place = _LOG_HEADER
    while len(frame := read(_FRAME_HEADER + page_size)) == _FRAME_HEADER + page_size:
        if deadline is not None and time.monotonic() > deadline:
            break
        number, size = struct.unpack(">2I", frame[:8])
        if frame[8:16] == salts:
            stored = struct.unpack(">2I", frame[16:24])
            # Each checksum goes on from the one before it as that is written down: so what follows a break counts too.
            if _checksum(order, _checksum(order, seed, frame[:8]), frame[_FRAME_HEADER:]) == stored:
                frames.append((number, place + _FRAME_HEADER))
                if size:
                    committed, pages = len(frames), size
                    intact = intact if is_broken else committed
            else:
                is_broken = True
            lost += is_broken and size > 0
            seed = stored
        else:
            is_broken = True
        place += len(frame)
    return Log(page_size=page_size, frames=tuple(frames[:committed]), intact=intact, pages=pages, commits_lost=lost)


def _checksum(order: str, seed: tuple[int, int], content: bytes) -> tuple[int, int]:
    first, second = seed
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


class DatabasePages:
    """The pages of a database and its write-ahead log, as far as they are there; nothing is written.

    Whoever opens it must have closed the database in this process: closing any descriptor of a file lets go of all
    locks that the process has on it.

    Args:
        path: The database.

    Attributes:
        log: Its write-ahead log.
        size: Bytes of a page.
        count: Pages.

    Raises:
        ArchiveError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        log_path = path.with_name(f"{path.name}-wal")
        self.log = read_log(log_path)
        try:
            self._main = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._wal = os.open(log_path, os.O_RDONLY | os.O_CLOEXEC) if self.log.frames else -1
            length = os.fstat(self._main).st_size
        except OSError as error:
            raise plain_error(path, error) from error
        self._newest = dict(self.log.frames)
        self.size = PAGE_SIZE
        header = self._pread(self._main, 100, 0)
        said = struct.unpack(">H", header[16:18])[0] if header.startswith(MAGIC) else 0
        said = 65536 if said == 1 else said
        self.size = self.log.page_size or (said if said in _PAGE_SIZES else PAGE_SIZE)
        spare = header[20] if header.startswith(MAGIC) else 0
        self._usable = self.size - spare if spare <= 32 else self.size
        there = -(-length // self.size)
        self.count = self.log.pages if self.log.pages and self.log.is_whole else max(self.log.pages, there)
        self._map_place, self._map = 0, b""

    def close(self) -> None:
        """Close the files; may be called again."""
        for descriptor in (self._main, self._wal):
            if descriptor >= 0:
                os.close(descriptor)
        self._main = self._wal = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def page(self, number: int) -> bytes:
        """Return a page as of the newest commit; short or empty where the file is cut."""
        if number in self._newest:
            return self._pread(self._wal, self.size, self._newest[number])
        return self._pread(self._main, self.size, (number - 1) * self.size)

    def parsed(self, number: int) -> Page | None:
        """Return what a page holds; None if it is none of a b-tree."""
        return self.parse(number, self.page(number))

    def all_pages(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and content of each page in use; of a log that is not whole, of each version that there is."""
        is_whole = self.log.is_whole
        for first in range(1, self.count + 1, PAGES_AT_ONCE):
            last = min(first + PAGES_AT_ONCE, self.count + 1)
            chunk = self._pread(self._main, (last - first) * self.size, (first - 1) * self.size)
            for number in range(first, last):
                if is_whole and number in self._newest:
                    content = self.page(number)
                else:
                    content = chunk[(number - first) * self.size : (number - first + 1) * self.size]
                if not is_whole or not self.is_free(number):
                    yield number, content
        if not is_whole:
            # A row that moved to a page which is lost is still on an older version of the page where it was.
            for number, place in self.log.frames:
                yield number, self._pread(self._wal, self.size, place)

    def is_free(self, number: int) -> bool:
        """Tell whether a page is in no use, as far as the map of pages says; what lies on one was deleted."""
        period = self._usable // 5 + 1
        place = (number - 2) // period * period + 2
        if number < 3 or number == place:
            return False
        if place != self._map_place:
            self._map_place, self._map = place, self.page(place)
        at = 5 * (number - place - 1)
        return self._map[at : at + 5] == bytes((_IS_FREE, 0, 0, 0, 0))

    def tree(self, root: int) -> tuple[list[list[Value]], bool]:
        """Return all records below a root, and whether no page and no record is missing."""
        cells: list[list[Value]] = []
        is_whole, waiting, seen = True, [(root, 0)], {0}
        while waiting:
            number, depth = waiting.pop()
            page = None if number in seen or number > self.count or depth > DEEPEST else self.parsed(number)
            seen.add(number)
            if page is None:
                is_whole = False
                continue
            is_whole = is_whole and not page.broken
            cells += page.cells
            waiting += [(child, depth + 1) for child in page.children]
        return cells, is_whole

    def parse(self, number: int, page: bytes) -> Page | None:
        """Read a page of a b-tree; None if it is none."""
        start = 100 if number == 1 else 0
        if len(page) < start + 12 or (kind := page[start]) not in _KINDS:
            return None
        count = page[start + 3] << 8 | page[start + 4]
        is_branch = kind in (_INDEX_BRANCH, _TABLE_BRANCH)
        first = start + (12 if is_branch else 8)
        if first + 2 * count > len(page):
            return None
        children = [int.from_bytes(page[start + 8 : start + 12], "big")] if is_branch else []
        cells, broken = [], 0
        for at in struct.unpack(f">{count}H", page[first : first + 2 * count]):
            try:
                if is_branch:
                    children.append(int.from_bytes(page[at : at + 4], "big"))
                    if kind == _TABLE_BRANCH:
                        continue
                    at += 4
                cells.append(self._cell(page, at, is_table=kind == _TABLE_LEAF))
            except (IndexError, ValueError):
                broken += 1
        return Page(cells, children, broken)

    def _cell(self, page: bytes, at: int, *, is_table: bool) -> list[Value]:
        size, at = _varint(page, at)
        row_id = None
        if is_table:
            row_id, at = _varint(page, at)
            largest = self._usable - 35
        else:
            largest = (self._usable - 12) * 64 // 255 - 23
        if size <= largest:
            record = page[at : at + size]
        elif size > LARGEST_RECORD:
            raise ValueError("no record is so large")
        else:
            smallest = (self._usable - 12) * 32 // 255 - 23
            local = smallest + (size - smallest) % (self._usable - 4)
            local = local if local <= largest else smallest
            record = page[at : at + local]
            following = int.from_bytes(page[at + local : at + local + 4], "big")
            record += self._overflow(following, size - local)
        if len(record) != size:
            raise ValueError("the record is cut")
        values = _values(record)
        if row_id is None:
            return values
        return [row_id if row_id < 2**63 else row_id - 2**64, *values]

    def _overflow(self, number: int, size: int) -> bytes:
        chunks = []
        while size > 0:
            page = self.page(number) if 0 < number <= self.count else b""
            if len(page) < self._usable:
                raise ValueError("a page is missing")
            number = int.from_bytes(page[:4], "big")
            chunks.append(page[4 : 4 + min(size, self._usable - 4)])
            size -= len(chunks[-1])
        return b"".join(chunks)

    def _pread(self, descriptor: int, size: int, place: int) -> bytes:
        try:
            return os.pread(descriptor, size, place)
        except OSError:
            if size <= self.size:
                return bytes(size)  # a bad sector
            return b"".join(self._pread(descriptor, self.size, place + at) for at in range(0, size, self.size))


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = page[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for _ in range(7):
        byte = page[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | page[at], at + 1


def _values(record: bytes) -> list[Value]:
    start, at = _varint(record, 0)
    body = start
    values: list[Value] = []
    while at < start:
        kind = record[at]
        if kind < 0x80:
            at += 1
        else:
            kind, at = _varint(record, at)
        if kind > 12:
            if not kind & 1:
                raise ValueError("we keep no blobs")
            end = body + (kind - 13 >> 1)
            values.append(record[body:end])
            body = end
        elif kind == 0:
            values.append(None)
        elif kind <= 6:
            end = body + _INTEGER_SIZES[kind]
            values.append(int.from_bytes(record[body:end], "big", signed=True))
            body = end
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            raise ValueError("we keep no such values")
    if at != start or body != len(record):
        raise ValueError("the record does not add up")
    return values
