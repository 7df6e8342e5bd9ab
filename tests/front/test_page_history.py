"""Older rows of the page's log: pages of `/history` turned into rows, also over two numberings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.front_page import Front, FrontPage

pytestmark = pytest.mark.browser

HARNESS = """
import { History, PageStore } from "/front/page_history.js";
const settled = (store) => new Promise((done) => {
  const look = () => (store.isBusy ? setTimeout(look) : done());
  look();
});
const told = (store) => {
  const rows = [];
  for (let n = store.first; n < store.end; n += 1) rows.push(store.channel(n) === "gap" ? "gap" : store.data(n).name);
  return rows.join(" ");
};

// A log as the panel has it: what it asks for goes into the store that it looks at.
window.log = async ({ rows, entries, steps, count, capacity }) => {
  const store = new PageStore({ capacity });
  store.add(rows);
  await settled(store);
  const asked = [];
  const get = async (path, query) => {
    asked.push({ ...query });
    const begin = query.cursor === undefined ? 0 : Number(query.cursor);
    const found = query.until === undefined ? entries : entries.filter((one) => one.received_at <= Number(query.until));
    const all = query.cursor === undefined ? found : entries;
    const page = all.slice(begin, begin + count);
    const next = begin + page.length + (query.cursor === undefined ? entries.length - found.length : 0);
    return { entries: page, next: next < entries.length ? String(next) : null };
  };
  const history = new History(get, () => ({ epoch: "e", base: 0 }), () => store.asking);
  const seen = [];
  let view = store;
  for (const step of steps) {
    if (step === "pause") view = store.frozen();
    else if (step === "go on") view = store;
    else {
      const before = view.firstOffset;
      const answer = await history.older(before, count);
      if (step === "ask") view.addOlder(answer.rows, answer.isAll);
      if (answer.problem) seen.push(answer.problem);
    }
    seen.push(told(view));
  }
  return { seen, asked };
};
window.ask = async ({ pages, before, count, at, base, times }) => {
  const asked = [];
  const get = async (path, query) => {
    asked.push({ path, ...query });
    const page = pages.shift();
    if (typeof page === "string") throw new Error(page);
    return page;
  };
  const store = new PageStore();
  if (at !== undefined) store.add([[before, at, "codeworm:logs", { n: 1 }]]);
  await settled(store);
  const history = new History(get, () => ({ epoch: "e", base: base ?? 0 }), () => store.asking);
  const answers = [];
  let place = before;
  for (let time = 0; time < (times ?? 1); time += 1) {
    const answer = await history.older(place, count);
    answers.push(answer);
    store.addOlder(answer.rows, answer.isAll);
    place = answer.rows.find((row) => row[0] !== null)?.[0] ?? place;
  }
  return { answers, asked };
};
window.isReadyToAsk = true;
"""


@pytest.fixture(scope="module")
def page() -> Iterator[FrontPage]:
    with Front({"history_harness.js": HARNESS}) as front, front.page() as opened:
        opened.page.evaluate("import('/made/history_harness.js')")
        opened.page.wait_for_function("() => window.isReadyToAsk")
        yield opened


def ask(page: FrontPage, *pages: Any, **given: Any) -> tuple[list[Any], list[Any]]:
    said = {"pages": list(pages), "before": 100, "count": 10} | given
    found = page.page.evaluate("given => ask(given)", said)
    return found["answers"], found["asked"]


def entry(offset: int, epoch: str = "e") -> dict[str, Any]:
    return {
        "epoch": epoch,
        "offset": offset,
        "received_at": float(offset),
        "channel": "codeworm:logs",
        "data": {"n": 1},
    }


def told(*entries: Any, next: str | None = None) -> dict[str, Any]:
    return {"entries": list(entries), "next": next}


def test_rows_before_a_row_come_the_oldest_first(page: FrontPage) -> None:
    newest_first = [entry(number) for number in (101, 100, 99, 98)]
    ((answer,), (question,)) = ask(page, told(*newest_first), at=100.5)
    assert [row[0] for row in answer["rows"]] == [98, 99]
    assert answer["rows"][0] == [98, 98, "codeworm:logs", {"n": 1}]
    assert (answer["isAll"], answer["problem"]) == (True, None)
    assert question == {"path": "history", "reverse": "true", "limit": 10, "until": "100.500010"}


def test_the_next_question_goes_on_where_the_answer_ended(page: FrontPage) -> None:
    answers, asked = ask(page, told(entry(99), next="a.b.c"), told(entry(98)), count=1, times=2, at=100.0)
    assert [[row[0] for row in one["rows"]] for one in answers] == [[99], [98]]
    assert [one["isAll"] for one in answers] == [False, True]
    assert (asked[1]["cursor"], "until" in asked[1]) == ("a.b.c", False)


def test_pages_without_anything_older_are_passed_over(page: FrontPage) -> None:
    new = [told(*(entry(100 + number) for number in range(5)), next="1.1.1") for _ in range(12)]
    ((answer,), asked) = ask(page, *new, told(entry(99)))
    assert [row[0] for row in answer["rows"]] == [99]
    assert len(asked) == 13


def test_rows_of_another_numbering_have_no_number_and_its_own_are_raised(page: FrontPage) -> None:
    gap = {"offset": 3, "cause": "relay_restart", "started_at": 1.0, "ended_at": 2.0, "detail": "it was away"}
    gap |= {"first_offset": 1, "last_offset": 2}
    pages = told(entry(4), {"epoch": "e", "gap": gap}, entry(2), entry(900, epoch="older"), next="1.1.1")
    ((answer, second), asked) = ask(page, pages, told(), before=55, base=50, count=4, times=2)
    assert [row[0] for row in answer["rows"]] == [None, 52, 53, 54]
    assert answer["rows"][2][2:] == [
        "gap",
        {"cause": "relay_restart", "started_at": 1, "ended_at": 2, "missed": None, "detail": "it was away"},
    ]
    assert (second["rows"], second["isAll"], asked[1]["cursor"]) == ([], True, "1.1.1")


def test_a_relay_that_does_not_answer_is_a_problem_in_words(page: FrontPage) -> None:
    ((answer,), _) = ask(page, "the relay answered 503: away")
    assert answer == {"rows": [], "isAll": False, "problem": "the relay answered 503: away"}


def test_what_is_no_entry_is_left_out(page: FrontPage) -> None:
    ((answer,), _) = ask(page, told(None, 5, "x", {}, {"gap": None}, entry(7)))
    assert [row[0] for row in answer["rows"]] == [7]


def named(name: str, offset: int, at: float, *, epoch: str = "former") -> dict[str, Any]:
    return {
        "epoch": epoch,
        "offset": offset,
        "received_at": at,
        "channel": "codeworm:logs",
        "data": {"name": name},
    }


FORMER = [named(f"f{number}", number, 1000.0 + number) for number in range(20, 7, -1)]
OURS = [named(f"e{number}", number, 2000.0 + number, epoch="e") for number in range(3, 0, -1)]
HELD = "e1 e2 e3"
# The first page begins with the oldest row that is held, so a second is asked for.
FIRST = f"f14 f15 f16 f17 f18 f19 f20 {HELD}"
SECOND = f"f10 f11 f12 f13 {FIRST}"


def rows_of(*entries: dict[str, Any]) -> list[Any]:
    return [[one["offset"], one["received_at"], one["channel"], one["data"]] for one in reversed(entries)]


def log(page: FrontPage, *steps: str, **given: Any) -> list[str]:
    said: dict[str, Any] = {"rows": rows_of(*OURS), "entries": [*OURS, *FORMER], "count": 4, "steps": steps} | given
    seen: list[str] = page.page.evaluate("given => log(given)", said)["seen"]
    return seen


def test_rows_of_a_former_numbering_come_page_by_page(page: FrontPage) -> None:
    assert log(page, "ask", "ask", "ask") == [FIRST, SECOND, f"f8 f9 {SECOND}"]


def test_an_answer_that_was_not_kept_leaves_no_hole(page: FrontPage) -> None:
    assert log(page, "lose", "ask", "lose", "ask") == [HELD, FIRST, FIRST, SECOND]


def test_what_a_paused_view_was_given_is_asked_for_again_when_it_goes_on(page: FrontPage) -> None:
    steps = ("pause", "ask", "ask", "go on", "ask", "ask")
    assert log(page, *steps) == [HELD, FIRST, SECOND, HELD, FIRST, SECOND]
    assert log(page, "ask", "pause", "ask", "go on", "ask") == [FIRST, FIRST, SECOND, FIRST, SECOND]


def test_rows_for_which_there_was_no_room_come_when_they_are_asked_for_again(page: FrontPage) -> None:
    seen = log(page, "ask", "pause", "ask", capacity=5)
    assert seen == [f"f19 f20 {HELD}", f"f19 f20 {HELD}", f"f14 f15 f16 f17 f18 f19 f20 {HELD}"]


def test_a_row_that_was_heard_before_the_numbering_changed_does_not_come_twice(page: FrontPage) -> None:
    gap = [None, 2000.5, "gap", {"cause": "relay_restart", "started_at": 1020, "ended_at": 2000.5}]
    later = [[100 + offset, *rest] for offset, *rest in rows_of(*OURS)]
    held = [*rows_of(*FORMER[:2]), gap, *later]
    assert log(page, "ask", rows=held) == [f"f12 f13 f14 f15 f16 f17 f18 f19 f20 gap {HELD}"]


def test_rows_that_are_alike_are_each_a_row(page: FrontPage) -> None:
    alike = [named("same", number, 1500.0) for number in range(6, 0, -1)]
    held = rows_of(*alike[:2])
    seen = log(page, "ask", "ask", rows=held, entries=alike, count=1)
    assert seen == ["same same same", "same same same same"]
    ours = [named("same", number, 1500.0, epoch="e") for number in range(6, 0, -1)]
    assert log(page, "ask", rows=rows_of(*ours[:2]), entries=ours, count=10) == [" ".join(["same"] * 6)]
