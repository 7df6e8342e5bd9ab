"""What a Parquet file says of a row, beside its payload."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeworm_monitor.archive import part_writer
from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.parquet import connect
from codeworm_monitor.archive.part_writer import Group, PartWriter
from codeworm_monitor.archive.rows import GAP, StoredRow, gap_payload
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError
from codeworm_monitor.records import PublisherClock, parse_record

NOON = 1_700_049_600_000_000
LABELS = ("level", "component", "event", "type", "repo", "target", "doc_type")
CHANNELS = ("codeworm:logs", "codeworm:events", "codeworm:stats")


@contextlib.contextmanager
def writing(directory: Path, channel: str = CHANNELS[0], name: str | None = "abc", first: int = 1):
    with connect(directory.resolve()) as duck:
        writer = PartWriter(duck, directory.resolve(), Group("2023-11-15", 4, name, channel), first)
        with contextlib.closing(writer):
            yield writer


def columns(path: Path) -> list[dict[str, object]]:
    with connect(path.parent.resolve()) as duck:
        found = duck.execute(
            "SELECT * REPLACE (epoch_us(received_at) AS received_at, encode(payload) AS payload) "
            "FROM read_parquet(?, hive_partitioning = false)",
            [str(path.resolve())],
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def written(directory: Path, payloads: list[bytes], channel: str = CHANNELS[0], mark: str | None = None):
    rows = [StoredRow(4, offset, NOON + offset, channel, mark, payload) for offset, payload in enumerate(payloads, 1)]
    with writing(directory, channel) as writer:
        writer.add(rows)
        part = writer.finish()
    found = columns(directory / part.path)
    (directory / part.path).unlink()
    assert [row["payload"] for row in found] == payloads
    assert [row["offset"] for row in found] == [row.offset for row in rows]
    assert [row["received_at"] for row in found] == [row.received_at for row in rows]
    return found


words = st.sampled_from(
    ["", "info", "ERROR", "İ", "ß", "✓", "a\x00b", '"', "\\", "\u2028", "\n", "x" * 300, "null", "5"]
)
values = st.one_of(
    words,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(words, max_size=2),
    st.dictionaries(words, words, max_size=2),
)
fields = st.dictionaries(st.sampled_from([*LABELS, "", "data", "tokens", "Level"]), values, max_size=9)
payloads = st.one_of(
    values,
    fields,
    st.builds(lambda outer, inner: outer | {"data": inner}, fields, st.one_of(fields, values)),
).map(orjson.dumps)


def check_columns(directory: Path, channel: str, texts: list[bytes]) -> None:
    for text, row in zip(texts, written(directory, texts, channel), strict=True):
        value = orjson.loads(text)
        record = parse_record(channel, value, NOON / 1e6, PublisherClock())
        for label in LABELS:
            if hasattr(record, label):
                assert row[label] == getattr(record, label)
            elif isinstance(value, dict):  # the record has no such field, the payload may
                said = value.get(label)
                assert row[label] == ((said.lower() if label == "level" else said) if type(said) is str else None)
        assert (row["kind"], row["epoch"], row["mark"]) == (channel.rpartition(":")[2], "abc", None)


@pytest.mark.parametrize("channel", CHANNELS)
@given(texts=st.lists(payloads, min_size=1, max_size=40))
@settings(max_examples=20)
def test_columns_say_what_records_say(tmp_path_factory: pytest.TempPathFactory, channel: str, texts: list[bytes]):
    check_columns(tmp_path_factory.mktemp("archive"), channel, texts)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_value_of_another_type_is_no_value(tmp_path: Path, channel: str):
    several = [5, 1.5, True, None, [], ["x"], {}, {"x": "x"}, "", "x", "X", "5", "null"]
    holders = [
        holder for label in LABELS for value in several for holder in ({label: value}, {label: value, "level": "A"})
    ]
    nested = [outer | {"data": inner} for inner in [*holders, *several] for outer in ({}, dict.fromkeys(LABELS, "Q"))]
    check_columns(tmp_path, channel, [orjson.dumps(value) for value in [*several, *holders, *nested]])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":2,"level":"info","level":"ERROR"}',
        b' \t\r\n{ "" : "" , "event" : "\\u0000\\ud83d\\ude00\\/" }\r\n',
        b'{"n":123456789012345678901234567890.0e-5,"z":-0.0,"big":1e308}',
        '{"ü✓🐛":"\u2028\u2029\ufeff"}'.encode(),
        b"[" * 200 + b"]" * 200,
        b'{"event":"' + b"x" * 600_000 + b'"}',
        b'{"event":"' + b"\\n" * 300_000 + b'"}',
        *(b"null", b"5", b'""', b'"text"', b"[]", b"{}", b"true"),
        # No JSON, which only another program can have put there.
        *(b"", b"no JSON", b"\x00\x01\x1e", b'{"level":', b"\xef\xbb\xbf{}"),
    ],
)
def test_payloads_come_back_byte_for_byte(tmp_path: Path, payload: bytes):
    written(tmp_path, [b'{"before":1}', payload, b'{"after":1}'])


def test_of_a_key_given_twice_the_last_counts(tmp_path: Path):
    (row,) = written(tmp_path, [b'{"level":"info","event":"a","level":"ERROR","event":5}'])
    assert (row["level"], row["event"]) == ("error", None)


def test_an_event_tells_what_its_data_say(tmp_path: Path):
    (row,) = written(
        tmp_path,
        [b'{"type":"analyzing","repo":"outer","target":"t","data":{"type":"inner","repo":"inner","doc_type":"d"}}'],
        CHANNELS[1],
    )
    assert (row["type"], row["repo"], row["target"], row["doc_type"]) == ("analyzing", "inner", None, "d")


def test_gaps_and_marked_payloads_are_told_apart(tmp_path: Path):
    gap = gap_payload(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.0, offset=1))
    (row,) = written(tmp_path, [gap], "", GAP)
    assert (row["kind"], row["mark"]) == ("gap", "gap")
    (row,) = written(tmp_path, [b'{"raw":"x"}'], "events", "raw")
    assert (row["kind"], row["mark"], row["event"]) == ("events", "raw", None)


def test_columns_have_their_types(tmp_path: Path):
    with writing(tmp_path, name=None) as writer:
        writer.add([StoredRow(4, 1, NOON, CHANNELS[0], None, b"{}")])
        part = writer.finish()
    with connect(tmp_path.resolve()) as duck:
        described = duck.execute(f"DESCRIBE FROM read_parquet('{tmp_path}/{part.path}', hive_partitioning = false)")
        types = {name: kind for name, kind, *_ in described.fetchall()}
    assert types == {
        "offset": "BIGINT",
        "epoch": "VARCHAR",
        "received_at": "TIMESTAMP WITH TIME ZONE",
        "kind": "VARCHAR",
        **dict.fromkeys(LABELS, "VARCHAR"),
        "mark": "VARCHAR",
        "payload": "VARCHAR",
    }
    assert columns(tmp_path / part.path)[0]["epoch"] is None


@pytest.mark.parametrize(
    "at", [datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime.max]
)
def test_times_keep_their_microseconds(tmp_path: Path, at: datetime):
    moment = at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (moment.days * 86_400 + moment.seconds) * 1_000_000 + moment.microseconds
    with writing(tmp_path) as writer:
        writer.add([StoredRow(4, 1, micros, CHANNELS[0], None, b"{}")])
        part = writer.finish()
    assert (part.first_at, part.last_at) == (micros, micros)
    assert columns(tmp_path / part.path)[0]["received_at"] == micros


def test_a_file_that_is_not_finished_comes_to_nothing(tmp_path: Path):
    with writing(tmp_path) as writer:
        writer.add([StoredRow(4, 1, NOON, CHANNELS[0], None, b"{}")])
        (aside,) = tmp_path.glob("date=*/channel=*/.*")
        assert aside.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("date=*/channel=*/*")) == []


def test_a_payload_that_is_no_text_is_damage(tmp_path: Path):
    with writing(tmp_path) as writer, pytest.raises(ArchiveDamagedError, match="offset 7, epoch abc") as caught:
        writer.add([StoredRow(4, 7, NOON, CHANNELS[0], None, b"\xff")])
    assert caught.value.path == tmp_path.resolve() / DATABASE


@pytest.mark.parametrize("name", ["date=2023-11-15", "date=2023-11-15/channel=codeworm%3Alogs"])
@pytest.mark.parametrize("is_link", [False, True])
def test_nothing_in_the_way_is_written_through(tmp_path: Path, name: str, is_link: bool):  # noqa: FBT001 - a parameter of pytest
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    for one in (archive, outside, (archive / name).parent):
        one.mkdir(exist_ok=True)
    if is_link:
        (archive / name).symlink_to(outside)
    else:
        (archive / name).touch()
    with pytest.raises(ArchiveError, match="in the way"), writing(archive):
        pass
    assert list(outside.iterdir()) == []


def test_no_file_is_ever_overwritten(tmp_path: Path):
    for attempt in (0, 1):
        with writing(tmp_path) as writer:
            writer.add([StoredRow(4, 1, NOON, CHANNELS[0], None, b'{"n":%d}' % attempt)])
            if not attempt:
                part = writer.finish()
            else:
                with pytest.raises(ArchiveError, match="in the way"):
                    writer.finish()
    assert [row["payload"] for row in columns(tmp_path / part.path)] == [b'{"n":0}']


def test_a_disk_that_loses_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sync = part_writer._sync

    def lose(path: Path) -> None:
        if path.name.endswith(".parquet.tmp"):
            path.write_bytes(path.read_bytes()[:-100])
        sync(path)

    monkeypatch.setattr(part_writer, "_sync", lose)
    with writing(tmp_path) as writer:
        writer.add([StoredRow(4, 1, NOON, CHANNELS[0], None, b"{}")])
        with pytest.raises(ArchiveDamagedError):
            writer.finish()


def test_a_file_with_other_rows_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = PartWriter._copy
    monkeypatch.setattr(
        PartWriter, "_copy", lambda self, target: copy(self, target).replace("payload FROM", "'' AS payload FROM")
    )
    with writing(tmp_path) as writer:
        writer.add([StoredRow(4, 1, NOON, CHANNELS[0], None, b"{}")])
        with pytest.raises(ArchiveDamagedError, match="just written"):
            writer.finish()


def test_directories_and_files_are_for_their_owner_alone(tmp_path: Path):
    with writing(tmp_path) as writer:
        writer.add([StoredRow(4, 1, NOON, CHANNELS[0], None, b"{}")])
        part = writer.finish()
    path = tmp_path / part.path
    assert path.stat().st_mode & 0o777 == 0o600
    assert {one.stat().st_mode & 0o777 for one in (path.parent, path.parent.parent)} == {0o700}
    assert part.bytes == path.stat().st_size
    assert list(path.parent.iterdir()) == [path]
