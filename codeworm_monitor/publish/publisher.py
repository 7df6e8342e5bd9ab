"""The publisher: a program's messages to the three channels, without ever making the program wait."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time as now
from types import TracebackType
from typing import Any, Self

from codeworm_monitor.publish.encoding import LARGEST, encode
from codeworm_monitor.publish.lifetimes import enlist, strike
from codeworm_monitor.publish.outbox import DropReason, Outbox
from codeworm_monitor.publish.sending import Sender
from codeworm_monitor.publish.shapes import Message, Stamp, event_message, flat_message
from codeworm_monitor.publish.upstream import is_plain, named_url
from codeworm_monitor.settings import RelaySettings

__all__ = ["Publisher", "PublisherStatistics"]

log = logging.getLogger(__name__)

_NONE, _UTC, _LOCAL = Stamp.NONE, Stamp.UTC, Stamp.LOCAL  # looked up quicker


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStatistics:
    """Where a publisher stands.

    Attributes:
        waiting: Messages that wait or are under way.
        sent: Messages that Redis has taken.
        heard: Those of them that reached a subscriber.
        deliveries: How many subscribers they reached, in all.
        dropped: Messages that were dropped, by `DropReason`.
        is_connected: Whether there is a connection, as far as is known.
        connected_to: Where it leads or led, without secrets; empty before the first.
        problem: Why it is not connected, or what Redis refuses; empty: nothing.
    """

    waiting: int
    sent: int
    heard: int
    deliveries: int
    dropped: dict[str, int]
    is_connected: bool
    connected_to: str
    problem: str


class Publisher:
    """Publishes what a program says of itself, as CodeWorm does, to Redis and so to any relay.

    Promises:

    - *The program comes first.* `log`, `event`, `stats` and `publish` never wait for anything outside of the process and
      never raise, whatever they are given; they cost a few microseconds. They may be called from any thread, coroutine,
      signal handler or finaliser. A thread of the publisher's own, which starts with the first message, does the rest.
      What they are given may change as soon as they return.
    - *Order*: messages of one thread arrive in their order.
    - *Loss*: while Redis is away, the newest messages wait, up to `max_messages` and `max_bytes`; nothing is sent twice.
      What is dropped is counted, and said on the channel of logs as soon as Redis is there: a log line
      `messages_dropped` with `count`, `reason` (see `DropReason`), `since` and `until`. Redis itself keeps nothing:
      what it takes while nobody subscribes is gone (`statistics().heard`).
    - *Forks*: the child has a queue and, with its first message, a thread and a connection of its own; what the parent
      has queued, the parent sends.
    - *The end*: at exit what waits is sent, within `exit_within` seconds, and sooner given up if Redis is out of reach. A
      process that is killed by a signal without a handler (SIGTERM, SIGKILL) loses what is not sent yet, as a rule the last
      5 ms.

    Usable at once, with `with` or `async with`, or by `close` and `aclose`; the same object in threads and coroutines.

    Args:
        url: Redis, as for the relay: redis://, rediss://, unix:// or redis+sentinel://. None: `CODEWORM_MONITOR_REDIS_URL`,
            else `REDIS_URL`, else 127.0.0.1:6379 if one answers, else the one that a relay of this user on this machine hears.
        component: Who speaks in log lines that do not say so. None: the program's name.
        prefix: First part of the channels' names: `codeworm:logs`, `codeworm:events`, `codeworm:stats`.
        max_messages: Most messages that wait.
        max_bytes: Most bytes that they take; 512 KiB at least.
        answer_within: Seconds without an answer of Redis after which the connection is made anew.
        exit_within: Seconds that the end of the program may be delayed.

    Raises:
        SettingError: The URL cannot be used.

    Example:
        >>> publisher = Publisher(component="training")
        >>> publisher.log("epoch_finished", epoch=3, loss=0.21)
        >>> publisher.event("analyzing", target="model.py", repo="mine")
        >>> publisher.flush(1.0)
        True
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        # What is said
        component: str | None = None,
        prefix: str = "codeworm",
        # Bounds
        max_messages: int = 10_000,
        max_bytes: int = 16 * 2**20,
        answer_within: float = 5.0,
        exit_within: float = 2.0,
    ) -> None:
        RelaySettings(redis_url=url)
        if max_messages < 1 or max_bytes < 1 or answer_within <= 0 or exit_within < 0:
            raise ValueError("bounds are positive: max_messages, max_bytes, answer_within, exit_within")
        self.component = component or _program()
        self.exit_within = exit_within
        self._url = url
        self._bounds = (max_messages, max(max_bytes, 2 * LARGEST))
        self._within = answer_within
        self._logs, self._events, self._stats = (
            f"{prefix}:{name}".encode("utf-8", "replace") for name in ("logs", "events", "stats")
        )
        self._prepare()

    def _prepare(self) -> None:
        self._outbox = Outbox(*self._bounds)
        self._sender = Sender(self._outbox, self._url, self._logs, self.component, self._within)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    # What the program says

    def log(self, event: str, /, *, level: str = "info", component: str | None = None, **fields: Any) -> bool:
        """Publish a log line: `event`, `level`, `component`, `timestamp` in UTC, and any fields.

        Args:
            event: Name of what happened, or a text.
            level: debug, info, warning, error or critical.
            component: Who speaks; None: the publisher's.
            **fields: Anything more; `error` and `exception` are columns of their own in a notebook.

        Returns:
            Whether it waits to be sent; False: it was dropped, and counted.
        """
        try:
            line = {"event": event, "level": level, "component": component or self.component, **fields}
            return self._put(flat_message(self._logs, now(), _UTC, line))
        except Exception as error:  # noqa: BLE001  # the program comes first, whatever it gave us
            return self._reject(error)

    def event(self, type: str, /, **values: Any) -> bool:
        """Publish an event: `type`, `timestamp`, and the values as its `data`.

        Args:
            type: What happened; a step of CodeWorm's cycle, or any other.
            **values: Its particulars.

        Returns:
            See `log`.
        """
        try:
            return self._put(event_message(self._events, now(), type, values))
        except Exception as error:  # noqa: BLE001  # likewise
            return self._reject(error)

    def stats(self, **values: Any) -> bool:
        """Publish stats: the values and `timestamp`.

        Args:
            **values: Counters such as `total_cycles` and `success_rate`, or any other.

        Returns:
            See `log`.
        """
        try:
            return self._put(flat_message(self._stats, now(), _LOCAL, values))
        except Exception as error:  # noqa: BLE001  # likewise
            return self._reject(error)

    def publish(self, channel: str, message: Any) -> bool:
        """Publish any message on any channel, nothing added.

        Args:
            channel: Its full name.
            message: Bytes as they are, up to 256 KiB; anything else as JSON.

        Returns:
            See `log`.
        """
        try:
            if isinstance(message, bytes) and len(message) > LARGEST:
                raise ValueError(f"more than {LARGEST} bytes")
            text = message if isinstance(message, bytes) else encode(message)
            return self._put((channel.encode("utf-8", "replace"), now(), _NONE, text, b""))
        except Exception as error:  # noqa: BLE001  # likewise
            return self._reject(error)

    def line(self, fields: Mapping[str, Any], *, at: float | None = None, channel: str | None = None) -> bool:
        """Publish a log line whose fields are known: for those who bring their own, as a logger does.

        Args:
            fields: `event`, `level`, `component` and what else it says; `timestamp` is added if it is missing.
            at: Unix seconds; None: now.
            channel: Its full name; None: that of logs.

        Returns:
            See `log`.
        """
        try:
            place = self._logs if channel is None else channel.encode("utf-8", "replace")
            return self._put(flat_message(place, now() if at is None else at, _UTC, fields))
        except Exception as error:  # noqa: BLE001  # likewise
            return self._reject(error)

    def _put(self, message: Message) -> bool:
        is_taken = self._outbox.put(message)
        if self._thread is None:
            self._start()
        return is_taken

    def _reject(self, error: Exception) -> bool:
        self._outbox.reject(DropReason.UNWRITABLE)
        if self._thread is None:
            self._start()
        log.debug("a message was dropped: %s", type(error).__name__)
        return False

    # Waiting, for those who want to

    def connect(self, timeout: float = 5.0) -> bool:
        """Connect now, and tell whether that was done in time; `statistics().problem` says why not.

        Without it, the first message connects.

        Args:
            timeout: Seconds.
        """
        outbox, sender = self._outbox, self._sender
        with outbox.changed:
            outbox.wants_connection = True
        self._start()
        outbox.wake()
        return self._wait(lambda: not outbox.wants_connection and sender.is_connected, timeout)

    def flush(self, timeout: float | None = 5.0) -> bool:
        """Wait until Redis has taken all that was published before, and tell whether it has.

        Args:
            timeout: Seconds; None: as long as it takes.

        Returns:
            False: the time is over, or some of it was dropped.
        """
        outbox = self._outbox
        with outbox.lock:
            put, dropped = outbox.put_total, sum(outbox.totals.dropped.values())
        return self._wait(lambda: not outbox.left_of(put), timeout) and sum(outbox.totals.dropped.values()) == dropped

    async def aflush(self, timeout: float | None = 5.0) -> bool:  # noqa: ASYNC109  # as `flush`, whose bound it is
        """Do as `flush` does, in a coroutine; cancelling it changes nothing."""
        import asyncio  # slow to import, and here already where it is needed

        return await asyncio.to_thread(self.flush, timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Take no more, send what waits, and end the thread; may be called again.

        Args:
            timeout: Seconds it may take; None: `exit_within`. A Redis that cannot be reached is tried once more, not
                waited for.

        Returns:
            Whether all that waited was sent.
        """
        outbox, sender = self._outbox, self._sender
        with outbox.changed:
            outbox.is_closed = True
            before = sum(outbox.totals.dropped.values())
        if self._thread is None:
            strike(self)
            if left := outbox.abandon():
                log.warning("%d messages were not published: there was no thread to do it", left)
            return not left
        sender.hurry()
        if self._thread is not threading.current_thread():
            self._wait(lambda: outbox.is_ended, self.exit_within if timeout is None else timeout)
        if not outbox.is_ended:
            sender.abort()
            if left := outbox.abandon():
                log.warning("%d messages were not published in time: %s", left, sender.problem or "Redis is slow")
        strike(self)
        return not len(outbox) and sum(outbox.totals.dropped.values()) == before

    async def aclose(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as `close`
        """Do as `close` does, in a coroutine; cancelling it does not keep the publisher open."""
        import asyncio

        return await asyncio.to_thread(self.close, timeout)

    def statistics(self) -> PublisherStatistics:
        """Return where it stands now."""
        outbox, sender = self._outbox, self._sender
        with outbox.lock:
            totals = outbox.totals
            return PublisherStatistics(
                waiting=len(outbox),
                sent=totals.sent,
                heard=totals.heard,
                deliveries=totals.deliveries,
                dropped=dict(totals.dropped),
                is_connected=sender.is_connected,
                connected_to=sender.name,
                problem=sender.problem,
            )

    @property
    def thread_id(self) -> int | None:
        """Identity of the publisher's thread, whose own log is none of the program's; None before it starts."""
        return self._sender.thread_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        """Return where it leads, and how much waits."""
        stand = self.statistics()
        return f"<Publisher to {stand.connected_to or 'Redis, not connected yet'}: {stand.sent} sent, {stand.waiting} wait>"

    # Its thread

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread is about to
        try:
            if self._thread is None and not self._outbox.is_closed:
                if not is_plain(named_url(self._url)):
                    # redis-py brings it in, and it cannot be imported any more when the interpreter ends.
                    import concurrent.futures.thread  # noqa: F401
                thread = threading.Thread(target=self._sender.run, name="codeworm:publish", daemon=True)
                enlist(self)
                thread.start()
                self._thread = thread
        except Exception as error:  # noqa: BLE001  # no thread is to be had now, or the interpreter is ending
            log.debug("no thread to publish: %s", error)
        finally:
            self._starting.release()

    def _wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        with self._outbox.changed:
            return self._outbox.changed.wait_for(lambda: condition() or self._outbox.is_ended, timeout) and condition()

    def begin_anew(self) -> None:
        """Forget, in a forked process, what is the parent's: called by itself."""
        sender = self._sender
        self._prepare()
        sender.close_copy()


def _program() -> str:
    name = Path(sys.argv[0]).stem if getattr(sys, "argv", None) else ""
    return name if name and name != "-c" else "python"
