"""One look at Ollama: which version it is and which models it holds, read over HTTP within bounds.

Two requests, one after the other, `GET /api/version` and `GET /api/ps`, directly (no proxy), without a token. Source of
the shapes: Ollama's API documentation, "List running models" and "Get version" (docs.ollama.com/api), and `api/types.go`
of its source: `expires_at` has nanoseconds and an offset, and lies 292 years ahead if the model is kept for good
(`keep_alive` below 0); `size_vram` was left out by early releases for a model that lies in main memory alone, and
`context_length` by those before 0.10.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

from codeworm_monitor.errors import OllamaError
from codeworm_monitor.logformat import printable
from codeworm_monitor.settings import redacted

__all__ = ["LoadedModel", "Look", "OllamaState", "parse_models", "parse_version", "read_ollama"]

MOST_BYTES = 2**20
"""Of one answer; a model takes some 500."""
MOST_MODELS = 16
"""That are kept; what a record takes in the archive is bounded by it."""
MOST_TEXT = 120
"""Characters of a name that are kept; of other texts, and of a reason, `MOST_WORD` and `MOST_REASON`."""
MOST_WORD = 40
MOST_REASON = 200
KEPT_FOR_GOOD = timedelta(days=20 * 365)
"""What expires later than this from now never does: Ollama's own tool shows it as "Forever"."""

_NO_OLLAMA = "what answers there is not Ollama"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that Ollama holds in memory. What Ollama does not tell, or tells in another form, is None.

    Attributes:
        name: Such as `qwen2.5-coder:7b`.
        digest: Begin of the SHA-256 of its manifest, 12 hexadecimal digits, as Ollama's own tool shows it.
        size: Bytes that it takes, in all.
        size_vram: Those of them in the memory of graphics cards.
        context_length: Tokens of context that were set aside for it.
        parameter_size: How many parameters it has, such as `7.6B`.
        quantization_level: Such as `Q4_K_M`.
        family: Such as `qwen2`.
        expires_at: When it will be unloaded unless it is used again: ISO 8601, UTC; None also if it never is.
        never_expires: Whether it is kept for good.
    """

    name: str
    digest: str | None = None
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    family: str | None = None
    expires_at: str | None = None
    never_expires: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaState:
    """What one look saw.

    Attributes:
        version: Of Ollama, such as `0.12.6`.
        models: Those that are loaded, as Ollama orders them, `MOST_MODELS` at most; None: it is too old to tell.
        unlisted: How many more there are, those without a name among them.
        seconds: How long the look took.
    """

    version: str
    models: tuple[LoadedModel, ...] | None
    unlisted: int = 0
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """Bytes that the models take, as far as it is told."""
        return sum(model.size or 0 for model in self.models or ())

    @property
    def size_vram(self) -> int:
        """Those of them in the memory of graphics cards."""
        return sum(model.size_vram or 0 for model in self.models or ())


def read_ollama(url: str, timeout: float = 5.0) -> OllamaState:
    """Look at Ollama once.

    Args:
        url: http or https, a host and perhaps a port, such as `http://127.0.0.1:11434`; no user, path or query.
        timeout: Seconds that it may take in all, but for the look-up of the host's name.

    Raises:
        OllamaError: It was not reached, or what answers is not Ollama; `reason` says why, in one line.
    """
    return Look(url, timeout=timeout).read()


class Look:
    """One look, which another thread can break off. Used once.

    Args:
        url: As of `read_ollama`.
        timeout: Likewise.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self.url = url
        self._timeout = timeout
        self._ends_at = 0.0
        self._is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def read(self) -> OllamaState:
        """Make it; blocks for `timeout` seconds at most, but for the look-up of the host's name.

        Raises:
            OllamaError: As of `read_ollama`.
        """
        begun = time.monotonic()
        self._ends_at = begun + self._timeout
        # A socket's own timeout begins again with every byte; this one ends what trickles, too.
        timer = threading.Timer(self._timeout, self.break_off)
        timer.daemon = True
        timer.start()
        try:
            version = parse_version(self._get("/api/version"))
            try:
                models, unlisted = parse_models(self._get("/api/ps"))
            except _StatusError as error:
                if error.status != 404:
                    raise
                models, unlisted = None, 0  # releases before 0.1.38
        except (OSError, http.client.HTTPException, ValueError) as error:
            # What is raised is not kept: it may hold what was sent.
            is_late = self._is_over or time.monotonic() >= self._ends_at
            reason = f"it did not answer within {self._timeout:g} s" if is_late else _plainly(error)
            raise OllamaError(redacted(printable(self.url)), reason) from None
        finally:
            timer.cancel()
        return OllamaState(version=version, models=models, unlisted=unlisted, seconds=time.monotonic() - begun)

    def break_off(self) -> None:
        """End it now; `read` raises. May be called from any thread, and again."""
        with self._lock:
            self._is_over = True
            for one in self._sockets:
                with suppress(OSError):  # the other side has closed it
                    one.shutdown(socket.SHUT_RDWR)

    def _connection(self) -> http.client.HTTPConnection:
        scheme, host, port = _parts(self.url)
        if scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self._timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        connection._create_connection = self._connect  # type: ignore[attr-defined]  # made to be replaced
        return connection

    def _connect(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first address of a host that takes it, each within its share of the time that is left."""
        places = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        problem: OSError = ConnectionError("the host has no address")
        for left, (family, kind, protocol, _name, place) in zip(range(len(places), 0, -1), places, strict=True):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(max(0.001, (self._ends_at - time.monotonic()) / left))
                self._watch(connection)
                connection.connect(place)
            except OSError as error:
                connection.close()
                problem = error
            else:
                connection.settimeout(self._timeout + 1)  # the timer comes first; this is for one that does not
                return connection
        raise problem

    def _watch(self, connection: socket.socket) -> None:
        with self._lock:
            if self._is_over:
                raise TimeoutError
            self._sockets.append(connection.dup())  # TLS takes the first away

    def _get(self, path: str) -> bytes:
        # Each on a connection of its own: one that is kept may be closed just as it is used again.
        headers = {"Accept": "application/json", "User-Agent": "codeworm-monitor", "Connection": "close"}
        try:
            with closing(self._connection()) as connection:
                connection.request("GET", path, headers=headers)
                return self._read_body(connection)
        finally:
            with self._lock:
                for one in self._sockets:
                    one.close()
                self._sockets.clear()

    def _read_body(self, connection: http.client.HTTPConnection) -> bytes:
        with connection.getresponse() as response:
            if self._is_over:  # a head that was cut off reads like one that has come to its end
                raise TimeoutError
            if response.status != 200:
                raise _StatusError(response.status)
            if (response.length or 0) > MOST_BYTES:
                raise _AnswerError(f"it answered {response.length:,} bytes, {MOST_BYTES:,} are read at most")
            body = response.read(MOST_BYTES + 1)
            if self._is_over:
                raise TimeoutError
            if len(body) > MOST_BYTES:
                raise _AnswerError(f"its answer is longer than the {MOST_BYTES:,} bytes that are read at most")
            if response.length:
                raise _AnswerError("its answer broke off midway")
            return body


def parse_version(body: bytes) -> str:
    """Return the version that `/api/version` answered.

    Raises:
        ValueError: It is no such answer; says why.
    """
    version = _text(_object(body).get("version"), MOST_WORD)
    if not version:
        raise _AnswerError(f"{_NO_OLLAMA}: /api/version names no version")
    return version


def parse_models(body: bytes, *, now: float | None = None) -> tuple[tuple[LoadedModel, ...], int]:
    """Return the models that `/api/ps` answered, and how many more there are that are not among them.

    Args:
        body: What came.
        now: Unix seconds; None: now.

    Raises:
        ValueError: It is no such answer; says why.
    """
    told = _object(body).get("models", ())
    if told is None:  # an empty list of Go that was never made
        told = ()
    if not isinstance(told, (list, tuple)):
        raise _AnswerError(f"{_NO_OLLAMA}: /api/ps gives no list of models")
    moment = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    models = [model for one in told[: 4 * MOST_MODELS] if (model := _model(one, moment))][:MOST_MODELS]
    return tuple(models), len(told) - len(models)


def _model(told: object, now: datetime) -> LoadedModel | None:
    if not isinstance(told, Mapping):
        return None
    name = _text(told.get("name")) or _text(told.get("model"))
    if not name:
        return None
    details = told.get("details")
    if not isinstance(details, Mapping):
        details = {}
    expires, never = _expiry(told.get("expires_at"), now)
    return LoadedModel(
        name=name,
        digest=_text(told.get("digest"), 12),
        size=_whole(told.get("size")),
        size_vram=_whole(told.get("size_vram")),
        context_length=_whole(told.get("context_length")) or None,
        parameter_size=_text(details.get("parameter_size"), MOST_WORD),
        quantization_level=_text(details.get("quantization_level"), MOST_WORD),
        family=_text(details.get("family"), MOST_WORD),
        expires_at=expires,
        never_expires=never,
    )


def _expiry(told: object, now: datetime) -> tuple[str | None, bool]:
    """Return a time in UTC, and whether it is so far off that it means never."""
    if not isinstance(told, str) or len(told) > 40:
        return None, False
    try:
        moment = datetime.fromisoformat(told)
        if moment.tzinfo is None or moment.year < 2000:  # Go's zero time, and the epoch: not set yet
            return None, False
        if moment - now > KEPT_FOR_GOOD:
            return None, True
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"), False
    except (ValueError, OverflowError):
        return None, False


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        told = orjson.loads(body)
    except ValueError:
        raise _AnswerError(f"{_NO_OLLAMA}: its answer is not JSON") from None
    if not isinstance(told, dict):
        raise _AnswerError(f"{_NO_OLLAMA}: its answer is no JSON object")
    return told


def _text(value: object, most: int = MOST_TEXT) -> str | None:
    return printable(value[:most]) if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _parts(url: str) -> tuple[str, str, int | None]:
    problem = "its URL cannot be used; one looks like http://127.0.0.1:11434"
    if not re.fullmatch(r"https?://[^\s/?#@\x00-\x20\x7f]+/?", url, re.IGNORECASE):
        raise _AnswerError(problem)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _AnswerError(problem) from None
    if not host or port == 0:
        raise _AnswerError(problem)
    return parts.scheme.lower(), host, port


class _AnswerError(ValueError):
    """What is wrong, in words for the person."""


class _StatusError(_AnswerError):
    def __init__(self, status: int) -> None:
        self.status = status
        more = ", a redirect: give the URL that it leads to" if 300 <= status < 400 else ""
        super().__init__(f"it answered {status}{more}")


def _plainly(error: Exception) -> str:
    match error:
        case _AnswerError():
            return str(error)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {printable(str(error.verify_message))[:MOST_REASON]}"
        case socket.gaierror():
            return "no such host is known"
        case TimeoutError():
            return "it did not answer in time"
        case http.client.RemoteDisconnected():
            return "it closed the connection without an answer"
        case http.client.IncompleteRead():
            return "its answer broke off midway"
        case http.client.HTTPException():
            return f"{_NO_OLLAMA}: it does not speak HTTP"
        case OSError(strerror=str() as text) if text:
            return printable(text)[:MOST_REASON].lower()
    return type(error).__name__
