"""Decoded in bulk, messages make the very rows that they make one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.decoding import Decoder
from codeworm_monitor.envelope import Envelope, Mark
from codeworm_monitor.payloads import normalise
from codeworm_monitor.records import kind_of
from codeworm_monitor.rows import BUILDERS, Row, RowReader
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.stored import Messages, stored, stream_name

AT = 1_795_384_606_250_000

Sent = tuple[str, bytes, Mark | None]


def batch_of(sent: list[Sent], *, first: int = 1, at: list[int] | None = None) -> pa.RecordBatch:
    channels, payloads, marks = zip(*sent, strict=True)
    offsets = range(first, first + len(sent))
    times = at or [AT + 1_000_000 * offset for offset in offsets]
    return stored(["e"] * len(sent), offsets, times, channels, marks, payloads)


def one_by_one(batches: list[pa.RecordBatch]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows by stream, as live tables hold them."""
    reader, journal, rows = RowReader(), RowReader(), dict[str, list[Row]]()
    for batch in batches:
        for one in batch.to_pylist():
            mark = None if one["mark"] is None else Mark(one["mark"])
            envelope = Envelope(one["offset"], one["received_at"] / 1_000_000, one["channel"], b"", mark)
            of_channel = journal if one["channel"] == "codeworm:relay" else reader
            row = of_channel.read(one["epoch"], envelope, orjson.loads(one["payload"]))
            rows.setdefault(stream_name(one["channel"]), []).append(row)
    return {name: BUILDERS[kind_of(name)](some).to_pylist() for name, some in rows.items()}


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: json.loads(v) if key in ("extra", "by_repo") and v else v for key, v in row.items()} for row in rows]


def assert_same(batches: list[pa.RecordBatch]) -> None:
    decoder, found = Decoder(), dict[str, list[dict[str, Any]]]()
    for batch in batches:
        for name, rows in decoder.read(Messages.of([batch])).items():
            rows.validate(full=True)
            assert rows.schema == LAYOUTS[kind_of(name)].schema
            found.setdefault(name, []).extend(rows.to_pylist())
    expected = one_by_one(batches)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert plain(found[name]) == plain(rows)


def test_recordings_are_decoded_as_one_by_one(recording: Path) -> None:
    messages = list(read_recording(recording))
    times = [round(message.received_at * 1_000_000) for message in messages]
    sent = [(message.channel, message.payload, None) for message in messages]
    assert_same([batch_of(sent, at=times)])
    assert_same([batch_of(sent[i : i + 50], first=i + 1, at=times[i : i + 50]) for i in range(0, len(sent), 50)])


scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["", "{", "null", "[", '"', "\\", "INFO", "İ", "warning"])
    | st.sampled_from(
        [
            "2026-11-22T21:56:46Z",
            "2026-11-22T16:57:26.859387",
            "2026-11-22T21:56:46.1Z",
            "2026-11-22",
            "20261122T215646Z",
        ]
    )
    | st.sampled_from(
        ["0001-01-01T00:00:00", "9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59", "0000-01-01T00:00:00Z"]
    )
    | st.sampled_from(
        ["2026-02-30T00:00:00Z", "2026-11-22T21:57:35+05:75", "2026-11-22T23:59:60Z", "2026-11-22T25:00:00Z"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=2),
    max_leaves=4,
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
naive = st.integers(-7_200, 7_200).map(lambda s: f"2026-11-22T{16 + (s + 7200) // 3600 % 4:02}:{s % 60:02}:26.000001")
fitting: dict[str, st.SearchStrategy[Any]] = (
    {
        column.name: {"int64": st.integers(0, 99), "double": st.integers(0, 9) | st.floats(0, 1e4)}.get(
            str(column.type), words
        )
        for layout in LAYOUTS.values()
        for column in layout.columns
    }
    | {
        name: naive | st.sampled_from(["2026-11-22T21:56:46Z", "2026-11-22T21:56:47.000100Z"])
        for name in ("timestamp", "time", "last_success")
    }
    | {"by_repo": st.dictionaries(words, st.integers(0, 99), max_size=3) | words}
)
# Mostly what fits, as otherwise hardly a batch would be read by the quick parser.
plain_objects = st.fixed_dictionaries(
    {}, optional=fitting | {"x": words, "n": st.integers(-99, 99), "is": st.booleans()}
)
wild_objects = st.dictionaries(st.sampled_from(sorted(fitting)) | st.text(max_size=3), values, max_size=6)
nested = st.builds(lambda outer, inner: outer | {"data": inner}, plain_objects, plain_objects | values)
payloads = st.one_of(plain_objects, plain_objects, nested, wild_objects, values).map(
    lambda value: orjson.dumps(value) if value is None or type(value) is not str else json.dumps(value).encode()
)
channels = st.sampled_from(
    ["codeworm:logs", "codeworm:logs", "codeworm:events", "codeworm:stats", "other", "codeworm:relay"]
)
sent_messages = st.tuples(channels, payloads, st.sampled_from([None, None, Mark.RAW]))


@settings(max_examples=400)
@given(st.lists(st.lists(sent_messages, min_size=1, max_size=8), min_size=1, max_size=3))
def test_any_messages_are_decoded_as_one_by_one(sent: list[list[Sent]]) -> None:
    assert_same([batch_of(some, first=10 * index + 1) for index, some in enumerate(sent)])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"event":"a","event":"b"}',
        b'{"u":1,"u":2}',
        b'{"tokens":1.0}',
        b'{"tokens":true}',
        b'{"time_ms":9007199254740993}',
        b'{"time_ms":1e300}',
        b'{"tokens":18446744073709551615}',
        b'{"x":-0}',
        b'{"x":1e2,"y":1}',
        b'{"event":null,"z":null}',
        b'{"z":1,"y":null}',
        b'{"event":{"a":1}}',
        b'{"a":{"b":null,"c":{}}}',
        b'{"":1}',
        b'{"a.b":1,"a":{"b":2}}',
        b'{\n "event":\t"spread",\r\n "n": 1\n}',
        b' {"event":"a"} ',
        b'{"event":"\\u0061","\\u0065x":"\\n"}',
        b'{"x":' + b"[" * 190 + b"]" * 190 + b"}",
        b'{"x":' + b'{"a":' * 190 + b"1" + b"}" * 191,
        b"null",
        b"12",
        b'"text"',
        b"[null,1]",
        b"{}",
        b'{"timestamp":"never"}',
        b'{"timestamp":"2026-11-22T16:56:46"}',
        b'{"level":"INFO"}',
        b'{"data":null}',
        b'{"data":{"data":1,"time":"2026-11-22T16:56:46"},"time":3}',
        b'{"data":{"q":1},"q":2}',
        b'{"data":{"target":"t"},"target":"u"}',
        b'{"data":5}',
    ],
)
@pytest.mark.parametrize("channel", ["codeworm:logs", "codeworm:events", "codeworm:stats"])
def test_hostile_payloads_are_decoded_as_one_by_one(payload: bytes, channel: str) -> None:
    ordinary = b'{"event":"x","level":"info","n":1,"timestamp":"2026-11-22T21:56:46.000001Z","data":{"target":"f","time":"2026-11-22T16:56:46"}}'
    assert_same([batch_of([(channel, payload, None)])])
    assert_same([batch_of([(channel, one, None) for one in (ordinary, payload, ordinary)])])


@pytest.mark.parametrize(
    "counts",
    [
        b'{"a":1,"b":2}',
        b"{}",
        b"null",
        b'{"a":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1.5}',
        b'{"\xc3\xa9":10,"":0}',
        b"5",
        b'{"a":{"by_repo":{"x":1}}}',
        b'{"by_repo":{"x":1}}',
        b'{"a":-1}',
        b'{"a":123456789012345678901}',
        b'"by_repo"',
        b'{"a":1},"x":{"by_repo":{"b":2}}',
        b'{"a":1},"by_repo":{"b":2}',
    ],
)
def test_counts_by_repository_are_decoded_as_one_by_one(counts: bytes) -> None:
    around = b'{"timestamp":"2026-11-22T16:58:50.8","total_cycles":3,"success_rate":33.3,"last_success":null,"by_repo":%b,"n":1}'
    payload, ordinary = around % counts, around.replace(b',"n":1', b"") % b'{"a":1}'
    for sent in ([payload], [ordinary, payload, ordinary], [around.replace(b',"n":1', b"") % counts]):
        assert_same([batch_of([("codeworm:stats", one, None) for one in sent])])


@pytest.mark.parametrize(
    "payload", [b"not json", b'{"event":"\\ud800"}', b"\xff", b'{"a":1}{"b":2}', b'{"n":1e999}', b""]
)
def test_what_no_relay_would_have_stored_is_told_as_it_would_have_been(payload: bytes) -> None:
    text, value, _ = normalise(payload)
    assert orjson.loads(text) == value
    (rows,) = Decoder().read(Messages.of([batch_of([("codeworm:logs", payload, None)])])).values()
    assert json.loads(rows.to_pylist()[0]["extra"]) == value


def test_the_publishers_clock_is_learnt_through_a_change_of_its_zone() -> None:
    def log(second: int) -> Sent:
        return "codeworm:logs", orjson.dumps({"timestamp": f"2026-11-22T21:57:{second:02}.5Z"}), None

    def event(hour: int, second: int) -> Sent:
        text = f"2026-11-22T{hour}:57:{second:02}.500000"
        return "codeworm:events", orjson.dumps({"timestamp": text, "data": {"time": text}}), None

    sent = [log(0), event(16, 1), event(16, 2), log(3), event(17, 4), event(17, 5), event(3, 6), event(17, 7)]
    assert_same([batch_of(sent)])
    decoder = Decoder()
    assert_same([batch_of(sent[:3]), batch_of(sent[3:6], first=4), batch_of(sent[6:], first=7)])
    minutes = decoder.read(Messages.of([batch_of(sent)]))["events"].column("timestamp").to_pylist()
    assert [(time.hour, time.minute) for time in minutes[:4]] == [(21, 57)] * 4


def test_levels_are_lower_case_however_they_come() -> None:
    sent: list[Sent] = [("codeworm:logs", orjson.dumps({"level": level}), None) for level in ("INFO", "info", "Info")]
    rows = Decoder().read(Messages.of([batch_of(sent)]))["logs"]
    assert rows.column("level").to_pylist() == ["info"] * 3
    assert rows.column("level").dictionary.to_pylist() == ["info"]
