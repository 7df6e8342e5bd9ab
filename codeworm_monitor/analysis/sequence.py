"""Sequence: the log lines and events of a stretch in one order: what came before one, and in which cycle it fell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.traffic import Traffic

__all__ = ["Places", "Sequence", "coded", "heard_at"]

Places = npt.NDArray[np.int64]
"""Places in a sequence, rows of a frame, or codes; -1: none."""

_RUN_BEGINS = "daemon_starting"
_CYCLE_BEGINS = "cycle_starting"
_LOOKS_BACK = 64
"""So many stretches of equal names are looked through for those before a message."""
_AT_ONE_TIME = 10_000_000  # microseconds


class Sequence:
    """The messages of a stretch, by name, in the order of the relay's log.

    A run begins where the daemon says so, and where its cycles' numbers fall; what came before a gap is not known to be of
    the same run. A cycle lasts until the next one begins, or the run ends.

    Attributes:
        names: Distinct names: of log lines their event, of events their type.
        codes: By place, which name; -1: none.
        begins: By place, where its run, or what was heard of it, begins.
        cycle: By place, the number of its cycle in the stretch; -1: of none that was seen to begin.
        cycles: How many cycles were seen to begin.
        places: By row of the logs, its place.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._frames = logs, events = traffic.logs, traffic.events
        (log_codes, names), (event_codes, types) = coded(logs["event"]), coded(events["type"])
        known = {name: code for code, name in enumerate(names)}
        of_type = np.array([known.setdefault(name, len(known)) for name in types] + [-1], np.int64)
        self.names = list(known)
        received = np.concatenate([heard_at(logs), heard_at(events)])
        order = _order(logs, events, received)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        self._place = place
        self.places: Places = place[: len(logs)]
        self.codes: Places = np.concatenate([log_codes, of_type[event_codes]])[order]
        cuts = self.codes == known.get(_RUN_BEGINS, -2)
        if len(order) and len(traffic.gaps):
            after = np.searchsorted(np.maximum.accumulate(received[order]), micros(traffic.gaps["started_at"]), "right")
            cuts[after[after < len(cuts)]] = True
        begins = self._cycle_begins(known.get(_CYCLE_BEGINS, -2), order, received[order], cuts)
        at = np.arange(len(order))
        self.begins: Places = np.maximum.accumulate(np.where(cuts, at, 0))
        number = np.cumsum(begins) - 1
        newest = np.maximum.accumulate(np.where(begins, at, -1))
        self.cycle: Places = np.where(newest >= self.begins, number, -1)
        self.cycles = int(begins.sum())

    def before(self, places: Places, most: int = 3) -> Places:
        """Return which names came before messages in the same run: names that differ from theirs and from each other.

        Args:
            places: Of shape (n,).
            most: How many.

        Returns:
            Codes of shape (n, most), the nearest first; -1: there are no more.
        """
        found = np.full((len(places), most), -1, np.int64)
        differs = np.ones(len(self.codes), np.bool_)
        differs[1:] = self.codes[1:] != self.codes[:-1]
        stretch = np.maximum.accumulate(np.where(differs, np.arange(len(differs)), 0))
        own, first = self.codes[places], self.begins[places]
        left, at = np.arange(len(places)), stretch[places] - 1
        for _ in range(_LOOKS_BACK):
            goes_on = (at >= first[left]) & (found[left, most - 1] < 0)
            left, at = left[goes_on], at[goes_on]
            if not len(left):
                break
            name = self.codes[at]
            is_new = (name >= 0) & (name != own[left]) & (found[left] != name[:, None]).all(axis=1)
            filled = (found[left[is_new]] >= 0).sum(axis=1)
            found[left[is_new], filled] = name[is_new]
            at = stretch[at] - 1
        return found

    def said(self, column: str, places: Places) -> tuple[Places, list[str]]:
        """Return what messages say in a column, or else what was said last before them in the same cycle.

        Args:
            column: Its name, in the logs, the events or both.
            places: Of shape (n,).

        Returns:
            Codes of shape (n,), -1 where nothing was said, and the distinct texts.
        """
        known: dict[str, int] = {}
        pieces = []
        for frame in self._frames:
            codes, texts = coded(frame[column]) if column in frame else (np.full(len(frame), -1), [])
            pieces.append(np.array([known.setdefault(text, len(known)) for text in texts] + [-1], np.int64)[codes])
        told = np.empty(len(self._place), np.int64)
        told[self._place] = np.concatenate(pieces)
        newest = np.maximum.accumulate(np.where(told >= 0, np.arange(len(told)), -1))[places]
        is_of_cycle = (newest == places) | (
            (newest >= 0) & (self.cycle[places] >= 0) & (self.cycle[newest] == self.cycle[places])
        )
        return np.where(is_of_cycle, told[newest], -1), list(known)

    def _cycle_begins(
        self, name: int, order: Places, received: Micros, cuts: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Tell where cycles begin, and mark in `cuts` where their numbers fall.

        A log line and an event both tell of each beginning, within milliseconds; either may be lost, or come twice.
        """
        begins = np.zeros(len(order), np.bool_)
        told = np.flatnonzero(self.codes == name)
        if not len(told):
            return begins
        logs, events = self._frames
        told_by_log = order[told] < len(logs)
        starts = pd.DataFrame({"is_log": told_by_log, "number": np.nan, "written": MISSING})
        for frame, some, shift in ((logs, told_by_log, 0), (events, ~told_by_log, len(logs))):
            rows = order[told[some]] - shift
            starts.loc[some, "number"] = pd.to_numeric(frame["cycle_num"].iloc[rows], errors="coerce").to_numpy(
                np.float64
            )
            starts.loc[some, "written"] = micros(frame["timestamp"].iloc[rows])
        is_again = (starts.duplicated() & (starts["written"] != MISSING)).to_numpy()
        told, starts = told[~is_again], starts[~is_again]
        number = np.nan_to_num(starts["number"].to_numpy(np.float64), nan=-1)
        differs = np.ones(len(told), np.bool_)
        run = np.cumsum(cuts)[told]
        differs[1:] = (np.diff(number) != 0) | (np.diff(run) > 0) | (np.diff(received[told]) > _AT_ONE_TIME)
        # As many cycles of one number at one time as there are lines, or events, if those are more.
        block = np.cumsum(differs)
        logs_of, events_of = (starts["is_log"] == one for one in (True, False))
        counts = np.maximum(*(np.asarray(one.groupby(block).cumsum(), np.int64) for one in (logs_of, events_of)))
        begins[told[differs | (np.diff(counts, prepend=0) > 0)]] = True
        cuts[told[1:][(np.diff(number) < 0) & (number[1:] >= 0)]] = True
        return begins


def coded(labels: pd.Series[str]) -> tuple[Places, list[str]]:
    """Return, by row, which text it has (-1: none), and the distinct texts."""
    if isinstance(labels.dtype, pd.CategoricalDtype):
        found, values = labels.cat.codes.to_numpy(), labels.cat.categories
    else:
        found, values = pd.factorize(labels)
    codes: Places = np.asarray(found, np.int64)
    return codes, [value if isinstance(value, str) else str(value) for value in values]


def heard_at(frame: pd.DataFrame) -> Micros:
    """Return when each message was received, or was written where that is missing, in microseconds."""
    received = micros(frame["received_at"])
    is_missing = received == MISSING
    return np.where(is_missing, micros(frame["timestamp"]), received) if is_missing.any() else received


def _order(logs: pd.DataFrame, events: pd.DataFrame, received: Micros) -> Places:
    """Return the rows of both in the order of the relay's log; where offsets are missing, by their time."""
    offsets = np.concatenate([pd.to_numeric(frame["offset"], errors="coerce").to_numpy() for frame in (logs, events)])
    if np.isnan(offsets).any():
        return np.argsort(received, kind="stable")
    (codes, epochs), (event_codes, event_epochs) = coded(logs["epoch"]), coded(events["epoch"])
    known = {epoch: code for code, epoch in enumerate(epochs)}
    of_event = np.array([known.setdefault(epoch, len(known)) for epoch in event_epochs] + [-1], np.int64)
    codes = np.concatenate([codes, of_event[event_codes]])
    if not len(codes) or (codes == codes[0]).all():
        return np.argsort(offsets, kind="stable")
    first = np.full(len(known) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, codes, received)
    return np.lexsort((offsets, np.argsort(np.argsort(first, kind="stable"))[codes]))
