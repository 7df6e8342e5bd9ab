"""One numbered log: `Cursor` names a place in it, `Envelope` and `Gap` are what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from codeworm_monitor.errors import FrameError

__all__ = ["MAX_OFFSET", "Cursor", "Entry", "Envelope", "Gap", "GapCause", "Mark"]

MAX_OFFSET = 2**53 - 1
"""Largest offset: the largest integer that every JSON reader, browsers included, keeps exactly."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the log: the newest offset already seen, under the epoch that names the numbering.

    Written `epoch:offset`. Offsets are ordered under one epoch and mean nothing under another. Offset 0 stands
    before the first entry.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from its written form.

        Raises:
            FrameError: `text` is not `epoch:offset` with an offset from 0 to `MAX_OFFSET`.
        """
        epoch, colon, digits = text.rpartition(":")
        if not (colon and epoch and len(epoch) <= 64 and digits.isascii() and digits.isdecimal() and len(digits) <= 16):
            raise FrameError(f"a cursor is written epoch:offset, not {text[:80]!r}")
        offset = int(digits)
        if offset > MAX_OFFSET:
            raise FrameError(f"the offset {offset} of a cursor is over {MAX_OFFSET}")
        return cls(epoch, offset)


class Mark(StrEnum):
    """Why an envelope's data is not the exact payload."""

    RAW = "raw"
    """The payload is no JSON text that every reader can take; data is `{"raw": text}`."""
    TRUNCATED = "truncated"
    """The payload is over the size limit; data is `{"raw": first part, "truncated": true, "bytes": size}`."""


class Envelope(NamedTuple):
    """One message of the log.

    Attributes:
        offset: Its place, one more than that of the entry before it.
        received_at: When the relay read it, in Unix seconds by the relay's clock.
        channel: Where it was published.
        data: JSON text in UTF-8: the payload as it came, byte for byte, unless `mark` says otherwise.
        mark: None, or why `data` differs from the payload.
    """

    offset: int
    received_at: float
    channel: str
    data: bytes
    mark: Mark | None = None


class GapCause(StrEnum):
    """Why messages are, or may be, missing."""

    SOURCE_OUTAGE = "source_outage"
    """The relay was not subscribed upstream; how many messages were published meanwhile nobody can tell."""
    RELAY_RESTART = "relay_restart"
    """The relay was away: what was published meanwhile is lost, and so may be the last it took before a crash."""
    TRIMMED = "trimmed"
    """The cursor is older than the relay's memory reaches back."""
    SLOW_READER = "slow_reader"
    """The reader took its messages too slowly and was moved on."""
    NOT_ARCHIVED = "not_archived"
    """The archive could not be written when they came: its disk was full, read-only or failing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A known missing range, or an outage in which messages may have been missed.

    A source outage is an entry of the log, with an offset of its own, the same for every reader; so is a restart of a
    relay with an archive. The other causes concern one reader: no offset, but the range of offsets that this reader
    missed.

    Attributes:
        cause: Why.
        started_at: When the stretch began, in Unix seconds.
        ended_at: When it ended, in Unix seconds.
        offset: Its place in the log, or None for a gap of one reader.
        first_offset: First offset missed, or None where no count is known.
        last_offset: Last offset missed, or None where no count is known.
        detail: One line for a person.
    """

    cause: GapCause
    started_at: float
    ended_at: float
    offset: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None
    detail: str = ""

    @property
    def missed(self) -> int | None:
        """How many entries were missed, or None where nobody can tell."""
        if self.first_offset is None or self.last_offset is None or self.cause is GapCause.RELAY_RESTART:
            return None  # of the offsets set aside for a relay that crashed, most were never given
        return self.last_offset - self.first_offset + 1

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as the wire and the tables carry them."""
        return {
            "offset": self.offset,
            "cause": str(self.cause),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "first_offset": self.first_offset,
            "last_offset": self.last_offset,
            "detail": self.detail,
        }


Entry = Envelope | Gap
"""What the log holds under one offset."""
