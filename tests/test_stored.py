"""Stored messages: laid in the order of their log without moving what they say, and found again by stream."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.stored import STORED, Messages, stored, stream_name

CHANNELS = ["codeworm:logs", "x:logs", "codeworm:events", "codeworm:stats", "other", "codeworm:relay"]


def batch(offsets: list[int], channels: list[str]) -> pa.RecordBatch:
    payloads = [b'{"n":%d}' % offset for offset in offsets]
    return stored(["e"] * len(offsets), offsets, offsets, channels, [None] * len(offsets), payloads)


def by_offset(around: pa.RecordBatch) -> np.ndarray:
    return np.argsort(around.column("offset").to_numpy())


@given(st.permutations(range(12)), st.lists(st.sampled_from(CHANNELS), min_size=12, max_size=12), st.data())
def test_each_stream_has_its_payloads_in_the_order_of_the_log(
    offsets: list[int], channels: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, 12), max_size=4)))
    spans = list(zip([0, *cuts], [*cuts, 12], strict=True))
    batches = [batch(offsets[start:end], channels[start:end]) for start, end in spans]
    messages = Messages.of(batches, by_offset)
    assert messages.around.column("offset").to_pylist() == list(range(12))
    expected: dict[str, list[tuple[int, bytes]]] = {}
    for offset, channel in sorted(zip(offsets, channels, strict=True)):
        expected.setdefault(stream_name(channel), []).append((offset, b'{"n":%d}\n' % offset))
    found = {
        stream: list(zip(places.tolist(), payloads.to_pylist(), strict=True))
        for stream, (places, payloads) in messages.by_stream().items()
    }
    assert found == expected


def test_what_is_in_order_already_stays_where_it_was_read() -> None:
    some = batch([1, 2, 3], ["codeworm:logs"] * 3)
    messages = Messages.of([some], lambda _: None)
    places, payloads = messages.by_stream()["logs"]
    assert places.tolist() == [0, 1, 2]
    assert payloads.buffers()[2].address == some.column("payload").buffers()[2].address


@pytest.mark.parametrize("batches", [[], [batch([], [])], [batch([], []), batch([], [])]])
def test_nothing_is_no_messages(batches: list[pa.RecordBatch]) -> None:
    messages = Messages.of(batches, by_offset)
    assert messages.around.schema.names == STORED.names[:-1]
    assert messages.around.num_rows == 0
    assert messages.by_stream() == {}
