from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.archive.console_lines import read_console_line

HEAD = "2026-11-22 16:57:36 [info     ] "

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    plain | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def pairs(text: str) -> dict[str, Any]:
    line = read_console_line(f"{HEAD}happened                       {text}")
    assert line is not None
    assert line.event == "happened"
    return line.pairs


def test_a_line_has_time_level_event_and_pairs() -> None:
    assert read_console_line(f"{HEAD}push_successful                branch=main component=git") == (
        datetime(2026, 11, 22, 16, 57, 36),
        "info",
        "push_successful",
        {"branch": "main", "component": "git"},
    )


def test_colours_are_passed_over() -> None:
    line = read_console_line(
        "\x1b[2m2026-11-22 16:57:36\x1b[0m [\x1b[33m\x1b[1mwarning  \x1b[0m] \x1b[1mpush_retry\x1b[0m   \x1b[36mattempt\x1b[0m=\x1b[35m2\x1b[0m"
    )
    assert line is not None
    assert (line.level, line.event, line.pairs) == ("warning", "push_retry", {"attempt": 2})


@given(values)
def test_what_repr_writes_of_a_value_json_has_is_read_back(value: Any) -> None:
    assert pairs(f"first={value!r} second=1") == {"first": value, "second": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path=PosixPath('/a b') n=1", {"path": "PosixPath('/a b')", "n": 1}),
        ("at=<Foo object at 0x7f> n=1", {"at": "<Foo object at 0x7f>", "n": 1}),
        ("commit=11673369 target=007 tokens=12", {"commit": "11673369", "target": "007", "tokens": 12}),
        (
            "hash=12e45678 version=1_000 big=99999999999999999999",
            {"hash": "12e45678", "version": "1_000", "big": "9" * 20},
        ),
        ("n=nan m=inf k=1e+400", {"n": "nan", "m": "inf", "k": "1e+400"}),
        ("a= b='' c=", {"a": "", "b": "", "c": ""}),
        ("a='never closed b=2", {"a": "'never closed", "b": 2}),
        ("a='x' and more b=2", {"a": "'x' and more", "b": 2}),
        ("a=1 a=2 event=x level=y", {"a": 1, "a_2": 2, "event_2": "x", "level_2": "y"}),
        ("a=(1,) b={1, 2} c=()", {"a": [1], "b": [1, 2], "c": []}),
        (r"a='\ud800 \x1b'", {"a": "\\ud800 \x1b"}),
        ("a={1: 'x', '1': 'y'}", {"a": "{1: 'x', '1': 'y'}"}),
    ],
)
def test_what_python_would_not_read_back_as_json_stays_text(text: str, expected: dict[str, Any]) -> None:
    assert pairs(text) == expected


@pytest.mark.parametrize(
    "text", ["", "text", "2026-11-22 16:57:36 text", "2026-13-22 16:57:36 [info] x", "16:57:36 [info] x"]
)
def test_lines_of_another_form_are_none(text: str) -> None:
    assert read_console_line(text) is None


@pytest.mark.parametrize(
    "body",
    [" " * 400_000, " a=[" * 100_000, " a='" * 100_000, " a='\\" * 80_000, " a=" + "[" * 400_000, " a='x' \t" * 50_000],
)
@pytest.mark.timeout(20)  # time that grew with the square of the length would be minutes
def test_hostile_lines_take_time_in_proportion_to_their_length(body: str) -> None:
    assert read_console_line(HEAD + "e" + body) is not None
