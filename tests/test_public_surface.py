from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import codeworm_monitor

ROOT = Path(codeworm_monitor.__file__).parent
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "__main__.py"]


def run(program):
    """Runs a program in a fresh interpreter and returns the words it prints."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()


def loaded_by(module):
    """Returns the modules that an import brings in, beside those that the interpreter started with."""
    return set(
        run(f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before), sep='\\n')")
    )


def by_case(name):
    """Orders constants before classes before functions, as the linter does."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_the_public_surface_is_this_and_no_more():
    assert codeworm_monitor.__all__ == [
        "Archive",
        "Monitor",
        "MonitorError",
        "Relay",
        "RelaySettings",
        "__version__",
        "connect",
        "open_archive",
        "open_frames",
        "open_recording",
        "start_relay_in_thread",
    ]


@pytest.mark.parametrize("name", codeworm_monitor.__all__)
def test_every_public_name_resolves(name):
    assert getattr(codeworm_monitor, name) is not None
    assert name in dir(codeworm_monitor)


def test_a_name_loads_its_module_when_first_used_and_not_before():
    home = "codeworm_monitor.settings"
    program = f"import sys, codeworm_monitor as c; print({home!r} in sys.modules); c.RelaySettings; print({home!r} in sys.modules)"
    assert run(program) == ["False", "True"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Relais'"):
        codeworm_monitor.Relais  # noqa: B018 - the access is what is tested


def test_importing_the_package_imports_nothing_heavy():
    loaded = loaded_by("codeworm_monitor")
    assert {name for name in loaded if name.startswith("codeworm_monitor")} == {"codeworm_monitor"}
    assert not loaded & {"pandas", "numpy", "ipywidgets", "redis", "websockets", "orjson", "asyncio"}


def test_the_type_marker_is_shipped():
    assert (ROOT / "py.typed").is_file()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_all_of_every_module_is_sorted_and_complete(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    exported = [
        ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]
    ]
    defined = {
        node.name
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    names = exported[0] if exported else []
    assert names or not defined
    assert names == sorted(set(names), key=by_case)
    assert defined <= set(names)


@pytest.mark.parametrize(
    "name", ["activity", "backlog", "backoff", "envelope", "errors", "filters", "frames", "records", "settings"]
)
def test_the_pure_modules_load_neither_a_loop_nor_a_socket(name):
    loaded = loaded_by(f"codeworm_monitor.{name}")
    assert f"codeworm_monitor.{name}" in loaded
    assert not loaded & {"asyncio", "socket", "redis", "websockets", "sqlite3", "pandas", "ipywidgets"}
