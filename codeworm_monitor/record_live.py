"""Recording live traffic: from a relay into a file, over reconnections, until it is told to end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from codeworm_monitor import discovery
from codeworm_monitor.archive.exporting import recording_line
from codeworm_monitor.archive.rows import StoredRow, micros
from codeworm_monitor.client import Address, Ended, Lost
from codeworm_monitor.doctor.asking import Whereabouts
from codeworm_monitor.envelope import Gap
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Batch, Hello, Subscribe
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.moments import in_two_units
from codeworm_monitor.record_file import RecordingFile
from codeworm_monitor.record_wire import ExactClient, ExactMessage, exact_messages

__all__ = ["Recorded", "Wanted", "record_live", "terminal_counter"]

TICK = 0.25
"""Seconds between looks at the clock and at what waits to be compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is recorded.

    Attributes:
        since: Begin with the first message received at or after this time, Unix seconds; None: from now on.
        channels: Only these; empty: all that the relay hears, without its own records.
        seconds: End after so many; None: never.
        messages: End after so many; None: never.
    """

    since: float | None = None
    channels: frozenset[str] = frozenset()
    seconds: float | None = None
    messages: int | None = None


@dataclass(slots=True)
class Recorded:
    """What became of a recording.

    Attributes:
        messages: Messages written.
        gaps: Gaps told by the relay.
        problem: Why it ended before it was told to; empty: it was told to.
    """

    messages: int = 0
    gaps: int = 0
    problem: str = ""


async def record_live(
    place: Whereabouts,
    wanted: Wanted,
    opened: Callable[[], RecordingFile],
    *,
    stop: asyncio.Event,
    tell: Callable[[str], None],
    count: Callable[[int, int], None],
) -> Recorded:
    """Record until `stop` is set, or as much as is wanted has come, or the relay says not to come back.

    After a loss of the connection the recording goes on where it was: what is no longer kept is a gap. The file is made
    once a relay has answered. Cancellation closes file and connection; what came is in the file.

    Args:
        place: The relay.
        wanted: What is recorded.
        opened: Makes the file.
        stop: Ends it.
        tell: Is told, in one line, of gaps and losses of the connection.
        count: Is told of messages and bytes written so far, often.

    Raises:
        ConnectError: There is no relay, or it refuses.
        RecordingError: The file cannot be made, or not be written any more.
    """
    subscribe = Subscribe(time=wanted.since, filter=Filter(channels=wanted.channels))

    def locate() -> list[Address]:
        # Started again it has another token, unless it was given one; another relay's traffic is not what was wanted.
        announced = [] if place.was_given_token else [one.token for one in discovery.find(place.url)]
        tokens = dict.fromkeys([*announced, place.token])
        return [Address(place.url, token) for token in tokens]

    client = ExactClient(locate, subscribe)
    done = Recorded()
    file: RecordingFile | None = None
    ends_at = None if wanted.seconds is None else time.monotonic() + wanted.seconds
    try:
        async with aclosing(client.stream()) as happenings:
            coming: asyncio.Task[Any] | None = None
            stopped = asyncio.create_task(stop.wait(), name="record:stop")
            try:
                while not stop.is_set():
                    if coming is None:
                        coming = asyncio.create_task(anext(happenings), name="record:read")
                    left = TICK if ends_at is None else min(TICK, max(0.0, ends_at - time.monotonic()))
                    await asyncio.wait({coming, stopped}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                    if coming.done():
                        try:
                            happening = coming.result()
                        except StopAsyncIteration:
                            break
                        finally:
                            coming = None
                        match happening:
                            case Hello():
                                file = file or await asyncio.to_thread(opened)
                            case Batch() if file is not None:
                                await asyncio.to_thread(file.write, _lines(client.text, happening, wanted, done))
                            case Gap():
                                done.gaps += 1
                                tell(_gap(happening))
                            case Lost() if file is None:
                                raise happening.as_error(
                                    token="give its token in --token",
                                    relay="start one with `python -m codeworm_monitor`, or name one: --url",
                                )
                            case Lost():
                                tell(f"{happening.reason}: it is tried again in {happening.retry_in:.1f} s")
                            case Ended():
                                done.problem = f"the relay ended it: {happening.reason}"
                                break
                    if file is not None:
                        await asyncio.to_thread(file.flush_if_due)
                        count(done.messages, file.bytes)
                    if wanted.messages is not None and done.messages >= wanted.messages:
                        break
                    if ends_at is not None and time.monotonic() >= ends_at:
                        break
            finally:
                for task in (coming, stopped):
                    if task is not None:
                        task.cancel()
                        await asyncio.wait([task])
                        if not task.cancelled():
                            task.exception()  # it is over, whatever befell it meanwhile
    finally:
        if file is not None:
            await asyncio.shield(asyncio.to_thread(file.close))
    return done


def _lines(text: bytes, batch: Batch, wanted: Wanted, done: Recorded) -> list[bytes]:
    """Return the lines for a batch, no more than are still wanted."""
    fresh = {envelope.offset for envelope, _ in batch.envelopes}  # after a return, some had come before
    lines: list[bytes] = []
    for message in exact_messages(text):
        if message.offset not in fresh or (message.channel == RELAY_CHANNEL and RELAY_CHANNEL not in wanted.channels):
            continue
        if wanted.messages is not None and done.messages >= wanted.messages:
            break
        lines.append(_line(message))
        done.messages += 1
    return lines


def _line(message: ExactMessage) -> bytes:
    return recording_line(
        StoredRow(0, message.offset, micros(message.received_at), message.channel, message.mark, message.data)
    )


def _gap(gap: Gap) -> str:
    missed = "messages may be missing" if gap.missed is None else f"{gap.missed:,} messages are missing"
    lasted = in_two_units(gap.ended_at - gap.started_at)
    return (
        f"gap ({str(gap.cause).replace('_', ' ')}): {missed}{f', of {lasted}' if lasted else ''}; {gap.detail}".rstrip(
            "; "
        )
    )


def terminal_counter() -> Callable[[int, int], None]:
    """Return what keeps a line on a terminal's standard error; elsewhere it does nothing."""
    if not sys.stderr.isatty():
        return lambda messages, size: None
    shown = [-1]

    def count(messages: int, size: int) -> None:
        if messages != shown[0]:
            shown[0] = messages
            sys.stderr.write(f"\r\x1b[K{messages:,} messages, {size:,} bytes")
            sys.stderr.flush()

    return count
