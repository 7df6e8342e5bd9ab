from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.archives import fill
from support.faked_relay import FakedRelay
from support.findings import case_of, findings, outcomes
from support.processes import MODULE, can_mount, run

from codeworm_monitor.archive.database import DATABASE, SCHEMA_VERSION
from codeworm_monitor.archive.store import Store
from codeworm_monitor.doctor import archive_checks
from codeworm_monitor.doctor.archive_checks import check_archive
from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.health import Disk

LOGS = "codeworm:logs"
SOUND = {"archive.sound": Outcome.OK, "archive.access": Outcome.OK}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A sound archive of 2,000 messages."""
    directory = tmp_path / "archive"
    with closing(Store(directory)) as store:
        fill(store, [(1000.0 + n, LOGS, {"event": "x", "n": n, "pad": "y" * 200}) for n in range(2000)])
    return directory


def rewrite(directory: Path, at: int, text: bytes) -> None:
    with (directory / DATABASE).open("r+b") as file:
        file.seek(at)
        file.write(text)


async def found_in(archive: Path) -> dict[str, Any]:
    return await findings(check_archive, case_of(archive=archive))


async def test_a_sound_archive_passes(archive: Path) -> None:
    found = outcomes(await found_in(archive))
    assert found.items() >= SOUND.items()
    assert found["archive.room"] is not Outcome.SKIPPED


@pytest.mark.parametrize(("at", "text"), [(0, b"no database at all"), (16_384 * 3, b"\xff" * 16_384 * 4)])
async def test_a_damaged_archive_fails_and_the_mend_repairs_it(archive: Path, at: int, text: bytes) -> None:
    rewrite(archive, at, text)
    found = await found_in(archive)
    assert outcomes(found)["archive.sound"] is Outcome.FAILED
    command = found["archive.sound"].mend.partition("python -m codeworm_monitor ")[2].split()
    assert command[:2] == ["archive", "repair"]
    status, _, err = await run(*command)
    assert status == 0, err
    assert outcomes(await found_in(archive))["archive.sound"] is Outcome.OK


async def test_an_archive_of_a_newer_release_wants_an_update(archive: Path) -> None:
    with closing(sqlite3.connect(archive / DATABASE)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    found = await found_in(archive)
    assert outcomes(found)["archive.sound"] is Outcome.FAILED
    assert "pip install -U" in found["archive.sound"].mend


async def test_an_archive_that_others_may_read_is_a_warning_and_the_mend_closes_it(archive: Path) -> None:
    archive.chmod(0o755)
    (archive / DATABASE).chmod(0o644)
    found = await found_in(archive)
    assert outcomes(found)["archive.access"] is Outcome.WARNING
    process = await asyncio.create_subprocess_exec(*found["archive.access"].mend.split())
    assert await process.wait() == 0
    assert outcomes(await found_in(archive))["archive.access"] is Outcome.OK


@pytest.mark.parametrize(("free", "outcome"), [(2**20, Outcome.FAILED), (2**29, Outcome.WARNING), (2**34, Outcome.OK)])
async def test_the_room_on_its_disk_is_judged(
    archive: Path, monkeypatch: pytest.MonkeyPatch, free: int, outcome: Outcome
) -> None:
    monkeypatch.setattr(archive_checks, "disk_of", lambda directory: Disk(free=free, total=2**35))
    found = await found_in(archive)
    assert outcomes(found)["archive.room"] is outcome
    assert outcome is Outcome.OK or "--archive-bytes" in found["archive.room"].mend


@pytest.mark.skipif(not can_mount(), reason="no file system may be mounted here")
async def test_a_full_disk_and_a_read_only_one_are_found_by_the_command(archive: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    doctor = " ".join([*MODULE, "doctor", "--only", "archive", "--json", "--archive", str(disk / "archive")])
    script = (
        f"mount -t tmpfs -o size=8m none {disk} && cp -r {archive} {disk}/archive && {doctor}; "
        f"mount -o remount,ro {disk} && {doctor}; true"
    )
    process = await asyncio.create_subprocess_exec(
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "CODEWORM_MONITOR_URL": "ws://127.0.0.1:1"},
    )
    out, _ = await process.communicate()
    full, read_only = [
        {one["check"]: one for one in orjson.loads(text)["findings"]}
        for text in (out.replace(b"}\n{", b"}\0{").split(b"\0"))
    ]
    assert full["archive.room"]["outcome"] == "failed"
    assert full["archive.access"]["outcome"] == "ok"
    assert read_only["archive.access"]["outcome"] == "failed"
    assert read_only["archive.access"]["mend"] == f"mount -o remount,rw {disk}"


async def test_an_archive_of_another_user_cannot_be_written(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # To root, as which tests may run, nothing is closed.
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != archive / DATABASE)
    found = await found_in(archive)
    assert outcomes(found)["archive.access"] is Outcome.FAILED
    assert "chown" in found["archive.access"].mend


async def test_an_archive_that_is_named_and_not_there_fails_and_one_that_is_not_yet_is_skipped(tmp_path: Path) -> None:
    assert outcomes(await found_in(tmp_path)) == {"archive.sound": Outcome.FAILED}
    found = await findings(check_archive, case_of())
    assert outcomes(found)["archive.sound"] is Outcome.SKIPPED


async def test_a_relay_that_cannot_write_fails_and_one_that_keeps_nothing_is_left_alone(archive: Path) -> None:
    state = {"is_writing": False, "reason": "No space left on device", "lost": 3}
    relay = FakedRelay()
    relay.tell("/info", {"statistics": {"archive": state}, "archive": {"directory": str(archive)}})
    async with relay.running():
        found = await findings(check_archive, case_of(relay.url, is_announced=True))
        assert outcomes(found)["archive.writing"] is Outcome.FAILED
        assert "No space left" in found["archive.writing"].said
        assert outcomes(found).items() >= SOUND.items()
        relay.tell("/info", {"statistics": {"archive": None}, "archive": None, "at": time.time()})
        found = await findings(check_archive, case_of(relay.url, is_announced=True))
    assert outcomes(found) == {"archive.sound": Outcome.SKIPPED}
