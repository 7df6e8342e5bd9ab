from __future__ import annotations

import threading

import pytest

from codeworm_monitor.doctor.bounding import begun, bounded


def test_what_work_returns_or_raises_comes_through() -> None:
    assert bounded(lambda: threading.current_thread().name, within=30, name="its own") == "its own"
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, within=30)


def test_work_that_hangs_is_left_behind() -> None:
    done = threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            bounded(done.wait, within=0.01)
    finally:
        done.set()


def test_a_timeout_of_the_works_own_is_not_taken_for_one_of_the_waiting() -> None:
    def late() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        bounded(late, within=30)


def test_what_is_begun_goes_on_while_others_wait() -> None:
    first, second = threading.Event(), threading.Event()

    def answer() -> bool:
        second.set()
        return first.wait(30)

    waiting = begun(answer, name="test:first")
    assert second.wait(30)
    assert not waiting.done()
    first.set()
    assert waiting.result(30)
