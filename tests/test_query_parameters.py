from __future__ import annotations

import contextlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.query_parameters import Number, ParameterError, Text, read_parameters

LIMIT, OFFSET, REPO = Number("limit", 50, 1, 200), Number("offset", 0, 0), Text("repo")


def detail(query: str) -> list[dict[str, object]]:
    with pytest.raises(ParameterError) as raised:
        read_parameters(query, (LIMIT, OFFSET, REPO))
    return raised.value.detail


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", (50, 0, "")),
        ("limit=7&offset=8&repo=click", (7, 8, "click")),
        ("limit=1&limit=2", (2, 0, "")),
        ("repo=&limit=3", (3, 0, "")),
        ("other=x&limit=3&token=t", (3, 0, "")),
        ("limit=%205%09", (5, 0, "")),
        ("limit=%2B5", (5, 0, "")),
        ("limit=+5", (5, 0, "")),
        ("limit=1_0", (10, 0, "")),
        ("limit=1.000", (1, 0, "")),
        ("limit=0010", (10, 0, "")),
        ("repo=a%20b+c%C3%A9", (50, 0, "a b cé")),
        (f"offset={'9' * 400}", (50, int("9" * 400), "")),
    ],
)
def test_what_the_original_takes_is_taken(query: str, values: tuple[object, ...]) -> None:
    assert read_parameters(query, (LIMIT, OFFSET, REPO)) == values


@pytest.mark.parametrize(
    "text",
    ["", "abc", "1.5", "1e2", "0x10", "1__0", "_1", "1_", "5.", ".0", "--5", "++5", "+-5", "true", "\0", "٣", "1.0_0"],
)
def test_what_is_no_number_is_told_as_pydantic_tells_it(text: str) -> None:
    reason = "Input should be a valid integer, unable to parse string as an integer"
    found = [{"type": "int_parsing", "loc": ["query", "limit"], "msg": reason, "input": text}]
    assert detail(urlencode({"limit": text})) == found


def test_what_is_out_of_range_is_told_for_all_parameters_in_their_order() -> None:
    assert detail("offset=-1&limit=201") == [
        {
            "type": "less_than_equal",
            "loc": ["query", "limit"],
            "msg": "Input should be less than or equal to 200",
            "input": "201",
            "ctx": {"le": 200},
        },
        {
            "type": "greater_than_equal",
            "loc": ["query", "offset"],
            "msg": "Input should be greater than or equal to 0",
            "input": "-1",
            "ctx": {"ge": 0},
        },
    ]
    assert [one["type"] for one in detail("limit=-0")] == ["greater_than_equal"]


def test_a_number_without_end_is_not_tried() -> None:
    found = detail(f"limit={'9' * 4301}")
    assert found[0]["type"] == "int_parsing_size"
    assert found[0]["msg"] == "Unable to parse input string as an integer, exceeded maximum size"


@given(st.text(max_size=200), st.text(max_size=60))
def test_no_query_makes_it_fail_otherwise(query: str, limit: str) -> None:
    for one in (query, urlencode({"limit": limit})):
        with contextlib.suppress(ParameterError):
            values = read_parameters(one, (LIMIT, OFFSET, REPO))
            assert 1 <= int(values[0]) <= 200
            assert int(values[1]) >= 0
