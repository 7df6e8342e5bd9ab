"""The state of a monitor at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from codeworm_monitor.envelope import Cursor

__all__ = ["State", "Status"]


class State(StrEnum):
    """How a monitor stands to its relay."""

    CONNECTING = "connecting"
    """There was no connection yet."""
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    """The connection was lost; the monitor returns by itself and resumes."""
    REFUSED = "refused"
    """The relay refused: it wants another token, or is not to be addressed by this name; it is asked again, slowly."""
    CLOSED = "closed"
    """For good: closed here, or by a relay that said not to come back."""
    RECORDING = "recording"
    """There is no relay, but a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a monitor. Durations are seconds, times aware and in UTC; None: not known.

    Attributes:
        name: Name of the monitor.
        state: How it stands to its relay.
        since: When that began.
        url: Where the relay is, without the token; of a recording, the file.
        epoch: Identity of the relay's numbering.
        cursor: The newest entry seen.
        rate: Messages a second, over the last 10 seconds.
        lag: From the relay's reading of the newest live message until it was here.
        received: Messages received.
        evicted: Rows that left the tables because these were full.
        dropped: Records that callbacks, `async for` and `wait_for` were too slow for.
        gaps: Gaps told by relays.
        reconnects: How often the connection was made again.
        callback_failures: Exceptions raised by callbacks.
        last_error: The newest trouble, one line; it may be over.
    """

    name: str
    state: State
    since: datetime
    url: str | None = None
    epoch: str | None = None
    cursor: Cursor | None = field(default=None)
    rate: float = 0.0
    lag: float | None = None
    received: int = 0
    evicted: int = 0
    dropped: int = 0
    gaps: int = 0
    reconnects: int = 0
    callback_failures: int = 0
    last_error: str | None = None
