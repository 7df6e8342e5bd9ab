"""The page: the dashboard for a plain browser, the files of `front`, held in memory.

The page itself is at `/dashboard`, and at `/` where nothing else is; what it loads lies below `/dashboard/`. All it refers to
is relative, so that it works behind a proxy that maps it below a path of its own. It holds nothing of the user's: the
token comes in the fragment of its address, which no browser sends, and is spoken by its script.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from codeworm_monitor import front
from codeworm_monitor.http import Answer
from codeworm_monitor.static_files import matches, media_type

__all__ = ["DOCUMENT", "PAGE_PATH", "POLICY", "Page"]

PAGE_PATH = "/dashboard"
"""Where the page is, whatever else is served."""
DOCUMENT = "page.html"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",  # its own WebSocket too: ws is the same origin here (CSP 3, section 6.7.2.8)
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text may become markup, even if a module of ours tried.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}


class Page:
    """Answers requests for the page and what it loads. Reads the files once, when it is made.

    Args:
        socket_path: Path of the WebSocket, which the page is told.
        sources: Texts of the files by name; None: those of `front`.
    """

    def __init__(self, *, socket_path: str, sources: Mapping[str, str] | None = None) -> None:
        texts = {name: front.source(name) for name in front.names()} if sources is None else sources
        document = texts[DOCUMENT].replace("{socket_path}", escape(socket_path))
        self._document = _held(DOCUMENT, document)
        self._files = {
            f"{PAGE_PATH}/{name}": _held(name, text) for name, text in texts.items() if name.endswith((".css", ".js"))
        }

    def answer(self, path: str, *, is_at_root: bool, if_none_match: str | None = None) -> Answer | None:
        """Answer a request, or return None if the path is none of the page's.

        Args:
            path: Path of the URL.
            is_at_root: Whether the page is at `/` too.
            if_none_match: The header of that name.
        """
        if path == PAGE_PATH or (path == "/" and is_at_root):
            found = self._document
        elif path == f"{PAGE_PATH}/":  # from there, what the page refers to would be one level too deep
            return Answer(HTTPStatus.PERMANENT_REDIRECT, b"", headers={"Location": f"..{PAGE_PATH}"})
        elif path in self._files:
            found = self._files[path]
        else:
            return None
        if if_none_match is not None and matches(if_none_match, found.headers["ETag"]):
            return Answer(HTTPStatus.NOT_MODIFIED, b"", headers=found.headers)
        return found


def _held(name: str, text: str) -> Answer:
    body = text.encode()
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    return Answer(HTTPStatus.OK, body, media_type(name), headers)
