"""Blame: which part of the house an error comes from, read from its text and its traceback."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["blame", "last_line", "push_cause"]

_LONGEST = 8_192
"""Characters that are looked at: of a traceback from its end, where the exception itself stands."""
_SHOWN = 120

_CAUSES = tuple(
    (cause, re.compile(signs))
    for cause, signs in (
        ("out of memory", r"out of memory|\boom\b|cuda error"),
        ("model not found", r"model not found|' not found|try pulling it"),
        ("timed out", r"timed out|timeout"),
        ("answered nonsense", r"jsondecodeerror|unterminated string|expecting value|extra data|validation error"),
        ("connection broken", r"disconnected|connection reset|remoteprotocolerror|incomplete read|broken pipe"),
        ("not reachable", r"connection refused|connecterror|connection attempts failed|name or service|no route"),
        ("busy", r"server busy|too many requests|overloaded|maximum pending|\b(?:429|503)\b"),
        ("disk full", r"no space left|disk quota|or disk is full"),
        ("database locked", r"database (?:table )?is locked"),
        ("database damaged", r"disk image is malformed|file is not a database|disk i/o error"),
        ("no commit to build on", r"ref 'head' did not resolve"),
        ("repository locked", r"index\.lock"),
        ("permission denied", r"permission denied|read-only file system"),
    )
)
_PUSH_CAUSES = tuple(
    (cause, re.compile(signs))
    for cause, signs in (
        ("remote missing", r"not appear to be a git repository|repository not found|no such remote|does not exist"),
        ("rejected: the remote has other commits", r"\[rejected\]|stale info|non-fast-forward|fetch first|conflict"),
        ("remote not reachable", r"unable to connect|connection refused|not resolve host|no route|unable to access"),
        ("not allowed", r"permission denied|authentication failed|could not read username|\b403\b|protected branch"),
        ("timed out", r"timed out|timeout"),
    )
)


def blame(event: str, error: str | None, exception: str | None) -> tuple[str, str]:
    """Return who failed, and of what.

    The LLM's own message says so itself; else the last line and the paths of the traceback tell, the innermost of
    CodeWorm's own packages first.

    Args:
        event: Name of the log line.
        error: What it says in one line.
        exception: Its traceback.

    Returns:
        The kind: `ollama`, `commit` (git, in the repository of documents), `database`, or `daemon` for what is none of
        these; and the cause in few words.
    """
    # Cut before it is remembered: what is logged may be of any length.
    return _blame(event, (error or "")[:_LONGEST], (exception or "")[-_LONGEST:])


@lru_cache(maxsize=512)
def _blame(event: str, error: str, exception: str) -> tuple[str, str]:
    said, trace = error.lower(), exception.lower()
    last = last_line(trace)
    kind = "ollama" if event == "llm_error" else _kind(said, trace, last)
    return kind, _cause(_CAUSES, f"{said} {last}", error or last)


def last_line(traceback: str) -> str:
    """Return the line of a traceback in which the exception itself stands."""
    return traceback.rstrip().rpartition("\n")[2]


def push_cause(error: str | None) -> str:
    """Return why a push failed, in few words."""
    return _cause(_PUSH_CAUSES, (error or "")[:_LONGEST].lower(), error)


def _kind(said: str, trace: str, last: str) -> str:
    text = f"{said} {last}"
    if "sqlite3." in last or "database is locked" in text or "disk image is malformed" in text:
        return "database"
    if last.startswith(("httpx.", "httpcore.")):
        return "ollama"
    if last.startswith(("git.", "gitdb.")):
        return "commit"
    own = max(
        ((trace.rfind(f"/codeworm/{package}/"), kind) for package, kind in _PACKAGES),
        default=(-1, "daemon"),
    )
    if own[0] >= 0:
        return own[1]
    if "/httpx/" in trace or "/httpcore/" in trace or "ollama" in text:
        return "ollama"
    return "commit" if "/site-packages/git/" in trace else "daemon"


_PACKAGES = (
    ("llm", "ollama"),
    ("git", "commit"),
    ("state", "database"),
    ("database", "database"),
    ("db", "database"),
)


def _cause(causes: tuple[tuple[str, re.Pattern[str]], ...], text: str, shown: str | None) -> str:
    for cause, signs in causes:
        if signs.search(text):
            return cause
    line = next((line.strip() for line in (shown or "").splitlines() if line.strip()), "")
    return (line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…") or "not told"
