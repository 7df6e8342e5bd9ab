"""The daemon: its life from start to stop or kill, its schedule, and who starts and stops it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from codeworm_monitor.synthetic.clockwork import MILLISECOND, SECOND, Busy, Steps
from codeworm_monitor.synthetic.cycle import cycle_steps, one_shot_steps, wait_for_ollama
from codeworm_monitor.synthetic.outages import true_outages
from codeworm_monitor.synthetic.plan import Episode, Plan, Trouble
from codeworm_monitor.synthetic.run import Run, Ticket
from codeworm_monitor.synthetic.texts import OLLAMA_URL, Failure
from codeworm_monitor.synthetic.truth import Published, Truth
from codeworm_monitor.synthetic.world import World

__all__ = ["Publishing"]

_PATIENCE = 1_800 * SECOND
"""How long the schedule waits for a cycle."""
_GRACE = 3_600 * SECOND
"""How late a cycle may start; one that is due longer ago, after a standstill, is left out."""
_CHECKED_EVERY = 300 * SECOND
_ALARM_AFTER = 2_700
_FOREVER = 2**62


class Publishing:
    """All that CodeWorm publishes in a planned stretch of time, in order; what truly happened is told beside it.

    It can be iterated once; memory does not grow with the messages, but with the cycles, which `truth` keeps.

    Args:
        plan: What is to happen.

    Example:
        >>> publishing = Publishing(Plan(seed=1))
        >>> messages = list(publishing)
        >>> publishing.truth.cycles[0].outcome
    """

    def __init__(self, plan: Plan) -> None:
        self.truth = Truth()
        self._world = World(plan, self.truth)
        self._run: Run | None = None

    def __iter__(self) -> Iterator[Published]:
        """Yield the messages.

        Raises:
            RuntimeError: They were yielded before.
        """
        world, clockwork = self._world, self._world.clockwork
        if self.truth.runs:
            raise RuntimeError("this was iterated already: make another Publishing of the same plan")
        clockwork.start(self._start(world.plan.mode))
        for episode in world.plan.episodes:
            acts = self._acts(episode)
            if acts is not None:
                clockwork.start(acts, after=world.at(episode.at) - world.now)
        published = world.publisher.published
        for _ in clockwork.run(world.at(world.plan.lasts)):
            if published:
                yield from published
                published.clear()
        self.truth.outages += true_outages(world.plan, world.at(0), self.truth.runs)

    # What befalls it

    def _acts(self, episode: Episode) -> Steps | None:
        match episode.what:
            case Trouble.STOP:
                return self._stop(episode)
            case Trouble.KILL:
                return self._kill(episode)
            case Trouble.HANG:
                return self._hang(episode)
            case Trouble.RELOAD:
                return self._reload()
            case Trouble.RUN_ONCE:
                return self._run_once(episode)
            case Trouble.CLOCK_STEP:
                return self._step_clock(round(episode.by * SECOND))
            case _:
                return None  # a state of the world, which is looked at when it matters

    def _start(self, mode: str) -> Steps:
        world = self._world
        run = self._run = Run(world, len(self.truth.runs) + 1, mode)
        self.truth.runs.append(run.truth)
        run.next_fire = world.now + world.draw.randrange(1, 60) * SECOND
        world.clockwork.start(self._live(run), run, in_loop=True)
        yield 0

    def _stop(self, episode: Episode) -> Steps:
        world, run = self._world, self._run
        ends = _end(world, episode)
        if run is None or run.is_over or not run.is_wanted:
            return
        run.is_late, asked_at = episode.late, world.now
        world.clockwork.start(self._obey(run, episode.how or "SIGTERM"), run)
        gives_up = math.inf if math.isinf(world.plan.stop_timeout) else world.now + world.plan.stop_timeout * SECOND
        while not run.is_over and not (run.has_stopped and gives_up == math.inf and world.now >= ends):
            if world.now >= gives_up:
                run.die("killed")
                break
            yield SECOND // 4 if world.now - asked_at < 100 * SECOND else 20 * SECOND
        yield max(SECOND // 2, ends - world.now)
        yield from self._start(episode.then)

    def _obey(self, run: Run, signal: str) -> Steps:
        run.log(None, "shutdown_signal_received", signal=signal)
        run.is_wanted = False
        if run.ready_at is not None:  # its main coroutine looks once a second
            after = SECOND - (self._world.now - run.ready_at) % SECOND
            self._world.clockwork.start(self._leave(run), run, in_loop=True, after=after)
        yield 0

    def _kill(self, episode: Episode) -> Steps:
        run, ends = self._run, _end(self._world, episode)
        if run is None or run.is_over:
            return
        run.die("killed")
        yield max(SECOND // 2, ends - self._world.now)
        yield from self._start(episode.then)

    def _hang(self, episode: Episode) -> Steps:
        run, ends = self._run, _end(self._world, episode)
        if run is None or run.is_over:
            return
        run.frozen_until = ends
        if episode.how == "killed":
            yield ends - self._world.now
            if not run.is_over:
                run.die("killed")
                yield 5 * SECOND
                yield from self._start(episode.then)

    def _reload(self) -> Steps:
        if self._run is not None and not self._run.is_over and self._run.is_wanted:
            self._run.log(None, "reload_signal_received")
        yield 0

    def _run_once(self, episode: Episode) -> Steps:
        run = Run(self._world, None, episode.how or "commit")
        self._world.clockwork.start(one_shot_steps(run), run)
        yield 0

    def _step_clock(self, by: int) -> Steps:
        for cycle in self._world.under_way:
            cycle.has_step = True
        self._world.publisher.clock += by
        yield 0

    # Its life

    def _live(self, run: Run) -> Steps:
        """Go through a run of the daemon: the main coroutine of its event loop."""
        world, draw = self._world, self._world.draw
        mode = {"dry_run": "[DRY RUN]"}.get(run.mode, "normal")
        run.log(None, "daemon_starting", mode=mode, repos=6, devlog="/home/user/dev/DevLog", debug=run.mode == "debug")
        yield Busy(draw.randrange(800, 6_000))
        documents = sum(world.documents.values())
        run.log(None, "state_loaded", total_documented=documents, last_7_days=len(world.recent))
        yield Busy(draw.randrange(200, 4_000))
        run.log(None, "waiting_for_ollama", url=OLLAMA_URL)
        yield draw.randrange(5, 60) * MILLISECOND
        is_there = yield from wait_for_ollama(run, None)
        if not is_there:
            run.log(None, "shutdown_during_ollama_wait")
            run.is_over = True
            run.conclude("aborted")
            return
        yield draw.randrange(100, 500) * MILLISECOND
        run.model = world.plan.model
        run.log(None, "llm_initialized", model=run.model)
        if run.is_wanted:
            yield Busy(draw.randrange(4, 20) * MILLISECOND)
            run.announce(None, log=True)
            yield Busy(draw.randrange(200, 900))
            run.announce(None, log=False)
            world.clockwork.start(self._fire(run), run, after=run.next_fire - world.now)
            world.clockwork.start(self._watch(run), run, in_loop=True)
            run.ready_at = world.now
        else:
            yield SECOND
            yield from self._leave(run)

    def _leave(self, run: Run) -> Steps:
        """Say that the daemon stopped, and let go of its event loop, whatever goes on in it."""
        run.log(None, "daemon_stopped", stats=run.counters())
        run.has_stopped = True
        run.conclude("stopped")
        if run.is_late:
            for _ in range(600):
                if run.ticket is None or run.ticket.is_done:
                    break
                yield SECOND // 20
        yield self._world.draw.randrange(1, 30) * MILLISECOND
        run.is_loop_closed = True
        run.cut_off()
        run.is_over = run.ticket is None or run.ticket.is_done or run.ticket.is_given_up

    def _watch(self, run: Run) -> Steps:
        """Raise the alarm when nothing was committed for too long; once, until something is."""
        publisher = self._world.publisher
        has_alarmed = False
        yield _CHECKED_EVERY
        while run.is_wanted:
            since = publisher.wall(run.started_at if run.last_success is None else run.last_success)
            age = (publisher.wall(self._world.stamp) - since).total_seconds()
            if age > _ALARM_AFTER and not has_alarmed:
                minutes = round(age / 60, 1)
                run.log(None, "dead_mans_switch_triggered", "warning", minutes_since_last_commit=minutes)
                has_alarmed = True
            elif age <= _ALARM_AFTER:
                has_alarmed = False
            yield _CHECKED_EVERY

    # Its schedule: a thread, which waits for each cycle, but not for ever

    def _fire(self, run: Run) -> Steps:
        world = self._world
        if not run.is_wanted:
            return
        late = 0 if run.announced is None else world.stamp - run.announced
        if late < 0:  # its clock was set back: it waits for the time that it announced
            world.clockwork.start(self._fire(run), run, after=world.draw.randrange(700, 2_500) - late)
            return
        if late > _GRACE:
            run.announced = None
            world.clockwork.start(self._fire(run), run, after=max(0, run.due() - world.now))
            return
        ticket = run.ticket = Ticket(run.announced)
        world.clockwork.start(self._work(run, ticket), run, in_loop=True)
        world.clockwork.start(self._give_up(run, ticket), run, after=_PATIENCE)
        yield 0

    def _work(self, run: Run, ticket: Ticket) -> Steps:
        yield from cycle_steps(run, ticket)
        ticket.is_done = True
        if ticket.is_given_up:
            if ticket.cycle is not None:
                run.end(ticket.cycle)
        else:
            self._world.clockwork.start(self._go_on(run, ticket), run, after=self._world.draw.randrange(200, 1_500))

    def _give_up(self, run: Run, ticket: Ticket) -> Steps:
        if not ticket.is_done:
            ticket.is_given_up = True
            if ticket.cycle is not None and ticket.cycle.outcome == "running":
                ticket.cycle.outcome, ticket.cycle.error = "failed", ""
            yield from self._go_on(run, ticket, Failure.of("timeout"))

    def _go_on(self, run: Run, ticket: Ticket, failure: Failure | None = None) -> Steps:
        world, cycle = self._world, ticket.cycle
        failure = failure or ticket.failure
        if failure is not None:
            made = run.log(cycle, "scheduled_task_error", "error", error=failure.error, exception=failure.exception)
            world.sign(failure.kind, made)
            run.count_failure()
            if cycle is not None and cycle.outcome == "running":
                cycle.outcome, cycle.error = "failed", failure.error
            yield world.draw.randrange(200, 1_500)
        if not run.is_wanted:
            if cycle is not None and ticket.is_done:
                run.end(cycle)
            run.is_over = run.has_stopped
            return
        run.announce(cycle, log=True)
        yield world.draw.randrange(200, 1_000)
        run.announce(cycle, log=False)
        if cycle is not None and ticket.is_done:
            run.end(cycle)
        world.clockwork.start(self._fire(run), run, after=max(0, run.next_fire - world.now))


def _end(world: World, episode: Episode) -> int:
    return _FOREVER if math.isinf(episode.lasts) else world.at(episode.at + episode.lasts)
