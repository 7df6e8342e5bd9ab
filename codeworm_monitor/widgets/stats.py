"""The stats panel: how much was documented, of what, and how it goes."""

from __future__ import annotations

from codeworm_monitor.widgets.panel import Panel, panel_module

__all__ = ["StatsPanel"]


class StatsPanel(Panel):
    """Shows counts of documents, success rate, and documents by repository, language, type and hour.

    Its `state` is that of `states.stats`. Traits and options are those of every `Panel`.

    Example:
        >>> StatsPanel(mon)
    """

    panel_name = "stats"
    _esm = panel_module("stats.js", "renderStats")
