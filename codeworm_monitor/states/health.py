"""Health: the connection, what was lost on the way, and what the relay says of itself, of its source and of Ollama."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.records import RELAY_CHANNEL
from codeworm_monitor.states import values
from codeworm_monitor.states.rates import Rates
from codeworm_monitor.status import State, Status

__all__ = ["OLLAMA_EVENTS", "HealthState"]

_envelope = itemgetter(0)
SHOWN_GAPS = 20
MOST_MODELS = 20
OLLAMA_EVENTS = frozenset(
    {"ollama_models", "ollama_reachable", "ollama_still_unreachable", "ollama_unchanged", "ollama_unreachable"}
)
"""Events of the relay's own lines that tell how Ollama is."""


class HealthState:
    """How it is with all that lies between the publisher and who looks.

    Args:
        now: When it begins, Unix seconds.
    """

    def __init__(self, now: float) -> None:
        self.rates = Rates()
        self.received = 0
        self._connection: dict[str, Any] = {
            "state": str(State.CONNECTING),
            "since": now,
            "url": None,
            "reason": "",
            "retry_at": None,
            "reconnects": 0,
        }
        self._flow: dict[str, Any] | None = None
        self._gaps: deque[dict[str, Any]] = deque(maxlen=SHOWN_GAPS)
        self._gap_count = 0
        self._told_gaps = 0
        self._relay: dict[str, Any] | None = None
        self._problem: str | None = None
        self._upstream: dict[str, Any] | None = None
        self._archive: dict[str, Any] | None = None
        self._ollama: dict[str, Any] | None = None

    def take_status(self, status: Status, *, retry_at: float | None = None) -> None:
        """Take how a monitor stands to its relay.

        Args:
            status: Of the monitor.
            retry_at: When it tries again, Unix seconds; None: not known.
        """
        self._connection = {
            "state": str(status.state),
            "since": values.time(status.since.timestamp()),
            "url": values.text(status.url),
            "reason": values.text(status.last_error) or "" if status.state is not State.CONNECTED else "",
            "retry_at": values.time(retry_at),
            "reconnects": status.reconnects,
        }
        self._flow = {
            "lag": values.number(status.lag),
            "received": status.received,
            "dropped": status.dropped,
            "evicted": status.evicted,
        }
        self._told_gaps = status.gaps

    def count(self, messages: Sequence[tuple[Envelope, Any]], *, but: int) -> None:
        """Count messages, `but` of which are the relay's own."""
        self.received += len(messages) - but
        first, last = messages[0][0].received_at, messages[-1][0].received_at
        if not but and first // 1 == last // 1:  # the usual case, made quick
            self.rates.add(last, len(messages))
            return
        second, count = 0.0, 0
        for _, at, channel, _, _ in map(_envelope, messages):
            if channel == RELAY_CHANNEL:
                continue
            if at // 1 != second:  # those of one second together
                if count:
                    self.rates.add(second, count)
                second, count = at // 1, 0
            count += 1
        if count:
            self.rates.add(second, count)

    def take_gap(self, gap: Gap) -> None:
        """Take a gap."""
        self._gap_count += 1
        self._gaps.appendleft(
            {
                "cause": str(gap.cause),
                "started_at": values.time(gap.started_at),
                "ended_at": values.time(gap.ended_at),
                "missed": values.count(gap.missed),
                "detail": values.text(gap.detail) or "",
            }
        )

    @property
    def hears_upstream(self) -> bool:
        """Whether the relay hears Redis, or did not say that it does not."""
        return self._upstream is None or bool(self._upstream["is_connected"])

    def take_info(self, info: Any, problem: str = "") -> None:
        """Take what the relay answered to `/info`; None, and why: it did not, and what it said before stays."""
        self._problem = values.text(problem) or None
        if not isinstance(info, dict):
            return
        told = _object(info.get("statistics"))
        self._relay = {
            "version": values.text(told.get("version"), 40),
            "started_at": values.time(told.get("started_at")),
            "readers": values.count(told.get("readers")),
            "readers_behind": values.count(told.get("readers_behind")),
        }
        if isinstance(is_connected := told.get("is_connected"), bool):
            self._upstream = {
                "is_connected": is_connected,
                "since": values.time(told.get("upstream_since")),
                "reason": values.text(told.get("upstream_reason")) or "",
            }
        archive = _object(told.get("archive"))
        self._archive = None
        if isinstance(is_writing := archive.get("is_writing"), bool):
            self._archive = {
                "is_writing": is_writing,
                "reason": values.text(archive.get("reason")) or "",
                "waiting": values.count(archive.get("waiting")) or 0,
            }
        ollama = _object(info.get("ollama"))
        is_reachable = ollama.get("is_reachable")
        self._ollama = _ollama(ollama, is_reachable=is_reachable) if isinstance(is_reachable, bool) else None

    def take_line(self, name: str, line: dict[str, Any]) -> None:
        """Take a line of the relay's own, of one of `OLLAMA_EVENTS`."""
        is_reachable = "unreachable" not in name
        self._ollama = _ollama(line, is_reachable=is_reachable)
        if not is_reachable:
            self._ollama["reason"] = values.text(line.get("error")) or ""

    def as_dict(self, now: float) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        own = {
            "lag": None,
            "received": self.received,
            "dropped": 0,
            "evicted": 0,
        }
        relay = None
        if self._relay is not None or self._problem is not None:
            nothing = dict.fromkeys(("version", "started_at", "readers", "readers_behind"))
            relay = {**(self._relay or nothing), "problem": self._problem}
        return {
            "connection": self._connection,
            "rate": self.rates.per_second(now),  # by the relay's times: what a monitor first fetches is no rush
            **(self._flow or own),
            "gap_count": max(self._gap_count, self._told_gaps),
            "gaps": list(self._gaps),
            "relay": relay,
            "upstream": self._upstream,
            "archive": self._archive,
            "ollama": self._ollama,
        }


def _ollama(told: dict[str, Any], *, is_reachable: bool) -> dict[str, Any]:
    models = told.get("models")
    loaded = models[:MOST_MODELS] if isinstance(models, list | tuple) and is_reachable else []
    names = [values.text(one.get("name")) for one in loaded if isinstance(one, dict)]
    return {
        "is_reachable": is_reachable,
        "reason": "" if is_reachable else values.text(told.get("reason")) or "",
        "models": [name for name in names if name is not None],
        "size_vram": values.count(told.get("size_vram")) if is_reachable else None,
    }


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
