from __future__ import annotations

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_reader import take_frames
from websockets.frames import Frame, Opcode

from codeworm_monitor import frames
from codeworm_monitor.envelope import MAX_OFFSET, Cursor, Envelope, Gap, GapCause, Mark
from codeworm_monitor.errors import FrameError
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import (
    CLOSE_PROTOCOL,
    MAX_TAIL,
    Batch,
    ErrorFrame,
    Hello,
    Ping,
    Pong,
    Position,
    Subscribe,
    Subscribed,
    encode_entries,
    encode_from_client,
    encode_v1,
    encode_v1_history,
    encode_v2,
    join_frames,
    parse_from_client,
    parse_from_server,
    text_frame,
)
from codeworm_monitor.records import LEVELS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
offsets = st.integers(0, MAX_OFFSET)
times = st.floats(0, 4e9)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
# The same value in more than one spelling, as publishers may write it.
json_texts = st.builds(
    lambda value, option, before, after: before + orjson.dumps(value, option=option) + after,
    json_values,
    st.sampled_from([0, orjson.OPT_INDENT_2, orjson.OPT_SORT_KEYS]),
    st.sampled_from([b"", b" ", b"\n\t"]),
    st.sampled_from([b"", b" ", b"\r\n"]),
) | st.sampled_from(
    [
        b'{"a":1,"a":2}',
        b'{"data":{"data":1},"channel":"x","offset":-1}',
        b'{"__proto__":{}}',
        rb'"\u001b[31m\u0000"',
        b"1e2",
        b"1.000",
        b"-0",
        rb'"</script>\u2028"',
    ]
)
cursors = st.builds(Cursor, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64), offsets)
choices = st.frozensets(texts, max_size=3)
filters = st.builds(
    Filter,
    channels=choices,
    level=st.none() | st.sampled_from(LEVELS),
    components=choices,
    repos=choices,
    text=st.none() | texts,
)
client_frames = (
    st.just(Ping())
    | st.builds(Subscribe, filter=filters)
    | st.builds(Subscribe, cursor=cursors, filter=filters)
    | st.builds(Subscribe, tail=st.integers(0, MAX_TAIL), filter=filters)
    | st.builds(Subscribe, time=times | st.floats(-1e300, 1e300), filter=filters)
)
maybe_offsets = st.none() | offsets
gaps = st.builds(
    Gap,
    cause=st.sampled_from(GapCause),
    started_at=times,
    ended_at=times,
    offset=maybe_offsets,
    first_offset=maybe_offsets,
    last_offset=maybe_offsets,
    detail=texts,
)
envelopes = st.builds(
    Envelope,
    offset=offsets,
    received_at=times.map(lambda at: round(at, 6)),
    channel=texts,
    data=json_texts,
    mark=st.none() | st.sampled_from(Mark),
)
server_frames = (
    st.builds(
        Hello,
        version=texts,
        epoch=texts,
        oldest=offsets,
        head=offsets,
        channels=st.lists(texts, max_size=4),
        snapshot=st.dictionaries(texts, json_values, max_size=3),
        limits=st.dictionaries(texts, st.floats(0, 1e9), max_size=3),
        time=times,
    )
    | st.builds(
        Subscribed,
        cursor=cursors,
        recovered=st.none() | st.booleans(),
        reason=st.none() | st.sampled_from(["epoch", "trimmed", "future"]),
    )
    | gaps
    | st.builds(Position, offsets)
    | st.builds(Pong, times)
    | st.builds(ErrorFrame, texts)
)


def message(data=b"{}", *, offset=1, at=1795384606.5, channel="codeworm:logs", mark=None):
    return Envelope(offset, at, channel, data, mark)


# WebSocket frames


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_text_frame_is_what_websockets_would_send(length):
    text = b"x" * length
    assert text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)


@given(st.binary(max_size=300))
def test_a_text_frame_of_any_bytes_is_what_websockets_would_send(text):
    assert text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)


# v1


@given(texts, json_texts)
def test_a_payload_stays_byte_for_byte_in_v1(channel, data):
    text = encode_v1(message(data, channel=channel))
    head, tail = b'{"channel":' + orjson.dumps(channel) + b',"data":', b"}"
    assert text == head + data + tail
    assert orjson.loads(text) == {"channel": channel, "data": orjson.loads(data)}


@given(st.lists(envelopes, max_size=8), st.integers(0, 2000))
def test_v1_history_holds_the_newest_that_fit_oldest_first(messages, max_bytes):
    text = encode_v1_history(messages, max_bytes=max_bytes)
    if text is None:
        assert not messages or len(encode_v1(messages[-1])) + 65 > max_bytes
        return
    assert len(text) <= max_bytes
    history = orjson.loads(text)
    assert history["channel"] == "codeworm:history"
    newest = [{"channel": one.channel, "data": orjson.loads(one.data)} for one in messages]
    assert history["data"] == newest[-len(history["data"]) :]
    left_out = messages[: len(messages) - len(history["data"])]
    assert not left_out or len(text) + len(encode_v1(left_out[-1])) + 1 + 64 > max_bytes


def test_v1_history_of_nothing_is_nothing():
    assert encode_v1_history([], max_bytes=10**6) is None


def test_v1_history_takes_any_iterable():
    text = encode_v1_history((message(b"%d" % n) for n in range(3)), max_bytes=10**6)
    assert [one["data"] for one in orjson.loads(text)["data"]] == [0, 1, 2]


def test_the_v1_pong_is_the_original_one():
    assert orjson.loads(frames.V1_PONG) == {"type": "pong"}


# v2, from the server


@given(st.lists(envelopes, max_size=6))
def test_payloads_stay_byte_for_byte_in_v2(messages):
    text = encode_v2(messages)
    rest = text
    for one in messages:
        before, found, rest = rest.partition(
            b',"data":' + one.data + (b',"mark":"%b"}' % one.mark.encode() if one.mark else b"}")
        )
        assert found, before
    assert rest == b"]}" or not messages
    batch = parse_from_server(text)
    assert [envelope._replace(data=b"") for envelope in messages] == [envelope for envelope, _ in batch.envelopes]
    assert [orjson.loads(envelope.data) for envelope in messages] == [data for _, data in batch.envelopes]


@given(server_frames)
def test_a_server_frame_survives_the_wire(frame):
    assert parse_from_server(encode_v2(frame)) == frame


@given(server_frames)
def test_every_server_frame_is_an_object_with_a_type_of_the_table(frame):
    kind = orjson.loads(encode_v2(frame))["type"]
    assert f"| server | `{kind}` |" in frames.__doc__


def test_a_batch_of_one_message_looks_as_documented():
    assert orjson.loads(encode_v2([message(b'{"raw":"x"}', offset=7, mark=Mark.RAW)])) == {
        "type": "batch",
        "envelopes": [
            {
                "offset": 7,
                "received_at": 1795384606.5,
                "channel": "codeworm:logs",
                "data": {"raw": "x"},
                "mark": "raw",
            }
        ],
    }


def test_an_unmarked_envelope_has_no_mark_on_the_wire():
    assert b"mark" not in encode_v2([message()])


def test_the_time_of_receipt_is_exact_to_the_microsecond():
    (pair,) = parse_from_server(encode_v2([message(at=1795384606.4447134)])).envelopes
    assert pair[0].received_at == pytest.approx(1795384606.4447134, abs=1e-6)


def test_a_decoded_batch_cannot_be_encoded():
    with pytest.raises(TypeError, match="envelopes"):
        encode_v2(Batch([]))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
        "\ud800",
        b"[" * 100_000,
        b'{"type":NaN}',
        b'{"type":"pong","time":1e999}',
        b"9" * 5000,
        b'{"type":"ping"} trailing',
        b"{'type':'ping'}",
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_no_json_is_a_frame_error_that_says_so(text):
    for parse in (parse_from_client, parse_from_server):
        with pytest.raises(FrameError, match="a frame is JSON"):
            parse(text)


@given(st.binary() | st.text())
def test_arbitrary_bytes_and_text_are_frames_or_frame_errors(text):
    for parse in (parse_from_client, parse_from_server):
        with suppress(FrameError):
            parse(text)


kinds = st.sampled_from(["hello", "subscribed", "batch", "gap", "position", "pong", "error", "ping", "subscribe"])
field_names = [
    *(name for shape in (Hello, Subscribed, Gap) for name in shape.__slots__),
    *("envelopes", "received_at", "channel", "data", "mark", "message", "since", "filter"),
]
odd_values = (
    json_values
    | st.dictionaries(st.sampled_from(field_names), json_values, max_size=6)
    | st.lists(st.dictionaries(st.sampled_from(field_names), json_values, max_size=6), max_size=3)
)


@given(kinds, st.dictionaries(st.sampled_from(field_names), odd_values))
def test_arbitrary_fields_give_a_frame_or_a_frame_error(kind, fields):
    for parse in (parse_from_client, parse_from_server):
        with suppress(FrameError):
            parse(orjson.dumps({**fields, "type": kind}))


@given(st.data())
def test_a_frame_with_one_field_spoilt_gives_a_frame_or_a_frame_error(data):
    encode, parse = data.draw(
        st.sampled_from([(encode_v2, parse_from_server), (encode_from_client, parse_from_client)])
    )
    frame = data.draw(server_frames | st.lists(envelopes, max_size=3) if encode is encode_v2 else client_frames)
    values = orjson.loads(encode(frame))
    spoilt = data.draw(st.sampled_from(sorted(values)))
    values[spoilt] = data.draw(odd_values)
    with suppress(FrameError):
        parse(orjson.dumps(values))


@given(json_values)
def test_arbitrary_json_is_a_frame_error_unless_its_type_is_unknown(value):
    text = orjson.dumps(value)
    with pytest.raises(FrameError):
        parse_from_client(text)
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        assert parse_from_server(text) is None
    else:
        with pytest.raises(FrameError):
            parse_from_server(text)


HELLO = {
    "type": "hello",
    "version": "1",
    "epoch": "e",
    "oldest": 1,
    "head": 2,
    "channels": ["c"],
    "snapshot": {},
    "limits": {},
    "time": 5,
}
GAP = {
    "type": "gap",
    "cause": "trimmed",
    "offset": None,
    "started_at": 1,
    "ended_at": 2.5,
    "first_offset": 1,
    "last_offset": 2,
    "detail": "",
}
ENVELOPE = {"offset": 1, "received_at": 1.5, "channel": "c", "data": {}}


@pytest.mark.parametrize(
    "values",
    [
        *({name: value for name, value in HELLO.items() if name != left_out} for left_out in HELLO),
        *({**HELLO, name: True} for name in HELLO),
        {**HELLO, "channels": [1]},
        *({name: value for name, value in GAP.items() if name != left_out} for left_out in GAP),
        *({**GAP, name: True} for name in GAP),
        {**GAP, "cause": "unheard of"},
        {"type": "position"},
        {"type": "position", "offset": True},
        {"type": "position", "offset": 1.0},
        {"type": "pong", "time": "now"},
        {"type": "error", "message": 5},
        {"type": "subscribed"},
        {"type": "subscribed", "cursor": "nowhere"},
        {"type": "subscribed", "cursor": "e:1", "recovered": "yes"},
        {"type": "subscribed", "cursor": "e:1", "reason": 1},
        {"type": "batch"},
        {"type": "batch", "envelopes": {}},
        {"type": "batch", "envelopes": [1]},
        {"type": "batch", "envelopes": [[]]},
        *(
            {"type": "batch", "envelopes": [{name: value for name, value in ENVELOPE.items() if name != left_out}]}
            for left_out in ENVELOPE
        ),
        *({"type": "batch", "envelopes": [{**ENVELOPE, name: True}]} for name in ("offset", "received_at", "channel")),
        {"type": "batch", "envelopes": [{**ENVELOPE, "mark": "unheard of"}]},
        {"type": "batch", "envelopes": [{**ENVELOPE, "mark": []}]},
    ],
    ids=lambda values: orjson.dumps(values).decode()[:90],
)
def test_a_server_frame_with_a_field_missing_or_of_another_type_is_refused(values):
    with pytest.raises(FrameError):
        parse_from_server(orjson.dumps(values))


def test_whole_numbers_are_times_too():
    assert parse_from_server(orjson.dumps(HELLO)).time == 5
    assert parse_from_server(b'{"type":"pong","time":5}') == Pong(5.0)
    assert parse_from_server(orjson.dumps(GAP)).started_at == 1


def test_fields_of_a_newer_relay_are_passed_over():
    assert parse_from_server(b'{"type":"position","offset":3,"shard":1}') == Position(3)
    assert parse_from_server(orjson.dumps({**HELLO, "motto": "x"})).epoch == "e"
    assert parse_from_server(b'{"type":"weather","sun":true}') is None


def test_an_answer_to_a_subscription_without_cursor_may_leave_out_whether_it_recovered():
    assert parse_from_server(b'{"type":"subscribed","cursor":"e:5"}') == Subscribed(cursor=Cursor("e", 5))


# v2, from the client


@given(client_frames)
def test_a_client_frame_survives_the_wire(frame):
    assert parse_from_client(encode_from_client(frame)) == frame


@given(client_frames)
def test_a_client_frame_may_come_as_text_or_bytes(frame):
    text = encode_from_client(frame)
    assert parse_from_client(text.decode()) == parse_from_client(text)


@pytest.mark.parametrize(
    "text", ['{"type":"subscribe"}', '{"type":"subscribe","since":null}', '{"type":"subscribe","since":"now"}']
)
def test_a_subscription_begins_now_unless_it_says_otherwise(text):
    assert parse_from_client(text) == Subscribe()


@pytest.mark.parametrize(
    "since",
    [
        "later",
        5,
        [],
        {},
        {"tail": -1},
        {"tail": MAX_TAIL + 1},
        {"tail": True},
        {"tail": 1.5},
        {"tail": "5"},
        {"time": True},
        {"time": "noon"},
        {"time": None},
        {"cursor": 5},
        {"cursor": "e:1", "tail": 5},
        {"tail": 5, "time": 1.0},
        {"offset": 5},
    ],
)
def test_a_since_of_another_form_is_refused_with_the_right_ones(since):
    with pytest.raises(FrameError, match=r'since is "now"'):
        parse_from_client(orjson.dumps({"type": "subscribe", "since": since}))


@pytest.mark.parametrize("cursor", ["", "e", "e:-1", f"e:{MAX_OFFSET + 1}"])
def test_a_since_with_a_garbage_cursor_is_refused(cursor):
    with pytest.raises(FrameError, match="cursor"):
        parse_from_client(orjson.dumps({"type": "subscribe", "since": {"cursor": cursor}}))


def test_an_unknown_field_or_type_is_refused_by_name():
    with pytest.raises(FrameError, match="'sinse'"):
        parse_from_client('{"type":"subscribe","sinse":"now"}')
    with pytest.raises(FrameError, match="'hello'"):
        parse_from_client('{"type":"hello"}')


@pytest.mark.parametrize("text", ["[]", "5", "null", '"ping"', "{}", '{"type":5}', '{"type":null}'])
def test_what_is_no_object_with_a_type_is_refused(text):
    for parse in (parse_from_client, parse_from_server):
        with pytest.raises(FrameError, match="an object with a type"):
            parse(text)


def test_close_codes_below_4500_invite_to_come_back():
    assert CLOSE_PROTOCOL >= 4500


# What goes out in one piece


@given(st.lists(st.integers(0, 400) | st.none(), max_size=40), st.integers(1, 1000))
def test_joined_frames_hold_all_entries_in_order_in_batches_as_large_as_may_be(sizes, max_bytes):
    entries = [
        Gap(cause=GapCause.SOURCE_OUTAGE, started_at=0, ended_at=0, offset=n)
        if size is None
        else message(b'"%b"' % (b"x" * size), offset=n)
        for n, size in enumerate(sizes, 1)
    ]
    texts = encode_entries(entries)
    sizes = dict(zip((entry.offset for entry in entries), map(len, texts), strict=True))
    seen, before = [], None
    for opcode, text in take_frames(bytearray(join_frames(entries, texts, max_bytes=max_bytes))):
        assert opcode == Opcode.TEXT
        frame = parse_from_server(text)
        if isinstance(frame, Gap):
            seen.append(frame.offset)
            before = None
            continue
        offsets = [envelope.offset for envelope, _ in frame.envelopes]
        assert all(envelope == entries[envelope.offset - 1]._replace(data=b"") for envelope, _ in frame.envelopes)
        assert len(offsets) == 1 or sum(sizes[offset] for offset in offsets) <= max_bytes
        assert before is None or before + sizes[offsets[0]] > max_bytes
        before = sum(sizes[offset] for offset in offsets)
        seen += offsets
    assert seen == [entry.offset for entry in entries]
    assert encode_entries([]) == []
    assert join_frames([], [], max_bytes=10) == b""


def test_headers_of_lengths_that_seldom_come_again_are_not_kept():
    for length in (0, 125, 126, 4095, 4096, 65_535, 65_536):
        text_frame(b"x" * length)
    assert max(frames._HEADERS) < frames.COMMON_LENGTH
