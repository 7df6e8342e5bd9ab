"""Progress of what takes long: a bar in a notebook, a line on a terminal, nothing in a script."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

__all__ = ["Progress"]

SHOWN_AFTER = 0.5
"""Seconds: what is done by then is not worth a bar."""
REFRESH = 0.1
"""Seconds between two looks of the bar."""
_WIDTH = 30


class Progress:
    """Shows how far something is, once it takes longer than `SHOWN_AFTER`; what was shown goes when it ends.

    Args:
        what: What is done, in a few words.
        is_shown: None: in a notebook, and on a terminal (standard error); False: never; True: also where standard error
            is none.
    """

    def __init__(self, what: str, *, is_shown: bool | None = None) -> None:
        self._what = what
        self._begun = time.monotonic()
        self._due = self._begun + SHOWN_AFTER
        self._handle: Any = None
        self._has_line = False
        self._is_notebook = is_shown is not False and _is_notebook()
        self._is_terminal = bool(is_shown) or (is_shown is None and sys.stderr is not None and sys.stderr.isatty())

    def tell(self, fraction: float) -> None:
        """Say how much is done, from 0 to 1."""
        now = time.monotonic()
        if now < self._due or not (self._is_notebook or self._is_terminal):
            return
        self._due = now + REFRESH
        fraction = min(1.0, max(0.0, fraction))
        text = f"{self._what}: {fraction:.0%}, {now - self._begun:.0f} s"
        if self._is_notebook:
            self._show(f'<progress value="{fraction:.3f}"></progress> {text}', text)
        else:
            done = round(fraction * _WIDTH)
            print(f"\r[{'#' * done}{'.' * (_WIDTH - done)}] {text}\x1b[K", end="", file=sys.stderr, flush=True)
            self._has_line = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._show("", "")
        if self._has_line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _show(self, html: str, text: str) -> None:
        from IPython.display import display  # only where IPython runs already

        show: Any = display
        bundle = {"text/html": html, "text/plain": text}
        if self._handle is None:
            self._handle = show(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
