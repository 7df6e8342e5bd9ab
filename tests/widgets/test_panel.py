"""What all panels have in common, over a recording: no thread, no browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.widget_lines import Lines, lines

from codeworm_monitor.monitor import Monitor, open_recording
from codeworm_monitor.widgets import PANELS, ActivityPanel, CommitsPanel, HealthPanel, LogPanel, Panel

__all__ = ["lines"]


@pytest.fixture
def recorded(recording: Path) -> Iterator[Monitor]:
    with open_recording(recording) as monitor:
        yield monitor


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_can_stand_alone_and_shows_the_end_of_a_recording(lines: Lines, recorded: Monitor, name: str) -> None:
    panel = PANELS[name](recorded)
    assert panel.problem == ""
    assert panel.at > 1.7e9
    assert panel.label == recorded.name
    assert repr(panel) == f"<{type(panel).__name__} of {recorded.name!r}>"
    assert panel.key in lines.opened()
    assert not [one for one in threading.enumerate() if one.name.endswith(":panels")]
    panel.close()


def test_the_states_are_those_of_the_recordings_end(lines: Lines, recorded: Monitor) -> None:
    activity, commits, health = ActivityPanel(recorded), CommitsPanel(recorded), HealthPanel(recorded)
    assert activity.state["stage"] == str(recorded.snapshot.stage)
    events = recorded.events.where(type="documentation_committed")
    assert commits.state["count"] == len(events)
    shown = [one["commit"] for one in commits.state["commits"]]
    assert shown == list(events["commit"].iloc[::-1][: len(shown)])
    assert health.state["connection"]["state"] == "recording"


def test_an_unknown_option_is_refused_with_help(lines: Lines, recorded: Monitor) -> None:
    with pytest.raises(TypeError, match="takes layout, not 'layot'; did you mean 'layout'"):
        ActivityPanel(recorded, layot=None)
    with pytest.raises(TypeError, match="takes layout, binary, not 'state'"):
        LogPanel(recorded, state={})
    assert lines.opened() == []


def test_only_monitors_and_archives_are_shown() -> None:
    with pytest.raises(TypeError, match="shows a monitor or an archive, not str"):
        ActivityPanel("mon")


@pytest.mark.parametrize("name", PANELS)
def test_each_synced_trait_of_ours_says_what_it_is_and_its_default(name: str) -> None:
    ours = [
        trait
        for kind in PANELS[name].__mro__
        if issubclass(kind, Panel)
        for own, trait in vars(kind).items()
        if own in kind.class_trait_names(sync=True)
    ]
    assert len(ours) >= 5
    assert all(trait.help.endswith(".") and "Default: " in trait.help for trait in ours)


def test_a_browser_that_was_reloaded_is_told_everything_again(lines: Lines, recorded: Monitor) -> None:
    panel = ActivityPanel(recorded)
    before = len(lines.updates(panel))
    lines.say(panel, {"type": "ready"})
    assert lines.custom(panel)[-1] == {"type": "here"}
    assert lines.updates(panel)[before:] == [{"state": panel.state, "at": panel.at}]
    for nonsense in (None, [], {"type": 5}, {"type": "resend"}, {"type": "older", "id": "x"}, "ready"):
        lines.say(panel, nonsense)
    assert len(lines.custom(panel)) == 1


def test_closed_it_says_so_and_may_be_closed_again(lines: Lines, recorded: Monitor) -> None:
    panel = ActivityPanel(recorded)
    panel.close()
    panel.close(freeze=True)
    assert repr(panel).endswith(", closed>")
    assert "text/html" in panel._repr_mimebundle_()[0]
    assert (panel.key, "comm_close") in {(name, kind) for name, kind, _, _ in lines.sent}
