from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.states.filter_regex import compile_regex


@given(st.text() | st.text("()[]{}*+?|\\ab1,<:=!>k^$.-", max_size=25))
def test_an_expression_is_read_or_says_why_not(source: str) -> None:
    try:
        compile_regex(source)
    except ValueError as error:
        message = str(error)
    else:
        message = "the regex was read"
    assert message.startswith("the regex")


@pytest.mark.parametrize("source", ["(a*)*b", "(a|aa)+$", "((ab)+c){5,}", r"(?:(a)\1)+", "(x{2,})*", "(?<!y)(a?b?)+"])
def test_what_could_take_for_ever_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="for ever"):
        compile_regex(source)


@pytest.mark.parametrize(
    "source", ["(ab)+", "a*b*c*", "(a|b)", "(a+){4}", r"\(a+\)+", "[(a+)+]+", "(a{3})*", "(?=a+)b"]
)
def test_what_ends_is_read(source: str) -> None:
    assert compile_regex(source).flags


@pytest.mark.parametrize(
    ("source", "fits", "does_not"),
    [
        ("[[]x", "[x", "]x"),
        ("^[a&&b]$", "&", "c"),
        ("^[^||]$", "a", "|"),
        ("[~~\\]]", "]", "x"),
        ("[[a]b|c", "ab", "b"),
    ],
)
def test_sets_of_characters_are_those_of_browsers_and_nobody_is_warned(source: str, fits: str, does_not: str) -> None:
    regex = compile_regex(source)
    assert regex.search(fits)
    assert not regex.search(does_not)


def test_two_dashes_in_a_set_are_refused() -> None:
    with pytest.raises(ValueError, match="dash"):
        compile_regex("[a--b]")
    assert compile_regex("--[a-]-").search("--a-")
