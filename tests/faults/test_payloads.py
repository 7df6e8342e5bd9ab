"""Bad payloads, cases 10 to 18, as the relay passes them on and as the notebook's tables show them.

What is under test: every message reaches every reader, marked where its text is not the payload; none of them is the
last thing that a reader or the relay sees.
"""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from typing import Any, NamedTuple

import orjson
import pandas as pd
import pytest
from support.load import EVENTS, LOGS, STATS
from support.processes import TOKEN
from support.readers import v1_reader, v2_reader
from support.servers import Server
from support.vitals import MIB, Vitals, watched_relay
from support.waiting import eventually

from codeworm_monitor import Monitor, connect
from codeworm_monitor.envelope import GapCause, Mark

LAST = b'{"event":"the last one","level":"info"}'


class Relayed(NamedTuple):
    """What became of payloads: as v1 and v2 got them, and in the notebook's table.

    Attributes:
        v1: Data of each.
        v2: Data of each.
        marks: Mark of each, or None.
        frame: Rows of the table.
    """

    v1: list[Any]
    v2: list[Any]
    marks: list[Mark | None]
    frame: pd.DataFrame


async def relayed(*payloads: bytes, channel: str = LOGS) -> Relayed:
    """Publish payloads, and a sound one behind them, through a relay to a reader of each kind.

    Their clients have the limit of 1 MiB that they have by default. The sound one is left out of what is returned.
    """
    payloads = (*payloads, LAST)
    async with Server() as server, watched_relay("--no-archive", redis_url=server.url) as relay:
        mon = await asyncio.to_thread(connect, relay.url, token=TOKEN)
        async with v1_reader(relay.url, TOKEN) as old, v2_reader(relay.url, TOKEN, max_size=2**20) as new:
            await new.subscribe()
            await server.publish(channel, payloads)
            texts = [orjson.loads(await old.recv(decode=False)) for _ in payloads]
            await new.read_until(len(payloads))
        stream = mon.channel(channel)
        await eventually(lambda: len(stream) == len(payloads))
        frame = await asyncio.to_thread(lambda: stream.df)
        await asyncio.to_thread(mon.close)
    assert new.is_whole
    assert new.gaps == []
    assert {text["channel"] for text in texts} == {channel}
    assert new.data[-1] == texts[-1]["data"] == orjson.loads(LAST)
    return Relayed(
        [text["data"] for text in texts[:-1]],
        new.data[:-1],
        [envelope.mark for envelope in new.envelopes[:-1]],
        frame.iloc[:-1],
    )


def extra(frame: pd.DataFrame, row: int) -> Any:
    text = frame["extra"].iloc[row]
    return orjson.loads(text) if isinstance(text, str) else {}


async def test_what_is_no_json_comes_as_raw_text_and_what_is_no_object_as_it_is() -> None:
    """Case 10."""
    no_json = [b"", b"plain", b'{"a":1', b'\xef\xbb\xbf{"a":1}', b'{"a":1} x', b"'single'", b"{,}"]
    no_object = [b"[1]", b"1", b'"s"', b"null", b"true", b"[]", b"-0.0"]
    seen = await relayed(*no_json, *no_object)
    assert seen.v1 == seen.v2 == [{"raw": text.decode()} for text in no_json] + list(map(orjson.loads, no_object))
    assert seen.marks == [Mark.RAW] * len(no_json) + [None] * len(no_object)
    assert len(seen.frame) == len(seen.v2)


async def test_bytes_that_are_no_text_come_exact_beside_a_readable_form() -> None:
    """Case 11."""
    payloads = [
        b"\xff\xfe",  # no UTF-8
        b"\xed\xa0\x80",  # a surrogate in UTF-8
        rb'{"event":"\ud800"}',  # a lone surrogate, escaped
        b'{"event":"\x00"}',  # NUL, bare
        rb'{"event":"\u0000 nul"}',
        b'{"event":"\x1b[31m"}',  # an ANSI escape, bare
        rb'{"event":"\u001b]0;title\u0007\u001b[2J"}',
    ]
    seen = await relayed(*payloads)
    assert seen.v1 == seen.v2
    raw = [Mark.RAW] * 4 + [None] + [Mark.RAW] + [None]
    assert seen.marks == raw
    assert [data["base64"] for data in seen.v2[:2]] == ["//4=", "7aCA"]
    assert all(data["raw"].encode() == payload for data, payload in zip(seen.v2[2:4], payloads[2:4], strict=True))
    assert seen.v2[6] == {"event": "\x1b]0;title\x07\x1b[2J"}
    assert seen.frame["event"].iloc[4] == "\x00 nul"


async def test_numbers_out_of_any_range_spoil_nothing() -> None:
    """Case 12."""
    payloads = [
        b'{"tokens":NaN}',
        b'{"tokens":Infinity}',
        b'{"time_ms":1e999}',
        b'{"tokens":18446744073709551616}',
        b'{"tokens":9223372036854775808}',
        b'{"tokens":' + b"9" * 5000 + b"}",
        b'{"time_ms":' + b"9" * 5000 + b"}",
    ]
    seen = await relayed(*payloads)
    assert seen.v1 == seen.v2
    assert seen.marks[:2] == [Mark.RAW, Mark.RAW]
    assert str(seen.frame["tokens"].dtype) in ("Int64", "float64")
    assert seen.frame["tokens"].isna().all()
    assert "tokens" in extra(seen.frame, 4)


async def test_nesting_of_any_depth_is_passed_on() -> None:
    """Case 13."""
    depths = [200, 500, 1_100, 100_000]
    lists = [b"[" * depth + b"]" * depth for depth in depths]
    # Longer than the largest payload relayed whole, once its quotes are escaped, it would be cut.
    objects = [b'{"a":' * depth + b"1" + b"}" * depth for depth in [*depths[:-1], 50_000]]
    seen = await relayed(*lists, *objects)
    assert seen.v1 == seen.v2
    assert seen.marks == [None, *[Mark.RAW] * 3] * 2
    for payload, data in zip(lists[1:] + objects[1:], seen.v2[1:4] + seen.v2[5:], strict=True):
        assert data["raw"].encode() == payload


async def test_keys_that_collide_reach_readers_as_they_are() -> None:
    """Case 14."""
    payloads = [
        b'{"event":"first","event":"second"}',
        b'{"channel":"x","data":{},"offset":-1,"received_at":"never","epoch":1,"mark":"raw","extra":{"a":1}}',
        b'{"__proto__":{"event":"polluted"},"constructor":{"prototype":1},"toString":1}',
        b'{"type":"hello","epoch":"other","head":1}',
        b'{"":1,"a.b":2}',
    ]
    seen = await relayed(*payloads)
    assert seen.v1 == seen.v2 == list(map(orjson.loads, payloads))
    assert seen.marks == [None] * len(payloads)
    assert seen.frame["event"].iloc[0] == "second"
    assert (seen.frame["offset"] > 0).all()
    assert set(seen.frame["channel"]) == {LOGS}
    assert extra(seen.frame, 1)["offset"] == -1
    assert extra(seen.frame, 2)["__proto__"] == {"event": "polluted"}


@pytest.mark.parametrize("megabytes", [5, 40])
async def test_a_payload_of_megabytes_is_cut_and_marked_and_readers_with_a_limit_survive_it(megabytes: int) -> None:
    """Case 15, on a Redis that keeps that much for a subscriber: 32 MB is its default."""
    payload = b'{"event":"' + b"x" * (megabytes * 1_000_000) + b'"}'
    async with Server() as server, watched_relay(redis_url=server.url) as relay:
        await server.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
        at_rest = relay.memory
        async with v1_reader(relay.url, TOKEN) as old, v2_reader(relay.url, TOKEN, max_size=2**20) as new:
            await new.subscribe()
            await server.publish(LOGS, [payload, LAST])
            texts = [orjson.loads(await old.recv(decode=False)) for _ in range(2)]
            await new.read_until(2)
        assert new.is_whole
        assert new.data == [text["data"] for text in texts]
        assert new.data[0] == {"raw": payload[:4096].decode(), "truncated": True, "bytes": len(payload)}
        assert new.envelopes[0].mark is Mark.TRUNCATED
        # The parser's buffer and the payload itself, twice at most while the buffer grows; all of it for a moment only.
        assert relay.memory - at_rest < 64 * MIB + 4 * len(payload)


async def test_a_payload_that_redis_itself_will_not_keep_is_a_gap() -> None:
    """Case 15, by Redis' default limit of 32 MB for a subscriber that is behind."""
    async with Server() as server, watched_relay(redis_url=server.url) as relay, v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe()
        await server.publish(LOGS, [b"x" * 40_000_000])
        while not reader.gaps:
            await reader.read()
        await server.publish(LOGS, [LAST])
        await reader.read_until(1)
        assert reader.is_whole
        assert [gap.cause for gap in reader.gaps] == [GapCause.SOURCE_OUTAGE]
        assert reader.data == [orjson.loads(LAST)]


HOSTILE = (
    "<script>alert(1)</script></script><img src=x onerror=alert(1)>\u2028\u2029"
    "javascript:alert(1)<a href='javascript:alert(1)'>\"'&amp;\x1b[31m\u202egnp.exe\x00"
)


class Elements(HTMLParser):
    """The elements and attributes of a document, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_messages() -> list[tuple[str, bytes]]:
    """One message of each kind with hostile text in every field that holds text."""
    log_fields = ("event", "level", "component", "target", "repo", "doc_type", "commit", "error", "exception", "other")
    details = ("target", "repo", "doc_type", "language", "commit", "commit_message", "other")
    kinds = ("cycle_starting", "analyzing", "documentation_generated", "documentation_committed", "error", HOSTILE)
    return [
        (LOGS, orjson.dumps(dict.fromkeys(log_fields, HOSTILE) | {"level": "error"})),
        (LOGS, orjson.dumps(dict.fromkeys(log_fields, HOSTILE) | {HOSTILE: HOSTILE, "event": "push_failed"})),
        *((EVENTS, orjson.dumps({"type": kind, "data": dict.fromkeys(details, HOSTILE)})) for kind in kinds),
        (STATS, orjson.dumps({"total_documented": 1, "by_repo": {HOSTILE: 1}, "last_success": HOSTILE})),
        (LOGS, HOSTILE.encode()),
    ]


async def hostile_monitor(relay: Vitals, server: Server) -> Monitor:
    """Return a monitor that has all of the hostile messages."""
    mon = await asyncio.to_thread(connect, relay.url, token=TOKEN, name=HOSTILE)
    messages = hostile_messages()
    for channel, payload in messages:
        await server.publish(channel, [payload])
    await eventually(lambda: len(mon.logs) + len(mon.events) + len(mon.stats) == len(messages))
    return mon


async def test_markup_in_every_field_is_inert_wherever_it_is_shown() -> None:
    """Case 16: the status card, frames as a notebook shows them, `repr`, and what the relay answers by HTTP."""
    async with Server() as server, watched_relay(redis_url=server.url) as relay:
        mon = await hostile_monitor(relay, server)
        try:
            card = await asyncio.to_thread(mon._repr_html_)
            lines = [repr(mon), *(repr(stream) for stream in (mon.logs, mon.events, mon.stats))]
            frames = [await asyncio.to_thread(lambda stream=stream: stream.df) for stream in (mon.logs, mon.events)]
        finally:
            await asyncio.to_thread(mon.close)
        _, known = await relay.fetch("/info")
        _, metrics = await relay.fetch("/metrics")

    shown = Elements(card)
    assert "alert(1)" in shown.text  # it is there, as text
    assert shown.names <= {"div", "strong", "table", "tbody", "tr", "th", "td"}
    assert shown.attributes <= {"style", "scope"}
    for text in (card, *lines):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", text)
    for line in lines:
        assert "\n" not in line
    for frame in frames:
        names = Elements(frame.to_html() + str(frame._repr_html_())).names
        assert names <= {"div", "style", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert orjson.loads(known)
    assert "alert" not in metrics


async def test_what_the_relay_answers_is_no_page_for_a_browser() -> None:
    """Case 16: a browser that is led to the relay's own answers runs nothing of them."""
    async with Server() as server, watched_relay(redis_url=server.url) as relay:
        await server.publish(LOGS, [orjson.dumps({"event": HOSTILE, "level": "error", "repo": HOSTILE})])
        port = relay.port
        for path in ("/info", "/metrics", "/livez", "/<script>alert(1)</script>"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            writer.write(request.encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            assert b"X-Content-Type-Options: nosniff" in head
            assert b"text/html" not in head
            if path.startswith("/<"):
                assert b"<script>" not in head + body


async def test_times_of_every_shape_are_read_or_kept_aside() -> None:
    """Case 17."""
    readable = {
        "2026-03-01T10:00:00Z": "2026-03-01 10:00:00+00:00",
        "2026-03-01T10:00:00.123456+05:30": "2026-03-01 04:30:00.123456+00:00",
        "2026-03-01T10:00:00-11:00": "2026-03-01 21:00:00+00:00",
        "2026-11-01T01:30:00-04:00": "2026-11-01 05:30:00+00:00",  # both 1:30 of an American autumn night
        "2026-11-01T01:30:00-05:00": "2026-11-01 06:30:00+00:00",
        "9999-12-31T00:00:00Z": "9999-12-31 00:00:00+00:00",
        "0001-01-02T00:00:00Z": "0001-01-02 00:00:00+00:00",
    }
    unreadable = [
        *("", "yesterday", "0000-00-00T00:00:00Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "\u0662"),
        *("9999-12-31T23:59:59-12:00", "x" * 5000, True, [], {"t": 1}, -1e300),
    ]
    stamps: list[Any] = [*readable, *unreadable, None]
    payloads = [orjson.dumps({"event": "e", "level": "info", "timestamp": stamp}) for stamp in stamps]
    more = [b'{"event":"missing"}', b'{"timestamp":1e400}', orjson.dumps({"timestamp": 1795384606.4})]
    more += [orjson.dumps({"timestamp": "2026-03-01T10:00:00"})]  # naive
    seen = await relayed(*payloads, *more)
    assert seen.v1 == seen.v2
    assert str(seen.frame["timestamp"].dtype) == "datetime64[us, UTC]"
    assert [str(stamp) for stamp in seen.frame["timestamp"].iloc[: len(readable)]] == list(readable.values())
    for row, stamp in enumerate(unreadable, len(readable)):
        assert extra(seen.frame, row).get("timestamp") == stamp, stamp
    events = await relayed(*payloads, *more, channel=EVENTS)
    assert len(events.frame) == len(payloads) + len(more)
    assert str(events.frame["timestamp"].dtype) == "datetime64[us, UTC]"


async def test_fields_that_change_their_type_and_10_000_distinct_keys_keep_the_tables_columns() -> None:
    """Case 18."""
    values = [1, "one", 1.5, None, True, [1], {"a": 1}, "x" * 1000]
    names = ("event", "level", "component", "tokens", "time_ms", "cycle_num", "repo", "error", "timestamp")
    changing = [orjson.dumps(dict.fromkeys(names, value)) for value in values]
    distinct = [orjson.dumps({"event": "e", f"key-{n}": n}) for n in range(10_000)]
    seen = await relayed(*changing, *distinct, orjson.dumps({f"key-{n}": n for n in range(10_000)}))
    assert seen.v1 == seen.v2
    assert seen.marks == [None] * len(seen.v2)
    assert len(seen.frame.columns) < 25
    for row, value in enumerate(values):
        if value is not None:
            kept = extra(seen.frame, row)
            assert all(kept.get(name, value) == value for name in names)
            assert "timestamp" in kept
    assert seen.frame["tokens"].iloc[0] == 1
    assert extra(seen.frame, 8 + 77) == {"key-77": 77}
    assert len(extra(seen.frame, len(seen.v2) - 1)) == 10_000
