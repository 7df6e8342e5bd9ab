"""Repositories: those that CodeWorm is configured to document, read from its `repos.yaml`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.worm_files import REPOSITORIES

__all__ = ["DEFAULT_WEIGHT", "Repository", "read_repositories"]

DEFAULT_WEIGHT = 5
"""What CodeWorm takes where none is written."""
LARGEST = 256 * 2**10
"""Bytes the file may have; twenty repositories take three thousand."""
_WANTED = frozenset({"repositories", "name", "path", "weight", "enabled"})
_MOST_MERGED = 100
_LONGEST_NUMBER = 30
_LONGEST_TEXT = 4096
_WHERE_IT_IS = "CodeWorm's is config/repos.yaml, or in the directory that CODEWORM_CONFIG_DIR names"


class Repository(NamedTuple):
    """One repository of the list.

    Attributes:
        name: Its name, as messages and documents have it.
        path: Where it is on the daemon's host, as it is written; may begin with `~`. Empty if it is not written.
        weight: How much of CodeWorm's work it should have, beside the others; None if it is no number.
        enabled: Whether CodeWorm documents it.
    """

    name: str
    path: str
    weight: int | float | None
    enabled: bool


def read_repositories(path: str | os.PathLike[str]) -> list[Repository]:
    """Return the repositories in the order of the file, which is CodeWorm's own order of trying them.

    What is missing has CodeWorm's defaults: weight 5, enabled. Entries that are none, or have no name, are left out.
    Nothing but text is made of the file, aliases are not copied, and its size is bounded.

    Args:
        path: `repos.yaml`, or the directory that holds it.

    Raises:
        CodeWormFileError: It is missing, cannot be read, is too large, or is no list of repositories; says what to do.
    """
    file = Path(path).expanduser().absolute()
    try:
        if file.is_dir():
            file /= REPOSITORIES
        if file.exists() and not file.is_file():
            raise CodeWormFileError(f"{file} is no plain file: {_WHERE_IT_IS}")
        with file.open("rb") as opened:
            text = opened.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise CodeWormFileError(
            f"{file} is not there: name its directory with codeworm_config=, or start the relay with --codeworm-config "
            f"({_WHERE_IT_IS})"
        ) from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CodeWormFileError(f"{file} cannot be read ({reason}): have it opened to this user") from error
    if len(text) > LARGEST:
        raise CodeWormFileError(f"{file} has over {LARGEST:,} bytes: it is no list of repositories; {_WHERE_IT_IS}")
    try:
        # Composed and not constructed: an alias is one node more often, and no number or time is reckoned.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f" in line {where.line + 1}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise CodeWormFileError(f"{file} is no YAML{line} ({problem}): CodeWorm could not read it either") from error
    except RecursionError as error:
        raise CodeWormFileError(f"{file} is nested too deeply: it is no list of repositories") from error
    return list(_repositories(root, file))


def _repositories(root: yaml.Node | None, file: Path) -> Iterator[Repository]:
    if root is None or _is_null(root):
        return
    keys_of = _Keys()
    listed = keys_of(root).get("repositories")
    if not isinstance(root, yaml.MappingNode) or not (
        listed is None or _is_null(listed) or isinstance(listed, yaml.SequenceNode)
    ):
        raise CodeWormFileError(f"{file} holds no list `repositories:`; {_WHERE_IT_IS}")
    for entry in listed.value if isinstance(listed, yaml.SequenceNode) else ():
        keys = keys_of(entry)
        if name := _text(keys.get("name")):
            yield Repository(
                name, _text(keys.get("path")), _weight(keys.get("weight")), _is_enabled(keys.get("enabled"))
            )


class _Keys:
    """Tells the values of mappings by those keys that are of interest; looks at each mapping once."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[dict[str, yaml.Node], list[yaml.Node]]] = {}

    def __call__(self, node: yaml.Node) -> dict[str, yaml.Node]:
        """Return the values of a mapping, with those that it merges (`<<`): its own go before, then those merged first."""
        found: dict[str, yaml.Node] = {}
        waiting = [node]
        for _ in range(_MOST_MERGED):
            if not waiting:
                break
            one = waiting.pop(0)
            if isinstance(one, yaml.SequenceNode) and one is not node:
                waiting = [*one.value[:_MOST_MERGED], *waiting]
            elif isinstance(one, yaml.MappingNode):
                own, merged = self._own(one)
                found = own | found
                waiting = [*merged, *waiting]
        return found

    def _own(self, mapping: yaml.MappingNode) -> tuple[dict[str, yaml.Node], list[yaml.Node]]:
        if id(mapping) not in self._read:
            keys = [(key, value) for key, value in mapping.value if isinstance(key, yaml.ScalarNode)]
            own = {key.value: value for key, value in keys if key.value in _WANTED}
            merged = [value for key, value in keys if key.tag == "tag:yaml.org,2002:merge"]
            self._read[id(mapping)] = own, merged[:_MOST_MERGED]
        return self._read[id(mapping)]


def _text(node: yaml.Node | None) -> str:
    if not isinstance(node, yaml.ScalarNode) or _is_null(node):
        return ""
    return str(node.value[:_LONGEST_TEXT])


def _weight(node: yaml.Node | None) -> int | float | None:
    if node is None:
        return DEFAULT_WEIGHT
    if not isinstance(node, yaml.ScalarNode) or len(node.value) > _LONGEST_NUMBER:
        return None
    reads = {
        "tag:yaml.org,2002:int": _CONSTRUCTOR.construct_yaml_int,
        "tag:yaml.org,2002:float": _CONSTRUCTOR.construct_yaml_float,
    }
    try:
        value = reads[node.tag](node) if node.tag in reads else float(node.value)
    except ValueError:
        return None
    if not 0 <= value < 1e9:  # NaN too
        return None
    return int(value) if value == int(value) else value


def _is_enabled(node: yaml.Node | None) -> bool:
    if node is None:
        return True
    return not _is_null(node) and not (isinstance(node, yaml.ScalarNode) and node.value.lower() in _NO)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


_NO = frozenset({"false", "no", "off", "n", "f", "0", ""})
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
