"""Info: what a relay says of itself at `/info`, asked without a thread, so that it can be given up at once."""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson

from codeworm_monitor.client import Address
from codeworm_monitor.errors import ConnectError

__all__ = ["relay_info"]

TIMEOUT = 4.0
"""Seconds that the whole may take."""
MAX_ANSWER = 4 * 2**20


async def relay_info(address: Address) -> dict[str, Any]:
    """Return what a relay answers to `GET /info`. Cancelling gives it up at once.

    Raises:
        ConnectError: It does not answer, refuses, or answers something else; says what.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = await _get(address)
    except TimeoutError as error:
        raise ConnectError("it did not answer in time") from error
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise ConnectError(str(error) or type(error).__name__) from error
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    status = words[1].decode(errors="replace") if len(words) > 1 and words[0].startswith(b"HTTP/1.") else ""
    if status != str(HTTPStatus.OK.value):
        raise ConnectError(f"it answered {status[:20] or 'no HTTP'}")
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ConnectError("what it answered cannot be read") from error
    if not isinstance(told, dict):
        raise ConnectError("what it answered cannot be read")
    return told


async def _get(address: Address) -> bytes:
    parts = urlsplit(address.url)
    is_safe = parts.scheme == "wss"
    context = ssl.create_default_context() if is_safe else None
    port = parts.port or (443 if is_safe else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        head = [f"GET /info HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\nConnection: close\r\n"]
        if address.token:
            head.append(f"Authorization: Bearer {address.token}\r\n")
        writer.write("".join([*head, "\r\n"]).encode("ascii"))
        await writer.drain()
        chunks, size = [], 0
        while chunk := await reader.read(65536):
            size += len(chunk)
            if size > MAX_ANSWER:
                raise ValueError(f"it answered more than {MAX_ANSWER:,} bytes")
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        writer.transport.abort()  # nothing is owed to the other end: `wait_closed` could wait for it
