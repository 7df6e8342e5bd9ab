"""Stored messages as columns, in the order of their log; their payloads stay where they were read.

Payloads are most of the bytes, and they are parsed by stream: to lay them in the order of the log first, and take them out
of it by stream then, would move each of them twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from codeworm_monitor.columns import LABEL, TEXT
from codeworm_monitor.records import Kind, kind_of

__all__ = ["STORED", "Integers", "Messages", "Truths", "stored", "stream_name"]

STORED = pa.schema(
    [
        ("epoch", LABEL),
        ("offset", pa.int64()),
        ("received_at", pa.int64()),  # microseconds since 1970, UTC
        ("channel", LABEL),
        ("mark", TEXT),
        ("payload", pa.large_binary()),  # JSON text and a line feed; no other line feed is in it
    ]
)
"""Columns of stored messages."""

Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


def stored(
    epochs: Sequence[str],
    offsets: Sequence[int],
    times: Sequence[int],
    channels: Sequence[str],
    marks: Sequence[str | None],
    payloads: Sequence[bytes],
) -> pa.RecordBatch:
    """Return messages as a batch with the columns of `STORED`; times are microseconds."""
    lines = [(payload.replace(b"\n", b" ") if b"\n" in payload else payload) + b"\n" for payload in payloads]
    columns = (epochs, offsets, times, channels, marks, lines)
    plain = (TEXT, pa.int64(), pa.int64(), TEXT, TEXT, pa.large_binary())
    arrays = [pa.array(column, type_) for column, type_ in zip(columns, plain, strict=True)]
    arrays[0], arrays[3] = arrays[0].dictionary_encode(), arrays[3].dictionary_encode()
    return pa.RecordBatch.from_arrays(arrays, schema=STORED)


def stream_name(channel: str) -> str:
    """Return the name of the stream that a channel belongs to: a kind's, or the channel's own."""
    kind = kind_of(channel)
    return str(kind) if kind is not Kind.LOGS or channel.rpartition(":")[2] == Kind.LOGS else channel


class Messages(NamedTuple):
    """Messages of one log.

    Attributes:
        around: All but the payloads: the other columns of `STORED`, in the order of the log.
        pieces: The payloads, as they were read: where in that order they belong, and they themselves.
    """

    around: pa.RecordBatch
    pieces: list[tuple[Integers, pa.Array]]

    @classmethod
    def of(
        cls, batches: Sequence[pa.RecordBatch], order: Callable[[pa.RecordBatch], Integers | None] | None = None
    ) -> Self:
        """Lay batches together.

        Args:
            batches: Messages, no gaps, with the columns of `STORED`.
            order: Given all of them, without payloads, returns the rows in the order of the log; None, also as what it
                returns: they are in it already.
        """
        rest = [batch.drop_columns(["payload"]) for batch in batches]
        if len(rest) == 1:
            around = rest[0]
        else:
            table = pa.Table.from_batches(rest, schema=STORED.remove(STORED.get_field_index("payload")))
            around = _whole(table.unify_dictionaries())
        taken = None if order is None else order(around)
        places = np.arange(around.num_rows)
        if taken is not None:
            around = around.take(pa.array(taken))
            places[taken] = np.arange(around.num_rows)
        ends = np.cumsum([batch.num_rows for batch in batches])
        pieces = [
            (places[end - batch.num_rows : end], batch.column("payload"))
            for batch, end in zip(batches, ends, strict=True)
        ]
        return cls(around, pieces)

    def by_stream(self) -> dict[str, tuple[Integers, pa.Array]]:
        """Return by stream, of which there is a message, where its messages are, ascending, and their payloads."""
        channels = self.around.column("channel")
        streams = [stream_name(name) for name in channels.dictionary.to_pylist()]
        numbers = {stream: number for number, stream in enumerate(dict.fromkeys(streams))}
        stream_of = np.array([numbers[stream] for stream in streams], np.int64)[channels.indices.to_numpy()]
        found: dict[int, list[tuple[Integers, pa.Array]]] = {}
        for places, payloads in self.pieces:
            present = stream_of[places]
            for number in np.unique(present).tolist():
                is_of = present == number
                some = (places, payloads) if is_of.all() else (places[is_of], payloads.filter(pa.array(is_of)))
                found.setdefault(number, []).append(some)
        return {stream: _in_order(found[number]) for stream, number in numbers.items() if number in found}


def _in_order(pieces: list[tuple[Integers, pa.Array]]) -> tuple[Integers, pa.Array]:
    if len(pieces) > 1:
        pieces.sort(key=lambda piece: int(piece[0][0]))  # so that mostly nothing is left to do
    places = np.concatenate([some for some, _ in pieces])
    payloads = pieces[0][1] if len(pieces) == 1 else pa.concat_arrays([some for _, some in pieces])
    if (places[1:] < places[:-1]).any():
        order = np.argsort(places)
        places, payloads = places[order], payloads.take(pa.array(order))
    return places, payloads


def _whole(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
