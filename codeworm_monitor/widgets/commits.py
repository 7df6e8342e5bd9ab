"""The commits panel: the newest documents."""

from __future__ import annotations

from codeworm_monitor.widgets.panel import Panel, panel_module

__all__ = ["CommitsPanel"]


class CommitsPanel(Panel):
    """Shows the newest documents with type, repository, commit, tokens, seconds and tokens a second.

    Its `state` is that of `states.commits`. Traits and options are those of every `Panel`.

    Example:
        >>> CommitsPanel(mon)
    """

    panel_name = "commits"
    _esm = panel_module("commits.js", "renderCommits")
