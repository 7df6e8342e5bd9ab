"""The states of the page's panels, `GET /panels`: folded from the hub's log by and by, and only when somebody asks."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import orjson

from codeworm_monitor.dashboard_api import DashboardAPI
from codeworm_monitor.envelope import Entry, Envelope, Gap
from codeworm_monitor.http import JSON, Answer
from codeworm_monitor.hub import Hub
from codeworm_monitor.states.panel_states import PanelStates

__all__ = ["PageStates"]

FRESH = 0.25
"""Seconds that an answer is given again, however many ask."""
SLICE = 0.002
"""Seconds of folding after which the loop has its turn."""
WITHIN = 0.5
"""Seconds of folding after which an answer is given though there is more: a full backlog takes a few at first."""
STEP, STEP_BYTES = 32, 128 * 2**10
"""Entries folded between two looks at the clock, and bytes of them: one alone may have more."""
FILES_EVERY = 10.0
"""Seconds between two looks at CodeWorm's own files."""
PATIENCE = 0.3
"""Seconds that an answer waits for CodeWorm's files; if they take longer, the next answer has them."""
RELAY_EVERY = 1.0
"""Seconds between two looks at the relay's own statistics, for which all readers are looked at."""

log = logging.getLogger(__name__)


class PageStates:
    """Answers with the states of all panels, as of the head of the log.

    Nothing is folded, read or kept until somebody asks; then from the oldest entry of the backlog on, and later from where
    the last answer ended. If what lies between has left the backlog since, it begins anew, so that no count spans a hole.
    Each answer is made at most every `FRESH` seconds, in slices of about `SLICE` seconds of the loop's time. Memory: that of
    the states, which hold the newest of everything and bounded counts.

    Args:
        hub: The log.
        dashboard: Reads CodeWorm's database and configuration.
        info: Tells of the relay, as `/info` does.
        clock: Unix seconds; the relay's.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        dashboard: DashboardAPI | None,
        info: Callable[[], dict[str, Any]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._dashboard = dashboard
        self._info = info
        self._clock = clock
        self._turn = asyncio.Lock()
        self._states: PanelStates | None = None
        self._epoch = ""
        self._offset = 0
        self._before: list[Envelope] = []  # of the run before, still to be folded, the newest first
        self._answer: Answer | None = None
        self._made_at = self._files_at = self._info_at = -float("inf")  # of the monotonic clock
        self._reading: asyncio.Task[None] | None = None

    async def answer(self) -> Answer:
        """Return the answer to `GET /panels`: `{"at": Unix seconds, "epoch", "offset", "is_whole", "panels": {name: state}}`.

        The states hold all up to the offset; if it is not whole, there is more, and who asks again gets on with it. Its ETag is
        that of the states alone: while nothing happens it stays. If cancelled, what was folded stays folded.
        """
        async with self._turn:
            if self._answer is None or time.monotonic() - self._made_at >= FRESH:
                self._answer = await self._make()
                self._made_at = time.monotonic()
            return self._answer

    async def aclose(self) -> None:
        """End what is under way. May be called again."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _make(self) -> Answer:
        states = self._current()
        if time.monotonic() - self._info_at >= RELAY_EVERY:
            self._info_at = time.monotonic()
            states.take_info(self._info())
        head = self._hub.head
        states = await self._fold(head)
        await self._read_files(states)
        now = self._clock()
        panels = orjson.dumps(states.as_dict(now))
        is_whole = self._offset >= head and not self._before
        place = orjson.dumps({"at": now, "epoch": self._epoch, "offset": self._offset, "is_whole": is_whole})
        tag = hashlib.sha256(b"%d%b" % (is_whole, panels)).hexdigest()[:32]
        return Answer(HTTPStatus.OK, b'%b,"panels":%b}' % (place[:-1], panels), JSON, {"ETag": f'"{tag}"'})

    def _current(self) -> PanelStates:
        """Return the states that can be gone on with, new ones if there are none."""
        hub = self._hub
        is_behind = self._epoch != hub.epoch or self._offset < hub.backlog.oldest - 1
        if self._states is None or is_behind:
            self._states = PanelStates(self._clock())
            self._states.restart(hub.snapshot, live_from=hub.head, epoch=hub.epoch)
            self._epoch, self._offset = hub.epoch, hub.backlog.oldest - 1
            self._files_at = self._info_at = -float("inf")
            self._before = [*reversed(hub.past)] if hub.reaches_back else []
        return self._states

    async def _fold(self, head: int) -> PanelStates:
        """Fold what there is up to an offset, as far as time allows, and return the states that have it."""
        begun = time.monotonic()
        until = begun + SLICE
        while True:
            states = self._current()  # new ones if a flood went by between two slices
            if not (self._before or self._offset < head) or until - begun >= WITHIN:
                return states
            if self._before:
                self._take(states, [self._before.pop()])
            else:
                entries = self._hub.backlog.span(self._offset + 1, max_bytes=STEP_BYTES, max_entries=STEP)
                self._take(states, entries)
                self._offset += len(entries)
            if time.monotonic() >= until:
                await asyncio.sleep(0)
                until = time.monotonic() + SLICE

    def _take(self, states: PanelStates, entries: Sequence[Entry]) -> None:
        for run in _runs(entries):
            if isinstance(run, Gap):
                states.take_gap(self._epoch, run)
            else:
                states.take(self._epoch, [(one, orjson.loads(one.data)) for one in run])

    async def _read_files(self, states: PanelStates) -> None:
        """Have CodeWorm's files read, if it is time, and wait for it a moment."""
        if self._reading is None and time.monotonic() - self._files_at >= FILES_EVERY and self._dashboard is not None:
            self._files_at = time.monotonic()
            self._reading = asyncio.create_task(self._take_files(states, self._dashboard), name="page_states:files")
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=PATIENCE)
            if self._reading.done():
                done, self._reading = self._reading, None
                if not done.cancelled() and (error := done.exception()):
                    raise error

    async def _take_files(self, states: PanelStates, dashboard: DashboardAPI) -> None:
        at = self._clock()
        statistics = await dashboard.answer("/stats", "")
        # Else it is locked or damaged, of which the API's log tells: what was read before stays.
        if statistics.status is HTTPStatus.OK:
            states.take_statistics(orjson.loads(statistics.body), at=at)
        repositories = await dashboard.answer("/repos", "")
        if repositories.status is HTTPStatus.OK:
            states.take_repositories(orjson.loads(repositories.body) or None)


def _runs(entries: Sequence[Entry]) -> Iterator[list[Envelope] | Gap]:
    """Yield messages that follow each other together, and each gap in its place."""
    run: list[Envelope] = []
    for entry in entries:
        if isinstance(entry, Gap):
            if run:
                yield run
            yield entry
            run = []
        else:
            run.append(entry)
    if run:
        yield run
