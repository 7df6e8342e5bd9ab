"""Inquiries: what a notebook asks a relay over HTTP, beside the WebSocket: `/info`, and pages of `/history`."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import pyarrow as pa

from codeworm_monitor.archive.rows import micros
from codeworm_monitor.client import EARLIEST, LATEST, Address
from codeworm_monitor.decoding import Decoder
from codeworm_monitor.envelope import Gap, GapCause, Mark
from codeworm_monitor.errors import ConnectError, RelayNotFoundError, TokenRefusedError
from codeworm_monitor.history import Piece, Wish, decode
from codeworm_monitor.progress import Progress
from codeworm_monitor.records import LEVELS
from codeworm_monitor.stored import Messages, stored
from codeworm_monitor.stretches import Stretch
from codeworm_monitor.told import http_get

__all__ = ["ask", "pages"]

TIMEOUT = 30.0
"""Seconds that a connection, and each piece of an answer, may take."""
MAX_ANSWER = 256 * 2**20
PAGE = 5_000


def ask(address: Address, path: str, *, timeout: float = TIMEOUT, **query: Any) -> Any:
    """Return what a relay answers to GET, decoded. Blocks this thread alone; follows no redirect.

    Args:
        address: The relay; wss is asked by https.
        path: Such as `/info`.
        timeout: Seconds that the connection, and each piece of the answer, may take.
        query: Its parameters; None: not given. A list: several times.

    Raises:
        RelayNotFoundError: Nothing answers.
        TokenRefusedError: The relay wants another token.
        ConnectError: It answers something else than what was asked for; says what.
    """
    try:
        status, body = http_get(
            address.url,
            address.token,
            path,
            query,
            headers={"Accept": "application/json"},
            timeout=timeout,
            most=MAX_ANSWER,
        )
    except (OSError, http.client.HTTPException) as error:
        raise RelayNotFoundError(
            f"the relay at {address.url} does not answer: {error or type(error).__name__}"
        ) from error
    if status == HTTPStatus.UNAUTHORIZED:
        raise TokenRefusedError(f"the relay at {address.url} refused the token: connect again")
    if status != HTTPStatus.OK:
        said = body[:300].decode(errors="replace").strip()
        raise ConnectError(f"the relay at {address.url} answered {status} to {path}: {said}")
    try:
        if len(body) > MAX_ANSWER:
            raise ValueError(f"over {MAX_ANSWER:,} bytes")
        return orjson.loads(body)
    except ValueError as error:
        raise ConnectError(f"what the relay at {address.url} answered to {path} cannot be read: {error}") from error


def pages(
    address: Address,
    wish: Wish,
    *,
    progress: bool | None = None,
    newest: Mapping[str, tuple[int, int]] | None = None,
    decoder: Decoder | None = None,
) -> Iterator[Piece]:
    """Yield what a relay tells of a span of the past, page after page, as `history.collect` takes it.

    Args:
        address: The relay.
        wish: What is wanted.
        progress: See `progress.Progress`.
        newest: Of these epochs only what follows (see `stretches.Stretch`), of others nothing; None: all.
        decoder: What read the messages before; None: there are none.

    Raises:
        ConnectError: As for `ask`.
    """
    decoder, cursor, begun = decoder or Decoder(), None, None
    until = min(wish.until / 1_000_000, LATEST - 1)
    with Progress("reading from the relay", is_shown=progress) as shown:
        while True:
            answer = ask(
                address,
                "/history",
                since=f"{wish.since / 1_000_000:.6f}",
                until=f"{until:.6f}",
                channel=_channels(wish),
                level=_least_level(wish.conditions.get("level")),
                limit=PAGE,
                cursor=cursor,
            )
            try:
                stretch, reached = _read(answer["entries"], wish, newest)
                cursor = answer["next"]
            except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException) as error:
                raise ConnectError(f"a page of the relay at {address.url} cannot be read: {error!r}") from error
            yield decode(decoder, stretch), stretch.gaps
            if cursor is None:
                return
            if reached is not None:
                begun = reached if begun is None else begun
                shown.tell((reached - begun) / max(1, min(wish.until, micros(time.time())) - begun))


def _read(
    entries: list[dict[str, Any]], wish: Wish, newest: Mapping[str, tuple[int, int]] | None
) -> tuple[Stretch, int | None]:
    gaps, rows, reached = [], list[tuple[Any, ...]](), None
    for entry in entries:
        epoch = entry["epoch"]
        fields = entry.get("gap")
        offset = entry["offset"] if fields is None else fields["offset"]
        if newest is not None and (epoch not in newest or offset <= newest[epoch][0]):
            continue
        if fields is not None:
            gaps.append((str(epoch), Gap(**fields | {"cause": GapCause(fields["cause"])})))
            continue
        if not EARLIEST <= entry["received_at"] < LATEST:
            raise ValueError(f"{entry['received_at']} is no time")
        reached = micros(entry["received_at"])
        if wish.selection.includes(entry["channel"]):
            mark = None if entry.get("mark") is None else Mark(entry["mark"])
            rows.append((epoch, offset, reached, entry["channel"], mark, orjson.dumps(entry["data"])))
    columns: Any = zip(*rows, strict=True) if rows else ([],) * 6
    return Stretch(Messages.of([stored(*columns)]), gaps, 0, {}), reached


def _channels(wish: Wish) -> list[str] | None:
    """Return the channels to ask for: none where kinds are wanted, whose channels only the relay knows."""
    return None if wish.selection.kinds or not wish.selection.names else sorted(wish.selection.names)


def _least_level(level: object) -> str | None:
    """Return the level to ask for; the relay knows no other wish than a least one, and lets pass what has none."""
    if not isinstance(level, str):
        return None
    name = level.strip().removeprefix(">=").strip().lower()
    is_least = level.strip().startswith(">=") or level.strip().isalpha()
    return name if is_least and name in LEVELS else None
