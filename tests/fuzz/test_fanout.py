"""Random lives of readers on real sockets, compared with a model of the log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from support.complaints import complaints
from support.served import EVENTS, LOGS, STATS, Served, served
from support.waiting import eventually
from support.wire_reader import WireReader, reading, wire_reader

from codeworm_monitor import fanout as fanout_module
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.endpoint import HISTORY_BYTES
from codeworm_monitor.envelope import Cursor, Entry, Envelope, Gap, GapCause
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Batch, Hello, Position, Subscribe, Subscribed, encode_v1, parse_from_server
from codeworm_monitor.hub import Start
from codeworm_monitor.payloads import normalise
from codeworm_monitor.sources import Message

SLOTS = 5
SMALL_CHUNK = 4096
"""Bytes of one write in these tests: several must go to a reader that is behind."""
LARGEST = 9000
RANKS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}
LAST = b'{"event":"the last","level":"critical","repo":"r","component":"c","text":"needle"}'
EPOCH_START = 1_700_000_000.0


# What happens


payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"[1]", b'"needle"', b"NaN", b'{"raw":"needle"}', b"\xff\xfe", b'{"level":5,"repo":[]}']),
    st.builds(
        lambda **fields: orjson.dumps({name: value for name, value in fields.items() if value is not None}),
        level=st.sampled_from(["debug", "INFO", "warning", "error", "odd", None]),
        component=st.sampled_from(["c", "d", None]),
        repo=st.sampled_from(["r", "s", None]),
        data=st.sampled_from([None, {"repo": "r"}, {"repo": "s", "deep": ["a NEEDLE"]}, 5]),
        pad=st.sampled_from([None, "x" * 500, "y" * LARGEST]),
    ),
)
channels = st.sampled_from([LOGS, LOGS, EVENTS, STATS])
filters = st.sampled_from(
    [
        Filter(),
        Filter(),
        Filter(channels=frozenset({LOGS})),
        Filter(channels=frozenset({EVENTS, STATS})),
        Filter(level="warning"),
        Filter(repos=frozenset({"r"})),
        Filter(components=frozenset({"c"}), text="Needle"),
        Filter(channels=frozenset({"nobody's"})),
    ]
)
# A cursor is told by how far it is from the head: what is the head, only the run tells.
since = st.one_of(
    st.just(("now", 0)),
    st.tuples(st.just("cursor"), st.integers(-300, 3)),
    st.just(("other epoch", 5)),
    st.tuples(st.just("tail"), st.integers(0, 300)),
    st.tuples(st.just("time"), st.integers(-3, 60)),
)
slots = st.integers(0, SLOTS - 1)
publish = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.tuples(channels, payloads), min_size=1, max_size=5)),
    st.tuples(st.just("burst"), st.integers(1, 60), st.sampled_from([10, 200, 3000])),
)
pause = st.tuples(st.just("pause"), slots)
resume = st.tuples(st.just("resume"), slots)
moment = st.one_of(st.just(("moment",)), st.tuples(st.just("turns"), st.integers(1, 12)))
join = st.one_of(
    st.tuples(st.just("join v2"), slots, since, filters, st.booleans()),
    st.tuples(st.just("join v1"), slots),
)
subscribe = st.tuples(st.just("subscribe"), slots, since, filters)
rare = st.one_of(
    st.tuples(st.just("leave"), slots),
    st.tuples(st.just("abort"), slots),
    st.just(("gap",)),
    st.tuples(st.just("clock"), st.sampled_from([1, 5, -3])),
    st.just(("positions",)),
)
# What comes more often stands there more often.
steps = st.one_of(publish, moment, publish, moment, pause, resume, join, subscribe, rare)
everyone = st.tuples(*(st.tuples(st.sampled_from([1, 2, 2, 2]), since, filters, st.booleans()) for _ in range(SLOTS)))


def _life(readers: tuple[Any, ...], steps: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    joins = [
        ("join v1", slot) if version == 1 else ("join v2", slot, *request)
        for slot, (version, *request) in enumerate(readers)
    ]
    return [*joins, ("moment",), *steps]


lives = st.builds(_life, everyone, st.lists(steps, min_size=15, max_size=60))
bounds = st.tuples(st.sampled_from([5, 60, 1000]), st.sampled_from([20_000, 2**26]))


# What must come of it


class Model:
    """The whole log, and what a subscription and a filter make of it."""

    def __init__(self) -> None:
        self.log: list[Entry] = []

    @property
    def head(self) -> int:
        return len(self.log)

    def accepts(self, wanted: Filter, entry: Entry) -> bool:
        if isinstance(entry, Gap):
            return True
        if wanted.channels and entry.channel not in wanted.channels:
            return False
        value = orjson.loads(entry.data)
        fields = value if isinstance(value, dict) else {}
        level = fields.get("level")
        if wanted.level and isinstance(level, str) and RANKS.get(level.lower(), 9) < RANKS[wanted.level]:
            return False
        component = fields.get("component")
        if wanted.components and isinstance(component, str) and component not in wanted.components:
            return False
        inner = fields.get("data")
        repo = fields.get("repo") or (inner.get("repo") if isinstance(inner, dict) else None)
        if wanted.repos and isinstance(repo, str) and repo not in wanted.repos:
            return False
        return not wanted.text or wanted.text in " ".join(_texts(value)).lower()

    def is_silent(self, wanted: Filter, after: int, before: int) -> bool:
        """Tell whether the filter lets through nothing between two offsets, neither included."""
        return not any(self.accepts(wanted, entry) for entry in self.log[max(after, 0) : before - 1])

    def start(self, request: Subscribe, head: int, oldest: int) -> tuple[int, bool | None, str | None, Any]:
        """Return where a subscription begins, as `Start` says it, the gap as its cause and range."""
        kept = self.log[oldest - 1 : head]
        if request.cursor is not None:
            if request.cursor.epoch != "e":
                return oldest - 1, False, "epoch", (GapCause.RELAY_RESTART, None, None)
            if request.cursor.offset > head:
                return head, False, "future", None
            if request.cursor.offset < oldest - 1:
                return oldest - 1, False, "trimmed", (GapCause.TRIMMED, request.cursor.offset + 1, oldest - 1)
            return request.cursor.offset, True, None, None
        if request.tail is not None:
            wanted = request.filter.channels
            messages = [
                one.offset for one in kept if isinstance(one, Envelope) and (not wanted or one.channel in wanted)
            ]
            if request.tail == 0:
                return head, None, None, None
            return (messages[-request.tail] if len(messages) >= request.tail else oldest) - 1, None, None, None
        if request.time is not None:
            times = [one.received_at if isinstance(one, Envelope) else one.ended_at for one in kept]
            place = next((index for index, at in enumerate(times) if at >= request.time), len(times)) + oldest - 1
            gap = (GapCause.TRIMMED, None, None) if place == oldest - 1 > 0 else None
            return place, None, None, gap
        return head, None, None, None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


class OneReader:
    """A reader and what it asked for."""

    def __init__(self, wire: WireReader, *, is_v2: bool) -> None:
        self.wire = wire
        self.is_v2 = is_v2
        self.requests: list[Subscribe] = []

    def check(self, model: Model) -> int:
        """Check all that came, and return the offset up to which it was told.

        Raises:
            AssertionError: An offset came twice, out of order, without leave of the filter, or is missing.
        """
        return self._check_v2(model) if self.is_v2 else self._check_v1(model)

    def _check_v2(self, model: Model) -> int:
        at, wanted, answered = -1, Filter(), 0
        for number, text in enumerate(self.wire.texts):
            frame = parse_from_server(text)
            if number == 0:
                assert isinstance(frame, Hello)
                continue
            match frame:
                case Subscribed():
                    wanted = self.requests[answered].filter
                    answered += 1
                    at = frame.cursor.offset
                case _ if not answered:
                    raise AssertionError(f"{frame} came before the answer to subscribe")
                case Batch(pairs):
                    assert pairs
                    for envelope, value in pairs:
                        expected = model.log[envelope.offset - 1]
                        assert at < envelope.offset
                        assert isinstance(expected, Envelope)
                        assert (envelope.channel, envelope.mark) == (expected.channel, expected.mark)
                        assert orjson.loads(expected.data) == value
                        assert model.accepts(wanted, expected), f"{expected} passed {wanted}"
                        assert model.is_silent(wanted, at, envelope.offset), f"missing after {at}: {envelope}"
                        at = envelope.offset
                case Gap(offset=int(offset)):
                    assert at < offset
                    assert isinstance(model.log[offset - 1], Gap)
                    assert model.is_silent(wanted, at, offset), f"missing after {at}: {frame}"
                    at = offset
                case Gap(cause=GapCause.SLOW_READER, first_offset=int(first), last_offset=int(last)):
                    assert at < first <= last <= model.head
                    assert model.is_silent(wanted, at, first), f"missing after {at}: {frame}"
                    at = last
                case Gap():
                    assert frame.last_offset in (None, at), f"{frame} after the answer {at}"
                case Position(offset):
                    assert at <= offset <= model.head
                    assert model.is_silent(wanted, at, offset + 1), f"missing after {at}: {frame}"
                    at = offset
                case _:
                    raise AssertionError(f"unexpected: {frame}")
        return at if answered == len(self.requests) else -1

    def _check_v1(self, model: Model) -> int:
        texts = list(self.wire.texts)
        history: list[Any] = []
        if texts and texts[0].startswith(b'{"channel":"codeworm:history"'):
            history = orjson.loads(texts.pop(0))["data"]
        assert not any(text.startswith(b'{"channel":"codeworm:history"') for text in texts), "history after live"
        messages = [entry for entry in model.log if isinstance(entry, Envelope)]
        place = -1
        # In the order of the log, none twice: each is found behind the one before it.
        ahead = iter(enumerate(messages))
        for item in history:
            place = next((n for n, one in ahead if (one.channel, orjson.loads(one.data)) == tuple(item.values())), -1)
            assert place >= 0, f"{item} is out of order"
        for text in texts:
            place = next((n for n, one in ahead if encode_v1(one) == text), -1)
            assert place >= 0, f"{text[:200]!r} is out of order"
        return messages[place].offset if place >= 0 else 0

    def check_whole_v1(self, model: Model) -> None:
        """Check that all live messages came, without one left out."""
        texts = [text for text in self.wire.texts if not text.startswith(b'{"channel":"codeworm:history"')]
        messages = [encode_v1(entry) for entry in model.log if isinstance(entry, Envelope)]
        assert texts == messages[len(messages) - len(texts) :]


class Life:
    """A relay, its readers, and what was done."""

    def __init__(self, relay: Served) -> None:
        self.relay = relay
        self.hub = relay.hub
        self.model = Model()
        self.readers: list[OneReader | None] = [None] * SLOTS
        self.gone: list[OneReader] = []
        self.misjudged: list[str] = []
        self.now = EPOCH_START
        self._start_of = self.hub.start_of
        self.hub.start_of = self._compare_start  # type: ignore[method-assign]

    def _compare_start(self, request: Subscribe) -> Start:
        expected = self.model.start(request, self.hub.head, self.hub.backlog.oldest)
        start = self._start_of(request)
        gap = start.gap and (start.gap.cause, start.gap.first_offset, start.gap.last_offset)
        if (start.offset, start.recovered, start.reason, gap) != expected:
            self.misjudged.append(f"{request} began at {start}, not at {expected}")
        return start

    def publish(self, *messages: tuple[str, bytes]) -> None:
        for channel, payload in messages:
            data, _, mark = normalise(payload)
            self.model.log.append(Envelope(self.model.head + 1, self.now, channel, data, mark))
        self.hub.receive([Message(channel, payload, self.now) for channel, payload in messages])

    def report(self) -> None:
        gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=self.now - 1, ended_at=self.now)
        self.model.log.append(gap)
        self.hub.report(gap)

    def request(self, since: tuple[str, int], wanted: Filter) -> Subscribe:
        match since:
            case ("cursor", back):
                return Subscribe(cursor=Cursor("e", max(0, self.hub.head + back)), filter=wanted)
            case ("other epoch", offset):
                return Subscribe(cursor=Cursor("f", offset), filter=wanted)
            case ("tail", count):
                return Subscribe(tail=count, filter=wanted)
            case ("time", after):
                return Subscribe(time=EPOCH_START + after, filter=wanted)
            case _:
                return Subscribe(filter=wanted)

    async def join(self, slot: int, *, is_v2: bool, receive_buffer: int | None = None) -> OneReader | None:
        if self.readers[slot] is not None:
            return None
        one = OneReader(wire_reader(receive_buffer=receive_buffer), is_v2=is_v2)
        await one.wire.open(self.relay.port, subprotocol="codeworm.v2" if is_v2 else None)
        self.readers[slot] = one
        return one

    async def subscribe(self, one: OneReader, since: tuple[str, int], wanted: Filter) -> None:
        one.requests.append(self.request(since, wanted))
        await one.wire.subscribe(one.requests[-1])

    async def do(self, step: tuple[Any, ...]) -> None:
        one = self.readers[step[1]] if step[0] in ("subscribe", "pause", "resume", "leave", "abort") else None
        match step:
            case ("publish", messages):
                self.publish(*messages)
            case ("burst", count, size):
                for number in range(count):
                    self.publish((LOGS, orjson.dumps({"n": self.model.head, "m": number, "pad": "z" * size})))
            case ("gap",):
                self.report()
            case ("clock", seconds):
                self.now += seconds
            case ("join v1", slot):
                await self.join(slot, is_v2=False, receive_buffer=2048)
            case ("join v2", slot, since, wanted, is_narrow):
                fresh = await self.join(slot, is_v2=True, receive_buffer=2048 if is_narrow else None)
                if fresh is not None:
                    await self.subscribe(fresh, since, wanted)
            case ("subscribe", _, since, wanted) if one is not None and one.is_v2 and one.wire.may_read.is_set():
                await self.subscribe(one, since, wanted)
            case ("pause", _) if one is not None:
                one.wire.may_read.clear()
            case ("resume", _) if one is not None:
                one.wire.may_read.set()
            case ("leave" | "abort" as how, slot) if one is not None:
                self.readers[slot] = None
                self.gone.append(one)
                await (one.wire.leave() if how == "leave" else one.wire.abort())
            case ("positions",):
                self.relay.endpoint.fanout.tell_positions()
            case ("turns", count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case ("moment",):
                await asyncio.sleep(0.003)  # past the window in which messages are joined

    def check_bounds(self) -> None:
        backlog, head = self.hub.backlog, self.model.head
        assert backlog.head == head
        assert len(backlog) <= backlog.max_entries
        assert backlog.bytes <= backlog.max_bytes or len(backlog) == 1
        kept = backlog.between(backlog.oldest, head)
        assert [entry.offset for entry in kept] == list(range(backlog.oldest, head + 1))
        assert [one.data for one in kept if isinstance(one, Envelope)] == [
            one.data for one in self.model.log[backlog.oldest - 1 :] if isinstance(one, Envelope)
        ]
        for reader in self.relay.endpoint.fanout.readers:
            waiting = reader.connection.transport.get_write_buffer_size()
            most = 2**15 + 3 * SMALL_CHUNK + 2 * LARGEST + (0 if reader.lane.is_v2 else HISTORY_BYTES)
            assert waiting <= most, f"{waiting} bytes wait for one reader"

    def describe(self, one: OneReader) -> str:
        """Say where a reader is, and the relay's readers are."""
        cursors = [
            (reader.offset, reader.connection.paused, reader.connection.transport.get_write_buffer_size())
            for reader in self.relay.endpoint.fanout.readers
        ]
        return (
            f"{'v2' if one.is_v2 else 'v1'} is told up to {one.check(self.model)} of {self.model.head}, over:"
            f" {one.wire.is_over} {one.wire.close_code}; cursor, paused, bytes waiting of each: {cursors}"
        )

    async def settle(self) -> None:
        """Let everyone read to the end, and check that all came."""
        readers = [one for one in self.readers if one is not None]
        for one in readers:
            one.wire.may_read.set()
        self.publish((LOGS, LAST))

        def is_told(one: OneReader) -> bool:
            if not one.is_v2:
                return bool(one.wire.texts) and LAST in one.wire.texts[-1]
            self.relay.endpoint.fanout.tell_positions()
            return one.check(self.model) == self.model.head

        for one in readers:
            await eventually(
                lambda one=one: is_told(one),
                otherwise=lambda one=one: self.describe(one),
            )
        for one in readers + self.gone:
            one.check(self.model)
        # A v1 reader cannot be told what it missed; where nobody can have missed anything, it got everything.
        if not self.hub.gaps[GapCause.SLOW_READER] and self.hub.backlog.oldest == 1:
            for one in readers:
                if not one.is_v2:
                    one.check_whole_v1(self.model)

    async def end(self) -> None:
        for one in self.readers:
            if one is not None:
                await one.wire.abort()
        await self.relay.is_free()
        await self.relay.has_no_tasks_of_others()


@contextlib.contextmanager
def small_writes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CHUNK": SMALL_CHUNK, "BATCH": SMALL_CHUNK // 2, "ENTRIES": 16, "EAGER": 40}.items():
            patch.setattr(fanout_module, name, value)
        yield


async def live(happenings: list[tuple[Any, ...]], max_entries: int, max_bytes: int) -> None:
    backlog = Backlog(max_entries=max_entries, max_bytes=max_bytes)
    with small_writes(), complaints() as complained:
        async with served(backlog=backlog, window=0.001, send_timeout=60, inbound_rate=1e6, history=50) as relay:
            # Connections inherit it: what a reader does not take soon waits in the relay, not in the kernel.
            relay.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            life = Life(relay)
            try:
                for step in happenings:
                    await life.do(step)
                    life.check_bounds()
                await life.settle()
            finally:
                await life.end()
    assert not life.misjudged
    assert not complained


def _loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    loops: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
    with contextlib.suppress(ImportError):
        import uvloop

        loops.append(uvloop.new_event_loop)
    return loops


LOOPS = _loops()
"""Those that a relay may run on here; uvloop is optional."""


# Not shrunk: the turns of the loop and of the kernel fall a little differently each time.
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(lives, bounds)
@example([("join v2", 0, ("now", 0), Filter(), True), ("pause", 0), ("burst", 60, 3000), ("resume", 0)], (5, 2**26))
@example(
    [
        ("burst", 30, 200),
        ("join v2", 0, ("cursor", -20), Filter(), False),
        ("join v2", 1, ("tail", 5), Filter(level="warning"), False),
        ("join v1", 2),
        ("moment",),
        ("subscribe", 0, ("cursor", -300), Filter(channels=frozenset({LOGS}))),
        ("burst", 3, 10),
        ("abort", 1),
        ("gap",),
    ],
    (1000, 2**26),
)
@pytest.mark.parametrize("new_loop", LOOPS, ids=lambda new_loop: new_loop.__module__.partition(".")[0])
def test_every_reader_is_told_every_offset_once_or_why_not(new_loop, happenings, bounds):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(live(happenings, *bounds))


def test_the_model_has_the_levels_of_the_package():
    from codeworm_monitor.records import LEVELS, level_rank

    assert sorted(RANKS, key=RANKS.__getitem__) == sorted(LEVELS, key=level_rank)
    assert all(level_rank(one) < level_rank(next_) for one, next_ in pairwise(RANKS))


@pytest.mark.parametrize("waiting", [0, 1], ids=["at the head", "with a message waiting"])
async def test_a_reader_whose_socket_is_full_when_it_is_told_its_position_misses_nothing(waiting, monkeypatch):
    write, refused = os.write, []

    def full(descriptor: int, frames: bytes) -> int:
        if b'"position"' in frames and not refused:
            refused.append(descriptor)
            raise BlockingIOError
        return write(descriptor, frames)

    # A long window: what is published second waits in the relay while positions are told.
    async with served(window=0.2, heartbeat=0.0) as relay, reading(relay.port) as wire:
        one = OneReader(wire, is_v2=True)
        one.requests.append(Subscribe())
        await wire.subscribe(one.requests[0])
        life = Life(relay)
        await eventually(lambda: relay.endpoint.fanout.readers)
        life.publish((LOGS, b"1"))
        await eventually(lambda: one.check(life.model) == 1)
        for number in range(waiting):
            life.publish((LOGS, b"%d" % number))
        with monkeypatch.context() as patch:
            patch.setattr(fanout_module.os, "write", full)
            relay.endpoint.fanout.tell_positions()
        assert refused
        life.publish((LOGS, LAST))
        await eventually(lambda: any(LAST in text for text in wire.texts), otherwise="what came later is not delivered")
        assert one.check(life.model) == life.model.head
