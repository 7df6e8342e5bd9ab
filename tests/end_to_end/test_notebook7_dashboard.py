"""The dashboard in a real Notebook 7: what may differ from JupyterLab, in which every control is tried.

Notebook 7 shows each notebook in a page of its own, with another shell around it and shortcuts of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect
from support.chromium import chromium
from support.lab import KERNEL, PATIENCE, Notebook, Notebook7, notebook7
from support.lab_dashboard import (
    OPEN,
    PANELS,
    ROW,
    connected,
    html_of,
    is_painted,
    notice,
    of_ours,
    only,
    pause,
    search,
    shows_rows,
    wait_busy,
)
from support.live_relay import LiveRelay, live_relay, log_line, recorded_messages

pytestmark = pytest.mark.browser

BOOK = "window.jupyterapp.shell.currentWidget.content"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)  # a busy machine is no failure
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook7]:
    with notebook7(tmp_path_factory.mktemp("notebook7") / "jupyter", browser) as running:
        yield running


@pytest.fixture(scope="module")
def relay() -> Iterator[LiveRelay]:
    with live_relay("--no-archive") as running:
        yield running


def assert_painted(notebook: Notebook, theme: str, *selectors: str) -> None:
    notebook.theme(theme)
    for selector in selectors:
        looks = notebook.looks(selector)
        assert looks
        assert all(is_painted(look, theme) for look in looks), (theme, selector, looks)


def test_all_panels_are_filled_and_painted_in_both_themes_also_after_a_reload(server: Notebook7) -> None:
    panels = [*(f".cwm-{name}" for name in PANELS), ".cwm-log-list"]
    with server.notebook(OPEN, "board", "mon", theme="dark") as notebook:
        page = notebook.page
        assert page.evaluate("window.jupyterapp.name") == "Jupyter Notebook"
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        for name in PANELS:
            expect(page.locator(f".cwm-{name} .cwm-body, .cwm-{name} .cwm-log-row").first).not_to_be_empty()
        assert_painted(notebook, "light", *panels)
        notebook.run(2)
        shows_rows(page, views=2)
        notebook.reload()
        shows_rows(page, views=2)
        assert_painted(notebook, "dark", *panels)
        assert of_ours(notebook.complaints) == []


def test_while_a_cell_blocks_the_view_moves_and_its_controls_answer(
    server: Notebook7, relay: LiveRelay, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    block = f"import os, time\nwhile not os.path.exists({str(done)!r}):\n    time.sleep(0.2)"
    with server.notebook(connected(relay), "board", block) as notebook:
        page = notebook.page
        log, newest = page.locator(".cwm-log"), page.locator(ROW).last
        relay.publish(recorded_messages()[:300])
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        notebook.start(2)
        wait_busy(notebook)
        relay.publish([log_line("while_it_blocks")])
        expect(newest).to_contain_text("while_it_blocks")
        search(page, "channel:logs")
        for level in ("debug", "info", "warning"):
            log.locator(f".cwm-log-chip-{level}").click()
        only(page, "error|critical")
        log.get_by_role("button", name="Clear filter").click()
        expect(newest).to_contain_text("while_it_blocks")
        pause(page)
        relay.publish(log_line(f"while_paused_{n}") for n in range(3))
        expect(log).to_contain_text("3 new")
        expect(newest).to_contain_text("while_it_blocks")
        pause(page)
        expect(newest).to_contain_text("while_paused_2")
        assert page.evaluate(f"{KERNEL}.status") == "busy"
        done.touch()
        notebook.wait_ready()
        assert of_ours(notebook.complaints) == []


def test_keys_work_the_panels_and_are_no_shortcuts_of_the_application(server: Notebook7) -> None:
    state = (
        f"(({{ activeCellIndex, mode, widgets }}) => [activeCellIndex, mode, widgets.map((c) => c.model.type)])({BOOK})"
    )
    with server.notebook(OPEN, "board", "'the last cell'") as notebook:
        page = notebook.page
        notebook.run(0)
        notebook.run(1)
        shows_rows(page)
        log, listed = page.locator(".cwm-log"), page.get_by_role("listbox", name="Rows of the log")
        log.locator(ROW).nth(5).click()
        before = page.evaluate(state)
        assert before == [1, "command", ["code"] * 3]

        # Of these Notebook, which hears of a key first, would delete and cut cells, restart, add cells, change their types.
        foreign = "ddx00abm1"
        for place in (listed, log.locator(".cwm-log-chip-info"), page.locator(".cwm-commits button").first):
            place.focus()
            page.keyboard.type(foreign)
        listed.press("Space")
        expect(log.get_by_role("button", name="Go on")).to_be_visible()
        listed.press("Space")
        expect(log.get_by_role("button", name="Pause")).to_be_visible()
        active = listed.get_attribute("aria-activedescendant")
        listed.press("ArrowUp")
        expect(listed).not_to_have_attribute("aria-activedescendant", active or "")
        listed.press("Enter")
        expect(log.locator(".cwm-log-details")).to_be_visible()
        listed.press("Escape")
        expect(log.locator(".cwm-log-details")).to_be_hidden()
        listed.press("/")
        box = page.get_by_label("Filter", exact=True)
        expect(box).to_be_focused()
        page.keyboard.type(foreign)
        expect(box).to_have_value(foreign)
        page.keyboard.press("Shift+Enter")
        page.keyboard.press("Escape")
        expect(box).to_have_value("")
        assert page.evaluate(state) == before
        expect(page.locator(".jp-Dialog")).to_have_count(0)
        shows_rows(page)

        # In another cell they are the application's: had they come through, it would have shown.
        notebook.cell(2).locator(".jp-InputPrompt").click()
        page.keyboard.type("dd")
        page.wait_for_function(f"{BOOK}.widgets.length === 2")
        assert of_ours(notebook.complaints) == []


def test_a_restarted_kernel_is_told_and_the_cell_may_be_run_again(server: Notebook7) -> None:
    with server.notebook(OPEN, "board") as notebook:
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


def test_what_is_frozen_is_in_the_file_and_is_read_without_a_kernel(server: Notebook7) -> None:
    with server.notebook(OPEN, "board", "board.freeze()", "board", "board.close(freeze=True)") as notebook:
        page = notebook.page
        for cell in range(5):
            notebook.run(cell)
        selector = ".jp-RenderedHTML:has-text('documentation_committed')"
        expect(page.locator(selector)).to_have_count(2)
        notebook.save()
        cells = nbformat.read(notebook.path, as_version=4).cells
        for cell in (1, 3):
            assert "documentation_committed" in html_of(cells[cell].outputs[0])
        notebook.shut_down()
        page.reload()
        expect(page.locator(selector)).to_have_count(2)
        expect(page.locator(".cwm-log-controls")).to_have_count(0)
        for theme in ("light", "dark"):
            assert_painted(notebook, theme, selector)
