"""What is written down of an entry is read back as it was."""

from __future__ import annotations

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from codeworm_monitor.archive.rows import GAP, entry_of, gap_payload, micros, rows_of
from codeworm_monitor.envelope import MAX_OFFSET, Envelope, Gap, GapCause, Mark
from codeworm_monitor.payloads import normalise

TIMES = st.floats(0, 4e9)
OFFSETS = st.integers(1, MAX_OFFSET)
CHANNELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def envelopes(draw):
    data, _, mark = normalise(draw(st.binary(max_size=60) | st.integers().map(lambda number: b"%d" % number)))
    return Envelope(draw(OFFSETS), draw(TIMES), draw(CHANNELS), data, mark)


@st.composite
def gaps(draw):
    return Gap(
        cause=draw(st.sampled_from(GapCause)),
        started_at=draw(TIMES),
        ended_at=draw(TIMES),
        offset=draw(st.none() | OFFSETS),
        first_offset=draw(st.none() | OFFSETS),
        last_offset=draw(st.none() | OFFSETS),
        detail=draw(st.text(st.characters(exclude_categories=["Cs"]))),
    )


@given(envelopes())
@example(Envelope(1, 1_795_300_000.1234567, "codeworm:logs", b'{"event": "x" }', None))
@example(Envelope(2, 0.0, "", b'{"raw":"x"}', Mark.RAW))
def test_an_envelope_comes_back_as_it_was_but_for_its_time_to_the_microsecond(envelope):
    (row,) = rows_of(7, envelope.offset, [envelope.received_at], [envelope.channel], [envelope.data], [envelope.mark])
    assert row.epoch == 7
    back = entry_of(*row[1:])
    assert back == envelope._replace(received_at=back.received_at)
    assert abs(back.received_at - envelope.received_at) <= 1e-6
    assert type(back.mark) is type(envelope.mark)


@given(gaps(), OFFSETS)
def test_a_gap_comes_back_as_it_was(gap, offset):
    (row,) = rows_of(7, offset, [gap.ended_at], [""], [b""], [gap])
    assert (row.offset, row.channel, row.mark) == (offset, "", GAP)
    assert entry_of(*row[1:]) == gap
    assert orjson.loads(gap_payload(gap)) == gap.as_dict()


@given(TIMES)
def test_a_time_of_whole_microseconds_comes_back_the_same(time):
    kept = micros(time)
    assert kept / 1_000_000 == round(kept / 1_000_000, 6)
    assert micros(kept / 1_000_000) == kept


def test_consecutive_entries_get_consecutive_offsets():
    rows = rows_of(3, 41, [1.0, 2.0], ["a", "b"], [b"1", b"2"], [None, Mark.RAW])
    assert [(row.epoch, row.offset, row.channel, row.mark) for row in rows] == [(3, 41, "a", None), (3, 42, "b", "raw")]
