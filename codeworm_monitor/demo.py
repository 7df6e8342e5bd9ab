"""The demo: recorded traffic of a real CodeWorm, published to a Redis as CodeWorm itself would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import redis.asyncio

from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.errors import RelayError
from codeworm_monitor.logformat import printable
from codeworm_monitor.sources.recording import RecordingSource

__all__ = ["SAMPLE", "describe", "play"]

SAMPLE = Path(__file__).parent / "samples" / "traffic.jsonl.gz"
"""The recording shipped with the package; `samples/README.md` says what it is."""


async def play(url: str, *, path: Path = SAMPLE, speed: float = 10.0, repeat: bool = False) -> int:
    """Publish a recording's messages, each at its time; return how many.

    Args:
        url: Redis to publish to.
        path: The recording.
        speed: How many times faster than recorded.
        repeat: Begin again at the end, until cancelled.

    Raises:
        RecordingError: The file holds no recording.
        RelayError: The server went away.
    """
    published = 0
    try:
        async with redis.asyncio.from_url(url) as server:
            async for happening in aiter(RecordingSource(path, speed=speed, repeat=repeat)):
                if isinstance(happening, list):
                    for message in happening:
                        await server.publish(message.channel, message.payload)
                        published += 1
    except redis.RedisError as error:
        raise RelayError(f"the embedded server went away while the recording played: {error}") from error
    return published


def describe(entry: Envelope | Gap) -> str:
    """Return one line about an entry of the log, for a terminal: time of arrival, channel, what happened, details."""
    if isinstance(entry, Gap):
        return f"-- gap: {entry.cause} -- {printable(entry.detail)}"
    time = datetime.fromtimestamp(entry.received_at, UTC).astimezone().strftime("%H:%M:%S")
    line = f"{time}  {entry.channel.rpartition(':')[2]:7} {' '.join(_words(orjson.loads(entry.data)))}"
    return printable(line if len(line) <= 160 else f"{line[:159]}…")


def _words(payload: Any) -> Iterator[str]:
    if not isinstance(payload, dict):
        yield str(payload)
        return
    details = payload.get("data")
    fields = {**payload, **(details if isinstance(details, dict) else {})}
    yield f"{fields.pop('level', '') or '':8}"
    yield f"{fields.pop('event', None) or fields.pop('type', None) or 'stats':26}"
    for key, value in fields.items():
        if key not in ("component", "timestamp", "data", "exception", "by_repo"):
            yield f"{key}={value}"
