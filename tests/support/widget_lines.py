"""What widgets say to a browser, without one: their comms, and all that goes over them."""

from __future__ import annotations

import threading
from typing import Any

import comm
import orjson
import pytest
from comm.base_comm import BaseComm

__all__ = ["Lines", "lines"]


class Lines:
    """Remembers, of each widget, what it sent; and lets a test say what a browser would."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent: list[tuple[str, str, dict[str, Any], list[bytes]]] = []
        self.threads: set[str] = set()

    def note(self, name: str, kind: str, data: Any, buffers: Any) -> None:
        with self._lock:
            self.sent.append((name, kind, data or {}, [bytes(one) for one in buffers or []]))
            self.threads.add(threading.current_thread().name)

    def custom(self, widget: Any) -> list[dict[str, Any]]:
        """Return the messages of a widget's own kind, with their rows decoded."""
        with self._lock:
            sent = list(self.sent)
        found = []
        for name, _, data, buffers in sent:
            if name == widget.key and data.get("method") == "custom":
                content = dict(data["content"])
                if buffers:
                    content["rows"] = orjson.loads(buffers[0])
                    content["is_binary"] = True
                found.append(content)
        return found

    def updates(self, widget: Any) -> list[dict[str, Any]]:
        """Return the changes of a widget's traits."""
        with self._lock:
            sent = list(self.sent)
        return [data["state"] for name, _, data, _ in sent if name == widget.key and data.get("method") == "update"]

    def opened(self) -> list[str]:
        """Return the names of the lines that were opened."""
        with self._lock:
            return [name for name, kind, _, _ in self.sent if kind == "comm_open"]

    @staticmethod
    def say(widget: Any, content: Any) -> None:
        """Say something to the kernel, as the browser's part of a widget does."""
        widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The lines of all widgets of a test."""
    noted = Lines()

    class Line(BaseComm):  # type: ignore[misc]
        def publish_msg(
            self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
        ) -> None:
            noted.note(self.comm_id, msg_type, data, buffers)

    monkeypatch.setattr(comm, "create_comm", lambda *args, **keys: Line(*args, **keys))
    return noted
