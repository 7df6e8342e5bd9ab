from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.panels import anything

from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.recording import recorded
from codeworm_monitor.states.wire_rows import LARGEST, dump_newest, dump_rows, gap_row, skipped_row, wire_row


def row(data: Any, offset: int = 1) -> list[Any]:
    return wire_row(Envelope(offset, 1000.5, "codeworm:logs", b""), data)


def read(rows: list[list[Any]]) -> list[list[Any]]:
    return list(orjson.loads(dump_rows(rows)))


def test_recorded_traffic_goes_as_it_came(recording: Path) -> None:
    messages = list(recorded(recording))
    rows = [wire_row(*message) for message in messages]
    assert read(rows) == [[one.offset, one.received_at, one.channel, payload] for one, payload in messages]


def test_no_rows_are_an_empty_array() -> None:
    assert dump_rows([]) == b"[]"
    assert dump_newest([], 1000) == (b"[]", 0)


def test_a_gap_stands_at_its_end_and_says_how_many_are_missing() -> None:
    gap = Gap(cause=GapCause.TRIMMED, started_at=1.0, ended_at=2.0, first_offset=5, last_offset=8, detail="old")
    assert gap_row(gap) == [
        None,
        2.0,
        "gap",
        {"cause": "trimmed", "started_at": 1.0, "ended_at": 2.0, "missed": 4, "detail": "old"},
    ]
    assert skipped_row(7, 3.0) == [None, 3.0, "skipped", {"count": 7}]


@pytest.mark.parametrize(
    "payload",
    [
        {"event": "big", "level": "error", "error": "e" * 100_000, "exception": "t" * 100_000, "other": "o" * 100_000},
        {
            "type": "documentation_committed",
            "data": {"target": "\x01" * 100_000, "repo": "click", "list": [1] * 90_000},
        },
        dict.fromkeys(("event", "type", "level", "component", "timestamp", "target", "error", "raw"), "\x01" * 70000),
        ["x" * 100_000],
        "x" * 5_000_000,
    ],
)
def test_a_payload_over_64_kib_goes_as_its_main_fields(payload: Any) -> None:
    small = row({"event": "small"}, 2)
    text = dump_rows([row(payload), small])
    first, second = orjson.loads(text)
    assert len(text) <= LARGEST + 200
    assert first[:3] == [1, 1000.5, "codeworm:logs"]
    assert first[3]["truncated"] > LARGEST
    assert "other" not in first[3]
    assert second == small
    if isinstance(payload, dict) and payload.get("event") == "big":
        assert (first[3]["event"], first[3]["level"]) == ("big", "error")
        assert first[3]["error"].startswith("eee")
    if isinstance(payload, dict) and "data" in payload:
        assert first[3]["data"]["repo"] == "click"


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "payload",
    [
        {"event": "deep", "value": deep(300)},
        {"event": "deeper", "value": deep(5_000)},
        {"event": "half", "text": "\ud800"},
        {"event": "key", "map": {"\ud800": 1, 2: 3}},
        {"event": "long", "number": 2**70, "other": -(10**5000)},
        {"event": "none", "value": math.nan},
        {"event": "odd", "value": {1, 2}},
        {"event": "large and odd", "text": "y" * 100_000, "number": 2**70},
    ],
)
def test_what_json_cannot_hold_is_written_as_what_comes_nearest(payload: dict[str, Any]) -> None:
    rows = read([row({"event": "before"}), row(payload, 2), row({"event": "behind"}, 3)])
    assert [one[0] for one in rows] == [1, 2, 3]
    assert rows[1][3]["event"] == payload["event"]
    assert (rows[0][3], rows[2][3]) == ({"event": "before"}, {"event": "behind"})


@given(st.lists(anything, max_size=5))
def test_rows_of_any_payload_are_json(payloads: list[Any]) -> None:
    assert len(read([row(one, number) for number, one in enumerate(payloads)])) == len(payloads)


def test_of_too_many_bytes_the_newest_rows_go() -> None:
    rows = [row({"text": "x" * 1000}, number) for number in range(1000)]
    text, count = dump_newest(rows, 200_000)
    assert len(text) <= 200_000
    assert count >= 128
    assert orjson.loads(text) == rows[-count:]


def test_the_newest_rows_go_however_large_they_are() -> None:
    rows = [row({"text": "x" * 60_000}, number) for number in range(100)]
    text, count = dump_newest(rows, 10)
    assert count == 64
    assert orjson.loads(text) == rows[-64:]
