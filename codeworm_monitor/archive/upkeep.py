"""Upkeep: closed days become Parquet, and what is too old or too much leaves, in a process beside the relay.

Run as `python -m codeworm_monitor.archive.upkeep DIRECTORY DAYS BYTES`; prints what it did as one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from codeworm_monitor.archive.compaction import compact, is_due
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.retention import size_of, trim
from codeworm_monitor.archive.store import Store
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.errors import ArchiveError

__all__ = ["Upkeep", "keep_up"]

FIRST_AFTER = 60.0
EVERY = 3600.0
"""Seconds until the first look, and between looks."""
DAY = 86_400

log = logging.getLogger(__name__)


class Upkeep:
    """Looks after an archive while its relay runs.

    The work is done by a process of its own, at low priority: it needs the processor and, for Parquet, some hundred
    megabytes, neither of which the relay should spare. Interrupted at any moment it loses nothing.

    Args:
        archive: What is looked after.
        days: Days that messages are kept.
        max_bytes: Most bytes that the archive may take.
        note: Told of what befalls it, as for `ArchiveWriter`.
        first_after: Seconds until the first look.
        every: Seconds between looks.
    """

    def __init__(
        self,
        archive: ArchiveWriter,
        *,
        days: float,
        max_bytes: int,
        note: Callable[..., None] = lambda event, **details: None,
        first_after: float = FIRST_AFTER,
        every: float = EVERY,
    ) -> None:
        self._archive = archive
        self._days = days
        self._max_bytes = max_bytes
        self._note = note
        self._first_after = first_after
        self._every = every
        self._has_told = False

    async def run(self) -> None:
        """Look after the archive until cancelled; a process under way is then ended."""
        await asyncio.sleep(self._first_after)
        while True:
            try:
                if await self._archive.read(self._is_due):
                    await self._work()
                    await self._archive.look()
            except (ArchiveError, OSError) as error:
                log.error("the upkeep of the archive failed: %s", error)
                self._note("archive_upkeep_failed", level="error", error=str(error)[:500])
            await asyncio.sleep(self._every)

    def _is_due(self, reader: ArchiveReader) -> bool:
        now = time.time()
        span = reader.span()
        if span is None:
            return False
        if span[0] < (now - self._days * DAY) * 1e6 or size_of(reader.directory) > self._max_bytes:
            return True
        if not is_due(reader, now):
            return False
        if importlib.util.find_spec("duckdb") is not None:
            return True
        if not self._has_told:
            self._has_told = True
            log.info(
                "closed days stay in the database: to have them as Parquet, pip install 'codeworm-monitor[analysis]'"
            )
            self._note("archive_not_compacted", missing="duckdb")
        return False

    async def _work(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", __name__, str(self._archive.directory), str(self._days), str(self._max_bytes)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
            raise ArchiveError(last[0])
        done = orjson.loads(output)
        moved, removed = done.get("compacted", {}).get("rows", 0), done["trimmed"]["rows"]
        log.info("the archive was looked after: %s rows moved to Parquet, %s too old or too many", moved, removed)
        self._note("archive_looked_after", **done)


def keep_up(directory: Path, *, days: float, max_bytes: int, now: float | None = None) -> dict[str, Any]:
    """Remove what is too old or too much, then have closed days as Parquet, if DuckDB is there; return what was done.

    Raises:
        ArchiveError: The archive cannot be used, or another process compacts it.
    """
    now = time.time() if now is None else now
    store = Store(directory)
    try:
        done: dict[str, Any] = {"trimmed": asdict(trim(store, older_than=now - days * DAY, max_bytes=max_bytes))}
        if importlib.util.find_spec("duckdb") is not None:
            done["compacted"] = asdict(compact(store, now=now))
    finally:
        store.close()
    return done


def _main(directory: str, days: str, max_bytes: str) -> None:
    os.nice(10)
    try:
        done = keep_up(Path(directory), days=float(days), max_bytes=int(max_bytes))
    except ArchiveError as error:
        sys.exit(str(error))
    print(orjson.dumps(done).decode())


if __name__ == "__main__":
    _main(*sys.argv[1:4])
