from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.panels import Feed, anything, hostile_messages

from codeworm_monitor.activity import Activity, Snapshot
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.recording import recorded
from codeworm_monitor.states.panel_states import PanelStates

DATA = Path(__file__).parents[1] / "data"
NOW = 1_795_000_000.0


def test_a_recording_ends_where_its_daemon_and_its_database_do(recording: Path) -> None:
    messages = list(recorded(recording))
    panels = PanelStates(0.0)
    panels.take("a", messages)
    now = messages[-1][0].received_at
    states = panels.as_dict(now)
    events = [payload["data"] for one, payload in messages if payload.get("type") == "documentation_committed"]
    assert states["commits"]["count"] == len(events)
    assert [one["commit"] for one in states["commits"]["commits"]] == [one["commit"] for one in events[:-51:-1]]
    with closing(sqlite3.connect(DATA / "codeworm.db")) as database:
        hashes = {row[0] for row in database.execute("SELECT git_commit FROM documented_snippets")}
        by_repo = dict(database.execute("SELECT source_repo, count(*) FROM documented_snippets GROUP BY 1"))
    assert {one["commit"] for one in states["commits"]["commits"]} <= hashes
    stats = states["stats"]
    assert sum(count or 0 for count in stats["per_hour"]["counts"]) == len(events)
    assert Counter(one["language"] for one in events) == dict(stats["by_language"])
    if recording.name.startswith("recording-2"):
        assert stats["total"] == sum(by_repo.values())
        assert dict(stats["by_repo"]) == by_repo
        assert (states["activity"]["stage"], states["activity"]["next_cycle_at"] > now) == ("idle", True)
    else:
        told = next(payload["stats"] for _, payload in reversed(messages) if payload.get("event") == "daemon_stopped")
        names = ("total_cycles", "successful_cycles", "failed_cycles", "skipped_cycles", "success_rate")
        assert {name: stats[name] for name in names} == {name: told[name] for name in names}
        assert states["activity"]["stage"] == "stopped"


def test_at_each_stats_of_the_daemon_the_counters_stood_there_already(recording: Path) -> None:
    panels, checked = PanelStates(0.0), 0
    for envelope, payload in recorded(recording):
        before = panels.as_dict(envelope.received_at)["stats"]
        panels.take("a", [(envelope, payload)])
        if envelope.channel.endswith("stats") and before["total"] is not None and before["total_cycles"] is not None:
            after = panels.as_dict(envelope.received_at)["stats"]
            if not checked:  # until then only the sum is told, at the daemon's start
                before["by_repo"] = after["by_repo"]
            assert before == after
            checked += 1
    assert checked >= 45


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_size_of_batches_does_not_matter(recording: Path, size: int) -> None:
    messages = list(recorded(recording))[:600]
    now = messages[-1][0].received_at
    whole, parts = PanelStates(0.0), PanelStates(0.0)
    whole.take("a", messages)
    for start in range(0, len(messages), size):
        parts.take("a", messages[start : start + size])
    assert parts.as_dict(now) == whole.as_dict(now)


def test_one_who_comes_late_sees_what_one_sees_who_was_there(recording: Path) -> None:
    messages = list(recorded(recording))
    activity, there, checked = Activity(), PanelStates(0.0), 0
    for place, (envelope, payload) in enumerate(messages, 1):
        activity.fold(envelope.channel, payload, envelope.received_at)
        there.take("a", [(envelope, payload)])
        if place % 17 == 0:
            begin = max(0, place - 60)
            replayed = messages[begin:place]
            if not any(one.channel.endswith("stats") for one, _ in replayed):
                continue
            late = PanelStates(0.0)
            late.restart(activity.snapshot, live_from=envelope.offset, epoch="a")
            late.take("a", replayed)
            wanted, found = (one.as_dict(envelope.received_at) for one in (there, late))
            for name in (
                "stage",
                "since",
                "cycle_num",
                "target",
                "repo",
                "last_commit",
                "last_error",
                "last_message_at",
            ):
                assert found["activity"][name] == wanted["activity"][name], (place, name)
            for name in ("total", "total_cycles", "failed_cycles", "skipped_cycles", "consecutive_failures", "by_repo"):
                assert found["stats"][name] == wanted["stats"][name], (place, name)
            checked += 1
    assert checked > 20


def test_commits_known_from_before_are_shown_once(recording: Path) -> None:
    messages = list(recorded(recording))
    whole = PanelStates(0.0)
    whole.take("a", messages)
    now = messages[-1][0].received_at
    wanted = whole.as_dict(now)
    late = PanelStates(0.0)
    late.take("a", messages[-100:])
    events = [
        payload["data"] | {"at": round(envelope.received_at, 6)}
        for envelope, payload in messages
        if payload.get("type") == "documentation_committed"
    ]
    late.seed_commits(events, messages[0][0].received_at)
    found = late.as_dict(now)
    assert found["commits"]["count"] == wanted["commits"]["count"]
    assert [one["commit"] for one in found["commits"]["commits"]] == [
        one["commit"] for one in wanted["commits"]["commits"]
    ]
    for name in ("by_language", "by_doc_type", "per_hour", "today", "known_since"):
        assert found["stats"][name] == wanted["stats"][name]


@given(hostile_messages, anything, anything, st.booleans())
def test_no_payload_makes_it_stumble(messages: list[Any], told: Any, more: Any, is_first: bool) -> None:  # noqa: FBT001
    panels = PanelStates(NOW)
    if is_first:
        panels.take_statistics(told)
        panels.take_repositories(told)
    panels.restart(
        Snapshot.from_dict({"target": told, "since": more, "last_commit": {"at": told}}), live_from=3, epoch="a"
    )
    panels.take("a", messages)
    panels.take_statistics({"total_documented": 5, "by_repo": told, "by_language": more, "today": told})
    panels.take_repositories([{"name": "x", "weight": told, "last_activity": more}])
    panels.take_info({"statistics": told, "ollama": more}, "x")
    panels.seed_commits([{"at": 5.0, "target": told, "tokens": more}], 1.0)
    states = panels.as_dict(NOW)
    assert orjson.loads(orjson.dumps(states)).keys() == states.keys()
    assert len(orjson.dumps(states)) < 2**20


def test_relay_restarts_are_no_trouble() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take("a", [feed.commit(), feed.stats(total_documented=5)])
    panels.take_gap("b", Gap(cause=GapCause.RELAY_RESTART, started_at=feed.at, ended_at=feed.at + 1))
    panels.restart(Snapshot(), live_from=0, epoch="b")
    again = Feed(feed.at)
    panels.take("b", [again.event("generating", target="f"), again.commit()])
    states = panels.as_dict(again.at)
    assert states["activity"]["stage"] == "committed"
    assert (states["commits"]["count"], states["stats"]["total"]) == (2, 6)


def test_it_is_read_while_it_is_fed() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    batches = [[feed.commit(), feed.stats(total_documented=n)] for n in range(1, 400)]
    thread = threading.Thread(target=lambda: [panels.take("a", batch) for batch in batches])
    thread.start()
    seen = []
    while thread.is_alive():
        states = panels.as_dict(NOW)
        seen.append((states["commits"]["count"], states["stats"]["total"]))
    thread.join()
    assert all(total is None or total == count for count, total in seen)
    assert panels.as_dict(NOW)["stats"]["total"] == 399


def test_a_clock_that_is_set_back_changes_times_and_nothing_else() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW + 86_400)
    panels.take("a", [feed.commit(), *(feed.log("noise", after=10.0) for _ in range(100)), feed.commit()])
    feed.at = NOW
    panels.take("a", [feed.log("noise"), feed.log("noise", after=0.0001), feed.commit(after=0.5)])
    states = panels.as_dict(NOW + 3)
    assert states["activity"]["last_message_at"] == feed.at
    assert 25 < states["activity"]["silence_limit"] < 60
    assert states["health"]["rate"] == 0.3
    assert states["stats"]["per_hour"]["counts"][-1] == 1
    assert states["commits"]["count"] == 3
    panels.take("a", [feed.log("noise", after=10.0) for _ in range(20)])
    assert panels.as_dict(feed.at)["activity"]["last_message_at"] == feed.at


def test_a_picture_taken_earlier_does_not_change() -> None:
    panels, feed = PanelStates(NOW), Feed(NOW)
    panels.take_info({"statistics": {"version": "1"}})
    panels.take("a", [feed.commit()])
    before = panels.as_dict(NOW)
    text = orjson.dumps(before)
    panels.take("a", [feed.commit(), feed.log("llm_error")])
    panels.take_info(None, "gone")
    assert orjson.dumps(before) == text
