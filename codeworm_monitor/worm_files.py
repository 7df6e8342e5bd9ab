"""Worm files: where CodeWorm's own database and list of repositories are, seen from a relay or a notebook."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from codeworm_monitor.errors import CodeWormFileError, ConnectError
from codeworm_monitor.settings import ENVIRONMENT_PREFIX

__all__ = ["DATABASE", "REPOSITORIES", "VARIABLES", "PathText", "WormFiles", "place", "told"]

DATABASE = "codeworm.db"
"""Name that CodeWorm gives its database."""
REPOSITORIES = "repos.yaml"
"""Name of the list of repositories in CodeWorm's configuration directory."""
VARIABLES = {"codeworm_db": "CODEWORM_DB_PATH", "codeworm_config": "CODEWORM_CONFIG_DIR"}
"""CodeWorm's own environment variables, by the setting that means the same."""
_NEAR = {
    "codeworm_db": (DATABASE, f"data/{DATABASE}"),
    "codeworm_config": (REPOSITORIES, f"config/{REPOSITORIES}"),
}
_NEEDED = {
    "codeworm_db": "the database of CodeWorm (data/codeworm.db)",
    "codeworm_config": "the directory of CodeWorm's configuration, which holds repos.yaml,",
}
Name = Literal["codeworm_db", "codeworm_config"]
PathText = str | os.PathLike[str] | None


def place(name: str | os.PathLike[str]) -> Path:
    """Return the absolute path that a setting or an argument means, `~` being the user's home."""
    return Path(name).expanduser().absolute()


def told(codeworm_db: str | None, codeworm_config: str | None) -> dict[str, dict[str, Any] | None]:
    """Return what a relay tells of the files: path, and what tells a notebook that it sees the same; looks at the disk."""
    settings = {"codeworm_db": codeworm_db, "codeworm_config": codeworm_config}
    paths = {name: None if value is None else place(value) for name, value in settings.items()}
    return {
        name: None if path is None else {"path": os.fsencode(path).decode(errors="replace"), "inode": _inode(path)}
        for name, path in paths.items()
    }


class WormFiles:
    """Finds CodeWorm's database and its list of repositories.

    Each is where the first of these says:

    1. what was given;
    2. what the relay tells (`--codeworm-db`, `--codeworm-config`), if it is on this machine;
    3. `codeworm.db` and `repos.yaml` beside a recording or in an archive or beside that, there or in `data` and `config`;
    4. the environment: `CODEWORM_MONITOR_CODEWORM_DB` or CodeWorm's own `CODEWORM_DB_PATH`, likewise
       `CODEWORM_MONITOR_CODEWORM_CONFIG` or `CODEWORM_CONFIG_DIR`.

    It is looked for anew each time. What was given or stands in the environment is taken even if it is not there: who
    reads it then says so.

    Args:
        codeworm_db: The database; None: not given.
        codeworm_config: The directory that holds `repos.yaml`, or that file; None: not given.
        relay: Asks the relay for its `/info`, and may raise ConnectError; None: there is no relay.
        beside: A file of recorded traffic, or the directory of an archive; None: there is none.
    """

    def __init__(
        self,
        codeworm_db: PathText = None,
        codeworm_config: PathText = None,
        *,
        relay: Callable[[], object] | None = None,
        beside: PathText = None,
    ) -> None:
        self._given: dict[Name, PathText] = {"codeworm_db": codeworm_db, "codeworm_config": codeworm_config}
        self._relay = relay
        self._beside = None if beside is None else place(beside)

    @overload
    def database(self) -> Path: ...
    @overload
    def database(self, *, or_none: Literal[False]) -> Path: ...
    @overload
    def database(self, *, or_none: Literal[True]) -> Path | None: ...
    def database(self, *, or_none: bool = False) -> Path | None:
        """Return where the database is.

        Args:
            or_none: Return None where nothing says.

        Raises:
            CodeWormFileError: Nothing says where it is.
        """
        return self._found("codeworm_db", or_none=or_none)

    @overload
    def configuration(self) -> Path: ...
    @overload
    def configuration(self, *, or_none: Literal[False]) -> Path: ...
    @overload
    def configuration(self, *, or_none: Literal[True]) -> Path | None: ...
    def configuration(self, *, or_none: bool = False) -> Path | None:
        """Return where the list of repositories is: a directory that holds `repos.yaml`, or the file itself.

        Args:
            or_none: Return None where nothing says.

        Raises:
            CodeWormFileError: Nothing says where it is.
        """
        return self._found("codeworm_config", or_none=or_none)

    def _found(self, name: Name, *, or_none: bool) -> Path | None:
        given = self._given[name]
        found = (
            (None if given is None else place(given)) or self._told(name) or self._near(name) or _of_environment(name)
        )
        if found is None and not or_none:
            raise CodeWormFileError(
                f"{_NEEDED[name]} is not known here: give it as {name}=, start the relay with "
                f"--{name.replace('_', '-')}, or set {VARIABLES[name]}"
            )
        return found

    def _told(self, name: Name) -> Path | None:
        if self._relay is None:
            return None
        try:
            info = self._relay()
        except ConnectError:
            return None  # what is known without it may do
        match info:
            case {"codeworm": dict() as files}:
                pass
            case _:
                return None
        match files.get(name):
            case {"path": str(path), "inode": int(inode)} if os.path.isabs(path) and _inode(Path(path)) == inode:
                return Path(path)
        return None

    def _near(self, name: Name) -> Path | None:
        if self._beside is None:
            return None
        places = (self._beside, self._beside.parent) if self._beside.is_dir() else (self._beside.parent,)
        return next((file for one in places for near in _NEAR[name] if (file := one / near).is_file()), None)


def _of_environment(name: Name, environment: Mapping[str, str] = os.environ) -> Path | None:
    value = environment.get(ENVIRONMENT_PREFIX + name.upper()) or environment.get(VARIABLES[name])
    return place(value) if value else None


def _inode(path: Path) -> int | None:
    """Return the number of a file or directory on its disk: who sees another at this path is on another machine."""
    try:
        return path.stat().st_ino
    except (OSError, ValueError):
        return None
