from __future__ import annotations

import asyncio
import gc
import gzip
import os
import re
import signal
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson
import pytest
import redis.asyncio
import trustme
from support.readers import v1_reader, v1_text, v2_reader
from support.servers import Server
from support.waiting import eventually
from websockets.exceptions import InvalidHandshake

from codeworm_monitor import Relay, RelaySettings, connect, start_relay_in_thread
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.embedded import Presence
from codeworm_monitor.envelope import Cursor, Gap, GapCause
from codeworm_monitor.errors import ArchiveBusyError, PortTakenError, RecordingError, RelayError, SettingError
from codeworm_monitor.hub import Hub
from codeworm_monitor.relay import _portions
from codeworm_monitor.sources import Message
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.sources.recording import RecordingSource

TOKEN = "correct-horse-battery"
LOGS = "codeworm:logs"


async def fetch(relay: Relay, path: str, token: str | None = TOKEN) -> tuple[int, bytes]:
    def ask() -> tuple[int, bytes]:
        url = relay.url.replace("ws://", "http://").removesuffix("/ws") + path
        request = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urlopen(request, timeout=5) as answer:
                return answer.status, answer.read()
        except OSError as error:
            with error:  # type: ignore[attr-defined]  # an HTTPError is an answer too
                return error.code, error.read()  # type: ignore[attr-defined]

    return await asyncio.to_thread(ask)


async def test_a_relay_in_the_callers_loop_brings_messages_to_both_kinds_of_readers() -> None:
    source = MemorySource()
    async with (
        Relay(source=source, port=0, token=TOKEN) as relay,
        v1_reader(relay.url, TOKEN) as old,
        v2_reader(relay.url, TOKEN) as new,
    ):
        await new.subscribe()
        source.publish(LOGS, b'{"n":1}')
        assert await old.recv(decode=False) == v1_text(LOGS, b'{"n":1}')
        await new.read_until(1)
        assert new.data == [{"n": 1}]
        assert re.fullmatch(r"<Relay ws://127\.0\.0\.1:\d+/ws: 2 readers, 3 entries from memory>", repr(relay))
    assert repr(relay) == "<Relay closed>"


async def test_start_and_aclose_are_the_other_spelling() -> None:
    relay = await Relay(RelaySettings(port=0), source=MemorySource()).start()
    assert relay.token is not None
    assert len(relay.token) >= 32
    await relay.aclose()
    await relay.aclose()
    with pytest.raises(RelayError, match="started once"):
        await relay.start()


async def test_a_recorded_day_reaches_a_reader_byte_for_byte(recording: Path) -> None:
    with gzip.open(recording) as lines:
        published = [(line["channel"], line["payload"].encode()) for line in map(orjson.loads, lines)]
    source = RecordingSource(recording, speed=float("inf"))
    async with Relay(source=source, port=0, token=TOKEN) as relay, v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe(cursor=Cursor(relay.hub.epoch, 0))
        await reader.read_until(len(published))
    assert [envelope.channel for envelope in reader.envelopes] == [channel for channel, _ in published]
    assert reader.is_whole
    text = b"".join(reader.texts)
    assert all(b'"data":' + payload + b"}" in text for _, payload in published)
    assert reader.data == [orjson.loads(payload) for _, payload in published]


async def test_an_interruption_of_the_source_is_a_gap_in_the_log() -> None:
    source = MemorySource()
    async with Relay(source=source, port=0, token=TOKEN) as relay, v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe()
        await relay.wait_connected()
        source.publish(LOGS, b"1")
        source.interrupt("Redis went away")
        source.interrupt("and is still away")
        await eventually(lambda: not relay.statistics().is_connected)
        status, body = await fetch(relay, "/readyz")
        assert (status, body) == (503, b"deaf: memory: and is still away\n")
        source.restore()
        source.publish(LOGS, b"2")
        await reader.read_until(2)
        assert (await fetch(relay, "/readyz"))[0] == 200
        statistics = relay.statistics()
    assert reader.is_whole
    (gap,) = reader.gaps
    assert gap.offset is not None
    assert reader.offsets[0] < gap.offset < reader.offsets[1]
    assert (gap.cause, gap.missed) == (GapCause.SOURCE_OUTAGE, None)
    assert [line["event"] for line in reader.journal] == ["upstream_lost", "upstream_heard_again"]
    assert gap.started_at < gap.ended_at
    assert "and is still away" in gap.detail
    assert (statistics.outages, statistics.gaps) == (1, {"source_outage": 1})


@pytest.mark.parametrize("backlog", [10_000, 1_000])
async def test_a_flood_that_comes_at_once_does_not_lap_readers_that_keep_up(backlog: int) -> None:
    source = MemorySource()
    async with (
        Relay(source=source, port=0, token=TOKEN, backlog=backlog) as relay,
        v1_reader(relay.url, TOKEN, max_queue=None) as old,
        v2_reader(relay.url, TOKEN, max_queue=None) as new,
    ):
        await new.subscribe()
        count = 30_000  # some 3 MB: less than a socket holds, so that only the relay itself could lose any
        for n in range(count):
            source.publish(LOGS, b'{"n":%d}' % n)
        await new.read_until(count)
        assert (new.data, new.gaps) == ([{"n": n} for n in range(count)], [])
        for n in range(count):
            assert await old.recv(decode=False) == v1_text(LOGS, b'{"n":%d}' % n)


async def test_a_source_that_fails_makes_the_relay_deaf_and_not_quiet(tmp_path: Path) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(b'{"t":1.0,"channel":"codeworm:logs","payload":"{}"}\nnonsense\n')
    relay = await Relay(source=RecordingSource(path), port=0, token=TOKEN).start()
    try:
        await eventually(lambda: not relay.statistics().is_connected and relay.statistics().outages)
        assert (await fetch(relay, "/readyz"))[0] == 503
        assert "reading failed on RecordingError" in relay.statistics().upstream_reason
    finally:
        with pytest.raises(RecordingError):
            await relay.aclose()


async def test_redis_is_asked_anew_after_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def failing(self: Hub, messages: Any) -> None:
        nonlocal calls
        calls += 1
        monkeypatch.undo()
        raise ZeroDivisionError

    async with Server() as server, Relay(redis_url=server.url, port=0, token=TOKEN) as relay:
        await relay.wait_connected()
        monkeypatch.setattr(Hub, "receive", failing)
        await server.publish(LOGS, [b"1"])
        await eventually(lambda: relay.statistics().outages == 1)
        await eventually(lambda: relay.statistics().is_connected)
        await server.publish(LOGS, [b"2"])
        await eventually(lambda: relay.statistics().received.get(LOGS) == 1)
    assert calls == 1


@pytest.mark.parametrize(("sizes", "expected"), [([10] * 9, [4, 4, 1]), ([90, 10, 90, 10], [1, 1, 1, 1]), ([500], [1])])
def test_portions_are_bounded_by_messages_and_by_bytes(sizes: list[int], expected: list[int]) -> None:
    messages = [Message(LOGS, b"x" * size, float(n)) for n, size in enumerate(sizes)]
    portions = list(_portions(messages, 4, 80))
    assert [len(portion) for portion in portions] == expected
    assert [message for portion in portions for message in portion] == messages


async def test_the_end_of_a_source_is_told(tmp_path: Path) -> None:
    path = tmp_path / "short.jsonl"
    path.write_bytes(b'{"t":1.0,"channel":"codeworm:logs","payload":"{}"}\n')
    async with Relay(source=RecordingSource(path), port=0) as relay:
        await eventually(lambda: relay.statistics().upstream_reason == "the source has ended")
        assert relay.statistics().received[LOGS] == 1


async def test_it_tells_what_it_knows_of_itself() -> None:
    source = MemorySource()
    async with Relay(source=source, port=0, token=TOKEN) as relay, v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe()
        source.publish(LOGS, b'{"event":"cycle_starting","cycle_num":3}')
        source.publish(LOGS, b"oops")
        await reader.read_until(2)
        assert await fetch(relay, "/livez", token=None) == (200, b"alive\n")
        assert await fetch(relay, "/readyz", token=None) == (200, b"ready\n")
        assert (await fetch(relay, "/info", token=None))[0] == 401
        known = orjson.loads((await fetch(relay, "/info"))[1])
        metrics = (await fetch(relay, "/metrics"))[1].decode()
    assert known["statistics"]["received"][LOGS] == 2
    assert known["statistics"]["marked"] == {"raw": 1}
    assert known["snapshot"]["cycle_num"] == 3
    assert 'codeworm_monitor_messages_total{channel="codeworm:logs"} 2.0' in metrics
    assert "codeworm_monitor_upstream_connected 1.0" in metrics
    assert "codeworm_monitor_head_offset 3.0" in metrics  # the relay notes the reader in the same log
    assert TOKEN not in metrics
    assert TOKEN not in str(known)


async def test_a_taken_port_starts_nothing() -> None:
    async with Relay(source=MemorySource(), port=0) as first:
        second = Relay(port=first.port)
        with pytest.raises(PortTakenError):
            await second.start()
        assert not second.is_embedded


async def test_an_embedded_server_that_dies_is_started_again_and_the_interruption_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codeworm_monitor.relay.running_redis", _no_redis)
    async with Relay(port=0, token=TOKEN) as relay, v2_reader(relay.url, TOKEN) as reader:
        await reader.subscribe()
        await relay.wait_connected()
        assert relay.is_embedded
        server = relay._embedded
        assert server is not None
        assert server.pid is not None
        await eventually(lambda: relay.statistics().probe_state == "heard")
        status, body = await fetch(relay, "/readyz")
        assert (status, body.splitlines()[0]) == (200, b"ready")
        assert body.splitlines()[1].startswith(b"probe: heard, the newest that came back was sent ")
        assert b"codeworm_monitor_probe_age_seconds" in (await fetch(relay, "/metrics"))[1]
        first, url = server.pid, relay.redis_url
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: server.pid not in (None, first) and relay.statistics().gaps)
        assert relay.redis_url == url == server.url
        async with redis.asyncio.from_url(url) as publisher:
            await publisher.publish(LOGS, b"1")
        await reader.read_until(1)
    assert [gap.cause for gap in reader.gaps] == [GapCause.SOURCE_OUTAGE]


async def _no_redis() -> Presence:
    return Presence.ABSENT


async def test_an_unusable_setting_is_told_before_anything_starts() -> None:
    with pytest.raises(SettingError, match="port"):
        Relay(port=99_999)
    with pytest.raises(RelayError, match="not started"):
        _ = Relay(source=MemorySource()).url


async def test_a_forgotten_relay_complains() -> None:
    relay = await Relay(source=MemorySource(), port=0).start()
    tasks, endpoint, announced = relay._tasks, relay._endpoint, relay.announcement
    with pytest.warns(ResourceWarning, match="was not closed"):
        relay.__del__()
    assert (tasks, endpoint, announced) != (None, None, None)
    await relay.aclose()
    gc.collect()


async def test_an_address_for_all_is_announced_as_this_machine() -> None:
    async with Relay(source=MemorySource(), port=0, host="0.0.0.0") as relay:
        assert relay.url.startswith("ws://127.0.0.1:")


async def test_the_announcement_is_readable_by_the_user_only_and_withdrawn() -> None:
    async with Relay(source=MemorySource(), port=0, token=TOKEN) as relay:
        path = relay.announcement
        assert path is not None
        assert path.stat().st_mode & 0o777 == 0o600
        assert orjson.loads(path.read_bytes())["token"] == TOKEN
    assert not path.exists()


def test_a_relay_in_a_thread_goes_on_while_the_caller_blocks(tmp_path: Path) -> None:
    recording = tmp_path / "few.jsonl"
    recording.write_bytes(
        b"".join(b'{"t":%f,"channel":"codeworm:logs","payload":"{}"}\n' % (n / 100) for n in range(20))
    )
    with start_relay_in_thread(source=RecordingSource(recording), port=0, token=TOKEN) as running:
        time.sleep(0.4)  # the blocked cell itself, not a wait for something
        assert running.relay.statistics().received[LOGS] == 20
        assert running.url.startswith("ws://")
        assert running.token == TOKEN
        assert "codeworm_monitor:relay" in [thread.name for thread in threading.enumerate()]
        assert repr(running).startswith("<RelayThread <Relay ws://")
    running.close()
    assert "codeworm_monitor:relay" not in [thread.name for thread in threading.enumerate()]


def test_a_relay_in_a_thread_that_cannot_start_says_why_to_the_caller() -> None:
    with start_relay_in_thread(source=MemorySource(), port=0) as running, pytest.raises(PortTakenError):
        start_relay_in_thread(source=MemorySource(), port=running.relay.port)
    assert "codeworm_monitor:relay" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Who vouches for certificates; those who trust it find it in `authority.pem`, a server `server.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    return authority


async def test_over_tls_readers_and_the_notebook_are_served(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    source = MemorySource()
    async with Relay(source=source, port=0, token=TOKEN, tls_cert=str(tmp_path / "server.pem")) as relay:
        assert relay.url.startswith("wss://127.0.0.1:")
        async with (
            v2_reader(relay.url, TOKEN, ssl=trusting) as reader,
            v2_reader(relay.url, TOKEN, ssl=trusting) as other,
        ):
            await reader.subscribe()
            await other.subscribe()
            mon = await asyncio.to_thread(connect, relay.url, token=TOKEN)
            for n in range(2_000):
                source.publish(LOGS, b'{"event":"%d"}' % n)
            await reader.read_until(2_000)
            await other.read_until(2_000)
            assert reader.is_whole
            assert other.data == [{"event": str(n)} for n in range(2_000)]
            await eventually(lambda: len(mon.logs) == 2_000)
            await asyncio.to_thread(mon.close)


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning", "ignore:.*TLSv1_1:DeprecationWarning")
async def test_tls_older_than_1_2_and_readers_without_tls_are_refused(authority: trustme.CA, tmp_path: Path) -> None:
    old = ssl.create_default_context()
    authority.configure_trust(old)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with Relay(source=MemorySource(), port=0, token=TOKEN, tls_cert=str(tmp_path / "server.pem")) as relay:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", relay.port, ssl=old)
        old.maximum_version = ssl.TLSVersion.TLSv1_2  # the same with one version more is let in
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port, ssl=old)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        writer.close()
        await writer.wait_closed()
        plain = relay.url.replace("wss:", "ws:")
        with pytest.raises((InvalidHandshake, ConnectionError)):
            async with v2_reader(plain, TOKEN):
                pass
        await eventually(lambda: relay.statistics().handshakes == 0)


async def test_a_certificate_that_cannot_be_read_is_a_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none\.pem cannot be used: No such file"):
        await Relay(source=MemorySource(), port=0, tls_cert=str(tmp_path / "none.pem")).start()
    spoilt = tmp_path / "spoilt.pem"
    spoilt.write_text("no certificate")
    with pytest.raises(SettingError, match=r"spoilt\.pem cannot be used"):
        await Relay(source=MemorySource(), port=0, tls_cert=str(spoilt)).start()


async def test_what_comes_from_redis_is_kept_and_a_restart_goes_on_where_it_ended(tmp_path):
    async with Server() as server:
        for run in range(2):
            async with Relay(redis_url=server.url, port=0, token=TOKEN, archive=str(tmp_path)) as relay:
                await relay.wait_connected()
                assert relay.archive == tmp_path
                await server.publish(LOGS, [b'{"event":"cycle_starting","n":%d}' % run])
                await eventually(lambda relay=relay: relay.hub.received[LOGS] == 1)
                epoch, head = relay.hub.epoch, relay.hub.head
        async with Relay(redis_url=server.url, port=0, token=TOKEN, archive=str(tmp_path)) as relay:
            assert (relay.hub.epoch, relay.hub.backlog.oldest) == (epoch, head + 1)
            async with v1_reader(relay.url, TOKEN) as old:
                history = orjson.loads(await old.recv())
                assert [one["data"]["n"] for one in history["data"]] == [0, 1]  # of the runs before
            status, text = await fetch(relay, "/history?channel=logs")
            assert status == 200
            entries = orjson.loads(text)["entries"]
            assert [entry["data"]["n"] for entry in entries if "data" in entry] == [0, 1]
            assert [entry["gap"]["cause"] for entry in entries if "gap" in entry] == ["relay_restart"] * 2
            assert {entry["epoch"] for entry in entries} == {epoch}
            info = orjson.loads((await fetch(relay, "/info"))[1])
            assert info["archive"] == {"directory": str(tmp_path)}
            assert info["statistics"]["archive"]["is_writing"]
            assert b"archive: written" in (await fetch(relay, "/readyz", token=None))[1]
            assert b"codeworm_monitor_archive_writing 1.0" in (await fetch(relay, "/metrics"))[1]


async def test_the_past_is_told_to_those_with_a_token_and_nonsense_is_refused_with_a_reason():
    async with Relay(source=MemorySource(), port=0, token=TOKEN) as relay:
        assert relay.archive is None  # a source of the program's own is no part of the user's record
        assert (await fetch(relay, "/history", token=None))[0] == 401
        assert (await fetch(relay, "/history?limit=none"))[0] == 400
        status, text = await fetch(relay, "/history?limit=1")
        assert (status, orjson.loads(text)["entries"]) == (200, [])
        assert b"archive" not in (await fetch(relay, "/readyz", token=None))[1]
        assert orjson.loads((await fetch(relay, "/info"))[1])["archive"] is None


async def test_it_tells_those_with_a_token_where_codeworms_own_files_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "codeworm.db").touch()
    async with Relay(source=MemorySource(), port=0, token=TOKEN, codeworm_db="codeworm.db") as relay:
        assert orjson.loads((await fetch(relay, "/info"))[1])["codeworm"] == {
            "codeworm_db": {"path": str(tmp_path / "codeworm.db"), "inode": (tmp_path / "codeworm.db").stat().st_ino},
            "codeworm_config": None,
        }
        for path in ("/livez", "/readyz"):
            assert b"codeworm.db" not in (await fetch(relay, path, token=None))[1]


async def test_an_archive_in_use_stops_the_start_and_nothing_is_left_behind(tmp_path):
    async with Relay(source=MemorySource(), port=0, token=TOKEN, archive=str(tmp_path)):
        other = Relay(source=MemorySource(), port=0, token=TOKEN, archive=str(tmp_path))
        with pytest.raises(ArchiveBusyError, match="--no-archive"):
            await other.start()
    async with Relay(source=MemorySource(), port=0, token=TOKEN, archive=str(tmp_path)) as relay:
        assert relay.statistics().archive.is_writing


async def test_readers_that_come_while_the_archive_is_opened_wait_and_harm_nothing(tmp_path, monkeypatch):
    going_on, opening = threading.Event(), ArchiveWriter._open

    def open_slowly(archive, name):
        going_on.wait()
        return opening(archive, name)

    for run in range(2):
        going_on.clear()
        monkeypatch.setattr(ArchiveWriter, "_open", open_slowly)
        relay = Relay(source=MemorySource(), port=0, token=TOKEN, archive=str(tmp_path))
        starting = asyncio.create_task(relay.start())
        await eventually(lambda relay=relay: relay._endpoint is not None and relay._endpoint._server is not None)
        async with v1_reader(relay.url, TOKEN):
            await eventually(lambda relay=relay: relay._endpoint.readers == 1)
            going_on.set()
            await starting
            entries = relay.hub.backlog.between(1, 2**60)
            assert [isinstance(entry, Gap) for entry in entries] == [True, False][1 - run :]
            assert orjson.loads(entries[-1].data)["event"] == "reader_connected"
            await relay.aclose()
        assert not relay._endpoint.readers
