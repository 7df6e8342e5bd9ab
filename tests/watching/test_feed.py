"""The feed: each row once, in the order of the log, as the record it was."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.envelope import Envelope
from codeworm_monitor.monitor import open_recording
from codeworm_monitor.recording import recorded, recorded_arrivals
from codeworm_monitor.records import Kind
from codeworm_monitor.rows import RowReader
from codeworm_monitor.tables import Table, message_table
from codeworm_monitor.watching.feed import Feed, Shelf, selected
from codeworm_monitor.watching.rules import Reads

ALL = {kind: Reads(Conditions(LAYOUTS[kind])) for kind in Kind}


class Log:
    """Tables of two kinds that share one numbering."""

    def __init__(self, capacity: int = 100_000) -> None:
        self.tables: dict[str, Table] = {
            str(kind): message_table(kind, capacity=capacity) for kind in (Kind.LOGS, Kind.EVENTS)
        }
        self._numbers = itertools.count(1)

    def put(self, kind: str, *words: Any, epoch: str = "e", at: float = 1e9) -> None:
        rows = []
        for word in words:
            payload = {"event": word} if kind == "logs" else {"type": word}
            rows.append(RowReader().read(epoch, Envelope(next(self._numbers), at, f"codeworm:{kind}", b""), payload))
        self.tables[kind].append(rows)

    def words(self, feed: Feed, shelf: Shelf, **options: Any) -> list[Any]:
        records, _ = selected(feed.look(shelf.contents()).values(), ALL, **options)
        return [getattr(one.record, "event", None) or getattr(one.record, "type", None) for one in records]


def test_records_are_what_those_who_listen_are_given(recording: Path) -> None:
    with open_recording(recording) as rec:
        tables = [stream.arrow() for stream in (rec.stats, rec.logs, rec.events)]
    found, left_out = selected(tables, ALL, limit=None)
    assert [one.record for one in found] == [arrival.record for arrival in recorded_arrivals(recording)]
    assert [one.at for one in found] == pytest.approx([envelope.received_at for envelope, _ in recorded(recording)])
    assert left_out == 0


def test_fields_that_are_not_wanted_stay_empty(recording: Path) -> None:
    with open_recording(recording) as rec:
        reads = {Kind.LOGS: Reads(Conditions(LAYOUTS[Kind.LOGS], level="error"), frozenset({"event"}))}
        found, _ = selected([rec.logs.arrow(), rec.events.arrow()], reads)
        assert [one.record.event for one in found] == rec.logs.where(level="error").event.tolist()
    assert all(one.record.timestamp is None and one.record.extra == {} for one in found)


@given(st.lists(st.tuples(st.sampled_from(["logs", "events", "look"]), st.integers(0, 9)), max_size=60))
def test_every_row_comes_once_and_in_order(moves: list[tuple[str, int]]) -> None:
    log, feed = Log(), Feed()
    shelf = Shelf(lambda: log.tables)
    put, found = 0, []
    for kind, count in moves:
        if kind == "look":
            found += log.words(feed, shelf)
        else:
            log.put(kind, *(str(put + number) for number in range(count)))
            put += count
    found += log.words(feed, shelf)
    assert found == [str(number) for number in range(put)]
    assert log.words(feed, shelf) == []


def test_a_table_that_lost_rows_between_two_looks_gives_what_it_has() -> None:
    log, feed = Log(capacity=10), Feed()
    shelf = Shelf(lambda: log.tables)
    log.put("logs", *"abc")
    assert log.words(feed, shelf) == list("abc")
    log.put("logs", *map(str, range(25)))
    assert log.words(feed, shelf) == [str(number) for number in range(15, 25)]
    log.put("logs", "x")
    assert log.words(feed, shelf) == ["x"]


def test_of_too_many_the_newest_are_taken_and_the_rest_counted() -> None:
    log, feed = Log(), Feed()
    shelf = Shelf(lambda: log.tables)
    for number in range(50):
        log.put(("logs", "events")[number % 2], str(number))
    tables = feed.look(shelf.contents())
    records, left_out = selected(tables.values(), ALL, limit=7)
    words = [getattr(one.record, "event", None) or getattr(one.record, "type", None) for one in records]
    assert (words, left_out) == ([str(number) for number in range(43, 50)], 43)


def test_a_relay_that_was_restarted_numbers_anew_and_comes_after() -> None:
    log, feed = Log(), Feed()
    shelf = Shelf(lambda: log.tables)
    log.put("events", "old", epoch="z", at=1e9)
    log._numbers = itertools.count(1)
    log.put("logs", "new", epoch="a", at=1e9 + 5)
    assert log.words(feed, shelf) == ["old", "new"]


def test_a_table_that_comes_later_is_read_from_its_beginning() -> None:
    log, feed = Log(), Feed()
    later = message_table(Kind.LOGS, capacity=10)
    shelf = Shelf(lambda: log.tables)
    log.put("logs", "a")
    assert log.words(feed, shelf) == ["a"]
    later.append([RowReader().read("e", Envelope(99, 1e9, "shop:orders", b""), {"event": "sold"})])
    log.tables["shop:orders"] = later
    assert log.words(feed, shelf) == ["sold"]


def test_nothing_is_missed_or_doubled_while_another_thread_writes() -> None:
    log, feed = Log(), Feed()
    shelf = Shelf(lambda: log.tables)
    over = threading.Event()

    def write() -> None:
        for number in range(3_000):
            log.put(("logs", "events")[number % 2], str(number))
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    found: list[str] = []
    while not over.is_set():
        found += log.words(feed, shelf)
    writer.join()
    found += log.words(feed, shelf)
    assert sorted(map(int, found)) == list(range(3_000))


def test_text_nested_too_deep_to_be_read_again_is_left_empty() -> None:
    log, feed = Log(), Feed()
    shelf = Shelf(lambda: log.tables)
    deep: Any = []
    for _ in range(2_000):
        deep = [deep]
    log.tables["logs"].append([RowReader().read("e", Envelope(1, 1e9, "l:logs", b""), {"event": "x", "deep": deep})])
    records, _ = selected(feed.look(shelf.contents()).values(), ALL)
    assert [one.record.extra for one in records] == [{}]
