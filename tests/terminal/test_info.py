from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from support.served import served

from codeworm_monitor.client import Address
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.terminal import info
from codeworm_monitor.terminal.info import relay_info


@contextlib.asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[Address]:
    """A server that answers anything with the same bytes, and then hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield Address(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws", "some-token")


async def test_a_relay_tells_of_itself_to_who_has_the_token() -> None:
    async with served(token="right-token") as relay:
        assert await relay_info(Address(relay.url, "right-token")) == {}
        with pytest.raises(ConnectError, match="it answered 401"):
            await relay_info(Address(relay.url, "wrong-token"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "no HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 503 Busy\r\n\r\n{}", "it answered 503"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", "cannot be read"),
        (b"HTTP/1.1 200 OK\r\n\r\n[1]", "cannot be read"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (info.MAX_ANSWER + 1), "more than"),
    ],
)
async def test_anything_else_is_an_error_in_one_line(text: bytes, problem: str) -> None:
    async with answering(text) as address:
        with pytest.raises(ConnectError, match=problem):
            await relay_info(address)


async def test_one_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws")
        with pytest.raises(ConnectError, match="in time"):
            await relay_info(address)


async def test_nothing_there_is_an_error() -> None:
    with pytest.raises(ConnectError):
        await relay_info(Address("ws://127.0.0.1:1/ws"))
