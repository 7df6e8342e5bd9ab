"""The publisher's thread: takes what waits in the outbox and sends it, through outages, and says what was dropped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import orjson

from codeworm_monitor.backoff import delays
from codeworm_monitor.errors import MonitorError
from codeworm_monitor.publish.outbox import Dropped, DropReason, Outbox
from codeworm_monitor.publish.shapes import Message, Stamp, payload_of, time_text
from codeworm_monitor.publish.upstream import Broken, Upstream, import_client, open_upstream

__all__ = ["IMPORTING", "Sender"]

MOST = 512
"""Messages in one round trip."""
MOST_BYTES = 512 * 2**10
"""Bytes in one round trip, but for the last message."""
PAUSE = 0.005
"""Seconds between two round trips, in which messages gather: the program has the interpreter for itself meanwhile."""
NOTICE_EVERY = 1.0
"""Seconds between two notices of dropped messages."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 3.0

IMPORTING = threading.Lock()
"""Held while the thread imports: a process that is forked meanwhile could never import the same."""

_AGAIN = ("LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "NOAUTH", "NOREPLICAS")
"""Refusals that may pass."""

log = logging.getLogger(__name__)


class Sender:
    """What the publisher's thread does, and where it stands.

    Nothing is sent twice. What the system did not take is kept for the next connection; what it took, and Redis did not
    answer, is counted as unanswered.

    Args:
        outbox: What waits.
        url: Redis; None: found anew at each attempt.
        channel: Channel of notices.
        component: Who speaks in them.
        within: Seconds without an answer after which a connection is given up.
    """

    def __init__(self, outbox: Outbox, url: str | None, channel: bytes, component: str, within: float) -> None:
        self.outbox = outbox
        self.problem = ""
        """Why it is not connected, or nothing."""
        self.name = ""
        """Where it is, or was, connected to."""
        self.thread_id: int | None = None
        self._url = url
        self._channel = channel
        self._component = component
        self._within = within
        self._upstream: Upstream | None = None
        self._is_told = False
        self._noticed = 0.0
        self._hurry = threading.Event()

    @property
    def is_connected(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self._upstream is not None

    def run(self) -> None:
        """Send until the outbox is closed and empty, or closed and Redis out of reach."""
        self.thread_id = threading.get_ident()
        pauses = delays(first=FIRST_DELAY, longest=LONGEST_DELAY)
        try:
            while True:
                try:
                    if not self._is_served():
                        return
                    pauses = self._work(pauses)
                except Exception as error:  # noqa: BLE001  # this thread must not end by a mistake, here or in a logger
                    self._fail(f"{type(error).__name__}: {error}")
                    self._hurry.wait(next(pauses))
        finally:
            self._disconnect()
            with self.outbox.changed:
                self.outbox.is_ended = True
                self.outbox.changed.notify_all()

    def hurry(self) -> None:
        """End pauses: the outbox was closed."""
        self._hurry.set()
        self.outbox.wake()

    def abort(self) -> None:
        """End what it waits for on the connection."""
        if (upstream := self._upstream) is not None:
            upstream.abort()

    def close_copy(self) -> None:
        """Close the connection in a forked process, where this thread is not."""
        self._disconnect()

    def _is_served(self) -> bool:
        """Wait for work; tell whether there is, or may be, more to do."""
        outbox = self.outbox
        while not outbox.has_work:
            if outbox.is_closed:
                return False
            outbox.wait()
        return True

    def _work(self, pauses: Iterator[float]) -> Iterator[float]:
        """Connect if need be, and send one batch; return the pauses to take in future."""
        if self._upstream is not None and not self._upstream.is_open():
            self._disconnect()  # nothing was under way: nothing is lost
        is_last = self.outbox.is_closed
        if self._upstream is None:
            try:
                with IMPORTING:
                    import_client(self._url)
                self._upstream = open_upstream(self._url, within=self._within)
                self.name = self._upstream.name
            except MonitorError as error:
                self._fail(str(error))
                if is_last:
                    self._give_up()
                else:
                    self._hurry.wait(next(pauses))
                return pauses
        with self.outbox.changed:
            self.outbox.wants_connection = False
            self.outbox.changed.notify_all()
        if self._send():
            self._hurry.wait(PAUSE)
            return delays(first=FIRST_DELAY, longest=LONGEST_DELAY)
        if is_last:
            self._give_up()
        else:
            self._hurry.wait(next(pauses))
        return pauses

    def _send(self) -> bool:
        """Send notices and a batch; tell whether it went well."""
        upstream, outbox = self._upstream, self.outbox
        if upstream is None:
            return False
        unsaid: dict[str, Dropped] = {}
        if time.monotonic() - self._noticed >= NOTICE_EVERY or outbox.is_closed:
            unsaid = outbox.take_dropped()
        notices = [self._notice(reason, dropped) for reason, dropped in unsaid.items()]
        if notices:
            self._noticed = time.monotonic()
        batch = outbox.take(MOST, MOST_BYTES)
        if not batch and not notices:
            if outbox.has_work:  # a notice whose time has not come
                self._hurry.wait(4 * PAUSE)
            return True
        now = time.time()
        texts = [(self._channel, text) for text in notices]
        try:
            texts += [(message[0], payload_of(message, now)) for message in batch]
            answers = upstream.publish(texts)
        except Broken as error:
            self._broken(error, batch, len(notices), unsaid)
            return False
        except Exception:  # the account stays true
            outbox.lose(DropReason.UNWRITABLE, batch)
            outbox.restore(unsaid)
            raise
        if any(isinstance(answer, str) and answer.startswith(_AGAIN) for answer in answers[: len(notices)]):
            outbox.restore(unsaid)
        return self._settle(batch, answers[len(notices) :], answers[: len(notices)])

    def _notice(self, reason: str, dropped: Dropped) -> bytes:
        return orjson.dumps(
            {
                "event": "messages_dropped",
                "level": "warning",
                "component": self._component,
                "timestamp": time_text(time.time(), Stamp.UTC),
                "count": dropped.count,
                "reason": reason,
                "since": time_text(dropped.since, Stamp.UTC),
                "until": time_text(dropped.until, Stamp.UTC),
            }
        )

    def _settle(self, batch: list[Message], answers: Sequence[int | str], of_notices: Sequence[int | str]) -> bool:
        """Count the answers; tell whether the connection is good for more."""
        heard = unheard = deliveries = 0
        again: list[Message] = []
        refused: list[Message] = []
        problem = next((answer for answer in of_notices if isinstance(answer, str)), "")
        for message, answer in zip(batch, answers, strict=False):
            if isinstance(answer, str):
                problem = answer
                (again if answer.startswith(_AGAIN) else refused).append(message)
            elif answer > 0:
                heard, deliveries = heard + 1, deliveries + answer
            else:
                unheard += 1
        self.outbox.settle(heard=heard, unheard=unheard, deliveries=deliveries)
        self.outbox.lose(DropReason.REFUSED, refused)
        if again:
            self.outbox.put_back(again)
            self._disconnect()
        if problem:
            self.problem = f"{self.name} refused to publish: {problem}"
            self._tell()
        elif answers or of_notices:
            self.problem = ""
            if self._is_told:
                self._is_told = False
                _say(logging.INFO, "publishing to %s again", self.name)
        return not again

    def _broken(self, error: Broken, batch: list[Message], notices: int, unsaid: dict[str, Dropped]) -> None:
        answered = error.answers[notices:]
        if len(error.answers) < notices:
            self.outbox.restore(unsaid)
        self._settle(batch[: len(answered)], answered, [])
        self.problem = str(error)  # before what is lost is counted: who sees the one may ask for the other
        kept = min(error.unsent, len(batch) - len(answered))
        self.outbox.lose(DropReason.UNANSWERED, batch[len(answered) : len(batch) - kept])
        if kept:
            self.outbox.put_back(batch[-kept:])
        self._fail(str(error))

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self._disconnect()
        with self.outbox.changed:
            self.outbox.changed.notify_all()
        self._tell()

    def _tell(self) -> None:
        """Say the problem in the log, once until it is over."""
        if not self._is_told:
            self._is_told = True
            _say(logging.WARNING, "messages wait or are dropped: %s", self.problem)

    def _give_up(self) -> None:
        self.outbox.abandon()
        self.outbox.wants_connection = False
        unsaid = self.outbox.take_dropped()  # there is nobody to tell
        total = sum(dropped.count for dropped in unsaid.values())
        if total:
            _say(logging.WARNING, "%d messages were not published: %s", total, self.problem)

    def _disconnect(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()


def _say(level: int, text: str, *arguments: object) -> None:
    """Write a line into the program's log, whose handlers may do anything."""
    with suppress(Exception):
        log.log(level, text, *arguments)
