"""The original dashboard's REST API, answered from CodeWorm's own files.

============== ======================================== ====================================================================
`/health`                                               `{status}`
`/stats`                                                `{total_documented, by_repo, by_language, by_doc_type, last_7_days,
                                                        last_30_days, today}`
`/repos`                                                `[{name, path, weight, enabled, docs_generated, last_activity}]`, in
                                                        the order of `repos.yaml`
`/recent`      `limit` 1 to 200, `offset`, `repo`,         `[{id, source_repo, source_file, function_name, class_name, doc_type,
               `doc_type`                               documented_at, snippet_path, git_commit}]`, newest first
`/activity`    `days` 1 to 365                             `[{date, count}]`, ascending, days without documents left out
`/languages`                                            `[{language, count, percentage}]`, most first
============== ======================================== ====================================================================

As in the original, days are those of UTC *now* against times that CodeWorm writes in its own local time, and without a
file everything is zero or empty. Where the original fails with a status of 500 — the file is locked, damaged, or no
database of CodeWorm's — this says so: 503, `{"detail": …}`, without the file's path, which other origins may read. Parameters
that cannot be used: 422, as `query_parameters` has them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from codeworm_monitor.errors import CodeWormFileError, SettingError
from codeworm_monitor.http import JSON, Answer
from codeworm_monitor.query_parameters import Number, ParameterError, Text, read_parameters
from codeworm_monitor.repositories import DEFAULT_WEIGHT, Repository, read_repositories
from codeworm_monitor.snippets import SnippetFile
from codeworm_monitor.worm_files import REPOSITORIES, place

__all__ = ["PATHS", "DashboardAPI"]

PATHS: Mapping[str, tuple[Number | Text, ...]] = {
    "/health": (),
    "/stats": (),
    "/repos": (),
    "/recent": (Number("limit", 50, 1, 200), Number("offset", 0, 0), Text("repo"), Text("doc_type")),
    "/activity": (Number("days", 90, 1, 365),),
    "/languages": (),
}
"""What can be asked, and with which parameters."""
PATIENCE = 2.0
"""Seconds to wait for a database that is locked."""
MOST_WAITING = 64
"""Requests that wait for the one that reads; more are told to come back."""
KEPT_FOR = 15.0
"""Seconds that an answer may be given again; sooner, a new one is made when the files or the day change."""
SETTLED = 0.05
"""Seconds that a file's times must have been seen before an answer is kept: within one tick of the kernel's clock (10 ms
at most), it can be written to again and they stay."""
FAILURE_KEPT_FOR = 1.0
"""Seconds in which nobody tries anew to read what could not be read."""
MOST_KEPT = 64
LARGEST_KEPT = 256 * 2**10
"""Bytes of an answer that is worth keeping; those of the original front end take 20,000."""
_LARGEST = 2**63 - 1
_RECENT = (
    *("id", "source_repo", "source_file", "function_name", "class_name", "doc_type", "documented_at", "snippet_path"),
    "git_commit",
)
_BUSY = "Too many ask at once: try again in a moment."

log = logging.getLogger(__name__)

Parameters = tuple[int | str, ...]
Key = tuple[str, Parameters, str]
"""Path, parameters, and the day of UTC."""


class _Kept(NamedTuple):
    stamp: object
    at: float
    body: bytes


class _Failure(NamedTuple):
    stamp: object
    at: float
    reason: str


class _UnreadableError(Exception):
    """A file of CodeWorm's cannot be read; says in plain words, without its path, why."""


class DashboardAPI:
    """Answers what the original front end asks.

    One request at a time reads, in a thread, beside the daemon that writes (`sqlite_reading`); others wait, `MOST_WAITING` at
    most. An answer is made anew only when a file was written to, a day of UTC has begun, or after `KEPT_FOR` seconds:
    a front end that polls costs a look at the file's times. Each answer is of one moment.

    Args:
        database: CodeWorm's database; None: there is none.
        configuration: The directory that holds `repos.yaml`, or that file; None: there is none.
        clock: Unix seconds.

    Raises:
        SettingError: A file lies in the home of a user who is not known.
    """

    def __init__(
        self, database: str | None, configuration: str | None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = None if database is None else SnippetFile(_place("codeworm_db", database), patience=PATIENCE)
        self._configuration = None if configuration is None else _place("codeworm_config", configuration)
        self._clock = clock
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._failures: dict[str, _Failure] = {}
        self._seen: dict[str, tuple[object, float]] = {}
        self._told: dict[str, str] = {}

    async def answer(self, path: str, query: str) -> Answer:
        """Answer a request.

        If cancelled, what is being read is read to its end and left.

        Args:
            path: One of `PATHS`.
            query: The query of its URL.
        """
        if path == "/health":
            return Answer(HTTPStatus.OK, b'{"status":"healthy"}', JSON)
        try:
            parameters = read_parameters(query, PATHS[path])
        except ParameterError as error:
            return Answer(HTTPStatus.UNPROCESSABLE_ENTITY, orjson.dumps({"detail": error.detail}), JSON)
        if self._waiting >= MOST_WAITING:
            return _unavailable(_BUSY)
        self._waiting += 1
        try:
            async with self._turn:
                body = await asyncio.to_thread(self._body, path, parameters)
        except _UnreadableError as error:
            return _unavailable(str(error))
        finally:
            self._waiting -= 1
        return Answer(HTTPStatus.OK, body, JSON)

    def _body(self, path: str, parameters: Parameters) -> bytes:
        """Return an answer, kept or new. After a cancelled request two threads may be here; no step minds."""
        at = self._clock()
        now = datetime.fromtimestamp(at, UTC)
        key = (path, parameters, f"{now:%F}")
        try:
            stamp = self._stamp(path)
        except (OSError, RuntimeError, ValueError) as error:  # a path that leads in a circle, or nowhere
            raise _UnreadableError("CodeWorm's files cannot be found where the relay's settings say.") from error
        kept = self._kept.get(key)
        if kept is not None and kept.stamp == stamp and 0 <= at - kept.at < KEPT_FOR:
            return kept.body
        failure = self._failures.get(path)
        if failure is not None and failure.stamp == stamp and 0 <= at - failure.at < FAILURE_KEPT_FOR:
            raise _UnreadableError(failure.reason)
        begun = time.monotonic()
        if path not in self._seen or self._seen[path][0] != stamp:
            self._seen[path] = stamp, begun
        is_settled = begun - self._seen[path][1] >= SETTLED
        try:
            body = orjson.dumps(_QUESTIONS[path](self, f"{now:%F %T}", *parameters))
        except _UnreadableError as error:
            self._failures[path] = _Failure(stamp, self._clock(), str(error))
            raise
        self._kept.pop(key, None)
        if is_settled and len(body) <= LARGEST_KEPT:
            self._kept[key] = _Kept(stamp, at, body)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return body

    def _stamp(self, path: str) -> object:
        database = None if self._database is None else self._database.stamp
        if path != "/repos" or self._configuration is None:
            return database
        return database, _identity(self._configuration), _identity(self._configuration / REPOSITORIES)

    # What is asked. Each is given the time of UTC now as SQLite writes it, and its parameters.

    def _stats(self, now: str) -> dict[str, Any]:
        rows = self._select(
            "SELECT source_repo, language, doc_type, count(*), sum(documented_at > datetime(?1, '-7 days')), "
            "sum(documented_at > datetime(?1, '-30 days')), sum(date(documented_at) IS date(?1)) "
            "FROM snippets GROUP BY 1, 2, 3",
            (now,),
        )
        counts: list[Counter[str]] = [Counter(), Counter(), Counter()]
        totals = [0, 0, 0, 0]
        for row in rows:
            for counter, name in zip(counts, row[:3], strict=True):
                counter[name] += row[3]
            totals = [total + number for total, number in zip(totals, row[3:], strict=True)]
        by_repo, by_language, by_doc_type = (dict(sorted(counter.items())) for counter in counts)
        return {
            "total_documented": totals[0],
            "by_repo": by_repo,
            "by_language": by_language,
            "by_doc_type": by_doc_type,
            "last_7_days": totals[1],
            "last_30_days": totals[2],
            "today": totals[3],
        }

    def _repos(self, now: str) -> list[dict[str, Any]]:
        repositories = self._repositories()
        if not repositories:
            return []
        rows = self._select("SELECT source_repo, count(*), max(documented_at) FROM snippets GROUP BY 1")
        found = {name: (number, last) for name, number, last in rows}
        return [
            {
                "name": _encodable(one.name),
                "path": _encodable(one.path),
                "weight": DEFAULT_WEIGHT if one.weight is None else one.weight,
                "enabled": one.enabled,
                "docs_generated": found[one.name][0] if one.name in found else 0,
                "last_activity": _time_text(found[one.name][1]) or None if one.name in found else None,
            }
            for one in repositories
        ]

    def _recent(self, now: str, limit: int, offset: int, repo: str, doc_type: str) -> list[dict[str, Any]]:
        wanted = {"source_repo": repo, "doc_type": doc_type}
        conditions = " AND ".join(f"{name} = ?" for name, value in wanted.items() if value)
        rows = self._select(
            f"SELECT {', '.join(_RECENT)} FROM snippets {'WHERE ' if conditions else ''}{conditions} "
            "ORDER BY documented_at DESC, number DESC LIMIT ? OFFSET ?",
            (*filter(None, wanted.values()), limit, min(offset, _LARGEST)),
        )
        documents = [dict(zip(_RECENT, row, strict=True)) for row in rows]
        return [one | {"documented_at": _time_text(one["documented_at"])} for one in documents]

    def _activity(self, now: str, days: int) -> list[dict[str, Any]]:
        rows = self._select(
            "SELECT date(documented_at) AS day, count(*) FROM snippets WHERE documented_at > datetime(?, ?) "
            "AND day IS NOT NULL GROUP BY day ORDER BY day",
            (now, f"-{days} days"),
        )
        return [{"date": day, "count": number} for day, number in rows]

    def _languages(self, now: str) -> list[dict[str, Any]]:
        rows = self._select("SELECT language, count(*) FROM snippets GROUP BY 1 ORDER BY 2 DESC, 1")
        total = sum(number for _, number in rows)
        return [
            {"language": language, "count": number, "percentage": round(number / total * 100, 1)}
            for language, number in rows
        ]

    # The files

    def _select(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self._database is None:
            return []
        try:
            rows = self._database.select(query, parameters)
        except CodeWormFileError as error:
            if not _is_missing(error, self._database.path):
                raise self._unreadable("CodeWorm's database", self._database.path, error) from error
            rows = []
        self._told.pop("CodeWorm's database", None)
        return rows

    def _repositories(self) -> list[Repository]:
        if self._configuration is None:
            return []
        try:
            found = read_repositories(self._configuration)
        except CodeWormFileError as error:
            if not _is_missing(error, self._configuration / REPOSITORIES):
                raise self._unreadable("CodeWorm's list of repositories", self._configuration, error) from error
            found = []
        self._told.pop("CodeWorm's list of repositories", None)
        return found

    def _unreadable(self, what: str, path: Path, error: CodeWormFileError) -> _UnreadableError:
        reason = _reason(error)
        if self._told.get(what) != reason:  # once, and not with every request
            self._told[what] = reason
            log.warning("%s %s (%r): requests for what it holds are answered 503", what, reason, str(path))
        return _UnreadableError(f"{what} {reason}; the relay's log says which file it is.")


_QUESTIONS: Mapping[str, Callable[..., object]] = {
    "/stats": DashboardAPI._stats,
    "/repos": DashboardAPI._repos,
    "/recent": DashboardAPI._recent,
    "/activity": DashboardAPI._activity,
    "/languages": DashboardAPI._languages,
}


def _place(setting: str, path: str) -> Path:
    try:
        return place(path)
    except RuntimeError as error:
        raise SettingError(setting, f"{path!r}: {error}") from error


def _unavailable(reason: str) -> Answer:
    body = orjson.dumps({"detail": reason})
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, body, JSON, {"Retry-After": "2"})


def _time_text(text: str) -> str:
    """Return a time as the original writes it, or the text itself if it is none."""
    try:
        return datetime.fromisoformat(text).isoformat().replace("+00:00", "Z")
    except ValueError:
        return text


def _encodable(text: str) -> str:
    """Return a text of YAML, which may write halves of characters, as UTF-8 can."""
    return text.encode(errors="replace").decode()


def _is_missing(error: CodeWormFileError, path: Path) -> bool:
    return isinstance(error.__cause__, FileNotFoundError | NotADirectoryError) and not path.exists()


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


_BY_CODE = {
    sqlite3.SQLITE_NOTADB: "is no SQLite database",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_BUSY: "stays locked by another program",
    sqlite3.SQLITE_LOCKED: "stays locked by another program",
    sqlite3.SQLITE_PROTOCOL: "stays locked by another program",
    sqlite3.SQLITE_INTERRUPT: "takes too long to read",
}


def _reason(error: CodeWormFileError) -> str:
    match error.__cause__:
        case None:
            return "is none of CodeWorm's, or still empty"
        case PermissionError():
            return "may not be read by the user whom the relay runs as"
        case IsADirectoryError():
            return "is a directory"
        case sqlite3.Error() as cause:
            return _BY_CODE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, "cannot be read")
    return "cannot be read"
