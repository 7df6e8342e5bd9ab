from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.envelope import Mark
from codeworm_monitor.payloads import MAX_DEPTH, normalise

# Cases 10 to 14 of the faults that the relay must survive: payload, mark.
MALFORMED = [
    (b"", Mark.RAW),
    (b"plain text", Mark.RAW),
    (b'{"a":1', Mark.RAW),
    (b'{"a":1} trailing', Mark.RAW),
    (b'\xef\xbb\xbf{"a":1}', Mark.RAW),
    (b"[1,2]", None),
    (b"42", None),
    (b'"text"', None),
    (b"null", None),
    (b"\xff\xfe", Mark.RAW),
    (b'{"a":"\xff"}', Mark.RAW),
    (rb'{"a":"\ud800"}', Mark.RAW),
    (b'{"a":"\x00"}', Mark.RAW),
    (rb'{"a":"\u0000"}', None),
    (b'{"a":"\x1b[31m"}', Mark.RAW),
    (rb'{"a":"\u001b[31m"}', None),
    (b'{"a":NaN}', Mark.RAW),
    (b'{"a":Infinity}', Mark.RAW),
    (b'{"a":18446744073709551616}', None),
    (b'{"a":' + b"9" * 5000 + b"}", Mark.RAW),
    (b"[" * 200 + b"]" * 200, None),
    (b"[" * 500 + b"]" * 500, Mark.RAW),
    (b"[" * 1_100 + b"]" * 1_100, Mark.RAW),
    (b"[" * 100_000 + b"]" * 100_000, Mark.RAW),
    (b'{"a":1,"a":2}', None),
    (b'{"channel":"evil","data":1,"offset":-1,"type":"hello","__proto__":{}}', None),
]


@pytest.mark.parametrize(("payload", "mark"), MALFORMED, ids=lambda value: repr(value)[:30])
def test_what_json_is_passes_and_what_it_is_not_becomes_raw(payload: bytes, mark: Mark | None) -> None:
    data, value, found = normalise(payload)
    assert found is mark
    assert orjson.loads(data) == value
    if mark is None:
        assert data is payload
    elif "base64" in value:
        assert base64.b64decode(value["base64"]) == payload
    else:
        assert value["raw"].encode() == payload


@given(st.binary(max_size=600))
def test_any_bytes_become_json_from_which_they_can_be_had_again(payload: bytes) -> None:
    data, value, mark = normalise(payload)
    assert orjson.loads(data) == value
    data.decode()
    if mark is None:
        assert data == payload
    else:
        assert (base64.b64decode(value["base64"]) if "base64" in value else value["raw"].encode()) == payload


@pytest.mark.parametrize("size", [5 * 2**20, 40 * 2**20])
def test_an_oversize_payload_is_truncated_and_says_so(size: int) -> None:
    payload = b'{"a":"' + b"x" * (size - 8) + b'"}'
    data, value, mark = normalise(payload)
    assert mark is Mark.TRUNCATED
    assert value["truncated"] is True
    assert value["bytes"] == len(payload)
    assert value["raw"].encode() == payload[:4096]
    assert len(data) < 2**16


def test_raw_text_that_grows_when_escaped_is_truncated_too() -> None:
    data, _, mark = normalise(b"\x01" * 500_000)
    assert mark is Mark.TRUNCATED
    assert len(data) < 600_000


def test_many_brackets_are_not_deep_nesting() -> None:
    payload = orjson.dumps([[] for _ in range(5 * MAX_DEPTH)])
    assert normalise(payload)[2] is None


def test_brackets_in_a_string_are_not_nesting() -> None:
    payload = orjson.dumps({"text": "[" * 5_000})
    assert normalise(payload)[2] is None
