from __future__ import annotations

import pytest
from support.readers import v2_reader
from support.waiting import eventually

from codeworm_monitor import Relay, fanout
from codeworm_monitor import endpoint as endpoint_module
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.statistics import RateMeter, ReaderLag, prometheus_text

LOGS = "codeworm:logs"


def test_a_rate_is_the_growth_over_the_last_seconds() -> None:
    meter = RateMeter(over=10.0)
    assert meter.per_second == 0.0
    meter.note(100.0, 5)
    assert meter.per_second == 0.0
    for second in range(1, 61):
        meter.note(100.0 + second, 5 + 3 * min(second, 30))
    assert meter.per_second == 0.0  # nothing came in the last half minute
    meter.note(161.0, 5 + 90 + 11)
    assert meter.per_second == pytest.approx(1.1, rel=0.1)


def test_a_rate_needs_time_to_have_passed() -> None:
    meter = RateMeter()
    meter.note(1.0, 0)
    meter.note(1.0, 9)
    assert meter.per_second == 0.0


async def test_rates_and_the_readers_that_are_behind_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "SWEEP", 0.05)
    monkeypatch.setattr(fanout, "CHUNK", 64 * 2**10)
    source = MemorySource()
    async with (
        Relay(source=source, port=0, no_token=True) as relay,
        v2_reader(relay.url) as reader,
        v2_reader(relay.url, max_queue=1) as slow,
    ):
        await reader.subscribe()
        await slow.subscribe()
        assert (relay.statistics().readers_behind, list(relay.statistics().slowest)) == (0, [])
        payload = b'{"event":"' + b"x" * 100_000 + b'"}'
        count = 300  # 30 MB: more than the slow one's sockets hold
        for _ in range(count):
            source.publish(LOGS, payload)
        await reader.read_until(count)
        await eventually(lambda: relay.statistics().readers_behind == 1)
        await eventually(lambda: relay.statistics().messages_per_second > 0)
        now = relay.statistics()
        (lag,) = now.slowest
        assert lag == ReaderLag("127.0.0.1", "v2", now.most_behind)
        assert 0 < lag.behind <= now.head
        assert now.bytes_sent_per_second > 0
        text = prometheus_text(now)[0].decode()
        assert "codeworm_monitor_readers_behind 1.0" in text
        assert "codeworm_monitor_messages_per_second" in text
        await slow.read_until(count)
        await eventually(lambda: relay.statistics().readers_behind == 0)
        assert slow.is_whole
