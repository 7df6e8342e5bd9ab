"""Settings of the relay, each documented where it is defined.

The options of the command line, the environment variables and the table in the README are made from these fields.
The environment is read by the command line alone; as a library, pass values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple, get_type_hints
from urllib.parse import quote, urlsplit

from codeworm_monitor.errors import SettingError

__all__ = [
    "DEFAULT_CHANNELS",
    "ENVIRONMENT_PREFIX",
    "OWN_PATHS",
    "RelaySettings",
    "SettingField",
    "redacted",
    "setting_fields",
]

ENVIRONMENT_PREFIX = "CODEWORM_MONITOR_"
DEFAULT_CHANNELS = ("codeworm:logs", "codeworm:events", "codeworm:stats")


MAX_CHANNEL = 200

OWN_PATHS = frozenset(("/livez", "/readyz", "/metrics", "/info", "/history", "/panels"))
"""What the relay tells of itself over HTTP."""
_DASHBOARD_PATHS = ("/health", "/stats", "/repos", "/recent", "/activity", "/languages")
_TAKEN_PATHS = OWN_PATHS.union(
    _DASHBOARD_PATHS, (f"/api{path}" for path in _DASHBOARD_PATHS), ("/api", "/api/", "/dashboard")
)
"""What the same port answers over HTTP."""


def _setting(default: Any, help: str, *, is_secret: bool = False) -> Any:
    return field(default=default, repr=not is_secret, metadata={"help": help})


_LEAST = {
    "archive_bytes": 16 * 2**20,
    "history": 0,
    "backlog": 1,
    "backlog_bytes": 1,
    "max_payload": 1,
    "max_readers": 1,
    "max_readers_per_address": 1,
    "max_handshakes": 1,
    "max_inbound": 256,
    "inbound_rate": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """How a relay runs. Durations are seconds, sizes bytes.

    Raises:
        SettingError: A value cannot be used; the message says which and what would do.
    """

    # Upstream
    redis_url: str | None = _setting(
        None,
        "Redis to subscribe to: redis://, rediss:// (TLS), unix:// or redis+sentinel://host:26379,…/name. "
        "None: one on 127.0.0.1:6379 if it answers, else the embedded server.",
        is_secret=True,
    )
    channels: tuple[str, ...] = _setting(DEFAULT_CHANNELS, "Channels to relay, comma-separated.")
    dead_after: float = _setting(4.0, "Seconds Redis may stay silent after a PING before the connection is given up.")

    # Where readers connect
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8765, "Port to listen on; 0 takes any free one.")
    path: str = _setting("/ws", "Path of the WebSocket.")

    tls_cert: str | None = _setting(
        None, "File with the TLS certificate (PEM), and those that vouch for it; TLS 1.2 or newer is spoken."
    )
    tls_key: str | None = _setting(None, "File with its private key (PEM); None: it is in the certificate's file.")

    # Who may connect
    token: str | None = _setting(
        None, "Token that readers must present. None: a new random one at each start.", is_secret=True
    )
    no_token: bool = _setting(default=False, help="Let every local reader in without a token.")
    v1_origin: tuple[str, ...] = _setting(
        (), "Origin of a web page, such as http://localhost:5173, that may connect without a token; repeatable."
    )
    allowed_host: tuple[str, ...] = _setting(
        (),
        "Further name by which the relay may be addressed (Host header); repeatable. IP addresses and localhost always may.",
    )

    # What is kept
    archive: str | None = _setting(
        None, "Directory in which every message is kept. None: `codeworm_monitor/archive` among the user's data."
    )
    no_archive: bool = _setting(default=False, help="Keep nothing on disk.")
    archive_days: float = _setting(90.0, "Days that messages are kept.")
    archive_bytes: int = _setting(5 * 2**30, "Most bytes that the archive may take; the oldest messages leave first.")

    # CodeWorm's own files
    codeworm_db: str | None = _setting(
        None, "CodeWorm's database, data/codeworm.db; it is only read. None: notebooks must be told where it is."
    )
    codeworm_config: str | None = _setting(
        None, "Directory of CodeWorm's configuration, which holds repos.yaml; it is only read. None: likewise."
    )

    # Beside it
    static: str | None = _setting(
        None, "Directory of a built web front end, such as the original dashboard's, that is served at /. None: none."
    )
    ollama: str | None = _setting(
        None,
        "Ollama to look at, such as http://127.0.0.1:11434: its state is told on codeworm:relay. None: not at all.",
    )
    ollama_every: float = _setting(30.0, "Seconds between two looks at Ollama.")

    # Bounds
    history: int = _setting(200, "Messages of logs and events that a v1 reader is sent on connect.")
    backlog: int = _setting(200_000, "Newest messages kept for readers that resume.")
    backlog_bytes: int = _setting(64 * 2**20, "Most bytes the backlog may hold.")
    max_payload: int = _setting(
        512 * 2**10, "Largest payload relayed whole, in bytes; of a larger one the first 4 KiB, marked."
    )
    max_readers: int = _setting(10_000, "Most readers connected at one time.")
    max_readers_per_address: int = _setting(256, "Most of them from one address; this machine's own is not counted.")
    max_handshakes: int = _setting(1_000, "Most connections that have not finished their handshake; more are cut.")
    max_inbound: int = _setting(
        64 * 2**10, "Largest message taken from a reader, in bytes; a larger one ends its connection."
    )
    inbound_rate: float = _setting(
        50.0, "Messages a second taken from one reader, after a burst of twice as many; more wait in its socket."
    )
    window: float = _setting(0.002, "Seconds in which messages after the first are joined into one write per reader.")
    send_timeout: float = _setting(10.0, "Seconds a reader may take nothing before it is cut.")
    heartbeat: float = _setting(15.0, "Seconds after which a v2 reader that was sent nothing is told the position.")
    drain: float = _setting(5.0, "Seconds that a shutdown may take.")

    # What it tells
    log_format: str = _setting("console", "Form of the relay's own log: console or json.")
    log_level: str = _setting("info", "Least severe line of it: debug, info, warning or error.")

    def __post_init__(self) -> None:
        _check_types(self)
        _check_url(self.redis_url)
        if not self.channels or any(not name or not name.isprintable() for name in self.channels):
            raise SettingError("channels", "name at least one channel, such as codeworm:logs")
        if any(len(quote(name, safe="")) > MAX_CHANNEL for name in self.channels):  # a directory is named for each
            raise SettingError("channels", f"a channel's name takes {MAX_CHANNEL} bytes, percent-encoded, at most")
        if not self.host:
            raise SettingError("host", "an address such as 127.0.0.1, or 0.0.0.0 for all")
        if not 0 <= self.port <= 65535:
            raise SettingError("port", f"{self.port} is not between 0 and 65535")
        is_taken = self.path in _TAKEN_PATHS or self.path.startswith("/dashboard/")
        if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", self.path) or is_taken:
            raise SettingError("path", f"{self.path!r} is no usable path; /ws is the original's")
        if self.path == "/" and self.static is not None:
            raise SettingError("path", "'/' is where --static serves its front end; /ws is the original's")
        if self.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,256}", self.token):
            raise SettingError("token", "8 to 256 letters, digits and any of . _ ~ - (it must fit a URL and a header)")
        if self.token is not None and self.no_token:
            raise SettingError("no_token", "contradicts a token: give one of the two")
        if self.tls_key is not None and self.tls_cert is None:
            raise SettingError("tls_key", "is of no use without --tls-cert")
        for origin in self.v1_origin:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise SettingError("v1_origin", f"{origin!r} is no origin; one looks like http://localhost:5173")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise SettingError(name, f"{getattr(self, name)} is less than {least}")
        for name in ("dead_after", "send_timeout", "heartbeat", "drain"):
            if not 0 < getattr(self, name) <= 86_400:
                raise SettingError(name, f"{getattr(self, name)} is not between 0 and 86,400 seconds")
        if self.archive is not None and (self.no_archive or not self.archive):
            raise SettingError("archive", "name a directory, or give --no-archive, not both")
        for name, what in (("codeworm_db", "a file"), ("codeworm_config", "a directory")):
            value = getattr(self, name)
            if value is not None and (not value or "\0" in value):
                raise SettingError(name, f"name {what}, or leave it out")
        if self.static is not None and (not self.static or "\0" in self.static):
            raise SettingError("static", "name a directory, or leave it out")
        if self.ollama is not None and not re.fullmatch(r"https?://[^/\s@?#]+/?", self.ollama):
            raise SettingError(
                "ollama", f"{redacted(self.ollama)!r} cannot be used; one looks like http://127.0.0.1:11434"
            )
        if not 1 <= self.ollama_every <= 86_400:
            raise SettingError("ollama_every", f"{self.ollama_every} is not between 1 and 86,400 seconds")
        if not 0 < self.archive_days <= 36_525:
            raise SettingError("archive_days", f"{self.archive_days} is not between 0 and 36,525 days")
        if not 0 <= self.window <= 1:
            raise SettingError("window", f"{self.window} is not between 0 and 1 second")
        if self.log_format not in ("console", "json"):
            raise SettingError("log_format", f"{self.log_format!r} is neither console nor json")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingError("log_level", f"{self.log_level!r} is none of debug, info, warning and error")


class SettingField(NamedTuple):
    """One setting, as options, environment and documentation need it.

    Attributes:
        name: Field of `RelaySettings`.
        option: Its option, such as `--redis-url`.
        variable: Its environment variable.
        type: `str`, `int`, `float`, `bool` or `tuple` (of strings).
        default: Its default.
        help: One sentence or two.
    """

    name: str
    option: str
    variable: str
    type: type
    default: Any
    help: str


def setting_fields() -> Iterator[SettingField]:
    """Yield every setting in the order of its definition."""
    hints = get_type_hints(RelaySettings)
    for one in fields(RelaySettings):
        plain = next(
            kind
            for kind in (bool, int, float, str, tuple)
            if str(hints[one.name]).startswith((f"<class '{kind.__name__}'", kind.__name__))
        )
        default = None if one.default is MISSING else one.default
        option = "--" + one.name.replace("_", "-")
        yield SettingField(
            one.name, option, ENVIRONMENT_PREFIX + one.name.upper(), plain, default, one.metadata["help"]
        )


def redacted(url: str) -> str:
    """Return a URL without its password, fit for a log; takes any text, well-formed or not."""
    # By hand, not by `urlsplit`: a password that was not percent-encoded may hold any of / ? # [ @.
    url = re.sub(r"(?is)(password=).*?(?=&\w+=|$)", r"\1***", url)
    scheme = match[0] if (match := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url)) else ""
    credentials, _, place = url.removeprefix(scheme).rpartition("@")
    user, colon, _ = credentials.partition(":")
    if colon:
        url = f"{scheme}{user}:***@{place}"
    return url


def _check_types(settings: RelaySettings) -> None:
    for one in setting_fields():
        value = getattr(settings, one.name)
        if one.type is tuple and isinstance(value, list):
            value = tuple(value)
            object.__setattr__(settings, one.name, value)
        if value is None and one.default is None:
            continue
        wanted: tuple[type, ...] = (int, float) if one.type is float else (one.type,)
        fits = isinstance(value, wanted) and (one.type is bool or not isinstance(value, bool))
        if not fits or (one.type is tuple and not all(isinstance(item, str) for item in value)):
            noun = "a tuple of strings" if one.type is tuple else f"of type {one.type.__name__}"
            raise SettingError(one.name, f"must be {noun}")


def _check_url(url: str | None) -> None:
    if url is None:
        return
    expected = "expected redis://host:port, rediss://…, unix:///path or redis+sentinel://host:port/name"
    try:
        parts = urlsplit(url)
        port = parts.port if "," not in parts.netloc else None
    except ValueError:
        # The reason quotes what it stumbled over, which may be part of a password.
        problem = "its host or port cannot be read (is each of / ? # [ @ in the password percent-encoded?)"
        raise SettingError("redis_url", f"{problem}; {expected}") from None
    if parts.scheme == "unix" and parts.path:
        return
    if parts.scheme not in ("redis", "rediss", "redis+sentinel") or not parts.netloc or port == 0:
        raise SettingError("redis_url", f"{redacted(url)!r} cannot be used; {expected}")
