"""Filters: which messages a reader wants, evaluated by the relay, equal ones once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from codeworm_monitor.envelope import Envelope
from codeworm_monitor.errors import FrameError
from codeworm_monitor.records import LEVELS, level_rank

__all__ = ["Filter"]

MAX_CHOICES = 64
MAX_TEXT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a message; all given ones must hold, None and an empty set mean any.

    A filter is made of plain comparisons: there is no pattern in it that could be made slow.

    Attributes:
        channels: The message's channel is one of these.
        level: Its level is at least this one. Messages without a level (events, stats) pass.
        components: Its component is one of these. Messages without one pass.
        repos: Its repository is one of these. Messages without one pass.
        text: Some string value in it contains this text; letter case does not matter.
    """

    channels: frozenset[str] = frozenset()
    level: str | None = None
    components: frozenset[str] = frozenset()
    repos: frozenset[str] = frozenset()
    text: str | None = None

    def __post_init__(self) -> None:
        # Equal wishes make equal filters, however they are spelt.
        object.__setattr__(self, "level", self.level.lower() if self.level else None)
        object.__setattr__(self, "text", self.text.casefold() if self.text else None)

    @property
    def reads_payload(self) -> bool:
        """Whether the filter looks into the payload, which must then be decoded."""
        return self.level is not None or self.text is not None or bool(self.components or self.repos)

    def accepts(self, envelope: Envelope, payload: object) -> bool:
        """Tell whether the message passes.

        Args:
            envelope: The message.
            payload: Its decoded data, or None where `reads_payload` is False.
        """
        if self.channels and envelope.channel not in self.channels:
            return False
        fields: dict[str, Any] = payload if isinstance(payload, dict) else {}
        if self.level is not None and not _is_at_least(fields.get("level"), self.level):
            return False
        if self.components and not _is_one_of(fields.get("component"), self.components):
            return False
        if self.repos:
            nested = fields.get("data")
            repo = fields.get("repo") or (nested.get("repo") if isinstance(nested, dict) else None)
            if not _is_one_of(repo, self.repos):
                return False
        return self.text is None or _holds(payload, self.text)

    def as_dict(self) -> dict[str, Any]:
        """Return the filter as the `subscribe` frame carries it."""
        return {
            "channels": sorted(self.channels),
            "filter": {
                "level": self.level,
                "component": sorted(self.components),
                "repo": sorted(self.repos),
                "text": self.text,
            },
        }

    @classmethod
    def from_dict(cls, channels: object, conditions: object) -> Filter:
        """Read a filter from the fields `channels` and `filter` of a `subscribe` frame.

        Raises:
            FrameError: A field is unknown, of the wrong type or over its limit (`MAX_CHOICES`, `MAX_TEXT`).
        """
        if conditions is None:
            conditions = {}
        if not isinstance(conditions, dict):
            raise FrameError("filter is an object")
        if unknown := set(conditions) - {"level", "component", "repo", "text"}:
            raise FrameError(f"filter has no {sorted(unknown)[0][:40]!r}: it takes level, component, repo and text")
        level, text = conditions.get("level"), conditions.get("text")
        if level is not None and (not isinstance(level, str) or level.lower() not in LEVELS):
            raise FrameError(f"filter.level is one of {', '.join(LEVELS)}")
        if text is not None and (not isinstance(text, str) or len(text.casefold()) > MAX_TEXT):
            raise FrameError(f"filter.text is a string of at most {MAX_TEXT} characters")
        return cls(
            channels=_choices("channels", channels),
            level=level,
            components=_choices("filter.component", conditions.get("component")),
            repos=_choices("filter.repo", conditions.get("repo")),
            text=text,
        )


def _choices(name: str, value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > MAX_CHOICES or not all(isinstance(item, str) for item in value):
        raise FrameError(f"{name} is a string or a list of at most {MAX_CHOICES} strings")
    return frozenset(value)


def _is_at_least(level: object, least: str) -> bool:
    if not isinstance(level, str):
        return True
    rank, wanted = level_rank(level), level_rank(least)
    return rank is None or wanted is None or rank >= wanted


def _is_one_of(value: object, choices: frozenset[str]) -> bool:
    return not isinstance(value, str) or value in choices


def _holds(payload: object, text: str) -> bool:
    strings = _strings(payload)
    if "\0" in text:
        return any(text in one.casefold() for one in strings)
    # All at once, apart by what the text does not hold: a call for each would cost several times as much.
    return text in "\0".join(strings).casefold()


def _strings(payload: object) -> Iterator[str]:
    if isinstance(payload, dict):  # mostly flat
        values = payload.values()
        yield from [value for value in values if type(value) is str]
        payload = [value for value in values if type(value) is dict or type(value) is list]
        if not payload:
            return
    waiting = [payload]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as mapping:
                waiting.extend(mapping.values())
            case list() as items:
                waiting.extend(items)
