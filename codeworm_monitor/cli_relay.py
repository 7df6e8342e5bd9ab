"""The commands that run a relay: `relay`, `demo`, `replay`, and `bench`, which measures one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from codeworm_monitor import __version__
from codeworm_monitor.cli_options import archive_option, plain_errors, read_time
from codeworm_monitor.cli_settings import misspelt_variables, read_settings, relay_options, settings_path
from codeworm_monitor.logformat import configure_logging, printable
from codeworm_monitor.servicemanager import notify, watchdog_interval
from codeworm_monitor.settings import RelaySettings, redacted

__all__ = ["COMMANDS", "bench", "demo", "relay", "replay"]

SPARE_DESCRIPTORS = 64
"""Open files for all but readers: Redis, the embedded server's pipes, what libraries open."""

log = logging.getLogger(__name__)


_NOT_OF_A_REPLAY = frozenset(
    {
        *("redis_url", "channels", "dead_after"),
        *("archive", "no_archive", "archive_days", "archive_bytes"),
        *("ollama", "ollama_every"),
    }
)
"""Settings of what a relay hears, looks at and keeps."""


def _replay_options(command: Callable[..., None]) -> Callable[..., None]:
    return archive_option(relay_options(command, but=_NOT_OF_A_REPLAY))


@click.command()
@relay_options
def relay(**values: Any) -> None:
    """Relay Redis channels to WebSocket readers until stopped (Ctrl-C, SIGTERM).

    \b
    Example: python -m codeworm_monitor relay --redis-url redis://127.0.0.1:26849 --port 8765
    """
    with plain_errors():
        settings = read_settings(values)
        _run(_relay(settings), settings)


@click.command()
@click.option("--speed", type=click.FloatRange(min=0.01), default=10.0, show_default=True, help="Times as fast.")
@click.option("--repeat/--once", default=True, show_default=True, help="Begin again at the end, or stop there.")
@relay_options
def demo(speed: float, *, repeat: bool, **values: Any) -> None:
    """Play recorded traffic of a real CodeWorm through the real path: embedded server, PUBLISH, relay.

    \b
    Example: python -m codeworm_monitor demo --speed 60
    """
    with plain_errors():
        settings = read_settings(values)
        _run(_demo(settings, speed, repeat), settings)


@click.command()
@click.option(
    "--since",
    callback=read_time,
    help="Where to begin: 2h, yesterday, 2026-11-22T16:57 (time of this machine); the beginning if not given.",
)
@click.option("--until", callback=read_time, help="Where to end, likewise; at what is newest if not given.")
@click.option("--speed", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Times as fast.")
@click.option(
    "--from-file",
    "recording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A recording, as `record` writes it, instead of the archive.",
)
@_replay_options
def replay(
    since: float | None, until: float | None, speed: float, recording: Path | None, directory: Path, **values: Any
) -> None:
    """Serve a stretch of the past once more, from the archive or a recording, over the same protocol.

    Notebooks connect to it as to any relay, at its own port; nothing is kept.

    \b
    Example: python -m codeworm_monitor replay --since yesterday --until today --speed 20 --port 8766
    """
    with plain_errors():
        settings = read_settings(values)
        _run(_replay(settings, directory, recording, since, until, speed), settings)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--scale", type=click.FloatRange(min=0.001, max=1.0), default=1.0, hidden=True)
def bench(*, as_json: bool, scale: float) -> None:
    """Measure fan-out, ingest, latency and memory of a relay on this machine, in half a minute.

    \b
    Example: python -m codeworm_monitor bench
    """
    from codeworm_monitor.bench import BenchPlan, measure, table

    plan = BenchPlan() if scale == 1.0 else BenchPlan().scaled(scale)
    with plain_errors():
        with _progress(plan.steps) as on_step:
            report = measure(plan, on_step=on_step)
        click.echo(json.dumps(report.as_dict(), indent=2) if as_json else table(report))


@contextlib.contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None] | None]:
    """Yield what is to be called as each step begins: on a terminal it moves a bar on standard error, elsewhere None."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = 0

    def on_step(name: str) -> None:
        nonlocal begun
        bar.update(1 if begun else 0, name)
        begun += 1

    with click.progressbar(length=steps, label="measuring", show_eta=False, item_show_func=str, file=sys.stderr) as bar:
        yield on_step
        bar.update(1, "")


async def _relay(settings: RelaySettings) -> None:
    from codeworm_monitor.relay import Relay

    async with _stoppable() as stop, Relay(settings) as running:
        # What is loaded by now stays: no need to look through it again and again. Messages hold no cycles, so looks may be
        # rarer than by default; connections do, and those of readers that come and go must not pile up between looks.
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        click.echo(_banner(running))
        notify(f"READY=1\nSTATUS=relaying {redacted(running.redis_url or '')} at {running.url}")
        watchdog = asyncio.create_task(_feed_watchdog(), name="cli:watchdog")
        try:
            await stop.wait()
        finally:
            watchdog.cancel()
            await asyncio.wait([watchdog])
        notify("STOPPING=1")
        log.info("stopping")


async def _replay(
    settings: RelaySettings,
    directory: Path,
    recording: Path | None,
    since: float | None,
    until: float | None,
    speed: float,
) -> None:
    from codeworm_monitor.archive.replay import ArchiveSource
    from codeworm_monitor.record_replay import RecordingReplay
    from codeworm_monitor.relay import Relay

    source = (
        ArchiveSource(directory, since=since, until=until, speed=speed)
        if recording is None
        else RecordingReplay(recording, since=since, until=until, speed=speed)
    )
    settings = replace(settings, no_archive=True, ollama=None)  # what Ollama does now is no part of the past
    async with _stoppable() as stop, Relay(settings, source=source) as running:
        click.echo(_banner(running, is_replay=True))
        click.echo(
            f"Serving the past from {_day_and_time(source.clock())} on, {speed:g} times as fast. Ctrl-C ends it."
        )
        await stop.wait()


def _day_and_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S UTC%z")


async def _demo(settings: RelaySettings, speed: float, repeat: bool) -> None:  # noqa: FBT001  # read once, just above
    from codeworm_monitor.demo import describe, play
    from codeworm_monitor.embedded import EmbeddedServer
    from codeworm_monitor.relay import Relay

    # What is played is no part of the user's record, nor do the user's CodeWorm and Ollama know of it.
    settings = replace(settings, archive=None, no_archive=True, codeworm_db=None, codeworm_config=None, ollama=None)
    # On a port of its own: at 6379, another relay would take the server for CodeWorm's, and keep what is played.
    async with (
        _stoppable() as stop,
        EmbeddedServer(preferred_port=0) as server,
        Relay(settings, redis_url=server.url) as running,
    ):
        await running.wait_connected()
        click.echo(_banner(running))
        click.echo(f"Playing recorded traffic, {speed:g} times as fast as it came. Ctrl-C stops it.")
        shown, has_shown = 0, asyncio.Event()

        async def show() -> None:
            nonlocal shown
            async for entry in running.hub.subscribe():
                click.echo(describe(entry))
                shown += 1
                has_shown.set()

        async def perform() -> None:
            published = await play(server.url, speed=speed, repeat=repeat)
            while shown < published:  # the last of them are under way
                has_shown.clear()
                await has_shown.wait()
            click.echo(f"Played {published} messages.")

        screen = asyncio.create_task(show(), name="demo:show")
        player = asyncio.create_task(perform(), name="demo:play")
        stopped = asyncio.create_task(stop.wait(), name="demo:stop")
        tasks: tuple[asyncio.Task[Any], ...] = (screen, player, stopped)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()


async def _feed_watchdog() -> None:
    """Tell the service manager, as often as it wants, that this loop still turns."""
    interval = watchdog_interval()
    while interval is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)


@contextlib.asynccontextmanager
async def _stoppable() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)  # the guard stops the embedded server when we are gone
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _run(work: Any, settings: RelaySettings) -> None:
    configure_logging(form=settings.log_format, level=settings.log_level)
    for name, meant in misspelt_variables(os.environ):
        log.warning("the environment variable %s is no setting: did you mean %s?", name, meant)
    _allow_descriptors(settings.max_readers + SPARE_DESCRIPTORS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _allow_descriptors(wanted: int) -> None:
    """Raise the limit of open files, which is 1,024 by custom, to what the readers may need, as far as is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "the system allows %d open files: room for some %d readers, fewer than --max-readers",
            allowed,
            max(0, allowed - SPARE_DESCRIPTORS),
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop if it is installed (extra `fast`): about a tenth less of CPU time; else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _banner(running: Any, *, is_replay: bool = False) -> str:
    from codeworm_monitor.page import PAGE_PATH

    url, http = running.url, running.url.replace("ws", "http", 1).removesuffix(running.settings.path)
    page = f"{http}{'/' if running.settings.static is None and running.settings.path != '/' else PAGE_PATH}"
    if running.token is None:
        token = "none is wanted"
    elif sys.stdout.isatty():
        token = running.token
        page += f"#token={token}"
    else:  # this output may be kept in a log, where a token has no place
        token = f"in {running.announcement}, which only you can read"
        page += " (with the token: `python -m codeworm_monitor token --link`)"
    kind = " (embedded server: it ends with the relay)" if running.is_embedded else ""
    settings = running.settings
    kept = "nowhere (--no-archive)"
    if running.archive is not None:
        kept = f"{running.archive}, {settings.archive_days:g} days, {settings.archive_bytes / 2**30:.3g} GiB at most"
        status = running.statistics().archive
        if status is not None and not status.is_writing:
            kept = "nowhere for now, see the log: it is tried again and again"
    return "\n".join(
        [
            f"codeworm_monitor {__version__} relays {', '.join(running.settings.channels)}",
            f"  publish to   {redacted(running.redis_url)}{kind}"
            if running.redis_url
            else f"  from         {running.upstream}",
            f"  connect to   {url}",
            f"  token        {token}",
            *([] if is_replay else [f"  kept in      {kept}"]),
            *([f"  settings     {printable(file)}"] if (file := settings_path()) else []),
            f"  notebook     from codeworm_monitor import connect; mon = connect({repr(url) if is_replay else ''})",
            f"  dashboard    {page}",
            f"  health       {http}/readyz",
        ]
    )


COMMANDS: tuple[click.Command, ...] = (relay, demo, replay, bench)
"""For the main group."""
