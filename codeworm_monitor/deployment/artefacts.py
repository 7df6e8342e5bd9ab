"""Artefacts: the files that a deployment consists of, rendered from templates and written to a directory."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from codeworm_monitor.errors import MonitorError

__all__ = ["Artefact", "DeploymentError", "render", "write"]

SECRET = 0o600
_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")


class DeploymentError(MonitorError):
    """A file of a deployment cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """One file.

    Attributes:
        name: Its name, relative to the directory.
        text: What it holds; not shown by `repr`.
        mode: Its permissions.
        folder_mode: Permissions of its folder, where that is made for it.
    """

    name: str
    text: str
    mode: int = 0o644
    folder_mode: int = 0o755

    def __repr__(self) -> str:
        return f"Artefact(name={self.name!r}, mode={self.mode:o})"


def render(template: str, **values: str) -> str:
    """Return a template with every `{{name}}` replaced; what is put in is not looked at again.

    A line that holds nothing but the place of an empty value is left out.

    Raises:
        KeyError: The template has a place for which there is no value, or there is a value for which it has no place.
    """
    text = files("codeworm_monitor.deployment").joinpath("templates", template).read_text(encoding="utf-8")
    if unused := values.keys() - set(_PLACE.findall(text)):
        raise KeyError(f"{template} has no place for {', '.join(sorted(unused))}")
    for name in [name for name, value in values.items() if not value]:
        text = re.sub(rf"^\{{\{{{name}\}}\}}\n", "", text, flags=re.MULTILINE)
    return _PLACE.sub(lambda match: values[match[1]], text)


def write(artefacts: Sequence[Artefact], directory: Path, *, overwrite: bool = False) -> list[Path]:
    """Write all files to a directory, which is made if need be, and return their paths.

    Each has its permissions from the first byte on; one that replaces another is put in place whole. No link is followed.

    Args:
        artefacts: The files.
        directory: Where.
        overwrite: Replace files that are there; False: none is written then.

    Raises:
        DeploymentError: A file is there, or cannot be written.
    """
    paths = [directory / PurePosixPath(one.name) for one in artefacts]
    there = [path for path in paths if os.path.lexists(path)]
    if there and not overwrite:
        raise DeploymentError(
            f"{', '.join(map(str, there))} {'are' if there[1:] else 'is'} there already: --force replaces "
            f"{'them' if there[1:] else 'it'}, or name another directory with --output"
        )
    for one, path in zip(artefacts, paths, strict=True):
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp") if overwrite else path
        is_begun = False
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if path.parent != directory:
                path.parent.mkdir(mode=one.folder_mode, exist_ok=True)
                _close(path.parent, one.folder_mode)
            if overwrite:
                draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, one.mode)
            is_begun = True
            with open(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), one.mode)  # whatever the umask takes away
                file.write(one.text)
            if overwrite:
                draft.replace(path)
        except OSError as error:
            if is_begun:
                with suppress(OSError):
                    draft.unlink()
            raise DeploymentError(f"{path} cannot be written: {error.strerror or error}") from error
    return paths


def _close(folder: Path, mode: int) -> None:
    """Take from the permissions of a folder that was there already what is too much.

    Raises:
        OSError: It is a link, or belongs to another.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        now = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if now & ~mode:
            os.fchmod(descriptor, now & mode)
    finally:
        os.close(descriptor)
