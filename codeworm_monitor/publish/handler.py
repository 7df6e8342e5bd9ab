"""Python's `logging`, published as CodeWorm's log lines."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import Any

from codeworm_monitor.publish.default import default_publisher
from codeworm_monitor.publish.encoding import text_of
from codeworm_monitor.publish.publisher import Publisher

__all__ = ["PublishHandler", "exception_fields"]

_OURS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_SILENT = "codeworm_monitor.publish"
"""Logger of what carries the log: what it says of it would go round in a circle."""


class PublishHandler(logging.Handler):
    """Publishes log records as log lines: `event` the message, `level`, `component` the logger's name.

    An exception goes with it as `error`, one line, and `exception`, the traceback; what was passed as `extra=` as fields
    of those names. It never waits and never raises. What the publisher says itself is not published, nor what Redis'
    client or asyncio say in the publisher's thread; what the program has from them elsewhere is.

    Args:
        publisher: Who publishes; None: the program's default publisher.
        level: Least severe record published.
        component: Who speaks; None: the logger.

    Example:
        >>> logging.getLogger().addHandler(PublishHandler())
    """

    def __init__(
        self, publisher: Publisher | None = None, *, level: int | str = logging.NOTSET, component: str | None = None
    ) -> None:
        super().__init__(level)
        self._publisher = publisher
        self._component = component
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Publish a record."""
        if record.name == _SILENT or record.name.startswith(f"{_SILENT}."):
            return
        if getattr(self._busy, "is_so", False):
            return  # an object logs while its text is made
        self._busy.is_so = True
        try:
            publisher = self._publisher or default_publisher()
            thread = (
                threading.get_ident() if record.thread is None else record.thread
            )  # None: logging.logThreads is off
            if thread != publisher.thread_id:
                publisher.line(self._fields(record), at=record.created)
        except Exception:  # noqa: BLE001  # the program comes first
            self.handleError(record)
        finally:
            self._busy.is_so = False

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "event": "",
            "level": record.levelname.lower(),
            "component": self._component or record.name,
        }
        if len(record.__dict__) > len(_OURS) - 3 and (extra := record.__dict__.keys() - _OURS):
            fields |= {name: record.__dict__[name] for name in extra}
        try:
            fields["event"] = record.getMessage()
        except Exception:  # noqa: BLE001  # arguments that do not fit, or an object's own code
            fields["event"] = text_of(record.msg)
            fields["args"] = text_of(record.args)
        if record.exc_info:
            fields = {**exception_fields(record.exc_info), **fields}
        elif record.exc_text:
            fields.setdefault("exception", record.exc_text)
        if record.stack_info:
            fields.setdefault("stack", record.stack_info)
        return fields


def exception_fields(exc_info: Any) -> dict[str, str]:
    """Return an exception as `error`, one line, and `exception`, its traceback; nothing if there is none.

    Args:
        exc_info: An exception, or the triple of `sys.exc_info`.
    """
    error = exc_info if isinstance(exc_info, BaseException) else exc_info[1] if isinstance(exc_info, tuple) else None
    if error is None:
        return {}
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    last = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    return {
        "error": text_of(last[-1] if last else type(error).__name__, 500),
        "exception": text_of("".join(lines).rstrip()),
    }
