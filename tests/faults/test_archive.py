"""Faults of the archive, case 29: of the disk below it, of its file, and of the relay that writes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.load import LOGS
from support.processes import TOKEN, run
from support.readers import V2Reader, v2_reader
from support.servers import Server
from support.vitals import Vitals, watched_relay
from support.waiting import eventually

from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.envelope import Cursor, GapCause

MIB = 2**20


def line(number: int, size: int = 300) -> bytes:
    return orjson.dumps({"event": "load", "level": "info", "n": number, "pad": "x" * size})


async def archive_of(relay: Vitals) -> dict[str, Any]:
    """Return what the relay says of its archive."""
    archive = orjson.loads((await relay.fetch("/info"))[1])["statistics"]["archive"]
    assert isinstance(archive, dict)
    return archive


async def is_written(relay: Vitals) -> bool:
    archive = await archive_of(relay)
    return archive["is_writing"] and archive["waiting"] == 0


async def history(relay: Vitals) -> list[dict[str, Any]]:
    """Return all entries that `/history` tells."""
    entries, cursor = [], ""
    while True:
        status, text = await relay.fetch(f"/history?limit=5000{cursor}")
        assert status == 200, text
        page = orjson.loads(text)
        entries += page["entries"]
        if page["next"] is None:
            return entries
        cursor = f"&cursor={page['next']}"


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["data"]["n"] for entry in entries if entry.get("channel") == LOGS]


@contextlib.asynccontextmanager
async def live_reader(relay: Vitals) -> AsyncIterator[V2Reader]:
    async with v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe()
        yield reader


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """Yield a directory on a disk of its own; without the right to mount one, skip."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


async def test_a_full_disk_stops_no_reader_and_writing_resumes_by_itself(tmp_path: Path) -> None:
    """Case 29: a disk of 3 MB, filled."""
    with small_disk(tmp_path / "disk", "3m") as disk:
        place = disk / "archive"
        async with Server() as server, watched_relay("--archive", str(place), redis_url=server.url) as relay:
            async with live_reader(relay) as reader:
                await server.publish(LOGS, map(line, range(1000)))
                await reader.read_until(1000)
                await eventually(lambda: is_written(relay))
                filler = disk / "filler"
                with contextlib.suppress(OSError), filler.open("wb") as file:
                    while True:
                        file.write(b"x" * 4096)
                        file.flush()
                await server.publish(LOGS, map(line, range(1000, 3000)))
                await reader.read_until(3000)  # live, whatever the disk says
                await eventually(lambda: _says(relay, "cannot be written"))
                assert (await relay.fetch("/readyz"))[0] == 200
                assert await relay.metric("archive_writing") == 0
                await has_heard(reader, "archive_failing")
                filler.unlink()
                await eventually(lambda: is_written(relay), within=40)
                assert await _says(relay, "archive: written")
                await server.publish(LOGS, [line(3000)])
                await reader.read_until(3001)
                await eventually(lambda: is_written(relay))
                await has_heard(reader, "archive_written_again")
                assert reader.is_whole
            assert numbers(await history(relay)) == list(range(3001))


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def lift_file_size_limit(pid: int) -> None:
    subprocess.run(["prlimit", f"--pid={pid}", "--fsize=unlimited"], check=True)


async def has_heard(reader: V2Reader, event: str) -> None:
    """Read until the relay's own channel has told of an event."""
    while not any(record["event"] == event for record in reader.journal):
        await reader.read()


async def _says(relay: Vitals, text: str) -> bool:
    return text in (await relay.fetch("/readyz"))[1]


async def test_a_place_where_nothing_can_be_written_at_the_start_is_said_and_the_relay_serves(tmp_path: Path) -> None:
    """Case 29: read-only from the beginning."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        remount(disk, "ro")
        async with Server() as server, watched_relay("--archive", str(disk / "a"), redis_url=server.url) as relay:
            async with live_reader(relay) as reader:
                await server.publish(LOGS, map(line, range(10)))
                await reader.read_until(10)
                assert await _says(relay, "cannot be written")
                remount(disk, "rw")
                await eventually(lambda: is_written(relay), within=40)
            assert numbers(await history(relay)) == list(range(10))


async def test_a_file_size_limit_is_met_as_a_full_disk_is(tmp_path: Path) -> None:
    """Case 29: the system lets no file grow beyond a megabyte."""
    limit = ("prlimit", f"--fsize={MIB}:unlimited")
    place = str(tmp_path / "a")
    async with Server() as server, watched_relay("--archive", place, redis_url=server.url, before=limit) as relay:
        async with live_reader(relay) as reader:
            await server.publish(LOGS, map(line, range(8000)))
            await reader.read_until(8000)
            await eventually(lambda: _says(relay, "cannot be written"))
            lift_file_size_limit(relay.pid)
            await eventually(lambda: is_written(relay), within=40)
            assert reader.is_whole
        assert numbers(await history(relay)) == list(range(8000))


async def test_a_database_that_another_process_holds_stops_no_reader(tmp_path: Path) -> None:
    """Case 29: locked for longer than a writer waits."""
    async with Server() as server, watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
        async with live_reader(relay) as reader:
            other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            await server.publish(LOGS, map(line, range(100)))
            await reader.read_until(100)
            await eventually(lambda: _says(relay, "locked"), within=30)
            other.execute("ROLLBACK")
            other.close()
            await eventually(lambda: is_written(relay), within=40)
        assert numbers(await history(relay)) == list(range(100))


@pytest.mark.parametrize("seed", range(3))
async def test_a_damaged_file_is_set_aside_what_can_be_read_is_saved_and_the_relay_runs_on(
    tmp_path: Path, seed: int
) -> None:
    """Case 29: pages overwritten between two runs."""
    async with Server() as server:
        async with watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
            await server.publish(LOGS, map(line, range(5000)))
            await eventually(lambda: _has_archived(relay, 5000))
        chance = random.Random(seed)
        with (tmp_path / DATABASE).open("r+b") as file:
            file.seek(chance.randrange(8192, (tmp_path / DATABASE).stat().st_size - 32_768))
            file.write(chance.randbytes(32_768))
        async with watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
            assert (await archive_of(relay))["repaired"]
            await server.publish(LOGS, [line(5000)])
            await eventually(lambda: _has_number(relay, 5000))
            saved = numbers(await history(relay))
            assert len(saved) > 4_500
            assert len(set(saved)) == len(saved)
        assert any((tmp_path / "damaged").rglob(DATABASE))


async def _has_archived(relay: Vitals, count: int) -> bool:
    return (await archive_of(relay))["archived"] >= count


async def _has_number(relay: Vitals, number: int) -> bool:
    status, text = await relay.fetch("/history?reverse=true&limit=20")
    assert status == 200
    return number in numbers(orjson.loads(text)["entries"])


async def test_a_write_ahead_log_that_is_cut_off_costs_its_end_alone(tmp_path: Path) -> None:
    """Case 29: the relay is killed, and the log truncated as by a crash of the machine."""
    async with Server() as server:
        async with watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
            await server.publish(LOGS, map(line, range(500)))
            await eventually(lambda: _has_archived(relay, 500))
            os.kill(relay.pid, signal.SIGKILL)
            await relay.relay.ended()
        log = tmp_path / f"{DATABASE}-wal"
        os.truncate(log, log.stat().st_size * 2 // 3 + 7)
        async with watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
            await server.publish(LOGS, [line(500)])
            await eventually(lambda: _has_number(relay, 500))
            found = numbers(await history(relay))
            assert found[-1] == 500
            assert found[:-1] == list(range(len(found) - 1))


async def test_an_archive_of_a_newer_release_is_left_alone_and_named(tmp_path: Path) -> None:
    """Case 29: the schema is newer than this program."""
    async with Server() as server:
        async with watched_relay("--archive", str(tmp_path), redis_url=server.url):
            pass
        database = sqlite3.connect(tmp_path / DATABASE)
        database.execute("PRAGMA user_version = 99")
        database.close()
        before = (tmp_path / DATABASE).read_bytes()
        status, _, err = await run("relay", "--port", "0", "--archive", str(tmp_path), "--redis-url", server.url)
        assert status == 1
        assert "newer release" in err
        assert "Traceback" not in err
        assert (tmp_path / DATABASE).read_bytes() == before


async def test_a_second_relay_on_the_same_archive_is_refused_with_one_clear_line(tmp_path: Path) -> None:
    """Case 29: two relays, one archive."""
    async with Server() as server, watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
        status, _, err = await run("relay", "--port", "0", "--archive", str(tmp_path), "--redis-url", server.url)
        assert status == 1
        assert f"process {relay.pid}" in err
        assert "--no-archive" in err
        assert "Traceback" not in err


async def test_killed_at_random_moments_it_keeps_what_it_acknowledged_reuses_no_offset_and_tells_the_gap(
    tmp_path: Path,
) -> None:
    """Case 29: kill -9 of the whole relay under load, eight times; a process reads all the while."""
    chance = random.Random(29)
    seen: dict[int, int] = {}  # by offset, the number that a reader was sent under it
    acknowledged: set[int] = set()
    watching = watch(tmp_path)
    epoch, published = "", 0
    async with Server() as server:
        for _ in range(8):
            async with watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay:
                async with live_reader(relay) as reader:
                    assert epoch in ("", reader.hello.epoch)
                    epoch = reader.hello.epoch
                    first = published
                    deadline = asyncio.get_running_loop().time() + chance.uniform(0.3, 1.5)
                    while asyncio.get_running_loop().time() < deadline:
                        await server.publish(LOGS, map(line, range(published, published + 200)))
                        published += 200
                        await reader.read_until(published - first)
                    archived = (await archive_of(relay))["archived"]
                    os.kill(relay.pid, signal.SIGKILL)
                    await relay.relay.ended()
                for envelope, data in zip(reader.envelopes, reader.data, strict=True):
                    assert envelope.offset not in seen
                    seen[envelope.offset] = data["n"]
                    if envelope.offset <= archived:
                        acknowledged.add(envelope.offset)
            kept = await asyncio.to_thread(_rows, tmp_path)
            assert {offset: orjson.loads(kept[offset])["n"] for offset in acknowledged} == {
                offset: seen[offset] for offset in acknowledged
            }
        async with (
            watched_relay("--archive", str(tmp_path), redis_url=server.url) as relay,
            v2_reader(relay.url, TOKEN) as reader,
        ):
            answer = await reader.subscribe(cursor=Cursor(epoch, 0))
            assert answer.recovered
            head = reader.hello.head
            while not reader.seen or reader.seen[-1] < head:
                await reader.read()
            restarts = [gap for gap in reader.gaps if gap.cause is GapCause.RELAY_RESTART]
            assert len(restarts) == 8
            told = {gap.offset: gap for gap in restarts}
            missing = set(seen) - set(reader.seen)
            for offset in missing:  # given, seen live, and lost with the last batch: each is covered
                assert any(gap.first_offset <= offset <= gap.last_offset for gap in told.values())
    watching.terminate()
    out, _ = watching.communicate(timeout=10)
    assert "error" not in out.lower(), out


def watch(directory: Path) -> subprocess.Popen[str]:
    """Start a process that reads the archive all the while."""
    return subprocess.Popen(
        [sys.executable, "-c", _WATCH, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _rows(directory: Path) -> dict[int, bytes]:
    with ArchiveReader(directory) as archive:
        (key,) = archive.epochs()
        return {row.offset: row.payload for row in archive.after(key, 0, limit=1_000_000)}


_WATCH = """
import sys, time
from pathlib import Path
from codeworm_monitor.archive.reader import ArchiveReader
directory = Path(sys.argv[1])
while not (directory / "archive.sqlite").exists():
    time.sleep(0.01)
time.sleep(0.2)
while True:
    try:
        with ArchiveReader(directory) as reader:
            for key in reader.epochs():
                offsets = [row.offset for row in reader.after(key, 0, limit=100_000)]
                assert offsets == sorted(set(offsets)), "not ascending"
    except Exception as error:
        print("error", type(error).__name__, error, flush=True)
        raise
"""
