"""The shapes are CodeWorm's: compared with what a real one published, and read back by the typed records."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from codeworm_monitor.publish.shapes import Stamp, event_message, flat_message, payload_of, size_of
from codeworm_monitor.records import LogLine, PublisherClock, StatsSnapshot, WormEvent, parse_record

LOGS, EVENTS, STATS = b"codeworm:logs", b"codeworm:events", b"codeworm:stats"
AT = 1_763_900_000.25


@pytest.fixture(autouse=True, params=["UTC", "America/New_York", "Asia/Kathmandu"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host's zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(message: Any, *, at: float = AT, clock: PublisherClock | None = None) -> Any:
    payload = json.loads(payload_of(message, at))
    return parse_record(message[0].decode(), payload, at + 0.001, clock or PublisherClock())


def recorded(channel: str) -> Iterator[dict[str, Any]]:
    with gzip.open(Path(__file__).parents[1] / "data" / "recording-1.jsonl.gz", "rt") as lines:
        for line in lines:
            message = json.loads(line)
            if message["channel"] == channel:
                yield json.loads(message["payload"])


def shape(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the form of every value, and of its time the pattern."""
    return {
        key: re.sub(r"\d+", "0", value) if key == "timestamp" else shape(value) if key == "data" else type(value)
        for key, value in payload.items()
    }


def test_log_lines_events_and_stats_have_the_form_of_recorded_ones() -> None:
    for channel, make in (
        ("codeworm:logs", lambda fields: flat_message(LOGS, AT, Stamp.UTC, fields)),
        ("codeworm:stats", lambda fields: flat_message(STATS, AT, Stamp.LOCAL, fields)),
        ("codeworm:events", lambda fields: event_message(EVENTS, AT, fields["type"], fields["data"])),
    ):
        for payload in recorded(channel):
            fields = {key: value for key, value in payload.items() if key != "timestamp"}
            text = payload_of(make(fields), AT)
            assert shape(json.loads(text)) == shape(payload)
            assert list(json.loads(text)) == list(payload) or channel != "codeworm:events"


def test_a_log_line_is_read_back() -> None:
    fields = {"event": "x", "level": "info", "component": "me", "tokens": 3, "mine": [1]}
    line = read(flat_message(LOGS, AT, Stamp.UTC, fields))
    assert line == LogLine(
        timestamp=datetime.fromtimestamp(AT, UTC),
        level="info",
        component="me",
        event="x",
        tokens=3,
        extra={"mine": [1]},
    )


def test_an_event_is_read_back_whatever_the_zone() -> None:
    event = read(event_message(EVENTS, AT, "analyzing", {"target": "a.b", "mine": 1}))
    assert event == WormEvent(
        timestamp=datetime.fromtimestamp(AT, UTC), type="analyzing", target="a.b", extra={"mine": 1}
    )


def test_stats_are_read_back_whatever_the_zone() -> None:
    stats = read(flat_message(STATS, AT, Stamp.LOCAL, {"total_cycles": 5, "loss": 0.5}))
    assert stats == StatsSnapshot(timestamp=datetime.fromtimestamp(AT, UTC), total_cycles=5, extra={"loss": 0.5})


def test_an_event_that_waited_long_still_has_its_time() -> None:
    clock = PublisherClock()
    read(event_message(EVENTS, AT, "analyzing", {}), clock=clock)
    event = read(event_message(EVENTS, AT, "analyzing", {}), at=AT + 7000, clock=clock)
    assert event.timestamp == datetime.fromtimestamp(AT, UTC)
    newer = read(event_message(EVENTS, AT + 7001, "analyzing", {}), at=AT + 7001, clock=clock)
    assert newer.timestamp == datetime.fromtimestamp(AT, UTC) + timedelta(seconds=7001)


def test_a_time_of_its_own_is_kept() -> None:
    message = flat_message(LOGS, AT, Stamp.UTC, {"event": "x", "timestamp": "2020-01-01T00:00:00Z"})
    assert json.loads(payload_of(message, AT)) == {"event": "x", "timestamp": "2020-01-01T00:00:00Z"}


def test_nothing_at_all_is_valid() -> None:
    assert json.loads(payload_of(flat_message(STATS, AT, Stamp.LOCAL, {}), AT)) == {}
    assert json.loads(payload_of(event_message(EVENTS, AT, "", {}), AT))["data"] == {}


@pytest.mark.parametrize("at", [1e300, float("nan"), None, "now"])
def test_a_time_that_is_none_is_that_of_sending(at: Any) -> None:
    payload = json.loads(payload_of(flat_message(LOGS, at, Stamp.UTC, {"event": "x"}), AT))
    assert payload == {"event": "x", "timestamp": "2025-11-23T12:13:20.250000Z"}


def test_the_size_is_that_of_its_text_and_more() -> None:
    message = flat_message(LOGS, AT, Stamp.UTC, {"event": "x" * 1000})
    assert size_of(message) > 1000
