from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from typing import TextIO

import pytest

from codeworm_monitor.terminal.output import Output, wants_colour


@pytest.fixture
def screen() -> Iterator[TextIO]:
    """The program's end of a terminal."""
    primary, secondary = pty.openpty()
    with open(secondary, "w", encoding="utf-8") as stream:
        yield stream
    os.close(primary)


@pytest.mark.parametrize(
    ("environment", "on_terminal", "elsewhere"),
    [
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colour_is_for_terminals_unless_the_environment_says_otherwise(
    environment: dict[str, str], *, on_terminal: bool, elsewhere: bool, screen: TextIO
) -> None:
    assert wants_colour(screen, environment) is on_terminal
    assert wants_colour(io.StringIO(), environment) is elsewhere


def test_characters_that_an_encoding_lacks_are_escaped() -> None:
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii"), {})
    output.write(output.text_of([[("é·", "red")]]))
    assert raw.getvalue() == b"\\xe9\\xb7\n"
