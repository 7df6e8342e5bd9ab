"""What all panels have in common: the line to the browser, how one is shown, frozen and closed."""

from __future__ import annotations

import difflib
import uuid
from functools import cache
from typing import Any, ClassVar

import anywidget
import traitlets
from ipywidgets import Widget

from codeworm_monitor import front
from codeworm_monitor.panel_origins import feed_of
from codeworm_monitor.widgets.display import Displays, has_kernel, has_reader

__all__ = ["STYLES", "Panel", "panel_module", "styles"]

STYLES = ("panels.css", "kernel_link.css")
"""Of all panels."""


def panel_module(name: str, render: str) -> str:
    """Return the module of a panel's widget.

    Args:
        name: The front end's file that shows the panel.
        render: Its function that does.
    """
    return front.bundle("widget_panel.js", name, default=f"panelWidget({render})")


@cache
def styles(*names: str) -> str:
    """Return some of the front end's styles as one text."""
    return "\n".join(front.source(name) for name in names)


class Panel(anywidget.AnyWidget):
    """One panel over a monitor, a recording or an archive.

    Shown several times, all its views show the same. It follows the monitor until that is closed, or it is; the
    notebook's thread has no part in that, so it goes on while a cell runs. Where no browser is (`jupyter nbconvert
    --execute`) it shows itself as plain HTML.

    Args:
        source: What to show: a `Monitor`, or an `Archive`.
        options: `layout`, as of all ipywidgets.

    Raises:
        TypeError: There is no such option; says which there are.

    Attributes:
        panel_name: Name of the panel, as `Dashboard` knows it.
    """

    state = traitlets.Dict(help="What it shows; see `states`. Default: empty.").tag(sync=True)
    at = traitlets.Float(0.0, help="When that was, Unix seconds by the relay's clock. Default: 0.").tag(sync=True)
    label = traitlets.Unicode("", help="Name of what is shown. Default: that of the monitor.").tag(sync=True)
    problem = traitlets.Unicode("", help="Why it may not be up to date; shown below it. Default: empty.").tag(sync=True)
    key = traitlets.Unicode("", help="Its own name for the browser. Default: one of its own.").tag(sync=True)

    panel_name: ClassVar[str] = ""
    _css = styles(*STYLES)
    _options: ClassVar[tuple[str, ...]] = ("layout",)
    _is_closed = True  # until it is made

    def __init__(self, source: object, **options: Any) -> None:
        for name in options:
            if name not in self._options:
                near = difflib.get_close_matches(name, self._options, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{type(self).__name__} takes {', '.join(self._options)}, not {name!r}{hint}")
        self._feed = feed_of(source)
        self._displays = Displays()
        self._is_closed = False
        key = uuid.uuid4().hex
        super().__init__(model_id=key, key=key, label=self._feed.name, **options)
        self.on_msg(self._on_message)
        self._feed.attach(self)

    # For the feed, which calls from its own thread

    def tell(self, state: dict[str, Any], at: float) -> None:
        """Show a state."""
        with self.hold_sync():
            if state != self.state:
                self.state = state
            self.at = at

    def tell_alive(self, at: float) -> None:
        """Show that nothing has changed."""
        self.at = at

    def tell_problem(self, problem: str) -> None:
        """Show what hinders the feed; an empty text: nothing."""
        self.problem = problem

    # How it is shown

    def freeze(self) -> None:
        """Put plain HTML of this moment in the place of every view that stands alone in a cell.

        That stays readable without a kernel. The panel itself lives on: shown again, it is live.
        """
        self._displays.replace(self._still())

    def close(self, *, freeze: bool = False) -> None:
        """End it; its views vanish. May be called again.

        Args:
            freeze: Put plain HTML into the places of its views first; see `freeze`.
        """
        if self._is_closed:
            return
        if freeze:
            self.freeze()
        self._is_closed = True
        self._feed.detach(self)
        super().close()
        self.__dict__.pop("_repr_mimebundle_", None)  # which ipywidgets has just covered with None

    def open(self) -> None:
        """Begin to speak with the browser, if there may be one."""
        if self.comm is None and not self._is_closed and (has_reader() or not has_kernel()):
            super().open()

    @property
    def model_id(self) -> str:
        """Its name for the browser."""
        return self.key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._feed.name!r}{', closed' if self._is_closed else ''}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a cell shows of it, also inside other things."""
        if self._is_closed or not has_reader():
            return self._still(), {}
        self.open()
        return super()._repr_mimebundle_(**kwargs) or (self._still(), {})

    def _ipython_display_(self, **kwargs: Any) -> None:
        if not has_kernel():
            raise NotImplementedError("a terminal shows the text")
        self._displays.show(self._repr_mimebundle_()[0])

    def _still(self) -> dict[str, Any]:
        """Return plain HTML of this moment, and a text."""
        return {"text/html": self._feed.still_html((self.panel_name,)), "text/plain": repr(self)}

    def _on_message(self, _: Widget, content: Any, buffers: Any) -> None:
        """Take a message of the browser's: in the main thread, or in another."""
        if isinstance(content, dict) and content.get("type") == "ready":
            self._on_ready()

    def _on_ready(self) -> None:
        self.send({"type": "here"})
        self.send_state(["state", "at"])
