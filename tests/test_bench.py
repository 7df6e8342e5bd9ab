from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.processes import descendants, is_running
from support.waiting import until

from codeworm_monitor import bench, bench_readers
from codeworm_monitor.bench import BenchPlan, BenchReport, Figures, Load, measure, table
from codeworm_monitor.bench_readers import Order, Reader, connect, watch
from codeworm_monitor.cli import main
from codeworm_monitor.errors import RelayError

SMALL = BenchPlan(
    connections=20,
    loads=(
        Load(name="fan-out", readers=12, messages=500, rounds=3),
        Load(name="steady", readers=12, messages=100, rate=1_000),
        Load(name="ingest", readers=1, messages=2_000),
    ),
)
FIGURES = Figures(
    load=Load(name="steady", readers=100, messages=6_000, rate=2_000),
    deliveries=600_000,
    lost=0,
    disordered=0,
    seconds=3.0,
    deliveries_per_second=200_000,
    cpu_us_per_message=116.3,
    cpu_us_per_delivery=1.163,
    p50_ms=2.782,
    p99_ms=7.702,
)
REPORT = BenchReport(
    version="0.1.0",
    python="3.11.2",
    system="Linux x86_64",
    processors=2,
    busy=0.1,
    message_bytes=310,
    start_seconds=0.227,
    idle_mb=36.6,
    connections=1_000,
    connection_kb=17.1,
    figures=(FIGURES,),
)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, so that what is left behind is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_small_plan_is_measured_without_loss_and_leaves_nothing(temporary_folder: Path, announcements: Path) -> None:
    before = descendants(os.getpid()), resource.getrlimit(resource.RLIMIT_NOFILE)
    steps: list[str] = []
    report = measure(SMALL, on_step=steps.append)
    assert steps == ["start", "memory", "fan-out", "fan-out", "fan-out", "steady", "ingest"]
    assert len(steps) == SMALL.steps
    assert [one.load for one in report.figures] == list(SMALL.loads)
    for one in report.figures:
        assert one.deliveries == one.load.readers * one.load.messages
        assert (one.lost, one.disordered) == (0, 0)
        assert one.seconds > 0
        assert one.deliveries_per_second > 0
        assert one.cpu_us_per_message is not None
        assert one.cpu_us_per_delivery is not None
        assert one.cpu_us_per_message >= one.cpu_us_per_delivery > 0
    fan_out, steady, _ = report.figures
    assert steady.p50_ms is not None
    assert steady.p99_ms is not None
    assert 0 < steady.p50_ms <= steady.p99_ms
    assert fan_out.p50_ms is None
    assert report.start_seconds > 0
    assert report.idle_mb is not None
    assert 5 < report.idle_mb < 500
    assert report.connections == 20
    assert report.connection_kb is not None
    assert (descendants(os.getpid()), resource.getrlimit(resource.RLIMIT_NOFILE)) == before
    assert not list(temporary_folder.iterdir())
    assert not announcements.exists()  # a notebook shall not find the bench's relay


def test_the_command_prints_json_and_nothing_else() -> None:
    words = [sys.executable, "-m", "codeworm_monitor", "bench", "--json", "--scale", "0.01"]
    # Settings in the environment are for relays that serve, not for the one that is measured.
    environment = {**os.environ, "CODEWORM_MONITOR_PATH": "/elsewhere", "CODEWORM_MONITOR_TOKEN": "a-token-of-mine"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert set(report["figures"]) == {"fan-out", "steady", "quiet", "ingest"}
    assert all(one["lost"] == 0 and one["deliveries"] > 0 for one in report["figures"].values())
    assert report["connections"] == 10
    assert report["start_seconds"] > 0


def test_the_command_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[BenchPlan] = []

    def measured(plan: BenchPlan, **_: object) -> BenchReport:
        plans.append(plan)
        return REPORT

    monkeypatch.setattr(bench, "measure", measured)
    result = CliRunner().invoke(main, ["bench"])
    assert result.output == f"{table(REPORT)}\n"
    assert plans == [BenchPlan()]


def test_on_a_terminal_a_bar_moves() -> None:
    import pty

    primary, secondary = pty.openpty()
    words = [sys.executable, "-m", "codeworm_monitor", "bench", "--scale", "0.001"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=secondary, text=True) as process:
        os.close(secondary)
        screen = b""
        try:
            while more := os.read(primary, 4096):
                screen += more
        except OSError:  # the other end is closed
            pass
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(primary)
    assert process.returncode == 0
    assert b"100%" in screen
    assert b"fan-out" in screen
    assert "measuring" not in out


def test_the_table_says_what_is_what() -> None:
    text = table(REPORT)
    assert max(map(len, text.splitlines())) <= 120
    row = next(line for line in text.splitlines() if line.startswith("steady"))
    assert re.split(r" {2,}", row) == [
        *("steady", "100", "2,000 a second", "1.16", "116.3", "200,000", "2.78", "7.70", "0"),
    ]
    assert "0.23 s to listening" in text
    assert "36.6 MB without readers, 17.1 KB for each of 1,000" in text
    assert "busy" not in text
    assert "defect" not in text


def test_the_table_says_what_spoils_the_figures() -> None:
    text = table(replace(REPORT, busy=1.5, idle_mb=None, figures=(replace(FIGURES, disordered=1),)))
    assert "kept this machine busy" in text
    assert "that is a defect" in text
    assert "- MB without readers" in text


def test_the_default_plan_is_the_documented_one() -> None:
    assert {load.name: (load.readers, load.messages, load.rate) for load in BenchPlan().loads} == {
        "fan-out": (100, 20_000, 0),
        "steady": (100, 6_000, 2_000),
        "quiet": (100, 600, 200),
        "ingest": (1, 200_000, 0),
    }


def test_a_step_that_takes_too_long_ends_with_a_clear_message() -> None:
    slow = Load(name="for ever", readers=2, messages=1_000, rate=100)
    with pytest.raises(RelayError, match=r"did not take 1000 messages within 0\.5 s"):
        measure(replace(SMALL, connections=2, loads=(slow,), limit=0.5))


def test_a_relay_that_dies_ends_it_with_a_clear_message(temporary_folder: Path) -> None:
    def kill_relay(step: str) -> None:
        if step == "steady":
            for pid in descendants(os.getpid()):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if command[1:4] == [b"-m", b"codeworm_monitor", b"relay"]:
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(RelayError, match="readers could not connect: error"):
        measure(SMALL, on_step=kill_relay)
    assert not list(temporary_folder.iterdir())


def test_a_relay_that_does_not_start_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "FOLDER_VARIABLE", "PYTHONHOME")  # no Python starts with this
    with pytest.raises(RelayError, match=r"(?s)did not listen.*log ends:\n.*Python"):
        measure(SMALL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_outlives_a_bench_that_is_killed(temporary_folder: Path) -> None:
    words = [sys.executable, "-m", "codeworm_monitor", "bench"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: len(descendants(process.pid)) >= 5)  # two guards, server, relay, readers
        below = descendants(process.pid)
        process.kill()
    until(lambda: not any(map(is_running, below)))
    until(lambda: not list(temporary_folder.iterdir()))


def test_as_many_connections_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(64, 500)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    with bench._many_descriptors(2_000) as allowed:
        assert (allowed, limits[-1]) == (500, (500, 500))
    assert limits[-1] == (64, 500)
    with bench._many_descriptors(200):
        assert limits[-1] == (200, 500)


@pytest.mark.parametrize(
    ("answer", "seconds"), [("00:01:02", 62.0), ("1-00:00:01", 86_401.0), ("0:01.25", 1.25), ("", None)]
)
def test_where_there_is_no_proc_ps_tells_the_time_used(
    answer: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(bench, "_ps", lambda pid, column: answer)
    assert bench._cpu_seconds(1) == seconds


def test_memory_is_what_the_system_says() -> None:
    resident = bench._resident_kb(os.getpid())
    assert resident is not None
    assert resident > 1_000
    assert bench._resident_kb(2**22 + 1) is None


# Readers


def message(number: int, at: int = 0) -> bytes:
    """Return a text as the bench publishes it, inside whatever surrounds it."""
    return b'..{"seq":"%09d","ts":"%020d"}' % (number, at)


def an_exact_reader(expected: int = 0) -> Reader:
    return Reader(socket.socket(), b"", is_exact=True, expected=expected)


def test_an_exact_reader_sees_what_is_missing_and_what_comes_twice() -> None:
    reader = an_exact_reader(5)
    reader.look(b"".join(message(number, 100) for number in (5, 6, 8, 8, 7, 9)), 300, 6)
    reader.connection.close()
    assert (reader.received, reader.disordered, reader.expected) == (4, 2, 10)
    assert reader.latencies == [200, 200, 200]


def test_an_exact_reader_puts_together_what_came_in_pieces() -> None:
    reader, text = an_exact_reader(), b"".join(map(message, range(20)))
    for start in range(0, len(text), 7):
        reader.look(text[start : start + 7], 1, 0)
    reader.connection.close()
    assert (reader.received, reader.disordered) == (20, 0)


class StandIn:
    """A relay of one thread, which says what it is told to every reader."""

    def __init__(self, *, head: bytes = b"HTTP/1.1 101 Ok\r\n\r\n", before: bytes = b"", after: bytes = b"") -> None:
        self.says = (head, before + bench_readers.PONG, after)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            connection.recv(4096)
            connection.sendall(self.says[0])
            if connection.recv(4096):
                connection.sendall(self.says[1] + self.says[2])


def seen_from(stand_in: StandIn, **order: int) -> bench_readers.Seen:
    asked = Order(port=stand_in.port, path="/ws", **order)
    readers = connect(asked)
    try:
        return watch(readers, asked)
    finally:
        for reader in readers:
            reader.connection.close()


def test_what_comes_before_the_pong_is_history_and_what_comes_after_counts() -> None:
    live, size = b"".join(map(message, range(3))), len(message(0))
    with StandIn(before=message(77) * 5, after=live) as stand_in:
        seen = seen_from(stand_in, readers=2, messages=3, frame_bytes=size)
    assert (seen.deliveries, seen.lost, seen.disordered, seen.closed) == (6, 0, 0, 0)


def test_what_does_not_come_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_readers, "IDLE", 0.1)
    with StandIn(after=message(0) + message(2)) as stand_in:
        seen = seen_from(stand_in, readers=2, messages=4, frame_bytes=len(message(0)))
    assert (seen.deliveries, seen.lost) == (4, 4)


def test_a_reader_that_is_refused_says_why() -> None:
    with StandIn(head=b"HTTP/1.1 503 Full\r\n\r\n") as stand_in, pytest.raises(OSError, match="503 Full"):
        connect(Order(port=stand_in.port, path="/ws", readers=1))
