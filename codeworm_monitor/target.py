"""The target of `connect`: which relay, and what of its messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from codeworm_monitor import discovery
from codeworm_monitor.client import Address, Lost, known_addresses
from codeworm_monitor.conditions import moment
from codeworm_monitor.envelope import Cursor
from codeworm_monitor.errors import ConnectError, FrameError
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import MAX_TAIL, Subscribe

__all__ = ["HOW_TO_START", "Since", "Target", "failure_to_connect"]

HOW_TO_START = 'start one with `python -m codeworm_monitor`, or name one: connect("ws://host:8765/ws", token="…")'

Since = int | str | datetime | timedelta | Cursor
"""Where to begin: the newest so many messages, a time (`conditions.Moment`), "now", or after a cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was asked of `connect`; equal wishes are equal.

    Attributes:
        url: WebSocket URL of the relay; None: the newest one of this machine.
        token: What to present; None: what the relay on this machine announced.
        since: Where to begin.
        filter: What of it.
    """

    url: str | None
    token: str | None = field(repr=False)
    since: Since
    filter: Filter

    @classmethod
    def of(
        cls, url: str | None, token: str | None, since: Since, channels: object, conditions: dict[str, Any]
    ) -> Target:
        """Read the arguments of `connect`.

        Raises:
            ValueError: One cannot be used; says which.
        """
        if url is not None:
            url, found = discovery.relay_url(url, may_hold_user=True)
            token = token or found
        if isinstance(channels, str):
            channels = [channels]
        try:
            wanted = Filter.from_dict(None if channels is None else list(channels), _as_on_the_wire(conditions))  # type: ignore[call-overload]
        except FrameError as error:
            raise ValueError(str(error)) from error
        target = cls(url=url, token=token, since=since, filter=wanted)
        target.subscribe(0.0)
        return target

    def subscribe(self, now: float) -> Subscribe:
        """Return the frame that asks for it; `now` is what "15min" counts back from, Unix seconds.

        Raises:
            ValueError: `since` cannot be read.
        """
        match self.since:
            case "now":
                return Subscribe(filter=self.filter)
            case Cursor() as cursor:
                return Subscribe(cursor=cursor, filter=self.filter)
            case bool():
                raise ValueError("since is a number of messages, a time or a cursor")
            case int() as tail:
                if not 0 <= tail <= MAX_TAIL:
                    raise ValueError(f"since is at most the newest {MAX_TAIL:,} messages, not {tail:,}")
                return Subscribe(tail=tail, filter=self.filter)
            case time:
                # Counted back from now even where `now` is only a stand-in, as in the first check: years before 1 fail.
                return Subscribe(time=moment(time, now or 1e9).timestamp(), filter=self.filter)

    @property
    def is_choosy(self) -> bool:
        """Whether some messages are not wanted."""
        return self.filter != Filter()

    def addresses(self, last: str | None) -> list[Address]:
        """Return where the relay may be, the best first; reads files.

        Args:
            last: Where it was last; None: nowhere yet.
        """
        return known_addresses(self.url, self.token, last)


def failure_to_connect(lost: Lost) -> ConnectError:
    """Return the error that says why there is no connection, and what to do."""
    return lost.as_error(
        token='pass the token that it showed when it started: connect(url, token="…")', relay=HOW_TO_START
    )


def _as_on_the_wire(conditions: dict[str, Any]) -> dict[str, Any]:
    if isinstance(level := conditions.get("level"), str):  # as `where` spells it
        conditions = conditions | {"level": level.strip().removeprefix(">=").strip()}
    return {
        name: [value] if isinstance(value, str) and name in ("component", "repo") else _listed(value)
        for name, value in conditions.items()
        if value is not None
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, set | frozenset | tuple) else value
