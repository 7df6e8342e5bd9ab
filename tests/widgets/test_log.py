"""The log panel's kernel side over a recording: rows, what a browser asks for, and what it shows as a frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.waiting import until
from support.widget_lines import Lines, lines

from codeworm_monitor.monitor import Monitor, open_recording
from codeworm_monitor.widgets import LogPanel

__all__ = ["lines"]

DATA = Path(__file__).parents[1] / "data"
ALL: dict[str, Any] = {"query": "", "levels": ["debug", "info", "warning", "error", "critical"], "component": ""}


@pytest.fixture
def recorded() -> Iterator[Monitor]:
    with open_recording(DATA / "recording-1.jsonl.gz") as monitor:
        yield monitor


def offsets(monitor: Monitor) -> list[int]:
    return sorted(int(o) for stream in (monitor.logs, monitor.events, monitor.stats) for o in stream.df.offset)


def test_all_rows_are_there_before_a_browser_asks(lines: Lines, recorded: Monitor) -> None:
    panel = LogPanel(recorded)
    (fill,) = lines.custom(panel)
    assert (fill["type"], fill["n"], fill["is_all"], fill["is_binary"]) == ("fill", 1, True, True)
    assert [row[0] for row in fill["rows"]] == offsets(recorded)
    assert fill["count"] == len(fill["rows"])


def test_rows_say_what_the_messages_said(lines: Lines, recorded: Monitor) -> None:
    rows = {row[0]: row for row in lines.custom(LogPanel(recorded))[0]["rows"]}
    line = recorded.logs.where(event="documentation_failed").iloc[0]
    _, at, channel, data = rows[line.offset]
    assert (channel, at) == ("codeworm:logs", pytest.approx(line.received_at.timestamp()))
    assert (data["event"], data["level"], data["error"], data["exception"]) == (
        "documentation_failed",
        "error",
        line.error,
        line.exception,
    )
    commit = recorded.events.where(type="documentation_committed").iloc[0]
    data = rows[commit.offset][3]
    assert data["type"] == "documentation_committed"
    assert (data["data"]["commit"], data["data"]["tokens"]) == (commit.commit, commit.tokens)
    stats = recorded.stats.df.iloc[0]
    assert rows[stats.offset][3]["by_repo"] == orjson.loads(stats.by_repo)


def test_without_binary_messages_rows_go_as_json(lines: Lines, recorded: Monitor) -> None:
    (fill,) = lines.custom(LogPanel(recorded, binary=False))
    assert "is_binary" not in fill
    assert [row[0] for row in fill["rows"]] == offsets(recorded)


def test_a_reloaded_page_gets_everything_again_and_one_that_asks_twice_gets_it_once(
    lines: Lines, recorded: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = LogPanel(recorded)
    lines.say(panel, {"type": "ready"})
    assert len(lines.custom(panel)) == 1
    monkeypatch.setattr("codeworm_monitor.panel_feed.ASKED_AGAIN", 0.0)
    lines.say(panel, {"type": "ready"})
    first, again = lines.custom(panel)
    assert (again["type"], again["n"], again["rows"]) == ("fill", 2, first["rows"])


def test_rows_lost_on_the_way_are_sent_again_or_replaced(lines: Lines, recorded: Monitor) -> None:
    panel = LogPanel(recorded)
    lines.say(panel, {"type": "resend", "first": 1, "last": 1})
    assert [one["type"] for one in lines.custom(panel)] == ["fill", "fill"]


def test_older_rows_come_from_the_tables(lines: Lines, recorded: Monitor) -> None:
    panel = LogPanel(recorded)
    known = offsets(recorded)
    lines.say(panel, {"type": "older", "id": 7, "before": known[500], "count": 100})
    until(lambda: len(lines.custom(panel)) == 2)
    answer = lines.custom(panel)[1]
    assert (answer["type"], answer["id"], answer["is_all"], answer["problem"]) == ("older", 7, False, None)
    assert [row[0] for row in answer["rows"]] == known[400:500]
    lines.say(panel, {"type": "older", "id": 8, "before": known[0], "count": 100})
    until(lambda: len(lines.custom(panel)) == 3)
    answer = lines.custom(panel)[2]
    assert (answer["id"], answer["rows"], answer["is_all"]) == (8, [], True)


def test_a_trouble_with_older_rows_is_told_and_not_raised(
    lines: Lines, recorded: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = LogPanel(recorded)

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(recorded.panel_feed._held, "before", fail)
    lines.say(panel, {"type": "older", "id": 1, "before": 5, "count": 100})
    until(lambda: len(lines.custom(panel)) == 2)
    assert lines.custom(panel)[1]["problem"] == "the disk is gone"


def test_the_selection_is_what_is_selected_or_else_what_is_shown(lines: Lines, recorded: Monitor) -> None:
    panel = LogPanel(recorded)
    assert list(panel.selection.offset) == offsets(recorded)
    panel.view = {**ALL, "first": 100, "last": 400, "selected": []}
    assert list(panel.selection.offset) == [o for o in offsets(recorded) if 100 <= o <= 400]
    panel.view = {**ALL, "first": 100, "last": 400, "selected": [300, 120]}
    assert list(panel.selection.offset) == [120, 300]
    panel.view = {**ALL, "levels": ["error"], "query": "-llm_error", "first": None, "last": None, "selected": []}
    shown = panel.selection
    assert set(shown.level.dropna()) == {"error"}
    assert "llm_error" not in set(shown.event)
    assert len(shown[shown.level == "error"]) == len(recorded.logs.where(level="error").query("event != 'llm_error'"))


def test_the_selections_frame_has_its_documented_columns(lines: Lines, recorded: Monitor) -> None:
    panel = LogPanel(recorded)
    for view in ({}, {**ALL, "first": 1, "last": 0}):
        panel.view = view
        frame = panel.selection
        kinds = {name: str(dtype) for name, dtype in frame.dtypes.items()}
        category, text = "category", kinds["text"]
        assert kinds == {
            **{"offset": "float64", "received_at": "datetime64[us, UTC]"},
            **dict.fromkeys(("channel", "level", "component", "event"), category),
            **{"target": text, "repo": category, "text": text, "payload": text},
        }
    assert frame.empty
    panel.view = {}
    row = panel.selection.query("event == 'generating'").iloc[0]
    assert orjson.loads(row.payload)["data"]["target"] == row.target
    assert row.repo in row.text


def test_where_takes_a_panel_or_its_view_and_other_conditions(lines: Lines, recorded: Monitor) -> None:
    panel = LogPanel(recorded)
    panel.view = {**ALL, "levels": ["error", "warning"], "first": 50, "last": 900, "selected": []}
    logs = recorded.logs.where(view=panel)
    bad = recorded.logs.where(level=">=warning")
    assert list(logs.offset) == [o for o in bad.offset if 50 <= o <= 900]
    assert list(recorded.logs.where(view=panel.view, level="error").level.unique()) == ["error"]
    assert len(recorded.events.where(view=panel, type="generating")) > 10
    with pytest.raises(TypeError, match="view is a log panel"):
        recorded.logs.where(view="all")
