"""The bench's readers: a process of its own that opens plain WebSockets and counts what comes.

Run by `bench` as `python -m codeworm_monitor.bench_readers`, with a JSON object (the fields of `Order`) as its only
argument; never imported. Prints `ready` when all readers are connected, and a JSON object (the fields of `Seen`) when
each of them has everything, or nothing more comes. Ends when standard input does.

Most readers only count bytes, of which every message has the same number: thus reading costs little, and what is
measured is the relay. Every tenth looks into each message: at its number, for the order, and at its time, for the
latency.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

__all__ = ["Order", "Reader", "Seen", "connect", "main", "watch"]

EXACT_EVERY = 10
"""One of so many readers looks into messages."""
CONNECTED_TOGETHER = 64
"""Handshakes under way at one time: fewer than any system's queue of connections not yet accepted."""
HANDSHAKE_WITHIN = 10.0
IDLE = 3.0
"""Seconds without a byte, after the first, that end the count."""
BUFFER = 1 << 20
PING = b"\x81\x84\x00\x00\x00\x00ping"
PONG = b'{"type":"pong"}'
MESSAGE = re.compile(rb'"seq":"(\d+)","ts":"(\d+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked of the readers.

    Attributes:
        port: Port of the relay.
        path: Path of its WebSocket.
        readers: How many.
        first: Number of the first message that will come.
        warm_up: How many come first that do not count towards latency.
        messages: How many come, those included; 0: only connect.
        frame_bytes: Bytes of each on the wire.
        limit: Seconds in which it must be over.
    """

    port: int
    path: str
    readers: int
    first: int = 0
    warm_up: int = 0
    messages: int = 0
    frame_bytes: int = 1
    limit: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the readers saw.

    Attributes:
        deliveries: Messages over all readers.
        lost: Those that did not come.
        disordered: Messages that came twice or before an earlier one, as far as readers looked.
        closed: Readers that the relay closed.
        ended_at: When the last byte came, nanoseconds by the monotonic clock.
        p50_ms: Median latency from just before PUBLISH; None without a message.
        p99_ms: The latency that 1 in 100 messages exceeds.
    """

    deliveries: int
    lost: int
    disordered: int
    closed: int
    ended_at: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(slots=True)
class Reader:
    """One reader, connected.

    Attributes:
        connection: Its socket; blocking until `watch` begins.
        rest: Bytes that came and were not looked at; those of an exact reader end within a message.
        is_exact: Whether it looks into messages.
        taken: Bytes that came.
        expected: Number of the message that should come next.
        received: Messages that came, if it is exact.
        disordered: Those of them that came too late, or again.
        latencies: Of those that came, in nanoseconds.
    """

    connection: socket.socket
    rest: bytes
    is_exact: bool
    taken: int = 0
    expected: int = 0
    received: int = 0
    disordered: int = 0
    latencies: list[int] = field(default_factory=list)

    def look(self, text: bytes, now: int, counted_from: int) -> None:
        """Look into the messages of a text that continues the former one."""
        end, text = 0, self.rest + text
        for match in MESSAGE.finditer(text):
            end, number = match.end(), int(match[1])
            if number < self.expected:
                self.disordered += 1
                continue
            self.expected = number + 1
            self.received += 1
            if number >= counted_from:
                self.latencies.append(now - int(match[2]))
        self.rest = text[end:]


def connect(order: Order) -> list[Reader]:
    """Connect all readers, and return when the relay has answered a ping of each: what then comes is new.

    Raises:
        OSError: The relay refused one, or did not answer in time.
    """
    readers: list[Reader] = []
    request = (
        f"GET {order.path} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as undo:
        for start in range(0, order.readers, CONNECTED_TOGETHER):
            group = []
            for number in range(start, min(start + CONNECTED_TOGETHER, order.readers)):
                connection = socket.create_connection(("127.0.0.1", order.port), HANDSHAKE_WITHIN)
                undo.callback(connection.close)
                connection.sendall(request)
                is_exact = number % EXACT_EVERY == 0
                group.append(Reader(connection, b"", is_exact=is_exact, expected=order.first))
            for reader in group:
                head, rest = _read_until(reader.connection, b"", b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 101 "):
                    raise OSError(f"the relay refused a reader: {head[:100].decode('ascii', 'replace')}")
                reader.rest = rest
                reader.connection.sendall(PING)
            for reader in group:
                _, reader.rest = _read_until(reader.connection, reader.rest, PONG)  # before it: the history
                reader.taken = len(reader.rest)
            readers += group
        undo.pop_all()
    return readers


def _read_until(connection: socket.socket, text: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """Return what comes up to a mark, and what came after it."""
    while mark not in text:
        more = connection.recv(65536)
        if not more:
            raise OSError("the relay closed a reader's connection")
        text += more
    before, _, after = text.partition(mark)
    return before, after


def watch(readers: list[Reader], order: Order, *, stop: int | None = None) -> Seen:
    """Count what comes until every reader has everything, or nothing more comes.

    Args:
        readers: Connected readers.
        order: What was asked of them.
        stop: A descriptor whose end, or any byte in it, ends the count.
    """
    buffer = memoryview(bytearray(BUFFER))
    wanted = order.messages * order.frame_bytes
    counted_from, last = order.first + order.warm_up, order.first + order.messages
    closed, ended_at = 0, time.monotonic_ns() if any(reader.taken for reader in readers) else 0
    for reader in readers:
        if reader.is_exact:  # what came with the pong
            reader.look(b"", ended_at, counted_from)
    missing = sum(not _has_all(reader, wanted, last) for reader in readers)
    until = time.monotonic_ns() + int(order.limit * 1e9)
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            reader.connection.setblocking(False)  # noqa: FBT003  # the standard library's own spelling
            selector.register(reader.connection, selectors.EVENT_READ, reader)
        if stop is not None:
            selector.register(stop, selectors.EVENT_READ)
        while missing or not order.messages:
            events = selector.select(0.1)
            now = time.monotonic_ns()
            if order.messages and (now > until or (ended_at and now - ended_at > IDLE * 1e9)):
                break
            for key, _ in events:
                reader = key.data
                if reader is None:
                    return _seen(readers, order, closed, ended_at)
                try:
                    count = reader.connection.recv_into(buffer)
                except BlockingIOError:
                    continue
                except OSError:
                    count = 0
                if not count:
                    selector.unregister(reader.connection)
                    closed += 1
                    missing -= not _has_all(reader, wanted, last)
                    continue
                had_all = _has_all(reader, wanted, last)
                reader.taken += count
                ended_at = now = time.monotonic_ns()
                if reader.is_exact:
                    reader.look(bytes(buffer[:count]), now, counted_from)
                missing -= not had_all and _has_all(reader, wanted, last)
    return _seen(readers, order, closed, ended_at)


def _has_all(reader: Reader, wanted: int, last: int) -> bool:
    return reader.expected >= last if reader.is_exact else reader.taken >= wanted


def _seen(readers: list[Reader], order: Order, closed: int, ended_at: int) -> Seen:
    received = sum(
        reader.received if reader.is_exact else min(reader.taken // order.frame_bytes, order.messages)
        for reader in readers
    )
    latencies = sorted(latency for reader in readers for latency in reader.latencies)
    return Seen(
        deliveries=received,
        lost=order.messages * len(readers) - received,
        disordered=sum(reader.disordered for reader in readers),
        closed=closed,
        ended_at=ended_at,
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
    )


def _quantile(ordered: list[int], part: float) -> float | None:
    return round(ordered[int(part * (len(ordered) - 1))] / 1e6, 3) if ordered else None


def main() -> None:
    """Do what the argument orders."""
    order = Order(**json.loads(sys.argv[1]))
    try:
        readers = connect(order)
    except OSError as error:
        print(f"error: {error}", flush=True)
        return
    print("ready", flush=True)
    print(json.dumps(asdict(watch(readers, order, stop=0))), flush=True)


if __name__ == "__main__":
    main()
