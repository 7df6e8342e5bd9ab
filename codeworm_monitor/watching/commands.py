"""Commands: a program that is started with each notice, never through a shell."""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from codeworm_monitor.watching.actions import Action, ActionError
from codeworm_monitor.watching.notices import Notice, plain
from codeworm_monitor.watching.spans import Span, seconds_of, spoken

__all__ = ["Command"]

ENVIRONMENT = "CODEWORM_ALERT_"
KEPT_OUTPUT = 4_096
"""Bytes of what the program writes that are kept, the last; the rest is read and dropped."""
LOOK_EVERY = 0.05
_PORTION = 65_536

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()
_is_ending = threading.Event()


class Command(Action):
    """Starts a program with each notice; the next notice waits until it has ended.

    The notice is JSON on its standard input, and in its environment: `CODEWORM_ALERT_KIND`, `_TEXT` (the whole line),
    `_DETAIL`, `_RULE`, `_MONITOR`, `_TIME`, `_SINCE` and `_WITHHELD`, control characters removed. Nothing of it is ever
    part of the command. The program runs in a process group of its own, which is killed as a whole when its time is
    over, when the watch ends, and with this program. A status other than 0 is a failure of the action, and its last
    output is in `Watch.last_error`. What it leaves running in the background when it ends by itself stays.

    Args:
        argv: The program and its arguments.
        timeout: How long it may take, a `Span`.
        cwd: Where it runs; None: where this program does.
        environment: Variables to set beside those of this program.

    Raises:
        TypeError: `argv` is no list of texts.
        ValueError: It is empty, or holds a NUL.

    Example:
        >>> mon.watch("silence > 30min", Command(["notify-send", "--urgency=critical", "CodeWorm is silent"]))
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout: Span = 30.0,
        cwd: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(argv, str | bytes | os.PathLike):
            raise TypeError("a command is a list such as ['notify-send', 'CodeWorm']: it is never given to a shell")
        words = [os.fspath(word) if isinstance(word, str | os.PathLike) else None for word in argv]
        if any(not isinstance(word, str) for word in words):
            raise TypeError("each word of a command is a text or a path")
        self._argv = tuple(word for word in words if word is not None)
        if not self._argv or not self._argv[0]:
            raise ValueError("a command begins with the name of a program")
        if any("\0" in word for word in self._argv):
            raise ValueError("a command holds no NUL characters")
        self._timeout = seconds_of(timeout, "timeout", least=0.01)
        self._cwd = None if cwd is None else os.fspath(cwd)
        self._environment = dict(environment or {})

    def act(self, notice: Notice, stop: threading.Event) -> None:
        """Run it.

        Raises:
            ActionError: It could not be started, took too long, or failed.
        """
        values = {name: "" if value is None else str(value) for name, value in notice.as_dict().items()}
        told = {f"{ENVIRONMENT}{name.upper()}": plain(value, 2_000) for name, value in values.items()}
        process = self._start(told)
        try:
            with suppress(BrokenPipeError):  # it does not want to know
                assert process.stdin is not None
                with process.stdin as stdin:
                    stdin.write(orjson.dumps(notice.as_dict()))  # smaller than any pipe: it does not block
            is_over, output = _attend(process, time.monotonic() + self._timeout, stop)
        finally:
            _end(process)
        said = plain(output.decode("utf-8", "replace").strip(), 300)
        if not is_over and stop.is_set():
            raise ActionError(f"{self!r} was ended with its watch")
        if not is_over:
            raise ActionError(f"{self!r} took longer than {spoken(self._timeout)} and was killed{said and f': {said}'}")
        if process.returncode:
            raise ActionError(f"{self!r} ended with status {process.returncode}{said and f': {said}'}")

    @property
    def identity(self) -> object:  # noqa: D102
        return (type(self), self._argv, self._cwd, tuple(sorted(self._environment.items())))

    def __repr__(self) -> str:
        # Arguments may hold secrets.
        more = len(self._argv) - 1
        return f"Command([{plain(self._argv[0], 100)!r}{f', … {more} more' if more else ''}])"

    def _start(self, told: dict[str, str]) -> subprocess.Popen[bytes]:
        with _running_lock:  # or the end of the program might come between its start and its being known
            if _is_ending.is_set():
                raise ActionError(f"{self!r} is not started any more: this program ends")
            try:
                process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=self._cwd,
                    env=os.environ | self._environment | told,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                problem = error.strerror if isinstance(error, OSError) else "its environment cannot be passed on"
            else:
                _running.add(process)
                return process
        raise ActionError(f"{self!r} could not be started: {problem}")


def _attend(process: subprocess.Popen[bytes], deadline: float, stop: threading.Event) -> tuple[bool, bytes]:
    """Read what a program writes until it ends; return whether it did by itself, and the end of its output."""
    assert process.stdout is not None
    output = b""
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            has_ended = process.poll() is not None
            is_open = bool(selector.get_map())
            if not has_ended and (time.monotonic() >= deadline or stop.is_set()):
                return False, output
            portion: Any = None
            if is_open and selector.select(0 if has_ended else LOOK_EVERY):
                portion = process.stdout.read1(_PORTION)  # type: ignore[attr-defined]  # of the buffered reader that it is
                output = (output + portion)[-KEPT_OUTPUT:]
                if not portion:
                    selector.unregister(process.stdout)
            elif not is_open and not has_ended:
                stop.wait(LOOK_EVERY)
            if has_ended and not portion:
                # What it left running may keep the output open: that is not waited for.
                return True, output


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a program that has not ended, with its group, and let go of it."""
    _kill(process)
    if process.stdout is not None:
        process.stdout.close()
    with _running_lock:
        _running.discard(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # not yet waited for: the number is still its own
        process.wait()


@atexit.register
def _end_all() -> None:
    with _running_lock:
        _is_ending.set()
        left = list(_running)
    for process in left:
        _kill(process)  # its output is its thread's, which may be reading it
