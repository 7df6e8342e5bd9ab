from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.panels import EVENTS, LOGS, Feed, anything, hostile_messages

from codeworm_monitor.activity import Snapshot
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.recording import recorded
from codeworm_monitor.states.panel_states import PanelStates
from codeworm_monitor.states.still import MOST_ROWS, still_html, still_text
from codeworm_monitor.states.wire_rows import gap_row, skipped_row, wire_row

NOW = 1_795_483_680.0  # 2026-11-24T01:28:00Z
HOSTILE = (
    '<script>alert(1)</script></style></div>"><img src=x onerror=alert(1)> javascript:alert(1) \x1b[31mred\x1b[0m '
    "\u202egnp.exe\u2066 zero\u200bwidth \u2028 \x00 \ud800 $\\alpha$ &lt; " + "w" * 400
)
_VOID = {"br", "img", "input", "hr"}


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles += [value or "" for name, value in attrs if name == "style"]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    assert reader.tags <= {"div", "span", "strong"}
    assert reader.attributes <= {"style", "class", "role", "aria-level"}
    assert not any("url(" in style or "@import" in style for style in reader.styles)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", html)
    html.encode()
    return reader


def states_of(messages: list[tuple[Envelope, Any]], now: float = NOW) -> dict[str, Any]:
    panels = PanelStates(now)
    panels.take("a", messages)
    return panels.as_dict(now)


def test_it_says_what_it_is_and_of_when() -> None:
    text = read(still_html(states_of([]), [], title="CodeWorm", now=NOW)).text
    assert text.startswith(
        "CodeWorm as of 2026-11-24 01:28:00 UTC: a still picture, run the cell again for a live view"
    )


def test_of_recorded_traffic_all_five_panels_and_the_newest_rows_can_be_read(recording: Path) -> None:
    messages = list(recorded(recording))
    now = messages[-1][0].received_at
    states = states_of(messages, now)
    rows = [wire_row(*one) for one in messages]
    html = still_html(states, rows, title="CodeWorm", now=now)
    text = read(html).text
    for heading in ("Activity", "Documents", "Newest commits", "Repositories", "Health", "Log"):
        assert heading in text
    newest = states["commits"]["commits"][0]
    assert newest["commit"] in text
    assert newest["commit_message"] in text
    assert f"{len(rows) - MOST_ROWS:,} rows before these are not shown" in text
    assert len(html) < 300_000


def test_rows_tell_level_event_target_and_error() -> None:
    feed = Feed(NOW - 10)
    messages = [
        feed.log(
            "documentation_failed", level="error", target="Path", error="no room", exception="Trace\n  x\nOSError: no"
        ),
        feed.message("codeworm:stats", {"total_documented": 3}),
        feed.message(LOGS, "a text"),
        feed.event("analyzing", repo="click"),
    ]
    gap = Gap(cause=GapCause.TRIMMED, started_at=NOW - 6, ended_at=NOW - 5, first_offset=1, last_offset=3)
    rows = [*(wire_row(*one) for one in messages), gap_row(gap), skipped_row(7000, NOW)]
    text = read(still_html({}, rows, title="x", now=NOW)).text
    for wanted in (
        "01:27:51 ERROR daemon documentation_failed target=Path error=no room OSError: no",
        "stats stats total_documented=3",
        "a text",
        "events analyzing repo=click",
        "gap: trimmed 01:27:54 to 01:27:55, 3 missed",
        "7,000 rows not shown",
    ):
        assert wanted in text


def test_hostile_text_is_text() -> None:
    feed = Feed(NOW - 100)
    names = ("target", "repo", "doc_type", "language", "commit", "commit_message")
    bad = dict.fromkeys(names, HOSTILE)
    panels = PanelStates(NOW)
    messages = [
        feed.event("generating", **bad),
        feed.commit(**bad),
        feed.message(LOGS, dict.fromkeys(("event", "level", "component", "error", "exception", HOSTILE), HOSTILE)),
        feed.log("llm_error", error=HOSTILE, target=HOSTILE),
        feed.message(EVENTS, HOSTILE),
        feed.message(HOSTILE, [HOSTILE]),
    ]
    panels.take("a", messages)
    panels.take_gap("a", Gap(cause=GapCause.TRIMMED, started_at=1.0, ended_at=2.0, detail=HOSTILE))
    panels.take_repositories([{"name": HOSTILE}])
    panels.take_statistics({"total_documented": 5, "by_repo": {HOSTILE: 5}})
    panels.take_info({"statistics": {"version": HOSTILE, "is_connected": False, "upstream_reason": HOSTILE}}, HOSTILE)
    states = panels.as_dict(NOW)
    reader = read(still_html(states, [wire_row(*one) for one in messages], title=HOSTILE, now=NOW))
    assert "<script>alert(1)</script>" in reader.text
    assert "zero width" in reader.text
    for line in still_text(states).splitlines():
        assert line.isprintable()


def test_background_and_text_are_painted_and_long_words_break() -> None:
    outer = read(still_html(states_of([]), [], title="x", now=NOW)).styles[0]
    for wanted in ("color-scheme:light dark", "background:", ";color:", "overflow-wrap:anywhere", "max-width:100%"):
        assert wanted in outer


@pytest.mark.parametrize(
    "states", [{}, {"activity": None, "stats": {}, "commits": {}, "repositories": {}, "health": {}}]
)
def test_what_is_not_known_yet_is_said_in_words(states: dict[str, Any]) -> None:
    assert "no rows so far" in read(still_html(states, [], title="x", now=NOW)).text
    assert still_text(states).startswith("CodeWorm: unknown")


def test_a_panel_alone_has_no_log() -> None:
    states = states_of([])
    assert "Log" not in read(still_html({"stats": states["stats"]}, [], title="x", now=NOW)).text
    assert "Log" in read(still_html(states, [], title="x", now=NOW)).text


def test_in_plain_text_it_is_a_few_lines() -> None:
    feed = Feed(NOW - 10)
    states = states_of(
        [
            feed.log("llm_error", error="out of memory"),
            feed.commit(commit="abcd1234"),
            feed.stats(total_documented=1500),
        ]
    )
    lines = still_text(states).splitlines()
    assert lines[0] == "CodeWorm: committed · click · Path · til · python, since 2026-11-24 01:27:52 UTC"
    assert lines[1].startswith("documents: 1,500 in all, 1 today")
    assert lines[2].endswith("click · Path · til · python · abcd1234 · 1,000 tokens · 2.0 s")
    assert lines[3].endswith("llm_error · out of memory")


@given(hostile_messages, anything, st.text())
def test_no_message_makes_it_stumble(messages: list[Any], told: Any, title: str) -> None:
    panels = PanelStates(NOW)
    panels.restart(Snapshot(), live_from=0, epoch="a")
    panels.take("a", messages)
    panels.take_info({"statistics": told}, "x")
    panels.take_repositories([{"name": "x", "weight": told}])
    states = panels.as_dict(NOW)
    orjson.dumps(states)
    read(still_html(states, [wire_row(*one) for one in messages], title=title, now=NOW))
    still_text(states)
