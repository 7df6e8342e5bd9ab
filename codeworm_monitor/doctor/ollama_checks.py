"""Checks of Ollama: whether it answers, and holds the model that CodeWorm uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from shlex import quote
from urllib.parse import urlsplit

from codeworm_monitor.doctor.case import Case, Finding, Outcome
from codeworm_monitor.errors import OllamaError
from codeworm_monitor.ollama import OllamaState, read_ollama

__all__ = ["DEFAULT_OLLAMA", "check_ollama", "ollama_url"]

DEFAULT_OLLAMA = "http://127.0.0.1:11434"


def check_ollama(case: Case) -> Iterator[Finding]:
    """Look at Ollama; nothing is loaded by it."""
    named = case.ollama or os.environ.get("OLLAMA_HOST")
    url = ollama_url(named)
    try:
        state = read_ollama(url, case.step)
    except OllamaError as error:
        # Without a word where it is, it may be on another machine.
        outcome = Outcome.FAILED if named else Outcome.WARNING
        mend = "start it: ollama serve (systemctl start ollama); or name another: --ollama http://HOST:11434"
        yield Finding("ollama.reachable", outcome, str(error), mend)
        return
    yield Finding("ollama.reachable", Outcome.OK, f"{url} answers, release {state.version}")
    yield _loaded(case, state)


def ollama_url(named: str | None) -> str:
    """Return the URL that a setting or `OLLAMA_HOST` means: that may be a bare host, a port, or an address to listen on."""
    if not named or not named.strip():
        return DEFAULT_OLLAMA
    text = named.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    place = rest.rstrip("/")
    if place.startswith(":"):
        place = f"127.0.0.1{place}"
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return text  # whoever reads it says what is wrong
    if host in ("0.0.0.0", "::"):  # where it listens, not where it is asked
        place = "127.0.0.1" if port is None else f"127.0.0.1:{port}"
    if port is None and not separator:
        place = f"{place}:11434"
    return f"{scheme}://{place}"


def _loaded(case: Case, state: OllamaState) -> Finding:
    wanted = _model_of_codeworm(case)
    if state.models is None:
        return Finding(
            "ollama.model",
            Outcome.SKIPPED,
            "this release of Ollama does not tell what is loaded",
            "update it: curl -fsSL https://ollama.com/install.sh | sh",
        )
    names = [model.name for model in state.models]
    load = f"load it: ollama run {quote(wanted or 'MODEL')} ''"
    if not names:
        whose = f"CodeWorm's {wanted} is loaded with its next cycle" if wanted else "the next cycle loads one first"
        return Finding("ollama.model", Outcome.WARNING, f"no model is loaded: {whose}, which takes a while", load)
    if wanted is not None and not any(_is_same(wanted, name) for name in names):
        said = f"{', '.join(names)} is loaded, but CodeWorm uses {wanted}: the two may take turns in memory"
        return Finding("ollama.model", Outcome.WARNING, said, load)
    slow = [
        model.name
        for model in state.models
        if model.size and model.size_vram is not None and model.size_vram < model.size
    ]
    if slow:
        said = f"{', '.join(slow)} is loaded, but not wholly in the graphics card's memory: it runs slowly"
        return Finding(
            "ollama.model",
            Outcome.WARNING,
            said,
            "see what else is there (ollama ps, nvidia-smi), or take a smaller model",
        )
    return Finding("ollama.model", Outcome.OK, f"{', '.join(names)} is loaded")


def _model_of_codeworm(case: Case) -> str | None:
    """Return the model that CodeWorm named at its newest start, as far as the relay remembers."""
    for entry in case.recent(channel="logs", text="llm_initialized", reverse="true", limit=1):
        if entry.text("data", "event") == "llm_initialized":
            return entry.text("data", "model")
    return None


def _is_same(one: str, other: str) -> bool:
    return one.removesuffix(":latest") == other.removesuffix(":latest")
