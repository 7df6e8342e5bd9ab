"""The dashboard in a real JupyterLab: its kernel, a relay and a Redis behind it, Chromium in front of it.

What is shown is recorded traffic. Whoever wonders how the tests see and touch a notebook: `support.lab`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import orjson
import pytest
from playwright.sync_api import Browser, expect
from support.chromium import Look, chromium
from support.lab import KERNEL, PATIENCE, Lab, isolated_jupyter, jupyterlab
from support.lab_dashboard import (
    INERT,
    OPEN,
    PANELS,
    ROW,
    connected,
    hostile_recording,
    html_of,
    is_painted,
    notice,
    of_ours,
    only,
    pause,
    reading,
    search,
    shows_rows,
    until_equal,
    wait_busy,
)
from support.live_relay import LOGS, LiveRelay, live_relay, log_line, recorded_messages

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)  # a busy machine is no failure
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab") / "jupyter", browser) as running:
        yield running


@pytest.fixture(scope="module")
def relay() -> Iterator[LiveRelay]:
    with live_relay("--no-archive") as running:
        yield running


def test_all_panels_are_filled_and_the_end_of_a_cell_is_enough(lab: Lab) -> None:
    with lab.notebook(OPEN, "board", "mon") as notebook:
        notebook.run(0)
        notebook.run(1)
        shows_rows(notebook.page)
        for name in PANELS:
            expect(notebook.page.locator(f".cwm-{name} .cwm-body, .cwm-{name} .cwm-log-row").first).not_to_be_empty()
        notebook.run(2)
        shows_rows(notebook.page, views=2)
        assert of_ours(notebook.complaints) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_painted_also_after_a_reload_and_in_two_views(lab: Lab, theme: str) -> None:
    """Field note: after "reload, two views, switch to dark" pictures were blank though the document was right."""
    other = {"light": "dark", "dark": "light"}[theme]
    with lab.notebook(OPEN, "board", "board", theme=other) as notebook:
        for cell in range(3):
            notebook.run(cell)
        shows_rows(notebook.page, views=2)
        notebook.reload()
        shows_rows(notebook.page, views=2)
        notebook.theme(theme)
        for selector in (*(f".cwm-{name}" for name in PANELS), ".cwm-log-list"):
            looks = notebook.looks(selector)
            assert [is_painted(look, theme) for look in looks] == [True, True], (selector, looks)
        assert of_ours(notebook.complaints) == []


def test_a_restarted_kernel_is_told_and_the_cell_may_be_run_again(lab: Lab) -> None:
    with lab.notebook(OPEN, "board") as notebook:
        notebook.run(0)
        notebook.run(1)
        shows_rows(notebook.page)
        expect(notice(notebook.page)).to_be_hidden()
        notebook.restart()
        expect(notice(notebook.page)).to_contain_text("run the cell again")
        shows_rows(notebook.page)  # what was there is still to be read
        notebook.run(0)
        notebook.run(1)
        shows_rows(notebook.page)
        expect(notice(notebook.page)).to_be_hidden()
        assert of_ours(notebook.complaints) == []


def test_a_relay_that_is_started_again_is_told_and_no_row_is_lost_or_shown_twice(lab: Lab, relay: LiveRelay) -> None:
    with lab.notebook(connected(relay), "board") as notebook:
        relay.publish([*recorded_messages()[:300], *(log_line(f"before_{n}") for n in range(5))])
        notebook.run(0)
        notebook.run(1)
        shows_rows(notebook.page)
        search(notebook.page, "event:before_* OR event:after_*")
        health = notebook.page.locator(".cwm-health")
        expect(health).to_contain_text("connected")
        relay.stop()
        expect(health).to_contain_text("reconnecting")
        relay.start()
        expect(health).to_contain_text("connected")
        relay.publish(log_line(f"after_{n}") for n in range(5))
        names = [f"{when}_{n}" for when in ("before", "after") for n in range(5)]
        rows = notebook.page.locator(f"{ROW}:not(.cwm-log-gap) .cwm-log-event")
        expect(rows).to_have_text(names)
        expect(notebook.page.locator(".cwm-log-gap")).to_contain_text(["relay restart"])
        assert of_ours(notebook.complaints) == []


def test_while_a_cell_blocks_the_view_moves_and_its_controls_answer(lab: Lab, relay: LiveRelay, tmp_path: Path) -> None:
    done = tmp_path / "done"
    block = f"import os, time\nwhile not os.path.exists({str(done)!r}):\n    time.sleep(0.2)"
    with lab.notebook(connected(relay), "board", block) as notebook:
        page = notebook.page
        relay.publish(recorded_messages()[:300])
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        notebook.start(2)
        wait_busy(notebook)
        relay.publish([log_line("while_it_blocks")])
        expect(page.locator(ROW).last).to_contain_text("while_it_blocks")
        search(page, "level:>=error")
        only(page, "error")
        search(page, "")
        expect(page.locator(ROW).last).to_contain_text("while_it_blocks")
        pause(page)
        shown = page.locator(ROW).last.inner_text()
        relay.publish(log_line(f"while_paused_{n}") for n in range(3))
        expect(page.locator(".cwm-log")).to_contain_text("3 new")
        assert page.locator(ROW).last.inner_text() == shown
        pause(page)
        expect(page.locator(ROW).last).to_contain_text("while_paused_2")
        assert page.evaluate(f"{KERNEL}.status") == "busy"
        done.touch()
        notebook.wait_ready()
        assert of_ours(notebook.complaints) == []


def test_an_interrupted_kernel_leaves_it_alive(lab: Lab, relay: LiveRelay) -> None:
    with lab.notebook(connected(relay), "board", "import time\nwhile True:\n    time.sleep(1)") as notebook:
        relay.publish(recorded_messages()[:50])
        notebook.run(0)
        notebook.run(1)
        shows_rows(notebook.page)
        notebook.start(2)
        wait_busy(notebook)
        notebook.interrupt()
        notebook.wait_ready()
        assert [one["ename"] for one in notebook.outputs(2)] == ["KeyboardInterrupt"]
        relay.publish([log_line("after_the_interrupt")])
        expect(notebook.page.locator(ROW).last).to_contain_text("after_the_interrupt")
        assert of_ours(notebook.complaints) == []


def test_every_control_answers_to_a_click(lab: Lab) -> None:
    lab.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=lab.url)
    with lab.notebook(OPEN, "board") as notebook:
        page = notebook.page
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        log = page.locator(".cwm-log")
        rows = log.locator(ROW)
        button = lambda name: log.get_by_role("button", name=name, exact=True)  # noqa: E731

        # Level chips.
        for name in ("debug", "info", "warning"):
            log.locator(f".cwm-log-chip-{name}").click()
            expect(log.locator(f".cwm-log-chip-{name}")).to_have_attribute("aria-pressed", "false")
        search(page, "channel:logs")
        only(page, "error|critical")
        button("Clear filter").click()
        expect(log.locator("[aria-pressed=false].cwm-log-chip")).to_have_count(0)

        # Words, a regex, a negation, alternatives, a mistake.
        search(page, "push_failed")
        only(page, "push_failed")
        search(page, "/push_(failed|successful)/ -push_failed")
        only(page, "push_successful")
        search(page, "event:push_failed OR event:llm_error")
        only(page, "push_failed|llm_error")
        search(page, "/unclosed")
        expect(log.get_by_role("alert")).to_contain_text(re.compile("."))
        only(page, "push_failed|llm_error")  # the last good one stays
        search(page, "")
        expect(log.get_by_role("alert")).to_be_hidden()

        # The component.
        page.get_by_label("Component", exact=True).fill("daemon")
        only(page, "daemon")
        button("Clear filter").click()

        # Help.
        log.get_by_role("button", name="Help on the filter and the keys").click()
        expect(log.get_by_role("note")).to_contain_text("level:>=warning")
        log.get_by_role("button", name="Help on the filter and the keys").click()
        expect(log.get_by_role("note")).to_be_hidden()

        # A record, its JSON, a copy.
        search(page, "event:documentation_failed")
        only(page, "documentation_failed")
        rows.first.dblclick()
        details = log.locator(".cwm-log-details")
        expect(details).to_contain_text("Traceback")
        expect(details.locator(".cwm-log-json")).to_contain_text('"documentation_failed"')
        details.get_by_role("button", name="Copy record").click()
        expect(log.locator(".cwm-log-status")).to_contain_text("1 record copied")
        copied = orjson.loads(page.evaluate("navigator.clipboard.readText()"))
        assert copied["data"]["event"] == "documentation_failed"
        details.get_by_role("button", name="Close").click()
        expect(details).to_be_hidden()

        # One cycle: what belongs to it is lit, then alone.
        search(page, "event:documentation_committed channel:events")
        only(page, "documentation_committed")
        rows.first.click()
        expect(log.locator(f"{ROW}.cwm-log-same-cycle")).not_to_have_count(0)
        button("Only this cycle").click()
        button("Clear filter").click()
        only(page, ".")

        # Pause and on again; the strip leads to a time, "jump" back to the newest.
        pause(page)
        expect(button("Go on")).to_have_attribute("aria-pressed", "true")
        pause(page)
        newest = rows.last.get_attribute("aria-setsize") or ""
        strip = log.get_by_role("slider")
        box = strip.bounding_box()
        assert box is not None
        strip.click(position={"x": 5, "y": box["height"] / 2})
        expect(rows.last).not_to_have_attribute("aria-posinset", newest)
        log.get_by_role("listbox").press("End")
        expect(rows.last).to_have_attribute("aria-posinset", newest)
        assert of_ours(notebook.complaints) == []


def test_keys_work_the_log_and_are_no_shortcuts_of_the_application(lab: Lab) -> None:
    with lab.notebook(OPEN, "board", "'the last cell'") as notebook:
        page = notebook.page
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        log, listed = page.locator(".cwm-log"), page.get_by_role("listbox", name="Rows of the log")
        book = "(({ content }) => [content.activeCellIndex, content.mode, content.widgets.map((c) => c.model.type)])"
        state = f"{book}(window.jupyterapp.shell.currentWidget)"
        log.locator(ROW).nth(5).click()
        before = page.evaluate(state)

        listed.press("Space")
        expect(log.get_by_role("button", name="Go on")).to_be_visible()
        listed.press("Space")
        expect(log.get_by_role("button", name="Pause")).to_be_visible()
        # The first arrow leads to the newest row, which the list follows again; each is painted in a frame of its own.
        for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown"):
            active = listed.get_attribute("aria-activedescendant")
            listed.press(key)
            expect(listed).not_to_have_attribute("aria-activedescendant", active or "")
        listed.press("Shift+ArrowDown")
        expect(log.locator(f"{ROW}[aria-selected=true]")).to_have_count(2)
        listed.press("Enter")
        expect(log.locator(".cwm-log-details")).to_be_visible()
        listed.press("Escape")
        expect(log.locator(".cwm-log-details")).to_be_hidden()
        listed.press("?")
        expect(log.get_by_role("note")).to_be_visible()
        listed.press("Escape")
        expect(log.get_by_role("note")).to_be_hidden()
        listed.press("c")
        listed.press("Home")
        expect(log.locator(ROW).first).to_have_attribute("aria-posinset", "1")
        listed.press("PageDown")
        listed.press("End")
        expect(log.locator(ROW).last).to_contain_text(re.compile("."))
        listed.press("/")
        box = page.get_by_label("Filter", exact=True)
        expect(box).to_be_focused()
        page.keyboard.type("dd push_failed 00 /a/ xb")  # of which Lab would delete, restart, cut and insert
        expect(box).to_have_value("dd push_failed 00 /a/ xb")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        expect(box).to_have_value("")
        listed.focus()
        page.keyboard.type("ddx00abm1")
        assert page.evaluate(state) == before
        assert page.locator(".jp-Dialog").count() == 0
        assert of_ours(notebook.complaints) == []


def test_a_second_view_and_a_reload_show_what_the_first_did_and_the_kernel_knows_it(lab: Lab) -> None:
    with lab.notebook(OPEN, "board", "board") as notebook:
        page = notebook.page
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        search(page, "level:>=error")
        only(page, "error|critical")
        until_equal(notebook, "panel.view.get('query')", "level:>=error")
        notebook.run(2)
        only(page, "error|critical", view=1)
        notebook.reload()
        for view in range(2):
            only(page, "error|critical", view=view)
            expect(page.get_by_label("Filter", exact=True).nth(view)).to_have_value("level:>=error")
        selection = notebook.ask("panel.selection[['channel', 'level', 'event']].astype(str).values.tolist()")
        assert selection
        shown = page.locator(".cwm-log").first.get_by_role("listbox").locator(ROW).first
        assert int(shown.get_attribute("aria-setsize") or 0) == len(selection)
        assert {level for _, level, _ in selection if level not in ("nan", "<NA>", "None")} <= {"error", "critical"}
        events = [event for channel, _, event in selection if channel == LOGS]
        assert notebook.ask("mon.logs.where(view=panel).event.astype(str).tolist()") == events
        assert of_ours(notebook.complaints) == []


def test_without_binary_messages_it_shows_the_same(lab: Lab, relay: LiveRelay) -> None:
    code = connected(relay).replace("mon.dashboard()", "mon.dashboard(binary=False)")
    with lab.notebook(code, "board") as notebook:
        relay.publish(recorded_messages()[:50])
        notebook.run(0)
        notebook.run(1)
        shows_rows(notebook.page)
        relay.publish([log_line("as_plain_json")])
        expect(notebook.page.locator(ROW).last).to_contain_text("as_plain_json")


def test_hostile_text_is_text_live_and_frozen(lab: Lab, browser: Browser, tmp_path: Path) -> None:
    path = hostile_recording(tmp_path / "hostile.jsonl")
    code = f"from codeworm_monitor import open_recording\nmon = open_recording({str(path)!r})\nboard = mon.dashboard()"
    with lab.notebook(code, "board", "board.freeze()") as notebook:
        page = notebook.page
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        for number in range(page.locator(ROW).count()):
            page.locator(ROW).nth(number).dblclick()
            expect(page.locator(".cwm-log-details")).to_be_visible()
        assert page.locator(".cwm-log").get_by_text("onerror").count() > 0
        assert page.evaluate(INERT)
        notebook.run(2)
        page.wait_for_selector(".jp-RenderedHTML >> text=onerror")
        assert page.evaluate(INERT)
        frozen = tmp_path / "frozen.html"
        frozen.write_text(f'<!doctype html><meta charset="utf-8">{html_of(notebook.outputs(1)[0])}')
        assert of_ours(notebook.complaints) == []
    with reading(browser, frozen) as (page, complaints):
        assert "onerror" in page.inner_text("body")
        assert page.evaluate(INERT)
        assert complaints.exceptions == []


def test_what_is_frozen_stays_to_be_read_without_a_kernel(lab: Lab) -> None:
    with lab.notebook(OPEN, "board", "board.freeze()", "board", "board.close(freeze=True)") as notebook:
        page = notebook.page
        for cell in range(5):
            notebook.run(cell)
        still = page.locator(".jp-RenderedHTML", has_text="documentation_committed")
        expect(still).to_have_count(2)
        notebook.save()
        notebook.shut_down()
        page.reload()
        expect(still).to_have_count(2)
        expect(page.locator(".cwm-log-controls")).to_have_count(0)
        for theme in ("light", "dark"):
            notebook.theme(theme)
            looks = notebook.looks(".jp-RenderedHTML:has-text('documentation_committed')")
            assert [is_painted(look, theme) for look in looks] == [True, True], looks


def test_nbconvert_leaves_what_can_be_read_and_does_no_harm(browser: Browser, tmp_path: Path) -> None:
    hostile = hostile_recording(tmp_path / "hostile.jsonl")
    cells = [
        OPEN,
        "mon",
        "board",
        f"other = open_recording({str(hostile)!r})\nother.dashboard()",
    ]
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(book, tmp_path / "board.ipynb")
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", "--execute", "board.ipynb"]
    done = subprocess.run(
        command, cwd=tmp_path, env=isolated_jupyter(tmp_path), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    with reading(browser, tmp_path / "board.html") as (page, complaints):
        for number in range(1, 4):
            shown = page.locator(".jp-Cell").nth(number).locator(".jp-OutputArea-output")
            text = "".join(shown.all_inner_texts())
            assert ("documentation_committed" if number < 3 else "onerror") in text
            assert Look(shown.last.screenshot()).ink > 0.01
        assert page.evaluate(INERT)
        assert [one for one in complaints.exceptions if "MathJax" not in one and "require" not in one] == []
