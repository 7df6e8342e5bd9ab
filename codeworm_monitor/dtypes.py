"""What pandas 2 and pandas 3 do differently, told in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["FRAMES_ARE_COPIED_ON_WRITE", "TEXT_DTYPE", "text_column"]

_IS_PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3
FRAMES_ARE_COPIED_ON_WRITE = _IS_PANDAS_3
"""Whether a shallow copy of a frame may be changed without changing the frame."""
TEXT_DTYPE: Any = "str" if _IS_PANDAS_3 else "object"
"""Dtype of a column of texts."""


def text_column(values: Sequence[str | None] | Sequence[str] | npt.NDArray[np.object_]) -> pd.Series[str]:
    """Return texts as a column; None is a missing one."""
    texts: Any = values
    made: pd.Series[str] = pd.Series(texts, dtype=TEXT_DTYPE)
    return made
