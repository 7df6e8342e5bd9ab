"""The command that records: live traffic into a file that `open_recording`, `import` and `replay` read."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from codeworm_monitor.cli_options import full_name, plain_errors, read_length, read_time, size_text
from codeworm_monitor.cli_settings import reader_options
from codeworm_monitor.logformat import printable

__all__ = ["COMMANDS", "record"]

NOTHING = 1
"""Exit status where nothing came."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@reader_options
@click.option(
    "--since",
    callback=read_time,
    help="Begin there, from the relay's memory or archive: 2h, yesterday, 2026-11-22T16:57 (time of this machine).",
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    help="Only this channel (logs, events, stats, relay, or any by its full name); repeatable.",
)
@click.option(
    "--for",
    "seconds",
    callback=read_length,
    help="End after so long, such as 10m or 2h; if not given, at Ctrl-C or SIGTERM.",
)
@click.option("--messages", type=click.IntRange(min=1), help="End after so many messages.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def record(
    *,
    file: Path,
    url: str | None,
    token: str | None,
    since: float | None,
    channels: tuple[str, ...],
    seconds: float | None,
    messages: int | None,
    force: bool,
) -> None:
    """Record live traffic from the relay into FILE: JSON Lines, or gzip if its name ends in .gz.

    A line is {"t": Unix seconds of arrival, "channel": name, "payload": the exact text}. The file is whole at any moment,
    and can be read while it grows: open_recording("FILE"), `import FILE`, `replay --from-file FILE`. What the relay had
    to change, because it was no JSON text, has a key "mark". Gaps are told on standard error. The exit status is 0 if
    something was recorded, else 1.

    \b
    Example: python -m codeworm_monitor record --since 1h --for 10m traffic.jsonl.gz
    """
    if file.exists() and not force:
        raise click.UsageError(f"{file} is there already: name another, or give --force")
    from codeworm_monitor.doctor.asking import find_relay
    from codeworm_monitor.record_file import RecordingFile
    from codeworm_monitor.record_live import Recorded, Wanted, record_live, terminal_counter

    wanted = Wanted(
        since=since,
        channels=frozenset(map(full_name, channels)),
        seconds=seconds,
        messages=messages,
    )

    def tell(line: str) -> None:
        begin = "\r\x1b[K" if sys.stderr.isatty() else ""  # in place of the counter
        click.echo(f"{begin}{printable(line)}", err=True)

    async def run() -> Recorded:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        place = await asyncio.to_thread(find_relay, url, token)
        return await record_live(
            place,
            wanted,
            lambda: RecordingFile(file, overwrite=force),
            stop=stop,
            tell=tell,
            count=terminal_counter(),
        )

    with plain_errors():
        done = asyncio.run(run())
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False, color=True)
    if done.problem:
        tell(done.problem)
    if not done.messages:
        click.echo("nothing came, and no file was kept: `python -m codeworm_monitor status` says why", err=True)
        sys.exit(NOTHING)
    gaps = f", with {done.gaps} gaps" if done.gaps else ""
    click.echo(f"{done.messages:,} messages{gaps}, {size_text(file.stat().st_size)}: {file}", err=True)
    sys.exit(1 if done.problem else 0)


COMMANDS: tuple[click.Command, ...] = (record,)
