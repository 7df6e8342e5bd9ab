"""The running monitors by name, kept where reloading the package does not lose them."""

from __future__ import annotations

import atexit
import sys
import threading
from types import ModuleType
from typing import Protocol, cast

__all__ = ["forget", "lock", "named", "remember"]

_HOME = "codeworm_monitor.__running__"


class _Named(Protocol):
    name: str

    def close(self) -> None: ...


class _Home(ModuleType):
    # IPython's %autoreload empties the namespace of each module that it reloads, and reloads those that have a file.
    # This one has none, and is found in `sys.modules` by whatever version of this module comes next.
    monitors: dict[str, _Named]
    lock: threading.RLock


def lock() -> threading.RLock:
    """Return the lock to hold while a monitor is looked up and put in place."""
    return _home().lock


def named(name: str) -> _Named | None:
    """Return the running monitor of that name."""
    return _home().monitors.get(name)


def remember(monitor: _Named) -> None:
    """Keep a monitor under its name."""
    _home().monitors[monitor.name] = monitor


def forget(monitor: _Named) -> None:
    """Let go of a monitor; another one under its name stays."""
    monitors = _home().monitors
    if monitors.get(monitor.name) is monitor:
        monitors.pop(monitor.name, None)


def _home() -> _Home:
    home = sys.modules.get(_HOME)
    if home is None:
        fresh = _Home(_HOME)
        fresh.monitors, fresh.lock = {}, threading.RLock()
        home = sys.modules.setdefault(_HOME, fresh)
        if home is fresh:
            atexit.register(_close_all, fresh)
    return cast(_Home, home)


def _close_all(home: _Home) -> None:
    for monitor in list(home.monitors.values()):
        monitor.close()
