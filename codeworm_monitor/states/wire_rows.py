"""Rows of the log panel as they go to a browser: `[offset, received_at, channel, data]`, and many of them as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from codeworm_monitor.envelope import Envelope, Gap

__all__ = ["LARGEST", "SKIPPED", "WireRow", "dump_newest", "dump_rows", "gap_row", "skipped_row", "wire_row"]

WireRow = list[Any]
"""Offset or None, Unix seconds, channel, data."""

LARGEST = 64 * 2**10
"""Bytes of a payload's JSON from which on its main fields stand for it."""
GAP = "gap"
SKIPPED = "skipped"

_TOGETHER = 64
"""Rows that are written at once; a piece of so many that is smaller than `LARGEST` holds no large one."""
_DEEPEST = 100
"""Nesting that is written; orjson writes no deeper than 254."""
_SHORT, _ERROR, _TRACEBACK = 200, 2_000, 4_000
"""Characters kept of a main field: they take six bytes each at worst, and all together stay below `LARGEST`."""
_MAIN = {
    **dict.fromkeys(("event", "type", "level", "component", "timestamp", "target", "repo", "doc_type"), _SHORT),
    **dict.fromkeys(("cycle_num", "commit", "tokens", "time_ms"), _SHORT),
    **{"error": _ERROR, "raw": _ERROR, "exception": _TRACEBACK},
}


def wire_row(envelope: Envelope, payload: Any) -> WireRow:
    """Return the row of a message; the payload is not copied."""
    return [envelope.offset, envelope.received_at, envelope.channel, payload]


def gap_row(gap: Gap) -> WireRow:
    """Return the row of a gap, which stands at its end."""
    told = {
        "cause": str(gap.cause),
        "started_at": gap.started_at,
        "ended_at": gap.ended_at,
        "missed": gap.missed,
        "detail": gap.detail,
    }
    return [gap.offset, gap.ended_at, GAP, told]


def skipped_row(count: int, at: float) -> WireRow:
    """Return the row that stands for rows which are not sent.

    Args:
        count: How many.
        at: When the newest of them was read, Unix seconds.
    """
    return [None, at, SKIPPED, {"count": count}]


def dump_rows(rows: Sequence[WireRow]) -> bytes:
    """Return rows as a JSON array in UTF-8; never raises for what they hold.

    A payload over `LARGEST` goes as its main fields, cut, and `truncated`, the bytes that it has. What JSON cannot hold
    is written as text: nesting beyond 100, halves of characters, integers over 64 bits.
    """
    return b"[%b]" % b",".join(_pieces(rows))


def dump_newest(rows: Sequence[WireRow], most: int) -> tuple[bytes, int]:
    """Return the newest rows that fit, as `dump_rows` does, and how many they are.

    Args:
        rows: The oldest first.
        most: Bytes that they may take in all; the newest piece of 64 rows goes whatever it takes.
    """
    kept: list[bytes] = []
    count, size, end = 0, 2, len(rows)
    while end > 0:
        start = max(0, end - _TOGETHER)
        pieces = list(_pieces(rows[start:end]))
        size += sum(map(len, pieces)) + len(pieces)
        if kept and size > most:
            break
        kept.append(b",".join(pieces))
        count, end = count + end - start, start
    kept.reverse()
    return b"[%b]" % b",".join(kept), count


def _pieces(rows: Sequence[WireRow]) -> Iterator[bytes]:
    """Yield rows without the brackets around them, as many at once as is safe."""
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        try:
            text = orjson.dumps(some)
        except (TypeError, RecursionError):  # orjson's JSONEncodeError is a TypeError
            text = b""
        if text and len(text) <= LARGEST:
            yield text[1:-1]
        else:
            yield from map(_dumped, some)


def _dumped(row: WireRow) -> bytes:
    try:
        text = orjson.dumps(row)
    except (TypeError, RecursionError):
        row = [_sound(value) for value in row]
        text = orjson.dumps(row)
    if len(text) <= LARGEST:
        return text
    *place, channel, data = row
    channel = channel[:_SHORT] if isinstance(channel, str) else ""
    return orjson.dumps([*place, channel, {**_main_fields(data), "truncated": len(text)}])


def _main_fields(payload: Any) -> dict[str, Any]:
    """Return what a payload says, in few words, ready for JSON."""
    if not isinstance(payload, dict):
        return {"raw": payload[:_ERROR]} if isinstance(payload, str) else {}
    kept = {name: cut for name in _MAIN if (cut := _cut(name, payload.get(name))) is not None}
    inner = payload.get("data")
    if isinstance(inner, dict):
        kept["data"] = {
            name: cut for name in _MAIN if _MAIN[name] == _SHORT and (cut := _cut(name, inner.get(name))) is not None
        }
    return kept


def _cut(name: str, value: Any) -> Any:
    if isinstance(value, str):
        most = _MAIN[name]
        return value if len(value) <= most else f"{value[: most - 1]}…"
    return value if isinstance(value, int | float) else None


def _sound(value: Any, depth: int = 0) -> Any:
    """Return what comes nearest to a value of those that JSON can hold."""
    match value:
        case None | bool():
            return value
        case str():
            return value if value.isascii() else value.encode(errors="replace").decode()
        case int():
            return int(value) if -(2**63) <= value < 2**64 else "an integer over 64 bits"
        case float():
            return float(value) if math.isfinite(value) else None
        case dict() | list() | tuple() if depth >= _DEEPEST:
            return "…"
        case dict():
            return {
                _sound(key, depth) if isinstance(key, str) else "?": _sound(one, depth + 1)
                for key, one in value.items()
            }
        case list() | tuple():
            return [_sound(one, depth + 1) for one in value]
        case _:
            return "?"
