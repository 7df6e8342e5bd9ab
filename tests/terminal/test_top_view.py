from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, Group
from rich.text import Text

from codeworm_monitor.activity import Snapshot, Stage
from codeworm_monitor.client import Lost
from codeworm_monitor.envelope import Cursor, Envelope, Gap, GapCause
from codeworm_monitor.frames import Batch, Hello, Subscribed
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.terminal.board import Board
from codeworm_monitor.terminal.top_view import help_view, top_view

NOW = 1_795_386_000.0
SIZES = [(80, 24), (120, 40), (200, 60), (40, 12), (20, 6), (5, 2), (1, 1), (300, 100), (80, 19), (59, 24)]
LOGS, EVENTS = "codeworm:logs", "codeworm:events"
INFO = {
    "statistics": {
        "is_connected": True,
        "upstream_since": NOW - 600,
        "started_at": NOW - 7200,
        "readers": 3,
        "readers_behind": 0,
        "archive": {"is_writing": True, "waiting": 0, "reason": ""},
    }
}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def hello(**snapshot: Any) -> Hello:
    return Hello(
        version="1.2", epoch="e", oldest=1, head=0, channels=[LOGS], snapshot=snapshot, limits={}, time=NOW - 60
    )


def board_of(*payloads: tuple[str, Any], snapshot: dict[str, Any] | None = None, at: float = NOW) -> Board:
    board = Board(NOW - 60)
    board.url = "ws://127.0.0.1:8765/ws"
    board.take(hello(**(snapshot or {})), NOW - 60)
    board.take(Subscribed(cursor=Cursor("e", 0)), NOW - 60)
    envelopes = [(Envelope(n, at, channel, b""), payload) for n, (channel, payload) in enumerate(payloads, 1)]
    board.take(Batch(envelopes), at)
    return board


def recorded(until: float) -> Board:
    board = Board(NOW - 9000)
    board.url = "ws://127.0.0.1:8765/ws"
    board.take(hello(), NOW - 60)
    board.take(Subscribed(cursor=Cursor("e", 0)), NOW)
    path = Path(__file__).parent.parent / "data" / "recording-1.jsonl.gz"
    for offset, one in enumerate(read_recording(path), 1):
        if one.received_at < until:
            envelope = Envelope(offset, one.received_at, one.channel, b"")
            board.take(Batch([(envelope, orjson.loads(one.payload))]), one.received_at)
    board.take_info(INFO)
    return board


def shown(board: Board, width: int = 80, height: int = 24, now: float = NOW, **options: Any) -> list[str]:
    return [line.plain for line in top_view(board, now, width=width, height=height, **options)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_size_is_filled_and_nothing_passes_its_edges(width: int, height: int) -> None:
    lines = shown(recorded(NOW), width, height)
    assert len(lines) == height
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_a_console_prints_of_it_has_as_many_lines(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    rendered = console.render_lines(Group(*top_view(recorded(NOW), NOW, width=width, height=height)))
    assert len(rendered) == height


def test_at_80_by_24_all_blocks_are_there() -> None:
    board = recorded(NOW)
    lines = shown(board)
    text = "\n".join(lines)
    for title in ("Activity", "Rates", "Health", "Documents", "Newest commits", "Newest errors"):
        assert f"── {title} ──" in text
    assert lines[0].startswith(" ● connected  ws://127.0.0.1:8765/ws")
    assert lines[0].rstrip().endswith("22:20:00")
    assert " quit" in lines[-1]
    counters = board.snapshot.counters
    assert f" {counters.last_7_days} in 7 days · success {counters.success_rate:g} % · 2 failed in a row" in text
    assert "upstream heard 10 min · archive written" in text
    assert "relay 1.2 · up 2 h · 3 readers" in text
    assert " messages " in text
    assert "█" in text


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    error = {"event": "llm_error", "level": "error", "target": "t", "error": "word " * 100}
    for width, height in SIZES[:4]:
        (line,) = [line for line in shown(board_of((LOGS, error)), width, height) if "llm_error" in line]
        assert line.rstrip().endswith("…")


def test_stage_target_and_countdown_are_told() -> None:
    snapshot = {"stage": "generating", "since": NOW - 12, "cycle_num": 47, "repo": "httpx", "target": "Auth.flow"}
    text = "\n".join(shown(board_of(snapshot={**snapshot, "doc_type": "til", "language": "python"})))
    assert "GENERATING for 12 s · cycle 47" in text
    assert "httpx · Auth.flow · til · python" in text
    text = "\n".join(shown(board_of(snapshot={"stage": "idle", "next_cycle_at": NOW + 192})))
    assert "next cycle in 3 min 12 s (22:23:12)" in text
    text = "\n".join(shown(board_of(snapshot={"stage": "idle", "next_cycle_at": NOW - 30})))
    assert "next cycle was due 30 s ago" in text


def test_a_silence_longer_than_usual_is_a_warning() -> None:
    board = board_of((LOGS, {"event": "x"}))
    assert "quiet for 1 min" in "\n".join(shown(board, now=NOW + 60))
    line = next(line for line in top_view(board, NOW + 3600, width=80, height=24) if "SILENT" in line.plain)
    assert "SILENT for 1 h: 45 min were to be expected" in line.plain
    assert any("red" in str(span.style) for span in line.spans)


def test_a_lost_connection_is_visible_and_no_silence_of_the_publisher() -> None:
    board = board_of((LOGS, {"event": "x"}))
    board.take(Lost(reason="nothing listens there", url=board.url, was_connected=True, retry_in=5), NOW)
    lines = shown(board, now=NOW + 2)
    assert lines[0].startswith(" ◌ reconnecting for 2.0 s: nothing listens there, again in 3.0 s")
    assert "SILENT" not in "\n".join(shown(board, now=NOW + 9999))
    narrow = shown(board, 40, 12, now=NOW + 2)[0]
    assert "…" in narrow
    assert narrow.rstrip().endswith("22:20:02")


def test_a_reason_in_wide_letters_leaves_the_time_where_it_is() -> None:
    board = board_of()
    board.take(Lost(reason="关闭" * 40, url=board.url, was_connected=True), NOW)
    for width in (40, 80, 120):
        line = shown(board, width, 24)[0]
        assert cell_len(line) == width
        assert line.endswith(" 22:20:00 ")
    assert "…" in shown(board, 80, 24)[0]


def test_gaps_a_deaf_relay_and_a_failing_archive_are_told() -> None:
    board = board_of()
    board.take(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=NOW - 9, ended_at=NOW - 1, offset=3), NOW)
    archive = {"is_writing": False, "reason": "disk full"}
    known = {"is_connected": False, "upstream_reason": "refused", "archive": archive, "readers": 1}
    board.take_info({"statistics": known})
    text = "\n".join(shown(board, 200, 60))
    assert "1 gap, source_outage 22:19:59" in text
    assert "upstream NOT heard: refused" in text
    assert "archive NOT written: disk full" in text
    board.take_info(None, "it answered 503")
    assert "as it was: it answered 503" in "\n".join(shown(board, 200, 60))


def test_ollama_is_told_where_the_relay_looks_at_it() -> None:
    board = board_of()
    board.take_info(
        {**INFO, "ollama": {"is_reachable": True, "models": [{"name": "qwen2.5:7b"}], "size_vram": 5_100_000_000}}
    )
    assert "Ollama reached · qwen2.5:7b · 5.1 GB of VRAM" in "\n".join(shown(board, 120, 40))
    board.take_info({**INFO, "ollama": {"is_reachable": False, "reason": "refused"}})
    assert "Ollama NOT reached: refused" in "\n".join(shown(board, 120, 40))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
known_names = st.sampled_from([*INFO["statistics"], "upstream_reason"])


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(["statistics", "ollama"]), json_values | st.dictionaries(known_names, json_values)),
    st.dictionaries(st.sampled_from(list(Snapshot().as_dict())), json_values),
    st.dictionaries(st.sampled_from(["event", "level", "type", "data", "error", "target", "repo"]), json_values),
)
def test_whatever_a_relay_says_there_is_a_picture(info: Any, snapshot: Any, payload: Any) -> None:
    board = board_of((LOGS, payload), (EVENTS, payload), ("codeworm:stats", payload), snapshot=snapshot)
    board.take_info(info)
    for width, height in SIZES:
        lines = shown(board, width, height)
        assert len(lines) == height
        assert all(cell_len(line) <= width and line.isprintable() for line in lines)


@pytest.mark.parametrize("text", ["[red]x[/red]", "\x1b[2Jx", "\u202eabc", "a\nb", "你好" * 60, "x" * 2**20, ":smile:"])
def test_texts_are_inert_and_stay_within_their_columns(text: str) -> None:
    named = dict.fromkeys(("target", "repo", "doc_type", "commit", "language", "error", "event"), text)
    payloads = [
        (EVENTS, {"type": "generating", "data": named}),
        (EVENTS, {"type": "documentation_committed", "data": named}),
        (LOGS, {**named, "level": "error"}),
        ("codeworm:stats", {"by_repo": {text: 3}, "total_documented": 3}),
    ]
    for width, height in SIZES:
        lines = shown(board_of(*payloads), width, height)
        assert all(cell_len(line) <= width and line.isprintable() for line in lines)
    if text == "[red]x[/red]":
        assert "[red]x[/red]" in "\n".join(shown(board_of(*payloads), 120, 40))


def test_no_style_paints_a_background_or_a_colour_that_one_theme_hides() -> None:
    words: set[str] = set()
    board = recorded(NOW)
    for lines in (top_view(board, NOW, width=120, height=40), help_view(width=120, height=40)):
        for line in lines:
            words |= {word for span in line.spans for word in str(span.style).split()} | set(str(line.style).split())
    assert words <= {"bold", "dim", "red", "green", "yellow", "cyan"}


def test_while_it_is_paused_it_says_so() -> None:
    assert "PAUSED  22:20:00" in shown(board_of(), is_paused=True)[0]


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_a_look(stage: Stage) -> None:
    assert str(stage).replace("_", " ").upper() in "\n".join(shown(board_of(snapshot={"stage": str(stage)})))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_help_fits(width: int, height: int) -> None:
    lines = help_view(width=width, height=height)
    assert len(lines) <= height
    assert all(isinstance(line, Text) and line.cell_len <= width for line in lines)
    if (width, height) == (80, 24):
        assert "Ctrl-C" in "\n".join(line.plain for line in lines)
