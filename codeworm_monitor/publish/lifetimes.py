"""The end of the process, and forks: what is to be done for publishers that are running then."""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextlib import suppress
from typing import Protocol

from codeworm_monitor.publish.sending import IMPORTING

__all__ = ["Living", "enlist", "strike"]


class Living(Protocol):
    """A publisher whose thread runs."""

    exit_within: float

    def close(self, timeout: float | None = None) -> bool:
        """Send what waits, and end."""
        ...

    def begin_anew(self) -> None:
        """Forget, in a forked process, what is the parent's."""
        ...


_running: dict[int, Living] = {}
_ends_in = 0
"""Process in which there was a first publisher."""
_is_held = False


def enlist(publisher: Living) -> None:
    """Remember a publisher: it is closed at exit, and begins anew in processes that are forked."""
    global _ends_in
    _running[id(publisher)] = publisher
    if _ends_in == os.getpid():
        return
    _ends_in = os.getpid()
    # A worker of `multiprocessing` ends without the functions of `atexit`.
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _close_all, exitpriority=100)


def strike(publisher: Living) -> None:
    """Forget a publisher that was closed."""
    _running.pop(id(publisher), None)


def _close_all() -> None:
    """Close all, one after the other, within the longest time that one of them may take."""
    publishers = list(_running.values())
    deadline = time.monotonic() + max((one.exit_within for one in publishers), default=0.0)
    for one in publishers:
        one.close(max(0.0, min(one.exit_within, deadline - time.monotonic())))


def _before_fork() -> None:
    global _is_held
    _is_held = IMPORTING.acquire(timeout=1.0)


def _after_fork_in_parent() -> None:
    if _is_held:
        IMPORTING.release()


def _after_fork_in_child() -> None:
    with suppress(RuntimeError):  # it was not to be had before the fork
        IMPORTING.release()
    for one in list(_running.values()):
        one.begin_anew()
    _running.clear()


# At import: what the program registers later runs earlier, and may still publish.
atexit.register(_close_all)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
