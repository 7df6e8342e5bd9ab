from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from support.faked_relay import FakedRelay
from support.findings import case_of, findings, outcomes

from codeworm_monitor import __version__
from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.doctor.notebook_checks import check_notebook, check_versions

WIDGETS = "@jupyter-widgets/jupyterlab-manager"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The prefix of a JupyterLab in a Python of its own, with both front ends and a kernel that is this Python."""
    prefix = tmp_path / "lab"
    (prefix / "bin").mkdir(parents=True)
    program = prefix / "bin" / "jupyter-lab"
    program.write_text(f"#!{prefix}/bin/python\nraise SystemExit('nobody starts it')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(prefix / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("anywidget", WIDGETS):
        write(prefix / "share/jupyter/labextensions" / name / "package.json", {"name": name, "version": "1.2.3"})
    kernel(prefix, sys.executable)
    return prefix


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def kernel(prefix: Path, program: object) -> None:
    write(prefix / "share/jupyter/kernels/mine/kernel.json", {"argv": [program, "-m", "ipykernel_launcher"]})


async def test_a_jupyterlab_with_front_ends_and_this_kernel_passes(lab: Path) -> None:
    found = await findings(check_notebook, case_of())
    assert set(outcomes(found).values()) == {Outcome.OK}
    assert str(lab) in found["jupyter.lab"].said


async def test_a_front_end_that_the_lab_does_not_find_fails_and_is_installed_where_the_lab_runs(lab: Path) -> None:
    (lab / "bin" / "python").touch()
    (lab / "share/jupyter/labextensions/anywidget/package.json").unlink()
    found = await findings(check_notebook, case_of())
    assert outcomes(found)["jupyter.anywidget"] is Outcome.FAILED
    assert found["jupyter.anywidget"].mend.startswith(f"{lab}/bin/python -m pip install anywidget")
    assert outcomes(found)["jupyter.jupyterlab_widgets"] is Outcome.OK


async def test_one_in_the_users_own_folder_is_found(lab: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (lab / "share/jupyter/labextensions/anywidget/package.json").unlink()
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "own"))
    write(tmp_path / "own/labextensions/anywidget/package.json", {"version": "9"})
    assert outcomes(await findings(check_notebook, case_of()))["jupyter.anywidget"] is Outcome.OK


@pytest.mark.parametrize("disabled", [{WIDGETS: True}, [WIDGETS]])
async def test_a_front_end_that_is_disabled_fails(lab: Path, disabled: object) -> None:
    write(lab / "etc/jupyter/labconfig/page_config.json", {"disabledExtensions": disabled})
    found = await findings(check_notebook, case_of())
    assert outcomes(found)["jupyter.jupyterlab_widgets"] is Outcome.FAILED
    assert found["jupyter.jupyterlab_widgets"].mend == f"jupyter labextension enable {WIDGETS}"


@pytest.mark.parametrize("program", ["/usr/bin/another-python", "python", 7])
async def test_where_no_kernel_is_this_python_the_mend_makes_one(lab: Path, program: object) -> None:
    kernel(lab, program)
    found = await findings(check_notebook, case_of())
    assert outcomes(found)["jupyter.kernel"] is Outcome.WARNING
    assert f"{sys.executable} -m ipykernel install" in found["jupyter.kernel"].mend


async def test_hostile_files_of_jupyter_break_nothing(lab: Path) -> None:
    for path in sorted(lab.rglob("*.json")):
        path.write_bytes(b"[" * 100_000)
    found = await findings(check_notebook, case_of())
    assert outcomes(found)["jupyter.anywidget"] is Outcome.FAILED


async def test_without_any_jupyterlab_there_is_nothing_to_look_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert outcomes(await findings(check_notebook, case_of())) == {"jupyter.lab": Outcome.SKIPPED}


async def test_a_relay_of_another_release_and_a_missing_pandas_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = FakedRelay()
    relay.tell("/info", {"statistics": {"version": "0.0.9"}})
    real = metadata.version

    def version(name: str) -> str:
        if name == "pandas":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "pyarrow" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    async with relay.running():
        found = await findings(check_versions, case_of(relay.url))
    assert outcomes(found) == {
        "versions.python": Outcome.OK,
        "versions.notebook": Outcome.WARNING,
        "versions.relay": Outcome.WARNING,
    }
    assert "missing: pandas; too old: pyarrow 1.0" in found["versions.notebook"].said
    assert "[notebook]" in found["versions.notebook"].mend
    assert found["versions.relay"].said == f"the relay is of release 0.0.9, this side of {__version__}"
    assert "there, and start the relay again" in found["versions.relay"].mend


async def test_the_same_release_on_both_sides_passes() -> None:
    relay = FakedRelay()
    relay.tell("/info", {"statistics": {"version": __version__}})
    async with relay.running():
        found = await findings(check_versions, case_of(relay.url))
    assert set(outcomes(found).values()) == {Outcome.OK}
