"""The monitor: as a script or a cell uses it, against a real relay in a thread of its own."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from support.waiting import until

import codeworm_monitor
from codeworm_monitor import discovery, monitor, registry
from codeworm_monitor.activity import Stage
from codeworm_monitor.arrivals import LIMIT
from codeworm_monitor.client import Lost
from codeworm_monitor.errors import ConnectError, RecordingError, RelayNotFoundError, TokenRefusedError
from codeworm_monitor.monitor import Monitor, connect, open_recording
from codeworm_monitor.recording import recorded
from codeworm_monitor.records import LogLine, StatsSnapshot, WormEvent
from codeworm_monitor.relay_thread import RelayThread, start_relay_in_thread
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.sources.recording import read_recording
from codeworm_monitor.status import State
from codeworm_monitor.target import failure_to_connect

LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"


class Station:
    """A relay in its thread, fed from the test's."""

    def __init__(self, **options: Any) -> None:
        self.options = {"port": 0, "token": "test-token-123"} | options
        self.start()

    def start(self) -> None:
        self.source = MemorySource()
        self.thread: RelayThread = start_relay_in_thread(source=self.source, **self.options)
        self.options["port"] = self.thread.relay.port

    def publish(self, *messages: tuple[str, Any]) -> None:
        def put() -> None:
            for channel, payload in messages:
                self.source.publish(channel, payload)

        self.thread._loop.call_soon_threadsafe(put)

    def log(self, *events: str, **fields: Any) -> None:
        self.publish(*((LOGS, {"event": event, "level": "info"} | fields) for event in events))


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    made.thread.close()


@pytest.fixture(autouse=True)
def no_monitor_stays() -> Iterator[None]:
    yield
    for running in list(registry._home().monitors.values()):
        running.close()
    until(lambda: not monitor_threads())


def monitor_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("codeworm_monitor:default")]


def offsets(mon: Monitor) -> list[int]:
    return sorted(o for stream in (mon.logs, mon.events, mon.stats) for o in stream.df.offset)


def test_it_is_filled_when_connect_returns(station: Station, recording: Path) -> None:
    messages = list(read_recording(recording))
    station.publish(*((message.channel, message.payload) for message in messages))
    until(lambda: station.thread.relay.statistics().head == len(messages))
    mon = connect()
    expected = open_recording(recording)
    assert len(mon.logs) + len(mon.events) + len(mon.stats) == len(messages)
    for stream, same in ((mon.logs, expected.logs), (mon.events, expected.events), (mon.stats, expected.stats)):
        ours, theirs = stream.df, same.df
        varying = ["epoch", "received_at", "timestamp", "last_success", "next_cycle_at"]  # the relay read them now
        pd.testing.assert_frame_equal(
            ours.drop(columns=varying, errors="ignore"),
            theirs.drop(columns=varying, errors="ignore"),
            check_categorical=False,
        )
    assert mon.snapshot.stage == expected.snapshot.stage
    assert mon.snapshot.counters == expected.snapshot.counters
    assert mon.status.state is State.CONNECTED
    assert mon.gaps.empty


def test_what_comes_later_arrives_and_is_folded(station: Station) -> None:
    mon = connect()
    station.publish((EVENTS, {"type": "generating", "data": {"target": "f", "repo": "r"}}), (LOGS, {"event": "x"}))
    until(lambda: len(mon.events) == len(mon.logs) == 1)
    assert (mon.snapshot.stage, mon.snapshot.target) == (Stage.GENERATING, "f")
    assert mon.status.received == 2
    assert mon.status.lag is not None
    assert 0 <= mon.status.lag < 5


def test_run_again_it_is_the_same_monitor_with_one_connection(station: Station) -> None:
    monitors = {id(connect()) for _ in range(5)}
    assert len(monitors) == 1
    assert station.thread.relay.statistics().readers == 1
    assert monitor_threads() == ["codeworm_monitor:default"]


def test_reloading_the_module_does_not_lose_it(station: Station) -> None:
    mon = connect()
    # As IPython's %autoreload does: the namespace is emptied first.
    kept = {name: vars(monitor)[name] for name in ("__name__", "__loader__", "__spec__", "__file__", "__builtins__")}
    before = dict(vars(monitor))
    try:
        vars(monitor).clear()
        vars(monitor).update(kept)
        importlib.reload(monitor)
        assert monitor.connect() is mon
    finally:
        vars(monitor).update(before)


def test_other_arguments_open_it_anew_and_none_keep_it(station: Station) -> None:
    first = connect(level="warning")
    assert connect() is first
    second = connect(level="error")
    assert second is not first
    assert first.is_closed
    until(lambda: station.thread.relay.statistics().readers == 1)


def test_two_names_are_two_monitors(station: Station) -> None:
    with connect() as one, connect(name="other") as two:
        assert one is not two


def test_a_blocked_main_thread_still_receives(station: Station) -> None:
    mon = connect()
    for number in range(20):
        threading.Timer(number / 40, station.log, [f"e{number}"]).start()
    time.sleep(1.0)
    assert len(mon.logs) == 20  # they came during the sleep, not after it


def test_a_cut_connection_loses_nothing(station: Station) -> None:
    mon = connect()
    for round_ in range(5):
        station.log(*(f"e{i}" for i in range(50)))
        server = station.thread.relay._endpoint._server  # type: ignore[union-attr]
        station.thread._loop.call_soon_threadsafe(
            lambda server=server: [one.transport.abort() for one in list(server.connections)]
        )
        station.log(*(f"e{i}" for i in range(50)))
        until(lambda round_=round_: mon.status.reconnects == round_ + 1)
    until(lambda: len(mon.logs) == 500)
    assert mon.logs.df.event.tolist() == [f"e{i}" for _ in range(10) for i in range(50)]
    assert mon.logs.df.offset.is_monotonic_increasing
    assert mon.logs.df.offset.is_unique
    assert mon.gaps.empty
    assert mon.status.last_error is not None


def test_a_relay_that_was_restarted_is_found_again_with_its_new_token_and_told_as_a_gap() -> None:
    station = Station(token=None)
    try:
        mon = connect()
        old = station.thread.token
        station.log("before")
        until(lambda: len(mon.logs) == 1)
        station.thread.close()
        until(lambda: mon.status.state is State.RECONNECTING)
        station.start()
        assert station.thread.token != old
        until(lambda: mon.status.state is State.CONNECTED, within=20)
        station.log("after")
        until(lambda: len(mon.logs) == 2)
        assert mon.logs.df.event.tolist() == ["before", "after"]
        assert mon.logs.df.epoch.nunique() == 2
        assert mon.gaps.cause.tolist() == ["relay_restart"]
    finally:
        station.thread.close()


def test_without_a_relay_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "DEFAULT_URL", "ws://127.0.0.1:9/ws")
    with pytest.raises(RelayNotFoundError, match="python -m codeworm_monitor"):
        connect(wait=0.3)
    assert monitor_threads() == []


def test_a_wrong_token_is_told_at_once_and_nothing_shows_it(station: Station) -> None:
    started = time.monotonic()
    with pytest.raises(TokenRefusedError) as caught:
        connect(station.thread.url, token="wrong-token-456", wait=10)
    assert time.monotonic() - started < 3
    assert "wrong-token-456" not in str(caught.value)
    assert "test-token-123" not in str(caught.value)


def test_a_pasted_url_may_hold_the_token_and_status_does_not_show_it(station: Station) -> None:
    address = station.thread.url.removeprefix("ws://").removesuffix("/ws")
    mon = connect(f"http://{address}/?token=test-token-123")
    assert mon.status.url == station.thread.url
    assert "test-token-123" not in repr(mon) + mon._repr_html_() + repr(mon.status) + repr(mon.target)


def test_the_environment_names_a_relay_elsewhere(
    station: Station, announcements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in announcements.iterdir():  # as on another machine
        path.unlink()
    monkeypatch.setenv("CODEWORM_MONITOR_URL", station.thread.url)
    monkeypatch.setenv("CODEWORM_MONITOR_TOKEN", "test-token-123")
    mon = connect()
    assert mon.status.url == station.thread.url
    assert connect() is mon


def test_a_typed_token_goes_before_that_of_the_environment(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEWORM_MONITOR_TOKEN", "of-another-relay")
    mon = connect(f"{station.thread.url}?token=test-token-123")
    assert mon.status.state is State.CONNECTED


def test_with_no_wait_it_connects_when_the_relay_comes() -> None:
    mon = connect(wait=0)
    assert mon.status.state is State.CONNECTING
    station = Station()
    try:
        until(lambda: mon.status.state is State.CONNECTED, within=20)
    finally:
        station.thread.close()


def test_conditions_are_the_relays_to_apply(station: Station) -> None:
    station.log("a", level="info")
    station.log("b", level="error", repo="x")
    station.log("c", level="error", repo="y")
    until(lambda: station.thread.relay.statistics().head == 3)
    mon = connect(level="error", repo="x")
    until(lambda: len(mon.logs) == 1)
    assert mon.logs.df.event.tolist() == ["b"]
    assert mon.status.received == 1


def test_since(station: Station) -> None:
    station.log("a", "b", "c")
    until(lambda: station.thread.relay.statistics().head == 3)
    with connect(since=2) as mon:
        assert mon.logs.df.event.tolist() == ["b", "c"]
    with connect(since="1h") as mon:
        assert len(mon.logs) == 3
    with connect(since="now") as mon:
        assert len(mon.logs) == 0
        cursor = mon.status.cursor
        station.log("d")
        until(lambda: len(mon.logs) == 1)
    assert cursor is not None
    with connect(since=cursor) as mon:
        assert mon.logs.df.event.tolist() == ["d"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"since": "soon"},
        {"since": -1},
        {"since": True},
        {"since": 10**9},
        {"level": "loud"},
        {"text": "x" * 1000},
        {"url": "redis://x"},
        {"url": ""},
        {"component": 3},
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_anything_starts(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        connect(**arguments)
    assert monitor_threads() == []


def test_other_channels_have_streams_of_their_own() -> None:
    station = Station(channels=(LOGS, "shop:orders", "shop:logs"))
    try:
        mon = connect()
        assert len(mon.channel("shop:orders")) == 0
        station.publish(("shop:orders", {"order": 7}), ("shop:logs", {"event": "sold"}), (LOGS, {"event": "x"}))
        until(lambda: len(mon.channel("shop:orders")) + len(mon.logs) == 3)
        assert mon.channel("shop:orders").df.extra.tolist() == ['{"order":7}']
        assert mon.channel("shop:logs") is mon.channel(LOGS) is mon.logs
        assert mon.logs.df.channel.tolist() == ["shop:logs", LOGS]
        assert mon.logs.where(channel="shop:logs").event.tolist() == ["sold"]
    finally:
        station.thread.close()


def test_a_source_outage_is_a_gap(station: Station) -> None:
    mon = connect()
    station.thread._loop.call_soon_threadsafe(station.source.interrupt, "pulled the plug")
    station.thread._loop.call_soon_threadsafe(station.source.restore)
    until(lambda: len(mon.gaps) == 1)
    assert mon.gaps.cause.tolist() == ["source_outage"]
    assert mon.gaps.missed.isna().all()
    assert mon.status.gaps == 1


# Waiting


def test_wait_for_gives_the_next_record_that_fits(station: Station) -> None:
    mon = connect()
    station.log("before")
    until(lambda: len(mon.logs) == 1)
    threading.Timer(0.2, station.log, ["before", "wanted", "after"]).start()
    record = mon.logs.wait_for(event=["wanted", "after"], timeout=5)
    assert isinstance(record, LogLine)
    assert record.event == "wanted"
    threading.Timer(0.1, station.publish, [(STATS, {"total_documented": 7})]).start()
    found = mon.stats.wait_for(lambda stats: stats.total_documented > 5, timeout=5)
    assert isinstance(found, StatsSnapshot)
    assert not mon.logs.has_listeners


def test_wait_for_ends_in_time_and_says_what_it_waited_for(station: Station) -> None:
    mon = connect()
    with pytest.raises(TimeoutError, match=r"no record of events with type='next_cycle' arrived within 0.1 s"):
        mon.events.wait_for(type="next_cycle", timeout=0.1)
    with pytest.raises(TypeError, match="no condition"):
        mon.events.wait_for(tipe="next_cycle", timeout=0.1)


def test_what_a_predicate_raises_is_the_callers(station: Station) -> None:
    mon = connect()
    threading.Timer(0.1, station.log, ["x"]).start()
    with pytest.raises(ZeroDivisionError):
        mon.logs.wait_for(lambda _: 1 / 0, timeout=5)
    station.log("y")
    until(lambda: len(mon.logs) == 2)


def test_closing_ends_a_wait(station: Station) -> None:
    mon = connect()
    threading.Timer(0.2, mon.close).start()
    with pytest.raises(ConnectError, match="closed"):
        mon.logs.wait_for(timeout=10)
    with pytest.raises(ConnectError, match="closed"):
        mon.logs.wait_for(timeout=10)


async def test_wait_for_async(station: Station) -> None:
    mon = await asyncio.to_thread(connect)
    waiting = asyncio.create_task(mon.logs.wait_for_async(event="wanted", timeout=5))
    await asyncio.sleep(0.05)
    station.log("other", "wanted")
    assert (await waiting).event == "wanted"  # type: ignore[union-attr]
    with pytest.raises(TimeoutError, match="record of logs"):
        await mon.logs.wait_for_async(timeout=0.05)
    await asyncio.to_thread(mon.close)
    with pytest.raises(ConnectError, match="closed"):
        await mon.logs.wait_for_async(timeout=5)


async def test_async_for_in_the_callers_loop(station: Station) -> None:
    async with await asyncio.to_thread(connect) as mon:
        seen: list[str | None] = []

        async def read() -> None:
            async for record in mon.logs.follow(level=">=warning"):
                seen.append(record.event)  # type: ignore[union-attr]  # noqa: PERF401  # it must be seen at once

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        station.log("quiet")
        station.log("loud", "louder", level="error")
        await asyncio.to_thread(until, lambda: len(seen) == 2)
        assert seen == ["loud", "louder"]
    await asyncio.wait_for(task, 5)  # it ends with the monitor


def test_connect_works_inside_a_running_loop(station: Station, announcements: Path) -> None:
    """As in a notebook: the call blocks the loop that the cell runs in, and the network goes on beside it."""
    script = """
import asyncio, time, codeworm_monitor
async def cell():
    mon = codeworm_monitor.connect()
    assert mon.logs.wait_for(event="tick", timeout=20).event == "tick"
    mon.close()
asyncio.run(cell())
"""
    environment = os.environ | {"CODEWORM_MONITOR_RUNTIME_DIR": str(announcements)}
    with subprocess.Popen([sys.executable, "-W", "error", "-c", script], env=environment) as cell:
        until(lambda: station.log("tick") or cell.poll() is not None, within=30)
        assert cell.returncode == 0


def test_callbacks_run_on_a_thread_of_their_own(station: Station) -> None:
    mon = connect()
    seen: list[tuple[Any, str]] = []
    handle = mon.logs.on(lambda record: seen.append((record.event, threading.current_thread().name)), level=">=error")
    station.log("a", "b")
    station.log("c", "d", level="error")
    until(lambda: len(seen) == 2)
    assert seen == [(name, "codeworm_monitor:default:callbacks") for name in ("c", "d")]
    handle.off()
    handle.off()
    station.log("e", level="error")
    until(lambda: len(mon.logs) == 5)
    assert len(seen) == 2


def test_a_row_is_in_the_table_when_its_callback_runs(station: Station) -> None:
    mon = connect()
    sizes: list[int] = []
    mon.logs.on(lambda _: sizes.append(len(mon.logs)))
    station.log("a")
    until(lambda: sizes == [1])


def test_a_failing_callback_is_counted_and_logged_once(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    mon = connect()
    seen: list[Any] = []

    def fail(record: Any) -> None:
        raise ValueError(record.event)

    with caplog.at_level(logging.ERROR):
        handle = mon.logs.on(fail)
        mon.logs.on(seen.append)
        station.log("a", "b", "c")
        until(lambda: len(seen) == 3)
    assert handle.failures == mon.status.callback_failures == 3
    assert isinstance(handle.last_error, ValueError)
    assert len(caplog.records) == 1
    handle.off()
    assert mon.status.callback_failures == 3


def test_a_slow_callback_stalls_nothing_and_its_losses_are_counted(station: Station) -> None:
    mon = connect()
    release = threading.Event()
    handle = mon.logs.on(lambda _: release.wait(20))
    total = 3 * LIMIT
    for start in range(0, total, 1000):
        station.log(*["e"] * 1000)
        until(lambda start=start: mon.status.received >= start + 1000)
    assert len(mon.logs) == total
    assert handle.dropped >= total - LIMIT - 3000
    assert mon.status.dropped == handle.dropped
    release.set()
    until(lambda: handle.calls + handle.dropped == total)


def test_a_callback_may_close_the_monitor(station: Station) -> None:
    mon = connect()
    mon.logs.on(lambda _: mon.close())
    station.log("a")
    until(lambda: mon.is_closed and not monitor_threads())


# The end


def test_close_leaves_no_thread_and_keeps_the_tables(station: Station) -> None:
    mon = connect()
    mon.logs.on(lambda _: None)
    station.log("a")
    until(lambda: len(mon.logs) == 1)
    started = time.monotonic()
    mon.close()
    mon.close()
    assert time.monotonic() - started < 2
    assert monitor_threads() == []
    assert mon.status.state is State.CLOSED
    assert mon.logs.df.event.tolist() == ["a"]
    assert connect() is not mon


def test_the_program_ends_quietly_with_a_monitor_open(station: Station, announcements: Path) -> None:
    script = "import codeworm_monitor as m; mon = m.connect(); mon.logs.on(print); print(mon)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"CODEWORM_MONITOR_RUNTIME_DIR": str(announcements)},
        check=True,
    )
    assert done.stdout.startswith("<Monitor 'default' connected ws://127.0.0.1:")
    assert done.stderr == ""


def test_the_notebook_side_imports_no_redis() -> None:
    script = "import codeworm_monitor.monitor, sys; assert not {'redis', 'hiredis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


# What is shown


def test_repr_is_one_line(station: Station) -> None:
    mon = connect()
    station.log("a\nb")
    until(lambda: len(mon.logs) == 1)
    assert (
        repr(mon) == f"<Monitor 'default' connected {station.thread.url}: 1 logs, 0 events, 0 stats, 1 codeworm:relay>"
    )
    assert repr(mon.logs) == "<Stream of logs: 1 of at most 200,000 rows>"


def test_the_card_shows_text_as_text(station: Station) -> None:
    nasty = "<script>alert(1)</script>\u2028\x1b[31m</div><img src=x onerror=alert(1)>"
    mon = connect(name=f"name {nasty}")
    fields = {"target": nasty, "repo": nasty, "commit": nasty, "commit_message": nasty}
    station.publish(
        (EVENTS, {"type": "documentation_committed", "data": fields}),
        (LOGS, {"event": "llm_error", "level": "error", "target": nasty, "error": nasty}),
        (EVENTS, {"type": "generating", "data": {**fields, "language": nasty, "doc_type": nasty}}),
    )
    until(lambda: len(mon.events) + len(mon.logs) == 3)
    html = mon._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert not {"\u2028", "\x1b"} & set(html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "background:" in html
    assert "\n" not in repr(mon)
    mon.close()


# Recordings


def test_a_recording_is_a_monitor_without_a_relay(recording: Path) -> None:
    threads = threading.active_count()
    rec = open_recording(recording)
    messages = [orjson.loads(message.payload) for message in read_recording(recording)]
    assert rec.status.state is State.RECORDING
    assert rec.status.received == len(messages)
    assert offsets(rec) == list(range(1, len(messages) + 1))
    assert threading.active_count() == threads
    errors = [message for message in messages if message.get("level") in ("warning", "error")]
    assert len(rec.logs.where(level=">=warning")) == len(errors)
    commits = [message for message in messages if message.get("type") == "documentation_committed"]
    frame = rec.events.where(type="documentation_committed")
    assert frame.tokens.sum() == sum(message["data"]["tokens"] for message in commits)
    newest = rec.logs.df.received_at.max()
    assert (rec.logs.where(since="1min").received_at >= newest - pd.Timedelta("1min")).all()
    assert 0 < len(rec.logs.where(since="1min")) < len(rec.logs)
    assert rec.snapshot.counters.total_documented is not None
    assert "recording" in repr(rec)
    assert "<strong>" in rec._repr_html_()
    rec.close()
    rec.close()


async def test_the_whole_recording_counts_as_arriving(recording: Path) -> None:
    rec = await asyncio.to_thread(open_recording, recording)
    commits = len(rec.events.where(type="documentation_committed"))
    assert commits > 10
    seen = [record async for record in rec.events.follow(type="documentation_committed")]
    assert len(seen) == commits
    called: list[Any] = []
    rec.events.on(called.append, type="documentation_committed")
    await asyncio.to_thread(until, lambda: len(called) == commits)
    assert called == seen
    first = await asyncio.to_thread(rec.events.wait_for, type="documentation_committed")
    assert isinstance(first, WormEvent)
    assert first == seen[0]
    assert await rec.events.wait_for_async(type="documentation_committed") == first
    with pytest.raises(TimeoutError, match="the recording holds no record"):
        await asyncio.to_thread(rec.logs.wait_for, event="never")
    with pytest.raises(TimeoutError, match="the recording holds no record"):
        await rec.logs.wait_for_async(event="never")
    await asyncio.to_thread(rec.close)


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError):
        open_recording(tmp_path / "missing.jsonl.gz")
    wild = tmp_path / "wild.jsonl"
    wild.write_text('{"t": 1e300, "channel": "codeworm:logs", "payload": "{}"}\n')
    with pytest.raises(RecordingError, match="no time"):
        open_recording(wild)


def test_what_is_no_json_is_marked_as_a_relay_marks_it(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(orjson.dumps({"t": 1.0, "channel": LOGS, "payload": "not json"}) + b"\n")
    rec = open_recording(path)
    assert rec.logs.df.mark.tolist() == ["raw"]
    assert rec.logs.df.extra.tolist() == ['{"raw":"not json"}']
    assert next(iter(recorded(path)))[0].offset == 1


def test_the_package_exports_them() -> None:
    assert codeworm_monitor.connect is connect
    assert codeworm_monitor.open_recording is open_recording
    assert codeworm_monitor.Monitor is Monitor


def test_the_relays_own_lines_are_no_sign_of_life_of_the_publisher(station: Station) -> None:
    mon = connect()
    other = connect(name="other")
    until(lambda: len(mon.channel("codeworm:relay")) >= 2)  # both of us have connected, the relay says
    assert (mon.snapshot.last_message_at, mon.status.received, mon.status.lag) == (None, 0, None)
    assert other.snapshot.last_message_at is None
    assert station.thread.relay.statistics().last_message_at is None
    other.close()


def test_a_wait_ends_in_time_under_traffic_that_never_fits(station: Station) -> None:
    mon = connect()
    stop = threading.Event()

    def keep_publishing() -> None:
        while not stop.wait(0.002):
            station.log("no", "no")

    publisher = threading.Thread(target=keep_publishing)
    publisher.start()
    try:
        until(lambda: len(mon.logs))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            mon.logs.wait_for(lambda record: bool(time.sleep(0.01)), timeout=0.3)
        assert time.monotonic() - began < 5
    finally:
        stop.set()
        publisher.join()


def test_a_refusal_of_the_name_is_not_called_a_wrong_token() -> None:
    lost = Lost(reason="it answered 403: This host name is not allowed", url="ws://ollama-host/ws", is_refusal=True)
    error = failure_to_connect(lost)
    assert not isinstance(error, TokenRefusedError)
    assert str(error) == "the relay at ws://ollama-host/ws refused: it answered 403: This host name is not allowed"
    wrong_token = failure_to_connect(Lost(reason="it answered 401", url="ws://h/ws", is_refusal=True, wants_token=True))
    assert isinstance(wrong_token, TokenRefusedError)


def test_a_relay_in_the_callers_loop_is_told_apart_from_none_at_all(announcements: Path) -> None:
    script = """
import asyncio, codeworm_monitor
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.sources.memory import MemorySource
async def cell():
    async with codeworm_monitor.Relay(source=MemorySource(), port=0):
        try:
            codeworm_monitor.connect(wait=0.5)
        except ConnectError as error:
            assert "A relay in this event loop cannot answer" in str(error), error
        else:
            raise AssertionError
asyncio.run(cell())
"""
    environment = os.environ | {"CODEWORM_MONITOR_RUNTIME_DIR": str(announcements)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)


def test_the_time_away_is_the_gap_of_a_relay_that_was_restarted() -> None:
    station = Station()
    try:
        mon = connect()
        station.log("before")
        until(lambda: len(mon.logs))
        began = time.time()
        station.thread.close()
        until(lambda: mon.status.state is not State.CONNECTED)
        time.sleep(1.0)  # the length of its absence
        station.start()
        until(lambda: len(mon.gaps))
        gap = mon.gaps.iloc[0]
        assert gap.cause == "relay_restart"
        assert abs(gap.started_at.timestamp() - began) < 0.9
        assert (gap.ended_at - gap.started_at).total_seconds() >= 0.9
    finally:
        station.thread.close()


def test_a_recording_that_is_gone_fails_one_callback_and_not_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "few.jsonl"
    path.write_bytes(b'{"t":1.0,"channel":"codeworm:logs","payload":"{\\"event\\":\\"x\\"}"}\n')
    monkeypatch.chdir(tmp_path)
    with open_recording("few.jsonl") as rec:
        monkeypatch.chdir("/")
        heard: list[Any] = []
        rec.logs.on(heard.append)  # the same file, though we are elsewhere
        until(lambda: len(heard) == 1)
        content = path.read_bytes()
        path.unlink()
        handle = rec.logs.on(heard.append)
        until(lambda: handle.failures == 1)
        assert isinstance(handle.last_error, RecordingError)
        path.write_bytes(content)
        rec.logs.on(heard.append)
        until(lambda: len(heard) == 2)


def test_a_level_may_be_spelt_as_in_where(station: Station) -> None:
    mon = connect(level=">=warning")
    station.log("one")
    station.log("two", level="error")
    until(lambda: len(mon.logs) == 1)
    assert mon.logs.df.event.tolist() == ["two"]
