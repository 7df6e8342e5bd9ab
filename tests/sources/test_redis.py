"""A `RedisSource` against real servers, and what happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.servers import Kind, Proxy, SentinelSet, Server, free_port, require_program, server_program, stand_in
from support.waiting import eventually
from support.watching import Witness, watching

from codeworm_monitor.errors import SettingError
from codeworm_monitor.sources import Connected, Disconnected, ProbeState
from codeworm_monitor.sources.redis import RedisSource
from codeworm_monitor.sources.redis_target import OpenedConnection
from codeworm_monitor.sources.subscription import Subscription

CHANNELS = ("codeworm:logs", "codeworm:events", "codeworm:stats")
NOTICED_WITHIN = 10.0
"""Seconds within which every outage must be noticed with the default settings."""


def a_source(url: str, **options: Any) -> RedisSource:
    """Return a source that is less patient than by default, so that the tests need not wait for it."""
    quick = {"dead_after": 0.6, "idle_after": 0.4, "longest_pause": 0.3}
    return RedisSource(url, **{"channels": CHANNELS, **quick, **options})


@contextlib.asynccontextmanager
async def a_witness(url: str, **options: Any) -> AsyncIterator[Witness]:
    """Watch a source that is connected."""
    async with watching(a_source(url, **options)) as witness:
        await eventually(lambda: witness.is_connected)
        yield witness


async def hears(witness: Witness, server: Server, word: bytes) -> None:
    """Show that the source hears what is published now."""
    await server.publish("codeworm:logs", [word])
    await eventually(lambda: word in witness.payloads)


def numbered(count: int, *, start: int = 0, padding: bytes = b"") -> list[bytes]:
    return [b"%d %s" % (number, padding) for number in range(start, start + count)]


# What is delivered


async def test_everything_arrives_in_order_and_byte_for_byte(server: Server):
    odd = [
        b"",
        b"\xff\xfe\x00",
        b"\xed\xa0\x80",
        "naïve ✓".encode(),
        b"*3\r\n$7\r\nmessage\r\n",
        b"\r\n",
        b"x" * 3_000_000,
    ]
    odd += [random.Random(number).randbytes(number * 37) for number in range(300)]
    async with a_witness(server.url) as witness:
        assert await server.publish("codeworm:events", odd) == len(odd)
        await eventually(lambda: len(witness.messages) == len(odd))
        assert witness.payloads == odd
        assert {message.channel for message in witness.messages} == {"codeworm:events"}
        assert witness.shape == "C"


async def test_messages_of_several_channels_keep_their_common_order(server: Server):
    async with a_witness(server.url) as witness, server.client() as client:
        expected = [(random.Random(number).choice(CHANNELS), b"%d" % number) for number in range(500)]
        for channel, payload in expected:
            await client.publish(channel, payload)
        await eventually(lambda: len(witness.messages) == 500)
        assert [(message.channel, message.payload) for message in witness.messages] == expected


async def test_a_channel_name_that_is_no_utf_8_keeps_its_bytes(server: Server):
    raw = "größe:".encode() + b"\xff\xfe"
    async with a_witness(server.url, channels=[os.fsdecode(raw), "größe"]) as witness:
        await server.publish(raw, [b"one"])
        await server.publish("größe", [b"two"])
        await eventually(lambda: len(witness.messages) == 2)
        assert [os.fsencode(message.channel) for message in witness.messages] == [raw, "größe".encode()]


async def test_a_message_is_dated_by_its_arrival(server: Server):
    async with a_witness(server.url) as witness:
        before = time.time()
        await hears(witness, server, b"now")
        assert before <= witness.messages[0].received_at <= time.time()


async def test_a_burst_of_200_000_messages_arrives_whole(server: Server):
    payloads = numbered(200_000, padding=b"x" * 100)
    async with a_witness(server.url, dead_after=4) as witness:
        await server.publish("codeworm:logs", payloads)
        await eventually(lambda: len(witness.messages) == 200_000)
        assert witness.payloads == payloads
        assert witness.shape == "C"


async def test_a_reader_that_pauses_gets_all_and_holds_no_more_than_the_bound(server: Server):
    # The server is told to keep it all: 20 MB wait there and in the kernel, not in this process.
    await server.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
    payloads = numbered(2_000, padding=b"x" * 10_000)
    async with a_witness(server.url, max_waiting=500_000) as witness:
        witness.may_read.clear()
        await hears(witness, server, b"the batch at which it stops")
        await server.publish("codeworm:logs", payloads)
        # Longer than silence may last: it is we who do not read.
        started = time.monotonic()
        await eventually(lambda: time.monotonic() - started > 1.2)
        assert len(witness.messages) == 1
        witness.may_read.set()
        await eventually(lambda: len(witness.messages) == 2_001)
        assert witness.payloads[1:] == payloads
        assert max(witness.batches) * 10_000 < 2_000_000
        assert witness.shape == "C"


# What is noticed, and how it comes back


async def test_a_server_that_is_down_at_the_start_is_reported_once_and_found_when_it_comes_up(kind: Kind):
    server = Server(kind)
    started = time.time()
    async with watching(a_source(server.url)) as witness:
        await eventually(lambda: witness.shape == "D")
        lost = witness.disconnected[0]
        assert started - 0.1 <= lost.at <= time.time()
        assert lost.reason == f"cannot connect to {server.url}: Connection refused"
        assert not lost.is_refusal
        async with server:
            await eventually(lambda: witness.is_connected, NOTICED_WITHIN)
            await hears(witness, server, b"up")
            assert witness.shape == "DC"


async def test_a_killed_server_is_noticed_at_once_and_again_when_it_is_back(server: Server):
    async with a_witness(server.url) as witness:
        await hears(witness, server, b"before")
        heard, killed = witness.messages[-1].received_at, time.time()
        await server.kill()
        await eventually(lambda: witness.shape == "CD", 1.0)
        assert heard <= witness.disconnected[0].at <= killed
        assert witness.disconnected[0].reason.startswith("Redis closed the connection")
        await server.start()
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"after")
        await server.kill()
        await server.start()
        await eventually(lambda: witness.shape == "CDCDC", NOTICED_WITHIN)


async def test_an_orderly_restart_is_one_interruption(server: Server):
    async with a_witness(server.url) as witness:
        await server.stop()
        await server.start()
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"after")


async def test_a_frozen_server_is_noticed_within_10_seconds_by_the_defaults():
    async with Server() as server, watching(RedisSource(server.url, channels=CHANNELS)) as witness:
        await eventually(lambda: witness.is_connected)
        frozen = time.monotonic()
        server.freeze()
        await eventually(lambda: witness.shape == "CD", NOTICED_WITHIN)
        assert time.monotonic() - frozen < NOTICED_WITHIN
        assert witness.disconnected[0].reason == "Redis has not answered PING for 4 s"
        server.thaw()
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"thawed")


async def test_a_frozen_server_is_one_interruption(server: Server):
    async with a_witness(server.url) as witness:
        server.freeze()
        await eventually(lambda: witness.shape == "CD", 1.5)
        server.thaw()
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"thawed")


async def test_a_server_frozen_before_the_start_is_noticed_too(server: Server):
    server.freeze()
    async with watching(a_source(server.url)) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0].reason == "Redis has not answered SUBSCRIBE for 0.6 s"
        server.thaw()
        await eventually(lambda: witness.shape == "DC", NOTICED_WITHIN)


async def test_a_network_that_swallows_packets_is_noticed_within_the_stated_time(server: Server):
    async with Proxy(server.port) as proxy, a_witness(proxy.url) as witness:
        await hears(witness, server, b"before")
        swallowing = time.monotonic()
        proxy.is_swallowing = True
        await eventually(lambda: witness.shape == "CD", NOTICED_WITHIN)
        assert time.monotonic() - swallowing < 0.4 + 0.6 + 0.5
        proxy.is_swallowing = False
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"after")


async def test_silence_is_no_outage(server: Server):
    async with (
        Proxy(server.port) as proxy,
        a_witness(proxy.url, idle_after=0.05, dead_after=0.3, probe_every=None) as witness,
    ):
        silent = time.monotonic()
        await eventually(lambda: time.monotonic() - silent > 1.0)
        assert witness.shape == "C"
        assert proxy.connections == 1


async def test_a_blocked_event_loop_is_not_taken_for_a_silent_server(server: Server):
    async with a_witness(server.url, idle_after=0.05, dead_after=0.3) as witness:
        for _ in range(2):
            blocked = time.monotonic()
            time.sleep(0.6)  # noqa: ASYNC251 - it is what is tested
            await eventually(lambda since=blocked: time.monotonic() - since > 0.9)
        assert witness.shape == "C"


async def test_client_kill_under_load_is_one_interruption_each_and_order_is_kept(server: Server):
    async with a_witness(server.url) as witness, server.client() as client:
        is_over = False

        async def load() -> None:
            number = 0
            while not is_over:
                await server.publish("codeworm:logs", [b"%d" % (number + more) for more in range(50)])
                number += 50

        loading = asyncio.create_task(load())
        for round_ in range(1, 4):
            await eventually(lambda: len(witness.messages) > 200 * len(witness.changes))
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda wanted=round_: witness.shape == "C" + "DC" * wanted, NOTICED_WITHIN)
        is_over = True
        await loading
        numbers = [int(payload) for payload in witness.payloads]
        assert numbers == sorted(set(numbers))
        # Between an end and the next confirmation nothing is delivered.
        assert witness.changes[1][1] == witness.changes[2][1]


async def test_the_output_buffer_limit_of_the_server_is_an_interruption_and_what_came_before_is_whole(server: Server):
    await server.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0")
    async with a_witness(server.url, max_waiting=100_000) as witness:
        witness.may_read.clear()
        await hears(witness, server, b"the batch at which it stops")
        reached = await server.publish("codeworm:logs", numbered(3_000, padding=b"x" * 10_000))
        assert reached < 3_000
        witness.may_read.set()
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        received = [int(payload.split()[0]) for payload in witness.payloads[1:]]
        assert received == list(range(len(received)))
        assert len(received) < 3_000
        assert "more slowly" in witness.disconnected[0].reason


async def test_a_server_that_confirms_and_then_closes_is_not_asked_without_pause():
    confirmations = b"+OK\r\n" + b"".join(
        b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n" % (len(name), name.encode(), number)
        for number, name in enumerate(CHANNELS, 1)
    )
    accepted = 0

    async def confirm_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.read(4096)
        writer.write(confirmations)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(confirm_and_close, "127.0.0.1", 0) as listener:
        url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with watching(a_source(url, longest_pause=3.0)) as witness:
            started = time.monotonic()
            await eventually(lambda: time.monotonic() - started > 1.5)
            assert accepted < 15
            assert witness.shape in ("CD" * accepted, "CD" * (accepted - 1), "CD" * (accepted - 1) + "C")


# Kernel time-outs


@pytest.fixture
def far_network() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """A network namespace with one address in it; yields address, name of its link, and the prefix to run there."""
    require_program("ip", "apt install iproute2")
    name = f"cw{os.getpid()}"
    near, far = f"{name}n"[:15], f"{name}f"[:15]
    inside = ("ip", "netns", "exec", name)
    steps = [
        ("ip", "netns", "add", name),
        ("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name),
        ("ip", "address", "add", "10.213.77.1/30", "dev", near),
        ("ip", "link", "set", near, "up"),
        (*inside, "ip", "address", "add", "10.213.77.2/30", "dev", far),
        (*inside, "ip", "link", "set", far, "up"),
    ]
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespace may be made here: {' '.join(step)}: {done.stderr.strip()}")
        yield "10.213.77.2", far, inside
    finally:
        subprocess.run(("ip", "netns", "delete", name), capture_output=True, check=False)
        subprocess.run(("ip", "link", "delete", near), capture_output=True, check=False)


async def set_link(network: tuple[str, str, tuple[str, ...]], state: str) -> None:
    _, link, inside = network
    await asyncio.to_thread(subprocess.run, (*inside, "ip", "link", "set", link, state), check=True)


async def test_the_kernels_etimedout_is_a_loss_like_any_other(far_network, monkeypatch):
    address, _, inside = far_network
    opened = []
    hand_over = OpenedConnection.hand_over

    async def hand_over_and_hurry(self: Any, protocol: Any) -> bytes:
        # Ours would notice first: give the kernel a shorter patience than ours.
        taken = self.transport.get_extra_info("socket")
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1_000)
        opened.append(taken)
        return await hand_over(self, protocol)

    monkeypatch.setattr(OpenedConnection, "hand_over", hand_over_and_hurry)
    server = Server("redis", "--protected-mode", "no", before=inside, bind=address)
    async with server, a_witness(server.url, idle_after=0.2, dead_after=30) as witness:
        await hears(witness, server, b"before")
        await set_link(far_network, "down")
        await eventually(lambda: witness.shape == "CD", NOTICED_WITHIN)
        assert os.strerror(errno.ETIMEDOUT) in witness.disconnected[0].reason
        await set_link(far_network, "up")
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"after")


async def test_a_host_that_vanished_is_noticed_by_our_own_ping(far_network):
    address, _, inside = far_network
    server = Server("redis", "--protected-mode", "no", before=inside, bind=address)
    async with server, a_witness(server.url) as witness:
        await set_link(far_network, "down")
        await eventually(lambda: witness.shape == "CD", NOTICED_WITHIN)
        await set_link(far_network, "up")
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ECONNRESET])
async def test_whatever_error_ends_the_transport_is_a_loss(server: Server, monkeypatch, number: int):
    subscriptions = []
    kind_ = Subscription
    start = kind_.start

    async def start_and_note(self: Any, opened: Any) -> None:
        subscriptions.append(self)
        await start(self, opened)

    monkeypatch.setattr(kind_, "start", start_and_note)
    async with a_witness(server.url) as witness:
        # The transport ends with what OSError makes of the number: TimeoutError, ConnectionResetError, itself.
        subscriptions[0]._transport._force_close(OSError(number, os.strerror(number)))
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
        await hears(witness, server, b"after")


# Refusals


async def test_a_forbidden_channel_is_a_refusal_until_it_is_granted(server: Server):
    await server.do("ACL", "SETUSER", "worm", "on", ">secret-word", "resetchannels", "&codeworm:logs", "+subscribe")
    url = f"redis://worm:secret-word@127.0.0.1:{server.port}"
    async with watching(a_source(url)) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0].is_refusal
        assert "NOPERM" in witness.disconnected[0].reason
        await server.do("ACL", "SETUSER", "worm", "&codeworm:*")
        await eventually(lambda: witness.is_connected, NOTICED_WITHIN)
        await hears(witness, server, b"granted")
        assert witness.shape == "DC"


async def test_permission_to_subscribe_is_all_that_is_needed(server: Server):
    # Neither CLIENT, HELLO, PING nor SELECT is granted: PING is answered all the same, by a refusal.
    await server.do("ACL", "SETUSER", "worm", "on", "nopass", "resetchannels", "&codeworm:*", "-@all", "+subscribe")
    url = f"redis://worm:any@127.0.0.1:{server.port}"
    async with a_witness(url, idle_after=0.05, dead_after=0.3) as witness:
        started = time.monotonic()
        await eventually(lambda: time.monotonic() - started > 0.7)
        await hears(witness, server, b"heard")
        assert witness.shape == "C"


async def test_a_permission_withdrawn_is_an_interruption(server: Server):
    await server.do("ACL", "SETUSER", "worm", "on", "nopass", "resetchannels", "&codeworm:*", "+subscribe")
    async with a_witness(f"redis://worm:any@127.0.0.1:{server.port}") as witness:
        await server.do("ACL", "SETUSER", "worm", "resetchannels")
        await eventually(lambda: witness.shape == "CD", NOTICED_WITHIN)
        await server.do("ACL", "SETUSER", "worm", "&codeworm:*")
        await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)


@pytest.mark.parametrize("login", [":wrong-word@", "worm:wrong-word@", ""])
async def test_a_wrong_password_is_a_refusal_until_it_is_mended(server: Server, login: str):
    await server.do("CONFIG", "SET", "requirepass", "right-word")
    url = f"redis://{login}127.0.0.1:{server.port}/0"
    source = a_source(url)
    async with watching(source) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0].is_refusal
        assert "wrong-word" not in witness.disconnected[0].reason + source.name
        assert source.problem == witness.disconnected[0].reason
        async with server.client(password="right-word") as client:
            await client.execute_command("ACL", "SETUSER", "worm", "on", ">wrong-word", "allchannels", "+subscribe")
            await client.execute_command("CONFIG", "SET", "requirepass", "wrong-word" if login else "")
        await eventually(lambda: witness.is_connected, NOTICED_WITHIN)
        assert witness.shape == "DC"
        assert source.problem is None


async def test_too_many_clients_is_an_outage_until_there_is_room(kind: Kind):
    server = Server(kind, "--maxclients", "3")
    async with server, server.client() as one, server.client() as two, server.client() as three:
        for client in (one, two, three):
            await client.ping()
        source = a_source(server.url)
        async with watching(source) as witness:
            await eventually(lambda: witness.shape == "D")
            await eventually(lambda: "max number of clients" in (source.problem or ""))
            assert not witness.disconnected[0].is_refusal
            await two.aclose()
            await three.aclose()
            await eventually(lambda: witness.shape == "DC", NOTICED_WITHIN)


async def test_a_server_that_knows_no_hello_will_do(kind: Kind):
    async with Server(kind, "--rename-command", "HELLO", "") as server, a_witness(server.url) as witness:
        await hears(witness, server, b"heard")


async def test_a_loading_server_is_an_outage_not_a_refusal():
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    async with stand_in(loading + loading) as url, watching(a_source(url)) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0] == Disconnected(
            witness.disconnected[0].at, f"Redis answered: {loading.decode().strip()[1:]}"
        )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02",
        b"*3\r\n$7\r\nmessage\r\n*1\r\n:1\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n$13\r\ncodeworm:logs\r\n:5\r\n",
        b"+OK\r\n+OK\r\n",
        b"$-1\r\n",
        b":0\r\n",
        b"*" + b"1\r\n*" * 20 + b"0\r\n",
    ],
)
async def test_what_is_no_redis_is_told_apart(answer: bytes):
    async with stand_in(answer) as url, watching(a_source(url)) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0].reason.startswith("what answers is no Redis, or its answer was damaged")
        assert "\n" not in witness.disconnected[0].reason


async def test_a_subscription_that_the_server_ends_is_an_interruption():
    confirmation = b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    end = b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"
    async with stand_in(confirmation, end) as url, watching(a_source(url, channels=["a"], idle_after=0.05)) as witness:
        await eventually(lambda: witness.shape.startswith("CD"))
        assert witness.disconnected[0].reason == "Redis ended the subscription"


# Where it connects


async def test_a_unix_socket(kind: Kind, tmp_path: Path):
    path = f"/tmp/cw-{os.getpid()}-{kind}.sock"  # a socket's path is short
    async with Server(kind, "--unixsocket", path, "--requirepass", "word") as server:
        async with watching(a_source(f"unix://:wrong@{path}")) as witness:
            await eventually(lambda: witness.shape == "D")
            assert witness.disconnected[0].is_refusal
        async with a_witness(f"unix://:word@{path}") as witness, server.client(password="word") as client:
            await client.publish("codeworm:logs", b"heard")
            await eventually(lambda: witness.payloads == [b"heard"])
    async with watching(a_source("unix:///nowhere.sock")) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0].reason == "cannot connect to unix:///nowhere.sock: No such file or directory"


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    require_program("openssl", "apt install openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    await asyncio.to_thread(
        subprocess.run,
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        capture_output=True,
        check=True,
    )
    plain = Server("redis")
    port = free_port()
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate))
    plain.options += ["--tls-port", str(port), *files, "--tls-auth-clients", "no"]
    async with plain as server:
        source = a_source(f"rediss://localhost:{port}?ssl_ca_certs={certificate}", probe_every=0.02)
        async with watching(source) as witness:
            await eventually(lambda: source.probe.state is ProbeState.HEARD)
            payloads = numbered(20_000, padding=b"x" * 200)
            await server.publish("codeworm:logs", payloads)
            await eventually(lambda: len(witness.messages) == len(payloads))
            assert witness.payloads == payloads
            # Certificates are read for a subscription, not for each of its probes: that holds the loop.
            with monkeypatch.context() as patched:
                patched.setattr("ssl.create_default_context", lambda: pytest.fail("certificates are read"))
                sent = time.monotonic()
                await eventually(lambda: source.probe.age < time.monotonic() - sent - 0.1)
            await server.do("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
            server.freeze()
            await eventually(lambda: witness.shape == "CDCD", NOTICED_WITHIN)
            server.thaw()
        async with watching(a_source(f"rediss://localhost:{port}")) as witness:
            await eventually(lambda: witness.shape == "D")
            assert "certificate" in witness.disconnected[0].reason.lower()


async def test_a_host_name_that_does_not_exist_is_an_outage():
    async with watching(a_source("redis://no-such-host.invalid", dead_after=4)) as witness:
        await eventually(lambda: witness.shape == "D")
        assert witness.disconnected[0].reason.startswith("cannot connect to redis://no-such-host.invalid: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "redis://127.0.0.1:notaport",
        "redis://127.0.0.1?no_such_option=1",
        "redis+sentinel://127.0.0.1",
        "redis+sentinel://127.0.0.1,/worm",
        "redis+sentinel://127.0.0.1:26379/worm?no_such_option=1",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_at_once(url: str):
    with pytest.raises(SettingError, match="redis_url"):
        RedisSource(url, channels=["a"])


def test_a_source_needs_channels_in_a_list():
    for channels in ([], "codeworm:logs"):
        with pytest.raises(SettingError, match="channels"):
            RedisSource("redis://localhost", channels=channels)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://:secret@host:6379/2", "redis://:***@host:6379/2"),
        ("redis://user:secret@host", "redis://user:***@host"),
        ("redis://host?password=secret", "redis://host"),
        ("redis+sentinel://u:secret@a:1,b:2/worm?sentinel_password=secret", "redis+sentinel://u:***@a:1,b:2/worm"),
        ("unix://:secret@/run/redis.sock", "unix://:***@/run/redis.sock"),
    ],
)
def test_its_name_holds_no_secret(url: str, name: str):
    assert RedisSource(url, channels=["a"]).name == name


# Sentinel


async def test_a_sentinel_failover_after_kill_is_one_interruption():
    async with SentinelSet() as nodes, a_witness(nodes.url) as witness:
        old = await nodes.master()
        await hears(witness, old, b"before")
        await old.kill()
        await eventually(lambda: witness.shape.startswith("CD"), 2.0)
        await eventually(lambda: witness.shape == "CDC", 15.0, otherwise=lambda: nodes.sentinel.log)
        new = await nodes.master()
        assert new is not old
        await hears(witness, new, b"after")
        assert witness.shape == "CDC"


async def test_a_failover_by_hand_leads_to_the_new_master():
    async with SentinelSet() as nodes, a_witness(nodes.url) as witness:
        old = await nodes.master()
        assert await nodes.sentinel.do("SENTINEL", "FAILOVER", "worm") == b"OK"
        await eventually(lambda: witness.shape == "CDC", 15.0, otherwise=lambda: nodes.sentinel.log)
        new = await nodes.master()
        assert new is not old
        await hears(witness, new, b"after")


class FakeSentinel:
    """A Sentinel that names whatever address it is told to."""

    def __init__(self) -> None:
        self.port_named = 0

    async def __aenter__(self) -> FakeSentinel:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis+sentinel://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/worm"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                port = b"%d" % self.port_named
                writer.write(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port))
        writer.close()


async def test_a_demoted_master_that_still_answers_is_left():
    async with FakeSentinel() as sentinel, Server() as old, Server() as new:
        sentinel.port_named = old.port
        async with a_witness(sentinel.url, master_check=0.2) as witness:
            await hears(witness, old, b"before")
            moved = time.time()
            sentinel.port_named = new.port
            await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
            await hears(witness, new, b"after")
            assert witness.disconnected[0].reason == f"the master is now 127.0.0.1:{new.port}"
            # Not later than the last time the sentinel had confirmed the old one, whatever was heard from it since.
            assert witness.disconnected[0].at <= moved
            assert await old.subscribers() == 0


async def test_a_demoted_master_that_still_answers_is_found_out_by_a_probe():
    # The sentinels are not asked for the master but by the publisher of the probe.
    async with FakeSentinel() as sentinel, Server() as old, Server() as new:
        sentinel.port_named = old.port
        async with a_witness(sentinel.url, master_check=60, probe_every=0.1) as witness:
            await hears(witness, old, b"before")
            sentinel.port_named = new.port
            moved = time.time()
            await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
            await hears(witness, new, b"after")
            assert witness.disconnected[0].reason == "a probe published through Redis did not come back within 0.6 s"
            assert witness.disconnected[0].at <= moved
            assert await old.subscribers() == 0


async def test_a_node_that_is_no_master_is_not_believed_to_be_one():
    async with FakeSentinel() as sentinel, Server() as master, Server() as replica:
        await replica.do("REPLICAOF", master.bind, master.port)
        sentinel.port_named = replica.port
        async with watching(a_source(sentinel.url)) as witness:
            await eventually(lambda: witness.shape == "D")
            assert "no master" in witness.disconnected[0].reason
            sentinel.port_named = master.port
            await eventually(lambda: witness.shape == "DC", NOTICED_WITHIN)


async def test_the_loss_of_all_sentinels_leaves_a_working_connection_alone():
    async with Server() as server:
        async with FakeSentinel() as sentinel:
            sentinel.port_named = server.port
            watch = watching(a_source(sentinel.url, master_check=0.05))
            witness = await watch.__aenter__()
            await eventually(lambda: witness.is_connected)
        try:
            started = time.monotonic()
            await eventually(lambda: time.monotonic() - started > 0.5)
            await hears(witness, server, b"still heard")
            assert witness.shape == "C"
        finally:
            await watch.__aexit__(None, None, None)
        async with watching(a_source(sentinel.url)) as lost:
            await eventually(lambda: lost.shape == "D")
            assert lost.disconnected[0].reason.startswith("cannot connect to sentinel 127.0.0.1:")


# Its end


async def test_closing_ends_the_connection_and_it_can_be_read_again(server: Server):
    source = a_source(server.url)
    for _ in range(3):
        happenings = source.__aiter__()
        assert isinstance(await anext(happenings), Connected)
        started = time.monotonic()
        await happenings.aclose()
        assert time.monotonic() - started < 0.5
        await eventually(lambda: _nobody_listens(server))


async def _nobody_listens(server: Server) -> bool:
    return await server.subscribers() == 0


async def test_it_is_not_read_twice_at_a_time(server: Server):
    source = a_source(server.url)
    async with contextlib.aclosing(source.__aiter__()) as first:
        await anext(first)
        with pytest.raises(RuntimeError, match="already"):
            await anext(source.__aiter__())


@pytest.mark.parametrize("state", ["frozen", "down", "swallowing", "paused"])
async def test_cancellation_takes_less_than_a_second_whatever_the_server_does(server: Server, state: str):
    async with Proxy(server.port) as proxy:
        source = RedisSource(proxy.url, channels=CHANNELS, max_waiting=1000)
        async with watching(source) as witness:
            await eventually(lambda: witness.is_connected)
            match state:
                case "frozen":
                    server.freeze()
                case "down":
                    await server.kill()
                    await eventually(lambda: not witness.is_connected)
                case "swallowing":
                    proxy.is_swallowing = True
                case "paused":
                    witness.may_read.clear()
                    await server.publish("codeworm:logs", [b"x" * 5000] * 10)
        # `watching` has asserted it.


@pytest.mark.parametrize("login", ["", ":word@"])
async def test_cancellation_at_any_step_of_the_set_up_ends_it_at_once(server: Server, login: str):
    server.freeze()
    for steps in range(20):
        async with watching(RedisSource(f"redis://{login}127.0.0.1:{server.port}", channels=CHANNELS)):
            for _ in range(steps):
                await asyncio.sleep(0)


def test_it_works_on_uvloop():
    uvloop = pytest.importorskip("uvloop", reason="uvloop is optional")

    async def read() -> None:
        source = a_source(f"redis://127.0.0.1:{(server := Server()).port}", max_waiting=20_000, probe_every=0.05)
        async with server, watching(source) as witness:
            await eventually(lambda: source.probe.state is ProbeState.HEARD)
            payloads = numbered(20_000, padding=b"x" * 100)
            await server.publish("codeworm:logs", payloads)
            await eventually(lambda: len(witness.messages) == len(payloads))
            assert witness.payloads == payloads
            await server.kill()
            await server.start()
            await eventually(lambda: witness.shape == "CDC", NOTICED_WITHIN)
            time.sleep(1.1)  # noqa: ASYNC251 - a blocked loop is no silent server here either
            await hears(witness, server, b"after")
            assert witness.shape == "CDC"
            server.freeze()
            await eventually(lambda: witness.shape == "CDCD", NOTICED_WITHIN)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(read())


def test_no_warning_is_left_behind_when_a_program_just_ends():
    program = """
import asyncio, sys
from codeworm_monitor.sources.redis import RedisSource
async def main():
    async for happening in RedisSource(sys.argv[1], channels=["a"]):
        print(type(happening).__name__)
        return
asyncio.run(main())
"""

    async def run() -> tuple[str, str]:
        async with Server() as server:
            command = (sys.executable, "-X", "dev", "-W", "error", "-c", program, server.url)
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
            return done.stdout, done.stderr

    server_program("redis")
    assert asyncio.run(run()) == ("Connected\n", "")
