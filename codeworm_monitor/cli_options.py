"""What commands share: options and how they are read, plain errors, progress on a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import click

from codeworm_monitor.archive.database import DATABASE, named_directory
from codeworm_monitor.errors import ArchiveError, MonitorError, SettingError
from codeworm_monitor.logformat import printable
from codeworm_monitor.moments import duration, micros_of, plain_moment
from codeworm_monitor.records import LEVELS

__all__ = [
    "SHORT_NAMES",
    "archive_option",
    "discard_output",
    "existing",
    "full_name",
    "plain_errors",
    "progress",
    "read_length",
    "read_level",
    "read_time",
    "selection_options",
    "size_text",
]

SHORT_NAMES = ("logs", "events", "stats", "relay")
"""Channels of CodeWorm, and the relay's own, that need not be spelled out."""
LONGEST_LENGTH = 366 * 86_400
"""Seconds that a length of time may have."""
Command = Callable[..., None]


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn this package's errors into one line on standard error and a status that is not 0."""
    try:
        yield
    except SettingError as error:
        raise click.UsageError(f"--{error.name.replace('_', '-')}: {error.problem}") from error
    except MonitorError as error:
        raise click.ClickException(printable(str(error))) from error


def archive_option(command: Command) -> Command:
    """Give a command the option `--archive`, as `directory`."""
    return click.option(
        "--archive",
        "directory",
        metavar="DIRECTORY",
        envvar="CODEWORM_MONITOR_ARCHIVE",
        show_envvar=True,
        callback=lambda context, parameter, value: named_directory(value),
        help="The archive. None: the one that a relay of this user writes unless told otherwise.",
    )(command)


def selection_options(command: Command) -> Command:
    """Give a command `--since` and `--until` (microseconds), `--channel` (as `channels`) and `--level`."""
    times = (
        "a duration back from now (2h, 30min), today, yesterday, or a date or time of this machine (2026-11-22T16:57)"
    )
    for option in (
        click.option(
            "--level", callback=read_level, help="Only messages of this level, or a more severe one; and gaps."
        ),
        click.option(
            "--channel",
            "channels",
            multiple=True,
            callback=_read_channels,
            help="Only messages of this channel (logs, events, stats, or any by its full name), and gaps; repeatable.",
        ),
        click.option("--until", callback=_read_moment, help="The first moment that is not wanted."),
        click.option("--since", callback=_read_moment, help=f"The earliest moment: {times}."),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def progress(verb: str) -> Iterator[Callable[..., None] | None]:
    """Yield what is to be told of progress: on a terminal it keeps one line on standard error, elsewhere it is None.

    Args:
        verb: What is being done. What it is done to comes with each call: a label, how much is done, and of how much.
    """
    if not sys.stderr.isatty():
        yield None
        return
    shown = 0.0

    def tell(label: str, done: int = 0, total: int = 0) -> None:
        nonlocal shown
        if done and done < total and time.monotonic() - shown < 0.1:
            return
        shown = time.monotonic()
        bar = f" [{'#' * (20 * done // total):20}]" if total else ""
        text = printable(f"{verb} {label}{bar}{f' {done:,}' if done else ''}")
        click.echo(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False, color=True)

    try:
        yield tell
    finally:
        click.echo("\r\x1b[K", err=True, nl=False, color=True)


def existing(directory: Path) -> Path:
    """Return the directory.

    Raises:
        ArchiveError: It holds no archive.
    """
    if not (directory / DATABASE).exists():
        raise ArchiveError(f"{directory} holds no archive ({DATABASE} is missing): name another with --archive")
    return directory


def discard_output() -> None:
    """Let what is still to be written go nowhere: at its end, the interpreter would try it once more, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)


def full_name(channel: str) -> str:
    """Return the full name of a channel, which for some may be given short: `logs` is `codeworm:logs`."""
    return f"codeworm:{channel}" if channel in SHORT_NAMES else channel


def read_length(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read an option's length of time, as seconds; a click callback.

    Raises:
        click.BadParameter: It is none, or none above 0, or above a year.
    """
    if value is None:
        return None
    try:
        length = duration(value.strip())
        seconds = float(value) if length is None else length.total_seconds()
    except (ValueError, OverflowError):
        seconds = 0.0
    if not 0 < seconds <= LONGEST_LENGTH:
        raise click.BadParameter("write a length of time such as 30min, 2h or 900 (seconds)")
    return seconds


def read_time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read an option's moment, in the time of this machine, as Unix seconds; a click callback.

    Raises:
        click.BadParameter: It is none.
    """
    return None if value is None else _moment(value).timestamp()


def _read_moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    return None if value is None else micros_of(_moment(value))


def _moment(text: str) -> datetime:
    try:
        return plain_moment(text, time.time(), zone=None)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _read_channels(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    # A channel may also have one of the short names for its full one.
    return tuple(dict.fromkeys(each for name in names for each in (full_name(name), name)))


def read_level(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Read an option's level, such as `warning` or `>= warning`; a click callback.

    Raises:
        click.BadParameter: It is none.
    """
    name = None if value is None else value.strip().removeprefix(">=").strip().lower()
    if name is not None and name not in LEVELS:
        raise click.BadParameter(f"{name!r} is no level: {', '.join(LEVELS)}")
    return name


def size_text(count: float) -> str:
    """Return a number of bytes for a person."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
