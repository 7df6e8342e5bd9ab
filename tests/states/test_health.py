from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from support.panels import LOGS, Feed, anything

from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.records import RELAY_CHANNEL
from codeworm_monitor.states.panel_states import PanelStates
from codeworm_monitor.status import State, Status

NOW = 1_795_000_000.0
INFO = {
    "statistics": {
        "version": "0.1.0",
        "started_at": NOW - 100,
        "readers": 3,
        "readers_behind": 1,
        "is_connected": False,
        "upstream_since": NOW - 5,
        "upstream_reason": "Connection refused",
        "archive": {"is_writing": True, "reason": "", "waiting": 12, "directory": "/x"},
    },
    "ollama": {"is_reachable": True, "reason": "", "models": [{"name": "qwen:7b", "size": 1}], "size_vram": 5},
}


def health(panels: PanelStates, now: float = NOW) -> dict[str, Any]:
    return panels.as_dict(now)["health"]


def test_before_anything_it_connects() -> None:
    found = health(PanelStates(NOW))
    assert found["connection"] == {
        "state": "connecting",
        "since": NOW,
        "url": None,
        "reason": "",
        "retry_at": None,
        "reconnects": 0,
    }
    assert (found["relay"], found["upstream"], found["archive"], found["ollama"]) == (None, None, None, None)


def test_the_monitors_own_status_is_shown() -> None:
    panels = PanelStates(NOW)
    status = Status(
        name="m",
        state=State.RECONNECTING,
        since=datetime.fromtimestamp(NOW, UTC),
        url="ws://host",
        lag=0.25,
        received=7,
        evicted=2,
        dropped=1,
        gaps=4,
        reconnects=3,
        last_error="gone",
    )
    panels.take_status(status, retry_at=NOW + 3)
    found = health(panels)
    assert found["connection"] == {
        "state": "reconnecting",
        "since": NOW,
        "url": "ws://host",
        "reason": "gone",
        "retry_at": NOW + 3,
        "reconnects": 3,
    }
    assert [found[name] for name in ("lag", "received", "evicted", "dropped", "gap_count")] == [
        0.25,
        7,
        2,
        1,
        4,
    ]


def test_a_gap_that_the_status_knew_first_is_counted_once() -> None:
    panels = PanelStates(NOW)
    panels.take_status(Status(name="m", state=State.CONNECTED, since=datetime.fromtimestamp(NOW, UTC), gaps=1))
    panels.take_gap("a", Gap(cause=GapCause.TRIMMED, started_at=NOW, ended_at=NOW))
    assert health(panels)["gap_count"] == 1


def test_what_a_monitor_first_fetches_is_no_rush() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW - 600)
    panels.take("a", [feed.log("x", after=2) for _ in range(298)])
    panels.take_status(
        Status(name="m", state=State.CONNECTED, since=datetime.fromtimestamp(NOW, UTC), rate=29.8, received=298)
    )
    found = health(panels, NOW)
    assert found["received"] == 298
    assert found["rate"] == 0.3


def test_without_a_status_messages_are_counted_here_and_the_relays_own_are_not() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.log("x", after=0.5) for _ in range(39)] + [feed.message(RELAY_CHANNEL, {"event": "y"})])
    found = health(panels, NOW + 19.9)
    assert found["received"] == 39
    assert found["rate"] == 2.0


def test_gaps_stand_newest_first_with_cause_and_times() -> None:
    panels = PanelStates(NOW)
    for number in range(30):
        panels.take_gap(
            "a",
            Gap(
                cause=GapCause.SLOW_READER,
                started_at=NOW + number,
                ended_at=NOW + number + 0.5,
                first_offset=1,
                last_offset=number + 1,
                detail="d" * 1000,
            ),
        )
    found = health(panels)
    assert found["gap_count"] == 30
    assert len(found["gaps"]) == 20
    assert found["gaps"][0] | {"detail": ""} == {
        "cause": "slow_reader",
        "started_at": NOW + 29,
        "ended_at": NOW + 29.5,
        "missed": 30,
        "detail": "",
    }
    assert len(found["gaps"][0]["detail"]) == 500


def test_what_the_relay_tells_of_itself_its_source_and_ollama() -> None:
    panels = PanelStates(NOW)
    panels.take_info(INFO)
    found = health(panels)
    assert found["relay"] == {
        "version": "0.1.0",
        "started_at": NOW - 100,
        "readers": 3,
        "readers_behind": 1,
        "problem": None,
    }
    assert found["upstream"] == {"is_connected": False, "since": NOW - 5, "reason": "Connection refused"}
    assert found["archive"] == {"is_writing": True, "reason": "", "waiting": 12}
    assert found["ollama"] == {"is_reachable": True, "reason": "", "models": ["qwen:7b"], "size_vram": 5}
    panels.take_info(None, "it did not answer in time")
    later = health(panels)
    assert later["relay"] == found["relay"] | {"problem": "it did not answer in time"}
    assert later["upstream"] == found["upstream"]


def test_a_relay_that_never_answered_has_a_problem_and_no_version() -> None:
    panels = PanelStates(NOW)
    panels.take_info(None, "it answered 401")
    found = health(panels)["relay"]
    assert (found["version"], found["readers"], found["problem"]) == (None, None, "it answered 401")


def test_the_relays_own_lines_tell_of_ollama_at_once_but_not_when_replayed() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take_info(INFO)
    down = {"event": "ollama_unreachable", "error": "refused", "models": [{"name": "old"}]}
    panels.take("a", [feed.message(RELAY_CHANNEL, down)])
    assert health(panels)["ollama"] == {"is_reachable": False, "reason": "refused", "models": [], "size_vram": None}
    up = {"event": "ollama_reachable", "models": [{"name": "new"}], "size_vram": 7}
    panels.take("a", [feed.message(RELAY_CHANNEL, up)])
    assert health(panels)["ollama"] == {"is_reachable": True, "reason": "", "models": ["new"], "size_vram": 7}
    panels.take("a", [feed.message(LOGS, down)])  # anybody's
    assert health(panels)["ollama"]["models"] == ["new"]


@given(
    st.recursive(
        anything, lambda inner: st.fixed_dictionaries({}, optional=dict.fromkeys([*INFO, *INFO["statistics"]], inner))
    )
)
def test_an_answer_of_any_form_is_read(told: Any) -> None:
    panels = PanelStates(NOW)
    panels.take_info(told)
    panels.take("a", [Feed(NOW).message(RELAY_CHANNEL, {"event": "ollama_models", "models": told, "size_vram": told})])
    assert orjson.loads(orjson.dumps(panels.as_dict(NOW)))["health"]["gap_count"] == 0
