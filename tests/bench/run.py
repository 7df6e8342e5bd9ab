#!/usr/bin/env python3
"""Measure relays from Redis pub/sub to WebSocket, and print one JSON line per relay, workload and round.

    python run.py --server 'COMMAND with {port} {redis_port}' [--path /ws] [--workloads W1,W2] [--reps 3]
    python run.py --matrix contestants.json [--only a,b] [--workloads W1,W2] [--reps 3] [--out rows.jsonl]

A relay must bring codeworm:logs to every reader, one text frame per message (or several messages in one, with
--multi), its text holding the payload's own "seq":N and "ts":N, plain or backslash-escaped. In its command {python}
stands for this interpreter and {here} for this folder; REDIS_URL is in its environment as well. Each workload gets a
new relay, all of them the same private Redis; everything is on 127.0.0.1, every step has a time limit, and only
process groups started here are ended.

CPU is user and system time of the relay's process tree (schedstat), from after connect and warm-up to the last
delivery: neither handshakes nor imports are in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{origin}\r\n"
)
MASKED_CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"

# n readers, msgs messages, rate a second (0: as fast as Redis takes them), pad bytes more in each message, slow of the
# readers stop reading; idle: only connect.
WORKLOADS: dict[str, dict[str, Any]] = {
    "W1": {"n": 100, "msgs": 600, "rate": 200},
    "W2": {"n": 100, "msgs": 20_000, "rate": 0},
    "W3": {"n": 1_000, "msgs": 2_000, "rate": 0},
    "W4": {"n": 1, "msgs": 200_000, "rate": 0},
    "W5": {"n": 1_000, "idle": True},
    "W5b": {"n": 5_000, "idle": True},
    "W6": {"n": 50, "slow": 1, "msgs": 3_200, "rate": 800, "pad": 4_000},
    "W7": {"n": 100, "msgs": 6_000, "rate": 2_000},
    "W8": {"n": 1_000, "msgs": 400, "rate": 100},
}
KEPT = ("deliveries", "lost", "out_of_order", "closed", "wall_s", "deliveries_per_s", "max_stall_ms", "client_cpu_s")
KEPT += ("p50_us", "p99_us", "p999_us", "max_us", "frames_per_read", "end")


class MeasurementError(Exception):
    """A relay cannot be measured: it did not start, refused a reader, or did not subscribe."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# What processes use


def tree(root: int) -> dict[int, str]:
    """Return a process and its descendants, with their names."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                before, _, after = (folder / "stat").read_text().rpartition(")")
                names[int(folder.name)] = before.partition("(")[2]
                children.setdefault(int(after.split()[1]), []).append(int(folder.name))
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        found[pid] = names.get(pid, "?")
        waiting += children.get(pid, [])
    return found


def usage(root: int, names: list[str] | None = None) -> dict[str, float]:
    """Return what a process tree has used: cpu, user and sys in seconds (the latter two in steps of 10 ms), rss in KB.

    Args:
        root: The tree's first process.
        names: Count only processes with these names.
    """
    total = {"cpu": 0.0, "user": 0.0, "sys": 0.0, "rss": 0.0}
    for pid, name in tree(root).items():
        if names and name not in names:
            continue
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError, ValueError):
            for task in (process / "task").iterdir():
                total["cpu"] += int((task / "schedstat").read_text().split()[0]) / 1e9
            ticks = (process / "stat").read_text().rpartition(")")[2].split()
            total["user"] += int(ticks[11]) / os.sysconf("SC_CLK_TCK")
            total["sys"] += int(ticks[12]) / os.sysconf("SC_CLK_TCK")
            status = (process / "status").read_text()
            if "VmRSS:" in status:
                total["rss"] += int(status.partition("VmRSS:")[2].split()[0])
    return total


# Processes


def wait_listen(port: int, path: str, process: subprocess.Popen[Any], origin: str | None = None) -> None:
    """Wait until a relay takes readers.

    Raises:
        MeasurementError: It ended, or did not within 20 seconds.
    """
    header = f"Origin: {origin}\r\n" if origin else ""
    request = HANDSHAKE.format(path=path, port=port, origin=header).encode()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            raise MeasurementError(f"the relay ended with status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(request)
            if b" 101 " in connection.recv(4096):
                connection.sendall(MASKED_CLOSE)
                with contextlib.suppress(OSError):
                    connection.recv(100)
                return
        time.sleep(0.05)
    raise MeasurementError("the relay did not come up within 20 s")


def stop(process: subprocess.Popen[Any], within: float = 5) -> None:
    """End a process and its group, which it leads."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2)


@contextlib.contextmanager
def private_redis(port: int | None = None) -> Iterator[tuple[int, int | None]]:
    """Yield port and process id of a Redis of our own; or the port given, whose server is not measured."""
    if port:
        yield port, None
        return
    port = free_port()
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no", "loglevel": "warning"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    words += ["--client-output-buffer-limit", "pubsub 0 0 0", "--dir", tempfile.gettempdir()]
    process = subprocess.Popen(
        ["redis-server", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        yield port, process.pid
    finally:
        stop(process)


def subscribers(redis_port: int) -> int:
    """Count the subscribers of codeworm:logs."""
    with socket.create_connection(("127.0.0.1", redis_port), 2) as connection:
        connection.sendall(b"PUBSUB NUMSUB codeworm:logs\r\n")
        return int(connection.recv(1000).split(b":")[-1])


def build() -> None:
    """Build the C programs where a source is newer."""
    for source in (HERE / "client.c", HERE / "publish.c", HERE / "servers/climit.c", HERE / "servers/bridge.c"):
        program = source.with_suffix("")
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([HERE / "build.sh"], check=True)
            return


# Measuring


def run(
    name: str, contestant: dict[str, Any], workload_name: str, workload: dict[str, Any], redis: tuple[int, int | None]
) -> dict[str, Any]:
    """Start a relay, put one workload on it, and return the row; a relay that fails is a result too."""
    row: dict[str, Any] = {"server": name, "workload": workload_name}
    row |= {key: workload[key] for key in ("n", "msgs", "rate", "pad", "slow") if key in workload}
    port, redis_port = free_port(), redis[0]
    command = contestant["server"]
    for key, value in {"python": sys.executable, "here": HERE, "port": port, "redis_port": redis_port}.items():
        command = command.replace(f"{{{key}}}", shlex.quote(str(value)))
    environment = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}", "PYTHONUNBUFFERED": "1", **contestant.get("env", {})}
    with tempfile.TemporaryFile("w+b") as log:
        relay = subprocess.Popen(
            shlex.split(command), stdout=log, stderr=log, env=os.environ | environment, start_new_session=True
        )
        try:
            wait_listen(port, contestant.get("path", "/ws"), relay, contestant.get("origin"))
            time.sleep(0.4)
            row |= _measure(contestant, workload_name, workload, port, relay, redis)
        except (MeasurementError, OSError, subprocess.SubprocessError, ValueError) as error:
            log.seek(0)
            row |= {"error": f"{type(error).__name__}: {error}", "log": log.read()[-600:].decode("utf-8", "replace")}
        finally:
            stop(relay)
    return row


def _client(contestant: dict[str, Any], workload: dict[str, Any], port: int, messages: int) -> subprocess.Popen[str]:
    """Start the readers and return when all are connected.

    Raises:
        MeasurementError: One of them was refused.
    """
    words = [f"{HERE}/client", "--port", port, "--path", contestant.get("path", "/ws"), "--n", workload["n"]]
    words += ["--expect", messages, "--slow", workload.get("slow", 0)]
    words += ["--idle-ms", contestant.get("idle_ms", 5000), "--max-s", contestant.get("max_s", 60)]
    hellos = contestant.get("hello") or []
    for hello in [hellos] if isinstance(hellos, str) else hellos:
        words += ["--hello", hello]
    for option in ("origin", "subprotocol"):
        words += [f"--{option}", contestant[option]] if contestant.get(option) else []
    words += [f"--{option}" for option in ("deflate", "multi") if contestant.get(option)]
    client = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line.startswith("READY"):
        stop(client, 2)
        raise MeasurementError(f"the readers could not connect (status {client.returncode}): {line}")
    time.sleep(0.5)
    return client


def _measure(
    contestant: dict[str, Any],
    workload_name: str,
    workload: dict[str, Any],
    port: int,
    relay: subprocess.Popen[bytes],
    redis: tuple[int, int | None],
) -> dict[str, Any]:
    counted = contestant.get("cpu_filter")
    messages = max(1, int(workload.get("msgs", 0) * contestant.get("scale", {}).get(workload_name, 1)))
    idle = usage(relay.pid, counted)
    client = _client(contestant, workload, port, 0 if workload.get("idle") else messages)
    try:
        if workload.get("idle"):
            return _idle(client, idle["rss"], workload["n"], relay.pid, counted)
        return _load(client, workload, messages, contestant.get("max_s", 60), relay.pid, counted, redis)
    finally:
        stop(client, 2)


def _idle(client: subprocess.Popen[str], rss: float, n: int, relay: int, counted: list[str] | None) -> dict[str, Any]:
    time.sleep(1.5)
    connected = usage(relay, counted)["rss"]
    client.send_signal(signal.SIGTERM)
    seen = json.loads(client.communicate(timeout=20)[0])
    per_reader = round((connected - rss) / n, 2)
    return {
        "rss_idle_kb": rss,
        "rss_conn_kb": per_reader,
        "connect_s": seen["connect_s"],
        "closed": seen["closed"],
    }


def _load(
    client: subprocess.Popen[str],
    workload: dict[str, Any],
    messages: int,
    limit: float,
    relay: int,
    counted: list[str] | None,
    redis: tuple[int, int | None],
) -> dict[str, Any]:
    redis_port, redis_pid = redis
    end = time.monotonic() + 10
    while subscribers(redis_port) < 1:
        if time.monotonic() > end:
            raise MeasurementError("the relay has not subscribed within 10 s")
        time.sleep(0.05)
    publish = [f"{HERE}/publish", "--redis-port", str(redis_port), "--pad", str(workload.get("pad", 0))]
    warm_up = [*publish, "--n", "100", "--rate", "500", "--warm"]
    subprocess.run(warm_up, stdout=subprocess.DEVNULL, check=True, timeout=30)
    time.sleep(0.3)
    before, redis_before = usage(relay, counted), usage(redis_pid)["cpu"] if redis_pid else 0.0
    peak = before["rss"]
    publisher = subprocess.Popen(
        [*publish, "--n", str(messages), "--rate", str(workload.get("rate", 0))],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert client.stdout is not None
        end = time.monotonic() + limit + 40
        while not select.select([client.stdout], [], [], 0.25)[0] and time.monotonic() < end:
            peak = max(peak, usage(relay, counted)["rss"])
        after, redis_after = usage(relay, counted), usage(redis_pid)["cpu"] if redis_pid else 0.0
        if time.monotonic() >= end:
            raise MeasurementError("the readers did not end in time")
        seen = json.loads(client.stdout.readline())
        with contextlib.suppress(subprocess.TimeoutExpired):
            publisher.wait(5)
        told = json.loads(publisher.communicate()[0]) if publisher.returncode is not None else {}
    finally:
        stop(publisher, 1)
    cpu = after["cpu"] - before["cpu"]
    return {key: seen[key] for key in KEPT} | {
        "msgs": messages,
        "cpu_s": round(cpu, 4),
        "user_s": round(after["user"] - before["user"], 2),
        "sys_s": round(after["sys"] - before["sys"], 2),
        "cpu_us_per_delivery": round(cpu * 1e6 / seen["deliveries"], 4) if seen["deliveries"] else None,
        "cpu_us_per_msg": round(cpu * 1e6 / messages, 3),
        "cpu_busy": round(cpu / seen["wall_s"], 3) if seen["wall_s"] else None,
        "rss_start_kb": before["rss"],
        "rss_peak_kb": max(peak, after["rss"]),
        "rss_end_kb": after["rss"],
        "redis_cpu_s": round(redis_after - redis_before, 4),
        "pub_late": told.get("late"),
        "publish_s": told.get("publish_s"),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--server", help="command of one relay")
    which.add_argument("--matrix", type=Path, help="JSON file: {name: {server, path, ... as the options below}}")
    parser.add_argument("--only", help="of the matrix, only these, comma-separated")
    parser.add_argument("--workloads", default="W1,W2,W3,W4,W5,W6,W7")
    parser.add_argument("--reps", type=int, default=1, help="rounds; relays take turns within each")
    parser.add_argument("--out", type=Path, help="file to which the lines are appended as well")
    parser.add_argument("--redis-port", type=int, help="use this Redis instead of a private one")
    parser.add_argument("--n", type=int, help="readers, instead of the workload's")
    parser.add_argument("--msgs", type=int, help="messages, instead of the workload's")
    parser.add_argument("--rate", type=float, help="messages a second, instead of the workload's")
    one = parser.add_argument_group("with --server")
    one.add_argument("--name", default="server")
    one.add_argument("--path", default="/ws")
    one.add_argument("--origin", help="Origin header of each reader")
    one.add_argument("--subprotocol", help="WebSocket subprotocol that each reader offers, such as codeworm.v2")
    one.add_argument(
        "--hello", action="append", help="text frame sent after the handshake; of several, readers take turns"
    )
    one.add_argument("--multi", action="store_true", help="a frame may hold several messages")
    one.add_argument("--deflate", action="store_true", help="readers offer permessage-deflate")
    one.add_argument("--cpu-filter", help="comma-separated process names of the tree to count")
    one.add_argument("--max-s", type=int, default=60, help="longest that one load may take, seconds")
    return parser.parse_args()


def main() -> int:
    """Measure what the command line asks for; return 1 if a relay failed."""
    asked = _arguments()
    build()
    if asked.matrix:
        contestants = json.loads(asked.matrix.read_text())
        if asked.only:
            contestants = {name: contestants[name] for name in asked.only.split(",")}
    else:
        names = ("server", "path", "origin", "subprotocol", "hello", "multi", "deflate", "max_s")
        contestants = {asked.name: {name: getattr(asked, name) for name in names}}
        contestants[asked.name]["cpu_filter"] = asked.cpu_filter.split(",") if asked.cpu_filter else None
    has_failed = False
    with private_redis(asked.redis_port) as redis:
        for workload_name in asked.workloads.split(","):
            given = {name: getattr(asked, name) for name in ("n", "msgs", "rate") if getattr(asked, name) is not None}
            for rep in range(asked.reps):
                for name, contestant in contestants.items():
                    if workload_name in contestant.get("skip", []):
                        continue
                    row = run(name, contestant, workload_name, WORKLOADS[workload_name] | given, redis) | {"rep": rep}
                    has_failed = has_failed or "error" in row
                    print(json.dumps(row), flush=True)
                    if asked.out:
                        with asked.out.open("a") as file:
                            file.write(json.dumps(row) + "\n")
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
