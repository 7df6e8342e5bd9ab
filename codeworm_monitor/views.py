"""Views: what the tables of `sql` are made of, as SQL for DuckDB.

Columns that the archive's files carry are taken as they are; the others come out of the payload when a query asks for
them. What has not the type of its column is NULL, as in the frames, where it is in `extra`.
"""

from __future__ import annotations

from codeworm_monitor.columns import GAP_LAYOUT, LAYOUTS, TIME, Column
from codeworm_monitor.envelope import GapCause
from codeworm_monitor.records import Kind

__all__ = ["CYCLES", "DOCUMENTS", "LABELS", "STORED_COLUMNS", "gaps_view", "label", "message_view"]

LABELS = ("level", "component", "event", "type", "repo", "target", "doc_type")
"""What the files carry of a payload, in columns of their own."""
STORED_COLUMNS = ("epoch", "offset", "received_at", "channel", "kind", *LABELS, "mark", "payload")
"""Columns of all that is stored, in the database or in files."""

_NOT_EXTRACTED = frozenset({"extra"})
_SHAPE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?"
_QUARTER = 900
"""Seconds; all UTC offsets in use are multiples of it."""


def _found(place: str) -> str:
    """What stands at a place of the payload, as JSON text. DuckDB looks it up once, however often it is named."""
    return f"CAST(json_extract(payload, '{place}') AS VARCHAR)"


def _text(place: str) -> str:
    return f"CASE WHEN starts_with({_found(place)}, '\"') THEN json_extract_string({_found(place)}, '$') END"


def _integer(place: str) -> str:
    return f"CASE WHEN regexp_full_match({_found(place)}, '-?\\d+') THEN TRY_CAST({_found(place)} AS BIGINT) END"


def _number(place: str) -> str:
    # An integer that has not room in 64 bits is none here either.
    return (
        f"CASE WHEN regexp_full_match({_found(place)}, '-?\\d+') THEN CAST(TRY_CAST({_found(place)} AS BIGINT) AS DOUBLE) "
        f"WHEN regexp_full_match({_found(place)}, '-?\\d.*') THEN TRY_CAST({_found(place)} AS DOUBLE) END"
    )


def _offset(place: str) -> str:
    """The publisher's UTC offset in seconds, from a time without a zone and when it was received; NULL if it tells none.

    As `records.PublisherClock` learns it, but message by message, and taking the publisher's clock for right.
    """
    difference = f"(epoch(TRY_CAST({_text(place)} AS TIMESTAMP)) - epoch(received_at))"
    rounded = f"(round({difference} / {_QUARTER}) * {_QUARTER})"
    return (
        f"CASE WHEN regexp_full_match({_text(place)}, '{_SHAPE}') AND abs({rounded}) <= 52200 "
        f"AND abs({difference} - {rounded}) < {_QUARTER / 3} THEN {rounded} END"
    )


def _time(place: str, own: str) -> str:
    """A time; without a zone, it is of the zone in which the message's own time is."""
    text = _text(place)
    time = (
        f"CASE WHEN regexp_full_match({text}, '{_SHAPE}(Z|[+-]\\d\\d:\\d\\d)') THEN TRY_CAST({text} AS TIMESTAMPTZ) "
        f"WHEN regexp_full_match({text}, '{_SHAPE}') "
        f"THEN CAST(TRY_CAST({text} AS TIMESTAMP) - to_seconds({_offset(own)}) AS TIMESTAMPTZ) END"
    )
    years = "TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
    return f"CASE WHEN ({time}) BETWEEN {years} THEN {time} END"


def label(kind: Kind, name: str) -> str:
    """Return what finds one of `LABELS` in a payload."""
    nested = kind is Kind.EVENTS and name in ("repo", "target", "doc_type")
    found = _text(f"$.data.{name}" if nested else f"$.{name}")
    return f"lower({found})" if name == "level" else found


def _extracted(kind: Kind, column: Column) -> str:
    name = column.name
    if name in STORED_COLUMNS:
        return f'"{name}"'
    outer = kind is not Kind.EVENTS or name == "timestamp"
    place = f"$.{name}" if outer else f"$.data.{'time' if name == 'next_cycle_at' else name}"
    if column.type == TIME:
        return f'TRY({_time(place, "$.timestamp")}) AS "{name}"'
    if name == "by_repo":
        found = f"CASE WHEN starts_with({_found(place)}, '{{') THEN {_found(place)} END"
    else:
        found = {"int64": _integer, "double": _number}.get(str(column.type), _text)(place)
    return f'TRY({found}) AS "{name}"'


def message_view(kind: Kind, sources: list[str], live: str | None) -> str:
    """Return what makes the view of a kind.

    Args:
        kind: Which.
        sources: Queries of stored messages of that kind, with `STORED_COLUMNS`.
        live: Name of a table with the columns of the frames; None: there is none.
    """
    columns = [column for column in LAYOUTS[kind].columns if column.name not in _NOT_EXTRACTED]
    taken = ", ".join(_extracted(kind, column) for column in columns)
    selects = [f"SELECT {taken}, payload FROM ({source})" for source in sources]
    if live is not None:
        names = ", ".join(f'CAST("{one.name}" AS {_sql_type(one)}) AS "{one.name}"' for one in columns)
        selects.append(f"SELECT {names}, CAST(NULL AS VARCHAR) AS payload FROM {live}")
    return f"CREATE OR REPLACE VIEW {kind} AS {' UNION ALL '.join(selects)}"


def gaps_view(sources: list[str], live: str | None) -> str:
    """Return what makes the view of the gaps; arguments as for `message_view`."""
    taken = []
    for column in GAP_LAYOUT.columns:
        place = f"json_extract_string(payload, '$.{column.name}')"
        match column.name:
            case "epoch" | "offset":
                taken.append(f'"{column.name}"')
            case "started_at" | "ended_at":
                taken.append(
                    f'CAST(make_timestamp(CAST(round(CAST({place} AS DOUBLE) * 1e6) AS BIGINT)) AS TIMESTAMPTZ) AS "{column.name}"'
                )
            case "missed":
                first, last = (
                    f"CAST(json_extract_string(payload, '$.{name}') AS BIGINT)"
                    for name in ("first_offset", "last_offset")
                )
                # As `Gap.missed`: of the offsets set aside for a relay that crashed, most were never given.
                cause = "json_extract_string(payload, '$.cause')"
                taken.append(f"CASE WHEN {cause} <> '{GapCause.RELAY_RESTART}' THEN {last} - {first} + 1 END AS missed")
            case name:
                taken.append(f'CAST({place} AS {_sql_type(column)}) AS "{name}"')
    selects = [f"SELECT {', '.join(taken)} FROM ({source})" for source in sources]
    if live is not None:
        names = ", ".join(f'CAST("{one.name}" AS {_sql_type(one)}) AS "{one.name}"' for one in GAP_LAYOUT.columns)
        selects.append(f"SELECT {names} FROM {live}")
    return f"CREATE OR REPLACE VIEW gaps AS {' UNION ALL '.join(selects)}"


def _sql_type(column: Column) -> str:
    return {"int64": "BIGINT", "double": "DOUBLE"}.get(
        str(column.type), "TIMESTAMPTZ" if column.type == TIME else "VARCHAR"
    )


DOCUMENTS = """
CREATE OR REPLACE VIEW documents AS
SELECT received_at, target, repo, doc_type, language, "commit", commit_message, tokens, time_ms
FROM events WHERE type = 'documentation_committed'
"""

CYCLES = """
CREATE OR REPLACE VIEW cycles AS
WITH said AS MATERIALIZED (
    SELECT received_at, epoch, "offset", event AS step, true AS is_log, cycle_num, target, repo, doc_type, tokens, time_ms,
        "commit", error
    FROM logs WHERE event IN ('cycle_starting', 'documenting', 'documentation_committed', 'documentation_failed', 'llm_error',
        'cycle_skipped_no_candidates', 'dry_run_complete', 'scheduled_task_error', 'daemon_starting', 'daemon_stopped')
    UNION ALL
    SELECT received_at, epoch, "offset", type, false, cycle_num, target, repo, doc_type, tokens, time_ms, "commit", NULL
    FROM events WHERE type IN ('cycle_starting', 'analyzing', 'generating', 'documentation_committed')
), starts AS (
    -- The log and the event of one start lie within milliseconds; either may be missing.
    SELECT epoch, "offset",
        lag(received_at) OVER w IS NULL OR lag(cycle_num) OVER w IS DISTINCT FROM cycle_num
        OR lag(is_log) OVER w = is_log OR received_at - lag(received_at) OVER w > INTERVAL 5 SECONDS AS is_first
    FROM said WHERE step = 'cycle_starting'
    WINDOW w AS (ORDER BY received_at, epoch, "offset")
), numbered AS (
    SELECT said.*, count(*) FILTER (coalesce(is_first, false)) OVER (ORDER BY said.received_at, said.epoch, said."offset") AS id
    FROM said LEFT JOIN starts ON said.epoch = starts.epoch AND said."offset" = starts."offset"
), ends AS (
    SELECT *, CASE step
        WHEN 'documentation_committed' THEN 'committed' WHEN 'documentation_failed' THEN 'failed'
        WHEN 'scheduled_task_error' THEN 'failed' WHEN 'llm_error' THEN 'llm_error'
        WHEN 'cycle_skipped_no_candidates' THEN 'skipped' WHEN 'dry_run_complete' THEN 'dry_run' END AS outcome
    FROM numbered WHERE id > 0
), grouped AS (
    SELECT id, min(received_at) AS started_at,
        arg_min(cycle_num, (received_at, "offset")) FILTER (step = 'cycle_starting') AS cycle_num,
        arg_max(target, (received_at, "offset")) FILTER (target IS NOT NULL) AS target,
        arg_max(repo, (received_at, "offset")) FILTER (repo IS NOT NULL) AS repo,
        arg_max(doc_type, (received_at, "offset")) FILTER (doc_type IS NOT NULL) AS doc_type,
        max(tokens) FILTER (outcome IN ('committed', 'dry_run')) AS tokens,
        max(time_ms) FILTER (outcome IN ('committed', 'dry_run')) AS time_ms,
        max("commit") FILTER (outcome = 'committed') AS "commit",
        arg_min(outcome, (received_at, "offset")) FILTER (outcome IS NOT NULL) AS outcome,
        min(received_at) FILTER (outcome IS NOT NULL) AS ended_at,
        min(received_at) FILTER (step IN ('daemon_starting', 'daemon_stopped')) AS stopped_at,
        arg_min(error, (received_at, "offset")) FILTER (outcome IN ('failed', 'llm_error')) AS error
    FROM ends GROUP BY id
)
SELECT cycle_num, started_at,
    coalesce(ended_at, stopped_at, lead(started_at) OVER (ORDER BY id)) AS ended_at,
    target, repo, doc_type, tokens, time_ms, "commit",
    CASE WHEN outcome IS NOT NULL THEN outcome
        WHEN coalesce(stopped_at, lead(started_at) OVER (ORDER BY id)) IS NULL THEN 'running' ELSE 'interrupted' END AS outcome,
    error
FROM grouped
"""
"""One row a documentation cycle: from one `cycle_starting` to the next. A cycle says nothing of its number at its end."""
