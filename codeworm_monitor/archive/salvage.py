"""What can be read of a damaged database, brought into a new one.

Rows are looked for on every page, wherever the tree of pages above it is torn: a page that is lost costs the rows on
it and no other. A row of the archive never changes once it is written, so that any copy of it is as good.
"""

from __future__ import annotations

import importlib.util
import secrets
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from codeworm_monitor.archive.cells import epoch_of, in_order, part_of, row_of
from codeworm_monitor.archive.database_pages import DatabasePages, Value
from codeworm_monitor.archive.parquet import Part, offsets_within
from codeworm_monitor.archive.reader import Epoch
from codeworm_monitor.archive.rows import GAP, StoredRow, gap_payload
from codeworm_monitor.archive.store import Store, insert
from codeworm_monitor.archive.verification import describe_part, part_files, part_numbers
from codeworm_monitor.envelope import MAX_OFFSET, Gap, GapCause
from codeworm_monitor.errors import ArchiveDamagedError

__all__ = ["ORIGIN", "Salvage"]

ORIGIN = "salvaged"
"""Origin of a numbering that must not go on, because an offset of it could be given twice."""
ROWS_AT_ONCE = 20_000
WIDEST_HOLE = 1_000_000
"""A wider one is mostly offsets that were set aside and never given: of its rows those count that the index knows."""


@dataclass
class Salvage:
    """Brings what a damaged database holds into a new one.

    Attributes:
        source: The damaged database.
        store: The new one, empty.
        directory: The archive, where the Parquet files lie.
        now: Microseconds since 1970.
        on_progress: Told in a line what is under way.
        has_numbering: Whether the numbering of the relay can go on.
        lost: Rows that are known to be lost.
        gaps: Gaps that were written where rows are lost.
        parts: Parquet files that count.
        problems: What went wrong, a line each.
    """

    source: DatabasePages
    store: Store
    directory: Path
    now: int
    on_progress: Callable[[str], None]
    has_numbering: bool = False
    lost: int = 0
    gaps: int = 0
    parts: int = 0
    problems: list[str] = field(default_factory=list)
    _keys: dict[int, array[int]] = field(default_factory=dict)  # offsets that the index by time knows, by epoch
    _epochs: dict[int, Epoch] = field(default_factory=dict)
    _parts: dict[str, Part] = field(default_factory=dict)
    _beside: dict[int, int] = field(default_factory=dict)  # newest offset of files that do not count, by epoch

    def run(self) -> None:
        """Bring over all that can be read.

        Raises:
            ArchiveError: The new database cannot be written.
        """
        roots = self._roots()
        cells, are_epochs_whole = self.source.tree(roots["epochs"])
        are_epochs_whole &= sum(map(self._take_epoch, cells)) == len(cells)
        cells, are_parts_whole = self.source.tree(roots["parts"])
        are_parts_whole &= sum(map(self._take_part, cells)) == len(cells)
        log = self.source.log
        if not log.is_whole:
            self.problems.append("the write-ahead log is damaged: what was written last may be missing")
        self._save_entries(is_all_known=are_epochs_whole and log.is_whole)
        self._save_parts(is_whole=are_parts_whole and log.is_whole)
        self._save_epochs(is_certain=are_epochs_whole and log.is_whole)
        self._drop_what_parts_hold()
        self._tell_what_is_lost()

    def _roots(self) -> dict[str, int]:
        """Return where the tables begin; where that cannot be read, where they begin in a database made the same way."""
        database = self.store.database
        roots = dict(database.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'").fetchall())
        for cell in self.source.tree(1)[0]:
            match cell:
                case [int(), b"table", bytes(name), bytes(), int(root), bytes()] if (
                    name.decode(errors="replace") in roots
                ):
                    roots[name.decode()] = root
        return roots

    # Looking at cells: each tells whether it is what it should be

    def _take_epoch(self, cell: Sequence[Value]) -> bool:
        epoch = epoch_of(cell)
        if epoch is None:
            return False
        known = self._epochs.get(epoch.key)
        if known is None or known.reserved < epoch.reserved:
            self._epochs[epoch.key] = epoch
        return True

    def _take_part(self, cell: Sequence[Value]) -> bool:
        part = part_of(cell)
        if part is None:
            return False
        self._parts[part.path] = part
        return True

    def _take_key(self, cell: Sequence[Value]) -> None:
        _, epoch, offset = cell
        if isinstance(epoch, int) and isinstance(offset, int) and epoch > 0 and 0 < offset <= MAX_OFFSET:
            self._keys.setdefault(epoch, array("q")).append(offset)

    # Bringing over

    def _save_entries(self, *, is_all_known: bool) -> None:
        waiting: list[StoredRow] = []
        for number, content in self.source.all_pages():
            page = self.source.parse(number, content)
            if page is None or not page.cells:
                continue
            match len(page.cells[0]):
                case 6:
                    rows = [row for cell in page.cells if (row := row_of(cell)) is not None]
                    if is_all_known:
                        rows = [row for row in rows if row.epoch in self._epochs]
                    waiting += in_order(rows)
                case 3:
                    for cell in page.cells:
                        if len(cell) == 3:
                            self._take_key(cell)
                case 7 if not is_all_known:
                    for cell in page.cells:
                        self._take_epoch(cell)
                case 10:
                    for cell in page.cells:
                        self._take_part(cell)
            if len(waiting) >= ROWS_AT_ONCE:
                self._write(waiting)
                self.on_progress(f"read {number * 100 // self.source.count} % of the database")
        self._write(waiting)

    def _write(self, rows: list[StoredRow]) -> None:
        rows.sort(key=lambda row: (row.epoch, row.offset))  # in their order SQLite writes them several times as fast
        with self.store.transaction() as database:
            insert(database, rows)
        rows.clear()

    def _save_parts(self, *, is_whole: bool) -> None:
        for path, part in list(self._parts.items()):
            if not (self.directory / path).is_file():
                del self._parts[path]
                if is_whole:
                    self.lost += part.rows
                    self.problems.append(f"{path} is gone, with {part.rows} rows")
        if not is_whole:
            self._find_parts()
        with self.store.transaction() as database:
            database.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._parts.values())
        self.parts = len(self._parts)

    def _find_parts(self) -> None:
        """List the files that are there, as the list of those that count is damaged."""
        found = [path for path in part_files(self.directory) if path not in self._parts]
        if found and importlib.util.find_spec("duckdb") is None:
            self.problems.append(
                f"the list of Parquet files is damaged, and making it anew needs DuckDB (pip install "
                f"'codeworm-monitor[analysis]'): {len(found)} files stay where they are and do not count"
            )
            self._keep_keys(found)
            return
        described = []
        for number, path in enumerate(found):
            self.on_progress(f"read {number} of {len(found)} Parquet files")
            one = describe_part(self.directory, path)
            if isinstance(one, str):
                self.problems.append(f"{path} cannot be read and does not count: {one}")
                self._keep_keys([path])
            else:
                described.append(one)
        # The larger first: of two that hold the same rows, the smaller is what an interrupted compaction left.
        for part, name in sorted(described, key=lambda one: -one[0].rows):
            if any(self._is_shared(part, other) for other in self._parts.values()):
                continue
            self._parts[part.path] = part
            if part.epoch not in self._epochs:
                self._epochs[part.epoch] = Epoch(part.epoch, name, ORIGIN, part.first_at, part.last_offset, None)

    def _keep_keys(self, paths: Iterable[str]) -> None:
        """See that files which do not count now will not seem to be of a numbering that begins later."""
        for key, _, last in filter(None, map(part_numbers, paths)):
            self._beside[key] = max(self._beside.get(key, 0), last)

    def _is_shared(self, part: Part, other: Part) -> bool:
        if part[1:4] != other[1:4] or part.last_offset < other.first_offset or other.last_offset < part.first_offset:
            return False
        try:
            mine, theirs = (offsets_within(self.directory, one, 0, MAX_OFFSET) for one in (part, other))
        except ArchiveDamagedError:
            return True
        return not set(mine).isdisjoint(theirs)

    def _save_epochs(self, *, is_certain: bool) -> None:
        database = self.store.database
        newest = dict(database.execute("SELECT epoch, max(offset) FROM entries GROUP BY epoch").fetchall())
        for key, offset in [*((part.epoch, part.last_offset) for part in self._parts.values()), *self._beside.items()]:
            newest[key] = max(newest.get(key, 0), offset)
        is_certain = is_certain and all(
            key in self._epochs and offset <= self._epochs[key].reserved for key, offset in newest.items()
        )
        names: set[str] = set()
        for key in sorted(newest.keys() | self._epochs.keys()):
            offset = newest.get(key, 0)
            epoch = self._epochs.get(key)
            if epoch is None or epoch.name in names:
                name = f"salvaged-{key}-{secrets.token_hex(4)}"  # of its own: no cursor may point into it by chance
                epoch = Epoch(key, name, ORIGIN, self.now, offset, None)
            names.add(epoch.name)
            origin = ORIGIN if epoch.origin == "relay" and not is_certain else epoch.origin
            self._epochs[key] = epoch._replace(origin=origin, reserved=max(epoch.reserved, offset))
        with self.store.transaction():
            database.executemany("INSERT INTO epochs VALUES (?, ?, ?, ?, ?, ?)", self._epochs.values())
        self.has_numbering = any(epoch.origin == "relay" for epoch in self._epochs.values())

    def _drop_what_parts_hold(self) -> None:
        """Delete rows that were moved to a file: they lay on a page that was in use no more."""
        database = self.store.database
        for part in self._parts.values():
            twice = {
                offset
                for (offset,) in database.execute(
                    "SELECT offset FROM entries WHERE epoch = ? AND offset BETWEEN ? AND ? AND channel = ? "
                    "AND received_at BETWEEN ? AND ?",
                    (part.epoch, part.first_offset, part.last_offset, part.channel, part.first_at, part.last_at),
                ).fetchall()
            }
            if twice and importlib.util.find_spec("duckdb") is not None:
                try:
                    twice.intersection_update(offsets_within(self.directory, part, min(twice), max(twice)))
                except ArchiveDamagedError as error:
                    self.problems.append(str(error))
                    twice.clear()
            if not twice:
                continue
            with self.store.transaction():
                database.executemany(
                    "DELETE FROM entries WHERE epoch = ? AND offset = ?", [(part.epoch, one) for one in twice]
                )
            keys = self._keys.get(part.epoch, ())
            self._keys[part.epoch] = array("q", (key for key in keys if key not in twice))  # not lost

    # Telling what is lost

    def _tell_what_is_lost(self) -> None:
        self.on_progress("looking for what is missing")
        explained = self._explained()
        rows: dict[tuple[int, int], StoredRow] = {}
        for epoch, first, last, before, after, is_between in self._holes():
            keys = self._keys.get(epoch, array("q"))
            known = (
                keys[bisect_left(keys, first) : bisect_right(keys, last)] if self.source.log.is_whole else array("q")
            )
            if is_between:
                missing = list(_without(first, last, explained.get(epoch, [])))
                if known and not any(start <= key <= end for key in known for start, end in missing):
                    missing.append((known[0], known[-1]))  # of rows beside those that the files hold
            else:
                missing = [(known[0], known[-1])] if known else []
            for start, end in missing:
                within = len(set(known[bisect_left(known, start) : bisect_right(known, end)]))
                size = end - start + 1
                self.lost += size if (is_between and size <= WIDEST_HOLE) or not within else within
                rows[epoch, start] = self._gap(epoch, start, end, before, after)
        with self.store.transaction() as database:
            insert(database, list(rows.values()))
        self.gaps = len(rows)

    def _gap(self, epoch: int, first: int, last: int, before: int, after: int) -> StoredRow:
        gap = Gap(
            cause=GapCause.NOT_ARCHIVED,
            started_at=before / 1_000_000,
            ended_at=max(before, after) / 1_000_000,
            first_offset=first,
            last_offset=last,
            detail="the archive was damaged, and these could not be read any more",
        )
        return StoredRow(epoch, first, before, "", GAP, gap_payload(gap))

    def _explained(self) -> dict[int, list[tuple[int, int]]]:
        """Return the ranges of offsets, by epoch, that files hold or that gaps already tell of."""
        ranges: dict[int, list[tuple[int, int]]] = {}
        for part in self._parts.values():
            ranges.setdefault(part.epoch, []).append((part.first_offset, part.last_offset))
        for epoch, payload in self.store.database.execute("SELECT epoch, payload FROM entries WHERE mark = ?", (GAP,)):
            told = orjson.loads(payload)
            if told["first_offset"] is not None and told["last_offset"] is not None:
                ranges.setdefault(epoch, []).append((told["first_offset"], told["last_offset"]))
        return {epoch: sorted(found) for epoch, found in ranges.items()}

    def _holes(self) -> Iterator[tuple[int, int, int, int, int, bool]]:
        """Yield epoch, first and last offset of what lies before, between and after the rows saved, the times around it.

        The last tells whether it lies between rows: before and after, rows may be missing for good reasons.
        """
        database = self.store.database
        for epoch in self._epochs.values():
            keys = self._keys.get(epoch.key)
            if keys is not None:
                self._keys[epoch.key] = array("q", sorted(keys))
            ends = [
                database.execute(
                    f"SELECT offset, received_at FROM entries WHERE epoch = ? ORDER BY offset {order} LIMIT 1",
                    (epoch.key,),
                ).fetchone()
                for order in ("ASC", "DESC")
            ]
            if ends[0] is None:
                yield epoch.key, 1, epoch.reserved, epoch.started_at, epoch.started_at, False
                continue
            (first, first_at), (last, last_at) = ends
            yield epoch.key, 1, first - 1, first_at, first_at, False
            # At the end of a numbering that ended in good order nothing may be missing; after a crash the relay tells.
            is_closed = epoch.closed_at is not None and self.has_numbering
            yield epoch.key, last + 1, epoch.reserved, last_at, last_at, is_closed and last < epoch.reserved
            holes = database.execute(
                "SELECT offset + 1, next - 1, received_at, next_at FROM (SELECT offset, received_at, "
                "lead(offset) OVER place AS next, lead(received_at) OVER place AS next_at FROM entries "
                "WHERE epoch = ? WINDOW place AS (ORDER BY offset)) WHERE next > offset + 1",
                (epoch.key,),
            ).fetchall()
            for hole in holes:
                yield epoch.key, *hole, True


def _without(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what of a range lies in none of others, which are sorted."""
    for start, end in ranges:
        if start > last:
            break
        if end < first:
            continue
        if start > first:
            yield first, start - 1
        first = max(first, end + 1)
    if first <= last:
        yield first, last
