"""Waiting on conditions instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(
    condition: Callable[[], Any | Awaitable[Any]], within: float = 10.0, *, otherwise: str | Callable[[], str] = ""
) -> Any:
    """Return what `condition` returns (or its awaited result) as soon as that is true; fail after `within` seconds.

    Args:
        condition: Asked every 10 ms; an `AssertionError` counts as not yet.
        within: Seconds.
        otherwise: Said, after what was seen, when the time is over.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            failure = None
        except AssertionError as error:
            result, failure = None, error
        if result:
            return result
        if time.monotonic() > deadline:
            said = otherwise() if callable(otherwise) else otherwise
            raise AssertionError(
                f"not within {within:g} s: {said or inspect.getsource(condition).strip()}"
            ) from failure
        await asyncio.sleep(0.01)


def until(condition: Callable[[], Any], within: float = 10.0) -> Any:
    """Wait, in this thread, until a condition holds, and return what it returned."""
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.01)
    return result
