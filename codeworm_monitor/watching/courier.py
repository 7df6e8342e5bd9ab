"""Couriers: hand notices to an action, in a thread of their own, so that a slow one delays nobody."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from codeworm_monitor.watching.actions import Action
from codeworm_monitor.watching.notices import Notice

__all__ = ["Courier"]

QUEUE = 16
"""Notices that wait for one action; the oldest are then dropped, and counted."""


class Courier:
    """Calls one action with notices, in their order, one after the other.

    Its thread lives only while there are notices.

    Args:
        action: What takes the notices.
        name: Name of the thread.
        on_failure: Called, in that thread, with what the action raised, which goes no further.
    """

    def __init__(self, action: Action, name: str, on_failure: Callable[[Exception], None]) -> None:
        self.action = action
        self._name = name
        self._on_failure = on_failure
        self._waiting: deque[Notice] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._is_closed = False
        self._stop = threading.Event()

    def send(self, notice: Notice) -> None:
        """Queue a notice; returns at once."""
        with self._changed:
            if self._is_closed:
                return
            self._waiting.append(notice)
            if len(self._waiting) > QUEUE:
                self._waiting.popleft()
                self._dropped += 1
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # none is to be had: what waits goes with the next notice
            with self._changed:
                self._thread = None
            self._on_failure(error)

    def take_dropped(self) -> int:
        """Return how many notices the action was too slow for, since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to hand over; tell whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def close(self, deadline: float) -> None:
        """Take no more; what is under way, or waits, has until a time of `time.monotonic`."""
        with self._changed:
            self._is_closed = True
        if self._thread is not threading.current_thread():  # an action may end its own watch
            self.wait(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._waiting.clear()
        self._stop.set()  # an action that heeds it ends at once

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                notice = self._waiting.popleft()
            try:
                self.action.act(notice, self._stop)
            except Exception as error:  # noqa: BLE001  # the user's code, or the world's troubles
                self._on_failure(error)
