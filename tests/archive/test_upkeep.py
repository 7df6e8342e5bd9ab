from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from support.kept import Kept, kept, on_disk
from support.waiting import eventually

from codeworm_monitor.archive import upkeep as upkeep_module
from codeworm_monitor.archive.store import Store
from codeworm_monitor.archive.upkeep import Upkeep, keep_up

DAY = 86_400.0


async def fill(it: Kept, *ages: float) -> None:
    """Publish a hundred messages of each age, in days."""
    for age in ages:
        it.publish(*[b'{"level":"info"}'] * 100, at=time.time() - age * DAY)
    assert await it.archive.flushed(it.hub.head)


def upkeep_of(it: Kept, *, days: float = 90.0, max_bytes: int = 2**30) -> Upkeep:
    def note(event: str, **details: object) -> None:
        it.notes.append(event)

    return Upkeep(it.archive, days=days, max_bytes=max_bytes, note=note, first_after=0.0, every=0.2)


async def run_until(it: Kept, upkeep: Upkeep, event: str) -> None:
    task = asyncio.create_task(upkeep.run())
    try:
        await eventually(lambda: event in it.notes, within=30)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_closed_days_become_parquet_beside_a_writer_that_goes_on(tmp_path):
    async with kept(tmp_path) as it:
        await fill(it, 3, 2, 0)
        before = await on_disk(tmp_path)
        await run_until(it, upkeep_of(it), "archive_looked_after")
        assert len(await asyncio.to_thread(lambda: list(tmp_path.glob("date=*/channel=*/*.parquet")))) == 2
        assert await on_disk(tmp_path) == before
        it.publish(b'{"level":"info"}')
        assert await it.archive.flushed(it.hub.head)
        assert len(await on_disk(tmp_path)) == len(before) + 1


async def test_what_is_too_old_leaves_and_the_oldest_offset_is_told_anew(tmp_path):
    async with kept(tmp_path) as it:
        await fill(it, 10, 5, 0)
        assert it.archive.oldest == 1
        await run_until(it, upkeep_of(it, days=7), "archive_looked_after")
        await eventually(lambda: it.archive.oldest == 101)
        assert [entry.offset for entry in await on_disk(tmp_path)] == list(range(101, 301))


async def test_nothing_is_done_while_nothing_is_due(tmp_path, monkeypatch):
    async with kept(tmp_path) as it:
        await fill(it, 0)
        upkeep = upkeep_of(it)

        async def never() -> None:
            raise AssertionError("nothing was due")

        monkeypatch.setattr(upkeep, "_work", never)
        assert not await it.archive.read(upkeep._is_due)


async def test_without_duckdb_closed_days_stay_and_it_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep_module.importlib.util, "find_spec", lambda name: None)
    async with kept(tmp_path) as it:
        await fill(it, 3, 0)
        upkeep = upkeep_of(it)
        for _ in range(3):
            assert not await it.archive.read(upkeep._is_due)
        assert it.notes == ["archive_not_compacted"]


async def test_a_process_that_fails_is_told_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep_module.sys, "executable", "/bin/false")
    async with kept(tmp_path) as it:
        await fill(it, 3)
        await run_until(it, upkeep_of(it), "archive_upkeep_failed")


async def test_cancelling_ends_the_process_under_way(tmp_path, monkeypatch):
    async with kept(tmp_path) as it:
        await fill(it, 3)
        pause = tmp_path / "pause"
        pause.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
        pause.chmod(0o700)
        monkeypatch.setattr(upkeep_module.sys, "executable", str(pause))
        task = asyncio.create_task(upkeep_of(it).run())
        await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        pid = (tmp_path / "pid").read_text().strip()
        task.cancel()
        await asyncio.wait([task])
        assert not Path(f"/proc/{pid}").exists() or sys.platform != "linux"


def test_it_trims_and_compacts_in_one_go_and_says_what_it_did(tmp_path):
    assert importlib.util.find_spec("duckdb") is not None
    store = Store(tmp_path)
    now = 1_795_384_606.0
    key = store.begin()
    times = [now - 10 * DAY] * 5 + [now - 2 * DAY] * 7 + [now] * 3
    store.append_columns(key, 1, times, ["codeworm:logs"] * 15, [b"{}"] * 15, [None] * 15)
    store.close()
    done = keep_up(tmp_path, days=5, max_bytes=2**30, now=now)
    assert done["trimmed"]["rows"] == 5
    assert done["compacted"]["rows"] == 7


def test_what_is_no_archive_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    code = "import runpy, sys; sys.argv[1:] = [{!r}, '1', '1']; runpy.run_module('codeworm_monitor.archive.upkeep', run_name='__main__')"

    done = subprocess.run(
        [sys.executable, "-c", code.format(str(tmp_path / "file" / "x"))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


async def test_what_is_too_much_leaves_oldest_first(tmp_path):
    async with kept(tmp_path) as it:
        for age in range(20, 0, -1):
            it.publish(*[b'"%s"' % (b"x" * 700)] * 1000, at=time.time() - age / 100)
        assert await it.archive.flushed(it.hub.head)
        await run_until(it, upkeep_of(it, max_bytes=12 * 2**20), "archive_looked_after")
        left = [entry.offset for entry in await on_disk(tmp_path)]
        assert 4_000 < len(left) < 12_000
        assert left == list(range(20_001 - len(left), 20_001))
