"""Clockwork: processes that take turns in simulated time, some of them in one event loop that each can block."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from heapq import heappop, heappush
from itertools import count

__all__ = ["MILLISECOND", "SECOND", "Busy", "Clockwork", "Host", "Steps"]

MILLISECOND, SECOND = 1_000, 1_000_000
"""In microseconds, as are all times of a simulation."""

Steps = Generator[int, None, None]
"""A process: yields how long it waits; a `Busy` lets nothing else of its loop run meanwhile."""


class Busy(int):
    """Microseconds in which a process keeps its event loop to itself."""


class Host:
    """An operating system's process: what runs in it stops when it is killed, and stands still when it is frozen."""

    def __init__(self) -> None:
        self.is_dead = False
        self.is_loop_closed = False
        self.frozen_until = 0
        self.holder: _Process | None = None
        self.waiting: list[_Process] = []


class _Process:
    __slots__ = ("host", "in_loop", "steps")

    def __init__(self, steps: Steps, host: Host | None, *, in_loop: bool) -> None:
        self.steps, self.host, self.in_loop = steps, host, in_loop


class Clockwork:
    """Runs processes in the order of their times; those of one time in the order in which they began to wait.

    Attributes:
        now: Microseconds since 1970.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self._queue: list[tuple[int, int, _Process]] = []
        self._turns = count()

    def start(self, steps: Steps, host: Host | None = None, *, in_loop: bool = False, after: int = 0) -> None:
        """Have a process begin.

        Args:
            steps: What it does.
            host: Where it runs; None: outside, where nothing stops it.
            in_loop: Whether it shares the event loop of its host.
            after: How long from now.
        """
        self._wait(_Process(steps, host, in_loop=in_loop), after)

    def run(self, until: int) -> Iterator[None]:
        """Run all to a time, and yield after each turn."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, process = heappop(queue)
            host = process.host
            if host is not None:
                if host.is_dead or (process.in_loop and host.is_loop_closed):
                    process.steps.close()
                    continue
                if host.frozen_until > self.now:
                    self._wait(process, host.frozen_until - self.now)
                    continue
                if process.in_loop and host.holder not in (None, process):
                    host.waiting.append(process)
                    continue
            try:
                delay = next(process.steps)
            except StopIteration:
                self._let_go(process)
            else:
                if type(delay) is Busy and process.in_loop and host is not None:
                    host.holder = process
                else:
                    self._let_go(process)
                self._wait(process, delay)
            yield
        self.now = until

    def _wait(self, process: _Process, delay: int) -> None:
        heappush(self._queue, (self.now + int(delay), next(self._turns), process))

    def _let_go(self, process: _Process) -> None:
        host = process.host
        if host is None or host.holder is not process:
            return
        host.holder = None
        for other in host.waiting:
            self._wait(other, 0)
        host.waiting.clear()
