"""The list of repositories: what is written, what is not, and what is no list of repositories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.repositories import LARGEST, Repository, read_repositories

CONFIG = Path(__file__).parent / "data" / "config"


@pytest.fixture
def listed(tmp_path):
    """Returns the repositories of a text, or of bytes."""

    def read(text):
        path = tmp_path / "repos.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_repositories(path)

    return read


@pytest.mark.parametrize("path", [CONFIG, CONFIG / "repos.yaml", str(CONFIG)])
def test_the_recorded_list_is_read_in_its_order(path):
    found = read_repositories(path)
    assert [one.name for one in found] == [
        "starlette",
        "pflag",
        "websockets",
        "query",
        "axios",
        "httpx",
        "click",
        "textwrap",
    ]
    assert found[2] == ("websockets", "/home/user/dev/websockets", 8, True)


def test_what_is_missing_has_codeworms_defaults(listed):
    assert listed("repositories:\n- name: a\n- {name: b, path: ~/b, enabled: false, weight: 7}\n") == [
        ("a", "", 5, True),
        ("b", "~/b", 7, False),
    ]


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("8", 8),
        ("0x10", 16),
        ("2.5", 2.5),
        ("3.0", 3),
        ("'6'", 6),
        ("1_0", 10),
        ("~", None),
        ("heavy", None),
        ("-1", None),
        (".nan", None),
        (".inf", None),
        ("1e400", None),
        ("9" * 5000, None),
        ("[5]", None),
    ],
)
def test_a_weight_is_a_number_or_unknown(listed, text, weight):
    (one,) = listed(f"repositories: [{{name: a, weight: {text}}}]")
    assert one.weight == weight
    assert type(one.weight) is type(weight)


@pytest.mark.parametrize(
    ("text", "is_enabled"),
    [
        *((text, True) for text in ("true", "yes", "On", "1", "'true'", "anything")),
        *((text, False) for text in ("false", "no", "OFF", "0", "'false'", "~", "''")),
    ],
)
def test_enabled_is_read_as_yaml_and_people_write_it(listed, text, is_enabled):
    assert listed(f"repositories: [{{name: a, enabled: {text}}}]")[0].enabled is is_enabled


def test_a_name_is_the_text_that_is_written(listed):
    names = [
        one.name for one in listed("repositories: [{name: 2026-01-01}, {name: 007}, {name: '<b>'}, {name: größe}]")
    ]
    assert names == ["2026-01-01", "007", "<b>", "größe"]


def test_entries_that_are_none_are_left_out(listed):
    found = listed("repositories: [5, ~, [name, x], {path: /x}, {name: ''}, {name: {a: b}}, {name: y}]")
    assert found == [("y", "", 5, True)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "repositories:\n", "repositories: []\n", "other: 1\n", "~"])
def test_an_empty_list_is_one(listed, text):
    assert listed(text) == []


def test_aliases_and_merges_mean_what_they_do_to_codeworm(listed):
    assert listed(
        "base: &base {path: /base, weight: 3}\nmore: &more {enabled: off, weight: 9}\nrepositories:\n"
        "- <<: *base\n  name: a\n- <<: [*base, *more]\n  name: b\n- &c {name: c, <<: *base, weight: 1}\n- *c\n"
    ) == [
        ("a", "/base", 3, True),
        ("b", "/base", 3, False),
        ("c", "/base", 1, True),
        ("c", "/base", 1, True),
    ]


def test_other_encodings_of_yaml_are_read(listed):
    assert listed("repositories: [{name: ä}]".encode("utf-16"))[0].name == "ä"


# Made to do harm


def doubled(first, item, last):
    letters = "abcdefghijklmnopqrstuvwxyz"
    steps = [item.format(letters[n + 1], letters[n]) for n in range(25)]
    return f"a: &a {first}\n" + "".join(steps) + last


@pytest.mark.parametrize(
    "text",
    [
        doubled("[{name: x}]", "{0}: &{0} [*{1}, *{1}]\n", "repositories: *z\n"),
        doubled("{name: x}", "{0}: &{0} {{<<: [*{1}, *{1}]}}\n", "repositories: [*z]\n"),
        "repositories:\n- &a\n  <<: *a\n  name: x\n",
        "big: &a {" + ", ".join(f"k{n}: 1" for n in range(5000)) + "}\nrepositories:\n" + "- <<: *a\n" * 5000,
        "repositories: !!python/object/apply:os.system ['exit 1']\n",
        "repositories: [{name: !!python/object/apply:os.getcwd [], weight: !!python/name:os.abort ''}]\n",
    ],
)
def test_aliases_grow_to_nothing_and_no_object_is_made(listed, text):
    assert len(listed(text)) <= 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 50_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("x" * (LARGEST + 1), "over 262,144 bytes"),
        ("a: b: c", "is no YAML in line 1"),
        ("repositories: *unknown", "is no YAML in line 1 .*undefined alias"),
        (b"\xff\xfe\xff", "is no YAML"),
        (b"name: \0", "is no YAML"),
        (b"\xff\xff", "is no YAML"),
        ("- a\n- b\n", "holds no list"),
        ("repositories: all\n", "holds no list"),
        ("repositories: {name: a}\n", "holds no list"),
        ("just text", "holds no list"),
    ],
)
def test_what_is_no_list_of_repositories_is_one_error_that_names_the_file(listed, tmp_path, text, problem):
    with pytest.raises(CodeWormFileError, match=problem) as caught:
        listed(text)
    assert str(tmp_path / "repos.yaml") in str(caught.value)
    assert len(str(caught.value)) < 600


def read_or_refused(path):
    try:
        return read_repositories(path)
    except CodeWormFileError as error:
        return str(error)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    found = read_or_refused(path)
    assert str(path) in found if isinstance(found, str) else all(isinstance(one, Repository) for one in found)


@given(st.text(st.sampled_from("repositories: [{name,weight}]&*<~-\n '\"1."), max_size=60))
def test_any_text_like_yaml_is_a_list_or_an_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "like.yaml"
    path.write_text("repositories:\n- name: a\n  weight: " + text)
    found = read_or_refused(path)
    if isinstance(found, str):
        assert str(path) in found
    else:
        assert all(one.name and (one.weight is None or 0 <= one.weight < 1e9) for one in found)


def test_nothing_a_directory_without_it_and_a_pipe_are_errors_that_say_what_to_do(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "repos.yaml"):
        with pytest.raises(
            CodeWormFileError, match=r"repos.yaml is not there: name its directory with codeworm_config="
        ):
            read_repositories(path)
    os.mkfifo(tmp_path / "repos.yaml")
    with pytest.raises(CodeWormFileError, match="is no plain file"):
        read_repositories(tmp_path)
    with pytest.raises(CodeWormFileError, match="cannot be read"):
        read_repositories("a\0b")
