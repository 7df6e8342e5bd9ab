"""A source that subscribes to Redis, and notices when it does not hear it any more.

redis-py opens the connection (`redis_target`); the transport is then taken over. Its own pub/sub costs several times
as much per message, and does not notice a server that froze, vanished, or refused the subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence

from codeworm_monitor.backoff import delays
from codeworm_monitor.errors import SettingError, SourceError, SourceRefusedError
from codeworm_monitor.sources import Connected, Disconnected, Happening, Probe, ProbeState
from codeworm_monitor.sources.probe import Prober
from codeworm_monitor.sources.redis_target import OpenedConnection, RedisTarget
from codeworm_monitor.sources.subscription import Subscription

__all__ = ["RedisSource"]

_logger = logging.getLogger(__name__)

_HEALTHY_AFTER = 5.0
"""Seconds a subscription must have held before the delays between attempts start again from the shortest."""
_NO_PROBE = Probe(ProbeState.OFF, age=None, round_trip=None, reason="probes are not wanted")


class RedisSource:
    """Messages published on channels of a Redis, under supervision.

    Promises:

    - Order and bytes: messages come in the order in which Redis sent them, payloads byte for byte. Channel names are
      UTF-8; bytes in them that are not appear as surrogates (`surrogateescape`), as Python has them in file names.
    - Loss: Redis pub/sub delivers at most once. Every interruption of the subscription is reported, with one
      `Disconnected` when it is noticed and one `Connected` when all channels are confirmed again; a Redis that cannot
      be reached at the start is an interruption that began then.
    - Notice: a connection that closes is noticed at once; a server or network that falls silent within
      `idle_after + dead_after` seconds, by a PING; a master that Sentinel replaced within `master_check` seconds; and
      one that answers, but does not pass on what is published where a publisher that starts now would publish it,
      within `probe_every + dead_after` seconds, by a probe (`Prober`). After such a loss there is no `Connected`
      before a probe, or a message, has come through, as long as probes can be sent.
    - Probes: they go over a channel of their own and are never delivered; `probe` tells what became of them. Where
      they are not permitted, all but that last notice holds without them.
    - Return: the pauses between attempts grow to `longest_pause` at most, with full jitter; there is no last attempt,
      also not after a refusal: a password or permission may be mended on the server's side.
    - Memory: when `max_waiting` bytes wait to be taken, reading stops until they are, and Redis' own output buffer
      limit for pub/sub clients decides whether it drops us; that is then an interruption like any other.

    It may be iterated again after the iterator was closed, not twice at a time. Closing it, or cancelling the task
    that waits for it, closes the connection within a second.

    Args:
        url: `redis://`, `rediss://`, `unix://` or `redis+sentinel://host:port,host:port/service`; see `RedisTarget`.
        channels: Names of the channels, at least one.
        dead_after: Seconds the server may take to open a connection, to confirm the channels, to answer a PING, and to
            pass on a probe.
        idle_after: Seconds of silence before a PING.
        longest_pause: Seconds between two attempts to connect, at most.
        master_check: Seconds between questions to the sentinels whether the master is still the same.
        probe_every: Seconds between probes; None: there are none, and only PINGs tell that the server lives.
        max_waiting: Bytes that may wait to be taken, counted as they came over the network.

    Raises:
        SettingError: The URL cannot be used, there is no channel, or `probe_every` is not above 0.

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
        probe_every: float | None = 5.0,
        # Bounds
        max_waiting: int = 16 * 2**20,
    ) -> None:
        if isinstance(channels, str) or not channels:
            raise SettingError("channels", "name at least one channel, in a list")
        if probe_every is not None and not probe_every > 0:
            raise SettingError("probe_every", f"{probe_every} is not above 0")
        self._target = RedisTarget(url)
        self._channels = tuple(dict.fromkeys(channels))
        self._dead_after = dead_after
        self._idle_after = idle_after
        self._longest_pause = longest_pause
        self._master_check = master_check
        self._max_waiting = max_waiting
        self._prober = None
        if probe_every is not None:
            self._prober = Prober(self._target, every=probe_every, dead_after=dead_after)
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

    @property
    def probe(self) -> Probe:
        """What is known now of the way from a publisher through Redis to here."""
        return _NO_PROBE if self._prober is None else self._prober.probe

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
    async def _subscribed(self) -> AsyncIterator[Subscription]:
        opened = await self._target.connect(within=self._dead_after)
        subscription = Subscription(
            opened.transport,
            self._channels,
            dead_after=self._dead_after,
            idle_after=self._idle_after,
            max_waiting=self._max_waiting,
        )
        tasks: list[asyncio.Task[None]] = []

        def watch(what: str, watching: Coroutine[None, None, None]) -> None:
            task = asyncio.create_task(watching, name=f"redis:{what}")
            # It ends of itself once the subscription is lost, or by a mistake of ours, which is raised below.
            task.add_done_callback(lambda _: subscription.fail(SourceError(f"the {what} is not watched any more")))
            tasks.append(task)

        try:
            await subscription.start(opened)
            await subscription.confirmed()
            if opened.address is not None:
                watch("master", self._watch_master(opened, subscription))
            if (prober := self._prober) is not None:
                watch("probe", prober.run(subscription))
                # After deafness, that the channels are confirmed does not tell that they are heard.
                await subscription.until(lambda: subscription.has_messages or not prober.is_deaf)
            yield subscription
        finally:
            # Closed first, and without suspending: cancellation may end the waits below.
            await opened.discard()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()
            await subscription.wait_closed()

    async def _watch_master(self, opened: OpenedConnection, subscription: Subscription) -> None:
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
