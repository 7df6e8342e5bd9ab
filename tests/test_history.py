"""Histories: the rows of a span that fulfil conditions, and how they are asked for."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from support.archives import fill, recorded_messages

from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.store import Store
from codeworm_monitor.decoding import Decoder
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.history import Wish, archived_history
from codeworm_monitor.opened import Archive, open_archive

T = 1e9
MESSAGES: list[tuple[float, str, Any]] = [
    (T + 1, "codeworm:logs", {"event": "one", "level": "info", "component": "daemon"}),
    (T + 2, "codeworm:events", {"type": "generating", "data": {"repo": "r", "target": "Timeout"}}),
    (T + 3, "codeworm:logs", {"event": "two", "level": "ERROR", "component": "other", "error": "a timeout"}),
    (T + 4, "other:logs", {"event": "three", "x": "a timeout within"}),
    (T + 5, "", Gap(cause=GapCause.SOURCE_OUTAGE, started_at=T + 4.5, ended_at=T + 5, offset=5, detail="gone")),
    (T + 6, "codeworm:stats", {"total_cycles": 3}),
    (T + 7, "codeworm:relay", {"event": "reader_connected", "level": "info"}),
]


@pytest.fixture(params=[False, True], ids=["hot", "cold"])
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> Archive:
    store = Store(tmp_path / "archive")
    fill(store, MESSAGES)
    if request.param:
        compact(store)
    store.close()
    return open_archive(tmp_path / "archive")


def found(archive: Archive, **asked: Any) -> dict[str, list[int]]:
    history = archive.history(**asked)
    return {name: history.channel(name).df.offset.tolist() for name, count in history.channels.items() if count}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"logs": [1, 3, 4], "events": [2], "stats": [6], "codeworm:relay": [7]}),
        ({"channel": "logs"}, {"logs": [1, 3, 4]}),
        ({"channel": "codeworm:logs"}, {"logs": [1, 3]}),
        ({"channel": ["codeworm:relay", "events"]}, {"codeworm:relay": [7], "events": [2]}),
        ({"channel": "logs-not"}, {}),
        ({"level": ">=warning"}, {"logs": [3]}),
        ({"level": "error"}, {"logs": [3]}),
        ({"level": "!=error"}, {"logs": [1, 4], "events": [2], "stats": [6], "codeworm:relay": [7]}),
        ({"component": "daemon"}, {"logs": [1]}),
        ({"repo": "r"}, {"events": [2]}),
        ({"repo": ["r", "s"], "level": ">=debug"}, {}),
        ({"text": "TIMEOUT"}, {"logs": [3, 4], "events": [2]}),
        ({"limit": 3}, {"logs": [1, 3], "events": [2]}),
        ({"limit": 2, "channel": "logs"}, {"logs": [1, 3]}),
        ({"limit": 100}, {"logs": [1, 3, 4], "events": [2], "stats": [6], "codeworm:relay": [7]}),
    ],
)
def test_what_is_asked_for_is_found(archive: Archive, asked: dict[str, Any], expected: dict[str, list[int]]) -> None:
    assert found(archive, **asked) == expected


def test_the_gaps_come_in_any_case(archive: Archive) -> None:
    gaps = archive.history(channel="stats", level="error").gaps
    assert gaps.detail.tolist() == ["gone"]
    assert gaps.offset.tolist() == [5]
    assert gaps.ended_at[0] == pd.Timestamp(T + 5, unit="s", tz="UTC")
    assert archive.history(until=pd.Timestamp(T + 5, unit="s")).gaps.empty


def test_where_a_limit_cut_it_the_next_history_goes_on(archive: Archive) -> None:
    first = archive.history(limit=3)
    assert first.is_cut
    assert first.gaps.empty
    rest = archive.history(since=first.until)
    assert not rest.is_cut
    assert rest.logs.df.offset.tolist() == [4]
    assert len(rest.gaps) == 1


def test_df_is_the_frame_of_the_one_channel_asked_for(archive: Archive) -> None:
    assert archive.history(channel="events").df.target.tolist() == ["Timeout"]
    assert archive.history(channel=["codeworm:logs", "other:logs"]).df.offset.tolist() == [1, 3, 4]
    assert archive.history(channel="codeworm:relay").df.event.tolist() == ["reader_connected"]
    assert archive.history(channel="nowhere").df.empty
    with pytest.raises(ValueError, match=r"several .*\.logs\.df"):
        _ = archive.history().df


def test_a_history_reads_as_text_and_its_html_is_inert(tmp_path: Path) -> None:
    store = Store(tmp_path / "archive")
    fill(store, [(T, "<img src=x>", {}), (T, "a\nb", {})])
    store.close()
    history = open_archive(store.directory).history(since="2001-09-09", until="2001-09-10")
    assert repr(history) == (
        "<History 2001-09-09 00:00:00 to 2001-09-10 00:00:00 UTC: 0 logs, 0 events, 0 stats, 1 <img src=x>, 1 'a\\nb'>"
    )
    assert "<img" not in history._repr_html_()
    assert repr(open_archive(store.directory).history(since="2001-09-09")).startswith(
        "<History 2001-09-09 00:00:00 UTC on: 0 logs"
    )


def test_its_tables_tell_like_the_live_ones(archive: Archive) -> None:
    logs = archive.history().logs
    assert logs.where(level=">=warning").event.tolist() == ["two"]
    assert logs.tail(1).event.tolist() == ["three"]
    assert logs.arrow().num_rows == len(logs) == 3
    assert logs.dropped == 0


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"since": "sometime"}, "is no time"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "is not after"),
        ({"limit": 0}, "limit"),
        ({"level": "eror"}, "level is one of"),
        ({"channel": 5}, "not iterable"),
        ({"channel": [5]}, "channel is a string"),
        ({"text": 5}, "text is a string"),
    ],
)
def test_what_cannot_be_asked_is_refused(archive: Archive, asked: dict[str, Any], error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        archive.history(**asked)


def test_durations_count_back_from_now_and_the_default_from_the_newest() -> None:
    wish = Wish.of("1h", None, None, None, now=T, newest=T - 100)
    assert wish.since == (T - 3600) * 1_000_000
    assert Wish.of(None, None, None, None, now=T, newest=T - 100).since == (T - 100 - 86_400) * 1_000_000


def test_rows_of_several_numberings_come_in_the_order_of_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "archive")
    fill(store, [(T + n, "x:logs", {"n": n}) for n in (0, 4, 2)])  # the clock was set back
    fill(store, [(T + n, "x:logs", {"n": n}) for n in (1, 2, 3)])
    store.close()
    frame = open_archive(store.directory).history().logs.df
    assert [(time.timestamp() - T, offset) for time, offset in zip(frame.received_at, frame.offset, strict=True)] == [
        (0, 1), (1, 1), (2, 3), (2, 2), (3, 3), (4, 2)
    ]  # fmt: skip
    assert frame.epoch.nunique() == 2


def test_what_interrupts_it_leaves_no_thread_that_reads_on(
    tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback that somebody keeps holds what was suspended: its threads must have ended all the same."""
    with closing(Store(tmp_path)) as store:
        fill(store, recorded_messages(recording))
    monkeypatch.setattr("codeworm_monitor.stretches.HOT_ROWS", 50)
    seen = 0

    def finish(self: Decoder, parsed: object) -> dict[str, pa.RecordBatch]:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(Decoder, "finish", finish)
    with closing(ArchiveReader(tmp_path, check_same_thread=False)) as reader:
        wish = Wish.of("2026-01-01", None, None, None, time.time())
        with pytest.raises(KeyboardInterrupt) as kept:
            archived_history(reader, wish)
        assert kept.value.__traceback__ is not None
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("history:")]
