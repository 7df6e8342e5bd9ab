"""The file of a recording while it is written: whole after every batch, also when the process is killed."""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from codeworm_monitor.errors import RecordingError

__all__ = ["RecordingFile"]

MEMBER_BYTES = 256 * 2**10
"""Bytes of text that are compressed together."""


class RecordingFile:
    """Writes lines of a recording, as they are or gzip.

    Promises: the file is for its owner alone (mode 0600). What was written is whole lines, and of gzip whole members,
    which every reader of gzip takes for one file: after a kill it can be read as it lies, without what came in the last
    `flush_every` seconds. Without gzip, lines are handed to the system at once. A file in which nothing was written is
    taken away at the end, and one that was there before stays until something is written in its place.

    Args:
        path: The file; gzip if it ends in `.gz`.
        overwrite: Whether a file that is there may go.
        flush_every: Seconds that lines may wait to be compressed together.

    Raises:
        RecordingError: It is there already, or cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, flush_every: float = 1.0) -> None:
        self.path = path
        self.written = 0
        """Lines so far."""
        self.bytes = 0
        """Bytes of the file so far."""
        self._is_gzip = path.suffix.lower() == ".gz"
        self._flush_every = flush_every
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._waiting_since = 0.0
        self._descriptor: int | None = None
        self._former: int | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._descriptor = os.open(path, flags | (0 if overwrite else os.O_EXCL), 0o600)
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise RecordingError(f"{path} is no plain file: name another")
            os.fchmod(self._descriptor, 0o600)
            self._former = os.fstat(self._descriptor).st_size  # it goes when something takes its place
        except (OSError, RecordingError) as error:
            self._shut()
            if isinstance(error, FileExistsError):
                raise RecordingError(f"{path} is there already: name another, or give --force") from error
            if isinstance(error, RecordingError):
                raise
            raise RecordingError(f"{path} cannot be written: {error.strerror or error}") from error

    def write(self, lines: Iterable[bytes]) -> None:
        """Add whole lines.

        Raises:
            RecordingError: The disk is full or fails; what was written before stays.
        """
        for line in lines:
            if not self._waiting:
                self._waiting_since = time.monotonic()
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            self.written += 1
            if self._waiting_bytes >= MEMBER_BYTES:
                self.flush()
        if not self._is_gzip:
            self.flush()
        else:
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has waited for long enough."""
        if self._waiting and time.monotonic() - self._waiting_since >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            RecordingError: The disk is full or fails.
        """
        if not self._waiting or self._descriptor is None:
            return
        text = b"".join(self._waiting)
        count = len(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._is_gzip:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)
            text = packer.compress(text) + packer.flush()
        left = memoryview(text)
        try:
            if self._former:
                os.ftruncate(self._descriptor, 0)
            self._former = 0
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            # A line, or a member, that was begun is no part of it.
            whole = 0 if self._is_gzip else text.rfind(b"\n", 0, len(text) - len(left)) + 1
            self.bytes += whole
            self.written -= count - text.count(b"\n", 0, whole)
            os.ftruncate(self._descriptor, self.bytes)
            raise RecordingError(
                f"{self.path} cannot be written any more: {error.strerror or error}; {self.written:,} messages are in it"
            ) from error
        self.bytes += len(text)

    def close(self) -> None:
        """Write what waits, have it on the disk, and close; take the file away if nothing was written."""
        if self._descriptor is None:
            return
        try:
            self.flush()
            os.fsync(self._descriptor)
        finally:
            self._shut()
            if not self.bytes and not self._former:
                self.path.unlink(missing_ok=True)

    def _shut(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
