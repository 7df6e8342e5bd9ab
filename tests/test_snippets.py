"""CodeWorm's database: what it holds, also of old versions and strange ones, and plain errors for what is none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.worm_database import COLUMNS, INSERT, SCHEMA, make_database, row, writer

from codeworm_monitor import sqlite_reading
from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.snippets import LANGUAGES, Snippet, SnippetFile, language_of

RECORDED = Path(__file__).parent / "data" / "codeworm.db"


def in_memory(rows):
    """Returns the snippets of rows, by the same query, without a file."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(SCHEMA.replace(" NOT NULL", "").replace(" PRIMARY KEY", ""))
        database.executemany(INSERT, rows)
        file = SnippetFile("none")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("codeworm_monitor.snippets.read", lambda path, work, patience: work(database))
            return file.snippets(), file.select("SELECT source_file, language FROM snippets")


def test_the_recorded_database_is_read_whole_and_in_order():
    snippets = SnippetFile(RECORDED).snippets()
    assert len(snippets) == 215
    assert [one.documented_at for one in snippets] == sorted(one.documented_at for one in snippets)
    assert snippets[0] == Snippet(
        id="fc645a5f-9057-4771-a1b8-228ffd535ce6",
        source_repo="textwrap",
        source_file="/home/user/dev/textwrap/src/indentation.rs",
        function_name="dedent",
        class_name=None,
        code_hash="0c1194ace2a28e8592bb2d83872e25f3f0d05867f9cb6dd4eda3b8e4d5b56485",
        documented_at="2026-11-22T16:58:50.764629",
        snippet_path="snippets/rust/2026-11-22_dedent.md",
        git_commit="11673369",
        doc_type="function_doc",
    )


def test_the_view_agrees_with_what_the_original_dashboard_asks_the_table():
    file = SnippetFile(RECORDED)
    where = "doc_type = ? ORDER BY documented_at DESC LIMIT 5 OFFSET 3"
    with closing(sqlite3.connect(f"file:{RECORDED}?mode=ro", uri=True)) as database:
        newest = database.execute(f"SELECT id, git_commit FROM documented_snippets WHERE {where}", ("til",)).fetchall()
        by_repo = database.execute("SELECT source_repo, count(*) FROM documented_snippets GROUP BY 1").fetchall()
    assert len(newest) == 5
    assert file.select(f"SELECT id, git_commit FROM snippets WHERE {where}", ("til",)) == newest
    assert file.select("SELECT source_repo, count(*) FROM snippets GROUP BY 1") == by_repo
    by_language = file.select("SELECT language, count(*) FROM snippets GROUP BY 1")
    assert by_language == [("javascript", 39), ("other", 11), ("python", 128), ("rust", 37)]


@pytest.mark.parametrize(
    ("function", "class_", "file", "target"),
    [
        ("send", "Connection", "/x/connection.py", "Connection.send"),
        ("dedent", None, "/x/indentation.rs", "dedent"),
        (None, "Context", "/x/core.py", "Context"),
        ("", "", "/x/word_splitters.rs", "word_splitters"),
        (None, None, "/home/user/dev/click/src/click", "click"),
        (None, None, "/x/archive.tar.gz", "archive.tar"),
        (None, None, "/x/.hidden", ".hidden"),
        (None, None, "", ""),
    ],
)
def test_a_document_is_named_as_messages_name_it(function, class_, file, target):
    (snippet,), _ = in_memory([row(function_name=function, class_name=class_, source_file=file)])
    assert snippet.target == target


@pytest.mark.parametrize(
    ("path", "language"),
    [
        *((f"/x/a{end}", language) for end, language in LANGUAGES.items()),
        ("/x/A.PY", "python"),
        (".py", "python"),
        ("/x/a.jsx", "other"),
        ("/x/click", "other"),
        ("/x/a.py/b", "other"),
        ("py", "other"),
        ("", "other"),
    ],
)
def test_the_language_is_told_by_the_end_of_the_name(path, language):
    assert language_of(path) == language
    assert in_memory([row(source_file=path)])[1] == [(path, language)]


@given(st.text(st.sampled_from("aPyTsXjgoR.K\u017f/\u0130"), max_size=8))
@example("x.\u212aY")
def test_the_query_tells_languages_as_python_does(path):
    assert in_memory([row(source_file=path)])[1] == [(path, language_of(path))]


def test_a_file_of_an_old_version_holds_function_docs(tmp_path):
    file = SnippetFile(make_database(tmp_path / "old.db", [row(1), row(2)], has_doc_type=False))
    assert [one.doc_type for one in file.snippets()] == ["function_doc"] * 2
    assert file.select("SELECT doc_type, count(*) FROM snippets GROUP BY 1") == [("function_doc", 2)]


def test_a_column_of_a_newer_version_is_passed_over(tmp_path):
    path = make_database(tmp_path / "new.db", [row(1)])
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE documented_snippets ADD COLUMN mood TEXT DEFAULT 'fine'")
    assert SnippetFile(path).snippets() == [Snippet(*row(1))]


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=30),
)


@given(st.lists(st.tuples(*[VALUES] * len(COLUMNS)), max_size=3))
@example([(float("inf"), b"\xff", 5, b"", "\0", None, -1, "a\0b", 1e300, "\ud7ff")])
def test_whatever_is_in_the_columns_becomes_text_or_nothing(rows):
    snippets, _ = in_memory(rows)
    assert len(snippets) == len(rows)
    for snippet, given_ in zip(snippets, rows, strict=True):
        for name, value, was in zip(COLUMNS, snippet, given_, strict=True):
            may_be_missing = name in ("function_name", "class_name", "git_commit")
            is_none = was in (None, b"") or was != was  # SQLite keeps no NaN, and cuts nothing to nothing
            assert isinstance(value, str) if not (may_be_missing and is_none) else value is None
        assert isinstance(snippet.target, str)
        assert isinstance(snippet.language, str)
        str(snippet).encode()


def test_text_that_is_none_is_read_with_marks_in_its_place(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1), row(2)])
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE documented_snippets SET function_name = CAST(x'66EDA080FF67' AS TEXT) WHERE id = 'id1'"
        )
        database.commit()
    first, second = SnippetFile(path).snippets()
    assert first.function_name.startswith("f\N{REPLACEMENT CHARACTER}")
    assert first.function_name.endswith("g")
    assert second == Snippet(*row(2))


def test_of_endless_text_the_beginning_is_read(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1, function_name="x" * 20_000_000, source_repo=b"y" * 9000)])
    (snippet,) = SnippetFile(path).snippets()
    assert snippet.function_name == "x" * 4096
    assert snippet.source_repo == "y" * 4096


def test_what_lies_beyond_a_nul_is_not_read(tmp_path):
    (snippet,) = SnippetFile(make_database(tmp_path / "codeworm.db", [row(1, class_name="a\0b")])).snippets()
    assert snippet.class_name == "a"


def test_of_too_many_rows_the_newest_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("codeworm_monitor.snippets.MOST_SNIPPETS", 3)
    file = SnippetFile(make_database(tmp_path / "codeworm.db", [row(number) for number in range(9)]))
    assert [one.id for one in file.snippets()] == ["id6", "id7", "id8"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_beside_the_daemon_each_answer_is_whole(tmp_path, mode):
    path = make_database(tmp_path / "codeworm.db", [row(1)], mode=mode)
    file, seen = SnippetFile(path), []
    with writer(path, is_kept=False) as stop:
        while len(seen) < 20 or seen[-1] == seen[0]:
            before = file.stamp
            seen.append(len(file.snippets()))
            assert file.stamp != before or len(file.snippets()) >= seen[-1]
        written = stop()
    assert all(count % 2 == 1 for count in seen)
    assert len(file.snippets()) == 1 + 2 * written


# What is none of CodeWorm's


def broken(path):
    content = bytearray(RECORDED.read_bytes())
    content[4096:40_960] = b"\xaa" * 36_864
    path.write_bytes(content)


def made_by(*statements):
    def make(path):
        with closing(sqlite3.connect(path)) as database:
            for statement in statements:
                database.executescript(statement)

    return make


ALL = ", ".join(COLUMNS)
OTHERS = {
    "nothing": (lambda path: None, "is not there: name it with codeworm_db="),
    "an empty file": (lambda path: path.touch(), "has no table documented_snippets"),
    "another text": (lambda path: path.write_text("documented\n" * 1000), "is no SQLite database"),
    "a beginning": (lambda path: path.write_bytes(RECORDED.read_bytes()[:60]), "is damaged"),
    "half of it": (lambda path: path.write_bytes(RECORDED.read_bytes()[:50_000]), "is damaged .*stop CodeWorm"),
    "a broken one": (broken, "is damaged .*stop CodeWorm"),
    "another program's": (made_by("CREATE TABLE moz_places (id, url)"), "has no table documented_snippets"),
    "a table of its name": (
        made_by("CREATE TABLE documented_snippets (id, source_repo, code_hash)"),
        "lacks source_file, function_name",
    ),
    "a view of its name": (
        made_by(f"CREATE TABLE t ({ALL}); CREATE VIEW documented_snippets AS SELECT * FROM t"),
        "its table documented_snippets is none",
    ),
    "a module's table": (
        made_by(f"CREATE VIRTUAL TABLE documented_snippets USING fts5({ALL})"),
        "its table documented_snippets is none",
    ),
    "without numbers": (
        made_by(f"CREATE TABLE documented_snippets ({ALL}, PRIMARY KEY (id)) WITHOUT ROWID"),
        "no such column: rowid",
    ),
    "a directory": (lambda path: path.mkdir(), "is a directory: name the file in it"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_database_of_codeworms_is_one_error_that_says_what_to_do(tmp_path, what):
    path = tmp_path / "codeworm.db"
    make, problem = OTHERS[what]
    make(path)
    before = {one.name for one in tmp_path.iterdir()}
    with pytest.raises(CodeWormFileError, match=problem) as caught:
        SnippetFile(path, patience=0.1).snippets()
    assert str(path) in str(caught.value)
    assert {one.name for one in tmp_path.iterdir()} == before


def test_a_path_with_a_nul_is_no_file():
    with pytest.raises(CodeWormFileError, match="cannot be read"):
        SnippetFile("a\0b").snippets()


def test_a_locked_file_is_told_as_such(tmp_path):
    path = make_database(tmp_path / "codeworm.db", [row(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CodeWormFileError, match="stays locked by another program"):
            SnippetFile(path, patience=0.05).snippets()


def test_a_file_that_takes_too_long_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_reading, "LONGEST_READ", 0.02)
    file = SnippetFile(make_database(tmp_path / "codeworm.db", [row(number) for number in range(300)]))
    with pytest.raises(CodeWormFileError, match="cannot be read within"):
        file.select("SELECT count(*) FROM snippets a, snippets b, snippets c, snippets d")
