from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from support.faked_relay import FakedRelay
from support.ollama_stand_in import QWEN, OllamaStandIn
from support.processes import MODULE, TOKEN, RelayProcess, relay_process, run
from support.servers import Server, free_port, stand_in
from support.terminals import screen_of
from support.waiting import eventually

from codeworm_monitor.cli import main

LOGS, EVENTS = "codeworm:logs", "codeworm:events"
KEYS = (
    *("verdict", "exit_status", "checked_at", "reasons", "relay", "upstream", "activity", "messages", "last_commit"),
    *("last_error", "failures_in_a_row", "archive", "readers", "gaps", "disk", "ollama"),
)
WRONG = "wrong-horse-battery"


def log(event: str, **fields: Any) -> bytes:
    return orjson.dumps({"event": event, "level": "info", "component": "daemon"} | fields)


async def heard(relay: RelayProcess, server: Server, *payloads: bytes) -> None:
    """Publish log lines and wait until the relay has them."""

    async def received() -> int:
        status = await look("--url", relay.url)
        return int(status["messages"]["received"].get(LOGS, 0))

    await eventually(lambda: server.subscribers())
    before = await received()
    await server.publish(LOGS, payloads)

    async def has_all() -> bool:
        return await received() == before + len(payloads)

    await eventually(has_all)


async def look(*options: str, **environment: str) -> dict[str, Any]:
    status, out, err = await run("status", "--json", *options, **environment)
    found: dict[str, Any] = orjson.loads(out)
    assert (found["exit_status"], err) == (status, "")
    return found


def reasons(found: dict[str, Any], *about: str) -> list[dict[str, str]]:
    """Return the reasons about these alone: this machine's disk may be full, and its processor busy."""
    return [reason for reason in found["reasons"] if reason["about"] in about]


async def test_status_follows_a_codeworm_from_health_over_failures_to_its_stop(tmp_path: Path) -> None:
    async with (
        Server() as server,
        relay_process("--redis-url", server.url, "--archive", str(tmp_path / "archive")) as relay,
    ):
        committed = log("documentation_committed", target="x.py", commit="abcd1234")
        await heard(relay, server, log("cycle_starting"), committed)
        found = await look()
        assert reasons(found, "codeworm", "upstream") == []
        assert found["ollama"] is None
        assert tuple(found) == KEYS
        assert found["relay"]["url"] == relay.url
        assert found["upstream"]["is_heard"]
        assert found["archive"]["is_writing"]
        assert found["disk"]["free_bytes"] > 0
        assert found["failures_in_a_row"] == 0
        await heard(relay, server, *[log("llm_error", error="out of memory")] * 3)
        found = await look()
        assert (found["verdict"], found["failures_in_a_row"]) == ("degraded", 3)
        (failing,) = reasons(found, "codeworm")
        assert "out of memory" in failing["what"]
        assert "history" in failing["mend"]
        await heard(relay, server, log("ollama_unavailable_waiting", url="x", retry_in_seconds=5))
        assert any("ollama serve" in reason["mend"] for reason in (await look())["reasons"])
        await heard(relay, server, log("daemon_stopped"))
        status, out, _ = await run("status")
        assert (status, out.split()[0]) == (2, "DOWN")
        assert "start CodeWorm again" in out


async def test_ollama_beside_the_relay_is_shown_and_is_a_reason_once_it_is_away() -> None:
    with OllamaStandIn(QWEN) as ollama:
        options = ("--no-archive", "--ollama", ollama.url, "--ollama-every", "1")
        async with Server() as server, relay_process("--redis-url", server.url, *options) as relay:

            async def seen(*, is_reachable: bool) -> dict[str, Any]:
                found: dict[str, Any] = {}

                async def is_seen() -> bool:
                    nonlocal found
                    found = await look("--url", relay.url)
                    return found["ollama"]["is_reachable"] is is_reachable

                await eventually(is_seen)
                return found

            found = await seen(is_reachable=True)
            assert found["ollama"].pop("since")
            assert found["ollama"] == {
                "url": ollama.url,
                "is_reachable": True,
                "reason": None,
                "version": "0.12.6",
                "models": ["qwen2.5-coder:7b"],
                "models_loaded": 1,
                "size_bytes": 6_591_830_464,
                "vram_bytes": 5_333_539_264,
                "outages": 0,
            }
            assert reasons(found, "ollama") == []
            _, out, _ = await run("status", "--url", relay.url)
            loaded = r"1 model loaded \(6\.6 GB, 5\.3 GB of it VRAM\): qwen2\.5-coder:7b"
            assert re.search(rf"^ollama +{ollama.url} · reached since .* · version 0\.12\.6 · {loaded}$", out, re.M)

            ollama.stop()
            found = await seen(is_reachable=False)
            assert found["verdict"] != "healthy"
            (away,) = reasons(found, "ollama")
            assert (away["verdict"], "connection refused" in away["what"]) == ("degraded", True)
            assert "ollama serve" in away["mend"]
            assert (found["ollama"]["models"], found["ollama"]["outages"]) == (None, 1)


async def test_a_relay_that_is_deaf_is_down_and_says_why() -> None:
    async with relay_process("--redis-url", f"redis://:secret-word@127.0.0.1:{free_port()}", "--no-archive") as relay:
        found = await look()
        assert (found["verdict"], found["upstream"]["is_heard"]) == ("down", False)
        assert "Connection refused" in found["reasons"][0]["what"]
        assert "secret-word" not in str(found)
        found = await look("--token", WRONG)
        assert found["verdict"] == "down"
        assert {reason["about"] for reason in found["reasons"]} == {"upstream", "relay"}
        assert WRONG not in str(found)
        assert found["relay"]["url"] == relay.url


async def test_a_wrong_token_is_degraded_where_the_relay_says_that_it_hears() -> None:
    async with FakedRelay(token=TOKEN).running() as relay:
        found = await look("--url", relay.url, CODEWORM_MONITOR_TOKEN=WRONG)
        assert (found["verdict"], found["upstream"]["is_heard"]) == ("degraded", True)
        assert "--token" in found["reasons"][0]["mend"]
        assert (await look("--url", relay.url))["relay"]["is_reachable"]


async def test_no_relay_is_down() -> None:
    url = f"ws://127.0.0.1:{free_port()}/ws"
    status, out, err = await run("status", CODEWORM_MONITOR_URL=url)
    assert (status, err) == (2, "")
    assert f"no relay answers at {url}: nothing listens there" in out


async def test_one_that_accepts_and_never_answers_is_down_in_bounded_time() -> None:
    async with stand_in() as url:
        found = await look("--url", url.replace("redis", "ws"), "--within", "0.3")
    assert (found["verdict"], found["relay"]["is_reachable"]) == ("down", False)
    assert "in time" in found["reasons"][0]["what"]


async def test_an_older_relay_that_has_no_history_and_tells_less_is_shown_as_far_as_it_goes() -> None:
    relay = FakedRelay()
    relay.tell("/info", {"statistics": {"is_connected": True, "version": "0.0.1"}, "snapshot": {"stage": "idle"}})
    async with relay.running():
        status, out, _ = await run("status", "--url", relay.url)
    assert status == 0
    assert re.search(r"relay .*version 0\.0\.1", out)
    assert re.search(r"failures +not known", out)


@pytest.mark.parametrize(
    "line", [("--nope",), ("--silence", "soon"), ("--within", "0"), ("--url", "ftp://x"), ("--url", "ws://[::1")]
)
def test_a_wrong_line_has_the_status_of_unknown_which_no_state_has(line: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["status", *line])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")


async def test_what_is_well_can_be_said() -> None:
    relay = FakedRelay()
    relay.tell("/info", {"statistics": {"is_connected": True, "last_message_at": time.time() - 60}, "snapshot": {}})
    async with relay.running():
        assert (await look("--url", relay.url, "--silence", "2min"))["verdict"] == "healthy"
        assert (await look("--url", relay.url, "--silence", "40"))["verdict"] == "degraded"
        assert (await look("--url", relay.url, "--silence", "10s"))["verdict"] == "down"


async def test_hostile_text_is_inert_on_the_screen_and_there_is_no_colour_in_a_pipe() -> None:
    hostile = "[red]x[/red]\x1b[2J\x1b]0;t\x07\n\u202edown\r" + "y" * 5000
    relay = FakedRelay()
    relay.tell(
        "/info",
        {
            "statistics": {"is_connected": True, "upstream": hostile, "version": hostile, "gaps": {hostile: 1}},
            "snapshot": {"stage": hostile, "repo": hostile, "last_error": {"at": time.time(), "error": hostile}},
        },
    )
    async with relay.running():
        status, out, _ = await run("status", "--url", relay.url)
        assert status == 0
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
        assert "[red]x[/red]" in out
        assert max(map(len, out.splitlines())) < 400
        words = [*MODULE, "status", "--url", relay.url]
        screen = await asyncio.to_thread(screen_of, words)
    assert "\x1b[" in screen  # in colour
    assert not any(text in screen for text in ("\x1b[2J", "\x1b]0", "\u202e", "\x07"))
    assert "[red]x[/red]" in screen


async def test_doctor_with_all_down_names_every_mend() -> None:
    status, out, err = await run(
        *("doctor", "--json", "--redis-url", f"redis://:secret-word@127.0.0.1:{free_port()}"),
        *("--url", f"ws://127.0.0.1:{free_port()}/ws", "--ollama", f"http://127.0.0.1:{free_port()}"),
        *(
            "--archive",
            "/nonexistent",
            "--codeworm-db",
            "/nonexistent/codeworm.db",
            "--codeworm-config",
            "/nonexistent",
        ),
    )
    assert (status, err) == (1, "")
    report = orjson.loads(out)
    failed = {one["check"]: one["mend"] for one in report["findings"] if one["outcome"] == "failed"}
    assert failed.keys() >= {
        *("redis.reachable", "relay.reachable", "archive.sound", "ollama.reachable"),
        *("codeworm.database", "codeworm.repositories"),
    }
    assert all(failed.values())
    assert not report["is_sound"]
    assert "secret-word" not in out
    assert TOKEN not in out


async def test_doctor_with_all_hanging_gives_up_without_a_traceback() -> None:
    async with stand_in() as url:
        ws, http = url.replace("redis", "ws"), url.replace("redis", "http")
        status, out, err = await run("doctor", "--redis-url", url, "--url", ws, "--ollama", http, "--listen", "0.5")
    assert (status, err) == (1, "")
    assert re.search(r"failed +redis\.reachable", out)
    assert re.search(r"failed +relay\.reachable +.*in time", out)
    assert re.search(r"failed +ollama\.reachable", out)


async def test_doctor_of_what_is_well_exits_0(tmp_path: Path) -> None:
    async with (
        Server() as server,
        relay_process("--redis-url", server.url, "--archive", str(tmp_path / "archive")) as relay,
    ):
        await heard(relay, server, log("cycle_starting"))
        await eventually((tmp_path / "archive" / "archive.sqlite").exists)
        only = [word for name in ("redis", "relay", "archive", "clock", "versions") for word in ("--only", name)]
        status, out, err = await run("doctor", *only, "--listen", "1")
    assert (status, err) == (0, ""), out
    assert "failed" not in out
    assert f"redis://127.0.0.1:{server.port} answers" in out
    assert "the relay heard the last message" in out


@pytest.mark.parametrize(
    "line", [("--only", "nothing"), ("--channels", " , "), ("--listen", "-1"), ("--url", "ftp://x")]
)
def test_a_wrong_line_of_doctor_is_an_error_of_usage(line: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["doctor", *line])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_help_has_an_example_and_says_what_the_status_means(command: str) -> None:
    out = " ".join(CliRunner().invoke(main, [command, "--help"]).stdout.split())
    assert f"Example: python -m codeworm_monitor {command}" in out
    assert "exit status" in out


def test_help_of_status_names_every_key() -> None:
    out = CliRunner().invoke(main, ["status", "--help"]).stdout
    assert [key for key in KEYS if not re.search(rf"\b{key}\b", out.partition("has the keys")[2])] == []
