"""The status card in a real browser; what it says is tested with the monitor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import orjson
import pandas as pd
import pytest
from support.servers import require_program

from codeworm_monitor import open_recording
from codeworm_monitor.card import ollama_line

LOGS, EVENTS = "codeworm:logs", "codeworm:events"
MARK = "document.documentElement.dataset.reached=1"
HOSTILE = f"</td></table><img src=x onerror='{MARK}'><script>{MARK}</script><svg onload='{MARK}'>"


def browse(page: Path, *options: str) -> str:
    """Open a page in headless Chromium and return its document when all has run."""
    program = require_program("chromium", "apt install chromium")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [program, *quiet, "--disable-component-update", "--disable-sync", profile, *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def write_page(folder: Path, body: str) -> Path:
    page = folder / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{body}')
    return page


@pytest.fixture
def card(tmp_path: Path) -> str:
    """The card of a monitor that has seen hostile text in every place that is shown."""
    details = dict.fromkeys(("repo", "target", "doc_type", "language", "commit", "commit_message"), HOSTILE)
    messages = [
        (LOGS, {"event": "documentation_failed", "level": "error", "target": HOSTILE, "error": HOSTILE}),
        (EVENTS, {"type": "documentation_committed", "data": details}),
        (EVENTS, {"type": "analyzing", "data": details}),
    ]
    path = tmp_path / "recording.jsonl"
    path.write_bytes(
        b"\n".join(
            orjson.dumps({"t": 1_790_000_000.0 + n, "channel": channel, "payload": orjson.dumps(said).decode()})
            for n, (channel, said) in enumerate(messages)
        )
    )
    with open_recording(path) as rec:
        return rec._repr_html_()


def record(event: str, extra: object, *, error: str | None = None) -> pd.DataFrame:
    at = pd.Timestamp("2026-11-22T22:00:00Z")
    told = extra if isinstance(extra, str) else orjson.dumps(extra).decode()
    return pd.DataFrame([{"received_at": at, "timestamp": at, "event": event, "error": error, "extra": told}])


@pytest.mark.parametrize(
    ("records", "line"),
    [
        (record("ollama_reachable", {"version": "0.3", "models": []}), "reachable · version 0.3 · no model loaded"),
        (record("ollama_reachable", {"version": "0.1", "models": None}), "reachable · version 0.1"),
        (record("ollama_models", {"models": [{"name": "a"}, {"name": "b"}, 3]}), "reachable · a, b"),
        (record("ollama_unchanged", {"models": [{}], "size_vram": 2_500_000_000}), "reachable · ? · 2.5 GB of VRAM"),
        (
            record("ollama_unreachable", {"since": "2026-11-22T21:59:00Z"}, error="refused"),
            "not reachable since 2026-11-22T21:59:00Z: refused",
        ),
        (
            record("ollama_still_unreachable", "[", error=None),
            "not reachable since 2026-11-22 22:00:00 UTC: nobody knows why",
        ),
        (record("ollama_reachable", {}).iloc[:0], None),
    ],
)
def test_what_the_relay_saw_of_ollama_last_is_one_line(records: pd.DataFrame, line: str | None) -> None:
    assert ollama_line(records) == line


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_hostile_text_in_the_card_is_text_in_a_browser(card: str, tmp_path: Path) -> None:
    assert "data-reached" in browse(write_page(tmp_path, f"<table><tr><td>{HOSTILE}"), "--dump-dom"), "is inert anyway"
    document = browse(write_page(tmp_path, card), "--dump-dom")
    assert "data-reached" not in document
    assert "<img" not in document
    assert document.count("&lt;img src=x") >= 6  # activity, last commit, last error


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_the_card_can_be_read_by_day_and_by_night(card: str, tmp_path: Path) -> None:
    lightness = {}
    for theme, number in (("dark", 0), ("light", 1)):  # Chromium's own numbers
        picture = tmp_path / f"{theme}.png"
        scheme = f"--blink-settings=preferredColorScheme={number}"
        browse(write_page(tmp_path, card), scheme, "--window-size=800,400", f"--screenshot={picture}")
        pixels = matplotlib.image.imread(picture)[:200, :400, :3].mean(axis=2)
        lightness[theme] = float(np.median(pixels))
        strongest = np.abs(pixels - lightness[theme]).max()
        assert strongest > 0.6, f"{theme}: the text hardly differs from its ground"
    assert lightness["dark"] < 0.4 < 0.6 < lightness["light"]
