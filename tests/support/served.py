"""A hub behind an endpoint, in the test's own loop, and what must be left of it when its readers are gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from codeworm_monitor.access import AccessRules
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.endpoint import Endpoint
from codeworm_monitor.http import Answer
from codeworm_monitor.hub import Hub
from codeworm_monitor.sources import Message
from support.waiting import eventually

LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"


class Served:
    """A hub behind an endpoint.

    Attributes:
        hub: The log.
        endpoint: Its port.
    """

    def __init__(self, hub: Hub, endpoint: Endpoint) -> None:
        self.hub = hub
        self.endpoint = endpoint
        self._tasks = asyncio.all_tasks()

    def publish(self, *payloads: bytes, channel: str = LOGS) -> None:
        """Number payloads, as a source brings them."""
        self.hub.receive([Message(channel, payload, 1000.0) for payload in payloads])

    @property
    def port(self) -> int:
        return self.endpoint.port

    @property
    def listener(self) -> Any:
        """The socket listened on, whose options connections inherit."""
        assert self.endpoint._server is not None
        return self.endpoint._server.sockets[0]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def is_free(self, readers: int = 0) -> None:
        """Wait until nothing is left of any connection but that of so many readers."""
        endpoint = self.endpoint
        await eventually(
            lambda: (endpoint.readers, endpoint.admission.handshakes) == (readers, 0),
            otherwise=lambda: f"{endpoint.readers} readers, {endpoint.admission.handshakes} handshakes are left",
        )
        await eventually(
            lambda: len(endpoint.fanout.readers) <= readers,
            otherwise=lambda: f"{len(endpoint.fanout.readers)} readers are left in the lanes",
        )

    async def has_no_tasks_of_others(self, *own: asyncio.Task[Any]) -> None:
        """Wait until the tasks are those from the start of the endpoint, and these."""
        expected = self._tasks | {*own, asyncio.current_task()}
        await eventually(
            lambda: not asyncio.all_tasks() - expected,
            otherwise=lambda: f"tasks are left: {asyncio.all_tasks() - expected}",
        )


@contextlib.asynccontextmanager
async def served(
    *,
    backlog: Backlog | None = None,
    entries: int = 1000,
    token: str | None = None,
    origins: tuple[str, ...] = (),
    hub: Hub | None = None,
    archive: ArchiveWriter | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve a hub on a free port: one with a backlog of at most `entries`, or the backlog or the hub that is given."""
    if hub is None:
        hub = Hub(backlog=Backlog(max_entries=entries) if backlog is None else backlog, epoch="e")
    texts = {"/info": b"{}", "/hello": b"hello", "/livez": b"alive"}
    answers = {path: Answer(HTTPStatus.OK, text) for path, text in texts.items()}

    async def answer(path: str, query: str) -> Answer | None:
        return answers.get(path)

    endpoint = Endpoint(
        hub,
        AccessRules(token=token, origins=origins),
        answer=answer,
        channels=[LOGS, EVENTS, STATS],
        version="1",
        **options,
    )
    await endpoint.start("127.0.0.1", 0)
    endpoint.open(archive)
    try:
        yield Served(hub, endpoint)
    finally:
        await endpoint.aclose(within=2)
