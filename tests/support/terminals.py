"""A command in a terminal of its own: a real pseudo-terminal, and what a person would see on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import subprocess
import termios
from collections.abc import AsyncIterator, Callable

import pexpect
import pyte

from support.processes import MODULE, TOKEN
from support.waiting import eventually

ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"
"""What a program sends to take the alternate screen, and to give it back."""
HIDES, SHOWS = b"\x1b[?25l", b"\x1b[?25h"
"""Likewise, the cursor."""


class Terminal:
    """A process on a pseudo-terminal, whose screen is read as it changes.

    Attributes:
        child: The process.
        sent: Every byte that it wrote.
        screen: What stands on the screen.
    """

    def __init__(self, child: pexpect.spawn[bytes], columns: int, rows: int) -> None:
        self.child = child
        self.sent = b""
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)

    @property
    def lines(self) -> list[str]:
        """The rows of the screen, without the spaces at their ends."""
        self.read()
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read(self) -> None:
        """Take what was written so far."""
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            while True:
                data = self.child.read_nonblocking(65536, timeout=0)
                self.sent += data
                self._stream.feed(data)

    async def shows(self, *texts: str, within: float = 20.0) -> str:
        """Wait until all these texts stand on the screen, and return it."""

        def seen() -> str | None:
            text = self.text
            return text if all(one in text for one in texts) else None

        return str(await eventually(seen, within, otherwise=lambda: f"{texts} in\n{self.text}\n{self.sent[-600:]!r}"))

    async def until(self, condition: Callable[[], object], within: float = 20.0) -> None:
        """Wait until a condition holds, reading on."""

        def holds() -> object:
            self.read()
            return condition()

        await eventually(holds, within, otherwise=lambda: self.text)

    def press(self, keys: str | bytes) -> None:
        """Send what the keyboard would."""
        self.child.send(keys)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        self.read()
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    async def ended(self, within: float = 20.0) -> int:
        """Wait for the end of the process and return its status, as shells tell it."""
        await self.until(lambda: not self.child.isalive(), within)
        data = await asyncio.to_thread(rest_of, self.child.child_fd)
        self.sent += data
        self._stream.feed(data)
        status = self.child.exitstatus
        return 128 + int(self.child.signalstatus or 0) if status is None else int(status)


@contextlib.asynccontextmanager
async def terminal(
    *arguments: str, columns: int = 80, rows: int = 24, command: list[str] | None = None, **environment: str
) -> AsyncIterator[Terminal]:
    """Start the command line, or another command, on a terminal; whatever happens, it is gone afterwards."""
    words = command or [*MODULE, *arguments]
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    child = pexpect.spawn(
        words[0],
        words[1:],
        dimensions=(rows, columns),
        env={
            **inherited,
            "TERM": "xterm-256color",
            "PYTHONUNBUFFERED": "1",
            "CODEWORM_MONITOR_TOKEN": TOKEN,
            **environment,
        },
        timeout=5,
    )
    child.delaybeforesend = None
    try:
        yield Terminal(child, columns, rows)
    finally:
        await asyncio.to_thread(child.close, force=True)


def rest_of(descriptor: int) -> bytes:
    """Return all that a process still writes to its terminal, until it has ended, by the descriptor of our end.

    pexpect takes an ended process for the end of what it wrote; the kernel may still be passing that on.
    """
    data = b""
    while select.select([descriptor], [], [], 30)[0]:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # nobody has the terminal open any more
            break
        if not piece:
            break
        data += piece
    return data


def screen_of(words: list[str], *, columns: int = 100, rows: int = 60, **environment: str) -> str:
    """Run a command on a terminal to its end and return all that it wrote there. Any thread may.

    pexpect forks, and to fork a thread of a process with as many libraries as the tests load can crash the child.
    """
    ours, its = pty.openpty()
    try:
        termios.tcsetwinsize(its, (rows, columns))
        inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        child = subprocess.Popen(
            words,
            stdin=its,
            stdout=its,
            stderr=its,
            env={**inherited, "TERM": "xterm-256color", **environment},
            start_new_session=True,
        )
        os.close(its)
        with child:
            return rest_of(ours).decode()
    finally:
        os.close(ours)
