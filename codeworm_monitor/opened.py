"""An archive opened on its own: history and SQL without a relay, also while one writes to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from codeworm_monitor.analysis.questions import Questions
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.archive.database import default_directory
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.conditions import Moment
from codeworm_monitor.errors import ArchiveError
from codeworm_monitor.history import Choice, History, Wish, archived_history
from codeworm_monitor.moments import time_of
from codeworm_monitor.queries import ArchiveQueries
from codeworm_monitor.worm_files import PathText, WormFiles

__all__ = ["Archive", "open_archive"]


class Archive(Questions):
    """What an archive holds: made by `open_archive`. Any thread may use it, also while a relay writes to it.

    Nothing is ever written, and nothing is held open between two calls but what `sql` keeps in memory.

    Attributes:
        directory: Where it is.
    """

    def __init__(self, directory: Path, files: WormFiles | None = None) -> None:
        self.directory = directory
        self._files = WormFiles() if files is None else files
        self._read: tuple[object, Traffic] | None = None
        self._lock = threading.Lock()
        self._queries: ArchiveQueries | None = None
        self._is_closed = False
        with closing(self._reader()):
            pass

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the earliest and the latest message were received, in UTC; None: it is empty."""
        with closing(self._reader()) as reader:
            span = reader.span()
        return None if span is None else (time_of(span[0]), time_of(span[1]))

    @property
    def channels(self) -> dict[str, int]:
        """How many messages there are, by channel."""
        with closing(self._reader()) as reader:
            return {name: count for name, count in reader.channels().items() if name}

    def history(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        # What of it
        channel: Choice = None,
        level: Choice = None,
        component: Choice = None,
        repo: Choice = None,
        text: str | None = None,
        limit: int | None = None,
        # How
        progress: bool | None = None,
    ) -> History:
        """Return what was received in a span of time, as frames with the columns of the live tables.

        Args:
            since: A time (see `conditions.Moment`), the earliest that is wanted; durations count back from now. None: a
                day before the newest message.
            until: The first that is not wanted; None: to the end.
            channel: `logs`, `events` or `stats`, a channel's full name, or several; None: all.
            level: As for `where`: ">=warning", "error", …; what has no level fulfils only `!=`. So with the next two.
            component: One, or several.
            repo: One, or several. Most log lines do not name theirs: ask for `channel="events"`.
            text: Some text of the message contains it, in any case of letters.
            limit: Most rows, the earliest of those that fulfil the conditions; None: all.
            progress: Whether to show how far it is; None: in a notebook and on a terminal, if it takes over half a
                second.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: One cannot be read; says which.
            ArchiveDamagedError: A file is missing or damaged; says which.
            ArchiveError: The archive cannot be read.

        Example:
            >>> open_archive().history(since="yesterday", channel="logs", level=">=warning").df
        """
        with closing(self._reader()) as reader:
            span = reader.span()
            newest = None if span is None else span[1] / 1_000_000
            conditions = {"level": level, "component": component, "repo": repo, "text": text}
            wish = Wish.of(since, until, channel, limit, time.time(), newest, **conditions)
            return archived_history(reader, wish, progress=progress, now=time.time, files=self._files)

    def traffic(self, since: Moment | None = None, until: Moment | None = None) -> Traffic:
        """Return what the archive holds, all of it or of a span of time; see `Questions.traffic`.

        All that it holds stays in memory once it was read, until something comes.
        """
        with closing(self._reader()) as reader:
            span = reader.span()
            bounds = tuple((epoch, reader.bounds(epoch)) for epoch in reader.epochs())
        begin = since if since is not None or span is None else time_of(span[0])
        if since is not None or until is not None:
            return self.history(begin, until).traffic()
        read = self._read
        if read is None or read[0] != (span, bounds):
            read = self._read = ((span, bounds), self.history(begin, until).traffic())
        return read[1]

    @property
    def worm_files(self) -> WormFiles:
        """Where CodeWorm's own files are."""
        return self._files

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return what a query finds; needs DuckDB (`pip install 'codeworm-monitor[analysis]'`).

        The views `logs`, `events` and `stats` have the columns of the frames, but for `extra`; instead `payload` has the
        whole message as JSON text. `gaps` is as in the frames. `documents` has a row a document, `cycles` a row a
        documentation cycle in a plainer form than the property `cycles`, `messages` what every channel carried.

        Args:
            query: One SELECT in DuckDB's SQL; times are in UTC.
            parameters: Values of `?` or `$1`, or, by name, of `$name`.

        Raises:
            ValueError: The query has a mistake; says which.
            ArchiveDamagedError: A file is missing or damaged; says which.
            ArchiveError: The archive cannot be read, or DuckDB is not installed.

        Example:
            >>> archive.sql("SELECT repo, count(*) AS documents, sum(tokens) AS tokens FROM documents GROUP BY repo")
        """
        with self._lock:
            if self._is_closed:
                raise ArchiveError(f"the archive {self.directory} was closed: open it again")
            if self._queries is None:
                self._queries = ArchiveQueries(self.directory)
            queries = self._queries
        return queries.sql(query, parameters)

    def close(self) -> None:
        """Let go of what queries keep; may be called again."""
        with self._lock:
            self._is_closed = True
            queries, self._queries = self._queries, None
            self._read = None
        if queries is not None:
            queries.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        try:
            span, channels = self.span, self.channels
        except ArchiveError as error:
            return f"<Archive {str(self.directory)!r}: {str(error)!r}>"
        if span is None:
            return f"<Archive {str(self.directory)!r}: empty>"
        held = ", ".join(f"{count:,} {name if name.isprintable() else repr(name)}" for name, count in channels.items())
        return f"<Archive {str(self.directory)!r}: {span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M} UTC, {held}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    def _reader(self) -> ArchiveReader:
        if self._is_closed:
            raise ArchiveError(f"the archive {self.directory} was closed: open it again")
        return ArchiveReader(self.directory, check_same_thread=False)


def open_archive(path: PathText = None, *, codeworm_db: PathText = None, codeworm_config: PathText = None) -> Archive:
    """Open an archive to read it, without a relay, or beside the one that writes to it.

    Args:
        path: Its directory; None: that of this user's relay.
        codeworm_db: CodeWorm's own database, for `documents` and `repos`; None: see `worm_files.WormFiles`.
        codeworm_config: The directory of its configuration, which holds repos.yaml; None: likewise.

    Raises:
        ArchiveError: There is none, or it cannot be read.

    Example:
        >>> with open_archive() as archive:
        ...     archive.sql("SELECT outcome, count(*) FROM cycles GROUP BY outcome")
    """
    directory = default_directory() if path is None else Path(path).expanduser().absolute()
    return Archive(directory, WormFiles(codeworm_db, codeworm_config, beside=directory))
