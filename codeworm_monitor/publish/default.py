"""One publisher for the whole program, made when it is first used."""

from __future__ import annotations

from typing import Any

from codeworm_monitor.publish.publisher import Publisher

__all__ = ["default_publisher", "publish_event", "publish_log", "publish_stats"]

_made: dict[str, Publisher] = {}


def default_publisher() -> Publisher:
    """Return the program's publisher, to where the environment says (see `Publisher`); it is closed at exit."""
    # No lock, which a fork might leave locked: of two that are made at one time, one is never used.
    return _made.get("default") or _made.setdefault("default", Publisher())


def publish_log(event: str, /, **fields: Any) -> bool:
    """Publish a log line by the default publisher; see `Publisher.log`.

    Example:
        >>> publish_log("checkpoint_saved", level="info", component="training", path="best.pt")
    """
    return default_publisher().log(event, **fields)


def publish_event(type: str, /, **values: Any) -> bool:
    """Publish an event by the default publisher; see `Publisher.event`.

    Example:
        >>> publish_event("epoch", number=3, loss=0.21)
    """
    return default_publisher().event(type, **values)


def publish_stats(**values: Any) -> bool:
    """Publish stats by the default publisher; see `Publisher.stats`.

    Example:
        >>> publish_stats(total_cycles=12, success_rate=91.7)
    """
    return default_publisher().stats(**values)
