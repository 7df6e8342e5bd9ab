"""The command line of the archive's upkeep: what it holds, whether it is sound, make it so, make it small."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from codeworm_monitor.archive.database import DATABASE
from codeworm_monitor.archive.importing import import_lock
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.store import Store, WriterLock
from codeworm_monitor.cli_options import archive_option, existing, plain_errors, progress, size_text
from codeworm_monitor.logformat import printable
from codeworm_monitor.moments import time_of
from codeworm_monitor.settings import RelaySettings

__all__ = [
    "archive",
    "archive_bench",
    "archive_compact",
    "archive_info",
    "archive_repair",
    "archive_verify",
]


@click.group("archive")
def archive() -> None:
    """Look after the archive: what it holds, whether it is sound, make it so, make it small."""


@archive.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@archive_option
def archive_info(*, directory: Path, as_json: bool) -> None:
    """Say what the archive holds: size, rows, times, numberings, channels.

    \b
    Example: python -m codeworm_monitor archive info
    """
    with plain_errors(), ArchiveReader(existing(directory)) as reader:
        facts = _facts(reader)
    click.echo(json.dumps(facts, indent=2) if as_json else _told(facts))


def _facts(reader: ArchiveReader) -> dict[str, Any]:
    from codeworm_monitor.archive.retention import size_of

    channels, parts, span = reader.channels(), reader.parts(), reader.span()
    cold = sum(part.rows for part in parts)
    hot = sum(channels.values()) - cold
    gaps = channels.pop("", 0)
    size = size_of(reader.directory)
    days = 0.0 if span is None else (span[1] - span[0]) / 86_400e6
    return {
        "path": str(reader.directory),
        "bytes": size,
        "free_bytes": shutil.disk_usage(reader.directory).free,
        "bytes_per_day": round(size / days) if days >= 1 else None,
        "rows": {"database": hot, "parquet": cold, "files": len(parts)},
        "gaps": gaps,
        "span": None if span is None else [_iso(time) for time in span],
        "channels": channels,
        "epochs": [
            {
                "name": epoch.name,
                "origin": epoch.origin,
                "started_at": _iso(epoch.started_at),
                "is_open": not epoch.closed_at,
            }
            for epoch in reader.epochs().values()
        ],
    }


def _told(facts: dict[str, Any]) -> str:
    rows, span, rate = facts["rows"], facts["span"], facts["bytes_per_day"]
    lines = [
        f"{facts['path']}, {size_text(facts['bytes'])}",
        f"  rows         {rows['database']:,} in the database, {rows['parquet']:,} in {rows['files']:,} Parquet files",
        f"  received     {f'{span[0]} to {span[1]}' if span else 'nothing yet'}",
        f"  gaps         {facts['gaps']:,}",
        *(f"  {count:>11,}  {channel}" for channel, count in facts["channels"].items()),
    ]
    epochs = facts["epochs"]
    lines.append(f"  numberings   {len(epochs):,}" + (", the newest:" if len(epochs) > 10 else ""))
    lines += [
        f"    {one['name']:24} {one['origin']:8} since {one['started_at']}{' (open)' if one['is_open'] else ''}"
        for one in epochs[-10:]
    ]
    if rate:
        lines.append(
            f"  growth       {size_text(rate)} a day; the disk has room for {facts['free_bytes'] / rate:,.0f} days"
        )
    defaults = RelaySettings()
    lines.append(
        f"  kept         {defaults.archive_days:g} days, {size_text(defaults.archive_bytes)} at most, "
        "unless the relay is told otherwise (--archive-days, --archive-bytes)"
    )
    return "\n".join(map(printable, lines))


@archive.command("verify")
@archive_option
def archive_verify(*, directory: Path) -> None:
    """Check all of the archive, and write nothing; status 1 if something is wrong.

    \b
    Example: python -m codeworm_monitor archive verify
    """
    from codeworm_monitor.archive.verification import verify

    with plain_errors(), progress("verifying:") as tell:
        found = verify(existing(directory), on_progress=tell)
    for problem in found.problems:
        click.echo(printable(problem))
    unread = ""
    if not found.has_read_parts and (found.parts or found.problems):  # no DuckDB, or the database is too damaged
        unread = "; the Parquet files were not opened"
        if find_spec("duckdb") is None:
            unread += " (pip install 'codeworm-monitor[analysis]')"
    click.echo(
        f"{len(found.problems) or 'no'} problem{'' if len(found.problems) == 1 else 's'}: {found.hot:,} rows in the database, "
        f"{found.cold:,} in {found.parts:,} Parquet files{unread}"
    )
    if found.problems:
        raise click.exceptions.Exit(1)


@archive.command("repair")
@archive_option
def archive_repair(*, directory: Path) -> None:
    """Save all that can be read of a damaged archive; no relay may be writing to it.

    \b
    Example: python -m codeworm_monitor archive repair
    """
    from codeworm_monitor.archive.repair import repair

    with plain_errors():
        if not (directory / f"{DATABASE}-wal").exists():
            existing(directory)
        lock = WriterLock(directory)
        try:
            with import_lock(directory), progress("repairing:") as tell:
                done = repair(directory, on_progress=tell)
        finally:
            lock.release()
    if done.set_aside is None:
        click.echo("the archive is sound: nothing was done")
        return
    for problem in done.problems:
        click.echo(printable(problem))
    click.echo(
        f"{done.rows:,} rows saved, {done.lost:,} known to be lost, {done.gaps:,} gaps written; "
        f"the damaged files are in {done.set_aside}"
    )


@archive.command("compact")
@archive_option
def archive_compact(*, directory: Path) -> None:
    """Move closed days from the database into Parquet files; a relay may be writing meanwhile.

    \b
    Example: python -m codeworm_monitor archive compact
    """
    from codeworm_monitor.archive.compaction import compact

    with plain_errors(), contextlib.closing(Store(existing(directory))) as store, progress("compacting") as tell:
        done = compact(store, on_progress=tell)
    click.echo(
        f"{done.rows:,} rows of {done.days:,} {'day' if done.days == 1 else 'days'} moved into {done.files:,} files ({size_text(done.bytes)}) "
        f"in {done.seconds:.1f} s"
    )


@archive.command("bench")
@click.option("--rows", type=click.IntRange(min=10_000), default=5_000_000, show_default=True, help="Rows written.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def archive_bench(*, rows: int, as_json: bool) -> None:
    """Measure an archive on this machine, beside plain SQLite: some minutes, and two gigabytes of disk meanwhile.

    \b
    Example: python -m codeworm_monitor archive bench --rows 1000000
    """
    from codeworm_monitor.bench_archive import figures_table, measure_archive

    def tell(step: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"measuring: {step}", err=True)

    with plain_errors():
        figures = measure_archive(rows, on_step=tell)
    click.echo(json.dumps(figures.as_dict(), indent=2) if as_json else figures_table(figures))


def _iso(micros: int) -> str:
    return time_of(micros).isoformat(timespec="seconds").replace("+00:00", "Z")
