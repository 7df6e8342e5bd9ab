"""Replaying: the past, with its own times as the clock."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.watched import log

from codeworm_monitor.columns import GAP_LAYOUT, LAYOUTS
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.records import Kind
from codeworm_monitor.rows import BUILDERS, RowReader, build_gaps
from codeworm_monitor.watching.actions import Call
from codeworm_monitor.watching.cycle_rules import FailuresInARow
from codeworm_monitor.watching.feed import Arrived
from codeworm_monitor.watching.notices import NoticeKind
from codeworm_monitor.watching.record_rule import OnRecord
from codeworm_monitor.watching.replaying import in_order, replay
from codeworm_monitor.watching.rules import Rule
from codeworm_monitor.watching.silence_rule import Silence
from codeworm_monitor.watching.watch import Hole, Watch

START = 1_795_000_000.0


def lines(*times: float, event: str = "x", **fields: object) -> pa.Table:
    reader = RowReader()
    rows = [
        reader.read("e", Envelope(number, START + at, "codeworm:logs", b""), {"event": event} | fields)
        for number, at in enumerate(times, 1)
    ]
    batches = [BUILDERS[Kind.LOGS](rows)] if rows else []
    return pa.Table.from_batches(batches, schema=LAYOUTS[Kind.LOGS].schema)


def gaps(*stretches: tuple[float, float]) -> pa.Table:
    rows = [
        ("e", Gap(cause=GapCause.SOURCE_OUTAGE, started_at=START + begin, ended_at=START + end))
        for begin, end in stretches
    ]
    return pa.Table.from_batches([build_gaps(rows)] if rows else [], schema=GAP_LAYOUT.schema)


def tried(rule: Rule, *tables: pa.Table, holes: pa.Table | None = None) -> list[tuple[str, float]]:
    watch = Watch(rule, [], monitor="m", name="n")
    replay(watch, tables, holes)
    return [(str(one.kind), round(one.time.timestamp() - START, 3)) for one in watch.notices]


def test_the_clock_goes_on_between_messages_and_ends_with_the_last() -> None:
    rule = Silence(after=30, cooldown=0)
    assert tried(rule, lines(0, 10, 100, 120)) == [("fired", 40), ("cleared", 100)]
    assert tried(rule, lines(0), lines(31, event="y")) == [("fired", 30), ("cleared", 31)]
    assert tried(rule, lines(0)) == []


def test_it_clears_by_the_clock_and_reminds() -> None:
    rule = OnRecord(event="x", within=10, clear_after=20, remind=12)
    found = tried(rule, lines(5), lines(200, event="y"))
    assert found == [("fired", 5), ("reminded", 17), ("reminded", 29), ("cleared", 35)]


def test_gaps_are_no_silence() -> None:
    rule = Silence(after=30, cooldown=0)
    assert tried(rule, lines(0, 100), holes=gaps((10, 90))) == []
    assert tried(rule, lines(0, 100), holes=gaps((10, 20))) == [("fired", 50), ("cleared", 100)]


def test_a_clock_set_back_stands_still_meanwhile() -> None:
    assert tried(Silence(after=30, cooldown=0), lines(0, 100, 50, 60, 120)) == [("fired", 30), ("cleared", 100)]


def test_nothing_at_all_is_nothing() -> None:
    assert tried(Silence(after=30), lines()) == []
    assert tried(Silence(), lines(), holes=gaps()) == []


@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), st.integers(1, 100))
def test_each_silence_is_found_at_its_time(pauses: list[int], limit: int) -> None:
    times = list(itertools.accumulate([0, *pauses]))
    expected = []
    for before, after in itertools.pairwise(times):
        if after - before > limit:
            expected += [("fired", before + limit), ("cleared", after)]
    assert tried(Silence(after=limit, cooldown=0), lines(*times)) == expected


def test_a_storm_in_the_past_is_a_few_notices() -> None:
    storm = lines(*(number / 20 for number in range(20_000)), event="documentation_failed", level="error")
    assert tried(FailuresInARow(3, cooldown=0), storm) == [("fired", 0.1)]
    assert len(tried(OnRecord(level="error", remind="5min"), storm)) == 4


def test_actions_are_given_all_when_they_are_wanted() -> None:
    seen: list[NoticeKind] = []
    watch = Watch(Silence(after=30, cooldown=0), [Call(lambda one: seen.append(one.kind))], monitor="m", name="n")
    replay(watch, [lines(0, 100)], None, after_each=watch.wait)
    assert seen == [NoticeKind.FIRED, NoticeKind.CLEARED]


def test_holes_lie_among_records_by_their_ends() -> None:
    records = [Arrived(float(at), log("x")) for at in (1, 2, 3)]
    found = in_order(records, [Hole(0, 2.5), Hole(0, 1), Hole(5, 9)])
    assert [one.ended if isinstance(one, Hole) else one.at for one in found] == [1, 1, 2, 2.5, 3, 9]
    assert isinstance(found[0], Hole)
    assert in_order(records, []) == records


def test_time_that_is_always_due_still_passes() -> None:
    class Restless(FailuresInARow):
        def begin(self) -> Any:
            condition: Any = super().begin()
            condition.due = lambda now: -math.inf
            return condition

    assert tried(Restless(1), lines(0, 5)) == []
