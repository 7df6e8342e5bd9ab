from __future__ import annotations

import threading
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.states.log_state import KEPT_BATCHES, MOST_GAPS, Batch, Fill, LogState
from codeworm_monitor.states.wire_rows import wire_row

Message = tuple[Envelope, Any]


def messages(first: int, last: int, **payload: Any) -> list[Message]:
    return [(Envelope(n, 1000.0 + n, "codeworm:logs", b""), {"event": "x"} | payload) for n in range(first, last + 1)]


def gap(at: float, offset: int | None = None) -> Gap:
    return Gap(cause=GapCause.SOURCE_OUTAGE, started_at=at - 1, ended_at=at, offset=offset)


def rows(sent: Batch | Fill | None) -> list[list[Any]]:
    assert sent is not None
    found = orjson.loads(sent.data)
    assert sent.count == len(found)
    return list(found)


def offsets(sent: Batch | Fill | None) -> list[Any]:
    return [one[0] if one[2] == "codeworm:logs" else one[2] for one in rows(sent)]


def test_batches_hold_what_came_since_and_count_from_one() -> None:
    state = LogState()
    assert state.flush() is None
    state.take("a", messages(1, 3))
    state.take("a", messages(4, 4))
    first = state.flush()
    assert offsets(first) == [1, 2, 3, 4]
    assert state.flush() is None
    state.take("a", messages(5, 5))
    second = state.flush()
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)


def test_gaps_stand_where_they_came() -> None:
    state = LogState()
    state.take("a", messages(1, 1))
    state.take_gap("a", gap(1001.5))
    state.take("a", messages(2, 2))
    assert offsets(state.flush()) == [1, "gap", 2]


def test_of_a_flood_the_newest_go_and_one_row_counts_the_others() -> None:
    state = LogState(most=10)
    for first in range(1, 100, 3):
        state.take("a", messages(first, first + 2))
    assert state.pending == 99
    sent = rows(state.flush())
    assert sent[0] == [None, 1000.0 + 89, "skipped", {"count": 89}]
    assert [one[0] for one in sent[1:]] == list(range(90, 100))
    assert state.pending == 0


def test_of_one_large_batch_the_newest_go() -> None:
    state = LogState(most=10)
    state.take("a", messages(1, 5))
    state.take_gap("a", gap(1005.5))
    state.take("a", messages(6, 1000))
    sent = rows(state.flush())
    assert sent[0] == [None, 1000.0 + 990, "skipped", {"count": 990}]
    assert [one[0] for one in sent[2:]] == list(range(991, 1001))
    assert sent[1][2] == "gap"


def test_what_would_take_too_many_bytes_is_counted_too() -> None:
    state = LogState(most=2000, most_bytes=100_000)
    state.take("a", messages(1, 100, text="y" * 1000))
    state.take_gap("a", gap(1100.5))
    state.take("a", messages(101, 200, text="y" * 1000))
    batch = state.flush()
    sent = rows(batch)
    skipped = sent[0][3]["count"]
    assert sent[0][2] == "skipped"
    assert skipped > 0
    assert [one[0] for one in sent if one[2] == "codeworm:logs"] == list(range(skipped + 1, 201))
    assert sum(one[2] == "gap" for one in sent) == 1
    assert len(batch.data) < 110_000 if batch is not None else False


def test_of_very_many_gaps_the_newest_stay() -> None:
    state = LogState()
    for number in range(3 * MOST_GAPS):
        state.take_gap("a", gap(1000.0 + number))
    sent = rows(state.flush())
    assert [one[1] for one in sent] == [1000.0 + n for n in range(2 * MOST_GAPS, 3 * MOST_GAPS)]


def test_batches_that_were_missed_are_sent_again_while_they_are_held() -> None:
    state = LogState()
    sent = []
    for number in range(1, KEPT_BATCHES + 11):
        state.take("a", messages(number, number))
        sent.append(state.flush())
    assert state.resend(KEPT_BATCHES, KEPT_BATCHES + 2) == sent[KEPT_BATCHES - 1 : KEPT_BATCHES + 2]
    assert state.resend(KEPT_BATCHES + 10, KEPT_BATCHES + 50) == sent[-1:]
    assert state.resend(KEPT_BATCHES + 11, KEPT_BATCHES + 11) == []
    assert state.resend(10, 12) is None
    assert state.resend(0, 1) is None


def test_a_fill_takes_a_number_and_what_it_holds_is_not_sent_again() -> None:
    state = LogState()
    state.take("a", messages(1, 5))
    state.flush()
    state.take("a", messages(6, 8))
    state.take_gap("a", gap(1008.5, 9))
    state.take("a", messages(10, 12))
    fill = state.fill([wire_row(*one) for one in messages(1, 10)], is_all=True, epoch="a")
    assert (fill.number, fill.count, fill.is_all) == (2, 10, True)
    # What the tables had already, and is only now handed on.
    state.take("a", messages(9, 9))
    batch = state.flush()
    assert offsets(batch) == [11, 12]
    assert batch is not None
    assert batch.number == 3
    assert state.resend(1, 3) is None
    assert state.resend(3, 3) == [batch]


def test_a_fill_of_another_numbering_takes_no_message_away() -> None:
    state = LogState()
    state.take("a", messages(1, 3))
    state.take("b", messages(1, 2))
    # Read before the second numbering began.
    fill = state.fill([wire_row(*one) for one in messages(1, 3)], is_all=True, epoch="a")
    assert fill.count == 3
    assert offsets(state.flush()) == [1, 2]
    # Read after a third one began of which nothing was handed on.
    state.fill(
        [wire_row(*one) for one in messages(1, 50)] + [wire_row(*one) for one in messages(1, 2)], is_all=True, epoch="c"
    )
    state.take("c", messages(1, 4))
    assert offsets(state.flush()) == [3, 4]


def test_a_new_numbering_begins_anew() -> None:
    state = LogState()
    state.fill([wire_row(*one) for one in messages(1, 500)], is_all=True, epoch="a")
    state.take("a", messages(400, 501))
    assert offsets(state.flush()) == [501]
    state.take("b", messages(1, 2))
    assert offsets(state.flush()) == [1, 2]


@given(
    st.lists(
        st.one_of(st.integers(0, 30), st.just("gap"), st.just("flush"), st.just("fill")),
        max_size=30,
    )
)
def test_every_message_is_sent_once_or_counted_in_order(steps: list[int | str]) -> None:
    state, offset = LogState(most=20), 0
    shown: list[int] = []
    counted = filled_over = last_number = 0

    def take_in(sent: Batch | None) -> None:
        nonlocal counted, last_number
        if sent is None:
            return
        assert sent.number == last_number + 1
        last_number = sent.number
        for one in rows(sent):
            if one[2] == "skipped":
                counted += one[3]["count"]
            elif one[2] != "gap":
                shown.append(one[0])

    for step in steps:
        if isinstance(step, int):
            state.take("a", messages(offset + 1, offset + step))
            offset += step
        elif step == "gap":
            state.take_gap("a", gap(1000.0))
        elif step == "flush":
            take_in(state.flush())
        else:
            fill = state.fill([wire_row(*one) for one in messages(1, offset)], is_all=True, epoch="a")
            last_number = fill.number
            shown, counted, filled_over = list(range(1, offset + 1)), 0, offset
    take_in(state.flush())
    assert shown == sorted(set(shown))
    assert len(shown) + counted == offset
    assert shown[:filled_over] == list(range(1, filled_over + 1))


def test_many_threads_feed_one_reader_and_nothing_is_lost() -> None:
    state = LogState(most=100_000)
    threads = [
        threading.Thread(target=lambda: [state.take("a", messages(n, n)) for n in range(1, 301)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    total = 0
    while any(thread.is_alive() for thread in threads) or state.pending:
        batch = state.flush()
        total += 0 if batch is None else batch.count
    for thread in threads:
        thread.join()
    assert total == 1200
