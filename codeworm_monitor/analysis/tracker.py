"""The tracker: goes through the steps in their order and tells which belong to one cycle."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from codeworm_monitor.analysis.blame import last_line
from codeworm_monitor.analysis.plain_cycles import LENGTH, plain_cycles
from codeworm_monitor.analysis.steps import Step, Steps

__all__ = ["NOWHERE", "Cycle", "Tracker", "told_counters"]

NOWHERE = -1
"""Place of a step that was not seen."""
_RESULTS = (Step.COMMITTED, Step.FAILED, Step.LLM_ERROR, Step.DRY_RUN, Step.SKIPPED)
_ENDING = frozenset(map(int, (*_RESULTS, Step.PUSHED, Step.PUSH_FAILED, Step.STATS, Step.ANNOUNCED)))
"""Steps of a cycle's end, which follow each other at once."""
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
        has_lost_wait: Whether it waited as well from or to a moment that was lost.
    """

    __slots__ = (
        "analyzing",
        "at_commit",
        "documenting",
        "error",
        "first",
        "generating",
        "has_lost_wait",
        "index",
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
        self.index = 0  # among the cycles
        self.first = self.last = at
        self.target = -1
        self.outcome: str | None = None
        self.is_inferred = self.has_lost_wait = False
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
        self.run_begins: dict[int, int] = {}
        """By run, where the daemon said that it starts."""
        self.counters: dict[int, list[tuple[int, int]]] = {1: []}
        """By run, where the daemon told its counters, and whether at its stop (1) or after a cycle (0)."""
        self._steps = steps
        self._is_log: list[bool] = steps.is_log.tolist()
        self._one_shot: list[bool] = steps.is_one_shot.tolist()
        self._numbers: list[float] = steps.cycle_num.tolist()
        self._targets: list[int] = steps.targets.tolist()
        self._commits: list[int] = steps.commits.tolist()
        self._begins: list[int] = []
        self._open: list[Cycle] = []
        self._overdue: list[Cycle] = []  # the scheduler gave up waiting for them, and they may go on
        self._late: deque[Cycle] = deque(maxlen=_REMEMBERED)  # broken off, as far as is known; the newest first
        self._halves: dict[int, Cycle] = {}  # by commit, those of which the log or the event came, and not the other
        self._newest: Cycle | None = None
        self._last_number: int | None = None
        self._committed: Cycle | None = None  # and its push not known yet
        self._unpushed: Cycle | None = None  # of before, whose push still lasts when the next begins
        self._succeeded: Cycle | None = None  # and its counters not heard yet
        self._is_late_end = False  # the newest steps are of one that was overdue
        self._waits: dict[Cycle, int] = {}  # for Ollama, since when, the longest first
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
            Step.ANNOUNCED: self._announced,
            Step.LLM_READY: self._llm_ready,
        }
        by_step = [handlers.get(step, _ignore) for step in range(max(Step) + 1)]
        codes = self._steps.step
        # Of announcements in a row the first tells all: they are a third of the steps.
        is_again = np.zeros(len(codes), np.bool_)
        is_again[1:] = (codes[1:] == Step.ANNOUNCED) & (codes[:-1] == Step.ANNOUNCED)
        places = np.flatnonzero(~is_again)
        is_plain = plain_cycles(self._steps, places).tolist()
        ats, told = places.tolist(), codes[places].tolist()
        index = 0
        while index < len(ats):
            if is_plain[index] and self._is_at_rest(cycle := ats[index : index + LENGTH]):
                self._take_plain(cycle)
                index += LENGTH
                continue
            step = told[index]
            by_step[step](ats[index])
            self._has_begun = True
            if step not in _ENDING:
                self._is_late_end = False
            index += 1
        return self.cycles

    # The usual case, made quick: what the handlers below make of a plain cycle while nothing else is under way

    def _is_at_rest(self, ats: list[int]) -> bool:
        """Tell whether nothing needs to be told apart from a plain cycle with its steps at these places."""
        if self._open or self._overdue or self._waits or self._is_stopped:
            return False
        start, _, analyzing, _, _, result, *_ = ats
        if self._last_number is not None and self._numbers[start] <= self._last_number:
            return False
        target = self._targets[analyzing]
        if any(cycle.target == target for cycle in self._late):
            return False
        return len(self._halves) < _REMEMBERED and self._commits[result] not in self._halves

    def _take_plain(self, ats: list[int]) -> None:
        start_log, start_event, analyzing, documenting, generating, result, at_commit, push, stats, _ = ats
        self._forget_late()
        number = self._last_number = int(self._numbers[start_log])
        cycle = self._newest = Cycle(self.run, number, start_log)
        cycle.index = len(self.cycles)
        self.cycles.append(cycle)
        cycle.start_log, cycle.start_event, cycle.analyzing = start_log, start_event, analyzing
        cycle.documenting, cycle.generating, cycle.target = documenting, generating, self._targets[analyzing]
        cycle.outcome, cycle.result, cycle.at_commit = "committed", result, at_commit
        cycle.push, cycle.stats, cycle.last = push, stats, stats
        self.counters[self.run].append((stats, 0))
        self._committed = self._unpushed = self._succeeded = None
        self._is_late_end, self._has_begun = False, True

    @property
    def begins(self) -> list[int]:
        """Where a run of the daemon began, told or not, but for that in which the stretch begins."""
        return self._begins

    @property
    def unfinished(self) -> Iterator[Cycle]:
        """The cycles that may be under way at the end."""
        return (cycle for cycle in self._open if cycle.outcome is None)

    # Beginning

    def _open_cycle(self, at: int, number: int | None, *, is_one_shot: bool = False) -> Cycle:
        cycle = Cycle(self.run, number, at, is_one_shot=is_one_shot)
        self._forget_late()
        cycle.index = len(self.cycles)
        if not is_one_shot:
            self._close_lost()
            self._newest = cycle
            self._unpushed = self._committed or self._unpushed
            self._committed = self._succeeded = None
        # A one-shot run that was killed says nothing more, and never does.
        self._open = [one for one in self._open if cycle.index - one.index <= _REMEMBERED]
        del self._overdue[:-_REMEMBERED]
        self._open.append(cycle)
        self.cycles.append(cycle)
        return cycle

    def _forget_late(self) -> None:
        while self._late and len(self.cycles) - self._late[-1].index > _REMEMBERED:
            self._late.pop()

    def _close_lost(self) -> None:
        """Give up the daemon's open cycles: it works on one at a time, so their end was lost."""
        for cycle in self._open:
            if not cycle.is_one_shot:
                cycle.has_lost_wait |= self._waits.pop(cycle, None) is not None
        self._open = [cycle for cycle in self._open if cycle.is_one_shot]

    def _starting(self, at: int) -> None:
        told = self._numbers[at]
        number = int(told) if math.isfinite(told) else None
        newest = self._newest
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
        if len(self._open) == 1 and not self._overdue and not self._late:  # the usual case, made quick
            only = self._open[0]
            found = only if only.target in (-1, target) and fits(only) else None
        if found is None and target >= 0:
            known = (*reversed(self._open), *self._overdue, *self._late)
            found = next((cycle for cycle in known if cycle.target == target and fits(cycle)), None)
        if found is None:
            unnamed = (*self._overdue, *reversed(self._open))  # who waited longest is answered first
            found = next((c for c in unnamed if c.target < 0 and _is_undecided(c) and fits(c)), None)
        if found is None:
            found = self._open_cycle(at, None, is_one_shot=is_one_shot)
        elif self._waits.pop(found, None) is not None:
            found.has_lost_wait = True  # it goes on, so the wait is over
        if target >= 0:
            found.target = target
        found.last = at
        return found

    # Ending

    def _ended(self, at: int) -> Cycle:
        """Return the cycle that a result is of, which has none yet."""
        target, is_one_shot = self._targets[at], self._one_shot[at]
        known = [cycle for cycle in (*reversed(self._open), *self._overdue, *self._late) if cycle.target == target]
        unnamed = [cycle for cycle in (*reversed(self._open), *self._overdue) if cycle.target < 0]
        for cycle in (*known, *unnamed):
            if cycle.is_one_shot == is_one_shot and _is_undecided(cycle):
                if target >= 0:
                    cycle.target = target
                return cycle
        found = self._open_cycle(at, None, is_one_shot=is_one_shot)
        found.target = target
        return found

    def _settle(self, cycle: Cycle, at: int, outcome: str) -> None:
        cycle.outcome, cycle.result, cycle.last = outcome, at, at
        cycle.stop = cycle.error = NOWHERE
        cycle.is_inferred = False
        self._is_late_end = cycle in self._overdue
        if outcome in ("committed", "dry_run"):
            self._succeeded = cycle
        self._let_go(cycle)

    def _let_go(self, cycle: Cycle) -> None:
        for some in (self._open, self._overdue):
            if cycle in some:
                some.remove(cycle)
        cycle.has_lost_wait |= self._waits.pop(cycle, None) is not None

    def _committing(self, at: int) -> None:
        commit = self._commits[at]
        half = self._halves.pop(commit, None)
        if half is not None and self._is_log[half.result] != self._is_log[at]:  # the log and the event of one commit
            half.at_commit = half.last = at
            return
        cycle = self._ended(at)
        self._settle(cycle, at, "committed")
        self._committed, self._unpushed = cycle, None
        if commit >= 0:
            self._halves[commit] = cycle
            if len(self._halves) > _REMEMBERED:
                del self._halves[next(iter(self._halves))]

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
        searching = (cycle for cycle in (*self._overdue, *self._open) if not cycle.is_one_shot and cycle.target < 0)
        cycle = next(searching, None)
        self._settle(self._open_cycle(at, None) if cycle is None else cycle, at, "skipped")

    def _task_error(self, at: int) -> None:
        newest = self._newest
        if newest is not None and newest in self._open:
            waited = self._waits.pop(newest, None)
            self._settle(newest, at, "failed")
            newest.error = at
            if self._is_timeout(at):
                # The scheduler waits no longer, but the cycle goes on, and says itself how it ends.
                newest.is_inferred = True
                self._overdue.append(newest)
                if waited is not None:
                    self._waits[newest] = waited
        elif self._committed is not None:
            self._committed.error = self._committed.last = at
            if self._is_timeout(at):
                self._unpushed = self._committed

    def _is_timeout(self, at: int) -> bool:
        """Tell whether the scheduler only had enough of waiting for a cycle."""
        trace = self._steps.texts("exception", np.array([at]))[0] or self._steps.texts("error", np.array([at]))[0]
        return isinstance(trace, str) and "TimeoutError" in last_line(trace[-400:])

    def _pushing(self, at: int) -> None:
        cycle = self._committed or self._still_pushed()
        if cycle is None:
            newest = self._newest
            if newest is None or newest not in self._open or self._overdue:
                return
            self._infer(newest, "committed")  # only a commit is pushed: the messages that told of it were lost
            cycle = newest
        cycle.push = cycle.last = at
        self._committed = self._unpushed = None

    def _still_pushed(self) -> Cycle | None:
        """Return the cycle before the newest if its push may still last; of any other a push would long be over."""
        before, newest = self._unpushed, self._newest
        if before is None or newest is None or before.number is None:
            return None
        return before if newest is before or newest.number == before.number + 1 else None

    def _infer(self, cycle: Cycle, outcome: str) -> None:
        cycle.outcome, cycle.is_inferred = outcome, True
        self._let_go(cycle)

    def _stats(self, at: int) -> None:
        self.counters[self.run].append((at, 0))
        done, newest = self._succeeded, self._newest
        if done is None and newest is not None and newest in self._open and not self._overdue:
            self._infer(newest, "committed")  # counters are told after a success alone
            done = newest
        if done is not None:
            done.stats = done.last = at
            if done is self._committed:
                self._committed = None
        self._succeeded = None

    # Around the cycles

    def _announced(self, at: int) -> None:
        # The next one is announced when one has come to its end: whatever is open has ended unheard.
        if not self._is_late_end:
            self._close_lost()
        self._committed = self._succeeded = None  # its push and its counters come before

    def _backing_off(self, at: int) -> None:
        self._announced(at)

    def _wait(self, at: int) -> None:
        newest = self._newest
        if newest is not None and newest in self._open and newest not in self._waits:
            told = self._steps.extra(at, "consecutive_failures")
            newest.has_lost_wait |= not self._waits and isinstance(told, int) and told > 1
            self._waits[newest] = at

    def _recover(self, at: int) -> None:
        newest = self._newest
        if self._waits:
            cycle = next(iter(self._waits))
            cycle.waits.append((self._waits.pop(cycle), at))
        elif newest is not None and newest in self._open:
            newest.has_lost_wait = True

    def _daemon_starting(self, at: int) -> None:
        if self._has_begun or self._is_stopped:
            self._begin_run(at, is_whole=True)
        elif at == 0:
            self._begins.append(at)
        self.run_is_whole[self.run] = True
        self.run_begins[self.run] = at

    def _llm_ready(self, at: int) -> None:
        if self._newest is not None or self._is_stopped:  # it is said once in a run, before the first cycle
            self._begin_run(at, is_whole=True)

    def _begin_run(self, at: int, *, is_whole: bool) -> None:
        self._interrupt(max(0, at - 1))
        self.run += 1
        self.run_is_whole[self.run] = is_whole
        self.counters[self.run] = []
        self._newest = self._last_number = self._succeeded = None
        self._begins.append(at)
        self._overdue.clear()
        self._waits.clear()
        self._is_stopped = False

    def _daemon_stopped(self, at: int) -> None:
        self.counters[self.run].append((at, 1))
        self._interrupt(at)
        self._is_stopped = True

    def _interrupt(self, at: int) -> None:
        for cycle in self._open:
            if not cycle.is_one_shot:
                cycle.outcome, cycle.stop = "interrupted", at
                self._late.appendleft(cycle)
        self._close_lost()


def _ignore(_: int) -> None:
    """Do nothing: the step tells nothing of cycles."""


def _is_undecided(cycle: Cycle) -> bool:
    return cycle.result < 0 or cycle.is_inferred


def told_counters(steps: Steps, places: list[tuple[int, int]]) -> list[tuple[float, float, float, float]]:
    """Return the counters that steps tell: cycles in all, successful, failed, skipped; but for those that tell none.

    Args:
        steps: All steps.
        places: Where, and whether at the daemon's stop (1) or after a cycle (0).
    """
    names = ("total_cycles", "successful_cycles", "failed_cycles", "skipped_cycles")
    after_cycles = np.array([at for at, at_stop in places if not at_stop], np.int64)
    rows = iter(zip(*(steps.numbers(name, after_cycles).tolist() for name in names), strict=True))
    found = []
    for at, at_stop in places:
        values: Sequence[Any]
        if at_stop:
            stats = steps.extra(at, "stats")
            values = [stats.get(name) for name in names] if isinstance(stats, dict) else []
        else:
            values = next(rows)
        if len(values) == len(names) and all(isinstance(one, (int, float)) and one == one for one in values):
            total, done, failed, skipped = map(float, values)
            found.append((total, done, failed, skipped))
    return found
