"""Pages of the past over HTTP: `GET /history?since=&until=&channel=&level=&limit=&reverse=&cursor=`.

The answer is a JSON object::

    {"entries": [{"epoch", "offset", "received_at", "channel", "data"}, …, {"epoch", "gap": {…}}, …], "next": "…" or null}

in the order of time, or the latest first. `data` and `mark` are as in a `batch` of the wire (`frames`), a gap as in
`envelope.Gap`. `next` is the `cursor` of the page that follows; a page may be short, or empty, and still have a next one.
"""

from __future__ import annotations

import asyncio
import functools
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import orjson

from codeworm_monitor.archive.reader import ArchiveReader, Key
from codeworm_monitor.archive.rows import StoredRow, entry_of, micros, rows_of
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.envelope import Gap, Mark
from codeworm_monitor.errors import FrameError
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import encode_entries
from codeworm_monitor.hub import Hub
from codeworm_monitor.moments import plain_moment

__all__ = ["MAX_LIMIT", "PageRequest", "history_page", "parse_page_request"]

MAX_LIMIT = 5_000
LOOKED_AT = 20_000
"""Rows looked at for one page, so that a filter which lets nothing through cannot keep it waiting."""
STEP = 1_000
PAGE_BYTES = 8 * 2**20
"""Bytes of payloads after which a page ends, and reading one of its steps."""
MOST = 2**63 - 1
"""The largest number that the archive knows."""
EVER = 2**62

_Columns = tuple[list[float], list[str], list[bytes], list[Mark | Gap | None]]
_NAMES = ("since", "until", "channel", "level", "component", "repo", "text", "limit", "reverse", "cursor")
_SHORT = {name: f"codeworm:{name}" for name in ("logs", "events", "stats", "relay")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """What is asked for.

    Attributes:
        since: Microseconds since 1970, UTC; the earliest that is wanted.
        until: The first that is not.
        filter: What of it.
        limit: Most entries.
        reverse: The latest first.
        after: Where the page before ended; None: it is the first.
    """

    since: int = 0
    until: int = EVER
    filter: Filter = field(default_factory=Filter)
    limit: int = 1_000
    reverse: bool = False
    after: Key | None = None


def parse_page_request(query: str, now: float) -> PageRequest:
    """Read the query of a URL.

    Args:
        query: Such as `since=2h&channel=logs&level=warning`. Times are Unix seconds or as `moments.plain_moment` reads
            them; `channel`, `component` and `repo` may be given several times.
        now: Unix seconds that a duration is counted back from.

    Raises:
        ValueError: A parameter is unknown, given twice or cannot be read; says which.
    """
    given = parse_qs(query, keep_blank_values=False, max_num_fields=64)
    given.pop("token", None)  # how a browser shows it
    if unknown := given.keys() - set(_NAMES):
        raise ValueError(f"there is no {sorted(unknown)[0][:40]!r}; there are {', '.join(_NAMES)}")
    many = {name: given.pop(name, []) for name in ("channel", "component", "repo")}
    for name, values in given.items():
        if len(values) > 1:
            raise ValueError(f"{name} is given twice")
    one = {name: values[0] for name, values in given.items()}
    conditions: dict[str, Any] = {"component": many["component"], "repo": many["repo"]}
    conditions |= {name: one[name].removeprefix(">=") for name in ("level", "text") if name in one}
    try:
        wanted = Filter.from_dict([_SHORT.get(name, name) for name in many["channel"]], conditions)
    except FrameError as error:
        raise ValueError(str(error).removeprefix("filter.")) from error
    limit = one.get("limit", "1000")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MAX_LIMIT):
        raise ValueError(f"limit is 1 to {MAX_LIMIT}")
    if (reverse := one.get("reverse", "false")) not in ("true", "false", "1", "0"):
        raise ValueError("reverse is true or false")
    since = _time(one["since"], now) if "since" in one else 0
    until = _time(one["until"], now) if "until" in one else EVER
    if since >= until:
        raise ValueError("until is later than since, or nothing lies between them")
    return PageRequest(
        since=since,
        until=until,
        filter=wanted,
        limit=int(limit),
        reverse=reverse in ("true", "1"),
        after=_key(one["cursor"]) if "cursor" in one else None,
    )


def _time(text: str, now: float) -> int:
    try:
        moment = datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        moment = plain_moment(text, now)
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is no time of the years 1 to 9999") from None
    return micros(moment.timestamp())


def _key(text: str) -> Key:
    parts = text.split(".")
    if len(parts) != 3 or not all(
        part.isascii() and part.lstrip("-").isdecimal() and len(part) <= 19 for part in parts
    ):
        raise ValueError("cursor is what the page before said under `next`")
    received_at, epoch, offset = map(int, parts)
    if max(map(abs, (received_at, epoch, offset))) >= MOST:
        raise ValueError("cursor is what the page before said under `next`")
    return received_at, epoch, offset


async def history_page(request: PageRequest, hub: Hub, archive: ArchiveWriter | None) -> bytes:
    """Return the page as JSON text: what the archive holds, and what is not in it yet.

    Raises:
        ArchiveError: The archive cannot be read.
    """
    key, first = 0, hub.backlog.oldest
    if archive is not None and archive.key:
        key, first = archive.key, max(archive.archived + 1, first)
    columns = hub.backlog.columns(first, max_bytes=2**62, max_entries=2**62) if first <= hub.head else ([], [], [], [])
    # All else in a thread: with a disk that refuses, or without an archive, these are hundreds of thousands.
    fresh = functools.partial(_fresh, request, key, first, columns)
    if archive is None or not archive.key:
        return await asyncio.to_thread(lambda: _page(request, None, fresh(), {key: hub.epoch}))
    return await archive.read(lambda reader: _page(request, reader, fresh(), {}))


def _fresh(request: PageRequest, key: int, first: int, columns: _Columns) -> list[StoredRow]:
    """Return the rows of what is not in the archive, within the time asked for, in the order of time."""
    rows = rows_of(key, first, *columns)
    return sorted((row for row in rows if request.since <= row.received_at < request.until), key=_place)


def _page(request: PageRequest, reader: ArchiveReader | None, fresh: list[StoredRow], names: dict[int, str]) -> bytes:
    if reader is not None:
        names = {epoch.key: epoch.name for epoch in reader.epochs().values()}
    texts: list[bytes] = []
    after, looked_at, size = request.after, 0, 0
    while True:
        rows, is_last = _step(request, reader, fresh, after)
        for row in rows:
            after = _place(row)
            looked_at += 1
            text = _text(row, request.filter, names)
            if text is not None:
                texts.append(text)
                size += len(text)
                if len(texts) == request.limit or size >= PAGE_BYTES:
                    return _json(texts, after)
        if is_last:
            return _json(texts, None)
        if looked_at >= LOOKED_AT:
            return _json(texts, after)


def _step(
    request: PageRequest, reader: ArchiveReader | None, fresh: list[StoredRow], after: Key | None
) -> tuple[list[StoredRow], bool]:
    """Return the next rows in the order asked for, `STEP` of them at most, and whether they are the last."""
    if request.reverse:
        end = len(fresh) if after is None else bisect_left(fresh, after, key=_place)
        new = fresh[max(0, end - STEP) : end]
    else:
        start = 0 if after is None else bisect_right(fresh, after, key=_place)
        new = fresh[start : start + STEP]
    found = {_place(row): row for row in new}
    most, is_last = STEP, len(new) < STEP
    if reader is not None:
        # Of all channels: to look for one that is rare could mean to look at all there is.
        kept = reader.page(
            request.since,
            request.until,
            after=after,
            limit=STEP,
            reverse=request.reverse,
            max_bytes=PAGE_BYTES,
        )
        found |= {_place(row): row for row in kept}  # some were written while we looked: the same rows
        if sum([len(row.payload) for row in kept]) >= PAGE_BYTES:
            most = len(kept)  # behind the last of them there may be more, that come before what is new
        is_last = is_last and most == STEP and len(kept) < STEP
    rows = [found[key] for key in sorted(found, reverse=request.reverse)]
    return rows[:most], is_last and len(rows) <= most


def _place(row: StoredRow) -> Key:
    return row.received_at, row.epoch, row.offset


def _text(row: StoredRow, wanted: Filter, names: dict[int, str]) -> bytes | None:
    entry = entry_of(*row[1:])
    epoch = orjson.dumps(names.get(row.epoch, ""))
    if isinstance(entry, Gap):
        return b'{"epoch":%b,"gap":%b}' % (epoch, orjson.dumps(entry.as_dict()))
    if not wanted.accepts(entry, orjson.loads(entry.data) if wanted.reads_payload else None):
        return None
    return b'{"epoch":%b,%b' % (epoch, encode_entries([entry])[0][1:])


def _json(texts: list[bytes], after: Key | None) -> bytes:
    following = b"null" if after is None else b'"%d.%d.%d"' % after
    return b'{"entries":[%b],"next":%b}' % (b",".join(texts), following)
