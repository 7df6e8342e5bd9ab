from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from codeworm_monitor.activity import Snapshot, Stage
from codeworm_monitor.client import Ended, Lost
from codeworm_monitor.envelope import Cursor, Envelope, Gap, GapCause
from codeworm_monitor.frames import Batch, ErrorFrame, Hello, Position, Subscribed
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.status import State
from codeworm_monitor.terminal.board import KEPT, Board

LOGS, EVENTS, STATS, RELAY = "codeworm:logs", "codeworm:events", "codeworm:stats", "codeworm:relay"
NOW = 1_795_384_656.0


def hello(head: int = 0, *, epoch: str = "e", time: float = NOW, **snapshot: Any) -> Hello:
    return Hello(
        version="1.2", epoch=epoch, oldest=1, head=head, channels=[LOGS], snapshot=snapshot, limits={}, time=time
    )


def message(offset: int, channel: str, payload: Any, at: float = NOW) -> tuple[Envelope, Any]:
    return Envelope(offset, at, channel, b""), payload


def connected(head: int = 0, **more: Any) -> Board:
    board = Board(NOW)
    board.take(hello(head, **more), NOW)
    board.take(Subscribed(cursor=Cursor("e", 0)), NOW)
    return board


def committed(offset: int, at: float = NOW, **fields: Any) -> tuple[Envelope, Any]:
    return message(offset, EVENTS, {"type": "documentation_committed", "data": {"target": "t", **fields}}, at)


def test_what_was_there_fills_the_lists_and_changes_no_activity() -> None:
    board = connected(head=2, stage="generating", since=NOW - 5, target="now")
    failed = {"event": "llm_error", "level": "error", "target": "old", "error": "oom"}
    board.take(Batch([committed(1, NOW - 60), message(2, LOGS, failed, NOW - 50)]), NOW)
    assert (board.snapshot.stage, board.snapshot.target) == (Stage.GENERATING, "now")
    assert [one.target for one in board.commits] == ["t"]
    assert [(one.name, one.subject, one.text) for one in board.failures] == [("llm_error", "old", "oom")]
    assert board.lag is None
    board.take(Batch([message(3, LOGS, failed, NOW)]), NOW + 0.25)
    assert board.snapshot.stage is Stage.FAILED
    assert board.lag == 0.25


def test_a_recorded_day_folds_to_what_the_daemon_said_last(recording: Path) -> None:
    board = connected()
    messages = list(read_recording(recording))
    for offset, one in enumerate(messages, 1):
        pair = message(offset, one.channel, orjson.loads(one.payload), one.received_at)
        board.take(Batch([pair]), one.received_at)
    commits = [one for one in messages if b'"type":"documentation_committed"' in one.payload]
    assert board.commits_since(0) == len(commits)
    assert board.commits[0].at == commits[-1].received_at
    last_stats = orjson.loads([one for one in messages if one.channel == STATS][-1].payload)
    assert board.snapshot.counters.total_documented == last_stats["total_documented"]
    errors = [one for one in messages if orjson.loads(one.payload).get("level") == "error"]
    assert len([one for one in board.failures if not one.is_warning]) == min(KEPT, len(errors))
    assert board.knows_since(messages[0].received_at)


def test_lists_are_bounded_and_the_newest_stands_first() -> None:
    board = connected()
    board.take(Batch([committed(n, NOW + n, commit=f"{n:08}") for n in range(1, 3 * KEPT)]), NOW)
    assert len(board.commits) == KEPT
    assert board.commits[0].commit == f"{3 * KEPT - 1:08}"


def test_the_connection_is_told_as_it_stands() -> None:
    board = Board(NOW)
    board.take(Lost(reason="nothing listens there", url="ws://h/ws", retry_in=3.0), NOW + 1)
    assert (board.state, board.reason, board.retry_at) == (State.CONNECTING, "nothing listens there", NOW + 4)
    board.take(hello(), NOW + 2)
    assert (board.state, board.since, board.reconnects) == (State.CONNECTED, NOW + 2, 0)
    board.take(Lost(reason="closed\x1b[2J", url="ws://h/ws", was_connected=True), NOW + 3)
    assert (board.state, board.reason) == (State.RECONNECTING, "closed")
    board.take(Lost(reason="401", url="ws://h/ws", is_refusal=True, wants_token=True), NOW + 4)
    assert board.state is State.REFUSED
    assert "another token" in board.reason
    board.take(hello(), NOW + 5)
    assert (board.state, board.reconnects) == (State.CONNECTED, 1)
    board.take(ErrorFrame("no such filter"), NOW)
    assert board.reason == "no such filter"
    board.take(Ended(reason="for good", code=4500), NOW + 6)
    assert board.state is State.CLOSED


def test_a_relay_that_resumes_tells_nothing_twice_and_one_that_numbers_anew_tells_its_own_state() -> None:
    board = connected(head=0)
    board.take(Batch([message(1, EVENTS, {"type": "generating", "data": {"target": "x"}})]), NOW)
    board.take(hello(1, stage="idle"), NOW)
    assert board.snapshot.stage is Stage.GENERATING
    board.take(hello(1, epoch="other", stage="idle"), NOW)
    assert board.snapshot.stage is Stage.IDLE


def test_gaps_are_counted_but_for_those_that_were_there_before() -> None:
    board = connected(head=5)
    gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=NOW - 9, ended_at=NOW - 8, offset=5)
    board.take(gap, NOW)
    assert board.gaps == 0
    newest = Gap(cause=GapCause.SLOW_READER, started_at=NOW, ended_at=NOW, first_offset=6, last_offset=8)
    board.take(newest, NOW)
    board.take(Position(9), NOW)
    assert (board.gaps, board.last_gap) == (1, newest)


def test_times_are_the_relays_whatever_this_machines_clock_says() -> None:
    board = Board(NOW)
    board.take(hello(time=NOW + 3600), NOW)
    assert board.relay_time(NOW) == NOW + 3600
    board.take(Batch([message(1, LOGS, {"event": "x"}, NOW + 3600)]), NOW + 0.5)
    assert board.lag == 0.5


def test_when_the_next_cycle_is_due_does_not_depend_on_the_publishers_clock() -> None:
    board = connected()
    written, announced = "2026-11-20T10:00:00Z", "2026-11-20T10:02:00+00:00"
    board.take(Batch([message(1, LOGS, {"event": "x", "timestamp": written})]), NOW)
    board.take(Batch([message(2, EVENTS, {"type": "next_cycle", "data": {"time": announced}})]), NOW)
    assert board.due_at == NOW + 120
    board.take(Batch([message(3, LOGS, {"event": "backing_off", "seconds": 30})]), NOW)
    assert board.due_at == NOW + 30


def test_of_the_relays_own_records_warnings_are_shown_and_none_is_a_sign_of_life() -> None:
    board = connected()
    board.take(Batch([message(1, RELAY, {"event": "connected", "level": "info", "component": "relay"})]), NOW)
    board.take(Batch([message(2, RELAY, {"event": "upstream_lost", "level": "warning", "component": "relay"})]), NOW)
    assert [(one.name, one.is_warning) for one in board.failures] == [("upstream_lost", True)]
    assert board.quiet.heard_at is None
    assert board.rates.per_second(NOW) == 0


def test_how_far_back_all_is_known_is_told() -> None:
    board = Board(NOW)
    board.take(hello(100), NOW)
    board.take(Subscribed(cursor=Cursor("e", 50)), NOW)
    assert not board.knows_since(NOW)
    board.take(Batch([committed(51, NOW - 100)]), NOW)
    assert board.knows_since(NOW - 100)
    assert not board.knows_since(NOW - 101)


def test_a_hello_of_nonsense_is_an_unknown_state() -> None:
    board = connected(stage=[], since="x", counters=3)
    assert board.snapshot == Snapshot()


def test_failures_in_a_row_are_counted_as_they_come_for_the_daemon_tells_them_with_a_success() -> None:
    board = Board(NOW)
    board.take(hello(counters={"consecutive_failures": 4}), NOW)
    assert board.failed_in_a_row == 4
    told = []
    for number, event in enumerate(
        ("documentation_failed", "cycle_starting", "llm_error", "documentation_committed"), 1
    ):
        board.take(Batch([(Envelope(number, NOW, LOGS, b""), {"event": event, "level": "info"})]), NOW)
        told.append(board.failed_in_a_row)
    assert told == [5, 5, 6, 0]
