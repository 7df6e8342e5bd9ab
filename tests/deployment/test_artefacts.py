from __future__ import annotations

import os
import stat
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from codeworm_monitor.deployment.artefacts import Artefact, DeploymentError, render, write

SECRET = Artefact(name="secrets/token", text="t\n", mode=0o444, folder_mode=0o700)
PLAIN = Artefact(name="unit", text="u\n")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_have_their_permissions_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write([PLAIN, SECRET, Artefact(name="environment", text="e", mode=0o600)], tmp_path / "a" / "b")
    finally:
        os.umask(before)
    made = tmp_path / "a" / "b"
    assert [mode(made / name) for name in ("unit", "secrets", "secrets/token", "environment")] == [
        0o644,
        0o700,
        0o444,
        0o600,
    ]
    assert sorted(os.listdir(made)) == ["environment", "secrets", "unit"]
    assert os.listdir(made / "secrets") == ["token"]


def test_nothing_is_written_where_one_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "unit").write_text("mine")
    with pytest.raises(DeploymentError, match=r"unit is there already: --force"):
        write([SECRET, PLAIN], tmp_path)
    assert (tmp_path / "unit").read_text() == "mine"
    assert os.listdir(tmp_path) == ["unit"]


def test_told_to_it_replaces_them_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "unit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeploymentError, match="there already"):
        write([PLAIN], tmp_path)
    write([PLAIN], tmp_path, overwrite=True)
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / "unit").read_text() == "u\n"
    assert not (tmp_path / "unit").is_symlink()


def test_a_folder_of_secrets_that_is_there_is_closed_and_a_link_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o755)
    write([SECRET], tmp_path)
    assert mode(tmp_path / "secrets") == 0o700
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secrets").symlink_to(tmp_path)
    with pytest.raises(DeploymentError, match="secrets/token cannot be written"):
        write([SECRET], tmp_path / "other")
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_a_file_that_cannot_be_written_to_its_end_nothing_stays(tmp_path: Path, *, overwrite: bool) -> None:
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from codeworm_monitor.deployment.artefacts import Artefact, write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write([Artefact(name='unit', text='x' * 1000)], Path(sys.argv[1]), overwrite=sys.argv[2] == 'True')\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), str(overwrite)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "DeploymentError" in told.stderr
    assert "cannot be written: File too large" in told.stderr
    assert os.listdir(tmp_path) == []


def test_a_directory_that_cannot_be_had_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeploymentError, match="cannot be written: "):
        write([PLAIN], tmp_path / "file")


def test_a_secret_is_not_shown_by_repr() -> None:
    assert "hidden" not in repr(Artefact(name="environment", text="hidden", mode=0o600))


def test_what_is_put_into_a_template_is_not_looked_at_again() -> None:
    text = render("nginx-front-end.conf", static="{{port}} {{static}} $uri \\1")
    assert "root {{port}} {{static}} $uri \\1;" in text


def test_a_value_without_a_place_and_a_place_without_a_value_are_mistakes() -> None:
    with pytest.raises(KeyError, match="no place for port"):
        render("nginx-front-end.conf", static="x", port="1")
    with pytest.raises(KeyError, match="static"):
        render("nginx-front-end.conf")


def test_a_line_that_holds_but_an_empty_value_is_left_out() -> None:
    with_user = render("system.service", command="c", user="User=a", readable="")
    without = render("system.service", command="c", user="", readable="")
    assert with_user.replace("User=a\n", "") == without


@pytest.mark.parametrize(
    "template", sorted(path.name for path in files("codeworm_monitor.deployment").joinpath("templates").iterdir())
)
def test_no_template_tells_of_the_machine_it_was_written_on(template: str) -> None:
    text = files("codeworm_monitor.deployment").joinpath("templates", template).read_text()
    assert "/work" not in text
    assert all(line == line.rstrip() and "\t" not in line for line in text.splitlines())
