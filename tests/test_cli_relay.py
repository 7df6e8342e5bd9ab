"""What `demo` and `replay` leave alone: they show the past, in which Ollama of now has no place."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from support.ollama_stand_in import QWEN, OllamaStandIn
from support.processes import launch, run

from codeworm_monitor.cli import main

RECORDING = Path(__file__).parent / "data" / "recording-1.jsonl.gz"
LINES = {"demo": ("demo",), "replay": ("replay", "--from-file", str(RECORDING))}


@contextlib.asynccontextmanager
async def running(*line: str, **environment: str) -> AsyncIterator[str]:
    """Start a command that serves, and yield where it is once its banner is whole."""
    process = await launch(*line, "--port", "0", **environment)
    assert process.stdout is not None
    try:
        banner = ""
        async with asyncio.timeout(30):
            while "/readyz" not in banner:
                more = await process.stdout.readline()
                assert more, banner
                banner += more.decode()
        (url,) = re.findall(r"connect to +(\S+)", banner)
        yield url
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("source", ["environment", "file"])
@pytest.mark.parametrize("command", ["demo", "replay"])
async def test_what_shows_the_past_does_not_look_at_ollama_of_now(tmp_path: Path, command: str, source: str) -> None:
    with OllamaStandIn(QWEN) as ollama:
        file = tmp_path / "settings.toml"
        file.write_text(f'ollama = "{ollama.url}"\nollama_every = 1.0\n')
        environment = {
            "environment": {"CODEWORM_MONITOR_OLLAMA": ollama.url},
            "file": {"CODEWORM_MONITOR_CONFIG": str(file)},
        }[source]
        async with running(*LINES[command], **environment) as url:
            _, out, err = await run("status", "--json", "--url", url)
            found = orjson.loads(out)
            assert found["relay"]["version"], err  # it told its state
            assert found["ollama"] is None
    assert ollama.asked == []


def test_replay_has_no_option_for_ollama() -> None:
    result = CliRunner().invoke(main, ["replay", "--ollama", "http://127.0.0.1:11434"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such option" in result.stderr


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_that_replay_cannot_read_is_named_with_its_option(option: str) -> None:
    result = CliRunner().invoke(main, ["replay", option, "some day"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"'{option}'" in result.stderr
    assert "some day" in result.stderr
