"""Unit files for systemd: the relay as a service of one user, or of the machine.

Sources: systemd.service(5), systemd.exec(5), systemd.syntax(7) of systemd 252.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import codeworm_monitor
from codeworm_monitor.deployment.artefacts import SECRET, Artefact, render
from codeworm_monitor.deployment.quoting import one_line, shell_word, systemd_word
from codeworm_monitor.errors import SettingError

__all__ = ["UNIT", "environment", "has_password", "steps", "system_unit", "user_unit"]

UNIT = "codeworm-monitor.service"
ENVIRONMENT = "environment"
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""Where the unit of the machine sees nothing that is not bound."""


def user_unit(
    *,
    python: str = sys.executable,
    port: int = 8765,
    redis_url: str | None = None,
    codeworm_db: str | None = None,
    codeworm_config: str | None = None,
) -> Artefact:
    """Return the unit of a user.

    Args:
        python: Interpreter, by its absolute path, in whose environment this package is.
        port: Port of the relay.
        redis_url: Redis to subscribe to, without a password; None: the relay looks for one, or brings its own.
        codeworm_db: CodeWorm's database, by its absolute path; None: not told.
        codeworm_config: Directory of CodeWorm's configuration; None: not told.

    Raises:
        SettingError: A value cannot stand in a unit.
    """
    command = _command(python, port, redis_url, codeworm_db, codeworm_config)
    return Artefact(name=UNIT, text=render("user.service", command=command))


def system_unit(
    *,
    python: str = sys.executable,
    port: int = 8765,
    redis_url: str | None = None,
    codeworm_db: str | None = None,
    codeworm_config: str | None = None,
    run_as: str | None = None,
) -> Artefact:
    """Return the unit of the machine; arguments as for `user_unit`.

    Args:
        python: As above.
        port: As above.
        redis_url: As above.
        codeworm_db: As above.
        codeworm_config: As above.
        run_as: User that it runs as; None: one that exists only as long as it runs.

    Raises:
        SettingError: A value cannot stand in a unit.
    """
    command = _command(python, port, redis_url, codeworm_db, codeworm_config, "--archive %S/codeworm-monitor/archive")
    if run_as is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,30}", run_as):
        raise SettingError("run_as", "is no name of a user: letters, digits, _ and -")
    needed = [
        f"BindReadOnlyPaths={systemd_word(one_line('python', path))}" for path in _hidden(_environment_paths(python))
    ]
    # CodeWorm's files may come later: the relay then sees them when it is started again.
    if codeworm_db is not None and str(PurePosixPath(codeworm_db).parent) in ("/", *_HIDDEN):
        raise SettingError("codeworm_db", "wants a directory of its own, which the unit may see")
    files = [None if codeworm_db is None else str(PurePosixPath(codeworm_db).parent), codeworm_config]
    wished = [f"BindReadOnlyPaths={systemd_word(f'-{path}')}" for path in _hidden(path for path in files if path)]
    wished = [line for line in wished if line.replace('="-', '="') not in needed]
    return Artefact(
        name=UNIT,
        text=render(
            "system.service",
            command=command,
            user="DynamicUser=yes" if run_as is None else f"User={run_as}",
            readable="\n".join([*needed, *wished]),
        ),
    )


def environment(*, token: str | None = None, redis_url: str | None = None) -> Artefact:
    """Return the file of settings that the unit reads, which nobody else may.

    Args:
        token: Token that readers must present; None: a new one.
        redis_url: Redis to subscribe to, if it holds a password.
    """
    lines = [f"CODEWORM_MONITOR_TOKEN={token or secrets.token_urlsafe(24)}"]
    if redis_url is not None:
        # In this file, unlike in a unit, % is plain; in double quotes \ " ` $ are escaped.
        quoted = re.sub(r'([\\"`$])', r"\\\1", one_line("redis_url", redis_url))
        lines.append(f'CODEWORM_MONITOR_REDIS_URL="{quoted}"')
    return Artefact(name=ENVIRONMENT, text="\n".join([*lines, ""]), mode=SECRET)


def has_password(url: str | None) -> bool:
    """Tell whether a Redis URL holds a password."""
    if url is None:
        return False
    return "@" in url or "password=" in url.lower() or bool(urlsplit(url).password)


def steps(*, is_system: bool, directory: Path | None, port: int, has_environment: bool) -> str:
    """Return what to do next, a line a step.

    Args:
        is_system: For the unit of the machine.
        directory: Where the files were written; None: the unit was printed.
        port: Port of the relay.
        has_environment: Whether the file of settings was written, too.
    """
    unit = UNIT if directory is None else shell_word(str(directory / UNIT))
    settings = ENVIRONMENT if directory is None else shell_word(str(directory / ENVIRONMENT))
    place = "/etc/codeworm-monitor" if is_system else '"${XDG_CONFIG_HOME:-$HOME/.config}"/codeworm-monitor'
    root = "sudo " if is_system else ""
    lines = [] if directory is not None else [f"# keep what was printed as {UNIT}, then:"]
    if has_environment:
        lines.append(f"{root}install -D -m 600 {settings} {place}/environment    # the token")
    elif is_system:
        lines.append(
            f"{root}sh -c 'umask 077; mkdir -p {place}; echo CODEWORM_MONITOR_TOKEN=$(head -c 18 /dev/urandom | base64 "
            f"| tr +/ -_) > {place}/environment'    # a token"
        )
    if is_system:
        lines += [
            f"sudo install -D -m 644 {unit} /etc/systemd/system/{UNIT}",
            "sudo systemctl daemon-reload",
            f"sudo systemctl enable --now {UNIT}",
            f"systemctl status {UNIT}",
        ]
    else:
        lines += [
            f'install -D -m 644 {unit} "${{XDG_CONFIG_HOME:-$HOME/.config}}"/systemd/user/{UNIT}',
            "systemctl --user daemon-reload",
            f"systemctl --user enable --now {UNIT}",
            f"systemctl --user status {UNIT}",
            "loginctl enable-linger    # it then runs while you are not logged in, too",
        ]
    lines.append(f"curl -fsS http://127.0.0.1:{port}/readyz")
    return "\n".join(lines)


def _command(
    python: str,
    port: int,
    redis_url: str | None,
    codeworm_db: str | None,
    codeworm_config: str | None,
    *more: str,
) -> str:
    """Return the command line: `:` for no variables, `-P` for no package out of the directory it is started in."""
    if not os.path.isabs(python):
        raise SettingError("python", "name the interpreter by its absolute path")
    words = [systemd_word(f":{one_line('python', python)}"), "-P -m codeworm_monitor relay", f"--port {port}", *more]
    if has_password(redis_url):
        raise SettingError(
            "redis_url",
            "it may hold a password, which has no place in a unit: with --output it goes into a file of mode 600",
        )
    for name, value in (("redis_url", redis_url), ("codeworm_db", codeworm_db), ("codeworm_config", codeworm_config)):
        if value is None:
            continue
        if name != "redis_url" and not os.path.isabs(value):
            raise SettingError(name, "name it by its absolute path")
        words.append(f"--{name.replace('_', '-')} {systemd_word(one_line(name, value))}")
    return " ".join(words)


def _environment_paths(python: str) -> Iterator[str]:
    """Yield the directories without which an interpreter cannot run this package."""
    yield str(PurePosixPath(python).parent.parent)
    yield str(Path(os.path.realpath(python)).parent.parent)
    if python == sys.executable:
        yield from (sys.prefix, sys.base_prefix)
        yield str(Path(codeworm_monitor.__file__).absolute().parents[1])  # a clone, if it was installed with -e


def _hidden(paths: Iterable[str]) -> list[str]:
    """Return those paths, each once, that the unit would not see: no folder whose parent is among them."""
    hidden = sorted({path for path in paths if any(path.startswith(f"{top}/") for top in _HIDDEN)})
    return [path for path in hidden if not any(path.startswith(f"{other}/") for other in hidden)]
