"""Webhooks: a notice as JSON, posted to a URL."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from codeworm_monitor.backoff import delays
from codeworm_monitor.watching.actions import Action, ActionError
from codeworm_monitor.watching.notices import Notice, plain
from codeworm_monitor.watching.spans import Span, seconds_of, spoken, whole

__all__ = ["Webhook"]

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
LARGEST = 65_536
"""Bytes of what is posted."""

_UNFIT = re.compile(r"[\x00-\x20\x7f-\U0010ffff]")
_PASSING = frozenset({408, 425, 429})
"""Statuses below 500 after which another attempt may succeed."""


class Webhook(Action):
    """Posts each notice as JSON: `Notice.as_dict`, whose `text` is what chat services show.

    An attempt that fails in a way that may pass (no connection, no answer in time, status 408, 425, 429 or 5xx) is made
    again, with growing random pauses; the next notice waits meanwhile. Redirects are not followed: the answer would
    otherwise decide where the notice goes. Nothing of the URL but scheme, host and port is ever shown, as the rest is
    often a secret; nor are headers. Proxies are those of the environment, certificates those that Python trusts.

    Args:
        url: http or https.
        headers: Sent along, such as `Authorization`.
        body: Makes of a notice what is posted, for services that want another form; must be what JSON can say.
        timeout: How long one attempt may take in all, a `Span`.
        attempts: How often it is tried.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The URL cannot be used; says why, and does not quote it.

    Example:
        >>> mon.watch("failures >= 3", Webhook("https://chat.example/hooks/…"))
        >>> mon.watch("slow", Webhook(url, body=lambda notice: {"content": str(notice)}))
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[Notice], object] | None = None,
        timeout: Span = 10.0,
        attempts: int = 4,
    ) -> None:
        self._url = url
        self._place = _checked(url)
        self._headers = {"Content-Type": "application/json", "User-Agent": "codeworm-monitor", **(headers or {})}
        if any(_has_line_end(name) or _has_line_end(value) for name, value in self._headers.items()):
            raise ValueError("a header of the webhook is no text of one line")
        if body is not None and not callable(body):
            raise TypeError("body is a function of a notice")
        self._body = body
        self._timeout = seconds_of(timeout, "timeout", least=0.01)
        self._attempts = whole(attempts, "attempts", 1, 20)

    def act(self, notice: Notice, stop: threading.Event) -> None:
        """Post it.

        Raises:
            ActionError: No attempt succeeded, or what came shows that none will.
        """
        content = orjson.dumps(notice.as_dict() if self._body is None else self._body(notice))
        if len(content) > LARGEST:
            raise ActionError(f"{self!r}: {len(content):,} bytes are too many, {LARGEST:,} are posted at most")
        problem = ""
        pauses = delays(first=FIRST_DELAY, longest=LONGEST_DELAY)
        for attempt in range(1, self._attempts + 1):
            problem, may_pass = self._post(content)
            if not problem:
                return
            if not may_pass or attempt == self._attempts or stop.wait(next(pauses)):
                break
        tried = f" ({attempt} attempts)" if attempt > 1 else ""
        raise ActionError(f"{self!r} was not reached: {problem}{tried}")

    @property
    def identity(self) -> object:  # noqa: D102
        return (type(self), self._url)

    def __repr__(self) -> str:
        return f"Webhook({self._place}/…)"

    def _post(self, content: bytes) -> tuple[str, bool]:
        """Make one attempt; return what is wrong, empty if nothing is, and whether that may pass.

        What is raised on the way is not kept: it holds the URL.
        """
        request = urllib.request.Request(self._url, content, self._headers, method="POST")
        with _Deadline(self._timeout) as deadline:
            opener = urllib.request.build_opener(_NoRedirect, _Http(deadline), _Https(deadline))
            try:
                with opener.open(request, timeout=self._timeout):
                    if not deadline.is_over:  # a head that was cut off reads like one that has come to its end
                        return "", False
                raise TimeoutError
            except urllib.error.HTTPError as error:
                with suppress(OSError, http.client.HTTPException):
                    error.close()
                if 300 <= error.code < 400:
                    return f"it answered {error.code}, a redirect: give the URL that it leads to", False
                return f"it answered {error.code}", error.code >= 500 or error.code in _PASSING
            except (OSError, http.client.HTTPException, ValueError) as error:
                if deadline.is_over:
                    return f"it did not answer within {spoken(self._timeout)}", True
                return _plainly(error), not isinstance(error, ValueError)


def _checked(url: str) -> str:
    """Return the part of a URL that may be shown.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot be used.
    """
    if not isinstance(url, str):
        raise TypeError(f"a webhook is a URL, not {type(url).__name__}")
    if _UNFIT.search(url):
        raise ValueError("the webhook's URL holds spaces, control characters or letters that a URL must write as %XX")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("a webhook is a URL that begins with https:// or http:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the webhook's URL holds a user or a password: give headers={'Authorization': …} instead")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}"


def _has_line_end(text: object) -> bool:
    return not isinstance(text, str) or "\r" in text or "\n" in text


def _plainly(error: BaseException) -> str:
    """Return what is wrong without what was asked for."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    match reason:
        case TimeoutError():
            return "it did not answer in time"
        case socket.gaierror():
            return "no such host is known"
        case OSError(strerror=str() as text) if text:
            return plain(f"{type(reason).__name__}: {text}", 200)
    return type(reason if isinstance(reason, BaseException) else error).__name__


class _Deadline:
    """Ends connections when their time is over, however slowly the other side keeps them busy."""

    def __init__(self, timeout: float) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(timeout, self._end)
        self._timer.daemon = True

    def connect(self, *args: Any, **options: Any) -> socket.socket:
        """Connect as `socket.create_connection` does."""
        connection = socket.create_connection(*args, **options)
        with self._lock:
            self._sockets.append(connection.dup())  # TLS takes the first away
            if self.is_over:
                self._shut()
        return connection

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            self._shut()

    def _shut(self) -> None:
        for connection in self._sockets:
            with suppress(OSError):  # the other side has closed it
                connection.shutdown(socket.SHUT_RDWR)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect what it is, an answer that is no success, and does not read where it points."""

    def http_error_302(self, *_: Any) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302  # type: ignore[assignment]


class _Http(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_guarded(http.client.HTTPConnection, self._deadline), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_guarded(http.client.HTTPSConnection, self._deadline), req)


def _guarded(kind: type[http.client.HTTPConnection], deadline: _Deadline) -> Any:
    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        connection._create_connection = deadline.connect  # type: ignore[attr-defined]  # made to be replaced
        return connection

    return make
