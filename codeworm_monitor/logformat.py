"""Text for a terminal: form of the relay's own log, on standard error."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

__all__ = ["ConsoleFormatter", "JSONFormatter", "configure_logging", "printable"]


def printable(text: str) -> str:
    """Return text in one line, without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "·" for c in text)


class JSONFormatter(logging.Formatter):
    """One JSON object a line, with the keys that CodeWorm's own log has: `event, level, component, timestamp`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "component": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class ConsoleFormatter(logging.Formatter):
    """One line for a person: local time, level, text; control characters, which a payload may have brought, inert."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower():7} {printable(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(*, form: str = "console", level: str = "info") -> None:
    """Send this package's log to standard error; called by the command line alone.

    Args:
        form: `console` or `json`.
        level: Least severe line written.
    """
    sink = logging.StreamHandler(sys.stderr)
    sink.setFormatter(JSONFormatter() if form == "json" else ConsoleFormatter())
    logger = logging.getLogger("codeworm_monitor")
    logger.handlers[:] = [sink]
    logger.setLevel(level.upper())
    logger.propagate = False
