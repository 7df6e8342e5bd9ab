"""JupyterLab on a ready notebook: what stands in it, where it is put, and how both it and Jupyter are started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from codeworm_monitor import discovery
from codeworm_monitor.errors import MonitorError

__all__ = ["NAME", "LabError", "dashboard_notebook", "has_relay", "jupyter_command", "run_beside", "write_notebook"]

NAME = "codeworm-dashboard.ipynb"
START = 30.0
"""Seconds that a relay beside it may take to announce itself."""
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_CELLS: tuple[tuple[str, str], ...] = (
    (
        "markdown",
        "# CodeWorm\n\nWhat it does now, what it did, and what went wrong. Run all cells; run one again and it shows what has come since.",
    ),
    (
        "code",
        "from codeworm_monitor import connect\n\nmon = connect()  # the relay that runs on this machine\nmon  # the live dashboard: it goes on while other cells run",
    ),
    (
        "markdown",
        "## Now\n\nThe step it is at, and the newest log lines: `mon.logs.df` is a frame that grows.",
    ),
    ("code", "mon.snapshot"),
    ("code", 'mon.logs.df.tail(20)[["timestamp", "level", "component", "event"]]'),
    (
        "markdown",
        "## Cycles\n\nOne row for each: target, seconds of each stage, tokens, commit, outcome.",
    ),
    ("code", "mon.cycles.tail(20)"),
    ("code", "mon.cycles.plot();"),
    ("markdown", "## Documents an hour, by repository"),
    ("code", 'mon.throughput(every="1h", by="repo").plot();'),
    (
        "markdown",
        "## What went wrong\n\nAlike errors together, and when Ollama, git, Redis, the relay or the daemon was down or failing.",
    ),
    ("code", "mon.errors()"),
    ("code", "mon.outages"),
    (
        "markdown",
        '## Further\n\n`mon.watch(...)` tells you when something happens; `mon.history(since="yesterday")` asks the archive; `mon.sql(...)` asks it in SQL.\n`mon.documents` and `mon.repos()` want to know where CodeWorm\'s own files are: `--codeworm-db` and `--codeworm-config` of the relay.',
    ),
)


class LabError(MonitorError):
    """JupyterLab, its notebook or a relay for it cannot be had."""


def dashboard_notebook() -> dict[str, Any]:
    """Return the notebook, in nbformat 4.5: no outputs, public names only."""
    cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(_CELLS):
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"dashboard-{number:02}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        cells.append(cell | {"execution_count": None, "outputs": []} if kind == "code" else cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write_notebook(directory: Path) -> tuple[Path, bool]:
    """Put the notebook into a directory, unless one of its name is there: that one may hold a person's work.

    Returns:
        The notebook, and whether it is new.

    Raises:
        LabError: It cannot be written, or something else has its name.
    """
    path = directory / NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            json.dump(dashboard_notebook(), file, indent=1, ensure_ascii=False)
            file.write("\n")
    except FileExistsError as error:
        if path.is_file():
            return path, False
        raise LabError(
            f"{directory if not directory.is_dir() else path} is no place for a notebook: name another with --directory"
        ) from error
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}; name another place with --directory") from error
    return path, True


def has_relay() -> bool:
    """Tell whether `connect()` would find a relay: named by the environment, or announced on this machine."""
    return bool(os.environ.get("CODEWORM_MONITOR_URL")) or any(not one.is_replay for one in discovery.find())


def jupyter_command(notebook: Path, *, port: int | None, opens_browser: bool, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts JupyterLab on a notebook, by the Python that runs this.

    Args:
        notebook: The notebook.
        port: Port to listen on; None: Jupyter's choice.
        opens_browser: Whether a browser is opened.
        arguments: Further arguments for Jupyter.

    Raises:
        LabError: JupyterLab is not installed.
    """
    if find_spec("jupyterlab") is None:
        raise LabError(
            "JupyterLab is not installed beside codeworm_monitor: "
            f"{sys.executable} -m pip install jupyterlab 'codeworm-monitor[notebook]'"
        )
    command = [sys.executable, "-m", "jupyterlab", os.fspath(notebook)]
    if port is not None:
        command.append(f"--port={port}")
    if not opens_browser:
        command.append("--no-browser")
    return [*command, *arguments]


def run_beside(command: Sequence[str], relay: Sequence[str]) -> int:
    """Run a command with a relay beside it, pass signals on to the command, end the relay after it.

    Args:
        command: The command.
        relay: The command of the relay.

    Returns:
        The command's exit status, 128 + the signal if one ended it.

    Raises:
        LabError: The relay did not come up.
    """
    # In a session of its own: Ctrl-C on the terminal, which Jupyter asks about, is not for the relay.
    beside = subprocess.Popen(
        relay, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=None, start_new_session=True
    )
    running: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        if running is not None and not (number == signal.SIGINT and _is_on_terminal()):  # it had that from the terminal
            running.send_signal(number)

    former = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        until = time.monotonic() + START
        while not any(one.pid == beside.pid for one in discovery.find()):
            if received:
                return 128 + received[0]
            if beside.poll() is not None or time.monotonic() > until:
                raise LabError("the relay did not come up: its last words are above")
            time.sleep(0.05)
        running = subprocess.Popen(command)
        status = running.wait()
        return status if status >= 0 else 128 - status
    finally:
        _end(beside)
        for number, handler in former.items():
            signal.signal(number, handler)


def _is_on_terminal() -> bool:
    """Tell whether this process is in the foreground of its terminal, whose Ctrl-C goes to its children too."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
