"""The command line of the archive: look into the past, ask it, take it elsewhere, bring in more."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click

from codeworm_monitor.archive.exporting import (
    FileForm,
    Selection,
    defused,
    export,
    recording_line,
    selected,
)
from codeworm_monitor.archive.importing import FileKind, import_daemon_log, import_recording, recognise
from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import GAP, StoredRow, entry_of
from codeworm_monitor.archive.store import Store
from codeworm_monitor.cli_options import (
    archive_option,
    existing,
    plain_errors,
    progress,
    selection_options,
    size_text,
)
from codeworm_monitor.cli_upkeep import archive
from codeworm_monitor.envelope import Gap
from codeworm_monitor.errors import ArchiveError, MonitorError
from codeworm_monitor.logformat import printable
from codeworm_monitor.moments import time_of

__all__ = ["COMMANDS", "export_command", "history", "import_command", "query"]

_FORMS = {
    ".jsonl": FileForm.JSONL,
    ".ndjson": FileForm.JSONL,
    ".csv": FileForm.CSV,
    ".parquet": FileForm.PARQUET,
    ".arrow": FileForm.ARROW,
    ".feather": FileForm.ARROW,
}
_WIDEST_CELL = 200


def _read_offset(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", value)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise click.BadParameter("write local time less UTC as -05:00 or +05:30")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -offset if match[1] == "-" else offset


@click.command()
@selection_options
@click.option("--limit", type=click.IntRange(min=0), default=200, show_default=True, help="Newest records; 0: all.")
@click.option("--reverse", is_flag=True, help="The newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print a recording (JSON Lines), which leaves out gaps.")
@archive_option
def history(
    *,
    directory: Path,
    since: int | None,
    until: int | None,
    channels: tuple[str, ...],
    level: str | None,
    limit: int,
    reverse: bool,
    as_json: bool,
) -> None:
    """Print what the archive holds, a line a message, in local time; gaps are shown as gaps.

    \b
    Example: python -m codeworm_monitor history --since 2h --level warning
    """
    selection = _selection(since, until, channels, level)
    with plain_errors(), ArchiveReader(existing(directory)) as reader:
        if limit:
            rows: Any = islice(_messages(selected(reader, selection, reverse=True), as_json=as_json), limit)
            rows = rows if reverse else reversed(list(rows))
        else:
            rows = _messages(selected(reader, selection, reverse=reverse), as_json=as_json)
        has_some = False
        day = ""
        for row in rows:
            has_some = True
            if as_json:
                sys.stdout.buffer.write(recording_line(row))
                continue
            at = time_of(row.received_at).astimezone()
            if day != (day := f"{at:%A %Y-%m-%d, UTC%z}"):
                click.echo(f"== {day}")
            click.echo(_described(row, at))
        sys.stdout.buffer.flush()
    if not has_some:
        click.echo("nothing found: `archive info` says what there is", err=True)


def _selection(since: int | None, until: int | None, channels: tuple[str, ...], level: str | None) -> Selection:
    if since is not None and until is not None and until <= since:
        raise click.UsageError("--until must be later than --since")
    return Selection(since=since, until=until, channels=frozenset(channels), level=level)


def _messages(rows: Iterator[StoredRow], *, as_json: bool) -> Iterator[StoredRow]:
    return (row for row in rows if row.mark != GAP) if as_json else rows


def _described(row: StoredRow, at: datetime) -> str:
    from codeworm_monitor.demo import describe

    entry = entry_of(*row[1:])
    if not isinstance(entry, Gap):
        return describe(entry)
    length = max(0.0, entry.ended_at - entry.started_at)
    return f"{at:%H:%M:%S}  {describe(entry)} ({length:,.0f} s)"


@click.command()
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Form of the answer; json: a line a row.",
)
@archive_option
def query(*, directory: Path, sql: str, form: str) -> None:
    """Ask the archive in SQL: one SELECT over logs, events, stats, gaps, documents, cycles, messages.

    \b
    Example: python -m codeworm_monitor query "SELECT event, count(*) AS n FROM logs GROUP BY event ORDER BY n DESC"
    """
    with plain_errors():
        try:
            from codeworm_monitor.queries import ArchiveQueries

            queries = ArchiveQueries(existing(directory))
        except ImportError as error:
            raise ArchiveError(f"queries need {error.name}: pip install 'codeworm-monitor[analysis]'") from error
        try:
            frame = queries.sql(sql)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        finally:
            queries.close()
    click.echo(_printed(frame, form), nl=form == "table")


def _printed(frame: Any, form: str) -> str:
    """Return a frame as text: of a table and of CSV, such as neither a terminal nor a spreadsheet would obey."""
    if form == "json":
        lines: str = frame.to_json(orient="records", lines=True, date_format="iso", date_unit="us")
        return f"{lines.strip()}\n" if len(frame) else ""

    def cell(value: Any) -> Any:
        if not isinstance(value, (str, bytes, list, dict)):
            return value
        text = str(value)
        return defused(text) if form == "csv" else printable(text if len(text) <= _WIDEST_CELL else f"{text[:199]}…")

    frame = frame.astype({name: object for name in frame.columns if frame[name].dtype.name in ("str", "category")})
    frame = frame.map(cell, na_action="ignore")
    if form == "csv":
        return str(frame.to_csv(index=False))
    text = frame.to_string(index=False, max_colwidth=None, na_rep="") if len(frame) else "  ".join(frame.columns)
    return f"{text}\n({len(frame):,} {'row' if len(frame) == 1 else 'rows'})"


@click.command("export")
@click.argument("file")
@click.option(
    "--format",
    "form",
    type=click.Choice([str(form) for form in FileForm]),
    help="Form of the file. None: told by its name; jsonl to standard output.",
)
@selection_options
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@archive_option
def export_command(
    *,
    directory: Path,
    file: str,
    form: str | None,
    since: int | None,
    until: int | None,
    channels: tuple[str, ...],
    level: str | None,
    force: bool,
) -> None:
    """Write a stretch of the archive to FILE, or to standard output if it is -.

    jsonl is a recording: import, open_recording and the demo read it. Names that end in .jsonl.gz or .csv.gz are compressed.
    In csv, text that a spreadsheet would take for a formula has an apostrophe before it.

    \b
    Example: python -m codeworm_monitor export --since yesterday traffic.jsonl.gz
    """
    selection = _selection(since, until, channels, level)
    chosen = FileForm(form) if form else _form_of(file)
    with plain_errors(), ArchiveReader(existing(directory)) as reader:
        if file == "-":
            stdout = sys.stdout.buffer
            export(reader, stdout, form=chosen, selection=selection)
            stdout.flush()
            return
        with progress("writing") as tell:
            exported = export(reader, file, form=chosen, selection=selection, overwrite=force, on_progress=tell)
    left_out = f"; {exported.gaps:,} gaps left out" if exported.gaps and chosen is FileForm.JSONL else ""
    click.echo(f"{file}: {exported.rows:,} rows, {size_text(exported.bytes)}{left_out}")


def _form_of(file: str) -> FileForm:
    if file == "-":
        return FileForm.JSONL
    form = _FORMS.get(Path(file.removesuffix(".gz")).suffix.lower())
    if form is None:
        raise click.UsageError(f"{file} does not tell its form: say --format {', '.join(FileForm)}")
    return form


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--utc-offset",
    callback=_read_offset,
    metavar="+HH:MM",
    help="Local time of a log file less UTC, such as -05:00. None: learnt from the file.",
)
@archive_option
def import_command(*, directory: Path, files: tuple[str, ...], utc_offset: timedelta | None) -> None:
    """Add recordings, or log files of CodeWorm (told by their content), as far as the archive does not hold them.

    \b
    Example: python -m codeworm_monitor import /tmp/codeworm.log traffic.jsonl.gz
    """
    failed = 0
    with plain_errors(), contextlib.closing(Store(directory)) as store:
        for file in files:
            try:
                with progress("importing") as tell:
                    if recognise(file) is FileKind.RECORDING:
                        imported = import_recording(store, file, on_progress=tell)
                    else:
                        imported = import_daemon_log(store, file, on_progress=tell, utc_offset=utc_offset)
            except ArchiveError:
                raise
            except MonitorError as error:
                click.echo(f"Error: {printable(str(error))}", err=True)
                failed += 1
                continue
            where = f", in {imported.epoch}" if imported.epoch else ""
            click.echo(
                f"{file}: a {imported.kind} of {imported.messages:,} messages: {imported.added:,} added{where}, "
                f"{imported.known:,} known already"
            )
    if failed:
        raise click.exceptions.Exit(1)


COMMANDS: tuple[click.Command, ...] = (history, query, export_command, import_command, archive)
"""For the main group."""
