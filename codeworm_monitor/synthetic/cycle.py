"""A cycle: what the daemon does from its start to its push, message by message."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from codeworm_monitor.synthetic.clockwork import MILLISECOND, SECOND, Busy, Steps
from codeworm_monitor.synthetic.plan import Trouble
from codeworm_monitor.synthetic.run import Run, Ticket
from codeworm_monitor.synthetic.texts import OLLAMA_URL, Failure, Target, commit_message, push_error
from codeworm_monitor.synthetic.truth import TrueCycle
from codeworm_monitor.synthetic.world import World

__all__ = ["cycle_steps", "one_shot_steps", "wait_for_ollama"]

_DATABASE_PATIENCE = 5 * SECOND
_PUSH_PATIENCE = 30 * SECOND
_WEEK = 7 * 86_400 * SECOND


def cycle_steps(run: Run, ticket: Ticket) -> Steps:
    """Go through a cycle of the daemon; in its event loop."""
    world, draw = run.world, run.world.draw
    if backoff := run.backoff():
        run.log(None, "backing_off", seconds=backoff, consecutive_failures=run.failures)
        yield backoff * SECOND + draw.randrange(2_000)
    number = run.total + 1
    cycle = TrueCycle(
        run=run.number, cycle_num=number, scheduled_at=ticket.scheduled_at, started_at=world.stamp, model=run.model
    )
    ticket.cycle = cycle
    run.begin(cycle)
    run.log(cycle, "cycle_starting", cycle_num=number)
    yield Busy(draw.randrange(250, 1_200))
    run.event(cycle, "cycle_starting", cycle_num=number)
    yield draw.randrange(5, 40) * MILLISECOND  # asks whether Ollama is there
    if world.trouble(Trouble.OLLAMA_DOWN):
        is_there = yield from wait_for_ollama(run, cycle)
        if not is_there:
            run.end(cycle, "interrupted")
            return
    yield Busy(world.micros(world.plan.find_s))
    if world.trouble(Trouble.DATABASE_LOCKED):
        yield Busy(_DATABASE_PATIENCE)
        ticket.failure = Failure.of("locked")
        return
    if world.trouble(Trouble.EXHAUSTED) or draw.random() < world.plan.skips:
        run.count_skip()
        run.log(cycle, "cycle_skipped_no_candidates", "warning", repos_exhausted=[])
        cycle.outcome = "skipped"
    else:
        is_done = yield from _document_next(run, cycle)
        if is_done:
            yield Busy(draw.randrange(200, 700))
            run.count_success()
            if run.successes % 10 == 0:
                run.log(cycle, "cycle_stats", **run.counters())
            yield Busy(draw.randrange(200, 900))
            if world.trouble(Trouble.DATABASE_LOCKED):
                yield Busy(_DATABASE_PATIENCE)
                ticket.failure = Failure.of("locked")
                return
            _publish_stats(run, cycle)
        else:
            run.count_failure()
    yield Busy(draw.randrange(100, 700))
    if run.is_wanted:
        run.announce(cycle, log=False)


def one_shot_steps(run: Run) -> Steps:
    """Go through the one cycle of a one-shot run, which tells less and names the target otherwise."""
    world, draw = run.world, run.world.draw
    yield draw.randrange(5, 40) * MILLISECOND
    if world.trouble(Trouble.OLLAMA_DOWN):
        world.sign("ollama", run.log(None, "ollama_not_available", "error"))
        return
    yield draw.randrange(100, 400) * MILLISECOND + world.micros(world.plan.find_s)
    if world.trouble(Trouble.EXHAUSTED):
        run.log(None, "no_documentable_candidates_found")
        return
    cycle = TrueCycle(run=None, cycle_num=None, scheduled_at=None, started_at=world.stamp)
    run.begin(cycle)
    target = world.targets.next()
    cycle.target, cycle.repo = target.name, target.repo
    is_dry = run.mode == "dry_run"
    run.log(cycle, "documenting", function=target.name, repo=target.repo, score=target.score, dry_run=is_dry)
    yield draw.randrange(300, 900)
    yield from _document(run, cycle, target, {"function": target.name})
    run.end(cycle)


def wait_for_ollama(run: Run, cycle: TrueCycle | None) -> Generator[int, None, bool]:
    """Wait until Ollama answers; tell whether it did, or the daemon was told to stop."""
    world = run.world
    since = world.now
    while run.is_wanted:
        if not world.trouble(Trouble.OLLAMA_DOWN):
            if run.ollama_failures:
                run.log(cycle, "ollama_recovered", after_failures=run.ollama_failures)
            run.ollama_failures = 0
            if cycle is not None:
                cycle.wait_us += world.now - since
            return True
        wait = 10 if run.ollama_failures <= 1 else min(300, 10 * 2 ** (min(run.ollama_failures, 20) - 1))
        run.ollama_failures += 1
        told = {"url": OLLAMA_URL, "retry_in_seconds": wait, "consecutive_failures": run.ollama_failures}
        world.sign("ollama", run.log(cycle, "ollama_unavailable_waiting", "warning", **told))
        for _ in range(wait):
            if not run.is_wanted:
                return False
            yield SECOND + world.draw.randrange(2_000)
        yield world.draw.randrange(2, 60) * MILLISECOND
    return False


def _document_next(run: Run, cycle: TrueCycle) -> Generator[int, None, bool]:
    world, draw = run.world, run.world.draw
    target = world.failed_at
    if target is None or draw.random() >= world.plan.retries:
        target = world.targets.next()
    world.failed_at = None
    cycle.target, cycle.repo, cycle.language, cycle.doc_type = (
        target.name,
        target.repo,
        target.language,
        target.doc_type,
    )
    if run.mode == "debug":
        run.log(cycle, "target_found", "debug", doc_type=target.doc_type, target=target.name, repo=target.repo)
        yield Busy(draw.randrange(200, 600))
    names = {"target": target.name, "doc_type": target.doc_type}
    run.event(cycle, "analyzing", **names, repo=target.repo)
    yield Busy(draw.randrange(300, 900))
    run.log(cycle, "documenting", **names, repo=target.repo, score=target.score, dry_run=run.mode == "dry_run")
    yield Busy(draw.randrange(200, 700))
    run.event(cycle, "generating", **names, repo=target.repo, language=target.language)
    is_done = yield from _document(run, cycle, target, names)
    if not is_done:
        world.failed_at = target
    return is_done


def _document(run: Run, cycle: TrueCycle, target: Target, names: dict[str, Any]) -> Generator[int, None, bool]:
    """Generate, commit and push; `names` are how the messages name the target."""
    world, draw = run.world, run.world.draw
    tokens = world.targets.tokens(target)
    begun = world.now
    failure = yield from _generate(world, tokens)
    if failure is not None:
        return _fail(run, cycle, names, failure)
    time_ms = max(1, (world.now - begun) // MILLISECOND - draw.randrange(2))
    message = commit_message(draw, target)
    told: dict[str, Any] = {"tokens": tokens, "time_ms": time_ms}
    is_daemon = run.number is not None
    if run.mode == "dry_run":
        cycle.outcome, cycle.tokens, cycle.time_ms, cycle.commit_message = "dry_run", tokens, time_ms, message
        run.log(cycle, "dry_run_complete", **names, **told, would_commit=message)
        return True
    yield Busy(world.micros(0.03))
    if world.trouble(Trouble.COMMIT_BROKEN):
        return _fail(run, cycle, names, "commit")
    if world.trouble(Trouble.DATABASE_LOCKED):
        yield Busy(_DATABASE_PATIENCE)
        return _fail(run, cycle, names, "locked")
    commit = world.commit()
    cycle.outcome, cycle.commit, cycle.tokens, cycle.time_ms = "committed", commit, tokens, time_ms
    world.documents[target.repo] = world.documents.get(target.repo, 0) + 1
    world.recent.append(world.now)
    run.log(cycle, "documentation_committed", **names, commit=commit, **told)
    if is_daemon:
        yield Busy(draw.randrange(200, 900))
        cycle.commit_message = message
        run.event(
            cycle,
            "documentation_committed",
            **names,
            commit=commit,
            **told,
            repo=target.repo,
            language=target.language,
            commit_message=message,
        )
    if world.plan.has_remote:
        yield from _push(run, cycle)
    return True


def _generate(world: World, tokens: int) -> Generator[int, None, str | None]:
    """Have the LLM write so many tokens; return what went wrong, or None."""
    draw = world.draw
    if world.trouble(Trouble.OLLAMA_DOWN):
        yield 6 * SECOND + draw.randrange(20_000)  # it asks three times
        if world.trouble(Trouble.OLLAMA_DOWN):
            return "away"
    span = world.trouble(Trouble.LLM_ERRORS)
    how = span[2] if span is not None else ""
    if span is None and draw.random() < world.plan.failures:
        how = draw.choice(("oom", "notfound", "nonsense", "broken_off"))
    match how:
        case "":
            took = world.micros(world.plan.generate_s * world.factor(Trouble.SLOW) * tokens / 1_500, 0.25)
        case "silence":
            took = 3 * 600 * SECOND + 6 * SECOND
        case "oom":
            took = world.micros(15)
        case _:
            took = world.micros(0.2)
    breaks_at = world.next_start(Trouble.OLLAMA_DOWN, world.now + took)
    if breaks_at is not None:
        yield breaks_at - world.now + draw.randrange(3_000)
        return "broken_off"
    yield took
    return how or None


def _fail(run: Run, cycle: TrueCycle, names: dict[str, Any], how: str) -> bool:
    failure = Failure.of(how)
    told = {key: value for key, value in names.items() if key != "doc_type"} | {"error": failure.error}
    cycle.error = failure.error
    if failure.exception is None:
        cycle.outcome = "llm_error"
        made = run.log(cycle, "llm_error", "error", **told)
    else:
        cycle.outcome = "failed"
        made = run.log(cycle, "documentation_failed", "error", exception=failure.exception, **told)
    run.world.sign(failure.kind, made)
    return False


def _push(run: Run, cycle: TrueCycle) -> Steps:
    world = run.world
    if broken := world.trouble(Trouble.PUSH_BROKEN):
        yield Busy(world.micros(0.03) + (_PUSH_PATIENCE if broken[2] == "refused" else 0))
        cycle.pushed = False
        world.sign("push", run.log(cycle, "push_failed", "warning", error=push_error(broken[2])))
    else:
        yield Busy(world.micros(0.03))
        cycle.pushed = True
        run.log(cycle, "push_successful")


def _publish_stats(run: Run, cycle: TrueCycle) -> None:
    world = run.world
    recent = world.recent
    while recent and recent[0] < world.now - _WEEK:
        recent.popleft()
    counters = run.counters() | {
        "total_documented": sum(world.documents.values()),
        "by_repo": dict(sorted(world.documents.items())),
        "last_7_days": len(recent),
    }
    made = world.publisher.stats(world.now, counters)
    run.note(cycle, made)
