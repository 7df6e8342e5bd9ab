"""The command line of deployment: files by which a relay runs for good."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from codeworm_monitor.cli_options import plain_errors
from codeworm_monitor.deployment.artefacts import Artefact, write
from codeworm_monitor.deployment.quoting import one_line
from codeworm_monitor.errors import SettingError
from codeworm_monitor.logformat import printable

__all__ = ["COMMANDS", "compose", "container", "deploy", "nginx", "systemd"]

Command = Callable[..., None]

_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "port": click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=8765,
        show_default=True,
        envvar="CODEWORM_MONITOR_PORT",
        show_envvar=True,
        help="Port of the relay on this machine.",
    ),
    "redis_url": click.option(
        "--redis-url",
        envvar="CODEWORM_MONITOR_REDIS_URL",
        show_envvar=True,
        help="Redis to subscribe to, such as redis://localhost:26849.",
    ),
    "codeworm_db": click.option(
        "--codeworm-db",
        envvar=["CODEWORM_MONITOR_CODEWORM_DB", "CODEWORM_DB_PATH"],
        show_envvar=True,
        callback=lambda context, parameter, value: _absolute(value),
        help="CodeWorm's database, data/codeworm.db; it is only read.",
    ),
    "codeworm_config": click.option(
        "--codeworm-config",
        envvar=["CODEWORM_MONITOR_CODEWORM_CONFIG", "CODEWORM_CONFIG_DIR"],
        show_envvar=True,
        callback=lambda context, parameter, value: _absolute(value),
        help="Directory of CodeWorm's configuration, which holds repos.yaml; it is only read.",
    ),
    "source": click.option(
        "--source",
        callback=lambda context, parameter, value: _absolute(value),
        help="Clone of the repository, from which the image is built. None: the one that this runs from, if it does.",
    ),
    "output": click.option(
        "--output",
        metavar="DIRECTORY",
        callback=lambda context, parameter, value: _directory(value),
        help="Write the files there, secrets too. None: print the main one.",
    ),
    "force": click.option("--force", is_flag=True, help="Replace files that are there."),
}


def _absolute(value: str | None) -> Any:
    return os.path.abspath(os.path.expanduser(value)) if value else value


def _directory(value: str | None) -> Path | None:
    try:
        return None if value is None else Path(_absolute(one_line("output", value)))
    except SettingError as error:
        raise click.BadParameter(error.problem) from error


def _takes(*names: str) -> Callable[[Command], Command]:
    """Give a command some of the options, and those of where its files go."""

    def decorate(command: Command) -> Command:
        for name in reversed([*names, "output", "force"]):
            command = _OPTIONS[name](command)
        return command

    return decorate


@click.group()
def deploy() -> None:
    """Print, or write, files by which the relay runs for good: systemd, container, compose, nginx.

    What to do with them is said step by step, on standard error where the file itself is printed.

    \b
    Example: python -m codeworm_monitor deploy systemd --output deployment
    """


@deploy.command()
@click.option(
    "--system/--user", "is_system", default=False, help="For the machine, or for this user alone (the default)."
)
@click.option("--run-as", metavar="USER", help="User that it runs as; with --system. None: one made for it alone.")
@click.option(
    "--python",
    default=lambda: sys.executable,
    show_default="the one that runs this",
    callback=lambda context, parameter, value: _absolute(value),
    help="Interpreter in whose environment codeworm_monitor is installed.",
)
@_takes("port", "redis_url", "codeworm_db", "codeworm_config")
def systemd(
    *, is_system: bool, run_as: str | None, redis_url: str | None, output: Path | None, force: bool, **values: Any
) -> None:
    """A unit with readiness, watchdog and sandbox, for this user or for the machine.

    \b
    Example: python -m codeworm_monitor deploy systemd --redis-url redis://localhost:26849 --output deployment
    Example: python -m codeworm_monitor deploy systemd --system --python /opt/codeworm/bin/python
    """
    from codeworm_monitor.deployment import systemd as units

    if run_as is not None and not is_system:
        raise click.UsageError("--run-as goes with --system: a unit of a user runs as that user")
    with plain_errors():
        is_secret = units.has_password(redis_url) and output is not None
        shown_url = None if is_secret else redis_url
        if is_system:
            unit = units.system_unit(run_as=run_as, redis_url=shown_url, **values)
        else:
            unit = units.user_unit(redis_url=shown_url, **values)
        has_environment = output is not None and (is_system or is_secret)
        more = [units.environment(redis_url=redis_url if is_secret else None)] if has_environment else []
        steps = units.steps(is_system=is_system, directory=output, port=values["port"], has_environment=has_environment)
        _hand_out([unit, *more], output, force=force, steps=steps)


@deploy.command()
@_takes("source")
def container(*, source: str | None, output: Path | None, force: bool) -> None:
    """A container file (Docker, Podman) for the relay: not root, small, with a health check.

    \b
    Example: python -m codeworm_monitor deploy container --output deployment
    """
    from codeworm_monitor.deployment import container as containers

    with plain_errors():
        steps = containers.container_steps(output, source or containers.source())
        _hand_out(containers.container(), output, force=force, steps=steps)


@deploy.command()
@_takes("port", "redis_url", "codeworm_db", "codeworm_config", "source")
@click.option("--domain", help="Name by which readers address the relay through a proxy.")
def compose(
    *, source: str | None, redis_url: str | None, port: int, output: Path | None, force: bool, **values: Any
) -> None:
    """A compose file: the relay, and a Redis at CodeWorm's port 26849 unless --redis-url names one.

    \b
    Example: python -m codeworm_monitor deploy compose --codeworm-db ~/codeworm/data/codeworm.db --output deployment
    """
    from codeworm_monitor.deployment import container as containers

    with plain_errors():
        file = containers.compose(
            port=port,
            redis_url=redis_url,
            clone=source or containers.source(),
            dockerfile=str((output or Path.cwd()) / containers.DOCKERFILE),
            is_printed=output is None,
            **values,
        )
        steps = containers.compose_steps(output, port)
        _hand_out(
            [file, *containers.container(), *containers.secret_files(redis_url)], output, force=force, steps=steps
        )


@deploy.command()
@click.option("--domain", required=True, help="Name of the server, such as ollama.example.org.")
@click.option("--tls-cert", help="File with its certificate chain. None: where certbot keeps it.")
@click.option("--tls-key", help="File with its private key. None: likewise.")
@click.option(
    "--static",
    callback=lambda context, parameter, value: _absolute(value),
    help="Directory of a built web front end, such as the original dashboard's; a password is then asked for.",
)
@_takes("port")
def nginx(*, domain: str, static: str | None, output: Path | None, force: bool, **values: Any) -> None:
    """A server of nginx before the relay: TLS, /ws, /api, and a front end if there is one.

    \b
    Example: python -m codeworm_monitor deploy nginx --domain ollama.example.org --output deployment
    """
    from codeworm_monitor.deployment import nginx as servers

    with plain_errors():
        file = servers.site(domain=domain, static=static, **values)
        steps = servers.site_steps(output, domain.lower(), has_front_end=static is not None)
        _hand_out([file], output, force=force, steps=steps)


def _hand_out(artefacts: Sequence[Artefact], output: Path | None, *, force: bool, steps: str) -> None:
    """Print the first of the files, or write all of them; and say what to do next."""
    if output is None:
        if force:
            raise click.UsageError("--force goes with --output")
        click.echo(artefacts[0].text, nl=False)
        click.echo(f"\nNext:\n\n{steps}", err=True)
        return
    for path, one in zip(write(artefacts, output, overwrite=force), artefacts, strict=True):
        click.echo(printable(f"{path}{'' if one.mode & 0o044 == 0o044 and one.folder_mode & 0o55 else ' (a secret)'}"))
    click.echo(f"\nNext:\n\n{steps}")


COMMANDS: tuple[click.Command, ...] = (deploy,)
"""For the main group."""
