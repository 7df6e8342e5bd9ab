"""Plain text between the lines of a log: which lines belong together."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

__all__ = ["Block", "BlockBuilder"]

LARGEST = 256 * 2**10
"""Bytes after which a block ends, and its rest is another: nothing is cut off, and none fills the memory."""
LOOKED_AT = 400
"""Bytes of a line that tell where it belongs."""
MOST_EMPTY = 10
"""Empty lines in a row that a traceback keeps."""

_TRACEBACK = re.compile(
    r"\s*(?:[+|] *)?(?:Exception Group )?Traceback \(most recent call last\):|╭.*Traceback \(most recent"
)
_GROUP = re.compile(r"\s*\+ Exception Group Traceback")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?::|$)")
_CHAINED = re.compile(r"(?:During handling of the above exception|The above exception was the direct cause)")
_WITHIN = (" ", "\t", "│", "╭", "╰")
_WARNING = re.compile(r".{0,400}?Warning:")
_LEVEL = re.compile(r"\W{0,4}(debug|info|warning|error|critical|fatal)\b", re.IGNORECASE)


class Block(NamedTuple):
    """Lines that belong together.

    Attributes:
        exact: The lines, joined by line ends.
        is_traceback: Whether they are one, with all that it chains together.
    """

    exact: bytes
    is_traceback: bool

    @property
    def text(self) -> str:
        """The lines, made readable where they are no UTF-8."""
        return self.exact.decode(errors="replace")

    def fields(self) -> dict[str, Any]:
        """Return what a payload says of it.

        A traceback is the event `traceback`, of level `error`: `error` has its last line, `exception` all of it. Any
        other text is the event `log_text`, with all of it in `text`; its level is what its first word says, `warning`
        of a warning and of what the scheduler left out, else `info`.
        """
        text = self.text
        if self.is_traceback:
            return {
                "component": "log_file",
                "event": "traceback",
                "level": "error",
                "error": text.rpartition("\n")[2].strip(),
                "exception": text,
            }
        component, level = "log_file", "info"
        if text.startswith(("Execution of job ", "Run time of job ")):
            component, level = "scheduler", "warning"
        elif match := _LEVEL.match(text):
            level = {"fatal": "critical"}.get(match[1].lower(), match[1].lower())
        elif _WARNING.match(text):
            level = "warning"
        return {"component": component, "event": "log_text", "level": level, "text": text}


class BlockBuilder:
    """Joins lines to blocks: a line and the indented ones below it; a traceback, its exception, and what that chains.

    Empty lines part blocks and are kept within tracebacks only. What is over `LARGEST` goes on in a new block.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._empty = 0
        self._begin("")

    def add(self, line: bytes) -> Block | None:
        """Take the next line; return the block that ended before it, if one did."""
        if not line.strip():
            if not self._is_traceback:
                return self.end()
            self._empty = min(self._empty + 1, MOST_EMPTY)
            return None
        text, ended = line[:LOOKED_AT].decode(errors="replace"), None
        if not self._goes_on(text) or self._size + len(line) > LARGEST:
            ended = self.end()
            self._begin(text)
        self._lines += [b""] * self._empty
        self._empty = 0
        self._lines.append(line)
        self._size += len(line) + 1
        return ended

    def end(self) -> Block | None:
        """Return the block under way, if there is one."""
        block = Block(b"\n".join(self._lines), self._is_traceback) if self._lines else None
        self._lines, self._size = [], 0
        self._begin("")
        return block

    def _begin(self, text: str) -> None:
        self._is_traceback = _TRACEBACK.match(text) is not None
        self._is_group = _GROUP.match(text) is not None
        self._has_exception = False  # of a traceback: the line that names it was there
        self._is_chained = False  # of a traceback: another must follow
        self._empty = 0  # lines, which belong to the traceback if it goes on

    def _goes_on(self, line: str) -> bool:
        if not self._lines:
            return False
        if not self._is_traceback:
            return line.startswith(_WITHIN) and not self._empty and _TRACEBACK.match(line) is None
        if _TRACEBACK.match(line) and not line.startswith(_WITHIN[:2]):
            goes_on, self._is_chained = self._is_chained, False
            if goes_on:
                self._has_exception = False
            return goes_on
        if line.startswith(_WITHIN):
            return not self._empty or self._is_group
        if _CHAINED.match(line) and (self._has_exception or self._is_group):
            self._is_chained = True
            return True
        if self._has_exception or self._is_group or self._empty or not _EXCEPTION.match(line):
            return False
        self._has_exception = True
        return True
