from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.records import PublisherClock, parse_record
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.terminal.lines import (
    Line,
    ansi_text,
    gap_line,
    inert,
    length_text,
    plain_text,
    record_line,
    traceback_lines,
)

LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"
AT = 1795384656.0
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in x\n    f()\ngit.exc.BadName: no such ref'


def line_of(payload: Any, channel: str = LOGS, mark: str | None = None) -> str:
    return plain_text(record_line(parse_record(channel, payload, AT, PublisherClock()), AT, channel, mark))


@pytest.fixture(autouse=True)
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Any:
    import time

    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_log_line_tells_local_time_level_component_event_subject_and_what_went_wrong() -> None:
    said = line_of(
        {
            "event": "documentation_failed",
            "level": "error",
            "component": "daemon",
            "repo": "click",
            "target": "dedent",
            "error": "no such ref",
            "exception": TRACEBACK,
            "timestamp": "2026-11-22T21:57:36Z",
            "attempt": 2,
        }
    )
    assert said == (
        "16:57:36 error    daemon   documentation_failed       click · dedent attempt=2 git.exc.BadName: no such ref"
    )


def test_an_error_and_another_last_line_are_both_told() -> None:
    said = line_of({"event": "llm_error", "level": "error", "error": "Model OOM", "exception": TRACEBACK})
    assert said.endswith("Model OOM (git.exc.BadName: no such ref)")


def test_events_and_stats_read_as_lines_too() -> None:
    commit = {"target": "dedent", "repo": "textwrap", "doc_type": "til", "commit": "bf74fa5b", "tokens": 1218}
    event = {"type": "documentation_committed", "data": {**commit, "time_ms": 1500, "commit_message": "Clarify dedent"}}
    assert line_of(event, EVENTS) == (
        "16:57:36 event             documentation_committed    textwrap · dedent til bf74fa5b 1,218 tokens in 1.5 s "
        "Clarify dedent"
    )
    announced = {"type": "next_cycle", "data": {"time": "2026-11-22T22:00:00+00:00"}}
    assert line_of(announced, EVENTS).endswith("next_cycle                 at 17:00:00")
    stats = {"total_documented": 92, "last_7_days": 92, "success_rate": 93.5, "consecutive_failures": 0}
    assert line_of({**stats, "by_repo": {"httpx": 8, "click": 52}}, STATS).endswith(
        "92 documents · 92 in 7 days · 93.5 % of cycles well · 0 failures in a row · click 52, httpx 8"
    )


def test_every_recorded_message_makes_one_plain_line(recording: Path) -> None:
    clock = PublisherClock()
    for message in read_recording(recording):
        data = orjson.loads(message.payload)
        line = record_line(parse_record(message.channel, data, message.received_at, clock), message.received_at, LOGS)
        text = plain_text(line)
        assert text.isprintable()
        name = data.get("event") or data.get("type") or "stats"
        assert name in text
        for style in (style for _, style in line):
            assert not {"on", "white", "black"} & set(style.split())


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x9b31m",
        "a\rb\nc\vd\x0ce\x85f\u2028g",
        "\u202eright to left\u2066\u200f",
        "\x00\x08\x7f",
        "\u200b\ufeff\U000e0041",
    ],
)
def test_no_text_can_move_the_cursor_or_turn_the_direction(hostile: str) -> None:
    payload = dict.fromkeys(("event", "level", "component", "target", "repo", "error", "exception", hostile), hostile)
    lines = [line_of(payload), line_of({"type": hostile, "data": payload}, EVENTS), line_of(payload, f"a:{hostile}")]
    lines += [line_of({"by_repo": {hostile: 1}}, STATS), line_of(hostile), line_of([hostile])]
    for text in lines:
        assert text.isprintable()
        assert not {unicodedata.category(character) for character in text} & {"Cc", "Cf", "Zl", "Zp"}


def test_markup_and_emoji_names_stay_as_they_are() -> None:
    assert line_of({"event": "[red]x[/red] :smile:"}).endswith("[red]x[/red] :smile:")


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_any_text_becomes_printable_and_no_longer_than_allowed(text: str, longest: int) -> None:
    shown = inert(text, longest)
    assert len(shown) <= longest
    assert shown.isprintable()
    if text.isprintable() and len(text) <= longest:
        assert shown == text


def test_a_megabyte_in_every_field_makes_a_line_of_bounded_length() -> None:
    big = "x" * 2**20
    keys = [f"k{number}" for number in range(1000)]
    text = line_of(
        {**dict.fromkeys(keys, big), "event": big, "error": big, "target": big, "exception": f"{big}\n{big}"}
    )
    assert len(text) < 8000
    assert "…" in text


def test_of_an_unreadable_payload_the_text_is_shown() -> None:
    assert "raw=not JSON" in line_of({"raw": "not JSON"}, mark="raw")
    assert line_of(None).endswith("message")
    deep: Any = "core"
    for _ in range(300):
        deep = [deep]
    assert line_of({"event": "x", "deep": deep}).endswith("deep=…")


def test_a_channel_of_another_program_is_named() -> None:
    assert "[training:logs]" in line_of({"event": "epoch", "loss": 0.25}, "training:logs")


def test_colours_come_from_the_terminals_palette_and_change_no_text() -> None:
    line: Line = [("error", "bold red"), (" plain", ""), (" dim", "dim")]
    assert ansi_text(line) == "\x1b[1;31merror\x1b[0m plain\x1b[2m dim\x1b[0m"
    assert plain_text(line) == "error plain dim"


def test_a_gap_tells_cause_times_length_and_count() -> None:
    gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=AT, ended_at=AT + 75, offset=7, detail="Redis\nwas away")
    assert plain_text(gap_line(gap)) == (
        "-- gap 16:57:36 to 16:58:51 (1 min 15 s): the relay did not hear the publisher (source_outage): Redis was away"
    )
    slow = Gap(cause=GapCause.SLOW_READER, started_at=AT, ended_at=AT, first_offset=5, last_offset=9)
    assert plain_text(gap_line(slow)) == "-- gap before 16:57:36: taken too slowly (slow_reader), 5 missing"


@pytest.mark.parametrize("cause", list(GapCause))
def test_every_cause_has_words(cause: GapCause) -> None:
    assert cause in plain_text(gap_line(Gap(cause=cause, started_at=0, ended_at=1e300)))


def test_a_traceback_is_given_line_by_line_and_inert() -> None:
    record = parse_record(LOGS, {"exception": f"{TRACEBACK}\n\x1b[2Jx"}, AT, PublisherClock())
    lines = [plain_text(line) for line in traceback_lines(record)]
    assert lines[0] == "    Traceback (most recent call last):"
    assert lines[1] == '      File "a.py", line 1, in x'
    assert lines[-1] == "    x"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (-5, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (90, "1 min 30 s"),
        (90_000, "1 d 1 h"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_a_length_of_time_is_told_in_two_units(seconds: float, said: str) -> None:
    assert length_text(seconds) == said
