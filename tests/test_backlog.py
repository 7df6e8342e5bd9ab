from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from codeworm_monitor.backlog import ENTRY_OVERHEAD, Backlog
from codeworm_monitor.envelope import Envelope, Gap, GapCause


def envelope(offset, *, size=2, at=0.0):
    return Envelope(offset, at, "codeworm:logs", b"x" * size)


def gap(offset, *, at=0.0):
    return Gap(cause=GapCause.SOURCE_OUTAGE, started_at=at - 1, ended_at=at, offset=offset)


def columns(entries):
    return [list(column) for column in zip(*(entry[1:] for entry in entries), strict=True)] or [[], [], [], []]


def fill(backlog, count, **options):
    for _ in range(count):
        backlog.append(envelope(backlog.head + 1, **options))


class BacklogAgainstAList(RuleBasedStateMachine):
    """Holds the backlog against a plain list that is trimmed from the front."""

    @initialize(
        max_entries=st.integers(1, 12), max_bytes=st.integers(1, 4000), head=st.sampled_from([0, 1, 1000, 2**53 - 200])
    )
    def start(self, max_entries, max_bytes, head):
        self.backlog = Backlog(max_entries=max_entries, max_bytes=max_bytes, head=head)
        self.first = head + 1
        self.head = head
        self.kept = []

    def _trim(self):
        while len(self.kept) > 1 and (
            len(self.kept) > self.backlog.max_entries or sum(size for _, size in self.kept) > self.backlog.max_bytes
        ):
            del self.kept[0]

    @rule(size=st.integers(0, 5000), at=st.integers(0, 20))
    def append_envelope(self, size, at):
        self.head += 1
        entry = envelope(self.head, size=size, at=float(at))
        self.backlog.append(entry)
        self.kept.append((entry, size + ENTRY_OVERHEAD))
        self._trim()

    @rule(at=st.integers(0, 20))
    def append_gap(self, at):
        self.head += 1
        entry = gap(self.head, at=float(at))
        self.backlog.append(entry)
        self.kept.append((entry, ENTRY_OVERHEAD))
        self._trim()

    @rule(batch=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 20)), max_size=30))
    def append_a_batch(self, batch):
        entries = [envelope(offset, size=size, at=float(at)) for offset, (size, at) in enumerate(batch, self.head + 1)]
        self.head += len(batch)
        self.backlog.extend(*columns(entries))
        self.kept += [(entry, ENTRY_OVERHEAD + size) for entry, (size, _) in zip(entries, batch, strict=True)]
        self._trim()

    @rule(before=st.integers(0, 12), max_bytes=st.integers(1, 4000), max_entries=st.integers(1, 12))
    def ask_for_a_span(self, before, max_bytes, max_entries):
        first = self.head - before
        wanted, room = [], max_bytes
        for entry, size in self.kept:
            if entry.offset >= first and len(wanted) < max_entries and (size <= room or not wanted):
                room -= size
                wanted.append(entry)
            elif wanted:
                break
        assert self.backlog.span(first, max_bytes=max_bytes, max_entries=max_entries) == wanted

    @rule(before=st.integers(-5, 50), length=st.integers(-3, 60))
    def ask_for_a_range(self, before, length):
        first = self.head - before
        last = first + length
        wanted = [entry for entry, _ in self.kept if first <= entry.offset <= last]
        assert self.backlog.between(first, last) == wanted

    @precondition(lambda self: self.kept)
    @rule(at=st.one_of(st.integers(-1, 21), st.just(2**60)))
    def ask_for_a_time(self, at):
        ahead = [
            entry.offset
            for entry, _ in self.kept
            if (entry.received_at if isinstance(entry, Envelope) else entry.ended_at) >= at
        ]
        assert self.backlog.offset_at(at) == min(ahead, default=self.head + 1)

    @invariant()
    def it_holds_what_the_list_holds(self):
        assert self.backlog.head == self.head
        assert len(self.backlog) == len(self.kept)
        assert self.backlog.oldest == self.head - len(self.kept) + 1
        assert self.backlog.bytes == sum(size for _, size in self.kept)
        assert self.backlog.between(self.first, self.head) == [entry for entry, _ in self.kept]


TestBacklogAgainstAList = BacklogAgainstAList.TestCase
TestBacklogAgainstAList.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)


def test_an_empty_backlog_ends_where_it_will_begin():
    backlog = Backlog(head=41)
    assert (backlog.oldest, backlog.head, len(backlog), backlog.bytes) == (42, 41, 0, 0)
    assert backlog.between(0, 100) == []
    assert backlog.offset_at(0) == 42


@pytest.mark.parametrize("bounds", [{"max_entries": 0}, {"max_bytes": 0}, {"head": -1}])
def test_a_backlog_without_room_is_refused(bounds):
    with pytest.raises(ValueError, match="at least one entry"):
        Backlog(**bounds)


def test_the_newest_entry_stays_even_if_it_alone_passes_the_bound():
    backlog = Backlog(max_bytes=1000)
    fill(backlog, 3)
    fill(backlog, 1, size=10_000)
    assert (backlog.oldest, backlog.head) == (4, 4)
    fill(backlog, 1)
    assert (backlog.oldest, backlog.bytes) == (5, 2 + ENTRY_OVERHEAD)


def test_the_room_of_departed_entries_is_given_back():
    """The places of departed entries are swept out in bulk: never more of them than those kept, beyond a thousand."""
    backlog = Backlog(max_entries=10)
    fill(backlog, 20_000)
    assert len(backlog._data) <= 1024 + 2 * 10
    assert [entry.offset for entry in backlog.between(0, 30_000)] == list(range(19_991, 20_001))
    assert backlog.bytes == 10 * (2 + ENTRY_OVERHEAD)


def test_a_departed_entry_is_freed_at_once():
    backlog = Backlog(max_entries=1)
    fill(backlog, 2, size=1000)
    assert backlog._data == [None, b"x" * 1000]


def test_a_time_finds_the_first_entry_received_then_or_later():
    backlog = Backlog()
    for at in (10.0, 20.0, 20.0, 30.0):
        fill(backlog, 1, at=at)
    assert [backlog.offset_at(at) for at in (0, 10, 10.5, 20, 21, 30, 30.5)] == [1, 1, 2, 2, 4, 4, 5]


def test_a_gap_is_found_by_the_time_of_its_end():
    backlog = Backlog()
    fill(backlog, 1, at=10.0)
    backlog.append(gap(2, at=20.0))
    fill(backlog, 1, at=30.0)
    assert backlog.offset_at(15) == 2


def test_after_the_clock_was_set_back_nothing_received_at_or_after_a_time_is_left_out():
    backlog = Backlog()
    for at in (10.0, 11.0, 5.0, 6.0, 7.0, 12.0):
        fill(backlog, 1, at=at)
    assert backlog.offset_at(8) == 1
    assert backlog.offset_at(11) == 2
    assert backlog.offset_at(12) == 6
    assert backlog.offset_at(13) == 7


def test_times_are_in_order_again_once_the_entries_before_the_step_back_are_gone():
    backlog = Backlog(max_entries=3)
    for at in (100.0, 5.0, 6.0, 7.0):
        fill(backlog, 1, at=at)
    assert backlog.offset_at(6) == 3
