"""Holds the cycles that were found against those that truly were."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pandas as pd

from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.synthetic import Days, TrueCycle

MILLISECOND = 1_000
ENDS = frozenset(
    f"logs/{name}"
    for name in (
        "documentation_committed",
        "documentation_failed",
        "llm_error",
        "dry_run_complete",
        "cycle_skipped_no_candidates",
    )
) | {"events/documentation_committed"}
STARTS = frozenset({"logs/cycle_starting", "events/cycle_starting"})
NAMING = frozenset({"events/analyzing", "logs/documenting", "events/generating"})
TELLING = STARTS | NAMING | ENDS
PROOFS = frozenset({"logs/next_scheduled_run", "events/next_cycle", "stats/stats", "logs/scheduled_task_error"})
ANNOUNCEMENTS = frozenset({"logs/next_scheduled_run", "events/next_cycle"})
PUSHES = frozenset({"logs/push_successful", "logs/push_failed"})


def traffic_of(days: Days) -> Traffic:
    """Return what was heard as the analysis takes it."""
    return Traffic.of(**days.frames())


def micros(time: Any) -> int | None:
    return None if pd.isna(time) else round(time.timestamp() * 1_000_000)


def unknown(value: Any) -> Any:
    """Return a cell, None for one that is missing."""
    return None if pd.isna(value) else value


@dataclass
class Match:
    """Rows beside the truth.

    Attributes:
        pairs: Rows with the cycle that each is of.
        faults: What is wrong, one line each.
        heard: Numbers of the messages that were heard.
    """

    days: Days
    frame: pd.DataFrame
    pairs: list[tuple[Any, TrueCycle]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    heard: set[int] = field(default_factory=set)

    @property
    def relay_steps(self) -> list[int]:
        """When the relay's clock was set, microseconds since 1970."""
        return [self.days.published[0].at + round(at * 1e6) for at, _ in self.days.faults.clock_steps]

    def is_gap_within(self, cycle: TrueCycle) -> bool:
        """Tell whether the relay knows of a stretch unheard between the first and the last that was heard of a cycle."""
        published, away = self.days.published, self.days.faults.away
        steps = [s for s in cycle.steps if s.number in self.heard and s.name not in ANNOUNCEMENTS]
        if not steps:
            return False
        first, last = ((published[step.number].at - published[0].at) / 1e6 for step in (steps[0], steps[-1]))
        return any(one.cause != "silent" and first < one.at + one.lasts and one.at < last for one in away)

    def names(self, cycle: TrueCycle) -> set[str]:
        """Return the names of a cycle's messages that were heard."""
        return {step.name for step in cycle.steps if step.number in self.heard}


def matched(days: Days, frame: pd.DataFrame) -> Match:
    """Find the cycle of each row: by the time of its first message, which is that message's own to the microsecond."""
    match = Match(days, frame, heard={message.number for message in days.heard if message.number >= 0})
    by_stamp: defaultdict[int, list[TrueCycle]] = defaultdict(list)
    for cycle in days.truth.cycles:
        for step in cycle.steps:
            if step.name in TELLING and step.number in match.heard:
                by_stamp[step.stamp].append(cycle)
    found: dict[int, int] = {}
    for row in frame.itertuples():
        candidates = by_stamp.get(micros(row.started_at) or 0, [])
        if not candidates:
            match.faults.append(f"row {row.Index} was invented: {brief(row)}")
            continue
        cycle = next((one for one in candidates if fits(row, one)), candidates[0])
        if id(cycle) in found:
            match.faults.append(f"rows {found[id(cycle)]} and {row.Index} are one cycle: {brief(row)} of {told(cycle)}")
            continue
        found[id(cycle)] = row.Index
        match.pairs.append((row, cycle))
    before: dict[int | None, TrueCycle] = {}
    for cycle in days.truth.cycles:
        names, earlier = match.names(cycle), before.get(cycle.run)
        if names & TELLING and id(cycle) not in found:
            if earlier is not None and id(earlier) in found and _may_be_one(match, earlier, cycle):
                match.pairs = [pair for pair in match.pairs if pair[1] is not earlier]
            else:
                match.faults.append(f"no row for {told(cycle)}")
        if names & TELLING:
            before[cycle.run] = cycle
    return match


def _may_be_one(match: Match, earlier: TrueCycle, later: TrueCycle) -> bool:
    """Tell whether what was heard of two cycles looks like one: the start of the first, the rest of the other."""
    first, second = match.names(earlier), match.names(later)
    is_headless = not second & STARTS and earlier.run is not None
    is_beheaded = not first & (ENDS | PROOFS | PUSHES)
    return is_headless and is_beheaded and (not first & NAMING or earlier.target == later.target)


def fits(row: Any, cycle: TrueCycle) -> bool:
    return unknown(row.target) in (None, cycle.target) and unknown(row.cycle_num) in (None, cycle.cycle_num)


def brief(row: Any) -> str:
    return (
        f"{row.started_at:%m-%d %H:%M:%S.%f} run={row.run} num={row.cycle_num} {row.target} {row.outcome} {row.commit}"
    )


def told(cycle: TrueCycle) -> str:
    started = pd.Timestamp(cycle.started_at, unit="us")
    steps = ",".join(step.name.replace("/", ".") for step in cycle.steps)
    who = f"run={cycle.run} num={cycle.cycle_num} {cycle.target} {cycle.outcome} {cycle.commit}"
    return (
        f"{started:%m-%d %H:%M:%S.%f} {who}{' overlapped' * cycle.is_overlapped}{' beside' * cycle.is_beside} [{steps}]"
    )


def outcomes(match: Match, cycle: TrueCycle) -> set[str | None]:
    """Return what may be said of a cycle's end, given what was heard of it."""
    names = match.names(cycle)
    true = cycle.outcome
    if names & ENDS:
        return {true}
    if "logs/scheduled_task_error" in names and not any(step.name in ENDS for step in cycle.steps):
        return {true, "failed"}
    allowed: set[str | None] = {true, None}
    if true in {"running", "interrupted"}:
        return {"running", "interrupted"} if len(match.heard) == len(match.days.published) else {*allowed, "running"}
    if not has_gone_on(match, cycle):
        allowed |= {"running", "interrupted"}
    return allowed


def has_gone_on(match: Match, cycle: TrueCycle) -> bool:
    """Tell whether something heard proves that a cycle came to its end before the daemon did."""
    if match.names(cycle) & (PROOFS | PUSHES):
        return True
    return any(
        other.run == cycle.run and other.started_at > cycle.started_at and match.names(other) & TELLING
        for other in match.days.truth.cycles
    )


def check(match: Match, *, is_whole: bool = False) -> list[str]:
    """Return all that is wrong; nothing a row says may contradict the truth.

    Args:
        match: Rows beside the truth.
        is_whole: Whether all messages were heard: then nothing may be missing either.
    """
    faults = list(match.faults)
    faults += _wrong_overlaps(match)
    for row, cycle in match.pairs:
        wrong = [] if cycle.is_overlapped else list(_wrong(match, row, cycle, is_whole=is_whole))
        if wrong:
            faults.append(f"row {row.Index} ({brief(row)}): {'; '.join(wrong)} -- truth {told(cycle)}")
    commits = [row.commit for row, _ in match.pairs if unknown(row.commit) is not None]
    if len(commits) != len(set(commits)):
        faults.append("a commit stands in two rows")
    return faults + _mixed_runs(match)


def _mixed_runs(match: Match) -> list[str]:
    """Runs that share a number, though something heard tells them apart."""
    starts = [one.number for one in match.days.published if one.name == "logs/daemon_starting"]
    by_run: dict[int, list[TrueCycle]] = defaultdict(list)
    for row, cycle in match.pairs:
        if cycle.run is not None:
            by_run[row.run].append(cycle)
    faults = []
    for number, some in by_run.items():
        for before, after in pairwise(sorted(some, key=lambda cycle: (cycle.run or 0, cycle.started_at))):
            if before.run == after.run:
                continue
            was_heard = starts[(after.run or 0) - 1] in match.heard
            counts_anew = all(match.names(one) & STARTS for one in (before, after)) and (
                (after.cycle_num or 0) <= (before.cycle_num or 0)
            )
            if was_heard or counts_anew:
                faults.append(f"run {number} is of the runs {before.run} and {after.run}")
    return faults


def _wrong_overlaps(match: Match) -> list[str]:
    """Cycles that overlap tell not which of them found which target: their results are compared as a whole."""
    said, true = Counter(), Counter()
    for row, cycle in match.pairs:
        if cycle.is_overlapped:
            if unknown(row.outcome) in {"committed", "llm_error", "dry_run", "skipped"}:
                said[unknown(row.target), unknown(row.outcome), unknown(row.commit)] += 1
            if match.names(cycle) & ENDS and cycle.outcome != "failed":
                true[cycle.target, cycle.outcome, cycle.commit] += 1
    return (
        []
        if said == true
        else [f"of cycles that overlap, {dict(said - true)} were invented, {dict(true - said)} missed"]
    )


def _wrong(match: Match, row: Any, cycle: TrueCycle, *, is_whole: bool) -> Any:
    names, days_model = match.names(cycle), match.days.plan.model
    is_doubtful = _may_have_anothers_push(match, cycle)
    steps = {step.name: step.stamp for step in reversed(cycle.steps) if step.number in match.heard}
    if (outcome := unknown(row.outcome)) not in outcomes(match, cycle):
        yield f"outcome {outcome}, not {cycle.outcome}"
    for name in ("cycle_num", "target", "repo", "language", "doc_type", "commit", "commit_message", "tokens", "pushed"):
        said, true = unknown(getattr(row, name)), getattr(cycle, name)
        if said != true and (said is not None or is_whole) and not (name == "pushed" and is_doubtful):
            yield f"{name} {said!r}, not {true!r}"
    if unknown(row.commit) is None and names & {"logs/documentation_committed", "events/documentation_committed"}:
        yield "commit missing though it was heard"
    models = {None, days_model} if cycle.run is None else {cycle.model} if is_whole else {None, cycle.model}
    if unknown(row.model) not in models:
        yield f"model {row.model!r}, not {cycle.model!r}"
    # A clock set back while the daemon backs off makes it start before its time.
    is_known = cycle.run is None or (cycle.scheduled_at or cycle.started_at + 1) <= cycle.started_at
    if is_whole and is_known and micros(row.scheduled_at) != cycle.scheduled_at:
        yield f"scheduled_at {row.scheduled_at}, not {pd.Timestamp(cycle.scheduled_at, unit='us')}"
    if names & STARTS and abs(micros(row.started_at) - cycle.started_at) > 5 * MILLISECOND:  # type: ignore[operator]
        yield "started_at is not that of its start"
    ended = micros(row.ended_at)
    if ended is not None and ended < micros(row.started_at) and not cycle.has_step:  # type: ignore[operator]
        yield "it ended before it started"
    error = unknown(row.error)
    if (
        cycle.outcome in {"failed", "llm_error"}
        and is_whole
        and (error or "") != cycle.error
        and not (cycle.error == "" and error)
    ):
        yield f"error {error!r}, not {cycle.error!r}"
    for name in ("find_s", "generate_s", "commit_s", "push_s", "wait_s", "tokens_per_s"):
        value = unknown(getattr(row, name))
        if value is not None and value < 0:
            yield f"{name} {value}"
    if row.is_complete and match.is_gap_within(cycle):
        yield "it passes for complete, with a gap in it"
    if row.is_complete and not (
        names & (ENDS | {"logs/scheduled_task_error"}) or outcome in {"interrupted", "running"}
    ):
        yield "it passes for complete, its end unheard"
    if row.is_complete and outcome == "running":
        yield "it passes for complete, and runs"
    if is_whole and not row.is_complete and names & ENDS and cycle.run is not None:
        yield "it does not pass for complete"
    yield from _wrong_spans(match, row, cycle, is_whole=is_whole)
    ended = micros(row.ended_at)
    last = [s for n, s in steps.items() if n in ENDS | PUSHES | {"stats/stats", "logs/scheduled_task_error"}]
    is_told = outcome == cycle.outcome and outcome not in {"interrupted", "running"} and not is_doubtful
    is_near = not last or ended is None or min(last) - 5 * MILLISECOND <= ended <= max(last) + 5 * MILLISECOND
    if is_told and not is_near:
        yield f"ended_at {row.ended_at}, not {pd.Timestamp(max(last), unit='us')}"


def _may_have_anothers_push(match: Match, cycle: TrueCycle) -> bool:
    """Tell whether a commit is followed by a push of another cycle, of which nothing else was heard."""
    if cycle.outcome != "committed" or match.names(cycle) & PUSHES:
        return False
    own = [step.number for step in cycle.steps if step.name in ENDS and step.number in match.heard]
    following = next((number for number in sorted(match.heard) if own and number > max(own)), None)
    return following is not None and match.days.published[following].name in PUSHES


def _wrong_spans(match: Match, row: Any, cycle: TrueCycle, *, is_whole: bool) -> Any:
    """Durations are true ones, whatever the clocks did; where one was set meanwhile they may be missing."""
    times = {step.name: match.days.published[step.number].at for step in reversed(cycle.steps)}
    said_of = {step.name for step in cycle.steps if step.number in match.heard}
    first, last = min(times.values()), max(times.values())
    was_set = cycle.has_step or any(first <= at <= last + 1_000_000 for at in match.relay_steps)
    committed = times.get("logs/documentation_committed")
    pushed = times.get("logs/push_successful", times.get("logs/push_failed"))
    target = min((times[name] for name in NAMING & times.keys()), default=None)
    true: dict[str, float | None] = {"wait_s": cycle.wait_us / 1e6}
    if target is not None and cycle.run is not None:
        true["find_s"] = (target - times["logs/cycle_starting"] - cycle.wait_us) / 1e6
    if cycle.time_ms is not None:
        true["generate_s"] = cycle.time_ms / 1e3
        if cycle.tokens:
            true["tokens_per_s"] = cycle.tokens / (cycle.time_ms / 1e3)
        if committed is not None:
            generating = times.get("events/generating", times.get("logs/documenting"))
            true["commit_s"] = max(0.0, (committed - generating) / 1e6 - cycle.time_ms / 1e3)  # type: ignore[operator]
    if committed is not None and pushed is not None:
        true["push_s"] = (pushed - committed) / 1e6
    if _may_have_anothers_push(match, cycle):
        true.pop("push_s", None)
    for name, value in true.items():
        said = unknown(getattr(row, name))
        if said is None:
            if is_whole and not was_set:
                yield f"{name} is missing, not {value}"
        elif name == "wait_s" and not said_of >= {"logs/ollama_recovered", "logs/ollama_unavailable_waiting"}:
            if said > value + 0.1:  # type: ignore[operator]
                yield f"wait_s {said}, not {value}"
        elif abs(said - value) > (0.1 if name in {"wait_s", "find_s"} else 0.02):  # type: ignore[operator]
            yield f"{name} {said}, not {value}"


def outage_faults(days: Days, frame: pd.DataFrame) -> list[str]:
    """Return what is wrong with the outages that were found: missed signs, and outages of which nothing tells."""
    heard = {message.number for message in days.heard}
    rows = [(row.kind, micros(row.started_at), micros(row.ended_at), row) for row in frame.itertuples()]
    signs = [sign for sign in days.truth.signs if sign.number in heard]

    def holds(row: Any, kind: str, stamp: int) -> bool:
        return row[0] == kind and row[1] - 5_000 <= stamp and (row[2] is None or stamp <= row[2] + 5_000)

    faults = [
        f"no {sign.kind} outage at {pd.Timestamp(sign.stamp, unit='us')}"
        for sign in signs
        if not any(holds(row, sign.kind, sign.stamp) for row in rows)
    ]
    alarms = [one.stamp for one in days.published if one.name == "logs/dead_mans_switch_triggered"]
    downs = [outage for outage in days.truth.outages if outage.kind == "daemon"]
    hangs = [(days.plan.starts_at.timestamp() + one.at) * 1e6 for one in days.plan.episodes]
    for row in rows:
        kind, began, ended, _ = row
        if row[3].cause == "messages lost":
            unheard = (one.stamp for one in days.published if one.number not in heard)
            if not any(began - 1e6 <= stamp <= ended + 1e6 for stamp in unheard):
                faults.append(f"nothing was lost in {_shown(row)}")
            continue
        if kind in {"redis", "relay"}:
            continue
        if ended is not None and ended < began:
            faults.append(f"it ended before it began: {_shown(row)}")
        if kind == "daemon":
            is_true = (
                any(down.started_at <= (ended or 2**62) and began <= (down.ended_at or 2**62) for down in downs)
                or any(holds(row, kind, sign.stamp) for sign in signs)
                or any(began - 1e9 <= moment <= (ended or 2**62) for moment in [*hangs, *alarms])
            )
        else:
            is_true = any(holds(row, kind, sign.stamp) for sign in signs)
        if not is_true:
            faults.append(f"nothing tells of {_shown(row)}")
    starts = {one.stamp: one.number for one in days.published if one.name == "logs/daemon_starting"}
    first = min((one.stamp for one in days.published if one.number in heard), default=0)
    for down in downs:
        was_told = down.ended_at is not None and starts[down.ended_at] in heard and down.started_at > first
        if was_told and not any(row[0] == "daemon" and row[1] <= down.ended_at <= (row[2] or 2**62) for row in rows):
            faults.append(f"the daemon's start at {pd.Timestamp(down.ended_at, unit='us')} was missed")
    counts = Counter(str(gap.cause) for _, gap in days.gaps)
    for kind, cause in (("redis", "source_outage"), ("relay", "relay_restart")):
        if (found := sum(row[0] == kind and row[3].cause != "messages lost" for row in rows)) != counts[cause]:
            faults.append(f"{found} outages of kind {kind}, not {counts[cause]}")
    return faults


def _shown(row: Any) -> str:
    return " ".join(
        f"{name}={getattr(row[3], name)}" for name in ("kind", "started_at", "ended_at", "cause", "evidence")
    )
