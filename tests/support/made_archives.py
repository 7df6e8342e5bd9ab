"""Archives of rows that tell where they belong, what is then found in them, and damage done to their files."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.rows import GAP, StoredRow, entry_of
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap

LOGS = "codeworm:logs"
NOON = 1_700_049_600_000_000
"""A noon, in microseconds: 2023-11-15T12:00:00Z."""
AT_ONCE = 5_000


def row(epoch: int, offset: int, *, size: int = 200, at: int | None = None, channel: str = LOGS) -> StoredRow:
    """Return the row that belongs under an offset, of a millisecond each unless a time is given."""
    pad = "x" * size
    payload = (
        f'{{"event":"number_{offset}","level":"info","component":"daemon","n":{offset},"pad":"{pad}","end":{offset}}}'
    )
    return StoredRow(epoch, offset, NOON + offset * 1000 if at is None else at, channel, None, payload.encode())


def make_archive(directory: Path, count: int, *, reserved: int | None = None, is_finished: bool = True) -> int:
    """Make an archive of so many rows under the numbering `first` and return its key; it ended in good order, or not."""
    store = Store(directory)
    try:
        key = store.begin("first")
        store.reserve(key, count if reserved is None else reserved)
        for start in range(1, count + 1, AT_ONCE):
            store.append([row(key, offset) for offset in range(start, min(start + AT_ONCE, count + 1))])
        if is_finished:
            store.finish(key, count)
    finally:
        store.close()
    return key


def stored(directory: Path) -> list[StoredRow]:
    """Return all rows of an archive's database, whatever its form, numbering by numbering."""
    with contextlib.closing(sqlite3.connect(f"file:{directory / DATABASE}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT epoch, offset, received_at, channel, mark, CAST(payload AS BLOB) FROM entries ORDER BY epoch, offset"
        )
        return [StoredRow(*one) for one in rows.fetchall()]


def messages(directory: Path) -> list[StoredRow]:
    """Return all rows but gaps."""
    return [one for one in stored(directory) if one.mark != GAP]


def gap_ranges(directory: Path) -> list[tuple[int, int]]:
    """Return the offsets, first and last, that each gap covers."""
    gaps = [entry_of(*one[1:]) for one in stored(directory) if one.mark == GAP]
    return [
        (gap.first_offset, gap.last_offset)
        for gap in gaps
        if isinstance(gap, Gap) and gap.first_offset is not None and gap.last_offset is not None
    ]


def damage(path: Path, place: int, content: bytes) -> None:
    """Overwrite a part of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def damage_at_random(path: Path, seed: int, *, size: int = 32_768) -> None:
    """Overwrite a part of a file, somewhere behind its first pages, with noise."""
    chance = random.Random(seed)
    damage(path, chance.randrange(65_536, path.stat().st_size - size), chance.randbytes(size))
