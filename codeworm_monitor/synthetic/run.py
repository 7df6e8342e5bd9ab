"""A run of the daemon: its counters, its schedule, and what it works on."""

from __future__ import annotations

from typing import Any

from codeworm_monitor.synthetic.clockwork import SECOND, Host
from codeworm_monitor.synthetic.plan import Trouble
from codeworm_monitor.synthetic.publisher import time_text
from codeworm_monitor.synthetic.texts import Failure
from codeworm_monitor.synthetic.truth import Published, Step, TrueCycle, TrueRun
from codeworm_monitor.synthetic.world import World

__all__ = ["Run", "Ticket"]

_LONGEST_BACKOFF = 300
_ANNOUNCEMENTS = frozenset({"events/next_cycle", "logs/next_scheduled_run"})


class Ticket:
    """A cycle that the schedule asked for.

    Attributes:
        scheduled_at: What was announced for it, by the publisher's clock.
        cycle: None before it starts.
        is_done: Whether it came to its end.
        is_given_up: Whether the schedule waits for it no more.
        failure: What broke it from within the daemon.
    """

    def __init__(self, scheduled_at: int | None) -> None:
        self.scheduled_at = scheduled_at
        self.cycle: TrueCycle | None = None
        self.is_done = self.is_given_up = False
        self.failure: Failure | None = None


class Run(Host):
    """The daemon from one start to its end, or a one-shot run.

    Attributes:
        number: From 1; None: a one-shot run.
        mode: normal, dry_run or debug.
        is_wanted: Whether no signal told it to stop.
        is_late: Whether, told to stop, it ends the cycle under way after it said that it stopped.
        has_stopped: Whether it said that it stopped.
        is_over: Whether nothing of it is left.
        next_fire: When the next cycle is due, by the true clock.
        announced: What was announced for that, by the publisher's clock.
        ticket: What the schedule waits for.
        failures: Cycles that failed since the newest success.
        ollama_failures: Checks of Ollama that failed since the newest that did not.
        model: None before it is loaded.
        ready_at: Since when its main coroutine does nothing but look whether it is wanted; None: not yet.
    """

    def __init__(self, world: World, number: int | None, mode: str) -> None:
        super().__init__()
        self.world, self.number, self.mode = world, number, mode
        self.is_wanted = True
        self.is_late = self.has_stopped = self.is_over = False
        self.next_fire = 0
        self.announced: int | None = None
        self.ticket: Ticket | None = None
        self.under_way: list[TrueCycle] = []
        self.total = self.successes = self.failed = self.skips = 0
        self.failures = self.ollama_failures = 0
        self.last_success: int | None = None
        self.started_at = world.stamp
        self.model: str | None = None
        self.ready_at: int | None = None
        self.truth = TrueRun(number=number or 0, started_at=world.stamp)

    # Messages

    def log(self, cycle: TrueCycle | None, name: str, level: str = "info", **keys: Any) -> Published:
        """Publish a log line, one of a cycle's if there is one."""
        return self.note(cycle, self.world.publisher.log(self.world.now, name, level, **keys))

    def event(self, cycle: TrueCycle | None, name: str, **details: Any) -> None:
        """Publish an event, one of a cycle's if there is one."""
        self.note(cycle, self.world.publisher.event(self.world.now, name, **details))

    def announce(self, cycle: TrueCycle | None, *, log: bool) -> None:
        """Publish when the next cycle is due, in the log or as an event."""
        world = self.world
        due = self.due()
        stamp = (due + world.publisher.clock) // SECOND * SECOND
        self.announced = stamp
        text = f"{time_text(stamp)}+00:00"
        if log:
            self.log(cycle, "next_scheduled_run", time=text)
        else:
            self.event(cycle, "next_cycle", time=text)

    # The schedule

    def due(self) -> int:
        """Return when the next cycle is due; times that came while a cycle was under way are left out."""
        world = self.world
        while self.next_fire <= world.now:
            self.next_fire = self._after(self.next_fire)
        return self.next_fire

    def _after(self, at: int) -> int:
        world, plan = self.world, self.world.plan
        rate = world.factor(Trouble.RATE)
        if rate <= 0:
            span = world.trouble(Trouble.RATE)
            at = round(min(world.at(plan.lasts) + 86_400 * SECOND, at if span is None else span[1]))
            rate = 1.0
        spare = max(1.0, 86_400 / (plan.cycles_per_day * rate) - plan.min_gap)
        at += round((plan.min_gap + world.draw.expovariate(1 / spare)) * SECOND)
        for _ in range(24 * 6):
            if world.publisher.hour(at) not in plan.quiet_hours:
                break
            at += 600 * SECOND
        clock = world.publisher.clock  # on a whole second of that, and a moment later: no cycle starts early
        return -(-(at + clock) // SECOND) * SECOND - clock + world.draw.randrange(700, 2_500)

    # The counters

    def backoff(self) -> int:
        """Return how long to wait before the next cycle, in seconds."""
        return 0 if self.failures <= 1 else min(_LONGEST_BACKOFF, 30 * 2 ** (min(self.failures, 20) - 1))

    def count_failure(self) -> None:
        """Count a failed cycle."""
        self.total, self.failed, self.failures = self.total + 1, self.failed + 1, self.failures + 1

    def count_skip(self) -> None:
        """Count a cycle without a candidate."""
        self.total, self.skips = self.total + 1, self.skips + 1

    def count_success(self) -> None:
        """Count a successful cycle."""
        self.total, self.successes, self.failures = self.total + 1, self.successes + 1, 0
        self.ollama_failures, self.last_success = 0, self.world.stamp

    def counters(self) -> dict[str, Any]:
        """Return them as the daemon tells them."""
        last = self.last_success
        return {
            "total_cycles": self.total,
            "successful_cycles": self.successes,
            "failed_cycles": self.failed,
            "skipped_cycles": self.skips,
            "success_rate": round(self.successes / self.total * 100, 1) if self.total else 0.0,
            "consecutive_failures": self.failures,
            "last_success": None if last is None else self.world.publisher.local(last),
        }

    # The truth

    def note(self, cycle: TrueCycle | None, made: Published) -> Published:
        """Note that a message is one of a cycle's."""
        if cycle is not None:
            cycle.steps.append(Step(made.name, made.stamp, made.number))
        return made

    def begin(self, cycle: TrueCycle) -> None:
        """Note that a cycle starts."""
        world = self.world
        others = world.under_way
        for other in others:
            if other.run == cycle.run:
                other.is_overlapped = cycle.is_overlapped = True
            else:
                other.is_beside = cycle.is_beside = True
        others.append(cycle)
        self.under_way.append(cycle)
        world.truth.cycles.append(cycle)

    def end(self, cycle: TrueCycle, outcome: str | None = None) -> None:
        """Note that a cycle is over, as its last message has told, or without a word."""
        if outcome is not None:
            cycle.outcome = outcome
        else:
            cycle.ended_at = next((s.stamp for s in reversed(cycle.steps) if s.name not in _ANNOUNCEMENTS), None)
        for some in (self.under_way, self.world.under_way):
            if cycle in some:
                some.remove(cycle)

    def cut_off(self) -> None:
        """Note that whatever is under way will never be heard of again."""
        for cycle in tuple(self.under_way):
            if cycle.outcome == "running":
                self.end(cycle, "interrupted")
            else:
                self.end(cycle)

    def die(self, end: str) -> None:
        """End it; `end` as in `TrueRun`."""
        self.is_dead = self.is_over = True
        self.cut_off()
        self.conclude(end)

    def conclude(self, end: str) -> None:
        """Note how the run ended, if that is not known yet."""
        if self.truth.ended_at is None:
            self.truth.ended_at, self.truth.end = self.world.stamp, end
