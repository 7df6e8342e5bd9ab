"""A source that serves a file of recorded traffic as the past, at the pace at which it came or faster."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator
from os import PathLike
from pathlib import Path

from codeworm_monitor.archive.replay import LONGEST_WAIT, ArchiveSource
from codeworm_monitor.client import EARLIEST, LATEST
from codeworm_monitor.errors import RecordingError, SettingError
from codeworm_monitor.sources import Connected, Happening, Message
from codeworm_monitor.sources.recording import _Batches, read_recording

__all__ = ["RecordingReplay"]


class RecordingReplay(ArchiveSource):
    """A recording as the past: what `ArchiveSource` is for the archive, and so taken by a relay for a replay.

    Promises: order, bytes and `received_at` are those of the file, unlike with `RecordingSource`, which gives messages the
    time of playing. The pauses are those of then divided by `speed`, counted from the start. It ends after the last
    message. It holds some hundred messages at a time.

    Args:
        path: The file; see `sources.recording.read_recording`.
        since: Unix seconds; the earliest that is wanted. None: from the beginning.
        until: The first that is not. None: to the end.
        speed: How many times faster than it came; infinite: as fast as messages are taken.

    Raises:
        SettingError: `speed` is not above 0, or `until` not above `since`.
        RecordingError: The file is missing or holds something else, or nothing of that stretch.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        since: float | None = None,
        until: float | None = None,
        speed: float = 1.0,
    ) -> None:
        if not speed > 0:
            raise SettingError("speed", f"{speed} is not above 0")
        if since is not None and until is not None and not until > since:
            raise SettingError("until", "must be later than since")
        self._path = Path(path)
        self._from = EARLIEST if since is None else since
        self._to = LATEST if until is None else until
        self._speed = speed
        with contextlib.closing(read_recording(self._path)) as messages:
            first = next((one for one in messages if self._is_wanted(one)), None)
        if first is None:
            raise RecordingError(f"{self._path} holds nothing of that stretch")
        self._first = self._reached = first.received_at

    @property
    def name(self) -> str:
        """The file, for a person."""
        return f"the recording {self._path}"

    async def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Serve it.

        Raises:
            RecordingError: The file is damaged; raised where that is met.
        """
        yield Connected(self._first)
        started = time.monotonic()
        async with contextlib.aclosing(_Batches(self._path)) as batches:
            while batch := await batches.next():
                messages = [one for one in batch if self._is_wanted(one)]
                taken = 0
                while taken < len(messages):
                    if self._speed < math.inf:
                        self._reached = self._first + (time.monotonic() - started) * self._speed
                    else:
                        self._reached = messages[-1].received_at
                    due = taken
                    while due < len(messages) and (
                        self._speed == math.inf or messages[due].received_at <= self._reached
                    ):
                        due += 1
                    if due == taken:
                        pause = (messages[taken].received_at - self._reached) / self._speed
                        await asyncio.sleep(min(pause, LONGEST_WAIT))
                        continue
                    yield messages[taken:due]
                    taken = due

    def _is_wanted(self, message: Message) -> bool:
        if not EARLIEST <= message.received_at < LATEST:
            raise RecordingError(f"{self._path}: {message.received_at} is no time of the years 1 to 9999")
        return self._from <= message.received_at < self._to
