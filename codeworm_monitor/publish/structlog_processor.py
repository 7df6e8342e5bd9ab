"""A processor for structlog that publishes what passes through it; structlog itself is not needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from codeworm_monitor.publish.default import default_publisher
from codeworm_monitor.publish.handler import exception_fields
from codeworm_monitor.publish.publisher import Publisher

__all__ = ["PublishProcessor", "publish_processor"]

EventDict = TypeVar("EventDict", bound=MutableMapping[str, Any] | Mapping[str, Any] | str | bytes)


class PublishProcessor:
    """Publishes each event dictionary as a log line, and passes it on unchanged.

    Its place is before the renderer, after what adds the level, the logger's name and the time; what is missing of
    these is added to the copy that is published. An exception goes with it as `error` and `exception`.

    Args:
        publisher: Who publishes; None: the program's default publisher.
        component: Who speaks where an event dictionary says neither `component` nor `logger`.

    Example:
        >>> structlog.configure(processors=[add_log_level, publish_processor, JSONRenderer()])
    """

    def __init__(self, publisher: Publisher | None = None, *, component: str | None = None) -> None:
        self._publisher = publisher
        self._component = component

    def __call__(self, logger: Any, method_name: str, event_dict: EventDict) -> EventDict:
        """Publish a copy, and return what was given."""
        try:
            publisher = self._publisher or default_publisher()
            publisher.line(self._fields(publisher, method_name, event_dict))
        except Exception:  # noqa: BLE001, S110  # the program comes first; the publisher counts what it could not take
            pass
        return event_dict

    def _fields(self, publisher: Publisher, method_name: str, event_dict: Any) -> dict[str, Any]:
        if event_dict.__class__ is not dict and not isinstance(event_dict, Mapping):  # it was rendered
            text = event_dict.decode("utf-8", "replace") if isinstance(event_dict, bytes) else str(event_dict)
            return {"event": text, "level": _level(method_name), "component": self._component or publisher.component}
        fields = dict(event_dict)
        fields.pop("_record", None)
        fields.pop("_from_structlog", None)
        fields.setdefault("event", "")
        if "level" not in fields:
            fields["level"] = _level(method_name)
        if "component" not in fields:
            fields["component"] = fields.get("logger") or self._component or publisher.component
        if fields.get("timestamp").__class__ in (int, float):  # structlog's TimeStamper without a format
            time = datetime.fromtimestamp(fields["timestamp"], UTC)
            fields["timestamp"] = time.isoformat().replace("+00:00", "Z")
        if exc_info := fields.pop("exc_info", None):
            found = exception_fields(exc_info if isinstance(exc_info, BaseException | tuple) else sys.exc_info())
            fields = {**found, **fields}
        return fields


def _level(method_name: str) -> str:
    return {"exception": "error", "warn": "warning", "msg": "info", "fatal": "critical"}.get(method_name, method_name)


publish_processor = PublishProcessor()
"""The processor of the default publisher."""
