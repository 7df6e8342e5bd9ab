from __future__ import annotations

from typing import Any

import orjson
import pytest

from codeworm_monitor import journal as module
from codeworm_monitor.journal import RELAY_CHANNEL, Journal
from codeworm_monitor.records import LogLine, PublisherClock, parse_record
from codeworm_monitor.sources import Message


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def written(messages: list[Message]) -> list[dict[str, Any]]:
    return [orjson.loads(message.payload) for message in messages]


def test_a_note_is_a_log_line_of_the_relays_channel() -> None:
    messages: list[Message] = []
    Journal(messages.extend).note("reader_evicted", level="warning", address="10.0.0.1")
    (message,) = messages
    record = parse_record(message.channel, orjson.loads(message.payload), message.received_at, PublisherClock())
    assert message.channel == RELAY_CHANNEL
    assert isinstance(record, LogLine)
    assert (record.event, record.level, record.component) == ("reader_evicted", "warning", "relay")
    assert record.timestamp is not None
    assert record.timestamp.timestamp() == pytest.approx(message.received_at)
    assert record.extra == {"address": "10.0.0.1"}


def test_a_flood_of_one_event_is_counted_and_hides_no_other(clock: Clock) -> None:
    messages: list[Message] = []
    notes = Journal(messages.extend, burst=3, window=5.0)
    for _ in range(100):
        notes.note("reader_connected")
    notes.note("upstream_lost")
    assert [record["event"] for record in written(messages)] == ["reader_connected"] * 3 + ["upstream_lost"]
    clock.now += 5.0
    notes.note("reader_connected")
    notes.note("reader_connected")
    assert [record.get("unmentioned") for record in written(messages)[-2:]] == [97, None]


def test_a_clock_set_back_silences_nothing(clock: Clock) -> None:
    messages: list[Message] = []
    notes = Journal(messages.extend, burst=1)
    notes.note("a")
    clock.now -= 86_400
    notes.note("a")
    assert len(messages) == 2
