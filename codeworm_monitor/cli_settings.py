"""The settings on the command line: an option for each, and what the environment and the settings file say beside it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import click
from click.core import ParameterSource

from codeworm_monitor.errors import SettingError
from codeworm_monitor.logformat import printable
from codeworm_monitor.settings import ENVIRONMENT_PREFIX, RelaySettings, SettingField, setting_fields
from codeworm_monitor.worm_files import VARIABLES as CODEWORM_VARIABLES

if TYPE_CHECKING:
    from codeworm_monitor.settings_file import SettingsFile

__all__ = [
    "OTHERS_VARIABLES",
    "file_defaults",
    "load_settings_file",
    "misspelt_variables",
    "read_settings",
    "reader_options",
    "relay_options",
    "settings_of",
    "settings_path",
    "variable_of",
]

OTHERS_VARIABLES = {"redis_url": "REDIS_URL"} | CODEWORM_VARIABLES
"""Environment variables of CodeWorm and its dashboard that are honoured after our own."""
_STRENGTH = {ParameterSource.COMMANDLINE: 3, ParameterSource.ENVIRONMENT: 2, ParameterSource.DEFAULT_MAP: 1}
_FILE = "codeworm_monitor.settings_file"
_URL_VARIABLE = f"{ENVIRONMENT_PREFIX}URL"


def relay_options(command: Callable[..., None], *, but: frozenset[str] = frozenset()) -> Callable[..., None]:
    """Give a command an option for every setting of the relay, but for some."""
    for one in reversed([one for one in setting_fields() if one.name not in but]):
        command = _option(one)(command)
    return command


def _option(one: SettingField) -> Callable[[Callable[..., None]], Callable[..., None]]:
    variables = [one.variable, *([OTHERS_VARIABLES[one.name]] if one.name in OTHERS_VARIABLES else [])]
    common: dict[str, Any] = {"envvar": variables, "show_envvar": True, "help": one.help}
    if one.type is bool:
        return click.option(one.option, one.name, is_flag=True, default=one.default, **common)
    if one.type is tuple and one.name != "channels":
        return click.option(one.option, one.name, multiple=True, **common)
    kind = {int: int, float: float}.get(one.type, str)
    default = ",".join(one.default) if one.name == "channels" else one.default
    return click.option(one.option, one.name, type=kind, default=default, show_default=True, **common)


def read_settings(values: dict[str, Any]) -> RelaySettings:
    """Return the settings that the options, the environment and the settings file gave.

    Of two that contradict each other the stronger counts: what is typed goes before what lies in the environment, and
    that before what stands in the file.

    Raises:
        SettingError: A value cannot be used.
        click.UsageError: Likewise, and it came from the environment.
    """
    if "channels" in values:
        values["channels"] = tuple(name.strip() for name in values["channels"].split(",") if name.strip())
    context = click.get_current_context()
    for switch, name in (("no_token", "token"), ("no_archive", "archive")):
        if values.get(switch) and values.get(name) is not None:
            strengths = [_strength(context, one) for one in (switch, name)]
            if strengths[0] > strengths[1]:
                values[name] = None
            elif strengths[0] < strengths[1]:
                values[switch] = False
    try:
        return RelaySettings(**values)
    except SettingError as error:
        if context.get_parameter_source(error.name) is not ParameterSource.ENVIRONMENT:
            raise
        raise click.UsageError(f"{variable_of(error.name)}: {error.problem}") from error


def _strength(context: click.Context, name: str) -> int:
    source = context.get_parameter_source(name)
    return 0 if source is None else _STRENGTH.get(source, 0)


def variable_of(name: str) -> str:
    """Return the environment variable that a setting is taken from: our own, or the other that means the same."""
    own = ENVIRONMENT_PREFIX + name.upper()
    return own if name not in OTHERS_VARIABLES or os.environ.get(own) else OTHERS_VARIABLES[name]


def misspelt_variables(environment: Iterable[str]) -> list[tuple[str, str]]:
    """Return the environment variables that look like a slip of the pen, each with the one that must have been meant.

    One that resembles none of ours is left alone: unlike the settings file, the environment belongs to others too, such
    as a newer release or a program beside it, and a relay must not refuse to start for their sake.
    """
    known = [one.variable for one in setting_fields()]
    known += [ENVIRONMENT_PREFIX + name for name in ("URL", "RUNTIME_DIR", "CONFIG", "DEBUG")]
    found = []
    for name in environment:
        if name.upper().startswith(ENVIRONMENT_PREFIX) and name not in known and name.isprintable():
            found += [(name, meant) for meant in get_close_matches(name[:80].upper(), known, n=1, cutoff=0.9)]
    return found


def settings_of(command: click.Command) -> dict[str, str]:
    """Return which settings a command takes: the setting, by the name of the command's parameter for it."""
    names = {one.variable: one.name for one in setting_fields()}
    taken = {}
    for one in command.params:
        for variable in [one.envvar] if isinstance(one.envvar, str) else one.envvar or ():
            if one.name is not None and variable in names:
                taken[one.name] = names[variable]
    return taken


def file_defaults(command: click.Command, load: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the settings file says to a command and to those below it, as click's `default_map`.

    Args:
        command: The command.
        load: Returns the file's settings; called only if one of the commands takes any.
    """
    defaults: dict[str, Any] = {}
    if isinstance(command, click.Group):
        defaults = {name: file_defaults(below, load) for name, below in command.commands.items()}
    if taken := settings_of(command):
        values = load()
        for parameter, name in taken.items():
            if values.get(name) is not None:
                defaults[parameter] = ",".join(values[name]) if name == "channels" else values[name]
    return defaults


def reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that asks a relay `--url` and `--token`, for `find_relay`.

    The token of the settings file is that of the relay which the file is for: it goes to no other.
    """
    token = click.option(
        "--token",
        envvar=f"{ENVIRONMENT_PREFIX}TOKEN",
        show_envvar=True,
        callback=_read_token,
        help="Its token; what it announced on this machine if not given.",
    )
    url = click.option(
        "--url",
        envvar=_URL_VARIABLE,
        show_envvar=True,
        is_eager=True,  # the token depends on it
        help="The relay, such as ws://127.0.0.1:8765/ws; the one on this machine if not given.",
    )
    return url(token(command))


def _read_token(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    match context.get_parameter_source(parameter.name or ""):
        case ParameterSource.ENVIRONMENT:
            return None  # `find_relay` reads it itself, after the token that a URL may hold
        case ParameterSource.DEFAULT_MAP:
            return value if _is_relay_of_file(context, context.params.get("url")) else None
    return value


def _is_relay_of_file(context: click.Context, url: str | None) -> bool:
    """Tell whether a URL means the relay that takes its settings from the settings file: on this machine, at its port."""
    url = url or os.environ.get(_URL_VARIABLE)
    if not url:
        return True
    file: SettingsFile | None = context.find_root().meta.get(_FILE)
    if file is None:
        return False
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        port = parts.port or (443 if parts.scheme in ("wss", "https") else 80)
        is_here = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:  # no URL, which `find_relay` says, or a name
        return False
    return is_here and port == file.values.get("port", RelaySettings().port) and not parse_qs(parts.query).get("token")


class _UnusableFile(click.ClickException):
    """A settings file cannot be used: an error of usage, which no usage line explains."""

    exit_code = 2


def load_settings_file(context: click.Context) -> SettingsFile | None:
    """Return the settings file that counts for this line, read once; None: there is none.

    Raises:
        click.ClickException: It cannot be used; the status is 2.
    """
    from codeworm_monitor.settings_file import SettingsFileError, locate, read

    root = context.find_root()
    if _FILE not in root.meta:
        named = root.params.get("config")
        path = locate(named)
        try:
            root.meta[_FILE] = None if path is None else read(path, was_named=named is not None)
        except SettingsFileError as error:
            raise _UnusableFile(printable(str(error))) from error
    file: SettingsFile | None = root.meta[_FILE]
    return file


def settings_path() -> str | None:
    """Return the settings file that was read for the running command; None: none was."""
    context = click.get_current_context(silent=True)
    file = None if context is None else context.find_root().meta.get(_FILE)
    return None if file is None else str(file.path)
