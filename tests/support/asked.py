"""HTTP asked byte by byte, and a port that serves the original dashboard's API and front end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from codeworm_monitor.access import AccessRules
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.dashboard_api import DashboardAPI
from codeworm_monitor.endpoint import Endpoint
from codeworm_monitor.http import Answer
from codeworm_monitor.hub import Hub
from codeworm_monitor.static_files import StaticFiles

TOKEN = "correct-horse-battery"
PAGE = ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",)
"""What a browser accepts when a person opens a page."""
SCRIPT = ("application/json, text/plain, */*",)
"""What the original front end accepts."""


@dataclass
class Reply:
    """What was answered; the names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return orjson.loads(self.body)


async def ask(port: int, path: str, *, method: str = "GET", host: str | None = None, **headers: str) -> Reply:
    """Send a request as it stands, `sec_fetch_site=…` being the header `sec-fetch-site`, and read to the end."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        text = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    head, _, body = text.partition(b"\r\n\r\n")
    status, *rest = head.decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in rest]
    assert len(pairs) == len({name.lower() for name, _ in pairs}), pairs
    return Reply(int(status.split()[1]), {name.lower(): value for name, value in pairs}, body)


@contextlib.asynccontextmanager
async def port_of(
    *,
    token: str | None = TOKEN,
    origins: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
    database: Path | None = None,
    configuration: Path | None = None,
    static: Path | None = None,
) -> AsyncIterator[int]:
    """Serve an empty hub, the API and perhaps a front end; yield the port."""

    async def answer(path: str, query: str) -> Answer | None:
        return Answer(HTTPStatus.OK, b"of the relay\n") if path in ("/info", "/livez") else None

    endpoint = Endpoint(
        Hub(backlog=Backlog(max_entries=10), epoch="e"),
        AccessRules(token=token, origins=origins, hosts=hosts, serves_pages=static is not None),
        answer=answer,
        channels=[],
        version="1",
        dashboard=DashboardAPI(
            None if database is None else str(database), None if configuration is None else str(configuration)
        ),
        static=None if static is None else StaticFiles(static),
    )
    await endpoint.start("127.0.0.1", 0)
    endpoint.open()
    try:
        yield endpoint.port
    finally:
        await endpoint.aclose(within=2)


def make_front_end(directory: Path) -> Path:
    """Write what a build of a single-page application looks like."""
    (directory / "assets").mkdir(parents=True)
    (directory / "index.html").write_text(
        '<!doctype html><script type="module" src="/assets/index-DRQoheyN.js"></script>'
    )
    (directory / "assets/index-DRQoheyN.js").write_text("console.log('é')")
    (directory / "assets/index-DgtMk1n3.css").write_text("body {}")
    (directory / "assets/settings.js").write_text("1")
    (directory / "favicon.ico").write_bytes(b"\0\0\1\0")
    (directory / ".env").write_text("SECRET")
    (directory / ".git").mkdir()
    (directory / ".git/config").write_text("SECRET")
    return directory
