"""Frames of the recordings, and frames made of a few messages written down as a person would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import orjson

from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.envelope import Envelope
from codeworm_monitor.recording import recorded
from codeworm_monitor.records import Kind, kind_of
from codeworm_monitor.rows import RowReader
from codeworm_monitor.tables import gap_table, message_table

DATA = Path(__file__).parents[1] / "data"
START = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)


def traffic_of(messages, gaps=()):
    """Returns the traffic of pairs of an envelope and a decoded payload, as the live tables would hold it."""
    reader = RowReader()
    tables = {kind: message_table(kind, capacity=10_000_000) for kind in LAYOUTS}
    for envelope, payload in messages:
        tables[kind_of(envelope.channel)].append([reader.read("recording", envelope, payload)])
    table = gap_table(capacity=1000)
    table.append([("recording", gap) for gap in gaps])
    frames = {str(kind): one.df for kind, one in tables.items()}
    return Traffic.of(**frames, gaps=table.df)


@lru_cache
def recording(number):
    """Returns the traffic of a recording."""
    return traffic_of(recorded(DATA / f"recording-{number}.jsonl.gz"))


def episodes(number):
    """Returns what was done to the daemon of a recording, and when."""
    lines = (DATA / f"recording-{number}.episodes.jsonl").read_text().splitlines()
    return [orjson.loads(line) for line in lines if line.strip()]


class Script:
    """Messages, written one after the other: each takes its place and time.

    The publisher's and the relay's clocks agree; events tell their time as the publisher does, naive and local.
    """

    def __init__(self, start=START, utc_offset=-5):
        self.at = start
        self.messages = []
        self.utc_offset = timedelta(hours=utc_offset)

    def wait(self, seconds):
        self.at += timedelta(seconds=seconds)
        return self

    def log(self, event, *, level="info", **words):
        payload = {"component": "daemon", **words, "event": event, "level": level, "timestamp": self._utc()}
        return self._add(Kind.LOGS, payload)

    def event(self, type_, **words):
        local = (self.at + self.utc_offset).replace(tzinfo=None).isoformat()
        return self._add(Kind.EVENTS, {"type": type_, "timestamp": local, "data": words})

    def stats(self, total, done, failed=0, skipped=0):
        local = (self.at + self.utc_offset).replace(tzinfo=None).isoformat()
        payload = {"timestamp": local, "total_cycles": total, "successful_cycles": done, "failed_cycles": failed}
        return self._add(Kind.STATS, {**payload, "skipped_cycles": skipped})

    def start(self, number):
        return self.log("cycle_starting", cycle_num=number).event("cycle_starting", cycle_num=number).wait(1)

    def work(self, target, *, repo="click", doc_type="function_doc"):
        words = {"target": target, "doc_type": doc_type, "repo": repo}
        self.event("analyzing", **words).log("documenting", **words, score=1.0, dry_run=False)
        return self.event("generating", **words, language="python").wait(2)

    def commit(self, target, commit, *, doc_type="function_doc", repo="click"):
        words = {"target": target, "doc_type": doc_type, "commit": commit, "tokens": 1000, "time_ms": 1900}
        self.log("documentation_committed", **words)
        return self.event(
            "documentation_committed", **words, repo=repo, language="python", commit_message="Add it"
        ).wait(0.1)

    def push(self):
        return self.log("push_successful")

    def good(self, number, target="dedent", commit=None, **words):
        return (
            self.start(number).work(target, **words).commit(target, commit or f"{number:08x}", **words).push().wait(0.1)
        )

    def drop(self, *places):
        """Loses messages, by their places from the end, 1 for the newest."""
        for place in sorted(places):
            self.messages[-place] = None
        return self

    def traffic(self, gaps=()):
        return traffic_of((one for one in self.messages if one is not None), gaps)

    def _utc(self):
        return self.at.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def _add(self, kind, payload):
        self.at += timedelta(milliseconds=1)
        envelope = Envelope(len(self.messages) + 1, self.at.timestamp(), f"codeworm:{kind}", b"", None)
        self.messages.append((envelope, payload))
        return self
