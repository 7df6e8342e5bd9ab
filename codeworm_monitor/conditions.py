"""Conditions on rows: what `where`, `on` and `wait_for` take as keywords."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from codeworm_monitor.columns import LABEL, TEXT, Layout
from codeworm_monitor.moments import plain_moment
from codeworm_monitor.records import LEVELS, AnyRecord, level_rank
from codeworm_monitor.rows import extra_text

__all__ = ["Conditions", "Moment", "moment"]

Moment = str | datetime | timedelta | pd.Timestamp | pd.Timedelta
"""A time: an ISO date or time, a datetime, or how long ago ("15min", "1h 30min", "2d", a timedelta), "today" or "yesterday"."""

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_NOT_CHOSEN = frozenset({"extra", "by_repo"})  # JSON texts: `text` searches them
_AROUND = frozenset({"epoch", "channel", "mark"})  # not the message's own words: `text` passes them by


class Conditions:
    """Conditions that all must hold; None means any.

    Args:
        layout: Columns of the rows.
        now: Unix seconds that "15min" counts back from; None where times are not to be asked for.
        given: `level`: ">=warning" (also >, <=, <, ==, !=), "error", or a list of levels; rows without a known level
            fulfil only `!=`. Any column of text or category: the value, or a list of values; rows that say nothing of
            it are not meant. `text`: a string that some text of the message contains, letter case aside (of `extra`,
            its JSON text). `since` and `until`: times of `received_at`, the first included, the second not.

    Raises:
        TypeError: A keyword is none of these, or a value has the wrong type.
        ValueError: A level or a time cannot be read.
    """

    def __init__(self, layout: Layout, *, now: Callable[[], float] | None = None, **given: Any) -> None:
        self._given = {name: value for name, value in given.items() if value is not None}
        names = [column.name for column in layout.columns]
        worded = [column.name for column in layout.columns if column.type in (LABEL, TEXT)]
        self._searched = [name for name in worded if name not in _AROUND]
        choices = [name for name in worded if name not in _NOT_CHOSEN]
        times = ["since", "until"] if now is not None and "received_at" in names else []
        allowed = [*choices, "text", *times]
        for name in given:
            if name not in allowed:
                raise TypeError(f"{name!r} is no condition here; there are {', '.join(allowed)}")
        self._tests: dict[str, Callable[[str | None], bool]] = {}
        self._text: str | None = None
        self.since: datetime | None = None
        self.until: datetime | None = None
        for name, value in self._given.items():
            match name:
                case "level":
                    self._tests[name] = _level_test(value)
                case "text":
                    if not isinstance(value, str):
                        raise TypeError(f"text is a string, not {type(value).__name__}")
                    self._text = value.lower() or None
                case "since" | "until":
                    setattr(self, name, moment(value, now() if now is not None else 0.0))
                case _:
                    self._tests[name] = _choice_test(name, value)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._given.items()) or "any"

    def mask(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which rows of a table fulfil the conditions."""
        mask = np.ones(table.num_rows, dtype=bool)
        for name, test in self._tests.items():
            mask &= _by_value(table.column(name), test)
        if self.since is not None:
            mask &= _plain(pc.greater_equal(table.column("received_at"), pa.scalar(self.since)))
        if self.until is not None:
            mask &= _plain(pc.less(table.column("received_at"), pa.scalar(self.until)))
        if (needle := self._text) is not None:
            found = np.zeros(table.num_rows, dtype=bool)
            for name in self._searched:
                column = table.column(name)
                if column.null_count == len(column):
                    continue
                if column.type == LABEL:
                    found |= _by_value(column, lambda value: value is not None and needle in value.lower())
                else:
                    found |= _plain(pc.match_substring(pc.utf8_lower(column), needle))
            mask &= found
        return mask

    def accepts(self, record: AnyRecord, channel: str, epoch: str, mark: str | None) -> bool:
        """Tell whether a record fulfils the conditions; as `mask`, but for times, which are not looked at."""
        around = {"channel": channel, "epoch": epoch, "mark": mark}

        def value_of(name: str) -> str | None:
            if name in around:
                return around[name]
            value = getattr(record, name)
            return extra_text(value) if name in _NOT_CHOSEN else value

        if not all(test(value_of(name)) for name, test in self._tests.items()):
            return False
        if (needle := self._text) is None:
            return True
        return any((value := value_of(name)) is not None and needle in value.lower() for name in self._searched)


def moment(value: Moment, now: float) -> datetime:
    """Return the time that a value says, in UTC.

    Args:
        value: See `Moment`. What has no zone is in UTC, as all times of the tables are; days begin at midnight UTC.
        now: Unix seconds that a duration is counted back from.

    Raises:
        TypeError: It is of another type.
        ValueError: It cannot be read, or lies outside the years 1 to 9999.
    """
    try:
        if pd.isna(value):
            raise ValueError("no time at all")
        match value:
            case pd.Timedelta():
                value = value.to_pytimedelta()
            case pd.Timestamp():
                value = value.to_pydatetime(warn=False)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{value!r} is no time") from error
    return plain_moment(value, now)


def _level_test(value: object) -> Callable[[str | None], bool]:
    if not isinstance(value, str):
        return _choice_test("level", value)
    match = re.fullmatch(r"\s*([<>]=?|[!=]=|)\s*(\w+)\s*", value)
    if match is None:
        raise ValueError(f"level is a name, or one of {' '.join(_COMPARISONS)} and a name; not {value!r}")
    sign, name = match.groups()
    name, wanted = name.lower(), level_rank(name)
    if wanted is None:
        if sign in ("", "==", "!=") and not difflib.get_close_matches(name, LEVELS, cutoff=0.75):
            # A level of another program's.
            return (lambda level: level != name) if sign == "!=" else (lambda level: level == name)
        raise ValueError(f"level is one of {', '.join(LEVELS)}; not {name!r}")
    compare = _COMPARISONS[sign or "=="]

    def test(level: str | None) -> bool:
        rank = level_rank(level)
        return sign == "!=" if rank is None else compare(rank, wanted)

    return test


def _choice_test(name: str, value: object) -> Callable[[str | None], bool]:
    if isinstance(value, str):
        chosen = frozenset({value})
    elif isinstance(value, Iterable):
        chosen = frozenset(value)
    else:
        raise TypeError(f"{name} is a string or a list of strings, not {type(value).__name__}")
    if not all(isinstance(item, str) for item in chosen):
        raise TypeError(f"{name} is a string or a list of strings")
    if name == "level":
        tests = [_level_test(item) for item in chosen]
        return lambda level: any(test(level) for test in tests)
    return chosen.__contains__


def _by_value(column: pa.ChunkedArray, test: Callable[[str | None], bool]) -> npt.NDArray[np.bool_]:
    """Return the judgement on each row, asking for each distinct value of a chunk once."""
    verdicts = [np.zeros(0, dtype=bool)]
    for chunk in column.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        values = [*encoded.dictionary.to_pylist(), None]
        by_code = np.array([test(value) for value in values], dtype=bool)
        codes = encoded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
        verdicts.append(by_code[codes])
    return np.concatenate(verdicts)


def _plain(mask: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    plain: npt.NDArray[np.bool_] = pc.fill_null(mask, False).to_numpy()  # noqa: FBT003 (a value, not a flag)
    return plain
