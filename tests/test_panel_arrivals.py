"""Arrivals: nothing is noted before somebody takes, what waits comes once in its order, and is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from codeworm_monitor import panel_arrivals
from codeworm_monitor.activity import Snapshot
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.panel_arrivals import PanelArrivals
from codeworm_monitor.states.panel_states import PanelStates

GAP = Gap(cause=GapCause.TRIMMED, started_at=1.0, ended_at=2.0)


def lines(*names: str) -> list[tuple[Envelope, Any]]:
    return [(Envelope(n, 100.0 + n, "codeworm:logs", b""), {"event": name}) for n, name in enumerate(names, 1)]


def begun() -> PanelArrivals:
    made = PanelArrivals()
    made.is_begun = True
    return made


def test_before_somebody_takes_nothing_is_noted() -> None:
    arrivals = PanelArrivals()
    arrivals.note("a", lines("x"))
    arrivals.note_gap("a", GAP)
    arrivals.note_restart(Snapshot(), live_from=0, epoch="a")
    assert len(arrivals) == 0
    assert [len(one) for one in arrivals.take()] == [0, 0]


def test_what_waits_comes_once_and_in_its_order() -> None:
    arrivals, states = begun(), PanelStates(200.0)
    first, second = lines("x", "y"), lines("z")
    arrivals.note_restart(Snapshot(), live_from=0, epoch="a")
    arrivals.note("a", first)
    arrivals.note_gap("a", GAP)
    arrivals.note("a", second)
    steps, rows = arrivals.take()
    assert list(rows) == [("a", first), ("a", GAP), ("a", second)]
    for step in steps:
        step(states)
    health = states.as_dict(200.0)["health"]
    assert (health["received"], health["gap_count"]) == (3, 1)
    assert [len(one) for one in arrivals.take()] == [0, 0]


@pytest.mark.parametrize(("limit", "most"), [("MOST_ARRIVED", 3), ("MOST_BYTES", 30)])
def test_more_than_may_wait_is_let_go_altogether(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_arrivals, limit, most)
    arrivals = begun()
    arrivals.note("a", lines("x", "y", "z"), size=30)
    assert (arrivals.is_begun, len(arrivals)) == (True, 1)
    arrivals.take()
    arrivals.note("a", lines("x", "y", "z"), size=30)  # taken ones count no more
    assert arrivals.is_begun
    arrivals.note("a", lines("u"), size=1)
    assert (arrivals.is_begun, len(arrivals)) == (False, 0)
    arrivals.note("a", lines("v"))
    assert len(arrivals) == 0
