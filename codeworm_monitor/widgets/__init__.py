"""Panels: the visible pieces of the dashboard, each of them a widget that can stand alone in a cell."""

from __future__ import annotations

from codeworm_monitor.widgets.activity import ActivityPanel
from codeworm_monitor.widgets.commits import CommitsPanel
from codeworm_monitor.widgets.health import HealthPanel
from codeworm_monitor.widgets.log import LogPanel
from codeworm_monitor.widgets.panel import Panel
from codeworm_monitor.widgets.repositories import RepositoriesPanel
from codeworm_monitor.widgets.stats import StatsPanel

__all__ = [
    "PANELS",
    "ActivityPanel",
    "CommitsPanel",
    "HealthPanel",
    "LogPanel",
    "Panel",
    "RepositoriesPanel",
    "StatsPanel",
]

PANELS: dict[str, type[Panel]] = {
    "activity": ActivityPanel,
    "stats": StatsPanel,
    "health": HealthPanel,
    "log": LogPanel,
    "commits": CommitsPanel,
    "repositories": RepositoriesPanel,
}
"""Panels by name, in the order in which the dashboard shows them."""
