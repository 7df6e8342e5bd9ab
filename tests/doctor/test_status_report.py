"""The report of `status`: what it tells of Ollama beside the relay."""

from __future__ import annotations

from typing import Any

import pytest

from codeworm_monitor.doctor.status_report import status_as_dict, status_rows
from codeworm_monitor.health import Health, Look, judge

NOW = 1_795_384_606.0
REACHED = {"url": "http://o:11434", "is_reachable": True, "since": NOW - 60, "reason": "", "version": "0.12.6"}


def health(ollama: Any) -> Health:
    statistics = {"is_connected": True, "last_message_at": NOW - 60}
    return judge(Look(at=NOW, url="ws://x/ws", info={"statistics": statistics, "ollama": ollama}))


def row(ollama: Any) -> str | None:
    """Return the row of facts, not that of a reason."""
    return {row.name: row.text for row in status_rows(health(ollama))}.get("ollama")


@pytest.mark.parametrize("ollama", [None, {}, "?", []])
def test_of_ollama_that_is_not_looked_at_there_is_null_and_no_row(ollama: object) -> None:
    assert status_as_dict(health(ollama))["ollama"] is None
    assert row(ollama) is None


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ({"models": [], "models_loaded": 0, "size": 0, "size_vram": 0}, "no model loaded"),
        (
            {"models": [{"name": "a"}, {"name": "b"}], "models_loaded": 3, "size": 8e9, "size_vram": 5e9},
            "3 models loaded (8.0 GB, 5.0 GB of it VRAM): a, b",
        ),
        ({"models": [{"name": "a"}], "size": 8e9}, "1 model loaded (8.0 GB): a"),
        ({"models": None}, "too old to tell what is loaded"),
        ({"models": [{"name": "a"}], "outages": 2}, "1 model loaded: a · 2 outages"),
    ],
)
def test_what_is_loaded_is_one_row(told: dict[str, Any], end: str) -> None:
    said = row(REACHED | told)
    assert said is not None
    assert said.startswith("http://o:11434 · reached since ")
    assert said.endswith(f" · version 0.12.6 · {end}")


def test_in_an_outage_the_models_of_before_are_not_told() -> None:
    away = REACHED | {"is_reachable": False, "reason": "connection refused", "models": [{"name": "a"}], "outages": 1}
    told = status_as_dict(health(away))["ollama"]
    assert (told["is_reachable"], told["reason"], told["models"]) == (False, "connection refused", None)
    said = row(away)
    assert said is not None
    assert "NOT reached since" in said
    assert "loaded" not in said


def test_before_the_first_look_has_ended_nothing_is_claimed() -> None:
    first = {"url": "http://o:11434", "is_reachable": None, "outages": 0}
    assert row(first) == "http://o:11434 · not known yet"
    assert status_as_dict(health(first))["ollama"]["is_reachable"] is None


def test_of_a_relay_that_tells_too_many_models_few_are_named() -> None:
    told = status_as_dict(health(REACHED | {"models": [{"name": "m"}, 7, {"name": 7}] * 5000}))["ollama"]
    assert len(told["models"]) <= 16
