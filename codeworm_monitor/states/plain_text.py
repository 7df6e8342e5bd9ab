"""Text of anybody's making as one inert line for a page: no control character, none that turns the direction or hides."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from typing import Any

from codeworm_monitor.moments import in_two_units

__all__ = ["clock", "date_time", "html_text", "length", "one_line"]

LONGEST = 300
"""Characters shown of one text."""
_LARGEST = 1e22

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
# Controls, soft hyphen, Arabic letter mark, Hangul and Mongolian fillers, zero-width and bidi marks, line separators,
# byte order mark, annotation marks, halves of characters, tags.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]+"
)


def one_line(value: Any, most: int = LONGEST) -> str:
    """Return a text or a number as inert text in one line, cut; nothing for None, an ellipsis for anything else."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    else:
        text = str(value) if isinstance(value, int | float) and abs(value) < _LARGEST else "…"
    text, is_cut = text[: 4 * most], len(text) > 4 * most
    text = _UNSEEN.sub(" ", _ANSI.sub("", text)).strip()
    return text if len(text) <= most and not is_cut else f"{text[: most - 1]}…"


def html_text(value: Any, most: int = LONGEST) -> str:
    """Return the same for HTML, between tags or within a quoted attribute."""
    return escape(one_line(value, most))


def date_time(seconds: Any) -> str:
    """Return Unix seconds as date and time in UTC; a question mark for what is none."""
    return _time(seconds, "%Y-%m-%d %H:%M:%S UTC")


def clock(seconds: Any, now: float) -> str:
    """Return Unix seconds as a time of day in UTC, with its date if that is not today's."""
    return (
        _time(seconds, "%H:%M:%S")
        if _time(seconds, "%Y-%m-%d") == _time(now, "%Y-%m-%d")
        else _time(seconds, "%Y-%m-%d %H:%M:%S")
    )


def length(seconds: Any) -> str:
    """Return a length of time in its two largest units; under ten seconds with a decimal."""
    if not isinstance(seconds, int | float) or not abs(seconds) < _LARGEST:
        return "?"
    seconds = max(0.0, seconds)
    return f"{seconds:.1f} s" if seconds < 9.95 else in_two_units(seconds)


def _time(seconds: Any, form: str) -> str:
    if not isinstance(seconds, int | float):
        return "?"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "?"
