from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.panels import LOGS, Feed

from codeworm_monitor.activity import Snapshot, Stage
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.states.panel_states import PanelStates
from codeworm_monitor.states.quiet import PRIOR
from codeworm_monitor.status import State, Status

NOW = 1_795_000_000.0


def activity(panels: PanelStates, now: float = NOW) -> dict[str, Any]:
    return panels.as_dict(now)["activity"]


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_nothing_is_known_at_first() -> None:
    found = activity(PanelStates(NOW))
    assert found.pop("stage") == "unknown"
    assert (found.pop("last_commit"), found.pop("last_error")) == ({}, {})
    assert set(found.values()) == {None}


def test_after_a_failed_cycle_it_is_not_generating_any_more() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.event("cycle_starting", cycle_num=3), feed.event("generating", target="f", repo="click")])
    found = activity(panels)
    assert (found["stage"], found["target"], found["repo"], found["cycle_num"]) == ("generating", "f", "click", 3)
    panels.take("a", [feed.log("llm_error", target="f", error="out of memory")])
    found = activity(panels)
    assert (found["stage"], found["target"]) == ("failed", None)
    assert found["last_error"] == {"at": feed.at, "event": "llm_error", "target": "f", "error": "out of memory"}


def test_the_next_cycle_is_told_by_the_relays_clock() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.log("noise", timestamp=iso(NOW + 1 + 100)), feed.event("next_cycle", time=iso(NOW + 160))])
    assert activity(panels)["next_cycle_at"] == pytest.approx(NOW + 60)
    panels.take("a", [feed.log("backing_off", seconds=30, timestamp=iso(feed.at + 101))])
    assert activity(panels)["next_cycle_at"] == feed.at + 30


def test_a_length_of_silence_that_is_too_long_counts_from_the_newest_message() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.log("noise")])
    assert activity(panels)["silence_limit"] == PRIOR
    assert activity(panels)["last_message_at"] == feed.at
    panels.take_gap("a", Gap(cause=GapCause.SOURCE_OUTAGE, started_at=feed.at, ended_at=feed.at + 500))
    found = activity(panels)
    assert found["last_message_at"] == feed.at
    assert found["silence_limit"] == PRIOR + 500


def test_a_steady_flow_makes_the_limit_short() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.log("noise", after=10.0) for _ in range(200)])
    assert 25 < activity(panels)["silence_limit"] < 40


@pytest.mark.parametrize("state", [State.RECONNECTING, State.RECORDING, State.CLOSED, State.REFUSED])
def test_who_does_not_hear_cannot_tell_silence(state: State) -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.log("noise")])
    panels.take_status(Status(name="m", state=state, since=datetime.fromtimestamp(NOW, UTC)))
    assert activity(panels)["silence_limit"] is None
    panels.take_status(Status(name="m", state=State.CONNECTED, since=datetime.fromtimestamp(NOW, UTC)))
    assert activity(panels)["silence_limit"] == PRIOR


def test_while_the_relay_does_not_hear_redis_silence_is_not_the_daemons() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.log("noise")])
    panels.take_info({"statistics": {"is_connected": False}})
    assert activity(panels)["silence_limit"] is None
    panels.take_info(None, "it does not answer")
    assert activity(panels)["silence_limit"] is None
    panels.take_info({"statistics": {"is_connected": True}})
    assert activity(panels)["silence_limit"] == PRIOR


def test_a_daemon_that_stopped_may_be_silent() -> None:
    panels = PanelStates(NOW)
    panels.restart(Snapshot(stage=Stage.STOPPED, last_message_at=NOW), live_from=5, epoch="a")
    assert activity(panels)["silence_limit"] is None
    panels.restart(Snapshot(stage=Stage.IDLE, last_message_at=NOW), live_from=5, epoch="a")
    assert activity(panels)["silence_limit"] == PRIOR


def test_what_is_replayed_does_not_change_what_the_relay_told() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.restart(Snapshot(stage=Stage.IDLE, cycle_num=9), live_from=2, epoch="a")
    panels.take("a", [feed.event("generating", target="f"), feed.commit()])
    assert activity(panels)["stage"] == "idle"
    assert panels.as_dict(NOW)["commits"]["count"] == 1
    panels.take("a", [feed.event("generating", target="g")])
    assert activity(panels)["target"] == "g"


def test_long_texts_are_cut_and_halves_of_characters_leave() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.event("generating", target="x" * 5_000_000, repo="\ud800\u202e<script>")])
    found = activity(panels)
    assert len(found["target"]) == 500
    assert found["repo"] == "?\u202e<script>"
    assert panels.as_dict(NOW)["repositories"]["repositories"][0]["is_active"] is True


def test_lines_that_tell_nothing_still_teach_the_clock_in_their_order() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.message(LOGS, {"event": "noise", "timestamp": iso(NOW + 1 - 50)})])
    panels.take("a", [feed.event("next_cycle", time=iso(NOW))])
    assert activity(panels)["next_cycle_at"] == pytest.approx(NOW + 50)
