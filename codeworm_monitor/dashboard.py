"""The dashboard: all panels of a monitor, composed; what `mon` at the end of a cell shows."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from ipywidgets import Box, Layout, Widget

from codeworm_monitor.panel_feed import FASTEST, SLOWEST
from codeworm_monitor.panel_origins import feed_of
from codeworm_monitor.widgets import (
    PANELS,
    ActivityPanel,
    CommitsPanel,
    HealthPanel,
    LogPanel,
    Panel,
    RepositoriesPanel,
    StatsPanel,
)
from codeworm_monitor.widgets.display import Displays, has_kernel, has_reader

__all__ = ["Dashboard"]

_P = TypeVar("_P", bound=Panel)

_COLUMNS = (
    ("3 1 640px", (("activity", "health"), ("log",), ("commits",))),
    ("1 1 320px", (("stats",), ("repositories",))),
)
"""Two columns, each with its room (CSS `flex`) and its rows; they stand one below the other where there is less."""


class Dashboard:
    """The panels of a monitor, a recording or an archive, side by side; made by `Monitor.dashboard`.

    Each panel is an attribute: `dashboard.log.selection`. All views of it show the same. Where no browser is (`jupyter
    nbconvert --execute`, papermill) plain HTML is shown in its place, which needs nothing to be read.

    Args:
        source: A `Monitor`, or an `Archive`.
        refresh: Times a second at most that panels are told what is new, 0.1 to 10.
        binary: Whether rows go as binary messages; False: as JSON, for hosts that lose binary ones.
        panels: Names of those to show; None: all.

    Raises:
        TypeError: `source` is something else.
        ValueError: An option is out of its range, or there is no such panel.
    """

    def __init__(
        self,
        source: object,
        *,
        refresh: float | None = None,
        binary: bool | None = None,
        panels: str | Iterable[str] | None = None,
    ) -> None:
        self._feed = feed_of(source)
        self._binary = True
        self._names = tuple(PANELS)
        self._made: dict[str, Panel] = {}
        self._boxes: list[Widget] = []
        self._box: Widget | None = None
        self._lock = threading.RLock()
        self._displays = Displays()
        self._is_closed = False
        self.configure(refresh=refresh, binary=binary, panels=panels)

    def configure(
        self, *, refresh: float | None = None, binary: bool | None = None, panels: str | Iterable[str] | None = None
    ) -> None:
        """Change options; None leaves one as it is. Arguments and errors as for the class."""
        if refresh is not None and not SLOWEST <= refresh <= FASTEST:
            raise ValueError(f"refresh is {SLOWEST:g} to {FASTEST:g} times a second, not {refresh!r}")
        names = self._names if panels is None else tuple([panels] if isinstance(panels, str) else panels)
        for name in names:
            if name not in PANELS:
                raise ValueError(f"there is no panel {name!r}, but {', '.join(PANELS)}")
        with self._lock:
            if refresh is not None:
                self._feed.refresh = float(refresh)
            if binary is not None:
                self._binary = binary
                if isinstance(log := self._made.get("log"), LogPanel):
                    log.binary = binary
            if names != self._names:
                self._names, self._box = names, None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed: the next `Monitor.dashboard` is a new one."""
        return self._is_closed

    @property
    def activity(self) -> ActivityPanel:
        """What the daemon does now."""
        return self._panel(ActivityPanel)

    @property
    def stats(self) -> StatsPanel:
        """How much was documented."""
        return self._panel(StatsPanel)

    @property
    def log(self) -> LogPanel:
        """Every message."""
        return self._panel(LogPanel)

    @property
    def commits(self) -> CommitsPanel:
        """The newest documents."""
        return self._panel(CommitsPanel)

    @property
    def repositories(self) -> RepositoriesPanel:
        """The repositories."""
        return self._panel(RepositoriesPanel)

    @property
    def health(self) -> HealthPanel:
        """Whether everything arrives."""
        return self._panel(HealthPanel)

    def freeze(self) -> None:
        """Put plain HTML of this moment in the place of every view of it and of its panels.

        That stays readable without a kernel. The dashboard lives on: shown again, it is live.
        """
        self._displays.replace(self._still())
        for panel in list(self._made.values()):
            panel.freeze()

    def close(self, *, freeze: bool = False) -> None:
        """End it and its panels; their views vanish. May be called again.

        Args:
            freeze: Put plain HTML into the places of its views first; see `freeze`.
        """
        if freeze and not self._is_closed:
            self.freeze()
        with self._lock:
            self._is_closed = True
            for widget in [*self._made.values(), *self._boxes]:
                widget.close()
            self._boxes.clear()
            self._box = None

    def __repr__(self) -> str:
        return f"<Dashboard of {self._feed.name!r}: {', '.join(self._names)}{', closed' if self._is_closed else ''}>"

    def _repr_html_(self) -> str:
        return self._feed.still_html(self._names)

    def _ipython_display_(self, **_: Any) -> None:
        if not has_kernel():
            raise NotImplementedError("a terminal shows the text")
        self.show()

    def show(self) -> None:
        """Show it under the running cell."""
        live: dict[str, Any] = {}
        if (
            has_reader() and not self._is_closed
        ):  # first, so that the picture is made of what the panels have begun with
            live = self._composed()._repr_mimebundle_()
        self._displays.show({**live, **self._still()})

    def _still(self) -> dict[str, Any]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def _panel(self, kind: type[_P]) -> _P:
        with self._lock:
            panel = self._made.get(kind.panel_name)
            if panel is None:
                options = {"binary": self._binary} if kind is LogPanel else {}
                panel = self._made[kind.panel_name] = kind(self._feed, **options)
            return cast(_P, panel)

    def _composed(self) -> Widget:
        """Return the panels in two columns, whose rows wrap where there is no room beside each other."""
        with self._lock:
            if self._box is None:
                columns = [
                    self._boxed([self._row(names) for names in rows if self._shown(names)], "column nowrap", flex=flex)
                    for flex, rows in _COLUMNS
                    if any(self._shown(names) for names in rows)
                ]
                self._box = self._boxed(columns, "row wrap", flex="1 1 auto")
            return self._box

    def _shown(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._names]

    def _row(self, names: Iterable[str]) -> Widget:
        panels = [self._panel(PANELS[name]) for name in self._shown(names)]
        for panel in panels:
            panel.open()  # it was perhaps made where nobody looked
            panel.layout = Layout(flex="1 1 300px", min_width="0", margin="0")
        return self._boxed(panels, "row wrap", flex="0 0 auto")

    def _boxed(self, children: list[Widget], flow: str, *, flex: str) -> Widget:
        layout = Layout(
            display="flex",
            flex=flex,
            flex_flow=flow,
            align_items="stretch",
            grid_gap="8px",
            min_width="0",
            overflow="visible",
            margin="0",
        )
        self._boxes.append(box := Box(children, layout=layout))
        return box
