"""The log's store: bounded, in order, without duplicates, cheap, and the same whatever comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from support.front_page import Front
from support.log_page import MOUNT_LOG, START, cycle_rows, log_page, log_row, log_rows

pytestmark = pytest.mark.browser

_RUN = """async ([steps, options]) => {
  const store = new LogStore(options);
  for (const [name, ...values] of steps) {
    store[name](...values);
    while (store.isBusy) await new Promise(done => setTimeout(done));
  }
  const numbers = Array.from({ length: store.size }, (_, i) => store.first + i);
  return {
    rows: numbers.map(n => store.row(n)),
    cycles: numbers.map(n => store.cycle(n)).map(n => Number.isNaN(n) ? null : store.offset(n)),
    levels: [...store.levelCounts],
    hasOlder: store.hasOlder,
    found: store.size > 0 ? [store.firstOffset, store.lastOffset] : null,
    version: store.version,
  };
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Front({"mount_log.js": MOUNT_LOG}) as front, log_page(front) as opened:
        yield opened.page


def run(page: Page, *steps: list[Any], **options: Any) -> dict[str, Any]:
    """Do steps on a store and tell what it holds."""
    told: dict[str, Any] = page.evaluate(_RUN, [list(steps), options])
    return told


def offsets(told: dict[str, Any]) -> list[int | None]:
    return [row[0] for row in told["rows"]]


def test_the_oldest_rows_go_when_there_is_no_room(page: Page) -> None:
    told = run(page, ["fill", log_rows(1, 80), True], ["add", log_rows(81, 130)], capacity=100)
    assert offsets(told) == list(range(31, 131))
    assert told["rows"][0] == log_row(31)
    assert told["hasOlder"] is True
    assert told["levels"] == [0, 0, 100, 0, 0, 0]


def test_heavy_rows_go_before_the_room_is_used(page: Page) -> None:
    rows = [log_row(i, text="x" * 10_000) for i in range(1, 51)]
    told = run(page, ["add", rows], heaviest=105_000)
    assert offsets(told) == list(range(41, 51))
    alone = run(page, ["add", [log_row(1, text="x" * 10_000)]], heaviest=10)
    assert offsets(alone) == [1]


def test_rows_that_are_sent_again_are_held_once(page: Page) -> None:
    gap = [6, START + 6, "gap", {"cause": "x"}]
    skipped = [None, START + 6.5, "skipped", {"count": 3}]
    rows = [*log_rows(1, 5), gap, skipped, *log_rows(7, 9)]
    told = run(page, ["fill", rows, True], ["add", rows[2:]], ["add", rows])
    assert told["rows"] == rows


def test_a_row_that_comes_late_is_put_where_it_belongs(page: Page) -> None:
    late = [log_row(4), log_row(3), log_row(7), log_row(3)]
    told = run(page, ["add", [*log_rows(1, 2), *log_rows(5, 6), *log_rows(8, 10)]], ["add", late])
    assert offsets(told) == list(range(1, 11))
    assert told["version"] == 1


def test_a_numbering_that_begins_anew_is_no_repetition(page: Page) -> None:
    new = [[i, START + 1000 + i, "codeworm:logs", {"event": f"new_{i}"}] for i in range(1, 6)]
    told = run(page, ["add", log_rows(1, 10)], ["add", new], ["add", new[2:]])
    assert offsets(told) == [*range(1, 11), *range(1, 6)]
    again = run(page, ["fill", [*log_rows(1, 10), *new], True], ["add", new])
    assert offsets(again) == [*range(1, 11), *range(1, 6)]


def test_older_rows_come_before_and_only_those(page: Page) -> None:
    told = run(page, ["fill", log_rows(50, 60), False], ["addOlder", log_rows(40, 52), False])
    assert offsets(told) == list(range(40, 61))
    assert told["hasOlder"] is True
    all_of_them = run(page, ["fill", log_rows(50, 60), False], ["addOlder", log_rows(40, 49), True])
    assert all_of_them["hasOlder"] is False
    full = run(page, ["fill", log_rows(50, 60), False], ["addOlder", log_rows(1, 49), True], capacity=20)
    assert offsets(full) == list(range(41, 61))
    assert full["hasOlder"] is True


def test_a_large_fill_is_taken_in_short_slices(page: Page) -> None:
    told = page.evaluate(
        """async start => {
          const rows = Array.from({ length: 100000 }, (_, i) =>
            [i, start + i / 100, "codeworm:logs", { event: `event_${i}`, level: "info", component: "daemon", text: "x".repeat(80) }]);
          const store = new LogStore();
          let turns = 0;
          store.fill(rows, true);
          store.add([[100000, start + 1001, "codeworm:logs", { event: "behind" }]]);
          while (store.isBusy) { turns += 1; await new Promise(done => setTimeout(done)); }
          return [turns, store.size, store.data(store.end - 1).event, store.offset(store.first)];
        }""",
        START,
    )
    assert told[1:] == [50_000, "behind", 50_001]
    assert told[0] >= 2


def test_cycles_are_what_lies_between_two_starts(page: Page) -> None:
    rows = [*cycle_rows(1, 1), *cycle_rows(11, 2)]
    told = run(page, ["add", rows])
    assert told["cycles"] == [1, 1, 1, None, 1, 1, None, 11, 11, 11, None, 11, 11, None]


def test_two_starts_far_apart_or_of_one_kind_are_two(page: Page) -> None:
    start = {"event": "cycle_starting", "level": "info"}
    rows = [
        [1, START, "codeworm:logs", start],
        [2, START + 2.5, "codeworm:events", {"type": "cycle_starting"}],
        [3, START + 3, "codeworm:logs", start],
        [4, START + 3.5, "codeworm:logs", start],
    ]
    assert run(page, ["add", rows])["cycles"] == [1, 2, 2, 4]


def test_a_pause_after_failures_belongs_to_the_next_cycle_and_the_daemons_end_to_none(page: Page) -> None:
    said = ["cycle_starting", "llm_error", "backing_off", "cycle_starting", "daemon_stopped", "next", "daemon_starting"]
    rows = [[i, START + 60 * i, "codeworm:logs", {"event": name}] for i, name in enumerate(said)]
    assert run(page, ["add", rows])["cycles"] == [0, 0, 2, 2, None, None, None]


def test_older_rows_tell_to_which_cycle_the_first_ones_belong(page: Page) -> None:
    rows = cycle_rows(1, 1)
    told = run(page, ["fill", rows[3:], False], ["addOlder", rows[:3], True])
    assert told["cycles"] == [1, 1, 1, None, 1, 1, None]


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [None, 5, "x", {}, []],
        [[None, None, None, None]],
        [["1", "x", 5, "text"], [1.5, float("1e300"), "codeworm:logs", [1, 2]]],
        [
            [
                1,
                START,
                "codeworm:logs",
                {"event": {"a": 1}, "level": ["error"], "component": 5, "__proto__": {"level": "x"}},
            ]
        ],
        [[1, START, "gap", None], [None, None, "gap", "x"], [None, 0, "skipped", []]],
    ],
    ids=["nothing", "no rows", "nulls", "types", "fields", "gaps"],
)
def test_whatever_comes_is_held_or_left_out_and_breaks_nothing(page: Page, rows: Any) -> None:
    told = run(page, ["add", rows], ["fill", rows, False], ["addOlder", rows, True], ["add", log_rows(10**6, 10**6)])
    assert offsets(told)[-1] == 10**6
    json.dumps(told)
