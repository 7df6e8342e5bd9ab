"""The transport: what becomes of published messages on their way, and what a relay would say of it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

import orjson

from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.synthetic.clockwork import MILLISECOND, SECOND
from codeworm_monitor.synthetic.publisher import time_text
from codeworm_monitor.synthetic.truth import Published

__all__ = ["Away", "Faults", "Heard", "heard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """A stretch in which nothing gets through.

    Attributes:
        at: When it begins, seconds after the first message.
        lasts: Seconds.
        cause: `silent`: nobody notices, as when the publisher alone loses Redis; `source_outage`: the relay loses it and
            says so; `relay_restart`: the relay is away, and goes on with its numbering; `new_epoch`: so, and numbers anew.
    """

    at: float
    lasts: float
    cause: str = "silent"

    def __post_init__(self) -> None:
        if self.cause not in {"silent", "source_outage", "relay_restart", "new_epoch"}:
            raise ValueError(f"{self.cause!r} is no cause: silent, source_outage, relay_restart or new_epoch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on the way; by default nothing. Times are seconds after the first message.

    Attributes:
        seed: Of what is left to chance.
        drop: Share of the messages that are lost, each for itself.
        duplicate: Share of the messages that come twice.
        duplicate_after: Longest time after which they come again, seconds.
        away: Stretches in which nothing gets through.
        clock_steps: When the relay's clock is set, and by how many seconds.
        since: Nothing earlier is heard.
        until: Nothing later is heard.
    """

    seed: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    duplicate_after: float = 0.01
    away: tuple[Away, ...] = ()
    clock_steps: tuple[tuple[float, float], ...] = ()
    since: float = -math.inf
    until: float = math.inf


class Heard(NamedTuple):
    """A message as a relay takes it.

    Attributes:
        offset: Its place in the relay's log.
        received_at: By the relay's clock, Unix seconds.
        channel: Where it was published.
        payload: Its text.
        epoch: Identity of the numbering.
        number: Of what was published; -1: it is the relay's own.
    """

    offset: int
    received_at: float
    channel: str
    payload: bytes
    epoch: str
    number: int


def heard(published: Iterable[Published], faults: Faults | None = None) -> Iterator[Heard | tuple[str, Gap]]:
    """Yield what a relay hears, and with their epoch the gaps it reports, in the order of its log.

    Args:
        published: In order.
        faults: What goes wrong.
    """
    return _Relay(Faults() if faults is None else faults).hear(published)


class _Relay:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._draw = random.Random(f"transport {faults.seed}")
        self._away = sorted(faults.away, key=lambda away: away.at)
        self._offset, self._epochs = 0, 1
        self._steps = sorted(faults.clock_steps)
        self._clock = 0  # microseconds by which it is ahead
        self._begin = self._newest = 0

    @property
    def _epoch(self) -> str:
        return f"synthetic{self._epochs}"

    def hear(self, published: Iterable[Published]) -> Iterator[Heard | tuple[str, Gap]]:
        faults, draw = self._faults, self._draw
        again: list[tuple[int, int, Published]] = []
        begin = None
        for message in published:
            if begin is None:
                begin = self._begin = self._newest = message.at
            while again and again[0][0] <= message.at:
                at, _, copy = heappop(again)
                yield self._take(copy, at)
            yield from self._come_back(message.at)
            seconds = (message.at - begin) / SECOND
            if not faults.since <= seconds <= faults.until or self._is_away(seconds):
                continue
            if faults.drop and draw.random() < faults.drop:
                continue
            yield self._take(message, message.at)
            if faults.duplicate and draw.random() < faults.duplicate:
                later = message.at + round(draw.uniform(0, faults.duplicate_after) * SECOND)
                heappush(again, (later, message.number, message))
        for at, _, copy in sorted(again):
            yield self._take(copy, at)

    def _is_away(self, seconds: float) -> bool:
        return any(away.at <= seconds < away.at + away.lasts for away in self._away)

    def _come_back(self, now: int) -> Iterator[Heard | tuple[str, Gap]]:
        """Say what was missed in the stretches that are over."""
        while self._away and self._begin + (self._away[0].at + self._away[0].lasts) * SECOND <= now:
            away = self._away.pop(0)
            start = self._begin + round(away.at * SECOND)
            end = start + round(away.lasts * SECOND)
            match away.cause:
                case "source_outage":
                    reason = "redis://localhost:6379: Connection closed by server."
                    yield self._note("upstream_lost", start, "warning")
                    yield self._note("upstream_heard_again", end)
                    yield self._gap(GapCause.SOURCE_OUTAGE, start, end, reason)
                case "relay_restart" | "new_epoch":
                    if away.cause == "new_epoch":
                        self._epochs, self._offset = self._epochs + 1, 0
                    reason = "the relay was stopped: what was published while it was away is lost"
                    yield self._gap(GapCause.RELAY_RESTART, start, end, reason)
                case _:
                    pass

    def _gap(self, cause: GapCause, start: int, end: int, detail: str) -> tuple[str, Gap]:
        self._offset += 1
        begin, over = self._seconds(start), self._seconds(end)
        gap = Gap(cause=cause, started_at=begin, ended_at=max(begin, over), offset=self._offset, detail=detail)
        return self._epoch, gap

    def _note(self, event: str, at: int, level: str = "info") -> Heard:
        line = {"event": event, "level": level, "component": "relay", "timestamp": f"{time_text(at + self._clock)}Z"}
        self._offset += 1
        return Heard(self._offset, self._seconds(at), RELAY_CHANNEL, orjson.dumps(line), self._epoch, -1)

    def _take(self, message: Published, at: int) -> Heard:
        self._offset += 1
        delay = min(self._draw.expovariate(1 / (0.4 * MILLISECOND)), 20 * MILLISECOND)
        self._newest = max(self._newest, at + 50 + round(delay))  # it reads them in their order
        return Heard(
            self._offset, self._seconds(self._newest), message.channel, message.payload, self._epoch, message.number
        )

    def _seconds(self, at: int) -> float:
        while self._steps and self._begin + self._steps[0][0] * SECOND <= at:
            self._clock += round(self._steps.pop(0)[1] * SECOND)
        return (at + self._clock) / SECOND
