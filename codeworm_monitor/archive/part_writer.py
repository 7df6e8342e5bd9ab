"""Writing a Parquet file of the archive: its columns, and how it comes to be whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import orjson

from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.parquet import Part, first_line, literal, part_path
from codeworm_monitor.archive.rows import GAP, StoredRow
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError
from codeworm_monitor.records import Kind, kind_of

if TYPE_CHECKING:
    import duckdb

__all__ = ["Group", "PartWriter"]

ROW_GROUP = 30_720
"""Most rows of a row group. A page is read from one or two: in half the time that groups of 60,000 take, at one size."""
GROUP_BYTES = 8 * 2**20
"""What the payloads of a row group come to, about: DuckDB has several copies of it in memory."""
_COLUMNS = {"offset": "BIGINT", "received_at": "BIGINT", "mark": "VARCHAR", "payload": "VARCHAR"}
_LABELS = ("level", "component", "event", "type", "repo", "target", "doc_type")
_NESTED = ("repo", "target", "doc_type")
"""Of an event, what its `data` says."""


class Group(NamedTuple):
    """What the rows of a file have in common.

    Attributes:
        date: UTC date on which they were received, `YYYY-MM-DD`.
        epoch: Key of the epoch.
        name: Its name; None if it has none.
        channel: Where they were published; empty for gaps.
    """

    date: str
    epoch: int
    name: str | None
    channel: str


class PartWriter:
    """Writes one Parquet file, and the directories where it lies.

    The file has its name once it is whole and durable, and not before; nothing is ever overwritten. Rows wait aside, as
    JSON lines on disk from which DuckDB makes the file: no row is kept in memory, and DuckDB takes lines faster than
    values.

    Args:
        duck: See `parquet.connect`.
        directory: The archive; absolute.
        group: What its rows have in common.
        first_offset: Offset of the first row that will be added.

    Attributes:
        rows: How many were added.
        bytes: Size of their payloads.
        last_offset: Offset of the last that was added.

    Raises:
        ArchiveError: Something else than a directory lies where one must be made.
        OSError: The disk is full, failing or read-only; also of each method.
    """

    def __init__(self, duck: duckdb.DuckDBPyConnection, directory: Path, group: Group, first_offset: int) -> None:
        self._duck = duck
        self._directory = directory
        self._group = group
        self._kind = kind_of(group.channel)
        self._first_offset = self.last_offset = first_offset
        self._first_at, self._last_at = 2**63, -(2**63)
        self.rows = self.bytes = self._longest = 0
        own = directory / part_path(group.date, group.channel, group.epoch, first_offset, first_offset)
        _make_directories(directory, own.parent)
        self._rows_path = own.with_name(f".{own.stem}.rows.tmp")
        self._file: BinaryIO = os.fdopen(_create(self._rows_path), "wb")

    def add(self, rows: Sequence[StoredRow]) -> None:
        """Add rows, by ascending offset.

        Raises:
            ArchiveDamagedError: A payload is not UTF-8, which no writer of the archive lets in.
        """
        lines = []
        for _, offset, received_at, _, mark, payload in rows:
            try:
                line: dict[str, object] = {
                    "offset": offset,
                    "received_at": received_at,
                    "mark": mark,
                    "payload": payload.decode(),
                }
            except UnicodeDecodeError as error:
                reason = f"the payload of offset {offset}, epoch {self._group.name}, is no text"
                raise ArchiveDamagedError(self._directory / DATABASE, reason) from error
            if mark != GAP:
                line |= _labels(payload, self._kind)
            lines.append(orjson.dumps(line))
            self.bytes += len(payload)
        times = [row.received_at for row in rows]
        self._first_at, self._last_at = min(self._first_at, *times), max(self._last_at, *times)
        self._longest = max(self._longest, *map(len, lines))
        self._file.write(b"\n".join(lines) + b"\n")
        self.rows += len(rows)
        self.last_offset = rows[-1].offset

    def finish(self) -> Part:
        """Make the file, make it durable, and read it again to see that it holds what was added.

        Raises:
            ArchiveDamagedError: It holds something else.
            ArchiveError: DuckDB cannot write it, or something else has its name.
        """
        import duckdb

        self._file.close()
        group = self._group
        name = part_path(group.date, group.channel, group.epoch, self._first_offset, self.last_offset)
        path = self._directory / name
        if os.path.lexists(path):
            raise ArchiveError(f"{path} is in the way, and is not known to the archive: move it elsewhere")
        aside = path.with_name(f".{path.name}.tmp")
        try:
            os.close(_create(aside))
            try:
                self._duck.execute(self._copy(aside))
            except duckdb.Error as error:
                raise ArchiveError(f"{path} cannot be written: {first_line(error)}") from error
            _sync(aside)
            aside.rename(path)
        finally:
            aside.unlink(missing_ok=True)
        _sync(path.parent)
        self._check(path)
        return Part(
            name,
            group.date,
            group.channel,
            group.epoch,
            self._first_offset,
            self.last_offset,
            self._first_at,
            self._last_at,
            self.rows,
            path.stat().st_size,
        )

    def close(self) -> None:
        """Remove the rows aside; a file that was not finished comes to nothing."""
        self._file.close()
        self._rows_path.unlink(missing_ok=True)

    def _copy(self, target: Path) -> str:
        columns = _COLUMNS | dict.fromkeys(_LABELS, "VARCHAR")
        spelled = ", ".join(f'"{name}": {literal(of_type)}' for name, of_type in columns.items())
        epoch = "NULL" if self._group.name is None else literal(self._group.name)
        labels = ", ".join(f'"{label}"' for label in _LABELS)
        row_group = max(1, min(ROW_GROUP, GROUP_BYTES * self.rows // max(1, self.bytes)))
        return (
            f'COPY (SELECT "offset", CAST({epoch} AS VARCHAR) AS epoch, '
            "CAST(make_timestamp(received_at) AS TIMESTAMPTZ) AS received_at, "
            f"CASE WHEN mark = {literal(GAP)} THEN {literal(GAP)} ELSE {literal(self._kind)} END AS kind, "
            f"{labels}, mark, payload "
            f"FROM read_json({literal(str(self._rows_path))}, format = 'newline_delimited', "
            f"columns = {{{spelled}}}, auto_detect = false, compression = 'none', hive_partitioning = false, "
            f"maximum_object_size = {max(2**20, 2 * self._longest)})) "
            f"TO {literal(str(target))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group}, USE_TMP_FILE false)"
        )

    def _check(self, path: Path) -> None:
        import duckdb

        wanted = (self.rows, self._first_offset, self.last_offset, self._first_at, self._last_at, self.bytes)
        try:
            found = self._duck.execute(
                'SELECT count(*), min("offset"), max("offset"), epoch_us(min(received_at)), epoch_us(max(received_at)), '
                "CAST(sum(strlen(payload)) AS BIGINT) FROM read_parquet(?, hive_partitioning = false)",
                [str(path)],
            ).fetchone()
        except duckdb.Error as error:
            raise ArchiveDamagedError(path, first_line(error)) from error
        if found != wanted:
            raise ArchiveDamagedError(path, f"it was just written, and holds {found} instead of {wanted}")


def _labels(payload: bytes, kind: Kind) -> dict[str, str]:
    """Return what a payload says, by column; what is no text is left out, as in `records`."""
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    if type(fields) is not dict:
        return {}
    labels = {key: value for key in _LABELS if type(value := fields.get(key)) is str}
    if kind is Kind.EVENTS:
        details = fields.get("data")
        for key in _NESTED:
            labels.pop(key, None)
            if type(details) is dict and type(value := details.get(key)) is str:
                labels[key] = value
    if "level" in labels:
        labels["level"] = labels["level"].lower()
    return labels


def _make_directories(directory: Path, place: Path) -> None:
    for one in (place.parent, place):
        try:
            one.mkdir(mode=0o700)
        except FileExistsError:
            if not stat.S_ISDIR(one.lstat().st_mode):  # a link may lead anywhere
                raise ArchiveError(f"{one} is in the way: the archive makes a directory of this name") from None
        else:
            _sync(one.parent)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
