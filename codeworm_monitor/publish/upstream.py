"""The publisher's connection to Redis: many PUBLISH commands a round trip, and what became of each.

It blocks, and is used by the publisher's own thread alone. To log in takes two commands, so that redis-py, which takes a
tenth of a second to import, is needed for TLS, options in the URL and Sentinel alone; after that the socket is taken over,
so that it is known how much of what was written the system took: what surely was not sent can be sent again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from codeworm_monitor.errors import MonitorError, SourceError
from codeworm_monitor.settings import RelaySettings, redacted

__all__ = [
    "DEFAULT_REDIS_URL",
    "Broken",
    "Upstream",
    "candidates",
    "import_client",
    "is_plain",
    "named_url",
    "open_upstream",
]

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379"
VARIABLES = ("CODEWORM_MONITOR_REDIS_URL", "REDIS_URL")
_LONGEST_ANSWER = 64 * 2**10


class Broken(SourceError):  # noqa: N818  # a connection's end is no mistake of anybody's
    """The connection ended in the midst of messages.

    Attributes:
        answers: What Redis said of the first of them, as `Upstream.publish` returns it.
        unsent: How many of the last were not taken by the system, wholly or in part, and so surely not by Redis.
    """

    def __init__(self, reason: str, answers: list[int | str], unsent: int) -> None:
        super().__init__(reason)
        self.answers = answers
        self.unsent = unsent


def named_url(url: str | None) -> str | None:
    """Return the URL, else that of the environment, if there is any."""
    return url or next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)


def candidates(url: str | None) -> Iterator[str]:
    """Yield where a Redis may be, the likeliest first: as a relay finds it, then those that relays of this user hear.

    Args:
        url: The one that was named, and then the only one.
    """
    named = named_url(url)
    if named is not None:
        yield named
        return
    yield DEFAULT_REDIS_URL
    from codeworm_monitor import discovery  # not needed by who names a Redis

    for relay in discovery.find():
        if relay.redis_url and not relay.is_replay and relay.redis_url != DEFAULT_REDIS_URL:
            yield relay.redis_url


def is_plain(url: str | None) -> bool:
    """Tell whether a URL can do without redis-py."""
    return url is None or (url.startswith(("redis://", "unix://")) and "?" not in url)


def import_client(url: str | None) -> None:
    """Import all that a connection will need and is not imported yet: in the publisher's thread, where it delays nobody."""
    import encodings.idna  # noqa: F401  # for host names
    import ssl  # noqa: F401

    if not all(map(is_plain, candidates(url))):
        import codeworm_monitor.sources.redis_target  # noqa: F401


def open_upstream(url: str | None, *, within: float) -> Upstream:
    """Connect to the first Redis that answers.

    Args:
        url: The one to take; None: see `candidates`.
        within: Seconds that each step may take: the connection, each answer.

    Raises:
        MonitorError: None answers, or it refuses; says of each why.
    """
    problems: list[str] = []
    for candidate in candidates(url):
        try:
            RelaySettings(redis_url=candidate)
            return _open(candidate, within)
        except MonitorError as error:
            problems.append(str(error))
        except Exception as error:  # noqa: BLE001  # redis-py's, the system's, and what a server's nonsense makes of them
            problems.append(f"cannot connect to {_name(candidate)}: {_reason(error)}")
    raise SourceError("; ".join(problems))


def _open(url: str, within: float) -> Upstream:
    if not is_plain(url):
        return _open_by_client(url, within)
    parts = urlsplit(url)
    if parts.scheme == "unix":
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(within)
        db, place = "", unquote(parts.path)
    else:
        opened = socket.create_connection((parts.hostname or "localhost", parts.port or 6379), timeout=within)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        db, place = parts.path.strip("/"), ""
    try:
        if place:
            opened.connect(place)
        if parts.password is not None or parts.username:
            user = [unquote(parts.username)] if parts.username else []
            _ask(opened, "AUTH", *user, unquote(parts.password or ""))
        if db.isdecimal() and int(db):
            _ask(opened, "SELECT", db)
    except BaseException:
        opened.close()
        raise
    return Upstream(opened, _name(url), within)


def _ask(opened: socket.socket, *words: str) -> None:
    """Give a command whose answer is OK."""
    parts = [word.encode("utf-8", "surrogateescape") for word in words]
    opened.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
    answer = b""
    while not answer.endswith(b"\r\n"):
        some = opened.recv(1000)
        if not some or len(answer) > _LONGEST_ANSWER:
            raise ConnectionResetError("the connection was closed")
        answer += some
    if answer != b"+OK\r\n":
        text = answer[1:].decode("utf-8", "replace").strip()
        for word in filter(None, words[1:]):  # some servers quote what they do not understand
            text = text.replace(word, "***")
        raise ValueError(f"{words[0]} was answered {text[:300]}")


def _open_by_client(url: str, within: float) -> Upstream:
    from redis.backoff import NoBackoff
    from redis.connection import Connection, parse_url
    from redis.retry import Retry

    name = _name(url)
    parts = urlsplit(url)
    if parts.scheme == "redis+sentinel":
        import asyncio

        from codeworm_monitor.sources.redis_target import RedisTarget

        master = asyncio.run(RedisTarget(url).master(within=within))
        login, at, _ = parts.netloc.rpartition("@")
        host = f"[{master.host}]" if ":" in master.host else master.host
        db = parts.path.strip("/").partition("/")[2]
        url = urlunsplit(("redis", f"{login}{at}{host}:{master.port}", f"/{db}", "", ""))
    options: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    kind = options.pop("connection_class", Connection)
    for pools in ("max_connections", "timeout"):
        options.pop(pools, None)
    # Neither HELLO, CLIENT SETINFO nor CLIENT SETNAME, which an old server or a strict one refuses; no retries but ours.
    options |= {
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "socket_connect_timeout": within,
        "socket_timeout": within,
        "decode_responses": False,
        "protocol": 2,
        "client_name": None,
        "driver_info": None,
    }
    connection = kind(**options)
    try:
        connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    return Upstream(connection._sock, name, within, client=connection)


class Upstream:
    """A connection to Redis that is logged in.

    Args:
        opened: Its socket.
        name: Where it leads, without secrets.
        within: Seconds without progress after which it is given up.
        client: redis-py's connection, if the socket is its.
    """

    def __init__(self, opened: socket.socket, name: str, within: float, *, client: Any = None) -> None:
        self.name = name
        self._client = client
        self._within = within
        self._socket = opened
        self._socket.settimeout(within)

    def is_open(self) -> bool:
        """Tell whether the connection still stands, as far as the system knows: nothing is owed to us, so nothing comes."""
        from ssl import SSLWantReadError  # slow to import, and not needed by who only queues

        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, SSLWantReadError):
            self._socket.settimeout(self._within)
            return True
        except OSError:
            pass
        return False

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> list[int | str]:
        """Publish messages in one round trip, and return how many subscribers each reached, or why it was refused.

        Args:
            messages: Channel and text of each.

        Raises:
            Broken: The connection ended, or nothing was heard for too long.
        """
        ends: list[int] = []
        words: list[bytes] = []
        total = 0
        for channel, text in messages:
            command = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(text), text)
            words.append(command)
            total += len(command)
            ends.append(total)
        written, answers = 0, list[int | str]()
        try:
            with memoryview(b"".join(words)) as all_:
                while written < total:
                    written += self._socket.send(all_[written : written + 2**18])
            self._read(answers, len(messages))
        except (OSError, ValueError) as error:
            unsent = sum(end > written for end in ends)
            raise Broken(f"{self.name}: {_reason(error)}", answers, unsent) from error
        return answers

    def _read(self, answers: list[int | str], wanted: int) -> None:
        rest = b""
        while len(answers) < wanted:
            some = self._socket.recv(65536)
            if not some:
                raise ConnectionResetError("the connection was closed")
            *lines, rest = (rest + some).split(b"\r\n")
            for line in lines:
                if line[:1] == b":":
                    answers.append(int(line[1:]))
                elif line[:1] == b"-":
                    answers.append(line[1:301].decode("utf-8", "replace"))
                else:
                    raise ValueError("an answer that is none of PUBLISH")
            if len(rest) > _LONGEST_ANSWER or len(answers) > wanted:
                raise ValueError("answers that are none of PUBLISH")

    def close(self) -> None:
        """Close it; a copy in a process that was forked leaves the other's alone."""
        if self._client is not None:
            self._client.disconnect()
        self._socket.close()

    def abort(self) -> None:
        """End what another thread may be waiting for on it."""
        with suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_RDWR)


def _name(url: str) -> str:
    return redacted(url).partition("?")[0]


def _reason(error: BaseException) -> str:
    from ssl import SSLError

    cause = error.__cause__ or error.__context__ or error
    if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and not isinstance(cause, SSLError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0)
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:299]}…"
