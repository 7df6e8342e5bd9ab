"""What becomes of a payload at the relay's door: checked once, so that nothing behind it need check again."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson

from codeworm_monitor.envelope import Mark

__all__ = ["MAX_DEPTH", "MAX_PAYLOAD", "PLAIN", "normalise"]

MAX_PAYLOAD = 512 * 2**10
"""Largest payload relayed whole, in bytes; clients close on a message over their limit, by default 1 MiB."""
MAX_DEPTH = 200
"""Deepest nesting relayed as JSON: orjson writes no deeper than 254, and frames nest the payload further."""
PLAIN = 2 * MAX_DEPTH
"""A payload of at most so many bytes is relayed as it is if orjson reads it: a nesting of N takes 2 N bytes."""
KEPT_OF_OVERSIZE = 4096


def normalise(payload: bytes, max_payload: int = MAX_PAYLOAD) -> tuple[bytes, Any, Mark | None]:
    """Return JSON text for a payload, its decoded value, and why the text is not the payload, if so.

    JSON passes byte for byte. Anything else becomes what the original relay made of it, `{"raw": text}`; of bytes
    that are not UTF-8, `raw` is readable and `base64` exact. The text returned is valid UTF-8 and JSON, at most
    `max_payload` long or little more, and nested `MAX_DEPTH` deep at most, whatever came.

    JSON is what RFC 8259 and orjson say: `NaN`, a byte order mark, a lone surrogate, or a number that no double can
    hold make a payload raw.
    """
    if len(payload) > max_payload:
        return _truncated(payload, len(payload))
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _raw(payload, max_payload)
    # A nesting takes as many opening brackets; so nearly every payload is cleared without a look inside.
    if len(payload) > PLAIN and payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        return _raw(payload, max_payload)
    return payload, value, None


def _raw(payload: bytes, max_payload: int) -> tuple[bytes, Any, Mark]:
    try:
        value = {"raw": payload.decode()}
    except UnicodeDecodeError:
        value = {"raw": payload.decode(errors="replace"), "base64": b64encode(payload).decode()}
    data = orjson.dumps(value)
    if len(data) > max_payload + 1024:  # control characters grow sixfold when escaped
        return _truncated(payload, len(payload))
    return data, value, Mark.RAW


def _truncated(payload: bytes, size: int) -> tuple[bytes, Any, Mark]:
    value = {"raw": payload[:KEPT_OF_OVERSIZE].decode(errors="replace"), "truncated": True, "bytes": size}
    return orjson.dumps(value), value, Mark.TRUNCATED


def _is_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
