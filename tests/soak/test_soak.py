"""Load that lasts, with readers that come, go, stall and crawl: nothing grows, and whoever reads gets everything.

`python -m pytest tests/soak --soak-seconds 300` soaks for five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from support.processes import TOKEN, relay_process
from support.servers import Server
from support.traffic import LOGS, Ledger, published
from support.vitals import Vitals
from support.waiting import eventually
from support.wire_reader import WireReader, reading, wire_reader

from codeworm_monitor import Relay
from codeworm_monitor.envelope import Cursor
from codeworm_monitor.frames import Subscribe
from codeworm_monitor.sources.memory import MemorySource

PER_SECOND = 2_000
SIZE = 400
"""Bytes of a message, about: many enough for a stalled reader to fill what the kernel holds for it within seconds."""
STEADY = 40
PASSING = 8
BACKLOG = 2_000
KILL_EVERY = 5.0
SEND_TIMEOUT = 2
EVICTED = "readers_evicted_total"
WARM_UP = 0.4
"""Part of the time after which what the relay holds is taken for all it needs."""
ALLOWED_BYTES = 8 * 2**20
ALLOWED_PART = 0.08
"""Memory may grow by so much from then on: the allocator's pools, and pages that churn leaves half full."""


@dataclass(frozen=True)
class Sample:
    """What the relay holds; connections to Redis, which come and go, are not counted."""

    descriptors: int
    threads: int
    bytes: int


def sample(vitals: Vitals) -> Sample:
    return Sample(vitals.descriptors, len(os.listdir(f"/proc/{vitals.pid}/task")), vitals.memory)


class Steady:
    """Readers that stay from the beginning to the end."""

    def __init__(self) -> None:
        self.ledgers = [Ledger() for _ in range(STEADY)]
        self.readers: list[WireReader] = []

    async def join(self, stack: contextlib.AsyncExitStack, port: int) -> None:
        for ledger in self.ledgers:
            reader = await stack.enter_async_context(reading(port, on_text=ledger.take, token=TOKEN))
            await reader.subscribe(Subscribe())
            self.readers.append(reader)

    @property
    def newest(self) -> int:
        return min(ledger.at or 0 for ledger in self.ledgers)


async def pass_by(port: int, random: Random, ledgers: list[Ledger]) -> None:
    """Come, perhaps with a cursor, read some, and go, in one way or another; again and again."""
    cursor: Cursor | None = None
    while True:
        ledger = Ledger()
        ledgers.append(ledger)
        reader = wire_reader(on_text=ledger.take)
        try:
            await reader.open(port, token=TOKEN)
            tail = random.choice((0, 10, 5_000))
            await reader.subscribe(Subscribe(cursor=cursor) if cursor else Subscribe(tail=tail))
            some = random.randint(1, 2_000)
            await eventually(lambda ledger=ledger, some=some: ledger.received >= some, within=60)
            cursor = Cursor("another epoch", 5) if random.random() < 0.2 else None
            if random.random() < 0.5:
                await reader.leave()
        finally:
            await reader.abort()
        del ledgers[:-20]


async def stall(vitals: Vitals) -> None:
    """Take nothing, until cut; again and again."""
    while True:
        before = await vitals.metric(EVICTED)
        async with reading(vitals.port, receive_buffer=4096, token=TOKEN) as reader:
            reader.may_read.clear()
            await reader.subscribe(Subscribe(tail=BACKLOG))
            while await vitals.metric(EVICTED) == before:  # noqa: ASYNC110  # of another process, which is asked
                await asyncio.sleep(0.2)


async def crawl(port: int, ledger: Ledger) -> None:
    """Read far more slowly than is published, and be told what was missed."""
    async with reading(port, receive_buffer=4096, on_text=ledger.take, token=TOKEN) as reader:
        reader.portion = 2048
        await reader.subscribe(Subscribe())
        while not reader.is_over:
            reader.may_read.set()
            await asyncio.sleep(0)
            reader.may_read.clear()
            await asyncio.sleep(0.02)  # to be slow is to let time pass


async def kill_clients(server: Server) -> None:
    """Have Redis drop its subscribers now and then."""
    while True:
        await asyncio.sleep(KILL_EVERY)
        await server.do("CLIENT", "KILL", "TYPE", "pubsub")


@contextlib.asynccontextmanager
async def disturbed(
    vitals: Vitals, server: Server, random: Random, ledgers: list[Ledger]
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Have readers come, go, stall and crawl, and Redis drop the relay, as long as the block runs."""
    slow = Ledger()
    ledgers.append(slow)
    passing: list[list[Ledger]] = [[] for _ in range(PASSING)]
    tasks = [
        *(asyncio.create_task(pass_by(vitals.port, random, seen), name="test:passing") for seen in passing),
        asyncio.create_task(stall(vitals), name="test:stalled"),
        asyncio.create_task(crawl(vitals.port, slow), name="test:slow"),
        asyncio.create_task(kill_clients(server), name="test:killer"),
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for seen in passing:
            ledgers += seen
        for task in tasks:
            if not task.cancelled():
                task.result()


async def soak(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    """Let time pass; a task that fails ends it."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def at_rest(vitals: Vitals, steady: Steady, least: Sample | None) -> Sample:
    """Return what the relay holds when only the steady readers are left and its upstream is whole."""
    if least is not None:
        await eventually(
            lambda: sample(vitals).descriptors <= least.descriptors and sample(vitals).threads <= least.threads,
            within=30,
            otherwise=lambda: f"the relay holds {sample(vitals)}, and at first {least}",
        )
        return sample(vitals)
    newest = steady.newest
    await eventually(lambda: steady.newest > newest + BACKLOG, within=60, otherwise="nothing comes any more")
    # Connections of those who left are closed within the time that a close may take.
    settled = sample(vitals)
    for _ in range(30):
        await asyncio.sleep(0.1)
        now = sample(vitals)
        settled = Sample(
            min(settled.descriptors, now.descriptors), max(settled.threads, now.threads), max(settled.bytes, now.bytes)
        )
    return settled


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is told by Linux' /proc")
async def test_under_lasting_load_nothing_grows_and_every_steady_reader_is_whole(
    soak_seconds: float, record_property
) -> None:
    random = Random(1)
    ledgers: list[Ledger] = []
    steady = Steady()
    warm_up = max(soak_seconds * WARM_UP, KILL_EVERY + SEND_TIMEOUT)  # each trouble must have come once
    async with (
        Server() as server,
        relay_process(
            *("relay", "--redis-url", server.url, "--backlog", str(BACKLOG), "--send-timeout", str(SEND_TIMEOUT)),
            *("--log-level", "error"),
        ) as relay,
        contextlib.AsyncExitStack() as stack,
    ):
        vitals = Vitals(relay)
        await steady.join(stack, vitals.port)
        async with published(server, per_second=PER_SECOND, size=SIZE) as count:
            async with disturbed(vitals, server, random, ledgers) as tasks:
                await soak(tasks, warm_up)
            warm = await at_rest(vitals, steady, None)
            async with disturbed(vitals, server, random, ledgers) as tasks:
                await soak(tasks, soak_seconds * (1 - WARM_UP))
            end = await at_rest(vitals, steady, warm)
            cut = await vitals.metric(EVICTED)
        # Publishing has ended: all get to the same end.
        await eventually(
            lambda: len({ledger.at for ledger in steady.ledgers}) == 1,
            within=30,
            otherwise=lambda: f"steady readers are at {sorted({ledger.at or 0 for ledger in steady.ledgers})}",
        )
        status, _, errors = await relay.stop()
    record_property("samples", f"{warm} {end}")
    print(f"published {count[0]}, stalled readers cut {cut:g}, {warm} to {end}")
    assert [ledger.faults for ledger in ledgers + steady.ledgers if ledger.faults] == []
    assert steady.ledgers[0].received > PER_SECOND
    assert not any(reader.is_over and reader.close_code != 1012 for reader in steady.readers)
    assert end.bytes <= warm.bytes * (1 + ALLOWED_PART) + ALLOWED_BYTES, f"memory grew from {warm} to {end}"
    assert status == 0
    assert "Traceback" not in errors


async def test_after_readers_came_and_went_the_relays_loop_has_the_tasks_it_had() -> None:
    source, random = MemorySource(), Random(2)
    async with Relay(source=source, port=0, token=TOKEN, backlog=500) as relay:
        port = int(relay.url.rsplit(":", 1)[1].partition("/")[0])
        source.publish(LOGS, {"n": 0})
        await eventually(lambda: relay.hub.head > 0)
        tasks, descriptors = asyncio.all_tasks(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else 0
        for round_ in range(40):
            ledgers = [Ledger() for _ in range(10)]
            readers = [wire_reader(on_text=ledger.take) for ledger in ledgers]
            await asyncio.gather(*(reader.open(port, token=TOKEN) for reader in readers))
            for reader in readers:
                await reader.subscribe(Subscribe(tail=100))
            for number in range(50):
                source.publish(LOGS, {"round": round_, "n": number})
            await eventually(lambda ledgers=ledgers: all(ledger.received >= 50 for ledger in ledgers))
            leaving = [reader.leave() if random.random() < 0.5 else reader.abort() for reader in readers]
            await asyncio.gather(*leaving)
            assert not any(ledger.faults for ledger in ledgers)
        await eventually(
            lambda: not asyncio.all_tasks() - tasks, otherwise=lambda: f"left: {asyncio.all_tasks() - tasks}"
        )
        await eventually(lambda: relay.statistics().readers == 0)
        if descriptors:
            await eventually(
                lambda: len(os.listdir("/proc/self/fd")) <= descriptors, otherwise="descriptors of readers are left"
            )
