"""What a relay knows of itself, at one moment, and the same as Prometheus metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

# Imported here and not when first asked: it reads files, which would hold the loop for some 50 ms.
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

if TYPE_CHECKING:
    from codeworm_monitor.archive.writer import ArchiveStatus
    from codeworm_monitor.ollama_watcher import OllamaStatus

__all__ = ["RateMeter", "ReaderLag", "RelayStatistics", "prometheus_text"]


class RateMeter:
    """Tells from counts that are noted now and then how fast they grow.

    Args:
        over: Seconds looked back.
    """

    def __init__(self, over: float = 10.0) -> None:
        self.over = over
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, now: float, count: int) -> None:
        """Note what a count is at a time, in seconds on any clock that does not go back."""
        self._noted.append((now, count))
        while len(self._noted) > 2 and now - self._noted[1][0] >= self.over:
            self._noted.popleft()

    @property
    def per_second(self) -> float:
        """Growth a second, between the oldest note and the newest; 0 before there are two."""
        if len(self._noted) < 2:
            return 0.0
        (then, before), (now, count) = self._noted[0], self._noted[-1]
        return (count - before) / (now - then) if now > then else 0.0


@dataclass(frozen=True, slots=True)
class ReaderLag:
    """A reader that has not been sent all.

    Attributes:
        address: Address of its other end.
        protocol: `v1` or `v2`.
        behind: Entries by which it is behind.
    """

    address: str
    protocol: str
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatistics:
    """A relay at one moment. Times are Unix seconds, by the relay's clock.

    Attributes:
        version: Version of the package.
        epoch: Identity of the numbering.
        oldest: Oldest offset in the backlog.
        head: Newest offset given.
        backlog_bytes: What the backlog is reckoned at.
        started_at: When the relay started.
        upstream: Where messages come from, without secrets.
        is_connected: Whether all channels are heard now.
        upstream_since: Since when that is so.
        upstream_reason: Why not, in one line; empty while connected.
        outages: Interruptions of upstream so far.
        received: Messages by channel.
        marked: Messages whose data is not the payload, by mark.
        gaps: Gaps by cause, those of single readers included.
        readers: Readers connected now.
        readers_connected: Readers that connected so far.
        readers_refused: Requests refused so far, by the rules or a bound.
        readers_throttled: Messages of readers that had to wait, because they came faster than is taken.
        handshakes: Connections in mid-handshake now.
        refused_by_bound: Connections refused so far, by the bound they met.
        readers_evicted: Readers cut so far because they took nothing, or sent more at once than is kept for one.
        readers_behind: Readers that have not been sent all, now.
        slowest: The ten of them that are farthest behind.
        most_behind: Entries by which the reader farthest behind is behind.
        messages_per_second: Entries numbered a second, over the last ten seconds.
        bytes_sent_per_second: Bytes of messages handed to sockets a second, likewise.
        bytes_sent: Bytes of messages handed to sockets so far.
        probe_state: Of the canary through Redis (`sources.ProbeState`); None with a source that has none.
        probe_age: Seconds since the newest probe that came back was sent; None before the first.
        probe_round_trip: Seconds that it took; None before the first.
        probe_reason: Why there is none, or it does not come back; else empty.
        loop_lag: Seconds by which the event loop was late at the last look.
        last_message_at: When the newest message came; None before the first.
        readers_catching_up: Readers that are served from the archive, now.
        archive: The archive; None if nothing is kept.
        ollama: Ollama beside it; None if it is not looked at.
    """

    version: str
    epoch: str
    oldest: int
    head: int
    backlog_bytes: int
    started_at: float
    upstream: str
    is_connected: bool
    upstream_since: float
    upstream_reason: str
    outages: int
    received: Mapping[str, int]
    marked: Mapping[str, int]
    gaps: Mapping[str, int]
    readers: int
    readers_connected: int
    readers_refused: int
    readers_throttled: int
    handshakes: int
    refused_by_bound: Mapping[str, int]
    readers_evicted: int
    readers_behind: int
    slowest: Sequence[ReaderLag]
    most_behind: int
    messages_per_second: float
    bytes_sent_per_second: float
    bytes_sent: int
    probe_state: str | None
    probe_age: float | None
    probe_round_trip: float | None
    probe_reason: str
    loop_lag: float
    last_message_at: float | None
    readers_catching_up: int
    archive: ArchiveStatus | None
    ollama: OllamaStatus | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


def prometheus_text(statistics: RelayStatistics) -> tuple[bytes, str]:
    """Return the metrics in Prometheus' text format, and its media type."""

    class Collector:
        def collect(self) -> Iterator[Metric]:
            return _metrics(statistics)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _metrics(now: RelayStatistics) -> Iterator[Metric]:
    prefix = "codeworm_monitor_"
    yield InfoMetricFamily(
        prefix + "relay", "The relay and its numbering.", value={"version": now.version, "epoch": now.epoch}
    )
    gauges: list[tuple[str, str, float]] = [
        ("start_time_seconds", "When the relay started, Unix seconds.", now.started_at),
        ("upstream_connected", "1 while all channels are heard.", float(now.is_connected)),
        ("upstream_since_seconds", "Since when upstream is in its present state, Unix seconds.", now.upstream_since),
        ("oldest_offset", "Oldest offset in the backlog.", now.oldest),
        ("head_offset", "Newest offset given.", now.head),
        ("backlog_bytes", "What the backlog is reckoned at.", now.backlog_bytes),
        ("readers", "Readers connected now.", now.readers),
        ("handshakes", "Connections in mid-handshake now.", now.handshakes),
        ("loop_lag_seconds", "Seconds by which the event loop was late at the last look.", now.loop_lag),
        ("readers_behind", "Readers that have not been sent all.", now.readers_behind),
        ("messages_per_second", "Entries numbered a second, over ten seconds.", now.messages_per_second),
        ("sent_bytes_per_second", "Bytes of messages handed to sockets a second, likewise.", now.bytes_sent_per_second),
        ("most_behind_entries", "Entries by which the reader farthest behind is behind.", now.most_behind),
        ("readers_catching_up", "Readers that are served from the archive.", now.readers_catching_up),
    ]
    if now.archive is not None:
        gauges += [
            ("archive_writing", "1 while the archive can be written.", float(now.archive.is_writing)),
            ("archived_offset", "Newest offset that is on disk.", now.archive.archived),
            ("archive_waiting_entries", "Entries that are not on disk yet.", now.archive.waiting),
        ]
    optional: list[tuple[str, str, float | None]] = [
        ("last_message_seconds", "When the newest message came, Unix seconds.", now.last_message_at),
        ("probe_age_seconds", "Since the newest probe through Redis that came back was sent.", now.probe_age),
        ("probe_round_trip_seconds", "What that probe took.", now.probe_round_trip),
    ]
    if (ollama := now.ollama) is not None:
        optional += [
            ("ollama_reachable", "1 while Ollama answers.", ollama.is_reachable),
            ("ollama_models", "Models that Ollama holds in memory.", ollama.models_loaded),
            ("ollama_model_bytes", "Bytes that they take.", ollama.size),
            ("ollama_vram_bytes", "Those of them in the memory of graphics cards.", ollama.size_vram),
            ("ollama_look_age_seconds", "Since the newest look at Ollama ended.", ollama.age),
            ("ollama_round_trip_seconds", "What the newest look that went well took.", ollama.round_trip),
        ]
    gauges += [(name, text, float(number)) for name, text, number in optional if number is not None]
    for name, text, number in gauges:
        yield GaugeMetricFamily(prefix + name, text, value=number)
    counters: list[tuple[str, str, float]] = [
        ("outages", "Interruptions of upstream.", now.outages),
        ("readers_connected", "Readers that connected.", now.readers_connected),
        ("readers_refused", "Requests refused.", now.readers_refused),
        ("readers_evicted", "Readers cut because they took nothing or sent too much at once.", now.readers_evicted),
        ("throttled_messages", "Messages of readers that had to wait.", now.readers_throttled),
        ("sent_bytes", "Bytes of messages handed to sockets.", now.bytes_sent),
    ]
    if now.archive is not None:
        counters.append(("archive_lost", "Entries that could not be archived.", now.archive.lost))
    if now.ollama is not None:
        counters.append(("ollama_outages", "Stretches in which Ollama was not reachable.", now.ollama.outages))
    for name, text, number in counters:
        yield CounterMetricFamily(prefix + name, text, value=number)
    labelled: list[tuple[str, str, str, Mapping[str, int]]] = [
        ("messages", "Messages received.", "channel", now.received),
        ("marked_messages", "Messages whose data is not the payload.", "mark", now.marked),
        ("bound_refusals", "Connections refused, by the bound they met.", "bound", now.refused_by_bound),
        ("gaps", "Gaps, those of single readers included.", "cause", now.gaps),
    ]
    for name, text, label, numbers in labelled:
        family = CounterMetricFamily(prefix + name, text, labels=[label])
        for value, number in numbers.items():
            family.add_metric([value], number)
        yield family
