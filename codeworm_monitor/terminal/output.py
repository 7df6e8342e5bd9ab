"""Output: whole lines to standard output, coloured if somebody looks, and a plain end when nobody reads any more."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from codeworm_monitor.terminal.lines import Line, ansi_text, plain_text

__all__ = ["Output", "wants_colour"]


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether text for a stream is coloured: on a terminal, unless the environment says otherwise.

    Sources: no-color.org and force-color.org; where both are set, there is none.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM") not in (None, "", "dumb")


class Output:
    """Writes lines to a stream, a call's lines in one write, and none by halves in a buffer.

    Args:
        stream: Standard output.
        environment: For `NO_COLOR`, `FORCE_COLOR` and `TERM`.

    Attributes:
        is_terminal: Whether a person looks.
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self.is_terminal = stream.isatty()
        self._stream = stream
        self._form = ansi_text if wants_colour(stream, environment) else plain_text
        self._encoding = stream.encoding or "utf-8"

    def text_of(self, lines: Iterable[Line]) -> str:
        """Return lines as they are written, coloured or not."""
        return "".join(f"{self._form(line)}\n" for line in lines)

    def write(self, text: str) -> None:
        """Write finished lines.

        Raises:
            BrokenPipeError: Nobody reads any more.
        """
        if text:
            buffer = self._stream.buffer
            buffer.write(text.encode(self._encoding, errors="backslashreplace"))
            buffer.flush()

    def on_closed(self, call: Callable[[], None]) -> None:
        """Have `call` called when the reader of a pipe goes away, though there is nothing to write to it."""
        descriptor = self._stream.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return
        loop = asyncio.get_running_loop()

        def closed() -> None:
            loop.remove_reader(descriptor)
            call()

        # The writing end of a pipe has nothing to read: it becomes readable when its reader closes.
        loop.add_reader(descriptor, closed)
