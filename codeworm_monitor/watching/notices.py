"""Notices: what a watch has to tell, as one inert line and as plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from html import escape
from typing import Any

__all__ = ["Notice", "NoticeKind", "plain"]

LONGEST = 500
"""Characters of a notice's text."""

# Escape sequences of terminals, control characters, and what turns the direction of text or breaks its line.
_CONTROLS = re.compile(
    r"\x1b\[[0-9;?]{0,40}[ -/]{0,4}[@-~]|[\x00-\x1f\x7f-\x9f\u061c\u2028-\u202e\u200e\u200f\u2066-\u2069]"
)


def plain(text: str, longest: int = LONGEST) -> str:
    """Return text that is inert on a terminal, in a log and in an environment: one line, bounded, valid Unicode."""
    cut = _CONTROLS.sub(" ", text[: longest + 1].encode("utf-8", "replace").decode())
    return cut if len(text) <= longest else f"{cut[: longest - 1]}…"


class NoticeKind(StrEnum):
    """What a notice tells."""

    FIRED = "fired"
    """The condition holds."""
    REMINDED = "reminded"
    """It still does."""
    CLEARED = "cleared"
    """It is well over."""
    BLIND = "blind"
    """Nothing can be said: the relay, or what it listens to, is not heard."""
    SEEING = "seeing"
    """It is heard again."""


_SIGNS = {
    NoticeKind.FIRED: "▲",
    NoticeKind.REMINDED: "▲",
    NoticeKind.CLEARED: "✓",
    NoticeKind.BLIND: "◌",
    NoticeKind.SEEING: "●",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a watch tells once.

    The texts may quote messages, which may be anybody's: control characters are gone from them, markup is not.

    Attributes:
        time: When, aware, in UTC, by the relay's clock; of a recording, the recorded time.
        kind: What happened, as `NoticeKind` names it.
        rule: What was watched for.
        text: What was seen, one line.
        monitor: Name of the monitor.
        since: When it began, aware, in UTC; None: not known.
        withheld: Notices, or times that the rule would have fired, that were held back before this one.
    """

    time: datetime
    kind: NoticeKind
    rule: str
    text: str
    monitor: str
    since: datetime | None = None
    withheld: int = 0

    def __post_init__(self) -> None:
        for name, longest in (("rule", 200), ("text", LONGEST), ("monitor", 100)):
            object.__setattr__(self, name, plain(getattr(self, name), longest))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON; `text` is the whole line, as webhooks show it."""
        return {
            "text": str(self),
            "kind": str(self.kind),
            "rule": self.rule,
            "detail": self.text,
            "monitor": self.monitor,
            "time": self.time.isoformat(),
            "since": None if self.since is None else self.since.isoformat(),
            "withheld": self.withheld,
        }

    def __str__(self) -> str:
        withheld = f" ({self.withheld:,} held back before)" if self.withheld else ""
        return (
            f"{_SIGNS[self.kind]} {self.time:%Y-%m-%d %H:%M:%S} UTC · {self.monitor} · {self.rule} · {self.kind}: "
            f"{self.text}{withheld}"
        )

    def _repr_html_(self) -> str:
        return f"<code>{escape(str(self))}</code>"
