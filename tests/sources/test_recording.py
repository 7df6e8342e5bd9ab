from __future__ import annotations

import asyncio
import gzip
import math
import time
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import orjson
import pytest
from support.waiting import eventually
from support.watching import watching

from codeworm_monitor.errors import RecordingError, SettingError
from codeworm_monitor.sources import Connected, Message
from codeworm_monitor.sources.recording import RecordingSource, read_recording


def a_recording(path: Path, messages: list[tuple[float, str, str]], *, packed: bool = False) -> Path:
    text = b"".join(
        orjson.dumps({"t": t, "channel": channel, "payload": payload}) + b"\n" for t, channel, payload in messages
    )
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


MESSAGES = [(1000.0 + number / 10, f"channel-{number % 3}", f'{{"n":{number}}}') for number in range(30)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["traffic.jsonl", "traffic.jsonl.gz"])
def test_a_recording_is_told_by_its_content_not_by_its_name(tmp_path: Path, name: str, packed: bool):  # noqa: FBT001 - a parameter of pytest
    path = a_recording(tmp_path / name, MESSAGES, packed=packed)
    assert list(read_recording(path)) == [Message(channel, text.encode(), t) for t, channel, text in MESSAGES]
    assert list(read_recording(str(path))) == list(read_recording(path))


def test_payloads_keep_their_exact_text(tmp_path: Path):
    texts = ['{"a": 1 }', "not JSON", "", "\x00\x1b[0m", "ünï\u2028✓ 🐛", "\n\r\n"]
    path = a_recording(tmp_path / "r", [(1.0, "c", text) for text in texts])
    assert [message.payload for message in read_recording(path)] == [text.encode() for text in texts]


def test_the_shipped_recordings_can_be_read(recording: Path):
    messages = list(read_recording(recording))
    assert len(messages) > 100
    assert {message.channel for message in messages} == {"codeworm:logs", "codeworm:events", "codeworm:stats"}
    assert all(orjson.loads(message.payload) for message in messages)
    assert messages == sorted(messages, key=lambda message: message.received_at)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense", "no JSON"),
        (b"", "no JSON"),
        (b'{"t": 1, "channel": "c"', "no JSON"),
        (b'{"t": NaN, "channel": "c", "payload": "x"}', "no JSON"),
        (b'{"t": 1, "channel": "c", "payload": "\xff"}', "no JSON"),
        (b"[]", "not of the form"),
        (b"5", "not of the form"),
        (b'{"t": 1, "channel": "c"}', "not of the form"),
        (b'{"t": "1", "channel": "c", "payload": "x"}', "not of the form"),
        (b'{"t": true, "channel": "c", "payload": "x"}', "not of the form"),
        (b'{"t": 1, "channel": null, "payload": "x"}', "not of the form"),
        (b'{"t": 1, "channel": "c", "payload": {"a": 1}}', "not of the form"),
    ],
)
def test_a_line_that_is_no_message_is_named(tmp_path: Path, line: bytes, said: str):
    path = a_recording(tmp_path / "r.jsonl", MESSAGES[:2])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RecordingError, match=said) as caught:
        list(read_recording(path))
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_the_messages_before_the_damage_are_read(tmp_path: Path):
    path = a_recording(tmp_path / "r.jsonl", MESSAGES)
    path.write_bytes(path.read_bytes() + b"damage\n")
    reading = read_recording(path)
    assert len(list(islice(reading, 30))) == 30
    with pytest.raises(RecordingError):
        next(reading)


def test_a_cut_off_or_damaged_gzip_file_is_named(tmp_path: Path):
    whole = a_recording(tmp_path / "whole.gz", [(1.0, "c", str(number) * 50) for number in range(999)], packed=True)
    packed = whole.read_bytes()
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    for name, content in {"cut": packed[:-20], "header": packed[:5], "damaged": damaged, "more": packed + b"?"}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=f"{name}.*(compressed file is cut off or damaged|no JSON)"):
            list(read_recording(path))


def test_what_is_no_readable_file_is_named(tmp_path: Path):
    (tmp_path / "empty").touch()
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    for name, said in {
        "missing": "No such file",
        ".": "Is a directory",
        "empty": "is empty",
        "empty.gz": "is empty",
    }.items():
        with pytest.raises(RecordingError, match=said):
            list(read_recording(tmp_path / name))


def test_an_endless_line_is_not_read_into_memory(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("codeworm_monitor.sources.recording._LONGEST_LINE", 1000)
    path = tmp_path / "r"
    path.write_bytes(b'"' + b"x" * 5000)
    with pytest.raises(RecordingError, match="longer than a line may be"):
        list(read_recording(path))


# Playing


@pytest.mark.parametrize("speed", [None, math.inf])
async def test_it_plays_as_fast_as_it_is_taken_and_then_ends(recording: Path, speed: float | None):
    before = time.time()
    happenings = [happening async for happening in RecordingSource(recording, speed=speed)]
    assert isinstance(happenings[0], Connected)
    batches = [batch for batch in happenings[1:] if isinstance(batch, list)]
    assert all(1 <= len(batch) <= 500 for batch in batches)
    played = [message for batch in batches for message in batch]
    recorded = await asyncio.to_thread(lambda: list(read_recording(recording)))
    assert [one[:2] for one in played] == [one[:2] for one in recorded]
    assert before <= played[0].received_at <= played[-1].received_at <= time.time()


async def test_it_keeps_the_pauses_divided_by_the_speed(tmp_path: Path):
    times = [50.0, 51.0, 51.0, 53.0, 56.0, 55.0]
    path = a_recording(tmp_path / "r", [(t, "c", str(number)) for number, t in enumerate(times)])
    started = time.time()
    async with watching(RecordingSource(path, speed=10)) as witness:
        await eventually(lambda: len(witness.messages) == 6)
    assert witness.payloads == [b"0", b"1", b"2", b"3", b"4", b"5"]
    for message, due in zip(witness.messages, [0, 0.1, 0.1, 0.3, 0.6, 0.6], strict=True):
        assert due - 0.01 <= message.received_at - started <= due + 0.25


async def test_a_reader_that_was_busy_gets_at_once_what_has_become_due(tmp_path: Path):
    path = a_recording(tmp_path / "r", [(number / 100, "c", str(number)) for number in range(60)])
    async with aclosing(RecordingSource(path).__aiter__()) as happenings:
        await anext(happenings)
        first = await anext(happenings)
        busy = time.monotonic()
        await eventually(lambda: time.monotonic() - busy > 0.3)
        second = await anext(happenings)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert len(first) < 5
    assert len(second) > 20


async def test_it_repeats_without_end_if_asked_to(tmp_path: Path):
    path = a_recording(tmp_path / "r", MESSAGES)
    async with watching(RecordingSource(path, speed=None, repeat=True)) as witness:
        await eventually(lambda: len(witness.messages) > 200)
    assert [message.payload.decode() for message in witness.messages[:90]] == [text for *_, text in MESSAGES] * 3
    assert witness.shape == "C"


async def test_damage_is_raised_after_the_messages_before_it(tmp_path: Path):
    path = a_recording(tmp_path / "r", MESSAGES)
    path.write_bytes(path.read_bytes() + b"damage\n")
    happenings = RecordingSource(path, speed=None).__aiter__()
    await anext(happenings)
    batch = await anext(happenings)
    assert isinstance(batch, list)
    assert len(batch) == 30
    with pytest.raises(RecordingError, match="line 31"):
        await anext(happenings)
    with pytest.raises(RecordingError, match="No such file"):
        _ = [happening async for happening in RecordingSource(tmp_path / "missing")]


async def test_it_can_be_closed_at_any_moment_and_read_by_several(recording: Path):
    source = RecordingSource(recording, speed=None)
    assert source.name == str(recording)
    for steps in range(6):
        async with watching(source), watching(source):
            for _ in range(steps):
                await asyncio.sleep(0)


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_must_be_above_zero(tmp_path: Path, speed: float):
    with pytest.raises(SettingError, match="speed"):
        RecordingSource(tmp_path, speed=speed)
