"""The bench: what the relay does on this machine, measured in half a minute.

A relay with its default settings, in a process of its own, subscribes to an embedded server; plain sockets in a third
process read (`bench_readers`); this one publishes. CPU is the relay's alone, user and system time, without start and
handshakes. All of them share the machine's processors, with whatever else runs there: compare figures of one machine.

What is published is one log line of some 300 bytes, and its size on the wire is the same each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import re
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from codeworm_monitor import __version__, guard
from codeworm_monitor.bench_readers import Order, Seen
from codeworm_monitor.discovery import FOLDER_VARIABLE
from codeworm_monitor.embedded import EmbeddedServer
from codeworm_monitor.envelope import Envelope
from codeworm_monitor.errors import RelayError
from codeworm_monitor.frames import encode_v1, text_frame
from codeworm_monitor.settings import ENVIRONMENT_PREFIX

__all__ = ["BenchPlan", "BenchReport", "Figures", "Load", "measure", "table"]

CHANNEL = "codeworm:logs"
LINE = (
    b'{"event":"documentation_generated","component":"daemon","level":"info","timestamp":"2026-02-11T03:00:00.000000Z",'
    b'"target":"src/codeworm/analysis/scorer.py:score_candidate","doc_type":"function_doc","repo":"CodeWorm",'
    b'"tokens":412,"duration_ms":8317,"dry_run":false,"seq":"%09d","ts":"%020d"}'
)
BURST = 64
"""Messages written together where there is no rate."""
UNANSWERED = 2048
"""PUBLISH commands that may wait for their answer."""
START_WITHIN = 20.0
STOP_WITHIN = 3.0
SETTLE = 0.3
"""Seconds of rest before a measurement begins."""
WARM_UP = 100
"""Messages published before each load."""
SPARE_DESCRIPTORS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load on the relay.

    Attributes:
        name: Its name in the table.
        readers: Readers connected.
        messages: Messages published to them.
        rate: Messages a second; 0: all at once.
        rounds: How often it is measured; the median counts.
    """

    name: str
    readers: int
    messages: int
    rate: int = 0
    rounds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What is measured.

    Attributes:
        connections: Readers connected at one time to see the memory of each.
        loads: The loads, one after the other.
        limit: Seconds that each step may take.
    """

    connections: int = 1_000
    loads: tuple[Load, ...] = (
        Load(name="fan-out", readers=100, messages=20_000, rounds=3),
        Load(name="steady", readers=100, messages=6_000, rate=2_000),
        Load(name="quiet", readers=100, messages=600, rate=200),
        Load(name="ingest", readers=1, messages=200_000, rounds=3),
    )
    limit: float = 30.0

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return 2 + sum(load.rounds for load in self.loads)

    def scaled(self, factor: float) -> Self:
        """Return a plan with so much of everything, and each load measured once; for a quick look."""
        loads = tuple(
            replace(load, messages=max(50, int(load.messages * factor)), readers=_part(load.readers, factor), rounds=1)
            for load in self.loads
        )
        return replace(self, connections=_part(self.connections, factor), loads=loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one load cost.

    Attributes:
        load: The load.
        deliveries: Messages delivered, over all readers.
        lost: Messages that readers did not get, over all rounds.
        disordered: Messages that readers got twice or too late, over all rounds.
        seconds: From the first PUBLISH to the last delivery.
        deliveries_per_second: Deliveries in that time. Readers and publisher take their part of the processors.
        cpu_us_per_message: The relay's CPU for each message published, microseconds; None where it is not measured.
        cpu_us_per_delivery: The same for each message delivered to one reader.
        p50_ms: Median latency from PUBLISH to the reader; None where all came at once.
        p99_ms: The latency that 1 in 100 messages exceeds.
    """

    load: Load
    deliveries: int
    lost: int
    disordered: int
    seconds: float
    deliveries_per_second: float
    cpu_us_per_message: float | None
    cpu_us_per_delivery: float | None
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All that was measured.

    Attributes:
        version: Version of the package.
        python: Version of Python.
        system: Operating system and machine.
        processors: Processors that may be used.
        busy: Processes that wanted a processor in the minute before (load average).
        message_bytes: Bytes of each message published.
        start_seconds: From the relay's process to its listening.
        idle_mb: Resident memory of the relay without readers, in MB; None where it is not measured.
        connections: Readers connected to see the memory of each; the system may allow fewer than planned.
        connection_kb: Resident memory of the relay for each of them, in KB.
        figures: What each load cost.
    """

    version: str
    python: str
    system: str
    processors: int
    busy: float
    message_bytes: int
    start_seconds: float
    idle_mb: float | None
    connections: int
    connection_kb: float | None
    figures: tuple[Figures, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, the figures by the name of the load."""
        figures = {}
        for one in self.figures:
            values = asdict(one)
            load = values.pop("load")
            figures[load.pop("name")] = load | values
        return asdict(self) | {"figures": figures}


def measure(
    plan: BenchPlan | None = None, *, keeps: bool = True, on_step: Callable[[str], None] | None = None
) -> BenchReport:
    """Carry out a plan, and leave nothing behind; blocks for as long as that takes.

    Args:
        plan: What to measure; None: the default, about half a minute.
        keeps: Whether the relay has an archive, as by default; in a temporary folder.
        on_step: Called with the name of each step as it begins.

    Raises:
        EmbeddedServerError: There is no server to start.
        RelayError: A step failed or took too long.
    """
    plan = BenchPlan() if plan is None else plan
    tell = on_step or _ignore
    busy = round(os.getloadavg()[0], 2)
    tell("start")
    with contextlib.ExitStack() as stack:
        descriptors = stack.enter_context(_many_descriptors(plan.connections + SPARE_DESCRIPTORS))
        redis_port = stack.enter_context(_embedded_server())
        relay = stack.enter_context(_relay(redis_port, keeps=keeps))
        publisher = stack.enter_context(contextlib.closing(_Publisher(redis_port, limit=plan.limit)))
        publisher.wait_heard()
        time.sleep(SETTLE)
        idle = _resident_kb(relay.pid)
        tell("memory")
        connections = min(plan.connections, descriptors - SPARE_DESCRIPTORS)
        with _readers(Order(port=relay.port, path=relay.path, readers=connections), plan.limit):
            time.sleep(SETTLE)
            full = _resident_kb(relay.pid)
        figures = tuple(_measure_load(load, relay, publisher, plan.limit, tell) for load in plan.loads)
    return BenchReport(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processors=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        busy=busy,
        message_bytes=len(LINE % (0, 0)),
        start_seconds=round(relay.start_seconds, 3),
        idle_mb=None if idle is None else round(idle / 1024, 1),
        connections=connections,
        connection_kb=None if idle is None or full is None else round((full - idle) / connections, 1),
        figures=figures,
    )


def table(report: BenchReport) -> str:
    """Return a report as plain text, at most 100 columns wide."""
    rows = [("", "readers", "messages", "µs/delivery", "µs/message", "deliveries/s", "p50 ms", "p99 ms", "lost")]
    for one in report.figures:
        load = one.load
        rows.append(
            (
                load.name,
                f"{load.readers:,}",
                f"{load.rate:,} a second" if load.rate else f"{load.messages:,} at once",
                _shown(one.cpu_us_per_delivery),
                _shown(one.cpu_us_per_message),
                f"{one.deliveries_per_second:,.0f}",
                _shown(one.p50_ms),
                _shown(one.p99_ms),
                f"{one.lost:,}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"codeworm_monitor {report.version}, Python {report.python}, {report.system}, "
        f"{report.processors} processors (load before: {report.busy:g}), messages of {report.message_bytes} bytes",
        "",
        *("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows),
        "",
        f"start   {report.start_seconds:.2f} s to listening",
        f"memory  {_shown(report.idle_mb)} MB without readers, "
        f"{_shown(report.connection_kb)} KB for each of {report.connections:,}",
        "",
        "µs are the relay's CPU time, of one processor; latency is from PUBLISH to the reader.",
    ]
    if report.busy > report.processors / 2:
        lines.append("Other programs kept this machine busy: undisturbed, the figures would be better.")
    if any(one.disordered for one in report.figures):
        lines.append("Messages came twice or out of order: that is a defect, please report it.")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _part(count: int, factor: float) -> int:
    return max(1, int(count * factor))


def _ignore(step: str) -> None:
    pass


# One load


def _measure_load(
    load: Load, relay: _Relay, publisher: _Publisher, limit: float, tell: Callable[[str], None]
) -> Figures:
    rounds = []
    for _ in range(load.rounds):
        tell(load.name)
        rounds.append(_measure_round(load, relay, publisher, limit))
    rounds.sort(key=lambda one: (one.cpu_us_per_message or 0.0, one.seconds))
    lost, disordered = sum(one.lost for one in rounds), sum(one.disordered for one in rounds)
    return replace(rounds[len(rounds) // 2], lost=lost, disordered=disordered)


def _measure_round(load: Load, relay: _Relay, publisher: _Publisher, limit: float) -> Figures:
    order = Order(
        port=relay.port,
        path=relay.path,
        readers=load.readers,
        first=publisher.published,
        warm_up=WARM_UP,
        messages=WARM_UP + load.messages,
        frame_bytes=_frame_bytes(),
        limit=limit,
    )
    with _readers(order, limit) as readers:
        publisher.publish(WARM_UP, rate=1_000)
        time.sleep(SETTLE)
        used, started_at = _cpu_seconds(relay.pid), time.monotonic_ns()
        publisher.publish(load.messages, rate=load.rate)
        seen = Seen(**json.loads(_read_line(readers, limit + 5, f"the readers of the load {load.name!r}")))
        used_after = _cpu_seconds(relay.pid)
    if seen.closed:
        raise RelayError(f"the relay closed {seen.closed} of {load.readers} readers under the load {load.name!r}")
    deliveries = max(0, seen.deliveries - WARM_UP * load.readers)
    if not deliveries:
        raise RelayError(f"no message of the load {load.name!r} reached a reader within {limit:g} s")
    seconds = max(1, seen.ended_at - started_at) / 1e9
    cpu = None if used is None or used_after is None else used_after - used
    return Figures(
        load=load,
        deliveries=deliveries,
        lost=seen.lost,
        disordered=seen.disordered,
        seconds=round(seconds, 4),
        deliveries_per_second=round(deliveries / seconds),
        cpu_us_per_message=None if cpu is None else round(cpu * 1e6 / load.messages, 4),
        cpu_us_per_delivery=None if cpu is None else round(cpu * 1e6 / deliveries, 4),
        p50_ms=seen.p50_ms if load.rate else None,
        p99_ms=seen.p99_ms if load.rate else None,
    )


def _frame_bytes() -> int:
    return len(text_frame(encode_v1(Envelope(0, 0.0, CHANNEL, LINE % (0, 0), None))))


class _Publisher:
    """Publishes numbered messages, on one connection and by the protocol itself: a client would be the bottleneck."""

    def __init__(self, port: int, *, limit: float) -> None:
        self.published = 0
        self._limit = limit
        self._answers = 0
        self._sent = 0
        self._is_heard = False
        size = len(LINE % (0, 0))
        self._command = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (
            len(CHANNEL),
            CHANNEL.encode(),
            size,
            LINE,
        )
        self._connection = socket.create_connection(("127.0.0.1", port), limit)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def wait_heard(self) -> None:
        """Publish until somebody subscribes."""
        until = time.monotonic() + START_WITHIN
        while not self._is_heard:
            if time.monotonic() > until:
                raise RelayError(f"the relay did not subscribe within {START_WITHIN:g} s")
            self.publish(1)
            time.sleep(0.02)

    def publish(self, count: int, *, rate: int = 0) -> None:
        """Publish messages, and return when the server has taken them.

        Args:
            count: How many.
            rate: How many a second; 0: as fast as the server takes them.

        Raises:
            RelayError: The server went away, or takes nothing.
        """
        started, until = time.monotonic(), time.monotonic() + self._limit
        last, command = self.published + count, self._command
        try:
            while self.published < last:
                if time.monotonic() > until:
                    raise TimeoutError
                burst = 1 if rate else min(BURST, last - self.published)
                if rate:
                    time.sleep(max(0.0, started + (count - last + self.published) / rate - time.monotonic()))
                now = time.monotonic_ns()
                commands = [command % (number, now) for number in range(self.published, self.published + burst)]
                self._connection.sendall(b"".join(commands))
                self.published += burst
                self._sent += burst
                self._take_answers(UNANSWERED)
            self._take_answers(0)
        except TimeoutError:
            raise RelayError(f"the embedded server did not take {count} messages within {self._limit:g} s") from None
        except OSError as error:
            raise RelayError(f"the embedded server went away: {error}") from error

    def _take_answers(self, most: int) -> None:
        """Take the answers that have come, and wait until at most so many are missing."""
        while self._sent - self._answers > most or select.select([self._connection], [], [], 0)[0]:
            answers = self._connection.recv(65536)
            if not answers:
                raise ConnectionResetError("it closed the connection")
            if b"-" in answers:
                raise ConnectionResetError(answers.decode("ascii", "replace").strip())
            self._answers += answers.count(b"\n")
            self._is_heard = b":1" in answers

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


# Processes


@dataclass(frozen=True, slots=True)
class _Relay:
    """A running relay: its process, where it listens, and how long it took to do so."""

    pid: int
    port: int
    path: str
    start_seconds: float


@contextlib.contextmanager
def _embedded_server() -> Iterator[int]:
    with asyncio.Runner() as runner:
        server = EmbeddedServer(preferred_port=0)
        runner.run(server.start())
        try:
            yield server.port
        finally:
            runner.run(server.aclose())


@contextlib.contextmanager
def _relay(redis_port: int, *, keeps: bool) -> Iterator[_Relay]:
    """Start a relay that ends with us, however we end: the guard of the embedded server keeps it as well."""
    directory = Path(tempfile.mkdtemp(prefix="codeworm-monitor-"))
    # Defaults are measured, and no notebook shall find this relay.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    command = [sys.executable, "-m", "codeworm_monitor", "relay", "--port", "0", "--no-token"]
    command += ["--redis-url", f"redis://127.0.0.1:{redis_port}"]
    command += ["--archive", str(directory)] if keeps else ["--no-archive"]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(directory), str(STOP_WITHIN), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environment, FOLDER_VARIABLE: str(directory)},
        start_new_session=True,
    ) as process:
        try:
            pid = int(_read_line(process, START_WITHIN, "the relay's guard"))
            yield _wait_listening(pid, directory / "server.log")
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_WITHIN + 2.0)
            except subprocess.TimeoutExpired:
                process.kill()
            shutil.rmtree(directory, ignore_errors=True)


def _wait_listening(pid: int, log: Path) -> _Relay:
    started = time.monotonic()
    while time.monotonic() - started < START_WITHIN:
        text = log.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"connect to +ws://127\.0\.0\.1:(\d+)(/\S*)\n", text):
            return _Relay(pid, int(match[1]), match[2], time.monotonic() - started)
        if "Error:" in text or "Traceback" in text:
            break
        time.sleep(0.002)
    raise RelayError(f"the relay did not listen within {START_WITHIN:g} s; its log ends:\n{text[-600:].strip()}")


@contextlib.contextmanager
def _readers(order: Order, limit: float) -> Iterator[subprocess.Popen[bytes]]:
    """Start readers, and yield their process when all are connected."""
    with subprocess.Popen(
        [sys.executable, "-m", "codeworm_monitor.bench_readers", json.dumps(asdict(order))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            answer = _read_line(process, limit, f"{order.readers} readers that connect")
            if answer != b"ready\n":
                raise RelayError(f"the readers could not connect: {answer.decode().strip()}")
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()


def _read_line(process: subprocess.Popen[bytes], within: float, who: str) -> bytes:
    """Return the next line of a process's output.

    Raises:
        RelayError: None came in time, or the process ended.
    """
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], within)[0]:
        raise RelayError(f"the bench gave up: {who} took more than {within:g} s")
    line = process.stdout.readline()
    if not line:
        raise RelayError(f"the bench gave up: {who} ended unexpectedly")
    return line


@contextlib.contextmanager
def _many_descriptors(wanted: int) -> Iterator[int]:
    """Let processes started from here open so many files, and yield how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= enough:
        yield max(wanted, soft) if soft != resource.RLIM_INFINITY else wanted
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    try:
        yield enough
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# What a process uses


def _cpu_seconds(pid: int) -> float | None:
    """Return user and system time of a process, or None where it cannot be known."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError):  # a kernel may be built without
            tasks = Path(f"/proc/{pid}/task").iterdir()
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    text = _ps(pid, "time")
    if not re.fullmatch(r"(\d+-)?[\d:.]+", text):
        return None
    days, _, clock = text.rpartition("-")
    seconds = int(days or 0) * 86_400.0
    for power, part in enumerate(reversed(clock.split(":"))):
        seconds += float(part) * 60**power
    return seconds


def _resident_kb(pid: int) -> int | None:
    """Return the resident memory of a process in KB, or None where it cannot be known."""
    text = _ps(pid, "rss")
    return int(text) if text.isdigit() else None


def _ps(pid: int, column: str) -> str:
    """Return what `ps` says of a process, or nothing."""
    try:
        done = subprocess.run(["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
