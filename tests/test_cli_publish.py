"""The command `publish` as a process, against real servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from support.published import Subscriber, subscribed
from support.servers import Server
from support.waiting import eventually

PROGRAM = "from codeworm_monitor.cli_publish import publish; publish()"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        yield running


@pytest.fixture
async def subscriber(server: Server) -> AsyncIterator[Subscriber]:
    async with subscribed(server) as heard:
        yield heard


async def start(*words: str, stdin: int = subprocess.PIPE) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *words),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )


async def run(*words: str, given: bytes = b"") -> tuple[int, str, str]:
    process = await start(*words)
    async with asyncio.timeout(30):
        out, err = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_message_is_published_as_it_is(server: Server, subscriber: Subscriber) -> None:
    status, out, err = await run("logs", '{"event":  "hello"}', "--redis-url", server.url)
    assert (status, err) == (0, "")
    assert out == f"published 1 message to codeworm:logs at {server.url}: reached 1 subscriber\n"
    assert subscriber.payloads == [("codeworm:logs", b'{"event":  "hello"}')]


async def test_other_text_becomes_a_log_line(server: Server, subscriber: Subscriber) -> None:
    words = ("logs", "disk full", "42", "--level", "error", "--component", "backup", "--redis-url", server.url)
    status, out, _ = await run(*words)
    assert (status, "each reached 1 subscriber" in out) == (0, True)
    assert [(line["event"], line["level"], line["component"]) for line in subscriber.on()] == [
        ("disk full", "error", "backup"),
        ("42", "error", "backup"),
    ]
    assert subscriber.on()[0]["timestamp"].endswith("Z")


async def test_lines_of_standard_input_arrive_in_order(server: Server, subscriber: Subscriber) -> None:
    lines = [b'{"event": "%d"}' % number if number % 2 else b"%d" % number for number in range(2500)]
    status, out, err = await run("--redis-url", server.url, given=b"\r\n\n".join(lines))
    assert (status, err, out.split()[1]) == (0, "", "2500")
    assert subscriber.events == [str(number) for number in range(2500)]


@pytest.mark.parametrize(("length", "count"), [(60_000, 1000), (200_000, 300)])
async def test_long_lines_are_not_dropped(length: int, count: int, server: Server) -> None:
    """More of them than may wait: sixty megabytes."""
    status, out, err = await run("--redis-url", server.url, given=(b"x" * length + b"\n") * count)
    assert (status, err, out.split()[:2]) == (0, "", ["published", str(count)])


async def test_a_line_arrives_though_more_may_come(server: Server, subscriber: Subscriber) -> None:
    process = await start("--redis-url", server.url)
    assert process.stdin is not None
    process.stdin.write(b"first\n")
    await subscriber.hears("first")
    process.stdin.write(b"second\n")
    await subscriber.hears("first", "second")
    await process.communicate(b"third\n")
    assert process.returncode == 0


async def test_odd_bytes_and_endless_lines_arrive_as_far_as_they_can(server: Server, subscriber: Subscriber) -> None:
    given = b"caf\xe9\x00\x1b\n" + b"x" * 3_000_000 + b"\n" + b'{"a": NaN}\nlast'
    status, out, err = await run("--redis-url", server.url, given=given)
    assert (status, err, out.split()[1]) == (0, "", "4")
    assert subscriber.events[0] == "caf\ufffd\x00\x1b"
    assert subscriber.events[1].startswith("xxx")
    assert subscriber.events[2:] == ['{"a": NaN}', "last"]


@pytest.mark.parametrize("words", [("backup finished",), ("disk full: sda 1", "42"), ("done",), ("relay",)])
async def test_a_first_word_that_names_no_channel_is_a_message(
    words: tuple[str, ...], server: Server, subscriber: Subscriber
) -> None:
    status, _, err = await run(*words, "--redis-url", server.url, given=b"not asked for\n")
    assert (status, err) == (0, "")
    await subscriber.hears(*words)


@pytest.mark.parametrize("word", ['{"event":"compact"}', '["a:b"]', '"a:b"'])
async def test_json_without_spaces_names_no_channel(word: str, server: Server, subscriber: Subscriber) -> None:
    status, out, _ = await run(word, "--redis-url", server.url)
    assert (status, "published 1 message to codeworm:logs" in out) == (0, True)
    await eventually(lambda: len(subscriber.payloads) == 1)


async def test_a_terminal_is_told_that_it_is_read(server: Server, subscriber: Subscriber) -> None:
    ours, theirs = os.openpty()
    try:
        process = await start("logs", "--redis-url", server.url, stdin=theirs)
        assert process.stderr is not None
        async with asyncio.timeout(30):
            told = await process.stderr.readline()
        assert told == b"each line you type is published to codeworm:logs; Ctrl-D ends\n"
        os.write(ours, b"typed\n\x04")
        await subscriber.hears("typed")
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, err, b"published 1 message" in out) == (0, b"", True)


async def test_any_channel_may_be_named(server: Server, subscriber: Subscriber) -> None:
    words = ("--channel", "events", "--redis-url", server.url)
    assert (await run('{"type": "x", "data": {}}', *words))[0] == 0
    assert subscriber.on("codeworm:events") == [{"type": "x", "data": {}}]
    status, out, _ = await run("train:logs", "text", "--redis-url", server.url)
    assert (status, "nobody is listening" in out, "train:logs" in out) == (0, True, True)


async def test_nobody_listening_is_said_and_no_failure(server: Server) -> None:
    status, out, _ = await run('{"event": "x"}', "--redis-url", server.url)
    assert (status, out.endswith(": nobody is listening\n")) == (0, True)


async def test_text_on_a_channel_that_wants_json_is_a_usage_error(server: Server) -> None:
    status, _, err = await run("events", "text", "--redis-url", server.url)
    assert (status, "no JSON object" in err) == (2, True)


async def test_a_redis_that_is_not_there_is_said_in_one_line(server: Server) -> None:
    await server.kill()
    status, out, err = await run("logs", "text", "--redis-url", server.url, "--timeout", "1")
    assert (status, out) == (1, "")
    assert "Connection refused" in err
    assert "Traceback" not in err


async def test_a_frozen_redis_is_given_up_in_time(server: Server) -> None:
    await server.do("CONFIG", "SET", "requirepass", "right")
    server.freeze()
    try:
        url = server.url.replace("//", "//:right@")
        status, _, err = await run("logs", "text", "--redis-url", url, "--timeout", "0.3")
        assert (status, "right@" in err, "Error" in err) == (1, False, True)
    finally:
        server.thaw()


async def test_what_redis_refuses_is_a_failure_that_keeps_the_password(server: Server) -> None:
    await server.do("ACL", "SETUSER", "half", "on", ">secret", "+@all", "-publish")
    url = server.url.replace("//", "//half:secret@")
    status, _, err = await run("logs", "text", "--redis-url", url)
    assert (status, "refused" in err, "NOPERM" in err, "secret" in err) == (1, True, True, False)


async def test_a_url_that_cannot_be_used_is_a_usage_error() -> None:
    status, _, err = await run("logs", "text", "--redis-url", "http://:secret@here")
    assert (status, "--redis-url" in err, "secret" in err) == (2, True, False)


async def test_help_shows_an_example() -> None:
    status, out, _ = await run("--help")
    assert status == 0
    assert "Example: python -m codeworm_monitor publish" in out


async def test_nothing_to_publish_is_said(server: Server) -> None:
    assert (await run("--redis-url", server.url))[:2] == (0, "there was nothing to publish\n")
