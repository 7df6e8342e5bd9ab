from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread
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


def text(page: FrontPage, selector: str) -> str:
    return page.page.locator(selector).inner_text()


def fact(page: FrontPage, name: str) -> str:
    return page.page.locator(".cwm-fact", has=page.page.get_by_text(name, exact=True)).locator("dd").inner_text()


def test_the_stage_is_told_by_a_word_and_a_tone(page: FrontPage) -> None:
    stages = {
        "idle": ("idle", "muted"),
        "starting": ("starting", "accent"),
        "analyzing": ("analyzing", "accent"),
        "generating": ("generating", "accent"),
        "committed": ("committed", "good"),
        "failed": ("failed", "bad"),
        "waiting": ("waiting for Ollama", "warn"),
        "backing_off": ("backing off", "warn"),
        "stopped": ("stopped", "bad"),
        "unknown": ("unknown", "muted"),
        "of a newer version": ("unknown", "muted"),
    }
    number = page.mount("activity", {})
    for stage, (word, tone) in stages.items():
        page.update(number, {**normal("activity"), "stage": stage})
        badge = page.page.locator(".cwm-badge")
        assert badge.inner_text() == word
        assert f"cwm-tone-{tone}" in (badge.get_attribute("class") or "")


def test_the_steps_of_a_cycle_show_how_far_it_is(page: FrontPage) -> None:
    classes = (
        "() => [...document.querySelectorAll('.cwm-step')].map((one) => one.className.replace('cwm-step', '').trim())"
    )
    number = page.mount("activity", normal("activity"))
    assert page.page.evaluate(classes) == ["cwm-done", "cwm-done", "cwm-current", ""]
    assert text(page, ".cwm-step[aria-current=step]") == "generating"
    page.update(number, {**normal("activity"), "stage": "committed"})
    assert page.page.evaluate(classes) == ["cwm-done"] * 4
    # A failed cycle does not stay where it was.
    page.update(number, {**normal("activity"), "stage": "failed"})
    assert page.page.evaluate(classes) == [""] * 4
    assert page.page.locator("[aria-current]").count() == 0


def test_what_is_in_work_is_told_with_its_whole_name_at_hand(page: FrontPage) -> None:
    number = page.mount("activity", {**normal("activity"), "target": "a" * 400})
    assert page.page.locator(".cwm-target").get_attribute("title") == "a" * 400
    assert page.page.locator(".cwm-tag").all_inner_texts() == ["httpx", "security review", "python"]
    page.update(number, {**normal("activity"), "stage": "waiting", "target": None, "repo": None})
    assert text(page, ".cwm-target") == "Ollama does not answer; CodeWorm asks again by itself"
    assert page.page.locator(".cwm-tag").all_inner_texts() == ["security review", "python"]


def test_time_in_the_stage_and_the_countdown_run_by_the_relays_clock(page: FrontPage) -> None:
    # This machine's clock is an hour behind.
    state = {**normal("activity"), "stage": "idle", "since": NOW + 3600 - 12, "next_cycle_at": NOW + 3600 + 3}
    page.mount("activity", state, at=NOW + 3600)
    assert fact(page, "In this stage") == "12 s"
    assert fact(page, "Next cycle").startswith("in 3 s (")
    page.page.clock.run_for(1000)
    assert fact(page, "In this stage") == "13 s"
    assert fact(page, "Next cycle").startswith("in 2 s (")
    page.page.clock.run_for(122_000)
    assert fact(page, "Next cycle").startswith("was due 2 min ago (")


def test_a_pause_after_failures_counts_down_to_the_next_attempt(page: FrontPage) -> None:
    page.mount("activity", busy("activity"), at=NOW)
    assert fact(page, "Next attempt").startswith("in 3 min 5 s (23:25:35)")


def test_a_cycle_that_runs_has_its_next_after_it(page: FrontPage) -> None:
    page.mount("activity", normal("activity"), at=NOW)
    assert fact(page, "Next cycle") == "after this one"


def test_silence_beyond_its_limit_warns_and_the_next_message_ends_that(page: FrontPage) -> None:
    number = page.mount("activity", {**normal("activity"), "silence_limit": 4.0}, at=NOW)
    warning = page.page.locator(".cwm-notice")
    assert not warning.is_visible()
    page.page.clock.run_for(2000)
    assert "Nothing heard for 5 s" in warning.inner_text()
    assert "⚠" in warning.inner_text()
    page.update(number, {**normal("activity"), "silence_limit": 4.0, "last_message_at": NOW + 2})
    assert not warning.is_visible()
    page.update(number, {**normal("activity"), "silence_limit": 4.0, "stage": "stopped", "last_message_at": NOW - 900})
    assert not warning.is_visible()


def test_the_last_document_and_the_last_error_have_their_age(page: FrontPage) -> None:
    number = page.mount("activity", normal("activity"), at=NOW)
    assert text(page, ".cwm-last-good").split("\n") == [
        "Last document",
        "3 min ago",
        "wrap_columns · textwrap · function doc · 11673369",
    ]
    assert text(page, ".cwm-last-bad").split("\n") == [
        "Last error",
        "2 h 1 min ago",
        "push failed · lib.rs · ! [rejected] main -> main (fetch first)",
    ]
    page.update(number, {**normal("activity"), "last_error": {}, "last_commit": {}})
    assert not page.page.locator(".cwm-last-bad").is_visible()
    assert not page.page.locator(".cwm-last-good").is_visible()


def test_where_nothing_was_heard_it_says_what_to_do(page: FrontPage) -> None:
    number = page.mount("activity", {})
    assert "python -m codeworm_monitor doctor" in text(page, ".cwm-empty")
    assert not page.page.locator(".cwm-facts").is_visible()
    page.update(number, normal("activity"))
    assert not page.page.locator(".cwm-empty").is_visible()


def test_a_change_of_stage_is_announced_politely_and_at_most_every_five_seconds(page: FrontPage) -> None:
    line = page.page.get_by_role("status")
    number = page.mount("activity", normal("activity"), at=NOW)
    page.page.clock.run_for(1)
    assert line.text_content() == ""
    page.update(number, {**normal("activity"), "stage": "committed", "target": "x"})
    page.page.clock.run_for(1)
    assert line.text_content() == "committed: x"
    for stage in ("idle", "starting", "analyzing"):
        page.update(number, {**normal("activity"), "stage": stage, "target": None})
    page.page.clock.run_for(4900)
    assert line.text_content() == "committed: x"
    page.page.clock.run_for(200)
    assert line.text_content() == "analyzing"
    page.update(number, {**normal("activity"), "stage": "analyzing", "target": None, "cycle_num": 7})
    page.page.clock.run_for(6000)
    assert line.text_content() == "analyzing"
    assert line.get_attribute("aria-live") == "polite"


def test_selected_text_stays_selected_while_the_seconds_run(page: FrontPage) -> None:
    number = page.mount("activity", normal("activity"), at=NOW)
    page.page.evaluate("() => getSelection().selectAllChildren(document.querySelector('.cwm-target'))")
    page.page.clock.run_for(3000)
    page.update(number, {**normal("activity"), "cycle_num": 103, "since": NOW - 1})
    assert page.page.evaluate("() => String(getSelection())") == "AsyncClient.send_handling_redirects"


def test_no_line_is_painted_through_the_ring_of_the_current_step(page: FrontPage) -> None:
    page.mount("activity", normal("activity"))
    box = page.page.locator(".cwm-step[aria-current=step]").bounding_box()
    assert box is not None
    # The ring's inside is 6 pixels wide; the line to the next step would go through the right half of it.
    inside = {"x": round(box["x"] + box["width"] / 2) - 2, "y": round(box["y"]) + 4, "width": 4, "height": 4}
    picture = imread(BytesIO(page.page.screenshot(clip=inside, animations="disabled")))
    assert np.ptp(picture[..., :3], axis=(0, 1)).max() < 0.02
