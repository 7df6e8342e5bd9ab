"""Lanes: rows above a picture that share its x axis, so that what happened is told by where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform, blended_transform_factory
from matplotlib.typing import ColorType

from codeworm_monitor.plots.canvas import fitting
from codeworm_monitor.plots.lettering import SMALL
from codeworm_monitor.plots.palette import Look, ink

__all__ = ["Lanes", "boxes"]

Numbers = npt.NDArray[np.float64]


class Lanes:
    """The upper part of the Axes as rows with a name each, the first on top; the lower part stays the picture's own.

    Args:
        ax: The Axes; the limits of its x axis are the picture's.
        names: Made inert.
        share: Of the height that they take, 0 to 1.
    """

    def __init__(self, ax: Axes, names: Sequence[str], share: float) -> None:
        self.ax = ax
        self.share = share
        self.height = share / max(1, len(names))
        """Of one lane, as a share of the Axes' height."""
        fits = fitting(ax, 10_000, 1.0) * self.height / 1.2
        size = min(SMALL, max(6.0, fits / (1 + max((name.count("\n") for name in names), default=0))))
        self.transform: Transform = blended_transform_factory(ax.transData, ax.transAxes)
        """From x and a share of the Axes' height to the figure."""
        for place, name in enumerate(names):
            ax.annotate(
                name,
                (0, self.middle(place)),
                xycoords="axes fraction",
                xytext=(-6, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=size,
                color=ink(ax),
                annotation_clip=False,
            )
            self._rule(self.middle(place), 0.15)
        if names:
            self._rule(1 - share, 0.6)

    def middle(self, place: int) -> float:
        """Return the middle of a lane as a share of the Axes' height."""
        return 1 - self.height * (place + 0.5)

    def reserve(self, highest: float, label: str) -> None:
        """Let the y axis of the picture reach from 0 to a value below the lanes, with no ticks beside them."""
        self.ax.set_ylim(0, highest / max(0.05, 1 - self.share))
        self.ax.set_ylabel(label, fontsize=SMALL + 0.5, y=(1 - self.share) / 2)
        ticks = [
            tick for tick in self.ax.yaxis.get_major_locator().tick_values(0, highest) if 0 <= tick <= highest * 1.001
        ]
        self.ax.set_yticks(ticks)

    def _rule(self, height: float, alpha: float) -> None:
        line = Line2D([0, 1], [height] * 2, color=ink(self.ax), alpha=alpha, linewidth=0.8, transform=self.ax.transAxes)
        self.ax.add_artist(line)


def boxes(
    left: Numbers,
    right: Numbers | float,
    bottom: Numbers | float,
    top: Numbers | float,
    look: Look,
    edge: ColorType,
    **options: Any,
) -> PolyCollection:
    """Return rectangles as one artist, however many they are.

    Args:
        left: Of shape (n,), as are the others; or one number for all.
        right: So.
        bottom: So.
        top: So.
        look: Colour and hatch.
        edge: Colour of the hatch.
        options: Of the collection.
    """
    sides = np.broadcast_arrays(np.asarray(left, np.float64), right, bottom, top)
    # From the lower left corner against the clock.
    corners = np.stack([sides[0], sides[2], sides[1], sides[2], sides[1], sides[3], sides[0], sides[3]], axis=1)
    return PolyCollection(
        list(corners.reshape(-1, 4, 2)),
        facecolor=look.colour,
        edgecolor=edge,
        linewidth=0,
        hatch=look.hatch or None,
        **options,
    )
