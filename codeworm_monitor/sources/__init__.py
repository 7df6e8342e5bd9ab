"""Sources: where messages enter. Each is an asynchronous iterator over what happens upstream.

A source yields, in order and without end unless it says otherwise:

- `Connected` when it begins to hear its channels, at first and after each interruption;
- lists of `Message`, each list what arrived at one time, never empty;
- `Disconnected` when it ceases to hear them;
- `Gap`, if what it reads was recorded with one, in the gap's place.

Closing the iterator (`aclose`, or cancelling the task that iterates) closes the connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from codeworm_monitor.envelope import Gap

__all__ = ["Connected", "Disconnected", "Happening", "Message", "Probe", "ProbeState", "Source"]


class Message(NamedTuple):
    """One message as it came: where it was published, its bytes, and when it arrived.

    Attributes:
        channel: Name of the channel.
        payload: Exact bytes.
        received_at: Unix seconds by this machine's clock.
    """

    channel: str
    payload: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class Connected:
    """All channels are heard from now on.

    Attributes:
        at: Unix seconds.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The channels are not heard any more; what is published until the next `Connected` is lost.

    Attributes:
        at: Unix seconds of the last moment at which they were known to be heard.
        reason: One line for a person.
        is_refusal: The server answered and refused (password, permission): waiting alone will not mend it.
    """

    at: float
    reason: str
    is_refusal: bool = False


Happening = list[Message] | Connected | Disconnected | Gap


class ProbeState(StrEnum):
    """What became of the newest probe."""

    OFF = "off"
    """Nothing is proved: probes are not wanted, or not permitted."""
    WAITING = "waiting"
    """None has come back yet since the channels were confirmed, or they are not."""
    HEARD = "heard"
    """It came back."""
    UNSENT = "unsent"
    """It could not be published, which proves nothing about the subscription."""
    LOST = "lost"
    """It was published and did not come back: the subscription was deaf, and none has proved to hear since."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known, at one moment, of the way from a publisher through upstream to the source.

    Attributes:
        state: What became of the newest probe.
        age: Seconds since the newest probe that came back was sent, be it on an earlier subscription; None if none
            ever did.
        round_trip: Seconds from sending that probe to hearing it; None if none ever came back.
        reason: Why the state is not `HEARD`, in one line; empty if it is.
    """

    state: ProbeState
    age: float | None
    round_trip: float | None
    reason: str

    def __str__(self) -> str:
        age = "" if self.age is None else f", the newest that came back was sent {self.age:.1f} s ago"
        return f"{self.state}{age}{f' ({self.reason})' if self.reason else ''}"


class Source(Protocol):
    """What a relay reads from."""

    @property
    def name(self) -> str:
        """Where the messages come from, for a person; without secrets."""
        ...

    def __aiter__(self) -> AsyncGenerator[Happening, None]:
        """Start reading. A source may be iterated again after it was closed, not twice at a time."""
        ...
