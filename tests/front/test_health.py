from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
        opened.page.clock.install(time=NOW - 1)
        opened.page.clock.pause_at(NOW)
        yield opened


def part(page: FrontPage, name: str) -> tuple[str, str]:
    line = page.page.locator(".cwm-part", has=page.page.get_by_text(name, exact=True))
    tone = (line.locator(".cwm-light").get_attribute("class") or "").rpartition("-")[2]
    return tone, line.locator(".cwm-part-text").inner_text()


def connection(**fields: Any) -> dict[str, Any]:
    state = normal("health")
    return {**state, "connection": {**state["connection"], **fields}}


def test_the_connection_is_told_by_word_and_light_and_what_to_do(page: FrontPage) -> None:
    number = page.mount("health", {})
    cases = [
        (connection(), "connected", "good", ""),
        (connection(state="connecting", reason="refused"), "connecting", "warn", "no connection yet: refused. Does the relay run?"),
        (connection(state="closed", reason="going away"), "closed", "bad", "Closed for good: going away. Nothing new comes until"),
        (connection(state="recording"), "recording", "info", "A recording is shown, no relay."),
        (connection(state="refused", reason="HTTP 403: unknown Host"), "refused", "bad", "The relay refuses: HTTP 403: unknown Host. What to do"),
        (busy("health"), "refused", "bad", "The relay wants another token: HTTP 401 at ws://127.0.0.1:8765/ws, again in 12 s. On the"),
        ({}, "not known", "muted", "Nothing is known of the connection yet."),
    ]  # fmt: skip
    for state, word, tone, notice in cases:
        page.update(number, state)
        badge = page.page.locator(".cwm-badge")
        assert badge.inner_text() == word
        assert f"cwm-tone-{tone}" in (badge.get_attribute("class") or "")
        shown = page.page.locator(".cwm-notice")
        assert notice in shown.inner_text() if notice else not shown.is_visible()


def test_the_next_attempt_is_counted_down(page: FrontPage) -> None:
    page.mount("health", connection(state="reconnecting", reason="no answer", retry_at=NOW + 3))
    notice = page.page.locator(".cwm-notice")
    assert "The connection was lost: no answer, again in 3 s. What the relay still has of it is" in notice.inner_text()
    page.page.clock.run_for(2000)
    assert "again in 1 s" in notice.inner_text()
    page.page.clock.run_for(2000)
    assert "trying now" in notice.inner_text()


def test_the_figures_are_told(page: FrontPage) -> None:
    number = page.mount("health", normal("health"))
    figures = page.page.locator(".cwm-fact")
    assert [one.split("\n") for one in figures.all_inner_texts()] == [
        ["Rate", "3.4/s"],
        ["Lag", "12 ms"],
        ["Received", "184,467"],
        ["Dropped", "0"],
        ["Gaps", "1"],
        ["Reconnects", "1"],
    ]
    page.update(number, busy("health"))
    assert figures.locator(".cwm-tone-warn").all_inner_texts() == ["3.2 s", "17", "31", "1"]
    assert "1,200 rows left the full tables" in (figures.nth(3).locator("dd").get_attribute("title") or "")


def test_the_relay_and_what_it_hears_are_told(page: FrontPage) -> None:
    number = page.mount("health", normal("health"))
    assert part(page, "Relay") == ("good", "version 0.1.0 · up 2 h 2 min · 2 readers")
    assert part(page, "Redis") == ("good", "hears Redis for 2 h 2 min")
    assert part(page, "Archive") == ("good", "writes")
    assert part(page, "Ollama") == ("good", "reached · qwen2.5-coder:7b · 5.1 GB of video memory")
    page.update(number, {**busy("health"), "connection": normal("health")["connection"]})
    assert part(page, "Redis") == (
        "bad",
        "does NOT hear Redis since 22:20:50: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
    )
    assert part(page, "Archive") == ("bad", "does NOT write: No space left on device · 20,412 messages waiting")
    assert part(page, "Ollama") == ("bad", "is NOT reached: connection refused")
    relay = {"version": "0.1.0", "started_at": NOW - 60, "readers": 3, "readers_behind": 1, "problem": "HTTP 503"}
    page.update(number, {**normal("health"), "relay": relay, "archive": None, "upstream": None, "ollama": None})
    assert part(page, "Relay") == ("bad", "version 0.1.0 · up 1 min · 3 readers · 1 behind · HTTP 503")
    assert part(page, "Redis") == ("muted", "not known")
    assert part(page, "Ollama")[0] == part(page, "Archive")[0] == "muted"


@pytest.mark.parametrize("state", ["connecting", "reconnecting", "refused", "closed"])
def test_what_a_relay_told_that_is_not_heard_any_more_is_told_as_past_and_stands_still(
    page: FrontPage, state: str
) -> None:
    number = page.mount("health", connection(state=state, reason="no answer"))
    told = {
        "Relay": ("muted", "was running when last heard · version 0.1.0 · started 21:20:20 · 2 readers"),
        "Redis": ("muted", "was connected when last heard"),
        "Archive": ("muted", "was written when last heard"),
        "Ollama": ("muted", "was reached when last heard · qwen2.5-coder:7b · 5.1 GB of video memory"),
    }
    assert {name: part(page, name) for name in told} == told
    page.page.clock.run_for(90_000)
    assert {name: part(page, name) for name in told} == told
    assert page.page.locator(".cwm-part .cwm-tone-good").count() == 0
    page.update(number, {**busy("health"), "connection": {**busy("health")["connection"], "state": state}})
    assert part(page, "Redis")[0] == part(page, "Archive")[0] == part(page, "Ollama")[0] == "muted"
    assert part(page, "Redis")[1].startswith("was NOT connected when last heard: Error 111")
    assert part(page, "Archive")[1] == "was NOT written when last heard: No space left on device"
    assert part(page, "Ollama")[1] == "was NOT reached when last heard: connection refused"
    assert page.page.locator(".cwm-part .cwm-tone-bad").count() == 0
    # Nothing was ever heard, but that it does not answer.
    bare = {"connection": connection(state=state)["connection"], "relay": {"problem": "The relay does not answer."}}
    page.update(number, bare)
    assert part(page, "Relay") == ("muted", "The relay does not answer.")
    assert part(page, "Redis") == ("muted", "not known")


def test_no_line_breaks_within_an_option(page: FrontPage) -> None:
    page.mount("health", {**connection(state="connecting"), "ollama": None})
    heights = set()
    for width in range(240, 480, 3):
        page.page.set_viewport_size({"width": width, "height": 600})
        options = page.page.locator(".cwm-option")
        assert options.evaluate_all("all => all.map((one) => [one.textContent, one.getClientRects().length])") == [
            ["-m", 1],
            ["--ollama", 1],
        ]
        line = page.page.locator(".cwm-part-text", has=page.page.get_by_text("--ollama"))
        heights.add(line.bounding_box()["height"])  # type: ignore[index]
    assert len(heights) > 1
    assert line.inner_text() == "not looked at; the relay's option --ollama does"


def test_whoever_shows_it_may_say_what_was_dropped(page: FrontPage) -> None:
    number = page.mount("health", normal("health"))
    dropped = page.page.locator(".cwm-fact dd").nth(3)
    assert dropped.get_attribute("title") == "Records that your callbacks and loops were too slow for"
    page.update(number, {**normal("health"), "dropped_title": "Rows of a flood"})
    assert dropped.get_attribute("title") == "Rows of a flood"


def test_each_gap_is_told_in_words_with_its_times(page: FrontPage) -> None:
    number = page.mount("health", busy("health"))
    rows = page.page.locator(".cwm-gaps tbody tr")
    assert rows.first.inner_text().split("\t") == [
        "The relay did not hear the publisher",
        "22:20:50",
        "22:22:30",
        "not known",
        "Redis was restarted",
    ]
    assert rows.locator("td:first-child").all_inner_texts()[1:] == [
        "The relay was away",
        "Older than what the relay keeps",
        "Taken too slowly here",
        "The archive could not be written",
    ]
    assert rows.nth(2).locator("td").nth(1).inner_text() == "2026-11-21 20:59:10"
    assert page.page.locator("caption").inner_text() == "Gaps, the newest 5 of 31"
    assert page.page.get_by_role("group", name="Gaps").is_visible()
    page.update(number, {**normal("health"), "gaps": [], "gap_count": 0})
    assert not page.page.get_by_role("group", name="Gaps").is_visible()
