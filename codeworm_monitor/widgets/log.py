"""The log panel: every message as it comes, filtered, paused and searched in the browser."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import orjson
import pandas as pd
import traitlets
from ipywidgets import Widget

from codeworm_monitor import front
from codeworm_monitor.states.log_filter import View
from codeworm_monitor.states.log_state import Batch, Fill, LogState
from codeworm_monitor.widgets.panel import STYLES, Panel, styles

__all__ = ["LogPanel"]

_MOST_OLDER = 5_000


class LogPanel(Panel):
    """Shows the messages of all channels, as rows that come in numbered batches.

    Filter, level chips, pause and list live in the browser, and answer while a cell runs; it holds 50,000 rows, and asks
    for older ones when one scrolls up. Of a flood the newest 2,000 rows a refresh are shown, and the others are
    counted; all of them are in `mon.logs.df`.

    Args:
        source: As for `Panel`.
        options: `layout`; `binary`: False sends rows as JSON, for hosts that lose binary messages.

    Example:
        >>> panel = LogPanel(mon)
        >>> panel.selection
        >>> mon.logs.where(view=panel)
    """

    view = traitlets.Dict(
        help="What the browser shows: query, levels, component, is_paused, first, last, selected. Default: empty."
    ).tag(sync=True)

    panel_name = "log"
    binary = traitlets.Bool(True, help="Whether rows go as binary buffers, not as JSON. Default: True.")  # noqa: FBT003
    _esm = front.bundle("widget_log.js", "log.js", "log_store.js", default="logWidget(renderLog, LogStore)")
    _css = styles(*STYLES, "log.css")
    _options: ClassVar[tuple[str, ...]] = ("layout", "binary")

    def __init__(self, source: object, **options: Any) -> None:
        self.log_state = LogState()
        self._asking = threading.Lock()
        super().__init__(source, **options)

    @property
    def selection(self) -> pd.DataFrame:
        """The rows that are selected in the browser, or else all that it shows, oldest first.

        What stands behind a row "N rows not shown" is among them if it passes the filter.

        Columns: offset (float64; missing of gaps and of an earlier numbering), received_at (datetime64[us, UTC]), channel,
        level, component, event (category; `event` holds the type of an event), target (str), repo (category), text
        (str: event and values, as the filter searches them), payload (str: the message as JSON).
        """
        return self._feed.selection(self, View.from_dict(self.view))

    # For the feed

    def send_batch(self, batch: Batch) -> None:
        """Send rows."""
        self._send_rows({"type": "batch", "n": batch.number, "count": batch.count}, batch.data)

    def send_fill(self, fill: Fill) -> None:
        """Send rows that replace all others."""
        self._send_rows({"type": "fill", "n": fill.number, "count": fill.count, "is_all": fill.is_all}, fill.data)

    def _send_rows(self, content: dict[str, Any], data: bytes) -> None:
        if self.binary:
            self.send(content, buffers=[data])
        else:
            self.send({**content, "rows": orjson.loads(data)})

    def tell(self, state: dict[str, Any], at: float) -> None:
        """Show what time it is: the rows come by themselves."""
        self.at = at

    def _on_ready(self) -> None:
        self._feed.fill(self, is_asked=True)

    def _on_message(self, widget: Widget, content: Any, buffers: Any) -> None:
        match content:
            case {"type": "resend", "first": int(first), "last": int(last)}:
                self._feed.resend(self, first, last)
            case {"type": "older", "id": int(number), "count": int(count)}:
                before = content.get("before")
                wanted = max(1, min(count, _MOST_OLDER))
                asked = (number, before if isinstance(before, int) else None, wanted)
                # History may take seconds: whoever runs cells must not wait for it.
                threading.Thread(
                    target=self._answer_older, args=asked, name="codeworm_monitor:panels:older", daemon=True
                ).start()
            case _:
                super()._on_message(widget, content, buffers)

    def _answer_older(self, number: int, before: int | None, count: int) -> None:
        with self._asking:  # one after the other, as they were asked
            data, is_all, problem = self._feed.older(self, before, count)
        self._send_rows({"type": "older", "id": number, "is_all": is_all, "problem": problem}, data)
