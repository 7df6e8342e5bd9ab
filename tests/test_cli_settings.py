"""What the settings file says to commands that ask a relay: its token goes to no other, a broken file has its status."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.consoles import in_place, isolated

from codeworm_monitor.archive.database import named_directory
from codeworm_monitor.cli_settings import file_defaults, reader_options
from codeworm_monitor.settings_file import NAME, SettingsFile

OF_FILE, OF_ENVIRONMENT, OF_URL, TYPED = "token-of-the-file", "token-of-the-env", "token-of-the-url", "token-typed"
COMMANDS = (
    ("status", "--within", "5"),
    ("doctor", "--only", "relay", "--listen", "0"),
    ("record", "traffic.jsonl", "--for", "5s"),
)


class Listener:
    """An HTTP server that keeps what it is sent, and answers 404."""

    def __init__(self, port: int, seen: list[str]) -> None:
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/ws"
        self._seen = seen

    @property
    def seen(self) -> str:
        """All that came: request lines and headers."""
        assert self._seen, "nobody asked"
        return "\n".join(self._seen)


@pytest.fixture
def listener() -> Iterator[Listener]:
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.requestline}\n{self.headers}")
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with contextlib.ExitStack() as ending:
            ending.callback(thread.join)
            ending.callback(server.shutdown)
            yield Listener(server.server_address[1], seen)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return isolated(tmp_path / "home")


def put(directory: Path, text: str) -> None:
    path = directory / NAME
    path.write_text(text)
    path.chmod(0o600)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_token_of_the_settings_file_is_not_sent_to_another_relay(
    command: tuple[str, ...], way: str, tmp_path: Path, environment: dict[str, str], listener: Listener
) -> None:
    put(tmp_path, f"token = '{OF_FILE}'\n")  # of the relay at port 8765
    if way == "option":
        command = (*command, "--url", listener.url)
    else:
        environment["CODEWORM_MONITOR_URL"] = listener.url
    done = in_place(tmp_path, *command, environment=environment)
    assert OF_FILE not in listener.seen + done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_the_token_of_the_settings_file_is_for_its_own_relay(
    command: tuple[str, ...], tmp_path: Path, environment: dict[str, str], listener: Listener
) -> None:
    put(tmp_path, f"token = '{OF_FILE}'\nport = {listener.port}\n")
    done = in_place(tmp_path, *command, "--url", listener.url, environment=environment)
    assert OF_FILE in listener.seen
    assert OF_FILE not in done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("typed", "in_url", "variable", "presented"),
    [
        ((), "", OF_ENVIRONMENT, OF_ENVIRONMENT),
        ((), f"?token={OF_URL}", OF_ENVIRONMENT, OF_URL),
        ((), f"?token={OF_URL}", "", OF_URL),
        (("--token", TYPED), "", OF_ENVIRONMENT, TYPED),
        (("--token", TYPED), f"?token={OF_URL}", OF_ENVIRONMENT, TYPED),
    ],
)
def test_of_several_tokens_the_nearest_to_the_hand_is_presented(
    command: tuple[str, ...],
    typed: tuple[str, ...],
    in_url: str,
    variable: str,
    presented: str,
    tmp_path: Path,
    environment: dict[str, str],
    listener: Listener,
) -> None:
    put(tmp_path, f"token = '{OF_FILE}'\nport = {listener.port}\n")
    if variable:
        environment["CODEWORM_MONITOR_TOKEN"] = variable
    in_place(tmp_path, *command, "--url", listener.url + in_url, *typed, environment=environment)
    assert [token for token in (OF_FILE, OF_ENVIRONMENT, OF_URL, TYPED) if token in listener.seen] == [presented]


@pytest.mark.parametrize(
    ("url", "is_its_own"),
    [
        ("ws://127.0.0.1:4321/ws", True),
        ("localhost:4321", True),
        ("http://[::1]:4321", True),
        ("ws://127.8.8.8:4321/other", True),
        ("", True),
        ("ws://example.org:4321/ws", False),
        ("ws://127.0.0.1.example.org:4321/ws", False),
        ("ws://127.0.0.1:4321@example.org/", False),
        ("ws://127.0.0.1:8765/ws", False),
        ("ws://127.0.0.1/ws", False),
        ("ws://0.0.0.0:4321/ws", False),
        ("ws://:4321/ws", False),
        ("ws://[::1", False),
        ("ws://localhost:4321/ws?token=another", False),
    ],
)
def test_the_relay_of_the_file_is_on_this_machine_at_its_port(url: str, is_its_own: bool) -> None:  # noqa: FBT001
    assert presented(url, {"port": 4321, "token": OF_FILE}) == (OF_FILE if is_its_own else None)


def test_without_a_port_in_the_file_it_is_the_usual_one() -> None:
    assert presented("ws://localhost:8765/ws", {"token": OF_FILE}) == OF_FILE
    assert presented("ws://localhost:8766/ws", {"token": OF_FILE}) is None


def presented(url: str, values: dict[str, object]) -> str | None:
    """Return the token that a command gets, with a settings file that says this."""
    got: list[str | None] = []

    @click.command()
    @reader_options
    def command(*, url: str | None, token: str | None) -> None:
        got.append(token)

    root = click.Context(click.Group())
    root.meta["codeworm_monitor.settings_file"] = SettingsFile(path=Path(NAME), values=values, lines={})
    with command.make_context("x", ["--url", url], root, default_map=file_defaults(command, lambda: values)) as context:
        command.invoke(context)
    return got[0]


@pytest.mark.parametrize(
    "text",
    ["port = ", "prot = 1", None, "settings that others may write"],
    ids=["broken", "unknown", "missing", "open"],
)
def test_status_says_that_it_could_not_look_where_the_settings_file_cannot_be_used(
    text: str | None, tmp_path: Path, environment: dict[str, str]
) -> None:
    if text is not None:
        put(tmp_path, text)
        if "others" in text:
            (tmp_path / NAME).chmod(0o666)
    done = in_place(tmp_path, "--config", NAME, "status", environment=environment)
    assert (done.returncode, done.stdout) == (3, "")
    assert NAME in done.stderr
    assert in_place(tmp_path, "--config", NAME, "doctor", environment=environment).returncode == 2


def test_status_says_that_it_could_not_look_where_config_stands_after_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = in_place(tmp_path, "status", "--config", NAME, environment=environment)
    assert done.returncode == 3
    assert "stands before the command" in done.stderr
    assert in_place(tmp_path, "doctor", "--config", NAME, environment=environment).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ("history", "--archive", "~nobody-of-this-name/x"),
        ("doctor", "--only", "archive", "--listen", "0", "--archive", "~nobody-of-this-name/x"),
        ("lab", "--relay", "--no-browser", "--directory", "~nobody-of-this-name/x"),
    ],
    ids=lambda words: words[0],
)
def test_a_home_that_nobody_has_is_a_directory_of_that_name(
    words: tuple[str, ...], tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "~nobody-of-this-name").touch()  # so that nothing can be made there
    done = in_place(tmp_path, *words, environment=environment)
    assert done.returncode == 1, done.stderr
    assert "~nobody-of-this-name/x" in done.stdout + done.stderr


def test_an_archive_below_a_home_that_nobody_has_is_named_as_it_is_written() -> None:
    assert named_directory("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_an_empty_text_in_the_settings_file_leaves_a_command_its_default(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    put(tmp_path, "redis_url = ''\narchive = ''\n")
    done = in_place(tmp_path, "config", "--show", environment=environment)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["archive"] == ["none", "default"]
    assert rows["redis_url"][-1] == "default"
