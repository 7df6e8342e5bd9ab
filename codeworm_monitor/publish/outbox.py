"""The outbox: what waits to be sent, bounded, and an account of what was dropped."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from codeworm_monitor.publish.shapes import OVERHEAD, Message, size_of

__all__ = ["DropReason", "Dropped", "Outbox"]


class DropReason(StrEnum):
    """Why messages were dropped."""

    QUEUE_FULL = "queue_full"
    """More waited than may: the oldest left."""
    UNANSWERED = "unanswered"
    """They were sent, and the connection ended before Redis said so: they may have arrived, and are not sent twice."""
    REFUSED = "refused"
    """Redis refused them."""
    UNWRITABLE = "unwritable"
    """No JSON could be made of them, or they were too large."""
    NOT_SENT = "not_sent"
    """The publisher was closed before Redis could be reached."""


_QUEUE_FULL = DropReason.QUEUE_FULL.value


@dataclass(slots=True)
class Dropped:
    """Messages that were dropped for one reason, since it was last said.

    Attributes:
        count: How many.
        since: Unix seconds at which the first of them was published.
        until: Unix seconds at which the last of them was.
    """

    count: int
    since: float
    until: float


@dataclass(slots=True)
class _Totals:
    sent: int = 0
    heard: int = 0
    deliveries: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


class Outbox:
    """Messages in their order, between the program's threads, which only append, and the one that sends.

    At the bound the oldest leave. Nothing here waits but `wait` and `wait_for`; the lock is held for a moment only, and may be
    taken again by the thread that holds it, so that a signal handler or a finaliser may publish too.

    Args:
        max_messages: Most messages that wait.
        max_bytes: Most bytes that they take.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        """Notified when messages were answered or dropped, and whenever the thread that sends does another thing."""
        self.totals = _Totals()
        self.put_total = 0
        """Messages ever taken."""
        self.is_closed = False
        self.is_ended = False
        """Whether the thread that sends has ended."""
        self.wants_connection = False
        """Whether a connection is wanted though nothing waits."""
        self.is_sending = 0
        """Messages taken and not yet settled."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._unsaid: dict[str, Dropped] = {}
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_asleep = False

    def __len__(self) -> int:
        return len(self._waiting) + self.is_sending

    @property
    def has_work(self) -> bool:
        """Whether something is to be sent, or to be said of what was dropped."""
        return bool(self._waiting or self._unsaid or self.wants_connection)

    def put(self, message: Message) -> bool:
        """Append a message, and drop the oldest if it is too much; tell whether it was taken."""
        size = len(message[3]) + len(message[4]) + OVERHEAD
        with self.lock:
            if self.is_closed or size > self._max_bytes:
                reason = DropReason.NOT_SENT if self.is_closed else DropReason.UNWRITABLE
                self._drop(reason, 1, message[1], message[1])
                return False
            self._waiting.append(message)
            self._bytes += size
            self.put_total += 1
            if self._bytes > self._max_bytes or len(self._waiting) > self._max_messages:
                self._trim()
            if self._is_asleep:
                self._is_asleep = False
                self._bell.put(None)
        return True

    def take(self, most: int, most_bytes: int) -> list[Message]:
        """Take the oldest messages, at least one if there is any; `settle` or `put_back` them."""
        taken: list[Message] = []
        size = 0
        with self.lock:
            while self._waiting and len(taken) < most and (not taken or size < most_bytes):
                message = self._waiting.popleft()
                taken.append(message)
                size += size_of(message)
            self._bytes = self._bytes - size if self._waiting else 0
            self.is_sending += len(taken)
        return taken

    def settle(self, *, heard: int, unheard: int, deliveries: int, is_counted: bool = True) -> None:
        """Count messages as answered.

        Args:
            heard: Those that reached a subscriber.
            unheard: Those that reached none.
            deliveries: How many subscribers they reached, in all.
            is_counted: Whether they had been taken from here.
        """
        with self.changed:
            if is_counted:
                self.is_sending -= heard + unheard
            self.totals.sent += heard + unheard
            self.totals.heard += heard
            self.totals.deliveries += deliveries
            self.changed.notify_all()

    def put_back(self, messages: list[Message]) -> None:
        """Put messages that were taken and surely not sent before all others."""
        with self.changed:
            self.is_sending -= len(messages)
            self._waiting.extendleft(reversed(messages))
            self._bytes += sum(map(size_of, messages))
            self._trim()
            self.changed.notify_all()

    def lose(self, reason: DropReason, messages: list[Message]) -> None:
        """Count messages that were taken as dropped."""
        if not messages:
            return
        with self.changed:
            self.is_sending -= len(messages)
            self._drop(reason, len(messages), messages[0][1], messages[-1][1])
            self.changed.notify_all()

    def reject(self, reason: DropReason) -> None:
        """Count a message that never got here."""
        with self.lock:
            now = time.time()
            self._drop(reason, 1, now, now)

    def take_dropped(self) -> dict[str, Dropped]:
        """Return what was dropped since the last call; `restore` it if it could not be said."""
        with self.lock:
            unsaid, self._unsaid = self._unsaid, {}
        return unsaid

    def restore(self, unsaid: dict[str, Dropped]) -> None:
        """Take back what `take_dropped` returned."""
        with self.lock:
            for reason, dropped in unsaid.items():
                self._note(reason, dropped.count, dropped.since, dropped.until)

    def abandon(self) -> int:
        """Drop all that waits, and return how many messages that were."""
        with self.changed:
            left = len(self._waiting)
            if left:
                self._drop(DropReason.NOT_SENT, left, self._waiting[0][1], self._waiting[-1][1])
            self._waiting.clear()
            self._bytes = 0
            self.changed.notify_all()
        return left

    def wait(self, timeout: float | None = None) -> None:
        """Wait, in the thread that sends, until there is work or the outbox is closed."""
        with self.lock:
            if self.has_work or self.is_closed:
                return
            self._is_asleep = True
        try:
            self._bell.get(timeout=timeout)
        except queue.Empty:
            with self.lock:
                self._is_asleep = False

    def wake(self) -> None:
        """Wake the thread that sends."""
        with self.changed:
            self._is_asleep = False
            self._bell.put(None)
            self.changed.notify_all()

    def left_of(self, put: int) -> int:
        """Return how many of the first so many messages still wait or are under way."""
        return max(0, put - (self.put_total - len(self)))

    def _trim(self) -> None:
        count, since, until = 0, 0.0, 0.0
        while self._waiting and (self._bytes > self._max_bytes or len(self._waiting) > self._max_messages):
            message = self._waiting.popleft()
            self._bytes -= size_of(message)
            since = since or message[1]
            until, count = message[1], count + 1
        if count:
            self._drop(_QUEUE_FULL, count, since, until)

    def _drop(self, reason: str, count: int, since: float, until: float) -> None:
        reason = str.__str__(reason)  # the hash of an enumeration's member takes its time
        self.totals.dropped[reason] = self.totals.dropped.get(reason, 0) + count
        self._note(reason, count, since, until)

    def _note(self, reason: str, count: int, since: float, until: float) -> None:
        known = self._unsaid.get(reason)
        if known is None:
            self._unsaid[reason] = Dropped(count, since, until)
        else:
            known.count += count
            known.since, known.until = min(known.since, since), max(known.until, until)
