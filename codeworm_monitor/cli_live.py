"""The command line of the present: `tail`, the live log, and `top`, the full screen."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import click

from codeworm_monitor.cli_options import discard_output, full_name, plain_errors, read_level, read_time
from codeworm_monitor.errors import FrameError
from codeworm_monitor.filters import MAX_TEXT
from codeworm_monitor.frames import MAX_TAIL
from codeworm_monitor.logformat import printable

__all__ = ["COMMANDS", "tail", "top"]

LAST = 10
"""Newest messages shown at first, unless told otherwise."""

url_option = click.option(
    "--url",
    metavar="URL",
    envvar="CODEWORM_MONITOR_URL",
    show_envvar=True,
    help="The relay, such as ws://127.0.0.1:8765/ws. None: the newest one of this user on this machine. Its token, where "
    "it is not found here, comes from CODEWORM_MONITOR_TOKEN.",
)
wait_option = click.option("--wait", is_flag=True, help="Wait for a relay that is not there yet.")


@click.command()
@click.option("--level", callback=read_level, help="Only log lines of this level, or a more severe one; no events.")
@click.option(
    "--component", "components", multiple=True, help="Only log lines of this component, no events; repeatable."
)
@click.option("--repo", "repos", multiple=True, help="Only messages about this repository, or about none; repeatable.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    help="Only this channel: logs, events, stats, relay (its own records), or any by its full name; repeatable. "
    "None: all, but of the relay's own records warnings only.",
)
@click.option(
    "--grep",
    "text",
    metavar="TEXT",
    help="Only messages that hold this text in some value, in letters large or small; no pattern.",
)
@click.option(
    "--since",
    callback=read_time,
    help="Begin there: a duration back from now (2h, 30min), today, yesterday, or a time of this machine "
    "(2026-11-22T16:57).",
)
@click.option(
    "-n",
    "--lines",
    "last",
    type=click.IntRange(0, MAX_TAIL),
    help=f"Begin with the newest so many. None: {LAST}, or with --since all. With --level, --component, --repo or --grep, "
    "and without --since, they are looked for among the newest 100,000 messages.",
)
@click.option("--follow/--no-follow", "follow", default=True, show_default=True, help="Go on with what comes.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object a line: epoch, offset, received_at, channel, data; or epoch and gap.",
)
@click.option("--traceback", is_flag=True, help="Show tracebacks whole, and not their last line alone.")
@url_option
@wait_option
def tail(
    *,
    level: str | None,
    components: tuple[str, ...],
    repos: tuple[str, ...],
    channels: tuple[str, ...],
    text: str | None,
    since: float | None,
    last: int | None,
    follow: bool,
    as_json: bool,
    traceback: bool,
    url: str | None,
    wait: bool,
) -> None:
    """Show the live log of a relay, a line a message, in local time, until Ctrl-C (status 130).

    After a lost connection, or a restart of the relay, it goes on where it was; what is missing is a line of its own.
    In a pipe there is neither colour nor a word about the connection (NO_COLOR and FORCE_COLOR are honoured).

    \b
    Example: python -m codeworm_monitor tail --level warning --since 2h
    """
    from codeworm_monitor.filters import Filter
    from codeworm_monitor.terminal.output import Output
    from codeworm_monitor.terminal.places import Place
    from codeworm_monitor.terminal.tailing import Tailing, Wish

    named = [full_name(name) for name in channels]
    conditions = {"level": level, "component": list(components), "repo": list(repos), "text": text or None}
    try:
        wanted = Filter.from_dict(named, conditions)
    except FrameError as error:
        problem = f"--grep takes at most {MAX_TEXT} characters" if "text" in str(error) else str(error)
        raise click.UsageError(problem.replace("filter.", "--")) from error
    if last is None and since is None:
        last = LAST
    with plain_errors():
        wish = Wish(
            filter=wanted,
            last=last,
            since=since,
            follow=follow,
            as_json=as_json,
            traceback=traceback,
            wait=wait,
        )
        output = Output(sys.stdout, os.environ)

        def tell(line: str, is_urgent: bool) -> None:  # noqa: FBT001  # a callback
            if output.is_terminal or is_urgent:
                click.echo(printable(f"codeworm_monitor: {line}"), err=True)

        _until_interrupted(_tail(Tailing(Place.named(url), wish, output, tell), output))


async def _tail(tailing: Any, output: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    is_closed = False

    def closed() -> None:
        nonlocal is_closed
        is_closed = True
        task.cancel()

    output.on_closed(closed)
    try:
        await tailing.run()
    except asyncio.CancelledError:
        if not is_closed:
            raise
    except BrokenPipeError:
        is_closed = True
    if is_closed:  # as with other commands in a pipe, whose reader has what it wants
        discard_output()


def _until_interrupted(work: Any) -> None:
    """Run a coroutine; Ctrl-C ends it quietly, with the status that shells know, also while a write blocks."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # Not asyncio's own way, which waits for the loop: that may stand in a write to a pager that nobody pages.
    former = signal.signal(signal.SIGINT, interrupt)
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        discard_output()
        raise click.exceptions.Exit(128 + signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGINT, former)


@click.command()
@url_option
@wait_option
def top(*, url: str | None, wait: bool) -> None:
    """Show a relay and its publisher full-screen: activity, rates, health, newest commits and errors.

    Keys: q, Esc or Ctrl-C quit, p pauses, ? helps.

    \b
    Example: python -m codeworm_monitor top
    """
    if not (sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")):
        raise click.ClickException("top needs a terminal: for one look, use `python -m codeworm_monitor status`")
    from codeworm_monitor.terminal.places import Place
    from codeworm_monitor.terminal.top import Top

    with plain_errors():
        asyncio.run(Top(Place.named(url), wait=wait).run())


COMMANDS: tuple[click.Command, ...] = (tail, top)
"""For the main group."""
