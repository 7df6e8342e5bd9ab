"""The dashboard from the kernel's side: one object, its options, what stays in files; without a browser."""

from __future__ import annotations

import os
import queue
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from support.archives import fill, recorded_messages
from support.waiting import until
from support.widget_lines import Lines, lines

from codeworm_monitor.archive.store import Store
from codeworm_monitor.dashboard import Dashboard
from codeworm_monitor.monitor import Monitor, open_recording
from codeworm_monitor.opened import Archive, open_archive
from codeworm_monitor.widgets import ActivityPanel, CommitsPanel, LogPanel, RepositoriesPanel

__all__ = ["lines"]

DATA = Path(__file__).parent / "data"
FILES = {"codeworm_db": DATA / "codeworm.db", "codeworm_config": DATA / "config"}
RECORDING = str(DATA / "recording-2.jsonl.gz")
VIEW = "application/vnd.jupyter.widget-view+json"
OPEN = f"from codeworm_monitor import open_recording\nmon = open_recording({str(DATA / 'recording-1.jsonl.gz')!r})\n"


@pytest.fixture
def recorded() -> Iterator[Monitor]:
    with open_recording(DATA / "recording-1.jsonl.gz") as monitor:
        yield monitor


def test_it_is_the_same_each_time_until_it_is_closed(lines: Lines, recorded: Monitor) -> None:
    dashboard = recorded.dashboard()
    assert recorded.dashboard(refresh=10) is dashboard
    assert dashboard.log is dashboard.log
    panels = [dashboard.activity, dashboard.stats, dashboard.log]
    panels += [dashboard.commits, dashboard.repositories, dashboard.health]
    assert len({panel.key for panel in panels}) == 6
    dashboard.close()
    dashboard.close()
    assert dashboard.is_closed
    assert repr(dashboard).endswith("closed>")
    assert all(panel.comm is None for panel in panels)
    assert recorded.dashboard() is not dashboard


def test_options_are_checked_and_kept(lines: Lines, recorded: Monitor) -> None:
    dashboard = recorded.dashboard(refresh=10, binary=False, panels=["log", "health"])
    assert repr(dashboard) == f"<Dashboard of {recorded.name!r}: log, health>"
    recorded.dashboard()
    assert recorded.panel_feed.refresh == 10.0
    assert dashboard.log.binary is False
    recorded.dashboard(binary=True, panels="log")
    assert dashboard.log.binary is True
    assert repr(dashboard).endswith(": log>")
    for refresh in (0, 10.5, float("nan")):
        with pytest.raises(ValueError, match=r"refresh is 0\.1 to 10 times a second"):
            recorded.dashboard(refresh=refresh)
    with pytest.raises(ValueError, match="there is no panel 'logs', but activity, stats, health"):
        recorded.dashboard(panels=["logs"])


def test_importing_the_notebook_side_loads_no_widgets() -> None:
    code = "import sys, codeworm_monitor.monitor; print('ipywidgets' in sys.modules or 'anywidget' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_terminal_shows_the_text(recorded: Monitor) -> None:
    for shown in (recorded, recorded.dashboard()):
        with pytest.raises(NotImplementedError):
            shown._ipython_display_()
    assert "documentation_committed" in recorded.dashboard()._repr_html_()


def test_times_that_the_database_writes_by_the_daemons_clock_are_told_in_utc(lines: Lines) -> None:
    """The daemon of the recordings lives at UTC-5; its tables' rows say nothing of it any more."""
    with closing(sqlite3.connect(DATA / "codeworm.db")) as database:
        asked = "SELECT max(documented_at) FROM documented_snippets WHERE source_repo = 'textwrap'"
        written = datetime.fromisoformat(database.execute(asked).fetchone()[0])
    with open_recording(RECORDING, **FILES) as monitor:
        panel = RepositoriesPanel(monitor)
        until(lambda: panel.state.get("source") == "configuration")
        found = {one["name"]: one["last_activity"] for one in panel.state["repositories"]}
        panel.close()
    assert found["textwrap"] == (written + timedelta(hours=5)).replace(tzinfo=UTC).timestamp()


def test_an_archive_has_panels_as_well(lines: Lines, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "archive")) as store:
        fill(store, recorded_messages(DATA / "recording-1.jsonl.gz"))
    with open_archive(tmp_path / "archive") as archive:
        log, commits = LogPanel(archive), CommitsPanel(archive)
        assert log.problem == commits.problem == ""
        assert len(log.selection) == 1316
        assert commits.state["commits"][0]["commit"] == "af9849e7"
        assert ActivityPanel(archive).state["stage"] == "stopped"


def test_a_dashboard_reads_an_archive_once(lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Store(tmp_path / "archive")) as store:
        fill(store, recorded_messages(DATA / "recording-1.jsonl.gz"))
    read = []
    history = Archive.history

    def noted(archive: Archive, *span: Any, **options: Any) -> Any:
        read.append(span)
        return history(archive, *span, **options)

    monkeypatch.setattr(Archive, "history", noted)
    with open_archive(tmp_path / "archive") as archive:
        dashboard = Dashboard(archive)
        dashboard._composed()
        assert dashboard.commits.state["commits"][0]["commit"] == "af9849e7"
        assert len(dashboard.log.selection) == 1316
        assert "af9849e7" in dashboard._repr_html_()
        dashboard.close()
    assert len(read) == 1


class Kernel:
    """A kernel of its own, and what it said."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, code: str, *, has_reader: bool = True) -> list[dict[str, Any]]:
        """Run code as a cell; return all that it published."""
        asked = self._client.execute(code, allow_stdin=has_reader)
        found = []
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] == "error":
                raise AssertionError("\n".join(message["content"]["traceback"]))
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
            found.append({"type": message["msg_type"], **message["content"]})

    def silence(self) -> None:
        """Take what else was published."""
        try:
            while True:
                self._client.get_iopub_msg(timeout=0.1)
        except queue.Empty:
            return


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython"))}
    manager, client = start_new_kernel(env=environment, stderr=subprocess.DEVNULL)
    try:
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def displayed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in messages if one["type"] in ("display_data", "execute_result", "update_display_data")]


def test_the_monitor_at_the_end_of_a_cell_shows_it_live_with_a_still_picture_beside(kernel: Kernel) -> None:
    (shown,) = displayed(kernel.run(OPEN + "mon"))
    assert {VIEW, "text/html", "text/plain"} <= shown["data"].keys()
    assert "documentation_committed" in shown["data"]["text/html"]
    assert shown["data"]["text/plain"].startswith("<Dashboard of 'recording-1")
    assert shown["transient"]["display_id"]


def test_frozen_each_of_its_places_holds_plain_html(kernel: Kernel) -> None:
    kernel.run(OPEN)
    places = [displayed(kernel.run(code))[0] for code in ("mon", "mon.dashboard()", "mon.dashboard().log")]
    assert all(VIEW in one["data"] for one in places)
    frozen = displayed(kernel.run("mon.dashboard().close(freeze=True)"))
    assert {one["type"] for one in frozen} == {"update_display_data"}
    ids = [one["transient"]["display_id"] for one in places]
    assert sorted(one["transient"]["display_id"] for one in frozen) == sorted(ids)
    for one in frozen:
        assert VIEW not in one["data"]
        assert "documentation_committed" in one["data"]["text/html"]
    assert "comm_close" in {one["type"] for one in kernel.run("mon.dashboard().log\nmon.dashboard().close()")}


def test_frozen_from_a_thread_as_well(kernel: Kernel) -> None:
    kernel.run(OPEN + "mon")
    code = "import threading\nt = threading.Thread(target=mon.dashboard().freeze)\nt.start()\nt.join()"
    (frozen,) = displayed(kernel.run(code))
    assert "text/html" in frozen["data"]


def test_a_recordings_files_are_read_where_an_event_loop_runs(kernel: Kernel) -> None:
    """As in each cell."""
    files = ", ".join(f"{name}={str(path)!r}" for name, path in FILES.items())
    code = f"from codeworm_monitor import open_recording\nfiled = open_recording({RECORDING!r}, {files})\n"
    said = kernel.run(f"{code}panel = filed.dashboard().stats\nprint(panel.state['source'], panel.problem, end='')")
    assert [one["text"] for one in said if one["type"] == "stream"] == ["database "]


def test_where_nobody_looks_nothing_is_opened_to_a_browser(kernel: Kernel) -> None:
    for code in (OPEN + "mon", "mon.dashboard(panels='log')", "mon.dashboard().log", "mon.dashboard().log.selection"):
        messages = kernel.run(code, has_reader=False)
        (shown,) = displayed(messages)
        assert VIEW not in shown["data"]
        assert "text/html" in shown["data"]
        assert not [one for one in messages if one["type"].startswith("comm")]
    assert VIEW in displayed(kernel.run("mon.dashboard().log"))[0]["data"]


@pytest.mark.parametrize("form", ["html", "notebook"])
def test_nbconvert_leaves_a_readable_picture(tmp_path: Path, form: str) -> None:
    cells = [OPEN + "mon", "mon.dashboard().log", "mon.close()"]
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(book, tmp_path / "lesson.ipynb")
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", form, "--output", "done", "lesson.ipynb"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    if form == "html":
        text = (tmp_path / "done.html").read_text()
        assert VIEW not in text
    else:
        done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
        assert "widgets" not in done.metadata
        text = "".join(
            output.data["text/html"] for cell in done.cells[:2] for output in cell.outputs if "data" in output
        )
    for told in ("documentation_failed", "documentation_committed", "af9849e7"):
        assert told in text
