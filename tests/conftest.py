"""What every test has: no blocking call in the library's coroutines, places of its own for what relays write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from blockbuster import BlockBuster

DATA = Path(__file__).parent / "data"

# A time limit for one example would make a busy machine a failure; the tests' own limit holds for all.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")


@pytest.fixture(autouse=True)
def announcements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which relays of this test announce themselves."""
    folder = tmp_path / "announcements"
    monkeypatch.setenv("CODEWORM_MONITOR_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))  # where the archive is, unless named
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config-home"))  # where a settings file may be
    # A person's own settings, and what a terminal or CI says of colours, are not the test's.
    for name in [name for name in os.environ if name.startswith("CODEWORM_MONITOR_")]:
        if name.removeprefix("CODEWORM_MONITOR_") not in ("RUNTIME_DIR", "LONG_TESTS", "SOAK_SECONDS"):
            monkeypatch.delenv(name)
    for name in ("REDIS_URL", "CODEWORM_DB_PATH", "CODEWORM_CONFIG_DIR", "OLLAMA_HOST", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Fail a test in which code of the package blocks the event loop."""
    blockbuster = BlockBuster("codeworm_monitor")
    # What measures the coverage takes a lock of its own wherever it looks.
    blockbuster.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


@pytest.fixture(params=["recording-1", "recording-2"])
def recording(request: pytest.FixtureRequest) -> Path:
    """Each file of recorded traffic."""
    return DATA / f"{request.param}.jsonl.gz"
