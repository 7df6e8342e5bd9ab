from __future__ import annotations

import itertools
import threading
from typing import Any

import orjson
import pytest
from support.kept import Kept, kept

from codeworm_monitor import pages
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.filters import Filter
from codeworm_monitor.hub import Hub
from codeworm_monitor.pages import PageRequest, history_page, parse_page_request
from codeworm_monitor.sources import Message

LOGS, EVENTS = "codeworm:logs", "codeworm:events"
NOW = 1_795_384_606.0


async def pages_of(it: Kept, query: str) -> list[dict[str, Any]]:
    """Return the entries of all pages."""
    entries, cursor = [], ""
    for _ in range(1000):
        page = orjson.loads(await history_page(parse_page_request(query + cursor, NOW), it.hub, it.archive))
        entries += page["entries"]
        if page["next"] is None:
            return entries
        cursor = f"&cursor={page['next']}"
    raise AssertionError("the pages do not end")


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["data"]["n"] for entry in entries if "data" in entry]


async def fill(it: Kept, count: int, *, unwritten: int = 0) -> None:
    """Publish lines of a second each; the last ones are not on disk yet."""
    for number in range(count):
        level = ("debug", "info", "warning", "error")[number % 4]
        it.publish(orjson.dumps({"n": number, "level": level, "repo": f"r{number % 3}"}), at=1000.0 + number)
    assert await it.archive.flushed(it.hub.head)
    it.archive._is_closing = True  # nothing is written from here on
    for number in range(count, count + unwritten):
        it.publish(orjson.dumps({"n": number, "level": "info", "repo": "r0"}), at=1000.0 + number)


@pytest.fixture
async def it(tmp_path):
    async with kept(tmp_path) as it:
        yield it
        it.archive._is_closing = False


@pytest.mark.parametrize("limit", [1, 7, 100, 1000, 5000])
async def test_pages_follow_each_other_without_a_hole_or_a_double_into_what_is_not_written_yet(it, limit):
    await fill(it, 90, unwritten=20)
    assert numbers(await pages_of(it, f"limit={limit}")) == list(range(110))
    assert numbers(await pages_of(it, f"limit={limit}&reverse=true")) == list(reversed(range(110)))


async def test_a_stretch_begins_with_since_and_ends_before_until(it):
    await fill(it, 90, unwritten=20)
    assert numbers(await pages_of(it, "since=1010&until=1013&limit=2")) == [10, 11, 12]
    assert numbers(await pages_of(it, "since=1088.5&until=1091.5")) == [89, 90, 91]
    assert numbers(await pages_of(it, "since=1970-01-01T00:18:25&reverse=1&limit=3")) == [*reversed(range(105, 110))]
    assert numbers(await pages_of(it, f"since={NOW}")) == []


async def test_filters_are_those_of_subscribe(it):
    await fill(it, 90, unwritten=20)
    it.publish(b'{"n": "event", "type": "next_cycle"}', channel=EVENTS, at=2000.0)
    assert numbers(await pages_of(it, "level=error&channel=logs")) == list(range(3, 90, 4))
    assert numbers(await pages_of(it, "level=%3E%3Derror&limit=1")) == [*range(3, 90, 4), "event"]
    assert numbers(await pages_of(it, "channel=events")) == ["event"]
    assert numbers(await pages_of(it, "repo=r1&repo=r2&until=1006")) == [1, 2, 4, 5]
    assert numbers(await pages_of(it, "text=NEXT_cycle")) == ["event"]


async def test_an_entry_says_all_that_a_batch_says_and_a_gap_all_that_a_gap_says(it):
    it.hub.receive([Message(LOGS, b'{ "exact" : "\xc3\xbc" }', 1000.25), Message(LOGS, b"no JSON", 1000.5)])
    gap = Gap(cause=GapCause.SOURCE_OUTAGE, started_at=1001.0, ended_at=1002.0, detail="away")
    it.hub.report(gap)
    assert await it.archive.flushed(3)
    text = await history_page(PageRequest(), it.hub, it.archive)
    assert b'"data":{ "exact" : "\xc3\xbc" }' in text
    first, second, third = orjson.loads(text)["entries"]
    epoch = it.hub.epoch
    exact = {"epoch": epoch, "offset": 1, "received_at": 1000.25, "channel": LOGS, "data": {"exact": "ü"}}
    assert first == exact
    assert (second["data"], second["mark"]) == ({"raw": "no JSON"}, "raw")
    assert third == {"epoch": epoch, "gap": {**gap.as_dict(), "offset": 3}}


async def test_a_filter_that_lets_nothing_through_keeps_nobody_waiting(it, monkeypatch):
    monkeypatch.setattr(pages, "LOOKED_AT", 50)
    monkeypatch.setattr(pages, "STEP", 20)
    await fill(it, 200)
    page = orjson.loads(await history_page(parse_page_request("text=nothing", NOW), it.hub, it.archive))
    assert page["entries"] == []
    assert page["next"] is not None
    assert await pages_of(it, "text=nothing") == []


async def test_a_page_of_large_payloads_ends_early(it, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_BYTES", 10_000)
    for number in range(20):
        it.publish(orjson.dumps({"n": number, "text": "x" * 4000}), at=1000.0 + number)
    page = orjson.loads(await history_page(PageRequest(), it.hub, it.archive))
    assert numbers(page["entries"]) == [0, 1, 2]
    assert numbers(await pages_of(it, "limit=5000")) == list(range(20))


async def test_without_an_archive_the_backlog_is_what_there_is():
    hub = Hub(epoch="e")
    hub.receive([Message(LOGS, b'{"n":%d}' % number, 1000.0 + number) for number in range(10)])
    page = orjson.loads(await history_page(parse_page_request("limit=4&since=1002", NOW), hub, None))
    assert numbers(page["entries"]) == [2, 3, 4, 5]
    assert {entry["epoch"] for entry in page["entries"]} == {"e"}


async def test_messages_of_one_microsecond_are_told_apart_over_pages(it):
    for number in range(30):
        it.publish(b'{"n":%d}' % number, at=1000.0)
    for reverse, limit in itertools.product((0, 1), (1, 4, 30)):
        expected = list(range(30))[:: -1 if reverse else 1]
        assert numbers(await pages_of(it, f"limit={limit}&reverse={reverse}")) == expected


def test_a_request_without_anything_is_for_the_first_thousand_of_all():
    assert parse_page_request("", NOW) == PageRequest(limit=1_000)
    assert parse_page_request("token=abc", NOW) == PageRequest()


def test_times_are_unix_seconds_or_as_people_write_them():
    request = parse_page_request("since=2h&until=2026-11-22T21:56:46Z", NOW)
    assert request.since == round((NOW - 7200) * 1e6)
    assert request.until == 1_795_384_606_000_000


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "1 to 5000"),
        ("limit=5001", "1 to 5000"),
        ("limit=x", "1 to 5000"),
        ("limit=" + "9" * 5000, "1 to 5000"),
        ("limit=1&limit=2", "twice"),
        ("sinc=1", "no 'sinc'"),
        ("since=maybe", "no time"),
        ("since=1e300", "no time"),
        ("since=nan", "no time"),
        ("until=99999999999999", "no time"),
        ("level=loud", "^level is one of"),
        ("reverse=perhaps", "true or false"),
        ("since=10&until=10", "later"),
        ("cursor=1.2", "next"),
        ("cursor=1.2.x", "next"),
        ("cursor=1.2." + "9" * 30, "next"),
        ("cursor=1.2." + "9" * 19, "next"),
        ("text=" + "x" * 300, "256"),
        ("&".join(f"repo=a{number}" for number in range(65)), "fields"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(query, said):
    with pytest.raises(ValueError, match=said):
        parse_page_request(query, NOW)


def test_the_filter_is_the_one_of_the_wire():
    request = parse_page_request(
        "level=Warning&component=daemon&repo=a&repo=b&text=X&channel=stats&channel=my:own", NOW
    )
    assert request.filter == Filter(
        channels=frozenset({"codeworm:stats", "my:own"}),
        level="warning",
        components=frozenset({"daemon"}),
        repos=frozenset({"a", "b"}),
        text="x",
    )


@pytest.mark.parametrize("size", [1, 300, 5000])
async def test_steps_that_bytes_end_leave_no_hole(it, monkeypatch, size):
    await fill(it, 60, unwritten=20)
    monkeypatch.setattr(pages, "PAGE_BYTES", size)
    for channel in ("", "&channel=logs"):
        assert numbers(await pages_of(it, f"limit=5000{channel}")) == list(range(80))
        assert numbers(await pages_of(it, f"limit=5000&reverse=true{channel}")) == list(reversed(range(80)))


async def test_without_an_archive_a_long_backlog_holds_nobody_up():
    hub, threads = Hub(epoch="e"), set()
    hub.receive([Message(LOGS, b'{"n":%d}' % number, 1000.0 + number) for number in range(10)])

    class Watched(Filter):
        def accepts(self, *_):
            threads.add(threading.current_thread())
            return True

    await history_page(PageRequest(filter=Watched()), hub, None)
    assert threads
    assert threading.main_thread() not in threads
