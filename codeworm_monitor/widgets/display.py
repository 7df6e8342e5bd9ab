"""Display: what a widget's place in a cell holds, live or still, and what takes its place later."""

from __future__ import annotations

import sys
import threading
from typing import Any

__all__ = ["Displays", "has_kernel", "has_reader"]


def has_kernel() -> bool:
    """Tell whether this program is a notebook's kernel."""
    return _kernel() is not None


def has_reader() -> bool:
    """Tell whether a browser may be looking at what the running cell shows.

    Where none can (`jupyter nbconvert --execute`, nbclient, papermill) the cell's request says that nobody is there to
    answer a prompt.
    """
    kernel = _kernel()
    if kernel is None:
        return False
    request = kernel.get_parent("shell")
    content = request.get("content") if isinstance(request, dict) else None
    return not isinstance(content, dict) or content.get("allow_stdin", True) is not False


class Displays:
    """The places in which something is shown; any thread may replace what is in them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: list[Any] = []

    def show(self, bundle: dict[str, Any]) -> None:
        """Show a bundle of contents by MIME type under the running cell, and remember the place."""
        from IPython.display import display  # only where IPython runs already

        show: Any = display
        handle = show(bundle, raw=True, display_id=True)
        if handle is not None:
            with self._lock:
                self._handles.append(handle)

    def replace(self, bundle: dict[str, Any]) -> int:
        """Put a bundle into all these places, forget them, and return how many they were."""
        with self._lock:
            handles, self._handles = self._handles, []
        for handle in handles:
            handle.update(bundle, raw=True)
        return len(handles)


def _kernel() -> Any:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None)
