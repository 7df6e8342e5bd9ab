"""What every test of pictures has: no window, and no figure of another test."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def no_figure_left() -> Iterator[None]:
    """Draw into memory, in Matplotlib's own style, and close what a test leaves open."""
    mpl.use("Agg")
    with plt.style.context("default"):
        yield
    plt.close("all")
