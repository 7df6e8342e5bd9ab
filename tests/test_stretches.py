"""Stretches: what lies in the database and in files comes as columns, whole and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.archives import DAY, fill

from codeworm_monitor import stretches
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.store import Store
from codeworm_monitor.stored import Messages
from codeworm_monitor.stretches import Selection, read_stretches

T = 1e9
EVER = 2**60


def rows(
    directory: Path, since: int = 0, until: int = EVER, selection: Selection | None = None
) -> list[tuple[Any, ...]]:
    with ArchiveReader(directory) as reader:
        found = list(read_stretches(reader, since, until, selection or Selection()))
    return [
        (one["offset"], one["received_at"], one["channel"], one["mark"], one["payload"])
        for stretch in found
        for one in whole(stretch.messages)
    ]


def whole(messages: Messages) -> list[dict[str, Any]]:
    """Return messages with their payloads, in the order of the log."""
    found = messages.around.to_pylist()
    for places, payloads in messages.pieces:
        for place, payload in zip(places.tolist(), payloads.to_pylist(), strict=True):
            assert "payload" not in found[place]
            found[place]["payload"] = payload
    return found


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(tmp_path / "archive")
    yield made
    made.close()


def test_small_stretches_add_up_to_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, [(T + n * 7_000, f"x:{'logs' if n % 3 else 'events'}", {"n": n}) for n in range(100)])
    compact(store, now=T + 5 * DAY, max_rows=5)
    whole = rows(store.directory)
    assert [row[0] for row in whole] == list(range(1, 101))
    monkeypatch.setattr(stretches, "HOT_ROWS", 3)
    monkeypatch.setattr(stretches, "COLD_ROWS", 4)
    assert rows(store.directory) == whole
    since, until = whole[10][1], whole[90][1]
    assert rows(store.directory, since, until) == whole[10:90]


def test_rows_of_one_microsecond_are_not_cut_apart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "HOT_ROWS", 3)
    fill(store, [(T, "x:logs", {"n": n}) for n in range(10)])
    assert [row[0] for row in rows(store.directory)] == list(range(1, 11))


@pytest.mark.parametrize("is_cold", [False, True])
def test_line_feeds_in_payloads_and_channels_keep_rows_apart(store: Store, *, is_cold: bool) -> None:
    fill(store, [(T, "a\nb", b'{"n":\n 1}'), (T, "c", b'{"n": 2}'), (T, "a\nb", b"not\njson")])
    if is_cold:
        compact(store)
    found = rows(store.directory)
    assert [row[2] for row in found] == ["a\nb", "c", "a\nb"]
    assert [row[3] for row in found] == [None, None, "raw"]
    assert [row[4] for row in found] == [b'{"n":  1}\n', b'{"n": 2}\n', b'{"raw":"not\\njson"}\n']


def test_rows_too_large_to_be_joined_are_read_one_by_one(store: Store) -> None:
    fill(store, [(T, "x:logs", {"n": n}) for n in range(10)])
    with ArchiveReader(store.directory) as reader:
        reader.database.setlimit(0, 50)  # SQLITE_LIMIT_LENGTH
        (stretch,) = read_stretches(reader, 0, EVER, Selection())
    assert len(whole(stretch.messages)) == 10


def test_only_the_channels_wanted_are_read(store: Store) -> None:
    names = ["x:logs", "logs", "x:LOGS", "y:events", "x:logs2", "", "%:logs"]
    fill(store, [(T, name or "z", {}) for name in names])
    for is_cold in (False, True):
        if is_cold:
            compact(store)
        assert {row[2] for row in rows(store.directory, selection=Selection.of("logs"))} == {"x:logs", "logs", "%:logs"}
        assert {row[2] for row in rows(store.directory, selection=Selection.of(["z", "events"]))} == {"z", "y:events"}


def test_the_newest_offsets_are_those_of_the_same_moment(store: Store) -> None:
    fill(store, [(T + n * DAY, "x:logs", {}) for n in range(5)])
    compact(store, now=T + 2.5 * DAY)
    fill(store, [(T, "x:logs", {})])
    compact(store)
    with ArchiveReader(store.directory) as reader:
        *_, last = read_stretches(reader, 0, EVER, Selection())
        assert sorted(offset for offset, _ in last.newest.values()) == [1, 5]
