"""Where a Redis is, and how one connection to it is opened: redis-py's part of a subscription."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection, RedisSSLContext, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from codeworm_monitor.errors import SettingError, SourceError, SourceRefusedError
from codeworm_monitor.settings import redacted

__all__ = ["Address", "OpenedConnection", "RedisTarget"]

_REFUSALS = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError)
# Options that redis-py understands in a URL, but as options of a pool, not of a connection.
_POOL_OPTIONS = ("max_connections", "timeout")
_SENTINEL_PORT = 26379
# What redis-py does of itself is left out, and so are its time limits: on Python 3.11 the `wait_for` behind them can
# swallow a cancellation. `asyncio.timeout` around the whole does not.
_PLAIN: dict[str, Any] = {
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 0,
    "socket_connect_timeout": None,
    "socket_timeout": None,
    "decode_responses": False,
    "protocol": 2,
    "client_name": None,
    "driver_info": None,
}


class Address(NamedTuple):
    """Host and port."""

    host: str
    port: int


class RedisTarget:
    """A Redis named by a URL: `redis://`, `rediss://` (TLS), `unix://` or `redis+sentinel://`.

    Options in the query are those of redis-py (`?ssl_ca_certs=…`). With Sentinel, user and password before the hosts
    are the master's, the path is `/service` or `/service/db`, and the sentinels' own are the options
    `sentinel_username` and `sentinel_password`.

    A connection is set up without retries, without HELLO, CLIENT SETINFO or CLIENT SETNAME, so that neither an old
    server nor one whose ACL grants little refuses it for something that is not needed.

    Attributes:
        name: The URL without secrets.
        has_sentinels: Whether the address of the master is asked of sentinels, and may change.

    Raises:
        SettingError: The URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._tls: RedisSSLContext | None = None
        # Options are left out of the name: a password may stand among them.
        self.name = redacted(url).partition("?")[0]
        self._sentinels: list[Address] = []
        try:
            parts = urlsplit(url)
            if parts.scheme == "redis+sentinel":
                self._read_sentinels(parts)
            else:
                self._options: dict[str, Any] = dict(parse_url(url))
                self._kind: type[AbstractConnection] = self._options.pop("connection_class", Connection)
                for name in _POOL_OPTIONS:
                    self._options.pop(name, None)
            self._make()
        except (RedisError, TypeError, ValueError) as error:
            raise SettingError("redis_url", f"{self.name!r} cannot be used: {_one_line(error)}") from error
        self.has_sentinels = bool(self._sentinels)

    def _read_sentinels(self, parts: SplitResult) -> None:
        hosts = parts.netloc.rpartition("@")[2]
        for host in hosts.split(","):
            one = urlsplit(f"//{host}")
            if not one.hostname:
                raise ValueError("it names no sentinel")
            self._sentinels.append(Address(one.hostname, one.port or _SENTINEL_PORT))
        service, _, db = parts.path.strip("/").partition("/")
        if not service:
            raise ValueError("it names no service: redis+sentinel://host:26379/service")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._service = unquote(service)
        self._sentinel_login = {
            name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query
        }
        if query:
            raise ValueError(f"unknown options {', '.join(sorted(query))}")
        self._options = {
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "db": int(db or 0),
        }
        self._kind = Connection

    def _make(self, **more: Any) -> AbstractConnection:
        return self._kind(**{**self._options, **_PLAIN, **more})

    async def connect(self, *, within: float) -> OpenedConnection:
        """Open a connection, log in and select the database; with sentinels, to the node that is master now.

        Cancellation closes what was opened.

        Args:
            within: Seconds for all of it.

        Raises:
            SourceRefusedError: The server wants another password or user.
            SourceError: It does not answer, or not as a Redis.
        """
        self._tls = None
        return await self.connect_again(within=within)

    async def connect_again(self, *, within: float) -> OpenedConnection:
        """Do as `connect` does, but take TLS certificates as they were read before.

        Reading them holds the event loop for some 25 ms: too long for something that is done every few seconds.

        Raises:
            SourceRefusedError: See `connect`.
            SourceError: See `connect`.
        """
        more: dict[str, Any] = {}
        if self._sentinels:
            more = (await self.master(within=within))._asdict()
        connection = self._make(**more)
        if isinstance(connection, SSLConnection):
            connection.ssl_context = self._tls = self._tls or connection.ssl_context
        try:
            async with asyncio.timeout(within):
                await connection.connect()  # type: ignore[no-untyped-call]
                if self._sentinels:
                    await _check_master(connection)
        except BaseException as error:
            await _discard(connection)
            if isinstance(error, (RedisError, OSError)):
                raise _as_source_error(error, self.name) from error
            raise
        return OpenedConnection(connection, Address(**more) if more else None)

    async def master(self, *, within: float) -> Address:
        """Ask the sentinels for the master's address; the first that knows it is asked first the next time.

        Args:
            within: Seconds for all sentinels, shared evenly.

        Raises:
            SourceRefusedError: A sentinel wants a password, and no other knows the address.
            SourceError: No sentinel knows it.
        """
        problems: list[SourceError] = []
        for sentinel in tuple(self._sentinels):
            client = Redis(
                host=sentinel.host,
                port=sentinel.port,
                **{**self._sentinel_login, **_PLAIN},
            )
            try:
                async with asyncio.timeout(within / len(self._sentinels)):
                    answer = cast(Any, await client.sentinel_get_master_addr_by_name(self._service))
            except (RedisError, OSError) as error:
                problems.append(_as_source_error(error, f"sentinel {sentinel.host}:{sentinel.port}"))
                continue
            finally:
                await client.aclose()
            if answer is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                host, port = answer
                return Address(host.decode() if isinstance(host, bytes) else host, int(port))
            problems.append(SourceError(f"sentinel {sentinel.host}:{sentinel.port} knows no {self._service!r}"))
        kind = SourceRefusedError if any(isinstance(one, SourceRefusedError) for one in problems) else SourceError
        raise kind("; ".join(map(str, problems)))


class OpenedConnection:
    """A connection that is logged in, whose transport another protocol may take over.

    It must be kept until the end: redis-py's stream writer closes the transport when it is collected.

    Attributes:
        address: Where it leads, if sentinels said so.
        transport: Its transport; with TLS, the one that carries plain text.
    """

    def __init__(self, connection: AbstractConnection, address: Address | None) -> None:
        self.address = address
        self._connection = connection
        # redis-py keeps both while it is connected.
        self._reader = cast(asyncio.StreamReader, connection._reader)
        self.transport = cast(asyncio.Transport, cast(asyncio.StreamWriter, connection._writer).transport)

    async def hand_over(self, protocol: asyncio.Protocol) -> bytes:
        """Make `protocol` the one that the transport calls, and return what had been received and not read.

        Does not suspend, so that no byte can come in between.

        Raises:
            SourceError: The server has closed the connection, or it broke.
        """
        if self._reader.at_eof() or self._reader.exception() is not None or self.transport.is_closing():
            # The end was told to the stream's protocol; it would not be told again.
            raise SourceError("the connection was closed during its set-up")
        self.transport.set_protocol(protocol)
        self._reader.feed_eof()  # so that read() returns what is there, and waits for nothing
        return await self._reader.read()

    async def publish(self, channel: bytes, payload: bytes, *, within: float) -> None:
        """Publish one message, and return when the server has taken it; not after `hand_over`.

        Args:
            channel: Name of the channel.
            payload: What to publish.
            within: Seconds the answer may take.

        Raises:
            SourceRefusedError: PUBLISH, or the channel, is not granted.
            SourceError: It was not taken for another reason, or no answer came.
        """
        try:
            async with asyncio.timeout(within):
                await self._connection.send_command("PUBLISH", channel, payload)
                await self._connection.read_response()
        except (RedisError, OSError) as error:
            if isinstance(error, NoPermissionError):
                raise SourceRefusedError(f"Redis refused PUBLISH: {_one_line(error)}") from error
            raise SourceError(f"PUBLISH failed: {_one_line(error) or 'no answer in time'}") from error

    async def discard(self) -> None:
        """Close it at once, whatever waits to be written; does not suspend."""
        await _discard(self._connection)


async def _discard(connection: AbstractConnection) -> None:
    if connection._writer is not None:
        connection._writer.transport.abort()
    await connection.disconnect(nowait=True)


async def _check_master(connection: AbstractConnection) -> None:
    # Sentinels may be some seconds behind: a node that was just demoted knows better itself.
    await connection.send_command("ROLE")
    try:
        role = await connection.read_response()
    except ResponseError:
        return  # ROLE is not granted; the sentinels' word must do
    if not isinstance(role, list) or not role or role[0] != b"master":
        raise RedisError("the sentinels name a node that is no master (yet)")


def _as_source_error(error: Exception, name: str) -> SourceError:
    # A unix socket's login happens inside of redis-py's connect, which wraps its refusals; refused and unreachable
    # sockets are wrapped everywhere, in words that do not say what happened.
    cause = error.__cause__ if isinstance(error.__cause__, RedisError) else error
    if isinstance(cause, _REFUSALS):
        return SourceRefusedError(f"{name} refused the login: {_one_line(cause)}")
    system = error.__context__ if isinstance(error.__context__, OSError) else cause
    # An SSLError's number is OpenSSL's, that of a failed look-up is negative.
    if isinstance(system, OSError) and not isinstance(system, ssl.SSLError) and (system.errno or 0) > 0:
        text = os.strerror(system.errno or 0)
    else:
        text = _one_line(system) or _one_line(cause) or "no answer in time"
    return SourceError(f"cannot connect to {name}: {text}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:299] + "…"
