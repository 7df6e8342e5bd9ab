"""Units: checked by systemd's own tools, and run by a real systemd on a machine of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.processes import TOKEN
from support.servers import free_port, require_program
from support.systemd_machine import Machine, machine
from support.waiting import eventually

from codeworm_monitor.deployment.artefacts import Artefact
from codeworm_monitor.deployment.systemd import UNIT, environment, has_password, steps, system_unit, user_unit
from codeworm_monitor.errors import SettingError

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
WEIRD = """we ird$x%n"q'b\\s:c;#é"""
UNITS = {"user": user_unit, "system": system_unit}


def analyze(*words: str, runtime: Path) -> str:
    """Run systemd-analyze, which must be content, and return what it wrote."""
    program = require_program("systemd-analyze", "apt install systemd")
    told = subprocess.run(
        [program, *words],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


@pytest.mark.parametrize("whose", UNITS)
def test_systemd_has_nothing_to_say_against_the_unit(whose: str, tmp_path: Path) -> None:
    unit = UNITS[whose](
        codeworm_db=f"{tmp_path}/{WEIRD}/codeworm.db",
        codeworm_config=f"{tmp_path}/{WEIRD}",
        redis_url="redis://localhost:26849",
    )
    (tmp_path / UNIT).write_text(unit.text)
    assert analyze("verify", "--man=no", f"--{whose}", str(tmp_path / UNIT), runtime=tmp_path) == ""


def test_systemd_does_find_a_mistake_in_a_unit(tmp_path: Path) -> None:
    (tmp_path / UNIT).write_text(user_unit().text.replace("NoNewPrivileges", "NoNewPrivilege"))
    assert "NoNewPrivilege" in analyze("verify", "--man=no", "--user", str(tmp_path / UNIT), runtime=tmp_path)


@pytest.mark.parametrize(("whose", "most"), [("system", 2.0), ("user", 7.0)])
def test_the_units_exposure_is_what_its_sandbox_leaves(whose: str, most: float, tmp_path: Path) -> None:
    (tmp_path / UNIT).write_text(UNITS[whose]().text)
    told = analyze("security", "--offline=yes", "--no-pager", str(tmp_path / UNIT), runtime=tmp_path)
    exposure = float(re.search(r"exposure level for \S+ (?:[^\d]*)([\d.]+)", told)[1])  # type: ignore[index]
    assert exposure <= most, told


@pytest.mark.parametrize("whose", UNITS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("python", "bin/python"),
        ("python", "/a\nUser=root"),
        ("codeworm_db", "data/codeworm.db"),
        ("codeworm_db", "/a\nb"),
        ("codeworm_config", "/a\x1bb"),
        ("redis_url", "redis://:secret@localhost"),
        ("redis_url", "unix:///run/redis.sock?password=secret"),
        ("redis_url", "redis://a\nExecStartPre=id"),
    ],
)
def test_a_value_that_cannot_stand_in_a_unit_is_refused_and_not_repeated(whose: str, name: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        UNITS[whose](**{name: value})
    assert caught.value.name == name
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\nb", "0", "a" * 40, "a%n"])
def test_a_user_has_the_name_of_a_user(name: str) -> None:
    with pytest.raises(SettingError, match="run_as"):
        system_unit(run_as=name)


@pytest.mark.parametrize("folder", ["/tmp", "/home", "/"])
def test_a_database_that_the_unit_could_not_be_shown_is_refused(folder: str) -> None:
    with pytest.raises(SettingError, match="directory of its own"):
        system_unit(codeworm_db=f"{folder.rstrip('/')}/codeworm.db")


def test_only_what_homes_hide_is_shown_to_the_unit_and_the_rest_is_seen_as_it_is() -> None:
    text = system_unit(
        python="/opt/worm/bin/python", codeworm_db="/home/me/worm/data/codeworm.db", codeworm_config="/etc/worm"
    ).text
    assert re.findall("^BindReadOnlyPaths=.*", text, re.MULTILINE) == ['BindReadOnlyPaths="-/home/me/worm/data"']
    assert "DynamicUser=yes" in text
    assert "User=me\n" in system_unit(run_as="me").text


@pytest.mark.parametrize("whose", UNITS)
def test_neither_unit_holds_a_token(whose: str) -> None:
    text = UNITS[whose]().text
    assert "--token" not in text
    assert not re.search("TOKEN=[^.]", text)


def test_the_file_of_settings_is_for_its_owner_and_a_shell_reads_the_same() -> None:
    url = "redis://:p%41$HOME`id`\"'\\x@localhost:1"
    file = environment(redis_url=url)
    assert file.mode == 0o600
    told = subprocess.run(
        ["sh", "-c", f'{file.text}\nprintf %s "$CODEWORM_MONITOR_REDIS_URL"'], capture_output=True, check=True
    )
    assert told.stdout.decode() == url
    tokens = {re.match("CODEWORM_MONITOR_TOKEN=([A-Za-z0-9_-]{32})\n", environment().text)[1] for _ in range(3)}  # type: ignore[index]
    assert len(tokens) == 3


@pytest.mark.parametrize(
    ("url", "has"),
    [(None, False), ("redis://localhost:1", False), ("redis://:a@b", True), ("unix:///a?PASSWORD=b", True)],
)
def test_a_url_with_a_password_is_known(url: str | None, *, has: bool) -> None:
    assert has_password(url) is has


def test_the_steps_for_a_user_put_unit_and_settings_where_they_belong(tmp_path: Path) -> None:
    folder = tmp_path / "made here"
    folder.mkdir()
    (folder / UNIT).write_text(user_unit().text)
    (folder / "environment").write_text(environment().text)
    lines = steps(is_system=False, directory=folder, port=1, has_environment=True).splitlines()
    tried = [line for line in lines if line.startswith("install ")]
    assert len(tried) == 2
    home = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    for line in tried:
        subprocess.run(["sh", "-c", line], env=home, check=True)
    assert (tmp_path / "home/.config/systemd/user" / UNIT).read_text() == user_unit().text
    assert (tmp_path / "home/.config/codeworm-monitor/environment").stat().st_mode & 0o777 == 0o600


def test_the_step_that_makes_a_token_makes_one_that_the_relay_takes(tmp_path: Path) -> None:
    from codeworm_monitor import RelaySettings

    told = steps(is_system=True, directory=None, port=1, has_environment=False)
    line = next(line for line in told.splitlines() if "/dev/urandom" in line)
    place = tmp_path / "etc"
    line = line.removeprefix("sudo ").replace("/etc/codeworm-monitor", str(place))
    subprocess.run(["sh", "-c", line], check=True)
    assert (place / "environment").stat().st_mode & 0o777 == 0o600
    name, _, token = (place / "environment").read_text().strip().partition("=")
    assert name == "CODEWORM_MONITOR_TOKEN"
    assert len(RelaySettings(token=token).token or "") == 24


async def test_the_very_line_of_the_unit_starts_a_relay_that_says_when_it_is_ready_and_that_it_lives(
    tmp_path: Path,
) -> None:
    port = free_port()
    text = (await made(user_unit, port=port, redis_url=f"redis://127.0.0.1:{free_port()}")).text
    line = re.search("^ExecStart=(.*)$", text, re.MULTILINE)[1]  # type: ignore[index]
    words = shlex.split(line.replace("%%", "%"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.setblocking(False)  # noqa: FBT003  # the library's spelling
        manager = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        process = await asyncio.create_subprocess_exec(
            words[0].removeprefix(":"),
            *words[1:],
            cwd="/",
            env={**os.environ, **manager, "CODEWORM_MONITOR_TOKEN": TOKEN},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            loop, told = asyncio.get_running_loop(), b""
            async with asyncio.timeout(30):
                while told.count(b"WATCHDOG=1") < 2:
                    told += await loop.sock_recv(notified, 4096) + b"\n"
            assert told.startswith(b"READY=1\n")
            process.terminate()
            out, _ = await process.communicate()
            assert (process.returncode, TOKEN in out.decode()) == (0, False)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


# By a real systemd


def is_open(path: Path) -> bool:
    """Tell whether any user may come to a directory, on the way that the unit is shown it."""
    way = (
        [path]
        if str(path).startswith(("/root/", "/home/", "/tmp/", "/var/tmp/", "/run/user/"))
        else [path, *path.parents]
    )
    return all(one.stat().st_mode & 0o005 == 0o005 for one in way)


LOG = "[Service]\nStandardOutput=append:{folder}/log\nStandardError=append:{folder}/log\n"
READY = """
import http.client, sys
relay = http.client.HTTPConnection("127.0.0.1", 8765, timeout=5)
relay.request("GET", sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
answer = relay.getresponse()
print(answer.status, answer.read().decode())
"""
PUBLISH = """
import redis, sys
print(redis.Redis(port=int(sys.argv[1])).publish("codeworm:logs", sys.argv[2]))
"""


async def test_as_a_service_of_the_machine_it_runs_in_its_sandbox_with_its_embedded_server(tmp_path: Path) -> None:
    if closed := [path for path in (sys.prefix, sys.base_prefix, str(ROOT)) if not is_open(Path(path))]:
        pytest.skip(f"{closed[0]} lies where a user made for the unit alone may not go")
    weird = tmp_path / WEIRD
    weird.mkdir(mode=0o755)
    (weird / "codeworm.db").write_bytes((DATA / "codeworm.db").read_bytes())
    unit = (await made(system_unit, codeworm_db=str(weird / "codeworm.db"), codeworm_config=str(weird))).text
    python = shlex.quote(sys.executable)
    archive = "--archive %S/codeworm-monitor/archive"
    # What brings DuckDB and pyarrow into the sandbox, before the relay takes the archive.
    before = (
        f"ExecStartPre={python} -P -m codeworm_monitor import {archive} {DATA / 'recording-1.jsonl.gz'}\n"
        f"ExecStartPre={python} -P -m codeworm_monitor archive compact {archive}\n"
    )
    units = {UNIT: unit, f"{UNIT}.d/test.conf": LOG.format(folder=tmp_path) + before}
    # What was recorded stays in the archive, in whatever year this runs.
    environment = f"CODEWORM_MONITOR_TOKEN={TOKEN}\nCODEWORM_MONITOR_ARCHIVE_DAYS=36525\n"
    async with machine(tmp_path, units, environment=environment) as booted:
        log = tmp_path / "log"
        await booted.systemctl("start", UNIT)
        told = await booted.says(UNIT, "MainPID", "StatusText", "ActiveState", "NRestarts", "WatchdogUSec", "KillMode")
        assert (told["ActiveState"], told["NRestarts"]) == ("active", "0"), log.read_text()
        assert "relaying redis://127.0.0.1:6379" in told["StatusText"]
        assert (told["WatchdogUSec"], told["KillMode"]) == ("30s", "mixed")
        inside = ["nsenter", "--target", told["MainPID"], "--mount", "--"]

        async def answer(path: str) -> str:
            return (await booted.run(sys.executable, "-c", READY, path, TOKEN))[1]

        await eventually(lambda: _is(answer("/readyz"), "200 ready"))
        assert (await booted.run(sys.executable, "-c", PUBLISH, "6379", '{"event":"heard"}'))[1] == "1\n"
        await eventually(lambda: _is(answer("/history?text=heard"), "200", "heard"))
        # CodeWorm's files are seen, whatever they are called, and nothing else of /tmp and of homes.
        info = json.loads((await answer("/info")).partition(" ")[2])
        assert info["codeworm"]["codeworm_db"]["path"] == str(weird / "codeworm.db")
        assert info["codeworm"]["codeworm_db"]["inode"] == (weird / "codeworm.db").stat().st_ino
        seen = (await booted.run(*inside, "ls", str(tmp_path), "/home"))[1]
        assert (weird.name in seen, "seed" in seen) == (True, False)
        parts = (await booted.run("find", "/var/lib/private/codeworm-monitor/archive", "-name", "*.parquet"))[1]
        assert "date=2026-11-" in parts, log.read_text()
        # Killed, it comes back; its server, too.
        await booted.run("kill", "-KILL", told["MainPID"])
        await eventually(lambda: _restarted(booted, 1))
        await eventually(lambda: _is(answer("/readyz"), "200 ready"))
        assert (await booted.run(sys.executable, "-c", PUBLISH, "6379", '{"event":"heard again"}'))[1] == "1\n"
        await eventually(lambda: _is(answer("/history?text=heard+again"), "200", "heard again"))
        assert "daemon_starting" in await answer("/history?until=2026-11-23T00:00&text=daemon_starting&limit=5")
        await booted.systemctl("stop", UNIT)
        told = await booted.says(UNIT, "Result", "ExecMainStatus")
        assert told == {"Result": "success", "ExecMainStatus": "0"}
        text = log.read_text()
        assert (TOKEN in text, "Traceback" in text, "started again" in text) == (False, False, False)


async def test_as_a_service_of_a_user_without_privileges_it_runs_with_its_embedded_server(tmp_path: Path) -> None:
    units = {UNIT: (await made(user_unit)).text, f"{UNIT}.d/test.conf": LOG.format(folder=tmp_path)}
    async with machine(tmp_path, units, is_user=True) as booted:
        await booted.systemctl("start", UNIT)
        told = await booted.says(UNIT, "MainPID", "ActiveState", "NRestarts", "WatchdogUSec", "KillMode")
        assert (told["ActiveState"], told["NRestarts"]) == ("active", "0"), (tmp_path / "log").read_text()
        assert (told["WatchdogUSec"], told["KillMode"]) == ("30s", "mixed")
        status = (await booted.run("cat", f"/proc/{told['MainPID']}/status"))[1]
        assert "CapEff:\t0000000000000000" in status
        assert "Seccomp:\t2" in status
        await eventually(lambda: _is(_answer(booted, "/readyz"), "200 ready"))
        assert (await booted.run(sys.executable, "-c", PUBLISH, "6379", "{}"))[1] == "1\n"
        # Notebooks of the same user find it there, and `history` its archive.
        assert "token" in (await booted.run("cat", "/run/mine/codeworm_monitor/relay-8765.json"))[1]
        assert "archive.sqlite" in (await booted.run("ls", "/run/mine/data/codeworm_monitor/archive"))[1]
        await booted.systemctl("stop", UNIT)
        assert (await booted.says(UNIT, "Result"))["Result"] == "success"


async def test_a_relay_that_hangs_is_ended_by_the_watchdog_and_started_again(tmp_path: Path) -> None:
    hasty = LOG.format(folder=tmp_path) + "WatchdogSec=3\nTimeoutAbortSec=100ms\nRestartSec=0\n"
    unit = (await made(user_unit, redis_url="redis://127.0.0.1:1")).text
    async with machine(tmp_path, {UNIT: unit, f"{UNIT}.d/test.conf": hasty}, is_user=True) as booted:
        await booted.systemctl("start", UNIT)
        before = await booted.says(UNIT, "MainPID", "WatchdogUSec")
        assert before["WatchdogUSec"] == "3s"
        await booted.run("kill", "-STOP", before["MainPID"])
        await eventually(lambda: _is_another(booted, before["MainPID"]), within=30)


async def test_a_setting_that_cannot_be_used_is_not_tried_again_and_again(tmp_path: Path) -> None:
    units = {
        UNIT: (await made(system_unit)).text,
        f"{UNIT}.d/test.conf": LOG.format(folder=tmp_path) + "RestartSec=0\n",
    }
    async with machine(tmp_path, units, environment="CODEWORM_MONITOR_TOKEN=short\n") as booted:
        status, _ = await booted.run("systemctl", "start", UNIT)
        assert status != 0
        told = await booted.says(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
        assert told == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    assert "8 to 256 letters" in (tmp_path / "log").read_text()


async def test_hostile_words_reach_a_command_as_they_were_meant(tmp_path: Path) -> None:
    folder = tmp_path / WEIRD
    url = "redis://:p%41$HOME`id`\"'\\x@localhost:1"
    made_unit = await made(
        system_unit,
        redis_url="unix:///a b/$HOME/%h/\"x'\\y;z",
        codeworm_db=f"{folder}/db $$",
        codeworm_config=f"{folder}/c{{}}",
    )
    unit = made_unit.text
    # In place of the relay: what says its arguments and ends.
    unit = unit.replace("Type=notify", "Type=oneshot").replace("Restart=always", "Restart=no")
    unit = unit.replace("-P -m codeworm_monitor relay", f"-P {DATA.parent}/support/tell.py")
    units = {UNIT: unit, f"{UNIT}.d/test.conf": LOG.format(folder=tmp_path)}
    async with machine(tmp_path, units, environment=environment(token=TOKEN, redis_url=url).text) as booted:
        await booted.run("systemctl", "start", UNIT)
        told = json.loads((tmp_path / "log").read_text())
    assert told["url"] == url
    assert told["arguments"][-6:] == [
        "--redis-url",
        "unix:///a b/$HOME/%h/\"x'\\y;z",
        "--codeworm-db",
        f"{folder}/db $$",
        "--codeworm-config",
        f"{folder}/c{{}}",
    ]
    assert told["arguments"][2:4] == ["--archive", "/var/lib/codeworm-monitor/archive"]


async def made(whose: Callable[..., Artefact], **values: Any) -> Artefact:
    """Make a unit beside the loop: it looks at the disk."""
    return await asyncio.to_thread(whose, **values)


async def _is(answer: Awaitable[str], *parts: str) -> bool:
    told = await answer
    return told.startswith(parts[0]) and all(part in told for part in parts)


async def _answer(booted: Machine, path: str) -> str:
    return (await booted.run(sys.executable, "-c", READY, path, "none"))[1]


async def _is_another(booted: Machine, pid: str) -> bool:
    told = await booted.says(UNIT, "MainPID", "ActiveState")
    return told["MainPID"] not in ("0", pid) and told["ActiveState"] == "active"


async def _restarted(booted: Machine, times: int) -> bool:
    told = await booted.says(UNIT, "NRestarts", "ActiveState")
    return int(told["NRestarts"]) >= times and told["ActiveState"] == "active"
