"""Steps: the messages that tell of cycles, of all kinds, in one order and each once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.traffic import Traffic

__all__ = ["Places", "Step", "Steps", "extra_value"]


class Step(IntEnum):
    """What a message tells."""

    STARTING = 0
    ANALYZING = 1
    DOCUMENTING = 2
    GENERATING = 3
    COMMITTED = 4
    FAILED = 5
    LLM_ERROR = 6
    DRY_RUN = 7
    SKIPPED = 8
    TASK_ERROR = 9
    PUSHED = 10
    PUSH_FAILED = 11
    BACKING_OFF = 12
    WAITING = 13
    RECOVERED = 14
    DAEMON_STARTING = 15
    DAEMON_STOPPED = 16
    STATS = 17
    LLM_READY = 18
    ANNOUNCED = 19
    SIGNALLED = 20
    DEAD_MANS_SWITCH = 21


_OF_LOGS = {
    "cycle_starting": Step.STARTING,
    "documenting": Step.DOCUMENTING,
    "documentation_committed": Step.COMMITTED,
    "documentation_failed": Step.FAILED,
    "llm_error": Step.LLM_ERROR,
    "dry_run_complete": Step.DRY_RUN,
    "cycle_skipped_no_candidates": Step.SKIPPED,
    "scheduled_task_error": Step.TASK_ERROR,
    "push_successful": Step.PUSHED,
    "push_failed": Step.PUSH_FAILED,
    "backing_off": Step.BACKING_OFF,
    "ollama_unavailable_waiting": Step.WAITING,
    "ollama_recovered": Step.RECOVERED,
    "daemon_starting": Step.DAEMON_STARTING,
    "daemon_stopped": Step.DAEMON_STOPPED,
    "llm_initialized": Step.LLM_READY,
    "next_scheduled_run": Step.ANNOUNCED,
    "shutdown_signal_received": Step.SIGNALLED,
    "dead_mans_switch_triggered": Step.DEAD_MANS_SWITCH,
}
_OF_EVENTS = {
    "cycle_starting": Step.STARTING,
    "analyzing": Step.ANALYZING,
    "generating": Step.GENERATING,
    "documentation_committed": Step.COMMITTED,
    "next_cycle": Step.ANNOUNCED,
}
_NAMES_TARGET = (
    Step.ANALYZING,
    Step.DOCUMENTING,
    Step.GENERATING,
    Step.COMMITTED,
    Step.FAILED,
    Step.LLM_ERROR,
    Step.DRY_RUN,
)

_SAME_WORDS = ("target", "commit", "cycle_num", "tokens", "time_ms", "total_cycles", "error", "next_cycle_at", "extra")

_ANNOUNCED_TIME = r'"time":"(?P<time>[^"]{10,40})"'

Places = npt.NDArray[np.int64]


class Steps:
    """The steps of a stretch of traffic, as columns of equal length, in the order of the relay's log.

    The order is that of offsets within an epoch; epochs, and what has no offset, are laid together by time of receipt,
    which a clock set back cannot undo. A message that came twice, told by the publisher's time and its words, is here once.

    Attributes:
        step: Int8, see `Step`.
        is_log: Bool; of stats False.
        time: Microseconds, by the publisher's clock; by the relay's where that is missing.
        received: Microseconds, by the relay's clock.
        next_at: Microseconds, of announcements; else `MISSING`.
        cycle_num: Float64.
        targets: Int64, equal for equal targets; -1 where none is named.
        commits: So, of commits.
        is_one_shot: Bool: of a `run-once`, which names its target `function`.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._frames = (traffic.logs, traffic.events, traffic.stats)
        rows, steps = zip(
            *(
                _chosen(frame, column, named)
                for frame, column, named in zip(
                    self._frames, ("event", "type", None), (_OF_LOGS, _OF_EVENTS, {}), strict=True
                )
            ),
            strict=True,
        )
        self._functions: dict[int, str] = {}
        self._row: Places = np.concatenate(rows)
        self._source = np.repeat(np.arange(3, dtype=np.int8), [len(some) for some in rows])
        self.step: npt.NDArray[np.int8] = np.concatenate(steps)
        received, times = self._micros("received_at"), self._micros("timestamp")
        received = np.where(received == MISSING, times, received)
        has_time = times != MISSING
        times = np.where(has_time, times, received)
        order = _order(*self._positions(), received)
        self._row, self._source, self.step = self._row[order], self._source[order], self.step[order]
        kept = ~self._repeated(times[order], has_time[order])
        order = order[kept]
        self._row, self._source, self.step = self._row[kept], self._source[kept], self.step[kept]
        self.time: Micros = times[order]
        self.received: Micros = received[order]
        self.is_log: npt.NDArray[np.bool_] = self._source == 0
        self.is_one_shot = np.zeros(len(order), np.bool_)
        self.next_at = self._announced()
        self.cycle_num = self.numbers("cycle_num", np.arange(len(order)))
        self._functions = self._one_shot_targets()
        self.targets = self._codes("target", _NAMES_TARGET)
        self.commits = self._codes("commit", (Step.COMMITTED,))

    def __len__(self) -> int:
        return len(self.step)

    def texts(self, name: str, places: Places) -> npt.NDArray[np.object_]:
        """Return what the steps at these places have in a column of texts; None where they have nothing."""
        found = np.full(len(places), None, object)
        for source, frame in enumerate(self._frames):
            if name in frame:
                is_of = self._source[places] == source
                if not is_of.any():
                    continue
                values = frame[name].iloc[self._row[places[is_of]]].to_numpy(object)
                found[is_of] = np.where(pd.isna(values), None, values)
        if name == "target" and self._functions:
            for index, place in enumerate(places.tolist()):
                if self.is_one_shot[place]:
                    found[index] = self._functions[place]
        return found

    def numbers(self, name: str, places: Places) -> npt.NDArray[np.float64]:
        """Return what the steps at these places have in a column of numbers; NaN where they have nothing."""
        found = np.full(len(places), np.nan)
        for source, frame in enumerate(self._frames):
            if name in frame:
                is_of = self._source[places] == source
                found[is_of] = frame[name].to_numpy(np.float64)[self._row[places[is_of]]]
        return found

    def extra(self, place: int, name: str) -> Any:
        """Return what a step has under a name that has no column; None if there is nothing."""
        return extra_value(self._frames[self._source[place]]["extra"].iat[self._row[place]], name)

    def _micros(self, name: str) -> Micros:
        return np.concatenate(
            [micros(frame[name])[self._row[self._source == i]] for i, frame in enumerate(self._frames)]
        )

    def _positions(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Return each row's epoch, as a number, and its offset; -1 and NaN where it has none."""
        labels = [pd.Categorical(frame["epoch"]) for frame in self._frames]
        names = pd.Index(pd.unique(pd.Series([name for one in labels for name in one.categories], dtype=object)))
        codes = [
            np.append(names.get_indexer(one.categories.astype(object)), -1)[one.codes[self._row[self._source == i]]]
            for i, one in enumerate(labels)
        ]
        return np.concatenate(codes), self.numbers("offset", np.arange(len(self._row)))

    def _repeated(self, times: Micros, has_time: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Tell which say again what one before said, at the same microsecond of the publisher's clock."""
        repeated = np.zeros(len(times), np.bool_)
        suspects = np.flatnonzero(pd.Series(times).duplicated(keep=False).to_numpy() & has_time)
        if len(suspects):
            words = {name: self.texts(name, suspects) for name in _SAME_WORDS}
            told = {"step": self.step[suspects], "source": self._source[suspects], "time": times[suspects]}
            repeated[suspects] = (
                pd.DataFrame({**told, **words}).astype(dict.fromkeys(words, str)).duplicated().to_numpy()
            )
        return repeated

    def _announced(self) -> Micros:
        next_at = np.full(len(self), MISSING)
        told = self.step == Step.ANNOUNCED
        by_event = np.flatnonzero(told & ~self.is_log)
        if len(by_event):
            next_at[by_event] = micros(self._frames[1]["next_cycle_at"])[self._row[by_event]]
        by_log = np.flatnonzero(told & self.is_log)
        if len(by_log):
            told = pc.extract_regex(pa.array(self.texts("extra", by_log), pa.string()), _ANNOUNCED_TIME)
            times = pd.Series(pc.struct_field(told, "time").to_numpy(zero_copy_only=False), dtype="str")
            next_at[by_log] = micros(pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601"))
        return next_at

    def _one_shot_targets(self) -> dict[int, str]:
        """Return, by place, the targets that a `run-once` names by another word."""
        is_naming = np.isin(self.step, _NAMES_TARGET) & self.is_log
        places = np.flatnonzero(is_naming)
        logs = self._frames[0]
        rows = self._row[places]
        unnamed = logs["target"].isna().to_numpy()[rows] & logs["extra"].notna().to_numpy()[rows]
        found = {}
        for place in places[unnamed].tolist():
            function = self.extra(place, "function")
            if isinstance(function, str):
                found[place] = function
                self.is_one_shot[place] = True
        return found

    def _codes(self, name: str, steps: Sequence[Step]) -> Places:
        places = np.flatnonzero(np.isin(self.step, steps))
        codes = np.full(len(self), -1, np.int64)
        if name == "target" and self._functions:
            codes[places] = pd.factorize(self.texts(name, places))[0]
            return codes
        sources = self._source[places]
        some = [places[sources == source] for source in range(len(self._frames))]
        found = [
            (of_source, frame[name].iloc[self._row[of_source]])
            for of_source, frame in zip(some, self._frames, strict=True)
            if len(of_source) and name in frame
        ]
        if found:
            numbers = pd.factorize(pd.concat([values for _, values in found], ignore_index=True))[0]
            codes[np.concatenate([of_source for of_source, _ in found])] = numbers
        return codes


def extra_value(extra: object, name: str) -> Any:
    """Return what stands under a name in the JSON text of `extra`; None if it is not there."""
    if not isinstance(extra, str):
        return None
    try:
        found = orjson.loads(extra)
    except orjson.JSONDecodeError:
        return None
    return found.get(name) if isinstance(found, dict) else None


def _chosen(frame: pd.DataFrame, column: str | None, steps: dict[str, Step]) -> tuple[Places, npt.NDArray[np.int8]]:
    """Return which rows are steps, and which step each is: of log lines only those of the daemon itself.

    Other components use the same names, in the log file, for what they have a part in.
    """
    if column is None:
        return np.arange(len(frame)), np.full(len(frame), Step.STATS, np.int8)
    labels = pd.Categorical(frame[column])
    of_label = np.array([*(steps.get(str(name), -1) for name in labels.categories), -1], np.int8)
    codes = of_label[labels.codes]
    is_step = codes >= 0
    if "component" in frame:
        is_step &= (frame["component"].isna() | (frame["component"] == "daemon")).to_numpy(np.bool_)
    rows = np.flatnonzero(is_step)
    return rows, codes[rows]


def _order(epochs: npt.NDArray[np.intp], offsets: npt.NDArray[np.float64], received: Micros) -> npt.NDArray[np.intp]:
    """Return the rows' places in the order of the relay's log."""
    has_offset = ~np.isnan(offsets) & (epochs >= 0)
    latest = received.copy()
    # Within an epoch the offset decides: a row counts as received no earlier than those before it.
    by_offset = np.lexsort((offsets, epochs))
    by_offset = by_offset[has_offset[by_offset]]
    for some in np.split(by_offset, np.flatnonzero(np.diff(epochs[by_offset])) + 1):
        if len(some):
            latest[some] = np.maximum.accumulate(received[some])
    return np.lexsort((np.where(has_offset, offsets, 0), epochs, latest))
