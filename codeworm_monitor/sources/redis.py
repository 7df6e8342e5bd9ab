"""A source that subscribes to Redis, and notices when it does not hear it any more.

redis-py opens the connection (`redis_target`); the transport is then taken over. Its own pub/sub costs several times
as much per message, and does not notice a server that froze, vanished, or refused the subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import hiredis

from codeworm_monitor.backoff import delays
from codeworm_monitor.errors import SettingError, SourceError, SourceRefusedError
from codeworm_monitor.sources import Connected, Disconnected, Happening, Message
from codeworm_monitor.sources.redis_target import OpenedConnection, RedisTarget

__all__ = ["RedisSource"]

_logger = logging.getLogger(__name__)

_CLIENT_NAME = b"codeworm_monitor"
_HEALTHY_AFTER = 5.0
"""Seconds a subscription must have held before the delays between attempts start again from the shortest."""
_RECHECK_AFTER = 0.05
"""Seconds between a missed deadline and the verdict: a loop that was blocked has first to read what came meanwhile."""
_FEED_BYTES = 16_384
"""hiredis moves the unread rest of its buffer every 1,024 bytes it reads: larger portions cost more per message."""
_REFUSAL_CODES = ("NOAUTH", "NOPERM", "WRONGPASS")
_PING = b"*1\r\n$4\r\nPING\r\n"
_NOTHING = object()


class RedisSource:
    """Messages published on channels of a Redis, under supervision.

    Promises:

    - Order and bytes: messages come in the order in which Redis sent them, payloads byte for byte. Channel names are
      UTF-8; bytes in them that are not appear as surrogates (`surrogateescape`), as Python has them in file names.
    - Loss: Redis pub/sub delivers at most once. Every interruption of the subscription is reported, with one
      `Disconnected` when it is noticed and one `Connected` when all channels are confirmed again; a Redis that cannot
      be reached at the start is an interruption that began then.
    - Notice: a connection that closes is noticed at once; a server or network that falls silent within
      `idle_after + dead_after` seconds, by a PING; a master that Sentinel replaced within `master_check` seconds.
    - Return: the pauses between attempts grow to `longest_pause` at most, with full jitter; there is no last attempt,
      also not after a refusal: a password or permission may be mended on the server's side.
    - Memory: when `max_waiting` bytes wait to be taken, reading stops until they are, and Redis' own output buffer
      limit for pub/sub clients decides whether it drops us; that is then an interruption like any other.

    It may be iterated again after the iterator was closed, not twice at a time. Closing it, or cancelling the task
    that waits for it, closes the connection within a second.

    Args:
        url: `redis://`, `rediss://`, `unix://` or `redis+sentinel://host:port,host:port/service`; see `RedisTarget`.
        channels: Names of the channels, at least one.
        dead_after: Seconds the server may take to open a connection, to confirm the channels, and to answer a PING.
        idle_after: Seconds of silence before a PING.
        longest_pause: Seconds between two attempts to connect, at most.
        master_check: Seconds between questions to the sentinels whether the master is still the same.
        max_waiting: Bytes that may wait to be taken, counted as they came over the network.

    Raises:
        SettingError: The URL cannot be used, or there is no channel.

    Example:
        >>> source = RedisSource("redis://localhost:6379", channels=["codeworm:logs"])
        >>> async for happening in source:
        ...     print(happening)
    """

    def __init__(
        self,
        url: str,
        *,
        channels: Sequence[str],
        # Supervision
        dead_after: float = 4.0,
        idle_after: float = 3.0,
        longest_pause: float = 3.0,
        master_check: float = 2.0,
        # Bounds
        max_waiting: int = 16 * 2**20,
    ) -> None:
        if isinstance(channels, str) or not channels:
            raise SettingError("channels", "name at least one channel, in a list")
        self._target = RedisTarget(url)
        self._channels = tuple(dict.fromkeys(channels))
        self._dead_after = dead_after
        self._idle_after = idle_after
        self._longest_pause = longest_pause
        self._master_check = master_check
        self._max_waiting = max_waiting
        self._problem: str | None = None
        self._is_iterated = False

    @property
    def name(self) -> str:
        """The URL, without secrets."""
        return self._target.name

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed, in one line, or None while the channels are heard.

        It may change during an interruption: Redis is down first, and then refuses a password.
        """
        return self._problem

    async def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Subscribe, and do so again after every interruption, until closed.

        Raises:
            RuntimeError: The source is being iterated already.
        """
        if self._is_iterated:
            raise RuntimeError(f"{self.name} is being read already: close that iterator first")
        self._is_iterated = True
        is_told = False
        heard_until = time.time()
        pauses = delays(longest=self._longest_pause)
        try:
            while True:
                held_since: float | None = None
                try:
                    async with self._subscribed() as subscription:
                        held_since = time.monotonic()
                        is_told, self._problem = False, None
                        yield Connected(time.time())
                        try:
                            while True:
                                yield await subscription.take()
                        finally:
                            heard_until = subscription.heard_until
                except SourceError as error:
                    if str(error) != self._problem:
                        _logger.warning("not subscribed to %s: %s", self.name, error)
                    self._problem = str(error)
                    if not is_told:
                        is_told = True
                        yield Disconnected(heard_until, str(error), isinstance(error, SourceRefusedError))
                # Not at once after success: a server that confirms and then closes would be asked without a pause.
                if held_since is not None and time.monotonic() - held_since >= _HEALTHY_AFTER:
                    pauses = delays(longest=self._longest_pause)
                await asyncio.sleep(next(pauses))
        finally:
            self._is_iterated = False

    @contextlib.asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[_Subscription]:
        opened = await self._target.connect(within=self._dead_after)
        subscription = _Subscription(
            opened.transport,
            self._channels,
            dead_after=self._dead_after,
            idle_after=self._idle_after,
            max_waiting=self._max_waiting,
        )
        watch: asyncio.Task[None] | None = None
        try:
            await subscription.start(opened)
            await subscription.confirmed()
            if opened.address is not None:
                watch = asyncio.create_task(self._watch_master(opened, subscription), name="redis:master")
                # It ends of itself after it has called `fail`, or by a mistake of ours, which is raised below.
                watch.add_done_callback(lambda _: subscription.fail(SourceError("the master is not watched any more")))
            yield subscription
        finally:
            # Closed first, and without suspending: cancellation may end the waits below.
            await opened.discard()
            if watch is not None:
                watch.cancel()
                await asyncio.wait([watch])
                if not watch.cancelled():
                    watch.result()
            await subscription.wait_closed()

    async def _watch_master(self, opened: OpenedConnection, subscription: _Subscription) -> None:
        # A demoted master that is cut off from the sentinels answers every PING, and hears no publisher any more.
        verified_at = time.time()
        while True:
            await asyncio.sleep(self._master_check)
            asked_at = time.time()
            try:
                address = await self._target.master(within=self._dead_after)
            except SourceError as error:
                _logger.warning("whether the master is still the same cannot be told: %s", error)
                continue
            if address != opened.address:
                subscription.fail(
                    SourceError(f"the master is now {address.host}:{address.port}"), heard_until=verified_at
                )
                return
            verified_at = asked_at


class _Subscription(asyncio.Protocol):
    """The reading side of one connection, from SUBSCRIBE to its end.

    The transport's callbacks collect messages and judge the server's silence; `take` hands the messages out. Whatever
    ends it is kept in `lost` and raised by `take`, after the last message that came before.

    Attributes:
        heard_until: Unix seconds of the last byte from the server; once lost, until when it is known to have been
            heard.
        lost: Why it ended, or None.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        channels: Sequence[str],
        *,
        dead_after: float,
        idle_after: float,
        max_waiting: int,
    ) -> None:
        self.heard_until = time.time()
        self.lost: SourceError | None = None
        self._dead_after = dead_after
        self._idle_after = idle_after
        self._max_waiting = max_waiting
        self._names = {name.encode("utf-8", "surrogateescape"): name for name in channels}
        self._pending = set(self._names)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._messages: list[Message] = []
        self._waiting = 0
        self._transport = transport
        self._is_paused = False
        # Something the reader may act upon has changed.
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()  # until the transport knows of us
        # Supervision: what was asked, when, and whether a byte has come since.
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._asked_at = time.monotonic()
        self._is_answered = True
        self._is_rechecked = False
        self._is_named = False
        self._is_pinged = False
        self._complaint: str | None = None

    # Called by the source

    async def start(self, opened: OpenedConnection) -> None:
        """Take over the connection and ask for the channels; does not suspend.

        Raises:
            SourceError: The connection was lost meanwhile.
        """
        rest = await opened.hand_over(self)
        self._closed.clear()
        self._is_answered = False
        self._asked_at = time.monotonic()
        self._transport.write(_command(b"CLIENT", b"SETNAME", _CLIENT_NAME) + _command(b"SUBSCRIBE", *self._names))
        self._watch()
        if rest:
            self.data_received(rest)

    async def confirmed(self) -> None:
        """Wait until all channels are confirmed; cancellation changes nothing.

        Raises:
            SourceRefusedError: A channel is not permitted.
            SourceError: The connection was lost, or the server is silent.
        """
        while self._pending:
            await self._change()

    async def take(self) -> list[Message]:
        """Return the messages that have come since the last call, at least one; cancellation loses none.

        Raises:
            SourceError: The connection was lost, and all that came before was taken.
        """
        while not self._messages:
            await self._change()
        messages, self._messages, self._waiting = self._messages, [], 0
        if self._is_paused:
            self._is_paused = False
            if self.lost is None:
                self._transport.resume_reading()
        return messages

    async def _change(self) -> None:
        if self.lost is not None:
            raise self.lost
        self._wake.clear()
        await self._wake.wait()

    def fail(self, error: SourceError, *, heard_until: float | None = None) -> None:
        """Give the connection up: `take` raises `error` once it has returned what came before.

        Args:
            error: What happened.
            heard_until: Unix seconds until when the channels are known to have been heard, if not to the last byte.
        """
        if self.lost is not None:
            return
        self.lost = error
        if heard_until is not None:
            self.heard_until = min(heard_until, self.heard_until)
        self._stop_watching()
        self._wake.set()
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait, for a second at most, until the transport is closed."""
        self._stop_watching()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._closed.wait()

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        self._is_answered = True
        self._heard_at = time.monotonic()
        self.heard_until = now = time.time()
        self._waiting += len(data)
        # The loop below is the cost of a message: local names, and no call into Python.
        names, feed, gets, new = self._names, self._reader.feed, self._reader.gets, tuple.__new__
        append = self._messages.append
        try:
            for start in range(0, len(data), _FEED_BYTES):
                feed(data, start, min(_FEED_BYTES, len(data) - start))
                for reply in iter(gets, _NOTHING):
                    try:
                        kind, channel, payload = reply
                    except (TypeError, ValueError):
                        self._take_reply(reply)
                        continue
                    if kind == b"message" and type(payload) is bytes:
                        append(new(Message, (names[channel], payload, now)))
                    else:
                        self._take_reply(reply)
        except SourceError as error:
            self.fail(error)
        except (hiredis.HiredisError, KeyError, TypeError) as error:
            # Not the protocol, a channel never asked for, or an array in the place of a name.
            self.fail(SourceError(f"what answers is no Redis, or its answer was damaged: {_text(error)}"))
        if self._messages:
            self._wake.set()
            if self._waiting > self._max_waiting and not self._is_paused and self.lost is None:
                self._is_paused = True
                self._transport.pause_reading()

    def _take_reply(self, reply: Any) -> None:
        """Act upon what is no message.

        Raises:
            SourceError: The subscription is refused or over, or this is no reply that was asked for.
        """
        match reply:
            case [b"subscribe", name, int()]:
                self._pending.discard(name)
                if not self._pending:
                    self._wake.set()
            case [b"pong", _]:
                self._is_pinged = False
            case hiredis.ReplyError():
                self._take_error(str(reply))
            case b"OK" if not self._is_named:
                self._is_named = True
            case [b"unsubscribe", *_]:
                raise SourceError("Redis ended the subscription")
            case _:
                raise SourceError(f"what answers is no Redis, or its answer was damaged: {reply!r:.80}")

    def _take_error(self, text: str) -> None:
        if not self._is_named and self._pending:
            # Probably CLIENT SETNAME, which may be forbidden; but the reason as well if the connection closes next.
            self._is_named, self._complaint = True, text
        elif not self._pending and self._is_pinged:
            # LOADING, BUSY, or PING is not granted: in any case an answer.
            self._is_pinged = False
        elif text.startswith(_REFUSAL_CODES):
            raise SourceRefusedError(f"Redis refused the subscription: {text}")
        else:
            raise SourceError(f"Redis answered: {text}")

    def connection_lost(self, error: Exception | None) -> None:
        if self.lost is None:
            if self._complaint is not None and self._pending:
                self.lost = SourceError(f"Redis answered: {self._complaint}")
            elif error is None or isinstance(error, ConnectionError):
                self.lost = SourceError(
                    "Redis closed the connection (it ended, cut its clients, or we read more slowly than it allows)"
                )
            else:  # among them the kernel's ETIMEDOUT
                self.lost = SourceError(f"the connection broke: {_text(error)}")
        self._stop_watching()
        self._wake.set()
        self._closed.set()

    # Called by the timer

    def _watch(self) -> None:
        """Judge the server's silence, ask it for a sign of life, and come back when there is more to judge."""
        now = time.monotonic()
        if self._is_paused:
            # It is we who do not read.
            self._heard_at, self._is_answered = now, True
        is_waiting = bool(self._pending) or not self._is_answered
        if not is_waiting:
            self._is_rechecked = False
            if now - self._heard_at >= self._idle_after:
                self._is_answered, self._is_pinged, self._asked_at = False, True, now
                self._transport.write(_PING)
                is_waiting = True
        if not is_waiting:
            pause = self._heard_at + self._idle_after - now
        elif (pause := min(self._asked_at + self._dead_after - now, self._idle_after)) <= 0:
            if self._is_rechecked:
                asked = "SUBSCRIBE" if self._pending else "PING"
                self.fail(SourceError(f"Redis has not answered {asked} for {self._dead_after:g} s"))
                return
            self._is_rechecked = True
            pause = _RECHECK_AFTER
        self._timer = asyncio.get_running_loop().call_later(pause, self._watch)


def _command(*words: bytes) -> bytes:
    return b"".join((b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)))


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
