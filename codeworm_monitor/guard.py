"""The guard process of the embedded server: starts it, and stops it when the process that wanted it is gone.

Run as a file by `python -I -S`, with nothing but built-in modules, so that it is up within some 15 ms; never imported.
Arguments: process id of who wants the server, its directory, seconds the server may take to end, and its command.
Writes the server's process id to standard output; ends when standard input does. See `embedded` for the whole.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_PARENT_CHECK = 1.0
"""Seconds between looks at the parent, for the case that a fork of it holds our standard input open."""


def main() -> int:
    """Keep the server until it ends, or nobody wants it; return its status as a shell would."""
    parent, directory, stop_within, command = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]
    log = os.open(os.path.join(directory, "server.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    # A byte comes here with every signal, so that select() ends: the server ended, or somebody wants us to.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    is_asked_to_end = False

    def end(*_: object) -> None:
        nonlocal is_asked_to_end
        is_asked_to_end = True

    # Before the handlers below: a SIGTERM that meets the child before it has become the server has to end it.
    server = _start(command)
    signal.signal(signal.SIGTERM, end)
    # A Ctrl-C in the terminal is for the program that wants the server; it tells us in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        os.write(1, b"%d\n" % server)
    except OSError:  # the parent is gone already; standard input says so too
        is_asked_to_end = True
    is_orphaned = False
    status: int | None = None
    while status is None and not is_orphaned and not is_asked_to_end:
        ready, _, _ = select.select([0, woken], [], [], _PARENT_CHECK)
        _drain(woken, ready)
        is_orphaned = (0 in ready and not os.read(0, 512)) or os.getppid() != parent
        status = _status(server)
    if status is None:
        os.kill(server, signal.SIGTERM)
        last = time.monotonic() + stop_within
        while status is None and (rest := last - time.monotonic()) > 0:
            ready, _, _ = select.select([woken], [], [], rest)
            _drain(woken, ready)
            status = _status(server)
    if status is None:
        os.kill(server, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
    if is_orphaned or os.getppid() != parent:
        _remove(directory)
    return status if status >= 0 else 128 - status


def _start(command: list[str]) -> int:
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    guard = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == guard:  # the guard may have ended before the line above
            os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error}\n".encode())
    finally:
        os._exit(127)


def _status(server: int) -> int | None:
    number, status = os.waitpid(server, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if number else None


def _drain(woken: int, ready: list[int]) -> None:
    if woken in ready:
        os.read(woken, 512)


def _remove(directory: str) -> None:
    try:
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError:  # its owner was faster
        return


if __name__ == "__main__":
    sys.exit(main())
