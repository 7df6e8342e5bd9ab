"""The writer beside a hub, in the test's own loop, on a real disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from dataclasses import asdict

import orjson
import pytest
from support.kept import kept, on_disk
from support.waiting import eventually

from codeworm_monitor.archive import writer as writer_module
from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.store import Store
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.envelope import Envelope, Gap, GapCause, Mark
from codeworm_monitor.errors import ArchiveBusyError, ArchiveDamagedError, ArchiveError


async def test_all_that_a_hub_numbers_is_on_disk_byte_for_byte_when_the_writer_is_closed(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b'{"event": "one" }', b"no JSON", "\u00fc\u0000".encode(), b'{"a":"' + b"x" * 5000 + b'"}')
        outage = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.25, ended_at=2.5, detail="a \u2192 b")
        it.hub.report(outage)
        expected = it.hub.backlog.between(1, it.hub.head)
    assert await on_disk(tmp_path) == expected
    assert [entry.mark for entry in expected if isinstance(entry, Envelope)] == [None, Mark.RAW, Mark.RAW, None]


async def test_an_entry_is_on_disk_soon_without_anybody_asking(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b"1")
        await eventually(lambda: it.archive.archived == 1)
        assert len(await on_disk(tmp_path)) == 1
        it.publish(b"2", b"3")
        await eventually(lambda: it.archive.status.waiting == 0)
        assert len(await on_disk(tmp_path)) == 3


async def test_a_flood_is_written_in_order_and_whole(tmp_path):
    async with kept(tmp_path) as it:
        for start in range(0, 30_000, 500):
            it.publish(*(b"%d" % number for number in range(start, start + 500)))
            await asyncio.sleep(0)
    entries = await on_disk(tmp_path)
    assert [entry.offset for entry in entries] == list(range(1, 30_001))
    assert [entry.data for entry in entries] == [b"%d" % number for number in range(30_000)]


async def test_the_next_run_goes_on_with_the_numbering_and_says_that_the_relay_was_away(tmp_path):
    async with kept(tmp_path) as it:
        assert it.opening.gap is None
        it.publish(b"1", b"2")
        epoch = it.hub.epoch
    async with kept(tmp_path) as it:
        assert (it.hub.epoch, it.opening.head) == (epoch, 2)
        assert [envelope.data for envelope in it.opening.past] == [b"1", b"2"]
        (gap,) = it.hub.backlog.between(1, 10)
        assert (gap.offset, gap.cause, gap.missed) == (3, GapCause.RELAY_RESTART, None)
        assert "was stopped" in gap.detail
        it.publish(b"3")
    assert [entry.offset for entry in await on_disk(tmp_path)] == [1, 2, 3, 4]


async def test_after_a_crash_no_offset_is_given_again_and_the_gap_covers_those_that_may_be_lost(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b"1", b"2")
        assert await it.archive.flushed(2)
        it.publish(b"3")  # given, and never written
        it.archive._backlog = Backlog()  # what crashed does not write its end either
        it.archive._problem = "crashed"
    async with kept(tmp_path) as it:
        (gap,) = it.hub.backlog.between(1, 2**60)
        assert it.opening.head >= 3
        assert gap.offset == it.opening.head + 1
        assert (gap.cause, gap.first_offset, gap.last_offset) == (GapCause.RELAY_RESTART, 3, it.opening.head)
        assert gap.missed is None  # most of them were never given
        assert "without a word" in gap.detail


async def test_a_second_writer_is_refused_and_told_what_to_do(tmp_path):
    async with kept(tmp_path):
        with pytest.raises(ArchiveBusyError, match=rf"process {os.getpid()}.*--archive"):
            await ArchiveWriter(tmp_path).open("other")
    async with kept(tmp_path):
        pass


async def test_offsets_beyond_those_set_aside_are_reserved_before_half_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BLOCK", 100)
    async with kept(tmp_path) as it:
        for _ in range(10):
            it.publish(*[b"1"] * 30)
            assert await it.archive.flushed(it.hub.head)
            with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as database:
                (reserved,) = database.execute("SELECT reserved FROM epochs").fetchone()
            assert reserved >= it.hub.head + 50


async def test_while_the_disk_refuses_nothing_waits_and_the_hole_is_told_when_it_takes_again(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(writer_module, "delays", lambda **_: iter(lambda: 0.02, None))
    async with kept(tmp_path, entries=100) as it:
        it.publish(b"1")
        assert await it.archive.flushed(1)
        other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        it.archive._store.database.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")  # another process that does not let go
        it.publish(*[b"2"] * 300)
        await eventually(lambda: not it.archive.status.is_writing)
        assert "locked" in it.archive.status.reason
        assert it.notes == ["archive_failing"]
        assert not await it.archive.flushed(it.hub.head)
        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: it.archive.status.is_writing and not it.archive.status.waiting)
        assert it.notes == ["archive_failing", "archive_written_again"]
        assert it.archive.status.lost == 200
    first, hole, *rest = await on_disk(tmp_path)
    assert first.offset == 1
    assert (hole.cause, hole.offset, hole.first_offset, hole.last_offset) == (GapCause.NOT_ARCHIVED, None, 2, 201)
    assert "locked" in hole.detail
    assert [entry.offset for entry in rest] == list(range(202, 302))


async def test_an_archive_that_cannot_be_made_is_begun_when_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "delays", lambda **_: iter(lambda: 0.02, None))
    place = tmp_path / "place"
    place.write_text("something else has the name")
    async with kept(place) as it:
        assert not it.archive.status.is_writing
        assert it.opening.head == 0
        it.publish(b"1", b"2")
        place.unlink()
        await eventually(lambda: it.archive.status.is_writing)
    assert [entry.data for entry in await on_disk(place)] == [b"1", b"2"]
    async with kept(place) as again:
        assert (again.opening.epoch, again.opening.head) == (it.hub.epoch, 2)


async def test_an_archive_that_is_removed_under_the_writer_is_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "delays", lambda **_: iter(lambda: 0.02, None))
    async with kept(tmp_path) as it:
        it.publish(b"1")
        assert await it.archive.flushed(1)
        for path in tmp_path.glob(f"{DATABASE}*"):
            path.unlink()
        it.publish(b"2", b"3")
        await eventually(lambda: it.archive.archived == 3)
    assert [entry.offset for entry in await on_disk(tmp_path)] == [2, 3]


async def test_a_damaged_archive_is_mended_at_the_start_and_the_relay_goes_on(tmp_path):
    async with kept(tmp_path) as it:
        for _ in range(40):
            it.publish(*[b'"%s"' % (b"x" * 500)] * 100)
    size = (tmp_path / DATABASE).stat().st_size
    with (tmp_path / DATABASE).open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(32_768))
    async with kept(tmp_path) as it:
        assert it.archive.status.repaired
        assert it.opening.head >= 4_000 or it.opening.head == 0
        it.publish(b"1")
        assert await it.archive.flushed(it.hub.head)
    assert list((tmp_path / "damaged").iterdir())
    assert len(await on_disk(tmp_path)) > 3_500


async def test_closing_is_bounded_while_another_process_holds_the_database(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b"1")
        other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(5):
            await it.archive.aclose(within=0.2)
        other.execute("ROLLBACK")
        other.close()


async def test_what_it_says_of_itself_fits_into_json(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b"1")
        status = orjson.loads(orjson.dumps(asdict(it.archive.status)))
        assert (status["directory"], status["is_writing"], status["waiting"]) == (str(tmp_path), True, 1)
        assert str(it.archive) == "written"


async def test_reading_waits_for_no_writer(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b"1")
        assert await it.archive.flushed(1)
        other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        rows = await it.archive.read(lambda reader: reader.after(it.archive.key, 0, limit=10))
        other.close()
        assert [row.payload for row in rows] == [b"1"]


async def test_a_numbering_begun_while_the_disk_refused_is_not_written_over_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "delays", lambda **_: iter(lambda: 0.02, None))
    async with kept(tmp_path) as before:
        before.publish(*[b'"old"'] * 10)
    reserve, refusals = Store.reserve, [ArchiveError("the disk is full")]

    def reserve_or_refuse(store, epoch, offset):
        if refusals:
            raise refusals.pop()
        reserve(store, epoch, offset)

    monkeypatch.setattr(Store, "reserve", reserve_or_refuse)
    async with kept(tmp_path) as it:
        assert (it.opening.head, it.archive.key) == (0, 0)
        assert it.opening.epoch != before.opening.epoch
        it.publish(*[b'"new"'] * 5)
        await eventually(lambda: it.archive.archived == 5)
    assert [entry.data for entry in await on_disk(tmp_path)] == [b'"old"'] * 10 + [b'"new"'] * 5


async def test_a_hole_that_grows_while_the_disk_refuses_is_told_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "delays", lambda **_: iter(lambda: 0.02, None))
    async with kept(tmp_path, entries=100) as it:
        it.publish(b"1")
        assert await it.archive.flushed(1)
        append, refusals = Store.append, []

        def append_gaps_only(store, rows):
            if len(rows) > 1 and len(refusals) < 3:
                refusals.append(len(rows))
                raise ArchiveError("the disk is full")
            append(store, rows)

        def append_no_columns(*_):
            refusals.append(0)
            raise ArchiveError("the disk is full")

        monkeypatch.setattr(Store, "append", append_gaps_only)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "append_columns", append_no_columns)
            it.publish(*[b"2"] * 300)
            await eventually(lambda: len(refusals) > 1)
            it.publish(*[b"3"] * 300)
        await eventually(lambda: it.archive.archived == 601)
    _, hole, *rest = await on_disk(tmp_path)
    assert (hole.first_offset, hole.last_offset) == (2, 501)
    assert [entry.offset for entry in rest] == list(range(502, 602))


async def test_one_task_writes_whoever_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_SECONDS", 0.05)
    append, batches = Store.append_columns, []

    def append_slowly(store, epoch, first, *columns):
        batches.append(first)
        time.sleep(0.2)
        append(store, epoch, first, *columns)

    monkeypatch.setattr(Store, "append_columns", append_slowly)
    async with kept(tmp_path) as it:
        it.publish(b"1")  # begins in a twentieth of a second by itself
        assert await it.archive.flushed(1)
    assert batches == [1]


async def test_one_that_could_not_be_closed_in_time_lets_others_have_the_archive_when_the_disk_lets_go(tmp_path):
    async with kept(tmp_path) as it:
        it.publish(b"1")
        other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await it.archive.aclose(within=0.1)
        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: it.archive._lock._descriptor < 0)
    async with kept(tmp_path) as again:
        assert again.opening.epoch == it.hub.epoch


async def test_what_anybody_may_know_of_it_names_no_path(tmp_path):
    place = tmp_path / "secret"
    place.write_text("something else has the name")
    async with kept(place) as it:
        assert str(place) in it.archive.status.reason
        assert str(it.archive).startswith("cannot be written: ")
        assert "secret" not in str(it.archive)
        place.unlink()


async def test_reading_what_is_damaged_leaves_nothing_open(tmp_path):
    def fail(reader):
        raise ArchiveDamagedError(tmp_path, "for a test")

    async with kept(tmp_path) as it:
        for _ in range(5):
            with pytest.raises(ArchiveDamagedError):
                await it.archive.read(fail)
        assert it.archive._opened == []


async def test_closing_waits_for_no_reader_and_takes_nothing_from_under_it(tmp_path):
    started, going_on = threading.Event(), threading.Event()

    def read(reader):
        started.set()
        going_on.wait()
        return reader.after(1, 0, limit=10)

    async with kept(tmp_path) as it:
        it.publish(b"1")
        reading = asyncio.create_task(it.archive.read(read))
        await eventually(started.is_set)
        await it.archive.aclose()
        going_on.set()
        assert [row.payload for row in await reading] == [b"1"]
