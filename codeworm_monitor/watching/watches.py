"""The watches of one monitor, and the one thread that drives them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.columns import TEXT
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.intake import Intake
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.status import State, Status
from codeworm_monitor.tables import Table
from codeworm_monitor.watching.feed import LIMIT, Arrived, Feed, Shelf, selected
from codeworm_monitor.watching.notices import plain
from codeworm_monitor.watching.replaying import holes_of, in_order, replay
from codeworm_monitor.watching.shorthand import read_actions, read_rule
from codeworm_monitor.watching.spans import Span, seconds_of
from codeworm_monitor.watching.watch import Hole, Watch, WatchState

__all__ = ["Watches"]

LOOK_EVERY = 0.5
"""Seconds between two looks at the tables and the clock."""
LEARNT_FROM = 2 * LIMIT
"""Newest records received before a watch began that its rule learns from."""
MOST = 200
"""Watches of one monitor."""
JUMP = 2.0
"""Seconds by which a clock must differ between two looks to count as set, or as stopped by a machine that slept."""
CLOSE_WITHIN = 0.7

_GAPS = "gaps of the relay"  # no channel's name: those are by kind, or have no spaces

log = logging.getLogger(__name__)


class Watches:
    """Makes watches and drives them, in a thread that lives while there are any.

    Every half second it looks at what the tables got, by the relay's log and with the relay's times, so neither the
    user's callbacks nor a blocked cell come between. What is judged by the clock is judged at the newest moment at which
    the relay was heard: a connection that died unnoticed is no silence. A message counts as received no earlier than
    the last look at which nothing was missing, whatever its time says: no clock that is set makes a silence.

    Args:
        name: Name of the monitor.
        intake: What comes in.
        status: The monitor's status.
        heard: How many bytes were heard of the relay; None while it is not heard, or older messages are still to come.
        is_choosy: Whether the monitor receives only some messages.
    """

    def __init__(
        self,
        name: str,
        intake: Intake,
        *,
        status: Callable[[], Status],
        heard: Callable[[], int | None],
        is_choosy: bool,
    ) -> None:
        self._name = name
        self._intake = intake
        self._status = status
        self._heard = heard
        self._is_choosy = is_choosy
        self._shelf = Shelf(self._tables)
        self._watches: dict[Watch, tuple[Feed, object]] = {}  # with what another must equal to take its place
        self._driving = threading.RLock()  # held while a watch is fed; a rule's own function may make or stop one
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Of who holds `_driving`. Times by the relay's clock.
        self._looked: tuple[float, float] | None = None  # by that clock, and by the steady one
        self._now = -math.inf
        self._current_at = -math.inf
        self._bytes: int | None = None
        self._journal = Feed()
        self._upstream_lost: tuple[str, int, int] | None = None  # epoch, offset, and messages received by then
        self._seen: tuple[str | None, int] = (None, 0)  # the newest epoch, and the gaps told by then

    def add(
        self,
        rule: object,
        action: object = None,
        *,
        name: str | None = None,
        blind_after: Span = 60.0,
        act: bool = False,
        **changes: Any,
    ) -> Watch:
        """Start a watch; see `Monitor.watch`."""
        wanted = read_rule(rule)
        changes = {key: value for key, value in changes.items() if value is not None}
        wanted = wanted.changed(**changes) if changes else wanted
        if wanted.needs_all and self._is_choosy:
            raise ValueError(
                f"this monitor receives only what passes its conditions, so that {str(wanted)!r} cannot be told: connect "
                "without conditions, under another name"
            )
        actions = read_actions(action)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name is a text, not {type(name).__name__}")
        options: Any = {
            "monitor": self._name,
            "name": name or str(wanted),
            "blind_after": seconds_of(blind_after, "blind_after"),
        }
        is_past = self._status().state is State.RECORDING
        actions = actions if act or not is_past else []
        for one in actions:
            one.begin()
        if is_past:
            return self._replayed(Watch(wanted, actions, **options))
        watch = Watch(wanted, actions, **options)
        identity = name or (wanted.identity, tuple(one.identity for one in actions))
        with self._driving:
            self._put(watch, identity)
        return watch

    def close(self) -> None:
        """End all watches and the thread, in little more than a second; may be called again."""
        self._is_closed = True
        self._changed.set()
        deadline = time.monotonic() + CLOSE_WITHIN
        for watch in list(self._watches):
            watch.end(deadline)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_WITHIN)  # a rule's function may not return

    def _put(self, watch: Watch, identity: object) -> None:
        if self._is_closed:
            raise ConnectError("the monitor was closed: connect again")
        self._drop_ended()
        twin = next((one for one, (_, same) in self._watches.items() if same == identity), None)
        if twin is None and len(self._watches) >= MOST:
            raise ValueError(f"there are {MOST} watches already: stop some, or name those that replace others")
        if twin is not None:
            twin.stop()
        self._look()
        feed = Feed()
        self._begin(watch, feed)
        self._watches[watch] = (feed, identity)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"codeworm_monitor:{self._name}:watches", daemon=True
            )
            self._thread.start()

    # Driving

    def _run(self) -> None:
        has_failed = False
        while True:
            with self._driving:
                self._drop_ended()
                if self._is_closed or not self._watches:
                    for watch in self._watches:  # begun while the monitor was closed
                        watch.end(time.monotonic())
                    self._thread = None
                    return
                try:
                    self._look()
                except Exception:  # a mistake of ours must not end the alarms
                    if not has_failed:
                        log.exception("the watches of %r failed; they go on", self._name)
                    has_failed = True
            self._changed.wait(LOOK_EVERY)

    def _look(self) -> None:
        """Feed all watches with what came since the last look."""
        heard = self._heard()  # before the tables are read: what came up to then is in them
        jump = self._read_clock()
        why = self._why_blind(heard)
        earliest = self._current_at
        if why is None and heard != self._bytes:
            self._bytes, self._current_at = heard, self._now
        hole = self._change_of_relay(earliest) if why is None else []
        contents = self._messages()
        for watch, (feed, identity) in list(self._watches.items()):
            if jump:
                watch.start_again(jump)
                feed = Feed()
                self._watches[watch] = (feed, identity)
                self._begin(watch, feed)
                watch.take([Hole(self._now, self._now)])
            else:
                watch.take(hole)
                watch.take(self._arrived(watch, feed, contents, earliest))
            if why is None:
                watch.tick(self._current_at)
            else:
                watch.cannot_see(self._now, why)

    def _change_of_relay(self, earliest: float) -> list[Hole]:
        """Return what was not heard, if the relay is another one and has not told its gap yet."""
        seen, self._seen = self._seen, (self._status().epoch, self._intake.gap_count)
        is_other = seen[0] is not None and seen[0] != self._seen[0]
        return [Hole(min(earliest, self._now), self._now)] if is_other and seen[1] == self._seen[1] else []

    def _read_clock(self) -> float:
        """Set the time; return by how much the clock was set, or the machine slept, since the last look; 0 if neither."""
        clock, steady = self._intake.relay_time(), time.monotonic()
        jump = 0.0 if self._looked is None else (clock - self._looked[0]) - (steady - self._looked[1])
        if abs(jump) > JUMP:
            self._now, self._current_at = clock, self._current_at + jump
        else:
            self._now, jump = max(self._now, clock), 0.0
        self._looked = (clock, steady)
        return jump

    def _begin(self, watch: Watch, feed: Feed) -> None:
        """Let a watch learn from what the tables hold."""
        fresh = feed.look(self._messages())
        past: list[Arrived | Hole] = []
        holes = _holes(fresh)
        if watch.rule.learns:
            records, _ = selected(fresh.values(), watch.machine.condition.reads, limit=LEARNT_FROM)
            # A clock that was set back has put the past into the future.
            ahead = max(0.0, max((one.at for one in records), default=self._now) - self._now)
            records = [Arrived(one.at - ahead, one.record) for one in records] if ahead else records
            past = in_order(_ascending(records, -math.inf, self._now), _until(holes, self._now))
        watch.begin(past, self._now, self._intake.snapshot.last_message_at)

    def _arrived(
        self, watch: Watch, feed: Feed, contents: Mapping[str, tuple[int, pa.Table]], earliest: float
    ) -> list[Arrived | Hole]:
        """Return what came since the last look that a watch wants."""
        fresh = feed.look(contents)
        if not fresh:
            return []
        holes = [Hole(one.started, max(one.ended, earliest)) for one in _holes(fresh)]
        records, left_out = selected(fresh.values(), watch.machine.condition.reads)
        watch.dropped += left_out
        return in_order(_ascending(records, earliest, self._now), _until(holes, self._now))

    def _why_blind(self, heard: int | None) -> str | None:
        """Return why nothing can be said of the publisher now; None if there is no reason."""
        status, received = self._status(), self._intake.received
        self._read_journal(received)
        if heard is None:
            return plain(f"the relay is not heard: {status.last_error or status.state}")
        if self._upstream_lost is not None:
            epoch, _, then = self._upstream_lost
            if (epoch, then) == (status.epoch, received):
                return "the relay does not hear what it listens to"
            self._upstream_lost = None  # it is another relay, or messages have come since
        return None

    def _read_journal(self, received: int) -> None:
        """Learn from the relay's own records whether it lost its publisher; the gap that it then reports ends that.

        That it hears again is said before the gap, and to judge between the two would take the outage for a silence.
        """
        contents = self._shelf.contents()
        fresh = self._journal.look({name: contents[name] for name in (RELAY_CHANNEL, _GAPS) if name in contents})
        if (rows := fresh.get(RELAY_CHANNEL)) is not None:
            for place in pc.indices_nonzero(pc.equal(rows.column("event").cast(TEXT), "upstream_lost")).to_pylist():
                self._upstream_lost = (
                    rows.column("epoch")[place].as_py(),
                    rows.column("offset")[place].as_py(),
                    received,
                )
        if (gaps := fresh.get(_GAPS)) is not None and self._upstream_lost is not None:
            epoch, offset, _ = self._upstream_lost
            ends = zip(gaps.column("epoch").to_pylist(), gaps.column("offset").to_pylist(), strict=True)
            if any(one == epoch and at is not None and at > offset for one, at in ends):
                self._upstream_lost = None

    # Tables

    def _tables(self) -> dict[str, Table]:
        intake = self._intake
        return {**{str(kind): stream for kind, stream in intake.by_kind.items()}, **intake.others, _GAPS: intake.gaps}

    def _messages(self) -> Mapping[str, tuple[int, pa.Table]]:
        return {name: rows for name, rows in self._shelf.contents().items() if name != RELAY_CHANNEL}

    def _drop_ended(self) -> None:
        for watch in [one for one in self._watches if one.state is WatchState.ENDED]:
            del self._watches[watch]

    def _replayed(self, watch: Watch) -> Watch:
        tables = {name: rows for name, (_, rows) in self._messages().items()}
        gaps = tables.pop(_GAPS)
        replay(watch, tables.values(), gaps, after_each=watch.wait)
        watch.end(time.monotonic())
        return watch


def _holes(fresh: dict[str, pa.Table]) -> list[Hole]:
    gaps = fresh.pop(_GAPS, None)
    return [] if gaps is None else holes_of(gaps)


def _until(holes: list[Hole], latest: float) -> list[Hole]:
    return [Hole(min(one.started, latest), min(one.ended, latest)) for one in holes]


def _ascending(records: list[Arrived], earliest: float, latest: float) -> list[Arrived]:
    """Return records with times that do not descend, within bounds."""
    found, at = [], earliest
    for one in records:
        at = max(at, min(one.at, latest))
        found.append(Arrived(at, one.record))
    return found
