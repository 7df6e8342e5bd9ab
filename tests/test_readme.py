"""The README is true: what it names exists, what it tabulates is what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import codeworm_monitor
from codeworm_monitor.settings import setting_fields

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TEST_LINE = "python -m pip install -q -e '.[test]' && python -m pytest"


def settings_table() -> str:
    """Return the settings table as the README must hold it."""
    rows = ["| option | variable | default | what |", "|---|---|---|---|"]
    for one in setting_fields():
        default = ",".join(one.default) if isinstance(one.default, tuple) else one.default
        shown = "" if default in (None, "") else f"`{default}`"
        rows.append(f"| `{one.option}` | `{one.variable}` | {shown} | {one.help} |")
    return "\n".join(rows)


def test_the_settings_table_is_what_the_settings_say() -> None:
    assert settings_table() in README, f"put this into README.md:\n\n{settings_table()}"


def test_nothing_waits_to_be_filled_in() -> None:
    assert not re.findall(r"^[A-Z_]{6,}$|TODO|TBD", README, re.MULTILINE)


def test_ci_runs_the_readmes_test_line() -> None:
    assert f"```sh\n{TEST_LINE}\n```" in README
    assert TEST_LINE in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", README))))
def test_every_test_named_as_evidence_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_table_of_parts_names_every_module() -> None:
    table = README.partition("| layer | modules |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([\w/]+)`", table))
    package = ROOT / "codeworm_monitor"
    modules = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")}
    assert {name for name in modules if not name.endswith("__init__")} == named


def test_every_case_of_the_faults_is_tried_by_a_test_that_names_it() -> None:
    table = README.partition("| cases | tried |")[2].partition("\n\n")[0]
    promised: set[int] = set()
    for first, last in re.findall(r"^\| (\d+)(?:\u2013(\d+))? \|", table, re.MULTILINE):
        promised |= set(range(int(first), int(last or first) + 1))
    tried: set[int] = set()
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name.startswith("test_"):
                numbers = re.findall(r"Case (\d+)", ast.get_docstring(node) or "")
                assert numbers, f"{path.name}: {node.name} names no case"
                tried |= set(map(int, numbers))
    assert promised == tried
    assert tried == set(range(1, 34))


def test_names_that_the_examples_import_are_public() -> None:
    imported = {
        name.strip() for line in re.findall(r"from codeworm_monitor import (.+)", README) for name in line.split(",")
    }
    assert imported <= set(codeworm_monitor.__all__)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_examples_are_valid_python(block: str) -> None:
    compile("async def example():\n" + "".join(f"    {line}\n" for line in block.splitlines()), "README.md", "exec")


def test_only_what_belongs_there_lies_at_the_top() -> None:
    expected = {"pyproject.toml", "codeworm_monitor", "notebooks", "tests", "README.md", ".ci", ".gitignore", "LICENSE"}
    tracked = {path.split("/")[0] for path in _tracked()}
    assert tracked <= expected


def _tracked() -> list[str]:
    import subprocess

    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
