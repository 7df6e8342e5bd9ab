"""The facts of `top`: what the publisher does, how fast, how the relay is, and the totals, as lines of pieces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len, set_cell_size

from codeworm_monitor.activity import Stage
from codeworm_monitor.states.rates import KEPT
from codeworm_monitor.status import State
from codeworm_monitor.terminal.bars import bars
from codeworm_monitor.terminal.board import Board
from codeworm_monitor.terminal.lines import Line, Piece, clock_text, inert, length_text

__all__ = ["NO_TARGET", "activity_lines", "head_line", "health_lines", "rate_lines", "total_lines"]

_STAGES = {
    Stage.UNKNOWN: "dim",
    Stage.IDLE: "bold",
    Stage.STARTING: "bold cyan",
    Stage.ANALYZING: "bold cyan",
    Stage.GENERATING: "bold cyan",
    Stage.COMMITTED: "bold green",
    Stage.FAILED: "bold red",
    Stage.WAITING: "bold yellow",
    Stage.BACKING_OFF: "bold yellow",
    Stage.STOPPED: "bold red",
}
_STATES = {
    State.CONNECTED: ("●", "green"),
    State.CONNECTING: ("◌", "yellow"),
    State.RECONNECTING: ("◌", "bold yellow"),
    State.REFUSED: ("○", "bold red"),
    State.CLOSED: ("○", "bold red"),
}
_PARTS = " · "
NO_TARGET: Line = [(" no target", "dim")]
"""Stands where there is room for it, so that what is below does not jump."""


def head_line(board: Board, now: float, width: int, *, is_paused: bool = False) -> Line:
    """Return the first line: how the connection stands and where it leads to, and at the right the time."""
    sign, style = _STATES[board.state]
    line: Line = [(f" {sign} {board.state}", style)]
    if board.state is not State.CONNECTED:
        line.append((f" for {length_text(now - board.since)}", style))
        if board.reason:
            line.append((f": {board.reason}", style))
        if board.state is not State.CLOSED and board.retry_at > now:
            line.append((f", again in {length_text(board.retry_at - now)}", ""))
    if board.url:
        line.append((f"  {inert(board.url)}", "dim"))
    right = f"{'PAUSED  ' if is_paused else ''}{clock_text(now)} "
    room = max(0, width - len(right) - 1)
    line, used = _cut(line, room)
    return [*line, (" " * (width - used - len(right)), ""), (right, "bold yellow" if is_paused else "bold")]


def activity_lines(board: Board, now: float) -> list[Line]:
    """Return the stage, what is worked on, and what is awaited: three lines."""
    snapshot = board.snapshot
    at = board.relay_time(now)
    stage: Line = [(f" {str(snapshot.stage).replace('_', ' ').upper()}", _STAGES[snapshot.stage])]
    if snapshot.since is not None:
        stage.append((f" for {length_text(at - snapshot.since)}", ""))
    if snapshot.cycle_num is not None:
        stage.append((f"{_PARTS}cycle {snapshot.cycle_num}", "dim"))
    parts: Line = [(inert(snapshot.repo), "cyan")] if snapshot.repo else []
    if snapshot.target:
        parts.append((inert(snapshot.target), "bold"))
    parts += [(inert(text), "dim") for text in (snapshot.doc_type, snapshot.language) if text]
    return [stage, _joined(parts) if parts else NO_TARGET, _awaited(board, at)]


def _awaited(board: Board, at: float) -> Line:
    parts: Line = []
    if (due := board.due_at) is not None:
        left = due - at
        what = "retry" if board.snapshot.stage is Stage.BACKING_OFF else "next cycle"
        when = f"in {length_text(left)}" if left >= 0 else f"was due {length_text(-left)} ago"
        parts.append((f"{what} {when} ({clock_text(due)})", "" if left > -60 else "yellow"))
    heard_at = board.quiet.heard_at
    if heard_at is not None:
        quiet, limit = max(0.0, at - heard_at), board.quiet.limit()
        if limit is not None and quiet > limit and board.state is State.CONNECTED:
            parts.insert(0, (f"SILENT for {length_text(quiet)}: {length_text(limit)} were to be expected", "bold red"))
        else:
            parts.append((f"quiet for {length_text(quiet)}", "dim"))
    return _joined(parts) if parts else [(" nothing heard so far", "dim")]


def rate_lines(board: Board, now: float, width: int) -> list[Line]:
    """Return the bars of messages over the last minutes, and the rates in words: two lines."""
    at = board.relay_time(now)
    label = " messages "
    count = max(8, min(120, width - len(label) - 16))
    seconds = 5
    drawn = bars(board.rates.spans(at, count=min(count, KEPT // seconds), seconds=seconds))
    over = length_text(count * seconds)
    hour, day = board.commits_since(at - 3600), board.commits_since(at - 86_400)
    words: Line = [(f"{board.rates.per_second(at):.1f} messages/s", "")]
    if board.knows_since(at - 3600) or board.heard_since is None:
        words.append((f"{hour} documents in an hour", ""))
    else:
        words.append((f"{hour} documents in {length_text(at - board.heard_since)}", ""))
    if board.knows_since(at - 86_400) and board.heard_since is not None:
        hours = min(24.0, (at - board.heard_since) / 3600)
        if hours >= 2:
            words.append((f"{day / hours:.1f} an hour over {hours:.0f} h", "dim"))
    return [[(label, "dim"), (drawn, "cyan"), (f" {over}", "dim")], _joined(words)]


def health_lines(board: Board, now: float) -> list[Line]:
    """Return how connection, relay and what it keeps are: three lines, one more if there is Ollama to tell of."""
    at = board.relay_time(now)
    _, style = _STATES[board.state]
    link: Line = [(f"{board.state} {length_text(now - board.since)}", style)]
    link.append((f"lag {_milliseconds(board.lag)}", "" if board.lag is None or board.lag < 1 else "yellow"))
    if board.reconnects:
        link.append((f"{board.reconnects:,} reconnect{'' if board.reconnects == 1 else 's'}", "yellow"))
    gaps = f"{board.gaps:,} gap{'' if board.gaps == 1 else 's'}"
    if board.gaps and board.last_gap is not None:
        gaps += f", {board.last_gap.cause} {clock_text(board.last_gap.ended_at)}"
    link.append((gaps, "yellow" if board.gaps else "dim"))
    lines = [_joined(link)]
    known = board.info.get("statistics") if board.info is not None else None
    if not isinstance(known, dict):
        return [*lines, [(f" relay: {board.info_problem or 'not asked yet'}", "dim")], []]
    lines.append(_joined([*_upstream(known, at), *_archive(known)]))
    relay: Line = [(f"relay {board.version}", "dim")]
    if (started := _number(known.get("started_at"))) is not None:
        relay.append((f"up {length_text(at - started)}", "dim"))
    readers = _count(known, "readers")
    relay.append((f"{readers:,} reader{'' if readers == 1 else 's'}", ""))
    if _count(known, "readers_behind"):
        relay.append((f"{_count(known, 'readers_behind')} behind", "yellow"))
    if board.info_problem:
        relay.append((f"as it was: {board.info_problem}", "yellow"))
    lines.append(_joined(relay))
    return [*lines, *_ollama(board.info or {})]


def _upstream(known: dict[str, Any], at: float) -> Line:
    since = _number(known.get("upstream_since"))
    for_long = "" if since is None else f" {length_text(at - since)}"
    if known.get("is_connected") is True:
        return [(f"upstream heard{for_long}", "green")]
    reason = inert(str(known.get("upstream_reason") or ""), 120)
    return [(f"upstream NOT heard{for_long}{f': {reason}' if reason else ''}", "bold red")]


def _archive(known: dict[str, Any]) -> Line:
    archive = known.get("archive")
    if not isinstance(archive, dict):
        return [("nothing is kept", "dim")]
    if archive.get("is_writing") is True:
        waiting = _count(archive, "waiting")
        return [(f"archive written{f', {waiting:,} waiting' if waiting > 1000 else ''}", "green")]
    return [(f"archive NOT written: {inert(str(archive.get('reason') or ''), 120)}", "bold red")]


def _ollama(info: dict[str, Any]) -> list[Line]:
    told = info.get("ollama")
    if not isinstance(told, dict) or not isinstance(told.get("is_reachable"), bool):
        return []
    if not told["is_reachable"]:
        return [[(f" Ollama NOT reached: {inert(str(told.get('reason') or ''), 120)}", "bold red")]]
    models = told.get("models")
    loaded = [one for one in models if isinstance(one, dict)] if isinstance(models, list) else []
    names = [inert(str(one.get("name")), 60) for one in loaded[:3]]
    parts: Line = [("Ollama reached", "green"), (", ".join(names) or "no model loaded", "")]
    if _count(told, "size_vram"):
        parts.append((f"{_count(told, 'size_vram') / 1e9:.1f} GB of VRAM", "dim"))
    return [_joined(parts)]


def total_lines(board: Board, now: float) -> list[Line]:
    """Return the counters of the publisher, and its repositories if it tells them: one or two lines."""
    counters = board.snapshot.counters
    parts: Line = []
    if counters.total_documented is not None:
        parts.append((f"{counters.total_documented:,} in all", "bold"))
    midnight = _midnight(now) + board.skew
    today = board.commits_since(midnight)
    if board.knows_since(midnight) or board.heard_since is None:
        parts.append((f"{today:,} today", ""))
    else:
        parts.append((f"{today:,} since {clock_text(board.heard_since, '%H:%M')}", ""))
    if counters.last_7_days is not None:
        parts.append((f"{counters.last_7_days:,} in 7 days", ""))
    if counters.success_rate is not None:
        rate = counters.success_rate
        parts.append((f"success {rate:g} %", "green" if rate >= 90 else "yellow"))
    failures = board.failed_in_a_row
    if failures is not None:
        parts.append((f"{failures:,} failed in a row", "bold red" if failures else "dim"))
    by_repo = sorted(counters.by_repo.items(), key=lambda item: -item[1])
    repos: Line = [(f"{inert(name, 40)} {count:,}", "dim") for name, count in by_repo[:12]]
    return [_joined(parts), *([_joined(repos)] if repos else [])]


def _joined(parts: Line) -> Line:
    line: Line = []
    for text, style in parts:
        line += [(_PARTS if line else " ", "dim"), (text, style)]
    return line


def _cut(line: Line, room: int) -> tuple[Line, int]:
    """Return of a line what has room in so many cells, and how many it takes."""
    used, cut = 0, list[Piece]()
    for text, style in line:
        length = cell_len(text)
        if used + length > room:
            text = f"{set_cell_size(text, max(0, room - used - 1))}…"[: room - used]
            return [*cut, (text, style)], room
        cut.append((text, style))
        used += length
    return cut, used


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else length_text(seconds)


def _midnight(now: float) -> float:
    local = datetime.fromtimestamp(now, UTC).astimezone()
    return datetime(local.year, local.month, local.day).astimezone().timestamp()


def _number(value: Any) -> float | None:
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 else None
    )


def _count(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    return value if type(value) is int else 0
