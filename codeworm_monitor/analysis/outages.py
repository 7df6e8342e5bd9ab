"""Outages: stretches in which something that the documents depend on was down, or failing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer, own
from codeworm_monitor.analysis.blame import blame, push_cause
from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.cycles import GIVEN_UP_AFTER, cycles, losses_of, run_begins, steps_of, tracked
from codeworm_monitor.analysis.downtime import Outage, united, unreached
from codeworm_monitor.analysis.steps import Places, Step, Steps
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.dtypes import TEXT_DTYPE
from codeworm_monitor.envelope import GapCause

__all__ = ["KINDS", "outages"]

KINDS = ("ollama", "commit", "push", "database", "redis", "relay", "daemon")
"""What may fail, in the order of the categories."""

_MOST_CAUSES = 5
"""That are named of one outage."""
_LASTS = np.iinfo(np.int64).max
_SILENCE = int(GIVEN_UP_AFTER.total_seconds() * 1e6)
_FAILED = (Step.FAILED, Step.LLM_ERROR, Step.TASK_ERROR)
_MENDED = {
    "ollama": (Step.COMMITTED, Step.DRY_RUN),
    "commit": (Step.COMMITTED,),
    "database": (Step.COMMITTED, Step.DRY_RUN),
    "daemon": (Step.COMMITTED, Step.DRY_RUN, Step.SKIPPED),
    "push": (Step.PUSHED,),
}
_NAMES = {
    Step.FAILED: "documentation_failed",
    Step.LLM_ERROR: "llm_error",
    Step.TASK_ERROR: "scheduled_task_error",
}
_BEGUN = {int(Step.DAEMON_STARTING): "daemon_starting", int(Step.LLM_READY): "llm_initialized"}
_UPSTREAM = {str(GapCause.SOURCE_OUTAGE): "redis", str(GapCause.RELAY_RESTART): "relay"}


def outages(traffic: Traffic) -> Answer:
    """Return the stretches in which something was down or failing, in the order of their beginnings.

    A stretch begins with the first sign of failure (of a generation or a push: when it was begun) and ends with the first
    sign that it works again; a single failure is a stretch as well. What nobody tells is not guessed: a process that ended
    without a word is told by its successor's start, a silent one after 45 minutes (the daemon's own dead man's switch) beyond
    the time that it had announced. If the relay looks at Ollama (`--ollama`), what it saw is part of the answer: a time
    in which Ollama could not be reached is exact to the looks, and one outage with what the daemon says of it.

    Args:
        traffic: Messages and gaps of a stretch of time.

    Returns:
        Columns: kind (category of ollama, commit, push, database, redis, relay, daemon; commit: git, in the repository
        of documents; redis: the relay heard nothing of it; daemon: it was not running, silent, or failed by itself) ·
        started_at, ended_at (datetime64[us, UTC]; ended_at is missing while it lasts, or where its end is not in the
        stretch) · cause (str, in few words; several joined by "; ") · evidence (str; what was seen) · cycles_lost (int64;
        cycles that failed or were broken off, and, of redis and relay, whose numbers are missing; never an estimate).
    """
    found = traffic.found.get("outages")
    if not isinstance(found, Answer):
        found = traffic.found["outages"] = answer(_frame(_all(traffic)), traffic.coverage, "outages")
    return own(found)


def _all(traffic: Traffic) -> list[Outage]:
    steps = steps_of(traffic)
    lost = {cycle.result for cycle in tracked(traffic) if cycle.outcome in ("failed", "llm_error")}
    found = [
        *_failures(steps, lost),
        *_pushes(steps),
        *_restarts(traffic, steps),
        *_upstream(traffic),
        *_losses(traffic),
    ]
    found += _silences(traffic, steps, found)
    found += _dead_mans(steps, found)
    if len(traffic.journal):  # last: that the relay could not reach Ollama explains no silence of the daemon
        found = _with_looks(traffic, steps, found)
    _tell_unheard(traffic, found)
    return sorted(found, key=lambda one: (one.started_at, KINDS.index(one.kind)))


def _with_looks(traffic: Traffic, steps: Steps, found: Sequence[Outage]) -> list[Outage]:
    """Return outages, with those of Ollama united with what the relay saw of it."""
    since = MISSING if traffic.since is None else int(micros(pd.DatetimeIndex([traffic.since]))[0])
    works = [*_MENDED["ollama"], Step.RECOVERED, Step.LLM_READY]
    told = [one for one in found if one.kind == "ollama"]
    proofs = np.sort(steps.received[np.isin(steps.step, works)])
    return [
        *(one for one in found if one.kind != "ollama"),
        *united(told, unreached(traffic.journal, since), proofs),
    ]


def _tell_unheard(traffic: Traffic, found: Sequence[Outage]) -> None:
    """Say of outages how long of them nobody listened: they may have been over, and begun again."""
    ended = [one for one in found if one.ended_at != MISSING and one.kind not in _UPSTREAM.values()]
    starts, ends = (np.array([getattr(one, name) for one in ended], np.int64) for name in ("started_at", "ended_at"))
    for one, share in zip(ended, traffic.coverage.shares(starts, ends).tolist(), strict=True):
        minutes = (1 - share) * (one.ended_at - one.started_at) / 60e6
        if minutes >= 1:
            one.evidence += f"; for {minutes:,.0f} minutes of it nobody listened"


def _frame(found: Sequence[Outage]) -> pd.DataFrame:
    times = {
        name: pd.DatetimeIndex(
            np.array([getattr(one, name) for one in found], np.int64).view("datetime64[us]"), tz="UTC"
        )
        for name in ("started_at", "ended_at")
    }
    return pd.DataFrame(
        {
            "kind": pd.Categorical([one.kind for one in found], categories=list(KINDS)),
            **times,
            "cause": pd.Series([_joined(one.causes) for one in found], dtype=TEXT_DTYPE),
            "evidence": pd.Series([one.evidence for one in found], dtype=TEXT_DTYPE),
            "cycles_lost": np.array([one.cycles_lost for one in found], np.int64),
        }
    )


def _joined(causes: Sequence[str]) -> str:
    different = list(dict.fromkeys(causes))
    more = len(different) - _MOST_CAUSES
    return "; ".join(different[:_MOST_CAUSES]) + (f"; and {more} more" if more > 0 else "")


def _failures(steps: Steps, lost: set[int]) -> Iterator[Outage]:
    """Yield stretches of failing cycles, and of waiting for Ollama, by who failed."""
    places = np.flatnonzero(np.isin(steps.step, [*_FAILED, Step.WAITING]))
    errors, traces = steps.texts("error", places), steps.texts("exception", places)
    by_kind: dict[str, list[tuple[int, str, str]]] = {}
    for place, error, trace in zip(places.tolist(), errors, traces, strict=True):
        step = Step(steps.step[place])
        if step is Step.WAITING:
            kind, cause, said = "ollama", "not reachable", "ollama_unavailable_waiting"
        else:
            kind, cause = blame(_NAMES[step], error, trace)
            said = f"{_NAMES[step]}: {_first_line(error)}" if error else _NAMES[step]
        by_kind.setdefault(kind, []).append((place, cause, said))
    for kind, bad in by_kind.items():
        mended = np.flatnonzero(np.isin(steps.step, _MENDED[kind]))
        answered = np.flatnonzero(np.isin(steps.step, [Step.RECOVERED, Step.LLM_READY]))
        yield from _stretches(steps, kind, bad, mended, lost, answered)


def _stretches(
    steps: Steps,
    kind: str,
    bad: list[tuple[int, str, str]],
    mended: Places,
    lost: set[int],
    answered: Places | None = None,
) -> Iterator[Outage]:
    """Fold signs of failure, in order, and the places of signs that it works, into stretches.

    `lost`: where cycles ended that failed.
    """
    current: Outage | None = None
    signs, last, end = 0, "", -1
    step, waiting = steps.step, int(Step.WAITING)
    for place, cause, said in [*bad, (len(steps), "", "")]:
        if current is not None and (place > end >= 0 or place == len(steps)):
            current.ended_at = MISSING if end < 0 else int(steps.time[end])
            if end >= 0:
                current.ended_at = max(current.ended_at, current.started_at)
            current.evidence = f"{last}" if signs == 1 else f"{signs} times, last: {last}"
            yield current
            current, signs = None, 0
        if place == len(steps):
            return
        if current is None:
            current = Outage(kind, _begun(steps, place), MISSING, first_sign=int(steps.time[place]))
        current.last_sign = int(steps.time[place])
        current.causes.append(cause)
        current.cycles_lost += place in lost
        signs, last = signs + 1, said
        end = _next(mended, place)
        if answered is not None and step[place] == waiting:  # else an answer does not prove that it can generate
            sooner = _next(answered, place)
            end = sooner if end < 0 or 0 <= sooner < end else end


def _next(places: Places, place: int) -> int:
    """Return the first of ascending places after another; -1 if there is none."""
    index = int(np.searchsorted(places, place, "right"))
    return int(places[index]) if index < len(places) else -1


def _begun(steps: Steps, place: int) -> int:
    """Return when that was begun which failed at a place: the generation, or the push."""
    step = steps.step[place]
    wanted = {Step.FAILED: Step.GENERATING, Step.LLM_ERROR: Step.GENERATING, Step.PUSH_FAILED: Step.COMMITTED}.get(step)
    if wanted is not None:
        for before in range(place - 1, max(-1, place - 12), -1):
            is_same = steps.targets[place] in (-1, steps.targets[before])
            if steps.step[before] == wanted and is_same and steps.time[before] <= steps.time[place]:
                return int(steps.time[before])
            if steps.step[before] in (Step.STARTING, Step.COMMITTED):
                break
    return int(steps.time[place])


def _pushes(steps: Steps) -> Iterator[Outage]:
    places = np.flatnonzero(steps.step == Step.PUSH_FAILED)
    bad = [
        (place, push_cause(error), f"push_failed: {_first_line(error)}")
        for place, error in zip(places.tolist(), steps.texts("error", places), strict=True)
    ]
    yield from _stretches(steps, "push", bad, np.flatnonzero(steps.step == Step.PUSHED), set())


def _restarts(traffic: Traffic, steps: Steps) -> Iterator[Outage]:
    """Yield stretches in which the daemon did not run: from its stop, or last word, to its next start."""
    heard = np.sort(_received(traffic))
    interrupted = (cycle for cycle in tracked(traffic) if cycle.outcome == "interrupted" and not cycle.is_one_shot)
    broken_off = np.array([cycle.first for cycle in interrupted], np.int64)
    stops = np.flatnonzero(steps.step == Step.DAEMON_STOPPED)
    done = -1
    for place in [*run_begins(traffic), len(steps)]:
        stop = _first(stops, done, place)
        lost = int(np.searchsorted(broken_off, place) - np.searchsorted(broken_off, done))
        if place == len(steps):
            if stop >= 0:
                yield _restart(steps, stop, -1, "", heard, lost)
        elif place:
            yield _restart(
                steps, stop, place, _BEGUN.get(int(steps.step[place]), "cycle numbers begin again"), heard, lost
            )
        done = place


def _first(places: Places, after: int, before: int) -> int:
    """Return the first of ascending places between two others; -1 if there is none."""
    index = int(np.searchsorted(places, after, "right"))
    return int(places[index]) if index < len(places) and places[index] < before else -1


def _restart(steps: Steps, stop: int, start: int, how: str, heard: Micros, lost: int) -> Outage:
    if stop >= 0:
        signal = ""
        for before in range(stop - 1, max(-1, stop - 40), -1):
            if steps.step[before] == Step.SIGNALLED:
                signal = steps.extra(before, "signal") or ""
                break
            if steps.step[before] in (Step.DAEMON_STARTING, Step.DAEMON_STOPPED):
                break
        cause = f"stopped ({signal})" if isinstance(signal, str) and signal.isalnum() else "stopped"
        begin, evidence = int(steps.time[stop]), "daemon_stopped"
    else:
        index = int(np.searchsorted(heard, steps.received[start], "left")) - 1
        last = int(heard[index]) if index >= 0 else int(steps.received[start])
        begin, cause = min(last, int(steps.time[start])), "ended without a word (killed or crashed)"
        evidence = "no daemon_stopped"
    end = MISSING if start < 0 else max(begin, int(steps.time[start]))
    evidence += f", then {how}" if start >= 0 else ", and nothing since"
    return Outage("daemon", begin, end, [cause], evidence, lost)


def _upstream(traffic: Traffic) -> Iterator[Outage]:
    """Yield what the relay itself told: that it could not hear Redis, or was not running."""
    gaps = traffic.gaps[traffic.gaps["cause"].astype(object).isin(list(_UPSTREAM))]
    if gaps.empty:
        return
    rows = cycles(traffic)
    places = micros(rows["started_at"])
    numbers, runs = rows["cycle_num"].to_numpy(np.float64), rows["run"].to_numpy(np.int64)
    for gap, start, end in zip(
        gaps.itertuples(index=False),
        micros(gaps["started_at"]).tolist(),
        micros(gaps["ended_at"]).tolist(),
        strict=True,
    ):
        after = int(np.searchsorted(places, end, "left"))
        before = int(np.searchsorted(places, start, "right")) - 1
        lost = 0
        if 0 <= before < after < len(rows) and runs[before] == runs[after]:
            seen = after - before - 1
            missing = numbers[after] - numbers[before] - 1 - seen
            lost = int(missing) if missing > 0 else 0
        detail = gap.detail if isinstance(gap.detail, str) else ""
        yield Outage(_UPSTREAM[str(gap.cause)], start, end, [str(gap.cause).replace("_", " ")], detail, lost)


def _losses(traffic: Traffic) -> Iterator[Outage]:
    """Yield stretches in which the publisher was not heard and nobody noticed."""
    for loss in losses_of(traffic):
        missing = loss.last - loss.first + 1
        which = f"cycle {loss.first} was" if missing == 1 else f"cycles {loss.first} to {loss.last} were"
        yield Outage("redis", loss.started_at, loss.ended_at, ["messages lost"], f"{which} never heard", missing)


def _silences(traffic: Traffic, steps: Steps, known: Sequence[Outage]) -> Iterator[Outage]:
    """Yield silences of a daemon that had announced to be at work earlier."""
    heard = np.sort(_received(traffic))
    if not len(heard):
        return
    until = heard[-1] if traffic.until is None else int(micros(pd.DatetimeIndex([traffic.until]))[0])
    ends = np.append(heard[1:], until)
    places = np.flatnonzero(ends - heard > _SILENCE)
    begins, ends = heard[places], ends[places]
    told = np.flatnonzero(steps.next_at != MISSING)
    newest = np.searchsorted(steps.received[told], begins, "right") - 1
    due = np.where(newest >= 0, steps.next_at[told[newest]], begins) if len(told) else begins
    begins_due = np.maximum(begins, np.minimum(due, ends))
    # What the relay did not hear, and what is known already, is no silence of the daemon's.
    heard_for = (ends - begins_due) * traffic.coverage.shares(begins_due, ends)
    is_silence = (heard_for > _SILENCE) & ~_meet(known, begins, ends)
    for place, begin, end in zip(places[is_silence], begins[is_silence], ends[is_silence], strict=True):
        lasts = place == len(heard) - 1
        evidence = f"nothing was heard for {(end - begin) / 60e6:,.0f} minutes"
        yield Outage("daemon", int(begin), MISSING if lasts else int(end), ["silent though a cycle was due"], evidence)


def _meet(known: Sequence[Outage], begins: Micros, ends: Micros) -> npt.NDArray[np.bool_]:
    """Tell which of these spans have time in common with an outage."""
    by_start = sorted(known, key=lambda one: one.started_at)
    starts = np.array([one.started_at for one in by_start], np.int64)
    latest = np.array([_LASTS if one.ended_at == MISSING else one.ended_at for one in by_start], np.int64)
    latest = np.append(MISSING, np.maximum.accumulate(latest))  # the end of all that began before each of them
    found: npt.NDArray[np.bool_] = latest[np.searchsorted(starts, ends, "left")] > begins
    return found


def _dead_mans(steps: Steps, known: Sequence[Outage]) -> Iterator[Outage]:
    """Yield what the daemon itself complained of and nothing else explains: no commit for long, though cycles ran."""
    committed = np.flatnonzero(steps.step == Step.COMMITTED)
    done = -1
    for place in np.flatnonzero(steps.step == Step.DEAD_MANS_SWITCH).tolist():
        if place <= done:
            continue
        before = int(np.searchsorted(committed, place, "left")) - 1
        first = int(committed[before]) if before >= 0 else 0
        after = _next(committed, place)
        done = after if after >= 0 else len(steps)
        begin, end = int(steps.time[first]), MISSING if after < 0 else int(steps.time[after])
        between = steps.step[first + 1 : done]
        is_explained = any(
            one.started_at <= steps.time[place] and (one.ended_at == MISSING or one.ended_at > begin) for one in known
        )
        if not is_explained and not (between == Step.SKIPPED).any():
            told = steps.extra(place, "minutes_since_last_commit")
            minutes = f" for {told:g} minutes" if isinstance(told, (int, float)) else ""
            yield Outage("daemon", begin, end, [f"no commit{minutes}"], "dead_mans_switch_triggered")


def _received(traffic: Traffic) -> Micros:
    times = [micros(frame["received_at"]) for frame in (traffic.logs, traffic.events, traffic.stats)]
    every = np.concatenate(times)
    known: Micros = every[every != MISSING]
    return known


def _first_line(text: object) -> str:
    line = next((line.strip() for line in str(text or "").splitlines() if line.strip()), "")
    return line if len(line) <= 200 else f"{line[:199]}…"
