"""Messages for the panels' states, and values of any kind that a hostile publisher may send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from codeworm_monitor.envelope import Envelope

__all__ = ["EVENTS", "LOGS", "STATS", "Feed", "anything", "hostile_messages"]

LOGS, EVENTS, STATS = "codeworm:logs", "codeworm:events", "codeworm:stats"

Message = tuple[Envelope, Any]

texts = st.text(max_size=8) | st.sampled_from(
    ["cycle_starting", "next_cycle", "nan", "9" * 30, "2026-11-24T01:02:03", "\x00\u2028\u202e", "x" * 2000]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Values of JSON, and a few that are none."""

_KEYS = (
    *("event", "type", "level", "component", "timestamp", "data", "target", "repo", "doc_type", "language", "commit"),
    *("commit_message", "tokens", "time_ms", "cycle_num", "seconds", "consecutive_failures", "time", "error"),
    *("total_cycles", "successful_cycles", "failed_cycles", "skipped_cycles", "success_rate", "total_documented"),
    *("last_7_days", "by_repo", "retry_in_seconds", "function", "models", "size_vram", "last_success", "exception"),
)
_NAMES = st.sampled_from(
    [
        *(
            "cycle_starting",
            "analyzing",
            "generating",
            "documentation_committed",
            "next_cycle",
            "documenting",
            "llm_error",
        ),
        *("documentation_failed", "backing_off", "daemon_starting", "daemon_stopped", "state_loaded", "cycle_stats"),
        *("cycle_skipped_no_candidates", "next_scheduled_run", "ollama_unavailable_waiting", "ollama_reachable"),
        *("ollama_unreachable", "ollama_models", "dry_run_complete", "push_failed"),
    ]
)
_details = st.dictionaries(st.sampled_from(_KEYS), anything, max_size=8)
_payloads = st.one_of(
    anything,
    _details,
    st.builds(lambda name, rest: rest | {"event": name}, _NAMES, _details),
    st.builds(lambda name, rest, inner: rest | {"type": name, "data": inner}, _NAMES, _details, _details | anything),
)
_channels = st.sampled_from([LOGS, EVENTS, STATS, "codeworm:relay", "other", "", "x:events"])
hostile_messages = st.lists(
    st.tuples(_channels, _payloads, st.floats(-62_135_596_800, 253_402_300_799) | st.integers(0, 2 * 10**9)),
    max_size=12,
).map(
    lambda drawn: [
        (Envelope(number, at, channel, b""), payload) for number, (channel, payload, at) in enumerate(drawn, 1)
    ]
)
"""Messages in the order of a log, of payloads that have every type in every field."""


class Feed:
    """Makes messages one after another, a second apart unless told otherwise.

    Args:
        at: When the first one comes, Unix seconds.
    """

    def __init__(self, at: float = 1_795_000_000.0) -> None:
        self.at = at
        self.offset = 0

    def message(self, channel: str, payload: Any, *, after: float = 1.0) -> Message:
        self.offset += 1
        self.at += after
        return Envelope(self.offset, self.at, channel, b""), payload

    def log(self, event: str, *, after: float = 1.0, **rest: Any) -> Message:
        return self.message(LOGS, {"event": event, "level": "info", "component": "daemon"} | rest, after=after)

    def event(self, kind: str, *, after: float = 1.0, **data: Any) -> Message:
        return self.message(EVENTS, {"type": kind, "data": data}, after=after)

    def commit(self, *, after: float = 1.0, **data: Any) -> Message:
        told = {
            "target": "Path",
            "repo": "click",
            "doc_type": "til",
            "language": "python",
            "commit": f"{self.offset:08x}",
        }
        return self.event("documentation_committed", after=after, **(told | {"tokens": 1000, "time_ms": 2000.0} | data))

    def stats(self, **counters: Any) -> Message:
        return self.message(STATS, counters)
