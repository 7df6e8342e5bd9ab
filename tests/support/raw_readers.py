"""Readers by bare socket, for what a proper client does not do: stall, trickle, and break the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self

from support import wire_reader
from support.processes import TOKEN

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9


def upgrade(*headers: str, host: str = "127.0.0.1", token: str | None = TOKEN, protocol: str | None = None) -> bytes:
    """Return the request of a WebSocket's handshake, with the token unless told otherwise."""
    return wire_reader.upgrade("/ws", *headers, host=host, subprotocol=protocol, token=token)


def masked_frame(
    opcode: int, payload: bytes = b"", *, is_final: bool = True, reserved: int = 0, is_masked: bool = True
) -> bytes:
    """Return a client's frame; `reserved` are its three reserved bits. The mask is zero, which changes no byte."""
    length = len(payload)
    masked = 0x80 if is_masked else 0
    head = bytes([(0x80 if is_final else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 65536:
        head += bytes([masked | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + length.to_bytes(8, "big")
    return head + (bytes(4) if is_masked else b"") + payload


class RawReader:
    """A connection whose bytes are sent and taken one call at a time; nothing is read unless asked for.

    Args:
        port: The relay's.
        receive_buffer: Bytes of the socket's own buffer (SO_RCVBUF), None for the system's choice.
        host: The relay's address.
    """

    def __init__(self, port: int, *, receive_buffer: int | None = None, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._socket = socket.socket()
        self._socket.setblocking(False)  # noqa: FBT003  # the library's spelling
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.answer = b""
        """The head of the answer to the handshake."""

    async def connect(self) -> Self:
        """Connect, and send nothing."""
        await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        return self

    async def open(self, *headers: str, protocol: str | None = None, token: str | None = TOKEN) -> Self:
        """Connect and finish the handshake, whatever the answer is; nothing behind the head of it is taken."""
        await self.connect()
        await self.send(upgrade(*headers, protocol=protocol, token=token))
        while not self.answer.endswith(b"\r\n\r\n"):
            more = await self.take(1)
            if not more:
                break
            self.answer += more
        return self

    async def send(self, data: bytes) -> None:
        """Send bytes; returns when the kernel has them all."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def take(self, count: int = 65536) -> bytes:
        """Take so many bytes at most; none means that the other side closed."""
        return await asyncio.get_running_loop().sock_recv(self._socket, count)

    async def take_all(self) -> bytes:
        """Take all there is until the other side closes, or resets."""
        taken = bytearray()
        with contextlib.suppress(ConnectionError):
            while more := await self.take():
                taken += more
        return bytes(taken)

    def close(self) -> None:
        """Close it at once."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def close_code(taken: bytes) -> int | None:
    """Return the code of the close frame that ends what was taken, or None if none does."""
    for start in range(max(0, len(taken) - 127), len(taken)):
        if taken[start] == 0x80 | CLOSE and start + 2 + taken[start + 1] == len(taken) and taken[start + 1] >= 2:
            return int.from_bytes(taken[start + 2 : start + 4], "big")
    return None


@contextlib.asynccontextmanager
async def raw_reader(
    port: int, *headers: str, receive_buffer: int | None = None, protocol: str | None = None
) -> AsyncIterator[RawReader]:
    """A raw reader whose handshake was accepted."""
    with RawReader(port, receive_buffer=receive_buffer) as reader:
        await reader.open(*headers, protocol=protocol)
        assert reader.answer.startswith(b"HTTP/1.1 101 "), reader.answer
        yield reader
