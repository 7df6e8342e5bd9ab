from __future__ import annotations

import threading

from codeworm_monitor.publish.outbox import DropReason, Outbox
from codeworm_monitor.publish.shapes import OVERHEAD, Message, Stamp


def message(number: int, size: int = 10) -> Message:
    return (b"c", float(number), Stamp.NONE, b"%d" % number, b"x" * size)


def filled(count: int, **bounds: int) -> Outbox:
    outbox = Outbox(bounds.get("max_messages", 100), bounds.get("max_bytes", 10**6))
    for number in range(count):
        assert outbox.put(message(number))
    return outbox


def taken(outbox: Outbox, most: int = 1000) -> list[int]:
    return [int(one[3]) for one in outbox.take(most, 10**9)]


def test_the_oldest_leave_at_the_bound_of_messages() -> None:
    outbox = filled(12, max_messages=5)
    assert taken(outbox) == [7, 8, 9, 10, 11]
    (dropped,) = outbox.take_dropped().items()
    assert dropped[0] == "queue_full"
    assert (dropped[1].count, dropped[1].since, dropped[1].until) == (7, 0.0, 6.0)


def test_the_oldest_leave_at_the_bound_of_bytes() -> None:
    outbox = Outbox(10**6, 5 * (OVERHEAD + 102))
    for number in range(10, 30):
        outbox.put(message(number, 100))
    assert taken(outbox) == [25, 26, 27, 28, 29]
    assert outbox.totals.dropped == {"queue_full": 15}


def test_one_that_alone_is_too_large_drops_no_other() -> None:
    outbox = filled(3, max_bytes=10_000)
    assert not outbox.put(message(9, 20_000))
    assert taken(outbox) == [0, 1, 2]
    assert outbox.totals.dropped == {"unwritable": 1}


def test_what_is_put_back_comes_first_and_keeps_to_the_bound() -> None:
    outbox = filled(5, max_messages=5)
    some = outbox.take(3, 10**9)
    for number in range(5, 8):
        outbox.put(message(number))
    outbox.put_back(some)
    assert taken(outbox) == [3, 4, 5, 6, 7]
    assert outbox.totals.dropped == {"queue_full": 3}


def test_taking_keeps_to_its_bounds_but_takes_one_at_least() -> None:
    outbox = filled(10)
    assert taken(outbox, 2) == [0, 1]
    assert len(outbox.take(10, 1)) == 1


def test_what_is_left_counts_what_is_under_way() -> None:
    outbox = filled(4)
    outbox.take(3, 10**9)
    outbox.put(message(4))
    assert [outbox.left_of(4), outbox.left_of(5), len(outbox)] == [4, 5, 5]
    outbox.settle(heard=1, unheard=1, deliveries=3)
    assert [outbox.left_of(2), outbox.left_of(4), len(outbox)] == [0, 2, 3]
    outbox.lose(DropReason.UNANSWERED, [message(2)])
    assert [outbox.left_of(3), len(outbox)] == [0, 2]


def test_what_could_not_be_said_is_said_with_what_came_since() -> None:
    outbox = filled(0)
    outbox.reject(DropReason.UNWRITABLE)
    unsaid = outbox.take_dropped()
    assert not outbox.take_dropped()
    outbox.reject(DropReason.UNWRITABLE)
    outbox.restore(unsaid)
    assert outbox.take_dropped()["unwritable"].count == 2


def test_a_closed_one_takes_nothing_and_says_so() -> None:
    outbox = filled(2)
    outbox.is_closed = True
    assert not outbox.put(message(2))
    assert outbox.abandon() == 2
    assert outbox.totals.dropped == {"not_sent": 3}


def test_many_threads_lose_nothing() -> None:
    outbox = Outbox(10**6, 10**9)
    threads = [
        threading.Thread(target=lambda: [outbox.put(message(number)) for number in range(2000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken(outbox, 10**6)) == outbox.put_total == 16_000
    assert outbox._bytes == 0
