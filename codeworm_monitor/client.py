"""The client of a relay: speaks v2, reconnects with jitter, resumes by cursor. Pure asyncio; no table, no thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from codeworm_monitor import discovery
from codeworm_monitor.backoff import delays
from codeworm_monitor.envelope import MAX_OFFSET, Cursor, Gap
from codeworm_monitor.errors import ConnectError, FrameError, RelayNotFoundError, TokenRefusedError
from codeworm_monitor.frames import (
    CLOSE_PROTOCOL,
    SUBPROTOCOL,
    Batch,
    ErrorFrame,
    Hello,
    Pong,
    Position,
    ServerFrame,
    Subscribe,
    Subscribed,
    encode_from_client,
    parse_from_server,
)
from codeworm_monitor.told import plainly

__all__ = ["Address", "Ended", "Happening", "Lost", "RelayClient", "known_addresses"]

MAX_FRAME = 64 * 2**20
"""Largest frame taken, in bytes."""
OPEN_TIMEOUT = 10.0
"""Seconds that a handshake, and the relay's first frame, may take."""
DEFAULT_HEARTBEAT = 15.0
SILENCE = 2.5
"""A connection on which nothing was heard for so many heartbeats is given up."""
EARLIEST, LATEST = -62_135_596_800, 253_402_300_800
"""The years 1 to 9999 in Unix seconds: what a datetime can say."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a relay is.

    Attributes:
        url: WebSocket URL, without the token.
        token: What to present; None: nothing. Not shown by `repr`.
    """

    url: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There is no connection now; the next attempt is made by itself.

    Attributes:
        reason: Why, one line for a person.
        url: Where there was one, or the last place tried; None if no relay is known.
        was_connected: Whether there was a connection until now.
        is_refusal: The relay answered and refused.
        wants_token: It wants a token, or another one.
        retry_in: Seconds until the next attempt.
    """

    reason: str
    url: str | None
    was_connected: bool = False
    is_refusal: bool = False
    wants_token: bool = False
    retry_in: float = 0.0

    def as_error(self, *, token: str, relay: str) -> ConnectError:
        """Return the error that says why there is no connection, and what to do.

        Args:
            token: How the token is given here.
            relay: How a relay is started, or named, here.
        """
        refused = f"the relay at {self.url} refused: {self.reason}"
        if self.wants_token:
            return TokenRefusedError(f"{refused}; {token}")
        if self.is_refusal:
            return ConnectError(refused)
        place = f"no relay answers at {self.url} ({self.reason})" if self.url else "no relay is known on this machine"
        return RelayNotFoundError(f"{place}: {relay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The relay closed the connection and said not to come back.

    Attributes:
        reason: Why, one line for a person.
        code: Close code, 4500 or more.
    """

    reason: str
    code: int


Happening = ServerFrame | Lost | Ended


class RelayClient:
    """Reads one relay, for as long as it is iterated.

    Promises: of one epoch, entries come in ascending order of offset, without duplicates, also over reconnections.
    After a loss the client resumes with its cursor: what was missed comes, or a gap that says what is missing, before
    anything newer. Each connection begins with `Hello` and `Subscribed`.

    The first delay after a healthy connection is drawn from 0 to `first_delay` seconds; the bound doubles up to
    `longest_delay`, and starts again only after a connection that lasted `healthy_after` seconds. A relay that
    refuses the token is asked more slowly. A connection is given up when nothing is heard for 2.5 times the relay's
    heartbeat. Where to connect is asked anew before each attempt, as a relay that was restarted has a new token.

    Args:
        locate: Returns the addresses to try, the best first; called in a thread, so it may read files.
        subscribe: What is wanted at first: the cursor takes its place once there is one.
        first_delay: Seconds.
        longest_delay: Seconds.
        healthy_after: Seconds.

    Attributes:
        cursor: The newest entry that was yielded; None before the first answer.
        url: Where the newest connection was made; None before the first.
        bytes_received: Bytes of frames received so far.
    """

    def __init__(
        self,
        locate: Callable[[], Sequence[Address]],
        subscribe: Subscribe,
        *,
        first_delay: float = 0.1,
        longest_delay: float = 10.0,
        healthy_after: float = 5.0,
    ) -> None:
        self.cursor: Cursor | None = subscribe.cursor
        self.url: str | None = None
        self.bytes_received = 0
        self._locate = locate
        self._subscribe = subscribe
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._healthy_after = healthy_after

    async def stream(self) -> AsyncGenerator[Happening, None]:
        """Yield what the relay sends, and losses of the connection, until closed or `Ended`.

        Cancelling, or closing the generator, closes the connection within about a second.
        """
        waits, slow_waits = self._new_waits()
        loop = asyncio.get_running_loop()
        while True:
            connection, lost = await self._connect()
            if connection is not None:
                connected_at, was_greeted = loop.time(), False
                try:
                    async with aclosing(self._converse(connection)) as frames:
                        async for frame in frames:
                            was_greeted = True
                            yield frame
                    code, reason = connection.close_code, connection.close_reason
                    if code is not None and code >= CLOSE_PROTOCOL:
                        yield Ended(reason=reason or f"the relay closed the connection for good ({code})", code=code)
                        return
                    why = f"the connection was closed ({code}{f', {reason}' if reason else ''})"
                except TimeoutError:
                    why = "nothing was heard from the relay for too long"
                except FrameError as error:
                    why = f"the relay sent what cannot be read: {error}"
                    await connection.close(1002)
                finally:
                    # A relay that does not answer the close is not waited for long: see `close_timeout`.
                    await connection.close()
                lost = Lost(reason=why, url=self.url, was_connected=was_greeted)
                if loop.time() - connected_at >= self._healthy_after:
                    waits, slow_waits = self._new_waits()
            lost = replace(lost, retry_in=next(slow_waits if lost.is_refusal else waits))
            log.info("no connection to %s: %s; next attempt in %.1f s", lost.url, lost.reason, lost.retry_in)
            yield lost
            await asyncio.sleep(lost.retry_in)

    def _new_waits(self) -> tuple[Any, Any]:
        slowest = max(30.0, self._longest_delay)
        return (
            delays(first=self._first_delay, longest=self._longest_delay),
            delays(first=max(2.0, self._first_delay), longest=slowest),
        )

    async def _connect(self) -> tuple[ClientConnection | None, Lost]:
        """Return a connection to the first address that answers, or why none did."""
        lost = Lost(reason="no relay is known", url=None)
        for address in await asyncio.to_thread(self._locate):
            try:
                connection = await _Connect(
                    address.url,
                    subprotocols=[Subprotocol(SUBPROTOCOL)],
                    additional_headers={"Authorization": f"Bearer {address.token}"} if address.token else None,
                    compression=None,  # relay and reader share the machine's cores
                    proxy=None,
                    max_size=MAX_FRAME,
                    ping_interval=None,  # the relay's heartbeat tells more: that its hub lives, not just its socket
                    open_timeout=OPEN_TIMEOUT,
                    close_timeout=1.0,
                    logger=_quiet_logger(),
                )
            except InvalidStatus as error:
                status = error.response.status_code
                is_refusal = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
                said = bytes(error.response.body or b"")[:200].decode(errors="replace").strip()
                problem = f"it answered {status}{f': {said}' if said else ''}"
                failed = Lost(
                    reason=problem,
                    url=address.url,
                    is_refusal=is_refusal,
                    wants_token=status == HTTPStatus.UNAUTHORIZED,
                )
            except (
                OSError,
                InvalidHandshake,
                InvalidURI,
                EOFError,
                UnicodeError,
            ) as error:  # TimeoutError is an OSError
                failed = Lost(reason=plainly(error), url=address.url)
            else:
                if connection.subprotocol == SUBPROTOCOL:
                    self.url = address.url
                    return connection, lost
                await connection.close()
                failed = Lost(reason="what answers is no relay of this kind (it does not speak v2)", url=address.url)
            # That a relay refused is worth more to know than that another address is dead.
            if failed.is_refusal or not lost.is_refusal:
                lost = failed
        return None, lost

    async def _converse(self, connection: ClientConnection) -> AsyncGenerator[ServerFrame, None]:
        """Yield the frames of one connection until it is closed.

        Raises:
            TimeoutError: Nothing was heard for too long.
            FrameError: A frame breaks the protocol.
        """
        patience = OPEN_TIMEOUT
        epoch: str | None = None
        while True:
            try:
                async with asyncio.timeout(patience):
                    text = await connection.recv(decode=False)
            except ConnectionClosed:
                return
            self.bytes_received += len(text)
            frame = parse_from_server(text)
            match frame:
                case Hello():
                    if epoch is not None:
                        raise FrameError("a second hello")
                    epoch = frame.epoch
                    patience = SILENCE * _heartbeat(frame)
                    yield frame
                    try:
                        await connection.send(encode_from_client(self._request(frame)), text=True)
                    except ConnectionClosed:
                        return
                case None | Pong():
                    pass
                case ErrorFrame():
                    log.info("the relay says: %s", frame.message)
                    yield frame
                case _ if epoch is None:
                    raise FrameError("the first frame is not hello")
                case Subscribed():
                    self.cursor = frame.cursor
                    yield frame
                case _ if self.cursor is None:
                    raise FrameError("entries came before the answer to subscribe")
                case _:
                    fresh = self._advance(frame)
                    if fresh is not None:
                        yield fresh

    def _request(self, hello: Hello) -> Subscribe:
        wanted = self._subscribe
        if self.cursor is not None:
            return Subscribe(cursor=self.cursor, filter=wanted.filter)
        if wanted.tail is None and wanted.time is None:
            # From now on means from the state that `hello` told: nothing falls between the two.
            return Subscribe(cursor=Cursor(hello.epoch, hello.head), filter=wanted.filter)
        return wanted

    def _advance(self, frame: Batch | Gap | Position) -> Batch | Gap | Position | None:
        """Move the cursor past a frame; return of it what was not yielded before."""
        assert self.cursor is not None
        epoch, seen = self.cursor.epoch, self.cursor.offset
        match frame:
            case Batch(envelopes):
                previous = 0
                for envelope, _ in envelopes:
                    if not previous < envelope.offset <= MAX_OFFSET:
                        raise FrameError(f"the offset {envelope.offset} follows {previous}")
                    if not EARLIEST <= envelope.received_at < LATEST:
                        raise FrameError(f"the time {envelope.received_at} is no time")
                    previous = envelope.offset
                if envelopes and envelopes[0][0].offset <= seen:
                    envelopes = [pair for pair in envelopes if pair[0].offset > seen]
                    frame = Batch(envelopes)
                if not envelopes:
                    return None
                seen = envelopes[-1][0].offset
            case Gap():
                if not all(EARLIEST <= time < LATEST for time in (frame.started_at, frame.ended_at)):
                    raise FrameError("a gap's times are no times")
                if frame.offset is not None and frame.offset <= seen:
                    return None
                seen = max(seen, frame.offset or 0, frame.last_offset or 0)
            case Position(offset):
                seen = max(seen, offset)
        if seen > MAX_OFFSET:
            raise FrameError(f"the offset {seen} is over {MAX_OFFSET}")
        self.cursor = Cursor(epoch, seen)
        return frame


def known_addresses(url: str | None, token: str | None, last: str | None) -> list[Address]:
    """Return where a relay may be, the best first; reads files.

    Args:
        url: Where somebody named it; None: the newest one of this user on this machine.
        token: What to present; None: what the relay on this machine announced.
        last: Where it was last; None: nowhere yet.
    """
    announced = discovery.find(url)
    if url is not None:
        return [Address(url, token or next((one.token for one in announced), None))]
    # It comes back where it was, most likely; with several relays, one does not take the other's place.
    announced.sort(key=lambda one: one.url != last)
    found = [Address(one.url, token or one.token) for one in announced]
    return found or [Address(last or discovery.DEFAULT_URL, token)]


class _Connect(connect):
    """Follows no redirect: the token is for the relay that was named, and for nobody it may point to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _heartbeat(hello: Hello) -> float:
    value = hello.limits.get("heartbeat_seconds")
    is_usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 86_400
    return float(value) if is_usable and value is not None else DEFAULT_HEARTBEAT


def _quiet_logger() -> logging.Logger:
    """Return a logger for the library: at debug level it would write the request's headers, and the token in them."""
    quiet = logging.getLogger("codeworm_monitor.websockets")
    quiet.setLevel(logging.ERROR)
    return quiet
