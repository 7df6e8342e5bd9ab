"""A `Publisher` against real servers that are there, away, frozen, slow and back again."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.published import SlowProxy, Subscriber, subscribed
from support.servers import KINDS, Kind, Proxy, SentinelSet, Server, free_port, require_program, stand_in
from support.waiting import eventually, until

from codeworm_monitor import Relay, RelaySettings, connect, discovery
from codeworm_monitor.errors import SettingError
from codeworm_monitor.publish import Publisher


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return soon."""
    monkeypatch.setattr("codeworm_monitor.publish.sending.LONGEST_DELAY", 0.1)
    monkeypatch.setattr("codeworm_monitor.publish.sending.NOTICE_EVERY", 0.0)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


# What arrives


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_arrive_in_order_on_their_channels(kind: Kind) -> None:
    async with Server(kind) as server, subscribed(server) as heard, Publisher(server.url, component="me") as publisher:
        for number in range(1000):
            assert publisher.log("line", number=number)
        assert publisher.event("epoch", number=1)
        assert publisher.stats(total_cycles=3)
        assert publisher.publish("codeworm:logs", b'{"as": "it is"}')
        assert await publisher.aflush()
        await eventually(lambda: len(heard.payloads) == 1003)
        assert [line.get("number") for line in heard.on()[:1000]] == list(range(1000))
        assert heard.on()[0]["component"] == "me"
        assert heard.payloads[-1] == ("codeworm:logs", b'{"as": "it is"}')
        assert [event["data"] for event in heard.on("codeworm:events")] == [{"number": 1}]
        assert [stats["total_cycles"] for stats in heard.on("codeworm:stats")] == [3]
        now = publisher.statistics()
        assert (now.sent, now.heard, now.deliveries, now.waiting, now.dropped) == (1003, 1003, 1003, 0, {})


async def test_nothing_it_is_given_raises_and_all_that_can_be_written_arrives(
    publisher: Publisher, subscriber: Subscriber
) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    odd = [Broken(), float("nan"), "\ud800", 10**400, 10**5000, loop, "x" * 3_000_000, object, lambda: 1, {1: {2}}]
    for number, value in enumerate(odd):
        assert publisher.log("odd", number=number, value=value)
        assert publisher.event("odd", value=value)
        assert publisher.stats(value=value)
    assert publisher.log(None)  # type: ignore[arg-type]
    assert publisher.log(Broken(), level=Broken())  # type: ignore[arg-type]
    assert await publisher.aflush()
    await eventually(lambda: len(subscriber.payloads) == 3 * len(odd) + 2)
    assert [line["number"] for line in subscriber.on()[:-2]] == list(range(len(odd)))


async def test_what_cannot_be_written_is_counted_and_said(publisher: Publisher, subscriber: Subscriber) -> None:
    class Mapping(dict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError

    assert not publisher.publish("codeworm:logs", {"odd": "\ud800", "more": Mapping(a=1)})
    assert not publisher.publish("codeworm:logs", b"x" * 2**20)
    assert not publisher.publish(None, b"")  # type: ignore[arg-type]
    await eventually(lambda: subscriber.events)
    await eventually(subscriber.dropped)
    await eventually(lambda: sum(line["count"] for line in subscriber.on()) == 3)
    assert publisher.statistics().dropped == {"unwritable": 3}


async def test_what_was_given_may_change_afterwards(nobody: Publisher, server: Server, subscriber: Subscriber) -> None:
    async with Publisher(server.url) as publisher:
        nested = {"list": [1]}
        publisher.log("line", nested=nested)
        nested["list"].append(2)
        await eventually(lambda: subscriber.on())
        assert subscriber.on()[0]["nested"] == {"list": [1]}


async def test_many_threads_lose_nothing(publisher: Publisher, subscriber: Subscriber) -> None:
    def work(name: int) -> None:
        for number in range(500):
            publisher.log("line", name=name, number=number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert await publisher.aflush()
    await eventually(lambda: len(subscriber.payloads) == 4000)
    for name in range(8):
        assert [line["number"] for line in subscriber.on() if line["name"] == name] == list(range(500))


async def test_a_signal_handler_may_publish_in_the_midst_of_publishing(
    publisher: Publisher, subscriber: Subscriber
) -> None:
    former = signal.signal(signal.SIGALRM, lambda *_: publisher.log("from the handler"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for _ in range(5000):
            publisher.log("line")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert await publisher.aflush()
    await eventually(lambda: len(subscriber.payloads) == publisher.statistics().sent)
    assert subscriber.events.count("line") == 5000
    assert "from the handler" in subscriber.events


async def test_an_object_may_publish_as_it_is_collected(publisher: Publisher, subscriber: Subscriber) -> None:
    class Last:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            publisher.log("collected")

    former = gc.get_threshold()
    gc.set_threshold(10)
    try:
        for _ in range(300):
            Last()
            publisher.log("line", some=[[], [], []])
        gc.collect()
    finally:
        gc.set_threshold(*former)
    assert await publisher.aflush()
    await eventually(lambda: len(subscriber.payloads) == 600)


async def test_typed_records_of_a_monitor_show_what_was_published(server: Server) -> None:
    async with Relay(RelaySettings(port=0, no_archive=True), redis_url=server.url) as relay:
        await eventually(server.subscribers)
        await asyncio.to_thread(_publish_and_read, server.url, relay.url, relay.token)


def _publish_and_read(redis_url: str, url: str, token: str | None) -> None:
    """Blocks, as a notebook does."""
    with contextlib.closing(connect(url, token=token, name="published")) as monitor:
        with Publisher(redis_url, component="me") as publisher:
            publisher.log("odd", level="warning", error="it is", number=3)
            publisher.event("analyzing", target="a.b", repo="mine")
            publisher.stats(total_cycles=7, success_rate=50.0)
        until(lambda: (len(monitor.logs), len(monitor.events), len(monitor.stats)) == (1, 1, 1))
        log, event, stats = monitor.logs.df.iloc[0], monitor.events.df.iloc[0], monitor.stats.df.iloc[0]
    assert (log["event"], log["level"], log["component"], log["error"]) == ("odd", "warning", "me", "it is")
    assert json.loads(log["extra"]) == {"number": 3}
    assert (event["type"], event["target"], event["repo"]) == ("analyzing", "a.b", "mine")
    assert (stats["total_cycles"], stats["success_rate"]) == (7, 50.0)
    for row in (log, event, stats):
        assert abs((row["timestamp"] - row["received_at"]).total_seconds()) < 5


# When Redis is away


async def test_what_is_published_before_redis_starts_arrives_once_it_does() -> None:
    server = Server()
    async with Publisher(server.url) as publisher:
        publisher.log("early")
        await eventually(lambda: publisher.statistics().problem)
        assert "Connection refused" in publisher.statistics().problem
        assert not publisher.flush(0)
        async with server:
            assert await publisher.aflush()
            assert publisher.statistics().problem == ""


async def test_the_newest_wait_and_what_was_dropped_is_counted(server: Server) -> None:
    async with Publisher(server.url, max_messages=10) as publisher:
        publisher.log("before")
        assert await publisher.aflush()
        await server.kill()
        for number in range(50):
            publisher.log("line", number=number)
        await eventually(lambda: publisher.statistics().problem)
        await server.start()
        assert await publisher.aflush()
        assert publisher.statistics().dropped == {"queue_full": 40}
        assert publisher.statistics().waiting == 0


async def test_the_notice_of_dropped_messages_reaches_a_subscriber() -> None:
    server = Server()
    async with Publisher(server.url, max_messages=10, component="me") as publisher:
        for number in range(50):
            publisher.log("line", number=number)
        await eventually(lambda: publisher.statistics().problem)
        sender = publisher._sender
        release, go = threading.Event(), sender._send
        sender._send = lambda: release.wait(10) and go()  # type: ignore[method-assign]
        async with server, subscribed(server) as heard:
            release.set()
            await eventually(lambda: len(heard.payloads) == 11)
            notice, *lines = heard.on()
            assert notice["event"] == "messages_dropped"
            assert (notice["count"], notice["reason"], notice["level"]) == (40, "queue_full", "warning")
            assert (notice["component"], notice["since"] <= notice["until"] <= notice["timestamp"]) == ("me", True)
            assert [line["number"] for line in lines] == list(range(40, 50))
            publisher.log("more")
            await heard.hears("messages_dropped", *["line"] * 10, "more")


async def test_an_idle_connection_that_ended_costs_nothing(server: Server, publisher: Publisher) -> None:
    publisher.log("before")
    assert await publisher.aflush()
    await server.kill()
    await server.start()
    async with subscribed(server) as heard:
        publisher.log("after")
        await heard.hears("after")
        assert publisher.statistics().dropped == {}


async def test_a_frozen_redis_holds_up_nobody_and_nothing_is_sent_twice(server: Server) -> None:
    async with subscribed(server) as heard, Publisher(server.url, answer_within=0.3) as publisher:
        publisher.log("before")
        assert await publisher.aflush()
        server.freeze()
        try:
            for number in range(20):
                publisher.log("line", number=number)
            await eventually(lambda: publisher.statistics().dropped.get("unanswered"))
            await eventually(lambda: "no answer in time" in publisher.statistics().problem)
        finally:
            server.thaw()
        await eventually(lambda: publisher.statistics().waiting == 0)
        await eventually(lambda: publisher.statistics().problem == "")
        publisher.log("after")
        await eventually(lambda: "after" in heard.events)
        numbers = [line["number"] for line in heard.on() if line["event"] == "line"]
        assert numbers == sorted(set(numbers))
        dropped = publisher.statistics().dropped
        assert set(dropped) == {"unanswered"}
        # Frozen, it had taken some from the network: these were not lost, but nobody could know.
        assert len(numbers) <= 20 <= len(numbers) + dropped["unanswered"]
        await eventually(lambda: "messages_dropped" in heard.events)


async def test_a_connection_that_is_cut_under_load_loses_only_what_it_says(server: Server) -> None:
    async with Proxy(server.port) as proxy, subscribed(server) as heard:
        async with Publisher(proxy.url, max_messages=10**6, max_bytes=10**9) as publisher:
            for part in range(4):
                sent = publisher.statistics().sent
                for number in range(1500):
                    publisher.log("line", number=1500 * part + number)
                await eventually(lambda sent=sent: publisher.statistics().sent > sent)  # type: ignore[misc]
                proxy.cut()
            await eventually(lambda: publisher.statistics().waiting == 0)
            count = publisher.statistics()
        assert count.sent + count.dropped.get("unanswered", 0) == 6000
        assert set(count.dropped) <= {"unanswered"}
        await eventually(lambda: heard.events.count("line") >= count.sent)
        numbers = [line["number"] for line in heard.on() if line["event"] == "line"]
        assert numbers == sorted(set(numbers))


async def test_a_network_that_swallows_is_given_up_and_found_again(server: Server) -> None:
    async with (
        Proxy(server.port) as proxy,
        subscribed(server) as heard,
        Publisher(proxy.url, answer_within=0.3) as publisher,
    ):
        assert await asyncio.to_thread(publisher.connect)
        proxy.is_swallowing = True
        publisher.log("lost")
        await eventually(lambda: publisher.statistics().dropped == {"unanswered": 1})
        proxy.is_swallowing = False
        publisher.log("after")
        await eventually(lambda: "after" in heard.events)
        await eventually(lambda: "messages_dropped" in heard.events)
        assert "lost" not in heard.events


async def test_what_was_lost_is_counted_once_the_problem_is_known(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees that something was lost can ask why, though the connection is not closed yet."""
    is_known: list[bool] = []
    async with Proxy(server.port) as proxy, Publisher(proxy.url, answer_within=0.3) as publisher:
        assert await asyncio.to_thread(publisher.connect)
        sender = publisher._sender
        lose, disconnect = sender.outbox.lose, sender._disconnect

        def note(go_on: Callable[..., None], *arguments: Any) -> None:
            is_known.append("no answer in time" in sender.problem)
            go_on(*arguments)

        monkeypatch.setattr(sender.outbox, "lose", lambda *given: note(lose, *given) if given[1] else None)
        monkeypatch.setattr(sender, "_disconnect", lambda: note(disconnect))
        proxy.is_swallowing = True
        publisher.log("lost")
        await eventually(lambda: len(is_known) >= 2)
        assert is_known[:2] == [True, True]
        proxy.is_swallowing = False


async def test_a_slow_redis_holds_up_nobody_and_gets_all_in_order(server: Server) -> None:
    async with (
        SlowProxy(server.port, delay=0.2) as proxy,
        subscribed(server) as heard,
        Publisher(proxy.url) as publisher,
    ):
        assert await asyncio.to_thread(publisher.connect)
        proxy.may_answer.clear()
        # In a thread, so that the proxy goes on: to wait for an answer would be to wait for ever.
        accepted = await asyncio.to_thread(lambda: [publisher.log("line", number=number) for number in range(1500)])
        assert accepted == [True] * 1500
        assert (publisher.statistics().sent, proxy.answered) == (0, 0)
        proxy.may_answer.set()
        await eventually(lambda: proxy.answered)
        accepted = [publisher.log("line", number=number) for number in range(1500, 1600)]  # others are under way
        assert all(accepted)
        assert publisher.statistics().waiting > 100
        assert await publisher.aflush(20)
        await eventually(lambda: len(heard.payloads) >= 1600)
        assert [line["number"] for line in heard.on()] == list(range(1600))
        now = publisher.statistics()
        assert (now.sent, now.waiting, now.dropped, now.problem) == (1600, 0, {}, "")
        assert proxy.connections == 1


async def test_a_channel_that_is_refused_is_counted_and_others_go_on(server: Server, subscriber: Subscriber) -> None:
    await server.do("ACL", "SETUSER", "half", "on", ">secret", "+@all", "&codeworm:logs")
    async with Publisher(server.url.replace("//", "//half:secret@")) as publisher:
        publisher.stats(total_cycles=1)
        publisher.log("line")
        await eventually(lambda: "line" in subscriber.events)
        await eventually(lambda: "messages_dropped" in subscriber.events)
        assert publisher.statistics().dropped == {"refused": 1}
        assert "secret" not in repr(publisher) + str(publisher.statistics())


async def test_a_wrong_password_is_said_without_it(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await server.do("CONFIG", "SET", "requirepass", "right")
    async with Publisher(server.url.replace("//", "//:wrong@")) as publisher:
        publisher.log("line")
        await eventually(lambda: "WRONGPASS" in publisher.statistics().problem)
        assert "wrong@" not in publisher.statistics().problem + caplog.text
        assert len([one for one in caplog.records if "messages wait" in one.getMessage()]) == 1


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400\r\n\r\n", b":x\r\n", b"+OK\r\n", b":1\r\n:1\r\n:1\r\n", b"x" * 200_000]
)
async def test_what_answers_nonsense_is_given_up_and_tried_again(answer: bytes) -> None:
    async with stand_in(answer, answer, answer) as url, Publisher(url, answer_within=0.3) as publisher:
        publisher.log("line")
        await eventually(lambda: publisher.statistics().problem)
        assert publisher._thread is not None
        assert publisher._thread.is_alive()


async def test_a_password_that_a_server_quotes_is_not_said() -> None:
    answer = b"-ERR unknown command 'AUTH', with args beginning with: 'secret'\r\n"
    async with stand_in(answer, answer) as url, Publisher(url.replace("//", "//:secret@")) as publisher:
        publisher.log("line")
        await eventually(lambda: "unknown command" in publisher.statistics().problem)
        assert "secret" not in publisher.statistics().problem


async def test_a_redis_that_is_still_loading_is_waited_for() -> None:
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    async with stand_in(loading) as url, Publisher(url, answer_within=0.2) as publisher:
        publisher.log("line")
        await eventually(lambda: "LOADING" in publisher.statistics().problem)
        assert publisher.statistics().dropped == {}
        assert publisher.statistics().waiting == 1


async def test_a_master_is_found_by_its_sentinel() -> None:
    async with SentinelSet() as set_, Publisher(set_.url) as publisher:
        master = await set_.master()
        async with subscribed(master) as heard:
            publisher.log("line")
            await heard.hears("line")


async def test_tls(tmp_path: Path) -> None:
    require_program("openssl", "apt install openssl")
    certificate, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port()
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", key]
    await asyncio.to_thread(subprocess.run, words, capture_output=True, check=True)
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate))
    async with (
        Server("redis", "--tls-port", str(port), *files, "--tls-auth-clients", "no") as server,
        subscribed(server) as heard,
    ):
        async with Publisher(f"rediss://localhost:{port}?ssl_ca_certs={certificate}") as publisher:
            for number in range(3000):
                publisher.log("line", number=number, padding="x" * 300)
            assert await publisher.aflush(10)
            publisher.log("after a pause")
            await eventually(lambda: heard.events == [*["line"] * 3000, "after a pause"])
            assert publisher.statistics().dropped == {}
        async with Publisher(f"rediss://localhost:{port}") as publisher:
            publisher.log("line")
            await eventually(lambda: "certificate" in publisher.statistics().problem.lower())


async def test_user_password_database_and_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    async with Server("valkey", "--unixsocket", str(path)) as server, subscribed(server) as heard:
        await server.do("ACL", "SETUSER", "me", "on", ">p@ss/word", "+@all", "&*")
        for url in (f"unix://me:p%40ss%2Fword@{path}", server.url.replace("//", "//me:p%40ss%2Fword@") + "/3"):
            async with Publisher(url) as publisher:
                publisher.log("line")
                assert await publisher.aflush()
        await heard.hears("line", "line")


# Where it publishes to


async def test_the_environment_names_redis(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("CODEWORM_MONITOR_REDIS_URL", server.url)
    async with Publisher() as publisher:
        publisher.log("line")
        assert await publisher.aflush()
        assert publisher.statistics().connected_to == server.url


async def test_the_redis_of_a_running_relay_is_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeworm_monitor.publish.upstream.DEFAULT_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    async with (
        Relay(RelaySettings(port=0, no_archive=True), redis_url=server.url),
        Publisher() as publisher,
    ):
        publisher.log("line")
        assert await publisher.aflush()
        assert publisher.statistics().connected_to == server.url


def test_a_url_with_a_secret_is_not_announced() -> None:
    for number, url in enumerate(("redis://:secret@h:1", "redis://h:1?password=secret", "redis://h:1")):
        discovery.announce(number, url=f"ws://127.0.0.1:{number}/ws", token=None, redis_url=url)
    assert {one.redis_url for one in discovery.find()} == {None, "redis://h:1"}


def test_a_url_that_cannot_be_used_is_refused_at_once() -> None:
    with pytest.raises(SettingError, match="redis_url"):
        Publisher("http://localhost")


async def test_an_environment_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "nonsense://:secret@here")
    async with Publisher() as publisher:
        assert publisher.log("line")
        await eventually(lambda: "redis_url" in publisher.statistics().problem)
        assert "secret" not in publisher.statistics().problem


# The end of it


async def test_closing_sends_what_waits(server: Server, subscriber: Subscriber) -> None:
    publisher = Publisher(server.url)
    for _ in range(3000):
        publisher.log("line")
    assert await publisher.aclose(10)
    assert await publisher.aclose()
    assert publisher.statistics().sent == 3000
    await eventually(lambda: len(subscriber.payloads) == 3000)
    assert not publisher.log("late")
    assert publisher.statistics().dropped == {"not_sent": 1}


async def test_closing_does_not_wait_for_a_redis_that_is_not_there(nobody: Publisher) -> None:
    nobody.log("line")
    async with asyncio.timeout(5):
        assert not await nobody.aclose(60)
    assert nobody.statistics().dropped == {"not_sent": 1}


async def test_closing_a_frozen_one_keeps_to_its_bound(server: Server) -> None:
    publisher = Publisher(server.url, answer_within=60)
    publisher.log("before")
    assert await publisher.aflush()
    server.freeze()
    try:
        publisher.log("line")
        async with asyncio.timeout(10):
            assert not await publisher.aclose(0.2)
    finally:
        server.thaw()
    await eventually(lambda: not publisher._thread.is_alive() if publisher._thread else True)


def test_one_that_was_never_used_has_no_thread() -> None:
    before = threading.active_count()
    with Publisher("redis://127.0.0.1:1"):
        assert threading.active_count() == before


async def test_publishing_in_a_loop_blocks_nothing_while_redis_is_frozen(server: Server) -> None:
    """The fixture of all tests raises for every call of the package that would block the loop."""
    async with Publisher(server.url, answer_within=0.3, max_messages=10) as publisher:
        server.freeze()
        try:
            for _ in range(100):
                publisher.log("line")
                publisher.event("epoch", number=1)
                publisher.publish("codeworm:logs", {"event": "x"})
                await asyncio.sleep(0)
            assert publisher.statistics().dropped["queue_full"] >= 200
        finally:
            server.thaw()


def test_a_thread_that_is_not_to_be_had_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    publisher = Publisher("redis://127.0.0.1:1")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert publisher.log("line")
    assert publisher.close() is False


async def test_a_logger_that_raises_does_not_end_the_thread(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("a handler of the program's")

    await server.kill()
    monkeypatch.setattr(logging.getLogger("codeworm_monitor.publish.sending"), "warning", refuse)
    async with Publisher(server.url) as publisher:
        publisher.log("line")
        await eventually(lambda: publisher.statistics().problem)
        await server.start()
        assert await publisher.aflush()


def test_repr_says_where_it_stands(nobody: Publisher) -> None:
    assert repr(nobody) == "<Publisher to Redis, not connected yet: 0 sent, 0 wait>"


@pytest.mark.parametrize("bound", ["max_messages", "max_bytes", "answer_within"])
def test_bounds_are_positive(bound: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        Publisher(**{bound: 0})  # type: ignore[arg-type]
