"""Arrivals: how records get from the thread that receives them to those who wait for them; all bounded."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from codeworm_monitor.conditions import Conditions
from codeworm_monitor.errors import ConnectError, MonitorError
from codeworm_monitor.records import AnyRecord

__all__ = ["LIMIT", "Arrival", "Callback", "Dispatcher", "Handle", "Inbox"]

LIMIT = 10_000
"""Records that wait for one slow reader, or for all callbacks together; the oldest are then dropped, and counted."""

Callback = Callable[[Any], object]

log = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A record with what conditions ask beside it."""

    record: AnyRecord
    channel: str
    epoch: str
    mark: str | None


class Inbox:
    """Records on their way from the thread that receives to one that reads; bounded."""

    def __init__(self, conditions: Conditions, wake: Callable[[], None]) -> None:
        self.dropped = 0
        self.end: str | None = None
        self._conditions = conditions
        self._wake = wake
        self._lock = threading.Lock()
        self._records: deque[AnyRecord] = deque(maxlen=LIMIT)

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Add the records that fulfil the conditions."""
        accepted = [arrival.record for arrival in arrivals if self._conditions.accepts(*arrival)]
        if not accepted:
            return
        with self._lock:
            self.dropped += max(0, len(self._records) + len(accepted) - LIMIT)
            self._records.extend(accepted)
        self._wake()

    def take(self) -> list[AnyRecord]:
        """Return what waits, oldest first.

        Raises:
            ConnectError: Nothing waits, and nothing will come.
        """
        with self._lock:
            records = list(self._records)
            self._records.clear()
        if not records and self.end is not None:
            raise ConnectError(self.end)
        return records

    def shut(self, reason: str) -> None:
        """Say that nothing will come any more."""
        self.end = reason
        self._wake()


class Handle:
    """A callback in force; `off` ends it.

    Attributes:
        calls: How often it was called.
        failures: How often it raised.
        dropped: Records that it was too slow for.
        last_error: What it raised last.
    """

    def __init__(
        self, callback: Callback, conditions: Conditions, dispatcher: Dispatcher, remove: Callable[[Handle], None]
    ) -> None:
        self.calls = 0
        self.failures = 0
        self.dropped = 0
        self.last_error: Exception | None = None
        self.is_on = True
        self._callback = callback
        self._conditions = conditions
        self._dispatcher = dispatcher
        self._remove = remove

    def off(self) -> None:
        """End it; it is not called again, but for a call under way. May be called again."""
        self.is_on = False
        self._remove(self)

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Queue the records that fulfil the conditions."""
        accepted = [arrival.record for arrival in arrivals if self._conditions.accepts(*arrival)]
        if accepted:
            self._dispatcher.submit(self, accepted, len(accepted))

    def shut(self, reason: str) -> None:
        """End it, as nothing will come."""
        self.is_on = False

    def call(self, record: AnyRecord) -> None:
        """Call the callback; what it raises is counted and, the first time, logged."""
        if not self.is_on:
            return
        self.calls += 1
        try:
            self._callback(record)
        except Exception as error:  # the user's code: kept, counted and logged
            self.failures += 1
            self.last_error = error
            if self.failures == 1:
                log.exception("the callback %r failed; further failures of it are only counted", self._callback)

    def fail(self, error: Exception) -> None:
        """Take note that records for it could not be had."""
        self.failures += 1
        self.last_error = error
        log.warning("the callback %r gets no more: %s", self._callback, error)

    def __repr__(self) -> str:
        return f"<Handle {'on' if self.is_on else 'off'}: {self.calls} calls, {self.failures} failures>"


class Dispatcher:
    """Calls callbacks one after the other in a thread of its own, which starts with the first of them.

    A slow callback delays the others and never the network. While more than `LIMIT` records wait, the oldest are
    dropped.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: deque[tuple[Handle, Iterable[AnyRecord], int]] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def submit(self, handle: Handle, records: Iterable[AnyRecord], count: int) -> None:
        """Queue records for a callback.

        Args:
            handle: The callback.
            records: In order; may be an iterator that makes them.
            count: How many they count for at the limit.
        """
        with self._changed:
            if self._is_closed:
                return
            self._jobs.append((handle, records, count))
            self._waiting += count
            while self._waiting > LIMIT and len(self._jobs) > 1:
                late, _, lost = self._jobs.popleft()
                late.dropped += lost
                self._waiting -= lost
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, timeout: float = 1.0) -> None:
        """Stop after the call under way; waits `timeout` seconds for it at most."""
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                handle, records, count = self._jobs.popleft()
                self._waiting -= count
            try:
                for record in records:
                    if self._is_closed:
                        return
                    handle.call(record)
            except MonitorError as error:  # a recording that cannot be read any more
                handle.fail(error)
