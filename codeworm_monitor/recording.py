"""Recorded traffic as the notebook side reads it: numbered, and every payload made readable as a relay does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from codeworm_monitor.arrivals import Arrival
from codeworm_monitor.client import EARLIEST, LATEST
from codeworm_monitor.envelope import Envelope
from codeworm_monitor.errors import RecordingError
from codeworm_monitor.payloads import normalise
from codeworm_monitor.records import PublisherClock, parse_record
from codeworm_monitor.sources.recording import read_recording

__all__ = ["RECORDING_EPOCH", "recorded", "recorded_arrivals"]

RECORDING_EPOCH = "recording"


def recorded(path: str | os.PathLike[str]) -> Iterator[tuple[Envelope, Any]]:
    """Yield the messages of a file, with offsets from 1; each with its decoded payload, its data left empty.

    Raises:
        RecordingError: The file is missing or holds something else.
    """
    for offset, message in enumerate(read_recording(path), 1):
        if not EARLIEST <= message.received_at < LATEST:
            raise RecordingError(f"{path}, message {offset}: {message.received_at} is no time of the years 1 to 9999")
        _, payload, mark = normalise(message.payload)
        yield Envelope(offset, message.received_at, message.channel, b"", mark), payload


def recorded_arrivals(path: str | os.PathLike[str]) -> Iterator[Arrival]:
    """Yield the records of a file, as those who wait for them are given them.

    Raises:
        RecordingError: As for `recorded`.
    """
    clock = PublisherClock()
    for envelope, payload in recorded(path):
        record = parse_record(envelope.channel, payload, envelope.received_at, clock)
        yield Arrival(record, envelope.channel, RECORDING_EPOCH, None if envelope.mark is None else str(envelope.mark))
