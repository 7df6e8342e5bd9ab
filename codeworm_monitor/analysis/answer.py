"""Answers: frames that say which part of their stretch of time was listened to, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from html import escape
from importlib import import_module
from typing import Any, cast

import pandas as pd
from pandas.plotting import PlotAccessor

from codeworm_monitor.analysis.coverage import Coverage
from codeworm_monitor.dtypes import FRAMES_ARE_COPIED_ON_WRITE

__all__ = ["Answer", "answer", "own"]

_PICTURE, _COLUMNS = "picture", "columns"


class Answer(pd.DataFrame):
    """A frame of ordinary pandas that also carries, in `attrs`, what stretch it is of and how much of that was heard.

    `attrs` has `since`, `until` (ISO 8601, UTC, None where unknown) and `covered` (share of the time, 0 to 1; NaN
    of nothing); filtering, sorting, pickling and Parquet keep it. `.plot()` draws the answer's own picture, and
    `.plot.line()` and its like are those of pandas.
    """

    # What pandas makes of a part of it: an answer still, as `attrs` go along.
    @property
    def _constructor(self) -> Callable[..., Answer]:
        return Answer

    @property
    def coverage(self) -> float:
        """Share of the stretch of time that was listened to, 0 to 1; NaN if that is unknown."""
        return float(self.attrs.get("covered", float("nan")))

    @property
    def plot(self) -> Any:
        """What draws it: called, the answer's own picture; `.plot.line()` and its like are those of pandas."""
        return _Plot(self)

    def _repr_html_(self) -> str | None:
        html = cast("str | None", super()._repr_html_())  # type: ignore[misc]  # the stubs leave it out
        note = _note(self)
        return html if html is None or not note else f"{html}<p>{escape(note)}</p>"

    def __repr__(self) -> str:
        note = _note(self)
        return f"{super().__repr__()}\n{note}" if note else super().__repr__()


class _Plot(PlotAccessor):
    """What `.plot` of an answer is: called without a kind of chart, it draws the answer's own picture."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        frame = self._parent  # type: ignore[attr-defined]
        name = frame.attrs.get(_PICTURE)
        if name is not None and not {*frame.attrs.get(_COLUMNS, ())} <= {*frame.columns}:
            name = None  # what was made of it is no such answer any more
        has_frames = all(isinstance(one, pd.DataFrame) for one in args)  # that the picture is to show as well
        if name is None or not has_frames or kwargs.keys() & {"kind", "x", "y"}:
            return super().__call__(*args, **kwargs)
        # By name: pictures are made of answers and stand above them; and matplotlib is for those who draw.
        return getattr(import_module("codeworm_monitor.plots"), name)(frame, *args, **kwargs)


def answer(frame: pd.DataFrame, coverage: Coverage, picture: str | None = None) -> Answer:
    """Return a frame as an answer.

    Args:
        frame: Its rows.
        coverage: Of the stretch that was looked at.
        picture: Name of the function of `plots` that draws it; None: pandas' own.
    """
    made = Answer(frame)
    made.attrs = {
        "since": _text(coverage.since),
        "until": _text(coverage.until),
        "covered": coverage.share,
        **({_PICTURE: picture, _COLUMNS: list(frame.columns)} if picture else {}),
    }
    return made


def own(found: Answer) -> Answer:
    """Return an answer that is kept for others as one of the caller's own, to be changed at will."""
    return found.copy(deep=not FRAMES_ARE_COPIED_ON_WRITE)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _note(frame: pd.DataFrame) -> str:
    """Return one line for a person on how complete the answer is; empty if that is unknown."""
    since, until, covered = (frame.attrs.get(name) for name in ("since", "until", "covered"))
    if not isinstance(since, str) or not isinstance(until, str) or not isinstance(covered, float) or covered != covered:
        return ""
    begin, end = pd.Timestamp(since), pd.Timestamp(until)
    # Rounded down: what has a hole is not 100 %.
    share = "all" if covered >= 1 else f"{int(covered * 1000) / 10:g} %"
    return f"{share} of {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC was heard"
