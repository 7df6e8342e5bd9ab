"""Lines that structlog writes for a person, read back: time, level, event, and the pairs that follow."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["ConsoleLine", "read_console_line"]

_LINE = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?) \[(\w+) *\] (.*)", re.DOTALL)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_KEY = re.compile(r"([A-Za-z_][\w.-]*)=")
_NEXT = re.compile(r"\s(?=[A-Za-z_][\w.-]*=)")  # one character: a run of a million spaces is looked at once
_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"""'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)
_SCALAR = re.compile(r"(?:(None)|(True)|(False)|(-?(?:0|[1-9]\d*))(\.\d+)?(e[+-]\d+)?)(?=[\s,:\])}]|$)")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_DEEPEST = 20
_OURS = ("event", "level", "timestamp")
_WORDS = frozenset({"commit", "component", "doc_type", "error", "exception", "repo", "target"})
"""Keys whose value is text, whatever it looks like: a hash may be all digits."""


class ConsoleLine(NamedTuple):
    """One line.

    Attributes:
        time: When it was written, to the second; mostly without a zone.
        level: Lower case.
        event: Name of what happened, or a sentence.
        pairs: What follows, with values of Python's types that JSON has too; one that Python would not read back stays
            the text that it was. A key met before, or named `event`, `level` or `timestamp`, has `_2` after it, or more.
    """

    time: datetime
    level: str
    event: str
    pairs: dict[str, Any]


def read_console_line(text: str) -> ConsoleLine | None:
    """Read a line, colours aside; None if it is of another form. Takes time in proportion to its length."""
    if "\x1b" in text[:64]:
        text = _COLOURS.sub("", text)
    match = _LINE.match(text)
    if match is None:
        return None
    try:
        time = datetime.fromisoformat(match[1])
    except ValueError:
        return None
    body = match[3]
    first = _NEXT.search(body)
    event, pairs = (body, {}) if first is None else (body[: first.start()], _pairs(body, first.end()))
    return ConsoleLine(time, match[2].lower(), event.strip(), pairs)


def _pairs(body: str, at: int) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    met = dict.fromkeys(_OURS, 1)
    while key := _KEY.match(body, at):
        name = key[1]
        value, at = _value(body, key.end(), is_word=name in _WORDS)
        while name in pairs or name in _OURS:
            met[key[1]] = met.get(key[1], 1) + 1
            name = f"{key[1]}_{met[key[1]]}"
        pairs[name] = value
    return pairs


def _value(body: str, start: int, *, is_word: bool) -> tuple[Any, int]:
    """Return the value that begins at `start`, and where the next key begins, or the end."""
    try:
        value, end = _literal(body, start, _DEEPEST)
        beyond = _beyond(body, end)
        if beyond == len(body) or (beyond > end and _KEY.match(body, beyond)):
            return (value if not is_word or body[start] in "'\"" else body[start:end]), beyond
    except ValueError:
        pass  # it stays text
    following = _NEXT.search(body, start)
    end, beyond = (len(body), len(body)) if following is None else following.span()
    return body[start:end].rstrip(), beyond


def _beyond(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _literal(text: str, at: int, depth: int) -> tuple[Any, int]:
    """Read what `repr` writes of strings, numbers, None, and lists, tuples, sets and dicts of these.

    Raises:
        ValueError: It is something else, or nested too deep.
    """
    opening = text[at : at + 1]
    if opening in ("'", '"'):
        if (match := _STRING.match(text, at)) is None:
            raise ValueError("no end of the string")
        return _ESCAPE.sub(_unescaped, match[1] if match[1] is not None else match[2]), match.end()
    if opening in _CLOSING:
        return _container(text, at, depth)
    if (match := _SCALAR.match(text, at)) is None:
        raise ValueError("no literal")
    none, true, false, digits, fraction, exponent = match.groups()
    if digits is None:
        return (None if none else bool(true) and not false), match.end()
    if fraction or exponent:
        number = float(match[0])
        if number in (float("inf"), float("-inf")):
            raise ValueError("too large for JSON")
        return number, match.end()
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError("too large for JSON")
    return int(digits), match.end()


def _container(text: str, at: int, depth: int) -> tuple[Any, int]:
    if depth == 0:
        raise ValueError("nested too deep")
    opening, closing = text[at], _CLOSING[text[at]]
    keys: list[Any] = []
    items: list[Any] = []
    at += 1
    while text[at : at + 1] != closing:
        item, at = _literal(text, at, depth - 1)
        if opening == "{" and text.startswith(": ", at):
            keys.append(item)
            item, at = _literal(text, at + 2, depth - 1)
        items.append(item)
        if text.startswith(", ", at):
            at += 2
        elif text.startswith(",)", at):  # a tuple of one
            at += 1
        elif text[at : at + 1] != closing:
            raise ValueError("no end of the list")
    if opening != "{" or (items and not keys):
        return items, at + 1
    if len(keys) != len(items):
        raise ValueError("neither a dict nor a set")
    mapping = {key if isinstance(key, str) else str(key): item for key, item in zip(keys, items, strict=True)}
    if len(mapping) != len(items):
        raise ValueError("two keys are one in JSON")
    return mapping, at + 1


def _unescaped(match: re.Match[str]) -> str:
    digits = match[1] or match[2] or match[3]
    if digits is None:
        return _SHORT.get(match[4], match[4])
    code = int(digits, 16)
    # No text in UTF-8 holds half a surrogate pair: it stays spelt out.
    return match[0] if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code)
