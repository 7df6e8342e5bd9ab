"""The panel feed against a real relay: pace, order, what begins late, what goes wrong, its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from support.stations import EVENTS, LOGS, Station, station
from support.waiting import until
from support.widget_lines import Lines, lines

from codeworm_monitor.records import RELAY_CHANNEL
from codeworm_monitor.widgets import ActivityPanel, CommitsPanel, HealthPanel, LogPanel, StatsPanel

__all__ = ["lines"]

COMMIT = {"target": "f", "doc_type": "til", "commit": "0123abcd", "tokens": 100, "time_ms": 2000, "repo": "r"}


@pytest.fixture
def source() -> Iterator[Station]:
    with station() as made:
        yield made


def rows(lines: Lines, panel: LogPanel) -> list[list[Any]]:
    """Return the rows that a browser would hold: the newest fill and all batches after it, which must be in order."""
    held: list[list[Any]] = []
    number = None
    for message in lines.custom(panel):
        if message["type"] == "fill":
            held, number = list(message["rows"]), message["n"]
        elif message["type"] == "batch":
            assert number is not None
            assert message["n"] == number + 1
            assert message["count"] == len(message["rows"])
            number += 1
            held += message["rows"]
    return [row for row in held if row[2] != RELAY_CHANNEL]  # in which the relay tells of its readers


def panel_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("codeworm_monitor:station")]


def test_what_comes_is_shown_in_order_by_one_thread(lines: Lines, source: Station) -> None:
    source.log("before")
    until(lambda: len(source.monitor.logs) == 1)
    panel = LogPanel(source.monitor)
    until(lambda: len(rows(lines, panel)) == 1)
    for number in range(30):
        source.log(f"line-{number}", f"again-{number}")
    until(lambda: len(rows(lines, panel)) == 61)
    assert [row[0] for row in rows(lines, panel)] == list(source.monitor.logs.df.offset)
    assert panel_threads().count("codeworm_monitor:station:panels") == 1
    assert "codeworm_monitor:station:panels" in lines.threads


def test_states_follow_and_nothing_is_sent_twice(lines: Lines, source: Station) -> None:
    activity, commits = ActivityPanel(source.monitor), CommitsPanel(source.monitor)
    source.publish((EVENTS, {"type": "generating", "data": {"target": "f", "repo": "r"}}))
    until(lambda: activity.state.get("stage") == "generating")
    source.publish((EVENTS, {"type": "documentation_committed", "data": COMMIT}))
    until(lambda: commits.state.get("count") == 1)
    assert commits.state["commits"][0]["tokens_per_second"] == 50.0
    states = [update["state"] for update in lines.updates(activity) if "state" in update]
    assert all(one != other for one, other in pairwise(states))


def test_a_panel_made_late_knows_what_came_before_it(lines: Lines, source: Station) -> None:
    source.publish(
        (EVENTS, {"type": "documentation_committed", "data": COMMIT}), (LOGS, {"event": "llm_error", "error": "e"})
    )
    until(lambda: len(source.monitor.logs) == len(source.monitor.events) == 1)
    activity, commits, stats = (kind(source.monitor) for kind in (ActivityPanel, CommitsPanel, StatsPanel))
    until(lambda: activity.state and commits.state and stats.state)
    assert activity.state["stage"] == "failed"
    assert activity.state["last_error"]["error"] == "e"
    assert (commits.state["count"], commits.state["commits"][0]["commit"]) == (1, "0123abcd")
    assert stats.state["by_repo"] == [["r", 1]]
    source.publish((EVENTS, {"type": "documentation_committed", "data": {**COMMIT, "commit": "4567abcd"}}))
    until(lambda: commits.state["count"] == 2)


def test_of_a_flood_the_newest_rows_come_and_the_others_are_counted(lines: Lines, source: Station) -> None:
    panel = LogPanel(source.monitor)
    until(lambda: lines.custom(panel))
    with source.monitor.panel_feed._lock:  # one refresh that is late
        source.log(*(f"line-{number}" for number in range(6_000)))
        until(lambda: len(source.monitor.logs) == 6_000)
    until(lambda: any(row[3].get("event") == "line-5999" for row in rows(lines, panel)))
    shown = rows(lines, panel)
    skipped = sum(row[3]["count"] for row in shown if row[2] == "skipped")
    assert skipped >= 4_000
    # Of the relay's own lines some may be among those left out.
    assert 6_000 <= skipped + sum(row[2] == LOGS for row in shown) <= 6_005
    assert len(panel.selection.query(f"channel == '{LOGS}'")) == 6_000


def test_the_browsers_calls_are_answered_while_rows_come(lines: Lines, source: Station) -> None:
    panel = LogPanel(source.monitor)
    until(lambda: lines.custom(panel))
    source.log("a")
    until(lambda: [one for one in lines.custom(panel) if one["type"] == "batch"])
    first = next(one for one in lines.custom(panel) if one["type"] == "batch")
    lines.say(panel, {"type": "resend", "first": first["n"], "last": first["n"]})
    assert lines.custom(panel)[-1] == first
    lines.say(panel, {"type": "resend", "first": 0, "last": 10_000})
    assert lines.custom(panel)[-1]["type"] == "fill"


def test_rows_older_than_the_tables_come_from_the_relay(lines: Lines) -> None:
    with station(capacity=50) as source:
        source.log(*(f"line-{number}" for number in range(400)))
        until(lambda: source.monitor.status.received == 400)
        panel = LogPanel(source.monitor)
        until(lambda: len(rows(lines, panel)) == 50)
        known = rows(lines, panel)
        oldest, asked, is_all = known[0][0], 0, False
        while not is_all and asked < 10:
            asked += 1
            lines.say(panel, {"type": "older", "id": asked, "before": oldest, "count": 150})
            until(lambda number=asked: [one for one in lines.custom(panel) if one.get("id") == number])
            answer = next(one for one in lines.custom(panel) if one.get("id") == asked)
            assert answer["problem"] is None
            is_all = answer["is_all"]
            oldest = answer["rows"][0][0] if answer["rows"] else oldest
            known = [*(row for row in answer["rows"] if row[2] == LOGS), *known]
        assert is_all
        assert [row[3]["event"] for row in known] == [f"line-{number}" for number in range(400)]
        panel.view = {"first": 1, "last": 10_000, "query": "event:line-7 OR event:line-370"}
        assert list(panel.selection.event) == ["line-7", "line-370"]


def test_a_failure_stands_below_the_panels_and_does_not_end_it(
    lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    panel = HealthPanel(source.monitor)
    until(lambda: panel.state)
    states = source.monitor.panel_feed._states
    assert states is not None

    def fail(now: float) -> dict[str, Any]:
        raise RuntimeError("this cannot be")

    with monkeypatch.context() as patch:
        patch.setattr(states, "as_dict", fail)
        until(lambda: "RuntimeError: this cannot be" in panel.problem)
    until(lambda: panel.problem == "")
    assert capfd.readouterr() == ("", "")


def test_it_tells_that_it_lives_when_nothing_changes(
    lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeworm_monitor.panel_feed.SIGN_OF_LIFE", 0.1)
    panel = ActivityPanel(source.monitor)
    until(lambda: len([one for one in lines.updates(panel) if list(one) == ["at"]]) > 2)


def test_the_relay_is_asked_how_it_is(lines: Lines, source: Station) -> None:
    panel = HealthPanel(source.monitor)
    until(lambda: (panel.state.get("relay") or {}).get("version"))
    assert panel.state["upstream"]["is_connected"] is True


def test_it_ends_with_the_monitor_and_says_how(lines: Lines, source: Station) -> None:
    health, log = HealthPanel(source.monitor), LogPanel(source.monitor)
    until(lambda: health.state and rows(lines, log) == [])
    source.log("last")
    until(lambda: len(source.monitor.logs) == 1)
    source.monitor.close()
    until(lambda: not [name for name in panel_threads() if name.endswith(("panels", "asking"))])
    assert health.state["connection"]["state"] == "closed"
    assert [row[3]["event"] for row in rows(lines, log)] == ["last"]
    later = LogPanel(source.monitor)
    assert [row[3]["event"] for row in rows(lines, later)] == ["last"]
    assert not [name for name in panel_threads() if name.endswith("panels")]


def test_before_the_first_panel_nothing_is_kept_for_them(source: Station) -> None:
    source.log("a", "b")
    until(lambda: len(source.monitor.logs) == 2)
    feed = source.monitor.panel_feed
    assert (len(feed._arrived), feed._states, feed._thread) == (0, None, None)


def test_what_waits_is_bounded_and_begun_anew(lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeworm_monitor.panel_feed.MOST_ARRIVED", 100)
    panel = LogPanel(source.monitor)
    until(lambda: lines.custom(panel))
    feed = source.monitor.panel_feed
    with feed._lock:
        source.log(*(f"line-{number}" for number in range(500)))
        until(lambda: len(source.monitor.logs) == 500)
        assert len(feed._arrived) <= 100
    until(lambda: len(rows(lines, panel)) == 500)
    source.log("after")
    until(lambda: len(rows(lines, panel)) == 501)
    assert time.time() - panel.at < 60
