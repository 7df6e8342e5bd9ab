"""The health panel: whether everything arrives."""

from __future__ import annotations

from codeworm_monitor.widgets.panel import Panel, panel_module

__all__ = ["HealthPanel"]


class HealthPanel(Panel):
    """Shows connection, rate, lag, losses and gaps, and how relay, upstream, archive and Ollama are.

    Its `state` is that of `states.health`. Traits and options are those of every `Panel`.

    Example:
        >>> HealthPanel(mon)
    """

    panel_name = "health"
    _esm = panel_module("health.js", "renderHealth")
