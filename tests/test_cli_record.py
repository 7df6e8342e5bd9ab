from __future__ import annotations

import asyncio
import gzip
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from support.processes import MODULE, TOKEN, RelayProcess, launch, relay_process, run
from support.servers import Server, free_port
from support.terminals import screen_of
from support.waiting import eventually

from codeworm_monitor import open_recording
from codeworm_monitor.cli import main
from codeworm_monitor.sources import Message
from codeworm_monitor.sources.recording import read_recording

LOGS, EVENTS = "codeworm:logs", "codeworm:events"
EXACT = [
    b'{"a" : 1.0 ,"a":1e5, "u":"\\u00e4"}',
    b' [1, "]},"] ',
    '{"ü":"\u2028\\u0000"}'.encode(),
    b"-0.0",
    b"no json \x1b[31m",
    b"",
]


def line(number: int) -> bytes:
    return orjson.dumps({"event": "x", "level": "info", "n": number})


async def read(path: Path) -> list[Message]:
    """Return the messages of a recording."""
    return await asyncio.to_thread(lambda: list(read_recording(path)))


async def payloads_in(path: Path) -> list[bytes]:
    """Return the payloads of a recording."""
    return [message.payload for message in await read(path)]


async def holds(path: Path, count: int) -> bool:
    """Tell whether a recording that may not be there yet holds so many messages."""
    return path.exists() and path.stat().st_size > 0 and len(await read(path)) == count


@asynccontextmanager
async def relayed(*options: str) -> AsyncIterator[tuple[RelayProcess, Server]]:
    async with Server() as server, relay_process("--redis-url", server.url, *(options or ("--no-archive",))) as relay:
        await eventually(lambda: server.subscribers())
        yield relay, server


@asynccontextmanager
async def recording(*arguments: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start `record`, and take it away whatever happens."""
    process = await launch("record", *arguments, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def is_followed(relay: RelayProcess) -> bool:
    """Tell whether a reader is connected."""
    _, out, _ = await run("status", "--json", "--url", relay.url)
    return orjson.loads(out)["readers"]["connected"] > 0


@pytest.mark.parametrize("name", ["traffic.jsonl", "traffic.jsonl.gz"])
async def test_what_was_published_is_in_the_file_byte_for_byte_and_open_recording_reads_it(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    async with relayed() as (relay, server):
        await server.publish(LOGS, EXACT)
        await server.publish(EVENTS, [line(7)])
        wanted = str(len(EXACT) + 1)
        status, out, err = await run("record", str(path), "--since", "1h", "--messages", wanted)
        assert (status, out) == (0, ""), err
        assert f"{wanted} messages" in err
        pages = await run(
            "record", str(tmp_path / "again.jsonl"), "--since", "1h", "--messages", "1", "--url", relay.url
        )
        assert pages[0] == 0
    messages = await read(path)
    assert [message.payload for message in messages] == [*EXACT, line(7)]
    assert [message.channel for message in messages] == [LOGS] * len(EXACT) + [EVENTS]
    assert await read(tmp_path / "again.jsonl") == messages[:1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")

    def rows() -> tuple[int, int]:
        with open_recording(path) as opened:
            return len(opened.logs), len(opened.events)

    assert await asyncio.to_thread(rows) == (len(EXACT), 1)


async def test_what_no_text_can_hold_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    async with relayed("--no-archive", "--max-payload", "1000") as (_, server):
        await server.publish(LOGS, [b"\xff\xfe", b"x" * 5000])
        status, _, err = await run("record", str(path), "--since", "1h", "--messages", "2")
        assert status == 0, err
    binary, large = [orjson.loads(text) for text in path.read_bytes().splitlines()]
    assert (binary["mark"], orjson.loads(binary["payload"])["base64"]) == ("raw", "//4=")
    assert (large["mark"], orjson.loads(large["payload"])["bytes"]) == ("truncated", 5000)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "traffic.jsonl"), (signal.SIGTERM, "traffic.jsonl.gz")])
async def test_a_signal_ends_it_with_a_whole_file(tmp_path: Path, number: signal.Signals, name: str) -> None:
    path = tmp_path / name
    async with relayed() as (relay, server), recording(str(path)) as process:
        await eventually(lambda: is_followed(relay))
        payloads = [line(n) for n in range(500)]
        await server.publish(LOGS, payloads)
        await eventually(lambda: path.exists())
        if name.endswith("gz"):
            await eventually(lambda: path.stat().st_size > 0)
        else:
            await eventually(lambda: path.read_bytes().count(b"\n") == 500)
        process.send_signal(number)
        _, err = await process.communicate()
    assert process.returncode == 0, err
    assert await payloads_in(path) == payloads
    assert b"500 messages" in err
    assert TOKEN.encode() not in err


@pytest.mark.parametrize("name", ["traffic.jsonl", "traffic.jsonl.gz"])
async def test_a_kill_leaves_a_file_that_can_be_read_as_it_lies(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    async with relayed() as (relay, server), recording(str(path)) as process:
        await eventually(lambda: is_followed(relay))
        await server.publish(LOGS, [line(n) for n in range(100)])
        await eventually(lambda: path.stat().st_size > 0)
        await server.publish(LOGS, [line(100)])
        process.kill()
        await process.communicate()
    payloads = await payloads_in(path)
    assert payloads[:100] == [line(n) for n in range(100)]
    assert len(payloads) in (100, 101)
    if name.endswith("gz"):
        assert gzip.decompress(path.read_bytes()).endswith(b"}\n")


async def test_a_file_that_is_there_stays_unless_forced_and_is_then_closed_to_others(tmp_path: Path) -> None:
    path, link = tmp_path / "traffic.jsonl", tmp_path / "link.jsonl"
    path.write_text("precious")
    path.chmod(0o644)
    link.symlink_to(path)
    async with relayed() as (_, server):
        await server.publish(LOGS, [line(1)])
        wanted = ("--since", "1h", "--messages", "1")
        status, _, err = await run("record", str(path), *wanted)
        assert (status, "--force" in err, path.read_text()) == (2, True, "precious")
        status, _, err = await run("record", str(link), *wanted, "--force")
        assert (status, path.read_text()) == (1, "precious"), err
        status, _, err = await run("record", str(tmp_path / "no" / "folder.jsonl"), *wanted)
        assert (status, "cannot be written" in err) == (1, True)
        status, _, err = await run("record", str(path), *wanted, "--force")
    assert status == 0, err
    assert await payloads_in(path) == [line(1)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_restart_of_the_relay_and_an_outage_of_redis_are_told_and_recording_goes_on(tmp_path: Path) -> None:
    path, port = tmp_path / "traffic.jsonl", free_port()
    options = ("--archive", str(tmp_path / "archive"))
    async with Server() as server:
        async with relay_process("--redis-url", server.url, *options, port=port) as relay:
            await eventually(lambda: server.subscribers())
            process = await launch("record", str(path), "--url", relay.url, "--messages", "30")
            await eventually(lambda: is_followed(relay))
            await server.publish(LOGS, [line(n) for n in range(10)])
            await eventually(lambda: holds(path, 10))
            await relay.stop()
        async with relay_process("--redis-url", server.url, *options, port=port) as relay:
            await eventually(lambda: server.subscribers())
            await eventually(lambda: is_followed(relay), within=30)
            await server.publish(LOGS, [line(n) for n in range(10, 20)])
            await eventually(lambda: holds(path, 20), within=30)
            await server.kill()
            await server.start()
            await eventually(lambda: server.subscribers(), within=30)
            await server.publish(LOGS, [line(n) for n in range(20, 30)])
            _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err
    assert await payloads_in(path) == [line(n) for n in range(30)]
    assert b"is tried again" in err
    assert b"gap (relay restart)" in err
    assert b"gap (source outage)" in err


async def test_without_a_relay_or_with_a_wrong_token_no_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    status, _, err = await run("record", str(path), "--url", f"ws://127.0.0.1:{free_port()}/ws")
    assert (status, path.exists()) == (1, False)
    assert "python -m codeworm_monitor" in err
    async with relayed() as (relay, _):
        status, _, err = await run("record", str(path), "--url", relay.url, "--token", "wrong-horse-battery")
    assert (status, path.exists()) == (1, False)
    assert "--token" in err
    assert "wrong-horse-battery" not in err


async def test_where_nothing_comes_no_file_stays_and_the_status_says_so(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl.gz"
    async with relayed():
        status, _, err = await run("record", str(path), "--for", "0.3s")
        assert (status, path.exists()) == (1, False)
        assert "nothing came" in err
        path.write_text("precious")
        status, _, err = await run("record", str(path), "--for", "0.3s", "--force")
    assert (status, path.read_text()) == (1, "precious")


async def test_only_channels_that_are_wanted_are_recorded_and_the_relays_own_if_named(tmp_path: Path) -> None:
    events, own, path = tmp_path / "events.jsonl", tmp_path / "own.jsonl", tmp_path / "all.jsonl"
    async with relayed() as (_, server):
        await server.publish(LOGS, [line(1)])
        await server.publish(EVENTS, [line(2)])
        await server.publish(LOGS, [line(3)])
        assert (await run("record", str(events), "--since", "1h", "--messages", "1", "--channel", "events"))[0] == 0
        assert (await run("record", str(own), "--since", "1h", "--messages", "1", "--channel", "relay"))[0] == 0
        assert (await run("record", str(path), "--since", "1h", "--messages", "3"))[0] == 0
    assert await payloads_in(events) == [line(2)]
    assert [message.channel for message in await read(own)] == ["codeworm:relay"]
    assert await payloads_in(path) == [line(1), line(2), line(3)]


async def test_a_full_disk_ends_it_in_one_line_and_what_was_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    # What measures the coverage has a file of its own, which may grow.
    limited = ("sh", "-c", 'ulimit -f 16; exec env -u COVERAGE_PROCESS_CONFIG -u COVERAGE_PROCESS_START "$@"', "sh")
    async with relayed() as (relay, server), recording(str(path), before=limited) as process:
        await eventually(lambda: is_followed(relay))
        for start in range(0, 2000, 20):
            await server.publish(LOGS, [line(n) for n in range(start, start + 20)])
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"cannot be written any more" in err
    assert b"Traceback" not in err
    payloads = await payloads_in(path)
    assert payloads
    assert payloads == [line(n) for n in range(len(payloads))]


async def test_on_a_terminal_it_counts(tmp_path: Path) -> None:
    async with relayed() as (_, server):
        await server.publish(LOGS, [line(1), line(2)])
        words = [*MODULE, "record", str(tmp_path / "x.jsonl"), "--since", "1h", "--messages", "2"]
        screen = await asyncio.to_thread(screen_of, words, CODEWORM_MONITOR_TOKEN=TOKEN)
        assert "2 messages, " in screen


@pytest.mark.parametrize(
    "options", [("--for", "soon"), ("--for", "0s"), ("--messages", "0"), ("--since", "whenever"), ("--url", "ftp://x")]
)
def test_a_wrong_line_is_an_error_of_usage(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["record", str(tmp_path / "x.jsonl"), *options])
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert not list(tmp_path.glob("x*"))
