"""The notebook's side: `connect` to a relay, or `open_recording`; both give a `Monitor`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import pandas as pd

from codeworm_monitor import registry
from codeworm_monitor.activity import Snapshot
from codeworm_monitor.analysis.questions import Questions
from codeworm_monitor.analysis.traffic import Traffic, ollama_records
from codeworm_monitor.arrivals import Arrival, Dispatcher
from codeworm_monitor.card import ollama_line, status_card, status_line
from codeworm_monitor.client import Address, Ended, Happening, Lost, RelayClient
from codeworm_monitor.conditions import Moment
from codeworm_monitor.envelope import Cursor, Gap
from codeworm_monitor.errors import ConnectError, RelayNotFoundError
from codeworm_monitor.frames import Batch, ErrorFrame, Hello, Subscribed
from codeworm_monitor.held_rows import shown
from codeworm_monitor.history import Choice, History
from codeworm_monitor.intake import Intake
from codeworm_monitor.panel_origins import live_feed
from codeworm_monitor.past import Past
from codeworm_monitor.recording import RECORDING_EPOCH, recorded, recorded_arrivals
from codeworm_monitor.records import RELAY_CHANNEL, Kind
from codeworm_monitor.settings import ENVIRONMENT_PREFIX
from codeworm_monitor.status import State, Status
from codeworm_monitor.streams import Stream
from codeworm_monitor.target import HOW_TO_START, Since, Target, failure_to_connect
from codeworm_monitor.watching.spans import Span
from codeworm_monitor.watching.watch import Watch
from codeworm_monitor.watching.watches import Watches
from codeworm_monitor.worm_files import PathText, WormFiles

if TYPE_CHECKING:
    from codeworm_monitor.dashboard import Dashboard

__all__ = ["Monitor", "connect", "open_recording"]

UNSEALED_BYTES = 4 * 2**20
"""Bytes received after which waiting payloads become columns, whether anybody looks or not."""
CLOSE_WITHIN = 2.0
LOOKED_AT = 2_000
"""Newest lines of the relay's own in which the card looks for what it told of Ollama, every ten minutes at least."""
BACKLOG = 50_000


class Monitor(Questions):
    """What a relay, or a recording, says: tables, the current state, and ways to wait. Made by `connect`.

    Promises:

    - The network has a thread and an event loop of its own: it goes on while a cell blocks, and works the same in a
      script, in IPython and in a notebook.
    - Of one epoch, the tables hold each message once, in the relay's order, also over reconnections; what was missed
      is in `gaps`. At their capacity the oldest rows leave.
    - All may be used from any thread. `close` ends it, usually at once; so does the end of the program.

    Attributes:
        name: Its name; `connect` with the same one gives the same monitor.
        panel_feed: What keeps its panels up to date.
    """

    def __init__(
        self, name: str, *, capacity: int, target: Target | None = None, path: str | os.PathLike[str] | None = None
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.target = target
        self._path = None if path is None else Path(path).absolute()  # read again for callbacks, wherever we are then
        self._dispatcher = Dispatcher(f"codeworm_monitor:{name}:callbacks")
        replay = None if path is None else self._replay
        self._intake = Intake(
            self._dispatcher,
            capacity=capacity,
            is_live=path is None,
            replay=replay,
            in_view=lambda table, view: shown(table, view, self._epoch()),
        )
        self._past = Past(self._intake, self._relay if path is None else None, self._epoch, self._heard_until)
        self._watches = Watches(
            name,
            self._intake,
            status=lambda: self.status,
            heard=self._heard,
            is_choosy=target is not None and target.is_choosy,
        )
        self.panel_feed = live_feed(
            name,
            self._intake,
            self._past,
            epoch=self._epoch,
            status=lambda: self.status,
            relay=self._relay if path is None else None,
            is_whole=target is None or not target.is_choosy,
        )

        self._dashboard: Dashboard | None = None

        # Written by the thread that receives, each in one step; read by any.
        self._state, self._since = State.CONNECTING, datetime.now(UTC)
        self._url = None if path is None else os.fspath(path)
        self._cursor: Cursor | None = None
        self._connections = 0
        self._last_error: str | None = None
        self._failure: ConnectError | None = None

        # Of that thread alone.
        self._greeting: Hello | None = None
        self._refusals = 0
        self._sealed_at = self._bytes_taken = 0

        self._client: RelayClient | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._running = threading.Event()
        self._settled = threading.Event()  # the backlog is here, or it is known why it will not come
        self._closing = threading.Lock()
        self._entering = threading.Lock()

    # What it tells

    @property
    def logs(self) -> Stream:
        """Log lines; see `Stream.columns`."""
        return self._intake.by_kind[Kind.LOGS]

    @property
    def events(self) -> Stream:
        """Steps of the documentation cycles; see `Stream.columns`."""
        return self._intake.by_kind[Kind.EVENTS]

    @property
    def stats(self) -> Stream:
        """The daemon's counters after each successful cycle; see `Stream.columns`."""
        return self._intake.by_kind[Kind.STATS]

    def channel(self, name: str) -> Stream:
        """Return the stream of a channel.

        A channel whose name ends in `:logs`, `:events` or `:stats` is part of the stream of that name. Any other has
        one of its own, with the columns of `logs`, empty until a message comes.
        """
        return self._intake.stream(name)

    @property
    def gaps(self) -> pd.DataFrame:
        """What is, or may be, missing, one row a gap, as the relay told it.

        Columns: epoch (category), offset (float64; missing for a gap of this reader alone), cause (category),
        started_at, ended_at (datetime64[us, UTC]), first_offset, last_offset, missed (float64), detail (str).
        """
        return self._intake.gaps.df

    @property
    def snapshot(self) -> Snapshot:
        """What the daemon is doing now, its last results and counters.

        With conditions given to `connect`, it follows the messages that pass them.
        """
        return self._intake.snapshot

    @property
    def status(self) -> Status:
        """How the monitor itself is: connection, rates, losses."""
        intake, cursor, streams = self._intake, self._cursor, self._intake.streams()
        return Status(
            name=self.name,
            state=self._state,
            since=self._since,
            url=self._url,
            epoch=None if cursor is None else cursor.epoch,
            cursor=cursor,
            rate=intake.rate,
            lag=intake.lag,
            received=intake.received,
            evicted=sum(stream.dropped for stream in streams),
            dropped=sum(stream.losses for stream in streams),
            gaps=intake.gap_count,
            reconnects=max(0, self._connections - 1),
            callback_failures=sum(stream.failures for stream in streams),
            last_error=self._last_error,
        )

    # The past

    def history(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        # What of it
        channel: Choice = None,
        level: Choice = None,
        component: Choice = None,
        repo: Choice = None,
        text: str | None = None,
        limit: int | None = None,
        # How
        progress: bool | None = None,
    ) -> History:
        """Return what was received in a span of time, also before this monitor connected, as frames like the live ones.

        Read from the relay's archive if that is on this machine, else asked of the relay page by page; of a recording,
        from its tables. Conditions given to `connect` are no conditions here.

        Args:
            since: A time (see `conditions.Moment`), the earliest that is wanted; durations count back from now. None:
                a day ago.
            until: The first that is not wanted; None: up to now.
            channel: `logs`, `events` or `stats`, a channel's full name, or several; None: all.
            level: As for `where`: ">=warning", "error", …; what has no level fulfils only `!=`. So with the next two.
            component: One, or several.
            repo: One, or several. Most log lines do not name theirs: ask for `channel="events"`.
            text: Some text of the message contains it, in any case of letters.
            limit: Most rows, the earliest of those that fulfil the conditions; None: all.
            progress: Whether to show how far it is; None: in a notebook and on a terminal, if it takes over half a
                second.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: One cannot be read; says which.
            ArchiveError: The archive cannot be read.
            ConnectError: The relay does not answer.

        Example:
            >>> mon.history(since="yesterday", channel="logs", level=">=warning").df
        """
        conditions = {"level": level, "component": component, "repo": repo, "text": text}
        return self._past.history(since, until, channel=channel, limit=limit, progress=progress, **conditions)

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return what a query finds in the relay's archive, if that is on this machine, and in the live tables.

        Without an archive here, and over a recording, it asks the live tables alone; `payload` is then NULL, as it is of
        rows that are not archived yet. Needs DuckDB (`pip install 'codeworm-monitor[analysis]'`).

        The views `logs`, `events` and `stats` have the columns of the frames, but for `extra`; instead `payload` has the
        whole message as JSON text. `gaps` is as in the frames. `documents` has a row a document, `cycles` a row a
        documentation cycle in a plainer form than the property `cycles`, `messages` what every archived channel carried.

        Args:
            query: One SELECT in DuckDB's SQL; times are in UTC.
            parameters: Values of `?` or `$1`, or, by name, of `$name`.

        Raises:
            ValueError: The query has a mistake; says which.
            ArchiveError: The archive cannot be read, or DuckDB is not installed.

        Example:
            >>> mon.sql("SELECT outcome, count(*) AS cycles FROM cycles GROUP BY outcome")
        """
        return self._past.sql(query, parameters)

    def traffic(self, since: Moment | None = None, until: Moment | None = None) -> Traffic:
        """Return the live tables and gaps as frames, or, with times, what `history` finds; see `Questions.traffic`."""
        if since is not None or until is not None:
            return self.history(self._past.traffic().since if since is None else since, until).traffic()
        if self.target is not None and self.target.is_choosy:
            raise ValueError(
                "this monitor receives only what passes its conditions, so that cycles cannot be told from it: ask "
                "mon.history(since=…), or connect without conditions under another name"
            )
        return self._past.traffic()

    def _heard_until(self) -> datetime | None:
        """Return up to when messages were taken in, by the relay's clock; None: of a recording, to its end."""
        if self.target is None:
            return None
        intake = self._intake
        if self._state is State.CONNECTED:
            return datetime.fromtimestamp(intake.relay_time(), UTC)
        if self._greeting is None and intake.lost_at is not None:
            return datetime.fromtimestamp(intake.lost_at, UTC)
        return self._since + timedelta(seconds=intake.clock_ahead)

    @property
    def worm_files(self) -> WormFiles:
        """Where CodeWorm's own files are."""
        return self._past.files

    def watch(
        self,
        rule: object,
        action: object = None,
        /,
        *,
        name: str | None = None,
        # How calmly it is told
        clear_after: Span | None = None,
        cooldown: Span | None = None,
        remind: Span | None = None,
        blind_after: Span = 60.0,
        # Of a recording
        act: bool = False,
    ) -> Watch:
        """Watch for a condition, and do something when it holds, and when it is over.

        What the tables hold already counts, but for conditions on single records. Run again, with the same rule and action
        or the same name, it takes the place of the running watch, so a cell may be run any number of times.

        Over a recording the rule is tried on the past: it sees the messages at their recorded times and returns when
        they are over, with `history` filled; nothing is done but with `act`.

        Args:
            rule: A text: "silence", "silence > 30min", "failures >= 3", "error_rate > 50%" (of the newest 20 cycles),
                "slow > 2x" (than usual), "slow > 90s", "level >= error"; a rule of `watching`, which says more; or a function
                of a record that tells whether it counts.
            action: A function, called with each `Notice` in a thread of its own; a list of texts, a program and its
                arguments (`watching.Command`); a URL (`watching.Webhook`); or a list of several. None: `watching.Notify()`,
                a notice under this cell, outside a notebook on standard error.
            name: Of the watch.
            clear_after: In place of the rule's own, as the next two: seconds, or a text such as "5min", that it must be
                well over before that is told.
            cooldown: Between two times that it fires, at least.
            remind: Tell again after so long while it holds.
            blind_after: How long the relay, or that its publisher, must not be heard before that is told.
            act: Of a recording: call the actions all the same.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: One cannot be read, or the rule needs messages that this monitor does not receive.
            ConnectError: The monitor was closed.

        Example:
            >>> mon.watch("failures >= 3")
            >>> mon.watch("silence", ["notify-send", "CodeWorm is silent"], remind="1h")
        """
        return self._watches.add(
            rule,
            action,
            name=name,
            blind_after=blind_after,
            act=act,
            clear_after=clear_after,
            cooldown=cooldown,
            remind=remind,
        )

    @property
    def is_closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._state is State.CLOSED

    def dashboard(
        self, *, refresh: float | None = None, binary: bool | None = None, panels: str | Iterable[str] | None = None
    ) -> Dashboard:
        """Return the live dashboard, the same one each time; at the end of a cell it shows, as the monitor itself does.

        Args:
            refresh: Times a second at most that it is told what is new, 0.1 to 10; at first 4. None, here and in the next
                two, leaves it as it is.
            binary: Whether rows go as binary messages, as at first; False: as JSON, for hosts that lose binary ones.
            panels: Names of those to show: activity, stats, health, log, commits, repositories; at first all.

        Raises:
            ValueError: An option is out of its range, or there is no such panel.

        Example:
            >>> mon.dashboard(refresh=10)
            >>> mon.dashboard().log.selection
        """
        from codeworm_monitor.dashboard import Dashboard  # ipywidgets loads only when something is shown

        with self._closing:
            if self._dashboard is None or self._dashboard.is_closed:
                self._dashboard = Dashboard(self)
            dashboard = self._dashboard
        dashboard.configure(refresh=refresh, binary=binary, panels=panels)
        return dashboard

    def _ipython_display_(self, **_: object) -> None:
        try:
            dashboard = self.dashboard()
        except ImportError:
            raise NotImplementedError("without ipywidgets the card is shown") from None
        dashboard._ipython_display_()

    def __repr__(self) -> str:
        return status_line(self.status, self._intake.sizes())

    def _repr_html_(self) -> str:
        journal = self._intake.others.get(RELAY_CHANNEL)
        ollama = None if journal is None else ollama_line(ollama_records(journal.tail(LOOKED_AT)))
        return status_card(self.status, self.snapshot, self._intake.sizes(), ollama=ollama)

    # Its end

    def close(self) -> None:
        """Disconnect and end its threads; the tables stay readable. May be called again.

        Waits for each thread for two seconds at most, and usually hardly at all.
        """
        with self._closing:
            registry.forget(self)
            self._enter(State.CLOSED)
            if self._thread is not None and self._thread.is_alive() and self._running.wait(CLOSE_WITHIN):
                if self._loop is not None and self._task is not None:
                    with suppress(RuntimeError):  # the loop has just ended by itself
                        self._loop.call_soon_threadsafe(self._task.cancel)
                self._thread.join(CLOSE_WITHIN)
            self._watches.close()
            self._intake.shut("the monitor was closed")
            self._settled.set()
            self._dispatcher.close()
            self.panel_feed.close()
            self._past.close()

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
        await asyncio.to_thread(self.close)

    # Connecting

    def _start(self, target: Target) -> None:
        def locate() -> Sequence[Address]:
            return target.addresses(last=None if self._client is None else self._client.url)

        self._client = RelayClient(locate, target.subscribe(time.time()))
        self._thread = threading.Thread(target=self._run, name=f"codeworm_monitor:{self.name}", daemon=True)
        self._thread.start()

    def _wait_settled(self, wait: float) -> None:
        """Wait for the first connection and its backlog.

        Raises:
            ConnectError: There was no connection within `wait` seconds, or there will be none.
        """
        self._settled.wait(wait)
        if not self._connections or self.is_closed:
            raise self._failure or RelayNotFoundError(f"no relay has answered within {wait:g} s: {_what_to_do()}")

    def _relay(self) -> Address | None:
        """Return where the relay is, or was last."""
        if self.target is None or self._url is None:
            return None
        known = self.target.addresses(last=self._url)
        return next((address for address in known if address.url == self._url), None)

    def _epoch(self) -> str | None:
        cursor = self._cursor
        return None if cursor is None else cursor.epoch

    def _heard(self) -> int | None:
        """Return how many bytes of the relay were heard; None while it is not, or older messages are still to come."""
        greeting, cursor, client = self._greeting, self._cursor, self._client
        if self._state is not State.CONNECTED or greeting is None or cursor is None or client is None:
            return None
        is_current = cursor.epoch == greeting.epoch and cursor.offset >= greeting.head
        return client.bytes_received if is_current else None

    # Receiving: the thread of the network

    def _run(self) -> None:
        try:
            asyncio.run(self._receive())
        except asyncio.CancelledError:
            return  # how `close` ends it
        except Exception as error:  # noqa: BLE001  # for the user: there is nobody here to raise it to
            self._fail(ConnectError(f"the monitor failed on {type(error).__name__}: {error}; please connect again"))
        finally:
            self._running.set()

    async def _receive(self) -> None:
        assert self._client is not None
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._running.set()
        async with aclosing(self._client.stream()) as happenings:
            async for happening in happenings:
                self._take(happening, self._client)

    def _take(self, happening: Happening, client: RelayClient) -> None:
        match happening:
            case Batch(envelopes):
                epoch = client.cursor.epoch if client.cursor else ""
                size, self._bytes_taken = client.bytes_received - self._bytes_taken, client.bytes_received
                with self.panel_feed.taking:
                    self._intake.take(epoch, envelopes)
                    self.panel_feed.take(epoch, envelopes, size=size)
                if client.bytes_received - self._sealed_at > UNSEALED_BYTES:
                    self._sealed_at = client.bytes_received
                    self._intake.seal()
            case Gap():
                epoch = client.cursor.epoch if client.cursor else ""
                with self.panel_feed.taking:
                    self._intake.take_gap(epoch, happening)
                    self.panel_feed.take_gap(epoch, happening)
            case Hello():
                self._greeting = happening
                self._intake.clock_ahead = happening.time - time.time()
                self._connections += 1
                self._url = client.url
            case Subscribed():
                self._on_subscribed(client)
            case Lost():
                self._on_lost(happening)
            case ErrorFrame(message):
                self._last_error = f"the relay says: {message}"
            case Ended():
                self._fail(ConnectError(f"the relay closed the connection for good: {happening.reason}"))
        self._cursor = client.cursor
        if self._greeting is not None and self._cursor is not None and self._cursor.offset >= self._greeting.head:
            self._settled.set()

    def _on_subscribed(self, client: RelayClient) -> None:
        assert self._greeting is not None
        try:
            snapshot = Snapshot.from_dict(self._greeting.snapshot)
        except (AttributeError, TypeError, ValueError):  # another version's, of another form
            snapshot = Snapshot()
        with self.panel_feed.taking:
            self._cursor = client.cursor  # of one moment with the state: panels begin from both
            self._intake.restart(snapshot, live_from=self._greeting.head)
            self.panel_feed.restart(snapshot, live_from=self._greeting.head, epoch=self._greeting.epoch)
        self._enter(State.CONNECTED)

    def _on_lost(self, lost: Lost) -> None:
        if self._greeting is not None:
            self._intake.lost_at = self._intake.relay_time()
        self._greeting = None
        self._url = lost.url or self._url
        self._last_error = f"{lost.url}: {lost.reason}" if lost.url else lost.reason
        self._failure = failure_to_connect(lost)
        if lost.is_refusal:
            self._enter(State.REFUSED)
            self._refusals += 1
            # A relay that is just starting listens a moment before its token can be found: the next attempt tells.
            if (self.target is not None and self.target.token) or self._refusals > 1:
                self._settled.set()
            return
        self._enter(State.RECONNECTING if self._connections else State.CONNECTING)

    def _enter(self, state: State) -> None:
        with self._entering:  # of two threads; what is closed stays so
            if self._state is not state and self._state is not State.CLOSED:
                self._state, self._since = state, datetime.now(UTC)

    def _fail(self, error: ConnectError) -> None:
        self._failure, self._last_error = error, str(error)
        self._enter(State.CLOSED)
        self._intake.shut(str(error))
        self._settled.set()

    # A recording

    def _load(self, path: str | os.PathLike[str]) -> None:
        messages = recorded(path)
        while some := list(islice(messages, 5_000)):
            self._intake.take(RECORDING_EPOCH, some)
            self._cursor = Cursor(RECORDING_EPOCH, some[-1][0].offset)
        self._intake.seal()
        self._intake.lag = None
        self._enter(State.RECORDING)
        self._settled.set()

    def _replay(self, stream: Stream) -> Iterator[Arrival]:
        assert self._path is not None
        return (one for one in recorded_arrivals(self._path) if self._intake.stream(one.channel) is stream)


def _what_to_do() -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return HOW_TO_START
    return (
        f"{HOW_TO_START}. A relay in this event loop cannot answer while `connect` waits for it: give it a thread "
        "(`start_relay_in_thread`), or wait elsewhere (`await asyncio.to_thread(connect)`)"
    )


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    name: str = "default",
    # What to receive
    since: Since = BACKLOG,
    channels: str | Iterable[str] | None = None,
    level: str | None = None,
    component: str | Iterable[str] | None = None,
    repo: str | Iterable[str] | None = None,
    text: str | None = None,
    # Bounds
    capacity: int = 200_000,
    wait: float = 5.0,
    # CodeWorm's own files
    codeworm_db: PathText = None,
    codeworm_config: PathText = None,
) -> Monitor:
    """Connect to a relay and return its monitor, filled with the recent past; without `await`, anywhere.

    Called again with the same name and the same arguments, or none, it returns the running monitor: a cell may be
    run any number of times. With other arguments the running monitor is closed and a new one takes its place.

    Args:
        url: WebSocket URL of the relay; None: the environment's `CODEWORM_MONITOR_URL`, else the one that runs on this
            machine, the newest if there are several.
        token: Its token; None: the environment's `CODEWORM_MONITOR_TOKEN`, else that which a relay of this user on
            this machine has announced.
        name: Name of the monitor; two names are two connections.
        since: Where to begin: the newest so many messages, a time such as "2h", "today" or a datetime, "now", or a
            `Cursor`. What the relay still has of it is received before this returns.
        channels: Only these channels; None: all.
        level: Only log lines of at least this level. Messages without a level pass, as with the next two.
        component: Only these components.
        repo: Only these repositories.
        text: Only messages that contain it, in any case of letters.
        capacity: Most rows of each table.
        wait: Seconds to wait for the connection and the recent past at most; 0: return at once, whatever comes.
        codeworm_db: CodeWorm's own database, for `documents` and `repos`; None: what the relay was told, see
            `worm_files.WormFiles`.
        codeworm_config: The directory of its configuration, which holds repos.yaml; None: likewise.

    Raises:
        RelayNotFoundError: No relay is known, or none answers, within `wait` seconds.
        TokenRefusedError: The relay wants another token.
        ConnectError: The relay closed the connection for good.
        ValueError: An argument cannot be used.

    Example:
        >>> mon = connect()
        >>> mon.logs.where(level=">=warning", since="15min")
        >>> mon.events.wait_for(type="documentation_committed", timeout=600)
    """
    conditions = {"level": level, "component": component, "repo": repo, "text": text}
    given = Target.of(url, token, since, channels, conditions)
    asks_for_nothing = given == Target.of(None, None, BACKLOG, None, {})
    url = url or os.environ.get(f"{ENVIRONMENT_PREFIX}URL") or None
    token = given.token or os.environ.get(f"{ENVIRONMENT_PREFIX}TOKEN") or None  # that of a typed URL goes before
    target = Target.of(url, token, since, channels, conditions)
    with registry.lock():
        running = cast("Monitor | None", registry.named(name))
        if running is not None:
            is_same = running.target == target and running.capacity == capacity
            is_wanted = is_same or (asks_for_nothing and capacity == 200_000)
            if is_wanted and not running.is_closed:
                if codeworm_db is not None or codeworm_config is not None:
                    running._past.find_files(codeworm_db, codeworm_config)
                return running
            running.close()  # also one that has ended by itself: it may have threads yet
        monitor = Monitor(name, capacity=capacity, target=target)
        monitor._past.find_files(codeworm_db, codeworm_config)
        registry.remember(monitor)
        monitor._start(target)
    if wait > 0:
        try:
            monitor._wait_settled(wait)
        except BaseException:  # Ctrl-C too: a monitor that was never returned must not stay
            monitor.close()
            raise
    return monitor


def open_recording(
    path: str | os.PathLike[str],
    *,
    capacity: int = 1_000_000,
    codeworm_db: PathText = None,
    codeworm_config: PathText = None,
) -> Monitor:
    """Return a monitor over a file of recorded traffic; no relay is needed.

    It is complete from the start and has no connection; `since="15min"` counts back from the newest row of a table.
    Over it, `wait_for` finds the first match in the file, and `on` and `async for` give its whole content.

    Args:
        path: A recording, as `sources.recording.read_recording` reads it.
        capacity: Most rows of each table.
        codeworm_db: CodeWorm's own database, for `documents` and `repos`; None: see `worm_files.WormFiles`.
        codeworm_config: The directory of its configuration, which holds repos.yaml; None: likewise.

    Raises:
        RecordingError: The file is missing or holds something else.

    Example:
        >>> rec = open_recording("recording.jsonl.gz")
        >>> rec.events.df.groupby("repo").tokens.sum()
    """
    monitor = Monitor(Path(path).name, capacity=capacity, path=path)
    monitor._past.find_files(codeworm_db, codeworm_config, beside=path)
    monitor._load(path)
    return monitor
