"""Every test of a source must leave neither tasks nor file descriptors behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest
from support.servers import KINDS, Kind, Server
from support.waiting import eventually


@pytest.fixture(autouse=True, scope="session")
def descriptors_for_life() -> None:
    """Let libuv open the pipe that it keeps for the life of the process, before descriptors are counted."""
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    before, tasks = _descriptors(), asyncio.all_tasks()
    yield
    await eventually(
        lambda: len(asyncio.all_tasks() - tasks - {asyncio.current_task()}) == 0,
        otherwise=lambda: f"tasks are left: {asyncio.all_tasks() - tasks}",
    )
    await eventually(
        lambda: set(_descriptors()) <= set(before) or len(_descriptors()) <= len(before),
        otherwise=lambda: f"descriptors are left: {dict(set(_descriptors().items()) - set(before.items()))}",
    )


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
    return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Both servers."""
    return request.param


@pytest.fixture
async def server(kind: Kind) -> AsyncIterator[Server]:
    """A running server of each kind."""
    async with Server(kind) as one:
        yield one
