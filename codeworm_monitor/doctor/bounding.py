"""Work that may hang, bounded in time: done in a thread that is left behind when its time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

__all__ = ["begun", "bounded"]

T = TypeVar("T")


def begun(work: Callable[[], T], *, name: str) -> Future[T]:
    """Begin work in a thread of its own, and return what becomes of it.

    The thread is a daemon: one that hangs, in a name server or a dead network disk, does not keep the process from its
    end. What it opened is closed when it goes on, or by the end of the process.

    Args:
        work: What is done; blocks only its own thread.
        name: Name of the thread.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def bounded(work: Callable[[], T], *, within: float, name: str = "doctor:bounded") -> T:
    """Return what a function returns, or raise what it raises, within a time.

    Args:
        work: What is done; a thread of `begun`s does it.
        within: Seconds.
        name: Name of the thread.

    Raises:
        TimeoutError: The time is over.
    """
    future = begun(work, name=name)
    if not wait((future,), timeout=max(0.0, within)).done:
        raise TimeoutError(f"no answer within {within:g} s")
    return future.result()
