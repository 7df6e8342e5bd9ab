"""Checks of the notebook side: versions, JupyterLab's extensions, and the kernel's Python. Files are read, nothing is started."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from codeworm_monitor import __version__
from codeworm_monitor.doctor.case import Case, Finding, Outcome

__all__ = ["check_notebook", "check_versions", "jupyter_folders"]

EXTENSIONS = {"anywidget": "anywidget", "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets"}
"""Front ends that live panels need, by the packages that bring them."""
_DISTRIBUTION = "codeworm-monitor"
_NOTEBOOK = ("pandas", "pyarrow", "ipywidgets", "anywidget", "matplotlib")
_LARGEST = 2**20


def check_versions(case: Case) -> Iterator[Finding]:
    """Look at the versions of this side, of what it needs, and of the relay."""
    yield Finding(
        "versions.python", Outcome.OK, f"codeworm_monitor {__version__} on Python {platform.python_version()}"
    )
    least = _least()
    missing, old, found = list[str](), list[str](), list[str]()
    for name in _NOTEBOOK:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        (found if _numbers(version) >= _numbers(least.get(name, "0")) else old).append(f"{name} {version}")
    mend = f"{sys.executable} -m pip install -U '{_DISTRIBUTION}[notebook]'"
    if missing or old:
        said = "; ".join(
            [f"missing: {', '.join(missing)}"] * bool(missing) + [f"too old: {', '.join(old)}"] * bool(old)
        )
        yield Finding("versions.notebook", Outcome.WARNING, f"notebooks of this Python do not work ({said})", mend)
    else:
        yield Finding("versions.notebook", Outcome.OK, ", ".join(found))
    theirs = case.info_or_nothing().text("statistics", "version") or case.place.version or None
    if theirs is None:
        yield Finding("versions.relay", Outcome.SKIPPED, "no relay tells its version")
    elif theirs != __version__:
        newer = "here" if _numbers(theirs) > _numbers(__version__) else "there"
        yield Finding(
            "versions.relay",
            Outcome.WARNING,
            f"the relay is of release {theirs}, this side of {__version__}",
            f"pip install -U {_DISTRIBUTION} {newer}, and start the relay again",
        )
    else:
        yield Finding("versions.relay", Outcome.OK, f"the relay is of the same release, {theirs}")


def check_notebook(case: Case) -> Iterator[Finding]:
    """Look at the JupyterLab that would open a notebook: its front ends, and whether a kernel of it is this Python."""
    server = _server_prefix()
    if server is None:
        said = "no JupyterLab was found, in this Python or on PATH"
        yield Finding("jupyter.lab", Outcome.SKIPPED, said, f"{sys.executable} -m pip install jupyterlab")
        return
    yield Finding("jupyter.lab", Outcome.OK, f"JupyterLab is installed in {server}")
    folders = jupyter_folders(server)
    python = next((str(one) for one in (server / "bin" / "python", Path(sys.executable)) if one.exists()), "python")
    disabled = _disabled(server)
    for name, package in EXTENSIONS.items():
        check = f"jupyter.{package}"
        version = next((found for folder in folders if (found := _extension(folder / "labextensions" / name))), None)
        if version is None:
            yield Finding(
                check,
                Outcome.FAILED,
                f"JupyterLab does not find the front end {name}: live panels stay text",
                f"{python} -m pip install {package}, and load the page anew",
            )
        elif name in disabled:
            yield Finding(
                check, Outcome.FAILED, f"the front end {name} is disabled", f"jupyter labextension enable {name}"
            )
        else:
            yield Finding(check, Outcome.OK, f"front end {name} {version}")
    yield _kernel(server, folders)


def jupyter_folders(server: Path) -> list[Path]:
    """Return the `share/jupyter` folders in which a JupyterLab looks, the first found counts.

    Source: `jupyter_core.paths.jupyter_path`; the order matters little, as it is only asked whether something is there.

    Args:
        server: Prefix of the Python that JupyterLab runs in.
    """
    given = [Path(one) for one in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if one]
    if own := os.environ.get("JUPYTER_DATA_DIR"):
        user = Path(own)
    elif sys.platform == "darwin":
        user = Path.home() / "Library" / "Jupyter"
    else:
        user = platformdirs.user_data_path("jupyter", appauthor=False)
    system = [Path("/usr/local/share/jupyter"), Path("/usr/share/jupyter")]
    return list(
        dict.fromkeys(
            [*given, user, Path.home() / ".local" / "share" / "jupyter", server / "share" / "jupyter", *system]
        )
    )


def _server_prefix() -> Path | None:
    """Return the prefix of the Python that JupyterLab runs in: that of the `jupyter-lab` on PATH, else this one."""
    here = Path(sys.prefix)
    program = shutil.which("jupyter-lab", path=f"{os.environ.get('PATH', '')}{os.pathsep}{here / 'bin'}")
    if program is not None:
        try:
            with open(program, "rb") as file:
                first = file.readline(1024)
        except OSError:
            return None
        words = first[2:].split() if first.startswith(b"#!") else []
        if words and (python := Path(os.fsdecode(words[0]))).name.startswith("python"):  # not env, nor sh
            return python.parent.parent
        return Path(program).parent.parent
    try:
        metadata.version("jupyterlab")
    except metadata.PackageNotFoundError:
        return None
    return here


def _extension(folder: Path) -> str | None:
    version = _read(folder / "package.json").get("version")
    return version[:40] if isinstance(version, str) else None


def _disabled(server: Path) -> set[str]:
    """Return the names of front ends that a page configuration disables."""
    homes = [Path.home() / ".jupyter", server / "etc" / "jupyter", Path("/usr/local/etc/jupyter"), Path("/etc/jupyter")]
    names: set[str] = set()
    for home in homes:
        told = _read(home / "labconfig" / "page_config.json").get("disabledExtensions")
        if isinstance(told, dict):
            names |= {name for name, is_off in told.items() if is_off is True}
        elif isinstance(told, list):
            names |= {name for name in told if isinstance(name, str)}
    return names


def _kernel(server: Path, folders: list[Path]) -> Finding:
    """Tell whether one of the kernels that JupyterLab offers is this Python."""
    here = Path(sys.prefix).resolve()
    if server.resolve() == here and _has_ipykernel():
        return Finding("jupyter.kernel", Outcome.OK, f"its kernel is this Python ({sys.executable})")
    for folder in folders:
        for file in sorted((folder / "kernels").glob("*/kernel.json"))[:100]:
            argv = _read(file).get("argv")
            program = argv[0] if isinstance(argv, list) and argv and isinstance(argv[0], str) else ""
            # The program itself is not resolved: the Python of a virtual environment is a link to another's.
            if os.path.isabs(program) and Path(program).parent.parent.resolve() == here:
                return Finding("jupyter.kernel", Outcome.OK, f"its kernel {file.parent.name} is this Python")
    mend = f"{sys.executable} -m pip install ipykernel && {sys.executable} -m ipykernel install --user --name codeworm"
    return Finding(
        "jupyter.kernel",
        Outcome.WARNING,
        f"none of its kernels is this Python ({sys.executable}): a notebook there does not find codeworm_monitor",
        mend,
    )


def _has_ipykernel() -> bool:
    try:
        metadata.version("ipykernel")
    except metadata.PackageNotFoundError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _least() -> dict[str, str]:
    """Return the least version of each package that this one asks for."""
    try:
        wanted = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([A-Za-z0-9._-]+)\s*[^;]*>=\s*([0-9.]+)", one) for one in wanted)
    return {match[1].lower(): match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison."""
    match = re.match(r"\d+(?:\.\d+)*", version[:40])
    return tuple(int(part) for part in match[0].split(".")) if match else ()
