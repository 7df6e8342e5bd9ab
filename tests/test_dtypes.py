"""What is told of pandas is what the installed pandas does."""

from __future__ import annotations

import pandas as pd

from codeworm_monitor.dtypes import FRAMES_ARE_COPIED_ON_WRITE, TEXT_DTYPE


def test_a_column_of_texts_has_the_dtype_that_pandas_gives_it() -> None:
    assert pd.Series(["a", None]).dtype == pd.Series(["a"], dtype=TEXT_DTYPE).dtype


def test_a_shallow_copy_is_the_callers_own_where_that_is_promised() -> None:
    frame = pd.DataFrame({"n": [1, 2]})
    copy = frame.copy(deep=not FRAMES_ARE_COPIED_ON_WRITE)
    copy.loc[0, "n"] = 9
    assert frame.n.tolist() == [1, 2]
