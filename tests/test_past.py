"""The past of a monitor: read from the archive of its machine, asked of the relay, or taken from a recording."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pandas as pd
import pytest
from support.waiting import until

from codeworm_monitor import inquiry, registry
from codeworm_monitor.client import Address
from codeworm_monitor.errors import ConnectError, RelayNotFoundError, TokenRefusedError
from codeworm_monitor.inquiry import ask
from codeworm_monitor.monitor import Monitor, connect, open_recording
from codeworm_monitor.opened import open_archive
from codeworm_monitor.relay_thread import RelayThread, start_relay_in_thread
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.sources.recording import read_recording

LOGS, EVENTS = "codeworm:logs", "codeworm:events"
TOKEN = "test-token-123"


class Station:
    """A relay with an archive in its thread, fed from the test's."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.source = archive, MemorySource()
        self.thread: RelayThread = start_relay_in_thread(source=self.source, port=0, token=TOKEN, archive=str(archive))

    def publish(self, *messages: tuple[str, Any]) -> None:
        def put() -> None:
            for channel, payload in messages:
                self.source.publish(channel, payload)

        self.thread._loop.call_soon_threadsafe(put)

    @property
    def address(self) -> Address:
        return Address(self.thread.url.partition("?")[0], TOKEN)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path / "archive")
    yield made
    made.thread.close()


@pytest.fixture(autouse=True)
def no_monitor_stays() -> Iterator[None]:
    yield
    for running in list(registry._home().monitors.values()):
        running.close()


@pytest.fixture(params=["direct", "asked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the archive is on this machine, or seems to be on another."""
    if request.param == "asked":
        monkeypatch.setattr("codeworm_monitor.past._holds", lambda directory, epoch: False)
        monkeypatch.setattr(inquiry, "PAGE", 100)
    return str(request.param)


def test_the_past_comes_whole_also_what_was_before_the_connection(station: Station, recording: Path, way: str) -> None:
    messages = list(read_recording(recording))
    station.publish(*((message.channel, message.payload) for message in messages))
    until(lambda: station.thread.relay.statistics().head >= len(messages))
    mon = connect(since="now")
    station.publish((LOGS, {"event": "after", "level": "error"}))
    until(lambda: len(mon.logs) == 1)
    history = mon.history()
    whole = open_recording(recording)
    for ours, theirs in ((history.logs, whole.logs), (history.events, whole.events), (history.stats, whole.stats)):
        frame = ours.df
        assert frame.dtypes.astype(str).to_dict() == theirs.df.dtypes.astype(str).to_dict()
        varying = ["epoch", "offset", "received_at", "timestamp", "last_success", "next_cycle_at"]
        one, other = (f.drop(columns=varying, errors="ignore") for f in (frame.head(len(theirs)), theirs.df))
        pd.testing.assert_frame_equal(one, other, check_categorical=False)
    assert history.logs.df.event.iloc[-1] == "after"  # newer than what is on disk, or not
    errors = mon.history(channel="logs", level=">=warning").df
    assert len(errors) == len(whole.logs.where(level=">=warning")) + 1
    assert len(mon.history(channel=EVENTS, text="dedent").df) == len(whole.events.where(text="dedent"))
    assert len(mon.history(limit=7)) == 7
    assert mon.history(until=history.logs.df.received_at[0]).logs.df.empty
    assert (way == "direct") == (mon._past._directory() == station.archive)


def test_rows_are_there_once_whether_archived_or_not(station: Station) -> None:
    mon = connect()
    for number in range(30):
        station.publish(*((LOGS, {"event": "e", "n": 20 * number + i}) for i in range(20)))
        until(lambda number=number: len(mon.logs) == 20 * (number + 1))
        frame = mon.history(channel=LOGS).df
        assert frame.extra.tolist() == [f'{{"n":{n}}}' for n in range(len(frame))]
        assert len(frame) == 20 * (number + 1)
        counted = mon.sql('SELECT count(*) AS n, count(DISTINCT "offset") AS d FROM logs').to_numpy().tolist()
        assert counted == [[len(frame), len(frame)]]


def test_it_works_in_a_cell_whose_loop_runs(station: Station, announcements: Path) -> None:
    station.publish((LOGS, {"event": "e"}))
    until(lambda: station.thread.relay.statistics().head >= 1)
    script = """
import asyncio, codeworm_monitor, codeworm_monitor.past as past
async def cell():
    mon = codeworm_monitor.connect()
    assert mon.history(channel="logs").df.event.tolist() == ["e"]
    assert mon.sql("SELECT event FROM logs").event.tolist() == ["e"]
    past._holds = lambda directory, epoch: False
    mon._past._found = None
    assert mon.history(channel="logs").df.event.tolist() == ["e"]
asyncio.run(cell())
"""
    environment = os.environ | {"CODEWORM_MONITOR_RUNTIME_DIR": str(announcements)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True, timeout=60)


def test_any_thread_may_ask(station: Station, way: str) -> None:
    station.publish((LOGS, {"event": "e"}))
    until(lambda: station.thread.relay.statistics().head >= 1)
    mon = connect()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(mon.history(channel="logs")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4


def test_the_archive_is_read_beside_its_relay_and_after_it(station: Station) -> None:
    station.publish((LOGS, {"event": "e"}), (EVENTS, {"type": "documentation_committed", "data": {"target": "f"}}))
    until(lambda: station.thread.relay.statistics().head >= 2)
    with open_archive(station.archive) as archive:
        until(lambda: len(archive.history(channel=[LOGS, EVENTS])) == 2)
        mon = connect()
        assert mon.sql("SELECT target FROM documents").target.tolist() == ["f"]
        station.thread.close()
        assert archive.sql("SELECT target FROM documents").target.tolist() == ["f"]
        assert mon.sql("SELECT target FROM documents").target.tolist() == ["f"]  # where it is, is known
        assert len(mon.history(channel=[LOGS, EVENTS])) == 2
    mon.close()
    assert len(mon.logs) == 1


def test_without_a_relay_nothing_is_invented() -> None:
    mon = Monitor("alone", capacity=10, target=None)
    with pytest.raises(RelayNotFoundError, match="no relay was found yet"):
        mon.history()
    assert mon.sql("SELECT count(*) AS n FROM logs").n.tolist() == [0]
    mon.close()


def test_a_recording_has_a_past_too(recording: Path) -> None:
    rec = open_recording(recording)
    assert len(rec.history()) == len(list(read_recording(recording)))
    newest = rec.logs.df.received_at.max()
    some = rec.history(since="5min", channel="logs", level=">=warning", limit=1000).df
    expected = rec.logs.where(since="5min", level=">=warning")
    assert abs(len(some) - len(expected)) <= 1  # counted back from the newest of all, not of the logs
    assert (some.received_at >= newest - pd.Timedelta("6min")).all()
    pd.testing.assert_frame_equal(rec.history(channel="events").df, rec.events.df, check_categorical=False)
    assert rec.sql("SELECT count(*) AS n FROM cycles").n[0] == len(rec.logs.where(event="cycle_starting"))
    rec.close()


def test_a_wrong_token_and_a_dead_port_are_told_apart(station: Station) -> None:
    assert ask(station.address, "/info")["archive"]["directory"] == str(station.archive)
    with pytest.raises(TokenRefusedError, match="refused the token") as raised:
        ask(Address(station.address.url, "wrong-token-4711"), "/info")
    assert "wrong-token-4711" not in str(raised.value)
    with pytest.raises(ConnectError, match=r"answered 400 to /history: .*limit"):
        ask(station.address, "/history", limit=0)
    address = station.address
    station.thread.close()
    with pytest.raises(RelayNotFoundError, match="does not answer"):
        ask(address, "/info")


class _Odd(BaseHTTPRequestHandler):
    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[Address]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Odd)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _Odd.asked.clear()
    yield Address(f"ws://127.0.0.1:{server.server_port}/ws", TOKEN)
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_redirect_is_followed_with_the_token(odd: Address) -> None:
    _Odd.answer = (302, {"Location": odd.url.replace("ws:", "http:").replace("/ws", "/stolen")}, b"")
    with pytest.raises(ConnectError, match="answered 302"):
        ask(odd, "/info")
    assert _Odd.asked == ["/info"]


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"entries":[{}],"next":null}',
        b'{"entries":[{"epoch":"e","gap":{"cause":"odd"}}],"next":null}',
        b'{"entries":[{"epoch":"e","offset":"x","received_at":1,"channel":"c","data":1}],"next":null}',
        b'{"entries":[{"epoch":"e","offset":1,"received_at":null,"channel":"c","data":1}],"next":null}',
        b'{"entries":[{"epoch":1,"offset":1,"received_at":1,"channel":2,"data":1}],"next":null}',
        b'{"entries":[{"epoch":"e","offset":1,"received_at":1e300,"channel":"c","data":1}],"next":null}',
    ],
)
def test_what_is_no_page_is_a_plain_error(odd: Address, page: bytes) -> None:
    wish = inquiry.Wish.of("1h", None, None, None, now=1e9)
    _Odd.answer = (200, {}, page)
    with pytest.raises(ConnectError, match="cannot be read"):
        list(inquiry.pages(odd, wish))


def test_odd_but_readable_entries_become_rows(odd: Address) -> None:
    entry = {
        "epoch": "e",
        "offset": 1,
        "received_at": 1e9,
        "channel": "x:logs",
        "data": {"tokens": "many"},
        "mark": "raw",
    }
    gap = {
        "cause": "trimmed",
        "started_at": 1.0,
        "ended_at": 2.0,
        "offset": None,
        "first_offset": 3,
        "last_offset": 5,
        "detail": "",
    }
    _Odd.answer = (200, {}, orjson.dumps({"entries": [entry, {"epoch": "e", "gap": gap}], "next": None}))
    ((tables, gaps),) = inquiry.pages(odd, inquiry.Wish.of("1h", None, None, None, now=1e9))
    assert tables["logs"].column("extra").to_pylist() == ['{"tokens":"many"}']
    assert tables["logs"].column("mark").to_pylist() == ["raw"]
    assert gaps[0][1].missed == 3
