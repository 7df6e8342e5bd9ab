from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from support.faked_relay import FakedRelay
from support.findings import case_of, findings, outcomes

from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.doctor.clock_checks import check_clock


def entry(late: float, **data: Any) -> dict[str, Any]:
    """A log line whose own time is so many seconds before its receipt."""
    now = time.time()
    said = datetime.fromtimestamp(now - late, UTC).isoformat().replace("+00:00", "Z")
    return {"offset": 1, "received_at": now, "channel": "codeworm:logs", "data": {"timestamp": said} | data}


@pytest.mark.parametrize(
    ("ahead", "outcome", "said"),
    [(0.0, Outcome.OK, "agrees"), (10.0, Outcome.WARNING, "10 s ahead of"), (-3600.0, Outcome.FAILED, "behind")],
)
async def test_a_relay_whose_clock_is_off_is_told_by_how_much(ahead: float, outcome: Outcome, said: str) -> None:
    async with FakedRelay(ahead=ahead).running() as relay:
        found = await findings(check_clock, case_of(relay.url))
    assert outcomes(found)["clock.relay"] is outcome
    assert said in found["clock.relay"].said
    assert outcome is Outcome.OK or "set-ntp" in found["clock.relay"].mend


@pytest.mark.parametrize(("late", "outcome"), [(0.001, Outcome.OK), (20.0, Outcome.WARNING), (-7200.0, Outcome.FAILED)])
async def test_the_publishers_clock_is_judged_by_its_newest_lines(late: float, outcome: Outcome) -> None:
    relay = FakedRelay()
    odd = [
        entry(late, timestamp="2026-11-22T16:57:36"),
        entry(late, timestamp=7),
        {"gap": {}},
        None,
        entry(late, timestamp="x"),
    ]
    relay.tell("/history", {"entries": [entry(late), *odd, entry(late)], "next": None})
    async with relay.running():
        found = await findings(check_clock, case_of(relay.url))
    assert outcomes(found)["clock.publisher"] is outcome


async def test_traffic_of_long_ago_may_be_recorded_and_a_replay_is_no_clock() -> None:
    relay = FakedRelay()
    relay.tell("/history", {"entries": [entry(86_400.0)], "next": None})
    async with relay.running():
        found = await findings(check_clock, case_of(relay.url))
        assert "recorded traffic" in found["clock.publisher"].said
        replayed = case_of(relay.url)
        replayed.place = replace(replayed.place, is_replay=True)
        assert outcomes(await findings(check_clock, replayed)) == {"clock.relay": Outcome.SKIPPED}


async def test_without_a_relay_or_log_lines_there_is_nothing_to_compare() -> None:
    assert outcomes(await findings(check_clock, case_of())) == {"clock.relay": Outcome.SKIPPED}
    async with FakedRelay().running() as relay:
        found = await findings(check_clock, case_of(relay.url))
    assert outcomes(found)["clock.publisher"] is Outcome.SKIPPED
