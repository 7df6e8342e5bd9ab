"""Column by column, payloads mean what `records` says they mean."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.envelope import Envelope, Mark
from codeworm_monitor.recording import recorded
from codeworm_monitor.records import Kind, PublisherClock, kind_of, parse_record
from codeworm_monitor.rows import BUILDERS, Row, RowReader, extra_text

Message = tuple[Envelope, Any]


def columns_of(messages: list[Message]) -> Iterator[tuple[Message, dict[str, Any]]]:
    """Yield each message with its row, read column by column."""
    reader = RowReader()
    rows = [reader.read("e", envelope, payload) for envelope, payload in messages]
    for kind in Kind:
        some: list[Row] = [row for row in rows if kind_of(row.envelope.channel) is kind]
        if some:
            of_kind = [message for message in messages if kind_of(message[0].channel) is kind]
            yield from zip(of_kind, BUILDERS[kind](some).to_pylist(), strict=True)


def assert_same_as_records(messages: list[Message]) -> None:
    clock = PublisherClock()
    records = {
        envelope.offset: parse_record(envelope.channel, payload, envelope.received_at, clock)
        for envelope, payload in messages
    }
    for (envelope, _), row in columns_of(messages):
        record = records[envelope.offset]
        expected = {field.name: getattr(record, field.name) for field in fields(record)}
        extra = expected.pop("extra")
        assert row.pop("epoch") == "e"
        assert row.pop("offset") == envelope.offset
        assert abs(row.pop("received_at").timestamp() - envelope.received_at) < 1e-5
        assert row.pop("channel") == envelope.channel
        assert row.pop("mark") == envelope.mark
        found_extra = row.pop("extra")
        assert (extra or None) == (None if found_extra is None else json.loads(found_extra))
        if "by_repo" in expected:
            by_repo = expected.pop("by_repo")
            found = row.pop("by_repo")
            assert (by_repo or None) == (None if found is None else json.loads(found))
        assert row == expected


def test_recordings_read_as_records_do(recording: Path) -> None:
    messages = list(recorded(recording))
    assert len(messages) > 500
    assert_same_as_records(messages)


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70).map(lambda number: orjson.loads(str(number)))
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(
        ["2026-11-22T21:56:46Z", "2026-11-22T16:57:26.859387", "0001-01-01T00:00:00", "9999-12-31T23:59:59-05:00"]
    )
    | st.sampled_from(["0001-01-01T00:00:00+14:00", "2026-11-22T21:57:35+00:00", "1795384606"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=2),
    max_leaves=4,
)
names = sorted(
    {column.name for layout in LAYOUTS.values() for column in layout.columns} | {"time", "data", "type", "x"}
)
objects = st.dictionaries(st.sampled_from(names), values, max_size=6)
payloads = objects | values | st.builds(lambda outer, inner: outer | {"data": inner}, objects, objects)
channels = st.sampled_from(["codeworm:logs", "codeworm:events", "codeworm:stats", "other"])


@given(st.lists(st.tuples(channels, payloads, st.sampled_from([None, Mark.RAW])), max_size=6))
def test_any_payload_reads_as_records_do(sent: list[tuple[str, Any, Mark | None]]) -> None:
    assert_same_as_records(
        [
            (Envelope(offset, 1_795_384_606.25 + offset, channel, b"", mark), payload)
            for offset, (channel, payload, mark) in enumerate(sent, 1)
        ]
    )


def test_row_times_are_those_of_a_record_that_was_made_already() -> None:
    payload = {"type": "next_cycle", "timestamp": "2026-11-22T16:57:26", "data": {"time": "2026-11-22T21:57:35+00:00"}}
    envelope = Envelope(1, datetime(2026, 11, 22, 21, 57, 26, tzinfo=UTC).timestamp(), "codeworm:events", b"")
    reader = RowReader()
    record = parse_record(envelope.channel, payload, envelope.received_at, reader.clock)
    assert reader.read("e", envelope, payload, record) == RowReader().read("e", envelope, payload)


@pytest.mark.parametrize("depth", [300, 1100, 100_000])
def test_deep_nesting_is_written(depth: int) -> None:
    value: Any = 7
    for _ in range(depth):
        value = {"k": [value]}
    text = extra_text({"deep": value})
    assert text is not None
    assert text.startswith('{"deep":{"k":[{"k":[')
    assert text.endswith("]}]}}")
    assert text.count("[") == text.count("]") == depth
    while isinstance(value, dict):  # or freeing it would recurse
        value = value["k"].pop()


def test_text_that_is_not_utf8_is_kept_readable() -> None:
    reader = RowReader()
    payload = {"event": "bad \ud800 text", "level": "info", "x": "\udfff"}
    row = BUILDERS[Kind.LOGS]([reader.read("e", Envelope(1, 0.0, "codeworm:logs", b""), payload)]).to_pylist()[0]
    assert row["event"] == "bad ? text"
    assert json.loads(row["extra"]) == {"x": "\udfff"}


def test_numbers_out_of_range_go_to_extra() -> None:
    reader = RowReader()
    payload = {"tokens": 2**63, "cycle_num": True, "time_ms": 2**60 + 1}
    row = BUILDERS[Kind.LOGS]([reader.read("e", Envelope(1, 0.0, "codeworm:logs", b""), payload)]).to_pylist()[0]
    assert row["tokens"] is None
    assert json.loads(row["extra"]) == {"tokens": 2**63, "cycle_num": True}
    assert math.isclose(row["time_ms"], 2**60)
