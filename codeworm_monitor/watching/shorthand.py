"""Shorthand: rules as one writes them: "failures >= 3"."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from codeworm_monitor.watching.actions import Action, Call, Notify
from codeworm_monitor.watching.commands import Command
from codeworm_monitor.watching.cycle_rules import ErrorRate, FailuresInARow, SlowGeneration
from codeworm_monitor.watching.record_rule import OnRecord
from codeworm_monitor.watching.rules import Rule
from codeworm_monitor.watching.silence_rule import Silence
from codeworm_monitor.watching.webhooks import Webhook

__all__ = ["read_actions", "read_rule"]

_EXAMPLES = (
    '"silence", "silence > 30min", "failures >= 3", "error_rate > 50%", "slow > 2x", "slow > 90s", "level >= error"'
)
_COMMAND = "a command is a list such as ['notify-send', 'CodeWorm'], never a line for a shell"
_SIGNS = (">=", "<=", "==", "!=", ">", "<", "=")
_LONGEST = 200


def read_rule(wanted: object) -> Rule:
    """Return the rule that is wanted: one, a text, or a function that tells of each record whether it counts.

    Args:
        wanted: A rule; a function, which becomes `OnRecord(function)`; or a text: `silence`, `silence > 30min`,
            `failures >= 3`, `error_rate > 50%`, `error_rate > 0.5 of 40`, `slow > 2x`, `slow > 90s of 3`,
            `level >= error`. Without a comparison each means its default.

    Raises:
        TypeError: It is none of these.
        ValueError: The text cannot be read; says what can.
    """
    match wanted:
        case Rule():
            return wanted
        case str():
            return _read(wanted)
        case type() if issubclass(wanted, Rule):
            raise TypeError(f"write {wanted.__name__}(), with parentheses")
    if callable(wanted):
        return OnRecord(wanted)
    raise TypeError(f"a rule is a text such as {_EXAMPLES}, a Rule, or a function of a record; not {wanted!r:.80}")


def read_actions(wanted: object) -> list[Action]:
    """Return the actions that are wanted.

    Args:
        wanted: None: `Notify()`; an action; a function of a notice; a URL, which becomes `Webhook(url)`; a list of texts,
            which becomes `Command(texts)`; or a list of several of these.

    Raises:
        TypeError: It is none of these.
        ValueError: The URL or the command cannot be used.
    """
    match wanted:
        case None:
            return [Notify()]
        case Action():
            return [wanted]
        case str() if _is_url(wanted):
            return [Webhook(wanted.strip())]
        case str():  # not quoted: it may be a webhook's URL, mistyped
            raise TypeError(f"a text as action is a URL, of http or https; {_COMMAND}")
        case type() if issubclass(wanted, Action):
            raise TypeError(f"write {wanted.__name__}(…), with parentheses")
    if isinstance(wanted, Iterable) and not isinstance(wanted, bytes):
        several = list(wanted)
        if several and all(isinstance(one, str | PathLike) for one in several) and not _is_url(several[0]):
            return [Command(several)]
        found = [action for one in several if one is not None for action in read_actions(one)]
        if not found:
            raise TypeError("there is no action among the actions")
        return found
    if callable(wanted):
        return [Call(wanted)]
    raise TypeError(
        f"an action is a function of a notice, Notify(), a Webhook or its URL, or a list of these, not "
        f"{type(wanted).__name__}; {_COMMAND}"
    )


def _is_url(text: object) -> bool:
    return isinstance(text, str) and text.strip().lower().startswith(("http://", "https://"))


def _read(text: str) -> Rule:
    if len(text) > _LONGEST:
        raise ValueError(f"a rule is a text such as {_EXAMPLES}; not {len(text):,} characters")
    sign = next((sign for sign in _SIGNS if sign in text), "")
    name, _, bound = (part.strip().lower() for part in text.partition(sign)) if sign else (text.strip().lower(), "", "")
    reader = _READERS.get(name.replace("_", " ").replace("-", " "))
    if reader is None:
        near = difflib.get_close_matches(name.replace("_", " "), _READERS, n=1)
        hint = f" (did you mean {near[0].replace(' ', '_')!r}?)" if near else ""
        raise ValueError(f"the rule {text!r} cannot be read{hint}: write one such as {_EXAMPLES}")
    try:
        return reader(sign, bound)
    except ValueError as error:
        raise ValueError(f"the rule {text!r} cannot be read: {error}; write one such as {_EXAMPLES}") from None


def _over(sign: str, *allowed: str) -> None:
    if sign not in allowed:
        raise ValueError(
            f"{sign!r} has no meaning here, {' and '.join(map(repr, allowed))} {'has' if len(allowed) == 1 else 'have'}"
        )


def _silence(sign: str, bound: str) -> Rule:
    if not sign:
        return Silence()
    _over(sign, ">", ">=")
    return Silence(after=bound)


def _failures(sign: str, bound: str) -> Rule:
    if not sign:
        return FailuresInARow()
    _over(sign, ">=", ">")
    if not bound.isascii() or not bound.isdecimal() or len(bound) > 6:
        raise ValueError(f"{bound!r} is no whole number")
    return FailuresInARow(int(bound) + (sign == ">"))


def _error_rate(sign: str, bound: str) -> Rule:
    if not sign:
        return ErrorRate()
    _over(sign, ">")
    share, options = _of(bound)
    value = _number(share.removesuffix("%").strip()) / (100 if share.endswith("%") else 1)
    if value >= 1:
        raise ValueError(f"{share!r} is no share below 100%")
    return ErrorRate(above=value, **options)


def _slow(sign: str, bound: str) -> Rule:
    if not sign:
        return SlowGeneration()
    _over(sign, ">")
    value, options = _of(bound)
    if value.endswith("x"):
        return SlowGeneration(times=_number(value[:-1].strip()), **options)
    return SlowGeneration(seconds=value, **options)


def _level(sign: str, bound: str) -> Rule:
    if not sign:
        raise ValueError("it says no level")
    return OnRecord(level=f"{'==' if sign == '=' else sign}{bound}")


def _of(bound: str) -> tuple[str, dict[str, Any]]:
    """Return the bound, and `of` if it says "… of 20"."""
    value, word, number = bound.partition(" of ")
    if not word:
        return bound, {}
    number = number.strip()
    if not number.isascii() or not number.isdecimal() or len(number) > 6:
        raise ValueError(f"{number!r} is no whole number")
    return value.strip(), {"of": int(number)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


_READERS: dict[str, Callable[[str, str], Rule]] = {
    "silence": _silence,
    "failures": _failures,
    "failures in a row": _failures,
    "error rate": _error_rate,
    "slow": _slow,
    "slow generation": _slow,
    "level": _level,
}
