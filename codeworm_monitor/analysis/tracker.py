"""The tracker: goes through the steps in their order and tells which belong to one cycle."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from codeworm_monitor.analysis.steps import Step, Steps

__all__ = ["NOWHERE", "Cycle", "Tracker", "told_counters"]

NOWHERE = -1
"""Place of a step that was not seen."""
_REMEMBERED = 16
"""Cycles that late messages may still belong to."""


class Cycle:
    """Where the steps of one cycle are, as places in the steps.

    Attributes:
        run: Which run of the daemon, from 1.
        number: What the daemon calls it, if that is known.
        outcome: None: its end was lost, or it has none yet.
        is_inferred: Whether the outcome rests on later messages than that which tells it.
        waits: From where to where it waited for Ollama.
    """

    __slots__ = (
        "analyzing",
        "at_commit",
        "documenting",
        "error",
        "first",
        "generating",
        "is_inferred",
        "is_one_shot",
        "last",
        "number",
        "outcome",
        "push",
        "result",
        "run",
        "start_event",
        "start_log",
        "stats",
        "stop",
        "target",
        "waits",
    )

    def __init__(self, run: int, number: int | None, at: int, *, is_one_shot: bool = False) -> None:
        self.run = run
        self.number = number
        self.is_one_shot = is_one_shot
        self.first = self.last = at
        self.target = -1
        self.outcome: str | None = None
        self.is_inferred = False
        self.start_log = self.start_event = self.analyzing = self.documenting = self.generating = NOWHERE
        self.result = self.at_commit = self.error = self.push = self.stats = self.stop = NOWHERE
        self.waits: list[tuple[int, int]] = []

    @property
    def is_searching(self) -> bool:
        """Whether nothing but its start was seen."""
        return self.target < 0 and self.outcome is None and self.stop < 0


class Tracker:
    """Finds the cycles of a publisher whose messages carry no identity but their order.

    A daemon works on one cycle at a time, so a start ends what came before; a target tells late messages of a process
    that was told to stop from those of its successor. What was lost stays unknown unless later messages prove it.

    Args:
        steps: All steps, in order.
    """

    def __init__(self, steps: Steps) -> None:
        self.cycles: list[Cycle] = []
        self.run = 1
        self.run_is_whole: dict[int, bool] = {1: False}
        """By run, whether its beginning was seen."""
        self.counters: dict[int, list[tuple[int, int]]] = {1: []}
        """By run, where the daemon told its counters, and whether at its stop (1) or after a cycle (0)."""
        self._steps = steps
        self._is_log: list[bool] = steps.is_log.tolist()
        self._one_shot: list[bool] = steps.is_one_shot.tolist()
        self._numbers: list[float] = steps.cycle_num.tolist()
        self._targets = steps.targets
        self._commits = steps.commits
        self._open: list[Cycle] = []
        self._recent: deque[Cycle] = deque(maxlen=_REMEMBERED)
        self._newest: Cycle | None = None
        self._last_number: int | None = None
        self._committed: Cycle | None = None  # and its push not known yet
        self._waiting: tuple[Cycle, int] | None = None
        self._is_stopped = False
        self._has_begun = False

    def track(self) -> list[Cycle]:
        """Go through all steps and return the cycles, in the order of their first."""
        handlers: dict[int, Callable[[int], None]] = {
            Step.STARTING: self._starting,
            Step.ANALYZING: self._analyzing,
            Step.DOCUMENTING: self._documenting,
            Step.GENERATING: self._generating,
            Step.COMMITTED: self._committing,
            Step.FAILED: lambda at: self._failing(at, "failed"),
            Step.LLM_ERROR: lambda at: self._failing(at, "llm_error"),
            Step.DRY_RUN: self._dry_run,
            Step.SKIPPED: self._skipping,
            Step.TASK_ERROR: self._task_error,
            Step.PUSHED: self._pushing,
            Step.PUSH_FAILED: self._pushing,
            Step.BACKING_OFF: self._backing_off,
            Step.WAITING: self._wait,
            Step.RECOVERED: self._recover,
            Step.DAEMON_STARTING: self._daemon_starting,
            Step.DAEMON_STOPPED: self._daemon_stopped,
            Step.STATS: self._stats,
        }
        for at, step in enumerate(self._steps.step.tolist()):
            handler = handlers.get(step)
            if handler is not None:
                handler(at)
        return self.cycles

    @property
    def unfinished(self) -> Iterator[Cycle]:
        """The cycles that may be under way at the end."""
        return (cycle for cycle in self._open if cycle.outcome is None)

    # Beginning

    def _open_cycle(self, at: int, number: int | None, *, is_one_shot: bool = False) -> Cycle:
        cycle = Cycle(self.run, number, at, is_one_shot=is_one_shot)
        if not is_one_shot:
            self._close_lost()
            self._newest = cycle
            self._committed = None
        self._open.append(cycle)
        self._recent.append(cycle)
        self.cycles.append(cycle)
        return cycle

    def _close_lost(self) -> None:
        """Give up the daemon's open cycles: it works on one at a time, so their end was lost."""
        self._open = [cycle for cycle in self._open if cycle.is_one_shot]
        self._waiting = None

    def _starting(self, at: int) -> None:
        told = self._numbers[at]
        number = None if math.isnan(told) else int(told)
        newest = self._newest
        self._has_begun = True
        if newest is not None and newest.is_searching and newest.number == number:
            if self._is_log[at] and newest.start_log < 0 <= newest.start_event:
                newest.start_log = newest.last = at
                return
            if not self._is_log[at] and newest.start_event < 0 <= newest.start_log:
                newest.start_event = newest.last = at
                return
        if self._is_stopped or (number is not None and self._last_number is not None and number <= self._last_number):
            self._begin_run(at, is_whole=number == 1 and self._is_stopped)
        cycle = self._open_cycle(at, number)
        if self._is_log[at]:
            cycle.start_log = at
        else:
            cycle.start_event = at
        if number is not None:
            self._last_number = number

    def _analyzing(self, at: int) -> None:
        self._searched(at, lambda cycle: cycle.analyzing).analyzing = at

    def _documenting(self, at: int) -> None:
        self._searched(at, lambda cycle: cycle.documenting).documenting = at

    def _generating(self, at: int) -> None:
        self._searched(at, lambda cycle: cycle.generating).generating = at

    def _searched(self, at: int, place: Callable[[Cycle], int]) -> Cycle:
        """Return the cycle that a target was found for, or is worked on for."""
        target, is_one_shot = self._targets[at], self._one_shot[at]

        def fits(cycle: Cycle) -> bool:
            return cycle.is_one_shot == is_one_shot and place(cycle) < 0

        found = None
        for cycle in reversed(self._open):
            if cycle.target == target and target >= 0 and fits(cycle):
                found = cycle
                break
        if found is None:  # of one that was told to stop, and went on
            for cycle in reversed(self._recent):
                if cycle.outcome == "interrupted" and cycle.target == target and target >= 0 and fits(cycle):
                    found = cycle
                    break
        if found is None:
            for cycle in reversed(self._open):
                if cycle.target < 0 and cycle.outcome is None and fits(cycle):
                    found = cycle
                    break
        if found is None:
            found = self._open_cycle(at, None, is_one_shot=is_one_shot)
        if target >= 0:
            found.target = target
        found.last = at
        return found

    # Ending

    def _ended(self, at: int) -> Cycle:
        """Return the cycle that a result is of, which has none yet."""
        target, is_one_shot = self._targets[at], self._one_shot[at]
        found = None
        for cycle in reversed(self._open):
            if cycle.is_one_shot == is_one_shot and cycle.target == target and cycle.outcome is None:
                found = cycle
                break
        if found is None:
            for cycle in reversed(self._recent):
                if (
                    cycle.is_one_shot == is_one_shot
                    and cycle.target == target
                    and (cycle.outcome in (None, "interrupted") or cycle.is_inferred)
                    and cycle.result < 0
                ):
                    found = cycle
                    break
        if found is None:
            for cycle in reversed(self._open):
                if cycle.is_one_shot == is_one_shot and cycle.target < 0 and cycle.outcome is None:
                    found = cycle
                    break
        if found is None:
            found = self._open_cycle(at, None, is_one_shot=is_one_shot)
        if target >= 0:
            found.target = target
        return found

    def _settle(self, cycle: Cycle, at: int, outcome: str) -> None:
        cycle.outcome, cycle.result, cycle.last = outcome, at, at
        cycle.stop, cycle.is_inferred = NOWHERE, False
        self._let_go(cycle)

    def _let_go(self, cycle: Cycle) -> None:
        if cycle in self._open:
            self._open.remove(cycle)
        if self._waiting is not None and self._waiting[0] is cycle:
            self._waiting = None

    def _committing(self, at: int) -> None:
        commit = self._commits[at]
        if commit >= 0:
            for cycle in self._recent:  # the log and the event of one commit
                is_half = cycle.outcome == "committed" and cycle.at_commit < 0 <= cycle.result
                if is_half and self._commits[cycle.result] == commit and self._is_log[cycle.result] != self._is_log[at]:
                    cycle.at_commit = cycle.last = at
                    return
        cycle = self._ended(at)
        self._settle(cycle, at, "committed")
        self._committed = cycle

    def _failing(self, at: int, outcome: str) -> None:
        done = self._committed
        if done is not None and done.push < 0 and done.target == self._targets[at]:
            is_open = any(one.target == done.target for one in self._open)
            if not is_open:  # it failed after its commit, in what follows that
                done.error = done.last = at
                return
        cycle = self._ended(at)
        self._settle(cycle, at, outcome)
        cycle.error = at

    def _dry_run(self, at: int) -> None:
        self._settle(self._ended(at), at, "dry_run")

    def _skipping(self, at: int) -> None:
        newest = self._newest
        if newest is None or not newest.is_searching or newest not in self._open:
            newest = self._open_cycle(at, None)
        self._settle(newest, at, "skipped")

    def _task_error(self, at: int) -> None:
        newest = self._newest
        if newest is not None and newest in self._open:
            self._settle(newest, at, "failed")
            newest.error = at
        elif self._committed is not None:
            self._committed.error = self._committed.last = at

    def _pushing(self, at: int) -> None:
        cycle = self._committed
        if cycle is None:
            newest = self._newest
            if newest is None or newest not in self._open or newest.target < 0:
                return
            self._infer(newest, "committed")  # only a commit is pushed: the messages that told of it were lost
            cycle = newest
        cycle.push = cycle.last = at
        self._committed = None

    def _infer(self, cycle: Cycle, outcome: str) -> None:
        cycle.outcome, cycle.is_inferred = outcome, True
        self._let_go(cycle)

    def _stats(self, at: int) -> None:
        newest = self._newest
        self.counters[self.run].append((at, 0))
        if newest is None or newest.stats >= 0:
            return
        if newest in self._open and newest.target >= 0:
            self._infer(newest, "committed")  # counters are told after a success alone
        if newest.outcome in ("committed", "dry_run"):
            newest.stats = newest.last = at
            if newest is self._committed:
                self._committed = None

    # Around the cycles

    def _backing_off(self, at: int) -> None:
        newest = self._newest
        self._has_begun = True
        if newest is not None and newest.outcome is None:
            self._infer(newest, "failed")

    def _wait(self, at: int) -> None:
        self._has_begun = True
        newest = self._newest
        if self._waiting is None and newest is not None and newest in self._open:
            self._waiting = (newest, at)

    def _recover(self, at: int) -> None:
        if self._waiting is not None:
            cycle, since = self._waiting
            cycle.waits.append((since, at))
            self._waiting = None

    def _daemon_starting(self, at: int) -> None:
        if self._has_begun or self._is_stopped:
            self._begin_run(at, is_whole=True)
        self.run_is_whole[self.run] = True
        self._has_begun = True

    def _begin_run(self, at: int, *, is_whole: bool) -> None:
        self._interrupt(max(0, at - 1))
        self.run += 1
        self.run_is_whole[self.run] = is_whole
        self.counters[self.run] = []
        self._newest = self._last_number = None
        self._is_stopped = False
        self._has_begun = True

    def _daemon_stopped(self, at: int) -> None:
        self.counters[self.run].append((at, 1))
        self._interrupt(at)
        self._is_stopped = self._has_begun = True

    def _interrupt(self, at: int) -> None:
        for cycle in self._open:
            if not cycle.is_one_shot:
                cycle.outcome, cycle.stop = "interrupted", at
        self._close_lost()


def told_counters(steps: Steps, at: int, at_stop: int) -> tuple[float, float, float, float] | None:
    """Return the counters that a step tells: cycles in all, successful, failed, skipped."""
    names = ("total_cycles", "successful_cycles", "failed_cycles", "skipped_cycles")
    values: list[Any]
    if at_stop:
        stats = steps.extra(at, "stats")
        values = [stats.get(name) for name in names] if isinstance(stats, dict) else []
    else:
        values = [float(steps.numbers(name, np.array([at]))[0]) for name in names]
    if len(values) != 4 or not all(isinstance(value, (int, float)) and value == value for value in values):
        return None
    total, done, failed, skipped = map(float, values)
    return total, done, failed, skipped
