"""Traffic whose cycles are said outright: what rates and schedules are made of, without the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from codeworm_monitor.analysis.answer import answer
from codeworm_monitor.analysis.cycles import OUTCOMES
from codeworm_monitor.analysis.traffic import Traffic

_LABELS = ("repo", "language", "doc_type", "model")
_SECONDS = ("find_s", "generate_s", "commit_s", "push_s", "tokens", "tokens_per_s")


def at(text: str) -> datetime:
    """Return a time; of what has no zone, in UTC."""
    time = pd.Timestamp(text)
    return (time.tz_localize("UTC") if time.tz is None else time.tz_convert("UTC")).to_pydatetime()


def traffic_of(
    cycles: Mapping[str, Any] | None,
    since: str | datetime | None,
    until: str | datetime | None,
    holes: Sequence[tuple[str, str]] = (),
) -> Traffic:
    """Return traffic of a stretch, with its cycles; columns that are not given are missing, the outcome is committed.

    Args:
        cycles: Columns, of them at least `ended_at`.
        since: Its beginning.
        until: Its end.
        holes: What of it was not heard.
    """
    gaps = pd.DataFrame({name: [at(hole[i]) for hole in holes] for i, name in enumerate(("started_at", "ended_at"))})
    traffic = Traffic.of(gaps=gaps if holes else None, since=_time(since), until=_time(until))
    given = {"ended_at": [], **(cycles or {})}
    count = len(given["ended_at"])
    outcomes = given.pop("outcome", ["committed"] * count)
    frame = pd.DataFrame({name: pd.Series(list(values)) for name, values in given.items()})
    for name in ("started_at", "ended_at", "scheduled_at"):
        times = pd.to_datetime(pd.Series(frame.get(name, [None] * count)), utc=True, format="ISO8601")
        frame[name] = times.dt.as_unit("us")
    for name in _LABELS:
        frame[name] = pd.Categorical(frame.get(name, [None] * count))
    frame["target"] = frame["target"].astype("str") if "target" in frame else pd.Series([None] * count, dtype="str")
    for name in _SECONDS:
        frame[name] = np.asarray(frame.get(name, np.full(count, np.nan)), np.float64)
    frame["outcome"] = pd.Categorical(outcomes, categories=list(OUTCOMES))
    traffic.found["cycles"] = answer(frame, traffic.coverage, "cycles")
    return traffic


def _time(time: str | datetime | None) -> datetime | None:
    return at(time) if isinstance(time, str) else time
