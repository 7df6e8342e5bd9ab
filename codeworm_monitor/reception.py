"""The reception: who asks, by which right, and for what, before anything else is known of a connection.

======================================================== =======================================
what is asked for                                        who needs no token for it
======================================================== =======================================
`/livez`, `/readyz`, `/health`                           everybody
files of a front end, which hold nothing of the user's   everybody whom Origin lets in
the rest of the REST API; the WebSocket, spoken in v1    known pages, allowed origins
all else: `/info`, `/history`, `/panels`, `/metrics`; v2 allowed origins
======================================================== =======================================

Host is judged in any case, Origin in any but the first; `access.AccessRules` says how, and what a known page is. The REST API
and the WebSocket are found below `/api` too, where the original front end looks for them, so that no proxy need map it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from codeworm_monitor import frames
from codeworm_monitor.access import AccessRules, Refusal
from codeworm_monitor.connection import ReaderConnection
from codeworm_monitor.cors import is_preflight, opened, preflight_answer
from codeworm_monitor.dashboard_api import PATHS, DashboardAPI
from codeworm_monitor.http import JSON, Answer, respond
from codeworm_monitor.page import Page
from codeworm_monitor.settings import OWN_PATHS
from codeworm_monitor.static_files import StaticFiles, matches

__all__ = ["API_PREFIX", "API_SOCKET", "Reception"]

API_PREFIX = "/api"
"""Where the original front end asks, below which its reverse proxy finds all that the backend has."""
API_SOCKET = f"{API_PREFIX}/ws"
"""Where the original front end connects to, whatever the WebSocket's own path."""
MOST_OUTGOING = 64 * 2**20
"""Bytes of files on their way to those who need no token; more are told to come back."""
_SMALL = 64 * 2**10
_FORWARDED = ("forwarded", "via", "true-client-ip", "x-client-ip", "x-real-ip")
_FORWARDED_BEGINS = ("x-forwarded-", "x-original-", "cf-", "fly-", "fastly-")


class Reception:
    """Judges requests and answers those that are for no WebSocket.

    Args:
        rules: Who may ask.
        answer: Answers what the relay tells of itself, given path and query; None is answered 404.
        socket_path: Path of the WebSocket.
        dashboard: The original dashboard's REST API; None: it is not served.
        static: The original's front end, or another; None: none is served.
        page: The dashboard of this package; None: it is not served.
    """

    def __init__(
        self,
        rules: AccessRules,
        answer: Callable[[str, str], Awaitable[Answer | None]],
        *,
        socket_path: str,
        dashboard: DashboardAPI | None,
        static: StaticFiles | None,
        page: Page | None = None,
    ) -> None:
        self.refused = 0
        """Requests refused."""
        self._rules = rules
        self._answer = answer
        self._socket_path = socket_path
        self._dashboard = dashboard
        self._static = static
        self._page = page
        self._outgoing = 0

    async def receive(self, request: Request, connection: ReaderConnection) -> Response | None:
        """Return the response to a request, or None if it may go on to become a reader's."""
        try:
            target = urlsplit(request.path)
        except ValueError:
            return self.refuse(request, Refusal(400, "This is no address."))
        path, query, headers = target.path, target.query, request.headers
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        host = hosts[0] if len(hosts) == 1 else None
        refusal = self._rules.check_host(host)
        if refusal is not None:
            return self.refuse(request, refusal)
        if path in ("/livez", "/readyz"):
            return await self._tell(request, path, query)
        is_socket = path in (self._socket_path, API_SOCKET)
        asked = None if is_socket else self._api_path(request, path)
        refusal = self._rules.check_origin(origins, host)
        if refusal is not None and asked != "/health":
            return self.refuse(request, refusal)
        if self._page is not None and asked is None and not is_socket:
            answer = self._page.answer(path, is_at_root=self._static is None, if_none_match=_if_none_match(headers))
            if answer is not None:
                return self._hand_out(request, answer, connection)
        if self._static is not None and asked is None and not is_socket and self._is_of_front_end(path):
            return await self._file(self._static, request, path, connection)
        if asked is not None and refusal is None and is_preflight(request):
            return respond(request, opened(preflight_answer(), origins))
        is_open = asked == "/health" or (
            (asked is not None or (is_socket and not _offers_v2(headers)))
            and self._rules.is_known_page(
                origins=origins,
                referers=headers.get_all("Referer"),
                sites=headers.get_all("Sec-Fetch-Site"),
                host=host,
                is_local=_is_local(connection.address) and not _is_forwarded(headers),
            )
        )
        if not is_open:
            wrong = self._rules.check_token(
                origins=origins,
                authorization=headers.get("Authorization") if len(headers.get_all("Authorization")) == 1 else None,
                query=query,
                subprotocols=_offered(headers),
            )
            if wrong is not None:
                return self.refuse(request, wrong)
        if is_socket:
            return None
        if asked is not None and self._dashboard is not None:
            told = await self._dashboard.answer(asked, query)
            return _to_its_end(respond(request, opened(told, origins if refusal is None else ())), connection)
        return _to_its_end(await self._tell(request, path, query), connection)

    def refuse(self, request: Request, refusal: Refusal) -> Response:
        """Return the response to a request that is refused, and count it."""
        self.refused += 1
        return respond(request, Answer(HTTPStatus(refusal.status), f"{refusal.reason}\n".encode()))

    def _api_path(self, request: Request, path: str) -> str | None:
        """Return what of the REST API is asked for, if anything."""
        if self._dashboard is None:
            return None
        if path.startswith(f"{API_PREFIX}/"):
            path = path.removeprefix(API_PREFIX)
        elif self._static is not None and _accepts_html(request.headers):
            return None  # a person who opens a page: the original front end has one of its own at /repos
        return path if path in PATHS else None

    def _is_of_front_end(self, path: str) -> bool:
        return path not in OWN_PATHS and path != API_PREFIX and not path.startswith(f"{API_PREFIX}/")

    async def _tell(self, request: Request, path: str, query: str) -> Response:
        answer = await self._answer(path, query)
        if answer is not None:
            tag, wanted = answer.headers.get("ETag"), _if_none_match(request.headers)
            if tag is not None and wanted is not None and matches(wanted, tag):
                answer = Answer(HTTPStatus.NOT_MODIFIED, b"", headers=answer.headers)
            return respond(request, answer)
        self.refused += 1
        if path.startswith(f"{API_PREFIX}/"):
            return respond(request, Answer(HTTPStatus.NOT_FOUND, b'{"detail":"Not Found"}', JSON))
        reason = f"Nothing is here; the WebSocket is at {self._socket_path}.\n"
        return respond(request, Answer(HTTPStatus.NOT_FOUND, reason.encode()))

    async def _file(self, static: StaticFiles, request: Request, path: str, connection: ReaderConnection) -> Response:
        headers = request.headers
        if self._outgoing > MOST_OUTGOING:
            return self._too_many(request)
        answer = await static.answer(path, accepts_html=_accepts_html(headers), if_none_match=_if_none_match(headers))
        return self._hand_out(request, answer, connection)

    def _too_many(self, request: Request) -> Response:
        reason = b"Too many ask for files at once: try again in a moment.\n"
        return respond(request, Answer(HTTPStatus.SERVICE_UNAVAILABLE, reason, headers={"Retry-After": "2"}))

    def _hand_out(self, request: Request, answer: Answer, connection: ReaderConnection) -> Response:
        """Return the response with a file, whose bytes are counted until they have gone."""
        if self._outgoing > MOST_OUTGOING:
            return self._too_many(request)
        response = respond(request, answer)
        size = len(response.body)
        if size > _SMALL:
            self._outgoing += size
            connection.connection_lost_waiter.add_done_callback(lambda _: self._sent(size))
        return _to_its_end(response, connection)

    def _sent(self, size: int) -> None:
        self._outgoing -= size


def _to_its_end(response: Response, connection: ReaderConnection) -> Response:
    """See to it that a slow client gets all of a response: the library waits for the buffer to drain, and soon after cuts."""
    if len(response.body) > _SMALL and not connection.transport.is_closing():
        connection.transport.set_write_buffer_limits(high=0)
    return response


def _accepts_html(headers: Headers) -> bool:
    media = ",".join(headers.get_all("Accept")).split(",")[:64]
    return any(one.partition(";")[0].strip().lower() == "text/html" for one in media)


def _if_none_match(headers: Headers) -> str | None:
    return ",".join(headers.get_all("If-None-Match")) or None


def _is_forwarded(headers: Headers) -> bool:
    """Tell whether a proxy says that it stands between; one that says nothing cannot be told from the page itself."""
    names = [name.lower() for name, _ in headers.raw_items()]
    return any(name in _FORWARDED or name.startswith(_FORWARDED_BEGINS) for name in names)


def _is_local(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (mapped is not None and mapped.is_loopback)


def _offers_v2(headers: Headers) -> bool:
    """Tell whether v2 might be spoken; of all names, as the library chooses among all."""
    return any(
        name.strip() == frames.SUBPROTOCOL
        for header in headers.get_all("Sec-WebSocket-Protocol")
        for name in header.split(",")
    )


def _offered(headers: Headers) -> list[str]:
    return [name.strip() for header in headers.get_all("Sec-WebSocket-Protocol") for name in header.split(",")[:16]]
