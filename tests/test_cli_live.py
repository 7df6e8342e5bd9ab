from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import from_url
from support.processes import MODULE, TOKEN, launch, relay_process, run
from support.scripted_relay import ScriptedRelay
from support.served import EVENTS, LOGS, STATS, Served, served
from support.servers import free_port
from support.terminals import ENTERS, HIDES, LEAVES, SHOWS, Terminal, terminal
from support.waiting import eventually

from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.sources import Message
from codeworm_monitor.sources.recording import read_recording

RECORDING = Path(__file__).parent / "data" / "recording-1.jsonl.gz"
HOSTILE = {
    "ansi": "\x1b[2J\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b2J",
    "markup": "[red]x[/red]",
    "bidi": "\u202eabc",
    "lines": "one\r\ntwo\n",
}


def log_line(name: str, level: str = "info", **more: Any) -> bytes:
    return orjson.dumps({"event": name, "level": level, "component": "daemon", **more})


def say(relay: Served, *payloads: bytes, channel: str = LOGS) -> None:
    """Have a relay read payloads now."""
    relay.hub.receive([Message(channel, payload, time.time()) for payload in payloads])


@contextlib.asynccontextmanager
async def a_relay(**options: Any) -> AsyncIterator[Served]:
    """A relay in this loop, with a token."""
    async with served(token=TOKEN, **options) as relay:
        yield relay


async def publish_recording(relay: Served) -> list[Message]:
    messages = await asyncio.to_thread(lambda: list(read_recording(RECORDING)))
    now = time.time()
    relay.hub.receive([Message(one.channel, one.payload, now) for one in messages])
    return messages


async def tail_of(relay: Served, *words: str, **environment: str) -> list[str]:
    """Return the lines of `tail --no-follow`."""
    status, out, err = await run("tail", "--url", relay.url, "--no-follow", *words, **environment)
    assert (status, err) == (0, "")
    return out.splitlines()


async def following(relay_url: str, *words: str, **environment: str) -> asyncio.subprocess.Process:
    """Start `tail` in a pipe, and return once the relay has sent it the line `ready`."""
    return await launch("tail", "--url", relay_url, *words, **environment)


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode()


# tail


async def test_the_newest_lines_of_recorded_traffic_are_one_a_message() -> None:
    async with a_relay(entries=5000) as relay:
        messages = await publish_recording(relay)
        lines = await tail_of(relay, "-n", "100")
        everything = await tail_of(relay, "--since", "1h")
    assert len(lines) == 100
    assert lines == everything[-100:]
    assert len(everything) == len(messages)
    for line, message in zip(everything, messages, strict=True):
        data = orjson.loads(message.payload)
        assert (data.get("event") or data.get("type") or "stats") in line
        assert line.isprintable()


async def test_conditions_are_judged_by_the_relay_and_the_last_so_many_of_them_are_looked_for() -> None:
    async with a_relay() as relay:
        say(relay, log_line("failed", "error", error="out of memory"), log_line("failed", "error", target="second"))
        say(relay, *[log_line("busy") for _ in range(50)])
        say(relay, orjson.dumps({"type": "generating", "data": {"repo": "click"}}), channel=EVENTS)
        say(relay, orjson.dumps({"type": "generating", "data": {"repo": "httpx"}}), channel=EVENTS)
        say(relay, orjson.dumps({"event": "x", "level": "error", "component": "other"}))
        errors, newest, found, click, stats, nothing = await asyncio.gather(
            tail_of(relay, "--level", "error", "--component", "daemon"),
            tail_of(relay, "--level", ">=error", "-n", "1"),
            tail_of(relay, "--grep", "OUT OF"),
            tail_of(relay, "--repo", "click", "--channel", "events"),
            tail_of(relay, "--channel", "stats"),
            tail_of(relay, "-n", "0"),
        )
    assert [line.split()[3] for line in errors] == ["failed", "failed"]
    assert ["other" in line for line in newest] == [True]
    assert len(found) == 1
    assert "out of memory" in found[0]
    assert ["click" in line for line in click] == [True]
    assert stats == nothing == []


async def test_as_json_each_message_and_gap_is_an_object() -> None:
    async with a_relay() as relay:
        say(relay, orjson.dumps({"event": "x", **HOSTILE}), b"no json")
        relay.hub.report(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.0, ended_at=2.0, detail="away"))
        say(relay, b"[1]", channel=STATS)
        lines = await tail_of(relay, "--json", "--since", "1h")
    first, second, gap, last = map(orjson.loads, lines)
    assert abs(first.pop("received_at") - time.time()) < 60
    assert first == {
        "epoch": "e",
        "offset": 1,
        "channel": LOGS,
        "data": {"event": "x", **HOSTILE},
    }
    assert (second["data"], second["mark"]) == ({"raw": "no json"}, "raw")
    assert (gap["epoch"], gap["gap"]["cause"], gap["gap"]["offset"]) == ("e", "source_outage", 3)
    assert (last["channel"], last["data"]) == (STATS, [1])
    assert all(line.isprintable() for line in lines)


async def test_hostile_text_is_inert_and_a_megabyte_is_cut() -> None:
    async with a_relay() as relay:
        payload = {key: value for key in ("event", "target", "error", "exception") for value in HOSTILE.values()}
        say(relay, orjson.dumps({**payload, **HOSTILE}), log_line("big", error="x" * 500_000))
        say(relay, *[orjson.dumps({**dict.fromkeys(("event", "error"), text)}) for text in HOSTILE.values()])
        lines = await tail_of(relay, "--traceback", FORCE_COLOR="1")
        plain = await tail_of(relay)
    assert len(plain) == 2 + len(HOSTILE)
    assert all(line.isprintable() and len(line) < 8000 for line in plain)
    assert "[red]x[/red]" in "".join(plain)
    coloured = "".join(lines)
    assert "\x1b[31m" in coloured
    assert "\x1b[2J" not in coloured
    assert "\x9b" not in coloured


async def test_tracebacks_end_in_their_last_line_unless_asked_for_whole() -> None:
    trace = "Traceback (most recent call last):\n  File 'a.py', line 1\nValueError: bad"
    async with a_relay() as relay:
        say(relay, log_line("failed", "error", exception=trace))
        (short,) = await tail_of(relay)
        whole = await tail_of(relay, "--traceback")
    assert short.endswith("ValueError: bad")
    assert [line.strip() for line in whole[1:]] == trace.replace("  ", "").splitlines()


async def test_of_the_relays_own_records_only_warnings_come_unless_its_channel_is_named() -> None:
    own = {"component": "relay"}
    async with a_relay() as relay:
        for name, level in (("reader_connected", "info"), ("upstream_lost", "warning")):
            say(relay, orjson.dumps({"event": name, "level": level, **own}), channel="codeworm:relay")
        usual = await tail_of(relay, "--since", "1h")
        named = await tail_of(relay, "--channel", "relay", "--since", "1h")
    assert [line.split()[3] for line in usual] == ["upstream_lost"]
    assert [line.split()[3] for line in named] == ["reader_connected", "upstream_lost"]


async def test_in_a_pipe_each_line_comes_at_once_and_without_colour() -> None:
    async with a_relay() as relay:
        say(relay, log_line("ready"))
        process = await following(relay.url)
        assert "ready" in await next_line(process)
        say(relay, log_line("second", "error"))
        line = await next_line(process)
        assert "second" in line
        assert "\x1b" not in line
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (128 + signal.SIGINT, b"", b"")


async def test_when_the_reader_of_the_pipe_goes_it_ends_silently_though_nothing_comes() -> None:
    async with a_relay() as relay:
        say(relay, log_line("ready"))
        words = f"{' '.join(MODULE)} tail --url {relay.url} -n 1 | head -n 1; echo ${{PIPESTATUS[0]}}"
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "CODEWORM_MONITOR_TOKEN": TOKEN},
        )
        async with asyncio.timeout(20):
            out, err = await process.communicate()
    line, status = out.decode().splitlines()
    assert "ready" in line
    assert (status, err) == ("0", b"")


async def test_ctrl_c_ends_it_also_while_a_write_waits_for_a_pager() -> None:
    async with a_relay(entries=5000) as relay:
        await publish_recording(relay)
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *MODULE,
                *("tail", "--url", relay.url, "--since", "1h"),
                stdout=writing,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "CODEWORM_MONITOR_TOKEN": TOKEN},
            )
            room = select.poll()
            room.register(writing, select.POLLOUT)
            await eventually(lambda: not room.poll(0))
            os.close(writing)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(10):
                _, err = await process.communicate()
        finally:
            os.close(reading)
    assert (process.returncode, err) == (130, b"")


async def test_a_refusal_is_told_in_a_pipe_too() -> None:
    relay = ScriptedRelay(token=TOKEN)
    async with relay.running():
        relay.publish({"event": "one"})
        process = await following(relay.url)
        assert "one" in await next_line(process)
        relay.token = "another-token"
        relay.cut()
        assert process.stderr is not None
        async with asyncio.timeout(20):
            told = (await process.stderr.readline()).decode()
        assert "it wants another token" in told
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def test_a_lost_connection_costs_no_line_and_a_pipe_hears_nothing_of_it() -> None:
    relay = ScriptedRelay(token=TOKEN)
    async with relay.running():
        relay.publish({"event": "one"})
        process = await following(relay.url)
        assert "one" in await next_line(process)
        relay.cut()
        relay.publish({"event": "two"}, {"event": "three"})
        assert "two" in await next_line(process)
        assert "three" in await next_line(process)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (out, err) == (b"", b"")
    assert relay.requests[1]["since"] == {"cursor": "epoch-1:1"}


async def test_on_a_terminal_levels_are_coloured_and_the_connection_is_told_in_a_line_each() -> None:
    relay = ScriptedRelay(token=TOKEN)
    async with relay.running(), terminal("tail", "--url", relay.url, columns=120) as screen:
        await eventually(lambda: relay.requests)
        relay.publish({"event": "one", "level": "error"})
        await screen.shows("one")
        assert b"\x1b[31merror" in screen.sent
        relay.cut()
        await screen.shows(f"codeworm_monitor: lost the relay at {relay.url}")
        relay.publish({"event": "two"})
        await screen.shows("two", ": nothing was missed")
        screen.press("\x03")
        assert await screen.ended() == 130
        assert "Traceback" not in screen.text


async def test_no_color_is_honoured_on_a_terminal() -> None:
    async with a_relay() as relay, terminal("tail", "--url", relay.url, "-n", "1", NO_COLOR="1") as screen:
        say(relay, log_line("one", "error"))
        await screen.shows("error", "one")
        assert b"\x1b[31m" not in screen.sent


async def test_a_restarted_relay_is_found_again_with_a_gap_between_in_tail_and_in_top(tmp_path: Path) -> None:
    port = free_port()
    words = ("--archive", str(tmp_path / "archive"))
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(relay_process(*words, port=port))
        tail = await stack.enter_async_context(terminal("tail", columns=150))
        top = await stack.enter_async_context(terminal("top"))
        await top.shows("● connected", "upstream heard", "archive written")
        async with from_url(relay.redis_url) as publisher:
            await publisher.publish(LOGS, log_line("before"))
        await tail.shows("before")
        await relay.stop()
        await top.shows("◌ reconnecting")
        await tail.shows("lost the relay")
        again = await stack.enter_async_context(relay_process(*words, port=port))
        await tail.shows("-- gap", "the relay was away (relay_restart)")
        async with from_url(again.redis_url) as publisher:
            await publisher.publish(LOGS, log_line("llm_error", "error", error="out of memory"))
        text = await tail.shows("llm_error")
        assert text.index("before") < text.index("-- gap") < text.index("llm_error")
        await top.shows("● connected", "1 reconnect · 1 gap, relay_restart", "FAILED", "out of memory")
        tail.press("\x03")
        top.press("q")
        assert (await tail.ended(), await top.ended()) == (130, 0)


async def test_without_a_relay_there_is_one_plain_line() -> None:
    url = f"ws://127.0.0.1:{free_port()}/ws"
    for command in ("tail",):
        status, out, err = await run(command, "--url", url)
        assert (status, out) == (1, "")
        assert err.startswith(f"Error: no relay answers at {url} (nothing listens there): start one with")
        assert err.count("\n") == 1


async def test_a_wrong_token_is_told_and_not_shown() -> None:
    async with a_relay() as relay:
        status, _, err = await run("tail", "--url", relay.url, CODEWORM_MONITOR_TOKEN="wrong-token")
    assert status == 1
    assert "into CODEWORM_MONITOR_TOKEN" in err
    assert "wrong-token" not in err


async def test_a_relay_that_is_not_there_yet_is_waited_for() -> None:
    relay, port = ScriptedRelay(token=TOKEN), free_port()
    relay.publish({"event": "one"})
    process = await following(f"ws://127.0.0.1:{port}/ws", "--wait")
    async with relay.running(port):
        assert "one" in await next_line(process)
        process.send_signal(signal.SIGINT)
        await process.communicate()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--level", "loud"], "'loud' is no level"),
        (["--since", "someday"], "'someday' is no time"),
        (["--grep", "x" * 300], "--grep takes at most 256 characters"),
        (["--url", "ftp://host"], "a relay's URL looks like"),
        (["-n", "-1"], "-1 is not in the range"),
    ],
)
async def test_what_cannot_be_used_is_told_in_a_plain_line(words: list[str], problem: str) -> None:
    status, out, err = await run("tail", *words)
    assert (status, out) == (2, "")
    assert problem in err


@pytest.mark.parametrize("command", ["tail", "top"])
async def test_the_help_has_an_example(command: str) -> None:
    status, out, _ = await run(command, "--help")
    assert status == 0
    assert f"\n  Example: python -m codeworm_monitor {command}" in out


# top


def is_restored(screen: Terminal) -> bool:
    """Tell whether the terminal was given back: the former screen, the cursor, echo."""
    return screen.sent.count(ENTERS) == screen.sent.count(LEAVES) and screen.sent.rfind(SHOWS) > screen.sent.rfind(
        HIDES
    )


@contextlib.asynccontextmanager
async def top(relay: Served, **options: Any) -> AsyncIterator[Terminal]:
    async with terminal("top", "--url", relay.url, **options) as screen:
        await screen.shows("● connected", "quit")
        yield screen


async def test_the_screen_shows_what_happens_as_it_happens() -> None:
    async with a_relay(entries=5000) as relay:
        await publish_recording(relay)
        async with top(relay) as screen:
            await screen.shows("Newest commits", "Newest errors", "documents in")
            now = time.time()
            start = orjson.dumps({"type": "generating", "data": {"target": "brand_new", "repo": "click"}})
            relay.hub.receive([Message(EVENTS, start, now)])
            await screen.shows("GENERATING for", "click · brand_new")
            relay.hub.receive([Message(LOGS, log_line("llm_error", "error", error="out of memory"), now)])
            await screen.shows("FAILED for", "out of memory")
            assert len(screen.lines) == 24
            assert all(len(line) <= 80 for line in screen.lines)


@pytest.mark.parametrize("key", ["q", "\x1b", "\x03"])
async def test_a_key_quits_and_gives_the_terminal_back(key: str) -> None:
    async with a_relay() as relay, top(relay) as screen:
        screen.press("\x1b[A")  # an arrow begins as Esc does, and quits nothing
        screen.press(key)
        assert await screen.ended() == 0
        assert ENTERS in screen.sent
        assert is_restored(screen)


async def test_a_signal_gives_the_terminal_back() -> None:
    async with a_relay() as relay, top(relay) as screen:
        screen.child.kill(signal.SIGTERM)
        assert await screen.ended() == 0
        assert is_restored(screen)


async def test_an_unexpected_error_gives_the_terminal_back() -> None:
    broken = (
        "from codeworm_monitor.terminal import top\n"
        "from codeworm_monitor.cli_live import top as command\n"
        "real, calls = top.top_view, []\n"
        "def view(*a, **k):\n"
        "    calls.append(1)\n"
        "    return real(*a, **k) if len(calls) < 4 else 1 / 0\n"
        "top.top_view = view\n"
        "command()\n"
    )
    async with a_relay() as relay:
        command = [MODULE[0], "-c", broken, "--url", relay.url]
        async with terminal(command=command, rows=50) as screen:
            assert await screen.ended() == 1
            assert is_restored(screen)
            assert "ZeroDivisionError" in screen.text


async def test_another_size_is_drawn_at_once() -> None:
    async with a_relay() as relay, top(relay, columns=120, rows=40) as screen:
        await screen.shows("── Health")
        screen.resize(40, 12)
        await screen.until(lambda: "quit" in screen.lines[11] and "Health" not in screen.text)
        screen.resize(200, 60)
        await screen.until(lambda: "quit" in screen.lines[59])


async def test_paused_it_stands_still_and_then_shows_what_came() -> None:
    async with a_relay() as relay, top(relay) as screen:
        screen.press("p")
        await screen.shows("PAUSED")
        say(relay, log_line("llm_error", "error", error="meanwhile"))
        frozen = screen.text
        async with asyncio.timeout(10):  # two pictures later
            drawn = len(screen.sent)
            while len(screen.sent) < drawn + 1000:
                screen.read()
                await asyncio.sleep(0.01)
        assert screen.text == frozen
        screen.press("p")
        await screen.shows("meanwhile")
        assert "PAUSED" not in screen.text


async def test_help_is_a_page_that_any_key_leaves() -> None:
    async with a_relay() as relay, top(relay) as screen:
        screen.press("?")
        await screen.shows("codeworm_monitor top", "this page")
        screen.press("x")
        await screen.shows("── Activity")
        screen.press("?")
        await screen.shows("this page")
        screen.press("\x1b")
        await screen.shows("── Activity")


async def test_stopped_by_the_keyboard_it_gives_the_terminal_back_and_takes_it_again() -> None:
    async with a_relay() as relay, top(relay) as screen:
        screen.press("\x1a")
        await screen.until(lambda: screen.sent.count(LEAVES) == 1)
        assert is_restored(screen)
        await eventually(
            lambda: Path(f"/proc/{screen.child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        )
        screen.child.kill(signal.SIGCONT)
        await screen.until(lambda: screen.sent.count(ENTERS) == 2)
        await screen.shows("── Activity")
        screen.press("q")
        assert await screen.ended() == 0
        assert is_restored(screen)


async def test_hostile_text_moves_nothing_on_the_screen() -> None:
    async with a_relay() as relay, top(relay, columns=120, rows=40) as screen:
        for text in HOSTILE.values():
            say(relay, log_line("llm_error", "error", error=text, target=text, exception=text))
            named = {"target": text, "repo": text, "doc_type": text, "commit": text}
            say(relay, orjson.dumps({"type": "documentation_committed", "data": named}), channel=EVENTS)
            say(relay, orjson.dumps({"type": "generating", "data": named}), channel=EVENTS)
        say(relay, log_line("llm_error", "error", error="y" * 500_000))
        await screen.shows("yyyy", "[red]x[/red]")
        assert screen.lines[0].startswith(" ● connected")
        assert "quit" in screen.lines[39]
        assert screen.screen.title == ""
        assert b"\x1b[2J\x1b[31mred" not in screen.sent
        assert "\u202e" not in screen.text


async def test_without_a_relay_top_is_one_plain_line_and_takes_no_screen() -> None:
    async with terminal("top", "--url", f"ws://127.0.0.1:{free_port()}/ws", columns=200) as screen:
        assert await screen.ended() == 1
        assert "Error: no relay answers at" in screen.text
        assert ENTERS not in screen.sent


async def test_a_relay_that_is_not_there_yet_is_waited_for_on_the_screen() -> None:
    relay, port = ScriptedRelay(token=TOKEN), free_port()
    async with terminal("top", "--wait", "--url", f"ws://127.0.0.1:{port}/ws") as screen:
        await screen.shows("◌ connecting", "nothing listens there")
        async with relay.running(port):
            await screen.shows("● connected")
            screen.press("q")
            assert await screen.ended() == 0


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}])
async def test_where_there_is_no_terminal_it_says_what_to_use_instead(environment: dict[str, str]) -> None:
    if environment:
        async with terminal("top", columns=200, **environment) as screen:
            status = await screen.ended()
            said = screen.text
    else:
        status, _, said = await run("top")
    assert status == 1
    assert "top needs a terminal: for one look, use `python -m codeworm_monitor status`" in said
