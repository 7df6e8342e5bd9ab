"""The reading side of one connection to Redis: from SUBSCRIBE to its end, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from codeworm_monitor.errors import SourceError, SourceRefusedError
from codeworm_monitor.sources import Message
from codeworm_monitor.sources.redis_target import OpenedConnection

__all__ = ["Subscription"]

_CLIENT_NAME = b"codeworm_monitor"
_RECHECK_AFTER = 0.05
"""Seconds between a missed deadline and the verdict: a loop that was blocked has first to read what came meanwhile."""
_FEED_BYTES = 16_384
"""hiredis moves the unread rest of its buffer every 1,024 bytes it reads: larger portions cost more per message."""
_REFUSAL_CODES = ("NOAUTH", "NOPERM", "WRONGPASS")
_PING = b"*1\r\n$4\r\nPING\r\n"
_NOTHING = object()


class Subscription(asyncio.Protocol):
    """The reading side of one connection, from SUBSCRIBE to its end.

    The transport's callbacks collect messages and judge the server's silence; `take` hands the messages out. Whatever
    ends it is kept in `lost` and raised by `take`, after the last message that came before.

    One more channel can be subscribed, for probes (`hear_probes`): it is refused by itself, and what comes on it is no
    message.

    Attributes:
        heard_until: Unix seconds of the last byte from the server; once lost, until when it is known to have been
            heard.
        lost: Why it ended, or None.
        heard_probe: Payload of the newest probe that came.
        probe_heard_at: When it came, by the monotonic clock.
        pongs: Answers to PING so far, refusals included; see `ping`.
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
        self.heard_probe: bytes | None = None
        self.probe_heard_at = 0.0
        self.pongs = 0
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
        # What was asked after the channels were confirmed: answers come in this order.
        self._asked: deque[bytes] = deque()
        self._pings = 0
        self._probe_channel: bytes | None = None
        self._is_probe_confirmed = False
        self._probe_refusal: str | None = None
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
        await self.until(lambda: not self._pending)

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

    @property
    def has_messages(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._messages)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until this is so, asked again after whatever came, and after `wake`; cancellation changes nothing.

        Raises:
            SourceError: The connection was lost, and it is not so.
        """
        while not condition():
            await self._change()

    def wake(self) -> None:
        """Have those who wait look again."""
        self._wake.set()

    async def _change(self) -> None:
        # Several may wait: each looks at its condition, clears and waits without suspending in between.
        if self.lost is not None:
            raise self.lost
        self._wake.clear()
        await self._wake.wait()

    async def hear_probes(self, channel: bytes) -> str | None:
        """Subscribe to the channel of the probes, unless that is done; return the server's refusal, or None.

        To be called when the other channels are confirmed, which are not affected. Cancellation changes nothing.

        Raises:
            SourceError: The connection was lost.
        """
        if not self._is_probe_confirmed:
            self._probe_channel, self._probe_refusal = channel, None
            self._asked.append(b"SUBSCRIBE")
            self._transport.write(_command(b"SUBSCRIBE", channel))
            await self.until(lambda: self._is_probe_confirmed or self._probe_refusal is not None)
        return self._probe_refusal

    def ping(self) -> int:
        """Send a PING and return what `pongs` will be, at least, when it is answered.

        The server answers in order: whatever it had sent to this connection before has come by then.
        """
        self._pings += 1
        self._asked.append(b"PING")
        self._transport.write(_PING)
        return self._pings

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
        """Take what came: the transport calls this."""
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
                        try:
                            append(new(Message, (names[channel], payload, now)))
                        except KeyError:
                            self._take_probe(channel, payload)
                    else:
                        self._take_reply(reply)
        except SourceError as error:
            self.fail(error)
        except (hiredis.HiredisError, TypeError) as error:
            # Not the protocol, or an array in the place of a name.
            self.fail(SourceError(f"what answers is no Redis, or its answer was damaged: {_text(error)}"))
        if self._messages:
            self._wake.set()
            if self._waiting > self._max_waiting and not self._is_paused and self.lost is None:
                self._is_paused = True
                self._transport.pause_reading()
        else:
            self._waiting = 0

    def _take_probe(self, channel: bytes, payload: bytes) -> None:
        """Note a probe.

        Raises:
            SourceError: It is none: that channel was never asked for.
        """
        if channel != self._probe_channel:
            raise SourceError(f"what answers is no Redis, or its answer was damaged: a message on {channel!r:.80}")
        self.heard_probe, self.probe_heard_at = payload, self._heard_at
        self._wake.set()

    def _take_reply(self, reply: Any) -> None:
        """Act upon what is no message.

        Raises:
            SourceError: The subscription is refused or over, or this is no reply that was asked for.
        """
        match reply:
            case [b"subscribe", name, int()] if name == self._probe_channel:
                self._is_probe_confirmed = True
                self._answer(b"SUBSCRIBE")
            case [b"subscribe", name, int()]:
                self._pending.discard(name)
                if not self._pending:
                    self._wake.set()
            case [b"pong", _]:
                self._answer(b"PING")
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
        elif not self._pending and self._asked:
            # To PING, it is an answer whatever it says: LOADING, BUSY, or that PING is not granted.
            if self._asked[0] == b"SUBSCRIBE":
                self._probe_refusal = text
            self._answer(self._asked[0])
        elif text.startswith(_REFUSAL_CODES):
            raise SourceRefusedError(f"Redis refused the subscription: {text}")
        else:
            raise SourceError(f"Redis answered: {text}")

    def _answer(self, command: bytes) -> None:
        if self._asked and self._asked[0] == command:
            self._asked.popleft()
            self.pongs += command == b"PING"
            self._wake.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of the connection's end: the transport calls this."""
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
                self._is_answered, self._asked_at = False, now
                self.ping()
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
