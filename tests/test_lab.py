from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import nbformat
import pytest
from nbclient import NotebookClient
from support.consoles import in_place, isolated
from support.processes import is_running, relay_process
from support.waiting import eventually

from codeworm_monitor import start_relay_in_thread
from codeworm_monitor.demo import SAMPLE
from codeworm_monitor.discovery import announce, find
from codeworm_monitor.lab import NAME, LabError, dashboard_notebook, jupyter_command, write_notebook
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.sources.recording import RecordingSource

STAND_IN = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGINT, lambda *_: sys.exit(8))
print(json.dumps([os.getpid(), *sys.argv[1:]]), flush=True)
if "--stay" in sys.argv:
    while True:
        signal.pause()
sys.exit(5)
"""


@pytest.fixture
def environment(tmp_path: Path, announcements: Path) -> dict[str, str]:
    """An environment in which JupyterLab is one that tells how it was called, and waits if told to."""
    package = tmp_path / "library" / "jupyterlab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    return isolated(
        tmp_path / "home",
        PYTHONPATH=str(package.parent),
        CODEWORM_MONITOR_RUNTIME_DIR=str(announcements),
        CODEWORM_MONITOR_NO_ARCHIVE="1",
        CODEWORM_MONITOR_PORT="0",
    )


async def started(*arguments: str, environment: dict[str, str], cwd: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "codeworm_monitor", "lab", *arguments],
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def first_line(process: asyncio.subprocess.Process) -> list[object]:
    """Wait for the stand-in's first line: its process, then its arguments."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await process.stdout.readline()
    assert line, (await process.stderr.read()).decode() if process.stderr else ""
    told: list[object] = json.loads(line)
    return told


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_notebook_is_sound_stores_nothing_and_uses_public_names() -> None:
    notebook = nbformat.reads(json.dumps(dashboard_notebook()), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    assert "._" not in "\n".join(cell.source for cell in code)
    for name in ("connect()", "mon.logs.df", "mon.cycles", ".plot()"):
        assert any(name in cell.source for cell in code)


# The kernel's client warns of what it does itself, and closes its sockets when it is collected.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("has_traffic", [True, False], ids=["busy", "silent"])
def test_the_notebook_runs_on_the_relay_of_this_machine(
    *, has_traffic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = nbformat.reads(json.dumps(dashboard_notebook()), as_version=4)
    source = RecordingSource(SAMPLE, speed=100_000) if has_traffic else MemorySource()
    with start_relay_in_thread(source=source, port=0, no_archive=True):
        NotebookClient(notebook, timeout=110, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error"]
    if has_traffic:
        assert sum("image/png" in output.get("data", {}) for output in shown) == 2


def test_a_notebook_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path, is_new = write_notebook(tmp_path / "new" / "place")
    assert (path, is_new) == (tmp_path / "new" / "place" / NAME, True)
    assert json.loads(path.read_text()) == dashboard_notebook()
    path.write_text("mine")
    assert write_notebook(path.parent) == (path, False)
    assert path.read_text() == "mine"


def test_a_place_that_holds_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="--directory"):
        write_notebook(tmp_path / "file")
    with pytest.raises(LabError, match="--directory"):
        write_notebook(tmp_path / "file" / "below")
    (tmp_path / NAME).mkdir()
    with pytest.raises(LabError, match="--directory"):
        write_notebook(tmp_path)


def test_without_jupyterlab_the_line_that_brings_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    with pytest.raises(LabError, match=r"not installed .*-m pip install jupyterlab 'codeworm-monitor\[notebook\]'"):
        jupyter_command(Path(NAME), port=None, opens_browser=True, arguments=[])


def test_without_a_relay_nothing_is_written_and_it_is_told_how_to_start_one(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = in_place(tmp_path, "lab", environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "start one with `python -m codeworm_monitor` in another terminal, or let this start one with --relay"
        in done.stderr
    )
    assert not (tmp_path / NAME).exists()


def test_jupyters_options_are_passed_on_and_its_status_is_ours(
    tmp_path: Path, announcements: Path, environment: dict[str, str]
) -> None:
    announce(8765, url="ws://127.0.0.1:8765/ws", token=None)
    done = in_place(
        tmp_path,
        "lab",
        "--directory",
        "sub",
        "--port",
        "0",
        "--no-browser",
        "--",
        "--a=b",
        "-x",
        environment=environment,
    )
    assert done.returncode == 5
    assert json.loads(done.stdout)[1:] == [f"sub/{NAME}", "--port=0", "--no-browser", "--a=b", "-x"]
    assert (tmp_path / "sub" / NAME).exists()
    again = in_place(tmp_path, "lab", "--directory", "sub", environment=environment)
    assert "there already, opened as it is" in again.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 7), (signal.SIGINT, 8)])
@pytest.mark.parametrize("is_beside", [False, True], ids=["alone", "with its relay"])
async def test_signals_reach_jupyter_and_the_relay_beside_it_ends_with_it(
    *,
    is_beside: bool,
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    announcements: Path,
    environment: dict[str, str],
) -> None:
    if not is_beside:
        await asyncio.to_thread(announce, 8765, url="ws://127.0.0.1:8765/ws", token=None)
    process = await started(*["--relay"] * is_beside, "--", "--stay", environment=environment, cwd=tmp_path)
    try:
        pid, *_ = await first_line(process)
        assert (pid == process.pid) is not is_beside
        relays = [one.pid for one in await asyncio.to_thread(find) if one.pid != os.getpid()]
        assert len(relays) == is_beside
        process.send_signal(number)
        async with asyncio.timeout(60):
            _, err = await process.communicate()
        assert process.returncode == status, err
        assert not any(map(is_running, relays))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_relay_that_does_not_come_up_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    process = await started("--relay", environment=environment | {"CODEWORM_MONITOR_PATH": "nonsense"}, cwd=tmp_path)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert "CODEWORM_MONITOR_PATH: 'nonsense' is no usable path" in err.decode()
    assert err.decode().endswith("Error: the relay did not come up: its last words are above\n")


async def test_a_real_jupyterlab_serves_the_notebook(tmp_path: Path, environment: dict[str, str]) -> None:
    del environment["PYTHONPATH"]
    pytest.importorskip("jupyterlab")
    async with relay_process("--no-archive") as relay:
        arguments = (
            "--no-browser",
            "--port",
            "0",
            "--",
            "--allow-root",
            "--ip=127.0.0.1",
            "--IdentityProvider.token=of-the-test",
        )
        process = await started(*arguments, environment=environment, cwd=tmp_path)
        try:
            assert process.stderr is not None
            screen = ""
            async with asyncio.timeout(90):
                while (found := re.search(r"http://(?:127\.0\.0\.1|localhost):(\d+)/lab", screen)) is None:
                    line = await process.stderr.readline()
                    assert line, screen
                    screen += line.decode()
            url = f"http://127.0.0.1:{found[1]}/api/contents/{NAME}"
            await eventually(lambda: listens(int(found[1])), within=30)  # it tells its port, and listens a little later
            request = Request(url, headers={"Authorization": "token of-the-test"})
            told = json.loads(await asyncio.to_thread(lambda: urlopen(request, timeout=30).read()))
            assert told["content"]["cells"][0]["source"].startswith("# CodeWorm")
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                await process.communicate()
            assert process.returncode == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await relay.stop()
