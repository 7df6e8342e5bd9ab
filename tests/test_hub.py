from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.backlog import Backlog
from codeworm_monitor.envelope import Cursor, Envelope, Gap, GapCause, Mark
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Subscribe
from codeworm_monitor.hub import Hub
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.sources import Message


def messages(count: int, *, at: float = 1000.0, channel: str = "codeworm:logs") -> list[Message]:
    return [Message(channel, b'{"n":%d}' % n, at + n) for n in range(count)]


def small_hub(entries: int = 10) -> Hub:
    return Hub(backlog=Backlog(max_entries=entries), epoch="e")


OUTAGE = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.0)


def test_messages_get_one_ascending_offset_over_all_channels() -> None:
    hub = small_hub()
    hub.receive([*messages(2), *messages(2, channel="codeworm:events")])
    entries = hub.backlog.between(1, 99)
    assert [entry.offset for entry in entries] == [1, 2, 3, 4]
    assert [entry.channel for entry in entries if isinstance(entry, Envelope)] == ["codeworm:logs"] * 2 + [
        "codeworm:events"
    ] * 2
    assert hub.received == {"codeworm:logs": 2, "codeworm:events": 2}


def test_a_gap_is_an_entry_of_the_same_log() -> None:
    hub = small_hub()
    hub.receive(messages(1))
    hub.report(OUTAGE)
    hub.receive(messages(1))
    first, gap, second = hub.backlog.between(1, 3)
    assert isinstance(gap, Gap)
    assert (first.offset, gap.offset, second.offset) == (1, 2, 3)
    assert hub.gaps == {GapCause.SOURCE_OUTAGE: 1}


def test_what_is_no_json_is_delivered_marked_and_counted() -> None:
    hub = small_hub()
    hub.receive([Message("codeworm:logs", b"oops", 1.0)])
    (entry,) = hub.backlog.between(1, 1)
    assert isinstance(entry, Envelope)
    assert (entry.data, entry.mark) == (b'{"raw":"oops"}', Mark.RAW)
    assert hub.marked == {Mark.RAW: 1}


def test_listeners_are_told_once_per_batch_until_they_leave() -> None:
    hub, told = small_hub(), []
    listener = lambda: told.append(hub.head)  # noqa: E731  # the same object must be given twice
    hub.listen(listener)
    hub.receive(messages(3))
    hub.report(OUTAGE)
    hub.unlisten(listener)
    hub.receive(messages(1))
    assert told == [3, 4]


class TestStart:
    def test_a_cursor_within_the_backlog_is_recovered(self) -> None:
        hub = small_hub()
        hub.receive(messages(5))
        start = hub.start_of(Subscribe(cursor=Cursor("e", 3)))
        assert (start.offset, start.recovered, start.reason, start.gap) == (3, True, None, None)

    def test_the_cursor_just_before_the_oldest_is_recovered_and_the_one_before_is_not(self) -> None:
        hub = small_hub(10)
        hub.receive(messages(15))
        assert hub.start_of(Subscribe(cursor=Cursor("e", 5))).recovered is True
        start = hub.start_of(Subscribe(cursor=Cursor("e", 4)))
        assert (start.recovered, start.reason, start.offset) == (False, "trimmed", 5)
        assert start.gap is not None
        assert (start.gap.first_offset, start.gap.last_offset, start.gap.missed) == (5, 5, 1)

    def test_a_cursor_of_another_epoch_gets_all_there_is_after_a_gap(self) -> None:
        hub = small_hub()
        hub.receive(messages(5))
        start = hub.start_of(Subscribe(cursor=Cursor("other", 3)))
        assert (start.offset, start.recovered, start.reason) == (0, False, "epoch")
        assert start.gap is not None
        assert start.gap.cause is GapCause.RELAY_RESTART
        assert start.gap.missed is None

    def test_a_cursor_from_the_future_starts_at_the_head(self) -> None:
        hub = small_hub()
        hub.receive(messages(5))
        start = hub.start_of(Subscribe(cursor=Cursor("e", 6)))
        assert (start.offset, start.recovered, start.reason) == (5, False, "future")

    def test_a_tail_is_as_long_as_asked_or_as_the_backlog(self) -> None:
        hub = small_hub(10)
        hub.receive(messages(15))
        assert hub.start_of(Subscribe(tail=3)).offset == 12
        assert hub.start_of(Subscribe(tail=0)).offset == 15
        assert hub.start_of(Subscribe(tail=1000)).offset == 5

    def test_a_tail_counts_messages_of_the_channels_wanted_and_not_the_relays_own(self) -> None:
        hub = small_hub(20)
        hub.receive([*messages(3), *messages(3, channel="codeworm:events"), *messages(4, channel=RELAY_CHANNEL)])
        assert hub.start_of(Subscribe(tail=2)).offset == 4
        assert hub.start_of(Subscribe(tail=2, filter=Filter(channels=frozenset({"codeworm:logs"})))).offset == 1
        assert hub.start_of(Subscribe(tail=1, filter=Filter(channels=frozenset({RELAY_CHANNEL})))).offset == 9
        assert hub.start_of(Subscribe(tail=7)).offset == 0

    def test_a_time_starts_with_the_first_message_at_or_after_it(self) -> None:
        hub = small_hub(10)
        hub.receive(messages(8, at=1000.0))
        assert hub.start_of(Subscribe(time=1003.0)).offset == 3
        assert hub.start_of(Subscribe(time=5000.0)).offset == 8
        early = hub.start_of(Subscribe(time=1.0))
        assert (early.offset, early.gap) == (0, None)

    def test_a_time_before_the_backlog_says_what_left_it(self) -> None:
        hub = small_hub(10)
        hub.receive(messages(15))
        start = hub.start_of(Subscribe(time=1.0))
        assert start.gap is not None
        assert (start.offset, start.gap.cause, start.gap.missed) == (5, GapCause.TRIMMED, None)
        assert start.gap.detail == "what came before had left the relay's memory"

    def test_without_a_place_it_starts_at_the_head(self) -> None:
        hub = small_hub()
        hub.receive(messages(5))
        assert hub.start_of(Subscribe()).offset == 5

    @given(
        received=st.integers(0, 40),
        kept=st.integers(1, 15),
        epoch=st.sampled_from(["e", "other"]),
        offset=st.integers(0, 60),
    )
    def test_a_resumed_reader_gets_or_is_told_of_every_offset(
        self, received: int, kept: int, epoch: str, offset: int
    ) -> None:
        hub = small_hub(kept)
        hub.receive(messages(received))
        start = hub.start_of(Subscribe(cursor=Cursor(epoch, offset)))
        delivered = {entry.offset for entry in hub.backlog.between(start.offset + 1, hub.head)}
        covered = set()
        if start.gap is not None and start.gap.first_offset is not None and start.gap.last_offset is not None:
            covered = set(range(start.gap.first_offset, start.gap.last_offset + 1))
        assert not delivered & covered
        if epoch == "e" and offset <= received:
            assert delivered | covered == set(range(offset + 1, received + 1))
            assert start.recovered is (not covered)
        else:
            assert start.recovered is False
            assert start.reason == ("epoch" if epoch == "other" else "future")


class TestSubscriber:
    async def take(self, hub: Hub, count: int, **request: Any) -> list[Any]:
        entries = []
        async with contextlib.aclosing(aiter(hub.subscribe(Subscribe(**request)))) as subscriber:
            async for entry in subscriber:
                entries.append(entry)
                if len(entries) == count:
                    break
        return entries

    async def test_it_yields_what_was_and_what_comes(self) -> None:
        hub = small_hub()
        hub.receive(messages(3))
        taking = asyncio.create_task(self.take(hub, 5, tail=2))
        await asyncio.sleep(0)
        hub.receive(messages(3))
        assert [entry.offset for entry in await taking] == [2, 3, 4, 5, 6]

    async def test_it_yields_gaps_and_what_passes_the_filter(self) -> None:
        hub = small_hub()
        hub.receive([*messages(2), *messages(2, channel="codeworm:events")])
        hub.report(OUTAGE)
        entries = await self.take(hub, 3, tail=10, filter=Filter(channels=frozenset({"codeworm:events"})))
        assert [entry.offset for entry in entries] == [3, 4, 5]

    async def test_one_that_falls_behind_is_told_what_it_missed(self) -> None:
        hub = small_hub(4)
        subscriber = aiter(hub.subscribe())
        waiting = asyncio.create_task(anext(subscriber))
        await asyncio.sleep(0)
        hub.receive(messages(2))
        assert (await waiting).offset == 1
        assert (await anext(subscriber)).offset == 2
        hub.receive(messages(10))
        gap = await anext(subscriber)
        assert isinstance(gap, Gap)
        assert (gap.cause, gap.first_offset, gap.last_offset) == (GapCause.SLOW_READER, 3, 8)
        assert [(await anext(subscriber)).offset for _ in range(4)] == [9, 10, 11, 12]
        await subscriber.aclose()

    async def test_closing_it_leaves_no_listener(self) -> None:
        hub = small_hub()
        hub.receive(messages(3))
        await self.take(hub, 1, tail=3)
        assert hub._listeners == []


@pytest.mark.parametrize("count", [0, 7])
def test_the_cursor_names_the_newest_place(count: int) -> None:
    hub = small_hub()
    hub.receive(messages(count))
    assert hub.cursor == Cursor("e", count)
