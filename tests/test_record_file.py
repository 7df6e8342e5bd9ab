from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import pytest

from codeworm_monitor.errors import RecordingError
from codeworm_monitor.record_file import MEMBER_BYTES, RecordingFile

LINE = b'{"t":1.0,"channel":"c","payload":"x"}\n'


def test_of_gzip_whatever_was_flushed_can_be_read_before_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    with RecordingFile(path, flush_every=3600) as file:
        file.write([LINE])
        assert path.stat().st_size == 0
        file.write([LINE] * (MEMBER_BYTES // len(LINE)))
        assert gzip.decompress(path.read_bytes()).count(LINE) == file.written
        file.write([LINE] * 10)
        file.flush()
        assert gzip.decompress(path.read_bytes()) == LINE * file.written
        file.write([LINE])
    assert gzip.decompress(path.read_bytes()) == LINE * file.written
    assert file.bytes == path.stat().st_size


def test_lines_that_are_not_compressed_are_in_the_file_at_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with RecordingFile(path) as file:
        file.write([LINE, LINE])
        assert path.read_bytes() == LINE * 2
    file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_former_file_goes_when_something_takes_its_place_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"precious" * 1000)
    with RecordingFile(path, overwrite=True):
        pass
    assert path.read_bytes() == b"precious" * 1000
    with RecordingFile(path, overwrite=True) as file:
        file.write([LINE])
    assert path.read_bytes() == LINE


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(tmp_path / "elsewhere")
    for path in (fifo, link, tmp_path, Path("/dev/null")):
        with pytest.raises(RecordingError, match=r"cannot be written|is no plain file"):
            RecordingFile(path, overwrite=True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_is_there_is_refused_and_one_without_a_line_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with RecordingFile(path), pytest.raises(RecordingError, match="is there already"):
        RecordingFile(path)
    assert not path.exists()
