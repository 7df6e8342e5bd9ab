"""Streams: tables that also tell when something arrives: `wait_for`, `on`, `async for`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from codeworm_monitor.arrivals import Arrival, Callback, Dispatcher, Handle, Inbox
from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.records import AnyRecord, Kind
from codeworm_monitor.rows import BUILDERS, Row
from codeworm_monitor.tables import Table

__all__ = ["Stream"]

Predicate = Callable[[Any], object]


class Stream(Table):
    """The records of one kind: a table of those received, and ways to wait for the next.

    The methods of `Table` read what is there. `wait_for`, `on` and `async for` tell what arrives after they began;
    over a recording, its whole content counts as arriving. They take the conditions of `where`, but for times, and
    give records (`LogLine`, `WormEvent`, `StatsSnapshot`).

    Args:
        kind: What it holds.
        dispatcher: Calls the callbacks.
        capacity: Most rows kept.
        now: As for `Table`.
        replay: For a recording, makes an iterator over its arrivals.
    """

    def __init__(
        self,
        kind: Kind,
        dispatcher: Dispatcher,
        *,
        capacity: int,
        now: Callable[[], float] | None = time.time,
        replay: Callable[[Stream], Iterator[Arrival]] | None = None,
    ) -> None:
        super().__init__(LAYOUTS[kind], BUILDERS[kind], capacity=capacity, now=now)
        self.kind = kind
        self._dispatcher = dispatcher
        self._replay = replay
        # Replaced, never changed: the thread that receives reads it without a lock.
        self._listeners: tuple[Inbox | Handle, ...] = ()
        self._listeners_lock = threading.Lock()
        self._end: str | None = None
        self._dropped_before = 0
        self._failed_before = 0

    def wait_for(
        self, predicate: Predicate | None = None, /, *, timeout: float | None = None, **conditions: Any
    ) -> AnyRecord:
        """Block this thread until the next record that fulfils everything given, and return it.

        Args:
            predicate: Called with each record, in this thread; true means that it is the one.
            timeout: Seconds; None: without end. Ctrl-C ends it as well.
            conditions: As for `where`.

        Raises:
            TimeoutError: None came in time, or the recording holds none.
            ConnectError: The monitor was closed meanwhile.
        """
        parsed = self._conditions(conditions)
        if self._replay is not None:
            found = next((r for r in self._replayed(parsed) if predicate is None or predicate(r)), None)
            if found is None:
                raise TimeoutError(f"the recording holds no {self._named(parsed, predicate)}")
            return found
        woken = threading.Event()
        inbox = Inbox(parsed, woken.set)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._listen(inbox)
        try:
            while True:
                woken.clear()
                for record in inbox.take():
                    if predicate is None or predicate(record):
                        return record
                    if deadline is not None and time.monotonic() >= deadline:
                        break  # traffic that never ends, or a slow predicate, must not outlast it
                if not woken.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) or (
                    deadline is not None and time.monotonic() >= deadline
                ):
                    raise TimeoutError(f"no {self._named(parsed, predicate)} arrived within {timeout:g} s")
        finally:
            self._unlisten(inbox)

    async def wait_for_async(
        self,
        predicate: Predicate | None = None,
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # one signature with `wait_for`, one message when it ends
        **conditions: Any,
    ) -> AnyRecord:
        """Wait as `wait_for` does, without blocking the loop. Cancelling it changes nothing.

        Raises:
            TimeoutError: As for `wait_for`, as is ConnectError.
        """
        parsed = self._conditions(conditions)
        try:
            async with asyncio.timeout(timeout):
                async for record in self._follow(parsed):
                    if predicate is None or predicate(record):
                        return record
        except TimeoutError:
            raise TimeoutError(f"no {self._named(parsed, predicate)} arrived within {timeout:g} s") from None
        if self._replay is not None:
            raise TimeoutError(f"the recording holds no {self._named(parsed, predicate)}")
        raise ConnectError(self._end or "the monitor was closed")

    def on(self, callback: Callback, /, **conditions: Any) -> Handle:
        """Call a function with each record that fulfils the conditions, in a thread of the monitor's.

        Callbacks of a monitor are called one after the other, each in the order of arrival. What one raises is
        counted (`Status.callback_failures`, `Handle.last_error`) and logged the first time. While over 10,000
        records wait for callbacks, the oldest are dropped and counted.

        Args:
            callback: Called with the record.
            conditions: As for `where`.

        Returns:
            What ends it, by `off()`.
        """
        parsed = self._conditions(conditions)
        handle = Handle(callback, parsed, self._dispatcher, self._unlisten)
        if self._replay is not None:
            self._dispatcher.submit(handle, self._replayed(parsed), 0)
        self._listen(handle)
        return handle

    def follow(self, **conditions: Any) -> AsyncIterator[AnyRecord]:
        """Return an asynchronous iterator over the records to come, in any loop; `async for r in stream` is the same.

        It ends when the monitor is closed. A loop that is behind by over 10,000 records loses the oldest, which
        `Status.dropped` counts. Cancelling it changes nothing.
        """
        return self._follow(self._conditions(conditions))

    def __aiter__(self) -> AsyncIterator[AnyRecord]:
        return self.follow()

    def __repr__(self) -> str:
        return f"<Stream of {self.kind}: {len(self):,} of at most {self.capacity:,} rows>"

    # For the monitor

    @property
    def has_listeners(self) -> bool:
        """Whether anybody waits for records."""
        return bool(self._listeners)

    def receive(self, rows: Sequence[Row], arrivals: Sequence[Arrival]) -> None:
        """Add rows, then hand out the records; called by one thread."""
        self.append(rows)
        for listener in self._listeners:
            listener.put(arrivals)

    def shut(self, reason: str) -> None:
        """End all waiting: nothing will arrive."""
        with self._listeners_lock:
            self._end = reason
            listeners = self._listeners
        for listener in listeners:
            listener.shut(reason)

    @property
    def losses(self) -> int:
        """Records that readers were too slow for."""
        return self._dropped_before + sum(listener.dropped for listener in self._listeners)

    @property
    def failures(self) -> int:
        """Exceptions raised by callbacks."""
        return self._failed_before + sum(one.failures for one in self._listeners if isinstance(one, Handle))

    def _conditions(self, given: dict[str, Any]) -> Conditions:
        return Conditions(self._layout, **given)

    def _named(self, conditions: Conditions, predicate: Predicate | None) -> str:
        name = "" if predicate is None else f" that {getattr(predicate, '__name__', repr(predicate))} accepts"
        return f"record of {self.kind} with {conditions}{name}"

    def _replayed(self, conditions: Conditions) -> Iterator[AnyRecord]:
        assert self._replay is not None
        return (arrival.record for arrival in self._replay(self) if conditions.accepts(*arrival))

    def _listen(self, listener: Inbox | Handle) -> None:
        with self._listeners_lock:
            if self._end is not None:
                listener.shut(self._end)
            self._listeners = (*self._listeners, listener)

    def _unlisten(self, listener: Inbox | Handle) -> None:
        with self._listeners_lock:
            if listener not in self._listeners:
                return
            self._listeners = tuple(one for one in self._listeners if one is not listener)
            self._dropped_before += listener.dropped
            if isinstance(listener, Handle):
                self._failed_before += listener.failures

    async def _follow(self, conditions: Conditions) -> AsyncGenerator[AnyRecord, None]:
        if self._replay is not None:
            records = self._replayed(conditions)
            while batch := await asyncio.to_thread(_some, records):
                for record in batch:
                    yield record
            return
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop was closed under its iterator: nobody is left to tell
                self._unlisten(inbox)

        inbox = Inbox(conditions, wake)
        self._listen(inbox)
        try:
            while True:
                woken.clear()
                try:
                    records_now = inbox.take()
                except ConnectError:
                    return
                for record in records_now:
                    yield record
                if not records_now:
                    await woken.wait()
        finally:
            self._unlisten(inbox)


def _some(records: Iterator[AnyRecord], count: int = 500) -> list[AnyRecord]:
    return [record for _, record in zip(range(count), records, strict=False)]
