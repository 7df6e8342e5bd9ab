"""Lines: one line for a record or a gap, as pieces of inert text with a style each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from codeworm_monitor.analysis.blame import last_line
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.logformat import printable
from codeworm_monitor.moments import in_two_units
from codeworm_monitor.records import RELAY_CHANNEL, AnyRecord, LogLine, StatsSnapshot, WormEvent, level_rank

__all__ = [
    "Line",
    "Piece",
    "ansi_text",
    "clock_text",
    "day_line",
    "details",
    "failure_text",
    "gap_line",
    "inert",
    "length_text",
    "plain_text",
    "record_line",
    "subject_of",
    "traceback_lines",
]

Piece = tuple[str, str]
"""Text and its style, in the words that rich has for one; empty: none. No style names a background, or black or white."""
Line = list[Piece]

LONGEST = 300
"""Characters shown of one text; of an error four times as many."""
MOST_DETAILS = 8
"""Keys shown that are no field of the record."""

LEVEL_STYLES = {0: "dim", 1: "green", 2: "yellow", 3: "red", 4: "bold red"}
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_USUAL = frozenset({"codeworm:logs", "codeworm:events", "codeworm:stats", RELAY_CHANNEL})
_CAUSES = {
    GapCause.SOURCE_OUTAGE: "the relay did not hear the publisher",
    GapCause.RELAY_RESTART: "the relay was away",
    GapCause.TRIMMED: "older than what is kept",
    GapCause.SLOW_READER: "taken too slowly",
    GapCause.NOT_ARCHIVED: "the archive could not be written",
}


def inert(text: str, longest: int = LONGEST) -> str:
    """Return text in one line that a terminal takes for text alone: no control character, none that turns the direction.

    Args:
        text: Anybody's.
        longest: Characters; of a longer text the beginning, and an ellipsis.
    """
    text, is_cut = text[: 2 * longest], len(text) > 2 * longest
    if not text.isprintable():
        text = printable(" ".join(_ESCAPES.sub("", text).split()))
    return text if len(text) <= longest and not is_cut else f"{text[: longest - 1]}…"


def clock_text(seconds: float, form: str = "%H:%M:%S") -> str:
    """Return Unix seconds as a time of this machine; a question mark for what is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return "?"


def length_text(seconds: float) -> str:
    """Return a length of time in its two largest units; under ten seconds with a decimal."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    return f"{seconds:.1f} s" if seconds < 9.95 else in_two_units(seconds)


def day_line(received_at: float) -> Line:
    """Return the line before the first record of a day."""
    return [(f"== {clock_text(received_at, '%A %Y-%m-%d, UTC%z')}", "dim")]


def record_line(record: AnyRecord, received_at: float, channel: str, mark: str | None = None) -> Line:
    """Return the line of a record: time, level, component, what happened, to what, and what went wrong.

    Args:
        record: Of any kind.
        received_at: When the relay read it, in Unix seconds.
        channel: Where it was published; shown if it is none of CodeWorm's.
        mark: See `envelope.Mark`.
    """
    line: Line = [(f"{clock_text(received_at)} ", "dim")]
    match record:
        case LogLine():
            rank = level_rank(record.level)
            style = "" if rank is None else LEVEL_STYLES[rank]
            line.append((f"{inert(record.level or '', 12):8} ", style))
            line.append((f"{inert(record.component or '', 40):8} ", "cyan"))
            line.append(
                (f"{inert(record.event or mark or 'message', 80):26}", "bold" if rank is None or rank < 3 else style)
            )
        case WormEvent():
            line.append((f"{'event':8} ", "blue"))
            line.append((f"{'':8} ", ""))
            line.append((f"{inert(record.type or mark or 'event', 80):26}", "bold"))
        case StatsSnapshot():
            line.append((f"{'stats':8} ", "magenta"))
            line.append((f"{'':8} ", ""))
            line.append((f"{'stats':26}", "bold"))
    if channel not in _USUAL:
        line.append((f" [{inert(channel, 60)}]", "dim"))
    line += [(f" {text}", style) for text, style in _told(record)]
    last, style = line[-1]
    line[-1] = (last.rstrip(), style)
    return line


def _told(record: AnyRecord) -> Iterator[Piece]:
    """Yield what a record tells beside its name."""
    if isinstance(record, StatsSnapshot):
        counters = list(_counters(record))
        yield from [(f"{text} ·", style) for text, style in counters[:-1]] + counters[-1:]
    else:
        if subject := subject_of(record):
            yield subject, ""
        if record.doc_type:
            yield inert(record.doc_type, 40), "dim"
        if record.cycle_num is not None:
            yield f"cycle {record.cycle_num}", ""
        if record.commit:
            yield inert(record.commit, 40), "yellow"
        if record.tokens is not None:
            yield f"{record.tokens:,} tokens", "dim"
        if record.time_ms is not None:
            yield f"in {length_text(record.time_ms / 1000)}", "dim"
        if isinstance(record, WormEvent):
            if record.next_cycle_at is not None:
                yield f"at {clock_text(record.next_cycle_at.timestamp())}", ""
            if record.commit_message:
                yield inert(record.commit_message), "dim"
    yield from details(record.extra)
    if isinstance(record, LogLine) and (failure := failure_text(record)):
        rank = level_rank(record.level)
        yield failure, "yellow" if rank == 2 else "red"


def subject_of(record: LogLine | WormEvent) -> str:
    """Return what a record is about: repository and target, as far as it names them."""
    return " · ".join(inert(text) for text in (record.repo, record.target) if text)


def failure_text(record: LogLine) -> str:
    """Return what went wrong: the error, and the last line of the traceback if that says more."""
    error = inert(record.error or "", 4 * LONGEST)
    last = inert(last_line(record.exception), 4 * LONGEST) if record.exception else ""
    if not error or last.endswith(error):
        return last or error
    return f"{error} ({last})" if last and last not in error else error


def _counters(record: StatsSnapshot) -> Iterator[Piece]:
    counts = (
        (record.total_documented, "{:,} documents", ""),
        (record.last_7_days, "{:,} in 7 days", ""),
        (record.success_rate, "{:g} % of cycles well", ""),
        (record.consecutive_failures, "{:,} failures in a row", "red" if record.consecutive_failures else "dim"),
    )
    for value, form, style in counts:
        if value is not None:
            yield form.format(value), style
    most = sorted(record.by_repo.items(), key=lambda item: -item[1])[:MOST_DETAILS]
    if most:
        yield ", ".join(f"{inert(name, 60)} {count:,}" for name, count in most), "dim"


def details(extra: dict[str, Any]) -> Iterator[Piece]:
    """Yield what a record says beside its fields, a piece a key."""
    for number, (key, value) in enumerate(extra.items()):
        if number == MOST_DETAILS:
            yield "…", "dim"
            return
        if value is None:
            continue
        yield f"{inert(key, 40)}={_detail(value)}", "dim"


def _detail(value: object) -> str:
    if isinstance(value, str):
        if len(value) <= 40 and len(value) >= 19 and value[4:5] == "-":
            try:
                time = datetime.fromisoformat(value)
            except ValueError:
                return inert(value)
            return inert(value) if time.tzinfo is None else clock_text(time.timestamp())
        return inert(value)
    try:
        return inert(orjson.dumps(value).decode(), 120)
    except TypeError:  # deeper than it writes
        return "…"


def gap_line(gap: Gap) -> Line:
    """Return the line of a gap: from when to when, how long, why, and how many are missing if that is known."""
    length = gap.ended_at - gap.started_at
    span = f"{clock_text(gap.started_at)} to {clock_text(gap.ended_at)} ({length_text(length)})"
    if length <= 0:
        span = f"before {clock_text(gap.ended_at)}"
    missed = "" if gap.missed is None else f", {gap.missed:,} missing"
    detail = f": {inert(gap.detail)}" if gap.detail else ""
    return [(f"-- gap {span}: {_CAUSES[gap.cause]} ({gap.cause}){missed}{detail}", "bold yellow")]


def traceback_lines(record: AnyRecord) -> Iterator[Line]:
    """Yield the lines of a record's traceback, if it has one."""
    if isinstance(record, LogLine) and record.exception:
        for text in record.exception.rstrip().splitlines():
            yield [(f"    {inert(text, 4 * LONGEST)}", "dim")]


def plain_text(line: Iterable[Piece]) -> str:
    """Return a line without colour."""
    return "".join(text for text, _ in line)


def ansi_text(line: Iterable[Piece]) -> str:
    """Return a line with the colours of the terminal's own palette."""
    return "".join(
        f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m" if style else text
        for text, style in line
    )
