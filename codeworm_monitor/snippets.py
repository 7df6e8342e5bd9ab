"""Snippets: CodeWorm's own record of what it documented, read from its SQLite file beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.sqlite_reading import LONGEST_READ, read, stamp

__all__ = ["LANGUAGES", "OTHER_LANGUAGE", "Snippet", "SnippetFile", "language_of"]

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {".py": "python", ".ts": "typescript", ".tsx": "tsx", ".js": "javascript", ".go": "go", ".rs": "rust"}
)
"""Programming languages by the end of a file's name, as the original dashboard tells them."""
OTHER_LANGUAGE = "other"
MOST_SNIPPETS = 1_000_000
"""Newest rows that are read; CodeWorm makes some 50,000 a year."""
_LONGEST_TEXT = 4096
_TABLE = "documented_snippets"
_FIRST_DOC_TYPE = "function_doc"
_COLUMNS = (
    *("id", "source_repo", "source_file", "function_name", "class_name", "code_hash", "documented_at", "snippet_path"),
    *("git_commit", "doc_type"),
)
_OPTIONAL = frozenset({"function_name", "class_name", "git_commit"})
_WHERE_IT_IS = "CodeWorm's is data/codeworm.db, or what CODEWORM_DB_PATH names"
_HOW_TO_NAME = f"name it with codeworm_db=, or start the relay with --codeworm-db ({_WHERE_IT_IS})"


class Snippet(NamedTuple):
    """One document. Texts are as CodeWorm wrote them, but for their end beyond 4,096 characters, or a NUL.

    Attributes:
        id: Its key; empty texts, here and below, stand for what is missing.
        source_repo: Repository.
        source_file: Path of the file, or of a module's folder, on the daemon's host.
        function_name: Function or method; None: it is about a whole class, file or module.
        class_name: Class; None: likewise, or the function is in none.
        code_hash: SHA-256 of the code, hexadecimal.
        documented_at: ISO 8601, local time of the daemon's host, without a zone.
        snippet_path: Path of the document within the repository that it is committed to.
        git_commit: Hash of the commit, 8 characters, as events have it.
        doc_type: Kind of document.
    """

    id: str
    source_repo: str
    source_file: str
    function_name: str | None
    class_name: str | None
    code_hash: str
    documented_at: str
    snippet_path: str
    git_commit: str | None
    doc_type: str

    @property
    def target(self) -> str:
        """What it is about, as messages name it: `Class.function`, or either, or the file's name without its end."""
        if self.class_name and self.function_name:
            return f"{self.class_name}.{self.function_name}"
        return self.function_name or self.class_name or _stem(self.source_file)

    @property
    def language(self) -> str:
        """Programming language, by the end of the file's name; "other" of any other, and of a folder."""
        return language_of(self.source_file)


@lru_cache(maxsize=4096)
def language_of(path: str) -> str:
    """Return the programming language that the end of a file's name tells."""
    name = path[-8:].lower()  # the original asks with LIKE, to which ".PY" is ".py"
    return next((language for end, language in LANGUAGES.items() if name.endswith(end)), OTHER_LANGUAGE)


@lru_cache(maxsize=4096)
def _stem(path: str) -> str:
    return PurePosixPath(path).stem


class SnippetFile:
    """CodeWorm's database, read only, also while the daemon writes to it (`sqlite_reading.read`).

    Each answer is of one moment. Nothing is held open between two, so that a file that is put in the place of the former
    is read with the next. Any thread may ask; in an event loop use `asyncio.to_thread`. What others may have put into
    the file is taken for text, whatever its type.

    Args:
        path: The file, such as `data/codeworm.db`; it need not be there yet.
        patience: Seconds to wait while another program holds it locked.
    """

    def __init__(self, path: str | os.PathLike[str], *, patience: float = 10.0) -> None:
        self.path = Path(path).expanduser().absolute()
        self.patience = patience

    @property
    def stamp(self) -> object:
        """What changes whenever the file is written to; compare it with a former one."""
        return stamp(self.path)

    def snippets(self) -> list[Snippet]:
        """Return all documents in the order in which they were recorded; of over a million the newest.

        Raises:
            CodeWormFileError: The file is missing, locked or damaged, or is none of CodeWorm's; says what to do.
        """
        rows = self.select(f"SELECT {', '.join(_COLUMNS)} FROM snippets ORDER BY number DESC LIMIT ?", (MOST_SNIPPETS,))
        rows.reverse()
        return list(map(Snippet._make, rows))

    def select(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query of ours over the view `snippets`.

        The view has the fields of `Snippet`, `language`, and `number`, which ascends as documents are recorded.

        Args:
            query: SELECT … in SQLite's SQL, over `snippets`.
            parameters: Values of `?`.

        Raises:
            CodeWormFileError: As `snippets`.
        """

        def work(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
            whole = f"{_view(database, self.path)} {query}"
            try:
                return database.execute(whole, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if hasattr(error, "sqlite_errorcode"):  # SQLite's own, and not of text that is none
                    raise
            database.text_factory = _text  # half as fast
            return database.execute(whole, parameters).fetchall()

        try:
            return read(self.path, work, patience=self.patience)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise _plain_error(self.path, error) from error

    def __repr__(self) -> str:
        return f"SnippetFile({str(self.path)!r})"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _view(database: sqlite3.Connection, path: Path) -> str:
    """Return the beginning of a query, which makes one form of all that CodeWorm ever wrote.

    Raises:
        CodeWormFileError: There is no such table, or it lacks columns.
    """
    found = database.execute("SELECT type, rootpage FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone()
    if found is None:
        raise CodeWormFileError(
            f"{path} has no table {_TABLE}: it is no database of CodeWorm's, or empty; {_WHERE_IT_IS}"
        )
    there = {row[1] for row in database.execute(f"PRAGMA table_info({_TABLE})")}
    missing = [name for name in _COLUMNS if name not in there and name != "doc_type"]
    if (
        found[0] != "table" or not found[1] or missing
    ):  # a view, or a table that a module makes up, is none of CodeWorm's
        lacks = f" lacks {', '.join(missing)}" if missing else " is none"
        raise CodeWormFileError(f"{path}: its table {_TABLE}{lacks}: it is no database of CodeWorm's; {_WHERE_IT_IS}")
    columns = ", ".join(f"{_text_of(name, is_there=name in there)} AS {name}" for name in _COLUMNS)
    languages = " ".join(f"WHEN source_file LIKE '%{end}' THEN '{language}'" for end, language in LANGUAGES.items())
    return (
        f"WITH texts AS (SELECT rowid AS number, {columns} FROM {_TABLE}), "
        f"snippets AS (SELECT *, CASE {languages} ELSE '{OTHER_LANGUAGE}' END AS language FROM texts)"
    )


def _text_of(name: str, *, is_there: bool) -> str:
    """Return what reads a column as text, whatever SQLite holds in it, and however much."""
    text = f"CAST(substr({name}, 1, {_LONGEST_TEXT}) AS TEXT)" if is_there else "NULL"
    if name in _OPTIONAL:
        return text
    return f"ifnull({text}, '{_FIRST_DOC_TYPE if name == 'doc_type' else ''}')"


def _plain_error(path: Path, error: Exception) -> CodeWormFileError:
    """Return the error of this package that says what is wrong with a file, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match error:
        case FileNotFoundError():
            return CodeWormFileError(f"{path} is not there: {_HOW_TO_NAME}")
        case PermissionError():
            return CodeWormFileError(f"{path} cannot be read by this user: have it opened to it, or run as another")
        case IsADirectoryError():
            return CodeWormFileError(f"{path} is a directory: name the file in it; {_WHERE_IT_IS}")
        case OSError() | ValueError():
            return CodeWormFileError(f"{path} cannot be read ({error}): {_HOW_TO_NAME}")
    if code == sqlite3.SQLITE_NOTADB:
        return CodeWormFileError(f"{path} is no SQLite database: {_HOW_TO_NAME}")
    if code == sqlite3.SQLITE_CORRUPT:
        return CodeWormFileError(
            f'{path} is damaged ({error}): stop CodeWorm, and save what is left with `sqlite3 "{path}" .recover`'
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return CodeWormFileError(f"{path} stays locked by another program: try again, or see which (`fuser` names it)")
    if code == sqlite3.SQLITE_INTERRUPT:
        return CodeWormFileError(
            f"{path} cannot be read within {LONGEST_READ:g} s, for which CodeWorm waits: read a copy of it"
        )
    return CodeWormFileError(f"{path} cannot be read ({error}): {_HOW_TO_NAME}")
