"""The settings file, `codeworm-monitor.toml`: a key for each setting of the relay, read whole, checked and bounded.

It comes after the defaults, and before the environment and the options. It may hold a token, and it decides what is
served to whom; so it must belong to this user (or to root), nobody else may write to it, and with a secret in it nobody
else may read it. One that was named by hand may belong to anybody, as whoever named it knows.
"""

from __future__ import annotations

import math
import os
import re
import stat
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import platformdirs

from codeworm_monitor.errors import MonitorError, SettingError
from codeworm_monitor.logformat import printable
from codeworm_monitor.settings import RelaySettings, SettingField, redacted, setting_fields

__all__ = ["NAME", "SettingsFile", "SettingsFileError", "is_secret", "locate", "read", "template", "write_template"]

NAME = "codeworm-monitor.toml"
LARGEST = 64 * 2**10
"""Bytes that a file may have: one with every setting has five thousand."""
MOST_TOLD = 20
"""Problems that are told one by one; of further ones only how many there are."""
PATHS = frozenset(("archive", "codeworm_config", "codeworm_db", "static", "tls_cert", "tls_key"))
"""Settings that name a file or a directory: `~` is the user's home, and what is relative is so to the settings file."""

_OPTIONAL = frozenset(one.name for one in setting_fields() if one.default is None)
_NOUNS = {
    str: 'a text in quotes, such as {0} = "…"',
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: 'a list of texts, such as {0} = ["…"]',
}


class SettingsFileError(MonitorError):
    """A settings file cannot be used.

    Attributes:
        path: The file.
        problems: What is wrong, each in a line that begins with the file, and the line in it where that is known.
    """

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more: `config` names all)" if len(problems) > 1 else ""
        if len(problems) > MOST_TOLD:
            more = f" (and many more: `config` names the first {MOST_TOLD})"
        super().__init__(problems[0] + more)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """What a settings file says.

    Attributes:
        path: The file.
        values: The settings in it, as `RelaySettings` takes them. Not shown by `repr`: a token may be among them.
        lines: The line on which each stands, from 1, where it could be told.
    """

    path: Path
    values: Mapping[str, Any] = field(repr=False)
    lines: Mapping[str, int]

    def origin(self, name: str) -> str:
        """Return where a setting stands, as `file:line`."""
        line = self.lines.get(name)
        return str(self.path) if line is None else f"{self.path}:{line}"


def locate(named: str | None) -> Path | None:
    """Return the file to read; None: there is none, and none was named.

    Args:
        named: The file that was named by hand; None: the one in the working directory, else the one among the user's
            configuration.
    """
    if named is not None:
        return Path(os.path.expanduser(named))  # Path.expanduser raises where it finds no home
    for path in (Path(NAME), platformdirs.user_config_path("codeworm_monitor") / NAME):
        if os.path.lexists(path):
            return path
    return None


def is_secret(name: str, value: object) -> bool:
    """Tell whether nobody else may see a setting's value."""
    return value not in (None, "") and (name == "token" or (name == "redis_url" and redacted(str(value)) != value))


def read(path: Path, *, was_named: bool = True) -> SettingsFile:
    """Read a settings file.

    Args:
        path: The file.
        was_named: Whether it was named by hand: then it may belong to anybody.

    Raises:
        SettingsFileError: It cannot be read, is open to others, is no TOML, or holds what is no setting.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            _trust(path, status, was_named=was_named)
            content = b""
            while len(content) <= LARGEST and (piece := os.read(descriptor, LARGEST + 1)):
                content += piece
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsFileError(path, [f"{path} cannot be read: {reason}"]) from error
    if len(content) > LARGEST:
        raise SettingsFileError(path, [f"{path} is larger than {LARGEST:,} bytes: is it a settings file?"])
    text, table = _parse(path, content)
    _check_closed(path, status, table)
    wrong = _wrong(table)
    # A line is looked for only where it is told: each costs a reading of all that stands before it.
    lines = {name: line for name in list(wrong)[:MOST_TOLD] or table if (line := _line_of(text, name))}
    found = SettingsFile(path=path, values=_values(table, path), lines=lines)
    if problems := _problems(found, wrong):
        raise SettingsFileError(path, problems)
    return found


def _trust(path: Path, status: os.stat_result, *, was_named: bool) -> None:
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "is no plain file"
    elif not was_named and status.st_uid not in (0, os.getuid()):
        problem = "belongs to another user, who could change it: if that is meant, name it with --config"
    elif status.st_mode & 0o022:
        problem = (
            f"may be written by others (mode {stat.S_IMODE(status.st_mode):04o}): close it with `chmod go-w {path}`"
        )
    if problem:
        raise SettingsFileError(path, [f"{path} {problem}"])


def _check_closed(path: Path, status: os.stat_result, table: Mapping[str, Any]) -> None:
    """Refuse a secret that others can read; what is root's is open or closed as the machine's administrator wants."""
    secrets = [name for name, value in table.items() if is_secret(name, value)]
    open_to_others = status.st_mode & (0o044 if status.st_uid else 0o004)
    if secrets and open_to_others and status.st_uid == os.getuid():
        told = (
            f"{path} holds a secret ({', '.join(secrets)}) and may be read by others: close it with `chmod 600 {path}`"
        )
        raise SettingsFileError(path, [told])


def _parse(path: Path, content: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise SettingsFileError(path, [f"{path} is no text in UTF-8"]) from error
    except RecursionError as error:
        raise SettingsFileError(path, [f"{path} is no TOML: nested too deeply"]) from error
    except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits; neither quotes a value
        match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        where, what = (f"{path}:{match[2]}", match[1]) if match else (str(path), str(error))
        raise SettingsFileError(path, [f"{where}: no TOML: {printable(what)}"]) from error


def _line_of(text: str, name: str) -> int | None:
    """Return the line of a key; what looks like one within a text of several lines is passed over."""
    pattern = re.compile(
        rf"^[ \t]*(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')[ \t]*[=.]", re.MULTILINE
    )
    for match in list(pattern.finditer(text))[:10]:
        try:
            tomllib.loads(text[: match.start()])
        except (ValueError, RecursionError):
            continue
        return text.count("\n", 0, match.start()) + 1
    heading = re.search(rf"^[ \t]*\[+[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*[\].]", text, re.MULTILINE)
    return text.count("\n", 0, heading.start()) + 1 if heading else None


def _values(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in _OPTIONAL and value == "":  # TOML has no word for none
            values[name] = None
        elif name in PATHS and isinstance(value, str) and value:
            values[name] = str(
                path.absolute().parent / os.path.expanduser(value)
            )  # Path.expanduser raises where it finds no home
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _wrong(table: Mapping[str, Any]) -> dict[str, str]:
    """Return why what stands in a file cannot be a setting, by its name; of what is not told one by one, nothing."""
    known = {one.name: one for one in setting_fields()}
    wrong: dict[str, str] = {}
    for name, value in table.items():
        if name in known:
            if problem := _misfit(known[name], value):
                wrong[name] = problem
        else:
            wrong[name] = _unknown(name, value, list(known)) if len(wrong) < MOST_TOLD else ""
    return wrong


def _problems(found: SettingsFile, wrong: Mapping[str, str]) -> list[str]:
    problems = [f"{found.origin(name)}: {problem}" for name, problem in list(wrong.items())[:MOST_TOLD]]
    if more := len(wrong) - len(problems):
        problems.append(f"{found.path}: {more:,} more {'are' if more > 1 else 'is'} wrong likewise: mend these first")
    if not problems:
        alone = dict(found.values)
        if "tls_cert" not in alone:
            alone.pop("tls_key", None)  # the certificate may be told by the environment, or an option
        try:
            RelaySettings(**alone)
        except SettingError as error:
            problems.append(f"{found.origin(error.name)}: {error.name}: {error.problem}")
    return problems


def _unknown(name: str, value: object, known: list[str]) -> str:
    shown = printable(name[:80])
    if isinstance(value, dict):
        return f"[{shown}]: there are no tables here, each setting stands by itself, such as port = 8765"
    plain = name.strip().lower().replace("-", "_").removeprefix("codeworm_monitor_")
    nearest = [plain] if plain in known else get_close_matches(plain[:80], known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "`config --show` lists all"
    return f"{shown} is no setting: {hint}"


def _misfit(one: SettingField, value: Any) -> str:
    """Return why a value is not of a setting's type; nothing if it is. The value is not shown, it may be a secret."""
    wanted: tuple[type, ...] = (int, float) if one.type is float else (list,) if one.type is tuple else (one.type,)
    is_right = isinstance(value, wanted) and (one.type is bool or not isinstance(value, bool))
    if not is_right or (one.type is tuple and not all(isinstance(item, str) for item in value)):
        return f"{one.name} must be {_NOUNS[one.type].format(one.name)}"
    if isinstance(value, (int, float)) and (not math.isfinite(value) or abs(value) >= 2**63):
        return f"{one.name} must be a number below 2^63"
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, str) and not text.isprintable() for text in texts):
        return f"{one.name} holds a character that cannot be printed"
    if one.name == "channels" and any("," in text for text in value):
        return 'channels must be a list with one name each, such as ["codeworm:logs", "codeworm:events"]'
    return ""


def template() -> str:
    """Return a settings file in which every setting stands with its default, commented out."""
    lines = [
        "# Settings of codeworm_monitor. A line counts once the # before it is taken away; what is shown are the defaults.",
        "# Environment variables and options go before what stands here. `python -m codeworm_monitor config` checks it.",
        "# Durations are seconds, sizes bytes. Paths are relative to this file; ~ is the home directory.",
    ]
    for one in setting_fields():
        told = one.help.replace(", comma-separated", "").replace("; repeatable", "")
        lines += ["", *(f"# {line}" for line in textwrap.wrap(told, 110, break_long_words=False))]
        lines.append(f"#{one.name} = {_toml(one.default)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return '""  # none'
    return f'"{value}"' if isinstance(value, str) else str(value)


def write_template(path: Path) -> None:
    """Write the template to a new file, for its owner alone.

    Raises:
        SettingsFileError: It is there already, or cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError as error:
        raise SettingsFileError(path, [f"{path} is there already: it was left as it is"]) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsFileError(path, [f"{path} cannot be written: {reason}"]) from error
