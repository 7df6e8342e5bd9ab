"""What reaches a subscriber of CodeWorm's channels, and programs that publish, as processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

from support.servers import Proxy, Server
from support.waiting import eventually

CHANNELS = ("codeworm:logs", "codeworm:events", "codeworm:stats")


class Subscriber:
    """Collects what is published on the three channels.

    Attributes:
        payloads: Channel and text of each message, in order.
    """

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []

    def on(self, channel: str = "codeworm:logs") -> list[Any]:
        """What came on a channel, decoded."""
        return [json.loads(text) for name, text in self.payloads if name == channel]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.on()]

    async def hears(self, *events: str) -> None:
        """Wait until the names of all log lines are these."""
        await eventually(lambda: self.events == list(events), otherwise=lambda: f"heard {self.events[-20:]}")

    async def dropped(self) -> dict[str, int]:
        """Count what was said to have been dropped, by reason."""
        counts: dict[str, int] = {}
        for line in self.on():
            if line["event"] == "messages_dropped":
                counts[line["reason"]] = counts.get(line["reason"], 0) + line["count"]
        return counts


class SlowProxy(Proxy):
    """A proxy far away: all that passes arrives late, in its order, at any rate.

    Args:
        target: Port.
        delay: Seconds, each way.

    Attributes:
        may_answer: While it is not set, nothing comes back.
        answered: Bytes that came back.
    """

    def __init__(self, target: int, *, delay: float) -> None:
        super().__init__(target)
        self.delay = delay
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.answered = 0

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time
        comes_back = writer.get_extra_info("sockname")[1] == self.port

        async def arrive() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - clock())
                if comes_back:
                    await self.may_answer.wait()
                    self.answered += len(data)
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        async def leave() -> None:
            data = b"-"
            while data:
                data = await reader.read(65536)
                under_way.put_nowait((clock() + self.delay, data))

        await asyncio.gather(arrive(), leave())
        writer.transport.abort()


@contextlib.asynccontextmanager
async def subscribed(server: Server) -> AsyncIterator[Subscriber]:
    """Subscribe; ends with the server, or with the block."""
    subscriber = Subscriber()
    async with server.client() as client, client.pubsub() as pubsub:
        await pubsub.subscribe(*CHANNELS)
        await eventually(lambda: server.subscribers())

        async def read() -> None:
            with contextlib.suppress(Exception):  # the server is killed under it
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        subscriber.payloads.append((message["channel"].decode(), message["data"]))

        task = asyncio.create_task(read())
        try:
            yield subscriber
        finally:
            task.cancel()
            await asyncio.wait([task])


async def program(text: str, *arguments: str, is_measured: bool = True, **environment: str) -> tuple[int, str, str]:
    """Run a Python program to its end and return status, standard output and standard error.

    One that forks beside threads is not to be measured: what measures the coverage has locks of its own, and a child
    that was forked while one was taken waits for it for ever.
    """
    process = await start(text, *arguments, is_measured=is_measured, **environment)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def start(text: str, *arguments: str, is_measured: bool = True, **environment: str) -> asyncio.subprocess.Process:
    """Start a Python program; see `program`."""
    inherited = {name: one for name, one in os.environ.items() if is_measured or not name.startswith("COVERAGE_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore:This process:DeprecationWarning",  # Python 3.12 and newer warn of a fork beside any thread
        "-c",
        text,
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**inherited, **environment},
    )
