"""Replaying: a rule is tried on the past, with the times of its messages as the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.watching.feed import Arrived, selected
from codeworm_monitor.watching.watch import Hole, Watch

__all__ = ["holes_of", "in_order", "replay"]

LEAST_STEP = 0.5
"""Seconds between two looks at the clock at least, where a rule asks for one at once."""


def replay(
    watch: Watch, tables: Iterable[pa.Table], gaps: pa.Table | None, *, after_each: Callable[[], None] = lambda: None
) -> None:
    """Let a watch see the past as if it were now: each record at its time of receipt, and the clock between them.

    Args:
        watch: One that has seen nothing yet.
        tables: Messages, with the columns of the live tables.
        gaps: With those of the table of gaps.
        after_each: Called after each look.
    """
    tables = list(tables)
    records, _ = selected(tables, watch.machine.condition.reads, limit=None)
    newest = [
        float(pc.max(rows.column("received_at")).cast(pa.int64()).as_py()) / 1e6 for rows in tables if rows.num_rows
    ]
    now: float | None = None
    for one in in_order(records, [] if gaps is None else holes_of(gaps)):
        at = one.ended if isinstance(one, Hole) else one.at
        if now is not None:
            at = max(at, now)  # a clock set back
            # In a hole no time passes: nobody was there to call it silent.
            _pass(watch, now, min(at, one.started) if isinstance(one, Hole) else at, after_each)
        watch.take([one if isinstance(one, Hole) else Arrived(at, one.record)])
        after_each()
        now = at
    if now is not None:
        end = max([now, *newest])
        _pass(watch, now, end, after_each)
        watch.tick(end)
        after_each()


def _pass(watch: Watch, now: float, until: float, after_each: Callable[[], None]) -> None:
    """Let time pass, up to but without `until`."""
    while (due := watch.machine.due(now)) < until:
        now = due if due > now else now + LEAST_STEP
        if now >= until:
            return
        watch.tick(now)
        after_each()


def holes_of(gaps: pa.Table) -> list[Hole]:
    """Return the stretches in which nobody listened."""
    started, ended = (gaps.column(name).cast(pa.int64()).to_pylist() for name in ("started_at", "ended_at"))
    return [Hole(first / 1e6, max(first, last) / 1e6) for first, last in zip(started, ended, strict=True)]


def in_order(records: list[Arrived], holes: list[Hole]) -> list[Arrived | Hole]:
    """Lay holes, by their ends, among records that are in the order of the log."""
    if not holes:
        return list(records)
    waiting = sorted(holes, key=lambda hole: hole.ended, reverse=True)
    found: list[Arrived | Hole] = []
    for record in records:
        while waiting and waiting[-1].ended <= record.at:
            found.append(waiting.pop())
        found.append(record)
    return [*found, *reversed(waiting)]
