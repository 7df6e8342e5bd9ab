"""Error lines: the log lines that tell of something wrong, each with its template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from codeworm_monitor.analysis.blame import last_line
from codeworm_monitor.analysis.coverage import Micros
from codeworm_monitor.analysis.sequence import Places, Sequence, coded, heard_at
from codeworm_monitor.analysis.templates import READ, clean, template, templates
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.columns import LAYOUTS, TEXT
from codeworm_monitor.conditions import Conditions
from codeworm_monitor.records import Kind, level_rank

__all__ = ["ErrorLines", "Level", "error_lines", "event_name", "root_of"]

Level = str | list[str] | None
"""Of the lines that count, as for `where`; None: all."""

_NAME = 120  # characters of an event's name
_ROOT = 200  # and of a place in a program
_AT_ONCE = 10_000  # whole texts in memory
_FRAME = re.compile(r'^ {2,8}File "([^"\n]{1,500})"(?:, line ([0-9]{1,9}))?, in ([^\n]{1,200})$', re.MULTILINE)
_NOT_OURS = re.compile(r"[/\\](?:site|dist)-packages[/\\]|[/\\]lib[/\\]python[0-9]|^<")
_FOLDERS = re.compile(r"[/\\]")
_WORDED = ("error", "message", "msg", "reason", "detail", "raw", "value")
"""Under these names other programs say what happened."""


@dataclass(frozen=True, slots=True)
class ErrorLines:
    """Log lines that count, in the order of the relay's log, each once; arrays have one entry a line.

    Attributes:
        rows: Of the logs.
        places: In the sequence.
        times: Microseconds, by the relay's clock.
        levels: Which of `ranked` each has; -1: none.
        ranked: Levels, the worst last.
        events: Which of `names` each has; -1: none.
        names: Events, see `event_name`.
        codes: Which of `templates` each has.
        templates: Distinct templates.
        sequence: All messages.
    """

    rows: Places
    places: Places
    times: Micros
    levels: Places
    ranked: list[str]
    events: Places
    names: list[str]
    codes: Places
    templates: list[str]
    sequence: Sequence


def error_lines(traffic: Traffic, level: Level) -> ErrorLines:
    """Return the log lines of a level, made once.

    Raises:
        TypeError: `level` has the wrong type.
        ValueError: `level` cannot be read.
    """
    key = ("error_lines", str(level))
    found = traffic.found.get(key)
    if not isinstance(found, ErrorLines):
        found = traffic.found[key] = _read(traffic, level)
    return found


def event_name(event: str) -> str:
    """Return the name of an event, or, if it is a sentence, its template."""
    return template(event) if " " in event.strip() else clean(event, _NAME)


def _raised(traceback: str) -> str:
    return last_line(traceback).strip()


def root_of(traceback: str) -> str | None:
    """Return where an exception was raised, as `file:line function`; None: the text does not say.

    It is the innermost place that is neither Python's nor a library's, or, without one, the innermost. The file has
    only its last folder: where a program is installed makes no difference.
    """
    frames = [match.groups() for match in _FRAME.finditer(traceback)]
    if not frames:
        return None
    file, line, function = next((one for one in reversed(frames) if not _NOT_OURS.search(one[0])), frames[-1])
    place = "/".join(_FOLDERS.split(file)[-2:]) + (f":{line}" if line else "")
    return clean(f"{place} {function}", _ROOT)


def _read(traffic: Traffic, level: Level) -> ErrorLines:
    sequence = traffic.found.get("sequence")
    if not isinstance(sequence, Sequence):
        sequence = traffic.found["sequence"] = Sequence(traffic)
    logs = traffic.logs
    levels, ranked = coded(logs["level"])
    asked = pa.table({"level": pa.array([*map(clean, ranked), None], TEXT)})
    rows = np.flatnonzero(Conditions(LAYOUTS[Kind.LOGS], level=level).mask(asked)[levels])
    rows = rows[np.argsort(sequence.places[rows], kind="stable")]
    rows = _each_once(logs, rows)
    texts, words = _words(logs, rows)
    own = {name: _held(logs, rows, name) for name in ("commit", "function", "target", "repo")}
    made, codes = templates(words, texts, own)
    events, names = coded(logs["event"].iloc[rows])
    events, names = _merged(events, [event_name(name) for name in names])
    order = sorted(range(len(ranked)), key=lambda code: (_severity(ranked[code]), ranked[code]))
    rank = np.full(len(order) + 1, -1, np.int64)
    rank[order] = np.arange(len(order))
    return ErrorLines(
        rows=rows,
        places=sequence.places[rows],
        times=heard_at(logs)[rows],
        levels=rank[levels[rows]],
        ranked=[ranked[code] for code in order],
        events=events,
        names=names,
        codes=codes,
        templates=made,
        sequence=sequence,
    )


def _each_once(logs: pd.DataFrame, rows: Places) -> Places:
    """Leave out what says again what a row before said, at the same time of the publisher's clock."""
    times = logs["timestamp"].iloc[rows]
    suspects = np.flatnonzero(times.duplicated(keep=False).to_numpy() & times.notna().to_numpy())
    if not len(suspects):
        return rows
    names = ("timestamp", "level", "event", "target", "error", "exception", "extra")
    is_again = pd.DataFrame({name: coded(logs[name].iloc[rows[suspects]])[0] for name in names}).duplicated().to_numpy()
    return np.delete(rows, suspects[is_again])


def _severity(level: str) -> int:
    rank = level_rank(level)
    return -1 if rank is None else rank


def _merged(codes: Places, texts: list[str]) -> tuple[Places, list[str]]:
    """Return codes of distinct texts, where some may be equal."""
    known: dict[str, int] = {}
    changed = np.array([*(known.setdefault(text, len(known)) for text in texts), -1], np.int64)
    return changed[codes], list(known)


def _words(logs: pd.DataFrame, rows: Places) -> tuple[Places, list[str]]:
    """Return, by row, what it says went wrong, as the number of a text; of nothing the text is empty."""
    found, pieces = np.full(len(rows), -1, np.int64), list[str]()
    for name, read in (("error", str), ("exception", _raised), ("extra", _worded)):
        unsaid = np.flatnonzero(found < 0)
        for start in range(0, len(unsaid), _AT_ONCE):
            some = unsaid[start : start + _AT_ONCE]
            codes, texts = coded(logs[name].iloc[rows[some]])
            numbers = np.full(len(texts) + 1, -1, np.int64)
            for code, text in enumerate(map(read, texts)):
                if text:
                    numbers[code] = len(pieces)
                    pieces.append(text[:READ])
            found[some] = numbers[codes]
    found[found < 0] = len(pieces)
    return _merged(found, [*pieces, ""])


def _held(logs: pd.DataFrame, rows: Places, name: str) -> tuple[list[str], Places]:
    """Return what rows say they are about; a one-shot run names its target `function`, which has no column."""
    codes, texts = coded(logs["extra" if name == "function" else name].iloc[rows])
    if name == "function":
        functions = [_rest(text).get("function") if '"function":' in text else None for text in texts]
        codes, texts = _merged(codes, [one if isinstance(one, str) else "" for one in functions])
    return texts, codes


def _worded(extra: str) -> str:
    """Return what the rest of a message calls its message; empty: nothing."""
    if any(f'"{name}":' in extra for name in _WORDED):
        rest = _rest(extra)
        for name in _WORDED:
            if (words := rest.get(name)) not in (None, "", [], {}):
                return words if isinstance(words, str) else orjson.dumps(words).decode()
    return ""


def _rest(extra: str) -> dict[str, Any]:
    try:
        rest = orjson.loads(extra)
    except orjson.JSONDecodeError:
        return {}
    return rest if isinstance(rest, dict) else {}
