from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import aclosing
from pathlib import Path

import orjson
import pytest
from support.kept import kept
from support.readers import v2_reader
from support.waiting import eventually

from codeworm_monitor import Relay, discovery
from codeworm_monitor.archive import replay as replay_module
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.replay import ArchiveSource
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveError, SettingError
from codeworm_monitor.sources import Connected, Happening, Message

LOGS = "codeworm:logs"
TOKEN = "correct-horse-battery"
INFINITE = float("inf")


async def happenings(source: ArchiveSource) -> list[Happening]:
    async with aclosing(aiter(source)) as stream:
        return [happening async for happening in stream]


async def source_of(directory: Path, **options: float) -> ArchiveSource:
    return await asyncio.to_thread(ArchiveSource, directory, **options)


async def fill(directory: Path, count: int, *, step: float = 1.0) -> None:
    async with kept(directory) as it:
        for number in range(count):
            it.publish(orjson.dumps({"n": number}), at=1000.0 + number * step)


async def test_it_serves_messages_and_gaps_in_the_order_and_with_the_times_of_then(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b'{"n": 1}', b'{ "n": 2 }', at=1000.25)
        it.hub.report(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1001.0, ended_at=1002.0, detail="away"))
        it.publish(b'{"n":3}', at=1003.5)
    connected, first, gap, second = await happenings(await source_of(tmp_path, speed=INFINITE))
    assert connected == Connected(1000.25)
    assert first == [Message(LOGS, b'{"n": 1}', 1000.25), Message(LOGS, b'{ "n": 2 }', 1000.25)]
    assert (gap.cause, gap.started_at, gap.ended_at, gap.detail) == (GapCause.SOURCE_OUTAGE, 1001.0, 1002.0, "away")
    assert second == [Message(LOGS, b'{"n":3}', 1003.5)]


async def test_a_stretch_begins_with_since_and_ends_before_until(tmp_path):
    await fill(tmp_path, 100)
    _, *lists = await happenings(await source_of(tmp_path, since=1010.0, until=1013.0, speed=INFINITE))
    assert [orjson.loads(one.payload)["n"] for one in itertools.chain(*lists)] == [10, 11, 12]


async def test_more_than_a_page_comes_whole(tmp_path):
    await fill(tmp_path, 2_500, step=0.001)
    _, *lists = await happenings(await source_of(tmp_path, speed=INFINITE))
    assert [orjson.loads(one.payload)["n"] for one in itertools.chain(*lists)] == list(range(2_500))


async def test_the_pauses_are_those_of_then_divided_by_the_speed(tmp_path):
    await fill(tmp_path, 3, step=2.0)
    source = await source_of(tmp_path, speed=20.0)
    started = time.monotonic()
    async with aclosing(aiter(source)) as stream:
        came = [(time.monotonic() - started, source.clock()) async for one in stream if isinstance(one, list)]
    assert len(came) == 3
    for (at, clock), due in zip(came, (0.0, 0.1, 0.2), strict=True):
        assert at >= due
        assert clock >= 1000.0 + due * 20


async def test_what_is_being_read_when_it_ends_is_read_before_the_archive_is_closed(tmp_path, monkeypatch):
    """Two threads in one connection of SQLite's: the process would crash."""
    await fill(tmp_path, 10)
    source = await source_of(tmp_path)
    begun, may_go_on, done = threading.Event(), threading.Event(), list[str]()

    class Slow(ArchiveReader):
        def page(self, *args, **named):
            begun.set()
            assert may_go_on.wait(10)
            done.append("read")
            return super().page(*args, **named)

        def close(self):
            done.append("closed")
            super().close()

    monkeypatch.setattr(replay_module, "ArchiveReader", Slow)
    task = asyncio.create_task(happenings(source))
    await eventually(begun.is_set)
    task.cancel()
    await asyncio.wait([task], timeout=0.05)
    assert done == []
    may_go_on.set()
    await asyncio.wait([task])
    assert done == ["read", "closed"]


async def test_a_relay_serves_the_past_with_the_clock_of_then(tmp_path):
    await fill(tmp_path, 50, step=0.01)
    source = await source_of(tmp_path)
    async with (
        Relay(source=source, port=0, token=TOKEN) as relay,
        v2_reader(relay.url, TOKEN) as reader,
    ):
        assert 1000.0 <= reader.hello.time < 1010.0
        (announced,) = await asyncio.to_thread(discovery.find)
        assert announced.is_replay  # from its first moment: a notebook that names no relay means another
        await reader.subscribe(tail=1000)
        await reader.read_until(50)
        assert [data["n"] for data in reader.data] == list(range(50))
        assert [envelope.received_at for envelope in reader.envelopes] == pytest.approx(
            [1000.0 + n * 0.01 for n in range(50)]
        )
        assert relay.archive is None  # the past is not kept once more
        await eventually(lambda: relay.statistics().upstream_reason == "the source has ended")


async def test_an_empty_stretch_an_absent_archive_and_nonsense_are_refused_with_a_reason(tmp_path):
    with pytest.raises(ArchiveError, match="holds no archive"):
        await source_of(tmp_path / "none")
    await fill(tmp_path, 3)
    with pytest.raises(ArchiveError, match="nothing of that stretch"):
        await source_of(tmp_path, since=5000.0)
    with pytest.raises(SettingError, match="above 0"):
        await source_of(tmp_path, speed=0.0)
    with pytest.raises(SettingError, match="later than since"):
        await source_of(tmp_path, since=5.0, until=5.0)
