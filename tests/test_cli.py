from __future__ import annotations

import asyncio
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import click
import orjson
import pytest
from click.testing import CliRunner
from redis.asyncio import from_url
from support.processes import TOKEN, descendants, is_running, launch, relay_process, run
from support.readers import v1_reader, v1_text, v2_reader
from support.waiting import eventually

from codeworm_monitor.cli import TABLE, main
from codeworm_monitor.discovery import find
from codeworm_monitor.settings import setting_fields

LOGS = "codeworm:logs"


@pytest.fixture
def silent_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_without_a_redis_the_embedded_server_brings_what_is_published_to_readers() -> None:
    async with relay_process() as relay:
        assert "embedded server" in relay.banner
        async with from_url(relay.redis_url) as publisher, v1_reader(relay.url, TOKEN) as reader:
            await publisher.publish(LOGS, b'{"n":1}')
            assert await reader.recv(decode=False) == v1_text(LOGS, b'{"n":1}')
        status, out, err = await relay.stop()
        assert (status, "Traceback" in out + err) == (0, False)


async def test_the_banner_says_where_to_publish_connect_and_how_to_open_it_and_keeps_the_token_out_of_logs() -> None:
    async with relay_process() as relay:
        assert "from codeworm_monitor import connect; mon = connect()" in relay.banner
        page = f"{relay.http}/ (with the token: `python -m codeworm_monitor token --link`)"
        assert f"  dashboard    {page}\n" in relay.banner
        status, out, err = await relay.stop()
    assert TOKEN not in relay.banner + out + err
    assert status == 0


async def test_on_a_terminal_the_token_is_shown() -> None:
    primary, secondary = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "codeworm_monitor", "--port", "0"],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=secondary,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "CODEWORM_MONITOR_TOKEN": TOKEN},
    )
    os.close(secondary)
    try:
        screen = b""
        while b"/readyz" not in screen:
            screen += await asyncio.to_thread(os.read, primary, 4096)
        assert TOKEN.encode() in screen
        assert re.search(rb"dashboard +http://127\.0\.0\.1:\d+/#token=" + TOKEN.encode(), screen)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    finally:
        os.close(primary)
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly_and_leaves_nothing_behind(number: int, announcements: Path) -> None:
    async with relay_process() as relay, v1_reader(relay.url, TOKEN):
        below = descendants(relay.process.pid)
        assert len(below) >= 2  # the guard and the server
        assert list(announcements.iterdir())
        status, _, err = await relay.stop(number)
    assert status == 0, err
    await eventually(lambda: not any(map(is_running, below)))
    assert not list(announcements.iterdir())


async def test_killed_with_9_it_leaves_no_server_behind() -> None:
    async with relay_process() as relay:
        below = descendants(relay.process.pid)
        status, _, _ = await relay.stop(signal.SIGKILL)
    assert status == -signal.SIGKILL
    await eventually(lambda: not any(map(is_running, below)))


async def test_a_second_signal_ends_it_at_once() -> None:
    # One that listens to nobody holds the drain open; the first signal alone would wait for it.
    async with relay_process("--drain", "60") as relay:
        port = int(relay.url.split(":")[2].split("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await asyncio.sleep(0.1)
        relay.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        status, _, _ = await relay.stop(signal.SIGTERM, within=5)
        writer.close()
    assert status in (0, 128 + signal.SIGTERM)


async def test_a_given_url_is_used_and_starts_nothing_else(silent_port: int) -> None:
    async with relay_process("--redis-url", f"redis://:secret@127.0.0.1:{silent_port}/0") as relay:
        assert "secret" not in relay.banner
        assert descendants(relay.process.pid) == []
        with pytest.raises(OSError, match="503"):
            await asyncio.to_thread(urlopen, f"{relay.http}/readyz")
        status, out, err = await relay.stop()
    assert status == 0
    assert "secret" not in out + err
    assert "is not heard" in err


@pytest.mark.parametrize("variable", ["REDIS_URL", "CODEWORM_MONITOR_REDIS_URL"])
async def test_the_url_may_come_from_the_environment_as_the_original_had_it(variable: str, silent_port: int) -> None:
    async with relay_process(**{variable: f"redis://127.0.0.1:{silent_port}"}) as relay:
        assert relay.redis_url == f"redis://127.0.0.1:{silent_port}"


@pytest.mark.parametrize("variable", ["CODEWORM_DB_PATH", "CODEWORM_MONITOR_CODEWORM_DB"])
async def test_codeworms_files_may_be_told_by_its_own_variables(variable: str, tmp_path: Path) -> None:
    directory = str(tmp_path / "config")
    async with relay_process(**{variable: "/data/codeworm.db", "CODEWORM_CONFIG_DIR": directory}) as relay:
        request = Request(f"{relay.http}/info", headers={"Authorization": f"Bearer {TOKEN}"})
        text = await asyncio.to_thread(lambda: urlopen(request).read())
    assert orjson.loads(text)["codeworm"] == {
        "codeworm_db": {"path": "/data/codeworm.db", "inode": None},
        "codeworm_config": {"path": directory, "inode": None},
    }


def test_of_codeworms_files_what_is_typed_goes_before_the_environment() -> None:
    runner = CliRunner(env={"CODEWORM_DB_PATH": "/there/codeworm.db"})
    assert "--codeworm-db: name a file" in runner.invoke(main, ["relay", "--codeworm-db", ""]).output


async def test_channels_and_path_are_settings() -> None:
    async with relay_process("relay", "--channels", "a:logs, b", "--path", "/other") as relay:
        assert relay.url.endswith("/other")
        async with from_url(relay.redis_url) as publisher, v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe()
            await publisher.publish("b", b"1")
            await publisher.publish(LOGS, b"2")
            await publisher.publish("a:logs", b"3")
            await reader.read_until(2)
    assert [(envelope.channel, data) for envelope, data in zip(reader.envelopes, reader.data, strict=True)] == [
        ("b", 1),
        ("a:logs", 3),
    ]


async def test_without_tokens_the_original_dashboard_is_let_in() -> None:
    async with relay_process("--no-token") as relay:
        assert "none is wanted" in relay.banner
        origin = "http://localhost:5173"
        async with v1_reader(relay.url, origin=origin) as reader:
            await reader.send("ping")
            assert await reader.recv() == '{"type":"pong"}'


async def test_the_relays_log_can_be_json(silent_port: int) -> None:
    async with relay_process("--log-format", "json", "--redis-url", f"redis://127.0.0.1:{silent_port}") as relay:
        _, _, err = await relay.stop()
    lines = [orjson.loads(line) for line in err.splitlines()]
    assert lines
    assert all({"event", "level", "component", "timestamp"} <= line.keys() for line in lines)


async def test_a_taken_port_ends_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = await run("--port", str(port))
    assert status == 1
    assert (
        err
        == f"Error: port {port} on 127.0.0.1 is taken, perhaps by another relay: stop that one, or choose another with --port\n"
    )
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--redis-url", "http://localhost"], "--redis-url: 'http://localhost' cannot be used; expected redis://"),
        (["--redis-url", "redis://:secret@host:port"], "--redis-url: its host or port cannot be read"),
        (["--port", "99999"], "--port: 99999 is not between 0 and 65535"),
        (["--token", "short"], "--token: 8 to 256 letters"),
        (["--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
        (["--log-level", "loud"], "--log-level: 'loud' is none of"),
    ],
)
async def test_an_unusable_option_ends_with_one_clear_line(arguments: list[str], problem: str) -> None:
    status, out, err = await run(*arguments)
    assert status == 2
    assert problem in err
    assert "Traceback" not in out + err
    assert "secret" not in out + err


def test_no_token_typed_goes_before_a_token_in_the_environment() -> None:
    result = CliRunner(env={"CODEWORM_MONITOR_TOKEN": TOKEN}).invoke(main, ["relay", "--no-token", "--port", "99999"])
    assert "--port" in result.output
    result = CliRunner().invoke(main, ["relay", "--no-token", "--token", TOKEN])
    assert "contradicts" in result.output


def test_every_setting_has_an_option_and_a_variable_in_the_help() -> None:
    text = CliRunner().invoke(main, ["relay", "--help"], terminal_width=100).output
    for one in setting_fields():
        assert one.option in text
        assert one.variable in text
    for variable in ("REDIS_URL", "CODEWORM_DB_PATH", "CODEWORM_CONFIG_DIR"):
        assert variable in text
    assert re.search(r"Example: python -m codeworm_monitor relay", text)


def test_the_version_is_told() -> None:
    from codeworm_monitor import __version__

    assert CliRunner().invoke(main, ["--version"]).output == f"codeworm_monitor {__version__}\n"


@pytest.mark.parametrize("command", [[], *([name] for name in TABLE if name != "archive")])
def test_examples_in_help_texts_keep_their_lines(command: list[str]) -> None:
    text = CliRunner().invoke(main, [*command, "--help"]).output
    example = f"\n  Example: python -m codeworm_monitor {command[0]}" if command else "\n      mon = connect()\n"
    assert example in text
    assert "\\b" not in text


def test_the_help_lists_every_command_in_sections_and_loads_none() -> None:
    program = (
        "import sys; from codeworm_monitor.cli import main;"
        "main(['--help'], standalone_mode=False);"
        "print(*(name for name in sys.modules if name.startswith(('codeworm_monitor.cli_', 'rich', 'redis', 'asyncio'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *text, loaded = done.stdout.splitlines()
    assert loaded == ""
    sections = [line for line in text if re.fullmatch(r"\S.*:", line)]
    assert sections == ["Options:", "Relay:", "Look:", "Past:", "Set up:"]
    for name in TABLE:
        assert [line for line in text if line.startswith(f"  {name} ")]


@pytest.mark.parametrize("name", TABLE)
def test_every_command_of_the_table_is_there_under_its_name_and_told_in_its_own_words(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_a_module_that_is_broken_stops_no_other_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codeworm_monitor.cli_live", None)
    runner = CliRunner()
    broken = runner.invoke(main, ["tail"])
    assert broken.exit_code == 70
    assert broken.stderr.startswith("this is a bug of codeworm_monitor: ModuleNotFoundError: ")
    assert runner.invoke(main, ["relay", "--help"]).exit_code == 0
    assert "tail" in runner.invoke(main, ["--help"]).output


def test_a_library_that_is_missing_is_named_with_the_line_that_brings_it() -> None:
    program = "import sys; sys.modules['orjson'] = None; from codeworm_monitor.cli import main; main(['history'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    line = f"Error: orjson is not installed: {sys.executable} -m pip install --upgrade codeworm-monitor\n"
    assert (done.returncode, done.stderr) == (1, line)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("taill", "Did you mean 'tail'?"), ("hist", "Did you mean 'history'?"), ("zzz", "There are: relay,")],
)
def test_an_unknown_command_is_answered_with_the_nearest(typed: str, hint: str) -> None:
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"No such command {typed!r}. {hint}" in result.stderr


@pytest.mark.parametrize("option", ["--debug", "--config"])
def test_an_option_of_the_group_behind_the_command_is_told_where_it_stands(option: str) -> None:
    result = CliRunner().invoke(main, ["relay", option])
    assert result.exit_code == 2
    assert f"{option} stands before the command: " in result.stderr


@pytest.mark.parametrize("words", [["--config"], ["--debug", "--config"]])
def test_a_settings_file_that_is_not_named_is_missed(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "Option '--config' requires an argument" in result.stderr


BROKEN = """
import sys
import click
from codeworm_monitor import cli, cli_relay

@click.command("bench")
def bench():
    print("begun")
    {statement}

cli_relay.COMMANDS = (bench,)
cli.main(sys.argv[1:], prog_name="codeworm-monitor")
"""


def broken(statement: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with a `bench` that does this and nothing else."""
    program = BROKEN.replace("{statement}", statement)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bug_is_one_line_with_a_status_of_its_own_and_no_traceback() -> None:
    done = broken(r"raise ValueError('no\n\x1b[2Jway redis://:s3cret@host')", "bench")
    assert (done.returncode, done.stdout) == (70, "begun\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("this is a bug of codeworm_monitor: ValueError: no ")
    assert line.endswith("; run again with --debug to see where")
    assert "s3cret" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize("way", ["option", "variable"])
def test_with_debug_a_bug_is_told_with_its_place(way: str) -> None:
    if way == "option":
        done = broken("raise ValueError('no')", "--debug", "bench")
    else:
        done = broken("raise ValueError('no')", "bench", CODEWORM_MONITOR_DEBUG="1")
    assert done.returncode == 70
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.endswith("ValueError: no\n")


def test_an_error_of_this_package_is_plain_even_where_a_command_forgot_to_see_to_it() -> None:
    done = broken(
        "from codeworm_monitor.errors import ArchiveError; raise ArchiveError('the archive\\x1b is gone')", "bench"
    )
    assert (done.returncode, done.stderr) == (1, "Error: the archive· is gone\n")


@pytest.mark.parametrize("statement", ["raise KeyboardInterrupt", "raise click.Abort"])
def test_ctrl_c_is_quiet(statement: str) -> None:
    done = broken(statement, "bench")
    assert (done.returncode, done.stdout, done.stderr) == (130, "begun\n", "")


@pytest.mark.parametrize(
    "statement",
    ["pass", "print('x' * 1_000_000)", "import os; os.write(1, b'x')", "raise click.exceptions.Exit(3)"],
)
def test_a_reader_of_the_output_that_has_gone_is_no_complaint(statement: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = BROKEN.replace("{statement}", statement)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, "bench"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


async def test_the_demo_plays_real_traffic_through_the_real_path() -> None:
    process = await launch("demo", "--port", "0", "--speed", "1000", "--once")
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err
    text = out.decode()
    assert "Played 1316 messages." in text
    assert "redis://127.0.0.1:6379" not in text  # where another relay would look for CodeWorm
    assert "documentation_committed" in text
    assert "cycle_starting" in text


@pytest.mark.parametrize("is_archived", [True, False])
async def test_a_replay_serves_the_past_from_a_time_of_this_machine_on(tmp_path: Path, *, is_archived: bool) -> None:
    recording = Path(__file__).parent / "data" / "recording-1.jsonl.gz"
    if is_archived:
        status, _, err = await run("import", str(recording), "--archive", str(tmp_path))
        assert status == 0, err
    where = ("--archive", str(tmp_path)) if is_archived else ("--from-file", str(recording))
    past = (*where, "--port", "0", "--since", "2026-11-22T17:00", "--speed", "1000")
    process = await launch("replay", *past, TZ="EST5", CODEWORM_MONITOR_NO_ARCHIVE="1")
    assert process.stdout is not None
    banner = []
    async with asyncio.timeout(30):
        while not (banner and banner[-1].startswith("Serving")):
            banner.append((await process.stdout.readline()).decode())
    assert re.fullmatch(
        r"Serving the past from 2026-11-22 17:0\d:\d\d UTC-0500 on, 1000 times as fast\. Ctrl-C ends it\.\n", banner[-1]
    )
    (url,) = re.findall(r"connect to +(\S+)", "".join(banner))
    assert f"mon = connect('{url}')" in "".join(banner)
    assert "kept in" not in "".join(banner)
    assert [one.is_replay for one in await asyncio.to_thread(find, url)] == [True]
    async with v2_reader(url, TOKEN):
        pass
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode == 0


async def test_the_limit_of_open_files_is_raised_to_what_the_readers_may_need() -> None:
    limited = ("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh")
    async with relay_process("--max-readers", "1000", before=limited) as relay:
        soft, hard = resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)
        assert 1000 < soft <= hard
        await relay.stop()


async def test_a_limit_of_open_files_that_cannot_be_raised_is_told() -> None:
    limited = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
    async with relay_process("--max-readers", "1000", before=limited) as relay:
        _, _, err = await relay.stop()
    assert "the system allows 256 open files: room for some 192 readers, fewer than --max-readers" in err
