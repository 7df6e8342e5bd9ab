from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import orjson
import pytest
from support.raw_readers import raw_reader
from support.readers import v1_reader, v1_text, v2_reader
from support.served import EVENTS, LOGS, STATS, served
from support.waiting import eventually
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from codeworm_monitor import endpoint as endpoint_module
from codeworm_monitor.access import AccessRules
from codeworm_monitor.admission import Admission
from codeworm_monitor.endpoint import Endpoint
from codeworm_monitor.envelope import Cursor, Gap, GapCause, Mark
from codeworm_monitor.errors import PortTakenError, RelayError
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import ErrorFrame, Pong, Position, Subscribe, Subscribed, encode_from_client
from codeworm_monitor.hub import Hub
from codeworm_monitor.sources import Message

TOKEN = "correct-horse-battery"


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "SWEEP", 0.05)


async def http(url: str, request: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it stands and return status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def get(path: str, *headers: str, method: str = "GET", host: str = "127.0.0.1") -> str:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""])


class TestV1:
    async def test_messages_come_as_the_original_sent_them(self) -> None:
        async with served() as relay, v1_reader(relay.url) as reader:
            payloads = [b'{"event":"a"}', b'{ "spaced" : 1.0 }', b"[1]", '{"é":"ü"}'.encode()]
            relay.publish(*payloads)
            assert [await reader.recv(decode=False) for _ in payloads] == [v1_text(LOGS, one) for one in payloads]

    async def test_text_that_is_no_json_comes_raw(self) -> None:
        async with served() as relay, v1_reader(relay.url) as reader:
            relay.publish(b"oops")
            assert await reader.recv(decode=False) == b'{"channel":"codeworm:logs","data":{"raw":"oops"}}'

    async def test_history_comes_first_without_stats_and_without_duplicates(self) -> None:
        async with served(history=3) as relay:
            relay.publish(b"1", b"2")
            relay.publish(b"3", channel=EVENTS)
            relay.publish(b"4", channel=STATS)
            relay.publish(b"5")
            async with v1_reader(relay.url) as reader:
                relay.publish(b"6")
                history = orjson.loads(await reader.recv())
                assert history["channel"] == "codeworm:history"
                assert [(item["channel"], item["data"]) for item in history["data"]] == [
                    (LOGS, 2),
                    (EVENTS, 3),
                    (LOGS, 5),
                ]
                assert await reader.recv(decode=False) == v1_text(LOGS, b"6")

    async def test_there_is_no_history_frame_when_there_is_no_history(self) -> None:
        async with served() as relay:
            relay.publish(b"1", channel=STATS)
            async with v1_reader(relay.url) as reader:
                relay.publish(b"2")
                assert await reader.recv(decode=False) == v1_text(LOGS, b"2")

    async def test_history_stays_below_a_clients_limit(self) -> None:
        async with served() as relay:
            relay.publish(*[orjson.dumps({"n": n, "pad": "x" * 20_000}) for n in range(200)])
            async with v1_reader(relay.url, max_size=2**20) as reader:
                history = orjson.loads(await reader.recv())["data"]
                assert [item["data"]["n"] for item in history] == list(range(200 - len(history), 200))
                assert len(history) >= 40

    async def test_ping_is_answered(self) -> None:
        async with served() as relay, v1_reader(relay.url) as reader:
            await reader.send("ping")
            assert await reader.recv() == '{"type":"pong"}'

    async def test_other_texts_are_ignored(self) -> None:
        async with served() as relay, v1_reader(relay.url) as reader:
            await reader.send("what?")
            await reader.send(b"\x00\xff")
            await reader.send("ping")
            assert await reader.recv() == '{"type":"pong"}'

    async def test_gaps_are_not_shown_to_the_original(self) -> None:
        async with served() as relay, v1_reader(relay.url) as reader:
            relay.hub.report(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1, ended_at=2))
            relay.publish(b"1")
            assert await reader.recv(decode=False) == v1_text(LOGS, b"1")


class TestV2:
    async def test_hello_tells_the_numbering_and_the_state(self) -> None:
        async with served() as relay:
            relay.publish(b'{"event":"cycle_starting","cycle_num":7,"level":"info"}')
            async with v2_reader(relay.url) as reader:
                hello = reader.hello
        assert (hello.epoch, hello.oldest, hello.head, hello.channels) == ("e", 1, 1, [LOGS, EVENTS, STATS])
        assert (hello.snapshot["stage"], hello.snapshot["cycle_num"]) == ("starting", 7)
        assert hello.limits["heartbeat_seconds"] == 15

    async def test_envelopes_carry_offset_time_channel_and_the_exact_payload(self) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.subscribe()
            relay.publish(b'{ "a" : 1e2 }')
            relay.publish(b"oops", channel=EVENTS)
            await reader.read_until(2)
            assert b'"data":{ "a" : 1e2 }}' in reader.texts[-1] or b'"data":{ "a" : 1e2 }}' in reader.texts[-2]
        assert [tuple(envelope) for envelope in reader.envelopes] == [
            (1, 1000.0, LOGS, b"", None),
            (2, 1000.0, EVENTS, b"", Mark.RAW),
        ]
        assert reader.data == [{"a": 100.0}, {"raw": "oops"}]

    async def test_a_cursor_resumes_without_loss_or_duplicate(self) -> None:
        async with served() as relay:
            relay.publish(*[b"%d" % n for n in range(50)])
            async with v2_reader(relay.url) as reader:
                answer = await reader.subscribe(cursor=Cursor("e", 20))
                relay.publish(*[b"%d" % n for n in range(50, 60)])
                await reader.read_until(40)
        assert (answer.recovered, answer.reason, answer.cursor) == (True, None, Cursor("e", 20))
        assert reader.data == list(range(20, 60))
        assert reader.gaps == []

    async def test_a_trimmed_cursor_is_told_what_is_missing(self) -> None:
        async with served(entries=10) as relay:
            relay.publish(*[b"%d" % n for n in range(50)])
            async with v2_reader(relay.url) as reader:
                answer = await reader.subscribe(cursor=Cursor("e", 20))
                await reader.read_until(10)
        assert (answer.recovered, answer.reason) == (False, "trimmed")
        assert [(gap.first_offset, gap.last_offset) for gap in reader.gaps] == [(21, 40)]
        assert reader.offsets == list(range(41, 51))

    async def test_a_cursor_of_another_relay_is_told_so(self) -> None:
        async with served() as relay:
            relay.publish(b"1")
            async with v2_reader(relay.url) as reader:
                answer = await reader.subscribe(cursor=Cursor("other", 20))
                await reader.read_until(1)
        assert (answer.recovered, answer.reason) == (False, "epoch")
        assert [gap.cause for gap in reader.gaps] == [GapCause.RELAY_RESTART]

    async def test_a_filter_lets_through_what_it_names_and_positions_tell_the_rest(self) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.subscribe(filter=Filter(level="warning"))
            relay.publish(b'{"level":"info"}', b'{"level":"error"}', b'{"level":"debug"}')
            await reader.read_until(1)
            while not any(isinstance(frame, Position) for frame in reader.others):
                await reader.read()
        assert reader.offsets == [2]
        assert reader.others[-1] == Position(3)

    async def test_subscribing_again_changes_the_filter(self) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.subscribe(filter=Filter(channels=frozenset({EVENTS})))
            relay.publish(b"1")
            await reader.subscribe(cursor=Cursor("e", 1), filter=Filter(channels=frozenset({LOGS})))
            relay.publish(b"2", channel=EVENTS)
            relay.publish(b"3")
            await reader.read_until(1)
        assert reader.data == [3]

    async def test_a_gap_of_the_log_comes_in_its_place(self) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.subscribe()
            relay.publish(b"1")
            relay.hub.report(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1.5, ended_at=2.5, detail="Redis was away"))
            relay.publish(b"2")
            await reader.read_until(2)
        assert reader.offsets == [1, 3]
        assert [(gap.offset, gap.cause, gap.started_at, gap.detail) for gap in reader.gaps] == [
            (2, GapCause.SOURCE_OUTAGE, 1.5, "Redis was away")
        ]

    async def test_ping_is_answered(self) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.connection.send('{"type":"ping"}')
            assert isinstance(await reader.read(), Pong)

    async def test_a_reader_that_is_sent_nothing_hears_a_heartbeat(self) -> None:
        async with served(heartbeat=0.01) as relay, v2_reader(relay.url) as reader:
            await reader.subscribe()
            assert await reader.read() == Position(0)

    @pytest.mark.parametrize(
        "text", ["oops", "[]", '{"type":"subscribe","since":{"tail":-1}}', '{"type":"batch"}', "ping"]
    )
    async def test_a_frame_that_breaks_the_protocol_ends_the_conversation_with_the_reason(self, text: str) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.connection.send(text)
            frame = await reader.read()
            assert isinstance(frame, ErrorFrame)
            with pytest.raises(ConnectionClosedError) as closed:
                await reader.read()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4500

    async def test_a_reader_that_never_subscribes_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoint_module, "OPEN_TIMEOUT", 0.05)
        async with served() as relay, v2_reader(relay.url) as reader:
            frame = await reader.read()
        assert isinstance(frame, ErrorFrame)
        assert "subscribe" in frame.message

    async def test_many_batches_are_bounded_in_size(self) -> None:
        payload = orjson.dumps({"pad": "x" * 10_000})
        async with served(entries=5000) as relay:
            relay.publish(*[payload] * 500)
            async with v2_reader(relay.url, max_size=2**18) as reader:
                await reader.subscribe(tail=500)
                await reader.read_until(500)
        assert reader.offsets == list(range(1, 501))

    async def test_flooding_requests_are_read_slowly_and_hurt_nobody(self) -> None:
        async with served() as relay, v2_reader(relay.url, close_timeout=0.1) as flood, v2_reader(relay.url) as other:
            await other.subscribe()
            sending = asyncio.create_task(self._flood(flood.connection))
            relay.publish(b"1")
            async with asyncio.timeout(5):
                await other.read_until(1)
            sending.cancel()
            await asyncio.wait([sending])

    @staticmethod
    async def _flood(connection: Any) -> None:
        for _ in range(20_000):
            await connection.send('{"type":"ping"}')


class TestAccess:
    async def test_every_way_to_bring_the_token_lets_a_reader_in(self) -> None:
        async with served(token=TOKEN) as relay:
            async with v1_reader(relay.url, TOKEN), v2_reader(relay.url, TOKEN):
                pass
            offers: Any = ["codeworm.v2", f"codeworm.token.{TOKEN}"]
            async with connect(relay.url, proxy=None, subprotocols=offers) as connection:
                assert connection.subprotocol == "codeworm.v2"
            offers = ["codeworm.v1", f"codeworm.token.{TOKEN}"]
            async with connect(relay.url, proxy=None, subprotocols=offers) as connection:
                assert connection.subprotocol == "codeworm.v1"

    @pytest.mark.parametrize("token", [None, "wrong-horse-battery"])
    async def test_a_missing_or_wrong_token_is_401(self, token: str | None) -> None:
        async with served(token=TOKEN) as relay:
            with pytest.raises(InvalidStatus) as refused:
                async with v1_reader(relay.url, token):
                    pass
            assert relay.endpoint.refused == 1
        assert refused.value.response.status_code == 401

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
    async def test_a_foreign_origin_is_403_even_with_the_token(self, origin: Any) -> None:
        async with served(token=TOKEN) as relay:
            with pytest.raises(InvalidStatus) as refused:
                async with v1_reader(relay.url, TOKEN, origin=origin):
                    pass
        assert refused.value.response.status_code == 403

    async def test_a_listed_origin_needs_no_token(self) -> None:
        async with served(token=TOKEN, origins=("http://localhost:5173",)) as relay:
            origin: Any = "http://localhost:5173"
            async with v1_reader(relay.url, origin=origin) as reader:
                await reader.send("ping")
                assert await reader.recv() == '{"type":"pong"}'

    async def test_a_rebound_host_is_403(self) -> None:
        async with served() as relay:
            status, _, _ = await http(relay.url, get("/hello", host="evil.example"))
        assert status == 403

    async def test_the_bound_of_readers_holds_and_frees(self) -> None:
        async with served(admission=Admission(max_readers=2, max_per_address=9, max_handshakes=9)) as relay:
            async with v1_reader(relay.url), v1_reader(relay.url):
                with pytest.raises(InvalidStatus) as refused:
                    async with v1_reader(relay.url):
                        pass
                assert relay.endpoint.readers == 2
            assert refused.value.response.status_code == 503
            await eventually(lambda: relay.endpoint.readers == 0)
            async with v1_reader(relay.url):
                pass


class TestHTTP:
    async def test_get_is_answered_and_head_has_no_body(self) -> None:
        async with served() as relay:
            status, headers, body = await http(relay.url, get("/hello"))
            assert (status, body, headers["Content-Length"]) == (200, b"hello", "5")
            assert headers["X-Content-Type-Options"] == "nosniff"
            status, headers, body = await http(relay.url, get("/hello", method="HEAD"))
            assert (status, body, headers["Content-Length"]) == (200, b"", "5")

    async def test_other_methods_are_405_and_other_paths_404(self) -> None:
        async with served() as relay:
            status, headers, _ = await http(relay.url, get("/hello", "Content-Length: 0", method="POST"))
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
            status, _, body = await http(relay.url, get("/nothing"))
            assert (status, b"/ws" in body) == (404, True)

    async def test_health_is_public_and_the_rest_is_not(self) -> None:
        async with served(token=TOKEN) as relay:
            assert (await http(relay.url, get("/livez")))[0] == 200
            status, headers, _ = await http(relay.url, get("/hello"))
            assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="codeworm_monitor"')
            assert (await http(relay.url, get(f"/hello?token={TOKEN}")))[0] == 200
            assert (await http(relay.url, get("/hello", f"Authorization: Bearer {TOKEN}")))[0] == 200

    async def test_a_request_that_is_no_http_is_let_go(self) -> None:
        async with served() as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.endpoint.port)
            writer.write(b"\x16\x03\x01 not http\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            assert (await http(relay.url, get("/hello")))[0] == 200


class TestIsolation:
    async def test_a_stalled_reader_is_cut_and_others_get_everything(self) -> None:
        payload = orjson.dumps({"pad": "x" * 50_000})
        async with served(send_timeout=0.5, entries=200) as relay, v2_reader(relay.url) as healthy:
            await healthy.subscribe()
            with socket.socket() as stalled:
                stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stalled.setblocking(False)  # noqa: FBT003  # the library's spelling
                loop = asyncio.get_running_loop()
                await loop.sock_connect(stalled, ("127.0.0.1", relay.endpoint.port))
                upgrade = get(
                    "/ws",
                    "Upgrade: websocket",
                    "Connection: Upgrade",
                    "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                )
                await loop.sock_sendall(stalled, upgrade.encode())
                assert b" 101 " in await loop.sock_recv(stalled, 1000)
                sent = 0
                async with asyncio.timeout(20):
                    while not relay.endpoint.evicted:
                        relay.publish(payload)
                        sent += 1
                        await healthy.read_until(sent)
                        await asyncio.sleep(0.005)
            assert healthy.offsets == list(range(1, sent + 1))
            await eventually(lambda: relay.endpoint.readers == 1)

    async def test_a_silent_reader_is_pinged_and_one_that_does_not_answer_is_taken_for_gone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoint_module, "KEEPALIVE", 0.3)
        async with served() as relay, v2_reader(relay.url, ping_interval=None) as reader:
            await reader.subscribe()
            _, writer = await asyncio.open_connection("127.0.0.1", relay.endpoint.port)
            upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
            writer.write(get("/ws", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==").encode())
            await eventually(lambda: relay.endpoint.readers == 2)
            await eventually(lambda: relay.endpoint.readers == 1)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            relay.publish(b"1")
            await reader.read_until(1)  # this one's library answered the pings

    async def test_a_changed_subscription_waits_a_moment_and_a_reader_that_leaves_meanwhile_leaves_nothing(
        self,
    ) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await reader.subscribe()
            relay.publish(b"1")
            await reader.read_until(1)
            began = time.monotonic()
            await reader.connection.send(encode_from_client(Subscribe()), text=True)
            await asyncio.sleep(0.05)
            relay.publish(b"2")  # while it waits it has what it had
            while not isinstance(await reader.read(), Subscribed):
                pass
            assert reader.data == [1, 2]
            assert time.monotonic() - began >= endpoint_module.RESUBSCRIBE_PAUSE
            async with v2_reader(relay.url) as other:
                await other.subscribe()
                await other.connection.send(encode_from_client(Subscribe()), text=True)
            await eventually(lambda: relay.endpoint.readers == len(relay.endpoint.fanout.readers) == 1)

    async def test_a_reader_that_is_slow_all_the_time_is_not_taken_for_gone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoint_module, "KEEPALIVE", 0.2)
        monkeypatch.setattr(endpoint_module, "SWEEP", 0.02)
        loop = asyncio.get_running_loop()
        async with (
            served(entries=50) as relay,
            raw_reader(relay.endpoint.port, receive_buffer=4096) as slow,
        ):
            await eventually(lambda: relay.endpoint.fanout.readers)
            connection = relay.endpoint.fanout.readers[0].connection
            began = loop.time()
            while loop.time() - began < 1.5:  # several times what would cut a silent one
                relay.hub.receive([Message(LOGS, b'"%b"' % (b"x" * 100_000), 1000.0)] * 5)
                await slow.take(2048)
                await asyncio.sleep(0.005)
            assert connection.paused
            assert (relay.endpoint.readers, relay.endpoint.evicted) == (1, 0)

    async def test_what_readers_share_is_bounded_and_none_is_kept_for_one_alone(self) -> None:
        async with served(entries=20_000) as relay, contextlib.AsyncExitStack() as stack:
            relay.hub.receive([Message(LOGS, b'"%b"' % (b"x" * 1000), 1000.0)] * 10_000)
            for pair in range(6):  # each pair with a filter of its own, and 12 MB behind
                wanted = Filter(channels=frozenset({LOGS, f"other-{pair}"}))
                for _ in range(2):
                    reader = await stack.enter_async_context(v2_reader(relay.url, max_queue=None))
                    await reader.subscribe(tail=10_000, filter=wanted)
                    await reader.read_until(10_000)
            chunks = relay.endpoint.fanout.chunks
            kept = sum(len(frames) for frames, _, _ in chunks._kept.values())
            assert 0 < kept == chunks._bytes <= chunks.MOST_BYTES
            await stack.aclose()
            await eventually(lambda: not chunks._kept and not chunks._bytes)

    async def test_a_slow_reader_is_told_what_it_missed_and_moved_on(self) -> None:
        payload = orjson.dumps({"pad": "x" * 50_000})
        async with served(entries=20) as relay, v2_reader(relay.url, max_queue=1) as reader:
            await reader.subscribe()
            for _ in range(400):  # far more than sockets and backlog hold
                relay.publish(payload)
                await asyncio.sleep(0)
            while not reader.envelopes or reader.envelopes[-1].offset < 400:
                await reader.read()
        covered = {offset for gap in reader.gaps for offset in range(gap.first_offset or 0, (gap.last_offset or 0) + 1)}
        assert {gap.cause for gap in reader.gaps} == {GapCause.SLOW_READER}
        assert covered | set(reader.offsets) == set(range(1, 401))
        assert not covered & set(reader.offsets)
        assert relay.endpoint.evicted == 0

    async def test_readers_that_come_and_go_in_mid_stream_get_each_offset_once(self) -> None:
        async with served() as relay, v2_reader(relay.url) as first, v2_reader(relay.url) as second:
            await first.subscribe()
            await second.subscribe()
            async with v2_reader(relay.url) as passing:
                await passing.subscribe()
                relay.publish(b"1")
                relay.publish(b"2")
                await passing.read_until(1)
            relay.publish(b"3")
            await first.read_until(3)
            await second.read_until(3)
        assert first.offsets == second.offsets == [1, 2, 3]


class TestClosing:
    async def test_readers_are_told_to_come_back(self) -> None:
        async with served() as relay, v2_reader(relay.url) as reader:
            await relay.endpoint.aclose()
            with pytest.raises(ConnectionClosed) as closed:
                await reader.read()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012

    async def test_connections_that_say_nothing_do_not_hold_it_up(self) -> None:
        async with contextlib.AsyncExitStack() as stack, served() as relay:
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", relay.endpoint.port)
                stack.callback(writer.close)
            await eventually(lambda: relay.endpoint.admission.handshakes == 3)
            async with asyncio.timeout(2):
                await relay.endpoint.aclose(within=0.2)
            assert relay.endpoint.admission.handshakes == 0

    async def test_a_stalled_reader_does_not_hold_it_up(self) -> None:
        payload = orjson.dumps({"pad": "x" * 200_000})
        async with served() as relay:
            _, writer = await asyncio.open_connection("127.0.0.1", relay.endpoint.port, limit=1024)
            upgrade = get(
                "/ws",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
            writer.write(upgrade.encode())
            await eventually(lambda: bool(relay.endpoint.fanout.readers))
            async with asyncio.timeout(5):
                while not relay.endpoint.fanout.readers[0].connection.paused:
                    relay.publish(payload)
                    await asyncio.sleep(0)
            async with asyncio.timeout(1.5):
                await relay.endpoint.aclose(within=1)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def test_it_may_be_closed_again_or_without_a_start(self) -> None:
        async with served() as relay:
            await relay.endpoint.aclose()
            await relay.endpoint.aclose()
        endpoint = Endpoint(Hub(), AccessRules(token=None), answer=lambda path: None, channels=[], version="1")
        with pytest.raises(RelayError, match="not started"):
            _ = endpoint.port
        await endpoint.aclose()

    async def test_a_taken_port_is_told(self) -> None:
        async with served() as relay:
            endpoint = Endpoint(Hub(), AccessRules(token=None), answer=lambda path: None, channels=[], version="1")
            with pytest.raises(PortTakenError, match=r"is taken.*--port"):
                await endpoint.start("127.0.0.1", relay.endpoint.port)

    async def test_an_address_of_another_machine_is_told(self) -> None:
        endpoint = Endpoint(Hub(), AccessRules(token=None), answer=lambda path: None, channels=[], version="1")
        with pytest.raises(RelayError, match=r"cannot listen on 192\.0\.2\.1"):
            await endpoint.start("192.0.2.1", 0)


async def test_a_request_encoded_for_the_wire_is_understood() -> None:
    async with served() as relay, v2_reader(relay.url) as reader:
        from codeworm_monitor.frames import Subscribe

        await reader.connection.send(encode_from_client(Subscribe(time=5.0)), text=True)
        assert (await reader.read()).cursor == Cursor("e", 0)


async def test_one_that_is_closed_before_it_was_opened_leaves_no_reader_waiting():
    async def answer(path, query):
        return None

    endpoint = Endpoint(Hub(), AccessRules(token=None), answer=answer, channels=[], version="1")
    await endpoint.start("127.0.0.1", 0)
    async with connect(f"ws://127.0.0.1:{endpoint.port}/ws"):
        await eventually(lambda: endpoint.readers == 1)
        async with asyncio.timeout(2):
            await endpoint.aclose(within=5)
        assert endpoint.readers == 0
