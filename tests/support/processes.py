"""The relay as a real process, started and spoken to as a person would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

TOKEN = "correct-horse-battery"
MODULE = [sys.executable, "-m", "codeworm_monitor"]


class RelayProcess:
    """A running `python -m codeworm_monitor`."""

    def __init__(self, process: asyncio.subprocess.Process, banner: str) -> None:
        self.process = process
        self.banner = banner
        self.url = re.search(r"connect to +(\S+)", banner)[1]  # type: ignore[index]
        self.redis_url = re.search(r"publish to +(\S+)", banner)[1]  # type: ignore[index]
        self.http = re.search(r"health +(\S+)/readyz", banner)[1]  # type: ignore[index]

    async def stop(self, number: int = signal.SIGTERM, *, within: float = 10) -> tuple[int, str, str]:
        """Send a signal and return what `ended` does."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended(within=within)

    async def ended(self, *, within: float = 10) -> tuple[int, str, str]:
        """Wait for its end and return status, standard output and standard error."""
        async with asyncio.timeout(within):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


async def launch(*arguments: str, before: Sequence[str] = (), **environment: str) -> asyncio.subprocess.Process:
    """Start the command line with these arguments; `before` is a command under which to run it."""
    return await asyncio.create_subprocess_exec(
        *before,
        *MODULE,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "CODEWORM_MONITOR_TOKEN": TOKEN, **environment},
        start_new_session=True,
    )


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command line to its end and return status, standard output and standard error."""
    process = await launch(*arguments, **environment)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def relay_process(
    *arguments: str, port: int = 0, before: Sequence[str] = (), **environment: str
) -> AsyncIterator[RelayProcess]:
    """Start a relay, on any free port if 0, and wait for its banner; whatever happens, it is gone afterwards."""
    process = await launch(*arguments, "--port", str(port), before=before, **environment)
    assert process.stdout is not None
    try:
        banner = b""
        async with asyncio.timeout(30):
            while b"/readyz" not in banner:
                line = await process.stdout.readline()
                assert line, (await process.stderr.read()).decode() if process.stderr else ""
                banner += line
        yield RelayProcess(process, banner.decode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that ended and waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return children + [below for child in children for below in descendants(child)]


def can_mount() -> bool:
    """Tell whether a file system may be mounted here, in a namespace of one's own."""
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
