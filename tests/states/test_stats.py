from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.panels import EVENTS, Feed

from codeworm_monitor.activity import Counters, Snapshot
from codeworm_monitor.states.panel_states import PanelStates

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DATABASE = {
    "total_documented": 100,
    "by_repo": {"click": 60, "httpx": 40},
    "by_language": {"python": 90, "rust": 10},
    "by_doc_type": {"til": 100},
    "last_7_days": 50,
    "last_30_days": 80,
    "today": 7,
}


def stats(panels: PanelStates, now: float) -> dict[str, Any]:
    return panels.as_dict(now)["stats"]


def test_nothing_is_known_at_first() -> None:
    found = stats(PanelStates(NOON), NOON)
    known = {name: value for name, value in found.items() if value not in (None, [])}
    assert known == {"source": "messages", "per_hour": {"start": NOON - 23 * 3600, "counts": [None] * 24}}


def test_failures_are_counted_from_the_logs_as_stats_come_only_after_a_success() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take(
        "a",
        [feed.stats(total_cycles=10, successful_cycles=9, failed_cycles=1, skipped_cycles=0, consecutive_failures=0)],
    )
    panels.take("a", [feed.log("llm_error"), feed.log("documentation_failed"), feed.log("cycle_skipped_no_candidates")])
    found = stats(panels, feed.at)
    assert found["consecutive_failures"] == 2
    assert (found["total_cycles"], found["failed_cycles"], found["skipped_cycles"]) == (13, 3, 1)
    assert found["success_rate"] == 69.2
    panels.take("a", [feed.log("documentation_committed")])
    assert stats(panels, feed.at)["consecutive_failures"] == 0
    panels.take("a", [feed.log("backing_off", consecutive_failures=5, seconds=30)])
    assert stats(panels, feed.at)["consecutive_failures"] == 5


def test_cycles_begin_at_nought_with_the_daemon_and_documents_do_not() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take(
        "a", [feed.stats(total_cycles=10, successful_cycles=9, failed_cycles=1, skipped_cycles=0, total_documented=70)]
    )
    panels.take("a", [feed.log("daemon_starting")])
    found = stats(panels, feed.at)
    assert (found["total_cycles"], found["failed_cycles"], found["success_rate"]) == (0, 0, None)
    assert found["total"] == 70
    panels.take("a", [feed.log("state_loaded", total_documented=71, last_7_days=20), feed.commit()])
    found = stats(panels, feed.at)
    assert (found["total"], found["last_7_days"]) == (72, 21)


def test_languages_follow_the_commits_between_two_readings_of_the_database() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take_statistics(DATABASE, at=NOON)
    panels.take("a", [feed.commit(language="go", repo="new", doc_type="class_doc"), feed.commit()])
    found = stats(panels, feed.at)
    assert found["source"] == "database"
    assert found["by_language"] == [["python", 91], ["rust", 10], ["go", 1]]
    assert found["by_repo"] == [["click", 61], ["httpx", 40], ["new", 1]]
    assert found["by_doc_type"] == [["til", 101], ["class_doc", 1]]
    assert [found[name] for name in ("total", "today", "last_7_days", "last_30_days")] == [102, 9, 52, 82]
    panels.take_statistics(DATABASE | {"total_documented": 102, "by_language": {"python": 91, "rust": 10, "go": 1}})
    found = stats(panels, feed.at)
    assert found["total"] == 102
    assert found["by_language"] == [["python", 91], ["rust", 10], ["go", 1]]


def test_a_database_that_stands_still_does_not_hold_the_counts_back() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take("a", [feed.stats(total_documented=100), feed.commit(), feed.commit(language="go")])
    panels.take_statistics(DATABASE)
    found = stats(panels, feed.at)
    assert found["total"] == 102
    assert found["by_language"] == [["python", 91], ["rust", 10], ["go", 1]]


def test_a_document_that_is_in_the_database_before_its_event_comes_is_counted_once() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take("a", [feed.stats(total_documented=99)])
    panels.take_statistics(DATABASE, at=feed.at + 0.5)
    panels.take("a", [feed.commit()])
    assert stats(panels, feed.at)["total"] == 100


@pytest.mark.parametrize("nothing", [None, {}, [], {"total_documented": 0}, {"total_documented": "many"}])
def test_without_a_database_counts_are_of_what_was_heard(nothing: Any) -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take_statistics(DATABASE)
    panels.take_statistics(nothing)
    panels.take("a", [feed.commit(), feed.commit(language="go"), feed.commit(repo=5, language=["x"])])
    found = stats(panels, feed.at)
    assert found["source"] == "messages"
    assert found["by_language"] == [["go", 1], ["python", 1]]
    assert found["known_since"] == NOON + 1
    assert (found["today"], found["last_30_days"]) == (3, None)


def test_days_of_a_recording_are_not_those_before_its_database_was_read() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take("a", [feed.stats(total_documented=99, last_7_days=20), feed.commit()])
    panels.take_statistics(DATABASE | {"today": 0, "last_7_days": 0, "last_30_days": 0}, at=NOON + 90 * 86_400)
    found = stats(panels, feed.at)
    assert [found[name] for name in ("total", "today", "last_30_days")] == [100, 1, None]
    assert found["last_7_days"] == 21


def test_today_begins_at_midnight_where_the_daemon_runs() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON + 16 * 3600)  # 23 o'clock at UTC-5
    local = datetime.fromtimestamp(feed.at, UTC).replace(hour=23, day=24, tzinfo=None).isoformat()
    panels.take("a", [feed.message(EVENTS, {"type": "analyzing", "timestamp": local}, after=0.0)])
    panels.take("a", [feed.commit(), feed.commit()])
    assert stats(panels, feed.at)["today"] == 2
    assert stats(panels, feed.at + 3600)["today"] == 0
    assert stats(panels, feed.at + 3500)["today"] == 2


def test_in_the_evening_of_a_daemon_behind_utc_today_is_not_what_the_database_has_of_tomorrow() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON + 8 * 3600)  # 15 o'clock at UTC-5
    panels.take("a", [feed.message(EVENTS, {"type": "analyzing", "timestamp": "2026-11-24T15:00:00"}, after=0.0)])
    panels.take("a", [feed.commit(), feed.commit()])
    panels.take_statistics(DATABASE)
    assert stats(panels, feed.at)["today"] == 7
    panels.take_statistics(DATABASE | {"today": 0}, at=NOON + 13 * 3600)  # 20 o'clock there
    assert stats(panels, NOON + 13 * 3600)["today"] == 2


def test_the_databases_today_ends_with_its_day() -> None:
    panels = PanelStates(NOON)
    panels.take_statistics(DATABASE, at=NOON)
    assert stats(panels, NOON + 3600)["today"] == 7
    assert stats(panels, NOON + 13 * 3600)["today"] == 0


def test_hours_before_anything_was_heard_are_not_known() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON - 2 * 3600 + 100)
    panels.take("a", [feed.commit(), feed.commit(), feed.log("x", after=3600.0), feed.commit(), feed.log("x")])
    per_hour = stats(panels, NOON + 5)["per_hour"]
    assert per_hour == {"start": NOON - 23 * 3600, "counts": [*[None] * 21, 2, 1, 0]}
    panels.seed_commits([{"at": NOON - 3600 * 5 + 1.0, "language": "go"}], NOON - 3600 * 5)
    found = stats(panels, NOON + 5)
    assert found["per_hour"]["counts"] == [*[None] * 18, 1, 0, 0, 2, 1, 0]
    assert found["known_since"] == NOON - 3600 * 5
    assert ["go", 1] in found["by_language"]


def test_counters_that_a_relay_told_are_of_its_newest_commit() -> None:
    feed = Feed(NOON)
    replayed = [feed.log("llm_error"), feed.log("documentation_committed"), feed.commit(), feed.log("llm_error")]
    commit = {"at": replayed[2][0].received_at}
    counters = Counters(
        total_cycles=20,
        successful_cycles=18,
        failed_cycles=2,
        skipped_cycles=0,
        consecutive_failures=0,
        total_documented=50,
    )
    error = {"at": feed.at, "event": "llm_error"}
    panels = PanelStates(NOON)
    panels.restart(
        Snapshot(cycle_num=21, counters=counters, last_commit=commit, last_error=error), live_from=4, epoch="a"
    )
    assert stats(panels, feed.at)["consecutive_failures"] is None  # it failed since, nobody knows how often
    panels.take("a", replayed)
    found = stats(panels, feed.at)
    assert (found["total_cycles"], found["failed_cycles"], found["consecutive_failures"]) == (21, 3, 1)
    assert (found["total"], found["successful_cycles"]) == (50, 18)
    panels.take("a", [feed.commit()])
    assert stats(panels, feed.at)["total"] == 51


def test_counters_of_the_daemon_before_the_present_one_are_not_told_as_its_own() -> None:
    panels = PanelStates(NOON)
    counters = Counters(total_cycles=200, successful_cycles=180, total_documented=50, success_rate=90.0)
    panels.restart(Snapshot(cycle_num=3, counters=counters), live_from=4, epoch="a")
    found = stats(panels, NOON)
    assert (found["total_cycles"], found["success_rate"], found["total"]) == (None, None, 50)


def test_a_relay_that_knows_nothing_takes_nothing_away() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take("a", [feed.stats(total_documented=70, total_cycles=5)])
    panels.restart(Snapshot(), live_from=0, epoch="b")
    assert stats(panels, feed.at)["total"] == 70


def test_names_beyond_number_are_bounded() -> None:
    panels, feed = PanelStates(NOON), Feed(NOON)
    panels.take("a", [feed.commit(repo=f"r{n}", language=f"l{n}") for n in range(3000)])
    found = panels.as_dict(feed.at)
    assert len(found["stats"]["by_language"]) == 50
    assert len(found["repositories"]["repositories"]) == 200
