"""`deploy`: what it prints and writes, as a process and through its command object."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from codeworm_monitor.cli_deploy import COMMANDS, deploy

ROOT = Path(__file__).parents[1]
RUN = [sys.executable, "-c", "from codeworm_monitor.cli_deploy import deploy; deploy(prog_name='deploy')"]
KINDS = {
    "systemd": ["systemd"],
    "container": ["container"],
    "compose": ["compose"],
    "nginx": ["nginx", "--domain", "worm.test"],
}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CODEWORM_")]:
        if name != "CODEWORM_MONITOR_RUNTIME_DIR":
            monkeypatch.delenv(name)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(deploy, words, prog_name="deploy")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_printed_alone_and_the_steps_beside_it(kind: str) -> None:
    told = subprocess.run([*RUN, *KINDS[kind]], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("#")
    assert told.stdout == invoke(*KINDS[kind]).stdout
    assert told.stderr.startswith("\nNext:\n\n")
    assert "{{" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("systemd", {"codeworm-monitor.service"}),
        ("container", {"Dockerfile", "Dockerfile.dockerignore"}),
        ("compose", {"compose.yaml", "Dockerfile", "Dockerfile.dockerignore", "secrets"}),
        ("nginx", {"codeworm-monitor.conf"}),
    ],
)
def test_files_are_written_and_never_over_others(kind: str, names: set[str], tmp_path: Path) -> None:
    words = [*KINDS[kind], "--output", str(tmp_path / "out")]
    told = invoke(*words)
    assert told.exit_code == 0, told.output
    assert "Next:" in told.stdout
    assert set(os.listdir(tmp_path / "out")) == names
    assert all(str(tmp_path / "out" / name) in told.stdout for name in names)
    again = invoke(*words)
    assert (again.exit_code, "--force" in again.stderr, again.stdout) == (1, True, "")
    assert invoke(*words, "--force").exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_help_with_an_example(kind: str) -> None:
    told = invoke(kind, "--help")
    assert f"Example: python -m codeworm_monitor deploy {kind}" in told.stdout


def test_the_group_is_what_the_command_line_takes() -> None:
    assert (deploy,) == COMMANDS
    assert set(deploy.commands) == set(KINDS)
    assert "Example:" in invoke("--help").stdout


def test_the_interpreter_is_this_one_unless_another_is_named() -> None:
    assert f'ExecStart=":{sys.executable}" -P -m' in invoke("systemd").stdout
    assert 'ExecStart=":/opt/a b/bin/python" -P' in invoke("systemd", "--python", "/opt/a b/bin/python").stdout


def test_the_options_are_filled_in(tmp_path: Path) -> None:
    words = ["--port", "9000", "--redis-url", "redis://a:26849", "--codeworm-db", "data/codeworm.db"]
    unit = invoke("systemd", "--system", "--run-as", "worm", *words).stdout
    assert "--port 9000" in unit
    assert '--redis-url "redis://a:26849"' in unit
    assert f'--codeworm-db "{Path.cwd()}/data/codeworm.db"' in unit
    assert "User=worm\n" in unit
    file = yaml.safe_load(invoke("compose", *words).stdout)["services"]["relay"]
    assert file["ports"] == ["127.0.0.1:9000:8765"]
    assert file["volumes"][1]["source"] == f"{Path.cwd()}/data"
    assert "server 127.0.0.1:9000;" in invoke("nginx", "--domain", "a.b", "--port", "9000").stdout


def test_settings_of_the_environment_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEWORM_MONITOR_PORT", "9001")
    monkeypatch.setenv("CODEWORM_CONFIG_DIR", "/worm/config")
    unit = invoke("systemd").stdout
    assert "--port 9001" in unit
    assert '--codeworm-config "/worm/config"' in unit


def test_a_unit_of_the_machine_comes_with_a_file_of_settings_that_holds_the_token(tmp_path: Path) -> None:
    told = invoke("systemd", "--system", "--output", str(tmp_path))
    text = (tmp_path / "environment").read_text()
    assert re.fullmatch(r"CODEWORM_MONITOR_TOKEN=[\w-]{32}\n", text)
    assert mode(tmp_path / "environment") == 0o600
    assert text.strip().partition("=")[2] not in told.output + (tmp_path / "codeworm-monitor.service").read_text()
    assert "environment (a secret)" in told.stdout


@pytest.mark.parametrize("kind", ["systemd", "compose"])
def test_a_password_is_never_printed_and_lies_in_a_closed_file(kind: str, tmp_path: Path) -> None:
    words = [kind, "--redis-url", "redis://:hush@a:1"]
    refused = invoke(*words)
    assert (refused.exit_code, "hush" in refused.output, "--output" in refused.stderr) == (2, False, True)
    told = invoke(*words, "--output", str(tmp_path))
    assert (told.exit_code, "hush" in told.output) == (0, False)
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and "hush" in path.read_text()]
    assert len(holders) == 1
    assert 0o600 in (mode(holders[0]), mode(holders[0].parent) & 0o677)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["systemd", "--run-as", "worm"], "--run-as goes with --system"),
        (["systemd", "--force"], "--force goes with --output"),
        (["systemd", "--port", "0"], "--port"),
        (["systemd", "--python", ""], "--python"),
        (["systemd", "--output", ""], "--output"),
        (["systemd", "--output", "a\udcff"], "--output"),
        (["systemd", "--redis-url", "redis://a\nb"], "--redis-url: holds a control character"),
        (["nginx"], "--domain"),
        (["nginx", "--domain", "a;b"], "--domain: name the server"),
        (["nginx", "--domain", "a.b", "--static", "/srv/$x"], "--static: holds $"),
        (["systemd", "--system", "--run-as", "a b"], "--run-as"),
    ],
)
def test_what_cannot_be_used_is_one_plain_line_and_status_2(words: list[str], said: str) -> None:
    told = invoke(*words)
    assert told.exit_code == 2
    assert said in told.stderr
    assert "Traceback" not in told.output
    assert told.stdout == ""


def test_a_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if name.startswith("codeworm_monitor/")}
    package = ROOT / "codeworm_monitor"
    there = {path.relative_to(ROOT) for path in package.rglob("*") if path.is_file()}
    caches = {path for path in there if any(part.startswith((".", "__pycache__")) for part in path.parts[:-1])}
    assert held == {path.as_posix() for path in there - caches}
    # The comparison shows nothing of a kind of file that is missing from both.
    folders = [name.rpartition("/")[0] for name in held]
    assert folders.count("codeworm_monitor/deployment/templates") == 9
    assert {"codeworm_monitor/py.typed", "codeworm_monitor/front/log.js", "codeworm_monitor/front/log.css"} <= held
