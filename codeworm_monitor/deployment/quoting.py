"""Quoting: how a value is written in a systemd unit, an nginx configuration and a YAML file. Pure.

Values may hold anything that stands in one line; what a format has no way to write is an error, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from codeworm_monitor.errors import SettingError

__all__ = ["nginx_word", "one_line", "shell_word", "systemd_word", "yaml_text"]


def one_line(name: str, value: str) -> str:
    """Return a value that can stand in a line of text.

    Args:
        name: Setting it belongs to.
        value: The value.

    Raises:
        SettingError: It is empty, holds control characters or line ends, or is no UTF-8.
    """
    if not value:
        raise SettingError(name, "is empty: give a value, or leave it out")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 or c in "\u2028\u2029" for c in value):
        raise SettingError(name, "holds a control character, or bytes that are no UTF-8: no configuration file can")
    return value


def systemd_word(value: str) -> str:
    """Return one word of a command line or list of a unit: quoted, `%` doubled (systemd.syntax(7), systemd.unit(5)).

    A prefix of the setting, such as `:` of `ExecStart=`, with which `$` means itself, or `-` of `BindReadOnlyPaths=`, is
    part of the value.
    """
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def nginx_word(name: str, value: str) -> str:
    r"""Return one quoted parameter of an nginx directive.

    Args:
        name: Setting it belongs to.
        value: One line.

    Raises:
        SettingError: It holds `$`, which begins a variable and cannot be escaped.
    """
    if "$" in value:
        raise SettingError(name, "holds $, which nginx has no way to write: use another path, or a link to it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def yaml_text(value: str) -> str:
    """Return a YAML scalar for a compose file: quoted, and `$`, which begins a variable there, doubled."""
    # JSON strings are YAML's double-quoted ones; beyond ASCII, only what is printable may stand as it is.
    quoted = json.dumps(value.replace("$", "$$"), ensure_ascii=False)
    return re.sub(r"[\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", quoted)


def shell_word(value: str, *, bare: Iterable[str] = "/._-+=@:") -> str:
    """Return one word of a POSIX shell's command line, as it is if it holds only letters, digits and `bare`."""
    allowed = set(bare)
    if value and all((c.isascii() and c.isalnum()) or c in allowed for c in value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"
