"""The panel feed: what connects a monitor to its panels, at a fixed pace, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.compute as pc

from codeworm_monitor.activity import Snapshot
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.held_rows import (
    Edge,
    Given,
    HeldRows,
    commits_of,
    gaps_of,
    newest_offset,
    newest_rows,
    rows_frame,
)
from codeworm_monitor.panel_arrivals import PanelArrivals
from codeworm_monitor.panel_asking import Asking
from codeworm_monitor.records import Kind, PublisherClock
from codeworm_monitor.states.log_filter import View
from codeworm_monitor.states.log_state import Batch, Fill, LogState
from codeworm_monitor.states.panel_states import PanelStates
from codeworm_monitor.states.still import still_html
from codeworm_monitor.states.wire_rows import WireRow, dump_rows
from codeworm_monitor.status import State, Status
from codeworm_monitor.tables import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FASTEST", "SLOWEST", "Origin", "Panel", "PanelFeed", "RowPanel"]

SLOWEST, FASTEST = 0.1, 10.0
"""Refreshes a second."""
FILLED = 5_000
"""Rows that a browser is given at first."""
LEARNT_FROM = 20_000
"""Newest rows from which a feed that begins late learns what is usual."""
SIGN_OF_LIFE = 5.0
"""Seconds after which a panel is told that nothing has changed."""
ASKED_AGAIN = 1.0
"""Seconds in which a browser that asks twice is answered once."""
STILL_ROWS = 200


class Panel(Protocol):
    """What the feed tells; it calls from its own thread."""

    panel_name: str

    def tell(self, state: dict[str, Any], at: float) -> None:
        """Show a state."""

    def tell_alive(self, at: float) -> None:
        """Show that nothing has changed."""

    def tell_problem(self, problem: str) -> None:
        """Show what hinders the feed."""


class RowPanel(Panel, Protocol):
    """A panel that takes rows as well."""

    log_state: LogState

    def send_batch(self, batch: Batch) -> None:
        """Send rows."""

    def send_fill(self, fill: Fill) -> None:
        """Send rows that replace all others."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a feed takes from. All is called from any thread.

    Attributes:
        name: Of the monitor.
        tables: Tables of messages, by kind or channel.
        gaps: The table of gaps.
        snapshot: The current state.
        live_from: Offset up to which the relay's own state held everything when it was connected to.
        epoch: The numbering in use.
        status: How the monitor is.
        now: Unix seconds by the relay's clock.
        clock: The publisher's, which the tables' rows do not tell any more: their times are in UTC; None: not known.
        older: Returns rows before an edge, from farther back than the tables, and whether none are; None: there are none.
        asking: Asks the relay, and reads CodeWorm's files.
        note: What always stands below the panels; empty: nothing.
    """

    name: str
    tables: Callable[[], Mapping[str, Table]]
    gaps: Callable[[], Table]
    snapshot: Callable[[], Snapshot | None]
    live_from: Callable[[], int]
    epoch: Callable[[], str | None]
    status: Callable[[], Status]
    now: Callable[[], float]
    clock: PublisherClock | None
    older: Callable[[Edge, int], tuple[list[WireRow], bool]] | None
    asking: Asking
    note: str = ""


class PanelFeed:
    """Keeps the panels of one monitor up to date.

    Promises:

    - Panels are told of changes at most `refresh` times a second, each of them all that came since in one step. The
      thread that receives only notes that something came.
    - It goes on while a cell runs, ends with the monitor and with the program, and prints nothing: what goes wrong stands
      below the panels, and it goes on.
    - Before the first panel, and after the last, it costs nothing; it begins with what the tables hold.

    Over what gets nothing more, such as a recording, it has no thread: a panel is told once.

    Args:
        origin: Where it takes from.

    Attributes:
        taking: Held while messages go into the tables and then to `take`.
        refresh: Times a second.
    """

    def __init__(self, origin: Origin) -> None:
        self.name = origin.name
        self._arrivals = PanelArrivals()
        self.taking = self._arrivals.taking
        self.refresh = 4.0
        self._origin = origin
        self._held = HeldRows(lambda: list(origin.tables().values()), origin.gaps, origin.epoch)
        self._lock = threading.RLock()  # of all below
        self._panels: list[Panel] = []
        self._told: dict[int, tuple[dict[str, Any] | None, float]] = {}
        self._given: dict[int, Given] = {}  # none: that panel wants a fill
        self._states: PanelStates | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._is_closed = False

    # For the thread that receives, which holds `taking`

    def take(self, epoch: str, messages: Sequence[tuple[Envelope, Any]], *, size: int = 0) -> None:
        """Note messages that are in the tables now; `size`: bytes of their JSON, as far as known."""
        self._arrivals.note(epoch, messages, size=size)

    def take_gap(self, epoch: str, gap: Gap) -> None:
        """Note a gap."""
        self._arrivals.note_gap(epoch, gap)

    def restart(self, snapshot: Snapshot, *, live_from: int, epoch: str) -> None:
        """Note the relay's state at an offset."""
        self._arrivals.note_restart(snapshot, live_from=live_from, epoch=epoch)

    # For panels

    def attach(self, panel: Panel) -> None:
        """Tell a panel from now on."""
        with self._lock:
            self._panels.append(panel)
            if not self._is_live():
                self._refresh()
            elif self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._ended,), name=f"codeworm_monitor:{self.name}:panels", daemon=True
                )
                self._thread.start()

    def detach(self, panel: Panel) -> None:
        """Tell a panel nothing more; after the last one nothing is done until there is another."""
        with self._lock:
            self._panels = [one for one in self._panels if one is not panel]
            self._told.pop(id(panel), None)
            self._given.pop(id(panel), None)
            if not self._panels and self._thread is not None:
                self._ended.set()
                self._thread = None
                self._origin.asking.close()
                with self.taking:
                    self._arrivals.stop()

    def fill(self, panel: RowPanel, *, is_asked: bool = False) -> None:
        """Send the newest rows.

        Args:
            panel: To which.
            is_asked: Whether a browser asked; one that has just been answered is not again.
        """
        with self._lock:
            now, given = time.monotonic(), self._given.get(id(panel))
            if is_asked and given is not None and now - given.at < ASKED_AGAIN:
                return
            epoch = self._origin.epoch()
            self._states_now()
            if given is not None and given.epoch != epoch and (batch := panel.log_state.flush()) is not None:
                panel.send_batch(batch)  # of the former numbering: it must not come after the fill
            rows, is_all = self._held.newest(FILLED)
            is_all = is_all and self._origin.older is None
            panel.send_fill(panel.log_state.fill(rows, is_all=is_all, epoch=epoch))
            self._given[id(panel)] = Given(rows, epoch, now)

    def resend(self, panel: RowPanel, first: int, last: int) -> None:
        """Send batches again, or, if they are not held any more, the newest rows."""
        with self._lock:
            batches = panel.log_state.resend(first, last)
            if batches is None:
                self.fill(panel)
                return
            for batch in batches:
                panel.send_batch(batch)

    def older(self, panel: RowPanel, before: int | None, count: int) -> tuple[bytes, bool, str | None]:
        """Return rows before one as JSON, whether nothing is older, and why there may be more than these.

        Args:
            panel: Whose browser asks.
            before: Offset of that one; None: the browser holds none that has one.
            count: Most rows.
        """
        with self._lock:
            given = self._given.get(id(panel)) or Given()
        try:
            edge = given.edge(before, self._held.time_of, self._origin.now())
            rows, is_all = self._held.before(edge, count), self._origin.older is None
            if is_held := bool(rows):
                is_all = False
            elif self._origin.older is not None:
                rows, is_all = self._origin.older(edge, count)
        except Exception as error:  # noqa: BLE001  # for the person who scrolls: there is nobody here to raise it to
            return b"[]", False, str(error) or type(error).__name__
        with self._lock:
            given.add_older(rows, is_held=is_held)
        return dump_rows(rows), is_all, None

    def selection(self, panel: RowPanel, view: View) -> pd.DataFrame:
        """Return what a log panel shows, or of that what is selected; see `widgets.LogPanel.selection`."""
        rows = self._held.shown(view)
        held = {row[0] for row in rows}
        with self._lock:
            given = self._given.get(id(panel)) or Given()
            rows += [row for row in given.shown(view) if row[0] not in held]
        return rows_frame(sorted(rows, key=lambda row: row[1]))

    def still_html(self, names: Iterable[str]) -> str:
        """Return some panels as plain HTML of this moment."""
        states, rows, now = self.now(names)
        return still_html(states, rows, title=self.name, now=now)

    def now(self, names: Iterable[str]) -> tuple[dict[str, Any], list[WireRow], float]:
        """Return the states of some panels, the newest rows if `log` is among them, and the time, by the relay's clock."""
        wanted = set(names)
        with self._lock:
            now = self._origin.now()
            states = self._states_now().as_dict(now)
            if self._thread is None and self._is_live():  # nobody would take what came from now on
                with self.taking:
                    self._arrivals.stop()
        rows = self._held.newest(STILL_ROWS)[0] if "log" in wanted else []
        return {name: state for name, state in states.items() if name in wanted}, rows, now

    def close(self) -> None:
        """Tell the panels how it ended, and no more; may be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        self._origin.asking.close()
        if self._panels and self._lock.acquire(timeout=1.0):
            try:
                self._refresh()
            finally:
                self._lock.release()

    # The thread

    def _is_live(self) -> bool:
        return not self._is_closed and self._origin.status().state not in (State.RECORDING, State.CLOSED)

    def _run(self, ended: threading.Event) -> None:
        due = time.monotonic()
        is_live = True
        while is_live and not ended.wait(max(0.0, due - time.monotonic())):
            begun = time.monotonic()
            is_live = self._is_live()  # asked first: what came before its end is told as well
            with self._lock:
                if ended.is_set():  # after the last panel
                    return
                self._origin.asking.start()
                self._refresh()
                if not is_live:
                    self._origin.asking.close()
            spent = time.monotonic() - begun
            # At most half of the time, whatever comes.
            due = max(begun + 1 / self.refresh, begun + 2 * spent)

    def _refresh(self) -> None:
        """Tell all panels what is new; never raises."""
        problem = "; ".join(one for one in (self._origin.note, self._origin.asking.problem) if one)
        try:
            states = self._states_now()
            now = self._origin.now()
            told = states.as_dict(now)
        except Exception as error:  # noqa: BLE001  # stands below the panels
            told, now, problem = {}, self._origin.now(), _in_words(error)
        for panel in list(self._panels):
            try:
                self._tell(panel, told.get(panel.panel_name, {}) if told else None, now)
                panel.tell_problem(problem)
            except Exception as error:  # noqa: BLE001  # likewise
                self._complain(panel, error)

    def _complain(self, panel: Panel, error: Exception) -> None:
        with suppress(Exception):  # the line to the browser itself is broken: nobody can be told
            panel.tell_problem(_in_words(error))

    def _tell(self, panel: Panel, state: dict[str, Any] | None, now: float) -> None:
        before, at = self._told.get(id(panel), (None, float("-inf")))
        if state is not None and (before is None or state != before):
            panel.tell(state, now)
            self._told[id(panel)] = (state, now)
        elif now - at >= SIGN_OF_LIFE or now < at:
            panel.tell_alive(now)
            self._told[id(panel)] = (before, now)
        if (log := _rows_of(panel)) is None:
            return
        given = self._given.get(id(panel))
        if given is None or given.epoch != self._origin.epoch():
            self.fill(log)
        if (batch := log.log_state.flush()) is not None:
            log.send_batch(batch)
            self._given[id(panel)].add_newer(batch.count)

    def _states_now(self) -> PanelStates:
        """Return the states with all that came so far; the log panels have taken it as well."""
        if self._states is None or not self._arrivals.is_begun:
            self._begin()
        states = self._states
        assert states is not None
        with self.taking:
            steps, rows = self._arrivals.take()
        for step in steps:
            step(states)
        logs = [log for panel in self._panels if (log := _rows_of(panel)) is not None]
        for epoch, some in rows:
            for log in logs:
                if isinstance(some, Gap):
                    log.log_state.take_gap(epoch, some)
                else:
                    log.log_state.take(epoch, some)
        states.take_status(self._origin.status())
        self._origin.asking.tell(states)
        return states

    def _begin(self) -> None:
        """Make the states of what the tables hold."""
        origin = self._origin
        with self.taking:  # so that all are of one moment: what comes later is noted
            self._arrivals.is_begun = True
            tables = {name: table.arrow() for name, table in origin.tables().items()}
            gaps, snapshot, epoch = origin.gaps().arrow(), origin.snapshot(), origin.epoch()
            live_from = origin.live_from()
        states = PanelStates(origin.now())
        rows, _ = newest_rows(tables.values(), gaps, epoch, LEARNT_FROM)
        newest = max(newest_offset(tables.values(), epoch), live_from)
        if snapshot is not None:
            states.restart(snapshot, live_from=newest, epoch=epoch or "")
        taken = [
            (Envelope(place, row[1], row[2], b"", None), row[3])
            for place, row in enumerate(rows, 1 if snapshot is None else newest - len(rows) + 1)
            if row[2] != "gap"
        ]
        states.take(epoch or "", taken)
        if origin.clock is not None:
            states.seed_clock(origin.clock)
        for gap in gaps_of(gaps.slice(max(0, gaps.num_rows - 1_000))):
            states.take_gap(epoch or "", gap)
        events = tables.get(Kind.EVENTS)
        if events is not None:
            first = pc.min(events.column("received_at")).as_py()
            states.seed_commits(commits_of(events), None if first is None else first.timestamp())
        self._states = states
        self._given.clear()


def _rows_of(panel: Any) -> RowPanel | None:
    return panel if panel.panel_name == "log" else None


def _in_words(error: Exception) -> str:
    return f"these panels may not be up to date: {type(error).__name__}: {error}"[:500]
