"""What a message costs the program's thread: `Publisher` against redis-py's own `publish`, in one run.

    python tests/bench/publisher.py [--messages 20000]

Each case publishes the log line of a commit (about 230 bytes) and times every call. Paced: one every 0.2 ms, as busy as
a program gets that logs a lot. At once: in a tight loop, so that the publisher's thread fights for the interpreter. Down:
Redis is away and the queue is full, so that each message pushes out the oldest. The figures are microseconds; those of a
machine that does other things as well are worse, so compare ratios.
"""

from __future__ import annotations

import argparse
import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import orjson
import redis

from codeworm_monitor.embedded import find_server
from codeworm_monitor.publish import Publisher, PublishHandler, PublishProcessor

FIELDS = {
    "target": "module.Class.method",
    "doc_type": "function_doc",
    "commit": "abcdef12",
    "tokens": 1302,
    "time_ms": 1318.5,
}
PACE = 0.0002


@contextmanager
def a_server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = [str(find_server()), "--port", str(port), "--save", "", "--dir", folder, "--bind", "127.0.0.1"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port) as client:
                while True:
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def timed(call: Callable[[], object], messages: int, pace: float = 0.0) -> list[float]:
    clock, spent = time.perf_counter, []
    due = clock()
    for _ in range(messages):
        if pace:
            due += pace
            while clock() < due:
                pass  # the program's own work
        begin = clock()
        call()
        spent.append((clock() - begin) * 1e6)
    return spent


def show(name: str, spent: list[float], base: float | None = None) -> float:
    spent.sort()
    median, p99 = statistics.median(spent), spent[len(spent) * 99 // 100]
    ratio = f"   {base / median:6.1f} times less than redis-py" if base else ""
    print(f"{name:34} median {median:7.2f}   p99 {p99:8.2f}   p99.9 {spent[len(spent) * 999 // 1000]:9.2f}{ratio}")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000)
    count = parser.parse_args().messages
    with a_server() as url, redis.Redis.from_url(url) as client, Publisher(url) as publisher:

        def by_client() -> None:
            line = {"event": "documentation_committed", "level": "info", "component": "daemon", **FIELDS}
            line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            client.publish("codeworm:logs", orjson.dumps(line))

        def by_publisher() -> None:
            publisher.log("documentation_committed", **FIELDS)

        publisher.connect()
        base = show("redis-py publish", timed(by_client, count // 4))
        show("log, paced", timed(by_publisher, count, PACE), base)
        publisher.flush(60)
        show("event, paced", timed(lambda: publisher.event("documentation_committed", **FIELDS), count, PACE), base)
        publisher.flush(60)
        show("log, at once", timed(by_publisher, count), base)
        publisher.flush(60)
        flooded = publisher.statistics().dropped.get("queue_full", 0)

        handler, logger = PublishHandler(publisher), logging.getLogger("bench")
        logger.propagate = False
        record = logger.makeRecord("bench", logging.INFO, __file__, 1, "a message of %s", ("words",), None)
        show("PublishHandler.emit, paced", timed(lambda: handler.emit(record), count, PACE), base)
        publisher.flush(60)
        processor = PublishProcessor(publisher)
        line = {"event": "documentation_committed", "level": "info", "component": "daemon", **FIELDS}
        show("PublishProcessor, paced", timed(lambda: processor(None, "info", line), count, PACE), base)
        publisher.flush(60)
        taken = publisher.statistics()
    print(
        f"{taken.sent} sent; dropped: {flooded} of those at once, {sum(taken.dropped.values()) - flooded} of the others"
    )

    logging.getLogger("codeworm_monitor").setLevel(logging.CRITICAL)
    with Publisher("redis://127.0.0.1:1", max_messages=1000) as publisher:
        timed(lambda: publisher.log("documentation_committed", **FIELDS), 2000)
        show("log, Redis down, queue full", timed(lambda: publisher.log("documentation_committed", **FIELDS), count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
