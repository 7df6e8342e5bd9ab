"""Probes: small messages published through Redis and heard again, the proof that a subscription is not deaf.

A server can answer every PING and pass on nothing of what is published: a master that was demoted or cut off while the
publishers went to another, a name or balancer that leads elsewhere by now, something in between that forgets. Only a
message that makes the whole way tells.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

from codeworm_monitor.errors import SourceError, SourceRefusedError
from codeworm_monitor.sources import Probe, ProbeState
from codeworm_monitor.sources.redis_target import OpenedConnection, RedisTarget
from codeworm_monitor.sources.subscription import Subscription

__all__ = ["Prober"]

_logger = logging.getLogger(__name__)

_CHANNELS = "codeworm_monitor:probe:"
_REFUSED_PAUSE = 60.0
"""Seconds until something that was not permitted is tried again: each attempt may be an entry in the server's ACL log."""
_NOT_SUBSCRIBED = "the channels are not subscribed"
_UNDER_WAY = "the first probe has not come back yet"


class Prober:
    """Sends probes through Redis, one at a time, and judges whether a subscription hears them.

    Promises:

    - Each probe is published on a connection of its own, which ends with it: it goes where a publisher that starts
      now would go, whatever DNS, a balancer or the sentinels have changed since the subscription began.
    - A probe counts as lost only if the server took it, `dead_after` seconds passed, and the answer to a PING sent on
      the subscription after that came without it. Neither a reader that is behind nor an event loop that was blocked
      is taken for deafness; a server that answers nothing is not judged here.
    - A probe that is not permitted, or cannot be published, is no loss of the subscription: `probe` says why.

    One prober serves the successive subscriptions of one source.

    Args:
        target: Where to publish.
        every: Seconds between a probe's return and the next one.
        dead_after: Seconds that connecting, publishing and coming back may take, each.
    """

    def __init__(self, target: RedisTarget, *, every: float, dead_after: float) -> None:
        self.channel = f"{_CHANNELS}{secrets.token_hex(8)}".encode()
        self._target = target
        self._every = every
        self._dead_after = dead_after
        self._state, self._reason = ProbeState.WAITING, _NOT_SUBSCRIBED
        self._sent_at: float | None = None
        self._round_trip: float | None = None

    @property
    def probe(self) -> Probe:
        """What is known now."""
        age = None if self._sent_at is None else time.monotonic() - self._sent_at
        return Probe(self._state, age, self._round_trip, self._reason)

    @property
    def is_deaf(self) -> bool:
        """Whether a subscription was found deaf, and nothing speaks for its successor yet."""
        return self._state is ProbeState.LOST

    async def run(self, subscription: Subscription) -> None:
        """Probe a subscription whose channels are confirmed; return when it is lost, having ended it if it is deaf.

        Cancellation closes the connection to publish on.
        """
        if not self.is_deaf:
            self._become(ProbeState.WAITING, _UNDER_WAY)
        heard_until = time.time()
        try:
            while subscription.lost is None:
                pause = self._every
                try:
                    heard_until = await self._send_one(subscription)
                except SourceRefusedError as error:
                    self._become(ProbeState.OFF, f"not permitted: {error} (needed: +publish +subscribe &{_CHANNELS}*)")
                    pause = _REFUSED_PAUSE
                except _UnsentError as error:
                    self._become(ProbeState.UNSENT, f"no probe can be published: {error}")
                except _DeafError as error:
                    self._become(ProbeState.LOST, str(error))
                    subscription.fail(error, heard_until=heard_until)
                except SourceError:
                    if subscription.lost is None:
                        raise
                else:
                    self._become(ProbeState.HEARD, "")
                if subscription.lost is not None:
                    return
                subscription.wake()
                await asyncio.sleep(pause)
        finally:
            if not self.is_deaf:
                self._become(ProbeState.WAITING, _NOT_SUBSCRIBED)

    async def _send_one(self, subscription: Subscription) -> float:
        """Publish a probe, wait until it is back, and return when it was sent, in Unix seconds.

        Raises:
            SourceRefusedError: It is not permitted.
            _UnsentError: It could not be published.
            _DeafError: It did not come back.
            SourceError: The subscription was lost.
        """
        refusal = await subscription.hear_probes(self.channel)
        if refusal is not None:
            raise SourceRefusedError(f"Redis refused SUBSCRIBE: {refusal}")
        opened = await self._connect()
        payload = secrets.token_hex(8).encode()
        try:
            sent, sent_at = time.time(), time.monotonic()
            await opened.publish(self.channel, payload, within=self._dead_after)
        except SourceRefusedError:
            raise
        except SourceError as error:
            raise _UnsentError(str(error)) from error
        finally:
            await opened.discard()
        if not await self._comes_back(subscription, payload):
            raise _DeafError(f"a probe published through Redis did not come back within {self._dead_after:g} s")
        self._sent_at, self._round_trip = sent_at, subscription.probe_heard_at - sent_at
        return sent

    async def _connect(self) -> OpenedConnection:
        try:
            return await self._target.connect_again(within=self._dead_after)
        except SourceError as error:  # a login that is refused among them: it may be mended at any moment
            raise _UnsentError(str(error)) from error

    async def _comes_back(self, subscription: Subscription, payload: bytes) -> bool:
        def is_heard() -> bool:
            return subscription.heard_probe == payload

        try:
            async with asyncio.timeout(self._dead_after):
                await subscription.until(is_heard)
        except TimeoutError:
            # It may wait behind what we have not read yet. The answer to a PING waits behind both.
            pong = subscription.ping()
            await subscription.until(lambda: is_heard() or subscription.pongs >= pong)
        return is_heard()

    def _become(self, state: ProbeState, reason: str) -> None:
        if state in (ProbeState.OFF, ProbeState.UNSENT) and reason != self._reason:
            _logger.warning("that messages reach %s cannot be proved: %s", self._target.name, reason)
        self._state, self._reason = state, reason


class _UnsentError(SourceError):
    """A probe could not be published."""


class _DeafError(SourceError):
    """A probe was published and did not come back."""
