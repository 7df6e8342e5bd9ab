"""Who may connect: the rules for Host, Origin and token. Pure: each takes what the request said."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

__all__ = ["TOKEN_SUBPROTOCOL", "AccessRules", "Refusal"]

TOKEN_SUBPROTOCOL = "codeworm.token."
"""Prefix of a subprotocol that carries the token: the one place where a browser's script can put it in a header."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        status: HTTP status.
        reason: One line for the person at the other end; never holds what the request said.
    """

    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """The rules in force.

    - **Host** must be an IP address, localhost or a name allowed, so that a page that rebinds its own name to this
      machine (DNS rebinding) gets nothing.
    - **Origin**, which browsers send, must be the relay's own, or one allowed; without tokens also any page of this
      machine. A missing one is no browser's and passes. `null` never passes.
    - **Token**, unless none is wanted or the origin is allowed without one: in the header `Authorization: Bearer`,
      as `?token=`, or as a subprotocol `codeworm.token.…`. Compared in constant time.
    - **A known page** needs none for what the original dashboard shows: its REST API and its WebSocket, not the archive,
      `/info` or `/metrics`. Its front end knows of no token, so that something else must tell it from other sites; what
      a browser says of a page, and lets no script change, does (`is_known_page`). A page is known if its origin is allowed,
      or, with a front end served by the relay itself, if it is the relay's own, addressed as this machine, by a
      connection from this machine that no proxy forwards. A rebound name fails at Host, another site at Origin or
      Referer. Programs on this machine can claim to be that page, as they can claim an allowed origin: who serves a
      front end lets the users of this machine see what it shows, and nobody on another one.

    Attributes:
        token: What must be presented; None: nothing.
        origins: Origins of pages that may connect without a token.
        hosts: Names by which the relay may be addressed, beside IP addresses and localhost.
        serves_pages: Whether the relay serves a front end of its own.
    """

    token: str | None
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()
    serves_pages: bool = False

    def check_host(self, host: str | None) -> Refusal | None:
        """Judge the Host header."""
        name = _hostname(host)
        if name is not None and (_is_address(name) or name == "localhost" or name in map(str.lower, self.hosts)):
            return None
        return Refusal(403, "This host name is not allowed; the relay's setting --allowed-host names those that are.")

    def check_origin(self, origins: Sequence[str], host: str | None) -> Refusal | None:
        """Judge the Origin headers, of which there is at most one, against the Host header."""
        if not origins:
            return None
        if len(origins) == 1:
            origin = origins[0]
            if self._is_listed(origin):
                return None
            scheme, _, netloc = origin.partition("://")  # all there is to an origin (RFC 6454, section 6.2)
            if scheme.lower() in ("http", "https"):
                if host is not None and netloc.lower() == host.lower():
                    return None
                if self.token is None and _is_loopback(_hostname(netloc)):
                    return None
        return Refusal(403, "This origin is not allowed; the relay's setting --v1-origin names those that are.")

    def check_token(
        self, *, origins: Sequence[str], authorization: str | None, query: str, subprotocols: Iterable[str]
    ) -> Refusal | None:
        """Judge the token, wherever it was put."""
        if self.token is None or (len(origins) == 1 and self._is_listed(origins[0])):
            return None
        presented = [
            name.removeprefix(TOKEN_SUBPROTOCOL) for name in subprotocols if name.startswith(TOKEN_SUBPROTOCOL)
        ]
        presented += parse_qs(query, max_num_fields=20).get("token", []) if query.count("&") < 20 else []
        scheme, _, credentials = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            presented.append(credentials.strip())
        if not presented:
            return Refusal(401, "A token is wanted: as Authorization: Bearer, as ?token= or as a subprotocol.")
        expected = self.token.encode()
        if any(hmac.compare_digest(one.encode("utf-8", "surrogatepass"), expected) for one in presented[:4]):
            return None
        return Refusal(401, "The token is wrong; a relay makes a new one at each start unless --token sets it.")

    def is_known_page(
        self, *, origins: Sequence[str], referers: Sequence[str], sites: Sequence[str], host: str | None, is_local: bool
    ) -> bool:
        """Tell whether a request comes from a page that may ask what the original dashboard shows.

        Args:
            origins: Origin headers. Browsers send one to another origin, and to any WebSocket.
            referers: Referer headers. Browsers send one, at least with the origin, to the page's own origin.
            sites: Sec-Fetch-Site headers, which newer browsers send where they trust the connection.
            host: The Host header, which was judged.
            is_local: Whether the connection comes from this machine, and was not forwarded.
        """
        if origins:
            page = origins[0] if len(origins) == 1 else ""
        elif len(referers) == 1 and list(sites) in ([], ["same-origin"]):
            scheme, _, rest = referers[0].partition("://")
            page = f"{scheme}://{_UP_TO_PATH.split(rest, maxsplit=1)[0]}"
        else:
            return False
        if self._is_listed(page):
            return True
        scheme, _, netloc = page.partition("://")
        is_own = scheme.lower() in ("http", "https") and host is not None and netloc.lower() == host.lower()
        return self.serves_pages and is_local and is_own and _is_loopback(_hostname(host))

    def _is_listed(self, origin: str) -> bool:
        return origin.rstrip("/").lower() in (one.rstrip("/").lower() for one in self.origins)


def _hostname(netloc: str | None) -> str | None:
    try:
        return urlsplit(f"//{netloc}").hostname if netloc else None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


_UP_TO_PATH = re.compile(r"[/?#\\]")


def _is_loopback(name: str | None) -> bool:
    return name is not None and (name == "localhost" or (_is_address(name) and ip_address(name).is_loopback))
