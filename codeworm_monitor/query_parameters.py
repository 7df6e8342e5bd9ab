"""Parameters of the original dashboard's REST API, read and refused as its framework does (FastAPI with pydantic 2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["Number", "ParameterError", "Text", "read_parameters"]

LONGEST_NUMBER = 4300
"""Digits above which pydantic does not try."""
_NUMBER = re.compile(r"([+-]?)([0-9]+(?:_[0-9]+)*)(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number that a question takes.

    Attributes:
        name: Its name in the query.
        default: What it is if it is not given.
        least: The least allowed.
        most: The most allowed; None: any.
    """

    name: str
    default: int
    least: int
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A text that a question takes; one that is empty, or not given, stands for none.

    Attributes:
        name: Its name in the query.
    """

    name: str


class ParameterError(ValueError):
    """Parameters cannot be used.

    Attributes:
        detail: What is wrong with each, as pydantic words it: `{type, loc, msg, input, ctx?}`.
    """

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in detail))
        self.detail = detail


def read_parameters(query: str, wanted: Sequence[Number | Text]) -> tuple[int | str, ...]:
    """Return the values of parameters in their order. Of one that is given twice the last counts; unknown ones do not.

    Args:
        query: The query of a URL.
        wanted: What may be in it.

    Raises:
        ParameterError: At least one cannot be used; tells of all of them.
    """
    given = dict(parse_qsl(query, keep_blank_values=True, errors="replace"))
    values: list[int | str] = []
    problems: list[dict[str, Any]] = []
    for one in wanted:
        text = given.get(one.name)
        if isinstance(one, Text):
            values.append(text or "")
        elif text is None:
            values.append(one.default)
        elif isinstance(read := _number(text, one), int):
            values.append(read)
        else:
            problems.append(read)
    if problems:
        raise ParameterError(problems)
    return tuple(values)


def _number(text: str, wanted: Number) -> int | dict[str, Any]:
    if len(text) > LONGEST_NUMBER:
        reason = "Unable to parse input string as an integer, exceeded maximum size"
        return _problem("int_parsing_size", wanted, reason, text)
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        reason = "Input should be a valid integer, unable to parse string as an integer"
        return _problem("int_parsing", wanted, reason, text)
    value = int(match[1] + match[2])
    if value < wanted.least:
        reason = f"Input should be greater than or equal to {wanted.least}"
        return _problem("greater_than_equal", wanted, reason, text) | {"ctx": {"ge": wanted.least}}
    if wanted.most is not None and value > wanted.most:
        reason = f"Input should be less than or equal to {wanted.most}"
        return _problem("less_than_equal", wanted, reason, text) | {"ctx": {"le": wanted.most}}
    return value


def _problem(kind: str, wanted: Number, reason: str, text: str) -> dict[str, Any]:
    return {"type": kind, "loc": ["query", wanted.name], "msg": reason, "input": text}
