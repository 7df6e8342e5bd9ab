"""Actions: what is done with a notice. Here functions, and the cell that called `watch`; see `commands`, `webhooks`."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from html import escape
from typing import Any

from codeworm_monitor.errors import MonitorError
from codeworm_monitor.watching.notices import Notice, NoticeKind
from codeworm_monitor.watching.spans import function_identity

__all__ = ["Action", "ActionError", "Call", "Notify"]


class ActionError(MonitorError):
    """An action could not deliver a notice; says why, without secrets."""


class Action(ABC):
    """What is done with notices.

    `act` runs in a thread of the watch's own. It may take its time and may raise: both concern this action alone.
    """

    def begin(self) -> None:  # noqa: B027 - most have nothing to do
        """Prepare, in the thread and the cell that calls `watch`."""

    @abstractmethod
    def act(self, notice: Notice, stop: threading.Event) -> None:
        """Take a notice.

        Args:
            notice: What there is to tell.
            stop: Set when the watch ends: what is under way should end, too.
        """

    @property
    def identity(self) -> object:
        """What is equal of two actions that do the same; a watch like one that runs takes its place."""
        return repr(self)


class Call(Action):
    """Calls a function with the notice.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[Notice], object]) -> None:
        self._function = function

    def act(self, notice: Notice, stop: threading.Event) -> None:  # noqa: D102
        self._function(notice)

    @property
    def identity(self) -> object:  # noqa: D102
        return function_identity(self._function)

    def __repr__(self) -> str:
        return f"{getattr(self._function, '__qualname__', repr(self._function)):.100}()"


class Notify(Action):
    """Shows the newest notices under the cell that called `watch`; outside a notebook, a line each on standard error.

    All text is escaped. The cell's output is changed in place, also later, while other cells run.

    Args:
        keep: How many of the newest are shown.
    """

    def __init__(self, *, keep: int = 5) -> None:
        if not 1 <= keep <= 100:
            raise ValueError(f"keep is between 1 and 100, not {keep}")
        self._newest: deque[Notice] = deque(maxlen=keep)
        self._handle: Any = None

    def begin(self) -> None:  # noqa: D102
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if getattr(shell, "kernel", None) is None:
            return
        from IPython.display import display  # only where IPython runs already

        show: Any = display
        self._handle = show({"text/html": "", "text/plain": ""}, raw=True, display_id=True)

    def act(self, notice: Notice, stop: threading.Event) -> None:  # noqa: D102
        self._newest.append(notice)
        if self._handle is not None:
            self._handle.update({"text/html": self._html(), "text/plain": self._text()}, raw=True)
        elif sys.stderr is not None:
            print(notice, file=sys.stderr, flush=True)

    def _text(self) -> str:
        return "\n".join(map(str, reversed(self._newest)))

    def _html(self) -> str:
        lines = "".join(
            f'<div style="{_STYLES[notice.kind]}">{escape(str(notice))}</div>' for notice in reversed(self._newest)
        )
        return f'<div role="status" style="font:13px/1.5 system-ui,sans-serif;overflow-wrap:anywhere">{lines}</div>'

    def __repr__(self) -> str:
        return "Notify()"


# Both colours are set, so that it is legible whatever surrounds it; the sign and the word say the same as the colour.
_LINE = "padding:.2em .8em;margin:.2em 0;border-radius:4px;border-left:4px solid"
_STYLES = {
    NoticeKind.FIRED: f"{_LINE} #c62828;background:#fdecea;color:#5f1410",
    NoticeKind.REMINDED: f"{_LINE} #c62828;background:#fdecea;color:#5f1410",
    NoticeKind.CLEARED: f"{_LINE} #2e7d32;background:#e8f5e9;color:#1b4a1e",
    NoticeKind.BLIND: f"{_LINE} #8d6e00;background:#fff8e1;color:#4a3a00",
    NoticeKind.SEEING: f"{_LINE} #1565c0;background:#e3f2fd;color:#0b3560",
}
