"""Tables: what went in comes out, in ordinary dtypes, within the capacity."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor import tables
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.payloads import normalise
from codeworm_monitor.recording import recorded
from codeworm_monitor.records import Kind
from codeworm_monitor.rows import Row, RowReader
from codeworm_monitor.tables import gap_table, message_table

AT = 1_795_384_606.25


def rows_of(payloads: list[Any], *, first: int = 1, channel: str = "codeworm:logs", epoch: str = "e") -> list[Row]:
    reader = RowReader()
    return [
        reader.read(epoch, Envelope(offset, AT + offset, channel, b""), payload)
        for offset, payload in enumerate(payloads, first)
    ]


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}


def test_a_frame_says_what_the_recording_says(recording: Path) -> None:
    messages = [(envelope, payload) for envelope, payload in recorded(recording) if envelope.channel == "codeworm:logs"]
    reader = RowReader()
    table = message_table(Kind.LOGS, capacity=100_000)
    table.append([reader.read("e", envelope, payload) for envelope, payload in messages])
    frame = table.df
    assert len(frame) == len(messages)
    for (envelope, payload), row in zip(messages, frame.to_dict("records"), strict=True):
        known = {"level", "component", "event", "target", "repo", "doc_type", "cycle_num", "commit"}
        known |= {"tokens", "time_ms", "error", "exception"}
        for name in known:
            assert (row[name] == payload[name]) if payload.get(name) is not None else pd.isna(row[name])
        assert row["timestamp"] == pd.Timestamp(payload["timestamp"])
        assert row["offset"] == envelope.offset
        assert abs((row["received_at"].timestamp()) - envelope.received_at) < 1e-5
        rest = {key: value for key, value in payload.items() if key not in known | {"timestamp"}}
        assert (json.loads(row["extra"]) if rest else {}) == rest


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_dtypes_are_those_documented(kind: Kind, count: int) -> None:
    table = message_table(kind, capacity=10)
    table.append(rows_of([{}] * count, channel=f"codeworm:{kind}"))
    documented = {name: text.partition(": ")[0] for name, text in table.columns.items()}
    for frame in (table.df, table.tail(2), table.where(text="nowhere to be found"), table.where(channel="x")):
        assert dtypes(frame) == documented
        assert list(frame.index) == list(range(len(frame)))
        for name, dtype in documented.items():
            if dtype == "category":
                assert frame[name].cat.categories.dtype == "str"


def test_dtypes_of_gaps() -> None:
    table = gap_table()
    empty = dtypes(table.df)
    table.append([("e", Gap(cause=GapCause.TRIMMED, started_at=1.0, ended_at=2.5, first_offset=3, last_offset=5))])
    table.append([("e", Gap(cause=GapCause.SOURCE_OUTAGE, started_at=3.0, ended_at=4.0, offset=9, detail="gone"))])
    frame = table.df
    assert empty == dtypes(frame)
    assert empty["missed"] == empty["offset"] == empty["first_offset"] == "float64"
    assert empty["started_at"] == "datetime64[us, UTC]"
    assert empty["cause"] == "category"
    assert frame.missed.tolist()[0] == 3
    assert frame.missed.isna().tolist() == [False, True]
    assert frame.detail.tolist() == ["", "gone"]
    assert frame.ended_at[0] == pd.Timestamp("1970-01-01T00:00:02.5Z")


def test_types_that_change_from_message_to_message_go_to_extra() -> None:
    table = message_table(Kind.LOGS, capacity=100)
    hostile = [3, 2.5, True, None, "text", [1], {"a": 1}, 2**64]
    table.append(rows_of([dict.fromkeys(("event", "tokens", "time_ms", "timestamp"), value) for value in hostile]))
    frame = table.df
    assert dtypes(frame)["tokens"] == "float64"
    assert frame.event.dropna().tolist() == ["text"]
    assert frame.tokens.dropna().tolist() == [3]
    assert frame.time_ms.dropna().tolist() == [3, 2.5]
    assert json.loads(frame.extra[6])["event"] == {"a": 1}


def test_ten_thousand_keys_make_no_columns() -> None:
    table = message_table(Kind.LOGS, capacity=20_000)
    table.append(rows_of([{f"key{i}": i} for i in range(10_000)]))
    table.append(rows_of([{f"key{i}": i for i in range(10_000)}], first=10_001))
    frame = table.df
    assert list(frame.columns) == list(table.columns)
    assert json.loads(frame.extra.iloc[-1])["key9999"] == 9999


def test_years_1_and_9999_are_kept() -> None:
    table = message_table(Kind.LOGS, capacity=10)
    table.append(rows_of([{"timestamp": "0001-01-01T00:00:00Z"}, {"timestamp": "9999-12-31T23:59:59.999999Z"}]))
    frame = table.df
    assert frame.timestamp.dt.year.tolist() == [1, 9999]
    assert "9999-12-31" in repr(frame.timestamp)
    assert "0001-01-01" in frame._repr_html_()


def test_hostile_text_survives_and_stays_text() -> None:
    hostile = ["<script>alert(1)</script>", "\u2028", "\x00\x1b[31m", "javascript:alert(1)", "é" * 10_000]
    table = message_table(Kind.LOGS, capacity=10)
    table.append(rows_of([{"event": text, "error": text, "new": text} for text in hostile]))
    frame = table.df
    assert frame.event.tolist() == frame.error.tolist() == hostile
    assert "<script>" not in frame._repr_html_()


@pytest.mark.parametrize("payload", [b"not json", b"[1, 2]", b'"text"', b"12", b"null", b"\xff", b"[" * 3000, b""])
def test_whatever_was_published_becomes_a_row(payload: bytes) -> None:
    _, decoded, mark = normalise(payload)
    reader = RowReader()
    for kind in Kind:
        table = message_table(kind, capacity=10)
        table.append([reader.read("e", Envelope(1, AT, f"x:{kind}", b"", mark), decoded)])
        frame = table.df
        assert len(frame) == 1
        assert isinstance(json.loads(frame.extra[0]), dict)


def test_many_distinct_values_are_plain_text() -> None:
    many = tables.MAX_CATEGORIES + 1
    table = message_table(Kind.LOGS, capacity=4 * many)
    table.append(rows_of([{"event": f"e{i}", "repo": "r"} for i in range(many)]))
    frame = table.df
    assert str(frame.event.dtype) == "str"
    assert str(frame.repo.dtype) == "category"
    assert frame.event.iloc[-1] == f"e{many - 1}"
    assert len(table.where(event=["e3", "e4"])) == 2


@given(
    st.integers(1, 12),
    st.lists(st.integers(0, 9) | st.sampled_from(["df", "tail", "len"]), max_size=20),
    st.integers(1, 5),
)
def test_the_newest_rows_stay(capacity: int, steps: list[int | str], seal_rows: int) -> None:
    table = message_table(Kind.LOGS, capacity=capacity)
    model: list[int] = []
    before, tables.SEAL_ROWS = tables.SEAL_ROWS, seal_rows
    try:
        for step in steps:
            kept = model[-capacity:]
            match step:
                case int(count):
                    table.append(rows_of([{"event": f"e{i % 3}"} for i in range(count)], first=len(model) + 1))
                    model += range(len(model) + 1, len(model) + 1 + count)
                case "df":
                    assert table.df.offset.tolist() == kept
                case "tail":
                    assert table.tail(3).offset.tolist() == kept[-3:]
                case _:
                    assert len(table) == len(kept)
    finally:
        tables.SEAL_ROWS = before
    assert table.df.offset.tolist() == model[-capacity:]
    assert table.dropped == len(model) - len(model[-capacity:])


def test_bytes_are_bounded_too() -> None:
    table = tables.Table(tables.LAYOUTS[Kind.LOGS], tables.BUILDERS[Kind.LOGS], capacity=10_000, max_bytes=2_000_000)
    for number in range(40):
        table.append(rows_of([{"error": "x" * 100_000}], first=number + 1))
        table.seal()
    assert 5 <= len(table) <= 20
    assert table.dropped == 40 - len(table)
    assert table.df.offset.tolist()[-1] == 40


def test_a_frame_is_the_callers_own() -> None:
    table = message_table(Kind.LOGS, capacity=10)
    table.append(rows_of([{"event": "a", "tokens": 1, "target": "t"}] * 3))
    frame = table.df
    frame.loc[0, ["target", "tokens", "event", "extra"]] = ["changed", 99.0, "a", "x"]
    frame["tokens"] += 1
    frame["new"] = 1
    del frame["error"]
    again = table.df
    assert again.tokens.tolist() == [1, 1, 1]
    assert again.target.tolist() == ["t"] * 3
    assert "new" not in again


def test_arrow_keeps_integers_and_shares_memory() -> None:
    table = message_table(Kind.LOGS, capacity=10)
    table.append(rows_of([{"tokens": 2**60 + 1}, {}]))
    found = table.arrow()
    assert found.column("tokens").to_pylist() == [2**60 + 1, None]
    one, two = (table.arrow().column("offset").chunk(0).buffers()[1].address for _ in range(2))
    assert one == two
    assert isinstance(found, pa.Table)


def test_since_counts_from_now_or_from_the_newest_row() -> None:
    live = message_table(Kind.LOGS, capacity=10, now=lambda: AT + 100)
    old = message_table(Kind.LOGS, capacity=10, now=None)
    for table in (live, old):
        table.append(rows_of([{}] * 3))
    assert live.where(since="98s").offset.tolist() == [2, 3]
    assert old.where(since="1s").offset.tolist() == [2, 3]
    assert old.where(until=pd.Timestamp(AT + 2, unit="s", tz="UTC")).offset.tolist() == [1]
    assert len(message_table(Kind.LOGS, capacity=10, now=None).where(since="1s")) == 0


def test_a_negative_tail_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows or more"):
        message_table(Kind.LOGS, capacity=10).tail(-1)
    assert len(message_table(Kind.LOGS, capacity=10).tail(0)) == 0


def test_readers_see_whole_ascending_tables_while_a_thread_writes() -> None:
    table = message_table(Kind.LOGS, capacity=500)
    batches = [rows_of([{"event": f"e{i}"} for i in range(7)], first=first) for first in range(1, 7_000, 7)]
    writer = threading.Thread(target=lambda: [table.append(batch) for batch in batches])
    writer.start()
    seen = 0
    while writer.is_alive() or seen < 7_000:
        offsets = table.df.offset.tolist()
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True
        assert len(offsets) <= 500
        seen = max(seen, offsets[-1] if offsets else 0)
        assert len(table.tail(5)) <= 5
    writer.join()
    assert seen == 7_000
