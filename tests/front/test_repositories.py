from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.front_page import Front, FrontPage
from support.panel_states import NOW, busy, normal

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as opened:
        yield opened


@pytest.fixture
def page(front: Front) -> Iterator[FrontPage]:
    with front.page() as opened:
        yield opened


def test_each_repository_is_told_with_what_is_known_of_it(page: FrontPage) -> None:
    page.mount("repositories", normal("repositories"), at=NOW)
    tiles = page.page.get_by_role("list", name="Repositories").get_by_role("listitem")
    assert tiles.count() == 9
    assert tiles.first.inner_text().split("\n") == ["starlette", "52 documents", "weight 5", "1 h 6 min ago"]
    assert tiles.last.inner_text().split("\n")[1:] == ["0 documents", "weight 1", "no activity heard"]
    assert (
        tiles.last.locator(".cwm-repo-name").get_attribute("title")
        == normal("repositories")["repositories"][-1]["name"]
    )
    assert page.page.locator(".cwm-aside").inner_text() == "9, 1 disabled"


def test_the_one_in_work_is_told_by_word_and_colour_and_moves_with_the_work(page: FrontPage) -> None:
    number = page.mount("repositories", normal("repositories"), at=NOW)
    active = page.page.locator(".cwm-repo-active")
    assert active.inner_text().split("\n")[:2] == ["httpx", "in work"]
    colours = page.page.locator(".cwm-repo").evaluate_all("all => all.map((one) => getComputedStyle(one).borderColor)")
    assert len(set(colours)) == 2
    state = normal("repositories")
    for one in state["repositories"]:
        one["is_active"] = one["name"] == "click"
    page.update(number, state)
    assert active.inner_text().split("\n")[:2] == ["click", "in work"]


def test_a_disabled_one_is_dimmed_and_says_so(page: FrontPage) -> None:
    page.mount("repositories", normal("repositories"), at=NOW)
    assert page.page.locator(".cwm-repo-disabled").inner_text().split("\n")[:2] == ["axios", "disabled"]


def test_where_only_messages_tell_of_them_or_nothing_does_it_says_what_to_do(page: FrontPage) -> None:
    number = page.mount("repositories", normal("repositories"), at=NOW)
    note = page.page.locator(".cwm-note")
    assert not note.is_visible()
    page.update(number, busy("repositories"))
    assert "--codeworm-config" in note.inner_text()
    page.update(number, {"repositories": [], "source": "messages"})
    assert not note.is_visible()
    assert "--codeworm-config" in page.page.locator(".cwm-empty").inner_text()
