"""Static files: a built web front end, served from a directory as it lies."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote_to_bytes

from codeworm_monitor.errors import SettingError
from codeworm_monitor.http import Answer

__all__ = ["MEDIA_TYPES", "StaticFiles", "matches", "media_type", "segments_of"]

LARGEST = 4_000_000
"""Bytes of the largest file that is served: a response lies in memory until it is sent."""
INDEX = "index.html"
MEDIA_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("html", "htm"), "text/html; charset=utf-8"),
    **dict.fromkeys(("js", "mjs"), "text/javascript; charset=utf-8"),
    "css": "text/css; charset=utf-8",
    **dict.fromkeys(("json", "map"), "application/json"),
    "webmanifest": "application/manifest+json",
    "txt": "text/plain; charset=utf-8",
    "xml": "application/xml",
    "svg": "image/svg+xml",
    "png": "image/png",
    **dict.fromkeys(("jpg", "jpeg"), "image/jpeg"),
    **{end: f"image/{end}" for end in ("gif", "webp", "avif")},
    "ico": "image/x-icon",
    **{end: f"font/{end}" for end in ("woff", "woff2", "ttf", "otf")},
    "wasm": "application/wasm",
}
"""Media types by the end of a name. Not those of the machine, which its owner may have changed."""
_LONGEST_PATH = 1024
_LONGEST_NAME = 255
_AT_ONCE = 2
"""Files read at one time; the threads are those of all the relay's work in threads, of which there may be five."""
_FOLDERS_OF_HASHED = frozenset({"assets", "static"})
_HASH = re.compile(r"(?=[\w-]*[a-zA-Z])(?=[\w-]*[A-Z0-9_])[\w-]{8}|[0-9a-f]{8,32}", re.ASCII)
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_POLICY = "; ".join(
    (
        "default-src 'self'",  # scripts, and by connect-src its own WebSocket
        "style-src 'self' 'unsafe-inline'",  # what charts and notices of the original write into the page
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_SAFE = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    # By it, a page's own requests show whose they are over plain http, too (`access.AccessRules.is_known_page`).
    "Referrer-Policy": "same-origin",
}


class StaticFiles:
    """Serves the files of a directory, and its `index.html` where a page of a single-page application is meant.

    - *Path*: decoded once; a name that begins with a dot, is empty, or has a control character or a backslash is not found.
    - *Reach*: what lies below the directory, as plain files. No symbolic link below it is followed; the directory
      itself may be one, and may be switched to another build.
    - *Size*: `LARGEST` bytes; two files are read at one time, in threads.
    - *Fallback*: a path that is not found, has no file extension, and is asked for as `text/html` is the index.
    - *Caching*: names with a hash, in `assets` or `static`, for good; all else is asked for again, by ETag.

    Args:
        directory: The built front end; holds `index.html`.

    Raises:
        SettingError: It lies in the home of a user who is not known.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        try:
            self.directory = Path(directory).expanduser().absolute()
        except RuntimeError as error:
            raise SettingError("static", f"{str(directory)!r}: {error}") from error
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def check(self) -> None:
        """Look whether there is something to serve.

        Raises:
            SettingError: There is not; says what to do.
        """
        try:
            is_there = (self.directory / INDEX).is_file() and os.access(self.directory / INDEX, os.R_OK)
        except OSError:
            is_there = False
        if not is_there:
            raise SettingError(
                "static", f"{str(self.directory)!r} holds no readable {INDEX}: name the directory of a built front end"
            )

    async def answer(self, path: str, *, accepts_html: bool, if_none_match: str | None = None) -> Answer:
        """Answer a request for a file. If cancelled, what is being read is read to its end and left.

        Args:
            path: Path of the URL, percent-encoded.
            accepts_html: Whether `text/html` is asked for.
            if_none_match: The header of that name.
        """
        async with self._turns:
            return await asyncio.to_thread(self._answer, path, accepts_html, if_none_match)

    def _answer(self, path: str, accepts_html: bool, if_none_match: str | None) -> Answer:  # noqa: FBT001  # of one caller
        segments = segments_of(path)
        if segments is None:
            return _not_found()
        try:
            if not segments:
                return self._file((INDEX,), if_none_match) or _not_found()
            found = self._file(segments, if_none_match)
            if found is None and accepts_html and "." not in segments[-1]:
                found = self._file((INDEX,), if_none_match)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
                return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"The file cannot be read now: try again.\n")
            raise
        return found or _not_found()

    def _file(self, segments: tuple[str, ...], if_none_match: str | None) -> Answer | None:
        """Return the answer with a file, or None if there is no plain one that may be read."""
        try:
            descriptor = self._opened(segments)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                return None
            if before.st_size > LARGEST:
                reason = f"The file has over {LARGEST:,} bytes: it is not served here.\n"
                return Answer(HTTPStatus.FORBIDDEN, reason.encode())
            headers = {**_SAFE, "ETag": _tag(before), "Cache-Control": _caching(segments)}
            if segments[-1] == INDEX:
                headers["Vary"] = "Accept"
            if if_none_match is not None and matches(if_none_match, headers["ETag"]):
                return Answer(HTTPStatus.NOT_MODIFIED, b"", headers=headers)
            body = _read(descriptor, before.st_size)
            if len(body) != before.st_size or _tag(os.fstat(descriptor)) != headers["ETag"]:
                # It is being written: what was read may be half of it, and is not to be remembered.
                headers["Cache-Control"] = "no-store"
                del headers["ETag"]
        finally:
            os.close(descriptor)
        return Answer(HTTPStatus.OK, body, media_type(segments[-1]), headers)

    def _opened(self, segments: tuple[str, ...]) -> int:
        """Return the descriptor of a file, found name by name, so that no link on the way can lead elsewhere."""
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in segments[:-1]:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(name, flags, dir_fd=folder)
                os.close(folder)
                folder = inner
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(segments[-1], flags, dir_fd=folder)
        finally:
            os.close(folder)

    def __repr__(self) -> str:
        return f"StaticFiles({str(self.directory)!r})"


_NOT_THERE = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
        *(errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.EINVAL, errno.EILSEQ),
    }
)


def segments_of(path: str) -> tuple[str, ...] | None:
    """Return the names on the way to a file; none for the directory itself, None where no file can be meant."""
    if not path.startswith("/") or len(path) > 3 * _LONGEST_PATH:
        return None
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return None
    names = tuple(text[1:].removesuffix("/").split("/")) if text != "/" else ()
    if len(text) > _LONGEST_PATH or any(character in "\\\x7f" or character < " " for character in text):
        return None
    if any(not name or name.startswith(".") or len(name.encode()) > _LONGEST_NAME for name in names):
        return None
    return names


def _read(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def media_type(name: str) -> str:
    """Return the media type of a file, by the end of its name."""
    return MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def _caching(segments: tuple[str, ...]) -> str:
    """Return for how long a file may be kept: for good if its name changes with its content, as Vite, webpack write it."""
    stem = segments[-1].partition(".map")[0].rpartition(".")[0]
    candidates = {stem[-8:] if stem[-9:-8] in ("-", ".") else "", stem.rpartition(".")[2], stem.rpartition("-")[2]}
    is_hashed = any(_HASH.fullmatch(one) and not one.isdecimal() for one in candidates)
    return _FOR_GOOD if is_hashed and not _FOLDERS_OF_HASHED.isdisjoint(segments[:-1]) else _ASK_AGAIN


def _tag(found: os.stat_result) -> str:
    return f'"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"'


def matches(header: str, tag: str) -> bool:
    """Tell whether a list of ETags has one; compared weakly (RFC 9110, section 13.1.2)."""
    return header.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in header.split(",")[:32])


def _not_found() -> Answer:
    return Answer(HTTPStatus.NOT_FOUND, b"There is no such file.\n")
