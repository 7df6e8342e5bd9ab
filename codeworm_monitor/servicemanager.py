"""Readiness and watchdog for a service manager, by systemd's notification protocol.

Source: sd_notify(3) and sd_watchdog_enabled(3). Without `NOTIFY_SOCKET` in the environment nothing is sent.
"""

from __future__ import annotations

import os
import socket

__all__ = ["notify", "watchdog_interval"]


def notify(state: str) -> bool:
    """Tell the service manager a state, such as `READY=1`, `STOPPING=1` or `WATCHDOG=1`; return whether one was told.

    Args:
        state: Lines of `NAME=value`.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.setblocking(False)  # noqa: FBT003  # the library's spelling
            sender.send(state.encode())
    except OSError:
        return False  # nobody listens any more: there is nobody to tell that either
    return True


def watchdog_interval() -> float | None:
    """Return the seconds between two `WATCHDOG=1` that the service manager wants, half its limit; None: it wants none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2e6 or None
