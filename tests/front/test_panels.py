"""What holds for every small panel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from support.front_page import THEMES, Front, FrontPage
from support.panel_probe import PROBE
from support.panel_states import HOSTILE, NOW, PANELS, WRONG, busy, normal, places, replaced, with_every_text

from codeworm_monitor.envelope import Envelope
from codeworm_monitor.recording import recorded
from codeworm_monitor.states.panel_states import PanelStates

pytestmark = pytest.mark.browser

STATES = {"normal": normal, "busy": busy, "empty": lambda panel: {}}
DATA = Path(__file__).parents[1] / "data"
STAGES = ("starting", "analyzing", "committed", "failed", "waiting", "backing_off", "stopped", "idle", "unknown")
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@pytest.fixture(scope="module")
def recordings() -> dict[str, list[tuple[Envelope, Any]]]:
    return {name: list(recorded(DATA / f"{name}.jsonl.gz")) for name in ("recording-1", "recording-2")}


# While the browser runs, its loop does in this thread, in which no file may be read: that is done before.
@pytest.fixture(scope="module")
def front(recordings: dict[str, list[tuple[Envelope, Any]]]) -> Iterator[Front]:
    with Front({"probe.js": PROBE}) as opened:
        yield opened


def probed(page: FrontPage) -> FrontPage:
    page.page.evaluate("async () => { await import('/made/probe.js'); }")
    return page


def shown(page: FrontPage, states: dict[str, Any]) -> dict[str, int]:
    return {panel: page.mount(panel, state, at=NOW) for panel, state in states.items()}


@pytest.mark.parametrize("theme", THEMES)
def test_each_theme_is_painted_and_can_be_read(front: Front, theme: str) -> None:
    with front.page(theme=theme, width=700) as page:
        for make in STATES.values():
            shown(probed(page), {panel: make(panel) for panel in PANELS})
        found = page.page.evaluate("contrasts()")
        assert len(found) > 300
        assert [one for one in found if one["ratio"] < 4.5] == []
        image = imread(BytesIO(page.page.screenshot(full_page=True, animations="disabled")))
        pixels = (image[..., :3] * 255).round().astype(int)
        boxes = page.page.evaluate(
            "[...document.querySelectorAll('.cwm-panel')].map((one) => one.getBoundingClientRect()).map((box) => [box.left, box.top, box.right, box.bottom])"
        )
        assert len(boxes) == 3 * len(PANELS)
        for left, top, right, bottom in boxes:
            part = pixels[int(top) + 1 : int(bottom) - 1, int(left) + 1 : int(right) - 1]
            packed, counts = np.unique(part @ [65536, 256, 1], return_counts=True)
            colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
            ground = colours[counts.argmax()]
            assert ground.min() > 225 if theme.endswith("light") else ground.max() < 60
            # Strokes of letters are as far from the ground as they have to be to be read.
            is_ink = np.abs(colours - ground).max(axis=1) > 90
            assert counts[is_ink].sum() / counts.sum() > 0.004


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_stage_and_every_connection_can_be_read(front: Front, theme: str) -> None:
    with front.page(theme=theme) as page:
        probed(page)
        for stage in STAGES:
            page.mount("activity", {**normal("activity"), "stage": stage}, at=NOW)
        for state in ("connecting", "connected", "reconnecting", "refused", "closed", "recording"):
            page.mount("health", replaced(busy("health"), ("connection", "state"), state), at=NOW)
        assert [one for one in page.page.evaluate("contrasts()") if one["ratio"] < 4.5] == []


def test_nothing_overlaps_or_sticks_out_at_any_width(front: Front) -> None:
    with front.page() as page:
        for make in STATES.values():
            shown(probed(page), {panel: make(panel) for panel in PANELS})
        for width in (320, 400, 530, 640, 700, 1000, 1400, 1900):
            page.page.set_viewport_size({"width": width, "height": 700})
            assert page.page.evaluate("faultsOfLayout()") == [], width


def test_hostile_texts_stay_in_their_places(front: Front) -> None:
    with front.page(width=320) as page:
        mounted = shown(probed(page), {panel: busy(panel) for panel in PANELS})
        for text in ("W" * 500, "w w " * 125, HOSTILE[0], "z" + "\u0336" * 40 + "algo", "\u06dd" * 500):
            for panel, number in mounted.items():
                page.update(number, with_every_text(busy(panel), text), at=NOW)
            for width in (320, 700):
                page.page.set_viewport_size({"width": width, "height": 700})
                assert page.page.evaluate("faultsOfLayout()") == []


@pytest.mark.parametrize("panel", PANELS)
def test_hostile_texts_are_texts_in_every_field(front: Front, panel: str) -> None:
    with front.page() as page:
        probed(page)
        number = page.mount(panel, with_every_text(busy(panel), "benign"), at=NOW)
        page.page.evaluate("document.querySelectorAll('button[aria-expanded]').forEach((one) => one.click())")
        benign = page.page.evaluate("outline()")
        for text in HOSTILE:
            for keys in (frozenset({"stage", "state", "source"}), frozenset[str]()):
                page.update(number, with_every_text(busy(panel), text, keys), at=NOW)
                page.page.evaluate("document.querySelectorAll('[aria-expanded=false]').forEach((one) => one.click())")
                told = page.page.evaluate("told()")
                assert not [one for one in told if INVISIBLE.search(one.replace("\n", ""))], ascii(text)
                if text.startswith("<") and keys:
                    assert any(text in one for one in told)
        assert set(page.page.evaluate("outline()")[0]) <= set(benign[0])
        assert (
            page.page.evaluate("document.querySelectorAll('script, img, a, iframe, object, link, style').length") == 8
        )
        assert (
            page.page.evaluate("document.querySelectorAll('.cwm-panel :is(script, img, a, iframe, object)').length")
            == 0
        )


@pytest.mark.parametrize("panel", PANELS)
def test_wrong_types_and_missing_fields_are_borne(front: Front, panel: str) -> None:
    state = normal(panel)
    states = [replaced(state, place, wrong) for place in places(state) for wrong in WRONG]
    for place in places(state)[1:]:
        lacking = replaced(state, place, None)
        holder = lacking
        for key in place[:-1]:
            holder = holder[key]
        del holder[place[-1]]
        states.append(lacking)
    with front.page() as page:
        probed(page)
        number = page.mount(panel, state, at=NOW)
        texts = [json.dumps(one) for one in states]
        bad = page.page.evaluate("([id, states]) => updateAll(id, states)", [number, texts])
        assert [texts[index][:300] for index in bad] == []
        page.check()
        # The first state is no better than those that follow.
        for one in states[:: max(1, len(states) // 25)]:
            page.dispose(page.mount(panel, one, at=NOW))


def test_numbers_that_are_none_are_borne(front: Front) -> None:
    with front.page() as page:
        probed(page)
        for panel in PANELS:
            number = page.mount(panel, normal(panel), at=NOW)
            page.page.evaluate(
                """([id, text]) => {
                  const spoil = (value) => typeof value === "number" ? [NaN, Infinity, -Infinity, 10n][Math.floor(value) & 3]
                    : Array.isArray(value) ? value.map(spoil)
                    : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, spoil(v)]))
                    : value;
                  const parse = JSON.parse;
                  JSON.parse = () => spoil(parse(text));
                  try { update(id, text); } finally { JSON.parse = parse; }
                }""",
                [number, json.dumps(normal(panel))],
            )
        assert not re.search("NaN|Infinity|undefined", "\n".join(page.page.evaluate("told()")))


def test_a_state_that_says_the_same_changes_nothing(front: Front) -> None:
    with front.page() as page:
        page.page.clock.install(time=NOW)
        page.page.clock.pause_at(NOW + 1)
        probed(page)
        for panel in PANELS:
            number = page.mount(panel, busy(panel))
            text = json.dumps(busy(panel))
            assert page.page.evaluate("([id, text]) => changes(() => update(id, text))", [number, text]) == []


@pytest.mark.parametrize("panel", PANELS)
def test_an_update_keeps_the_elements_and_the_focus(front: Front, panel: str) -> None:
    with front.page() as page:
        number = page.mount(panel, normal(panel), at=NOW)
        page.page.evaluate(
            "() => { window.before = [...document.querySelectorAll('.cwm-panel *')];"
            " window.focused = document.querySelector('.cwm-panel :is(button, [tabindex])'); window.focused?.focus(); }"
        )
        changed = busy(panel)
        if panel == "commits":
            newer = {**changed["commits"][0], "at": NOW, "commit": "ffffffff", "target": "newer"}
            changed["commits"].insert(0, newer)
        if panel == "health":
            changed["gaps"] += normal(panel)["gaps"]
        page.update(number, changed, at=NOW + 1)
        gone = page.page.evaluate("before.filter((one) => !one.isConnected).map((one) => one.outerHTML.slice(0, 80))")
        # A tag that has nothing to say any more goes.
        assert [one for one in gone if not one.startswith('<li class="cwm-tag')] == []
        assert page.page.evaluate("!window.focused || document.activeElement === window.focused")


def test_panels_are_named_and_their_classes_and_colours_are_their_own(front: Front) -> None:
    with front.page() as page:
        shown(page, {panel: normal(panel) for panel in PANELS})
        sections = page.page.locator("section.cwm-panel").all()
        assert [one.get_attribute("class") for one in sections] == [f"cwm-panel cwm-{panel}" for panel in PANELS]
        assert all(one.get_attribute("aria-label") for one in sections)
        strange = (
            "[...document.querySelectorAll('.cwm-panel, .cwm-panel *')].flatMap((one) => [...one.classList])"
            ".filter((one) => !one.startsWith('cwm-'))"
        )
        assert page.page.evaluate(strange) == []
        names = ("bg", "fg", "muted", "border", "accent", "good", "warn", "bad", "info", "raised")
        styles = "getComputedStyle(document.querySelector('.cwm-panel'))"
        assert all(page.page.evaluate(f"name => {styles}.getPropertyValue(`--cwm-${{name}}`)", name) for name in names)


def test_disposing_takes_panels_away_with_their_timers(front: Front) -> None:
    with front.page() as page:
        page.page.evaluate(
            "() => { window.running = new Set(); const { setInterval: set, clearInterval: clear } = window;"
            " window.setInterval = (...all) => { const id = set(...all); running.add(id); return id; };"
            " window.clearInterval = (id) => { running.delete(id); clear(id); }; }"
        )
        for panel in PANELS:
            numbers = [page.mount(panel, busy(panel), at=NOW) for _ in range(2)]
            # Stats count nothing by the second.
            assert page.page.evaluate("running.size") == (0 if panel == "stats" else 2)
            for number in numbers:
                page.dispose(number)
            assert page.page.evaluate("running.size") == 0
            assert page.page.evaluate("document.querySelectorAll('.cwm-panel').length") == 0


@pytest.mark.parametrize("panel", ["activity", "commits", "repositories", "health"])
def test_a_panel_counts_by_the_second_only_while_it_is_looked_at(front: Front, panel: str) -> None:
    with front.page() as page:
        page.page.clock.install(time=NOW)
        page.page.clock.pause_at(NOW + 1)
        state = normal(panel)
        match panel:
            case "commits":
                state["commits"][0]["at"] = NOW - 5
            case "activity":
                state["since"] = NOW - 5
            case "health":
                state["relay"]["started_at"] = NOW - 5
        page.mount(panel, state)
        look = page.page.locator(".cwm-panel")
        texts = [look.text_content()]
        for _ in range(3):
            page.page.clock.run_for(1000)
            texts.append(look.text_content())
        assert len(set(texts)) == 4
        hide = "(state) => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }"
        page.page.evaluate(hide, "hidden")
        page.page.clock.run_for(5000)
        assert look.text_content() == texts[-1]
        page.page.evaluate(hide, "visible")
        assert look.text_content() not in texts


def test_motion_rests_where_it_is_not_wanted(front: Front) -> None:
    moving = "document.querySelector('.cwm-badge').getAnimations({ subtree: true }).length"
    with front.page() as page:
        page.mount("activity", normal("activity"), at=NOW)
        assert page.page.evaluate(moving) == 1
    with front.page(reduced_motion="reduce") as page:
        page.mount("activity", normal("activity"), at=NOW)
        assert page.page.evaluate(moving) == 0


def test_a_panel_in_trouble_does_not_stop_the_others(front: Front) -> None:
    with front.page() as page:
        number = page.mount("activity", normal("activity"), at=NOW)
        page.page.evaluate(
            "async () => { const { StateSource } = await import('/front/state_source.js'); const source = new StateSource();"
            " window.heard = []; source.onState(() => { throw new Error('expected'); }); source.onState((one) => heard.push(one)); source.set({ a: 1 }); }"
        )
        assert page.page.evaluate("heard") == [{"a": 1}]
        page.update(number, busy("activity"))
        assert [one for one in page.problems if "expected" not in one] == []
        page.problems.clear()


@pytest.mark.parametrize("name", ["recording-1", "recording-2"])
def test_the_recorded_traffic_is_shown_as_it_runs(
    front: Front, recordings: dict[str, list[tuple[Envelope, Any]]], name: str
) -> None:
    messages = recordings[name]
    states = PanelStates(messages[0][0].received_at)
    with front.page(width=500) as page:
        mounted = shown(probed(page), {panel: {} for panel in PANELS})
        stages = set()
        for begin in range(0, len(messages), 60):
            states.take("a", messages[begin : begin + 60])
            now = messages[min(begin + 60, len(messages)) - 1][0].received_at
            told = states.as_dict(now)
            for panel, number in mounted.items():
                page.update(number, told[panel], at=now)
            stages.add(page.page.locator(".cwm-activity .cwm-badge").inner_text())
            page.check()
        assert page.page.evaluate("faultsOfLayout()") == []
        assert {"committed", "generating", "idle"} & stages
        assert page.page.locator(".cwm-tile dd").first.inner_text() == f"{told['stats']['total']:,}"
        names = page.page.locator(".cwm-commit-target").all_inner_texts()
        assert names == [one["target"] for one in told["commits"]["commits"]]
        bars = page.page.get_by_role("list", name="By repository").locator(".cwm-bar-count").all_inner_texts()
        assert bars == [f"{count:,}" for _, count in told["stats"]["by_repo"][:8]]
