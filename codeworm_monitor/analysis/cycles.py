"""Cycles: one row per documentation cycle, pieced together from events and logs."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from datetime import timedelta
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer, own
from codeworm_monitor.analysis.blame import last_line
from codeworm_monitor.analysis.coverage import MISSING, micros
from codeworm_monitor.analysis.losses import Loss, is_after_loss, proven_losses
from codeworm_monitor.analysis.steps import Step, Steps, extra_value
from codeworm_monitor.analysis.tracker import NOWHERE, Cycle, Tracker, told_counters
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.dtypes import text_column
from codeworm_monitor.garbage import collection_paused

__all__ = ["GIVEN_UP_AFTER", "OUTCOMES", "cycles", "losses_of", "run_begins", "steps_of", "tracked"]

OUTCOMES = ("committed", "failed", "llm_error", "skipped", "dry_run", "interrupted", "running")
"""How a cycle may end, in the order of its categories."""
GIVEN_UP_AFTER = timedelta(minutes=45)
"""Silence after which what is open no longer counts as running: the daemon's own dead man's switch."""

_PUNCTUAL = 2_000_000
"""Microseconds by which a cycle may start before its time."""
_TRUSTED = 5.0
"""Seconds by which the clocks of publisher and relay may disagree over a span; beyond, one was set meanwhile."""
_LONGEST_COMMIT = 600.0
"""Seconds from the end of a generation to its commit that are believed where the clocks disagree."""
_COUNTED = {"committed": 0, "dry_run": 0, "failed": 1, "llm_error": 1, "skipped": 2}
_OF_COUNTER = ("committed", None, "skipped")

Places = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


def cycles(traffic: Traffic) -> Answer:
    """Return one row per documentation cycle, in the order in which they began.

    The publisher's messages carry no identity: what belongs together is told by order, target and commit; numbers begin
    again with each run of the daemon. What was lost is missing, and is never guessed; only what later messages prove (a
    push, the daemon's own counters) is taken as said; of a failure they do not tell which, so that it stays missing.
    Messages that came twice count once.

    Args:
        traffic: Messages and gaps of a stretch of time.

    Returns:
        Columns: cycle_num (float64; number since the daemon's start) · scheduled_at (when the daemon had announced it
        for), started_at, ended_at (datetime64[us, UTC], by the publisher's clock; ended_at is missing while it runs and
        where its end was lost; of an interrupted one it is when the daemon stopped, or was last heard) · target (str) · repo,
        language, doc_type (category) · find_s (from the start to the target, less wait_s), generate_s (the LLM, as the
        daemon told it), commit_s (from the target to the commit, less generate_s and waits), push_s (from the commit to
        the result of the push; float64, seconds) · tokens, tokens_per_s (float64; tokens generated, by generate_s) ·
        commit, commit_message (str) · pushed (boolean; whether its own push succeeded: a later one takes the commit
        along) · outcome (category of committed, failed, llm_error, skipped, dry_run, interrupted, running; missing where
        its end was lost) · error (str; what failed, also what failed after the commit) · wait_s (float64, seconds it
        waited for Ollama; missing where that began or ended unheard, or only events tell of the cycle) · model (category; the LLM) · run (int64; the daemon's run, from 1 in the stretch) ·
        is_complete (bool; seen from its start to its end, with no gap in between) · epoch (str), first_offset,
        last_offset (int64; where its messages are in the relay's log, -1 without offsets).

        A duration that neither clock can tell, as one was set back meanwhile, is missing.
    """
    found = traffic.found.get("cycles")
    if not isinstance(found, Answer):
        with collection_paused():
            frame = _pieced(traffic).frame()
        found = traffic.found["cycles"] = answer(frame, traffic.coverage, "cycles")
    return own(found)


def _pieced(traffic: Traffic) -> _Pieced:
    found = traffic.found.get("pieced")
    if not isinstance(found, _Pieced):
        with collection_paused():
            found = traffic.found["pieced"] = _Pieced(traffic)
    return found


def tracked(traffic: Traffic) -> list[Cycle]:
    """Return the cycles of `cycles`, row by row, as places in the steps."""
    return _pieced(traffic).cycles


def losses_of(traffic: Traffic) -> list[Loss]:
    """Return the stretches that the numbers of the cycles prove to be lost, and that no gap tells of."""
    return _pieced(traffic).losses


def run_begins(traffic: Traffic) -> list[int]:
    """Return where in the steps a run of the daemon began."""
    return _pieced(traffic).begins


def steps_of(traffic: Traffic) -> Steps:
    """Return the steps of a stretch, made once."""
    found = traffic.found.get("steps")
    if not isinstance(found, Steps):
        found = traffic.found["steps"] = Steps(traffic)
    return found


class _Pieced:
    """The cycles of a stretch, on their way to a frame."""

    def __init__(self, traffic: Traffic) -> None:
        self.steps = steps_of(traffic)
        self.traffic = traffic
        self._places: dict[str, Places] = {}
        tracker = Tracker(self.steps)
        self.cycles = tracker.track()
        self.begins = tracker.begins
        self._close(tracker)
        _count_up(self.cycles, tracker)
        _conclude(self.cycles, tracker, self.steps)
        _tell_dry_runs(self.cycles, tracker, self.steps)
        self.losses = proven_losses(self.cycles, self.steps, traffic.told_coverage)

    def _close(self, tracker: Tracker) -> None:
        """Call what is open at the end running, or interrupted if nothing was heard for too long."""
        if not len(self.steps):
            return
        until = self.traffic.until
        heard = max(
            (
                int(micros(frame["received_at"]).max())
                for frame in (self.traffic.logs, self.traffic.events)
                if len(frame)
            ),
            default=int(self.steps.received[-1]),
        )
        end = heard if until is None else int(micros(pd.DatetimeIndex([until]))[0])
        is_silent = end - heard > GIVEN_UP_AFTER / timedelta(microseconds=1)
        for cycle in list(tracker.unfinished):
            cycle.outcome = "interrupted" if is_silent else "running"
            cycle.stop = len(self.steps) - 1 if is_silent else NOWHERE

    def places(self, *names: str) -> Places:
        """Return where each cycle's step of one of these names is: of the first that was seen."""
        found = np.full(len(self.cycles), NOWHERE, np.int64)
        for name in names:
            if name not in self._places:
                read = attrgetter(name)
                self._places[name] = np.fromiter(map(read, self.cycles), np.int64, len(self.cycles))
            found = np.where(found == NOWHERE, self._places[name], found)
        return found

    def text(self, column: str, *names: str) -> npt.NDArray[np.object_]:
        """Return what the first of these steps that says something says."""
        found = np.full(len(self.cycles), None, object)
        for name in names:
            places = self.places(name)
            is_wanted = (places != NOWHERE) & pd.isna(found)
            found[is_wanted] = self.steps.texts(column, places[is_wanted])
        return found

    def number(self, column: str, *names: str) -> npt.NDArray[np.float64]:
        found = np.full(len(self.cycles), np.nan)
        for name in names:
            places = self.places(name)
            is_wanted = (places != NOWHERE) & np.isnan(found)
            found[is_wanted] = self.steps.numbers(column, places[is_wanted])
        return found

    def times(self, places: Places) -> pd.Series[pd.Timestamp]:
        micros_or_none = np.where(places == NOWHERE, MISSING, self.steps.time[places])
        return _times(micros_or_none)

    def spans(self, begin: Places, end: Places) -> tuple[Seconds, Seconds]:
        """Return seconds between steps by the publisher's clock, and by the relay's."""
        is_known = (begin != NOWHERE) & (end != NOWHERE)
        clocks = (self.steps.time, self.steps.received)
        told, seen = (np.where(is_known, (clock[end] - clock[begin]) / 1e6, np.nan) for clock in clocks)
        return told, seen

    def seconds(self, begin: Places, end: Places) -> Seconds:
        """Return seconds between steps, by the publisher's clock if that agrees with the relay's.

        If one of them was set back meanwhile, the other tells; if one was set, nobody knows which.
        """
        told, seen = self.spans(begin, end)
        agree = np.abs(told - seen) <= _TRUSTED
        span = np.where(agree, told, np.where(told < 0, seen, np.where(seen < 0, told, np.nan)))
        span[span < 0] = np.nan
        return span

    def _committing(self, generating: Places, result: Places, generate: Seconds, waited: Seconds) -> Seconds:
        """Return seconds to commit: where the clocks disagree, by the one that leaves room for the generation."""
        span = self.seconds(generating, result)
        least = generate + np.nan_to_num(waited)
        told, seen = (
            np.where((one >= least - 0.5) & (one <= least + _LONGEST_COMMIT), one, np.nan)
            for one in self.spans(generating, result)
        )
        only = np.where(np.isnan(seen), told, np.where(np.isnan(told), seen, np.nan))
        span = np.where(np.isnan(span), only, span)
        return np.maximum(span - generate - waited, 0)

    def frame(self) -> pd.DataFrame:
        start = self.places("start_log", "start_event")
        found = self.places("analyzing", "documenting", "generating")
        generating = self.places("generating", "documenting", "analyzing")
        result, push = self.places("result"), self.places("push")
        outcome = np.array([cycle.outcome for cycle in self.cycles], object)
        is_inferred = np.array([cycle.is_inferred for cycle in self.cycles], bool)
        first = np.array([cycle.first for cycle in self.cycles], np.int64)
        last = np.array([cycle.last for cycle in self.cycles], np.int64)
        is_running = outcome == "running"
        ended = np.where(push != NOWHERE, push, result)
        ended = np.where(ended == NOWHERE, self.places("stop"), ended)
        begun = np.where(start == NOWHERE, first, start)
        wait_before, wait_after = self._waits()
        is_done = np.isin(outcome, ["committed", "dry_run"])
        time_ms = np.where(is_done, self.number("time_ms", "result", "at_commit"), np.nan)
        tokens = np.where(is_done, self.number("tokens", "result", "at_commit"), np.nan)
        generate = np.where(time_ms >= 0, time_ms / 1000, np.nan)
        commit = self._committing(generating, np.where(outcome == "committed", result, NOWHERE), generate, wait_after)
        pushed = np.full(len(self.cycles), None, object)
        is_told = push != NOWHERE
        pushed[is_told] = self.steps.step[push[is_told]] == Step.PUSHED
        started = self.times(begun)
        numbers = np.array([np.nan if cycle.number is None else cycle.number for cycle in self.cycles], np.float64)
        search = ("generating", "analyzing", "documenting", "at_commit", "result")
        with np.errstate(divide="ignore", invalid="ignore"):
            speed = np.where(generate > 0, tokens / generate, np.nan)
        columns = {
            "cycle_num": numbers,
            "scheduled_at": self._scheduled(start, started),
            "started_at": started,
            "ended_at": self.times(np.where(is_running, NOWHERE, ended)),
            "target": text_column(self.text("target", *search)),
            "repo": _labels(self.text("repo", *search)),
            "language": _labels(self.text("language", "generating", "at_commit", "result")),
            "doc_type": _labels(self.text("doc_type", *search)),
            "find_s": np.maximum(self.seconds(start, found) - wait_before, 0),
            "generate_s": generate,
            "commit_s": commit,
            "push_s": self.seconds(np.where(outcome == "committed", result, NOWHERE), push),
            "tokens": tokens,
            "tokens_per_s": speed,
            "commit": text_column(self.text("commit", "result", "at_commit")),
            "commit_message": text_column(self._messages()),
            "pushed": pd.array(pushed, "boolean"),
            "outcome": pd.Categorical(outcome, categories=list(OUTCOMES)),
            "error": text_column(self._errors()),
            "wait_s": wait_before + wait_after,
            "model": _labels(self._models(first)),
            "run": np.array([cycle.run for cycle in self.cycles], np.int64),
            "is_complete": self._completeness(start, result, is_inferred, first, np.maximum(last, ended)),
            "epoch": text_column(self.steps.texts("epoch", first)),
            "first_offset": self._offsets(first),
            "last_offset": self._offsets(last),
        }
        return pd.DataFrame(columns)

    def _offsets(self, places: Places) -> npt.NDArray[np.int64]:
        offsets = self.steps.numbers("offset", places)
        return np.where(np.isnan(offsets), -1, offsets).astype(np.int64)

    def _waits(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return seconds each cycle waited for Ollama: before its target was found, and after."""
        before, after = np.zeros(len(self.cycles)), np.zeros(len(self.cycles))
        for index, cycle in enumerate(self.cycles):
            found = max(cycle.analyzing, cycle.documenting, cycle.generating) if cycle.waits else NOWHERE
            for begin, end in cycle.waits:
                span = self.seconds(np.array([begin]), np.array([end]))[0]
                (after if NOWHERE < found < begin else before)[index] += span
        # Waiting is told by logs alone.
        is_one_shot = np.array([cycle.is_one_shot for cycle in self.cycles], bool)
        is_lost = np.array([cycle.has_lost_wait for cycle in self.cycles], bool)
        is_lost |= (self.places("start_log", "start_event") == NOWHERE) & ~is_one_shot
        is_lost |= self.places("start_log", "documenting") == NOWHERE
        before[is_lost] = np.nan
        after[is_lost & (self.places("analyzing", "documenting", "generating") == NOWHERE)] = np.nan
        return before, after

    def _messages(self) -> npt.NDArray[np.object_]:
        messages = self.text("commit_message", "at_commit", "result")
        for index, cycle in enumerate(self.cycles):
            if cycle.outcome == "dry_run" and cycle.result != NOWHERE:
                would = self.steps.extra(cycle.result, "would_commit")
                messages[index] = would if isinstance(would, str) else None
        return messages

    def _errors(self) -> npt.NDArray[np.object_]:
        errors = self.text("error", "error")
        unsaid = [i for i, cycle in enumerate(self.cycles) if cycle.error != NOWHERE and not (errors[i] or "").strip()]
        if unsaid:  # then the traceback's last line says it
            tracebacks = self.steps.texts("exception", np.array([self.cycles[index].error for index in unsaid]))
            for index, text in zip(unsaid, tracebacks, strict=True):
                errors[index] = last_line(text) or None if isinstance(text, str) else None
        failed_push = self.places("push")
        is_failed = failed_push != NOWHERE
        is_failed[is_failed] = self.steps.step[failed_push[is_failed]] == Step.PUSH_FAILED
        told = self.text("error", "push")
        return np.where(pd.isna(errors) & is_failed, told, errors)

    def _scheduled(self, start: Places, started: pd.Series[pd.Timestamp]) -> pd.Series[pd.Timestamp]:
        """Return the announced time of each cycle: the newest that lies between the one before it and its start."""
        steps = self.steps
        told = np.flatnonzero((steps.step == Step.ANNOUNCED) & (steps.next_at != MISSING))
        scheduled = np.full(len(start), MISSING)
        if not len(told) or not len(start):
            return _times(scheduled)
        times = micros(started)
        is_start = np.flatnonzero(np.isin(steps.step, (Step.STARTING, Step.DAEMON_STARTING)))
        earliest = is_start[np.maximum(np.searchsorted(is_start, start, "left") - 1, 0)] if len(is_start) else start * 0
        candidate = np.searchsorted(told, start, "left") - 1
        is_open = start != NOWHERE
        for _ in range(8):  # the announcement after next may have come already
            is_open &= candidate >= 0
            at = told[np.maximum(candidate, 0)]
            is_open &= (at > earliest) | (earliest >= start)
            fits = is_open & (steps.next_at[at] <= times + _PUNCTUAL)
            scheduled[fits] = steps.next_at[at][fits]
            is_open &= ~fits
            if not is_open.any():
                break
            candidate = candidate - 1
        scheduled[is_after_loss(self.cycles, steps)] = MISSING  # it was announced for the first that was lost
        return _times(scheduled)

    def _models(self, first: Places) -> npt.NDArray[np.object_]:
        """Return the LLM of each cycle: that which its run of the daemon had named last."""
        named = np.flatnonzero(self.steps.step == Step.LLM_READY)
        begun = np.flatnonzero(self.steps.step == Step.DAEMON_STARTING)
        models = np.full(len(first), None, object)
        if len(named):
            extras = self.steps.texts("extra", named)
            names = np.array(
                [name if isinstance(name := extra_value(one, "model"), str) else None for one in extras], object
            )
            newest = np.searchsorted(named, first, "left") - 1
            is_of_run = newest >= 0
            if len(begun):
                run_begin = np.searchsorted(begun, first, "left") - 1
                is_of_run &= (run_begin < 0) | (named[np.maximum(newest, 0)] > begun[np.maximum(run_begin, 0)])
            models[is_of_run] = names[newest[is_of_run]]
        return models

    def _completeness(
        self, start: Places, result: Places, is_inferred: npt.NDArray[np.bool_], first: Places, last: Places
    ) -> npt.NDArray[np.bool_]:
        if not len(first):
            return np.zeros(0, np.bool_)
        received = self.steps.received
        stop = self.places("stop")
        is_told = (result != NOWHERE) & ~is_inferred
        is_told |= (stop != NOWHERE) & (self.steps.step[stop] == Step.DAEMON_STOPPED)
        # Of a one-shot run the target is the first that it says.
        is_one_shot = np.array([cycle.is_one_shot and cycle.documenting != NOWHERE for cycle in self.cycles], bool)
        is_whole = ((start != NOWHERE) | is_one_shot) & is_told
        is_touched = self.traffic.told_coverage.overlaps(received[first], received[last])
        found: npt.NDArray[np.bool_] = is_whole & ~is_touched
        return found


def _count_up(cycles: list[Cycle], tracker: Tracker) -> None:
    """Give a cycle whose start was lost its number, where its neighbours leave only one for it."""
    by_run: defaultdict[int, list[Cycle]] = defaultdict(list)
    for cycle in cycles:
        if not cycle.is_one_shot:
            by_run[cycle.run].append(cycle)
    for run, some in by_run.items():
        known: int | None = 0 if tracker.run_is_whole.get(run) else None
        unknown: list[Cycle] = []
        for cycle in some:
            if cycle.number is None:
                unknown.append(cycle)
                continue
            if unknown and known is not None and cycle.number - known - 1 == len(unknown):
                for number, one in enumerate(unknown, known + 1):
                    one.number = number
            known, unknown = cycle.number, []


def _conclude(cycles: list[Cycle], tracker: Tracker, steps: Steps) -> None:
    """Give a cycle whose end was lost its outcome, where the daemon's counters leave only one."""
    if all(cycle.outcome is not None for cycle in cycles):
        return
    by_run: defaultdict[int, list[Cycle]] = defaultdict(list)
    for cycle in cycles:
        if cycle.number is not None:
            by_run[cycle.run].append(cycle)
    for run, some in by_run.items():
        some.sort(key=_number)
        numbers = list(map(_number, some))
        undecided = [number for number, cycle in zip(numbers, some, strict=True) if cycle.outcome is None]
        before = (0.0, 0.0, 0.0, 0.0) if tracker.run_is_whole.get(run) else None
        for now in told_counters(steps, tracker.counters[run]) if undecided else ():
            if before is not None and bisect_right(undecided, now[0]) > bisect_right(undecided, before[0]):
                counted = some[bisect_right(numbers, before[0]) : bisect_right(numbers, now[0])]
                left = [now[i + 1] - before[i + 1] for i in range(3)]
                for cycle in counted:
                    if cycle.outcome in _COUNTED:
                        left[_COUNTED[cycle.outcome]] -= 1
                unknown = [cycle for cycle in counted if cycle.outcome is None]
                if unknown and sum(left) == len(unknown) and sum(count != 0 for count in left) == 1:
                    outcome = _OF_COUNTER[next(i for i, count in enumerate(left) if count)]
                    for cycle in unknown if outcome else ():
                        cycle.outcome, cycle.is_inferred = outcome, True
            before = now


def _number(cycle: Cycle) -> int:
    return cycle.number or 0


def _tell_dry_runs(cycles: list[Cycle], tracker: Tracker, steps: Steps) -> None:
    """Tell commits from dry runs among the successes that only counters prove; unknown where nothing says."""
    for cycle in cycles:
        if not cycle.is_inferred or cycle.outcome != "committed" or cycle.push >= 0:
            continue
        is_dry = None
        if cycle.documenting != NOWHERE:
            is_dry = steps.extra(cycle.documenting, "dry_run")
        elif (begin := tracker.run_begins.get(cycle.run)) is not None:
            mode = steps.extra(begin, "mode")
            is_dry = "dry" in mode.lower() if isinstance(mode, str) else None
        cycle.outcome = ("dry_run" if is_dry else "committed") if isinstance(is_dry, bool) else None


def _times(values: npt.NDArray[np.int64]) -> pd.Series[pd.Timestamp]:
    return pd.Series(pd.DatetimeIndex(values.view("datetime64[us]"), tz="UTC"))


def _labels(values: npt.NDArray[np.object_]) -> pd.Categorical:
    return pd.Categorical(values)
