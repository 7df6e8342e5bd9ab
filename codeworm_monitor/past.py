"""The past of a monitor: where its relay keeps the archive, and what is read from it, or asked of the relay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.analysis.traffic import Traffic, ollama_records
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.client import Address
from codeworm_monitor.columns import TEXT
from codeworm_monitor.conditions import Moment
from codeworm_monitor.decoding import Decoder
from codeworm_monitor.errors import ArchiveError, ConnectError, RelayNotFoundError
from codeworm_monitor.history import Choice, Heard, History, Piece, Wish, archived_history, collect, table_rows
from codeworm_monitor.inquiry import ask, pages
from codeworm_monitor.queries import ArchiveQueries
from codeworm_monitor.records import RELAY_CHANNEL, Kind
from codeworm_monitor.streams import Stream
from codeworm_monitor.worm_files import PathText, WormFiles

if TYPE_CHECKING:
    from codeworm_monitor.intake import Intake

__all__ = ["Past"]

FRESH = timedelta(seconds=2)
"""As long an answer of a live monitor is still of now, if nothing came."""


class Past:
    """Answers what a monitor is asked of the past. Any thread may ask.

    An archive on this machine that holds the relay's numbering is read directly; else the relay is asked. A recording
    has no relay: its tables are all there is.

    Args:
        intake: The live tables.
        relay: Where the relay is, as far as is known; None: there is none, as for a recording.
        epoch: Name of the relay's numbering, once it is known.
        heard_until: Up to when messages were taken in; None: of a recording, to its end.
    """

    def __init__(
        self,
        intake: Intake,
        relay: Callable[[], Address | None] | None,
        epoch: Callable[[], str | None],
        heard_until: Callable[[], datetime | None],
    ) -> None:
        self._intake = intake
        self._relay = relay
        self._epoch = epoch
        self._heard_until = heard_until
        self._lock = threading.Lock()
        self._found: tuple[str, Path | None] | None = None  # an epoch, and the directory that holds it
        self._queries: ArchiveQueries | None = None
        self._live_traffic: tuple[tuple[object, ...], Traffic] | None = None
        self.files = WormFiles()
        """Where CodeWorm's own files are."""

    def history(
        self,
        since: Moment | None,
        until: Moment | None,
        *,
        channel: Choice,
        limit: int | None,
        progress: bool | None,
        **conditions: Any,
    ) -> History:
        """Return a span of the past; see `Monitor.history`."""
        intake = self._intake
        if self._relay is None:
            newest = self._row_times(max)
            wish = Wish.of(since, until, channel, limit, newest, newest, **conditions)
            heard: Heard = (self._whole_from() or _time(self._row_times(min)), None)
            return collect(wish, [(self._live(wish, None), [])], now=None, heard=heard, files=self.files)
        wish = Wish.of(since, until, channel, limit, intake.relay_time(), **conditions)
        directory = self._directory()
        if directory is None:
            heard = (None, self._heard_until())
            asked = pages(self._address(), wish, progress=progress)
            return collect(wish, asked, now=intake.relay_time, heard=heard, files=self.files)

        def fresh(newest: dict[str, tuple[int, int]], decoder: Decoder) -> Iterable[Piece]:
            """Yield what the relay has not written down yet; if it is gone, what of it came here."""
            epoch = self._epoch() or ""
            _, since = after = newest.get(epoch, (0, 0))
            rest = replace(wish, since=max(wish.since, since))
            if rest.since >= rest.until:
                return
            try:
                yield from pages(self._address(), rest, progress=False, newest={epoch: after}, decoder=decoder)
            except RelayNotFoundError:
                yield self._live(wish, after[0]), []

        with closing(ArchiveReader(directory, check_same_thread=False)) as reader:
            return archived_history(
                reader,
                wish,
                progress=progress,
                now=intake.relay_time,
                fresh=fresh,
                until=self._heard_until(),
                files=self.files,
            )

    def find_files(self, codeworm_db: PathText, codeworm_config: PathText, *, beside: PathText = None) -> None:
        """Look for CodeWorm's own files where these say, or the relay, or what lies beside a recording."""
        relay = None if self._relay is None else lambda: ask(self._address(), "/info")
        self.files = WormFiles(codeworm_db, codeworm_config, relay=relay, beside=beside)

    def traffic(self) -> Traffic:
        """Return what the live tables hold, as frames, with the gaps, up to when messages were taken in."""
        intake, until = self._intake, self._heard_until()
        journal = None if (own := intake.others.get(RELAY_CHANNEL)) is None else ollama_records(own.df)
        # What else the relay says of itself changes no answer.
        told = None if journal is None else (len(journal), str(journal["received_at"].max()))
        version = (intake.gaps.version, told, *(stream.version for stream in intake.by_kind.values()))
        if self._live_traffic is not None:
            known, traffic = self._live_traffic
            if known == version and (until is None or traffic.until is None or until - traffic.until < FRESH):
                return traffic
        frames = {kind: stream.df for kind, stream in intake.by_kind.items()}
        traffic = Traffic.of(
            logs=frames[Kind.LOGS],
            events=frames[Kind.EVENTS],
            stats=frames[Kind.STATS],
            gaps=intake.gaps.df,
            journal=journal,
            until=until,
        )
        if (begin := self._whole_from()) is not None:
            traffic = traffic.between(begin, None)
        self._live_traffic = (version, traffic)
        return traffic

    def sql(self, query: str, parameters: Any) -> pd.DataFrame:
        """Return what a query finds; see `Monitor.sql`."""
        with self._lock:
            directory = None
            if self._relay is not None:
                try:
                    directory = self._directory()
                except ConnectError:  # the relay is gone: what we have is still here to be asked
                    directory = None
            if self._queries is None or self._queries.directory != directory:
                if self._queries is not None:
                    self._queries.close()
                self._queries = ArchiveQueries(directory, live=self._intake)
            return self._queries.sql(query, parameters)

    def close(self) -> None:
        """Let go of what queries keep."""
        with self._lock:
            if self._queries is not None:
                self._queries.close()
                self._queries = None

    def _whole_from(self) -> datetime | None:
        """Return since when the tables are whole; None: from their first row.

        Where a full one let its oldest rows go, the others tell nothing whole of that time either.
        """
        full = [stream for stream in self._intake.by_kind.values() if stream.dropped]
        oldest = [pc.min(stream.arrow().column("received_at")).as_py() for stream in full]
        if self._intake.gaps.dropped:
            oldest.append(pc.min(self._intake.gaps.arrow().column("started_at")).as_py())
        return max((one for one in oldest if one is not None), default=None)

    def _live(self, wish: Wish, archived: int | None) -> dict[str, pa.Table]:
        """Return the rows of the live tables that lie in the span; `archived`: of them only those that follow it."""
        found = {}
        epoch = pa.scalar(self._epoch() or "", TEXT)
        for name, stream in self._streams():
            table = table_rows(stream.arrow(), wish.since, wish.until)
            if archived is not None:
                is_of_epoch = pc.equal(table.column("epoch").cast(TEXT), epoch)
                table = table.filter(pc.and_(is_of_epoch, pc.greater(table.column("offset"), archived)))
            if wish.selection.names:
                channels = table.column("channel").cast(TEXT)
                wanted = [one for one in channels.unique().to_pylist() if wish.selection.includes(one)]
                table = table.filter(pc.is_in(channels, pa.array(wanted, TEXT)))
            found[name] = table
        return found

    def _streams(self) -> list[tuple[str, Stream]]:
        named = [(str(kind), stream) for kind, stream in self._intake.by_kind.items()]
        return named + list(self._intake.others.items())

    def _row_times(self, which: Callable[..., float]) -> float:
        """Return the least or greatest time of receipt in the live tables, Unix seconds; 0 without rows."""
        found = [pc.min_max(stream.arrow().column("received_at").cast(pa.int64())) for _, stream in self._streams()]
        times = [value for one in found for value in one.as_py().values() if value is not None]
        return which(times) / 1e6 if times else 0.0

    def _address(self) -> Address:
        address = None if self._relay is None else self._relay()
        if address is None:
            raise RelayNotFoundError("no relay was found yet: wait until the monitor is connected")
        return address

    def _directory(self) -> Path | None:
        """Return the directory of the archive that holds the relay's numbering, if it can be read on this machine.

        Raises:
            ConnectError: The relay does not say.
        """
        epoch = self._epoch()
        if self._found is not None and self._found[0] == epoch:
            return self._found[1]
        told = ask(self._address(), "/info")
        archive = told.get("archive") if isinstance(told, dict) else None
        name = archive.get("directory") if isinstance(archive, dict) else None
        directory = Path(name) if isinstance(name, str) and epoch and _holds(Path(name), epoch) else None
        if epoch is not None:
            self._found = (epoch, directory)
        return directory


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _holds(directory: Path, epoch: str) -> bool:
    """Tell whether a directory of this machine is an archive, and has a numbering."""
    if not directory.is_absolute():
        return False
    try:
        with closing(ArchiveReader(directory)) as reader:
            return reader.epoch(epoch) is not None
    except ArchiveError:
        return False
