"""Texts of errors with what varies masked: what comes together, what stays apart, and that no text takes long."""

from __future__ import annotations

import re
from itertools import chain
from re import _constants, _parser

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import codeworm_monitor.analysis.error_lines as lines_module
import codeworm_monitor.analysis.templates as templates_module
from codeworm_monitor.analysis.templates import MOST, READ, clean, template, templates

BITS = (
    *("http://", "https://u:p@", "s3://", "localhost", ":47311", "/", "//", "/a", "~/", "./", "C:\\", "\\n", "\\"),
    *("'", '"', "`", "12", "3.4", "1,234", "-5", "2026-11-22", "T", "16:57:36", " ", ".", ",", ":", "<", ">", "<num"),
    *("<number>", "<path>", "deadbee1", "0x1f", "123e4567-e89b-12d3-a456-426614174000", "127.0.0.1", "ab", "x", "ms"),
    *("%", "@", "#", "\n", "\x1b", "\x1b[31m", "[31m", "\u202e", "\u200b", "\ud800", "é", "٣", "_", "=", "(", ")"),
    *(
        "[::1]",
        "::",
        "a" * 130,
        "x" * 119,
        "9" * 130,
        "x.py",
        "…",
        "~",
        "1e5",
        "+",
        "-",
        "Z",
        "abc1" * 5,
        "\u2018",
        "\u201d",
    ),
)
TEXTS = st.lists(st.sampled_from(BITS), max_size=60).map("".join) | st.text(max_size=300)
NAMES = st.lists(st.sampled_from(BITS), max_size=3).map("".join) | st.sampled_from(["number", "path", "target", "ms"])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("OOM after 12.3 s at /srv/a.gguf", "OOM after 9 s at /tmp/x/b.gguf"), "OOM after <number> s at <path>"),
        (("took 12ms", "took 3.5ms", "took -5ms", "took 1.5e-3ms"), "took <number>ms"),
        (("took 12", "took 1,234,567", "took 1,234.5", "took +5"), "took <number>"),
        (("load 10%, 3 left", "load 7.5%, 0 left"), "load <number>%, <number> left"),
        (("GPU0 is lost", "GPU12 is lost"), "GPU<number> is lost"),
        (("object 7f564e53", "object 1bff154f9097599fd3a2b1c2"), "object <hash>"),
        (("job 123e4567-e89b-12d3-a456-426614174000",), "job <uuid>"),
        (("job-7f564e53-0x1f", "job-1bff154f-0xABC"), "job-<hash>-<address>"),
        (("at 0x7fff12ab", "at 0x0"), "at <address>"),
        (("from 127.0.0.1:8080.", "from 10.0.0.255:1."), "from <ip>:<number>."),
        (("at 2026-11-22T21:56:45.123Z", "at 2026-11-22 16:57:36,123", "at 16:57:36", "at 22/11/2026"), "at <time>"),
        (("in ./x/y.py:12", "in ~/a", "in C:\\Users\\me\\new.py", "in ../a", "in a/b/c:4:5"), "in <path>"),
        (("no model 'a'", "no model 'qwen2.5:7b'", "no model \u2018b\u2019"), "no model '<text>'"),
        (("open '/x/y'", "open '/a/b/c.d'"), "open '<path>'"),
        (('{"error":"a","n":1}', '{"error":"b-c","n":20}'), '{"error":"<text>","n":<number>}'),
        (("token " + "aG9sYTEyMzQ1Njc4OTA" * 10, "token " + "Zx9+" * 40), "token <blob>"),
        (("a\n  b\tc", "a b c", "a\\n b c", "\x1b[31ma\x1b[0m b\x07 c", "\u202ea b\u200b c"), "a b c"),
        (("half \ud800",), "half \ufffd"),
        (("", "  \n"), ""),
    ],
)
def test_what_differs_only_in_what_varies_comes_together(texts: tuple[str, ...], expected: str) -> None:
    assert {template(text) for text in texts} == {expected}


@pytest.mark.parametrize(
    "text",
    [
        "Server disconnected without sending a response.",
        "database is locked",
        "read/write of n/a, and/or I/O by text/html",
        "don't stop, can't, the daemon's",
        '{"error": "x y"}',
        "main -> main (stale info) ! [rejected] --force-with-lease",
        "CliRunner.isolation <module> 添加的文档说明",
        "core.py: f(x) = y; a_b_c",
    ],
)
def test_what_does_not_vary_stays(text: str) -> None:
    assert template(text) == text


def test_a_url_keeps_its_host_and_nothing_that_is_secret() -> None:
    text = "POST http://localhost:47311/api/generate?x=1: no; see https://me:secret@db-12.example.org, http://10.0.0.1/"
    assert template(text) == (
        "POST http://localhost:<number>/<path>: no; see https://<user>@db-<number>.example.org, http://<ip>/"
    )


def test_what_the_record_is_about_is_masked_where_it_stands_alone() -> None:
    own = {"target": "wrap columns", "repo": "click", "commit": "11673369"}
    text = "wrap columns of click (click) at 11673369: clicks, /home/click/x, click/core, click.core, x-click, 'click'."
    assert template(text, own) == (
        "<target> of <repo> (<repo>) at <commit>: clicks, <path>, click/core, click.core, x-click, '<repo>'."
    )


def coded(texts: list[str | None]) -> tuple[list[str], np.ndarray]:
    known = sorted({text for text in texts if text is not None})
    return known, np.array([-1 if text is None else known.index(text) for text in texts], np.int64)


def rows(texts: list[str], **own: list[str | None]) -> list[str]:
    distinct, codes = coded(texts)
    made, which = templates(distinct, codes, {name: coded(values) for name, values in own.items()})
    assert len(set(made)) == len(made)
    assert list(dict.fromkeys(which.tolist())) == list(range(len(made)))
    return [made[code] for code in which.tolist()]


def test_a_name_that_is_a_word_of_the_text_is_left() -> None:
    targets = ["prompt", "wrap_columns", "Context", "prompt", "prompt"]
    texts = ["prompt too long: 9 tokens", "prompt too long: 12 tokens", "prompt too long: 3 tokens"]
    texts += ["no answer for prompt", "'prompt' is no function"]
    assert rows(texts, target=targets) == [
        *["prompt too long: <number> tokens"] * 3,
        "no answer for <target>",
        "'<target>' is no function",
    ]


def test_names_of_several_words_and_of_all_rows_come_together() -> None:
    targets = ["a long name", "another name", "Höhe", None, "x" * 500]
    texts = [f"gave up on {target} in {repo}" for target, repo in zip(targets, "abcde", strict=True)]
    assert rows(texts, target=targets)[:3] == [f"gave up on <target> in {repo}" for repo in "abc"]
    assert rows(["gave up on b"] * 2, target=["aa", None], repo=[None, "bb"]) == ["gave up on b"] * 2
    assert rows([], target=[]) == []


@given(TEXTS, st.dictionaries(st.sampled_from(["target", "repo", "commit"]), NAMES, max_size=3))
@example("12C:\\", {})
@example("3.4:::e5", {})
@example("http://http://12./", {})
@example("12", {"target": "<number>"})
@example("C:\\http://,\\n", {"target": "C:\\http://"})
def test_a_template_is_short_plain_and_its_own(text: str, own: dict[str, str]) -> None:
    made = template(text, own)
    assert len(made) <= MOST
    assert made.isprintable()
    assert made.isascii() <= (re.search("[0-9]", made) is None)
    assert template(made) == made
    assert template(made, own) == made


@given(st.lists(TEXTS, max_size=8), st.lists(NAMES, min_size=8, max_size=8))
def test_many_rows_get_what_each_would_get(texts: list[str], names: list[str]) -> None:
    for text, name, made in zip(texts, names, rows(texts, target=names[: len(texts)]), strict=False):
        assert made in (template(text), template(text, {"target": name}))


@pytest.mark.parametrize(
    "bit", [bit * (1_000_000 // len(bit)) for bit in ("a", "9", "/", "<", "'a", "1,1", "\x1b[", "\n")]
)
def test_of_a_million_characters_only_the_first_are_read(bit: str) -> None:
    assert template(bit) == template(bit[:READ])
    assert len(clean(bit)) <= READ


@pytest.mark.parametrize(
    "bit",
    [
        *(
            "a",
            "1",
            "/",
            "a/",
            "1.",
            "1:",
            "a.",
            "-",
            "1,111,",
            "a://",
            "http://a@",
            "C:\\",
            "\\",
            "\\n",
            "'a",
            "`",
            "\x1b]",
        ),
        *("\x1b[1;", '  File "', "\n  File", "0x", "<", "::", "é1", "2026-11-22 ", "1e", "~/", "@", "aaaaaaaa-"),
    ],
)
def test_no_pattern_falls_back_on_a_million_hostile_characters(bit: str) -> None:
    """The texts are read to a bound; that the patterns are linear holds without one."""
    text = bit * (1_000_000 // len(bit))
    for name, pattern in PATTERNS.items():
        if name in ANCHORED:
            assert pattern.fullmatch(text + "\n") is None
        elif name != "_LAST_WORD":  # never sees more than a template
            assert sum(len(found[0]) for found in pattern.finditer(text)) <= len(text)


ANCHORED = ("_CLOCK", "_IP", "_ADDRESS", "_NUMBER", "_HASH", "_HOST", "_MASK")
PATTERNS = {
    name: value
    for module in (templates_module, lines_module)
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def repeats(parsed: object, depth: int = 0) -> int:
    """Return how many repeats without a bound a pattern has inside each other."""
    deepest = depth
    for code, argument in parsed:
        inner, below = depth, []
        if code in _REPEATS:
            inner, below = depth + (argument[1] is _constants.MAXREPEAT), [argument[2]]
        elif code is _constants.BRANCH:
            below = argument[1]
        elif code is _constants.SUBPATTERN:
            below = [argument[3]]
        elif code in (_constants.ASSERT, _constants.ASSERT_NOT):
            below = [argument[1]]
        elif code is _constants.ATOMIC_GROUP:
            below = [argument]
        deepest = max(chain([deepest, inner], (repeats(part, inner) for part in below)))
    return deepest


def test_no_pattern_repeats_a_repeat() -> None:
    assert PATTERNS.keys() > {*ANCHORED}
    deep = [name for name, one in PATTERNS.items() if repeats(_parser.parse(one.pattern, one.flags)) > 1]
    assert deep == []
    assert repeats(_parser.parse("(?:a+|b)*")) == 2
