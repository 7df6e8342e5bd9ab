from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.published import Subscriber, subscribed
from support.servers import Server

from codeworm_monitor.publish import Publisher


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        yield running


@pytest.fixture
async def subscriber(server: Server) -> AsyncIterator[Subscriber]:
    async with subscribed(server) as heard:
        yield heard


@pytest.fixture
async def publisher(server: Server) -> AsyncIterator[Publisher]:
    async with Publisher(server.url, component="test") as made:
        yield made


@pytest.fixture
def nobody() -> Iterator[Publisher]:
    """A publisher to where nothing listens."""
    with Publisher("redis://127.0.0.1:1", component="test") as made:
        yield made
