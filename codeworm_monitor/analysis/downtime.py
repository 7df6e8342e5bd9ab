"""Downtime: one outage, and those of Ollama that the daemon and the relay both tell of, each once.

The relay, if it looks at Ollama (`ollama_watcher`), tells when it could not reach it and when it could again. The daemon
notices only when it next needs Ollama, and only the next document proves to it that all is well. So of a time without a
connection the relay's word is the more exact one; of anything else that fails in Ollama only the daemon knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.steps import extra_value

__all__ = ["Outage", "Unreached", "united", "unreached"]

_FAILING = frozenset({"ollama_unreachable", "ollama_still_unreachable"})
_NO_CONNECTION = frozenset({"not reachable", "connection broken", "timed out"})
"""Causes that an answer to the relay ends; that a model is missing, or the memory full, it does not."""


@dataclass(slots=True)
class Outage:
    """A stretch in which something was down. Times are microseconds since 1970, UTC; `MISSING`: not known.

    Attributes:
        kind: Of `outages.KINDS`.
        started_at: Its beginning.
        ended_at: Its end.
        causes: In few words each.
        evidence: What was seen.
        cycles_lost: Cycles that failed or are missing.
        first_sign: When the first sign of failure came; what failed was begun before.
        last_sign: When the last came.
    """

    kind: str
    started_at: int
    ended_at: int
    causes: list[str] = field(default_factory=list)
    evidence: str = ""
    cycles_lost: int = 0
    first_sign: int = MISSING
    last_sign: int = MISSING


@dataclass(slots=True)
class Unreached:
    """A stretch in which the relay could not reach Ollama. Times as of `Outage`.

    Attributes:
        url: Where it looked.
        started_at: When the first look that failed was begun.
        ended_at: When Ollama answered again.
        heard_before: When it had answered last.
        last_failed: When it was told last that it does not answer.
        error: Why, as told last.
    """

    url: str
    started_at: int
    ended_at: int
    heard_before: int
    last_failed: int
    error: str


def unreached(journal: pd.DataFrame, since: int = MISSING) -> list[Unreached]:
    """Return the stretches in which the relay could not reach Ollama, in their order.

    Args:
        journal: As `Traffic.journal`.
        since: Where the stretch of traffic begins, microseconds; what began earlier is cut there.
    """
    found: list[Unreached] = []
    current: Unreached | None = None
    rows = journal.sort_values("received_at", kind="stable")
    received = micros(rows["received_at"])
    times = np.where((told := micros(rows["timestamp"])) == MISSING, received, told).tolist()
    for event, error, extra, time in zip(rows["event"], rows["error"], rows["extra"], times, strict=True):
        url = _text(extra_value(extra, "url"))
        if current is not None and current.url != url:  # the relay was told to look elsewhere
            current.ended_at, current = current.last_failed, None
        is_failing = event in _FAILING
        begun = _moment(extra_value(extra, "since"), time)
        if current is None and (is_failing or begun != MISSING):
            start = time if begun == MISSING else begun
            if event != "ollama_unreachable":  # which is told within seconds; of the others the beginning is long ago
                start = max(start, since)
            heard = _moment(extra_value(extra, "last_heard_at"), time)
            current = Unreached(url, start, MISSING, heard, max(start, time), "")
            found.append(current)
        if current is None:
            continue
        current.error = _text(error) or current.error
        if is_failing:
            current.last_failed = max(current.last_failed, time)
        else:
            current.ended_at, current = max(current.started_at, time), None
    return found


def united(told: Sequence[Outage], seen: Sequence[Unreached], proofs: Micros) -> list[Outage]:
    """Return the outages of Ollama that the daemon tells of and those that the relay saw, what overlaps as one.

    A stretch that the daemon tells of for want of a connection ends when Ollama answered the relay, if nothing failed
    after that, and begins no earlier than it last did.

    Args:
        told: By the daemon; they are changed.
        seen: By the relay; likewise.
        proofs: When the daemon showed that Ollama works, ascending, by the relay's clock.
    """
    if not seen:
        return list(told)
    for span in seen:
        if span.ended_at == MISSING:  # the relay looks no more, but the daemon has used it since
            index = int(np.searchsorted(proofs, span.last_failed, "right"))
            span.ended_at = int(proofs[index]) if index < len(proofs) else MISSING
    for one in told:
        _make_exact(one, seen)
    result: list[Outage] = []
    groups: list[tuple[list[Outage], list[Unreached]]] = []
    every: list[Outage | Unreached] = [*told, *seen]
    reach = float("-inf")
    for down in sorted(every, key=lambda down: down.started_at):
        if not groups or down.started_at > reach:
            groups.append(([], []))
        reach = max(reach, _end(down))
        if isinstance(down, Outage):
            groups[-1][0].append(down)
        else:
            groups[-1][1].append(down)
    for outages, spans in groups:
        result += outages if not spans else [_joined(outages, spans)]
    return result


def _make_exact(one: Outage, seen: Sequence[Unreached]) -> None:
    for span in seen:
        if span.started_at > _end(one) or _end(span) < one.started_at:
            continue
        if one.causes[0] in _NO_CONNECTION and one.started_at < span.heard_before <= one.first_sign:
            one.started_at = min(one.first_sign, span.started_at)
        if one.causes[-1] in _NO_CONNECTION and one.last_sign < span.ended_at < _end(one):
            one.ended_at = span.ended_at
            return


def _joined(told: Sequence[Outage], seen: Sequence[Unreached]) -> Outage:
    every: list[Outage | Unreached] = [*told, *seen]
    ends = [one.ended_at for one in every]
    times = f" {len(seen)} times, last" if len(seen) > 1 else ""
    evidence = f"the relay could not reach it{times}: {seen[-1].error or 'no reason told'}"
    said = "; ".join(one.evidence for one in told)
    first_seen = not told or seen[0].started_at < told[0].started_at
    causes = [cause for one in told for cause in one.causes]
    return Outage(
        "ollama",
        min(one.started_at for one in every),
        MISSING if MISSING in ends else max(ends),
        ["not reachable", *causes] if first_seen else [*causes, "not reachable"],
        f"{evidence}; the daemon: {said}" if told else evidence,
        sum(one.cycles_lost for one in told),
    )


def _end(one: Outage | Unreached) -> float:
    return float("inf") if one.ended_at == MISSING else one.ended_at


def _moment(value: object, latest: int) -> int:
    """Return a time of a record as microseconds, no later than the record itself; `MISSING` if it is none."""
    if not isinstance(value, str):
        return MISSING
    try:
        time = pd.Timestamp(value)
        return MISSING if pd.isna(time) else min(latest, int(micros(pd.DatetimeIndex([time]))[0]))
    except (ValueError, TypeError, OverflowError):
        return MISSING


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""
