from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import subprocess
from pathlib import Path

import pexpect
import pytest
from support.consoles import console_script, in_place, isolated
from support.processes import TOKEN, relay_process

from codeworm_monitor.settings import RelaySettings, setting_fields
from codeworm_monitor.settings_file import NAME


@pytest.fixture
def here(tmp_path: Path) -> Path:
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return isolated(tmp_path / "home")


def put(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / NAME
    path.write_text(text)
    path.chmod(mode)
    return path


def shown(directory: Path, *arguments: str, environment: dict[str, str]) -> dict[str, tuple[object, str]]:
    """Return value and origin of every setting, as `config --show --json` says."""
    done = in_place(directory, *arguments, "--show", "--json", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return {name: (one["value"], one["origin"]) for name, one in json.loads(done.stdout)["settings"].items()}


def test_each_setting_comes_from_the_strongest_that_names_it(here: Path, environment: dict[str, str]) -> None:
    put(
        here,
        "port = 1001\nhost = '127.0.0.2'\ndrain = 2\nchannels = ['a', 'b']\nv1_origin = ['http://a']\nlog_level = 'debug'\n",
    )
    environment |= {"CODEWORM_MONITOR_HOST": "127.0.0.3", "CODEWORM_MONITOR_DRAIN": "3", "REDIS_URL": "redis://there:1"}
    found = shown(here, "config", "--drain", "4", environment=environment)
    assert found["port"] == (1001, f"{NAME}:1")
    assert found["host"] == ("127.0.0.3", "CODEWORM_MONITOR_HOST")
    assert found["drain"] == (4.0, "--drain")
    assert found["channels"] == (["a", "b"], f"{NAME}:4")
    assert found["v1_origin"] == (["http://a"], f"{NAME}:5")
    assert found["log_level"] == ("debug", f"{NAME}:6")
    assert found["redis_url"] == ("redis://there:1", "REDIS_URL")
    assert found["path"] == ("/ws", "default")
    assert list(found) == [one.name for one in setting_fields()]


def test_the_path_of_the_websocket_is_shown_though_the_option_means_the_file(
    here: Path, environment: dict[str, str]
) -> None:
    put(here, "path = '/from-file'")
    assert shown(here, "config", environment=environment)["path"] == ("/from-file", f"{NAME}:1")
    environment["CODEWORM_MONITOR_PATH"] = "/from-environment"
    assert shown(here, "config", environment=environment)["path"] == ("/from-environment", "CODEWORM_MONITOR_PATH")


@pytest.mark.parametrize(
    ("text", "variables", "arguments", "expected"),
    [
        ("token = '%s'", {}, ["--no-token"], {"token": (None, "--no-token"), "no_token": (True, "--no-token")}),
        ("no_token = true", {}, ["--token", TOKEN], {"token": ("***", "--token"), "no_token": (False, "--token")}),
        (
            "no_token = true",
            {"CODEWORM_MONITOR_TOKEN": TOKEN},
            [],
            {"token": ("***", "CODEWORM_MONITOR_TOKEN"), "no_token": (False, "CODEWORM_MONITOR_TOKEN")},
        ),
        (
            "archive = '/kept'",
            {"CODEWORM_MONITOR_NO_ARCHIVE": "1"},
            [],
            {"archive": (None, "CODEWORM_MONITOR_NO_ARCHIVE"), "no_archive": (True, "CODEWORM_MONITOR_NO_ARCHIVE")},
        ),
    ],
)
def test_of_two_that_contradict_each_other_the_stronger_counts(
    text: str,
    variables: dict[str, str],
    arguments: list[str],
    expected: dict[str, tuple[object, str]],
    here: Path,
    environment: dict[str, str],
) -> None:
    put(here, text.replace("%s", TOKEN))
    found = shown(here, "config", *arguments, environment=environment | variables)
    assert {name: found[name] for name in expected} == expected


def test_secrets_are_never_shown(here: Path, environment: dict[str, str]) -> None:
    put(here, f"token = '{TOKEN}'\nredis_url = 'redis://:s3cret@host:1'\n")
    for form in ([], ["--show"], ["--json"]):
        done = in_place(here, "config", *form, environment=environment)
        assert done.returncode == 0
        assert TOKEN not in done.stdout + done.stderr
        assert "s3cret" not in done.stdout + done.stderr
    assert "redis://:***@host:1" in done.stdout


def test_a_setting_a_line_for_a_person(here: Path, environment: dict[str, str]) -> None:
    put(here, "no_archive = true\n")
    lines = in_place(here, "config", "--show", environment=environment).stdout.splitlines()
    assert len(lines) == len(list(setting_fields()))
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert re.fullmatch(rf"true +{re.escape(NAME)}:1", rows["no_archive"])
    assert re.fullmatch(r"none +default", rows["token"])
    assert re.fullmatch(r"codeworm:logs, codeworm:events, codeworm:stats +default", rows["channels"])


def test_the_check_says_all_that_is_wrong(here: Path, environment: dict[str, str]) -> None:
    put(here, "prot = 1\nport = 'x'\n")
    for arguments in (["config"], ["config", "--show"]):
        done = in_place(here, *arguments, environment=environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"Error: {NAME}:1: prot is no setting: did you mean port?\nError: {NAME}:2: port must be a whole number\n"
        )


def test_the_check_says_that_all_is_sound_or_that_there_is_none(here: Path, environment: dict[str, str]) -> None:
    assert "no settings file: the defaults hold" in in_place(here, "config", environment=environment).stdout
    put(here, "port = 1")
    assert in_place(here, "config", environment=environment).stdout == f"{NAME}: 1 setting, all sound\n"


def test_a_slip_in_the_environment_is_told_but_stops_nothing(here: Path, environment: dict[str, str]) -> None:
    environment |= {"CODEWORM_MONITOR_TOKN": "x", "CODEWORM_MONITOR_OF_ANOTHER_PROGRAM": "x"}
    done = in_place(here, "config", environment=environment)
    assert done.returncode == 0
    assert done.stderr == (
        "Warning: the environment variable CODEWORM_MONITOR_TOKN is no setting: did you mean CODEWORM_MONITOR_TOKEN?\n"
    )


def test_a_value_of_the_environment_that_cannot_be_used_is_told_by_its_variable(
    here: Path, environment: dict[str, str]
) -> None:
    done = in_place(here, "config", environment=environment | {"CODEWORM_MONITOR_LOG_LEVEL": "loud"})
    assert done.returncode == 2
    assert "CODEWORM_MONITOR_LOG_LEVEL: 'loud' is none of" in done.stderr


def test_a_file_is_begun_for_its_owner_alone_and_never_replaced(here: Path, environment: dict[str, str]) -> None:
    done = in_place(here, "config", "--init", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    path = here / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert in_place(here, "config", environment=environment).stdout == f"{NAME}: 0 settings, all sound\n"
    again = in_place(here, "config", "--init", environment=environment)
    assert (again.returncode, again.stderr) == (1, f"Error: {NAME} is there already: it was left as it is\n")
    named = in_place(here, "--config", "new/mine.toml", "config", "--init", environment=environment)
    assert named.returncode == 0
    assert (here / "new" / "mine.toml").read_text() == path.read_text()


def test_the_path_of_the_file_is_told_even_if_the_file_is_broken(
    here: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert in_place(here, "config", "--path", environment=environment).stdout == ""
    mine = tmp_path / "home" / "configuration" / "codeworm_monitor"
    mine.mkdir(parents=True)
    put(mine, "port = 5")
    assert in_place(here, "config", "--path", environment=environment).stdout == f"{mine / NAME}\n"
    path = put(here, "nonsense")
    assert in_place(here, "config", "--path", environment=environment).stdout == f"{path}\n"
    environment["CODEWORM_MONITOR_CONFIG"] = "other.toml"
    assert in_place(here, "config", "--path", environment=environment).stdout == f"{here / 'other.toml'}\n"


def test_two_questions_at_once_are_refused(here: Path, environment: dict[str, str]) -> None:
    assert in_place(here, "config", "--show", "--init", environment=environment).returncode == 2
    assert not (here / NAME).exists()


def test_a_file_that_is_broken_stops_what_needs_it_and_nothing_else(here: Path, environment: dict[str, str]) -> None:
    put(here, "prot = 1")
    for arguments in ([], ["relay"], ["--debug", "history"], ["archive", "info"], ["demo"]):
        done = in_place(here, *arguments, environment=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"Error: {NAME}:1: prot is no setting: did you mean port?\n"
    for arguments in (
        ["relay", "--help"],
        ["token", "--new"],
        ["completion", "bash"],
        ["--help"],
        ["archive", "--help"],
    ):
        assert in_place(here, *arguments, environment=environment).returncode == 0


def test_a_file_that_was_named_and_is_not_there_is_told(here: Path, environment: dict[str, str]) -> None:
    done = in_place(here, "--config", "gone.toml", "relay", environment=environment)
    assert (done.returncode, done.stderr) == (2, "Error: gone.toml cannot be read: No such file or directory\n")


def test_the_archive_of_the_file_is_the_one_that_is_looked_at(here: Path, environment: dict[str, str]) -> None:
    put(here, "archive = 'kept'")
    for arguments in (["history"], ["archive", "info"], ["archive", "verify"], ["export", "-"], ["query", "SELECT 1"]):
        assert f"{here / 'kept'} holds no archive" in in_place(here, *arguments, environment=environment).stderr
    assert "/other holds no archive" in in_place(here, "history", "--archive", "/other", environment=environment).stderr


def test_the_help_shows_no_secret_of_the_file(here: Path, environment: dict[str, str]) -> None:
    put(here, f"token = '{TOKEN}'\nport = 1001\n")
    text = in_place(here, "relay", "--help", environment=environment).stdout
    assert TOKEN not in text
    assert "8765" in text


async def test_a_relay_takes_its_settings_from_the_file_and_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = secrets.token_hex(8)
    put(here, f"token = '{token}'\npath = '/other'\nno_archive = true\n")
    monkeypatch.chdir(here)
    async with relay_process(CODEWORM_MONITOR_TOKEN="", CODEWORM_MONITOR_TOKN="x") as relay:
        assert relay.url.endswith("/other")
        assert "kept in      nowhere (--no-archive)" in relay.banner
        assert f"settings     {NAME}" in relay.banner
        done = in_place(here, "token", environment={**isolated(here / "home"), **_announcements()})
        assert done.stdout == f"{token}\n"
        _, out, err = await relay.stop()
    assert token not in relay.banner + out + err
    assert "CODEWORM_MONITOR_TOKN is no setting: did you mean CODEWORM_MONITOR_TOKEN?" in err


def _announcements() -> dict[str, str]:
    return {"CODEWORM_MONITOR_RUNTIME_DIR": os.environ["CODEWORM_MONITOR_RUNTIME_DIR"]}


async def test_the_token_of_the_running_relay_is_all_that_is_printed(here: Path) -> None:
    environment = isolated(here / "home", **_announcements())
    async with relay_process("--no-archive") as relay:
        done = in_place(here, "token", environment=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{TOKEN}\n", "")
        link = in_place(here, "token", "--link", environment=environment).stdout
        assert link == f"{relay.http}/#token={TOKEN}\n"
        assert in_place(here, "token", "--url", relay.url, environment=environment).stdout == f"{TOKEN}\n"
        other = in_place(here, "token", "--url", "ws://127.0.0.1:1/ws", environment=environment)
        assert (other.returncode, other.stdout) == (1, "")
        await relay.stop()


async def test_a_relay_that_wants_no_token_leaves_the_output_empty(here: Path) -> None:
    async with relay_process("--no-archive", "--no-token", CODEWORM_MONITOR_TOKEN="") as relay:
        done = in_place(here, "token", environment=isolated(here / "home", **_announcements()))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "this relay wants no token\n")
        await relay.stop()


async def test_the_link_leads_to_the_page_that_the_relay_serves(here: Path) -> None:
    pages = here / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<!doctype html><title>worm</title>")
    async with relay_process("--no-archive", "--static", str(pages)) as relay:
        link = in_place(here, "token", "--link", environment=isolated(here / "home", **_announcements())).stdout
        assert link == f"{relay.http}/?token={TOKEN}\n"
        await relay.stop()


async def test_the_link_leads_to_the_dashboards_own_path_where_the_websocket_has_the_root(here: Path) -> None:
    async with relay_process("--no-archive", "--path", "/") as relay:
        link = in_place(here, "token", "--link", environment=isolated(here / "home", **_announcements())).stdout
        assert link == f"{relay.http.removesuffix('/')}/dashboard#token={TOKEN}\n"
        await relay.stop()


def test_without_a_relay_it_is_told_how_to_start_one(here: Path, environment: dict[str, str]) -> None:
    done = in_place(here, "token", environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: no relay of yours runs on this machine: start one with `python -m codeworm_monitor`\n"


def test_a_new_token_is_another_each_time_and_fit_for_the_relay(here: Path, environment: dict[str, str]) -> None:
    tokens = {in_place(here, "token", "--new", environment=environment).stdout for _ in range(3)}
    assert len(tokens) == 3
    for one in tokens:
        assert len(one.strip()) >= 32
        assert not one.startswith("-")
        RelaySettings(token=one.removesuffix("\n"))
    assert in_place(here, "token", "--new", "--link", environment=environment).returncode == 2


COMPLETE_IN_BASH = """
set -u
source <(codeworm-monitor completion bash)
complete -p codeworm-monitor
for line in "$@"; do
  read -ra COMP_WORDS <<<"$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _codeworm_monitor_completion codeworm-monitor
  echo "$line=${COMPREPLY[*]}"
done
"""


def test_bash_completes_commands_and_options(here: Path, environment: dict[str, str]) -> None:
    environment["PATH"] = f"{console_script(here / 'bin')}:{environment['PATH']}"
    lines = [
        "codeworm-monitor ta",
        "codeworm-monitor history --le",
        "codeworm-monitor --redis",
        "codeworm-monitor --config x.toml to",
        "codeworm-monitor --port 0 --no-t",
        "codeworm-monitor archive ver",
        "codeworm-monitor completion f",
        "codeworm-monitor ",
    ]
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE_IN_BASH, "bash", *lines],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answers = dict(line.split("=", 1) for line in done.stdout.splitlines()[1:])
    assert answers[lines[0]].split() == ["tail"]
    assert answers[lines[1]].split() == ["--level"]
    assert answers[lines[2]].split() == ["--redis-url"]
    assert answers[lines[3]].split() == ["top", "token"]
    assert answers[lines[4]].split() == ["--no-token"]
    assert answers[lines[5]].split() == ["verify"]
    assert answers[lines[6]].split() == ["fish"]
    assert {"relay", "tail", "deploy"} <= set(answers[lines[7]].split())


def test_the_tab_key_completes_in_a_real_bash(here: Path, environment: dict[str, str]) -> None:
    environment |= {"PATH": f"{console_script(here / 'bin')}:{environment['PATH']}", "TERM": "dumb", "PS1": "ready> "}
    bash = pexpect.spawn("bash", ["--norc", "-i"], cwd=str(here), env=environment, timeout=60, encoding="utf-8")
    try:
        bash.sendline("PS1='rea''dy> '; eval \"$(codeworm-monitor completion bash)\"")
        bash.expect_exact("ready> ")
        bash.send("codeworm-monitor ta\t")
        bash.expect_exact("codeworm-monitor tail ")
        bash.sendcontrol("u")
        bash.send("codeworm-monitor --no-to\t")
        bash.expect_exact("--no-token ")
    finally:
        bash.close(force=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one_it_can_read(shell: str, here: Path, environment: dict[str, str]) -> None:
    done = in_place(here, "completion", shell, environment=environment)
    assert done.returncode == 0
    assert "codeworm-monitor" in done.stdout
    assert "_CODEWORM_MONITOR_COMPLETE" in done.stdout
    if (program := shutil.which(shell)) is not None:
        script = here / "script"
        script.write_text(done.stdout)
        checked = subprocess.run([program, "-n", str(script)], capture_output=True, text=True, check=False, timeout=60)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_refused(here: Path, environment: dict[str, str]) -> None:
    assert in_place(here, "completion", "csh", environment=environment).returncode == 2
