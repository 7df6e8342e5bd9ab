"""Commands: started without a shell, told by standard input and environment, ended in time with all they started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.processes import is_running
from support.waiting import until
from support.watched import NASTY, notice

from codeworm_monitor.watching import commands
from codeworm_monitor.watching.actions import ActionError
from codeworm_monitor.watching.commands import Command

GO_ON = threading.Event()
TELL = """
import json, os, sys
told = {name: value for name, value in os.environ.items() if name.startswith("CODEWORM_ALERT_")}
json.dump([json.load(sys.stdin), told, sys.argv[2:], os.environ.get("MORE")], open(sys.argv[1], "w"))
"""


def run(*argv: Any, **options: Any) -> None:
    Command(argv, **options).act(notice(), GO_ON)


def test_the_notice_is_on_standard_input_and_in_the_environment(tmp_path: Path) -> None:
    told = notice("quiet", withheld=2)
    command = Command([sys.executable, "-c", TELL, tmp_path / "told", "$HOME", "a b"], environment={"MORE": "yes"})
    command.act(told, GO_ON)
    content, environment, arguments, more = json.loads((tmp_path / "told").read_text())
    assert content == told.as_dict()
    assert environment == {
        "CODEWORM_ALERT_KIND": "fired",
        "CODEWORM_ALERT_TEXT": str(told),
        "CODEWORM_ALERT_DETAIL": "quiet",
        "CODEWORM_ALERT_RULE": "failures >= 3",
        "CODEWORM_ALERT_MONITOR": "default",
        "CODEWORM_ALERT_TIME": "2026-11-22T00:00:00+00:00",
        "CODEWORM_ALERT_SINCE": "",
        "CODEWORM_ALERT_WITHHELD": "2",
    }
    assert (arguments, more) == (["$HOME", "a b"], "yes")  # no shell has seen them


def test_hostile_text_is_a_value_and_nothing_else(tmp_path: Path) -> None:
    command = Command([sys.executable, "-c", TELL, tmp_path / "told"], cwd=tmp_path)
    command.act(notice(NASTY, rule=NASTY, monitor=f"{NASTY}\ud800"), GO_ON)
    content, environment, _, _ = json.loads((tmp_path / "told").read_text())
    assert "<script>" in content["detail"]
    assert not {"\0", "\x1b", "\n"} & set("".join(environment.values()))
    assert [path.name for path in tmp_path.iterdir() if path.name != "announcements"] == ["told"]


def test_a_status_is_a_failure_that_quotes_what_was_said() -> None:
    with pytest.raises(ActionError, match=r"ended with status 3: no +way$"):
        run("sh", "-c", "printf 'no \\033[31m way' >&2; exit 3")


def test_what_cannot_be_started_is_told_without_its_arguments() -> None:
    with pytest.raises(
        ActionError, match=r"Command\(\['/no/such/program', … 1 more\]\) could not be started: No such"
    ) as caught:
        run("/no/such/program", "token-abc")
    assert "token-abc" not in str(caught.value)
    assert caught.value.__context__ is None
    with pytest.raises(ActionError, match="environment cannot be passed on"):
        run("true", environment={"A": "\0"})


def test_what_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; trap '' TERM; wait; sleep 1000"
    with pytest.raises(ActionError, match=r"took longer than 0.5 s and was killed"):
        run("sh", "-c", script, timeout=0.5)
    numbers = [int((tmp_path / name).read_text()) for name in ("child", "self")]
    until(lambda: not any(map(is_running, numbers)))
    assert not commands._running


def test_what_writes_without_end_costs_bounded_memory_and_is_ended() -> None:
    with pytest.raises(ActionError) as caught:
        run("sh", "-c", "yes output", timeout=0.5)
    assert "output" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_much_output_and_an_input_that_is_not_read_are_no_trouble() -> None:
    run(sys.executable, "-c", "import os; os.close(0); os.write(1, b'x' * 3_000_000)", timeout=30)


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    run("sh", "-c", f"sleep 20 & echo $! > {tmp_path}/child", timeout=15)
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    assert is_running(child)
    os.kill(child, 9)


def test_the_end_of_the_watch_ends_it() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(ActionError, match="was ended with its watch"):
        Command(["sleep", "1000"], timeout=60).act(notice(), stop)
    assert not commands._running


def test_one_that_is_being_started_when_the_program_ends_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go_on, started = threading.Event(), threading.Event(), list[subprocess.Popen[bytes]]()

    class Slow(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            started.append(self)
            begun.set()
            may_go_on.wait(10)

    monkeypatch.setattr(commands, "_is_ending", threading.Event())
    monkeypatch.setattr(subprocess, "Popen", Slow)

    def act() -> None:
        with pytest.raises(ActionError, match="status -9"):
            Command(["sleep", "1000"], timeout=1000).act(notice(), threading.Event())

    acting, ending = threading.Thread(target=act), threading.Thread(target=commands._end_all)
    acting.start()
    assert begun.wait(10)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    may_go_on.set()
    ending.join(10)
    acting.join(10)
    assert started[0].returncode == -9
    with pytest.raises(ActionError, match="this program ends"):
        Command(["true"]).act(notice(), threading.Event())


def test_it_does_not_outlive_the_program(tmp_path: Path) -> None:
    program = f"""
import threading, time
from datetime import UTC, datetime
from pathlib import Path
from codeworm_monitor.watching import Command, Notice
told = Notice(time=datetime.now(UTC), kind="fired", rule="r", text="t", monitor="m")
command = Command(["sh", "-c", "echo $$ > {tmp_path}/self; sleep 1000"], timeout=1000)
threading.Thread(target=command.act, args=(told, threading.Event()), daemon=True).start()
while not Path("{tmp_path}/self").exists() or not Path("{tmp_path}/self").read_text():
    time.sleep(0.01)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    until(lambda: not is_running(int((tmp_path / "self").read_text())))


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ("notify-send hello", TypeError),
        (b"true", TypeError),
        (Path("true"), TypeError),
        ([], ValueError),
        ([""], ValueError),
        (["echo", 3], TypeError),
        (["echo", b"x"], TypeError),
        (["echo", "a\0b"], ValueError),
    ],
)
def test_a_command_is_a_list_of_texts(argv: Any, problem: type[Exception]) -> None:
    with pytest.raises(problem, match="command"):
        Command(argv)
    with pytest.raises(ValueError, match="timeout"):
        Command(["true"], timeout=0)
