"""Older rows of the page's log: pages of `/history` turned into rows, also over two numberings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.front_page import Front, FrontPage

pytestmark = pytest.mark.browser

HARNESS = """
import { History } from "/front/page_history.js";
window.ask = async ({ pages, before, count, at, base, times }) => {
  const asked = [];
  const get = async (path, query) => {
    asked.push({ path, ...query });
    const page = pages.shift();
    if (typeof page === "string") throw new Error(page);
    return page;
  };
  const history = new History(get, () => ({ epoch: "e", base: base ?? 0 }), () => at ?? null);
  const answers = [];
  let place = before;
  for (let time = 0; time < (times ?? 1); time += 1) {
    const answer = await history.older(place, count);
    answers.push(answer);
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
