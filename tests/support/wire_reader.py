"""A reader without a WebSocket library: a socket, of which no more is read than the test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

from websockets.frames import Frame, Opcode

from codeworm_monitor.frames import SUBPROTOCOL, Subscribe, encode_from_client


def upgrade(
    path: str = "/ws",
    *headers: str,
    host: str = "127.0.0.1",
    subprotocol: str | None = None,
    token: str | None = None,
) -> bytes:
    """Return the request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def take_frames(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Remove the whole frames at the start of what a server sent and return their opcodes and payloads.

    Raises:
        AssertionError: A frame is fragmented, masked, extended or of an unknown opcode.
    """
    frames: list[tuple[int, bytes]] = []
    start = 0
    while len(buffer) - start >= 2:
        first, length = buffer[start], buffer[start + 1]
        assert first in (0x81, 0x88, 0x89, 0x8A), f"a frame begins with {first:#x}"
        assert length < 128, "a server's frame is masked"
        head = 2
        if length >= 126:
            head = 4 if length == 126 else 10
            if len(buffer) - start < head:
                break
            length = int.from_bytes(buffer[start + 2 : start + head], "big")
        if len(buffer) - start < head + length:
            break
        frames.append((first & 0xF, bytes(buffer[start + head : start + head + length])))
        start += head + length
    del buffer[:start]
    return frames


class WireReader:
    """One connection and what came over it.

    Attributes:
        texts: Text frames, unless they are given to `on_text`.
        may_read: Cleared to be a reader that takes nothing: what is sent waits in the sockets.
        is_over: The other end has closed the connection.
        close_code: Why, if it said so.
        portion: Bytes read at one time, at most.
    """

    def __init__(self, connection: socket.socket, on_text: Callable[[bytes], None] | None = None) -> None:
        self.texts: list[bytes] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.is_over = False
        self.close_code: int | None = None
        self.portion = 2**18
        self._on_text = on_text or self.texts.append
        self._socket = connection
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None

    async def open(
        self, port: int, *, subprotocol: str | None = SUBPROTOCOL, token: str | None = None, path: str = "/ws"
    ) -> None:
        """Connect and begin to read."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", port))
        await loop.sock_sendall(self._socket, upgrade(path, subprotocol=subprotocol, token=token))
        while b"\r\n\r\n" not in self._buffer:
            received = await loop.sock_recv(self._socket, 4096)
            assert received, f"refused: {bytes(self._buffer)!r}"
            self._buffer += received
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), bytes(head)
        self._buffer = bytearray(rest)
        self._task = asyncio.create_task(self._read(), name="test:wire-reader")

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                for opcode, payload in take_frames(self._buffer):
                    if opcode == Opcode.TEXT:
                        self._on_text(payload)
                    elif opcode == Opcode.PING:
                        await self.send(payload, Opcode.PONG)
                    elif opcode == Opcode.CLOSE and len(payload) >= 2:
                        self.close_code = int.from_bytes(payload[:2], "big")
                await self.may_read.wait()
                received = await loop.sock_recv(self._socket, self.portion)
                if not received:
                    break
                self._buffer += received
        except OSError:
            pass  # reset by the other end
        self.is_over = True

    async def send(self, payload: bytes, opcode: Opcode = Opcode.TEXT) -> None:
        """Send one frame; to a connection that is over, nothing."""
        with contextlib.suppress(OSError):
            frame = Frame(opcode, payload).serialize(mask=True)
            await asyncio.get_running_loop().sock_sendall(self._socket, frame)

    async def subscribe(self, request: Subscribe) -> None:
        """Ask for messages; the answer is a text like others."""
        await self.send(encode_from_client(request))

    async def leave(self) -> None:
        """Close as a browser does: say so, and read to the end."""
        self.may_read.set()
        await self.send(b"\x03\xe8", Opcode.CLOSE)
        if self._task is not None:
            await self._task
        self._socket.close()

    async def abort(self) -> None:
        """Reset the connection, as a process that is killed does."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
                if not self._task.cancelled():
                    self._task.result()
        finally:  # also of one that is cancelled while it waits here
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()


def wire_reader(*, receive_buffer: int | None = None, on_text: Callable[[bytes], None] | None = None) -> WireReader:
    """Return a reader that is not connected yet; `receive_buffer` bounds what the kernel takes for it, in bytes."""
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003  # the library's spelling
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return WireReader(connection, on_text)


@contextlib.asynccontextmanager
async def reading(
    port: int, *, receive_buffer: int | None = None, on_text: Callable[[bytes], None] | None = None, **options: str
) -> AsyncIterator[WireReader]:
    """Connect a reader; at the end its connection is reset."""
    reader = wire_reader(receive_buffer=receive_buffer, on_text=on_text)
    try:
        await reader.open(port, **options)
        yield reader
    finally:
        await reader.abort()
