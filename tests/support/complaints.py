"""What a program complains of while something is done to it: errors in its log, exceptions that reach the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import Any


class _Keeper(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.kept = kept
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(self.format(record))


@contextlib.contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect what is logged at error level, and what reaches the running loop's exception handler."""
    kept: list[str] = []
    loop, root, keeper = asyncio.get_running_loop(), logging.getLogger(), _Keeper(kept)
    before = loop.get_exception_handler()

    def take(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        kept.append(f"loop: {context['message']}: {context.get('exception')!r}")

    loop.set_exception_handler(take)
    root.addHandler(keeper)
    try:
        yield kept
        gc.collect()  # a task whose exception nobody took says so when it is collected
    finally:
        root.removeHandler(keeper)
        loop.set_exception_handler(before)
