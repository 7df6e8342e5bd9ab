"""Checks of Redis: whether it is reached, lets us in and hears us, and whether anybody publishes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from shlex import quote

from codeworm_monitor.doctor.case import Case, Finding, Outcome, seconds_since
from codeworm_monitor.embedded import Presence, running_redis
from codeworm_monitor.errors import SettingError
from codeworm_monitor.health import QUIET
from codeworm_monitor.moments import in_two_units
from codeworm_monitor.settings import RelaySettings, redacted
from codeworm_monitor.sources import Disconnected, Happening, Probe, ProbeState
from codeworm_monitor.sources.redis import RedisSource

__all__ = ["check_redis"]

_DEFAULT = "redis://127.0.0.1:6379"
_PROBES = "codeworm_monitor:probe:*"
_TICK = 0.1
"""Seconds between looks at what became of the probes."""
_URL = re.compile(r"(?:rediss?|redis\+sentinel|unix)://")


@dataclass(kw_only=True)
class _Heard:
    """What became of one subscription.

    Attributes:
        lost: Why it did not come about, or ended; None: it held.
        was_connected: Whether it had come about.
        messages: How many came.
        seconds: How long it was listened.
        probe: Of the way from a publisher through Redis.
    """

    lost: Disconnected | None = None
    was_connected: bool = False
    messages: int = 0
    seconds: float = 0.0
    probe: Probe | None = None


def check_redis(case: Case) -> Iterator[Finding]:
    """Look at Redis as the relay would."""
    url, problem = _which(case)
    if url is None:
        yield problem
        return
    name, channels = redacted(url).partition("?")[0], case.wanted_channels()
    try:
        RelaySettings(redis_url=url, channels=channels)  # its complaints quote nothing of a password
        heard = asyncio.run(_hear(url, channels, listen=case.listen, step=case.step))
    except SettingError as error:
        mend = (
            f"give --{error.name.replace('_', '-')} anew (a URL is redis://host:port; in a password / ? # [ @ as %2F…)"
        )
        yield Finding("redis.reachable", Outcome.FAILED, error.problem, mend)
        return
    if heard.lost is not None and not heard.was_connected:
        yield from _refused(url, name, heard.lost, channels, case.step)
        return
    yield Finding("redis.reachable", Outcome.OK, f"{name} answers")
    yield Finding("redis.login", Outcome.OK, "it lets us in")
    yield Finding("redis.channels", Outcome.OK, f"{', '.join(channels)} are subscribed")
    if heard.lost is not None:
        yield Finding(
            "redis.hears",
            Outcome.FAILED,
            f"the subscription was lost while listening: {heard.lost.reason}",
            "see Redis' own log, and what lies between (a proxy, a firewall)",
        )
        return
    if heard.probe is not None:
        yield _of_probe(heard.probe, name)
    yield _publishing(heard, case, name)


def _which(case: Case) -> tuple[str | None, Finding]:
    """Return which Redis to look at, and else why none."""
    if case.redis_url is not None:
        return case.redis_url, _nothing("")
    upstream = case.info_or_nothing().text("statistics", "upstream")
    if upstream is not None and case.place.is_announced and _URL.match(upstream):
        if "***" in upstream:
            return None, Finding(
                "redis.reachable",
                Outcome.SKIPPED,
                f"the relay reads {upstream}, whose password is known to it alone",
                "look yourself: doctor --redis-url 'redis://USER:PASSWORD@HOST:PORT'",
            )
        return upstream, _nothing("")
    match asyncio.run(running_redis()):
        case Presence.OPEN:
            return _DEFAULT, _nothing("")
        case Presence.LOCKED:
            return None, Finding(
                "redis.login",
                Outcome.WARNING,
                "a Redis on 127.0.0.1:6379 wants a password",
                "if it is CodeWorm's, name it: --redis-url 'redis://:PASSWORD@127.0.0.1:6379'",
            )
    return None, _nothing("no Redis was named, and none is on 127.0.0.1:6379: a relay brings its own then")


def _nothing(said: str) -> Finding:
    return Finding("redis.reachable", Outcome.SKIPPED, said, "name CodeWorm's: --redis-url redis://127.0.0.1:26849")


async def _hear(url: str, channels: Sequence[str], *, listen: float, step: float) -> _Heard:
    """Subscribe, and listen until a message and a probe have come, or the time is over."""
    source = RedisSource(url, channels=channels, dead_after=step, idle_after=1.0, probe_every=0.5)
    heard = _Heard()
    async with aclosing(aiter(source)) as happenings:
        first: Happening = await anext(happenings)
        if isinstance(first, Disconnected):
            heard.lost = first
            return heard
        heard.was_connected = True
        began = time.monotonic()
        reading = asyncio.create_task(anext(happenings), name="doctor:read")
        try:
            while (left := listen - (time.monotonic() - began)) > 0:
                await asyncio.wait({reading}, timeout=min(left, _TICK))
                if reading.done():
                    match reading.result():
                        case list() as messages:
                            heard.messages += len(messages)
                        case Disconnected() as lost:
                            heard.lost = lost
                            break
                    reading = asyncio.create_task(anext(happenings), name="doctor:read")
                if heard.messages and source.probe.state not in (ProbeState.WAITING, ProbeState.UNSENT):
                    break
            # Now: once the subscription is closed, nothing is known of it.
            heard.seconds, heard.probe = time.monotonic() - began, source.probe
        finally:
            reading.cancel()
            await asyncio.wait([reading])
    return heard


def _refused(url: str, name: str, lost: Disconnected, channels: Sequence[str], step: float) -> Iterator[Finding]:
    reason = lost.reason
    if not lost.is_refusal:
        mend = f"start Redis, or name the right one with --redis-url (CodeWorm's compose file has port 26849); try: redis-cli -u {quote(name)} ping"
        if "in time" in reason or "silent" in reason or "answer" in reason:
            mend = f"something listens there and says nothing: see whether Redis hangs, or whether it wants TLS (rediss://); try: redis-cli -u {quote(name)} ping"
        yield Finding("redis.reachable", Outcome.FAILED, reason, mend)
        return
    yield Finding("redis.reachable", Outcome.OK, f"{name} answers")
    if "NOPERM" not in reason:
        yield Finding(
            "redis.login",
            Outcome.FAILED,
            reason,
            "give user and password: --redis-url 'redis://USER:PASSWORD@HOST:PORT' (each of / ? # [ @ percent-encoded)",
        )
        return
    yield Finding("redis.login", Outcome.OK, "it lets us in")
    forbidden = asyncio.run(_forbidden(url, channels, step)) or list(channels)
    rights = " ".join(quote(f"&{channel}") for channel in forbidden)
    yield Finding(
        "redis.channels",
        Outcome.FAILED,
        f"its ACL does not let us subscribe to {', '.join(forbidden)}",
        f"redis-cli ACL SETUSER {_user(url)} +subscribe +ping {rights}",
    )


async def _forbidden(url: str, channels: Sequence[str], step: float) -> list[str]:
    """Return the channels that are not permitted, each tried by itself."""

    async def is_refused(channel: str) -> bool:
        heard = await _hear(url, [channel], listen=0, step=step)
        return heard.lost is not None and not heard.was_connected

    answers = await asyncio.gather(*(is_refused(channel) for channel in channels))
    return [channel for channel, refused in zip(channels, answers, strict=True) if refused]


def _user(url: str) -> str:
    """Return the user's name in a URL, as far as it is fit for a command line."""
    user, colon, _ = url.partition("://")[2].rpartition("@")[0].partition(":")
    return user if colon and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", user) else "default"


def _of_probe(probe: Probe, name: str) -> Finding:
    match probe.state:
        case ProbeState.HEARD:
            took = "" if probe.round_trip is None else f" within {probe.round_trip * 1000:.1f} ms"
            return Finding("redis.hears", Outcome.OK, f"a message published there comes back{took}")
        case ProbeState.LOST:
            return Finding(
                "redis.hears",
                Outcome.FAILED,
                f"a message published there does not come back: {probe.reason}",
                f"see whether {name} is a replica, or a balancer that leads to several servers",
            )
        case ProbeState.OFF:
            return Finding(
                "redis.hears",
                Outcome.WARNING,
                f"that it hears cannot be proved: {probe.reason}",
                f"redis-cli ACL SETUSER USER +publish +subscribe '&{_PROBES}'",
            )
    return Finding("redis.hears", Outcome.SKIPPED, f"nothing proves that it hears: {probe.reason}")


def _publishing(heard: _Heard, case: Case, name: str) -> Finding:
    if heard.messages:
        return Finding("redis.publishing", Outcome.OK, f"{heard.messages:,} messages came while listening")
    listened = f"nothing came in {heard.seconds:.0f} s of listening"
    info = case.info_or_nothing()
    last = info.time("statistics", "last_message_at")
    mend = (
        f"see whether CodeWorm runs, and whether its Redis is {name} (its compose file has port 26849); "
        f"then: redis-cli -u {quote(name)} subscribe {quote(case.wanted_channels()[0])}"
    )
    if last is not None:
        quiet = seconds_since(last)
        said = f"{listened}; the relay heard the last message {in_two_units(quiet) or 'just now'} ago"
        if quiet <= QUIET:
            return Finding("redis.publishing", Outcome.OK, said)
        return Finding("redis.publishing", Outcome.FAILED, said, mend)
    since = info.time("statistics", "upstream_since")
    if since is not None and info.flag("statistics", "is_connected") and seconds_since(since) > QUIET:
        said = f"{listened}; nor has the relay heard anything in {in_two_units(seconds_since(since))}"
        return Finding("redis.publishing", Outcome.FAILED, said, mend)
    return Finding(
        "redis.publishing", Outcome.WARNING, f"{listened}; CodeWorm may be silent for minutes (--listen 600)", mend
    )
