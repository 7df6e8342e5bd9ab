from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.front_page import Front, FrontPage
from support.panel_states import NOW, normal

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as opened:
        yield opened


@pytest.fixture
def page(front: Front) -> Iterator[FrontPage]:
    with front.page(permissions=["clipboard-read", "clipboard-write"]) as opened:
        yield opened


def newer(number: int) -> dict[str, object]:
    first = normal("commits")["commits"][0]
    return {**first, "target": f"newer_{number}", "commit": f"{number:08x}", "at": NOW + number}


def test_a_document_is_told_with_its_repository_commit_tokens_and_speed(page: FrontPage) -> None:
    page.mount("commits", normal("commits"), at=NOW)
    rows = page.page.get_by_role("list", name="Newest documents").get_by_role("listitem")
    assert rows.count() == 8
    assert rows.first.inner_text().split("\n") == [
        "wrap_columns",
        "3 min ago",
        "function doc",
        "textwrap · rust",
        "11673369",
        "1,311 tokens · 0.95 s · 1,380 tokens/s",
    ]
    assert rows.first.locator(".cwm-age").get_attribute("title") == "2026-11-22 23:18:58"
    assert page.page.locator(".cwm-aside").inner_text() == "1,299 heard"


def test_a_click_on_the_hash_copies_it(page: FrontPage) -> None:
    page.mount("commits", normal("commits"), at=NOW)
    button = page.page.get_by_role("button", name="Copy commit 4bfb39df")
    button.click()
    page.page.locator(".cwm-hash", has_text="copied").wait_for()
    assert page.page.evaluate("navigator.clipboard.readText()") == "4bfb39df"
    page.page.locator(".cwm-hash", has_text="4bfb39df").wait_for()


def test_that_it_is_copied_is_announced_also_when_it_is_copied_again(page: FrontPage) -> None:
    page.page.clock.install(time=NOW - 1)
    page.page.clock.pause_at(NOW)
    page.mount("commits", normal("commits"))
    said = page.page.get_by_role("status")
    button = page.page.get_by_role("button", name="Copy commit 4bfb39df")
    button.click()
    page.page.locator(".cwm-hash", has_text="copied").wait_for()
    page.page.clock.run_for(10)
    assert said.text_content() == "Commit 4bfb39df copied"
    page.page.clock.run_for(6000)
    page.page.evaluate(
        "() => { window.news = 0; new MutationObserver(() => { news += 1; })"
        ".observe(document.querySelector('[role=status]'), { subtree: true, childList: true, characterData: true }); }"
    )
    button.click()
    page.page.locator(".cwm-hash", has_text="copied").wait_for()
    page.page.clock.run_for(10)
    assert (said.text_content() or "").strip() == "Commit 4bfb39df copied"
    assert page.page.evaluate("news") == 1


def test_the_hash_is_copied_where_there_is_no_clipboard_object(page: FrontPage) -> None:
    page.page.evaluate(
        "() => { Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true });"
        " document.addEventListener('copy', () => { window.copied = document.activeElement.value; }); }"
    )
    page.mount("commits", normal("commits"), at=NOW)
    button = page.page.get_by_role("button", name="Copy commit 4bfb39df")
    button.focus()
    page.page.keyboard.press("Enter")
    page.page.locator(".cwm-hash", has_text="copied").wait_for()
    assert page.page.evaluate("window.copied") == "4bfb39df"
    assert button.evaluate("one => document.activeElement === one")
    assert page.page.locator("textarea").count() == 0


def test_what_is_no_hash_cannot_be_copied(page: FrontPage) -> None:
    state = normal("commits")
    state["commits"] = [{**state["commits"][0], "commit": "11673369; rm -rf ~"}]
    page.mount("commits", state, at=NOW)
    assert not page.page.locator(".cwm-hash").is_visible()
    assert page.page.get_by_text("11673369; rm -rf ~").is_visible()


def test_the_commit_message_is_shown_when_asked_with_its_lines(page: FrontPage) -> None:
    number = page.mount("commits", normal("commits"), at=NOW)
    message = page.page.locator(".cwm-commit-message").nth(3)
    assert not message.is_visible()
    name = page.page.get_by_role("button", name="AsyncClient.send")
    name.focus()
    page.page.keyboard.press("Enter")
    assert message.inner_text() == "Review AsyncClient.send\n\nRedirects keep headers."
    assert name.get_attribute("aria-expanded") == "true"
    # It stays open when new ones come.
    state = normal("commits")
    page.update(number, {**state, "commits": [newer(1), *state["commits"]]})
    assert page.page.get_by_text("Redirects keep headers.").is_visible()
    page.page.keyboard.press("Enter")
    assert not page.page.get_by_text("Redirects keep headers.").is_visible()


def test_what_is_read_stays_in_its_place_when_new_ones_come(page: FrontPage) -> None:
    state = normal("commits")
    state["commits"] = [newer(number) for number in range(20, 0, -1)] + state["commits"]
    number = page.mount("commits", state, at=NOW)
    place = "() => document.querySelectorAll('.cwm-commit')[window.row].getBoundingClientRect().top"
    page.page.evaluate("() => { document.querySelector('.cwm-commit-list').scrollTop = 333; window.row = 12; }")
    before = page.page.evaluate(place)
    state["commits"] = [newer(22), newer(21), *state["commits"]][:50]
    page.update(number, state)
    page.page.evaluate("() => { window.row = 14; }")
    assert page.page.evaluate(place) == pytest.approx(before, abs=1)
    # At the top the new ones are seen.
    page.page.evaluate("() => { document.querySelector('.cwm-commit-list').scrollTop = 0; }")
    page.update(number, {**state, "commits": [newer(23), *state["commits"]]})
    assert page.page.evaluate("() => document.querySelector('.cwm-commit-list').scrollTop") == 0


def test_without_a_document_it_says_so(page: FrontPage) -> None:
    number = page.mount("commits", {"commits": [], "count": 0}, at=NOW)
    assert "No document yet" in page.page.locator(".cwm-empty").inner_text()
    page.update(number, normal("commits"))
    assert not page.page.locator(".cwm-empty").is_visible()
