"""Archives of recorded traffic, and of hand-made messages, on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from codeworm_monitor.archive.rows import rows_of
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap, Mark
from codeworm_monitor.payloads import normalise
from codeworm_monitor.sources.recording import read_recording

DAY = 86_400.0


def fill(store: Store, messages: Iterable[tuple[float, str, Any]], *, epoch: int | None = None, first: int = 1) -> int:
    """Add messages (time, channel, payload) to an archive and return the key of their epoch; a `Gap` is a payload too."""
    key = store.begin() if epoch is None else epoch
    times, channels, payloads = list[float](), list[str](), list[bytes]()
    notes: list[Mark | Gap | None] = []
    for time, channel, payload in messages:
        if isinstance(payload, Gap):
            data, note = b"", payload
        else:
            data, _, note = normalise(payload if isinstance(payload, bytes) else orjson.dumps(payload))
        times.append(time)
        channels.append(channel)
        payloads.append(data)
        notes.append(note)
    store.append(rows_of(key, first, times, channels, payloads, notes))
    return key


def recorded_messages(path: Path, *, later: float = 0.0) -> Sequence[tuple[float, str, bytes]]:
    """Return the messages of a recording, by so many seconds later."""
    return [(one.received_at + later, one.channel, one.payload) for one in read_recording(path)]
