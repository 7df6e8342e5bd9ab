from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import orjson
import pytest
from support.readers import v2_reader

from codeworm_monitor import Relay, discovery
from codeworm_monitor.errors import RecordingError, SettingError
from codeworm_monitor.record_replay import RecordingReplay
from codeworm_monitor.sources import Connected, Message
from codeworm_monitor.sources.recording import read_recording

LOGS = "codeworm:logs"
INFINITE = float("inf")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A recording of ten messages, one a second."""
    lines = [orjson.dumps({"t": 1000.0 + n, "channel": LOGS, "payload": f'{{"n": {n}}}'}) for n in range(10)]
    file = tmp_path / "traffic.jsonl"
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


async def messages(source: RecordingReplay) -> list[Message]:
    found: list[Message] = []
    async with aclosing(aiter(source)) as happenings:
        assert isinstance(await anext(happenings), Connected)
        async for happening in happenings:
            assert isinstance(happening, list)
            found += happening
    return found


async def source_of(path: Path, **options: float) -> RecordingReplay:
    return await asyncio.to_thread(RecordingReplay, path, **options)


async def test_messages_come_with_their_bytes_and_the_times_of_then(recording: Path) -> None:
    source = await source_of(recording, speed=INFINITE)
    assert await messages(source) == await asyncio.to_thread(lambda: list(read_recording(recording)))


async def test_a_stretch_is_served_and_its_clock_is_that_of_then(path: Path) -> None:
    source = await source_of(path, since=1003.0, until=1006.0, speed=100.0)
    assert source.clock() == 1003.0
    assert [message.received_at for message in await messages(source)] == [1003.0, 1004.0, 1005.0]
    assert source.clock() >= 1005.0


async def test_a_relay_takes_it_for_a_replay_and_readers_get_what_was_recorded(path: Path) -> None:
    source = await source_of(path, speed=INFINITE)
    async with (
        Relay(port=0, no_archive=True, token="correct-horse-battery", source=source) as relay,
        v2_reader(relay.url, "correct-horse-battery") as reader,
    ):
        (announced,) = await asyncio.to_thread(discovery.find)
        await reader.subscribe(tail=100)
        await reader.read_until(10)
    assert announced.is_replay
    assert [envelope.received_at for envelope in reader.envelopes] == [1000.0 + n for n in range(10)]
    assert [data["n"] for data in reader.data] == list(range(10))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"speed": 0.0}, SettingError),
        ({"since": 5.0, "until": 5.0}, SettingError),
        ({"since": 5000.0}, RecordingError),
    ],
)
async def test_what_cannot_be_served_is_said_at_once(path: Path, options: dict[str, float], error: type) -> None:
    with pytest.raises(error):
        await source_of(path, **options)


@pytest.mark.parametrize("text", [b"", b"{}\n", b'{"t":1e300,"channel":"c","payload":""}\n'])
async def test_a_file_that_is_no_recording_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(RecordingError):
        await source_of(path)


async def test_damage_on_the_way_is_told_after_what_came_before_it(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"garbage\n")
    source = await source_of(path, speed=INFINITE)
    async with aclosing(aiter(source)) as happenings:
        await anext(happenings)
        assert len(await anext(happenings)) == 10  # type: ignore[arg-type]
        with pytest.raises(RecordingError, match="line 11"):
            await anext(happenings)
