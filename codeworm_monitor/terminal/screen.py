"""The screen: the whole terminal, taken and given back; what stands on it is redrawn when told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live

from codeworm_monitor.terminal.keys import Keys

__all__ = ["Screen"]

SETTLE = 0.05
"""Seconds after which an Esc alone is the key."""

CLOSED_AFTER = 3
"""Times in a row that a terminal may announce keys and have none; then it is closed."""


class Screen:
    """The alternate screen of a terminal, and its keyboard; in a `with` block, inside an event loop.

    However the block is left, by an exception or a signal too, the terminal is as it was: its content, the cursor, the
    modes of the keyboard. SIGINT, SIGTERM and SIGHUP call `on_stop`; Ctrl-Z gives the terminal back until `fg`.

    Args:
        on_key: Called with each key.
        on_stop: Called when the program is to end.
        on_resize: Called when the terminal has another size, or was given back.
    """

    def __init__(
        self, *, on_key: Callable[[str], None], on_stop: Callable[[], None], on_resize: Callable[[], None]
    ) -> None:
        self._on_key = on_key
        self._on_stop = on_stop
        self._on_resize = on_resize
        self._keys = Keys()
        self._empty = 0  # times in a row that there was nothing to read
        self._timer: asyncio.TimerHandle | None = None
        # The size is asked of the terminal each time: what the environment says of it does not change.
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._modes: list[Any] | None = None
        self._input = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return (size.columns or 80, size.lines or 24)

    def show(self, renderable: RenderableType) -> None:
        """Put something on the screen, in place of what stood there."""
        if self._live is not None:
            self._console.size = ConsoleDimensions(*self.size)
            try:
                self._live.update(renderable, refresh=True)
            except OSError:  # the terminal was closed
                self._on_stop()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self._on_stop)
            loop.add_signal_handler(signal.SIGWINCH, self._on_resize)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
            loop.add_signal_handler(signal.SIGCONT, self._resume)
            self._acquire()
            if self._input is not None:
                loop.add_reader(self._input, self._read)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        if self._input is not None:
            loop.remove_reader(self._input)
        self._release()
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGWINCH", "SIGTSTP", "SIGCONT"):
            loop.remove_signal_handler(getattr(signal, name))

    def _acquire(self) -> None:
        if self._input is not None and self._modes is None:
            self._modes = termios.tcgetattr(self._input)
            tty.setcbreak(self._input, termios.TCSADRAIN)
            # A read never waits: Ctrl-C throws away the keys before it, maybe after they were announced.
            modes = termios.tcgetattr(self._input)
            modes[6][termios.VMIN] = 0
            termios.tcsetattr(self._input, termios.TCSADRAIN, modes)
        if self._live is None:
            self._live = Live(
                console=self._console,
                screen=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _release(self) -> None:
        try:
            live, self._live = self._live, None
            if live is not None:
                live.stop()
        except OSError:  # the terminal is gone: nothing to give back
            pass
        finally:
            if self._input is not None and self._modes is not None:
                modes, self._modes = self._modes, None
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._input, termios.TCSADRAIN, modes)

    def _suspend(self) -> None:
        self._release()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        self._release()  # who stopped us otherwise than by Ctrl-Z, or the shell since, may have changed the modes
        self._acquire()
        self._on_resize()

    def _read(self) -> None:
        assert self._input is not None
        try:
            data = os.read(self._input, 1024)
        except BlockingIOError:
            return
        except OSError:  # the terminal was closed
            data, self._empty = b"", CLOSED_AFTER
        self._empty = 0 if data else self._empty + 1
        if not data:
            if self._empty >= CLOSED_AFTER:
                asyncio.get_running_loop().remove_reader(self._input)
                self._on_stop()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key in self._keys.take(data):
            self._on_key(key)
        if self._keys.is_unsettled:
            self._timer = asyncio.get_running_loop().call_later(SETTLE, self._settle)

    def _settle(self) -> None:
        for key in self._keys.settle():
            self._on_key(key)
