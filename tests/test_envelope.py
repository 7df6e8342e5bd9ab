from __future__ import annotations

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codeworm_monitor.envelope import MAX_OFFSET, Cursor, Envelope, Gap, GapCause, Mark
from codeworm_monitor.errors import FrameError

epochs = st.text(min_size=1, max_size=64)
offsets = st.integers(0, MAX_OFFSET)


@given(epochs, offsets)
@example("a:b", 0)
@example(":", MAX_OFFSET)
def test_a_cursor_survives_its_written_form(epoch, offset):
    assert Cursor.parse(str(Cursor(epoch, offset))) == Cursor(epoch, offset)


@given(offsets, offsets)
def test_cursors_of_one_epoch_are_ordered_as_their_offsets(first, second):
    read = [Cursor.parse(f"e:{offset}").offset for offset in (first, second)]
    assert (read[0] < read[1]) == (first < second)


@given(epochs, epochs, offsets)
def test_cursors_of_different_epochs_are_never_equal(first, second, offset):
    assert (Cursor(first, offset) == Cursor(second, offset)) == (first == second)


@given(st.text())
@example("\u0663:\u0663")
@example("e:1_0")
@example("e: 1")
@example("e:+1")
@example("e:-1")
@example("e:²")
def test_any_text_is_a_cursor_or_a_frame_error(text):
    try:
        cursor = Cursor.parse(text)
    except FrameError:
        return
    assert cursor.epoch
    assert 0 <= cursor.offset <= MAX_OFFSET


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "e",
        "e:",
        ":5",
        "e:-1",
        "e:1.0",
        "e:\u0661",
        "e:0x1",
        "e: 1",
        "e:1 ",
        "e:" + "9" * 5000,
        "x" * 65 + ":1",
    ],
)
def test_garbage_is_no_cursor(text):
    with pytest.raises(FrameError, match="epoch:offset"):
        Cursor.parse(text)


def test_the_offset_of_a_cursor_ends_where_every_json_reader_is_exact():
    assert Cursor.parse(f"e:{2**53 - 1}").offset == 2**53 - 1
    with pytest.raises(FrameError, match="over"):
        Cursor.parse(f"e:{2**53}")


def test_a_long_garbage_cursor_is_quoted_in_part_only():
    with pytest.raises(FrameError) as caught:
        Cursor.parse("x" * 100_000)
    assert len(str(caught.value)) < 200


def test_an_envelope_is_the_exact_payload_unless_marked():
    assert Envelope(1, 2.0, "c", b"{}").mark is None
    assert [str(mark) for mark in Mark] == ["raw", "truncated"]


def test_a_gap_counts_what_was_missed_where_that_is_known():
    known = Gap(cause=GapCause.TRIMMED, started_at=1.0, ended_at=2.0, first_offset=5, last_offset=9)
    outage = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.0, offset=7)
    assert known.missed == 5
    assert outage.missed is None
    assert Gap(cause=GapCause.TRIMMED, started_at=1.0, ended_at=2.0, first_offset=5).missed is None


@given(st.builds(Gap, cause=st.sampled_from(GapCause), started_at=st.floats(0, 2e9), ended_at=st.floats(0, 2e9)))
def test_a_gap_is_json_by_the_names_of_its_fields(gap):
    values = orjson.loads(orjson.dumps(gap.as_dict()))
    assert Gap(**values | {"cause": GapCause(values["cause"])}) == gap


def test_a_gap_names_every_field():
    gap = Gap(
        cause=GapCause.SLOW_READER,
        started_at=1.0,
        ended_at=2.0,
        offset=3,
        first_offset=4,
        last_offset=5,
        detail="slow",
    )
    assert gap.as_dict() == {
        "offset": 3,
        "cause": "slow_reader",
        "started_at": 1.0,
        "ended_at": 2.0,
        "first_offset": 4,
        "last_offset": 5,
        "detail": "slow",
    }
