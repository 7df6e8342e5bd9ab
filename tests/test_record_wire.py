from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.envelope import Envelope
from codeworm_monitor.errors import FrameError
from codeworm_monitor.frames import encode_v2
from codeworm_monitor.payloads import normalise
from codeworm_monitor.record_wire import exact_messages

TRICKY = [
    b'{"a" : 1.0 , "a":1e5,"u":"\\u00e4","data":[],"mark":"raw"}',
    b' [ 1 , "]}," , "\\"" , {"x":"\\\\"} ] ',
    b'"text with \\" and }],"',
    b"1.50",
    b"-0.0",
    b"null",
    b"{}",
    b'{"mark":"raw"}',
    b'[{"envelopes":[{"offset":1,"data":2}]}]',
    b"not json",
    b"\xff\xfe",
    b"x" * 2000,
    '{"ü":"\u2028"}'.encode(),
]


def batch(*payloads: bytes, channel: str = "codeworm:logs") -> tuple[bytes, list[Envelope]]:
    """A frame as a relay writes it, and the envelopes in it."""
    envelopes = []
    for offset, payload in enumerate(payloads, 1):
        data, _, mark = normalise(payload, 1000)
        envelopes.append(Envelope(offset, 1_795_384_606.25 + offset, channel, data, mark))
    return encode_v2(envelopes), envelopes


def test_payloads_come_off_the_wire_byte_for_byte() -> None:
    text, envelopes = batch(*TRICKY)
    found = list(exact_messages(text))
    assert [one.data for one in found] == [envelope.data for envelope in envelopes]
    assert [(one.offset, one.received_at, one.channel, one.mark) for one in found] == [
        (envelope.offset, envelope.received_at, envelope.channel, envelope.mark) for envelope in envelopes
    ]
    assert {one.mark for one in found} == {None, "raw", "truncated"}


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_text = st.text(alphabet='"\\{}[],:data mark raw\n', max_size=40)


@given(
    values=st.lists(_json, min_size=1, max_size=4),
    raw=st.lists(_text.map(str.encode) | st.binary(max_size=30), max_size=3),
    channel=st.sampled_from(["codeworm:logs", ',"data":', '"}],', "ü\\"]),
    indent=st.booleans(),
)
def test_whatever_the_payloads_each_is_found_whole(
    values: list[object], raw: list[bytes], channel: str, *, indent: bool
) -> None:
    payloads = [orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None) for value in values] + raw
    text, envelopes = batch(*payloads, channel=channel)
    found = list(exact_messages(text))
    assert [(one.channel, one.data, one.mark) for one in found] == [
        (envelope.channel, envelope.data, envelope.mark) for envelope in envelopes
    ]


@pytest.mark.parametrize(
    "text",
    [
        b'{"envelopes":[],"type":"batch"}',
        b'{"type":"batch","envelopes":[{"offset":1}]}',
        b'{"type":"batch","envelopes":[{"data":1,"offset":1}]}',
        b'{"type":"batch","envelopes":[{"offset":1,"received_at":1,"data":1}]}',
    ],
)
def test_a_batch_in_another_form_is_refused_and_not_misread(text: bytes) -> None:
    with pytest.raises(FrameError, match="another form"):
        list(exact_messages(text))
