"""The watch: a rule at work, what it has told, and to whom."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from html import escape
from types import TracebackType
from typing import NamedTuple, Self

import pandas as pd

from codeworm_monitor.watching.actions import Action
from codeworm_monitor.watching.courier import Courier
from codeworm_monitor.watching.feed import Arrived
from codeworm_monitor.watching.latch import Allowance
from codeworm_monitor.watching.notices import Notice, NoticeKind, plain
from codeworm_monitor.watching.rules import Machine, Rule, Turn

__all__ = ["Hole", "Watch", "WatchState"]

KEPT = 1_000
"""Newest notices kept in `history`."""
BURST, EVERY = 5, 60.0
"""So many notices at once, and one more after so many seconds, reach the actions; what follows a notice that did, to
take it back, always does."""
STOP_WITHIN = 0.5

log = logging.getLogger(__name__)


class WatchState(StrEnum):
    """How a watch stands."""

    CLEAR = "clear"
    FIRING = "firing"
    BLIND = "blind"
    """Nothing can be said: the relay, or what it listens to, is not heard."""
    ENDED = "ended"
    """It was stopped, its monitor was closed, or its recording is over."""


class Hole(NamedTuple):
    """Nobody listened from one time to another, Unix seconds."""

    started: float
    ended: float


class Watch:
    """A rule at work, made by `Monitor.watch`; use `with`, or `stop`, to end it.

    Promises:

    - It fires once, clears when the condition is well over, and rests as its rule says. Nothing more than five notices at
      once, and one a minute, reaches an action, besides those that take back one that did; what was held back is counted
      and told by the next notice.
    - While the monitor does not hear the relay, or that its publisher, nothing is judged: after `blind_after` it tells
      `blind`, once, and `seeing` when that is over. Time nobody listened in is no silence.
    - It goes on while cells block, and over reconnections. What an action raises is counted and kept, and goes no further.

    Attributes:
        rule: What is watched for.
        name: Its name; another watch of the monitor with the same name takes its place.
        told: Notices that went to the actions.
        withheld: Notices that did not.
        failures: How often an action, or the rule's own function, raised.
        last_error: What was raised last.
        dropped: Records that were too many at one look; the newest are looked at.
    """

    def __init__(
        self,
        rule: Rule,
        actions: Sequence[Action],
        *,
        monitor: str,
        name: str,
        blind_after: float = 60.0,
    ) -> None:
        self.rule = rule
        self.name = name
        self.told = 0
        self.withheld = 0
        self.failures = 0
        self.last_error: Exception | None = None
        self.dropped = 0
        self._monitor = monitor
        self._machine = Machine(rule)
        self._couriers = [Courier(action, f"codeworm_monitor:{monitor}:action", self._fail) for action in actions]
        self._allowance = Allowance(BURST, EVERY)
        self._blind_after = blind_after
        self._history: deque[tuple[Notice, bool]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._is_over = False
        self._at = -math.inf  # the latest time that it was told
        self._unseen_since: float | None = None
        self._has_told_blind = False
        self._has_told_firing = False
        self._owed = 0  # held back, and not told yet

    # What it tells

    @property
    def state(self) -> WatchState:
        """How it stands."""
        if self._is_over:
            return WatchState.ENDED
        if self._unseen_since is not None:
            return WatchState.BLIND
        return WatchState.FIRING if self._machine.is_firing else WatchState.CLEAR

    @property
    def actions(self) -> tuple[Action, ...]:
        """What takes the notices."""
        return tuple(courier.action for courier in self._couriers)

    @property
    def notices(self) -> list[Notice]:
        """The notices, oldest first, those that were held back too; the newest thousand."""
        with self._lock:
            return [notice for notice, _ in self._history]

    @property
    def history(self) -> pd.DataFrame:
        """The notices as a frame, oldest first.

        Columns: time (datetime64[us, UTC]), rule (str), kind (category: fired, reminded, cleared, blind, seeing), text
        (str), since (datetime64[us, UTC]; missing: not known), is_told (bool: not held back).
        """
        with self._lock:
            kept = list(self._history)
        columns = {
            "time": pd.to_datetime(pd.Series([one.time for one, _ in kept], dtype=object), utc=True).dt.as_unit("us"),
            "rule": pd.Series([one.rule for one, _ in kept], dtype="str"),
            "kind": pd.Categorical([str(one.kind) for one, _ in kept], categories=[str(kind) for kind in NoticeKind]),
            "text": pd.Series([one.text for one, _ in kept], dtype="str"),
            "since": pd.to_datetime(pd.Series([one.since for one, _ in kept], dtype=object), utc=True).dt.as_unit("us"),
            "is_told": pd.Series([is_told for _, is_told in kept], dtype="bool"),
        }
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        told = f"{self.told:,} notices to {', '.join(map(repr, self.actions)) or 'nobody'}"
        beside = [
            f"{count:,} {word}" for word, count in (("held back", self.withheld), ("failures", self.failures)) if count
        ]
        return plain(f"<Watch {self.name!r} on {self._monitor!r} {self.state}: {', '.join([told, *beside])}>")

    def _repr_html_(self) -> str:
        lines = [f"<strong>{escape(plain(self.name))}</strong> · {self.state} · {escape(plain(repr(self)))}"]
        with self._lock:
            newest = list(self._history)[-5:]
        lines += [f"<code>{escape(str(notice))}</code>" for notice, _ in reversed(newest)]
        if self.last_error is not None:
            error = plain(f"{type(self.last_error).__name__}: {self.last_error}", 300)
            lines.append(f"last failure: <code>{escape(error)}</code>")
        return "<br>".join(lines)

    # Its end

    def stop(self) -> None:
        """End it; what an action is doing gets half a second. May be called again, also by the action."""
        self.end(time.monotonic() + STOP_WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # For who drives it: one thread at a time. Times are Unix seconds by the relay's clock; one before the last counts as
    # the last.

    @property
    def machine(self) -> Machine:
        """The rule's state."""
        return self._machine

    def begin(self, past: Iterable[Arrived | Hole], now: float, last_message_at: float | None) -> None:
        """Learn from what there was, without telling anything of it."""
        condition = self._machine.condition
        for one in past:
            try:
                if isinstance(one, Hole):
                    condition.lose(*one)
                else:
                    self._at = max(self._at, one.at)
                    condition.take(one.record, self._at)
            except Exception as error:  # noqa: BLE001  # as in `take`
                self._fail(error)
        self._at = max(self._at, now)
        condition.begin(self._at, last_message_at)

    def take(self, arrived: Iterable[Arrived | Hole]) -> None:
        """Take what came."""
        for one in arrived:
            try:
                if isinstance(one, Hole):
                    self._machine.lose(*one)
                    continue
                self._at = max(self._at, one.at)
                turn = self._machine.take(one.record, self._at)
            except Exception as error:  # noqa: BLE001  # a predicate is the user's code
                self._fail(error)
                continue
            if turn is not None:
                self._turn(turn)

    def tick(self, now: float) -> None:
        """Look at the clock, all that came up to now being taken."""
        self._at = now = max(self._at, now)
        if self._unseen_since is not None:
            self._unseen_since = None
            if self._has_told_blind:
                self._has_told_blind = False
                self._tell(NoticeKind.SEEING, now, "what the publisher says is heard again", None)
        turn = self._machine.tick(now)
        if turn is not None:
            self._turn(turn)

    def cannot_see(self, now: float, why: str) -> None:
        """Take note that nothing can be said now."""
        if self._unseen_since is None:
            self._unseen_since = now
        if not self._has_told_blind and now >= self._unseen_since + self._blind_after:
            self._has_told_blind = True
            self._tell(NoticeKind.BLIND, now, why, self._unseen_since)

    def start_again(self, seconds: float) -> None:
        """Take note that the clock was set; to be followed by `begin`."""
        self._at += seconds
        self._machine.start_again(seconds)
        if self._unseen_since is not None:
            self._unseen_since += seconds

    def wait(self) -> None:
        """Wait until the actions have taken all notices."""
        for courier in self._couriers:
            courier.wait()

    def end(self, deadline: float) -> None:
        """End it by a time of `time.monotonic`."""
        self._is_over = True
        for courier in self._couriers:
            courier.close(deadline)

    def _turn(self, turn: Turn) -> None:
        self._owed += turn.withheld
        self._tell(turn.kind, turn.at, turn.text, turn.since)

    def _tell(self, kind: NoticeKind, at: float, text: str, since: float | None) -> None:
        if self._is_over:
            return
        takes_back = kind is NoticeKind.CLEARED and self._has_told_firing
        is_told = self._allowance.take(at) or takes_back
        if kind is NoticeKind.FIRED:
            self._has_told_firing = is_told
        dropped = sum(courier.take_dropped() for courier in self._couriers)
        self.withheld += dropped
        self._owed += dropped
        notice = Notice(
            time=_time(at),
            kind=kind,
            rule=str(self.rule),
            text=text,
            monitor=self._monitor,
            since=None if since is None else _time(since),
            withheld=self._owed,
        )
        with self._lock:
            self._history.append((notice, is_told))
        if not is_told:
            self.withheld += 1
            self._owed += 1
            return
        self._owed = 0
        self.told += 1
        for courier in self._couriers:
            courier.send(notice)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self.failures += 1
            self.last_error = error
            is_first = self.failures == 1
        if is_first:
            brief = plain(f"{type(error).__name__}: {error}", 300)
            log.warning("the watch %r failed: %s; further failures are only counted", self.name, brief)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
