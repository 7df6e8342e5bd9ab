"""Any object as JSON: what cannot be written is written as near as can be, and what is too long is cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import orjson

__all__ = ["LARGEST", "encode", "text_of"]

LARGEST = 256 * 2**10
"""Bytes of one message at most: half of what a relay delivers whole by default."""

_LONGEST = 32 * 2**10
"""Characters of one text at most, where a message is too large or cannot be written as it is."""
_ITEMS = 2_000
"""Values at most, likewise."""
_DEEPEST = 20
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_ANY_KEYS = orjson.OPT_NON_STR_KEYS | _NUMPY
_WIDEST = 2**63


def encode(value: Any) -> bytes:
    """Return an object as JSON text of at most `LARGEST` bytes; the objects it holds may change afterwards.

    Numbers that JSON has not (NaN, infinities) become null, as in CodeWorm's own messages. Scalars of NumPy and
    one-element tensors are numbers, sets are lists, bytes are text, exceptions and anything else what `repr` says.
    Keys become texts. Integers over 64 bits become texts, and lone surrogates "?". What is part of itself, lies too
    deep, or is too much, is left out with a mark, and long texts are cut.

    Raises:
        Exception: What the object's own code raised, where that is no mere `__repr__`, `__str__` or `item`.
    """
    try:
        if value.__class__ is dict:
            for one in value.values():
                if one.__class__ is str and len(one) > LARGEST:
                    raise ValueError  # writing it all would take its time
        text = orjson.dumps(value, default=_plain, option=_NUMPY)
        if len(text) <= LARGEST:
            return text
    except (TypeError, ValueError, RecursionError):  # what follows copes with it
        pass
    longest = _LONGEST
    while True:
        text = orjson.dumps(_Trimmed(longest).trim(value, _DEEPEST))
        if len(text) <= LARGEST:
            return text
        longest //= 4


def text_of(value: object, longest: int = _LONGEST) -> str:
    """Return an object's text, whatever its own code does; lone surrogates replaced, a long one cut."""
    try:
        text = value if isinstance(value, str) else repr(value)
        text = _shortened(str(text), longest)
    except Exception:  # noqa: BLE001  # the object's own code
        text = f"<{type(value).__name__} that cannot be shown>"
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    # Both ends tell something: how it begins, and with a traceback what was raised.
    half = longest // 2
    return f"{text[:half]} […{len(text) - 2 * half} characters…] {text[-half:]}"


def _plain(value: Any) -> Any:
    """Return what orjson can write of an object that it does not know."""
    match value:
        case Set():
            return list(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value[:_LONGEST]).decode("utf-8", "replace")
        case Mapping():
            return dict(value)
        case complex() | int() | BaseException():
            return text_of(value)
    try:
        number = value.item()  # of a tensor or an array with one element
    except Exception:  # noqa: BLE001  # it has none, or more than one: the object's own code
        return _path_or_text(value)
    return number if type(number) in (int, float, bool) else text_of(value)


def _path_or_text(value: Any) -> str:
    try:
        path = value.__fspath__()
    except Exception:  # noqa: BLE001  # the object's own code
        return text_of(value)
    return text_of(path)


class _Trimmed:
    """Makes a copy of a value of which nothing is too long, too deep or unwritable."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._left = max(8, _ITEMS * longest // _LONGEST)
        self._open: set[int] = set()

    def trim(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        match value:
            case str():
                return text_of(str.__str__(value), self._longest)
            case int():
                return int(value) if -_WIDEST <= value < _WIDEST else _digits(value)
            case float():
                return float(value) if math.isfinite(value) else None
            case Mapping() | Sequence() | Set() if not isinstance(value, bytes | bytearray | memoryview):
                return self._trim_many(value, depth)
        try:
            plain = orjson.loads(orjson.dumps(value, option=_ANY_KEYS))  # a time, an array, a dataclass
        except Exception:  # noqa: BLE001  # unknown to orjson, or it holds what is
            plain = _plain(value)
            return self.trim(plain, depth - 1) if depth and plain is not value else text_of(value, self._longest)
        return plain if not isinstance(plain, str | list | dict) else self.trim(plain, depth)

    def _trim_many(self, value: Any, depth: int) -> Any:
        if depth <= 0 or id(value) in self._open:
            return "…"
        self._open.add(id(value))
        try:
            return self._trim_mapping(value, depth) if isinstance(value, Mapping) else self._trim_list(value, depth)
        finally:
            self._open.discard(id(value))

    def _trim_mapping(self, value: Any, depth: int) -> dict[str, Any]:
        trimmed: dict[str, Any] = {}
        for key in value:
            if self._left <= 0:
                trimmed["…"] = f"{len(value) - len(trimmed)} more"
                break
            self._left -= 1
            trimmed[text_of(key, min(200, self._longest))] = self.trim(value[key], depth - 1)
        return trimmed

    def _trim_list(self, value: Any, depth: int) -> list[Any]:
        trimmed: list[Any] = []
        for one in value:
            if self._left <= 0:
                trimmed.append(f"… {len(value) - len(trimmed)} more")
                break
            self._left -= 1
            trimmed.append(self.trim(one, depth - 1))
        return trimmed


def _digits(value: int) -> str:
    # Python refuses to write integers of more than 4,300 digits, and takes its time for long ones.
    return str(int(value)) if value.bit_length() < 4096 else f"<integer of {value.bit_length()} bits>"
