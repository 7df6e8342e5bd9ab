from __future__ import annotations

import shlex
import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.deployment.quoting import nginx_word, one_line, shell_word, systemd_word, yaml_text
from codeworm_monitor.errors import SettingError

HOSTILE = [
    "plain",
    "with space  and two",
    "\"double\" 'single' `back`",
    "a\\b\\\\c\\",
    "100% %n %% %",
    "$HOME ${HOME} $$ $(id)",
    "a:b;c{d}e#f|g&h",
    "- {a: b} # c",
    "ends with :",
    "ünïcödé 日本 😀",
    "'; touch owned; '",
]
ANY = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029"), min_size=1, max_size=60
)


@pytest.mark.parametrize("value", ["", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\x85b", "a\u2028b", "a\udcffb", "\x7f"])
def test_what_cannot_stand_in_a_line_is_refused_by_the_name_of_its_setting(value: str) -> None:
    with pytest.raises(SettingError, match="static"):
        one_line("static", value)


@given(ANY)
def test_every_other_text_may_stand_in_a_line(value: str) -> None:
    assert one_line("static", value) == value


@given(ANY)
def test_yaml_reads_what_was_meant_but_for_the_dollars_that_compose_reads(value: str) -> None:
    for text in (value, f'{value}"', f"{value}: [", f"{value}$x"):
        assert yaml.safe_load(f"a: {yaml_text(text)}\nb: 1") == {"a": text.replace("$", "$$"), "b": 1}


@given(ANY)
def test_a_shell_reads_what_was_meant(value: str) -> None:
    assert shlex.split(f"x {shell_word(value)} y") == ["x", value, "y"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_real_shell_does_too(value: str) -> None:
    told = subprocess.run(["sh", "-c", f"printf %s {shell_word(value)}"], capture_output=True, check=True)
    assert told.stdout.decode() == value


def test_a_plain_word_stays_as_it_is_for_a_shell() -> None:
    assert shell_word("/opt/code-worm/a_b.c") == "/opt/code-worm/a_b.c"
    assert shell_word("") == "''"


def test_a_unit_wants_quotes_backslashes_and_percents_escaped() -> None:
    assert systemd_word(r'a"b\c%d') == r'"a\"b\\c%%d"'


def test_nginx_wants_quotes_and_backslashes_escaped_and_cannot_write_a_dollar() -> None:
    assert nginx_word("static", r'a"b\c;}') == r'"a\"b\\c;}"'
    with pytest.raises(SettingError, match=r"static: holds \$"):
        nginx_word("static", "/srv/$uri")
