"""Rules as one writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.watching.actions import Call, Notify
from codeworm_monitor.watching.commands import Command
from codeworm_monitor.watching.cycle_rules import ErrorRate, FailuresInARow, SlowGeneration
from codeworm_monitor.watching.record_rule import OnRecord
from codeworm_monitor.watching.rules import Rule
from codeworm_monitor.watching.shorthand import read_actions, read_rule
from codeworm_monitor.watching.silence_rule import Silence
from codeworm_monitor.watching.webhooks import Webhook


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("silence", Silence()),
        ("silence > 30min", Silence(after=1800)),
        ("Silence>=1h 30min", Silence(after=5400)),
        ("failures", FailuresInARow(3)),
        ("failures >= 5", FailuresInARow(5)),
        ("failures > 2", FailuresInARow(3)),
        ("failures in a row >= 2", FailuresInARow(2)),
        ("error_rate", ErrorRate()),
        ("error_rate > 50%", ErrorRate(above=0.5)),
        ("error rate > 0.25 of 40", ErrorRate(above=0.25, of=40)),
        ("error-rate > 12.5 % of 8", ErrorRate(above=0.125, of=8)),
        ("slow", SlowGeneration()),
        ("slow > 2x", SlowGeneration(times=2)),
        ("slow > 1.5 x of 3", SlowGeneration(times=1.5, of=3)),
        ("slow > 90s", SlowGeneration(seconds=90)),
        ("slow generation > 2min of 7", SlowGeneration(seconds=120, of=7)),
        ("level >= error", OnRecord(level=">=error")),
        ("level = error", OnRecord(level="==error")),
    ],
)
def test_texts(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule


@pytest.mark.parametrize(
    "rule",
    [
        Silence(), Silence(after="2h"), FailuresInARow(4), ErrorRate(0.125, 8), SlowGeneration(3, of=2),
        SlowGeneration(seconds=90),
    ],
)  # fmt: skip
def test_a_rule_shows_itself_as_it_is_written(rule: Rule) -> None:
    assert read_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("noise", "cannot be read"),
        ("silense > 5min", "did you mean 'silence'"),
        ("silence < 5min", "'<' has no meaning here"),
        ("silence > 5", "is no length of time: write 90s"),
        ("silence > ", "is no length of time"),
        ("failures >= three", "'three' is no whole number"),
        ("failures >= 0", "count is between 1"),
        ("failures < 3", "'<' has no meaning"),
        ("error_rate > 50", "no share below 100%"),
        ("error_rate > nan", "above is a share"),
        ("error_rate >= 50%", "'>=' has no meaning"),
        ("error_rate > 10% of many", "'many' is no whole number"),
        ("slow > 1x", "times is more than 1"),
        ("slow > fast", "is no length of time"),
        ("level >= loud", "level is one of"),
        ("level", "says no level"),
        ("x" * 500, "not 500 characters"),
    ],
)
def test_what_cannot_be_read_is_told_with_examples(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="failures >= 3") as caught:
        read_rule(text)
    assert words in str(caught.value)


@given(st.text(max_size=60) | st.from_regex(r"(silence|failures|slow|error_rate) ?[<>=]{1,2} ?.{0,12}", fullmatch=True))
def test_any_text_is_a_rule_or_a_clear_error(text: str) -> None:
    try:
        assert isinstance(read_rule(text), Rule)
    except ValueError as error:
        assert "a rule is a text" in str(error) or "write one such as" in str(error)  # noqa: PT017


def test_a_rule_is_itself_and_a_function_becomes_one() -> None:
    rule = FailuresInARow(2)
    assert read_rule(rule) is rule
    made = read_rule(bool)
    assert isinstance(made, OnRecord)
    assert made.predicate is bool


@pytest.mark.parametrize("wrong", [None, 3, b"silence", ["silence"]])
def test_other_things_are_no_rules(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a rule is a text such as"):
        read_rule(wrong)


def test_forgotten_parentheses_are_told() -> None:
    with pytest.raises(TypeError, match=r"write Silence\(\)"):
        read_rule(Silence)


# Actions


def test_what_is_wanted_may_be_one_several_or_none() -> None:
    notify, command = Notify(), Command(["true"])
    assert [type(one) for one in read_actions(None)] == [Notify]
    assert read_actions(notify) == [notify]
    assert [type(one) for one in read_actions([print, notify, [command], None])] == [Call, Notify, Command]
    assert repr(read_actions(print)) == "[print()]"


def test_a_list_of_texts_is_a_command_and_a_url_a_webhook() -> None:
    assert repr(read_actions(["notify-send", "CodeWorm"])) == "[Command(['notify-send', … 1 more])]"
    assert repr(read_actions(("true",))) == "[Command(['true'])]"
    assert repr(read_actions(" https://chat.example/s3cret ")) == "[Webhook(https://chat.example/…)]"
    assert [type(one) for one in read_actions([["true"], "http://h/x", print])] == [Command, Webhook, Call]
    assert [type(one) for one in read_actions(["http://h/x", "http://h/y"])] == [Webhook, Webhook]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, "not int"),
        ("notify-send hello", "never a line for a shell"),
        ("htps://chat.example/s3cret", "a text as action is a URL"),
        (b"true", "not bytes"),
        ([], "no action"),
        ([None], "no action"),
        (Webhook, "write Webhook"),
        ([3], "not int"),
    ],
)
def test_other_things_are_no_actions(wrong: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words) as caught:
        read_actions(wrong)
    assert "s3cret" not in str(caught.value)
