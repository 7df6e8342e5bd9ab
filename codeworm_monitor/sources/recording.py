"""Recorded traffic: files of messages with the time at which they came, read or played again."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import math
import time
import zlib
from collections.abc import AsyncGenerator, Generator
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from codeworm_monitor.errors import RecordingError, SettingError
from codeworm_monitor.sources import Connected, Happening, Message

__all__ = ["RecordingSource", "read_recording"]

_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_LINE = 64 * 2**20
_BATCH = 500
"""Most messages read and handed out at one time."""


def read_recording(path: str | PathLike[str]) -> Generator[Message, None, None]:
    """Yield the messages of a recording in the order of the file, with the times at which they were recorded.

    A recording is JSON Lines in UTF-8, as it is or gzip (told by its first bytes, not by its name): one object a line,
    `{"t": <Unix seconds of arrival>, "channel": <name>, "payload": <exact text>}`; other keys are ignored. It is read
    as the iterator proceeds, not before; closing the iterator closes the file.

    Raises:
        RecordingError: There is no such file, it holds something else, or it is damaged or empty; says which line.
    """
    number = 0
    try:
        with Path(path).open("rb") as file:
            is_gzip = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            lines = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_gzip else file
            while line := lines.readline(_LONGEST_LINE):
                number += 1
                yield _parse(line)
    except RecordingError as error:
        raise RecordingError(f"{path}, line {number}: {error}") from error.__cause__
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RecordingError(f"{path}, after line {number}: the compressed file is cut off or damaged") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error
    if not number:
        raise RecordingError(f"{path} is empty")


def _parse(line: bytes) -> Message:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = "longer than a line may be" if len(line) >= _LONGEST_LINE else f"no JSON ({error})"
        raise RecordingError(reason) from error
    match record:
        case {"t": int() | float() as t, "channel": str() as channel, "payload": str() as payload} if not isinstance(
            t, bool
        ) and math.isfinite(t):
            return Message(channel, payload.encode(), float(t))
    raise RecordingError('not of the form {"t": seconds, "channel": text, "payload": text}')


class RecordingSource:
    """A recording, played again: for demonstrations, tests and lessons.

    Promises:

    - Order and bytes are those of the file. The pauses between messages are those of the recording divided by
      `speed`, counted from the start, so that delays do not add up; a reader that was busy gets at once what has
      become due meanwhile.
    - `received_at` is the time of playing, not that of the recording (`read_recording` has that one).
    - It ends after the last message, unless it repeats. It holds no more than some hundred messages at a time.

    It may be iterated several times, also at one time.

    Args:
        path: The file; see `read_recording`.
        speed: How many times faster than it was recorded; `None` or infinite: as fast as messages are taken.
        repeat: Start again after the last message, without end.

    Raises:
        SettingError: `speed` is not above 0.

    Example:
        >>> source = RecordingSource("recording.jsonl.gz", speed=60)
    """

    def __init__(self, path: str | PathLike[str], *, speed: float | None = 1.0, repeat: bool = False) -> None:
        if speed is not None and not speed > 0:
            raise SettingError("speed", f"{speed} is not above 0")
        self._path = Path(path)
        self._speed = math.inf if speed is None else speed
        self._repeat = repeat

    @property
    def name(self) -> str:
        """The file, for a person."""
        return str(self._path)

    async def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Play the recording.

        Raises:
            RecordingError: See `read_recording`; raised where the damage is met.
        """
        yield Connected(time.time())
        while True:
            async with contextlib.aclosing(_Batches(self._path)) as batches:
                first: float | None = None
                started = time.monotonic()
                while messages := await batches.next():
                    if first is None:
                        first = messages[0].received_at
                    taken = 0
                    while taken < len(messages):
                        # Recorded time that playing has reached; infinite speed has reached all of it.
                        reached = math.inf
                        if self._speed < math.inf:
                            reached = first + (time.monotonic() - started) * self._speed
                        due = taken
                        while due < len(messages) and messages[due].received_at <= reached:
                            due += 1
                        if due == taken:
                            await asyncio.sleep((messages[taken].received_at - reached) / self._speed)
                            continue
                        now = time.time()
                        yield [Message(one.channel, one.payload, now) for one in messages[taken:due]]
                        taken = due
            if not self._repeat:
                return


class _Batches:
    """The messages of a recording in batches, read by a thread: a disk may keep us waiting."""

    def __init__(self, path: Path) -> None:
        self._recording = read_recording(path)
        self._reading: asyncio.Task[list[Message]] | None = None
        self._error: RecordingError | None = None

    async def next(self) -> list[Message]:
        """Return the next messages, or an empty list at the end.

        Raises:
            RecordingError: See `read_recording`; raised after the messages before the damage.
        """
        self._reading = asyncio.create_task(asyncio.to_thread(self._read), name="recording:read")
        # A thread cannot be cancelled: `aclose` waits for it.
        messages = await asyncio.shield(self._reading)
        if not messages and self._error is not None:
            raise self._error
        return messages

    def _read(self) -> list[Message]:
        messages: list[Message] = []
        try:
            for message in islice(self._recording, _BATCH):
                messages.append(message)  # noqa: PERF402 - what came before an error is kept
        except RecordingError as error:
            self._error = error
        return messages

    async def aclose(self) -> None:
        """Close the file, once the thread has left it."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        self._recording.close()
