"""The bench of the archive: how fast it takes rows and answers on this machine, beside plain SQLite.

Log lines of some 250 bytes, a part of them of closed days as Parquet, the newest in the database; and recorded traffic,
repeated, for what compaction makes of it. Times are medians of `ROUNDS`, after one that does not count.
"""

from __future__ import annotations

import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.store import Store
from codeworm_monitor.bench import BenchPlan, Load, measure
from codeworm_monitor.opened import open_archive
from codeworm_monitor.sources.recording import read_recording

__all__ = ["ArchiveFigures", "figures_table", "measure_archive"]

CHANNEL = "codeworm:logs"
LINE = (
    b'{"component":"daemon","target":"score_candidate_%05d","doc_type":"function_doc","repo":"repo%d","score":33.98,'
    b'"dry_run":false,"event":"documenting","level":"%b","timestamp":"%b.%06dZ","commit":"%08x"}'
)
LEVELS = (b"info", b"info", b"info", b"debug", b"info", b"warning", b"info", b"error")
BATCH = 2_000
HOT_ROWS = 200_000
RANGE = 50_000
LAST = 1_000
ROUNDS = 5
MANY = 1_000_000
"""With fewer rows it is for a quick look: the fan-out is measured once."""
FAN_OUT_READERS, FAN_OUT_MESSAGES, FAN_OUT_ROUNDS = 100, 20_000, 9
DAY = 86_400
FIRST = 1_790_000_000 // DAY * DAY
"""Midnight of the first day, Unix seconds."""
COUNT = "SELECT date_trunc('hour', received_at) AS hour, level, count(*) FROM logs GROUP BY ALL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFigures:
    """What was measured. Times are milliseconds.

    Attributes:
        rows: Rows written.
        append_rows_per_second: Appended as the relay does, synced in batches of 2,000.
        plain_rows_per_second: The same rows into a bare table of plain SQLite, by `executemany`, as often synced.
        compact_rows_per_second: Moved to Parquet.
        last_ms: The last 1,000 rows.
        plain_last_ms: The same from the bare table.
        hot_range_ms: 50,000 rows of the database to a frame.
        cold_range_ms: 50,000 rows of Parquet to a frame.
        count_ms: Count by hour and level over all rows, by `sql`; the database's rows were loaded before.
        first_count_ms: The same, the first time.
        plain_count_ms: The same in plain SQLite over as many rows of the bare table as there are, reckoned to all.
        parquet_ratio: Bytes of the recorded traffic as Parquet, by bytes of it in SQLite.
        fan_out_us: The relay's CPU for each of 20,000 messages at once to 100 readers, with an archive, microseconds;
            None where it is not measured.
        bare_fan_out_us: The same without one.
    """

    rows: int
    append_rows_per_second: float
    plain_rows_per_second: float
    compact_rows_per_second: float
    last_ms: float
    plain_last_ms: float
    hot_range_ms: float
    cold_range_ms: float
    count_ms: float
    first_count_ms: float
    plain_count_ms: float
    parquet_ratio: float
    fan_out_us: float | None
    bare_fan_out_us: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


STEPS = 7
"""Steps that `measure_archive` tells of."""


def measure_archive(
    rows: int = 5_000_000, *, directory: Path | None = None, on_step: Callable[[str], None] | None = None
) -> ArchiveFigures:
    """Measure, in some two minutes for five million rows and a gigabyte of disk, and leave nothing behind.

    Args:
        rows: Rows written, in all.
        directory: Where to make the archives; None: where temporary files go.
        on_step: Called with the name of each step as it begins.

    Raises:
        ArchiveError: DuckDB is missing.
    """
    step = on_step or (lambda name: None)
    with tempfile.TemporaryDirectory(prefix="codeworm-monitor-", dir=directory) as place:
        archive, bare = Path(place) / "archive", Path(place) / "bare.sqlite"
        hot = min(HOT_ROWS, rows // 2)
        step("plain SQLite")
        plain = _plain(bare, hot)
        step("append")
        appended = _append(archive, rows, hot)
        step("compact")
        started = time.perf_counter()
        store = Store(archive)
        try:
            moved = compact(store, now=_end_of(rows, hot) + DAY / 2).rows
        finally:
            store.close()
        compacted = moved / (time.perf_counter() - started)
        step("last rows")
        with ArchiveReader(archive) as reader:
            (key,) = reader.epochs()
            last = _median(lambda: reader.before(key, 2**62, limit=LAST))
        step("ranges and counts")
        with open_archive(archive) as opened:

            def frame(first: float) -> Callable[[], object]:
                import pandas as pd

                since, until = pd.Timestamp(first, unit="s", tz="UTC"), pd.Timestamp(first + 50, unit="s", tz="UTC")
                return lambda: opened.history(since, until, channel="logs", progress=False).logs.df

            hot_range = _median(frame(_end_of(rows, hot) - hot / 1000))
            cold_range = _median(frame(FIRST + 10.0))
            started = time.perf_counter()
            opened.sql(COUNT)
            first_count = (time.perf_counter() - started) * 1000
            count = _median(lambda: opened.sql(COUNT))
        step("recorded traffic")
        ratio = _recorded_ratio(Path(place) / "recorded")
    step("fan-out with and without")
    kept, bare_relay = _fan_out(FAN_OUT_ROUNDS if rows >= MANY else 1)
    return ArchiveFigures(
        rows=rows,
        append_rows_per_second=appended,
        plain_rows_per_second=plain["rows_per_second"],
        compact_rows_per_second=compacted,
        last_ms=last,
        plain_last_ms=plain["last_ms"],
        hot_range_ms=hot_range,
        cold_range_ms=cold_range,
        count_ms=count,
        first_count_ms=first_count,
        plain_count_ms=plain["count_ms"] * rows / hot,
        parquet_ratio=ratio,
        fan_out_us=kept,
        bare_fan_out_us=bare_relay,
    )


def _batches(rows: int, hot: int) -> Iterator[tuple[int, list[float], list[bytes]]]:
    """Yield batches of first offset, times and payloads: 1,000 rows a second, the last `hot` of them on a day of their own."""
    for start in range(0, rows, BATCH):
        numbers = range(start, min(start + BATCH, rows))
        times = [_time_of(number, rows, hot) for number in numbers]
        stamps = {int(at): time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)).encode() for at in times}
        payloads = [
            LINE % (n % 99_991, n % 5, LEVELS[n * 7 % 8], stamps[int(at)], n % 1_000_000, n)
            for n, at in zip(numbers, times, strict=True)
        ]
        yield start + 1, times, payloads


def _time_of(number: int, rows: int, hot: int) -> float:
    cold = rows - hot
    return FIRST + (number / 1000 if number < cold else _cold_days(cold) * DAY + (number - cold) / 1000)


def _cold_days(cold: int) -> int:
    return cold // (1000 * DAY) + 1


def _end_of(rows: int, hot: int) -> float:
    return _time_of(rows - 1, rows, hot) + 1


def _append(directory: Path, rows: int, hot: int) -> float:
    store = Store(directory)
    try:
        key, seconds = store.begin(), 0.0
        for first, times, payloads in _batches(rows, hot):
            channels, notes = [CHANNEL] * len(times), [None] * len(times)
            started = time.perf_counter()
            store.append_columns(key, first, times, channels, payloads, notes)
            seconds += time.perf_counter() - started
        store.finish(key, rows)
    finally:
        store.close()
    return rows / seconds


def _plain(path: Path, rows: int) -> dict[str, float]:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, at REAL, channel TEXT, payload TEXT)")
        seconds = 0.0
        for first, times, payloads in _batches(rows, rows):
            values = [
                (first + n, at, CHANNEL, payload.decode())
                for n, (at, payload) in enumerate(zip(times, payloads, strict=True))
            ]
            started = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", values)
            database.execute("COMMIT")
            seconds += time.perf_counter() - started
        last = _median(lambda: database.execute("SELECT * FROM rows ORDER BY id DESC LIMIT ?", (LAST,)).fetchall())
        count = _median(
            lambda: database.execute(
                "SELECT CAST(at AS INTEGER) / 3600, json_extract(payload, '$.level'), count(*) FROM rows GROUP BY 1, 2"
            ).fetchall()
        )
    finally:
        database.close()
    return {"rows_per_second": rows / seconds, "last_ms": last, "count_ms": count}


def _recorded_ratio(directory: Path) -> float:
    """Return the share of its size that recorded traffic keeps as Parquet, of a day in which it came 20 times.

    What differs from message to message, fractions of seconds, hashes and counts, differs each time here as well:
    otherwise the repetitions would be found and cost nothing.
    """
    chance = random.Random(1)
    with as_file(files("codeworm_monitor") / "samples") as samples:
        messages = [message for path in sorted(samples.glob("*.jsonl.gz")) for message in read_recording(path)]
    store = Store(directory)
    try:
        key, offset = store.begin(), 1
        earliest = min(message.received_at for message in messages)
        for turn in range(20):
            times = [FIRST + turn * 4000 + (message.received_at - earliest) % 4000 for message in messages]
            payloads = [_varied(message.payload, chance) for message in messages]
            channels = [message.channel for message in messages]
            store.append_columns(key, offset, times, channels, payloads, [None] * len(times))
            offset += len(times)
        store.finish(key, offset - 1)
        store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = (directory / DATABASE).stat().st_size
        compact(store, now=float(FIRST + 3 * DAY))
    finally:
        store.close()
    return sum(path.stat().st_size for path in directory.rglob("*.parquet")) / before


def _varied(payload: bytes, chance: random.Random) -> bytes:
    def other(match: re.Match[bytes]) -> bytes:
        before, value = match[1], match[2]
        digits = b"0123456789abcdef" if before.startswith(b'"commit') else b"0123456789"
        first = digits[1:] if before.endswith(b":") else digits  # a number does not begin with 0
        return before + bytes([chance.choice(first)] + [chance.choice(digits) for _ in value[1:]])

    return re.sub(rb'(:\d\d\.|"commit":"|"tokens":|"time_ms":)([0-9a-f]+)', other, payload)


def _fan_out(rounds: int) -> tuple[float | None, float | None]:
    """Return the medians of relays that took turns."""
    load = Load(name="fan-out", readers=FAN_OUT_READERS, messages=FAN_OUT_MESSAGES)
    plan = replace(BenchPlan(), connections=1, loads=(load,))
    figures = [
        [measure(plan, keeps=keeps).figures[0].cpu_us_per_message for keeps in (True, False)] for _ in range(rounds)
    ]
    kept, bare = ([one for one in column if one is not None] for column in zip(*figures, strict=True))
    return (statistics.median(kept), statistics.median(bare)) if kept and bare else (None, None)


def _median(work: Callable[[], object]) -> float:
    """Return what a piece of work takes, in milliseconds."""
    taken = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken[1:])


def figures_table(figures: ArchiveFigures) -> str:
    """Return the figures for a person, with what they should be."""
    rows = [
        ("append, rows/s", f"{figures.append_rows_per_second:,.0f}", f"{figures.plain_rows_per_second:,.0f}"),
        ("compact to Parquet, rows/s", f"{figures.compact_rows_per_second:,.0f}", ""),
        ("last 1,000 rows, ms", f"{figures.last_ms:.1f}", f"{figures.plain_last_ms:.1f}"),
        ("50,000 rows of the database to a frame, ms", f"{figures.hot_range_ms:.0f}", ""),
        ("50,000 rows of Parquet to a frame, ms", f"{figures.cold_range_ms:.0f}", ""),
        ("count by hour and level, ms", f"{figures.count_ms:.0f}", f"{figures.plain_count_ms:,.0f} (reckoned)"),
        ("the same, the first time, ms", f"{figures.first_count_ms:.0f}", ""),
        ("recorded traffic: Parquet / SQLite, bytes", f"{figures.parquet_ratio:.3f}", ""),
    ]
    if figures.fan_out_us is not None and figures.bare_fan_out_us is not None:
        ratio = f"{figures.fan_out_us / figures.bare_fan_out_us:.2f}"
        rows.append((f"fan-out to {FAN_OUT_READERS} readers, CPU with / without", ratio, ""))
    lines = [f"{figures.rows:,} rows", f"{'':45} {'archive':>12}   plain SQLite"]
    return "\n".join([*lines, *(f"{name:45} {own:>12}   {plain}" for name, own, plain in rows)])
