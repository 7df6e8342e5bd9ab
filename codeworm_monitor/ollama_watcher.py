"""Ollama beside the relay: looked at now and then, and told of when something changes.

Records of `codeworm:relay`, all with `url`. What is told of a state: `version`, `models` (of each the fields of
`ollama.LoadedModel`; null: Ollama is too old to tell), `unlisted` (models beyond those), `size` and `size_vram` (bytes,
of the models listed). Times are ISO 8601 in UTC.

- `ollama_reachable`: it answered, for the first time or again. The state, and after an outage `since` (its begin),
  `after_seconds` and `error` (why, at last).
- `ollama_unreachable` (warning): two looks in a row failed. `error`, `since` (when the first of them was begun),
  `last_heard_at` (when it last answered; null: never).
- `ollama_models`: a model was loaded or unloaded, or one of its sizes or its expiry is another. The state, `loaded` and
  `unloaded` (names).
- `ollama_version_changed`: `version` and `before`.
- `ollama_unchanged`, `ollama_still_unreachable` (warning): after ten minutes without another of these, so that silence
  can be told from sameness. The state; `error`, `since`, `after_seconds`, `last_heard_at`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from codeworm_monitor.errors import OllamaError
from codeworm_monitor.ollama import LoadedModel, Look, OllamaState

__all__ = ["Note", "Noting", "OllamaChanges", "OllamaStatus", "OllamaWatcher"]

TIMEOUT = 5.0
"""Seconds that one look may take."""
CONFIRMED_AFTER = 2.0
"""Seconds after a first look that failed until the second, which makes it an outage."""
LONGEST_PAUSE = 120.0
"""Seconds between two looks in a long outage, unless more were asked for anyway."""
HEARTBEAT = 600.0
"""Seconds after which something is told though nothing changed."""
EXPIRY_MOVED = 300.0
"""Seconds by which an expiry must have moved to be told again: every use of a model moves it on."""

log = logging.getLogger(__name__)


class Noting(Protocol):
    """Writes a record, as `Journal.note` does."""

    def __call__(self, event: str, *, level: str = "info", **details: Any) -> None:
        """Write it."""
        ...


class Note(NamedTuple):
    """A record to be written.

    Attributes:
        event: Its name.
        level: Its level.
        details: What else it says, ready for JSON.
    """

    event: str
    level: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaStatus:
    """What the relay knows of Ollama, at one moment. Times are Unix seconds, by the relay's clock.

    Attributes:
        url: Where it is looked for.
        is_reachable: None before the first look has ended, or the second if that failed.
        since: Since when that is so; None with `is_reachable`.
        reason: Why the newest look failed; empty if it did not.
        version: That it told last; None: never.
        models: Loaded when it answered last; None: not known. Of an outage, those before it.
        models_loaded: How many; None: not known, or it is not reachable.
        size: Bytes that they take; None likewise.
        size_vram: Those of them in the memory of graphics cards; None likewise.
        age: Seconds since the newest look ended, well or not; None before the first.
        round_trip: Seconds that the newest look that went well took; None before it.
        outages: How often it was not reachable so far.
    """

    url: str
    is_reachable: bool | None = None
    since: float | None = None
    reason: str = ""
    version: str | None = None
    models: tuple[LoadedModel, ...] | None = None
    models_loaded: int | None = None
    size: int | None = None
    size_vram: int | None = None
    age: float | None = None
    round_trip: float | None = None
    outages: int = 0


class OllamaChanges:
    """Makes of looks what is worth a record. Holds no clock and no connection: it is told what happened, and when.

    Args:
        url: Where Ollama is, without credentials.
        every: Seconds between two looks.
        heartbeat: Seconds after which something is told though nothing changed.
    """

    def __init__(self, url: str, *, every: float, heartbeat: float = HEARTBEAT) -> None:
        self.url = url
        self.outages = 0
        self.reason = ""
        self.is_reachable: bool | None = None
        self.since: float | None = None
        self.state: OllamaState | None = None
        self._every = every
        self._heartbeat = heartbeat
        self._failed_since: float | None = None
        self._failures = 0
        self._last_heard: float | None = None
        self._told: OllamaState | None = None
        self._told_at = 0.0

    def answered(self, state: OllamaState, at: float) -> list[Note]:
        """Take what a look saw that ended at a time, Unix seconds; return what is to be told."""
        error, since = self.reason, self._failed_since
        before, self.state = self._told, state
        self._last_heard, self._failed_since, self._failures, self.reason = at, None, 0, ""
        if not self.is_reachable or before is None:
            outage: dict[str, Any] = {}
            if self.is_reachable is False and since is not None:
                outage = {"since": _iso(since), "after_seconds": _elapsed(since, at), "error": error}
            self.is_reachable, self.since = True, at
            return self._tell("ollama_reachable", at, **_told_of(state), **outage)
        notes = []
        if state.version != before.version:
            notes += self._tell("ollama_version_changed", at, version=state.version, before=before.version)
        if _has_changed(before, state, at):
            old, new = ([model.name for model in one.models or ()] for one in (before, state))
            notes += self._tell(
                "ollama_models",
                at,
                **_told_of(state),
                loaded=[name for name in new if name not in old],
                unloaded=[name for name in old if name not in new],
            )
        if not notes and self._is_due(at):
            notes = self._tell("ollama_unchanged", at, **_told_of(state))
        return notes

    def failed(self, reason: str, begun_at: float, at: float) -> list[Note]:
        """Take that a look failed which was begun and ended at these times; return what is to be told."""
        self._failures += 1
        self.reason = reason
        if self._failed_since is None:
            self._failed_since = begun_at
        since, heard = self._failed_since, None if self._last_heard is None else _iso(self._last_heard)
        outage = {"error": reason, "since": _iso(since), "last_heard_at": heard}
        if self.is_reachable is not False:
            if self._failures < 2:
                return []
            self.is_reachable, self.since = False, since
            self.outages += 1
            return self._tell("ollama_unreachable", at, level="warning", **outage)
        if self._is_due(at):
            seconds = _elapsed(since, at)
            return self._tell("ollama_still_unreachable", at, level="warning", **outage, after_seconds=seconds)
        return []

    def pause(self, draw: Callable[[float, float], float] = random.uniform) -> float:
        """Return how long to wait until the next look: seconds, longer as an outage goes on, and never quite the same.

        Args:
            draw: Draws from a range, as `random.uniform`.
        """
        if self._failures == 1 and self.is_reachable is not False:
            bound = min(CONFIRMED_AFTER, self._every)
        else:
            longest = max(LONGEST_PAUSE, self._every)
            bound = min(longest, self._every * 1.5 ** min(20, max(0, self._failures - 2)))
        return draw(0.9 * bound, 1.1 * bound)

    def _is_due(self, at: float) -> bool:
        return not 0 <= at - self._told_at < self._heartbeat  # a clock set back is no reason for silence

    def _tell(self, event: str, at: float, *, level: str = "info", **details: Any) -> list[Note]:
        self._told_at = at
        if self.is_reachable:
            self._told = self.state
        return [Note(event, level, {"url": self.url, **details})]


class OllamaWatcher:
    """Looks at Ollama while `run` runs: one request at a time, in a thread of its own, each within a time and a size.

    Loss: what came and went between two looks was not seen. Nothing waits for it: neither the event loop nor the end of
    the relay, however long Ollama takes to answer.

    Args:
        url: Of Ollama, without credentials.
        every: Seconds between two looks.
        note: Writes a record.
        timeout: Seconds that one look may take.
        heartbeat: Seconds after which something is told though nothing changed.
    """

    def __init__(
        self, url: str, *, every: float, note: Noting, timeout: float = TIMEOUT, heartbeat: float = HEARTBEAT
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._note = note
        self._changes = OllamaChanges(self._url, every=every, heartbeat=heartbeat)
        self._looked_at: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> OllamaStatus:
        """What is known of Ollama at this moment."""
        changes, state = self._changes, self._changes.state
        status = OllamaStatus(
            url=self._url,
            is_reachable=changes.is_reachable,
            since=changes.since,
            reason=changes.reason,
            age=None if self._looked_at is None else max(0.0, time.monotonic() - self._looked_at),
            outages=changes.outages,
        )
        if state is None:
            return status
        status = replace(status, version=state.version, models=state.models, round_trip=state.seconds)
        if state.models is None or not changes.is_reachable:
            return status
        return replace(
            status,
            models_loaded=len(state.models) + state.unlisted,
            size=state.size,
            size_vram=state.size_vram,
        )

    async def run(self) -> None:
        """Look, tell, wait, without end. Cancelling it breaks off a look under way and waits for nothing."""
        while True:
            begun_at = time.time()
            try:
                state = await self._look()
            except OllamaError as error:
                notes = self._changes.failed(error.reason, begun_at, time.time())
            except Exception as error:  # a mistake of ours must neither end the looks in silence nor the relay
                log.exception("looking at Ollama failed")
                notes = self._changes.failed(f"looking failed on {type(error).__name__}", begun_at, time.time())
            else:
                notes = self._changes.answered(state, time.time())
            self._looked_at = time.monotonic()
            for note in notes:
                self._tell(note)
            await asyncio.sleep(self._changes.pause())

    async def _look(self) -> OllamaState:
        if self._thread is not None and self._thread.is_alive():
            raise OllamaError(self._url, "the look-up of its host's name has not come to an end")
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[OllamaState] = loop.create_future()
        look = Look(self._url, timeout=self._timeout)

        def settle(state: OllamaState | None, error: Exception | None) -> None:
            if seen.done():
                return
            if state is None:
                seen.set_exception(error or RuntimeError("nothing was seen"))
            else:
                seen.set_result(state)

        def read() -> None:
            state, problem = None, None
            try:
                state = look.read()
            except Exception as error:  # noqa: BLE001  # handed to the coroutine, whatever it is
                problem = error
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, state, problem)

        # Not a thread of the loop's own: the end of the loop waits for those.
        self._thread = threading.Thread(target=read, name="relay:ollama", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(self._timeout + 1):
                return await seen
        except TimeoutError:
            raise OllamaError(self._url, f"its host's name was not found within {self._timeout:g} s") from None
        finally:
            look.break_off()

    def _tell(self, note: Note) -> None:
        match note.event:
            case "ollama_unreachable":
                log.warning("Ollama at %s is not reachable: %s", self._url, note.details["error"])
            case "ollama_reachable":
                log.info("Ollama %s answers at %s", note.details["version"], self._url)
        self._note(note.event, level=note.level, **note.details)


def _told_of(state: OllamaState) -> dict[str, Any]:
    return {
        "version": state.version,
        "models": None if state.models is None else [model.as_dict() for model in state.models],
        "unlisted": state.unlisted,
        "size": state.size,
        "size_vram": state.size_vram,
    }


def _has_changed(before: OllamaState, state: OllamaState, at: float) -> bool:
    """Tell whether the models are others than those told, or what was told of one does not hold any more."""
    if before.models is None or state.models is None:
        return before.models is not state.models
    old, new = ({model.name: model for model in one.models or ()} for one in (before, state))
    return (
        old.keys() != new.keys()
        or before.unlisted != state.unlisted
        or any(_differ(old[name], model, at) for name, model in new.items())
    )


def _differ(told: LoadedModel, model: LoadedModel, at: float) -> bool:
    if replace(told, expires_at=model.expires_at) != model:
        return True
    if told.expires_at is None or model.expires_at is None:
        return told.expires_at is not model.expires_at
    old, new = (datetime.fromisoformat(one).timestamp() for one in (told.expires_at, model.expires_at))
    return abs(new - old) >= EXPIRY_MOVED or (old < at and old != new)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _elapsed(since: float, at: float) -> float:
    return round(max(0.0, at - since), 3)
