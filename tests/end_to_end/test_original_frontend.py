"""The original dashboard's front end, replayed against a relay process in the place of its backend.

What it asks, with which headers, what it accepts as an answer, and what it makes of each frame are the original's.
"""

from __future__ import annotations

import gzip
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import from_url
from support.asked import PAGE, SCRIPT, Reply, ask, make_front_end
from support.processes import TOKEN, RelayProcess, relay_process, run
from support.servers import Server, free_port
from support.waiting import eventually
from support.worm_database import row
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

DATA = Path(__file__).parent.parent / "data"
DEVELOPMENT = "http://localhost:5173"
LOGS, EVENTS = "codeworm:logs", "codeworm:events"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def is_record(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


def is_time_or_null(value: Any) -> bool:
    return value is None or datetime.fromisoformat(value).year > 2000


COUNTS = dict.fromkeys(("total_documented", "last_7_days", "last_30_days", "today"), is_number)
SHAPES: dict[str, dict[str, Callable[[Any], bool]]] = {
    "/stats": COUNTS | dict.fromkeys(("by_repo", "by_language", "by_doc_type"), is_record),
    "/repos": {
        **{"name": is_text, "path": is_text, "weight": is_number, "enabled": lambda value: isinstance(value, bool)},
        **{"docs_generated": is_number, "last_activity": is_time_or_null},
    },
    "/recent": {
        **dict.fromkeys(("id", "source_repo", "source_file", "doc_type", "snippet_path"), is_text),
        **dict.fromkeys(("function_name", "class_name", "git_commit"), is_text_or_null),
        "documented_at": lambda value: value is not None and is_time_or_null(value),
    },
    "/activity": {"date": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None, "count": is_number},
    "/languages": {"language": is_text, "count": is_number, "percentage": is_number},
}
"""What the front end takes for an answer."""


class FrontEnd:
    """Asks as the original front end in a browser does, from a page of this origin, the relay's or another's."""

    def __init__(self, relay: RelayProcess, origin: str | None = None, prefix: str = "/api") -> None:
        self.port = int(relay.http.rpartition(":")[2])
        self.own = f"http://127.0.0.1:{self.port}"
        self.origin = origin or self.own
        self.prefix = prefix

    async def open(self, path: str) -> Reply:
        """Open a page, as a person does."""
        return await ask(self.port, path, accept=PAGE[0], sec_fetch_site="none", sec_fetch_mode="navigate")

    async def load(self, path: str) -> Reply:
        """Load what a page refers to."""
        return await ask(self.port, path, accept="*/*", referer=f"{self.origin}/", sec_fetch_site="same-origin")

    async def get(self, path: str) -> Any:
        """Ask the API, and check the shape of the answer field by field."""
        headers = {"accept": SCRIPT[0], "referer": f"{self.origin}/", "sec_fetch_mode": "cors"}
        if self.origin == self.own:
            headers["sec_fetch_site"] = "same-origin"
        else:
            headers |= {"sec_fetch_site": "same-site", "origin": self.origin}
        reply = await ask(self.port, self.prefix + path, **headers)
        assert reply.status == 200
        if self.origin != self.own:
            assert reply.headers["access-control-allow-origin"] == self.origin
        shape = SHAPES[path.partition("?")[0]]
        for one in reply.json if isinstance(reply.json, list) else [reply.json]:
            assert one.keys() == shape.keys()
            assert {name for name, fits in shape.items() if not fits(one[name])} == set()
        return reply.json

    def connect(self) -> Any:
        """Connect to the live feed."""
        address = f"ws://127.0.0.1:{self.port}{self.prefix}/ws"
        return connect(address, proxy=None, origin=self.origin)  # type: ignore[arg-type]


class Store:
    """What the front end makes of frames."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []
        self.activity: tuple[str, str | None] = ("idle", None)
        self.next_cycle: str | None = None
        self.stale: Counter[str] = Counter()
        self._known: set[str] = set()

    def take(self, text: str) -> None:
        frame = orjson.loads(text)
        assert frame.keys() == {"channel", "data"}
        match frame["channel"]:
            case "codeworm:history":
                for one in frame["data"]:
                    assert one.keys() == {"channel", "data"}
                    if one["channel"] == LOGS:
                        self._log(one["data"])
                    elif one["data"].get("type") == "next_cycle":
                        self.next_cycle = one["data"]["data"]["time"]
            case "codeworm:logs":
                self._log(frame["data"])
            case "codeworm:events":
                self._event(frame["data"])
            case "codeworm:stats":
                self.stale["stats"] += 1

    def _log(self, entry: dict[str, Any]) -> None:
        fingerprint = f"{entry.get('event')}:{entry.get('timestamp')}:{entry.get('component')}"
        if fingerprint not in self._known:
            self._known.add(fingerprint)
            self.logs = [*self.logs, entry][-500:]

    def _event(self, event: dict[str, Any]) -> None:
        assert isinstance(event["timestamp"], str)
        match event["type"]:
            case "analyzing" | "generating" as stage:
                self.activity, self.next_cycle = (stage, event["data"]["target"]), None
            case "cycle_starting":
                self.activity, self.next_cycle = ("starting", None), None
            case "documentation_committed":
                self.activity = ("idle", None)
                self.stale.update(["stats", "recent"])
            case "next_cycle":
                self.next_cycle = event["data"]["time"]


async def read(connection: ClientConnection, store: Store, count: int) -> None:
    for _ in range(count):
        text = await connection.recv()
        assert isinstance(text, str)
        store.take(text)


@pytest.fixture
def worm(tmp_path: Path) -> Path:
    """CodeWorm's files."""
    shutil.copy(DATA / "codeworm.db", tmp_path / "codeworm.db")
    shutil.copytree(DATA / "config", tmp_path / "config")
    make_front_end(tmp_path / "dist")
    return tmp_path


def options(worm: Path, *more: str) -> list[str]:
    return [
        "--codeworm-db",
        str(worm / "codeworm.db"),
        "--codeworm-config",
        str(worm / "config"),
        "--no-archive",
        *more,
    ]


def recorded() -> list[tuple[str, bytes]]:
    with gzip.open(DATA / "recording-1.jsonl.gz") as lines:
        return [(line["channel"], line["payload"].encode()) for line in map(orjson.loads, lines)]


async def test_the_front_end_served_by_the_relay_shows_what_codeworm_does(worm: Path) -> None:
    messages = recorded()
    async with (
        Server() as server,
        relay_process(*options(worm, "--static", str(worm / "dist"), "--redis-url", server.url)) as relay,
        from_url(server.url) as worm_itself,
    ):
        await eventually(server.subscribers)
        page = FrontEnd(relay)

        # The page, and what it loads.
        for path in ("/", "/repos"):
            opened = await page.open(path)
            assert (opened.status, opened.headers["content-type"]) == (200, "text/html; charset=utf-8")
        script = re.search(rb'src="([^"]+)"', opened.body)[1].decode()  # type: ignore[index]
        assert (await page.load(script)).headers["content-type"] == "text/javascript; charset=utf-8"

        # What it asks once it runs.
        stats, repos = await page.get("/stats"), await page.get("/repos")
        recent, languages = await page.get("/recent?limit=30"), await page.get("/languages")
        activity = await page.get("/activity?days=365")
        with closing(sqlite3.connect(worm / "codeworm.db")) as database:
            rows = database.execute("SELECT source_repo, git_commit, documented_at FROM documented_snippets").fetchall()
        assert stats["total_documented"] == len(rows) == sum(one["count"] for one in languages)
        assert stats["by_repo"] == Counter(repo for repo, _, _ in rows)
        assert {one["name"]: one["docs_generated"] for one in repos if one["docs_generated"]} == {
            name: count for name, count in stats["by_repo"].items() if name in {one["name"] for one in repos}
        }
        newest = sorted(rows, key=lambda one: one[2], reverse=True)[:30]
        assert [one["git_commit"] for one in recent] == [commit for _, commit, _ in newest]
        assert sum(one["count"] for one in activity) in (0, len(rows))  # as the year goes on

        # The live feed: nothing yet, then what is published; and all of it once more as history.
        store = Store()
        async with page.connect() as feed:
            for channel, payload in messages[:100]:
                await worm_itself.publish(channel, payload)
            await read(feed, store, 100)
            await feed.send("ping")
            assert orjson.loads(await feed.recv()) == {"type": "pong"}
        logs = [orjson.loads(payload) for channel, payload in messages[:100] if channel == LOGS]
        assert [one["event"] for one in store.logs] == [one["event"] for one in logs]
        commits = sum(
            orjson.loads(text)["type"] == "documentation_committed" for name, text in messages[:100] if name == EVENTS
        )
        assert commits
        assert store.stale["recent"] == commits
        async with page.connect() as feed:
            await read(feed, store, 1)
            assert len(store.logs) == len(logs)  # known all
            await worm_itself.publish(LOGS, b"no JSON")
            assert orjson.loads(await feed.recv()) == {"channel": LOGS, "data": {"raw": "no JSON"}}

        # It is told of a commit, and asks again.
        today = datetime.now(UTC)
        with closing(sqlite3.connect(worm / "codeworm.db")) as database:
            values = row(1, id="new", documented_at=today.replace(tzinfo=None).isoformat(), git_commit="abcd1234")
            database.execute(f"INSERT INTO documented_snippets VALUES ({', '.join('?' * len(values))})", values)
            database.commit()
        assert (await page.get("/recent?limit=1"))[0]["git_commit"] == "abcd1234"
        again = await page.get("/stats")
        assert again["total_documented"] == len(rows) + 1
        assert again["last_7_days"] >= 1
        status, _, err = await relay.stop()
    assert status == 0
    assert TOKEN not in err


async def test_it_comes_back_to_a_relay_that_was_started_again(worm: Path) -> None:
    given = options(worm, "--static", str(worm / "dist"), "--redis-url", f"redis://127.0.0.1:{free_port()}")
    async with relay_process(*given) as relay:
        page = FrontEnd(relay)
        async with page.connect() as feed:
            await relay.stop()
            with pytest.raises(ConnectionClosed):
                await feed.recv()
        with pytest.raises(OSError):  # noqa: PT011  # refused, however the machine words it
            await page.connect()
        async with relay_process(*given, port=page.port):
            async with page.connect() as feed:
                await feed.send("ping")
                assert orjson.loads(await feed.recv()) == {"type": "pong"}
            assert (await page.get("/stats"))["total_documented"] == 215


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_the_front_end_of_a_development_server_asks_from_its_own_origin(prefix: str, worm: Path) -> None:
    async with (
        Server() as server,
        relay_process(*options(worm, "--v1-origin", DEVELOPMENT, "--redis-url", server.url)) as relay,
    ):
        page = FrontEnd(relay, DEVELOPMENT, prefix)
        for path in ("/stats", "/repos", "/recent?limit=30&repo=click", "/activity?days=90", "/languages"):
            await page.get(path)
        async with page.connect() as feed, from_url(server.url) as worm_itself:
            await eventually(server.subscribers)
            await worm_itself.publish(EVENTS, b'{"type":"analyzing","timestamp":"t","data":{"target":"a.b"}}')
            store = Store()
            await read(feed, store, 1)
            assert store.activity == ("analyzing", "a.b")
        stranger = FrontEnd(relay, "http://evil.example", prefix)
        with pytest.raises(InvalidStatus, match="403"):
            await stranger.connect()


async def test_a_front_end_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    status, out, err = await run(
        "relay", "--port", "0", "--static", str(tmp_path), "--no-archive", "--redis-url", "redis://127.0.0.1:1"
    )
    assert status != 0
    assert "index.html" in err
    assert "Traceback" not in out + err
