"""Columns of the tables: names, types, meaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from codeworm_monitor.records import Kind

__all__ = ["GAP_LAYOUT", "LABEL", "LAYOUTS", "TEXT", "TIME", "Column", "Layout"]

LABEL = pa.dictionary(pa.int32(), pa.large_string())
TEXT = pa.large_string()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Its name.
        type: Its type in Arrow.
        help: What it holds, with the unit.
        may_be_missing: Whether a row may lack it; integers are then float64 in a frame.
    """

    name: str
    type: pa.DataType
    help: str
    may_be_missing: bool = True

    @property
    def dtype(self) -> str:
        """Its dtype in a frame, as pandas writes it."""
        if self.type == LABEL:
            return "category"
        if self.type == TEXT:
            return "str"
        if self.type == TIME:
            return "datetime64[us, UTC]"
        return "int64" if self.type == pa.int64() and not self.may_be_missing else "float64"


@dataclass(frozen=True)
class Layout:
    """The columns of a table, in their order."""

    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns as Arrow describes them."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])


_LEAD = (
    Column("epoch", LABEL, "identity of the relay's numbering", may_be_missing=False),
    Column("offset", pa.int64(), "place in the relay's log, ascending under one epoch", may_be_missing=False),
    Column("received_at", TIME, "when the relay read the message", may_be_missing=False),
    Column("timestamp", TIME, "when the publisher wrote it; missing if it does not say or cannot be read"),
    Column("channel", LABEL, "where it was published", may_be_missing=False),
)
_TAIL = (
    Column("mark", TEXT, "why the message is not the exact payload: raw or truncated; mostly missing"),
    Column("extra", TEXT, "JSON object of all that fits no column; missing if there is nothing"),
)
_TARGET = Column("target", TEXT, "what is being documented")
_REPO = Column("repo", LABEL, "its repository")
_DOC_TYPE = Column("doc_type", LABEL, "kind of document")
_CYCLE_NUM = Column("cycle_num", pa.int64(), "number of the cycle since the daemon's start")
_COMMIT = Column("commit", TEXT, "hash of the commit, 8 characters")
_TOKENS = Column("tokens", pa.int64(), "tokens generated")
_TIME_MS = Column("time_ms", pa.float64(), "duration of the generation, milliseconds")

LAYOUTS: dict[Kind, Layout] = {
    Kind.LOGS: Layout(
        (
            *_LEAD,
            Column("level", LABEL, "debug, info, warning, error or critical"),
            Column("component", LABEL, "which part of the publisher speaks"),
            Column("event", LABEL, "name of what happened"),
            *(_TARGET, _REPO, _DOC_TYPE, _CYCLE_NUM, _COMMIT, _TOKENS, _TIME_MS),
            Column("error", TEXT, "what failed, in one line"),
            Column("exception", TEXT, "traceback"),
            *_TAIL,
        )
    ),
    Kind.EVENTS: Layout(
        (
            *_LEAD,
            Column("type", LABEL, "step of the cycle"),
            *(_CYCLE_NUM, _TARGET, _REPO, _DOC_TYPE),
            Column("language", LABEL, "programming language of the target"),
            _COMMIT,
            Column("commit_message", TEXT, "first line of the commit's message"),
            *(_TOKENS, _TIME_MS),
            Column("next_cycle_at", TIME, "when the next cycle will start"),
            *_TAIL,
        )
    ),
    Kind.STATS: Layout(
        (
            *_LEAD,
            Column("last_success", TIME, "when the newest successful cycle ended"),
            Column("total_cycles", pa.int64(), "cycles since the daemon's start"),
            Column("successful_cycles", pa.int64(), "of these, ended well"),
            Column("failed_cycles", pa.int64(), "of these, failed"),
            Column("skipped_cycles", pa.int64(), "of these, without a candidate"),
            Column("success_rate", pa.float64(), "successful cycles, percent of all"),
            Column("consecutive_failures", pa.int64(), "failures since the newest success"),
            Column("total_documented", pa.int64(), "documents ever made"),
            Column("last_7_days", pa.int64(), "documents of the last seven days"),
            Column("by_repo", TEXT, "JSON object: documents by repository"),
            *_TAIL,
        )
    ),
}
"""Columns of the messages, by kind."""

GAP_LAYOUT = Layout(
    (
        Column("epoch", LABEL, "identity of the relay's numbering", may_be_missing=False),
        Column("offset", pa.int64(), "place in the log of a source outage; missing for a gap of one reader"),
        Column(
            "cause", LABEL, "source_outage, relay_restart, trimmed, slow_reader or not_archived", may_be_missing=False
        ),
        Column("started_at", TIME, "when the stretch began", may_be_missing=False),
        Column("ended_at", TIME, "when it ended", may_be_missing=False),
        Column("first_offset", pa.int64(), "first offset missed, where a count is known"),
        Column("last_offset", pa.int64(), "last offset missed, where a count is known"),
        Column("missed", pa.int64(), "how many entries were missed, where that is known"),
        Column("detail", TEXT, "one line for a person"),
    )
)
"""Columns of the gaps."""
