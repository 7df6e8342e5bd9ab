"""The view of `top`: from a board and a size to the lines of the screen; no terminal, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from codeworm_monitor.terminal.board import Board, Commit, Failure
from codeworm_monitor.terminal.lines import Line, clock_text, length_text
from codeworm_monitor.terminal.top_facts import (
    NO_TARGET,
    activity_lines,
    head_line,
    health_lines,
    rate_lines,
    total_lines,
)

__all__ = ["fitted", "help_view", "top_view"]

NARROWEST_TITLED = 60
SHORTEST_TITLED = 20
"""A smaller screen has no titles: their lines are wanted for what they stand above."""
WIDE, WIDEST = 110, 160
"""Columns from which on blocks stand side by side, and lists too."""
GUTTER = 2

_KEYS: Line = [(" q", "bold"), (" quit  ", "dim"), ("p", "bold"), (" pause  ", "dim"), ("?", "bold"), (" help", "dim")]
_HELP = (
    ("q, Esc, Ctrl-C", "quit"),
    ("p, space", "pause: the screen stands still, what comes is counted on"),
    ("?, h", "this page; any key leaves it"),
    ("Ctrl-Z", "give the terminal back until `fg`"),
    ("", ""),
    ("quiet", "since the newest message of the publisher; a warning once it is longer than usual"),
    ("lag", "from the relay's reading of a message until it was here"),
    ("gap", "a stretch in which messages were, or may have been, missed"),
    ("upstream", "whether the relay hears the publisher's Redis"),
    ("today", "documents since midnight of this machine"),
)


@dataclass(frozen=True, slots=True)
class _Block:
    title: str
    lines: list[Line]


def top_view(board: Board, now: float, *, width: int, height: int, is_paused: bool = False) -> list[Text]:
    """Return the lines of the screen, `height` of them at most, none wider than `width` cells.

    What is too long ends in an ellipsis; where the screen is small, the blocks lose first their titles, then lines.

    Args:
        board: What is shown.
        now: The time of this machine, Unix seconds.
        width: Columns.
        height: Rows.
        is_paused: Whether the screen stands still.
    """
    room = max(0, height - 2)
    head = head_line(board, now, width, is_paused=is_paused)
    if width < NARROWEST_TITLED or height < SHORTEST_TITLED:
        body = _small(board, now, width, room)
    else:
        body = _titled(board, now, width, room)
    body = body[:room] + [Text()] * (room - len(body))
    lines = [fitted(head, width), *body, fitted(_KEYS, width)]
    return lines[:height] if height >= 2 else lines[: max(1, height)]


def help_view(*, width: int, height: int) -> list[Text]:
    """Return the page that tells the keys and the words."""
    lines: list[Line] = [[("codeworm_monitor top", "bold")], []]
    lines += [[(f" {name:16}", "bold"), (text, "")] for name, text in _HELP]
    return [fitted(line, width) for line in lines[:height]]


def fitted(line: Iterable[tuple[str, str]], width: int, *, pad: bool = False) -> Text:
    """Return pieces as one text of at most `width` cells; what does not fit gives way to an ellipsis."""
    text = Text(no_wrap=True)
    for piece, style in line:
        text.append(piece, style)
    text.truncate(max(0, width), overflow="ellipsis", pad=pad)
    return text


def _small(board: Board, now: float, width: int, room: int) -> list[Text]:
    facts = [
        *(line for line in activity_lines(board, now) if line is not NO_TARGET),
        *rate_lines(board, now, width)[-1:],
        *health_lines(board, now)[:1],
        *total_lines(board, now)[:1],
    ]
    left = max(0, room - len(facts))
    failures = _failure_rows(board.failures, now, width, left - left // 2 if board.commits else left)
    commits = _commit_rows(board.commits, now, width, left - len(failures))
    return [fitted(line, width) for line in facts] + failures + commits


def _titled(board: Board, now: float, width: int, room: int) -> list[Text]:
    is_wide = width >= WIDE
    half = (width - GUTTER) // 2
    across = half if is_wide else width
    activity = _Block("Activity", activity_lines(board, now))
    rates = _Block("Rates", rate_lines(board, now, across))
    health = _Block("Health", health_lines(board, now))
    totals = _Block("Documents", total_lines(board, now))
    spaced = room >= 28
    if is_wide:
        left = _stack((activity, rates), half, is_spaced=spaced)
        right = _stack((health, totals), width - GUTTER - half, is_spaced=spaced)
        body = _side_by_side(left, right, half)
    else:
        body = _stack((activity, rates, health, totals), width, is_spaced=spaced)
    left_over = room - len(body)
    if left_over < 4:
        return body
    if width >= WIDEST:
        rows = left_over - 1
        return body + _side_by_side(
            [_title("Newest commits", half), *_commit_rows(board.commits, now, half, rows)],
            [_title("Newest errors", width - GUTTER - half), *_failure_rows(board.failures, now, half, rows)],
            half,
        )
    rows = left_over - 2 - spaced
    failures = _failure_rows(board.failures, now, width, rows - rows // 2)
    commits = _commit_rows(board.commits, now, width, rows - max(len(failures), min(3, rows // 2)))
    return [
        *body,
        _title("Newest commits", width),
        *commits,
        *([Text()] if spaced else []),
        _title("Newest errors", width),
        *_failure_rows(board.failures, now, width, rows - len(commits)),
    ]


def _title(text: str, width: int) -> Text:
    return fitted([("── ", "dim"), (text, "bold"), (f" {'─' * max(0, width - len(text) - 4)}", "dim")], width)


def _stack(blocks: Sequence[_Block], width: int, *, is_spaced: bool) -> list[Text]:
    lines: list[Text] = []
    for block in blocks:
        lines.append(_title(block.title, width))
        lines += [fitted(line, width) for line in block.lines]
        if is_spaced:
            lines.append(Text())
    return lines


def _side_by_side(left: list[Text], right: list[Text], width: int) -> list[Text]:
    """Return lines made of two, the left ones `width` cells wide."""
    rows: list[Text] = []
    for number in range(max(len(left), len(right))):
        row = left[number].copy() if number < len(left) else Text(no_wrap=True)
        row.truncate(width, pad=True)
        row.append(" " * GUTTER)
        if number < len(right):
            row.append_text(right[number])
        rows.append(row)
    return rows


def _moment(at: float, now: float) -> str:
    """Return a time of today as such, one of another day with its date, in nine characters."""
    is_today = clock_text(at, "%Y-%m-%d") == clock_text(now, "%Y-%m-%d")
    return f"{clock_text(at) if is_today else clock_text(at, '%d %b'):8} "


def _columns(cells: Sequence[Sequence[tuple[str, str]]], widths: Sequence[int], width: int) -> list[Text]:
    """Return rows of cells, each column as wide as given; the last one takes what is left."""
    rows = []
    for row in cells:
        text = Text(" ", no_wrap=True)
        for (content, style), across in zip(row, widths, strict=False):
            cell = Text(content, style, no_wrap=True)
            cell.truncate(across, overflow="ellipsis", pad=True)
            text.append_text(cell)
            text.append(" ")
        for content, style in row[len(widths) :]:
            text.append(content, style)
        text.truncate(width, overflow="ellipsis")
        rows.append(text)
    return rows


def _widest(texts: Iterable[str], most: int) -> int:
    return min(most, max((Text(text).cell_len for text in texts), default=0))


def _commit_rows(commits: Iterable[Commit], now: float, width: int, room: int) -> list[Text]:
    chosen = list(commits)[: max(0, room)]
    if room > 0 and not chosen:
        return [fitted([(" none so far", "dim")], width)]
    repo = _widest((one.repo for one in chosen), max(6, width // 6))
    if width < NARROWEST_TITLED:
        cells = [[(_moment(one.at, now).rstrip(), "dim"), (one.repo, "cyan"), (one.target, "")] for one in chosen]
        return _columns(cells, [8, repo], width)
    kind = _widest((one.doc_type for one in chosen), 20)
    ends = [_ending(one) for one in chosen]
    end = _widest((text for text, _ in ends), 20)
    target = max(8, min(width - 8 - repo - kind - end - 6, _widest((one.target for one in chosen), width)))
    cells = [
        [(_moment(one.at, now).rstrip(), "dim"), (one.repo, "cyan"), (one.target, ""), (one.doc_type, "dim"), last]
        for one, last in zip(chosen, ends, strict=True)
    ]
    return _columns(cells, [8, repo, target, kind], width)


def _ending(commit: Commit) -> tuple[str, str]:
    seconds = "" if commit.seconds is None else length_text(commit.seconds)
    return f"{commit.commit:8} {seconds}".rstrip(), "dim"


def _failure_rows(failures: Iterable[Failure], now: float, width: int, room: int) -> list[Text]:
    chosen = list(failures)[: max(0, room)]
    if room > 0 and not chosen:
        return [fitted([(" no error so far", "dim")], width)]
    name = _widest((one.name for one in chosen), 26 if width >= NARROWEST_TITLED else 14)
    cells = []
    for one in chosen:
        style = "yellow" if one.is_warning else "red"
        told = f"{one.subject}: {one.text}" if one.subject and one.text else one.subject or one.text
        cells.append([(_moment(one.at, now).rstrip(), "dim"), (one.name, style), (told, "")])
    return _columns(cells, [8, name], width)
