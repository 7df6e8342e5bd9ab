"""Readers whose place lies before the backlog, over real sockets, with an archive on a real disk."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from support.kept import Kept, kept
from support.readers import V2Reader, v2_reader
from support.served import Served, served
from support.waiting import eventually
from support.wire_reader import reading

from codeworm_monitor import catchup
from codeworm_monitor.catchup import _page
from codeworm_monitor.envelope import Cursor, Gap, GapCause
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Batch, Subscribe, parse_from_server

LOGS, EVENTS = "codeworm:logs", "codeworm:events"


@contextlib.asynccontextmanager
async def archived(directory: Path, *, entries: int = 50) -> AsyncIterator[tuple[Kept, Served]]:
    async with kept(directory, entries=entries) as it, served(hub=it.hub, archive=it.archive) as server:
        yield it, server


async def fill(it: Kept, count: int) -> None:
    """Publish numbered lines, every fourth of them an event, and let the disk have them."""
    for start in range(0, count, 25):
        for number in range(start, min(count, start + 25)):
            level = ("debug", "info", "warning", "error")[number % 4]
            it.publish(orjson.dumps({"n": number, "level": level}), channel=EVENTS if number % 4 == 1 else LOGS)
        assert await it.archive.flushed(it.hub.head)


async def read_up_to(reader: V2Reader, offset: int) -> None:
    while not reader.seen or reader.seen[-1] < offset:
        await reader.read()


@pytest.mark.parametrize("offset", [0, 1, 948, 949, 950, 951, 999, 1000])
async def test_a_cursor_before_the_backlog_resumes_through_the_archive_without_a_seam(tmp_path, offset):
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)
        assert it.hub.backlog.oldest == 951
        async with v2_reader(server.url) as reader:
            answer = await reader.subscribe(cursor=Cursor(it.hub.epoch, offset))
            assert (answer.recovered, answer.cursor.offset) == (True, offset)
            assert reader.hello.oldest == 1  # of all that can be had
            it.publish(b'"live"')
            await read_up_to(reader, 1001)
            assert reader.seen == list(range(offset + 1, 1002))
            assert reader.gaps == []
            assert reader.data[:-1] == [
                {"n": n, "level": ("debug", "info", "warning", "error")[n % 4]} for n in range(offset, 1000)
            ]


async def test_a_reader_catches_up_with_a_flood_that_goes_on(tmp_path):
    async with archived(tmp_path, entries=300) as (it, server):
        await fill(it, 5000)
        async with v2_reader(server.url) as reader, v2_reader(server.url) as live:
            await live.subscribe()
            await reader.subscribe(cursor=Cursor(it.hub.epoch, 0))

            async def publish() -> None:
                for number in range(100):
                    it.publish(*[b'"%d"' % number] * 50)
                    await asyncio.sleep(0.002)

            await asyncio.gather(publish(), read_up_to(reader, 10_000), read_up_to(live, 10_000))
            assert reader.seen == list(range(1, 10_001))
            assert live.seen == list(range(5001, 10_001))
            assert reader.gaps == live.gaps == []
            await eventually(lambda: server.endpoint.catching_up == 0)


@pytest.mark.parametrize(
    ("tail", "first"), [(10, 991), (50, 951), (51, 950), (400, 601), (1000, 1), (5000, 1), (0, None)]
)
async def test_a_tail_reaches_into_the_archive(tmp_path, tail, first):
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(tail=tail)
            it.publish(b'"live"')
            await read_up_to(reader, 1001)
            assert reader.seen[0] == (first or 1001)
            assert reader.seen == list(range(reader.seen[0], 1002))


async def test_a_tail_of_one_channel_counts_that_channel_alone(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(tail=100, filter=Filter(channels=frozenset({EVENTS})))
            await read_up_to(reader, 998)
            assert [data["n"] for data in reader.data] == list(range(601, 1000, 4))


async def test_a_time_reaches_into_the_archive(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)  # offset n + 1 at 1000 s + n
        async with v2_reader(server.url) as reader:
            await reader.subscribe(time=1299.5)
            await read_up_to(reader, 1000)
            assert reader.seen == list(range(301, 1001))
            assert reader.gaps == []


async def test_a_filter_holds_in_the_archive_as_it_does_live(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(cursor=Cursor(it.hub.epoch, 0), filter=Filter(level="error", text="ERR"))
            it.publish(b'{"level":"error","n":"live"}')
            while not reader.data or reader.data[-1]["n"] != "live":
                await reader.read()
            assert [data["n"] for data in reader.data] == [*range(3, 1000, 4), "live"]


async def test_what_retention_has_taken_is_told_by_a_gap(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 500)
        it.archive._store.database.execute("DELETE FROM entries WHERE offset <= 100")
        async with v2_reader(server.url) as reader:
            answer = await reader.subscribe(cursor=Cursor(it.hub.epoch, 20))
            assert (answer.recovered, answer.reason, answer.cursor.offset) == (False, "trimmed", 100)
            await read_up_to(reader, 500)
            assert [gap.cause for gap in reader.gaps] == [GapCause.TRIMMED]
            assert reader.seen == list(range(101, 501))


async def test_a_run_before_is_resumed_into_this_one_across_the_gap_of_the_restart(tmp_path):
    async with kept(tmp_path) as it:
        await fill(it, 100)
    async with archived(tmp_path) as (it, server):
        it.publish(b'"after"')
        async with v2_reader(server.url) as reader:
            answer = await reader.subscribe(cursor=Cursor(it.hub.epoch, 40))
            assert answer.recovered
            await read_up_to(reader, 102)
            assert reader.seen == list(range(41, 103))
            assert [gap.cause for gap in reader.gaps] == [GapCause.RELAY_RESTART]
            assert reader.data[-1] == "after"


async def test_a_reader_that_falls_behind_the_backlog_is_served_from_the_archive_and_misses_nothing(tmp_path):
    async with archived(tmp_path, entries=500) as (it, server), reading(server.port, receive_buffer=4096) as slow:
        await slow.subscribe(Subscribe())
        await eventually(lambda: len(server.endpoint.fanout.readers) == 1)
        slow.may_read.clear()
        for _ in range(100):
            it.publish(*[b'"%s"' % (b"x" * 2000)] * 50)
            assert await it.archive.flushed(it.hub.head)
        assert it.hub.backlog.oldest == 4501
        slow.may_read.set()
        offsets: list[int] = []

        def has_all() -> bool:
            for text in slow.texts:
                frame = parse_from_server(text)
                assert not isinstance(frame, Gap)
                if isinstance(frame, Batch):
                    offsets.extend(envelope.offset for envelope, _ in frame.envelopes)
            slow.texts.clear()
            return offsets[-1:] == [5000]

        await eventually(has_all)
        assert offsets == list(range(1, 5001))
        await eventually(lambda: server.endpoint.catching_up == 0)


async def test_subscribing_anew_ends_what_was_under_way(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(cursor=Cursor(it.hub.epoch, 0))
            await reader.subscribe(cursor=Cursor(it.hub.epoch, 900))
            reader.seen.clear()
            it.publish(b'"live"')
            await read_up_to(reader, 1001)
            assert reader.seen == list(range(901, 1002))
        await server.is_free()
        assert server.endpoint.catching_up == 0


async def test_a_reader_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 3000)
        for _ in range(5):
            async with v2_reader(server.url) as reader:
                await reader.subscribe(cursor=Cursor(it.hub.epoch, 0))
                await reader.read()
        await server.is_free()
        await eventually(lambda: server.endpoint.catching_up == 0)


async def test_while_the_disk_refuses_a_reader_is_told_what_cannot_be_had(tmp_path):
    async with archived(tmp_path) as (it, server):
        await fill(it, 100)
        it.archive._problem = "the disk is full"
        it.publish(*[b"1"] * 200)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(cursor=Cursor(it.hub.epoch, 60))
            await read_up_to(reader, 300)
            assert reader.seen == list(range(61, 301))
            assert [(gap.cause, gap.first_offset, gap.last_offset) for gap in reader.gaps] == [
                (GapCause.NOT_ARCHIVED, 101, 250)
            ]
        it.archive._problem = None


async def test_resuming_anywhere_equals_a_model_over_runs_crashes_and_holes(tmp_path):
    """The model is the list of what was archived; each reader resumes at random and must see just its rest."""
    chance = random.Random(7)
    model: list[int] = []
    epoch = ""
    for _ in range(4):
        async with archived(tmp_path, entries=40) as (it, server):
            epoch = epoch or it.hub.epoch
            assert it.hub.epoch == epoch
            if it.opening.gap is not None:
                model.append(it.opening.head + 1)
            for _ in range(chance.randrange(3, 8)):
                before = it.hub.head
                await fill(it, chance.randrange(1, 120))
                model += range(before + 1, it.hub.head + 1)
            for offset in [0, *chance.choices(range(model[-1] + 1), k=4), *chance.choices(model, k=6)]:
                async with v2_reader(server.url) as reader:
                    assert (await reader.subscribe(cursor=Cursor(epoch, offset))).recovered
                    rest = [one for one in model if one > offset]
                    if rest:
                        await read_up_to(reader, rest[-1])
                    assert reader.seen == rest
            if chance.random() < 0.6:  # a crash: what is given now is never written
                it.hub.unlisten(it.archive.on_growth)
                it.publish(*[b"1"] * chance.randrange(1, 30))
                it.archive._problem = "crashed"


async def test_a_reader_of_large_messages_is_given_its_time(tmp_path):
    async with archived(tmp_path, entries=10) as (it, server):
        for _ in range(60):
            it.publish(b'"%b"' % (b"x" * 200_000))
            assert await it.archive.flushed(it.hub.head)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(cursor=Cursor(it.hub.epoch, 0))
            await asyncio.sleep(2.5)  # it looks away for longer than between two looks at readers
            await read_up_to(reader, 60)
            assert reader.seen == list(range(1, 61))
            assert server.endpoint.evicted == 0


async def test_what_retention_takes_to_the_last_entry_while_a_reader_catches_up_is_told_by_a_gap(tmp_path):
    async with kept(tmp_path) as it:
        await fill(it, 100)
        it.archive._store.database.execute("DELETE FROM entries")
        frames, reached, told = await it.archive.read(lambda reader: _page(reader, 1, Filter(), 20, 100))
        assert b'"trimmed"' in frames
        assert (reached, told) == (100, 20)


@pytest.mark.parametrize("time", [-1e300, 1e300])
async def test_a_time_that_none_is_like_finds_all_or_nothing(tmp_path, time):
    async with archived(tmp_path) as (it, server):
        await fill(it, 200)
        async with v2_reader(server.url) as reader:
            await reader.subscribe(time=time)
            it.publish(b'"live"')
            await read_up_to(reader, 201)
            assert reader.seen == (list(range(1, 202)) if time < 0 else [201])


async def test_a_tail_that_is_not_found_soon_begins_where_the_looking_ends(tmp_path, monkeypatch):
    """Of a channel that nobody publishes on, all of a large archive would be looked at."""
    monkeypatch.setattr(catchup, "TAIL_PAGE", 20)
    monkeypatch.setattr(catchup, "LOOKED_AT", 100)
    async with archived(tmp_path) as (it, server):
        await fill(it, 1000)
        async with v2_reader(server.url) as reader:
            answer = await reader.subscribe(tail=5, filter=Filter(channels=frozenset({"nobody's"})))
            assert answer.cursor.offset == 950 - 100
        async with v2_reader(server.url) as reader:
            await reader.subscribe(tail=70, filter=Filter(channels=frozenset({LOGS})))
            await read_up_to(reader, 1000)
            assert len(reader.data) == 70
