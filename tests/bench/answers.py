"""How long each question takes over an archive, and the most memory: `python answers.py --messages 100000 --days 30`.

The archive holds recorded traffic, again and again, its times and commits varied; closed days
are Parquet files, as the relay leaves them. Each question is asked of an archive that was
just opened, so that it includes reading it, in a process of its own, which has imported everything before.
"""

from __future__ import annotations

import argparse
import datetime
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.rows import StoredRow
from codeworm_monitor.archive.store import Store
from codeworm_monitor.opened import open_archive
from codeworm_monitor.sources.recording import read_recording

DATA = Path(__file__).parents[1] / "data"
QUESTIONS = (
    "cycles",
    "outages",
    "documents",
    'throughput(by="repo")',
    'success_rate(by="repo")',
    'durations(by="doc_type")',
    'tokens(by="repo")',
    "schedule()",
    "slowdown()",
    "silence()",
    "errors()",
    "repos()",
)
TIME = re.compile(rb"2026-11-2\dT\d\d:\d\d:\d\d(?:\.\d+)?")
COMMIT = re.compile(rb'(?<="commit":")[0-9a-f]{8}')
AT_ONCE = 20_000


def fill(directory: Path, messages: int, days: float) -> None:
    """Make an archive of so many messages, spread over so many days."""
    recorded = list(read_recording(DATA / "recording-1.jsonl.gz"))
    rounds = -(-messages // len(recorded))
    store, rows, offset = Store(directory), list[StoredRow](), 0
    key = store.begin()
    for number in range(rounds):
        later = datetime.timedelta(days=days * number / rounds)

        def moved(match: re.Match[bytes], later: datetime.timedelta = later) -> bytes:
            return (
                (datetime.datetime.fromisoformat(match[0].decode()) + later).isoformat(timespec="microseconds").encode()
            )

        def other(match: re.Match[bytes], number: int = number) -> bytes:
            return b"%08x" % ((int(match[0], 16) + number * 7919) & 0xFFFFFFFF)

        for message in recorded[: messages - offset]:
            offset += 1
            payload = COMMIT.sub(other, TIME.sub(moved, message.payload))
            at = round((message.received_at + later.total_seconds()) * 1e6)
            rows.append(StoredRow(key, offset, at, message.channel, None, payload))
        if len(rows) >= AT_ONCE:
            store.append(rows)
            rows = []
    store.append(rows)
    store.finish(key, offset)
    compact(store, now=rows[-1].received_at / 1e6)  # as the relay's upkeep does: what is closed is Parquet
    store.close()


def ask(directory: Path, question: str) -> None:
    """Print how long one question takes, and the most memory this process had."""
    import ruptures  # noqa: F401
    import scipy.stats  # noqa: F401

    archive = open_archive(directory, codeworm_db=DATA / "codeworm.db", codeworm_config=DATA / "config")
    begun = time.perf_counter()
    eval(f"archive.{question}", {"archive": archive})  # one of QUESTIONS
    print(f"{time.perf_counter() - begun:.2f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def main() -> None:
    """Make the archive, ask each question several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ask", nargs=2, metavar=("DIRECTORY", "QUESTION"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ask:
        ask(Path(chosen.ask[0]), chosen.ask[1])
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "archive"
        fill(directory, chosen.messages, chosen.days)
        print(f"{chosen.messages:,} messages of {chosen.days:g} days: medians of {chosen.rounds}")
        for question in QUESTIONS:
            found = []
            for _ in range(chosen.rounds):
                words = [sys.executable, __file__, "--ask", str(directory), question]
                told = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
                found.append((float(told[0]), float(told[1])))
            seconds, megabytes = (sorted(one[i] for one in found)[len(found) // 2] for i in range(2))
            print(f"{question:28} {seconds:6.2f} s {megabytes:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
