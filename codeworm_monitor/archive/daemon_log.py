"""CodeWorm's own log file: JSON lines, console lines and plain text, as messages of the channel `codeworm:logs`.

The file mixes three forms:

- JSON lines of the daemon: what Redis carried, with times in UTC. The payload is the line, byte for byte.
- Console lines of the other components, `2026-11-22 16:57:36 [info     ] push_successful  branch=main component=git`, in
  local time. The payload has `event`, `level`, `timestamp` (UTC, to the second) and the pairs of the line.
- Plain text: banners, warnings, tracebacks; see `text_blocks`. The payload is what `Block.fields` returns; it has no
  `timestamp`, unless it is the banner `===== 2026-11-22T21:56:45.946678 codeworm run =====`.

Text that is not UTF-8 is made readable, and is exact in a further field `base64`. A message that would be larger than
`payloads.MAX_PAYLOAD` keeps its first 4 KiB, and is marked.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from base64 import b64encode
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from codeworm_monitor.archive.console_lines import ConsoleLine, read_console_line
from codeworm_monitor.archive.local_time import LocalTime, learnt_offset, micros_of
from codeworm_monitor.archive.text_blocks import Block, BlockBuilder
from codeworm_monitor.envelope import Mark
from codeworm_monitor.errors import RecordingError
from codeworm_monitor.payloads import MAX_PAYLOAD, normalise

__all__ = ["LOGS", "LoggedMessage", "looks_like_daemon_log", "read_daemon_log"]

LOGS = "codeworm:logs"
LONGEST_LINE = 8 * 2**20
"""Bytes of a line that are looked at; of a longer one the size is told."""
WAITING = 2_000
"""Lines that may wait for the next JSON line, which tells how local time relates to UTC."""
WAITING_BYTES = 4 * 2**20
KEPT_OF_OVERSIZE = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_BANNER = re.compile(rb"=====+ (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?) .*=====+\s*$")
_LOOKED_AT = 500
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


class LoggedMessage(NamedTuple):
    """One message of the file.

    Attributes:
        received_at: Microseconds since 1970, UTC: when it was written, as far as the file tells.
        payload: JSON text.
        mark: None, or why the payload is not the line.
    """

    received_at: int
    payload: bytes
    mark: Mark | None


@dataclass(slots=True)
class _Item:
    """A message whose time is not settled: `time` is aware, local, or unknown; `payload` comes with the time."""

    size: int
    time: datetime | None = None
    payload: bytes = b""
    mark: Mark | None = None
    fields: dict[str, Any] | None = None  # of a console line or text: what its payload says
    exact: bytes | None = None  # what was no UTF-8
    is_banner: bool = False


class _Line(NamedTuple):
    text: bytes
    size: int


def read_daemon_log(
    path: str | PathLike[str], *, utc_offset: timedelta | None = None
) -> Generator[LoggedMessage, None, None]:
    """Yield the messages of a log file in its order, plain or gzip (told by its first bytes).

    A console line or text gets the time at which its neighbours were written: text that of the nearest earlier line
    with a time; the many console lines of one second come after what stands before them. It is read as the iterator
    proceeds, and holds some thousand lines at a time.

    Args:
        path: The file.
        utc_offset: Local time less UTC; None: it is learnt from the JSON lines between the console lines, anew wherever
            it changes.

    Raises:
        RecordingError: The file cannot be read, is damaged, or has console lines and nothing that tells their offset.
    """
    try:
        with _opened(path) as file:
            if utc_offset is None:
                utc_offset, is_fixed = learnt_offset(_times(file)), False
                file.seek(0)
            else:
                is_fixed = True
            clock = LocalTime(utc_offset, is_fixed=is_fixed)
            settled = _Settled(clock, Path(path).stat().st_mtime_ns // 1000)
            waiting: list[_Item] = []
            size = 0
            for item in _items(_lines(file)):
                waiting.append(item)
                size += item.size
                if item.time is not None and item.time.tzinfo is not None and item.fields is None:
                    yield from settled.settle(waiting, item.time)
                elif len(waiting) >= WAITING or size >= WAITING_BYTES:
                    yield from settled.settle(waiting, None)
                else:
                    continue
                waiting, size = [], 0
            yield from settled.settle(waiting, None)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise RecordingError(f"{path}: the compressed file is cut off or damaged") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error


def looks_like_daemon_log(path: str | PathLike[str]) -> bool:
    """Tell whether the first lines of a file hold one that a log file of CodeWorm would have.

    Raises:
        RecordingError: The file cannot be read.
    """
    try:
        with _opened(path) as file:
            for line, _ in islice(_lines(file), _LOOKED_AT):
                item = _read_line(line, len(line))
                if item is not None and (item.is_banner or item.time is not None):
                    return True
    except _DAMAGE:
        return False
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error
    return False


class _Settled:
    """Gives each message its time."""

    def __init__(self, clock: LocalTime, otherwise: int) -> None:
        self._clock = clock
        self._otherwise = otherwise
        self._before: datetime | None = None  # newest JSON line
        self._last: int | None = None  # newest time given

    def settle(self, items: list[_Item], after: datetime | None) -> Iterator[LoggedMessage]:
        """Yield the messages; `after` is the time of the JSON line that ends them, if one does."""
        for item in items:
            if item.time is not None and item.time.tzinfo is None:
                try:
                    item.time = self._utc(item, self._before, after)
                except OverflowError:
                    item.time = None
        first = next((micros_of(item.time) for item in items if item.time is not None), self._otherwise)
        for item in items:
            time = None if item.time is None else micros_of(item.time)
            if time is None:
                time = first if self._last is None else self._last
            elif item.fields is not None and self._last is not None and time <= self._last < time + 1_000_000:
                time = self._last  # its second began before what stands above it was written
            self._last = time
            if item.fields is None:
                yield LoggedMessage(time, item.payload, item.mark)
            else:
                yield LoggedMessage(time, *_payload(item))
        if after is not None:
            self._before = after

    def _utc(self, item: _Item, before: datetime | None, after: datetime | None) -> datetime:
        assert item.time is not None
        if item.is_banner:  # the program that writes it may mean UTC
            as_utc = item.time.replace(tzinfo=UTC)
            near = after or before
            if near is None or self._clock.utc_offset is None:
                return as_utc
            return min(as_utc, as_utc - self._clock.utc_offset, key=lambda time: abs(time - near))
        return self._clock.to_utc(item.time, before, after)


def _payload(item: _Item) -> tuple[bytes, Mark | None]:
    fields = dict(item.fields or {})
    if item.time is not None:
        # To the second, or exact: what is read twice, among other neighbours, must be the same text.
        fields["timestamp"] = item.time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    if item.exact is not None:
        fields["base64"] = b64encode(item.exact).decode()
    payload = orjson.dumps(fields)
    if len(payload) <= MAX_PAYLOAD and item.size <= MAX_PAYLOAD:
        return payload, None
    named = {key: fields[key] for key in ("component", "event", "level", "timestamp") if key in fields}
    named = {key: value[:200] if isinstance(value, str) else "" for key, value in named.items()}
    return orjson.dumps({**named, "raw": _kept(fields), "truncated": True, "bytes": item.size}), Mark.TRUNCATED


def _kept(fields: dict[str, Any]) -> str:
    text = fields.get("exception") or fields.get("text") or orjson.dumps(fields).decode()
    return str(text)[:KEPT_OF_OVERSIZE]


@contextlib.contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    with Path(path).open("rb") as file:
        is_gzip = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_gzip else file


def _lines(file: BinaryIO) -> Iterator[_Line]:
    while text := file.readline(LONGEST_LINE):
        size, is_whole = len(text), text.endswith(b"\n")
        while not is_whole and (more := file.readline(LONGEST_LINE)):
            size, is_whole = size + len(more), more.endswith(b"\n")
        text = text.rstrip(b"\r\n")
        yield _Line(text, size if size > LONGEST_LINE else len(text))


def _read_line(line: bytes, size: int) -> _Item | None:
    """Return the message of a line that is one by itself; None for plain text."""
    if line.startswith(b"{"):
        item = _read_json(line, size)
        if item is not None:
            return item
    if match := _BANNER.match(line):
        try:
            return _Item(
                size,
                datetime.fromisoformat(match[1].decode()),
                fields=Block(line, is_traceback=False).fields(),
                is_banner=True,
            )
        except ValueError:
            return None
    if not (line[:2].isdigit() or line.startswith(b"\x1b")):
        return None
    kept = line if size <= MAX_PAYLOAD else line[: 2 * KEPT_OF_OVERSIZE]
    console = read_console_line(kept.decode(errors="replace"))
    if console is None:
        return None
    return _Item(size, console.time, fields=_console(console), exact=None if _is_text(line) else line)


def _read_json(line: bytes, size: int) -> _Item | None:
    if size > LONGEST_LINE:  # of which Redis would have carried the same beginning
        _, value, mark = normalise(line, 0)
        return _Item(size, payload=orjson.dumps({**value, "bytes": size}), mark=mark) if line[1:2] == b'"' else None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    payload, _, mark = normalise(line)
    return _Item(size, _timestamp(value), payload, mark)


def _timestamp(value: dict[str, Any]) -> datetime | None:
    written = value.get("timestamp")
    try:
        time = datetime.fromisoformat(written) if isinstance(written, str) else None
        return time if time is None or time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _console(line: ConsoleLine) -> dict[str, Any]:
    component = line.pairs.pop("component", None)
    return {"component": component, "event": line.event, "level": line.level, **line.pairs}


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _items(lines: Iterable[_Line]) -> Iterator[_Item]:
    builder = BlockBuilder()
    for line, size in lines:
        item = _read_line(line, size)
        if item is None and size > len(line):
            item = _Item(size, fields=Block(line, is_traceback=False).fields())
        block = builder.end() if item is not None else builder.add(line)
        if block is not None:
            yield _text_item(block)
        if item is not None:
            yield item
    if (block := builder.end()) is not None:
        yield _text_item(block)


def _text_item(block: Block) -> _Item:
    exact = None if _is_text(block.exact) else block.exact
    return _Item(len(block.exact), fields=block.fields(), exact=exact)


def _times(file: BinaryIO) -> Iterator[datetime]:
    """Yield the times that lines have, aware and local, in the order of the file, as far as it can be read."""
    with contextlib.suppress(*_DAMAGE):
        for line, size in _lines(file):
            item = _read_line(line, size)
            if item is not None and item.time is not None and not item.is_banner:
                yield item.time
