"""Arguments: lengths of time in every spelling, and clear words for what is none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.watching.spans import function_identity, seconds_of, spoken, whole


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [(90, 90), (0.5, 0.5), ("90s", 90), (" 1h 30min ", 5400), ("2D", 172_800), (timedelta(minutes=2), 120), (0, 0)],
)
def test_lengths_of_time(given_: Any, seconds: float) -> None:
    assert seconds_of(given_, "after") == seconds


@pytest.mark.parametrize(
    "wrong", [-1, float("nan"), float("inf"), "30", "soon", "", "-5min", "9" * 400 + "d", timedelta(-1), 10**10]
)
def test_what_is_no_length_of_time_is_told_with_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^after: "):
        seconds_of(wrong, "after")


@pytest.mark.parametrize("wrong", [None, True, [], b"1s"])
def test_other_types_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^after is "):
        seconds_of(wrong, "after")


@given(st.floats(1, 300 * 86_400))
def test_what_is_spoken_is_read_again_as_about_the_same(seconds: float) -> None:
    assert seconds_of(spoken(seconds), "after") == pytest.approx(seconds, rel=0.05, abs=0.06)


def test_spoken_lengths() -> None:
    lengths = {-1: "0 s", 0: "0 s", 2.44: "2.4 s", 59.6: "1 min", 3600: "1 h", 5400: "1 h 30 min", 90_061: "1 d 1 h"}
    assert {one: spoken(one) for one in lengths} == lengths
    assert spoken(float("inf")) == "for ever"


def test_whole_numbers() -> None:
    assert whole(3, "count", 1, 5) == 3
    for wrong in (0, 6):
        with pytest.raises(ValueError, match="count is between 1 and 5"):
            whole(wrong, "count", 1, 5)
    for other in (True, 3.0, "3"):
        with pytest.raises(TypeError, match="count is a whole number"):
            whole(other, "count", 1, 5)


def test_a_function_defined_again_is_the_same_and_one_that_holds_something_is_itself() -> None:
    source = "def tell(notice):\n    return notice"
    spaces: list[dict[str, Any]] = [{"__name__": "cell"} for _ in range(2)]
    for space in spaces:
        exec(compile(source, "cell-1", "exec"), space)
    assert spaces[0]["tell"] is not spaces[1]["tell"]
    assert function_identity(spaces[0]["tell"]) == function_identity(spaces[1]["tell"])

    def maker(url: str) -> Any:
        return lambda notice: (url, notice)

    assert function_identity(maker("a")) != function_identity(maker("b"))
    first: list[Any] = []
    second: list[Any] = [1]
    assert function_identity(first.append) != function_identity(second.append)
    assert function_identity(lambda notice, to="a": to) != function_identity(lambda notice, to="b": to)
