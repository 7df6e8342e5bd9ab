"""Reading over database and Parquet files, against a model: the rows themselves, sorted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import GAP, StoredRow
from codeworm_monitor.archive.store import Store

DAY = 86_400_000_000
NOON = 1_700_049_600_000_000
CHANNELS = ("codeworm:logs", "codeworm:events", "")
ROWS = 240


def by_time(row: StoredRow) -> tuple[int, int, int]:
    return row.received_at, row.epoch, row.offset


@pytest.fixture(scope="module", params=range(2))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StoredRow]]:
    """Two numberings over four days, some times equal, some stepping back; three days are Parquet."""
    chance, directory = random.Random(request.param), tmp_path_factory.mktemp("reader")
    store, rows = Store(directory), []
    for name in ("first", "second"):
        epoch = store.begin(name)
        for offset in sorted(chance.sample(range(1, 3 * ROWS), ROWS)):
            at = NOON + offset * 4 * DAY // (3 * ROWS) + chance.choice([0, 0, -60_000_000])
            channel = chance.choice(CHANNELS)
            payload = b'{"n":%d,"pad":"%b"}' % (offset, b"x" * chance.randrange(400))
            rows.append(StoredRow(epoch, offset, at, channel, None if channel else GAP, payload))
        store.finish(epoch, 3 * ROWS)
    store.append(rows)
    compact(store, now=(NOON + 3 * DAY) / 1e6)
    assert store.database.execute("SELECT count(*) FROM parts").fetchone()[0] > 6
    store.close()
    return directory, rows


@pytest.mark.parametrize("limit", [7, 100, 10_000])
def test_pages_by_offset_are_those_of_the_model(made, limit):
    directory, rows = made
    with ArchiveReader(directory) as reader:
        for epoch in reader.epochs():
            model = [row for row in rows if row.epoch == epoch]
            found, at = [], 0
            while page := reader.after(epoch, at, limit=limit):
                assert len(page) <= limit
                found, at = found + page, page[-1].offset
            assert found == model
            found, at = [], 2**62
            while page := reader.before(epoch, at, limit=limit):
                found, at = found + page, page[-1].offset
            assert found == model[::-1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("limit", "max_bytes"), [(30, None), (10_000, None), (50, 3_000), (10_000, 20_000)])
def test_pages_by_time_are_those_of_the_model_whatever_bounds_them(made, limit, max_bytes, reverse):
    directory, rows = made
    model = sorted(rows, key=by_time, reverse=reverse)
    with ArchiveReader(directory) as reader:
        found, after = [], None
        while page := reader.page(0, 2**62, after=after, limit=limit, reverse=reverse, max_bytes=max_bytes):
            assert len(page) <= limit
            assert max_bytes is None or sum(len(row.payload) for row in page[:-1]) < max_bytes
            found, after = found + page, by_time(page[-1])
        assert found == model


@pytest.mark.parametrize("seed", range(6))
def test_a_stretch_and_a_choice_of_channels_are_those_of_the_model(made, seed):
    directory, rows = made
    chance = random.Random(seed)
    since, until = sorted(chance.sample(range(NOON, NOON + 4 * DAY), 2))
    channels = frozenset(chance.sample(CHANNELS[:2], 1))
    wanted = [row for row in rows if since <= row.received_at < until and row.channel in {"", *channels}]
    with ArchiveReader(directory) as reader:
        assert reader.page(since, until, channels=channels, limit=10_000) == sorted(wanted, key=by_time)


def test_bounds_span_and_counts_are_those_of_the_model(made):
    directory, rows = made
    with ArchiveReader(directory) as reader:
        for epoch, known in reader.epochs().items():
            offsets = [row.offset for row in rows if row.epoch == epoch]
            assert reader.bounds(epoch) == (offsets[0], offsets[-1])
            assert reader.epoch(known.name) == known
        assert reader.span() == (min(row.received_at for row in rows), max(row.received_at for row in rows))
        assert reader.channels() == {name: sum(row.channel == name for row in rows) for name in sorted(CHANNELS)}
        assert reader.bounds(99) is None
        assert reader.epoch("unknown") is None
        assert reader.after(99, 0, limit=10) == []


def test_the_first_offset_at_a_time_leaves_out_nothing_that_came_later(made):
    directory, rows = made
    with ArchiveReader(directory) as reader:
        for at in range(NOON - DAY, NOON + 5 * DAY, DAY // 3):
            for epoch in reader.epochs():
                later = [row.offset for row in rows if row.epoch == epoch and row.received_at >= at]
                found = reader.offset_at(epoch, at)
                assert (found is None) == (not later)
                if found is not None:
                    assert found == min(later) or found in later


def test_a_file_that_retention_takes_meanwhile_is_none_to_complain_of(made, tmp_path, monkeypatch):
    """It leaves the list first: who had read the list before looks again."""
    import shutil

    directory = shutil.copytree(made[0], tmp_path / "archive")
    with ArchiveReader(directory) as reader:
        oldest = reader.parts()[0]
        select = reader._parts

        def after_reading(*condition: object) -> object:
            parts = select(*condition)
            monkeypatch.undo()
            store = Store(directory)
            store.database.execute("DELETE FROM parts WHERE path = ?", (oldest.path,))
            store.close()
            (directory / oldest.path).unlink()
            return parts

        monkeypatch.setattr(reader, "_parts", after_reading)
        left = reader.page(0, 2**62, limit=10_000)
        assert len(left) == len(made[1]) - oldest.rows
