"""One reader's connection: what the library's does not tell of who is at its other end, and whether it takes anything."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from codeworm_monitor.admission import Admission

if TYPE_CHECKING:
    from codeworm_monitor.fanout import Reader

__all__ = ["ReaderConnection"]

PING = b"\x89\x00"
"""A WebSocket ping without content, as a server sends it (RFC 6455, section 5.5.2)."""
MAX_BUFFERED = 4 * 2**20
"""Bytes in one reader's write buffer that are not ours to explain (a flood of pings unread): cut at once."""
MAX_QUEUED = 256
"""Messages, or fragments of one, of a reader that wait to be looked at; it is cut when more come at once."""


class ReaderConnection(ServerConnection):
    """A WebSocket connection whose reader learns at once when it may not, or may again, be written to."""

    reader: Reader | None = None
    address = ""
    """Address of the other end, without the port."""
    is_flooding = False
    """Whether it sent more at once than is kept for it."""
    is_in_handshake = False
    """Whether it is not yet known who this is."""
    _heard_at = 0.0
    _is_asked = False
    _paused_at = 0.0
    _waiting = -1

    def __init__(self, *args: Any, admission: Admission, everyone: set[ReaderConnection], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._admission = admission
        self._everyone = everyone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport when the connection was accepted."""
        super().connection_made(transport)
        where = transport.get_extra_info("peername")  # now: uvloop cannot tell of one that has gone
        self.address = str(where[0]) if isinstance(where, tuple) and where else ""
        self._heard_at = self.loop.time()
        self._everyone.add(self)
        self.is_in_handshake = True
        if not self._admission.begin():
            self.transport.abort()

    def end_handshake(self) -> None:
        """Count the handshake as over; called once it is, or the connection is lost, whichever comes first."""
        if self.is_in_handshake:
            self.is_in_handshake = False
            self._admission.end()

    def pause_writing(self) -> None:
        """Called by the transport when its buffer passes the high-water mark."""
        super().pause_writing()
        self._paused_at = self.loop.time()

    def resume_writing(self) -> None:
        """Called by the transport when its buffer has drained."""
        super().resume_writing()
        self._heard_at = self.loop.time()  # it took something, and while it was paused it was not asked
        if self.reader is not None:
            self.reader.lane.part(self.reader)
            if self.reader.lane.catch_up(self.reader):
                self.reader.lane.fanout.flush_soon()

    def send_data(self) -> None:
        """Called by the library when it has written: a pong, a ping, or a close frame, after which nothing may come."""
        super().send_data()
        self._part()

    def send_frame(self, frames: bytes) -> None:
        """Hand whole frames to the transport; frames to a connection that is not open are dropped."""
        # Writing ready frames by-passes the library, which would frame them anew for each reader. Right as long as no
        # extension is negotiated and no fragmented message is being sent; the endpoint does neither.
        if self.state is State.OPEN:
            self.transport.write(frames)
            self._part()

    def _part(self) -> None:
        # What waits in the transport must not be overtaken by what is written past it.
        if self.reader is not None and not self.reader.is_clear:
            self.reader.lane.part(self.reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport just before it closes the socket, whose descriptor may then be another's."""
        self.end_handshake()
        self._everyone.discard(self)
        if self.reader is not None:
            self.reader.lane.fanout.remove(self.reader)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the transport with what came."""
        self._heard_at = self.loop.time()
        self._is_asked = False
        super().data_received(data)
        if self.is_in_handshake and self.protocol.eof_sent and self.response is None:
            self.transport.abort()  # nonsense behind a request: the library would trip over its own end when it answers
        # One read may bring thousands; taking them at the rate would leave the socket, and its end, unread for minutes.
        self.is_flooding = self.is_flooding or (
            self.state is State.OPEN and len(self.recv_messages.frames) > MAX_QUEUED
        )

    def keep_alive(self, interval: float) -> bool:
        """Send a ping if nothing was heard for `interval` seconds; return whether it may live still. Ask now and then.

        Of a reader that has yet to take what was written `is_stalled` tells more.
        """
        if self.paused or self.state is not State.OPEN:
            return True
        silence = self.loop.time() - self._heard_at
        if silence >= interval and not self._is_asked:
            self._is_asked = True
            self.send_frame(PING)
        return silence < 2 * interval

    def is_stalled(self, timeout: float) -> bool:
        """Tell whether the other end took nothing for `timeout` seconds, or let far too much wait; ask now and then."""
        if not self.paused:
            return False
        buffered, now = self.transport.get_write_buffer_size(), self.loop.time()
        waiting = buffered + _unsent(self.transport)
        if waiting != self._waiting:  # it took something since the last look
            self._waiting, self._paused_at = waiting, now
        return now - self._paused_at >= timeout or buffered > MAX_BUFFERED


def _unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that the kernel holds for a socket's other end, which takes them long before it asks for more."""
    if sys.platform != "linux":
        return 0
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # closed meanwhile
        return 0
