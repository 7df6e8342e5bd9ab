"""The panel feed: what connects a monitor to its panels, at a fixed pace, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.activity import Snapshot
from codeworm_monitor.columns import TEXT
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.held_rows import HeldRows, rows_frame
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
MOST_ARRIVED = 200_000
"""Messages that wait for the next refresh; if more do, it begins anew from the tables."""
SIGN_OF_LIFE = 5.0
"""Seconds after which a panel is told that nothing has changed."""
ASKED_AGAIN = 1.0
"""Seconds in which a browser that asks twice is answered once."""
STILL_ROWS = 200

_COMMIT = ("target", "repo", "doc_type", "language", "commit", "commit_message", "tokens", "time_ms")


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
        epoch: The numbering in use.
        status: How the monitor is.
        now: Unix seconds by the relay's clock.
        clock: The publisher's, which the tables' rows do not tell any more: their times are in UTC; None: not known.
        older: Returns rows before a time and, if it has one, an offset, from farther back than the tables; None: there are
            none.
        asking: Asks the relay, and reads CodeWorm's files.
    """

    name: str
    tables: Callable[[], Mapping[str, Table]]
    gaps: Callable[[], Table]
    snapshot: Callable[[], Snapshot | None]
    epoch: Callable[[], str | None]
    status: Callable[[], Status]
    now: Callable[[], float]
    clock: PublisherClock | None
    older: Callable[[int | None, float, int], tuple[list[WireRow], bool]] | None
    asking: Asking


class PanelFeed:
    """Keeps the panels of one monitor up to date.

    Promises:

    - Panels are told of changes at most `refresh` times a second, each of them all that came since in one step. The
      thread that receives only notes that something came.
    - It goes on while a cell runs, ends with the monitor and with the program, and prints nothing: what goes wrong stands
      below the panels, and it goes on.
    - Before the first panel it costs nothing; then it begins with what the tables hold.

    Over what gets nothing more, such as a recording, it has no thread: a panel is told once.

    Args:
        origin: Where it takes from.

    Attributes:
        taking: Held while messages go into the tables and then to `take`.
        refresh: Times a second.
    """

    def __init__(self, origin: Origin) -> None:
        self.name = origin.name
        self.taking = threading.Lock()
        self.refresh = 4.0
        self._origin = origin
        self._held = HeldRows(lambda: list(origin.tables().values()), origin.gaps, origin.epoch)
        self._lock = threading.RLock()  # of all below but what stands beside `taking`
        self._panels: list[Panel] = []
        self._told: dict[int, tuple[dict[str, Any] | None, float]] = {}
        self._filled_at: dict[int, float] = {}
        self._given: dict[int, WireRow] = {}  # rows that the browser was given and the tables do not hold
        self._oldest_at = float("inf")
        self._states: PanelStates | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._is_closed = False
        # Beside `taking`:
        self._is_begun = False
        self._arrived: deque[Callable[[PanelStates], object]] = deque()
        self._rows: deque[tuple[str, Sequence[tuple[Envelope, Any]] | Gap]] = deque()
        self._count = 0

    # For the thread that receives, which holds `taking`

    def take(self, epoch: str, messages: Sequence[tuple[Envelope, Any]]) -> None:
        """Note messages that are in the tables now."""
        if not self._is_begun:
            return
        self._count += len(messages)
        if self._count > MOST_ARRIVED:
            self._begin_anew()
            return
        self._arrived.append(lambda states: states.take(epoch, messages))
        self._rows.append((epoch, messages))

    def take_gap(self, epoch: str, gap: Gap) -> None:
        """Note a gap."""
        if self._is_begun:
            self._arrived.append(lambda states: states.take_gap(epoch, gap))
            self._rows.append((epoch, gap))

    def restart(self, snapshot: Snapshot, *, live_from: int, epoch: str) -> None:
        """Note the relay's state at an offset."""
        if self._is_begun:
            self._arrived.append(lambda states: states.restart(snapshot, live_from=live_from, epoch=epoch))

    def _begin_anew(self) -> None:
        self._is_begun = False
        self._arrived.clear()
        self._rows.clear()
        self._count = 0

    # For panels

    def attach(self, panel: Panel) -> None:
        """Tell a panel from now on."""
        with self._lock:
            self._panels.append(panel)
            is_live = not self._is_closed and self._origin.status().state not in (State.RECORDING, State.CLOSED)
            if is_live and self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"codeworm_monitor:{self.name}:panels", daemon=True
                )
                self._thread.start()
            elif not is_live:
                self._refresh()

    def detach(self, panel: Panel) -> None:
        """Tell a panel nothing more."""
        with self._lock:
            self._panels = [one for one in self._panels if one is not panel]
            self._told.pop(id(panel), None)
            self._filled_at.pop(id(panel), None)

    def fill(self, panel: RowPanel, *, is_asked: bool = False) -> None:
        """Send the newest rows.

        Args:
            panel: To which.
            is_asked: Whether a browser asked; one that has just been answered is not again.
        """
        with self._lock:
            now = time.monotonic()
            if is_asked and now - self._filled_at.get(id(panel), float("-inf")) < ASKED_AGAIN:
                return
            self._states_now()
            rows, is_all = self._held.newest(FILLED)
            is_all = is_all and self._origin.older is None
            panel.send_fill(panel.log_state.fill(rows, is_all=is_all, epoch=self._origin.epoch()))
            self._filled_at[id(panel)] = now

    def resend(self, panel: RowPanel, first: int, last: int) -> None:
        """Send batches again, or, if they are not held any more, the newest rows."""
        with self._lock:
            batches = panel.log_state.resend(first, last)
            if batches is None:
                self.fill(panel)
                return
            for batch in batches:
                panel.send_batch(batch)

    def older(self, before: int | None, count: int) -> tuple[bytes, bool, str | None]:
        """Return rows before one as JSON, whether nothing is older, and why there may be more than these.

        Args:
            before: Offset of that one; None: the oldest that was given.
            count: Most rows.
        """
        try:
            with self._lock:
                known = None if before is None else self._given.get(before)
                at = self._oldest_at if known is None else known[1]
            if before is not None and known is None:
                at = self._held.time_of(before) or min(at, self._origin.now())
            rows, is_all = self._held.before(before, at, count), self._origin.older is None
            if rows:
                is_all = False
            elif self._origin.older is not None:
                rows, is_all = self._origin.older(before, at, count)
                self._remember(rows)
        except Exception as error:  # noqa: BLE001  # for the person who scrolls: there is nobody here to raise it to
            return b"[]", False, str(error) or type(error).__name__
        if rows:
            self._oldest_at = rows[0][1]
        return dump_rows(rows), is_all, None

    def selection(self, view: View) -> pd.DataFrame:
        """Return what a log panel shows, or of that what is selected; see `widgets.LogPanel.selection`."""
        rows = self._held.shown(view)
        held = {row[0] for row in rows}
        with self._lock:
            given = list(self._given.values())
        for row in given:
            is_wanted = row[0] in view.selected if view.selected else view.first is None or row[0] >= view.first
            if row[0] not in held and is_wanted and view.accepts(row):
                rows.append(row)
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

    def _run(self) -> None:
        due = time.monotonic()
        self._origin.asking.start()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            begun = time.monotonic()
            with self._lock:
                self._refresh()
            spent = time.monotonic() - begun
            # At most half of the time, whatever comes.
            due = max(begun + 1 / self.refresh, begun + 2 * spent)

    def _refresh(self) -> None:
        """Tell all panels what is new; never raises."""
        problem = self._origin.asking.problem
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
        if id(panel) not in self._filled_at:
            self.fill(log)
        if (batch := log.log_state.flush()) is not None:
            log.send_batch(batch)

    def _states_now(self) -> PanelStates:
        """Return the states with all that came so far; the log panels have taken it as well."""
        if self._states is None or not self._is_begun:
            self._begin()
        states = self._states
        assert states is not None
        with self.taking:
            arrived, self._arrived = self._arrived, deque()
            rows, self._rows = self._rows, deque()
            self._count = 0
        for step in arrived:
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
        with self.taking:  # so that snapshot and tables are of one moment
            self._is_begun = True
            tables = {name: table.arrow() for name, table in origin.tables().items()}
            gaps, snapshot, epoch = origin.gaps().arrow(), origin.snapshot(), origin.epoch() or ""
        states = PanelStates(origin.now())
        rows, _ = self._held.newest(LEARNT_FROM)
        newest = max((int(pc.max(one.column("offset")).as_py() or 0) for one in tables.values()), default=0)
        if snapshot is not None:
            states.restart(snapshot, live_from=newest, epoch=epoch)
        taken = [
            (Envelope(place, row[1], row[2], b"", None), row[3])
            for place, row in enumerate(rows, 1 if snapshot is None else newest - len(rows) + 1)
            if row[2] != "gap"
        ]
        states.take(epoch, taken)
        if origin.clock is not None:
            states.seed_clock(origin.clock)
        for gap in gaps.slice(max(0, gaps.num_rows - 1_000)).to_pylist():
            states.take_gap(epoch, _gap(gap))
        events = tables.get(Kind.EVENTS)
        if events is not None:
            first = pc.min(events.column("received_at")).as_py()
            states.seed_commits(_commits(events), None if first is None else first.timestamp())
        self._states = states
        for panel in self._panels:
            if _rows_of(panel) is not None:
                self._filled_at.pop(id(panel), None)

    def _remember(self, rows: Iterable[WireRow]) -> None:
        with self._lock:
            self._given.update((row[0], row) for row in rows if row[0] is not None)
            for offset in sorted(self._given, reverse=True)[50_000:]:
                del self._given[offset]


def _rows_of(panel: Any) -> RowPanel | None:
    return panel if panel.panel_name == "log" else None


def _in_words(error: Exception) -> str:
    return f"these panels may not be up to date: {type(error).__name__}: {error}"[:500]


def _gap(row: dict[str, Any]) -> Gap:
    times = {name: row[name].timestamp() for name in ("started_at", "ended_at")}
    places = {name: row[name] for name in ("offset", "first_offset", "last_offset")}
    return Gap(cause=GapCause(row["cause"]), detail=row["detail"] or "", **times, **places)


def _commits(events: pa.Table) -> list[dict[str, Any]]:
    """Return the commits that a table of events tells."""
    is_commit = pc.equal(events.column("type").cast(TEXT), "documentation_committed")
    found = events.filter(pc.fill_null(is_commit, False)).select(["received_at", *_COMMIT])  # noqa: FBT003 (a value)
    return [{**row, "at": row["received_at"].timestamp()} for row in found.to_pylist()]
