"""The main job on real input: recorded traffic, published by a plain client, through a real server and relay process."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pandas as pd
import pytest
from redis.asyncio import Redis, from_url
from support.processes import TOKEN, RelayProcess, relay_process
from support.readers import V2Reader, v1_reader, v1_text, v2_reader
from support.servers import Server, free_port
from support.waiting import eventually
from websockets.exceptions import ConnectionClosed

from codeworm_monitor import connect
from codeworm_monitor.envelope import Cursor, GapCause

LOGS, STATS = "codeworm:logs", "codeworm:stats"


@pytest.fixture
def published(recording: Path) -> list[tuple[str, bytes]]:
    """Channel and exact payload of each recorded message."""
    with gzip.open(recording) as lines:
        return [(line["channel"], line["payload"].encode()) for line in map(orjson.loads, lines)]


@contextlib.asynccontextmanager
async def relay_on(server: str) -> AsyncIterator[RelayProcess]:
    """A relay process: on the embedded server, or on Debian's Redis."""
    if server == "embedded":
        async with relay_process() as relay:
            yield relay
    else:
        async with Server() as real, relay_process("--redis-url", real.url) as relay:
            await eventually(real.subscribers)
            yield relay


async def publish(server: Redis, messages: list[tuple[str, bytes]]) -> None:
    for channel, payload in messages:
        assert await server.publish(channel, payload) == 1


@pytest.mark.parametrize("server", ["embedded", "redis"])
async def test_v1_v2_and_frames_receive_what_was_published_message_by_message(
    server: str, published: list[tuple[str, bytes]]
) -> None:
    async with relay_on(server) as relay, from_url(relay.redis_url) as publisher:
        mon = await asyncio.to_thread(connect, relay.url, token=TOKEN)
        async with v1_reader(relay.url, TOKEN) as old, v2_reader(relay.url, TOKEN) as new:
            await new.subscribe()
            publishing = asyncio.create_task(publish(publisher, published))
            old_texts = [await old.recv(decode=False) for _ in published]
            await new.read_until(len(published))
            await publishing
        await eventually(lambda: len(mon.logs) + len(mon.events) + len(mon.stats) == len(published))
        logs, events, stats = await asyncio.to_thread(lambda: (mon.logs.df, mon.events.df, mon.stats.df))
        await asyncio.to_thread(mon.close)

    assert old_texts == [v1_text(channel, payload) for channel, payload in published]

    assert new.is_whole
    assert [envelope.channel for envelope in new.envelopes] == [channel for channel, _ in published]
    spliced = b"".join(new.texts)
    position = 0
    for _, payload in published:
        position = spliced.index(b'"data":' + payload + b"}", position) + 1
    assert new.gaps == []

    offsets = pd.concat([logs["offset"], events["offset"], stats["offset"]]).sort_values()
    assert offsets.tolist() == new.offsets
    by_offset = {offset: orjson.loads(payload) for offset, (_, payload) in zip(new.offsets, published, strict=True)}
    for row in logs.itertuples():
        said = by_offset[row.offset]
        assert (row.event, row.level, row.component) == (said["event"], said["level"], said["component"])
        assert row.timestamp == pd.Timestamp(said["timestamp"])
    for row in events.itertuples():
        said = by_offset[row.offset]
        assert row.type == said["type"]
        # Recorded at UTC-5, in naive local time.
        assert row.timestamp == pd.Timestamp(said["timestamp"]).tz_localize("Etc/GMT+5")
    assert stats["total_documented"].tolist() == [by_offset[offset]["total_documented"] for offset in stats["offset"]]


async def test_the_original_dashboard_gets_its_history_when_it_comes_late(published: list[tuple[str, bytes]]) -> None:
    async with relay_on("embedded") as relay, from_url(relay.redis_url) as publisher:
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            await publish(publisher, published)
            await reader.read_until(len(published))
        async with v1_reader(relay.url, TOKEN) as late:
            history = orjson.loads(await late.recv())
    expected = [(channel, orjson.loads(payload)) for channel, payload in published if channel != STATS][-200:]
    assert [(item["channel"], item["data"]) for item in history["data"]] == expected


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_server_killed_and_started_again_in_mid_stream_is_a_gap_and_nothing_else_is_lost(
    kind: str, published: list[tuple[str, bytes]]
) -> None:
    half = len(published) // 2
    async with Server(kind) as server, relay_process("--redis-url", server.url) as relay:  # type: ignore[arg-type]
        await eventually(server.subscribers)
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            async with server.client() as publisher:
                await publish(publisher, published[:half])
            await reader.read_until(half)
            await server.kill()
            await server.start()
            await eventually(server.subscribers)
            async with server.client() as publisher:
                await publish(publisher, published[half:])
            await reader.read_until(len(published))
    assert reader.data == [orjson.loads(payload) for _, payload in published]
    assert reader.is_whole
    (gap,) = reader.gaps
    assert gap.cause is GapCause.SOURCE_OUTAGE
    assert gap.offset is not None
    assert reader.offsets[half - 1] < gap.offset < reader.offsets[half]


async def test_the_relay_started_before_its_redis_hears_it_when_it_comes() -> None:
    port = free_port()
    async with (
        relay_process("--redis-url", f"redis://127.0.0.1:{port}") as relay,
        v1_reader(relay.url, TOKEN) as reader,
        Server(port=port) as server,
    ):
        await eventually(server.subscribers)
        await server.do("PUBLISH", LOGS, b"1")
        assert await reader.recv(decode=False) == v1_text(LOGS, b"1")


async def test_a_reader_that_was_cut_resumes_by_its_cursor_without_loss_or_duplicate(
    published: list[tuple[str, bytes]],
) -> None:
    third = len(published) // 3
    async with relay_on("embedded") as relay, from_url(relay.redis_url) as publisher:
        parts: list[V2Reader] = []
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            await publish(publisher, published[:third])
            await reader.read_until(third)
            parts.append(reader)
            reader.connection.transport.abort()
            with pytest.raises(ConnectionClosed):
                await reader.read()
        await publish(publisher, published[third : 2 * third])
        async with v2_reader(relay.url, TOKEN) as reader:
            answer = await reader.subscribe(cursor=Cursor(parts[0].hello.epoch, parts[0].seen[-1]))
            await publish(publisher, published[2 * third :])
            await reader.read_until(len(published) - third)
            parts.append(reader)
    assert answer.recovered is True
    seen = parts[0].seen + parts[1].seen
    assert seen == list(range(seen[0], seen[-1] + 1))
    assert parts[0].data + parts[1].data == [orjson.loads(payload) for _, payload in published]


async def test_malformed_payloads_are_delivered_marked_and_hurt_nobody() -> None:
    payloads = [
        b"", b"plain", b'{"a":1', b'\xef\xbb\xbf{"a":1}', b'{"a":1} x', b"[1]", b"1", b'"s"',  # 10
        b"\xff\xfe", rb'{"a":"\ud800"}', b'{"a":"\x00"}', b'{"a":"\x1b[31m"}',  # 11
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":18446744073709551616}', b'{"a":' + b"9" * 5000 + b"}",  # 12
        *[b"[" * depth + b"]" * depth for depth in (500, 1_100, 100_000)],  # 13
        b'{"a":1,"a":2}', b'{"channel":"x","data":{},"offset":-1,"__proto__":{"a":1}}',  # 14
        b'{"event":"the last one"}',
    ]  # fmt: skip
    async with relay_on("embedded") as relay, from_url(relay.redis_url) as publisher:
        mon = await asyncio.to_thread(connect, relay.url, token=TOKEN)
        async with v1_reader(relay.url, TOKEN) as old, v2_reader(relay.url, TOKEN) as new:
            await new.subscribe()
            await publish(publisher, [(LOGS, payload) for payload in payloads])
            texts = [orjson.loads(await old.recv(decode=False)) for _ in payloads]
            await new.read_until(len(payloads))
        await eventually(lambda: len(mon.logs) == len(payloads))
        frame = await asyncio.to_thread(lambda: mon.logs.df)
        await asyncio.to_thread(mon.close)
    assert new.is_whole
    assert new.data == [text["data"] for text in texts]
    for payload, envelope, data in zip(payloads, new.envelopes, new.data, strict=True):
        if envelope.mark is not None:
            assert "base64" in data or data["raw"].encode() == payload
    assert len(frame) == len(payloads)
    assert frame["event"].iloc[-1] == "the last one"
