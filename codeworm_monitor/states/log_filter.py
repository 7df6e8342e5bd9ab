"""The log panel's filter language: what a person types beside the log, and whether a row passes. The browser has the same.

Terms are separated by white space, and all must hold; `OR` separates alternatives of such groups; `-` before a term negates
it. A term is `word` or `"a phrase"` (contained in the row's text), `/regex/` (found in it) or `key:value` (equal; `*`
stands for anything; `level:` also takes `>=`, `>`, `<`, `<=` before a level). Letter case never matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from codeworm_monitor.records import LEVELS, level_rank
from codeworm_monitor.states.filter_regex import compile_regex
from codeworm_monitor.states.row_text import row_text, text_at
from codeworm_monitor.states.wire_rows import GAP, SKIPPED, WireRow

__all__ = ["KEYS", "Query", "View", "parse_query", "row_text"]

KEYS = ("level", "component", "repo", "event", "channel", "target", "doc_type")
LONGEST_QUERY = 1_000
_SPACE = " \t\n\r\f\v\u00a0"
_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    ">=": lambda rank, wanted: rank >= wanted,
    "<=": lambda rank, wanted: rank <= wanted,
    ">": lambda rank, wanted: rank > wanted,
    "<": lambda rank, wanted: rank < wanted,
    "": lambda rank, wanted: rank == wanted,
}
_ALWAYS = frozenset({GAP, SKIPPED})


class _Subject:
    """A row as terms ask it; its text is made once, when first wanted."""

    __slots__ = ("_lower", "_text", "channel", "data")

    def __init__(self, row: WireRow) -> None:
        self.channel = row[2] if isinstance(row[2], str) else ""
        self.data = row[3]
        self._text: str | None = None
        self._lower: str | None = None

    @property
    def text(self) -> str:
        """The row's text, as it came."""
        if self._text is None:
            self._text = row_text(self.data)
        return self._text

    @property
    def lower(self) -> str:
        """The same in lower case."""
        if self._lower is None:
            self._lower = self.text.lower()
        return self._lower

    def value(self, key: str) -> str | None:
        """Return what a key says; None: nothing, or no text."""
        if key == "event":
            return text_at(self.data, "event") or text_at(self.data, "type")
        if key in ("level", "component"):
            return text_at(self.data, key)
        own = text_at(self.data, key)
        return text_at(self.data.get("data"), key) if own is None and isinstance(self.data, dict) else own

    @property
    def rank(self) -> int | None:
        """The severity of its level; None: it has none that is known."""
        return level_rank(text_at(self.data, "level"))


Term = Callable[[_Subject], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """A filter that was understood; made by `parse_query`.

    Attributes:
        text: As it was typed.
        groups: Alternatives; of each, all terms must hold. None at all: everything passes.
    """

    text: str
    groups: tuple[tuple[Term, ...], ...]

    def accepts(self, row: WireRow) -> bool:
        """Tell whether a row passes; gaps, and rows that count others, always do."""
        if not self.groups or row[2] in _ALWAYS:
            return True
        subject = _Subject(row)
        return any(all(term(subject) for term in group) for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a log panel shows: its filter, its level chips and its component, and which rows of these.

    Attributes:
        query: The filter.
        levels: Levels shown; None: all. Rows without one are always shown.
        component: The component shown; empty: all.
        is_paused: Whether the panel stands still.
        first: Offset of the first row that is held or, when paused, shown; None: not known.
        last: Offset of the last one.
        selected: Offsets of the rows that are selected.
        problem: Why the filter could not be read, and everything passes it; empty: it could.
    """

    query: Query
    levels: frozenset[str] | None = None
    component: str = ""
    is_paused: bool = False
    first: int | None = None
    last: int | None = None
    selected: tuple[int, ...] = ()
    problem: str = ""

    @classmethod
    def from_dict(cls, values: Any) -> View:
        """Read what a browser told; what has another type than it should is left out."""
        told: dict[str, Any] = values if isinstance(values, dict) else {}
        text, levels, component = told.get("query"), told.get("levels"), told.get("component")
        problem = ""
        try:
            query = parse_query(text if isinstance(text, str) else "")
        except ValueError as error:
            query, problem = Query("", ()), str(error)
        selected = told.get("selected")
        return cls(
            query=query,
            levels=frozenset(one.lower() for one in levels if isinstance(one, str))
            if isinstance(levels, list)
            else None,
            component=component if isinstance(component, str) else "",
            is_paused=told.get("is_paused") is True,
            first=_offset(told.get("first")),
            last=_offset(told.get("last")),
            selected=tuple(one for one in selected[:1000] if _offset(one) is not None)
            if isinstance(selected, list)
            else (),
            problem=problem,
        )

    def accepts(self, row: WireRow) -> bool:
        """Tell whether a row passes the filter, the chips and the component; gaps always do."""
        if row[2] in _ALWAYS:
            return True
        if self.levels is not None:
            rank = level_rank(text_at(row[3], "level"))
            if rank is not None and LEVELS[rank] not in self.levels:
                return False
        if self.component and (text_at(row[3], "component") or "").lower() != self.component.lower():
            return False
        return self.query.accepts(row)


def parse_query(text: str) -> Query:
    """Read a filter.

    Raises:
        ValueError: It cannot be read; says what to do.
    """
    if len(text) > LONGEST_QUERY:
        raise ValueError(f"the filter is longer than {LONGEST_QUERY:,} characters: shorten it")
    groups: list[list[Term]] = [[]]
    place = 0
    while (place := _skip_space(text, place)) < len(text):
        end = _word_end(text, place)
        if text[place:end] == "OR":
            if not groups[-1]:
                raise ValueError("OR stands between two terms: write one before it")
            groups.append([])
            place = end
            continue
        term, place = _read_term(text, place)
        groups[-1].append(term)
    if len(groups) > 1 and not groups[-1]:
        raise ValueError("OR stands between two terms: write one after it")
    return Query(text, tuple(tuple(group) for group in groups if group))


# Reading


def _skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _word_end(text: str, place: int) -> int:
    while place < len(text) and text[place] not in _SPACE:
        place += 1
    return place


def _read_term(text: str, place: int) -> tuple[Term, int]:
    if text[place] == "-":
        if place + 1 == len(text) or text[place + 1] in _SPACE:
            raise ValueError('nothing follows the "-": write what is not wanted right behind it')
        term, end = _read_plain(text, place + 1)
        return lambda subject: not term(subject), end
    return _read_plain(text, place)


def _read_plain(text: str, place: int) -> tuple[Term, int]:
    if text[place] == '"':
        phrase, end = _quoted(text, place)
        return _contains(phrase), end
    if text[place] == "/":
        return _read_regex(text, place)
    end = _word_end(text, place)
    word = text[place:end]
    key, colon, value = word.partition(":")
    if not colon or key.lower() not in KEYS:
        return _contains(word), end
    if value.startswith('"'):
        value, end = _quoted(text, place + len(key) + 1)
    if not value:
        raise ValueError(f"{key}: wants a value right behind it, such as {_EXAMPLES[key.lower()]}")
    return _equals(key.lower(), value), end


_EXAMPLES = {
    "level": "level:error",
    "component": "component:daemon",
    "repo": "repo:click",
    "event": "event:push_failed",
    "channel": "channel:events",
    "target": "target:main*",
    "doc_type": "doc_type:til",
}


def _quoted(text: str, place: int) -> tuple[str, int]:
    end = text.find('"', place + 1)
    if end < 0:
        raise ValueError('the quote is not closed: end it with "')
    if end == place + 1:
        raise ValueError('there is nothing between the quotes: write "a phrase"')
    _want_space(text, end + 1, "the closing quote")
    return text[place + 1 : end], end + 1


def _want_space(text: str, place: int, what: str) -> None:
    if place < len(text) and text[place] not in _SPACE:
        raise ValueError(f"a space must follow {what}")


def _read_regex(text: str, place: int) -> tuple[Term, int]:
    end, pattern = place + 1, ""
    while end < len(text) and text[end] != "/":
        step = 2 if text[end] == "\\" else 1
        piece = text[end : end + step]
        pattern += "/" if piece == "\\/" else piece
        end += step
    if end >= len(text):
        raise ValueError("the regex is not closed: end it with /, or put a path in quotes")
    if not pattern:
        raise ValueError("the regex is empty: write /pattern/")
    _want_space(text, end + 1, f"the regex /{pattern}/; write \\/ for a slash in it, or put a path in quotes")
    compiled = compile_regex(pattern)
    return lambda subject: compiled.search(subject.text) is not None, end + 1


def _contains(words: str) -> Term:
    wanted = words.lower()
    return lambda subject: wanted in subject.lower


def _equals(key: str, value: str) -> Term:
    if key == "level" and (value[0] in "<>" or "*" not in value):
        return _is_level(value)
    matches = _pattern(value)
    if key == "channel":
        return lambda subject: matches(subject.channel) or matches(subject.channel.rpartition(":")[2])

    def term(subject: _Subject) -> bool:
        found = subject.value(key)
        return found is not None and matches(found)

    return term


def _is_level(value: str) -> Term:
    operator = next(one for one in _OPERATORS if value.startswith(one))
    wanted = level_rank(value[len(operator) :])
    if wanted is None:
        raise ValueError(f"{value[len(operator) :] or 'nothing'} is no level: write one of {', '.join(LEVELS)}")
    compare = _OPERATORS[operator]
    return lambda subject: (rank := subject.rank) is not None and compare(rank, wanted)


def _pattern(value: str) -> Callable[[str], bool]:
    wanted = value.lower()
    if "*" not in wanted:
        return lambda text: text.lower() == wanted
    first, *middle, last = wanted.split("*")

    def matches(text: str) -> bool:
        text = text.lower()
        if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
            return False
        place, end = len(first), len(text) - len(last)
        for part in middle:
            place = text.find(part, place, end)
            if place < 0:
                return False
            place += len(part)
        return True

    return matches


def _offset(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
