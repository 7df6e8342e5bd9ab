from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support.front_page import FOLDER, Front, FrontPage

pytestmark = pytest.mark.browser

MINE = (
    "dom",
    "format",
    "state_source",
    "panel_frame",
    "sparkline",
    "activity",
    "stats",
    "commits",
    "repositories",
    "health",
)


@pytest.fixture(scope="module")
def page() -> Iterator[FrontPage]:
    with Front() as front, front.page() as opened:
        opened.page.evaluate("async () => { window.dom = await import('/front/dom.js'); }")
        yield opened


def test_children_and_texts_become_text_nodes_and_elements(page: FrontPage) -> None:
    html = page.page.evaluate(
        "() => dom.h('p', { class: 'cwm-x', title: '\"<b>', hidden: true, lang: null, id: false },"
        " '<script>', [1, null, [dom.h('b', { text: '<i>' })]], undefined, false).outerHTML"
    )
    assert html == '<p class="cwm-x" title="&quot;&lt;b&gt;" hidden="">&lt;script&gt;1<b>&lt;i&gt;</b></p>'
    assert page.page.evaluate("() => dom.svg('g', {}, dom.svg('rect')).firstChild instanceof SVGRectElement")


@pytest.mark.parametrize("name", ["style", "href", "SRC", "srcdoc", "xlink:href", "onclick", "formaction"])
def test_attributes_that_load_lead_away_or_run_are_refused(page: FrontPage, name: str) -> None:
    assert (
        page.page.evaluate(
            "(name) => { try { dom.h('a', { [name]: 'x' }); } catch (error) { return error.name; } }", name
        )
        == "TypeError"
    )


def test_a_function_listens(page: FrontPage) -> None:
    assert (
        page.page.evaluate(
            "() => { let n = 0; const el = dom.h('b', { onclick: () => { n += 1; } }); el.click(); return n; }"
        )
        == 1
    )


def test_children_that_stay_are_not_moved(page: FrontPage) -> None:
    moved = page.page.evaluate(
        """() => {
          const [a, b, c, d, e] = "abcde".split("").map((text) => dom.h("i", { text }));
          const el = dom.h("p", {}, a, b, c, d);
          const observer = new MutationObserver(() => {});
          observer.observe(el, { childList: true });
          dom.replace(el, e, b, d);
          const names = observer.takeRecords().flatMap((one) => [...one.addedNodes, ...one.removedNodes]).map((one) => one.textContent);
          return [names.sort().join(""), el.textContent];
        }"""
    )
    assert moved == ["ace", "ebd"]


def test_text_that_is_the_same_is_not_set(page: FrontPage) -> None:
    kept = page.page.evaluate(
        """() => {
          const el = dom.h("p", { text: "one" });
          const node = el.firstChild;
          dom.setText(el, "one");
          const same = el.firstChild === node;
          dom.setText(el, "two");
          const changed = el.firstChild === node && el.textContent === "two";
          dom.replace(el, dom.h("b", { text: "two" }));
          dom.setText(el, "two");
          return [same, changed, el.firstElementChild === null];
        }"""
    )
    assert kept == [True, True, True]


def test_a_keyed_list_keeps_its_elements_also_with_equal_keys(page: FrontPage) -> None:
    result = page.page.evaluate(
        """() => {
          const el = dom.h("ul");
          const set = dom.keyedList(el, (one) => one, () => {
            const row = dom.h("li");
            return { el: row, update: (one) => dom.setText(row, one) };
          });
          set(["a", "b", "b", "__proto__"]);
          const first = [...el.children];
          set(["b", "a", "b", "__proto__", "constructor"]);
          const second = [...el.children];
          set([]);
          return [second.filter((one) => first.includes(one)).length, second.map((one) => one.textContent).join(), el.children.length];
        }"""
    )
    assert result == [4, "b,a,b,__proto__,constructor", 0]


@pytest.mark.parametrize("name", MINE)
def test_a_module_uses_nothing_that_reads_markup_or_reaches_out(name: str) -> None:
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|XMLHttpRequest|WebSocket|localStorage|https?://(?!www\.w3\.org/2000/svg)"
    assert re.findall(forbidden, text) == []
