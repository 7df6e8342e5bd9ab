"""Decoding: stored messages, as columns of JSON text, become the Arrow batches of the tables, thousands at a time.

The meaning is that of `rows`, and a property test holds the two together. Plain messages, flat objects of words and
numbers such as nearly all log lines are, go through Arrow's own parser, several times faster; all others go the way of
`rows.RowReader`. That parser is shown nothing but what is known to be valid and plain: a null in the wrong place can
crash it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from codeworm_monitor.columns import LABEL, LAYOUTS, TEXT, TIME
from codeworm_monitor.envelope import Envelope, Mark
from codeworm_monitor.payloads import normalise
from codeworm_monitor.records import RELAY_CHANNEL, Kind, PublisherClock, kind_of
from codeworm_monitor.rows import BUILDERS, OTHER_TIME, Row, RowReader, details
from codeworm_monitor.stored import STORED, Integers, Messages, Truths
from codeworm_monitor.written_times import WrittenTimes, read_times, settle

__all__ = ["Decoder", "Parsed", "parse"]

MOST_UNKNOWN = 32
"""Unknown keys whose values are put together column by column; a batch with more of them is read row by row."""

MOST_SHAPES = 200
"""Sets of unknown keys for which the same holds."""

_EXACT = 2.0**53  # up to here a float is the integer that was written


class _Group(NamedTuple):
    """Messages of one stream within a batch.

    Attributes:
        kind: What they are.
        plain: Where in the log those are that `fields` holds.
        fields: Their columns.
        times: Their times, by key.
        odd: Where those are that are read one by one.
        payloads: What these say.
    """

    kind: Kind
    plain: Integers
    fields: pa.Table
    times: dict[str, WrittenTimes]
    odd: Integers
    payloads: list[dict[str, Any]]


class Parsed(NamedTuple):
    """Messages whose payloads were read, and whose times wait for the publisher's clock.

    Attributes:
        around: The messages without their payloads, in the order of the log.
        groups: What they say, by stream.
        journal: By stream, messages of the relay's own: where they are, and their payloads.
    """

    around: pa.RecordBatch
    groups: dict[str, _Group]
    journal: dict[str, tuple[Integers, pa.Array]]


def parse(messages: Messages) -> Parsed:
    """Read the payloads of messages, which needs nothing of those before: any thread may do it ahead."""
    parsed = Parsed(messages.around, {}, {})
    for stream, (rows, lines) in messages.by_stream().items():
        if stream == RELAY_CHANNEL:
            parsed.journal[stream] = rows, lines
        else:
            parsed.groups[stream] = _parse(kind_of(stream), rows, lines)
    return parsed


class Decoder:
    """Makes rows of the tables from stored messages; give it those of one log in order, as the publisher's clock learns."""

    def __init__(self) -> None:
        self.clock = PublisherClock()
        self._journal = RowReader()  # the relay's own lines tell nothing of the publisher's clock

    def read(self, messages: Messages) -> dict[str, pa.RecordBatch]:
        """Return the rows by stream; their order stays."""
        return self.finish(parse(messages))

    def finish(self, parsed: Parsed) -> dict[str, pa.RecordBatch]:
        """Return the rows of what was parsed, by stream; their order stays."""
        around = parsed.around
        result = {
            stream: self._of_journal(around.take(pa.array(rows)), lines)
            for stream, (rows, lines) in parsed.journal.items()
        }
        own, other = self._times(around, list(parsed.groups.values()))
        for stream, group in parsed.groups.items():
            result[stream] = _build(around, group, own, other)
        return result

    def _of_journal(self, around: pa.RecordBatch, lines: pa.Array) -> pa.RecordBatch:
        reader = self._journal
        return BUILDERS[Kind.LOGS](
            [
                reader.read(*where, _decoded(line))
                for where, line in zip(_places(around), lines.to_pylist(), strict=True)
            ]
        )

    def _times(self, batch: pa.RecordBatch, groups: list[_Group]) -> tuple[WrittenTimes, WrittenTimes]:
        """Return `timestamp` and the second time of all messages, in UTC."""
        count = batch.num_rows
        own, other, is_log = WrittenTimes.none(count), WrittenTimes.none(count), np.zeros(count, np.bool_)
        for group in groups:
            if group.kind is Kind.LOGS:
                is_log[group.plain] = is_log[group.odd] = True
            if len(group.plain):
                own.put(group.plain, group.times["timestamp"])
            own.put(group.odd, read_times(_texts_of([one.get("timestamp") for one in group.payloads])))
            if group.kind in OTHER_TIME:
                key = OTHER_TIME[group.kind][1]
                if len(group.plain):
                    other.put(group.plain, group.times[key])
                holders = map(details, group.payloads) if group.kind is Kind.EVENTS else group.payloads
                other.put(group.odd, read_times(_texts_of([holder.get(key) for holder in holders])))
        received = batch.column("received_at").to_numpy()
        settle(self.clock, own, other, is_log, received)
        return own, other


# Payloads


def _parse(kind: Kind, rows: Integers, lines: pa.Array) -> _Group:
    """Return the messages of one stream, apart by how they are read."""
    fields, times = _FIELDS[kind].empty_table(), dict[str, WrittenTimes]()
    is_odd = _are_odd(lines)
    shown, counts = lines, None
    if kind is Kind.STATS:
        shown, counts, are_unclear = _without_counts(lines)
        is_odd |= are_unclear
    if is_odd.any():
        plain = pa.array(~is_odd)
        shown, counts = shown.filter(plain), counts if counts is None else counts.filter(plain)
    if len(shown):
        found = _parse_plain(kind, shown, counts)
        if found is None:
            is_odd[:] = True
        else:
            fields, times, misfits = found
            if misfits.any():
                fields = fields.filter(pa.array(~misfits))
                times = {key: one.take(~misfits) for key, one in times.items()}
                is_odd[np.flatnonzero(~is_odd)[misfits]] = True
    odd = [] if not is_odd.any() else [_decoded(line) for line in lines.filter(pa.array(is_odd)).to_pylist()]
    return _Group(
        kind,
        rows[~is_odd],
        fields,
        times,
        rows[is_odd],
        [payload if type(payload) is dict else {"value": payload} for payload in odd],
    )


def _are_odd(lines: pa.Array) -> Truths:
    """Return which payloads Arrow's parser must not see: what is no object, and what has lists or escapes in it."""
    starts, text = _bounds(lines)
    is_odd: Truths = text[starts[:-1]] != ord("{")
    raw = text.tobytes()
    for mark in ("[", "\\"):
        if mark.encode() not in raw:  # to look for one is much faster than to look at each place
            continue
        is_odd[np.searchsorted(starts[1:], _places_of(text, mark), "right")] = True
    return is_odd


def _have_nulls(lines: pa.Array) -> Truths:
    """Return which payloads have the word null in them: Arrow tells no null from a key that is not there."""
    starts, text = _bounds(lines)
    letters = _places_of(text[:-3], "n")
    for at, letter in enumerate("ull", 1):
        letters = letters[text[letters + at] == ord(letter)]
    have_nulls = np.zeros(len(lines), np.bool_)
    have_nulls[np.searchsorted(starts[1:], letters, "right")] = True
    return have_nulls


def _bounds(lines: pa.Array) -> tuple[Integers, npt.NDArray[np.uint8]]:
    """Return where the values of an array begin, one more than there are, and the text that holds them."""
    _, starts, text = lines.buffers()
    starts = np.frombuffer(starts, np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return starts - starts[0], np.frombuffer(text, np.uint8)[starts[0] : starts[-1]]


def _places_of(text: npt.NDArray[np.uint8], letter: str) -> npt.NDArray[np.intp]:
    return np.flatnonzero(text == ord(letter))


def _without_counts(lines: pa.Array) -> tuple[pa.Array, pa.Array, Truths]:
    """Take the counts by repository out of payloads, as Arrow would make a column of each name that there is.

    Returns:
        The payloads with a number in their place; the counts, as JSON text; and which payloads must be read one by one.
    """
    texts = lines.cast(TEXT)
    counts = pc.struct_field(pc.extract_regex(texts, _COUNTS), "by_repo")
    told = pc.count_substring(texts, '"by_repo"').to_numpy()
    are_unclear = (told > 1) | ((told == 1) & ~pc.is_valid(counts).to_numpy(zero_copy_only=False))
    for index, text in enumerate(counts.to_pylist()):
        if text is not None and len(orjson.loads(text)) != text.count('":'):  # a name that comes twice
            are_unclear[index] = True
    shown = pc.replace_substring_regex(texts, _COUNTS, _NO_COUNTS)
    return shown.cast(pa.large_binary()), counts, are_unclear


def _parse_plain(
    kind: Kind, lines: pa.Array, counts: pa.Array | None
) -> tuple[pa.Table, dict[str, WrittenTimes], Truths] | None:
    """Return the fields of payloads, `extra` among them, their times, and where these are wrong; None if all may be."""
    _, text = _bounds(lines)
    try:
        table = pj.read_json(
            pa.BufferReader(text),
            parse_options=pj.ParseOptions(explicit_schema=_FIELDS[kind], unexpected_field_behavior="infer"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # a field of another type, or a key that comes twice
    if table.num_rows != len(lines):
        return None
    misfits = np.zeros(len(lines), np.bool_)
    unknown = {name: table.column(name).combine_chunks() for name in table.column_names[len(_FIELDS[kind]) :]}
    if kind is Kind.EVENTS:
        data = table.column("data").combine_chunks()
        inner = {field.name: pc.struct_field(data, field.name) for field in data.type}
        for name, values in [*unknown.items(), *inner.items()]:
            if name not in _DATA_FIELDS or values is unknown.get(name):
                misfits |= pc.is_valid(values).to_numpy(zero_copy_only=False)
        table = pa.table(
            {name: table.column(name) for name in ("timestamp", "type")} | {n: inner[n] for n in _DATA_FIELDS}
        )
    elif kind is Kind.STATS:
        taken = unknown.pop("by_repo", None)
        for values in unknown.values():
            misfits |= pc.is_valid(values).to_numpy(zero_copy_only=False)
        is_taken = (
            np.zeros(len(lines), np.bool_) if taken is None else pc.is_valid(taken).to_numpy(zero_copy_only=False)
        )
        misfits |= pc.is_valid(counts).to_numpy(zero_copy_only=False) & ~is_taken  # within another value
        table = table.select(_FIELDS[kind].names).append_column("by_repo", counts)
    elif unknown:
        extra, misfits = _extra(unknown, lines)
        table = table.select(_FIELDS[kind].names).append_column("extra", extra)
    if unknown or (kind is Kind.EVENTS and len(inner) > len(_DATA_FIELDS)):
        misfits |= _have_nulls(lines)
    # Times that cannot be read belong into `extra`; large integers may not be the floats that are nearest to them.
    times = {}
    for name in ("timestamp", "time", "last_success"):
        if name in table.column_names:
            written = _column(table, name, TEXT)
            times[name] = found = read_times(written)
            misfits |= pc.is_valid(written).to_numpy(zero_copy_only=False) & found.are_missing
            misfits |= found.are_at_the_edge
    number = "success_rate" if kind is Kind.STATS else "time_ms"
    numbers = pc.fill_null(table.column(number), 0.0).to_numpy()
    misfits |= np.abs(numbers) >= _EXACT
    return table, times, misfits


def _extra(unknown: dict[str, pa.Array], lines: pa.Array) -> tuple[pa.Array, Truths]:
    """Return unknown keys and their values as JSON text, and the rows in which it cannot be made this way."""
    misfits = np.zeros(len(lines), np.bool_)
    known: dict[str, pa.Array] = {}
    which = np.zeros(len(lines), np.int64)  # by row: a bit for each key that it has
    for name, values in unknown.items():
        is_there = pc.is_valid(values).to_numpy(zero_copy_only=False)
        if len(known) == MOST_UNKNOWN or values.type not in (pa.string(), pa.int64(), pa.bool_(), pa.float64()):
            misfits |= is_there
            continue
        if values.type == pa.float64():
            number = pc.fill_null(values, 0.5).to_numpy()
            # Of a whole number nothing tells how it was written.
            misfits |= (number % 1 == 0) | (np.abs(number) >= _EXACT)
        which |= is_there.astype(np.int64) << len(known)
        known[name] = values
    shapes = np.unique(which[~misfits])
    if len(shapes) > MOST_SHAPES:
        return pa.nulls(len(lines), TEXT), misfits | (which != 0)
    pieces, places = [], []
    names = list(known)
    for bits in shapes:
        has = [name for at, name in enumerate(names) if bits >> at & 1]
        if not has:
            continue
        rows = np.flatnonzero((which == bits) & ~misfits)
        if len(has) > 1:  # in the order of the first such row; most likely that of a line in the publisher's program
            has.sort(key=list(_decoded(lines[rows[0]].as_py())).index)
        inside = [_written(name, known[name].take(pa.array(rows))) for name in has]
        inside = inside if len(inside) == 1 else [pc.binary_join_element_wise(*inside, _text(","))]
        pieces.append(_joined("{", inside[0], "}"))
        places.append(rows)
    if not pieces:
        return pa.nulls(len(lines), TEXT), misfits
    if len(places[0]) == len(lines):
        return pieces[0], misfits
    order = np.zeros(len(lines), np.int64)
    where = np.concatenate(places)
    order[where] = np.arange(len(where))
    is_none = np.ones(len(lines), np.bool_)
    is_none[where] = False
    return pa.concat_arrays(pieces).take(pa.array(order, mask=is_none)), misfits


def _written(name: str, values: pa.Array) -> pa.Array:
    """Return a key and its values as JSON text; what has no escapes stands as it is."""
    quote = '"' if values.type == pa.string() else ""
    texts = _float_texts(values) if values.type == pa.float64() else values.cast(TEXT)
    return _joined(f"{orjson.dumps(name).decode()}:{quote}", texts, quote)


def _float_texts(values: pa.Array) -> pa.Array:
    """Return numbers as JSON text, each different one written once."""
    encoded = values.dictionary_encode()
    texts = [orjson.dumps(number).decode() for number in encoded.dictionary.to_pylist()]
    return pc.take(pa.array(texts, TEXT), encoded.indices)


def _joined(before: str, values: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(_text(before), values, _text(after), _text(""))


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, TEXT)


def _decoded(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return normalise(line.removesuffix(b"\n"))[1]


def _texts_of(values: list[Any]) -> pa.Array:
    return pa.array([value if type(value) is str else None for value in values], TEXT)


# Rows


def _build(batch: pa.RecordBatch, group: _Group, own: WrittenTimes, other: WrittenTimes) -> pa.RecordBatch:
    batches = []
    if len(group.plain):
        whole = batch if len(group.plain) == batch.num_rows else batch.take(pa.array(group.plain))
        batches.append(_build_plain(whole, group, own, other))
    if len(group.odd):
        some = batch.take(pa.array(group.odd))
        rows = [
            Row(epoch, envelope, payload, own.at(row), other.at(row))
            for row, (epoch, envelope), payload in zip(group.odd, _places(some), group.payloads, strict=True)
        ]
        batches.append(BUILDERS[group.kind](rows))
    if len(batches) == 1:
        return batches[0]
    order = np.argsort(np.concatenate([group.plain, group.odd]), kind="stable")
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.take(pa.array(order)).combine_chunks().to_batches()[0]


def _build_plain(batch: pa.RecordBatch, group: _Group, own: WrittenTimes, other: WrittenTimes) -> pa.RecordBatch:
    fields, rows = group.fields, group.plain
    arrays: list[pa.Array] = []
    for column in LAYOUTS[group.kind].columns:
        match column.name:
            case "epoch" | "offset" | "channel" | "mark":
                arrays.append(batch.column(column.name))
            case "received_at":
                arrays.append(batch.column("received_at").cast(TIME))
            case "timestamp":
                arrays.append(own.take(rows).as_arrow())
            case "next_cycle_at" | "last_success":
                arrays.append(other.take(rows).as_arrow())
            case name:
                values = _column(fields, name, TEXT if column.type == LABEL else column.type)
                if column.type == LABEL:
                    values = _as_label(values, is_level=name == "level")
                arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=LAYOUTS[group.kind].schema)


def _column(fields: pa.Table, name: str, type_: pa.DataType) -> pa.Array:
    if name not in fields.column_names:
        return pa.nulls(fields.num_rows, type_)
    return fields.column(name).combine_chunks()


def _as_label(values: pa.Array, *, is_level: bool) -> pa.DictionaryArray:
    label = values.dictionary_encode()
    if is_level:
        words = label.dictionary.to_pylist()
        if (lower := [word.lower() for word in words]) != words:
            label = pa.DictionaryArray.from_arrays(label.indices, pa.array(lower, TEXT)).cast(TEXT).dictionary_encode()
    return label


def _places(batch: pa.RecordBatch) -> list[tuple[str, Envelope]]:
    epochs, channels = (_labels_of(batch.column(name)) for name in ("epoch", "channel"))
    offsets, times = (batch.column(name).to_numpy().tolist() for name in ("offset", "received_at"))
    marks = batch.column("mark")
    whole = marks.to_pylist() if marks.null_count < len(marks) else [None] * len(marks)
    return [
        (epoch, Envelope(offset, time / 1_000_000, channel, b"", None if mark is None else Mark(mark)))
        for epoch, offset, time, channel, mark in zip(epochs, offsets, times, channels, whole, strict=True)
    ]


def _labels_of(column: pa.DictionaryArray) -> list[str]:
    labels: list[str] = column.dictionary.to_pylist()
    return [labels[code] for code in column.indices.to_numpy().tolist()]


# As `rows` writes counts: none of what could be written in another way.
_COUNT = r'"[^"{}\\\x00-\x1f]*":(?:0|[1-9][0-9]{0,17})'
_COUNTS = rf'(?P<before>[{{,]"by_repo":)(?P<by_repo>\{{{_COUNT}(?:,{_COUNT})*\}})(?P<after>[,}}])'
_NO_COUNTS = r"\10\3"


def _plain_type(type_: pa.DataType) -> pa.DataType:
    return type_ if type_ in (pa.int64(), pa.float64()) else TEXT


_AROUND = frozenset(STORED.names) | {"extra"}
_DATA_FIELDS = {
    {"next_cycle_at": "time"}.get(column.name, column.name): _plain_type(column.type)
    for column in LAYOUTS[Kind.EVENTS].columns
    if column.name not in _AROUND | {"timestamp", "type"}
}
_FIELDS: dict[Kind, pa.Schema] = {
    Kind.LOGS: pa.schema(
        [(one.name, _plain_type(one.type)) for one in LAYOUTS[Kind.LOGS].columns if one.name not in _AROUND]
    ),
    Kind.EVENTS: pa.schema([("timestamp", TEXT), ("type", TEXT), ("data", pa.struct(list(_DATA_FIELDS.items())))]),
    Kind.STATS: pa.schema(
        [
            (one.name, TEXT if one.type == TIME else _plain_type(one.type))
            for one in LAYOUTS[Kind.STATS].columns
            if one.name not in _AROUND | {"by_repo"}
        ]
    ),
}
"""By kind, what is read of a plain payload."""
