from __future__ import annotations

from typing import Any

from hypothesis import given
from support.panels import anything

from codeworm_monitor.states import commits as commits_module
from codeworm_monitor.states.commits import KEPT, SHOWN, Commit, CommitsState


def test_the_newest_come_first_with_their_speed() -> None:
    state = CommitsState()
    state.add(Commit(1000.0, target="a", tokens=1200, seconds=2.5))
    state.add(Commit(1001.0, target="b", tokens=5, seconds=0.0))
    shown = state.as_dict(0.0)
    assert [one["target"] for one in shown["commits"]] == ["b", "a"]
    assert [one["tokens_per_second"] for one in shown["commits"]] == [None, 480.0]
    assert shown["count"] == 2


def test_all_are_counted_and_some_are_shown() -> None:
    state = CommitsState()
    for number in range(KEPT + 500):
        state.add(Commit(1000.0 + number))
    shown = state.as_dict(0.0)
    assert len(shown["commits"]) == SHOWN
    assert shown["count"] == KEPT + 500
    assert len(state.last(10**6)) <= KEPT
    assert state.newest == Commit(1000.0 + KEPT + 499)


def test_one_that_comes_late_takes_its_place() -> None:
    state = CommitsState()
    for at in (1000.0, 1002.0, 1001.0):
        state.add(Commit(at))
    assert [one.at for one in state.since(0.0)] == [1000.0, 1001.0, 1002.0]
    assert [one.at for one in state.since(1000.0)] == [1001.0, 1002.0]
    assert state.between(1000.0, 1002.0) == 2


def test_what_is_known_already_is_not_added_again() -> None:
    state = CommitsState()
    state.add(Commit(1000.000004, target="a", repo="r", commit="01"))
    seeded = [
        Commit(1000.0, target="a", repo="r", commit="01"),
        Commit(900.0, target="a", repo="r", commit="00"),
        Commit(900.0, target="a", repo="r", commit="00"),
        Commit(1000.0, target="b", repo="r", commit="01"),
    ]
    assert [one.at for one in state.seed(seeded)] == [900.0, 1000.0]
    assert state.count == 3


def test_a_dict_without_a_time_is_no_commit() -> None:
    assert Commit.from_dict({"target": "a"}) is None
    assert Commit.from_dict([]) is None
    assert Commit.from_dict({"at": 5, "time_ms": 1500}) == Commit(5.0, seconds=1.5)


@given(anything, anything, anything, anything)
def test_values_of_any_type_are_read(text: Any, tokens: Any, seconds: Any, at: Any) -> None:
    told = dict.fromkeys(commits_module._TEXTS, text) | {"tokens": tokens, "time_ms": seconds, "at": at}
    commit = Commit.from_dict(told)
    if commit is not None:
        assert commit.target is None or len(commit.target) <= 500
        assert commit.tokens is None or commit.tokens >= 0
        assert commit.as_dict()["at"] == commit.at
