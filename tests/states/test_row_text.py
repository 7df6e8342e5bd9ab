from __future__ import annotations

from typing import Any

import pytest

from codeworm_monitor.states.row_text import LONGEST, row_text


def test_the_text_of_a_row_is_short_whatever_it_holds() -> None:
    assert len(row_text({"event": "x", "many": ["y" * 10_000] * 10_000})) == LONGEST
    deep: Any = "bottom"
    for _ in range(900):
        deep = [deep]
    assert row_text({"event": "x", "deep": deep}) == "x x"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (1e20, "100000000000000000000"),
        (123456789012345680, "123456789012345680"),
        (2**63, "9223372036854776000"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (float("nan"), ""),
    ],
)
def test_numbers_are_written_as_browsers_do(number: float, text: str) -> None:
    assert row_text([number]) == text
