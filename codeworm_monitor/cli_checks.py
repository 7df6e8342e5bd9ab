"""The commands that look whether all is well: `status`, of what runs, and `doctor`, of what could be in the way."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from codeworm_monitor.archive.database import named_directory
from codeworm_monitor.cli_options import plain_errors, read_length
from codeworm_monitor.cli_settings import reader_options

__all__ = ["COMMANDS", "doctor", "status"]

UNKNOWN = 3
"""Exit status of `status` where it could not even ask, as monitoring plugins have it."""


class _PluginCommand(click.Command):
    """A command whose status for a wrong line is 3: 2, which click gives, would read as down."""

    usage_status = UNKNOWN
    """Likewise where the settings file cannot be used, which the group finds out."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            error.exit_code = UNKNOWN  # type: ignore[misc]  # click reads it from the instance
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with plain_errors():
                return super().invoke(ctx)
        except click.ClickException as error:
            error.exit_code = UNKNOWN  # type: ignore[misc]  # click reads it from the instance
            raise


@click.command(cls=_PluginCommand)
@reader_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; its keys stay as they are.")
@click.option(
    "--silence",
    "quiet",
    default="45min",
    show_default=True,
    callback=read_length,
    help="How long no message, or no commit, is well; twice as long without a message is down.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0.1, max=60),
    default=3.0,
    show_default=True,
    help="Seconds that the relay may take to answer.",
)
def status(*, url: str | None, token: str | None, as_json: bool, quiet: float, within: float) -> None:
    """Say on one screen whether relay and CodeWorm are well, and if not, why, and what to do.

    The exit status is that of monitoring plugins (Nagios, Icinga), so that cron and they can use it as it is:

    \b
        0  healthy   CodeWorm is heard, and works
        1  degraded  something needs a look: failures in a row, nothing kept, Ollama away
        2  down      no relay, or it does not hear Redis, or CodeWorm stopped or is silent
        3            it could not be looked at all: the command line or the settings file is wrong

    With --json the object has the keys verdict, exit_status, checked_at, reasons (each with verdict, about, what, mend),
    relay, upstream, activity, messages, last_commit, last_error, failures_in_a_row, archive, readers, gaps, disk
    and ollama (null: the relay does not look at it; --ollama).
    Times are ISO 8601 in UTC, durations seconds; null: not known.

    \b
    Example: python -m codeworm_monitor status || mail -s "CodeWorm" me@example.org
    """
    from codeworm_monitor.doctor.asking import find_relay
    from codeworm_monitor.doctor.looking import look_at
    from codeworm_monitor.doctor.screen import show
    from codeworm_monitor.doctor.status_report import status_as_dict, status_rows
    from codeworm_monitor.health import judge

    with plain_errors():
        place = find_relay(url, token)
    health = judge(look_at(place, within=within), quiet=quiet)
    if as_json:
        click.echo(json.dumps(status_as_dict(health), indent=2))
    else:
        show(status_rows(health))
    sys.exit(health.verdict.rank)


@click.command()
@reader_options
@click.option(
    "--redis-url",
    envvar=["CODEWORM_MONITOR_REDIS_URL", "REDIS_URL"],
    show_envvar=True,
    help="CodeWorm's Redis; the relay's, or one on 127.0.0.1:6379, if not given.",
)
@click.option(
    "--channels",
    envvar="CODEWORM_MONITOR_CHANNELS",
    show_envvar=True,
    help="Channels that should be heard, comma-separated; the relay's, or CodeWorm's, if not given.",
)
@click.option(
    "--listen",
    type=click.FloatRange(min=0, max=86_400),
    default=5.0,
    show_default=True,
    help="Seconds to listen on Redis for a message, at most.",
)
@click.option(
    "--archive",
    "directory",
    metavar="DIRECTORY",
    envvar="CODEWORM_MONITOR_ARCHIVE",
    show_envvar=True,
    help="The archive; the relay's, or the default one, if not given.",
)
@click.option(
    "--ollama",
    envvar="CODEWORM_MONITOR_OLLAMA",
    show_envvar=True,
    help="Ollama; what OLLAMA_HOST says, or http://127.0.0.1:11434, if not given.",
)
@click.option("--origin", help="Origin of a web page that the relay should let in, such as http://localhost:5173.")
@click.option("--codeworm-db", envvar=["CODEWORM_MONITOR_CODEWORM_DB", "CODEWORM_DB_PATH"], help="CodeWorm's database.")
@click.option(
    "--codeworm-config",
    envvar=["CODEWORM_MONITOR_CODEWORM_CONFIG", "CODEWORM_CONFIG_DIR"],
    help="Directory of CodeWorm's configuration.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this class of checks, such as redis; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    *,
    url: str | None,
    token: str | None,
    redis_url: str | None,
    channels: str | None,
    listen: float,
    directory: str | None,
    ollama: str | None,
    origin: str | None,
    codeworm_db: str | None,
    codeworm_config: str | None,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Test all that can be in the way between CodeWorm and a notebook, and name the mend of what is.

    Redis (reached, lets us in, hears us, somebody publishes), the relay (reached, hears, token, WebSocket, a page's
    origin), the archive (sound, writable, room), clocks, versions, JupyterLab's front ends and kernel, Ollama and its
    model, CodeWorm's own files. All at one time; nothing is changed. The exit status is 0 if nothing failed, else 1.

    With --json the object has the keys version, is_sound, counts, and findings: check, outcome (ok, warning, failed,
    skipped), said, mend.

    \b
    Example: python -m codeworm_monitor doctor --redis-url redis://127.0.0.1:26849
    """
    from codeworm_monitor.doctor.asking import find_relay
    from codeworm_monitor.doctor.case import STEP, Case
    from codeworm_monitor.doctor.report import CHECKS, examine, report_as_dict, report_rows
    from codeworm_monitor.doctor.screen import show

    names = None if channels is None else tuple(name.strip() for name in channels.split(",") if name.strip())
    if names == ():
        raise click.BadParameter("name at least one channel, such as codeworm:logs", param_hint="--channels")
    if unknown := set(only) - set(CHECKS):
        raise click.BadParameter(f"there is no {sorted(unknown)[0]!r}: {', '.join(CHECKS)}", param_hint="--only")
    with plain_errors():
        place = find_relay(url, token)
    case = Case(
        place=place,
        redis_url=redis_url or None,
        channels=names,
        listen=listen,
        archive=None if directory is None else named_directory(directory),
        ollama=ollama,
        origin=origin,
        codeworm_db=codeworm_db or None,
        codeworm_config=codeworm_config or None,
    )
    checks = {name: check for name, check in CHECKS.items() if not only or name in only}
    findings = examine(case, within=max(9.5, listen + 2 * STEP + 0.5), checks=checks)
    report = report_as_dict(findings)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        show(report_rows(findings))
    sys.exit(0 if report["is_sound"] else 1)


COMMANDS: tuple[click.Command, ...] = (status, doctor)
