"""The panel feed against a real relay: pace, order, what begins late, what goes wrong, its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import orjson
import pyarrow as pa
import pytest
from support.stations import EVENTS, LOGS, Station, station
from support.waiting import until
from support.widget_lines import Lines, lines

from codeworm_monitor import held_rows, panel_asking, panel_feed
from codeworm_monitor.activity import Snapshot
from codeworm_monitor.arrivals import Dispatcher
from codeworm_monitor.client import Address, Ended
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.errors import RelayNotFoundError
from codeworm_monitor.intake import Intake
from codeworm_monitor.monitor import connect
from codeworm_monitor.panel_asking import Asking
from codeworm_monitor.panel_feed import Origin, PanelFeed
from codeworm_monitor.past import Past
from codeworm_monitor.records import RELAY_CHANNEL
from codeworm_monitor.states.log_state import Batch, Fill, LogState
from codeworm_monitor.states.panel_states import PanelStates
from codeworm_monitor.status import State, Status
from codeworm_monitor.widgets import ActivityPanel, CommitsPanel, HealthPanel, LogPanel, StatsPanel
from codeworm_monitor.worm_files import WormFiles

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


class Restarted:
    """A monitor's tables and feed as after a relay's restart without an archive: 200 rows of epoch a, then 50 of b."""

    def __init__(self) -> None:
        self.epoch = "a"
        self.intake = Intake(Dispatcher("callbacks"), capacity=10_000)
        now = self.intake.relay_time
        self.began = now()
        self.feed = PanelFeed(
            Origin(
                name="restarted",
                tables=lambda: {str(kind): stream for kind, stream in self.intake.by_kind.items()},
                gaps=lambda: self.intake.gaps,
                snapshot=lambda: self.intake.snapshot,
                live_from=lambda: self.intake.live_from,
                epoch=lambda: self.epoch,
                status=lambda: Status(
                    name="restarted", state=State.CONNECTED, since=datetime.now(UTC), url="", cursor=None
                ),
                now=now,
                clock=self.intake.clock,
                older=None,
                asking=Asking("restarted", lambda: None, WormFiles, now, is_live=True),
            )
        )
        self.begin("a", 0)
        self.put(range(1000, 1200), -100)

    def begin(self, epoch: str, head: int) -> None:
        self.epoch = epoch
        with self.feed.taking:
            self.intake.restart(Snapshot(), live_from=head)
            self.feed.restart(Snapshot(), live_from=head, epoch=epoch)

    def put(self, offsets: Iterable[int], later: float, **event: Any) -> None:
        """Take messages, 1 ms after each other; `event`: they are events."""
        channel = EVENTS if event else LOGS
        messages = [
            (
                Envelope(offset, self.began + later + place / 1000, channel, b"", None),
                event or {"event": f"{self.epoch}-{offset}"},
            )
            for place, offset in enumerate(offsets)
        ]
        with self.feed.taking:
            self.intake.take(self.epoch, messages)
            self.feed.take(self.epoch, messages)


class Browser:
    """A log panel that holds what a browser would: the newest fill, and what was added to it."""

    panel_name = "log"

    def __init__(self) -> None:
        self.log_state = LogState()
        self.rows: list[list[Any]] = []

    def tell(self, state: dict[str, Any], at: float) -> None: ...

    def tell_alive(self, at: float) -> None: ...

    def tell_problem(self, problem: str) -> None:
        assert problem == ""

    def send_batch(self, batch: Batch) -> None:
        self.rows += orjson.loads(batch.data)

    def send_fill(self, fill: Fill) -> None:
        self.rows = orjson.loads(fill.data)

    def scroll(self, feed: PanelFeed, count: int) -> int:
        """Ask for older rows, as log_store.js does; return how many came."""
        first = next((row[0] for row in self.rows if row[0] is not None), None)
        data, _, problem = feed.older(self, first, count)
        assert problem is None
        older = orjson.loads(data)
        self.rows[:0] = older
        return len(older)

    @property
    def names(self) -> list[str]:
        return [row[3]["event"] for row in self.rows]


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
        first, last = (next(row[0] for row in known if row[3]["event"] == f"line-{number}") for number in (20, 29))
        panel.view = {"first": first, "last": last}
        assert list(panel.selection.event.dropna()) == [f"line-{number}" for number in range(20, 30)]
        panel.view = {"first": first, "last": last, "selected": [first]}
        assert list(panel.selection.event) == ["line-20"]


def test_older_rows_of_a_flood_are_read_by_the_second_and_only_those_asked_for_are_put_together(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans, sizes = [], []
    history, message_rows = Past.history, held_rows.message_rows

    def noted(past: Past, since: datetime, until: datetime, **options: Any) -> Any:
        spans.append((until - since).total_seconds())
        return history(past, since, until, **options)

    def counted(table: pa.Table, epoch: str | None) -> list[list[Any]]:
        sizes.append(table.num_rows)
        return message_rows(table, epoch)

    with station(capacity=50) as source:
        source.log(*(f"line-{number}" for number in range(3_000)))
        until(lambda: source.monitor.status.received == 3_000)
        panel = LogPanel(source.monitor)
        until(lambda: len(rows(lines, panel)) == 50)
        monkeypatch.setattr(Past, "history", noted)
        monkeypatch.setattr(held_rows, "message_rows", counted)
        lines.say(panel, {"type": "older", "id": 1, "before": rows(lines, panel)[0][0], "count": 120})
        until(lambda: [one for one in lines.custom(panel) if one.get("id") == 1])
        answer = next(one for one in lines.custom(panel) if one.get("id") == 1)
    assert len(answer["rows"]) == 120
    assert spans[0] < 11
    assert max(sizes) <= 120


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
    assert (len(feed._arrivals), feed._states, feed._thread) == (0, None, None)


def test_what_waits_is_bounded_and_begun_anew(lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeworm_monitor.panel_arrivals.MOST_ARRIVED", 100)
    panel = LogPanel(source.monitor)
    until(lambda: lines.custom(panel))
    feed = source.monitor.panel_feed
    with feed._lock:
        source.log(*(f"line-{number}" for number in range(500)))
        until(lambda: len(source.monitor.logs) == 500)
        assert len(feed._arrivals) <= 100
    until(lambda: len(rows(lines, panel)) == 500)
    source.log("after")
    until(lambda: len(rows(lines, panel)) == 501)
    assert time.time() - panel.at < 60


def test_bytes_that_wait_are_bounded_as_well(lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeworm_monitor.panel_arrivals.MOST_BYTES", 100_000)
    panel = LogPanel(source.monitor)
    until(lambda: lines.custom(panel))
    feed = source.monitor.panel_feed
    with feed._lock:
        source.log("small")
        until(lambda: len(source.monitor.logs) == 1)
        assert len(feed._arrivals) == 1
        for number in range(30):
            source.log(f"{number}-" + "x" * 5_000)
        until(lambda: len(source.monitor.logs) == 31)
        assert (feed._arrivals.is_begun, len(feed._arrivals)) == (False, 0)
    until(lambda: len(rows(lines, panel)) == 31)


def test_a_message_that_comes_while_it_begins_counts_once(
    lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.publish((EVENTS, {"type": "documentation_committed", "data": COMMIT}))
    until(lambda: len(source.monitor.events) == 1)
    newest_rows = panel_feed.newest_rows

    def late(*asked: Any) -> Any:
        source.publish((EVENTS, {"type": "documentation_committed", "data": {**COMMIT, "commit": "4567abcd"}}))
        until(lambda: len(source.monitor.events) == 2)
        return newest_rows(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(panel_feed, "newest_rows", late)
        states, _, _ = source.monitor.panel_feed.now(["commits", "stats"])
    assert states["commits"]["count"] == 2
    assert states["stats"]["by_repo"] == [["r", 2]]


def test_after_a_restart_with_a_new_numbering_the_activity_goes_on() -> None:
    source = Restarted()
    source.begin("b", 0)
    source.put(range(1, 51), -50)
    feed = source.feed
    feed.attach(browser := Browser())
    until(lambda: browser.rows)
    source.put([51], -10, type="generating", data={"target": "f", "repo": "r"})
    until(lambda: len(browser.rows) == 251)
    assert source.intake.snapshot.stage == feed.now(["activity"])[0]["activity"]["stage"] == "generating"
    feed.close()


def test_what_the_relay_told_at_first_is_not_counted_again_when_it_is_replayed() -> None:
    source = Restarted()
    source.begin("b", 40)
    source.put(range(1, 21), -50)
    feed = source.feed
    feed.attach(browser := Browser())
    until(lambda: browser.rows)
    source.put(range(21, 31), -40, type="generating", data={"target": "f", "repo": "r"})
    until(lambda: len(browser.rows) == 230)
    assert feed.now(["activity"])[0]["activity"]["stage"] == source.intake.snapshot.stage != "generating"
    source.put([41], -30, type="generating", data={"target": "f", "repo": "r"})
    until(lambda: len(browser.rows) == 231)
    assert feed.now(["activity"])[0]["activity"]["stage"] == "generating"
    feed.close()


@pytest.mark.parametrize("lives_through_it", [False, True])
@pytest.mark.parametrize("count", [30, 1000])
def test_older_rows_of_two_numberings_come_once_each_and_end(
    monkeypatch: pytest.MonkeyPatch, count: int, *, lives_through_it: bool
) -> None:
    monkeypatch.setattr(panel_feed, "FILLED", 70)
    source, browser = Restarted(), Browser()
    if lives_through_it:
        source.feed.attach(browser)
        until(lambda: len(browser.rows) == 70)
        assert browser.scroll(source.feed, count)
    source.begin("b", 0)
    if lives_through_it:
        until(lambda: len(browser.rows) == 70)  # filled anew: the offsets it held are of another numbering
        assert all(row[0] is None for row in browser.rows)
    source.put(range(1, 51), -50)
    if lives_through_it:
        until(lambda: len(browser.rows) == 120)
    else:
        source.feed.attach(browser)
        until(lambda: len(browser.rows) == 70)
    asked = 0
    while browser.scroll(source.feed, count):
        asked += 1
        assert asked < 10
    assert browser.names == [f"a-{number}" for number in range(1000, 1200)] + [f"b-{number}" for number in range(1, 51)]
    source.feed.close()


def test_what_waits_when_the_numbering_changes_comes_once() -> None:
    source, browser = Restarted(), Browser()
    feed = source.feed
    feed.attach(browser)
    until(lambda: len(browser.rows) == 200)
    with feed._lock:
        source.put(range(1200, 1210), -90)
        source.begin("b", 0)
    until(lambda: len(browser.rows) >= 210 and browser.rows[0][0] is None)
    source.put(range(1, 11), -50)
    until(lambda: "b-10" in browser.names)
    source.put([11], -40)
    until(lambda: "b-11" in browser.names)
    assert browser.names == [f"a-{number}" for number in range(1000, 1210)] + [f"b-{number}" for number in range(1, 12)]
    assert [row[0] for row in browser.rows] == [None] * 210 + list(range(1, 12))
    feed.close()


def test_gaps_come_once_each_whether_they_have_an_offset_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_feed, "FILLED", 20)
    source, browser = Restarted(), Browser()
    source.begin("b", 0)
    source.put(range(1, 51), -50)
    began = source.began
    for at, offset in ((-70, None), (-49, 51), (-48, None)):
        gap = Gap(cause=GapCause.TRIMMED, started_at=began + at - 1, ended_at=began + at, offset=offset)
        source.intake.take_gap("b", gap)
    source.put(range(52, 102), -40)
    source.feed.attach(browser)
    until(lambda: len(browser.rows) == 20)
    while browser.scroll(source.feed, 15):
        assert len(browser.rows) < 1_000
    gaps = [(place, row[0]) for place, row in enumerate(browser.rows) if row[2] == "gap"]
    assert gaps == [(200, None), (251, 51), (252, None)]
    assert len(browser.rows) == 303
    source.feed.close()


def test_rows_that_the_browser_has_let_go_of_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_rows, "BROWSER_HOLDS", 60)
    source, browser = Restarted(), Browser()
    source.begin("b", 0)
    source.feed.attach(browser)
    until(lambda: len(browser.rows) == 200)
    source.put(range(1, 101), -50)
    until(lambda: len(browser.rows) == 300)
    del browser.rows[:-60]
    while browser.scroll(source.feed, 70):
        assert len(browser.rows) < 1_000
    assert browser.names[199:202] == ["a-1199", "b-1", "b-2"]
    assert len(browser.names) == len(set(browser.names)) == 300
    source.feed.close()


def test_an_answer_of_the_relay_takes_back_that_there_was_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = Asking("a", lambda: None, WormFiles, time.time, is_live=True)
    states = PanelStates(0.0)
    asking.tell(states)

    def fail(*_: Any, **__: Any) -> None:
        raise RelayNotFoundError("it is gone")

    monkeypatch.setattr(panel_asking, "ask", fail)
    asking._ask_info(Address("ws://relay/ws"))
    monkeypatch.setattr(panel_asking, "ask", lambda *_, **__: {"statistics": {"version": "1.2.3"}})
    asking._ask_info(Address("ws://relay/ws"))
    asking.tell(states)
    relay = states.as_dict(1.0)["health"]["relay"]
    assert (relay["version"], relay["problem"]) == ("1.2.3", None)


def test_a_picture_alone_keeps_nothing_for_later(source: Station) -> None:
    feed = source.monitor.panel_feed
    source.log("a")
    until(lambda: len(source.monitor.logs) == 1)
    assert ">a<" in feed.still_html(("log",))
    source.log("b", "c")
    until(lambda: len(source.monitor.logs) == 3)
    assert (feed._arrivals.is_begun, len(feed._arrivals)) == (False, 0)
    assert ">c<" in feed.still_html(("log",))


def test_gaps_that_wait_are_bounded_as_well(lines: Lines, source: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeworm_monitor.panel_arrivals.MOST_ARRIVED", 100)
    panel = HealthPanel(source.monitor)
    until(lambda: panel.state)
    feed = source.monitor.panel_feed
    with feed._lock, feed.taking:
        for number in range(1_000):
            feed.take_gap("e", Gap(cause=GapCause.TRIMMED, started_at=number, ended_at=number + 1.0))
            assert len(feed._arrivals) <= 100


def test_after_the_last_panel_nothing_goes_on_and_the_next_one_knows_what_came(lines: Lines, source: Station) -> None:
    first, second = LogPanel(source.monitor), ActivityPanel(source.monitor)
    until(lambda: lines.custom(first) and second.state)
    first.close()
    assert "codeworm_monitor:station:panels" in panel_threads()
    second.close()
    until(lambda: not [name for name in panel_threads() if name.endswith(("panels", "asking"))])
    source.log("a", "b")
    until(lambda: len(source.monitor.logs) == 2)
    feed = source.monitor.panel_feed
    assert (feed._arrivals.is_begun, len(feed._arrivals)) == (False, 0)
    later, health = LogPanel(source.monitor), HealthPanel(source.monitor)
    until(lambda: [row[3]["event"] for row in rows(lines, later)] == ["a", "b"])
    source.log("c")
    until(lambda: [row[3]["event"] for row in rows(lines, later)] == ["a", "b", "c"])
    until(lambda: (health.state.get("relay") or {}).get("version"))


def test_it_ends_with_a_monitor_that_ends_by_itself(lines: Lines, source: Station) -> None:
    monitor = source.monitor
    health, log = HealthPanel(monitor), LogPanel(monitor)
    until(lambda: health.state and lines.custom(log))
    assert monitor._client is not None
    monitor._take(Ended(reason="go away", code=4500), monitor._client)
    until(lambda: not [name for name in panel_threads() if name.endswith(("panels", "asking"))])
    assert health.state["connection"]["state"] == "closed"
    later = HealthPanel(monitor)
    assert later.state["connection"]["state"] == "closed"
    assert not [name for name in panel_threads() if name.endswith("panels")]


def test_a_monitor_that_ended_by_itself_is_closed_when_another_takes_its_place(source: Station) -> None:
    ended = source.monitor
    assert ended._client is not None
    assert ended.target is not None
    ended._take(Ended(reason="go away", code=4500), ended._client)
    assert not ended.panel_feed._is_closed
    with connect(ended.target.url, token=ended.target.token, name="station") as fresh:
        assert fresh is not ended
        assert ended.panel_feed._is_closed


def test_of_a_monitor_with_conditions_the_panels_say_that_they_tell_a_part(lines: Lines) -> None:
    with station(channels=[LOGS]) as source:
        panel = StatsPanel(source.monitor)
        until(lambda: panel.state)
        until(lambda: panel.problem.startswith("this monitor receives only what passes its conditions"))
