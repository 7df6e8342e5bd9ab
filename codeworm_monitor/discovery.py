"""Discovery: how a notebook finds the relays on its machine, and their tokens.

A relay writes a small file, `relay-<port>.json`, mode 0600, into a folder of mode 0700. Whoever can read it may
connect: it holds the token. Nothing is trusted that another user could have written: folder and file must belong to
this user and be closed to all others.

The folder is the first usable one of: `$XDG_RUNTIME_DIR/codeworm_monitor`, `/run/user/<uid>/codeworm_monitor`, and
`run` in the user's state directory. A reader looks into all of them, because a relay started by systemd has
`XDG_RUNTIME_DIR` and a notebook started by cron has not. `CODEWORM_MONITOR_RUNTIME_DIR` names another folder instead.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import platformdirs

from codeworm_monitor.errors import RelayError

__all__ = ["DEFAULT_URL", "Announcement", "announce", "find", "relay_url", "withdraw"]

DEFAULT_URL = "ws://127.0.0.1:8765/ws"
FOLDER_VARIABLE = "CODEWORM_MONITOR_RUNTIME_DIR"
LARGEST = 64 * 2**10
"""Bytes a file may have: ours have a few hundred."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a relay tells the readers on its machine.

    Attributes:
        url: WebSocket URL, without the token.
        token: What readers must present; None: nothing. Not shown by `repr`.
        pid: Process of the relay.
        started_at: When it started, Unix seconds.
        version: Version of the relay.
        host: Machine of the relay: a home directory may be shared by several.
        is_replay: Whether it serves the past: who names no relay means another.
        redis_url: Redis that it hears; None: none, or one whose URL holds a secret.
    """

    url: str
    token: str | None = field(repr=False)
    pid: int
    started_at: float
    version: str = ""
    host: str = ""
    is_replay: bool = False
    redis_url: str | None = None


def announce(
    port: int,
    *,
    url: str,
    token: str | None,
    version: str = "",
    is_replay: bool = False,
    redis_url: str | None = None,
) -> Path:
    """Write the announcement of a relay in this process and return its path.

    It is put in place whole: a reader sees the former file or this one.

    Args:
        port: Port of the relay; an earlier announcement of the same port is replaced.
        url: WebSocket URL, without the token.
        token: What readers must present; None: nothing.
        version: Version of the relay.
        is_replay: Whether it serves the past.
        redis_url: Redis that it hears; one with a user, a password or options is not announced.

    Raises:
        RelayError: No folder can be used; the message says why not.
    """
    announcement = Announcement(
        url=url,
        token=token,
        pid=os.getpid(),
        started_at=time.time(),
        version=version,
        host=socket.gethostname(),
        is_replay=is_replay,
        redis_url=None if redis_url is None or set("@?") & set(redis_url) else redis_url,
    )
    problems: list[str] = []
    for folder in _folders():
        path = folder / f"relay-{port}.json"
        draft = folder / f".relay-{port}.{os.getpid()}.tmp"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if problem := _problem(folder, is_folder=True):
                problems.append(f"{folder} {problem}")
                continue
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(announcement), file)
            draft.replace(path)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
            continue
        return path
    raise RelayError(
        f"no folder for the announcement by which notebooks find this relay: {'; '.join(problems)}. "
        f"Name one of your own, closed to others (chmod 700), in {FOLDER_VARIABLE}"
    )


def withdraw(path: Path) -> None:
    """Remove an announcement of this process; one that another relay has put in its place stays."""
    announcement = _read(path)
    if announcement is not None and announcement.pid == os.getpid():
        with suppress(OSError):  # gone already, or the folder is: both are what was wanted
            path.unlink(missing_ok=True)


def find(url: str | None = None) -> list[Announcement]:
    """Return the announcements of living relays of this user on this machine, the newest first, replays last.

    Announcements of processes that are gone are removed.

    Args:
        url: Only those with this URL; None: all.
    """
    found: list[Announcement] = []
    for folder in _folders():
        if _problem(folder, is_folder=True):
            continue
        for path in folder.glob("relay-*.json"):
            announcement = _read(path)
            if announcement is None or announcement.host not in ("", socket.gethostname()):
                continue
            if not _is_alive(announcement.pid):
                log.debug("removing the announcement %s of a relay that is gone", path)
                with suppress(OSError):  # another reader may have been quicker, or the folder is read-only
                    path.unlink(missing_ok=True)
            elif url is None or _same(url, announcement.url):
                found.append(announcement)
    return sorted(found, key=lambda announcement: (announcement.is_replay, -announcement.started_at))


def relay_url(text: str, *, may_hold_user: bool = False) -> tuple[str, str | None]:
    """Return the WebSocket URL that a text means, and the token in it: people paste what the relay printed.

    Args:
        text: ws, wss, http or https, or none of them; with or without a path, and perhaps with the token. So is the
            link to the relay's page, which holds the token in its fragment.
        may_hold_user: Whether it may hold a user and a password. A relay wants none; a proxy before it may.

    Raises:
        ValueError: It is no URL of a relay. The text is not quoted: it may hold a token.
    """
    try:
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        is_usable = bool(parts.hostname) and parts.port != 0 and parts.geturl().isprintable()
    except ValueError:
        parts, is_usable = urlsplit(""), False
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if not is_usable or scheme not in ("ws", "wss") or ("@" in parts.netloc and not may_hold_user):
        raise ValueError(f"a relay's URL looks like {DEFAULT_URL}")
    query = parse_qs(parts.query)
    token = query.pop("token", [None])[0] or parse_qs(parts.fragment).get("token", [None])[0]
    path = "/ws" if parts.path in ("", "/") else re.sub(r"/dashboard/?$", "/ws", parts.path)
    plain = parts._replace(scheme=scheme, path=path, query=urlencode(query, doseq=True), fragment="")
    return plain.geturl(), token


def _folders() -> Iterator[Path]:
    if own := os.environ.get(FOLDER_VARIABLE):
        yield Path(own)
        return
    candidates = []
    if (runtime := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        candidates.append(Path(runtime))
    candidates.append(_runtime_folder())
    seen = set()
    for parent in candidates:
        if parent.is_dir() and parent not in seen:
            seen.add(parent)
            yield parent / "codeworm_monitor"
    yield platformdirs.user_state_path("codeworm_monitor") / "run"


def _runtime_folder() -> Path:
    return Path(f"/run/user/{os.getuid()}")  # where systemd keeps it, whatever the environment says


def _problem(path: Path, *, is_folder: bool = False) -> str:
    """Return why a folder or file cannot be trusted, or nothing."""
    try:
        status = path.lstat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return _distrust(status, is_folder=is_folder)


def _distrust(status: os.stat_result, *, is_folder: bool) -> str:
    if not (stat.S_ISDIR if is_folder else stat.S_ISREG)(status.st_mode):
        return "is no folder" if is_folder else "is no plain file"
    if status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & 0o077:
        return f"is open to other users (mode {stat.S_IMODE(status.st_mode):o})"
    return ""


def _read(path: Path) -> Announcement | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        if problem := _distrust(os.fstat(file.fileno()), is_folder=False):
            log.warning("the announcement %s is not trusted: it %s", path, problem)
            return None
        text = file.read(LARGEST)
    try:
        match json.loads(text):
            case {"url": str(url), "token": (str() | None) as token, "pid": int(pid)} as values if pid > 0:
                return Announcement(
                    url=url,
                    token=token,
                    pid=pid,
                    started_at=float(values.get("started_at", 0)),
                    version=str(values.get("version", "")),
                    host=str(values.get("host", "")),
                    is_replay=values.get("is_replay") is True,
                    redis_url=str(values["redis_url"]) if values.get("redis_url") else None,
                )
    except (ValueError, TypeError, RecursionError):
        pass
    log.debug("%s is no announcement of a relay", path)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user, who got the number of ours
        return False
    try:
        # A zombie has ended, though nobody has asked for its exit status yet.
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    except (OSError, IndexError):  # no /proc here
        return True


def _same(url: str, other: str) -> bool:
    return _plain(url) == _plain(other)


def _plain(url: str) -> str:
    return url.rstrip("/").replace("://localhost", "://127.0.0.1")
