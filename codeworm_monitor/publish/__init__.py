"""Publish what any program does, so that it can be watched, archived and analysed as CodeWorm is.

Three channels, as CodeWorm has: log lines, events, stats. Nothing here waits for Redis or raises into the program; see
`Publisher` for what is promised.

Example:
    >>> from codeworm_monitor.publish import publish_event, publish_log
    >>> publish_event("epoch", number=3, loss=0.21)
    >>> publish_log("diverged", level="error", error="the loss is NaN")

With `logging`, `logging.getLogger().addHandler(PublishHandler())`; with structlog, `publish_processor` before the renderer.
"""

from __future__ import annotations

from codeworm_monitor.publish.default import default_publisher, publish_event, publish_log, publish_stats
from codeworm_monitor.publish.handler import PublishHandler
from codeworm_monitor.publish.outbox import DropReason
from codeworm_monitor.publish.publisher import Publisher, PublisherStatistics
from codeworm_monitor.publish.structlog_processor import PublishProcessor, publish_processor

__all__ = [
    "DropReason",
    "PublishHandler",
    "PublishProcessor",
    "Publisher",
    "PublisherStatistics",
    "default_publisher",
    "publish_event",
    "publish_log",
    "publish_processor",
    "publish_stats",
]
