from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet
import pytest
from support.made_archives import stored

from codeworm_monitor import open_recording
from codeworm_monitor.archive import exporting
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.exporting import FileForm, Selection, defused, export, recording_line
from codeworm_monitor.archive.importing import import_recording
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import GAP, StoredRow, gap_payload, micros
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveError
from codeworm_monitor.payloads import normalise
from codeworm_monitor.sources.recording import read_recording

DATA = Path(__file__).parent.parent / "data"
RECORDING = DATA / "recording-1.jsonl.gz"
LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"
NOON = 1_700_049_600_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "archive")) as store:
        yield store


@pytest.fixture
def reader(store: Store) -> Iterator[ArchiveReader]:
    with ArchiveReader(store.directory) as reader:
        yield reader


def fill(store: Store, *messages: tuple[str, bytes]) -> int:
    """Have messages in the archive, a second apart, and a gap after them."""
    key = store.begin("ours")
    rows = []
    for offset, (channel, payload) in enumerate(messages, 1):
        data, _, mark = normalise(payload)
        rows.append(StoredRow(key, offset, NOON + offset * 1_000_000, channel, mark, data))
    end = len(messages) + 1
    gap = Gap(
        cause=GapCause.SOURCE_OUTAGE, started_at=NOON / 1e6, ended_at=NOON / 1e6 + end, offset=end, detail="=away"
    )
    rows.append(StoredRow(key, end, NOON + end * 1_000_000, "", GAP, gap_payload(gap)))
    store.append(rows)
    return key


def table(reader: ArchiveReader, path: Path, **options: Any) -> list[dict[str, str]]:
    export(reader, path, form=FileForm.CSV, **options)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_recording_that_was_imported_is_exported_the_same(
    store: Store, reader: ArchiveReader, tmp_path: Path, recording: Path
) -> None:
    import_recording(store, recording)
    path = tmp_path / "out.jsonl.gz"
    exported = export(reader, path, form=FileForm.JSONL)
    before, after = list(read_recording(recording)), list(read_recording(path))
    assert [(m.channel, m.payload, micros(m.received_at)) for m in before] == [
        (m.channel, m.payload, micros(m.received_at)) for m in after
    ]
    assert (exported.rows, exported.gaps, exported.bytes) == (len(before), 0, path.stat().st_size)
    assert path.read_bytes()[:2] == b"\x1f\x8b"


def test_what_was_exported_can_be_imported_elsewhere_and_opened_in_a_notebook(
    store: Store, reader: ArchiveReader, tmp_path: Path
) -> None:
    import_recording(store, RECORDING)
    path = tmp_path / "out.jsonl"
    export(reader, path, form=FileForm.JSONL)
    with contextlib.closing(Store(tmp_path / "other")) as other:
        assert import_recording(other, path).added == 1316
        assert [row[2:] for row in stored(other.directory)] == [row[2:] for row in stored(store.directory)]
    assert import_recording(store, path).added == 0
    with open_recording(path) as monitor:
        assert len(monitor.logs.df) == 570


def test_marked_payloads_survive_the_way_through_a_file(store: Store, reader: ArchiveReader, tmp_path: Path) -> None:
    fill(store, (LOGS, b"no json"), (LOGS, b"\xff"), (LOGS, b"x" * 600_000), (LOGS, b'{"raw":"mine"}'))
    path = tmp_path / "out.jsonl"
    assert export(reader, path, form=FileForm.JSONL).gaps == 1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("mark") for line in lines] == [None, "raw", "truncated", None]
    assert (lines[0]["payload"], lines[3]["payload"]) == ("no json", '{"raw":"mine"}')
    with contextlib.closing(Store(tmp_path / "other")) as other:
        import_recording(other, path)
        assert [row.payload for row in stored(other.directory)] == [row.payload for row in stored(store.directory)[:-1]]
    assert import_recording(store, path).added == 0


def test_csv_has_a_row_a_message_with_what_its_payload_says(
    store: Store, reader: ArchiveReader, tmp_path: Path
) -> None:
    log = b'{"event":"push_failed","level":"ERROR","component":"daemon","target":"f","tokens":3}'
    event = b'{"type":"analyzing","data":{"target":"g","doc_type":"til","repo":"click"},"target":"outer"}'
    fill(store, (LOGS, log), (EVENTS, event), (STATS, b"[1]"))
    rows = table(reader, tmp_path / "out.csv")
    assert list(rows[0]) == [
        *("offset", "epoch", "received_at", "channel", "level", "component", "event", "type", "repo", "target", "doc_type", "payload")
    ]  # fmt: skip
    assert rows[0] == {
        "offset": "1",
        "epoch": "ours",
        "received_at": "2023-11-15T12:00:01Z",
        "channel": LOGS,
        "level": "error",
        "component": "daemon",
        "event": "push_failed",
        "type": "",
        "repo": "",
        "target": "f",
        "doc_type": "",
        "payload": log.decode(),
    }
    assert (rows[1]["type"], rows[1]["repo"], rows[1]["target"], rows[1]["doc_type"]) == (
        "analyzing",
        "click",
        "g",
        "til",
    )
    assert rows[2]["payload"] == "[1]"
    assert (rows[3]["channel"], orjson.loads(rows[3]["payload"])["cause"]) == ("", "source_outage")


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", '=HYPERLINK("http://x")', '"=1']


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_of_csv_begins_as_a_formula(store: Store, reader: ArchiveReader, tmp_path: Path, text: str) -> None:
    payload = orjson.dumps({"event": text, "level": text, "component": text, "target": text})
    fill(store, (LOGS, payload), (f"{text}:logs", b"-1"))
    for row in table(reader, tmp_path / "out.csv"):
        for cell in row.values():
            assert cell.lstrip(" ")[:1] not in set("=+-@\t\r\n\uff1d"), cell
    assert defused("plain - text") == "plain - text"


@pytest.mark.parametrize("form", [FileForm.PARQUET, FileForm.ARROW])
def test_typed_files_hold_every_row_byte_for_byte(
    store: Store, reader: ArchiveReader, tmp_path: Path, form: FileForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "GROUP", 300)  # several groups, the last one short
    import_recording(store, RECORDING)
    fill(store, (LOGS, b"odd"))
    path = tmp_path / f"out.{form}"
    assert export(reader, path, form=form).rows == 1318
    found = pyarrow.parquet.read_table(path) if form is FileForm.PARQUET else pa.ipc.open_file(str(path)).read_all()
    expected = sorted(stored(store.directory), key=lambda row: (row.received_at, row.epoch, row.offset))
    assert [text.encode() for text in found["payload"].to_pylist()] == [row.payload for row in expected]
    assert found["received_at"].cast(pa.int64()).to_pylist() == [row.received_at for row in expected]
    assert found["channel"].to_pylist() == [row.channel for row in expected]
    assert found.schema.field("received_at").type == pa.timestamp("us", tz="UTC")
    assert found.schema.field("offset").type == pa.int64()
    assert sorted(set(found["kind"].to_pylist())) == ["events", "gap", "logs", "stats"]
    assert set(found["mark"].to_pylist()) == {None, "raw", "gap"}


def test_parquet_says_of_a_payload_what_the_archives_own_files_say(
    store: Store, reader: ArchiveReader, tmp_path: Path
) -> None:
    import_recording(store, RECORDING)
    odd = b'{"event":7,"level":"WARN","data":{"target":1,"repo":"x"},"type":["a"]}'
    fill(store, (LOGS, odd), (EVENTS, odd), (EVENTS, b'{"data":"text"}'), (LOGS, b"3"))
    export(reader, tmp_path / "out.parquet", form=FileForm.PARQUET)
    compact(store)
    names = [
        "epoch",
        "offset",
        "kind",
        "level",
        "component",
        "event",
        "type",
        "repo",
        "target",
        "doc_type",
        "mark",
        "payload",
    ]
    own = [
        row
        for path in store.directory.glob("date=*/*/*.parquet")
        for row in pyarrow.parquet.ParquetFile(path).read(columns=names).to_pylist()
    ]
    ours = pyarrow.parquet.read_table(tmp_path / "out.parquet", columns=names).to_pylist()

    def key(row: dict[str, Any]) -> tuple[str, int]:
        return row["epoch"], row["offset"]

    assert sorted(ours, key=key) == sorted(own, key=key)


def test_a_selection_is_by_time_channel_and_level(store: Store, reader: ArchiveReader, tmp_path: Path) -> None:
    levels = ["debug", "info", "WARNING", "error", "odd"]
    fill(store, *[(LOGS, orjson.dumps({"level": level})) for level in levels], (EVENTS, b"{}"))

    def offsets(**options: Any) -> list[int]:
        rows = table(reader, tmp_path / "out.csv", selection=Selection(**options), overwrite=True)
        return [int(row["offset"]) for row in rows]

    second = 1_000_000
    assert offsets() == [1, 2, 3, 4, 5, 6, 7]
    assert offsets(since=NOON + 3 * second, until=NOON + 5 * second) == [3, 4]
    assert offsets(channels=frozenset({EVENTS})) == [6, 7]  # gaps come in any case
    assert offsets(level="warning") == [3, 4, 7]
    with pytest.raises(ValueError, match="no level"):
        Selection(level="odd")


def test_rows_in_the_database_and_in_parquet_files_come_as_one(
    store: Store, reader: ArchiveReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE", 100)
    import_recording(store, RECORDING)
    before = io.BytesIO()
    export(reader, before, form=FileForm.JSONL)
    compact(store)
    after = io.BytesIO()
    export(reader, after, form=FileForm.JSONL)
    assert before.getvalue() == after.getvalue()
    assert len(before.getvalue().splitlines()) == 1316


def test_a_file_that_is_there_is_replaced_only_if_told(store: Store, reader: ArchiveReader, tmp_path: Path) -> None:
    fill(store, (LOGS, b"{}"))
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(ArchiveError, match="--force"):
        export(reader, path, form=FileForm.CSV)
    assert path.read_text() == "mine"
    export(reader, path, form=FileForm.CSV, overwrite=True)
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("form", list(FileForm))
def test_an_export_that_fails_leaves_what_was_there_and_nothing_else(
    store: Store, reader: ArchiveReader, tmp_path: Path, form: FileForm
) -> None:
    fill(store, (LOGS, b"{}"))
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "file"
    path.write_text("mine")

    def stop(label: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(reader, path, form=form, overwrite=True, on_progress=stop)
    assert [(one.name, one.read_text()) for one in folder.iterdir()] == [("file", "mine")]
    with pytest.raises(ArchiveError, match="cannot be written"):
        export(reader, folder / "missing" / "file", form=form)


def test_an_empty_selection_makes_a_readable_file(store: Store, reader: ArchiveReader, tmp_path: Path) -> None:
    for form in (FileForm.PARQUET, FileForm.ARROW, FileForm.CSV):
        assert export(reader, tmp_path / f"out.{form}", form=form).rows == 0
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 0
    assert pa.ipc.open_file(str(tmp_path / "out.arrow")).read_all().num_rows == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1


def test_compressed_csv_is_csv(store: Store, reader: ArchiveReader, tmp_path: Path) -> None:
    fill(store, (LOGS, '{"event":"höher"}'.encode()))
    export(reader, tmp_path / "out.csv.gz", form=FileForm.CSV)
    export(reader, tmp_path / "out.csv", form=FileForm.CSV)
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == (tmp_path / "out.csv").read_bytes()


def test_typed_files_go_to_a_file_only(reader: ArchiveReader) -> None:
    with pytest.raises(ArchiveError, match="name one"):
        export(reader, io.BytesIO(), form=FileForm.PARQUET)


def test_a_line_of_a_recording_is_one_line() -> None:
    line = recording_line(StoredRow(1, 1, NOON, LOGS, None, b'{"a":"\xc3\xa9\\n"}'))
    assert line == b'{"t":1700049600.0,"channel":"codeworm:logs","payload":"{\\"a\\":\\"\xc3\xa9\\\\n\\"}"}\n'
