"""Exporting: a stretch of the archive as a file for other programs."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from codeworm_monitor.archive.reader import ArchiveReader, Key
from codeworm_monitor.archive.rows import GAP, StoredRow
from codeworm_monitor.envelope import Mark
from codeworm_monitor.errors import ArchiveError
from codeworm_monitor.logformat import printable
from codeworm_monitor.moments import time_of
from codeworm_monitor.records import Kind, kind_of, level_rank

__all__ = ["Exported", "FileForm", "Selection", "defused", "export", "recording_line", "selected"]

PAGE = 5_000
"""Rows read at one time."""
GROUP = 50_000
"""Rows of one row group of a Parquet file, and of one batch of an Arrow file, at most."""
GROUP_BYTES = 32 * 2**20
_BEGINNING, _END = -(2**62), 2**62
_COLUMNS = ("offset", "epoch", "received_at", "channel", "kind", "level", "component", "event", "type", "repo", "target", "doc_type", "mark", "payload")  # fmt: skip
_CSV = ("offset", "epoch", "received_at", "channel", "level", "component", "event", "type", "repo", "target", "doc_type", "payload")  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width


class FileForm(StrEnum):
    """Form of a file."""

    JSONL = "jsonl"
    """A recording: read again by `import`, `open_recording` and `demo`; gaps, which it has no place for, are left out."""
    CSV = "csv"
    """For a spreadsheet: a line a row; text that it would take for a formula has an apostrophe before it (`defused`), and
    characters that a terminal would obey, or that end a line, are `·`, except in the payload, where JSON spells them."""
    PARQUET = "parquet"
    """Typed columns, the payload as it came; needs pyarrow."""
    ARROW = "arrow"
    """The same as an Arrow file (IPC, also known as Feather)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are meant.

    Attributes:
        since: Microseconds since 1970, UTC: the earliest that is wanted; None: from the beginning.
        until: The first that is not; None: to the end.
        channels: Where messages were published; anywhere if empty. Gaps come in any case.
        level: Messages of this level or a more severe one, and gaps; None: all. A message without a level, an event or
            stats, is then left out.
    """

    since: int | None = None
    until: int | None = None
    channels: frozenset[str] = frozenset()
    level: str | None = None

    def __post_init__(self) -> None:
        if self.level is not None and level_rank(self.level) is None:
            raise ValueError(f"{self.level!r} is no level: debug, info, warning, error or critical")

    def accepts(self, row: StoredRow) -> bool:
        """Tell whether a row has the level."""
        if self.level is None or row.mark == GAP:
            return True
        wanted, rank = level_rank(self.level), level_rank(_fields(row).level)
        return rank is not None and wanted is not None and rank >= wanted


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        rows: Rows written, gaps among them.
        gaps: Gaps met, which a recording leaves out.
        bytes: Size of the file; 0 of a stream.
    """

    rows: int
    gaps: int
    bytes: int


def export(
    reader: ArchiveReader,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    form: FileForm,
    selection: Selection = Selection(),
    overwrite: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Exported:
    """Write rows in the order of time to a file, or to a stream; memory is bounded.

    A file is written under another name beside its own, and renamed when it is complete: until then, and after an error,
    what had its name before is still there. One that ends in `.gz` is compressed, if it is JSON Lines or CSV.

    Args:
        reader: The archive.
        target: Path, or a binary stream, which stays open; a stream takes JSON Lines or CSV only.
        form: Form of the file.
        selection: Which rows.
        overwrite: Whether a file of this name may be replaced.
        on_progress: Called now and then with the file's name, the rows written so far, and 0: how many there will be is
            not known. What it raises ends the export.

    Raises:
        ArchiveError: The archive cannot be read, the file is there already or cannot be written, pyarrow is missing.
    """
    label = str(target) if isinstance(target, (str, os.PathLike)) else "stream"
    tell = on_progress or (lambda label, done, total: None)
    names = {key: epoch.name for key, epoch in reader.epochs().items()}
    needs_arrow = form in (FileForm.PARQUET, FileForm.ARROW)
    if needs_arrow and not isinstance(target, (str, os.PathLike)):
        raise ArchiveError(f"{form} goes to a file: name one")
    rows = gaps = 0
    with _opened(target, overwrite=overwrite, is_plain=needs_arrow) as (file, aside):
        writer = _arrow_writer(aside, form) if needs_arrow else _text_writer(file, form)
        with writer as write:
            for page in _pages(reader, selection):
                for row in page:
                    if row.epoch not in names:  # begun since
                        names = {key: epoch.name for key, epoch in reader.epochs().items()}
                gaps_here = sum(row.mark == GAP for row in page)
                gaps += gaps_here
                rows += len(page) - (gaps_here if form is FileForm.JSONL else 0)
                write(page, names)
                tell(label, rows, 0)
    size = Path(target).stat().st_size if isinstance(target, (str, os.PathLike)) else 0
    return Exported(rows, gaps, size)


def selected(reader: ArchiveReader, selection: Selection, *, reverse: bool = False) -> Iterator[StoredRow]:
    """Yield the rows of a selection in the order of time, or the latest first; a page of them is held.

    Raises:
        ArchiveError: The archive cannot be read.
    """
    for page in _pages(reader, selection, reverse=reverse):
        yield from page


def recording_line(row: StoredRow) -> bytes:
    """Return a message as a line of a recording, `{"t", "channel", "payload"}`, with its line end.

    The payload is what was published. Where the archive has it as `{"raw": text}` only, it is the text; where not even
    that is whole (too large, or no UTF-8), it is the archive's JSON text, and a further key `mark` says why.
    """
    line: dict[str, Any] = {"t": row.received_at / 1_000_000, "channel": row.channel}
    if row.mark == Mark.RAW and set(value := orjson.loads(row.payload)) == {"raw"}:
        line["payload"] = value["raw"]
    else:
        line["payload"] = row.payload.decode()
        if row.mark is not None:
            line["mark"] = row.mark
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def defused(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: `'` stands before one that begins like one.

    Log lines quote what a language model wrote; a cell that begins with `=`, `+`, `-` or `@`, or hides that behind a
    control character, could have a spreadsheet call a program or a server.
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return defused(value if value.isprintable() else printable(value))


class _Fields(NamedTuple):
    kind: str
    level: str | None
    component: str | None
    event: str | None
    type: str | None
    repo: str | None
    target: str | None
    doc_type: str | None


_WORDS = ("component", "event", "type", "repo", "target", "doc_type")


def _fields(row: StoredRow) -> _Fields:
    """Return what a payload says, as the archive's Parquet files have it: texts only, an event's own in its `data`."""
    if row.mark == GAP:
        return _Fields(GAP, *(None,) * 7)
    kind = kind_of(row.channel)
    payload: object = orjson.loads(row.payload)
    outer: dict[str, Any] = payload if isinstance(payload, dict) else {}
    nested = outer.get("data") if kind is Kind.EVENTS else outer
    inner: dict[str, Any] = nested if isinstance(nested, dict) else {}
    words = [
        value
        if isinstance(value := (inner if name in ("repo", "target", "doc_type") else outer).get(name), str)
        else None
        for name in _WORDS
    ]
    level = outer.get("level")
    return _Fields(str(kind), level.lower() if isinstance(level, str) else None, *words)


def _pages(reader: ArchiveReader, selection: Selection, *, reverse: bool = False) -> Iterator[list[StoredRow]]:
    since = _BEGINNING if selection.since is None else selection.since
    until = _END if selection.until is None else selection.until
    after: Key | None = None
    while rows := reader.page(since, until, after=after, channels=selection.channels, limit=PAGE, reverse=reverse):
        yield [row for row in rows if selection.accepts(row)]
        if len(rows) < PAGE:
            return
        after = (rows[-1].received_at, rows[-1].epoch, rows[-1].offset)


_Write = Callable[[list[StoredRow], dict[int, str]], None]


@contextlib.contextmanager
def _opened(
    target: str | os.PathLike[str] | BinaryIO, *, overwrite: bool, is_plain: bool
) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a file to write to, and its path; it gets its name when the body ends well."""
    if not isinstance(target, (str, os.PathLike)):
        yield target, Path()
        return
    path = Path(target)
    if not overwrite and os.path.lexists(path):
        raise ArchiveError(f"{path} is there already: choose another name, or replace it with --force")
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with aside.open("xb") as file:
            if path.suffix == ".gz" and not is_plain:
                with gzip.GzipFile(path.stem, "wb", 6, file) as compressed:
                    yield cast(BinaryIO, compressed), aside
            else:
                yield file, aside
            file.flush()
            os.fsync(file.fileno())
        if not overwrite and os.path.lexists(path):
            raise ArchiveError(f"{path} has come into being meanwhile: choose another name")
        os.replace(aside, path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _text_writer(file: BinaryIO, form: FileForm) -> Iterator[_Write]:
    if form is FileForm.JSONL:
        yield lambda rows, names: cast(
            None, file.write(b"".join(recording_line(row) for row in rows if row.mark != GAP))
        )
        return
    text = io.StringIO(newline="")
    table = csv.writer(text)

    def write(rows: Iterable[StoredRow], names: dict[int, str]) -> None:
        for row in rows:
            said = _columns(row, names) | {"received_at": _iso(row.received_at)}
            table.writerow([*(_cell(said[name]) for name in _CSV[:-1]), defused(said["payload"])])
        file.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()

    table.writerow(_CSV)
    write([], {})
    yield write


def _columns(row: StoredRow, names: dict[int, str]) -> dict[str, Any]:
    return {
        "offset": row.offset,
        "epoch": names.get(row.epoch, str(row.epoch)),
        "received_at": row.received_at,
        "channel": row.channel,
        **_fields(row)._asdict(),
        "mark": row.mark,
        "payload": row.payload.decode(),
    }


def _iso(time: int) -> str:
    return time_of(time).isoformat().replace("+00:00", "Z")


def _arrow_writer(path: Path, form: FileForm) -> AbstractContextManager[_Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ArchiveError(f"{form} needs pyarrow: pip install 'codeworm-monitor[notebook]'") from error
    types = {"offset": pa.int64(), "received_at": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([pa.field(name, types.get(name, pa.string())) for name in _COLUMNS])

    @contextlib.contextmanager
    def writer() -> Iterator[_Write]:
        opened = (
            pyarrow.parquet.ParquetWriter(path, schema, compression="zstd")
            if form is FileForm.PARQUET
            else pa.ipc.new_file(str(path), schema)
        )
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        size = 0

        def flush() -> None:
            nonlocal size
            if columns["offset"]:
                arrays = [pa.array(columns[field.name], field.type) for field in schema]
                opened.write(pa.Table.from_arrays(arrays, schema=schema))
            size = 0
            for values in columns.values():
                values.clear()

        def write(rows: list[StoredRow], names: dict[int, str]) -> None:
            nonlocal size
            for row in rows:
                for name, value in _columns(row, names).items():
                    columns[name].append(value)
                size += len(row.payload)
                if len(columns["offset"]) >= GROUP or size >= GROUP_BYTES:
                    flush()

        with opened:
            yield write
            flush()

    return writer()
