"""Couriers: a slow or failing action delays and harms nobody."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from support.waiting import until
from support.watched import notice

from codeworm_monitor.watching import courier as courier_module
from codeworm_monitor.watching.actions import Action, Call
from codeworm_monitor.watching.courier import QUEUE, Courier
from codeworm_monitor.watching.notices import Notice


def test_notices_are_handed_over_in_order_in_a_thread_that_ends() -> None:
    seen: list[tuple[str, str]] = []
    made = Courier(Call(lambda one: seen.append((one.text, threading.current_thread().name))), "courier", pytest.fail)
    for word in "abc":
        made.send(notice(word))
    assert made.wait(10)
    assert seen == [(word, "courier") for word in "abc"]
    until(lambda: "courier" not in [thread.name for thread in threading.enumerate()])
    made.send(notice("d"))
    assert made.wait(10)
    assert seen[-1] == ("d", "courier")


def test_what_an_action_raises_is_told_and_the_next_notice_comes() -> None:
    seen: list[str] = []
    errors: list[Exception] = []

    def act(one: Notice) -> None:
        seen.append(one.text)
        if one.text == "a":
            raise ValueError("no")

    made = Courier(Call(act), "courier", errors.append)
    made.send(notice("a"))
    made.send(notice("b"))
    assert made.wait(10)
    assert seen == ["a", "b"]
    assert [str(error) for error in errors] == ["no"]


def test_a_hanging_action_keeps_a_bounded_queue_and_counts_the_rest() -> None:
    release, seen = threading.Event(), []

    def act(one: Notice) -> None:
        release.wait(20)
        seen.append(one.text)

    made = Courier(Call(act), "courier", pytest.fail)
    made.send(notice("first"))
    until(lambda: not made._waiting)
    for number in range(1_000):
        made.send(notice(str(number)))
    assert made.take_dropped() == 1_000 - QUEUE
    assert made.take_dropped() == 0
    release.set()
    assert made.wait(10)
    assert seen == ["first", *map(str, range(1_000 - QUEUE, 1_000))]


def test_closing_waits_a_little_then_leaves_what_hangs_and_takes_no_more() -> None:
    class Heeding(Action):
        was_stopped = False

        def act(self, notice: Notice, stop: threading.Event) -> None:
            self.was_stopped = stop.wait(20)

    action = Heeding()
    made = Courier(action, "courier", pytest.fail)
    made.send(notice("a"))
    made.send(notice("b"))
    began = time.monotonic()
    made.close(time.monotonic() + 0.1)
    assert time.monotonic() - began < 5
    assert made.wait(10)
    assert action.was_stopped
    made.send(notice("c"))
    assert made.wait(0)


def test_an_action_may_close_its_own_courier() -> None:
    errors: list[Exception] = []
    box: list[Courier] = []
    made = Courier(Call(lambda _: box[0].close(time.monotonic() + 60)), "courier", errors.append)
    box.append(made)
    made.send(notice("a"))
    assert made.wait(10)
    assert errors == []


def test_without_a_thread_the_notice_goes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    errors: list[Exception] = []
    made = Courier(Call(lambda one: seen.append(one.text)), "courier", errors.append)

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    threads: Any = courier_module.threading
    with monkeypatch.context() as patch:
        patch.setattr(threads, "Thread", NoThread)
        made.send(notice("a"))
    assert [str(error) for error in errors] == ["can't start new thread"]
    made.send(notice("b"))
    assert made.wait(10)
    assert seen == ["a", "b"]
