from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from support.waiting import eventually
from support.worm_database import make_database, row, writer

from codeworm_monitor import dashboard_api
from codeworm_monitor.dashboard_api import PATHS, DashboardAPI
from codeworm_monitor.errors import SettingError
from codeworm_monitor.snippets import SnippetFile

DATA = Path(__file__).parent / "data"
EVENING = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
"""After the last of the recorded database."""
LANGUAGES = {".py": "python", ".ts": "typescript", ".tsx": "tsx", ".js": "javascript", ".go": "go", ".rs": "rust"}
RECENT = (
    *("id", "source_repo", "source_file", "function_name", "class_name", "doc_type", "documented_at", "snippet_path"),
    "git_commit",
)
QUESTIONS = sorted(PATHS.keys() - {"/health"})


def api(
    database: Path | None = None, configuration: Path | None = None, *, now: datetime | Callable[[], float] = EVENING
) -> DashboardAPI:
    clock = now.timestamp if isinstance(now, datetime) else now
    return DashboardAPI(
        None if database is None else str(database), None if configuration is None else str(configuration), clock=clock
    )


async def get(answering: DashboardAPI, path: str, query: str = "", status: int = 200) -> Any:
    answer = await answering.answer(path, query)
    assert (answer.status, answer.content_type) == (status, "application/json"), answer.body
    return orjson.loads(answer.body)


def rows_of(database: Path) -> list[dict[str, Any]]:
    """Every row as plain SQLite has it, in the order of recording."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(one) for one in connection.execute("SELECT * FROM documented_snippets ORDER BY rowid")]


def expected_stats(rows: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    def since(days: int) -> int:
        # Texts are compared, as the original does: of the first day, all of it counts.
        return sum(one["documented_at"] > f"{now - timedelta(days=days):%F %T}" for one in rows)

    return {
        "total_documented": len(rows),
        "by_repo": dict(Counter(one["source_repo"] for one in rows)),
        "by_language": dict(Counter(LANGUAGES.get(Path(one["source_file"]).suffix, "other") for one in rows)),
        "by_doc_type": dict(Counter(one["doc_type"] for one in rows)),
        "last_7_days": since(7),
        "last_30_days": since(30),
        "today": sum(one["documented_at"].startswith(f"{now:%F}") for one in rows),
    }


class TestTheRecordedDatabase:
    @pytest.mark.parametrize("days_later", [0, 1, 7, 8, 30, 31])
    async def test_stats(self, days_later: int) -> None:
        now = EVENING + timedelta(days=days_later)
        found = await get(api(DATA / "codeworm.db", now=now), "/stats")
        expected = expected_stats(rows_of(DATA / "codeworm.db"), now)
        assert found == expected
        assert list(found) == list(expected)
        assert list(found["by_repo"]) == sorted(expected["by_repo"])
        assert (found["total_documented"], found["last_7_days"] > 0) == (215, days_later <= 7)

    async def test_repos_in_the_order_of_the_file(self) -> None:
        rows = rows_of(DATA / "codeworm.db")
        listed = yaml.safe_load((DATA / "config/repos.yaml").read_text())["repositories"]
        expected = [
            {
                "name": one["name"],
                "path": one["path"],
                "weight": one.get("weight", 5),
                "enabled": one.get("enabled", True),
                "docs_generated": sum(row["source_repo"] == one["name"] for row in rows),
                "last_activity": max(
                    (row["documented_at"] for row in rows if row["source_repo"] == one["name"]), default=None
                ),
            }
            for one in listed
        ]
        assert await get(api(DATA / "codeworm.db", DATA / "config"), "/repos") == expected
        assert {one["last_activity"] is None for one in expected} == {True, False}

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "limit=1",
            "limit=200",
            "limit=30&offset=200",
            "repo=click",
            "doc_type=til&limit=3",
            "repo=axios&doc_type=til",
        ],
    )
    async def test_recent(self, query: str) -> None:
        asked = dict(pair.split("=") for pair in query.split("&") if pair)
        rows = sorted(rows_of(DATA / "codeworm.db"), key=lambda one: one["documented_at"], reverse=True)
        rows = [one for one in rows if asked.get("repo") in (None, one["source_repo"])]
        rows = [one for one in rows if asked.get("doc_type") in (None, one["doc_type"])]
        start = int(asked.get("offset", 0))
        names = list(RECENT)
        expected = [{name: one[name] for name in names} for one in rows[start : start + int(asked.get("limit", 50))]]
        found = await get(api(DATA / "codeworm.db"), "/recent", query)
        assert found == expected
        assert found
        assert all(list(one) == names for one in found)

    async def test_activity_and_languages(self) -> None:
        rows = rows_of(DATA / "codeworm.db")
        answering = api(DATA / "codeworm.db")
        assert await get(answering, "/activity") == [{"date": "2026-11-22", "count": len(rows)}]
        counts = Counter(LANGUAGES.get(Path(one["source_file"]).suffix, "other") for one in rows)
        assert await get(answering, "/languages") == [
            {"language": language, "count": count, "percentage": round(count / len(rows) * 100, 1)}
            for language, count in counts.most_common()
        ]

    async def test_health(self) -> None:
        assert await get(api(), "/health") == {"status": "healthy"}


async def test_days_count_as_the_original_counts_them_over_months(tmp_path: Path) -> None:
    now = datetime(2026, 3, 15, 11, 20, tzinfo=UTC)
    rows = [row(n, documented_at=(now - timedelta(hours=5 * n)).isoformat()[:19]) for n in range(600)]
    database = make_database(tmp_path / "worm.db", rows)
    answering = api(database, now=now)
    assert await get(answering, "/stats") == expected_stats(rows_of(database), now)
    for days in (1, 2, 30, 90, 365):
        first = f"{now - timedelta(days=days):%F %T}"
        by_day = Counter(one["documented_at"][:10] for one in rows_of(database) if one["documented_at"] > first)
        expected = [{"date": day, "count": count} for day, count in sorted(by_day.items())]
        assert await get(answering, "/activity", f"days={days}") == expected


async def test_times_are_written_as_the_original_writes_them(tmp_path: Path) -> None:
    written = [
        "2026-01-05 10:00:00",
        "2026-01-04T10:00:00.5",
        "2026-01-03T10:00:00+00:00",
        "2026-01-02T10:00:00.000001",
        "0 no time",
    ]
    database = make_database(tmp_path / "worm.db", [row(n, documented_at=text) for n, text in enumerate(written)])
    assert [one["documented_at"] for one in await get(api(database), "/recent")] == [
        "2026-01-05T10:00:00",
        "2026-01-04T10:00:00.500000",
        "2026-01-03T10:00:00Z",
        "2026-01-02T10:00:00.000001",
        "0 no time",
    ]
    assert sum(one["count"] for one in await get(api(database), "/activity", "days=365")) == 4


@pytest.mark.parametrize("path", QUESTIONS)
async def test_without_files_everything_is_zero_or_empty(path: str, tmp_path: Path) -> None:
    nothing = {"total_documented": 0, "by_repo": {}, "by_language": {}, "by_doc_type": {}}
    nothing |= {"last_7_days": 0, "last_30_days": 0, "today": 0}
    for answering in (api(), api(tmp_path / "no/worm.db", tmp_path / "no"), api(make_database(tmp_path / "empty.db"))):
        assert await get(answering, path) == (nothing if path == "/stats" else [])
        (tmp_path / "empty.db").unlink(missing_ok=True)


async def test_a_list_of_repositories_needs_no_database_and_may_say_little(tmp_path: Path) -> None:
    text = 'repositories: [{name: a, path: ~/a}, {name: "\\uD800", weight: much, enabled: no}, {path: nameless}, 7]'
    (tmp_path / "repos.yaml").write_text(text)
    common = {"weight": 5, "docs_generated": 0, "last_activity": None}
    expected = [{"name": "a", "path": "~/a", "enabled": True}, {"name": "?", "path": "", "enabled": False}]
    assert await get(api(None, tmp_path), "/repos") == [common | one for one in expected]


async def test_a_file_of_an_older_version_holds_documents_of_functions(tmp_path: Path) -> None:
    database = make_database(tmp_path / "old.db", [row(n) for n in range(7)], has_doc_type=False)
    answering = api(database)
    assert (await get(answering, "/stats"))["by_doc_type"] == {"function_doc": 7}
    assert {one["doc_type"] for one in await get(answering, "/recent")} == {"function_doc"}
    assert await get(answering, "/recent", "doc_type=til") == []


class Broken:
    """Files that cannot be read, by what is wrong with them."""

    @staticmethod
    def no_database(path: Path) -> str:
        path.write_bytes(b"\x00 some other file \xff" * 1000)
        return "is no SQLite database"

    @staticmethod
    def damaged(path: Path) -> str:
        make_database(path, [row(n) for n in range(2000)])
        text = bytearray(path.read_bytes())
        text[4096:] = b"\xa5" * (len(text) - 4096)
        path.write_bytes(text)
        return "is damaged"

    @staticmethod
    def of_another_program(path: Path) -> str:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE cookies (name TEXT)")
        return "is none of CodeWorm's, or still empty"

    @staticmethod
    def a_directory(path: Path) -> str:
        path.mkdir()
        return "is a directory"

    @staticmethod
    def a_circle(path: Path) -> str:
        path.symlink_to(path)
        return "cannot be "


@pytest.mark.parametrize("path", QUESTIONS)
@pytest.mark.parametrize("how", ["no_database", "damaged", "of_another_program", "a_directory", "a_circle"])
async def test_a_broken_database_is_told_in_plain_words_without_its_path(how: str, path: str, tmp_path: Path) -> None:
    database = tmp_path / "secret-place" / "worm.db"
    database.parent.mkdir()
    reason = getattr(Broken, how)(database)
    told = await get(api(database, DATA / "config"), path, status=503)
    assert reason in told["detail"]
    assert "secret-place" not in told["detail"]
    assert list(told) == ["detail"]


@pytest.mark.parametrize("text", [b"repositories: 7", b"\xff\xfe\x00", b"[" * 10_000, b"a: b: c", b"#" * 300_000])
async def test_a_broken_list_of_repositories_is_told_likewise(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "repos.yaml").write_bytes(text)
    told = await get(api(DATA / "codeworm.db", tmp_path), "/repos", status=503)
    assert "CodeWorm's list of repositories" in told["detail"]
    assert str(tmp_path) not in told["detail"]
    assert (await get(api(DATA / "codeworm.db", tmp_path), "/stats"))["total_documented"] == 215


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_of_another_user_is_told_likewise(tmp_path: Path) -> None:
    database = make_database(tmp_path / "worm.db")
    database.chmod(0)
    assert "may not be read by the user" in (await get(api(database), "/stats", status=503))["detail"]


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def test_a_locked_database_is_told_and_is_read_once_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dashboard_api, "PATIENCE", 0.05)
    caplog.set_level(logging.WARNING)
    database, clock = make_database(tmp_path / "worm.db", [row()]), [1000.0]
    answering = api(database, now=lambda: clock[0])
    with locked(database):
        for _ in range(3):
            told = await get(answering, "/stats", status=503)
            assert told == {
                "detail": "CodeWorm's database stays locked by another program; the relay's log says which file it is."
            }
            clock[0] += 2
    assert [str(database) in record.getMessage() for record in caplog.records] == [True]  # once
    assert (await get(answering, "/stats"))["total_documented"] == 1


async def test_many_who_ask_for_what_cannot_be_read_wait_for_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard_api, "PATIENCE", 0.05)
    reads = counted(monkeypatch)
    database, clock = make_database(tmp_path / "worm.db", [row()]), [1000.0]
    answering = api(database, now=lambda: clock[0])
    with locked(database):
        await asyncio.gather(*(get(answering, "/recent", f"offset={n}", status=503) for n in range(30)))
        assert len(reads) == 1
        clock[0] += 0.5  # the failure is told again, and not put off by being told
        await get(answering, "/recent", status=503)
        clock[0] += 0.6
        await get(answering, "/recent", status=503)
        assert len(reads) == 2


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the database since."""
    reads: list[str] = []
    select = SnippetFile.select

    def counting(self: SnippetFile, query: str, parameters: Any = ()) -> Any:
        reads.append(query)
        return select(self, query, parameters)

    monkeypatch.setattr(SnippetFile, "select", counting)
    return reads


async def test_who_polls_makes_nobody_read_until_the_file_or_the_day_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted(monkeypatch)
    monkeypatch.setattr(dashboard_api, "SETTLED", 0.0)
    clock = [datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC).timestamp()]
    database = make_database(tmp_path / "worm.db", [row(0, documented_at="2026-11-22T10:00:00")])
    shutil.copytree(DATA / "config", tmp_path / "config")
    answering = api(database, tmp_path / "config", now=lambda: clock[0])
    for _ in range(20):
        assert (await get(answering, "/stats"))["today"] == 1
        assert len(await get(answering, "/repos")) == 8
        assert len(await get(answering, "/recent", "limit=1&token=a")) == 1
        assert len(await get(answering, "/recent", "limit=01&token=b")) == 1
    assert len(reads) == 3
    with closing(sqlite3.connect(database)) as worm:
        worm.execute(
            f"INSERT INTO documented_snippets VALUES ({', '.join('?' * 10)})",
            row(1, documented_at="2026-11-22T11:00:00"),
        )
        worm.commit()
    assert (await get(answering, "/stats"))["today"] == 2
    assert len(reads) == 4
    clock[0] += 10  # midnight
    assert (await get(answering, "/stats"))["today"] == 0
    (tmp_path / "config/repos.yaml").write_text("repositories: [{name: click, path: /c}]")
    assert [one["docs_generated"] for one in await get(answering, "/repos")] == [2]
    database.unlink()
    assert (await get(answering, "/stats"))["total_documented"] == 0


async def test_nothing_is_kept_of_a_file_that_may_be_written_to_within_one_tick_of_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard_api, "SETTLED", 1e9)
    reads = counted(monkeypatch)
    answering = api(make_database(tmp_path / "worm.db"))
    for _ in range(3):
        await get(answering, "/stats")
    assert len(reads) == 3


async def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_api, "SETTLED", 0.0)
    database = make_database(tmp_path / "worm.db", [row(n, source_file="x" * 4000) for n in range(200)])
    answering = api(database)
    for offset in range(dashboard_api.MOST_KEPT + 20):
        await get(answering, "/recent", f"limit=1&offset={offset}")
    assert len(answering._kept) == dashboard_api.MOST_KEPT
    assert len(await get(answering, "/recent", "limit=200")) == 200
    assert max(len(kept.body) for kept in answering._kept.values()) <= dashboard_api.LARGEST_KEPT


async def test_more_than_may_wait_are_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_api, "MOST_WAITING", 3)
    answering = api(make_database(tmp_path / "worm.db", [row()]))
    async with answering._turn:
        waiting = [asyncio.create_task(answering.answer("/stats", "")) for _ in range(3)]
        await eventually(lambda: answering._waiting == 3)
        refused = await answering.answer("/stats", "")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
        waiting.pop().cancel()
        await eventually(lambda: answering._waiting == 2)
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}
    assert answering._waiting == 0


@pytest.mark.parametrize(
    "query",
    [
        "repo='%20OR%201=1--",
        "repo=%00",
        "doc_type=%ff%fe",
        "repo=%ED%A0%80",
        f"offset={10**30}",
        f"offset={2**63 - 1}",
        f"repo={'x' * 5000}",
        "repo=?&doc_type=?",
    ],
)
async def test_hostile_parameters_find_nothing(query: str) -> None:
    assert await get(api(DATA / "codeworm.db"), "/recent", query) == []


async def test_parameters_out_of_range_are_told(tmp_path: Path) -> None:
    told = await get(api(), "/activity", "days=366", status=422)
    assert [(one["loc"], one["ctx"]) for one in told["detail"]] == [(["query", "days"], {"le": 365})]
    assert (await get(api(), "/recent", "limit=x", status=422))["detail"][0]["type"] == "int_parsing"


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("is_kept", [True, False])
async def test_it_reads_whole_transactions_while_the_daemon_writes(
    mode: str,
    is_kept: bool,  # noqa: FBT001  # a parameter of the table
    tmp_path: Path,
) -> None:
    database = make_database(tmp_path / "worm.db", mode=mode)
    answering = api(database)
    seen: list[int] = []
    with writer(database, is_kept=is_kept) as stop:
        while len(set(seen)) < 5:
            seen.append((await get(answering, "/stats"))["total_documented"])
        pairs = await asyncio.to_thread(stop)
    assert seen == sorted(seen)
    assert {number % 2 for number in seen} == {0}
    assert (await get(answering, "/stats"))["total_documented"] == 2 * pairs


def test_the_home_of_a_user_who_is_not_known_is_told() -> None:
    with pytest.raises(SettingError, match="codeworm_db"):
        api(Path("~no-such-user-here/worm.db"))
    with pytest.raises(SettingError, match="codeworm_config"):
        api(None, Path("~no-such-user-here"))
