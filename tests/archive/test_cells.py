"""What is taken for a row, and what is not."""

from __future__ import annotations

import pytest

from codeworm_monitor.archive.cells import epoch_of, in_order, part_of, row_of
from codeworm_monitor.archive.rows import StoredRow

ROW = [1, 7, 1000, b"a", None, b"{}"]
EPOCH = [1, None, b"abc", b"relay", 5, 100, None]
PART = [b"date=2023-11-15/channel=a/1-2-3.parquet", b"2023-11-15", b"a", 1, 2, 3, 4, 5, 2, 100]


def test_a_cell_of_each_table_is_read():
    assert row_of(ROW) == StoredRow(1, 7, 1000, "a", None, b"{}")
    assert row_of([1, 7, 1000, b"a", b"raw", b"{}"]).mark == "raw"
    assert epoch_of(EPOCH) == (1, "abc", "relay", 5, 100, None)
    assert part_of(PART)[3:6] == (1, 2, 3)


@pytest.mark.parametrize(("place", "value"), [
    (0, 0), (0, None), (0, b"1"), (1, 0), (1, 2**53), (2, 2**62), (2, b""), (3, b"\xff"), (3, None), (4, b"other"), (4, 7),
    (4, b"gap"), (5, b"{"), (5, b'"\xff"'), (5, None),
])  # fmt: skip
def test_a_row_of_which_a_value_cannot_be_is_none(place, value):
    assert row_of([*ROW[:place], value, *ROW[place + 1 :]]) is None


@pytest.mark.parametrize(
    ("place", "value"), [(0, -1), (1, 1), (2, b"\xff"), (4, 2**62), (5, -1), (5, 2**60), (6, b"x")]
)
def test_an_epoch_of_which_a_value_cannot_be_is_none(place, value):
    assert epoch_of([*EPOCH[:place], value, *EPOCH[place + 1 :]]) is None


@pytest.mark.parametrize(
    ("place", "value"), [(0, b"../1-2-3.parquet"), (0, b"\xff"), (3, 9), (4, None), (5, 4), (9, b"")]
)
def test_a_file_of_which_a_value_cannot_be_is_none(place, value):
    assert part_of([*PART[:place], value, *PART[place + 1 :]]) is None


def test_cells_of_other_lengths_are_none():
    assert row_of(ROW[:5]) is epoch_of(EPOCH[:6]) is part_of(PART[:9]) is None


def test_rows_whose_keys_do_not_ascend_are_left_out():
    rows = [row_of([1, offset, *ROW[2:]]) for offset in (1, 2, 900, 4, 5)]
    kept = [row.offset for row in in_order(rows)]
    assert {1, 2, 5} <= set(kept)
    assert 900 not in kept
    assert in_order(rows[:2]) == rows[:2]
