"""The repositories panel: those that are documented, the one in work highlighted."""

from __future__ import annotations

from codeworm_monitor.widgets.panel import Panel, panel_module

__all__ = ["RepositoriesPanel"]


class RepositoriesPanel(Panel):
    """Shows the repositories with weight, documents and last activity.

    Its `state` is that of `states.repositories`. Traits and options are those of every `Panel`.

    Example:
        >>> RepositoriesPanel(mon)
    """

    panel_name = "repositories"
    _esm = panel_module("repositories.js", "renderRepositories")
