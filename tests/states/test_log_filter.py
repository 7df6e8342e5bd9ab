from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.filter_cases import CASES, KEYS, LOG, VIEW_CASES
from support.panels import anything

from codeworm_monitor.states import log_filter
from codeworm_monitor.states.log_filter import View, parse_query


@pytest.mark.parametrize(
    ("query", "row", "expected"), CASES, ids=[f"{n}-{q[:40]}" for n, (q, _, _) in enumerate(CASES)]
)
def test_the_filter_language_is_that_of_the_cases(query: str, row: list[Any], expected: bool | str) -> None:  # noqa: FBT001
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=f"(?i){re.escape(expected)}"):
            parse_query(query)
        return
    assert parse_query(query).accepts(row) is expected


@pytest.mark.parametrize(("view", "row", "expected"), VIEW_CASES)
def test_a_view_shows_what_passes_filter_chips_and_component(
    view: dict[str, Any],
    row: list[Any],
    expected: bool,  # noqa: FBT001
) -> None:
    assert View.from_dict(view).accepts(row) is expected


def test_the_keys_are_those_of_the_cases() -> None:
    assert log_filter.KEYS == KEYS


@given(st.text() | st.text('-/"\\:*<> ORlevelerrorepo()[]', max_size=30), anything)
def test_a_filter_is_read_or_says_what_to_do_and_never_stumbles_over_a_row(text: str, data: Any) -> None:
    try:
        query = parse_query(text)
    except ValueError:
        return
    assert query.accepts([1, 1000.0, "codeworm:logs", data]) in (True, False)
    assert query.accepts([1, 1000.0, "gap", {}])


@given(anything)
def test_a_view_of_any_form_is_read(told: Any) -> None:
    assert View.from_dict(told).accepts(LOG) in (True, False)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("query", "levels", "component", "first", "last", "selected"), anything)
    )
)
def test_a_view_keeps_what_has_the_type_that_it_should(told: dict[str, Any]) -> None:
    view = View.from_dict(told)
    assert all(type(offset) is int for offset in (*view.selected, view.first or 0, view.last or 0))
    assert isinstance(view.component, str)


def test_a_view_whose_filter_cannot_be_read_shows_all_and_says_why() -> None:
    view = View.from_dict({"query": '"open', "selected": [1, "2", 3.0, -1, True, 2**60]})
    assert view.accepts(LOG)
    assert "quote" in view.problem
    assert view.selected == (1,)
