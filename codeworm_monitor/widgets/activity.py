"""The activity panel: what the daemon does now."""

from __future__ import annotations

from codeworm_monitor.widgets.panel import Panel, panel_module

__all__ = ["ActivityPanel"]


class ActivityPanel(Panel):
    """Shows stage, target, repository and document type, time in the stage, the next cycle, silence.

    Its `state` is that of `states.activity`. Traits and options are those of every `Panel`.

    Example:
        >>> ActivityPanel(mon)
    """

    panel_name = "activity"
    _esm = panel_module("activity.js", "renderActivity")
