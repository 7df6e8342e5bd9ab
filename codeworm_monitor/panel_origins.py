"""Origins of panel feeds: what panels take from a monitor, a recording or an archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from codeworm_monitor.client import Address
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.held_rows import Edge, rows_before
from codeworm_monitor.history import History
from codeworm_monitor.intake import Intake
from codeworm_monitor.opened import Archive
from codeworm_monitor.panel_asking import Asking
from codeworm_monitor.panel_feed import Origin, PanelFeed
from codeworm_monitor.past import Past
from codeworm_monitor.states.wire_rows import WireRow
from codeworm_monitor.status import State, Status
from codeworm_monitor.tables import Table, gap_table

__all__ = ["feed_of", "live_feed"]

FIRST_SPAN = timedelta(seconds=10)
"""Of a flood no more is read at first: each second may hold thousands."""
ENOUGH = 100
"""Rows that are worth an answer though more were asked for."""
LONGEST_SPAN = timedelta(days=3 * 366)
WIDENING = 8
_IN_PART = "this monitor receives only what passes its conditions: counts and silence are of that alone"
_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)


def live_feed(
    name: str,
    intake: Intake,
    past: Past,
    *,
    epoch: Callable[[], str | None],
    status: Callable[[], Status],
    relay: Callable[[], Address | None] | None,
    is_whole: bool,
) -> PanelFeed:
    """Return the feed of a monitor.

    Args:
        name: Of the monitor.
        intake: Its tables and current state.
        past: Its past.
        epoch: The numbering in use.
        status: How it is.
        relay: Where its relay is; None: it is a recording.
        is_whole: Whether it receives everything; if not, older rows are not looked for.
    """

    def history(since: datetime, until: datetime) -> History:
        return past.history(since, until, channel=None, limit=None, progress=False)

    def tables() -> Mapping[str, Table]:
        return {str(kind): stream for kind, stream in intake.by_kind.items()} | dict(intake.others)

    def address() -> Address | None:
        return relay() if relay is not None and status().state is State.CONNECTED else None

    is_live = relay is not None
    return PanelFeed(
        Origin(
            name=name,
            tables=tables,
            gaps=lambda: intake.gaps,
            snapshot=lambda: intake.snapshot,
            live_from=lambda: intake.live_from,
            epoch=epoch,
            status=status,
            now=intake.relay_time if is_live else lambda: _newest_time(tables()),
            clock=intake.clock,
            older=_older(history, epoch) if is_live and is_whole else None,
            asking=Asking(name, address, lambda: past.files, intake.relay_time, is_live=is_live),
            note="" if is_whole else _IN_PART,
        )
    )


def feed_of(source: object) -> PanelFeed:
    """Return the feed of a monitor, or one of an archive; a feed is its own.

    Raises:
        TypeError: It is none of them.
    """
    if isinstance(source, PanelFeed):
        return source
    if isinstance(source, Archive):
        return _archive_feed(source)
    feed = getattr(source, "panel_feed", None)
    if not isinstance(feed, PanelFeed):
        raise TypeError(f"a panel shows a monitor or an archive, not {type(source).__name__}")
    return feed


def _archive_feed(archive: Archive) -> PanelFeed:
    """Return the feed of an archive, whose newest day is as a recording."""
    history = archive.history(progress=False)
    span = archive.span
    gaps = _gaps_of(history)
    tables = {name: history.channel(name) for name in history.channels}
    status = Status(
        name=archive.directory.name,
        state=State.RECORDING,
        since=datetime.now(UTC) if span is None else span[1],
        url=str(archive.directory),
        cursor=None,
        received=len(history),
    )

    def older(since: datetime, until: datetime) -> History:
        return archive.history(since, until, progress=False)

    def now() -> float:
        return _newest_time(tables)

    return PanelFeed(
        Origin(
            name=archive.directory.name,
            tables=lambda: tables,
            gaps=lambda: gaps,
            snapshot=lambda: None,
            live_from=lambda: 0,
            epoch=lambda: None,
            status=lambda: status,
            now=now,
            clock=None,
            older=_older(older, lambda: None),
            asking=Asking(archive.directory.name, lambda: None, lambda: archive.worm_files, now, is_live=False),
        )
    )


def _older(
    history: Callable[[datetime, datetime], History], epoch: Callable[[], str | None]
) -> Callable[[Edge, int], tuple[list[WireRow], bool]]:
    """Return what looks for rows in the past, farther and farther back until some are found."""

    def find(edge: Edge, count: int) -> tuple[list[WireRow], bool]:
        # The row itself may have been read in the microsecond that others were.
        until = max(_EARLIEST, datetime.fromtimestamp(min(edge.at, 32e9), UTC))
        end = until if edge.offset is None else until + timedelta(microseconds=1)
        span = FIRST_SPAN
        while True:
            begin = max(_EARLIEST, end - span)
            rows = _rows(history(begin, end), epoch(), edge, count) if begin < end else []
            if len(rows) >= min(count, ENOUGH) or span > LONGEST_SPAN or begin == _EARLIEST:
                return rows, not rows
            span *= WIDENING

    return find


def _rows(history: History, epoch: str | None, edge: Edge, count: int) -> list[WireRow]:
    tables = (history.channel(name).arrow() for name in history.channels)
    return rows_before(tables, _gaps_of(history).arrow(), edge, epoch, count)


def _gaps_of(history: History) -> Table:
    """Return the gaps of a history as the table that a monitor has of its own."""
    found = []
    for row in history.gaps.to_dict("records"):
        places: dict[str, Any] = {
            name: None if pd.isna(row[name]) else int(row[name]) for name in ("offset", "first_offset", "last_offset")
        }
        times = {name: row[name].timestamp() for name in ("started_at", "ended_at")}
        detail = row["detail"] if isinstance(row["detail"], str) else ""
        found.append((str(row["epoch"]), Gap(cause=GapCause(row["cause"]), detail=detail, **times, **places)))
    gaps = gap_table(now=None)
    gaps.append(found)
    return gaps


def _newest_time(tables: Mapping[str, Table]) -> float:
    """Return when the newest row was read, Unix seconds; now if there is none."""
    newest = [pc.max(table.arrow().column("received_at")).as_py() for table in tables.values()]
    return max((one.timestamp() for one in newest if one is not None), default=time.time())
