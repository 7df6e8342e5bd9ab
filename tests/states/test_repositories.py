from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.panels import EVENTS, Feed, anything

from codeworm_monitor.states.panel_states import PanelStates

NOW = 1_795_000_000.0  # 2026-11-18T15:06:40Z
CONFIGURED = [
    {"name": "httpx", "weight": 5, "enabled": True, "docs_generated": 3, "last_activity": "2026-11-18T10:00:00"},
    {"name": "click", "weight": 2.5, "enabled": False, "docs_generated": 0, "last_activity": None},
]


def repositories(panels: PanelStates, now: float = NOW) -> list[dict[str, Any]]:
    return list(panels.as_dict(now)["repositories"]["repositories"])


def test_configured_ones_stand_in_the_order_of_the_file() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    # An event tells that the daemon's host is five hours behind.
    panels.take("a", [feed.message(EVENTS, {"type": "analyzing", "timestamp": "2026-11-18T10:06:41"})])
    panels.take_repositories(CONFIGURED)
    assert panels.as_dict(NOW)["repositories"]["source"] == "configuration"
    assert repositories(panels) == [
        {
            "name": "httpx",
            "is_enabled": True,
            "weight": 5.0,
            "documents": 3,
            "last_activity": NOW - 400,
            "is_active": False,
        },
        {
            "name": "click",
            "is_enabled": False,
            "weight": 2.5,
            "documents": 0,
            "last_activity": None,
            "is_active": False,
        },
    ]


def test_the_one_in_work_is_lit_and_then_has_one_document_more() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take_statistics({"total_documented": 3, "by_repo": {"httpx": 3}})
    panels.take_repositories(CONFIGURED)
    panels.take("a", [feed.event("generating", repo="httpx", target="f")])
    assert [one["is_active"] for one in repositories(panels)] == [True, False]
    panels.take("a", [feed.commit(repo="httpx")])
    first = repositories(panels)[0]
    assert (first["documents"], first["last_activity"], first["is_active"]) == (4, feed.at, True)
    panels.take("a", [feed.log("cycle_starting")])
    assert [one["is_active"] for one in repositories(panels)] == [False, False]


def test_one_that_is_in_work_and_not_configured_stands_behind() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take_repositories(CONFIGURED)
    panels.take("a", [feed.event("analyzing", repo="dotfiles")])
    last = repositories(panels)[-1]
    assert (last["name"], last["is_active"], last["is_enabled"], last["weight"]) == ("dotfiles", True, None, None)


def test_without_a_configuration_those_that_were_heard_of_are_shown_most_documents_first() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.stats(total_documented=9, by_repo={"a": 2, "b": 7}), feed.commit(repo="c")])
    assert panels.as_dict(NOW)["repositories"]["source"] == "messages"
    assert [(one["name"], one["documents"]) for one in repositories(panels)] == [("b", 7), ("a", 2), ("c", 1)]


@given(st.lists(st.dictionaries(st.sampled_from([*CONFIGURED[0]]), anything) | anything, max_size=5) | anything)
def test_a_configuration_of_any_form_is_read(told: Any) -> None:
    panels = PanelStates(NOW)
    panels.take_repositories(told)
    for one in repositories(panels):
        assert isinstance(one["name"], str)
        assert one["is_enabled"] in (True, False, None)
