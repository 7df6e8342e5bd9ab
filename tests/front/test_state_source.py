from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.front_page import Front, FrontPage

pytestmark = pytest.mark.browser

NOW = 1795386150.0


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as opened:
        yield opened


@pytest.fixture
def page(front: Front) -> Iterator[FrontPage]:
    with front.page() as opened:
        opened.page.clock.install(time=NOW - 1)
        opened.page.clock.pause_at(NOW)
        opened.page.evaluate(
            "async () => { const { StateSource } = await import('/front/state_source.js'); window.source = new StateSource(); }"
        )
        yield opened


def test_the_relays_time_is_judged_by_the_message_that_was_under_way_the_shortest(page: FrontPage) -> None:
    assert page.page.evaluate("source.now()") == NOW
    for delay in (2.0, 0.1, 0.7):
        page.page.evaluate("(at) => source.set({}, at)", NOW + 60 - delay)
    assert page.page.evaluate("source.now()") == pytest.approx(NOW + 59.9)
    page.page.clock.run_for(5000)
    assert page.page.evaluate("source.now()") == pytest.approx(NOW + 64.9)


def test_a_clock_that_was_set_is_believed_after_a_while(page: FrontPage) -> None:
    page.page.evaluate("(at) => source.set({}, at)", NOW + 3600)
    for _ in range(31):
        page.page.evaluate("(at) => source.set({}, at)", NOW)
    assert page.page.evaluate("source.now()") == pytest.approx(NOW + 3600)
    page.page.evaluate("(at) => source.set({}, at)", NOW)
    assert page.page.evaluate("source.now()") == pytest.approx(NOW)


@pytest.mark.parametrize("at", ["null", "undefined", "NaN", "'12'", "-5", "{}"])
def test_a_time_that_is_none_says_nothing(page: FrontPage, at: str) -> None:
    page.page.evaluate(f"source.set({{ a: 1 }}, {at})")
    assert page.page.evaluate("source.now()") == NOW
    assert page.page.evaluate("source.state") == {"a": 1}


def test_who_listens_is_told_until_it_ends_that(page: FrontPage) -> None:
    page.page.evaluate("() => { window.heard = []; window.off = source.onState((one) => heard.push(one)); }")
    page.page.evaluate("() => { source.set({ a: 1 }); source.set(null); off(); source.set({ a: 3 }); }")
    assert page.page.evaluate("heard") == [{"a": 1}, {}]
