"""History: a span of the past as frames with the columns of the live tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from codeworm_monitor.analysis.answer import Answer
from codeworm_monitor.analysis.documents import documents
from codeworm_monitor.analysis.questions import Questions
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.columns import LAYOUTS, Layout
from codeworm_monitor.conditions import Conditions, Moment, moment
from codeworm_monitor.decoding import Decoder, Parsed, parse
from codeworm_monitor.envelope import Gap
from codeworm_monitor.garbage import collection_paused
from codeworm_monitor.moments import micros_of, time_of
from codeworm_monitor.progress import Progress
from codeworm_monitor.records import RELAY_CHANNEL, Kind, LogLine, kind_of
from codeworm_monitor.stored import stream_name
from codeworm_monitor.stretches import Selection, Stretch, read_stretches
from codeworm_monitor.tables import Table, gap_table, message_table
from codeworm_monitor.worm_files import WormFiles

__all__ = ["Choice", "Heard", "History", "Wish", "archived_history", "collect", "decode", "table_rows"]

DEFAULT_SPAN = timedelta(days=1)
_END = datetime.max.replace(tzinfo=UTC)

Choice = str | Iterable[str] | None
"""One value, several, or all."""
Heard = tuple[datetime | None, datetime | None]
"""From when to when messages were taken in, whether any came or not; None: from the first, to the last that is here."""
Piece = tuple[dict[str, pa.Table], list[tuple[str, Gap]]]
"""Rows by stream, and gaps, each with its epoch."""


class History(Questions):
    """What was received in a span of time: made by `Monitor.history` and `Archive.history`, and then fixed.

    Its tables have the columns, dtypes and methods of the live ones (`.df`, `.tail`, `.where`, `.arrow()`), in the order
    of time of receipt; messages of the same microsecond by epoch and offset.

    Attributes:
        since: The beginning of the span, in UTC.
        until: Its end, which is not part of it, in UTC, in the year 9999 if it has none; of a history that a limit cut, the
            end of what is here.
        is_cut: Whether there were more rows than the limit.
    """

    def __init__(
        self,
        tables: dict[str, Table],
        gaps: Table,
        *,
        since: datetime,
        until: datetime,
        asked: str | None,
        is_cut: bool,
        is_chosen: bool = False,
        heard: Heard = (None, None),
        files: WormFiles | None = None,
    ) -> None:
        self.since, self.until, self.is_cut = since, until, is_cut
        self._is_chosen = is_chosen
        self._heard = heard
        self._files = WormFiles() if files is None else files
        self._traffic: Traffic | None = None
        self._tables = tables
        self._gaps = gaps
        self._asked = asked

    @property
    def logs(self) -> Table:
        """Log lines."""
        return self._tables[Kind.LOGS]

    @property
    def events(self) -> Table:
        """Steps of the documentation cycles."""
        return self._tables[Kind.EVENTS]

    @property
    def stats(self) -> Table:
        """The daemon's counters after each successful cycle."""
        return self._tables[Kind.STATS]

    @property
    def df(self) -> pd.DataFrame:
        """The frame of the one channel, or kind, that was asked for.

        Raises:
            ValueError: Several were; each has a frame of its own.
        """
        if self._asked is None:
            raise ValueError("several channels were asked for: take .logs.df, .events.df or .stats.df, or ask for one")
        return self.channel(self._asked).df

    @property
    def gaps(self) -> pd.DataFrame:
        """What is, or may be, missing; columns as those of `Monitor.gaps`."""
        return self._gaps.df

    @property
    def channels(self) -> dict[str, int]:
        """How many rows there are, by kind, and by channel where the name tells no kind."""
        return {name: len(table) for name, table in self._tables.items()}

    def channel(self, name: str) -> Table:
        """Return the table of a channel; channels whose name ends in `:logs`, `:events` or `:stats` share one."""
        stream = stream_name(name)
        found = self._tables.get(stream)
        return message_table(kind_of(name), capacity=1) if found is None else found

    def traffic(self, since: Moment | None = None, until: Moment | None = None) -> Traffic:
        """Return what is here, or the part of it that was received in a span of time; see `Questions.traffic`."""
        if self._is_chosen:
            raise ValueError(
                "this history was chosen by channel, level or text, so that cycles cannot be told from it: "
                "ask one that has only since and until"
            )
        if self._traffic is None:
            begun, ended = self._heard
            made = Traffic.of(
                logs=self.logs.df,
                events=self.events.df,
                stats=self.stats.df,
                gaps=self.gaps,
                journal=self.channel(RELAY_CHANNEL).df,
            )
            newest = made.until if ended is None else ended
            end = min(self.until, self.since if newest is None else newest)
            begin = min(self.since, end)
            heard_from = made.since if begun is None else begun
            self._traffic = replace(made, since=begin, until=end, heard_from=end if heard_from is None else heard_from)
        now = self.until.timestamp() if self.until < _END else (self._traffic.until or self.since).timestamp()
        return self._traffic.between(
            None if since is None else moment(since, now), None if until is None else moment(until, now)
        )

    @property
    def documents(self) -> Answer:
        """CodeWorm's own list of the documents of this span, with their cycles; see `analysis.documents.documents`."""
        traffic = self.traffic()
        return documents(traffic, self.worm_files.database(), since=traffic.since, until=traffic.until)

    @property
    def worm_files(self) -> WormFiles:
        """Where CodeWorm's own files are."""
        return self._files

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def __repr__(self) -> str:
        span = f"{self.since:%Y-%m-%d %H:%M:%S} UTC on"
        if self.until < _END:
            span = f"{self.since:%Y-%m-%d %H:%M:%S} to {self.until:%Y-%m-%d %H:%M:%S} UTC"
        return f"<History {span}: {self._counts()}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    def _counts(self) -> str:
        counts = ", ".join(f"{count:,} {_shown(name)}" for name, count in self.channels.items())
        gaps = f", {len(self._gaps):,} gaps" if len(self._gaps) else ""
        return f"{counts}{gaps}{', cut at the limit' if self.is_cut else ''}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of the past; equal words mean the same wherever it is read from.

    Attributes:
        since: Microseconds since 1970, UTC; the earliest that is wanted.
        until: The first that is not.
        selection: Which channels.
        conditions: `level`, `component`, `repo`, `text`, as `where` takes them; None: any.
        limit: Most rows, the earliest; None: all.
    """

    since: int
    until: int
    selection: Selection
    conditions: dict[str, Any]
    limit: int | None = None

    @classmethod
    def of(
        cls,
        since: Moment | None,
        until: Moment | None,
        channel: Choice,
        limit: int | None,
        now: float,
        newest: float | None = None,
        **conditions: Any,
    ) -> Wish:
        """Read the arguments of `history`.

        Args:
            since: None: a day before `newest`.
            until: None: without end.
            channel: See `stretches.Selection`.
            limit: Rows.
            now: Unix seconds that durations are counted back from.
            newest: Unix seconds of the newest message; None: as `now`.
            conditions: As for `where`.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: One cannot be read; says which.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ValueError(f"limit is a number of rows from 1 on, not {limit!r}")
        Conditions(LAYOUTS[Kind.LOGS], **conditions)
        begin = _at(now if newest is None else newest) - DEFAULT_SPAN if since is None else moment(since, now)
        end = _END if until is None else moment(until, now)
        if end <= begin:
            raise ValueError(f"until ({end:%Y-%m-%d %H:%M:%S} UTC) is not after since ({begin:%Y-%m-%d %H:%M:%S} UTC)")
        selection = Selection.of(channel if channel is None or isinstance(channel, str) else list(channel))
        given = {name: value for name, value in conditions.items() if value is not None}
        return cls(micros_of(begin), micros_of(end), selection, given, limit)

    def tests(self, layout: Layout) -> Conditions | None:
        """Return the conditions on rows of a layout; None if no row of it can fulfil them.

        What a kind has no column for, its rows do not say: `where` judges a row of the logs in the same way.
        """
        names = {column.name for column in layout.columns} | {"text"}
        unsaid = {name: value for name, value in self.conditions.items() if name not in names}
        if not Conditions(LAYOUTS[Kind.LOGS], **unsaid).accepts(LogLine(timestamp=None), "", "", None):
            return None
        return Conditions(layout, **{name: value for name, value in self.conditions.items() if name in names})


def archived_history(
    reader: ArchiveReader,
    wish: Wish,
    *,
    progress: bool | None = None,
    now: Callable[[], float] | None = None,
    fresh: Callable[[dict[str, tuple[int, int]], Decoder], Iterable[Piece]] = lambda newest, decoder: (),
    until: datetime | None = None,
    files: WormFiles | None = None,
) -> History:
    """Read a span of the past from an archive.

    Args:
        reader: The archive, opened for any thread (`check_same_thread=False`).
        wish: What of it.
        progress: See `progress.Progress`.
        now: See `tables.Table`.
        fresh: Given the newest archived row by epoch (see `stretches.Stretch`), returns what is not in the archive yet.
        until: Up to when messages were taken in; None: to the newest that is archived.
        files: Where CodeWorm's own files are.

    Raises:
        ArchiveDamagedError: A file is missing or damaged; says which.
        ArchiveError: The archive cannot be read.
    """
    newest: dict[str, tuple[int, int]] = {}
    decoder = Decoder()
    span = reader.span()

    def stretches() -> Generator[Piece, None, None]:
        read = read_stretches(reader, wish.since, wish.until, wish.selection)
        with Progress("reading the archive", is_shown=progress) as shown, closing(_ahead(read)) as ahead:
            for stretch, parsed in ahead:
                newest.update(stretch.newest)
                yield _as_tables(decoder.finish(parsed)), stretch.gaps
                if span is not None:
                    begin, end = max(wish.since, span[0]), min(wish.until, span[1] + 1)
                    shown.tell((stretch.until - begin) / max(1, end - begin))
        yield from fresh(newest, decoder)

    heard: Heard = (None, until)
    if span is not None:
        heard = (time_of(span[0]), time_of(span[1]) if until is None else until)
    # Closed also when Ctrl-C ends it: its threads must not read what the caller closes next.
    with closing(stretches()) as pieces, collection_paused():
        return collect(wish, pieces, now=now, heard=heard, files=files)


def _ahead(stretches: Iterator[Stretch]) -> Generator[tuple[Stretch, Parsed], None, None]:
    """Yield stretches; while one is made into rows, the next is parsed in a thread, and its next read in another.

    SQLite, Parquet and Arrow's parser need no lock of ours.
    """
    with ThreadPoolExecutor(1, "history:parser") as parser, ThreadPoolExecutor(1, "history:reader") as reader:

        def following() -> Future[tuple[Stretch, Parsed] | None]:
            read = reader.submit(next, stretches, None)
            return parser.submit(lambda: None if (one := read.result()) is None else (one, parse(one.messages)))

        pending = deque((following(), following()))
        while (found := pending.popleft().result()) is not None:
            pending.append(following())
            yield found


def decode(decoder: Decoder, stretch: Stretch) -> dict[str, pa.Table]:
    """Return the rows of a stretch by stream."""
    return _as_tables(decoder.read(stretch.messages))


def _as_tables(rows: dict[str, pa.RecordBatch]) -> dict[str, pa.Table]:
    return {name: pa.Table.from_batches([batch]) for name, batch in rows.items()}


def collect(
    wish: Wish,
    pieces: Iterable[Piece],
    *,
    now: Callable[[], float] | None = None,
    heard: Heard = (None, None),
    files: WormFiles | None = None,
) -> History:
    """Return the history that pieces make, which come in the order of time: rows by stream, and gaps.

    Rows are judged by the wish's conditions here; of time and channel they are right already. At the limit no further
    piece is asked for.
    """
    tests = {kind: wish.tests(LAYOUTS[kind]) for kind in Kind}
    batches: dict[str, list[pa.RecordBatch]] = {str(kind): [] for kind in Kind}
    gaps: list[tuple[str, Gap]] = []
    left, end, is_cut = wish.limit, None, False
    for tables, some_gaps in pieces:
        found = {}
        for name, table in tables.items():
            test = tests[kind_of(name)]
            if test is not None and table.num_rows:
                found[name] = table.filter(pa.array(test.mask(table))) if wish.conditions else table
        if left is not None and (count := sum(table.num_rows for table in found.values())) > left:
            found, end = _earliest(found, left)
            is_cut = True
            some_gaps = [pair for pair in some_gaps if micros_of(_at(pair[1].ended_at)) < end]
        elif left is not None:
            left -= count
        gaps += some_gaps
        for name, table in found.items():
            batches.setdefault(name, []).extend(table.to_batches())
        if is_cut:
            break
    tables_by_name = {}
    for name, some in batches.items():
        rows = sum(batch.num_rows for batch in some)
        table = Table(LAYOUTS[kind_of(name)], _no_rows, capacity=max(1, rows), max_bytes=2**62, now=now)
        for batch in some:
            table.append_batch(batch)
        tables_by_name[name] = table
    gap_rows = gap_table(capacity=max(1, len(gaps)), now=now)
    gap_rows.append(gaps)
    asked = {stream_name(name) for name in wish.selection.names}
    return History(
        tables_by_name,
        gap_rows,
        since=time_of(wish.since),
        until=time_of(wish.until if end is None else end),
        asked=asked.pop() if len(asked) == 1 else None,
        is_cut=is_cut,
        is_chosen=bool(wish.conditions or wish.selection.names),
        heard=heard,
        files=files,
    )


def table_rows(table: pa.Table, since: int, until: int) -> pa.Table:
    """Return the rows of a live table that were received in a span of time."""
    times = table.column("received_at").cast(pa.int64()).to_numpy()
    return table.filter(pa.array((times >= since) & (times < until)))


def _earliest(found: dict[str, pa.Table], count: int) -> tuple[dict[str, pa.Table], int]:
    """Return the `count` earliest rows, and the time of the first that is left out."""
    times = np.concatenate([table.column("received_at").cast(pa.int64()).to_numpy() for table in found.values()])
    offsets = np.concatenate([table.column("offset").to_numpy() for table in found.values()])
    order = np.lexsort((offsets, times))
    is_kept = np.zeros(len(times), np.bool_)
    is_kept[order[:count]] = True
    kept, start = {}, 0
    for name, table in found.items():
        kept[name] = table.filter(pa.array(is_kept[start : start + table.num_rows]))
        start += table.num_rows
    return kept, int(times[order[count]])


def _no_rows(_: object) -> pa.RecordBatch:
    raise TypeError("a history is fixed: nothing is appended to it")


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
