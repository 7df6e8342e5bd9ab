"""Rows of the archive: how an entry of the log is written down, and read back the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from codeworm_monitor.envelope import Entry, Envelope, Gap, GapCause, Mark

__all__ = ["GAP", "StoredRow", "entry_of", "gap_payload", "micros", "rows_of"]

GAP = "gap"
"""In the column `mark`: the row is a gap, its payload the gap's fields, its channel empty."""


class StoredRow(NamedTuple):
    """One row of the table `entries`, in the order of its columns.

    Attributes:
        epoch: Key of the epoch in the table `epochs`.
        offset: Place in the log of that epoch. A gap that concerns offsets which were never written stands at the
            first of them.
        received_at: Microseconds since 1970, UTC.
        channel: Where it was published; empty for a gap.
        mark: None, a `Mark`, or `GAP`.
        payload: JSON text.
    """

    epoch: int
    offset: int
    received_at: int
    channel: str
    mark: str | None
    payload: bytes


def micros(seconds: float) -> int:
    """Return Unix seconds as the microseconds that the archive keeps; what the wire says of a time is kept exactly."""
    return round(seconds * 1_000_000)


def gap_payload(gap: Gap) -> bytes:
    """Return what the archive keeps of a gap."""
    return orjson.dumps(gap.as_dict())


def entry_of(offset: int, received_at: int, channel: str, mark: str | None, payload: bytes) -> Entry:
    """Return the entry that a row holds."""
    if mark == GAP:
        fields = orjson.loads(payload)
        return Gap(**fields | {"cause": GapCause(fields["cause"])})
    return Envelope(offset, received_at / 1_000_000, channel, payload, None if mark is None else Mark(mark))


def rows_of(
    epoch: int,
    first: int,
    times: Sequence[float],
    channels: Sequence[str],
    data: Sequence[bytes],
    notes: Sequence[Mark | Gap | None],
) -> list[StoredRow]:
    """Return the rows of consecutive entries, given as the backlog's columns."""
    rows = []
    for offset, (time, channel, payload, note) in enumerate(zip(times, channels, data, notes, strict=True), first):
        if isinstance(note, Gap):
            rows.append(StoredRow(epoch, offset, micros(time), "", GAP, gap_payload(note)))
        else:
            rows.append(StoredRow(epoch, offset, micros(time), channel, note, payload))
    return rows
