"""An archive opened on its own, while others write to it or not."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.archives import DAY, fill, recorded_messages

import codeworm_monitor
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.store import Store
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError
from codeworm_monitor.monitor import open_recording
from codeworm_monitor.opened import Archive, open_archive

VARYING = ["epoch", "offset"]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(tmp_path / "archive", check_same_thread=False)
    yield made
    made.close()


def end_of(messages: Any) -> float:
    return float(max(time for time, *_ in messages))


@pytest.mark.parametrize("is_cold", [False, True])
def test_the_frames_are_those_of_a_live_monitor(store: Store, recording: Path, *, is_cold: bool) -> None:
    messages = recorded_messages(recording)
    fill(store, messages)
    if is_cold:
        compact(store, now=end_of(messages) + 3 * DAY, max_rows=100)
    history = open_archive(store.directory).history(since="2026-01-01")
    live = open_recording(recording)
    for ours, theirs in ((history.logs, live.logs), (history.events, live.events), (history.stats, live.stats)):
        pd.testing.assert_frame_equal(
            ours.df.drop(columns="epoch"), theirs.df.drop(columns="epoch"), check_categorical=False
        )
        assert ours.df.dtypes.astype(str).tolist() == theirs.df.dtypes.astype(str).tolist()
    assert len(history) == len(messages)


def test_a_span_is_half_open_and_by_default_the_last_day(store: Store) -> None:
    fill(store, [(1e9 + hour * 3600, "x:logs", {"event": f"e{hour}"}) for hour in range(48)])
    with open_archive(store.directory) as archive:
        assert archive.history().logs.df.event.tolist() == [f"e{hour}" for hour in range(23, 48)]
        some = archive.history(since=pd.Timestamp(1e9, unit="s"), until=pd.Timestamp(1e9 + 7200, unit="s"))
        assert some.logs.df.event.tolist() == ["e0", "e1"]
        assert (some.since.timestamp(), some.until.timestamp()) == (1e9, 1e9 + 7200)


def test_it_tells_what_it_holds(store: Store) -> None:
    archive = open_archive(store.directory)
    assert repr(archive) == f"<Archive '{store.directory}': empty>"
    assert archive.span is None
    fill(store, [(1e9, "x:logs", {}), (1e9 + 1, "<script>", {}), (1e9 + 2, "x:logs", {})])
    assert archive.channels == {"<script>": 1, "x:logs": 2}
    assert archive.span is not None
    assert [time.timestamp() for time in archive.span] == [1e9, 1e9 + 2]
    assert "2001-09-09 01:46 to 2001-09-09 01:46 UTC, 1 <script>, 2 x:logs" in repr(archive)
    assert "<script>" not in archive._repr_html_()
    compact(store)
    assert archive.channels == {"<script>": 1, "x:logs": 2}


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="holds no archive"):
        open_archive(tmp_path)


def test_without_a_path_it_is_this_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(ArchiveError, match=str(tmp_path / "codeworm_monitor" / "archive")):
        open_archive()


def test_a_closed_one_says_so(store: Store) -> None:
    archive = open_archive(store.directory)
    archive.sql("SELECT 1")
    archive.close()
    archive.close()
    for ask in (archive.history, lambda: archive.sql("SELECT 1")):
        with pytest.raises(ArchiveError, match="was closed"):
            ask()
    assert "was closed" in repr(archive)


def test_a_missing_part_is_named(store: Store) -> None:
    fill(store, [(1e9, "x:logs", {"event": "e"})])
    compact(store)
    (path,) = store.directory.rglob("*.parquet")
    path.unlink()
    archive = open_archive(store.directory)
    for ask in (archive.history, lambda: archive.sql("SELECT event FROM logs")):
        with pytest.raises(ArchiveDamagedError, match=path.name):
            ask()


def test_a_damaged_part_is_named(store: Store) -> None:
    fill(store, [(1e9, "x:logs", {"event": "e"})])
    compact(store)
    (path,) = store.directory.rglob("*.parquet")
    path.write_bytes(os.urandom(500))
    with pytest.raises(ArchiveDamagedError, match=path.name):
        open_archive(store.directory).history()


def test_reading_beside_a_writer_and_compactions_meets_each_row_once(store: Store) -> None:
    days, of_day = 6, 300
    fill(store, [(1e9 + day * DAY + n, "x:logs", {"event": "e", "n": n}) for day in range(days) for n in range(of_day)])
    archive = open_archive(store.directory)
    is_over = threading.Event()

    def write() -> None:
        try:
            for day in range(days):
                compact(store, now=1e9 + (day + 1) * DAY + 1000, max_rows=70)
                fill(store, [(1e9 + days * DAY + day, "x:events", {"type": "t"})])
        finally:
            is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    rounds = 0
    while not is_over.is_set() or rounds < 2:
        assert archive.history(since="2001-01-01").logs.df.offset.tolist() == list(range(1, days * of_day + 1))
        (counted,) = archive.sql('SELECT count(*), count(DISTINCT "offset") FROM logs').to_numpy().tolist()
        assert counted == [days * of_day, days * of_day]
        rounds += 1
    writer.join()
    assert archive.sql("SELECT count(*) AS n FROM events").n.tolist() == [days]


def test_the_package_exports_them() -> None:
    assert codeworm_monitor.open_archive is open_archive
    assert codeworm_monitor.Archive is Archive
