from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.canned_http import canned
from support.faked_relay import FakedRelay
from support.findings import case_of, findings, outcomes
from support.servers import free_port, stand_in

from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.doctor.ollama_checks import check_ollama, ollama_url

VERSION = b'{"version":"0.12.6"}'


def loaded(*models: tuple[str, int, int]) -> dict[str, bytes]:
    """What an Ollama answers that holds these models: name, size, and what of it is in video memory."""
    told = [
        {"name": name, "model": name, "size": size, "size_vram": vram, "details": {}} for name, size, vram in models
    ]
    return {"/api/version": VERSION, "/api/ps": orjson.dumps({"models": told})}


@pytest.fixture(autouse=True)
def no_ollama_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


async def test_an_ollama_that_is_down_fails_where_it_was_named() -> None:
    found = await findings(check_ollama, case_of(ollama=f"http://127.0.0.1:{free_port()}"))
    assert outcomes(found) == {"ollama.reachable": Outcome.FAILED}
    assert "ollama serve" in found["ollama.reachable"].mend


async def test_one_that_hangs_is_given_up() -> None:
    async with stand_in() as url:
        found = await findings(check_ollama, case_of(ollama=url.replace("redis", "http"), step=0.3))
    assert outcomes(found) == {"ollama.reachable": Outcome.FAILED}


@pytest.mark.parametrize(
    ("models", "used", "outcome", "said"),
    [
        ([("coder:7b", 8, 8)], "coder:7b", Outcome.OK, "coder:7b is loaded"),
        ([("coder:latest", 8, 8)], "coder", Outcome.OK, "is loaded"),
        ([("coder:7b", 8, 8)], None, Outcome.OK, "is loaded"),
        ([], "coder:7b", Outcome.WARNING, "CodeWorm's coder:7b"),
        ([], None, Outcome.WARNING, "no model is loaded"),
        ([("other:7b", 8, 8)], "coder:7b", Outcome.WARNING, "but CodeWorm uses coder:7b"),
        ([("coder:7b", 8, 3)], "coder:7b", Outcome.WARNING, "not wholly in the graphics card's memory"),
    ],
)
async def test_the_model_that_codeworm_uses_should_be_loaded(
    models: list[tuple[str, int, int]], used: str | None, outcome: Outcome, said: str
) -> None:
    relay = FakedRelay()
    entries: list[Any] = [] if used is None else [{"data": {"event": "llm_initialized", "model": used}}]
    relay.tell("/history", {"entries": entries, "next": None})
    async with canned(loaded(*models)) as url, relay.running():
        found = await findings(check_ollama, case_of(relay.url, ollama=url))
    assert outcomes(found)["ollama.model"] is outcome
    assert said in found["ollama.model"].said


async def test_an_old_release_tells_no_models_and_another_program_is_no_ollama() -> None:
    async with canned({"/api/version": VERSION}) as url:
        found = await findings(check_ollama, case_of(ollama=url))
    assert outcomes(found)["ollama.model"] is Outcome.SKIPPED
    async with canned({}) as url:
        found = await findings(check_ollama, case_of(ollama=url))
    assert outcomes(found)["ollama.reachable"] is Outcome.FAILED


@pytest.mark.parametrize(
    ("named", "url"),
    [
        (None, "http://127.0.0.1:11434"),
        (" ", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        (":1234", "http://127.0.0.1:1234"),
        ("gpu", "http://gpu:11434"),
        ("gpu:1234/", "http://gpu:1234"),
        ("https://gpu", "https://gpu"),
        ("http://[::1]:1234", "http://[::1]:1234"),
    ],
)
def test_what_ollama_itself_takes_for_its_host_is_understood(named: str | None, url: str) -> None:
    assert ollama_url(named) == url
