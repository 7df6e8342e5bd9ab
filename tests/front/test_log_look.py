"""What the log panel looks like: both themes by pixels, narrow and wide, and text that means harm."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from support.front_page import THEMES, Front
from support.log_page import MOUNT_LOG, START, LogPage, LogPanel, log_page, log_row

pytestmark = pytest.mark.browser

HARM: list[Any] = [
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 1'>",
    "</textarea></script><svg onload=window.harmed=1>",
    "javascript:window.harmed=1",
    "a\u2028b\u2029c",
    "\u001b[31mred\u001b[0m \u001b]8;;http://evil\u0007link",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200b\u200f",
    "\x00\x07\x08",
    "Z" + "\u0301" * 500,
    "x" * 50_000,
    "line\nbreak\r\n\ttab",
    {"__proto__": {"polluted": 1}, "constructor": {"prototype": 1}},
    [[[[[[[[["deep"]]]]]]]]],
    -0.0,
    1e308,
    True,
    None,
    {},
    [],
    "",
]


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front({"mount_log.js": MOUNT_LOG}) as opened:
        yield opened


@pytest.fixture(scope="module")
def narrow(front: Front) -> Iterator[LogPage]:
    with log_page(front, width=320, height=900) as page:
        yield page


@pytest.fixture
def page(narrow: LogPage) -> Iterator[LogPage]:
    yield narrow
    narrow.clear()


def some_of_all() -> list[list[Any]]:
    levels = ["debug", "info", "warning", "error", "critical"]
    rows = [
        log_row(i, level=levels[i % 5], target=f"Parser.parse_{i}", error="Connection refused") for i in range(1, 40)
    ]
    gap = {"cause": "source_outage", "started_at": START + 20, "ended_at": START + 30, "missed": 17, "detail": ""}
    return [*rows, [40, START + 40, "gap", gap], [None, START + 41, "skipped", {"count": 5}]]


def pixels(log: LogPanel) -> np.ndarray:
    log.settle()
    return matplotlib.image.imread(BytesIO(log.list.screenshot()), format="png")[..., :3]


@pytest.mark.parametrize("theme", THEMES)
def test_rows_are_painted_in_every_theme(front: Front, theme: str) -> None:
    with log_page(front, theme=theme) as page:
        log = page.mount(some_of_all())
        image = pixels(log)
        background = np.median(image.reshape(-1, 3), axis=0).mean()
        assert background > 0.8 if theme.endswith("light") else background < 0.25
        # Text stands out from it, in grey and in colours.
        contrast = np.abs(image.mean(axis=2) - background)
        assert (contrast > 0.4).mean() > 0.01
        assert (image.max(axis=2) - image.min(axis=2) > 0.3).mean() > 0.002


@pytest.mark.parametrize("width", [320, 640, 1900])
def test_nothing_is_wider_than_the_panel_or_lies_on_another_part(front: Front, width: int) -> None:
    with log_page(front, width=width, height=1100) as page:
        log = page.mount(some_of_all())
        log.row("parse_39").click()
        page.page.keyboard.press("Enter")
        log.query.fill("level:" + "loud" * 60)
        log.el.get_by_text("is no level").wait_for()
        log.el.get_by_role("button", name="Help on").click()
        log.settle()
        told = page.page.evaluate(
            """() => {
              const box = (el) => el.getBoundingClientRect();
              const panel = document.querySelector(".cwm-log");
              const parts = [...panel.children].filter(el => !el.hidden && !el.matches(".cwm-log-announcer")).map(box);
              const wide = [...panel.querySelectorAll("*")].filter(el => box(el).right > box(panel).right + 1);
              const controls = [...panel.querySelectorAll(".cwm-log-controls button, .cwm-log-controls input")].map(box);
              const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
              const pairs = (all) => all.flatMap((a, i) => all.slice(i + 1).filter(b => meet(a, b)));
              return [wide.map(el => el.className), pairs(parts).length, pairs(controls).length, document.body.scrollWidth - innerWidth];
            }"""
        )
        assert told[:3] == [[], 0, 0]
        assert told[3] <= 0


@pytest.mark.parametrize("width", [320, 390, 520, 640])
def test_a_row_shows_all_its_parts_side_by_side_or_on_two_lines(front: Front, width: int) -> None:
    with log_page(front, width=width, height=900) as page:
        page.mount(some_of_all(), height=600)
        told = page.page.evaluate(
            """() => {
              const list = document.querySelector(".cwm-log-list");
              const parts = (row) => [...row.querySelectorAll("span")]
                .filter((el) => el.textContent && !el.matches(".cwm-log-said, .cwm-log-ms"))
                .map((el) => [el, el.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
              const meet = (a, b) => a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5;
              return [...list.querySelectorAll(".cwm-log-row")].map((row) => {
                const outer = row.getBoundingClientRect();
                const all = parts(row);
                const boxes = all.map(([, box]) => box);
                return {
                  parts: all.map(([el]) => el.className).join(" "),
                  height: outer.height,
                  isOutside: boxes.some((box) => box.top < outer.top || box.bottom > outer.bottom || box.right > outer.right),
                  meeting: boxes.some((box, i) => boxes.slice(i + 1).some((other) => meet(box, other))),
                  isCutBelow: all.some(([el]) => el.matches(".cwm-log-event") && el.scrollHeight > el.clientHeight + 1),
                  event: all.find(([el]) => el.matches(".cwm-log-event"))[1].width,
                };
              });
            }"""
        )
        assert len(told) > 10
        assert not [row for row in told if row["isOutside"] or row["meeting"]]
        lines = [row for row in told if "level" in row["parts"]]
        assert {row["height"] for row in told} == {44 if width <= 520 else 24}
        every = "cwm-log-time cwm-log-level cwm-log-component cwm-log-event cwm-log-summary"
        assert {row["parts"] for row in lines} == {every if width <= 520 else every.replace("cwm-log-component ", "")}
        others = [row for row in told if "level" not in row["parts"]]
        assert len(others) == 2
        if width < 520:  # there the texts need the whole width
            assert all(row["event"] > 0.6 * width for row in others)
        assert width < 390 or not any(row["isCutBelow"] for row in others)


def test_text_that_means_harm_is_nothing_but_text(page: LogPage) -> None:
    keys = ["event", "level", "component", "timestamp", "target", "error", "repo", "exception", "data", "<b>key</b>"]
    rows: list[list[Any]] = []
    for i, value in enumerate(HARM):
        rows += [
            [4 * i + 1, START + i, "codeworm:logs", dict.fromkeys(keys, value)],
            [4 * i + 2, START + i, "codeworm:events", {"type": value, "data": {"target": value, "repo": value}}],
            [
                4 * i + 3,
                START + i,
                "gap",
                {"cause": value, "started_at": value, "ended_at": value, "missed": value, "detail": value},
            ],
            [4 * i + 4, START + i, value if isinstance(value, str) else "codeworm:stats", value],
        ]
    log = page.mount(rows[:8], height=700)
    log.add(rows[8:])
    # Made there: 5 MB are not sent to the browser by a test's driver.
    page.page.evaluate(
        "at => storeOf('one').add([[1000, at, 'codeworm:logs', { event: 'x'.repeat(5e6), error: 'y'.repeat(5e6), "
        "exception: 'z\\n'.repeat(3e6) }]])",
        START + 100,
    )
    rows.append([1000])
    log.wait_status(f"{len(rows)} rows")
    log.list.focus()
    page.page.keyboard.press("Home")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    for _ in rows:
        page.page.keyboard.press("ArrowDown")
    for query in ["script", "/x{3}y/", "repo:*", "level:*", '"red"', "-a"]:
        log.query.fill(query)
        log.query.press("Enter")
    log.query.press("Escape")
    log.wait_status(f"{len(rows)} rows")
    found = page.page.evaluate(
        """() => {
          const panel = document.querySelector(".cwm-log");
          return [
            window.harmed ?? null, ({}).polluted ?? null, panel.querySelectorAll("script, img, a, b, iframe").length,
            /[\\u202a-\\u202e\\u2066-\\u2069\\u2028\\u2029\\u0000-\\u0008\\u001b\\u200b\\u200f]/.test(panel.textContent),
            Math.max(...[...panel.querySelectorAll("*")].map(el => el.children.length ? 0 : el.textContent.length)),
          ];
        }"""
    )
    assert found[:4] == [None, None, 0, False]
    assert found[4] < 130_000


@pytest.mark.parametrize("at", [None, "x", -1e300, 0, 1e300, -62135596800, 253402300799, True])
def test_a_time_that_is_none_breaks_neither_line_nor_strip(page: LogPage, at: Any) -> None:
    log = page.mount([log_row(1), [2, at, "codeworm:logs", {"event": "odd_time"}], log_row(3)])
    log.row("odd_time").wait_for()
    log.settle()
    paths = page.page.evaluate(
        "() => [...document.querySelectorAll('.cwm-log-picture path')].map(p => p.getAttribute('d') ?? '')"
    )
    assert not any("NaN" in d or "Infinity" in d for d in paths)


def test_ten_thousand_keys_and_types_that_change_are_shown(page: LogPage) -> None:
    many = {f"key_{i}": i for i in range(10_000)}
    rows = [[1, START, "codeworm:logs", {"event": "many", **many}]]
    rows += [[i, START + i, "codeworm:logs", {"event": "odd", "tokens": value}] for i, value in enumerate(HARM[10:], 2)]
    log = page.mount(rows, height=700)
    log.row("many").first.dblclick()
    log.el.get_by_text("the rest is left out here").wait_for()
    assert log.el.locator(".cwm-log-json-name").count() < 2000


def test_movement_is_not_needed(front: Front) -> None:
    with log_page(front, reduced_motion="reduce") as page:
        log = page.mount(some_of_all())
        told = page.page.evaluate(
            "() => [...document.querySelectorAll('.cwm-log *')].some(el => getComputedStyle(el).animationName !== 'none')"
        )
        assert told is False
        assert log.in_sight
