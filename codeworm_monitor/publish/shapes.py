"""CodeWorm's shapes: log lines with UTC times, events and stats with naive local ones, as text that waits to be sent.

What the program's thread must do is kept small: it writes the JSON, which is the cheapest copy of what may change
afterwards, and takes the time. The time is written out in the publisher's own thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from codeworm_monitor.publish.encoding import encode

__all__ = ["OVERHEAD", "Message", "Stamp", "event_message", "flat_message", "payload_of", "size_of", "time_text"]


class Stamp(IntEnum):
    """Which time is yet to be written into a message."""

    NONE = 0
    """None: the text is whole."""
    UTC = 1
    """When it was published, in UTC with Z: a log line."""
    LOCAL = 2
    """When it was published, local time without a zone: an event, stats."""


Message = tuple[bytes, float, Stamp, bytes, bytes]
"""Channel, time in Unix seconds, stamp, and the text before and after the time; all before, if it is to become the last key.

A plain tuple, which is made quickest.
"""

_NONE, _LOCAL = Stamp.NONE, Stamp.LOCAL  # looked up quicker

OVERHEAD = 250
"""Bytes that a waiting message takes beside its text."""
DELAYED = 60.0
"""Seconds after which a local time is sent with its zone: readers find out the zone of a naive one by when it comes."""


def flat_message(channel: bytes, at: float, stamp: Stamp, fields: Mapping[str, Any]) -> Message:
    """Return a log line or stats; a `timestamp` among the fields is taken as it is.

    Args:
        channel: Where to publish it.
        at: Unix seconds.
        stamp: Which time to add.
        fields: What it says; something, if there is a stamp.
    """
    text = encode(fields)
    if "timestamp" in fields or stamp is _NONE or len(text) < 3:
        return (channel, at, _NONE, text, b"")
    return (channel, at, stamp, text, b"")


def event_message(channel: bytes, at: float, type_: str, values: Mapping[str, Any]) -> Message:
    """Return an event: `{"type", "timestamp", "data"}`."""
    head = b'{"type":' + encode(type_) + b',"timestamp":"'
    return (channel, at, _LOCAL, head, b'","data":' + encode(values) + b"}")


def payload_of(message: Message, now: float) -> bytes:
    """Return the text to send.

    Args:
        message: What waited.
        now: Unix seconds.
    """
    _, at, stamp, head, tail = message
    if stamp is Stamp.NONE:
        return head
    try:
        time = time_text(at, stamp, is_late=now - at > DELAYED).encode()
    except (TypeError, ValueError, OverflowError, OSError):  # a record of the program's own says a time that is none
        time = time_text(now, stamp).encode()
    return head + time + tail if tail else head[:-1] + b',"timestamp":"' + time + b'"}'


def time_text(at: float, stamp: Stamp, *, is_late: bool = False) -> str:
    """Return a time as CodeWorm writes it.

    Args:
        at: Unix seconds.
        stamp: In which form.
        is_late: Whether it is sent so late that a local time needs its zone.
    """
    if stamp is Stamp.UTC:
        return f"{datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    local = datetime.fromtimestamp(at)
    return (local.astimezone() if is_late else local).isoformat(timespec="microseconds")


def size_of(message: Message) -> int:
    """Return about how many bytes a waiting message takes."""
    return len(message[3]) + len(message[4]) + OVERHEAD
