"""The case: what the doctor is asked to look at, and what several checks need, asked once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from codeworm_monitor.doctor.asking import Whereabouts, fetch_json
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.settings import DEFAULT_CHANNELS
from codeworm_monitor.told import Told

__all__ = ["STEP", "Case", "Check", "Clock", "Finding", "Outcome", "seconds_since"]

STEP = 2.0
"""Seconds that each question to another program may take."""


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    """It works, but worse than it could, or nobody can tell."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """There is nothing to look at, or it needs what another check found missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at, such as `redis.login`.
        outcome: How it is.
        said: What was found, in one line.
        mend: What to type or set; empty if nothing need be done.
    """

    check: str
    outcome: Outcome
    said: str
    mend: str = ""


class Clock(NamedTuple):
    """What a relay's opening told.

    Attributes:
        version: Version of the relay.
        ahead: Seconds by which its clock is ahead of this machine's.
        unsure: Seconds by which that may be wrong.
    """

    version: str
    ahead: float
    unsure: float


@dataclass(kw_only=True)
class Case:
    """What is looked at. May be shared between threads.

    Attributes:
        place: The relay.
        redis_url: Redis; None: the relay's, or one on 127.0.0.1:6379.
        channels: Channels that should be heard; None: the relay's, or CodeWorm's.
        listen: Seconds to listen for messages.
        archive: Directory of the archive; None: the relay's, or the default one.
        ollama: Ollama's URL; None: by `OLLAMA_HOST`, or where it is by default.
        origin: Origin of a web page that should be let in; None: none.
        codeworm_db: CodeWorm's database; None: it is looked for.
        codeworm_config: Directory of its configuration; None: likewise.
        step: Seconds that each question may take.
    """

    place: Whereabouts
    redis_url: str | None = field(default=None, repr=False)
    channels: tuple[str, ...] | None = None
    listen: float = 5.0
    archive: Path | None = None
    ollama: str | None = None
    origin: str | None = None
    codeworm_db: str | None = None
    codeworm_config: str | None = None
    step: float = STEP

    def __post_init__(self) -> None:
        self._locks = {"info": threading.Lock(), "clock": threading.Lock()}
        self._known: dict[str, tuple[Any, ConnectError | None]] = {}

    def info(self) -> Told:
        """Return what the relay tells of itself.

        Raises:
            ConnectError: It cannot be had; says why.
        """
        return Told(self._once("info", lambda: fetch_json(self.place, "/info", within=self.step)))

    def info_or_nothing(self) -> Told:
        """Return what the relay tells of itself; nothing, if it cannot be had."""
        try:
            return self.info()
        except ConnectError:
            return Told(None)

    def wanted_channels(self) -> tuple[str, ...]:
        """Return the channels that should be heard."""
        if self.channels is not None:
            return self.channels
        told = self.info_or_nothing().at("channels")
        names = (
            [name for name in told if isinstance(name, str) and name.isprintable()] if isinstance(told, list) else []
        )
        return tuple(names[:50]) or DEFAULT_CHANNELS

    def clock(self) -> Clock:
        """Return what the relay says at the opening of a WebSocket, as a notebook opens it.

        Raises:
            ConnectError: There is none; says why.
        """
        from codeworm_monitor.doctor.opening import open_once

        found = self._once("clock", lambda: open_once(self.place, within=self.step))
        assert isinstance(found, Clock)
        return found

    def recent(self, **query: Any) -> list[Told]:
        """Return entries of the relay's `/history`, as they came; none, if it cannot be had."""
        try:
            page = fetch_json(self.place, "/history", within=self.step, **query)
        except ConnectError:
            return []
        entries = Told(page).at("entries")
        return [Told(entry) for entry in entries] if isinstance(entries, list) else []

    def _once(self, name: str, ask: Callable[[], Any]) -> Any:
        with self._locks[name]:  # who comes meanwhile waits for the one answer
            if name not in self._known:
                try:
                    self._known[name] = ask(), None
                except ConnectError as error:
                    self._known[name] = None, error
        answer, refusal = self._known[name]
        if refusal is not None:
            raise refusal
        return answer


Check = Callable[[Case], Iterator[Finding]]
"""Looks at one class of failures, and yields what it finds as it finds it. Runs in a thread of its own."""


def seconds_since(moment: float) -> float:
    """Return the seconds since a time, never below 0."""
    return max(0.0, time.time() - moment)
