"""The lesson that watches a training loop: whatever the reader's shell has set, and if the training fails."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

LESSON = Path(__file__).parents[2] / "notebooks" / "07_watch_a_training_loop.ipynb"

# The kernel's client warns of what it does itself, and closes its sockets when it is collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The lesson, and an environment in which it can run."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": start, "display_name": "Python 3", "language": "python"}), encoding="utf-8"
    )
    return nbformat.read(LESSON, as_version=4)


def run(lesson: nbformat.NotebookNode, folder: Path) -> None:
    folder.mkdir()
    resources = {"metadata": {"path": os.fspath(folder)}}
    NotebookClient(lesson, timeout=90, kernel_name="python3", resources=resources).execute()


def test_a_redis_that_the_shell_names_is_not_taken_and_no_file_is_left_behind(
    lesson: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CODEWORM_MONITOR_REDIS_URL", "REDIS_URL"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    run(lesson, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())
    assert not list(temporary.rglob("train.py"))


def test_a_training_that_fails_is_told(lesson: nbformat.NotebookNode, tmp_path: Path) -> None:
    written = next(cell for cell in lesson.cells if cell.cell_type == "code" and "draw = np.random" in cell.source)
    written.source = written.source.replace("import numpy as np", "raise SystemExit(3)", 1)
    with pytest.raises(CellExecutionError, match="the training failed with status 3"):
        run(lesson, tmp_path / "work")
