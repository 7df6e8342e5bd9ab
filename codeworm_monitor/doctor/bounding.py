"""Work that may hang, bounded in time: done in a thread that is left behind when its time is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["bounded"]

T = TypeVar("T")


def bounded(work: Callable[[], T], *, within: float, name: str = "doctor:bounded") -> T:
    """Return what a function returns, or raise what it raises, within a time.

    The thread is a daemon: one that hangs, in a name server or a dead network disk, does not keep the process from its
    end. What it opened is closed when it goes on, or by the end of the process.

    Args:
        work: What is done; blocks only its own thread.
        within: Seconds.
        name: Name of the thread.

    Raises:
        TimeoutError: The time is over.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            answers.put((None, error))

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        result, error = answers.get(timeout=max(0.0, within))
    except queue.Empty:
        raise TimeoutError(f"no answer within {within:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
