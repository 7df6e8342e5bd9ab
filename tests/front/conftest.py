"""One browser for all tests of the front end; each has contexts of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.chromium import SharedChromium, shared_chromium


@pytest.fixture(scope="package", autouse=True)
def shared() -> Iterator[SharedChromium]:
    """The browser that `chromium` gives in this package. It stops with the package: a test that is a coroutine may follow."""
    with shared_chromium() as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def no_browser_beside_others(request: pytest.FixtureRequest, shared: SharedChromium) -> None:
    """Stop the browser for a module that needs none: to its code this thread must not look like an event loop's."""
    if request.node.get_closest_marker("browser") is None:
        shared.stop()
