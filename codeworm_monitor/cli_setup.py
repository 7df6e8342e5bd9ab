"""The commands that set things up: `config`, `token`, `lab`, `completion`."""

from __future__ import annotations

import json
import os
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from codeworm_monitor.cli_options import plain_errors
from codeworm_monitor.cli_settings import (
    load_settings_file,
    misspelt_variables,
    read_settings,
    relay_options,
    variable_of,
)
from codeworm_monitor.logformat import printable
from codeworm_monitor.settings import ENVIRONMENT_PREFIX, RelaySettings, redacted, setting_fields
from codeworm_monitor.settings_file import NAME, SettingsFileError, is_secret, locate, read, write_template

__all__ = ["COMMANDS", "completion", "config", "lab", "token"]


@click.command()
@click.option("--show", is_flag=True, help="Print every setting with its value and where it comes from.")
@click.option(
    "--path", "shows_path", is_flag=True, help="Print the settings file that counts, nothing if there is none."
)
@click.option(
    "--init", is_flag=True, help=f"Write a file with all defaults, commented out: ./{NAME}, or --config FILE."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --show.")
@click.option("--ws-path", "path", envvar=f"{ENVIRONMENT_PREFIX}PATH", default=RelaySettings().path, hidden=True)
@partial(relay_options, but=frozenset(("path",)))
def config(*, show: bool, shows_path: bool, init: bool, as_json: bool, **values: Any) -> None:
    """Check the settings: defaults, then the settings file, the environment and options, each before the one before.

    Options of the relay given here are shown as they would count. Secrets are never shown.

    \b
    Example: python -m codeworm_monitor config --show
    """
    if show + shows_path + init > 1:
        raise click.UsageError("--show, --path and --init are three questions: ask one")
    context = click.get_current_context()
    named = context.find_root().params.get("config")
    if init:
        with plain_errors():
            path = locate(named) if named is not None else Path(NAME)
            write_template(path or Path(NAME))
        click.echo(f"{printable(str(path))} is written, for you alone: take the # away before what you change")
        return
    path = locate(named)
    if shows_path:
        if path is not None:
            click.echo(printable(str(path.absolute())))
        return
    _check(path, was_named=named is not None)
    with plain_errors():
        settings = read_settings(values)
    for name, meant in misspelt_variables(os.environ):
        click.echo(f"Warning: the environment variable {name} is no setting: did you mean {meant}?", err=True)
    if not show and not as_json:
        _say_sound(context)
        return
    rows = [(one.name, _shown(settings, one.name), _origin(context, settings, one.name)) for one in setting_fields()]
    if as_json:
        table = {name: {"value": value, "origin": origin} for name, value, origin in rows}
        click.echo(json.dumps({"file": None if path is None else str(path.absolute()), "settings": table}, indent=2))
        return
    texts = [(name, _text(value), origin) for name, value, origin in rows]
    widths = [max(len(row[column]) for row in texts) for column in (0, 1)]
    for name, value, origin in texts:
        click.echo(f"{name:{widths[0]}}  {value:{min(widths[1], 48)}}  {printable(origin)}")


def _check(path: Path | None, *, was_named: bool) -> None:
    """End with all that is wrong with the settings file, a line each."""
    if path is None:
        return
    try:
        read(path, was_named=was_named)
    except SettingsFileError as error:
        for problem in error.problems:
            click.echo(f"Error: {printable(problem)}", err=True)
        raise click.exceptions.Exit(1) from error


def _say_sound(context: click.Context) -> None:
    file = load_settings_file(context)
    if file is None:
        click.echo(f"no settings file: the defaults hold (`config --init` writes one to ./{NAME})")
        return
    count = len(file.values)
    click.echo(f"{printable(str(file.path))}: {count} setting{'' if count == 1 else 's'}, all sound")


def _origin(context: click.Context, settings: RelaySettings, name: str) -> str:
    for switch, other in (("no_token", "token"), ("no_archive", "archive")):
        if name == other and getattr(settings, name) is None and getattr(settings, switch):
            name = switch  # what was given was overruled
        elif name == switch and not getattr(settings, name) and getattr(settings, other) is not None:
            name = other if context.params[switch] else switch
    match context.get_parameter_source(name):
        case ParameterSource.COMMANDLINE:
            return f"--{name.replace('_', '-')}"
        case ParameterSource.ENVIRONMENT:
            return variable_of(name)
        case ParameterSource.DEFAULT_MAP:
            file = load_settings_file(context)
            return "default" if file is None else file.origin(name)
    return "default"


def _shown(settings: RelaySettings, name: str) -> Any:
    value = getattr(settings, name)
    if isinstance(value, str):
        return "***" if name == "token" else redacted(value) if is_secret(name, value) or "://" in value else value
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return printable(", ".join(value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else printable(str(value))


@click.command()
@click.option("--new", is_flag=True, help="Print a new random token, fit for --token; it is kept nowhere.")
@click.option("--link", is_flag=True, help="Print the URL that a browser opens, with the token in it.")
@click.option(
    "--url", envvar=f"{ENVIRONMENT_PREFIX}URL", show_envvar=True, help="The relay, if several run. None: the newest."
)
def token(*, new: bool, link: bool, url: str | None) -> None:
    """Print the token of the relay that runs on this machine, and nothing else; only its owner can read it.

    \b
    Example: python -m codeworm_monitor token --link
    """
    from codeworm_monitor.discovery import find

    if new and link:
        raise click.UsageError("a new token has no link yet: start a relay with it")
    if new:
        click.echo(secrets.token_hex(24))  # unlike token_urlsafe it never begins with a -
        return
    found = find(url)
    if not found:
        where = "no relay of yours runs on this machine" if url is None else "no relay of yours runs there"
        raise click.ClickException(f"{where}: start one with `python -m codeworm_monitor`")
    one = found[0]
    if link:
        click.echo(_link(one.url, one.token))
    elif one.token is None:
        click.echo("this relay wants no token", err=True)
    else:
        click.echo(one.token)


def _link(url: str, wanted: str | None) -> str:
    """Return the page of a relay: the front end that it serves, its own dashboard, or what it tells of itself."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    base = f"{parts.scheme.replace('ws', 'http', 1)}://{parts.netloc}"
    query, fragment = ("", "") if wanted is None else (f"?token={wanted}", f"#token={wanted}")
    for path in ("/", "/dashboard"):
        page = _page(f"{base}{path}")
        if page is not None:
            return f"{base}{path}{fragment if _OWN_PAGE in page else query}"
    return f"{base}/info{query}"


_OWN_PAGE = b'name="codeworm-monitor-socket"'
"""What the dashboard's page holds: it takes the token from the fragment, which never leaves the browser."""


def _page(url: str) -> bytes | None:
    """Return what a relay on this machine shows at an address, or None if that is no page. It is sent no token."""
    import ssl
    from http.client import HTTPException
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    context = ssl.create_default_context()
    # Its certificate is for the name by which others address it; nothing is told to it, nor believed of what it says.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with build_opener(ProxyHandler({}), HTTPSHandler(context=context)).open(url, timeout=2) as answer:
            body: bytes = answer.read(64 * 2**10)
            return body if answer.headers.get_content_type() == "text/html" else None
    except (OSError, HTTPException, ValueError):
        return None


@click.command(context_settings={"ignore_unknown_options": False})
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the notebook is put, or is already. None: the working directory.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of JupyterLab. None: its own choice, from 8888 on.")
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@click.option("--relay", "starts_relay", is_flag=True, help="Start a relay beside it if none runs; it ends with it.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab(*, directory: Path, port: int | None, no_browser: bool, starts_relay: bool, arguments: tuple[str, ...]) -> None:
    """Start JupyterLab on a ready dashboard notebook; ARGUMENTS after -- are Jupyter's own.

    A notebook of the name that is there already is opened as it is.

    \b
    Example: python -m codeworm_monitor lab --directory ~/codeworm --no-browser -- --ip=127.0.0.1
    """
    from codeworm_monitor.lab import LabError, has_relay, jupyter_command, run_beside, write_notebook

    with plain_errors():
        command = jupyter_command(Path(), port=port, opens_browser=not no_browser, arguments=arguments)
        needs_relay = not has_relay()
        if needs_relay and not starts_relay:
            raise LabError(
                "no relay of yours runs on this machine: start one with `python -m codeworm_monitor` in another terminal, "
                "or let this start one with --relay"
            )
        path, is_new = write_notebook(
            Path(os.path.expanduser(directory))
        )  # Path.expanduser raises where it finds no home
        click.echo(f"{printable(str(path))}: {'written' if is_new else 'there already, opened as it is'}", err=True)
        command = jupyter_command(path, port=port, opens_browser=not no_browser, arguments=arguments)
        if needs_relay:
            named = click.get_current_context().find_root().params.get("config")
            chosen = ["--config", named] if named else []
            status = run_beside(command, [sys.executable, "-m", "codeworm_monitor", *chosen, "relay"])
            raise click.exceptions.Exit(status)
    # In this process's place: signals, the terminal and the exit status are Jupyter's without a go-between.
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a shell completes `codeworm-monitor`: commands and options.

    In ~/.bashrc: eval "$(codeworm-monitor completion bash)"; in ~/.zshrc likewise with zsh; for fish: codeworm-monitor
    completion fish > ~/.config/fish/completions/codeworm-monitor.fish

    \b
    Example: python -m codeworm_monitor completion bash
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this release of click knows no completion for {shell}")
    click.echo(kind(click.get_current_context().find_root().command, {}, PROGRAM, COMPLETE_VARIABLE).source())


PROGRAM = "codeworm-monitor"
"""Name of the console script."""
COMPLETE_VARIABLE = "_CODEWORM_MONITOR_COMPLETE"
"""By which the script asks for words; click derives it from the program's name."""

COMMANDS: tuple[click.Command, ...] = (config, token, lab, completion)
"""For the main group."""
