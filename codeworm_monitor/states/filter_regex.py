"""Expressions of the log filter: read, and refused where one text could keep them busy for ever. The browser has the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["compile_regex"]

_FEW = 4
"""Times that a group may be repeated with anything in it."""
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d+)(,?)(\d*)\})\??")
_OPENING = re.compile(r"\((?:\?(?:[:=!]|<[=!]|<[^>]*>))?")


@dataclass(slots=True)
class _Group:
    """A group in brackets; it is free if it can match one text in several ways."""

    is_free: bool = False


def compile_regex(source: str) -> re.Pattern[str]:
    """Read an expression.

    Raises:
        ValueError: It cannot be read, or repeats what repeats; says why.
    """
    try:
        compiled = re.compile(_with_plain_sets(source), re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regex cannot be read: {error}") from error
    if _is_nested(source):
        raise ValueError(
            "the regex repeats a group that itself repeats or chooses, which can take for ever: write it without"
        )
    return compiled


def _with_plain_sets(source: str) -> str:
    """Return it with a backslash before what Python, in a set of characters, warns that it may mean otherwise one day.

    Raises:
        ValueError: There are two dashes within a set.
    """
    parts, is_in_set, place = list[str](), False, 0
    while place < len(source):
        piece = source[place : place + (2 if source[place] == "\\" else 1)]
        if is_in_set and piece == "-" and source[place + 1 : place + 2] == "-":
            raise ValueError("the regex has -- between [ and ]: write \\- for a dash")
        parts.append(f"\\{piece}" if is_in_set and piece in ("[", "&", "~", "|") else piece)
        place += len(piece)
        if piece == "[" and not is_in_set:
            is_in_set = True
            if source[place : place + 1] == "^":
                parts.append("^")
                place += 1
        elif piece == "]":
            is_in_set = False
    return "".join(parts)


def _is_nested(source: str) -> bool:
    """Tell whether a group that is repeated holds repeats or choices."""
    groups, closed, place = [_Group()], None, 0
    while place < len(source):
        quantifier = _QUANTIFIER.match(source, place) if place else None
        if quantifier is not None:
            whole, (least, comma, most) = quantifier[0], quantifier.groups()
            is_free = whole[0] != "{" or comma != ""
            end = 1.0 if whole[0] == "?" else float("inf")
            if whole[0] == "{" and not (comma and not most):
                end = float(most or least)
            if closed is not None and closed.is_free and end > _FEW:
                return True
            groups[-1].is_free |= is_free
            closed = None
            place += len(whole)
            continue
        closed = None
        character = source[place]
        if character == "\\":
            # What a group has taken, taken again, can take exponential time.
            groups[-1].is_free |= source[place + 1 : place + 2] in tuple("123456789k")
            place += 2
        elif character == "[":
            place += 1
            while place < len(source) and source[place] != "]":
                place += 2 if source[place] == "\\" else 1
            place += 1
        elif character == "(":
            groups.append(_Group())
            opening = _OPENING.match(source, place)
            place += len(opening[0]) if opening is not None else 1
        elif character == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1].is_free |= closed.is_free
            place += 1
        else:
            groups[-1].is_free |= character == "|" and len(groups) > 1
            place += 1
    return False
