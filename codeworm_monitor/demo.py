"""The demo: recorded traffic of a real CodeWorm, published to a Redis as CodeWorm itself would."""

from __future__ import annotations

import asyncio
from pathlib import Path

import redis.asyncio

from codeworm_monitor.sources import Disconnected
from codeworm_monitor.sources.recording import RecordingSource

__all__ = ["SAMPLE", "play"]

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
        redis.RedisError: The server is not there.
    """
    published = 0
    async with redis.asyncio.from_url(url) as server:
        async for happening in aiter(RecordingSource(path, speed=speed, repeat=repeat)):
            if isinstance(happening, list):
                for message in happening:
                    await server.publish(message.channel, message.payload)
                    published += 1
            elif isinstance(happening, Disconnected):
                await asyncio.sleep(0)
    return published
