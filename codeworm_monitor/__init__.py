"""Relay CodeWorm's Redis channels over WebSocket, and watch and analyse them in a notebook.

Two halves: the relay (`Relay`, `start_relay_in_thread`, or `python -m codeworm_monitor`) and the notebook side
(`connect`, `open_archive`, `open_recording`, `open_frames`). Names load when first used, so that importing the package costs next to nothing and
neither half imports what only the other needs.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeworm_monitor.analysis.questions import open_frames
    from codeworm_monitor.errors import MonitorError
    from codeworm_monitor.monitor import Monitor, connect, open_recording
    from codeworm_monitor.opened import Archive, open_archive
    from codeworm_monitor.relay import Relay
    from codeworm_monitor.relay_thread import start_relay_in_thread
    from codeworm_monitor.settings import RelaySettings

__version__ = "0.1.0"

# A library says nothing unless asked: the command line, or the program that uses it, decides where its log goes.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Archive",
    "Monitor",
    "MonitorError",
    "Relay",
    "RelaySettings",
    "__version__",
    "connect",
    "open_archive",
    "open_frames",
    "open_recording",
    "start_relay_in_thread",
]

_HOMES = {
    "Archive": "opened",
    "Monitor": "monitor",
    "MonitorError": "errors",
    "Relay": "relay",
    "RelaySettings": "settings",
    "connect": "monitor",
    "open_archive": "opened",
    "open_frames": "analysis.questions",
    "open_recording": "monitor",
    "start_relay_in_thread": "relay_thread",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
