"""How long the soak takes: `--soak-seconds`, else `CODEWORM_MONITOR_SOAK_SECONDS`, else half a minute."""

from __future__ import annotations

import os

import pytest

DEFAULT = 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-seconds", type=float, default=None, help="seconds that the soak of tests/soak takes")


def _seconds(config: pytest.Config) -> float:
    # The option is known only where this folder is named on the command line.
    given = config.getoption("--soak-seconds", default=None)
    return float(given or os.environ.get("CODEWORM_MONITOR_SOAK_SECONDS") or DEFAULT)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "soak_seconds" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_seconds(config) + 120))


@pytest.fixture
def soak_seconds(pytestconfig: pytest.Config) -> float:
    """Seconds of load."""
    return _seconds(pytestconfig)
