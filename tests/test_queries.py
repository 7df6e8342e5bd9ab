"""Queries: SQL sees all rows of one moment, with the meaning of the frames, and writes nothing."""

from __future__ import annotations

import io
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from support.archives import DAY, fill, recorded_messages

from codeworm_monitor import progress
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.store import Store
from codeworm_monitor.columns import GAP_LAYOUT, LAYOUTS
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.monitor import open_recording
from codeworm_monitor.opened import open_archive
from codeworm_monitor.queries import ArchiveQueries
from codeworm_monitor.records import Kind

T = 1_795_384_606.25


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(tmp_path / "it's [an] archive", check_same_thread=False)
    yield made
    made.close()


@pytest.mark.parametrize("is_cold", [False, True])
@pytest.mark.parametrize("kind", Kind)
def test_the_views_say_what_the_frames_say(store: Store, recording: Path, kind: Kind, *, is_cold: bool) -> None:
    messages = recorded_messages(recording)
    fill(store, messages)
    if is_cold:
        compact(store, now=messages[-1][0] + 3 * DAY, max_rows=100)
    archive = open_archive(store.directory)
    frame = archive.history(since="2026-01-01").channel(kind).df
    found = archive.sql(f'SELECT * FROM {kind} ORDER BY "offset"')
    assert list(found) == [column.name for column in LAYOUTS[kind].columns if column.name != "extra"] + ["payload"]
    for name in list(found)[:-1]:
        pd.testing.assert_series_equal(
            found[name], frame[name].astype("str") if found[name].dtype == "str" else frame[name], check_dtype=False
        )
    payloads = [payload for _, channel, payload in messages if channel.endswith(f":{kind}")]
    assert [text.encode() for text in found.payload] == payloads


HOSTILE = [
    *([3, 2.5, True, None, "text", [1], {"a": 1}, 2**63, 2**64, -(2**63), "2026-11-22T21:56:46.5Z"]),
    *(["infinity", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "1e5", "-7", "x\x00y", "\u2028<script>", 1e300]),
]


@pytest.mark.parametrize("is_cold", [False, True])
def test_what_has_another_type_is_null_and_fails_no_query(store: Store, *, is_cold: bool) -> None:
    names = [
        "event",
        "level",
        "target",
        "tokens",
        "time_ms",
        "timestamp",
        "cycle_num",
        "error",
        "by_repo",
        "data",
        "time",
    ]
    messages = [
        (T, f"x:{kind}", dict.fromkeys([*names, "type"], value)) for value in HOSTILE for kind in Kind if value != 2**64
    ]
    messages += [
        (T, f"x:{kind}", {"type": "t", "data": dict.fromkeys(names, value)})
        for value in HOSTILE
        for kind in Kind
        if value != 2**64
    ]
    messages += [
        (T, f"x:{kind}", payload)
        for payload in (b"null", b"12", b'"x"', b"[1]", b"not json", b"\xff", b"[" * 900)
        for kind in Kind
    ]
    fill(store, messages)
    if is_cold:
        compact(store)
    archive = open_archive(store.directory)
    for kind in Kind:
        frame = archive.history(since="2026-01-01").channel(kind).df
        found = archive.sql(f'SELECT * FROM {kind} ORDER BY "offset"')
        for column in LAYOUTS[kind].columns:
            if column.name != "extra":
                one, other = found[column.name], frame[column.name].astype(found[column.name].dtype)
                pd.testing.assert_series_equal(one, other, check_dtype=False)
    for view in ("gaps", "documents", "cycles", "messages"):
        archive.sql(f"FROM {view}")


def test_new_rows_are_seen_and_moved_rows_are_not_seen_twice(store: Store) -> None:
    queries = ArchiveQueries(store.directory)
    count = 'SELECT count(*) AS n, count(DISTINCT "offset") AS d FROM messages'
    assert queries.sql(count).n.tolist() == [0]
    key = fill(store, [(T + n * DAY / 10, "x:logs", {"n": n}) for n in range(30)])
    assert queries.sql(count).n.tolist() == [30]
    compact(store, now=T + 2 * DAY)
    assert queries.sql(count).to_numpy().tolist() == [[30, 30]]
    fill(store, [(T + 4 * DAY, "x:logs", {}) for _ in range(5)], epoch=key, first=31)
    assert queries.sql(count).to_numpy().tolist() == [[35, 35]]
    compact(store, now=T + 9 * DAY)
    assert queries.sql(count).to_numpy().tolist() == [[35, 35]]
    assert queries.sql("SELECT count(*) AS n FROM hot").n.tolist() == [0]
    queries.close()
    queries.close()


def test_rows_that_come_or_go_in_the_midst_are_noticed(store: Store) -> None:
    queries = ArchiveQueries(store.directory)
    key = fill(store, [(T + n, "x:logs", {}) for n in range(10)], first=11)
    offsets = 'SELECT "offset" FROM logs ORDER BY 1'
    assert queries.sql(offsets).offset.tolist() == list(range(11, 21))
    fill(store, [(T, "x:logs", {}) for _ in range(10)], epoch=key, first=1)
    assert queries.sql(offsets).offset.tolist() == list(range(1, 21))
    with store.transaction() as database:
        database.execute("DELETE FROM entries WHERE offset IN (1, 20)")
    assert queries.sql(offsets).offset.tolist() == list(range(2, 20))
    with store.transaction() as database:
        database.execute("DELETE FROM entries")
    assert queries.sql(offsets).empty
    queries.close()


@pytest.mark.parametrize("is_cold", [False, True])
def test_gaps_are_those_of_the_frames(store: Store, *, is_cold: bool) -> None:
    gaps = [
        Gap(cause=GapCause.SOURCE_OUTAGE, started_at=T, ended_at=T + 1.5, offset=1, detail='gone "away"'),
        Gap(cause=GapCause.NOT_ARCHIVED, started_at=T, ended_at=T + 2, offset=2, first_offset=2, last_offset=7),
        Gap(cause=GapCause.RELAY_RESTART, started_at=T, ended_at=T + 3, offset=3, first_offset=8, last_offset=2**24),
    ]
    fill(store, [(gap.ended_at, "", gap) for gap in gaps])
    if is_cold:
        compact(store)
    archive = open_archive(store.directory)
    found, frame = archive.sql('FROM gaps ORDER BY "offset"'), archive.history().gaps
    assert list(found) == [column.name for column in GAP_LAYOUT.columns]
    for name in found:
        pd.testing.assert_series_equal(found[name], frame[name].astype(found[name].dtype), check_dtype=False)


def test_documents_and_cycles_are_those_of_the_recording(store: Store, recording: Path) -> None:
    messages = recorded_messages(recording)
    fill(store, messages)
    compact(store, now=messages[len(messages) // 2][0] + DAY)
    payloads = [orjson.loads(payload) for _, _, payload in messages]
    commits = [one["data"] for one in payloads if one.get("type") == "documentation_committed"]
    archive = open_archive(store.directory)
    documents = archive.sql("FROM documents ORDER BY received_at")
    assert documents["commit"].tolist() == [one["commit"] for one in commits]
    cycles = archive.sql("FROM cycles ORDER BY started_at")
    starts = [one for one in payloads if one.get("event") == "cycle_starting"]
    assert cycles.cycle_num.tolist() == [one["cycle_num"] for one in starts]
    assert cycles["commit"].dropna().tolist() == [one["commit"] for one in commits]
    for event, outcome in (("llm_error", "llm_error"), ("documentation_failed", "failed")):
        errors = [one["error"] for one in payloads if one.get("event") == event]
        assert cycles[cycles.outcome == outcome].error.tolist() == errors
    assert (cycles.ended_at >= cycles.started_at).sum() >= len(cycles) - 1


def cycle(number: int, at: float, *steps: dict[str, Any], both: bool = True) -> list[tuple[float, str, Any]]:
    started = [(at, "c:logs", {"event": "cycle_starting", "cycle_num": number})]
    if both:
        started.append((at + 0.001, "c:events", {"type": "cycle_starting", "data": {"cycle_num": number}}))
    return started + [(at + index + 1, "c:logs", step) for index, step in enumerate(steps)]


def test_a_cycle_ends_as_its_last_words_say(store: Store) -> None:
    doing = {"event": "documenting", "target": "f", "repo": "r", "doc_type": "til"}
    fill(
        store,
        [
            *cycle(1, T, doing, {"event": "documentation_committed", "commit": "abc", "tokens": 5, "time_ms": 7}),
            *cycle(2, T + 10, doing, {"event": "llm_error", "error": "no memory"}),
            *cycle(3, T + 20, doing, {"event": "documentation_failed", "error": "no ref"}, both=False),
            *cycle(4, T + 30, {"event": "cycle_skipped_no_candidates", "repos_exhausted": ["r"]}),
            *cycle(5, T + 40, doing, {"event": "dry_run_complete", "target": "f", "tokens": 6}),
            *cycle(6, T + 50, doing),
            *cycle(1, T + 60, doing, {"event": "daemon_stopped"}),
            *cycle(1, T + 70, doing),
        ],
    )
    found = open_archive(store.directory).sql("FROM cycles ORDER BY started_at")
    outcomes = ["committed", "llm_error", "failed", "skipped", "dry_run", "interrupted", "interrupted", "running"]
    assert found.outcome.tolist() == outcomes
    assert found.cycle_num.tolist() == [1, 2, 3, 4, 5, 6, 1, 1]
    assert found.error.dropna().tolist() == ["no memory", "no ref"]
    assert found.tokens.dropna().tolist() == [5, 6]
    assert [(time.timestamp() - T) for time in found.ended_at[:7]] == [2, 12, 22, 31, 42, 60, 62]
    assert found.ended_at.isna().tolist() == [False] * 7 + [True]
    assert found.target.tolist()[:2] == ["f", "f"]
    assert pd.isna(found.target[3])


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT nope FROM logs", 'column "nope" not found'),
        ("FROM nowhere", "nowhere does not exist"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("", "one SELECT"),
        ("COPY (SELECT 1) TO '{directory}/x.parquet'", "one SELECT"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{directory}/x.parquet'", "one SELECT"),
        ("CREATE TABLE t (x INT)", "one SELECT"),
        ("DELETE FROM hot", "one SELECT"),
        ("ATTACH '{directory}/archive.sqlite'", "one SELECT"),
        ("SET threads = 1", "one SELECT"),
        ("INSTALL sqlite", "one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "nothing but the archive"),
        ("SELECT * FROM read_text('{directory}/../*')", "nothing but the archive"),
        ("SELECT * FROM glob('/etc/*')", "nothing but the archive"),
        ("SELECT * FROM 'https://example.org/x.parquet'", "[a-z]"),
        ("SELECT * FROM query", "does not exist"),
        ("SELECT CAST('x' AS INTEGER)", "Could not convert"),
        ("SELECT ?", "parameter"),
    ],
)
def test_what_is_no_plain_query_is_refused(store: Store, query: str, error: str) -> None:
    archive = open_archive(store.directory)
    before = sorted(path.name for path in store.directory.iterdir())
    with pytest.raises(ValueError, match=error) as raised:
        archive.sql(query.replace("{directory}", str(store.directory).replace("'", "''")))
    assert "LINE 1" not in str(raised.value)
    assert sorted(path.name for path in store.directory.iterdir()) == before


def test_parameters_are_values(store: Store) -> None:
    fill(store, [(T, "x:logs", {"event": "'; DROP"}), (T, "x:logs", {"event": "b"})])
    archive = open_archive(store.directory)
    assert archive.sql('SELECT "offset" FROM logs WHERE event = ?', ["'; DROP"]).offset.tolist() == [1]
    assert archive.sql('SELECT "offset" FROM logs WHERE event = $name', {"name": "b"}).offset.tolist() == [2]


def test_frames_have_ordinary_dtypes(store: Store) -> None:
    frame = open_archive(store.directory).sql(
        "SELECT 'a' AS s, TIMESTAMPTZ '2026-11-22 00:00:00+00' AS t, sum(range) AS big, 1.5::DECIMAL(4, 2) AS d, 1 AS i, "
        """'{"a":1}'::JSON AS j FROM range(3)"""
    )
    assert frame.dtypes.astype(str).tolist() == ["str", "datetime64[us, UTC]", "int64", "float64", "int32", "str"]


@pytest.mark.parametrize("part", ["second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade"])
def test_date_trunc_is_that_of_duckdb(store: Store, part: str) -> None:
    fill(store, [(T + n * 1_234_567.89, "x:logs", {}) for n in range(-500, 500)])
    archive = open_archive(store.directory)
    found = archive.sql(
        f"SELECT date_trunc('{part}', received_at) AS ours, system.main.date_trunc('{part}', received_at) AS theirs, "
        f"date_trunc('{part}', DATE '2026-11-22') AS day, date_trunc('{part}', TIMESTAMP '2026-11-22 01:02:03') AS t FROM logs"
    )
    assert len(found) == 1000
    assert (found.ours == found.theirs).all()
    assert found.ours.dtype == "datetime64[us, UTC]"


def test_any_thread_may_ask(store: Store) -> None:
    fill(store, [(T, "x:logs", {})] * 10)
    archive = open_archive(store.directory)
    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(archive.sql, "SELECT count(*) AS n FROM logs") for _ in range(20)]
    assert {one.result().n[0] for one in counts} == {10}
    assert threading.active_count() < 20


def test_over_live_tables_alone_the_views_are_those(recording: Path) -> None:
    live = open_recording(recording)
    queries = ArchiveQueries(None, live=live._intake)
    frame = live.logs.df
    found = queries.sql('SELECT * FROM logs ORDER BY "offset"')
    assert found.offset.tolist() == frame.offset.tolist()
    assert found.timestamp.tolist() == frame.timestamp.tolist()
    assert found.payload.isna().all()
    assert queries.sql("SELECT count(*) AS n FROM documents").n[0] == len(
        live.events.where(type="documentation_committed")
    )
    assert len(queries.sql("FROM cycles")) == len(live.logs.where(event="cycle_starting"))
    assert queries.sql("FROM gaps").empty
    with pytest.raises(ValueError, match="nothing but the archive"):
        queries.sql("SELECT * FROM read_csv('/etc/passwd')")
    queries.close()


def test_differences_of_times_are_durations(tmp_path):
    store = Store(tmp_path)
    fill(store, [(1000.0, "codeworm:logs", {"event": "a"}), (1090.5, "codeworm:logs", {"event": "b"})])
    store.close()
    with ArchiveQueries(tmp_path) as queries:
        frame = queries.sql("SELECT received_at - lag(received_at) OVER (ORDER BY received_at) AS silence FROM logs")
        assert frame.silence.dtype == "timedelta64[us]"
        assert frame.silence.dt.total_seconds().tolist()[1] == 90.5
        assert queries.sql("SELECT INTERVAL 3 months AS quarter").quarter[0].months == 3


def test_a_long_reading_shows_how_far_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    fill(store, [(T, "codeworm:logs", {"event": "a"})])
    terminal = Terminal()
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    with open_archive(store.directory) as archive:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert archive.sql("SELECT count(*) FROM logs").iloc[0, 0] == 1
    assert "reading the archive: 100%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
