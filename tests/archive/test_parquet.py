"""Rows read back from real Parquet files, compared with a list in memory."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.parquet import Part, connect, offsets_within, part_path, rows_by_offset, rows_by_time
from codeworm_monitor.archive.rows import GAP, StoredRow, gap_payload
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError

NOON = 1_700_049_600_000_000
"""2023-11-15 12:00 UTC."""
HOUR = 3_600_000_000
CHANNELS = ["codeworm:logs", "codeworm:events", "codeworm:stats"]
HOSTILE = [
    *(
        "/",
        "..",
        ".",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "\\",
        "a\\..\\b",
        "date=2020-01-01",
        "gaps",
        "%2e%2e%2f",
    ),
    *("*", "[a]?", "'; DROP TABLE parts; --", '"', "\x00", "a\nb", "ünï✓🐛", "x" * 5000, "✓" * 300, " "),
    "__HIVE_DEFAULT_PARTITION__",
]


def by_offset(row: StoredRow) -> int:
    return row.offset


def by_time(row: StoredRow) -> tuple[int, int, int]:
    return row.received_at, row.epoch, row.offset


def make_rows(seed: int, count: int, *, epochs: int = 1) -> list[StoredRow]:
    """Return rows with gaps among them, many at one time, also of several epochs; the clock steps back now and then."""
    chance = random.Random(seed)
    rows = []
    for epoch in range(1, epochs + 1):
        at = NOON
        for offset in range(1, count + 1):
            at += chance.choice([0, 0, 0, 1_000_000, 2_000_000]) - (60_000_000 if chance.random() < 0.02 else 0)
            if chance.random() < 0.03:
                gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.0, offset=offset)
                rows.append(StoredRow(epoch, offset, at, "", GAP, gap_payload(gap)))
            else:
                mark = chance.choice([None, None, None, "raw", "truncated"])
                payload = b'{"n":%d,"event":"number_%d"}' % (offset, offset)
                rows.append(StoredRow(epoch, offset, at, chance.choice(CHANNELS), mark, payload))
    return rows


def make_parts(directory: Path, rows: list[StoredRow], max_rows: int = 60) -> list[Part]:
    """Put rows into Parquet files and return what is listed, in an order that tells nothing."""
    with contextlib.closing(Store(directory)) as store:
        for _ in range(max(row.epoch for row in rows)):
            store.begin()
        store.append(rows)
        assert compact(store, now=NOON / 1e6 + 2 * 86_400, max_rows=max_rows).rows == len(rows)
        parts = [Part(*row) for row in store.database.execute("SELECT * FROM parts")]
    random.Random(1).shuffle(parts)
    return parts


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Part], list[StoredRow]]:
    directory = tmp_path_factory.mktemp("archive")
    rows = make_rows(7, 700, epochs=3)
    return directory, make_parts(directory, rows), rows


def wanted(rows: list[StoredRow], channels: frozenset[str]) -> list[StoredRow]:
    return [row for row in rows if not channels or row.mark == GAP or row.channel in channels]


# By offset


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("channels", [frozenset(), frozenset(CHANNELS[:1]), frozenset(CHANNELS[1:]), frozenset(["?"])])
def test_rows_come_by_offset_as_from_a_list(archive, channels: frozenset[str], reverse: bool):  # noqa: FBT001 - a parameter of pytest
    directory, parts, rows = archive
    parts = [part for part in parts if part.epoch == 2]
    rows = sorted(wanted([row for row in rows if row.epoch == 2], channels), key=by_offset, reverse=reverse)
    for after in [0, 1, 59, 60, 61, 350, 699, 700, 701, 2**53]:
        for limit in [0, 1, 7, 100, 10_000]:
            expected = [row for row in rows if (row.offset < after if reverse else row.offset > after)][:limit]
            found = rows_by_offset(directory, parts, after=after, limit=limit, channels=channels, reverse=reverse)
            assert found == expected


def test_only_files_that_can_matter_are_opened(tmp_path: Path):
    rows = [StoredRow(1, offset, NOON + offset, CHANNELS[0], None, b"{}") for offset in range(1, 501)]
    parts = sorted(make_parts(tmp_path, rows, 100), key=lambda part: part.first_offset)
    assert [part.rows for part in parts] == [100] * 5
    for part in (parts[0], parts[1], parts[4]):
        (tmp_path / part.path).unlink()
    assert rows_by_offset(tmp_path, parts, after=200, limit=150) == rows[200:350]
    assert rows_by_offset(tmp_path, parts, after=401, limit=200, reverse=True) == rows[399:199:-1]
    assert rows_by_time(tmp_path, parts, since=NOON + 201, until=2**62, limit=200) == rows[200:400]
    assert rows_by_time(tmp_path, parts, since=0, until=NOON + 401, limit=200, reverse=True) == rows[399:199:-1]
    assert rows_by_time(tmp_path, parts, since=NOON + 201, until=NOON + 401, limit=999) == rows[200:400]
    with pytest.raises(ArchiveDamagedError):
        rows_by_offset(tmp_path, parts, after=200, limit=201)
    assert rows_by_offset(tmp_path, parts, after=0, limit=1, channels=frozenset(["other"])) == []


def test_offsets_within_a_file_are_told(archive):
    directory, parts, rows = archive
    for part in parts[:5]:
        held = [
            row.offset
            for row in rows
            if (row.epoch, row.channel) == (part.epoch, part.channel)
            and part.first_offset <= row.offset <= part.last_offset
        ]
        assert offsets_within(directory, part, 0, 2**60) == held
        assert offsets_within(directory, part, held[1], held[-2]) == held[1:-1]


# By time


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("channels", [frozenset(), frozenset(CHANNELS[:2])])
def test_rows_come_by_time_as_from_a_list(archive, channels: frozenset[str], reverse: bool):  # noqa: FBT001 - a parameter of pytest
    directory, parts, rows = archive
    rows = sorted(wanted(rows, channels), key=by_time, reverse=reverse)
    times = [row.received_at for row in rows]
    chance = random.Random(3)
    for _ in range(30):
        since, until = sorted(chance.choices([*times, 0, 2**62, -(2**62), NOON, NOON + HOUR], k=2))
        limit = chance.choice([1, 10, 300, 5000])
        after = by_time(chance.choice(rows)) if chance.random() < 0.6 else None
        expected = [
            row
            for row in rows
            if since <= row.received_at < until
            and (after is None or (by_time(row) < after if reverse else by_time(row) > after))
        ]
        found = rows_by_time(
            directory, parts, since=since, until=until, after=after, channels=channels, limit=limit, reverse=reverse
        )
        assert found == expected[:limit]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [90, 400])
def test_pages_by_time_meet_each_row_once(archive, limit: int, reverse: bool):  # noqa: FBT001 - a parameter of pytest
    directory, parts, rows = archive
    met: list[StoredRow] = []
    while page := rows_by_time(
        directory,
        parts,
        since=0,
        until=2**62,
        after=by_time(met[-1]) if met else None,
        limit=limit,
        reverse=reverse,
    ):
        met += page
    assert met == sorted(rows, key=by_time, reverse=reverse)


# Paths


@pytest.mark.parametrize("channel", HOSTILE)
def test_no_channel_leaves_its_directory(tmp_path: Path, channel: str):
    path = part_path("2023-11-15", channel, 1, 2, 3)
    date, name, file = path.split("/")
    assert (date, file) == ("date=2023-11-15", "1-2-3.parquet")
    assert name.startswith("channel=")
    assert all(0x20 < ord(letter) < 0x7F for letter in name)
    assert len(name) < 255
    assert (tmp_path / path).resolve().parent.parent.parent == tmp_path.resolve()


def test_a_channel_is_percent_encoded_and_gaps_have_a_place_of_their_own():
    assert part_path("2023-11-15", "codeworm:logs", 1, 2, 3) == "date=2023-11-15/channel=codeworm%3Alogs/1-2-3.parquet"
    assert part_path("2023-11-15", "", 1, 2, 3) == "date=2023-11-15/channel=gaps/1-2-3.parquet"
    for channel in HOSTILE:
        if len(channel) < 200 and not channel.startswith("__HIVE"):
            assert unquote(part_path("2023-11-15", channel, 1, 2, 3).split("/")[1]) == f"channel={channel}"


def test_long_names_that_begin_alike_differ():
    names = [part_path("2023-11-15", "✓" * length, 1, 2, 3).split("/")[1] for length in (23, 100, 101, 5000)]
    assert len(set(names)) == 4
    assert all(len(name) < 255 for name in names)
    assert all(unquote(name, errors="strict").startswith("channel=✓✓✓") for name in names)


@pytest.mark.parametrize("name", ["[a]*?{b}", "it's", "a=b", "date=2000-01-01", "✓ ü", 'q"'])
def test_the_archive_may_be_anywhere(tmp_path: Path, name: str):
    rows = make_rows(1, 100)
    parts = make_parts(tmp_path / name, rows)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / name)
    for directory in (tmp_path / name, link, tmp_path / name / ".." / name):
        assert rows_by_offset(directory, parts, after=0, limit=1000) == rows


# What goes wrong


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"PAR1" + random.Random(1).randbytes(5000) + b"PAR1")


def _other(path: Path) -> None:
    with connect(path.parent.resolve()) as duck:
        duck.execute(f"COPY (SELECT 1 AS x) TO '{path}' (FORMAT parquet)")


@pytest.mark.parametrize("spoil", [Path.unlink, _cut, _empty, _garbage, _other])
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path, spoil):
    rows = make_rows(1, 50)
    parts = [part for part in make_parts(tmp_path, rows) if part.channel == CHANNELS[0]]
    kept = rows_by_offset(tmp_path, parts, after=0, limit=100)
    path = tmp_path / parts[0].path
    whole = path.read_bytes()
    spoil(path)
    for read in (
        lambda: rows_by_offset(tmp_path, parts, after=0, limit=100),
        lambda: rows_by_time(tmp_path, parts, since=0, until=2**62, limit=100, reverse=True),
        lambda: offsets_within(tmp_path, parts[0], 0, 100),
    ):
        with pytest.raises(ArchiveDamagedError) as caught:
            read()
        assert caught.value.path == path
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    assert rows_by_offset(tmp_path, parts, after=0, limit=100) == kept


def test_a_file_with_rows_twice_is_damaged(tmp_path: Path):
    rows = [StoredRow(1, offset, NOON, CHANNELS[0], None, b"{}") for offset in (1, 2)]
    (part,) = make_parts(tmp_path, rows)
    path = tmp_path / part.path
    with connect(tmp_path.resolve()) as duck:
        duck.execute(f"CREATE TABLE held AS FROM read_parquet('{path}', hive_partitioning = false)")
        duck.execute(f"COPY (FROM held UNION ALL FROM held) TO '{path}' (FORMAT parquet)")
    with pytest.raises(ArchiveDamagedError, match="twice"):
        rows_by_offset(tmp_path, [part], after=0, limit=10)


def test_without_duckdb_it_is_told_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parts = make_parts(tmp_path, make_rows(1, 5))
    monkeypatch.setitem(sys.modules, "duckdb", None)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "date=2023-11-15")
    with pytest.raises(ArchiveError, match=r"pip install 'codeworm-monitor\[analysis\]'"):
        rows_by_offset(tmp_path / "elsewhere", parts, after=0, limit=10)


def test_reading_reaches_nothing_but_the_archive(tmp_path: Path):
    import duckdb

    (tmp_path / "archive").mkdir()
    (tmp_path / "secret").write_text("secret")
    with connect(tmp_path / "archive") as duck:
        for statement in (
            f"SELECT * FROM read_text('{tmp_path}/secret')",
            f"SELECT * FROM read_text('{tmp_path}/archive/../secret')",
            f"ATTACH '{tmp_path}/other.duckdb'",
            "INSTALL httpfs",
            "SET enable_external_access = true",
            "SET memory_limit = '8GB'",
        ):
            with pytest.raises(duckdb.Error):
                duck.execute(statement)


def test_threads_read_at_one_time(archive):
    directory, parts, rows = archive
    expected = sorted(rows, key=by_time)
    answers: list[object] = []

    def read() -> None:
        answers.extend(rows_by_time(directory, parts, since=0, until=2**62, limit=10_000) == expected for _ in range(3))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 12
