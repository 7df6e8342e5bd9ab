"""What a cell of each table of the archive holds, if it is not damaged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import orjson

from codeworm_monitor.archive.database_pages import Value
from codeworm_monitor.archive.parquet import Part
from codeworm_monitor.archive.reader import Epoch
from codeworm_monitor.archive.rows import GAP, StoredRow, entry_of
from codeworm_monitor.archive.verification import part_numbers
from codeworm_monitor.envelope import MAX_OFFSET, Mark

__all__ = ["epoch_of", "in_order", "part_of", "row_of"]

_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_800_000_000  # the years 1 and 10000, in microseconds
_MARKS = {None: None, GAP.encode(): GAP} | {mark.encode(): str(mark) for mark in Mark}


def epoch_of(cell: Sequence[Value]) -> Epoch | None:
    """Return the numbering that a cell holds; None if it holds none, or a damaged one."""
    match cell:
        case [int(key), None, bytes(name), bytes(origin), int(started_at), int(reserved), (int() | None) as closed_at]:
            pass
        case _:
            return None
    if key <= 0 or not 0 <= reserved <= MAX_OFFSET or not _EARLIEST <= started_at < _LATEST:
        return None
    try:
        return Epoch(key, name.decode(), origin.decode(), started_at, reserved, closed_at)
    except UnicodeDecodeError:
        return None


def part_of(cell: Sequence[Value]) -> Part | None:
    """Return the Parquet file that a cell tells of; None if it tells of none, or is damaged."""
    match cell:
        case [bytes(path), bytes(date), bytes(channel), int(), int(), int(), int(), int(), int(), int()]:
            pass
        case _:
            return None
    try:
        part = Part(path.decode(), date.decode(), channel.decode(), *cell[3:])  # type: ignore[arg-type]
    except UnicodeDecodeError:
        return None
    return part if part_numbers(part.path) == part[3:6] else None


def row_of(cell: Sequence[Value]) -> StoredRow | None:
    """Return the row that a cell holds; None if it holds none, or a damaged one."""
    if len(cell) != 6:
        return None
    epoch, offset, received_at, channel, mark, payload = cell
    if not (isinstance(epoch, int) and isinstance(offset, int) and isinstance(received_at, int)):
        return None
    if not (epoch > 0 and 0 < offset <= MAX_OFFSET and _EARLIEST <= received_at < _LATEST):
        return None
    if not (isinstance(channel, bytes) and isinstance(payload, bytes) and not isinstance(mark, int) and mark in _MARKS):
        return None
    try:
        row = StoredRow(epoch, offset, received_at, channel.decode(), _MARKS[mark], payload)
        orjson.loads(payload)
        if mark == GAP.encode():
            entry_of(*row[1:])
    except (KeyError, TypeError, ValueError):
        return None
    return row


def in_order(rows: list[StoredRow]) -> list[StoredRow]:
    """Return the rows of a page without those that stand where they cannot: their keys are damaged."""
    keys = [(0, 0), *(row[:2] for row in rows), (MAX_OFFSET, 0)]
    if all(one < other for one, other in pairwise(keys)):
        return rows
    return [row for row, before, after in zip(rows, keys, keys[2:], strict=False) if before < row[:2] < after]
