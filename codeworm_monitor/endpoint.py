"""The endpoint: the port on which readers connect by WebSocket and everything else asks by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import chain
from typing import cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from codeworm_monitor import frames
from codeworm_monitor.access import AccessRules
from codeworm_monitor.admission import Admission
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.catchup import CatchUp
from codeworm_monitor.connection import ReaderConnection
from codeworm_monitor.dashboard_api import DashboardAPI
from codeworm_monitor.envelope import Cursor, Envelope
from codeworm_monitor.errors import FrameError, PortTakenError, RelayError
from codeworm_monitor.fanout import BATCH, Fanout, is_v1
from codeworm_monitor.filters import Filter
from codeworm_monitor.http import Answer
from codeworm_monitor.hub import Hub, Start
from codeworm_monitor.page import Page
from codeworm_monitor.reception import Reception
from codeworm_monitor.records import Kind, kind_of
from codeworm_monitor.static_files import StaticFiles
from codeworm_monitor.statistics import RateMeter

__all__ = ["Endpoint"]

OPEN_TIMEOUT = 10.0
"""Seconds that a handshake, and a v2 reader's first `subscribe`, may take."""
RESUBSCRIBE_PAUSE = 0.2
"""Seconds that a changed subscription has to wait: each may mean another look through the backlog."""
KEEPALIVE = 20.0
"""Seconds without a byte from a reader after which it is sent a ping; after twice as many it is taken for gone."""
SWEEP = 1.0
"""Seconds between looks for stalled readers and for readers to be told their position."""
CLOSE_REASON = 123
"""Most bytes of UTF-8 in the reason of a close frame (RFC 6455, section 5.5)."""
V1_SUBPROTOCOL = "codeworm.v1"
"""For browsers that put the token into a subprotocol and speak v1: they want one of their offers chosen."""
HISTORY_BYTES = 900 * 2**10
"""Largest v1 history frame: clients of the `websockets` library close on a message over 1 MiB."""

log = logging.getLogger(__name__)


class Endpoint:
    """Serves one hub on one port.

    A reader that offers the subprotocol `codeworm.v2` is spoken to in v2, any other in v1 (`frames` describes both).
    Each has the promises of `Fanout`. What a reader sends is bounded in size and rate: one that sends faster is read
    more slowly, never at others' cost.

    Args:
        hub: What is served.
        rules: Who may connect.
        answer: Answers HTTP requests on other paths than the WebSocket's, given path and query; None is answered 404.
        channels: Channels relayed, as `hello` tells them.
        version: Version told to readers.
        path: Path of the WebSocket, which is at `reception.API_SOCKET` too.
        dashboard: The original dashboard's REST API; None: it is not served.
        static: The front end served beside it; None: none is.
        page: The dashboard of this package, served beside both; None: it is not.
        history: Messages in the v1 history.
        admission: How many may be connected.
        max_inbound: Largest message taken from a reader, in bytes.
        inbound_rate: Messages a second taken from one reader.
        note: Told of what befalls the endpoint: an event's name, a level, details.
        clock: What readers are told of the time, Unix seconds.
        window: Seconds in which messages after the first are joined into one write.
        send_timeout: Seconds a reader may take nothing before it is cut.
        heartbeat: Seconds after which a v2 reader that was sent nothing is told the position.
    """

    def __init__(
        self,
        hub: Hub,
        rules: AccessRules,
        *,
        answer: Callable[[str, str], Awaitable[Answer | None]],
        channels: Sequence[str],
        version: str,
        path: str = "/ws",
        dashboard: DashboardAPI | None = None,
        static: StaticFiles | None = None,
        page: Page | None = None,
        history: int = 200,
        admission: Admission | None = None,
        max_inbound: int = 64 * 2**10,
        inbound_rate: float = 50.0,
        note: Callable[..., None] = lambda event, **details: None,
        clock: Callable[[], float] = time.time,
        window: float = 0.002,
        send_timeout: float = 10.0,
        heartbeat: float = 15.0,
    ) -> None:
        self.hub = hub
        self.connected = 0
        """Readers that connected so far."""
        self.evicted = 0
        """Readers cut because they took nothing for `send_timeout` seconds, answered no ping, or flooded the relay."""
        self.fanout = Fanout(hub, window=window, heartbeat=heartbeat)
        self._send_timeout = send_timeout
        self._reception = Reception(rules, answer, socket_path=path, dashboard=dashboard, static=static, page=page)
        self._channels = list(channels)
        self._version = version
        self._history = history
        self.admission = admission or Admission(max_readers=10_000, max_per_address=256, max_handshakes=1_000)
        """Counts of who is connected."""
        self.throttled = 0
        """Messages of readers that had to wait, because they came faster than is taken."""
        self.loop_lag = 0.0
        """Seconds by which the event loop was late at the last look."""
        self.message_rate, self.byte_rate = RateMeter(), RateMeter()
        """Of entries numbered, and of bytes handed to sockets."""
        self._max_inbound = max_inbound
        self._inbound_rate = inbound_rate
        self._note = note
        self._clock = clock
        self._history_frame: tuple[int, bytes | None] = (-1, None)
        self._server: Server | None = None
        self._everyone: set[ReaderConnection] = set()  # from the first byte to the last
        self._sweeper: asyncio.Task[None] | None = None
        self._catch_up: CatchUp | None = None
        self._is_open = asyncio.Event()

    @property
    def catching_up(self) -> int:
        """Readers that are served from the archive now."""
        return 0 if self._catch_up is None else self._catch_up.readers

    @property
    def refused(self) -> int:
        """Requests refused by the rules or at the bound of readers."""
        return self._reception.refused

    @property
    def readers(self) -> int:
        """Readers connected now."""
        return self.admission.readers

    @property
    def port(self) -> int:
        """The port listened on."""
        if self._server is None:
            raise RelayError("the endpoint is not started")
        return cast(int, self._server.sockets[0].getsockname()[1])

    def open(self, archive: ArchiveWriter | None = None) -> None:
        """Begin to serve readers; those that are connected already have been waiting for it.

        Args:
            archive: Where readers are served from whose place lies before the backlog; None: they are told a gap.
        """
        if archive is not None:
            self._catch_up = CatchUp(self.hub, self.fanout, archive)
            self.fanout.take_over = self._catch_up.take_over
        self._is_open.set()

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Begin to listen; readers are served from `open` on.

        Raises:
            PortTakenError: Something else listens there.
            RelayError: The address cannot be had on this machine.
        """
        try:
            self._server = await serve(
                self._handle,
                host,
                port,
                create_connection=cast(
                    "type[ServerConnection]",
                    functools.partial(ReaderConnection, admission=self.admission, everyone=self._everyone),
                ),
                process_request=self._process_request,
                select_subprotocol=_select_subprotocol,
                compression=None,  # pre-made frames are written: no extension may change them
                server_header=None,
                open_timeout=OPEN_TIMEOUT,
                close_timeout=2,
                ping_interval=None,  # `_sweep` does it for all: a task each would be a fifth of a connection's memory
                max_size=self._max_inbound,
                logger=_quiet_logger(),
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else OPEN_TIMEOUT,
                backlog=1024,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(host, port) from error
            raise RelayError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._sweeper = asyncio.create_task(self._sweep(), name="relay:sweep")

    async def aclose(self, *, within: float = 5.0) -> None:
        """Stop listening, tell readers that the relay restarts (1012), and cut those that do not answer.

        Returns within `within` seconds, and a moment, whatever the readers do. May be called again.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        self._is_open.set()  # if it never was: those who wait for it go
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        self.fanout.close()
        if self._catch_up is not None:
            await self._catch_up.aclose()
        # A stalled reader, or one that never finishes its handshake, would hold the close for ever.
        for connection in list(self._everyone):
            if connection.paused or connection.is_in_handshake:
                connection.transport.abort()
        server.close(code=1012, reason="the relay restarts: come back in 1 to 5 s")
        try:
            async with asyncio.timeout(within):
                await server.wait_closed()
        except TimeoutError:
            for connection in list(self._everyone):
                connection.transport.abort()
            if abort_clients := getattr(server.server, "abort_clients", None):  # from 3.13 on: TLS under way, too
                abort_clients()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await server.wait_closed()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.message_rate.note(loop.time(), self.hub.head)
            self.byte_rate.note(loop.time(), self.fanout.bytes_sent)
            due = loop.time() + SWEEP
            await asyncio.sleep(SWEEP)
            self.loop_lag = max(0.0, loop.time() - due)
            try:
                self.fanout.tell_positions()
                self._judge_readers()
            except Exception:  # without it, none would be judged again
                log.exception("the look at readers failed")

    def _judge_readers(self) -> None:
        for connection in list(self._everyone):
            if not connection.keep_alive(KEEPALIVE):
                self._evict(connection, "does not answer")
            elif connection.is_flooding:
                self._evict(connection, "sent more at once than is kept for a reader")
            elif connection.is_stalled(self._send_timeout):
                self._evict(connection, "takes nothing")

    def _evict(self, connection: ReaderConnection, why: str) -> None:
        self.evicted += 1
        self._note("reader_evicted", level="warning", address=connection.address, reason=why)
        connection.transport.abort()  # closing would wait for the very buffer that does not drain

    # HTTP, and the handshake

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, ReaderConnection)
        response = await self._reception.receive(request, connection)
        if response is None and (refusal := self.admission.check(connection.address)) is not None:
            response = self._reception.refuse(request, refusal)
        return response

    # WebSocket

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, ReaderConnection)
        connection.end_handshake()
        connection.response = None
        if connection.request is not None:
            connection.request.headers.clear()  # with the answer some 2 KB, of a token too, that nobody will ask for
        self.connected += 1
        address, protocol = connection.address, "v2" if connection.subprotocol == frames.SUBPROTOCOL else "v1"
        self.admission.enter(address)
        self._note("reader_connected", address=address, protocol=protocol, readers=self.readers)
        try:
            await self._is_open.wait()
            if self._server is None:  # it was closed before it was opened
                return
            if protocol == "v2":
                await self._speak_v2(connection)
            else:
                await self._speak_v1(connection)
        except (ConnectionClosed, OSError):
            pass  # how every conversation ends; what broke it is told to those who wait for its buffer to drain
        except FrameError as error:
            _send(connection, frames.encode_v2(frames.ErrorFrame(str(error))))
            with contextlib.suppress(ConnectionClosed):
                await connection.close(frames.CLOSE_PROTOCOL, _within(str(error), CLOSE_REASON))
        finally:
            await self._unsubscribe(connection)
            self.admission.leave(address)
            self._note("reader_left", address=address, protocol=protocol, readers=self.readers)

    async def _speak_v1(self, connection: ReaderConnection) -> None:
        history = self._v1_history()
        if history is not None:
            _send(connection, history)
        self.fanout.add(connection, is_v2=False, wanted=Filter(), offset=self.hub.head)
        async for message in self._metered(connection):
            if message in ("ping", b"ping"):
                _send(connection, frames.V1_PONG)
                await connection.drain()

    async def _metered(self, connection: ReaderConnection) -> AsyncIterator[str | bytes]:
        """Yield a reader's messages, no faster than the rate after a first burst."""
        loop, rate = asyncio.get_running_loop(), self._inbound_rate
        allowance, seen_at = 2 * rate, loop.time()
        async for message in connection:
            if connection.state is not State.OPEN:
                return  # nobody waits for the answers to what it left in the queue
            now = loop.time()
            allowance = min(2 * rate, allowance + (now - seen_at) * rate)
            seen_at = now
            if allowance < 1:
                self.throttled += 1
                await asyncio.sleep((1 - allowance) / rate)
            allowance -= 1
            yield message

    def _v1_history(self) -> bytes | None:
        head, frame = self._history_frame
        if head != self.hub.head:
            backlog = self.hub.backlog
            newest: list[Envelope] = []
            for entry in chain(reversed(backlog), reversed(self.hub.past)):
                if len(newest) >= self._history:
                    break
                if is_v1(entry) and kind_of(entry.channel) is not Kind.STATS:
                    newest.append(entry)
            frame = frames.encode_v1_history(reversed(newest), max_bytes=HISTORY_BYTES)
            self._history_frame = (self.hub.head, frame)
        return frame

    async def _speak_v2(self, connection: ReaderConnection) -> None:
        hub = self.hub
        hello = frames.Hello(
            version=self._version,
            epoch=hub.epoch,
            oldest=hub.backlog.oldest if self._catch_up is None else self._catch_up.oldest,
            head=hub.head,
            channels=self._channels,
            snapshot=hub.snapshot.as_dict(),
            limits={
                "heartbeat_seconds": self.fanout.heartbeat,
                "max_frame_bytes": self._max_inbound,
                "batch_bytes": BATCH,
                "messages_per_second": self._inbound_rate,
            },
            time=self._clock(),
        )
        _send(connection, frames.encode_v2(hello))
        await connection.drain()
        messages = self._metered(connection)
        is_subscribed = False
        opened_at = asyncio.get_running_loop().time()
        while True:
            try:
                async with asyncio.timeout_at(None if is_subscribed else opened_at + OPEN_TIMEOUT):
                    message = await anext(messages, None)
            except TimeoutError:
                raise FrameError(f"no subscribe came within {OPEN_TIMEOUT:.0f} s") from None
            if message is None:
                return
            match frames.parse_from_client(message):
                case frames.Ping():
                    _send(connection, frames.encode_v2(frames.Pong(self._clock())))
                case frames.Subscribe() as request:
                    if is_subscribed:
                        await asyncio.sleep(RESUBSCRIBE_PAUSE)
                        if connection.state is not State.OPEN:
                            return
                        await self._unsubscribe(connection)
                    is_subscribed = True
                    await self._subscribe(connection, request)
            await connection.drain()

    async def _subscribe(self, connection: ReaderConnection, request: frames.Subscribe) -> None:
        start: Start | None = None
        if self._catch_up is not None and self.hub.falls_short(request):
            start = await self._catch_up.start_of(request)
        if start is None:
            start = self.hub.start_of(request)
        cursor = Cursor(self.hub.epoch, start.offset)
        answer = frames.Subscribed(cursor=cursor, recovered=start.recovered, reason=start.reason)
        _send(connection, frames.encode_v2(answer))
        if start.gap is not None:
            _send(connection, frames.encode_v2(start.gap))
        if self._catch_up is not None and start.offset < self.hub.backlog.oldest - 1:
            self._catch_up.begin(connection, request.filter, start.offset)
        else:
            self.fanout.add(connection, is_v2=True, wanted=request.filter, offset=start.offset)

    async def _unsubscribe(self, connection: ReaderConnection) -> None:
        if self._catch_up is not None:
            await self._catch_up.end(connection)
        if connection.reader is not None:
            self.fanout.remove(connection.reader)


def _send(connection: ReaderConnection, text: bytes) -> None:
    connection.send_frame(frames.text_frame(text))


def _within(text: str, size: int) -> str:
    """Return as much of a text as takes at most `size` bytes."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def _select_subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    for known in (frames.SUBPROTOCOL, V1_SUBPROTOCOL):
        if known in offered:
            return Subprotocol(known)
    return None


def _quiet_logger() -> logging.Logger:
    """Return a logger for the library: at debug level it would write request lines, and tokens in them."""
    quiet = logging.getLogger("codeworm_monitor.websockets")
    quiet.setLevel(logging.ERROR)
    quiet.addFilter(lambda record: record.levelno > logging.INFO)
    return quiet
