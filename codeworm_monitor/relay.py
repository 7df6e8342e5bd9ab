"""The relay: a source, a hub and an endpoint, assembled and kept running."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from codeworm_monitor import __version__, discovery, worm_files
from codeworm_monitor.access import AccessRules
from codeworm_monitor.admission import Admission
from codeworm_monitor.archive.database import named_directory
from codeworm_monitor.archive.replay import ArchiveSource
from codeworm_monitor.archive.upkeep import Upkeep
from codeworm_monitor.archive.writer import ArchiveWriter
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.backoff import delays
from codeworm_monitor.dashboard_api import DashboardAPI
from codeworm_monitor.embedded import EmbeddedServer, Presence, running_redis
from codeworm_monitor.endpoint import Endpoint
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ArchiveError, EmbeddedServerError, RelayError, SettingError
from codeworm_monitor.http import JSON, Answer
from codeworm_monitor.hub import Hub
from codeworm_monitor.journal import Journal
from codeworm_monitor.ollama_watcher import OllamaWatcher
from codeworm_monitor.page import Page
from codeworm_monitor.page_states import PageStates
from codeworm_monitor.pages import history_page, parse_page_request
from codeworm_monitor.settings import RelaySettings, redacted
from codeworm_monitor.sources import Connected, Disconnected, Message, Probe, Source
from codeworm_monitor.sources.redis import RedisSource
from codeworm_monitor.static_files import StaticFiles
from codeworm_monitor.statistics import RelayStatistics, prometheus_text

__all__ = ["Relay"]

PORTION = 4096
"""Messages taken in at one time, at most; however many came at once, readers get these before more enter the backlog."""

log = logging.getLogger(__name__)


class Relay:
    """Takes messages from a source, numbers them, and fans them out to readers over WebSocket.

    Promises, as far as the relay reaches (upstream, Redis pub/sub is at-most-once):

    1. *Order*: one total order over all channels; every reader sees ascending offsets, without duplicates.
    2. *Loss*: every offset reaches a connected reader or is covered by a gap that a v2 reader sees; every
       interruption of the subscription upstream is a gap too.
    3. *Resume*: a v2 reader that returns with its cursor continues without loss or duplicate as far as the backlog
       reaches, else it is told what is missing.
    4. *Isolation*: no reader delays another, or grows memory beyond one write and a high-water mark.
    5. *Bytes*: valid JSON is delivered byte for byte; anything else as `{"raw": text}`, marked.

    One object, two spellings: `async with Relay(...) as relay:`, or `relay = await Relay(...).start()` and
    `await relay.aclose()`. It runs as background tasks of the loop it was started in; a cell or function that blocks
    that loop blocks it too: `start_relay_in_thread` gives it a loop of its own. Not reusable after it was closed.

    Args:
        settings: How it runs; None: the defaults.
        source: Where messages come from; None: Redis, as the settings say, or the embedded server. With a source of
            the caller's, nothing is kept unless `archive` names a directory. With one that serves the past
            (`ArchiveSource`), readers are told the time of then, and notebooks that name no relay mean another.
        options: Single settings, by name, that take precedence over `settings`.

    Raises:
        SettingError: A setting has an unusable value.

    Example:
        >>> async with Relay(port=0) as relay:
        ...     print(relay.url)
    """

    def __init__(
        self,
        settings: RelaySettings | None = None,
        *,
        source: Source | None = None,
        **options: Any,
    ) -> None:
        self.settings = replace(settings or RelaySettings(), **options)
        self.token = None if self.settings.no_token else self.settings.token or secrets.token_urlsafe(24)
        """What readers must present; None: nothing."""
        self.hub = Hub(
            backlog=Backlog(max_entries=self.settings.backlog, max_bytes=self.settings.backlog_bytes),
            max_payload=self.settings.max_payload,
        )
        self._journal = Journal(self._record)
        self._ollama = (
            None
            if self.settings.ollama is None
            else OllamaWatcher(self.settings.ollama, every=self.settings.ollama_every, note=self._journal.note)
        )
        self.upstream = "" if source is None else source.name
        """Where messages come from, without secrets."""
        self.redis_url: str | None = self.settings.redis_url
        """Redis to publish to; None with a source of the caller's."""
        self._source = source
        self._replayed = source if isinstance(source, ArchiveSource) else None
        self._embedded: EmbeddedServer | None = None
        self._endpoint: Endpoint | None = None
        self._page_states: PageStates | None = None
        self._announcement: Path | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_started = self._is_closed = False
        self._outages = 0
        self._lost: Disconnected | None = None
        self._state_since = time.time()
        self._is_connected = asyncio.Event()
        self._archive = self._new_archive()
        self._early: list[Message] | None = None if self._archive is None else []
        """What befell the relay before its numbering was known; None: it is known."""

    @property
    def port(self) -> int:
        """Port it listens on."""
        return self._started.port

    @property
    def url(self) -> str:
        """WebSocket URL for readers on this machine; without the token."""
        host = self.settings.host
        if self.settings.tls_cert is not None and self.settings.allowed_host:
            host = self.settings.allowed_host[0]  # what its certificate is for, most likely
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        scheme = "ws" if self.settings.tls_cert is None else "wss"
        return f"{scheme}://{host}:{self.port}{self.settings.path}"

    @property
    def is_embedded(self) -> bool:
        """Whether messages come through the embedded server."""
        return self._embedded is not None

    @property
    def announcement(self) -> Path | None:
        """The file, readable by this user only, in which notebooks on this machine find URL and token."""
        return self._announcement

    @property
    def archive(self) -> Path | None:
        """The directory in which messages are kept; None: they are not."""
        return None if self._archive is None else self._archive.directory

    @property
    def _started(self) -> Endpoint:
        if self._endpoint is None:
            raise RelayError("the relay is not started")
        return self._endpoint

    async def start(self) -> Self:
        """Begin to listen and to read; returns when readers can connect.

        Redis need not be up: the relay keeps trying, and `/readyz` and `wait_connected` tell when it is heard.

        Raises:
            PortTakenError: Something else listens on the port.
            ArchiveBusyError: Another relay writes to the archive.
            ArchiveTooNewError: A newer release wrote it.
            EmbeddedServerError: The embedded server was needed and did not come up.
            RelayError: The relay was started before.
            SettingError: A certificate, a front end or a file's place cannot be used.
        """
        if self._is_started or self._is_closed:
            raise RelayError("a relay is started once; make a new one")
        self._is_started = True
        settings = self.settings
        dashboard, static = await asyncio.to_thread(_dashboard, settings)
        page = await asyncio.to_thread(Page, socket_path=settings.path)
        clock = time.time if self._replayed is None else self._replayed.clock
        self._page_states = PageStates(self.hub, dashboard=dashboard, info=self._told, clock=clock)
        endpoint = self._endpoint = Endpoint(
            self.hub,
            AccessRules(
                token=self.token,
                origins=settings.v1_origin,
                hosts=settings.allowed_host,
                serves_pages=static is not None,
            ),
            answer=self._answer,
            channels=settings.channels,
            version=__version__,
            path=settings.path,
            dashboard=dashboard,
            static=static,
            page=page,
            history=settings.history,
            admission=Admission(
                max_readers=settings.max_readers,
                max_per_address=settings.max_readers_per_address,
                max_handshakes=settings.max_handshakes,
            ),
            max_inbound=settings.max_inbound,
            inbound_rate=settings.inbound_rate,
            note=self._journal.note,
            clock=clock,
            window=settings.window,
            send_timeout=settings.send_timeout,
            heartbeat=settings.heartbeat,
        )
        try:
            tls = await asyncio.to_thread(_tls_context, settings.tls_cert, settings.tls_key)
            await endpoint.start(settings.host, settings.port, tls=tls)  # first: a taken port should start nothing else
            if self._archive is not None:
                await self._open_archive(self._archive)
            endpoint.open(self._archive)
            source = self._source = self._source or await self._find_redis()
            self.upstream = source.name
            self._announcement = await asyncio.to_thread(
                discovery.announce,
                self.port,
                url=self.url,
                token=self.token,
                version=__version__,
                is_replay=self._replayed is not None,
                redis_url=self.redis_url,
            )
        except BaseException:
            await self.aclose()
            raise
        self._tasks.append(asyncio.create_task(self._read(source), name="relay:read"))
        if self._ollama is not None:
            self._tasks.append(asyncio.create_task(self._ollama.run(), name="relay:ollama"))
        log.info("relaying %s from %s at %s", ", ".join(settings.channels), self.upstream, self.url)
        return self

    async def wait_connected(self) -> None:
        """Wait until all channels are heard. Cancelling it changes nothing."""
        await self._is_connected.wait()

    async def aclose(self) -> None:
        """Stop: withdraw the announcement, stop reading, tell readers to come back, stop the embedded server.

        Takes `settings.drain` seconds at most for the readers, as much for the archive, and a moment; may be called again. If cancelled, what is left is
        stopped when the loop ends.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._announcement is not None:
            await asyncio.to_thread(discovery.withdraw, self._announcement)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        if self._endpoint is not None:
            await self._endpoint.aclose(within=self.settings.drain)
        if self._page_states is not None:
            await self._page_states.aclose()
        if self._archive is not None:
            await self._archive.aclose(within=self.settings.drain)
        if self._embedded is not None:
            await self._embedded.aclose()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_tasks", None) and not self._is_closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        if self._is_closed:
            return "<Relay closed>"
        if self._endpoint is None:
            return "<Relay not started>"
        return f"<Relay {self.url}: {self._endpoint.readers} readers, {self.hub.head} entries from {self.upstream}>"

    # What is kept

    def _new_archive(self) -> ArchiveWriter | None:
        settings = self.settings
        # What a program plays into a relay is no part of the user's record, unless it says so.
        if settings.no_archive or (settings.archive is None and self._source is not None):
            return None
        return ArchiveWriter(named_directory(settings.archive), note=self._journal.note)

    def _record(self, messages: list[Message]) -> None:
        """Take records of the relay itself; readers come, and go, before the archive is open."""
        if self._early is None:
            self.hub.receive(messages)
        else:
            self._early += messages

    async def _open_archive(self, archive: ArchiveWriter) -> None:
        """Go on with the numbering that the archive holds, and say what is missing since."""
        opening = await archive.open(self.hub.epoch)
        self.hub.take_up(opening.epoch, opening.head, opening.past)
        archive.follow(self.hub.backlog)
        self.hub.listen(archive.on_growth)
        if opening.gap is not None:
            self.hub.report(opening.gap)
        now, early, self._early = time.time(), self._early or [], None
        self.hub.receive([message._replace(received_at=now) for message in early])
        upkeep = Upkeep(
            archive,
            days=self.settings.archive_days,
            max_bytes=self.settings.archive_bytes,
            note=self._journal.note,
        )
        self._tasks.append(asyncio.create_task(upkeep.run(), name="relay:upkeep"))
        if archive.status.is_writing:
            kept = f"messages are kept in {archive.directory} for {self.settings.archive_days:g} days, "
            log.info("%s%.3g GiB at most", kept, self.settings.archive_bytes / 2**30)

    # Upstream

    async def _find_redis(self) -> Source:
        settings = self.settings
        if self.redis_url is None:
            match await running_redis():
                case Presence.OPEN:
                    self.redis_url = "redis://127.0.0.1:6379"
                case Presence.LOCKED:
                    log.warning("a Redis on 127.0.0.1:6379 wants a password: to relay it, name it with --redis-url")
        if self.redis_url is None:
            server = self._embedded = await EmbeddedServer().start()
            self.redis_url = server.url
            self._tasks.append(asyncio.create_task(self._keep(server), name="relay:embedded"))
        return RedisSource(self.redis_url, channels=settings.channels, dead_after=settings.dead_after)

    async def _keep(self, server: EmbeddedServer) -> None:
        """Start the embedded server again, on its port, whenever it ends by itself."""
        while True:
            await server.wait_closed()
            log.warning("the embedded server ended (status %s) and is started again", server.returncode)
            self._journal.note("embedded_server_restarted", level="warning", status=server.returncode)
            for pause in delays(longest=3.0):
                try:
                    await server.start()
                except EmbeddedServerError as error:
                    log.error("%s", error)
                else:
                    if server.url == self.redis_url:
                        break
                    log.error("%s is taken by another server: trying again", self.redis_url)
                    await server.aclose()
                await asyncio.sleep(pause)

    async def _read(self, source: Source) -> None:
        """Take what happens upstream. Ends with the source; a recording has an end.

        A source tells its troubles itself. What it raises all the same is a mistake, of it or of ours: the relay is deaf
        then and says so; Redis is asked anew, as nothing is lost by it.
        """
        for pause in delays(longest=30.0):
            try:
                await self._take_all(source)
            except Exception as error:  # whatever it is, the relay must not stay deaf in silence
                problem = f"reading failed on {type(error).__name__}: {redacted(str(error))[:300]}"
                self._on_disconnected(Disconnected(time.time(), problem), logging.ERROR)
                if not isinstance(source, RedisSource):
                    raise
                await asyncio.sleep(pause)
            else:
                self._on_disconnected(Disconnected(time.time(), "the source has ended"), logging.INFO)
                return

    async def _take_all(self, source: Source) -> None:
        fanout, settings = self._started.fanout, self.settings
        async with aclosing(aiter(source)) as happenings:
            async for happening in happenings:
                match happening:
                    case list():
                        for portion in _portions(happening, max(1, settings.backlog // 2), settings.backlog_bytes // 4):
                            self.hub.receive(portion)
                            await fanout.let_catch_up()
                    case Connected(at=at):
                        self._on_connected(at)
                    case Disconnected():
                        self._on_disconnected(happening)
                    case Gap():
                        self.hub.report(happening)

    def _on_connected(self, at: float) -> None:
        if self._lost is not None:
            log.info("%s is heard again, after %.1f s", self.upstream, at - self._lost.at)
            self._journal.note(
                "upstream_heard_again", upstream=self.upstream, after_seconds=round(at - self._lost.at, 3)
            )
            self.hub.report(
                Gap(
                    cause=GapCause.SOURCE_OUTAGE,
                    started_at=self._lost.at,
                    ended_at=max(at, self._lost.at),
                    detail=f"{self.upstream}: {self._lost.reason}",
                )
            )
        self._lost, self._state_since = None, at
        self._is_connected.set()

    def _on_disconnected(self, lost: Disconnected, level: int = logging.WARNING) -> None:
        if self._lost is None:
            self._outages += 1
            self._journal.note("upstream_lost", level="warning", upstream=self.upstream, error=lost.reason)
            self._lost, self._state_since = lost, lost.at
        else:  # still away; only the reason is news
            self._lost = replace(lost, at=self._lost.at)
        self._is_connected.clear()
        log.log(level, "%s is not heard: %s", self.upstream, lost.reason)

    # What it knows of itself

    def statistics(self) -> RelayStatistics:
        """Return the relay's state at this moment."""
        endpoint, hub, probe = self._started, self.hub, self._probe
        lags = endpoint.fanout.lags()
        return RelayStatistics(
            version=__version__,
            epoch=hub.epoch,
            oldest=hub.backlog.oldest,
            head=hub.head,
            backlog_bytes=hub.backlog.bytes,
            started_at=hub.started_at,
            upstream=self.upstream,
            is_connected=self._is_connected.is_set(),
            upstream_since=self._state_since,
            upstream_reason="" if self._lost is None else self._lost.reason,
            outages=self._outages,
            received=dict(hub.received),
            marked={str(mark): number for mark, number in hub.marked.items()},
            gaps={str(cause): number for cause, number in hub.gaps.items()},
            readers=endpoint.readers,
            readers_connected=endpoint.connected,
            readers_refused=endpoint.refused,
            readers_evicted=endpoint.evicted,
            readers_throttled=endpoint.throttled,
            handshakes=endpoint.admission.handshakes,
            refused_by_bound=dict(endpoint.admission.refused),
            loop_lag=endpoint.loop_lag,
            readers_behind=len(lags),
            slowest=lags[:10],
            most_behind=endpoint.fanout.most_behind,
            messages_per_second=endpoint.message_rate.per_second,
            bytes_sent_per_second=endpoint.byte_rate.per_second,
            bytes_sent=endpoint.fanout.bytes_sent,
            probe_state=None if probe is None else str(probe.state),
            probe_age=None if probe is None else probe.age,
            probe_round_trip=None if probe is None else probe.round_trip,
            probe_reason="" if probe is None else probe.reason,
            last_message_at=hub.snapshot.last_message_at,
            readers_catching_up=endpoint.catching_up,
            archive=None if self._archive is None else self._archive.status,
            ollama=None if self._ollama is None else self._ollama.status,
        )

    @property
    def _probe(self) -> Probe | None:
        """The canary through Redis; None with a source that has none."""
        return self._source.probe if isinstance(self._source, RedisSource) else None

    async def _answer(self, path: str, query: str) -> Answer | None:
        match path:
            case "/livez":
                return Answer(HTTPStatus.OK, b"alive\n")
            case "/readyz":
                probe = "" if self._probe is None else f"probe: {self._probe}\n"
                probe += "" if self._archive is None else f"archive: {self._archive}\n"
                if self._is_connected.is_set():
                    return Answer(HTTPStatus.OK, f"ready\n{probe}".encode())
                reason = "not subscribed yet" if self._lost is None else self._lost.reason
                return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"deaf: {self.upstream}: {reason}\n{probe}".encode())
            case "/metrics":
                body, content_type = prometheus_text(self.statistics())
                return Answer(HTTPStatus.OK, body, content_type)
            case "/history":
                return await self._history(query)
            case "/panels" if self._page_states is not None:
                return await self._page_states.answer()
            case "/info":
                known = {
                    **self._told(),
                    "channels": self.settings.channels,
                    "snapshot": self.hub.snapshot.as_dict(),
                    "archive": None if self.archive is None else {"directory": str(self.archive.absolute())},
                    "codeworm": await asyncio.to_thread(
                        worm_files.told, self.settings.codeworm_db, self.settings.codeworm_config
                    ),
                }
                return Answer(HTTPStatus.OK, orjson.dumps(known), JSON)
            case _:
                return None

    def _told(self) -> dict[str, Any]:
        """Return what it tells of itself and of Ollama."""
        return {
            "statistics": self.statistics().as_dict(),
            "ollama": None if self._ollama is None else asdict(self._ollama.status),
        }

    async def _history(self, query: str) -> Answer:
        try:
            page = await history_page(parse_page_request(query, time.time()), self.hub, self._archive)
        except ValueError as error:
            return Answer(HTTPStatus.BAD_REQUEST, f"{error}\n".encode(errors="replace"))
        except ArchiveError as error:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode(errors="replace"))
        return Answer(HTTPStatus.OK, page, JSON)


def _portions(messages: list[Message], most: int, most_bytes: int) -> Iterator[list[Message]]:
    """Yield messages in portions of `PORTION` or `most` messages and about `most_bytes`, of one at least."""
    most = min(PORTION, most)
    for start in range(0, len(messages), most):
        portion = messages[start : start + most]
        if sum([len(message[1]) for message in portion]) > most_bytes and len(portion) > 1:
            yield from _portions(portion, (len(portion) + 1) // 2, most_bytes)
        else:
            yield portion


def _dashboard(settings: RelaySettings) -> tuple[DashboardAPI, StaticFiles | None]:
    """Return what answers the original front end, and the files of one; looks at the disk."""
    static = None if settings.static is None else StaticFiles(settings.static)
    if static is not None:
        static.check()
        if settings.codeworm_db is None:
            log.warning("--static without --codeworm-db: what the front end counts stays at zero")
    return DashboardAPI(settings.codeworm_db, settings.codeworm_config), static


def _tls_context(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingError("tls_cert", f"{certificate} cannot be used: {error.strerror or error}") from error
    return context
