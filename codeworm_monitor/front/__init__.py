"""The front end: plain ES modules, styles and a page, and what makes one module of them for a notebook.

The page loads the modules as they are. A notebook's widget gets one text, so `bundle` puts together what an entry
needs: each module in a function's scope, those that are imported before those that import. For that the modules keep
to a simple grammar: `import { a, b as c } from "./x.js";` and `export function`, `export async function`,
`export class` or `export const` with a name, each statement at the beginning of a line and on one line.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

__all__ = ["BundleError", "bundle", "bundled", "names", "source"]

_SUFFIXES = (".css", ".html", ".js")

_WORD = r"[A-Za-z_$][\w$]*"
_IMPORT = re.compile(r'import \{ ?([^{}]*?),? ?\} from "\./([a-z0-9_]+\.js)";')
_IMPORTED = re.compile(rf"({_WORD})(?: as ({_WORD}))?")
_EXPORT = re.compile(rf"export ((?:async )?function\*? ?|class |const )({_WORD})")
_STATEMENT = re.compile(r"(?:import|export)\b")
_DEFAULT = re.compile(rf"{_WORD}\((?:{_WORD}(?:, {_WORD})*)?\)")


class BundleError(ValueError):
    """A module does not keep to the grammar, or names what is not there."""


def names() -> tuple[str, ...]:
    """Return the names of the files, in order."""
    return tuple(sorted(one.name for one in files(__name__).iterdir() if one.name.endswith(_SUFFIXES)))


@cache
def source(name: str) -> str:
    """Return the text of a file.

    Args:
        name: One of `names`.

    Raises:
        KeyError: There is no such file.
    """
    if name not in names():
        raise KeyError(f"{name!r} is no file of the front end")
    return (files(__name__) / name).read_text(encoding="utf-8")


@cache
def bundle(*entries: str, default: str | None = None) -> str:
    """Return one ES module that holds some modules, and all that these import.

    Args:
        entries: Names of modules.
        default: What it exports as default: a call of what the entries export, such as `widget(renderActivity)`; None:
            it exports by name what the entries do.

    Raises:
        BundleError: A module does not keep to the grammar of this package; says which line.
        KeyError: An entry is no file of the front end.

    Example:
        >>> bundle("widget_panel.js", "activity.js", default="panelWidget(renderActivity)")
    """
    return bundled({name: source(name) for name in names() if name.endswith(".js")}, entries, default=default)


def bundled(sources: dict[str, str], entries: tuple[str, ...], *, default: str | None = None) -> str:
    """Return what `bundle` does, of other modules than ours.

    Args:
        sources: Texts by name.
        entries: As for `bundle`.
        default: As for `bundle`.
    """
    done: dict[str, list[str]] = {}
    parts: list[str] = []
    for entry in entries:
        _add(entry, sources, (), done, parts)
    exported = {name: entry for entry in entries for name in done[entry]}
    taken = [f"const {{ {', '.join(done[entry])} }} = {_scope(entry)};" for entry in entries if done[entry]]
    if default is None:
        taken.append(f"export {{ {', '.join(exported)} }};")
    else:
        wanted = re.findall(_WORD, default)
        if not _DEFAULT.fullmatch(default) or not exported.keys() >= set(wanted):
            raise BundleError(f"{default!r} is no call of what {', '.join(entries)} export")
        taken.append(f"export default {default};")
    return "\n".join([*parts, *taken, ""])


def _add(
    name: str, sources: dict[str, str], importers: tuple[str, ...], done: dict[str, list[str]], parts: list[str]
) -> None:
    """Add a module behind all that it imports, unless it is there already."""
    if name in done:
        return
    if name in importers:
        raise BundleError(f"modules import each other in a circle: {' -> '.join([*importers, name])}")
    if name not in sources:
        raise KeyError(f"{name!r} is no module of the front end")
    lines, exported = [], list[str]()
    for number, line in enumerate(sources[name].split("\n"), 1):
        place = f"{name}, line {number}"
        if match := _IMPORT.fullmatch(line):
            listed, other = match.groups()
            if other not in sources:
                raise BundleError(f"{place}: there is no {other}")
            _add(other, sources, (*importers, name), done, parts)
            lines.append(f"const {{ {_renamed(listed, other, done[other], place)} }} = {_scope(other)};")
        elif match := _EXPORT.match(line):
            exported.append(match.group(2))
            lines.append(line.removeprefix("export "))
        elif _STATEMENT.match(line):
            raise BundleError(f"{place}: the bundler does not read {line[:80]!r}; see codeworm_monitor.front")
        else:
            lines.append(line)
    done[name] = exported
    body = "\n".join(lines)
    parts.append(f"// {name}\nconst {_scope(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();")


def _renamed(listed: str, module: str, exported: list[str], place: str) -> str:
    """Return the names of an import as those of a destructuring."""
    renamed = []
    for one in (part.strip() for part in listed.split(",")):
        match = _IMPORTED.fullmatch(one)
        if match is None:
            raise BundleError(f"{place}: {one!r} cannot be imported")
        name, alias = match.groups()
        if name not in exported:
            raise BundleError(f"{place}: {module} exports no {name}")
        renamed.append(name if alias is None else f"{name}: {alias}")
    return ", ".join(renamed)


def _scope(name: str) -> str:
    return f"module_{name.removesuffix('.js')}"
