"""Latches: hysteresis and rest between a condition and those who are told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from codeworm_monitor.watching.notices import NoticeKind

__all__ = ["Allowance", "Judgement", "Latch"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a condition says at one moment.

    Neither met nor clear is between the two bounds, or not known: then a latch stays as it is.

    Attributes:
        is_met: Whether it holds.
        is_clear: Whether it is well over.
    """

    is_met: bool = False
    is_clear: bool = False


class Latch:
    """Turns judgements into few notices.

    Promises: after `fired` comes `cleared` before the next `fired`; two `fired` are at least `cooldown` apart;
    `cleared` comes when the condition was clear, without interruption, for `clear_after`; a condition that holds when
    the cooldown ends fires then. `withheld` counts the times that it began to hold in a cooldown and did not fire.

    Args:
        clear_after: Seconds.
        cooldown: Seconds.
        remind: Seconds between reminders while it holds; None: none.
    """

    def __init__(self, *, clear_after: float, cooldown: float, remind: float | None = None) -> None:
        self.is_firing = False
        self.withheld = 0
        self._clear_after = clear_after
        self._cooldown = cooldown
        self._remind = remind
        self._fired_at = -math.inf
        self._told_at = -math.inf
        self._clear_since = math.inf
        self._is_waiting = False  # it holds, and the cooldown does not let it fire

    def step(self, judgement: Judgement, now: float) -> NoticeKind | None:
        """Take a judgement, at a time not before the last one (Unix seconds), and return what is to be told."""
        if not self.is_firing:
            if not judgement.is_met:
                self._is_waiting = False
            elif now >= self._fired_at + self._cooldown:
                self.withheld -= self._is_waiting
                self.is_firing, self._is_waiting = True, False
                self._fired_at = self._told_at = now
                self._clear_since = math.inf
                return NoticeKind.FIRED
            elif not self._is_waiting:
                self._is_waiting = True
                self.withheld += 1
            return None
        if not judgement.is_clear:
            self._clear_since = math.inf
        elif math.isinf(self._clear_since):
            self._clear_since = now
        if now >= self._clear_since + self._clear_after:
            self.is_firing = False
            return NoticeKind.CLEARED
        if self._remind is not None and now >= self._told_at + self._remind:
            self._told_at = now
            return NoticeKind.REMINDED
        return None

    def due(self) -> float:
        """Return when, in Unix seconds, time alone could change what is to be told; infinite: never."""
        if not self.is_firing:
            return self._fired_at + self._cooldown if self._is_waiting else math.inf
        reminder = math.inf if self._remind is None else self._told_at + self._remind
        return min(self._clear_since + self._clear_after, reminder)

    def shift(self, seconds: float) -> None:
        """Take note that the clock was set forward by so many seconds, or back if negative."""
        self._fired_at += seconds
        self._told_at += seconds
        self._clear_since += seconds


class Allowance:
    """A bound on how often something is done: a token bucket.

    Args:
        burst: How often at once.
        every: Seconds after which one more is allowed.
    """

    def __init__(self, burst: int, every: float) -> None:
        self._burst = burst
        self._every = every
        self._left = float(burst)
        self._at = -math.inf

    def take(self, now: float) -> bool:
        """Use one up, if there is one (Unix seconds); tell whether there was."""
        if now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) / self._every)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
