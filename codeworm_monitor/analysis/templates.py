"""Templates: texts of errors with all that varies masked, so that errors of one kind read alike.

`OOM after 12.3 s at /srv/a.gguf` and `OOM after 9 s at /tmp/b.gguf` are both `OOM after <number> s at <path>`. The
publisher's messages are structured, so masking is enough: no clustering, no state, and a template stays the same
whatever else was read. Texts are anybody's: each is read to a bound, in one pass without backtracking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["MOST", "READ", "clean", "template", "templates"]

READ = 1_000
"""Characters of a text that are read; what follows makes no difference."""
MOST = 400
"""Characters of a template, at most."""

_BLOB = 120  # a longer run without a space is no word of any language
_NAMED = range(2, 201)  # lengths of names that are looked for
_UNREADABLE = "<blob>"

# A word is a run of these; what has neither a digit nor a slash stands as it is, unless it is too long for a word. All
# begins where a run begins and takes its characters for good (possessive), so that a text is read once.
_OF_WORD = r"A-Za-z0-9_.+:/@%~#\-"
_OF_PLAIN_WORD = r"A-Za-z_.+:@%~#\-"
_START = rf"(?<![{_OF_WORD}])"
_END = rf"(?=[.:]*+(?![{_OF_WORD}]))"
_DRIVE = r"""(?<!>)[A-Za-z]:\\[^\s"'<>|*?]*+"""
_URL = r"""[A-Za-z][A-Za-z+.\-]{1,15}+://[^\s"'<>`]*+"""
_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    rf"(?:Z|[+\-][0-9]{{2}}:?[0-9]{{2}})?{_END}"
)
_THOUSANDS = rf"[+\-]?[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,6}}(?:\.[0-9]{{1,9}})?{_END}"
_WORDS = re.compile(
    rf"{_START}(?:(?P<path>{_DRIVE})|(?=[{_OF_PLAIN_WORD}]{{0,{_BLOB}}}+[{_OF_WORD}])"
    rf"(?:(?P<url>{_URL})|(?P<time>{_TIME})|(?P<number>{_THOUSANDS})|(?P<word>[{_OF_WORD}]++)))"
)
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?|[0-9]{1,4}([\-/])[0-9]{1,2}\1[0-9]{1,4}")
_IP = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(:[0-9]{1,5})?")
_ADDRESS = re.compile(r"0x[0-9A-Fa-f]+|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){3,8}")
_NUMBER = re.compile(r"[+\-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+\-]?[0-9]{1,4})?(%|[A-Za-z]{0,3})")
_DIGITS = re.compile(r"[0-9]+")
_UUID = re.compile(
    r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])"
)
_ENDING = re.compile(r"\.[A-Za-z]")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_HASH = re.compile(r"[0-9a-f]{7,64}|[0-9A-F]{7,64}")
_HOST = re.compile(r"(?:[^/?#@]*+(@))?([A-Za-z0-9.\-]*+)(?::([0-9]*+))?(?=[/?#]|$)")
_QUOTED = re.compile(r"""(['"`])(?<![\w>]['"`])([^\s'"`]{1,200}+)\1(?![\w<:])""")
_MASK = re.compile(r"<[a-z]{1,12}>")
_LAST_WORD = re.compile(rf"(?:<[a-z]{{0,12}}|[{_OF_WORD}]+)$")

_ANSI = re.compile(r"\x1b\[[0-?]*+[ -/]*+[@-~]|\x1b\][^\x07\x1b]*+(?:\x07|\x1b\\)")
_WRITTEN_BREAK = re.compile(rf"({_START}{_DRIVE})|(?<!\\)\\++[nrt]")
_SHAPE = str.maketrans("23456789", "1" * 8)
_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019\u201a", "'") | dict.fromkeys("\u201c\u201d\u201e", '"'))


def template(text: str, own: Mapping[str, str] | None = None) -> str:
    """Mask what varies in a text.

    Masks are `<number>` (also within a name: `<number>ms`, `GPU<number>`), `<time>`, `<hash>` (7 to 64 hexadecimal
    digits), `<uuid>`, `<id>` (letters and digits mixed), `<address>` (in memory, of a device), `<ip>`, `<path>`, `<text>`
    (one word in quotes, unless a key of JSON) and `<blob>` (a longer run than any word). A URL keeps its scheme and host,
    which tell Ollama from GitHub; user, port and path are masked.

    Args:
        text: Any text; of a long one the first `READ` characters.
        own: What the record itself says the text may be about, by the word of its mask: `{"target": "f"}` masks `f` as
            `<target>` wherever it stands alone.

    Returns:
        One line of printable characters, at most `MOST`, without a digit from 0 to 9; `template` of it is itself.
    """
    line = clean(text)
    for name, value in (own or {}).items():
        line = _without_name(line, clean(value), f"<{name}>")
    return _masked(line)


def templates(
    texts: Sequence[str], codes: npt.NDArray[np.int64], own: Mapping[str, tuple[Sequence[str], npt.NDArray[np.int64]]]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Mask the texts of many rows, each distinct text once.

    A name that might be a word of the text (`prompt`, `Context`) is masked only if the text always comes with that
    name, or if it stands in quotes; one that can be no such word (`wrap_columns`, `HelpFormatter`) always is.

    Args:
        texts: Distinct texts.
        codes: Of shape (n,): which text each row has.
        own: By the word of its mask: distinct names, and, of shape (n,), which each row has; -1: none. The first goes
            before the others.

    Returns:
        Distinct templates, in the order of the rows, and, of shape (n,), which each row has.
    """
    lines = [clean(text) for text in texts]
    found: dict[str, int] = {}

    def code_of(line: str) -> int:
        return found.setdefault(_masked(line), len(found))

    plain = np.array([code_of(line) for line in lines], np.int64)[codes]
    chosen = {}
    for name, (values, holders) in own.items():
        names = [clean(value) for value in values]
        which = _named_rows(lines, codes, names, holders, plain)
        if which.any():
            chosen[name] = (names, np.where(which, holders, -1))
    made = plain.copy()
    if chosen:
        keys = np.column_stack([codes, *(holders for _, holders in chosen.values())])
        rows = np.flatnonzero((keys[:, 1:] >= 0).any(axis=1))
        known: dict[tuple[int, ...], int] = {}
        for row, key in zip(rows.tolist(), map(tuple, keys[rows].tolist()), strict=True):
            code = known.get(key)
            if code is None:
                line = lines[key[0]]
                for (name, (names, _)), which_name in zip(chosen.items(), key[1:], strict=True):
                    if which_name >= 0:
                        line = _without_name(line, names[which_name], f"<{name}>")
                code = known[key] = code_of(line)
            made[row] = code
    every = list(found)
    used, first, inverse = np.unique(made, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return [every[code] for code in used[order].tolist()], rank[inverse].astype(np.int64)


def clean(text: str, most: int = READ) -> str:
    """Return the beginning of a text as one line: without escape sequences, control, bidi and half characters.

    Args:
        text: Any text.
        most: Characters of it that are read.
    """
    line = " ".join(text[:most].split())
    if not line.isascii():
        line = line.translate(_QUOTES)
    if not line.isprintable():
        line = "".join(
            character if character.isprintable() else "\ufffd" * ("\ud800" <= character <= "\udfff")
            for character in _ANSI.sub("", line)
        )
    if "\\" in line:
        line = _WRITTEN_BREAK.sub(lambda found: found[1] or " ", line)
    return " ".join(line.split())


def _masked(line: str) -> str:
    """Mask a clean line."""
    # No digit is left in the end, and which it was makes no difference, but for the 0 of 0x.
    return _masked_shape(line.translate(_SHAPE))


@lru_cache(maxsize=2048)
def _masked_shape(line: str) -> str:
    line = _WORDS.sub(_of_match, line)
    line = _QUOTED.sub(lambda found: found[0] if _MASK.fullmatch(found[2]) else f"{found[1]}<text>{found[1]}", line)
    if len(line) <= MOST:
        return line
    # Not within a word, which might then look like another.
    return _LAST_WORD.sub("", line[: MOST - 2]).rstrip() + " …"


def _of_match(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "url":
            return _of_url(found[0])
        case "word":
            return _of_word(found[0])
        case name:
            return f"<{name}>"


def _of_url(url: str) -> str:
    core = url.rstrip(".,:;!?)]}")
    scheme, _, rest = core.partition("://")
    match = _HOST.match(rest)
    if match is None:
        return f"{scheme}://<address>{url[len(core) :]}"
    user, host, port = match.groups()
    host, path = _of_word(host.rstrip(".")) if len(host) < _BLOB // 2 else _UNREADABLE, rest[match.end() :]
    path = "/<path>" if path.strip("/") else path[:1]
    return f"{scheme}://{'<user>@' if user else ''}{host}{':<number>' if port else ''}{path}{url[len(core) :]}"


@lru_cache(maxsize=4096)
def _of_word(word: str) -> str:
    core = word.rstrip(".:-")
    end = word[len(core) :]
    if _CLOCK.fullmatch(core):
        return f"<time>{end}"
    if ip := _IP.fullmatch(core):
        return f"<ip>{':<number>' if ip[1] else ''}{end}"
    if _ADDRESS.fullmatch(core):
        return f"<address>{end}"
    if _is_hash(core):
        return f"<hash>{end}"
    if number := _NUMBER.fullmatch(core):
        return f"<number>{number[1]}{end}"
    folder, slash, file = core.rpartition("/")
    if slash and ("/" in folder or folder.endswith((".", "~")) or _ENDING.search(file)):
        return f"<path>{end}"
    if len(core) > _BLOB:
        return _UNREADABLE + end
    made = _PIECE.sub(_of_piece, _UUID.sub("<uuid>", core))
    # What is left between masks is a word of its own now.
    return (made if made == core else _WORDS.sub(_of_match, made)) + end


def _of_piece(found: re.Match[str]) -> str:
    piece = found[0]
    if _is_hash(piece):
        return "<hash>"
    if _ADDRESS.fullmatch(piece):
        return "<address>"
    made, count = _DIGITS.subn("<number>", piece)
    return made if count < 3 else "<id>"


def _is_hash(text: str) -> bool:
    return _HASH.fullmatch(text) is not None and not text.isdigit() and not text.isalpha()


def _named_rows(
    lines: list[str],
    codes: npt.NDArray[np.int64],
    names: list[str],
    holders: npt.NDArray[np.int64],
    plain: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Tell which rows' texts hold their own name, and not as a word of the text."""
    pairs, inverse = np.unique(codes * (len(names) + 1) + holders + 1, return_inverse=True)
    is_held = np.zeros(len(pairs), np.bool_)
    is_word = is_held.copy()
    whose = (pairs % (len(names) + 1)) - 1
    some = np.flatnonzero(whose >= 0)
    of_text = pairs[some] // (len(names) + 1)
    for index, text, name in zip(some.tolist(), of_text.tolist(), whose[some].tolist(), strict=True):
        line, word = lines[text], names[name]
        if word in line and (places := _places(line, word)):
            is_held[index] = True
            is_word[index] = _may_be_word(word) and not any(line[place - 1 : place] in _QUOTING for place in places)
    if is_word.any():
        # A word of the text is what also comes with other names, or none.
        kinds = np.unique(np.column_stack([plain, holders]), axis=0)[:, 0]
        comes_with = np.bincount(kinds, minlength=int(plain.max()) + 1)
        alone: npt.NDArray[np.bool_] = is_held[inverse] & (~is_word[inverse] | (comes_with[plain] == 1))
        return alone
    held: npt.NDArray[np.bool_] = is_held[inverse]
    return held


def _may_be_word(name: str) -> bool:
    return name.isalpha() and (name[1:].islower() or not name.isascii())


def _places(line: str, name: str) -> list[int]:
    """Return where a name stands alone in a line."""
    found: list[int] = []
    if len(name) not in _NAMED or "\\" in name or _MASK.search(name):
        return found
    place = line.find(name)
    while place >= 0:
        end = place + len(name)
        before, after, beyond = line[place - 1 : place], line[end : end + 1], line[end + 1 : end + 2]
        if not (
            _is_of_name(before)
            or before in _CLINGS
            or _is_of_name(after)
            or after in _CLINGS - {"."}
            or (after in (".", ":") and (_is_of_name(beyond) or beyond in _CLINGS))
        ):
            found.append(place)
            place = end - 1
        place = line.find(name, place + 1)
    return found


_QUOTING = ("'", '"', "`")
_CLINGS = frozenset("./\\-<>@+%~#")


def _is_of_name(character: str) -> bool:
    return character.isalnum() or character == "_"


def _without_name(line: str, name: str, mask: str) -> str:
    parts, end = list[str](), 0
    for place in _places(line, name):
        parts += (line[end:place], mask)
        end = place + len(name)
    return "".join((*parts, line[end:])) if parts else line
