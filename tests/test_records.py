from __future__ import annotations

import dataclasses
import gzip
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.records import (
    LEVELS,
    Kind,
    LogLine,
    PublisherClock,
    Record,
    StatsSnapshot,
    WormEvent,
    kind_of,
    level_rank,
    parse_record,
)

DATA = Path(__file__).parent / "data"
NOW = datetime(2026, 11, 22, 21, 56, 46, tzinfo=UTC)
CHANNELS = ["codeworm:logs", "codeworm:events", "codeworm:stats"]

texts = st.text(max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
field_names = sorted({f.name for kind in (LogLine, WormEvent, StatsSnapshot) for f in dataclasses.fields(kind)})
odd_times = st.sampled_from(
    [
        "",
        "garbage",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59.999999",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-11-22",
        "20261122T215646",
        "2026-W47-7",
        "24:00",
        "2026-11-22T21:56:46.123456789Z",
        "2026-11-22T21:56:46+05:30",
        "2026-11-22T21:56:46+00:00:01",
        "2026-11-22T21:56:46\x00",
        "2026-02-30T00:00:00",
        "1795384606",
        "\ud800",
        "２０２６-11-22",  # noqa: RUF001 - digits of full width, which some parsers take
    ]
)
odd_payloads = json_values | st.dictionaries(
    st.sampled_from([*field_names, "time", "data", "x"]),
    json_values
    | odd_times
    | st.dictionaries(st.sampled_from([*field_names, "time"]), json_values | odd_times, max_size=4),
)


def read(payload, *, channel="codeworm:logs", at=NOW, clock=None):
    return parse_record(channel, payload, at.timestamp(), PublisherClock() if clock is None else clock)


def recorded(number):
    with gzip.open(DATA / f"recording-{number}.jsonl.gz") as lines:
        for line in lines:
            one = orjson.loads(line)
            yield one["channel"], orjson.loads(one["payload"]), one["t"]


# Whatever comes


@given(st.lists(st.tuples(st.sampled_from(CHANNELS), odd_payloads), max_size=6))
def test_any_sequence_of_payloads_is_read_and_every_time_is_aware_and_in_utc(messages):
    clock = PublisherClock()
    for channel, payload in messages:
        record = read(payload, channel=channel, clock=clock)
        assert isinstance(record, Record)
        assert record.kind is kind_of(channel)
        for name in ("timestamp", "last_success", "next_cycle_at"):
            time = getattr(record, name, None)
            assert time is None or time.tzinfo is UTC


@given(st.sampled_from(CHANNELS), odd_payloads)
def test_every_field_has_the_type_it_declares(channel, payload):
    record = read(payload, channel=channel)
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        match field.type:
            case "str | None":
                assert value is None or type(value) is str
            case "int | None":
                assert value is None or (type(value) is int and -(2**63) <= value < 2**63)
            case "float | None":
                assert value is None or type(value) is float
            case "datetime | None":
                assert value is None or type(value) is datetime
            case "dict[str, int]":
                assert all(type(count) is int for count in value.values())
            case _:
                assert field.name == "extra"


@given(st.sampled_from(["codeworm:logs", "codeworm:stats"]), odd_payloads)
def test_nothing_of_a_payload_is_lost_but_nulls(channel, payload):
    """Each value is a field's value or stands in `extra` as it came."""
    record = read(payload, channel=channel)
    if not isinstance(payload, dict):
        assert record.extra == {"value": payload} or payload != payload  # NaN differs from itself
        return
    names = {field.name for field in dataclasses.fields(record)} - {"extra"}
    for key, value in payload.items():
        if key not in names:
            assert record.extra[key] is value
        elif value is not None and value != {}:
            assert (key in record.extra) != (getattr(record, key) not in (None, {}))
            assert key not in record.extra or record.extra[key] is value


@given(st.dictionaries(texts, st.integers(), max_size=4), st.dictionaries(texts, st.integers(), max_size=4))
def test_nothing_of_an_event_is_lost_where_its_data_repeats_a_key(outer, inner):
    known = {field.name for field in dataclasses.fields(WormEvent)} | {"data", "time"}
    outer = {key: value for key, value in outer.items() if key not in known}
    inner = {key: value for key, value in inner.items() if key not in known}
    extra = read(outer | {"data": inner}, channel="codeworm:events").extra
    expected = outer | {"data": inner} if outer.keys() & inner.keys() else outer | inner
    assert extra == expected


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("payload", [[1, 2], 5, "text", None, True, 1.5, []])
def test_a_payload_that_is_no_object_stands_whole_in_extra(channel, payload):
    record = read(payload, channel=channel)
    assert record.extra == {"value": payload}
    assert record.timestamp is None


@pytest.mark.parametrize("inner", [[1], 5, "text", True])
def test_event_data_that_is_no_object_stands_whole_in_extra(inner):
    record = read({"type": "analyzing", "data": inner}, channel="codeworm:events")
    assert (record.type, record.extra) == ("analyzing", {"value": inner})


def test_ten_thousand_distinct_keys_are_kept():
    payload = {f"key-{n}": n for n in range(10_000)} | {"event": "wide"}
    record = read(payload)
    assert record.event == "wide"
    assert len(record.extra) == 10_000


@pytest.mark.parametrize("value", ["7", 7.5, True, [7], {"n": 7}, 2**63, -(2**63) - 1])
def test_a_count_of_another_type_goes_to_extra_and_the_next_message_is_read_again(value):
    clock = PublisherClock()
    misfit = read({"event": "cycle_starting", "cycle_num": value}, clock=clock)
    assert misfit.cycle_num is None
    assert misfit.extra == {"cycle_num": value}
    good = read({"event": "cycle_starting", "cycle_num": 7}, clock=clock)
    assert (good.cycle_num, good.extra) == (7, {})


@pytest.mark.parametrize("by_repo", [{"a": "1"}, {"a": True}, {"a": 2**63}, [], "a", 3])
def test_counts_by_repository_with_a_misfit_go_to_extra_whole(by_repo):
    stats = read({"by_repo": by_repo}, channel="codeworm:stats")
    assert (stats.by_repo, stats.extra) == ({}, {"by_repo": by_repo})


def test_whole_numbers_are_durations_too():
    assert read({"time_ms": 950}).time_ms == 950.0
    assert type(read({"time_ms": 950}).time_ms) is float


def test_nulls_are_neither_fields_nor_extra():
    record = read({"event": "x", "error": None, "timestamp": None, "other": None})
    assert (record.error, record.timestamp) == (None, None)
    assert record.extra == {"other": None}


def test_the_payload_itself_is_left_as_it_was():
    payload = {"type": "next_cycle", "timestamp": "2026-11-22T16:56:46", "data": {"time": "2026-11-22T21:57:35+00:00"}}
    before = orjson.dumps(payload)
    read(payload, channel="codeworm:events")
    assert orjson.dumps(payload) == before


# Kinds and levels


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        ("codeworm:logs", Kind.LOGS),
        ("codeworm:events", Kind.EVENTS),
        ("prod:codeworm:stats", Kind.STATS),
        ("stats", Kind.STATS),
        ("other", Kind.LOGS),
        ("", Kind.LOGS),
        ("codeworm:STATS", Kind.LOGS),
    ],
)
def test_the_last_part_of_a_channel_tells_its_kind(channel, kind):
    assert kind_of(channel) is kind


def test_levels_are_ranked_from_the_least_severe():
    assert [level_rank(level) for level in LEVELS] == [0, 1, 2, 3, 4]
    assert level_rank("WARN") == level_rank("warning")
    assert level_rank("fatal") == level_rank("Critical")
    assert level_rank("exception") == level_rank("error")
    assert level_rank("notice") is None
    assert level_rank(None) is None


def test_a_level_is_read_in_lower_case():
    assert read({"level": "WARNING"}).level == "warning"


# Times


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    "value",
    ["", "garbage", 1795384606, 1795384606.5, True, [], {}, "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"],
)
def test_an_unreadable_time_goes_to_extra(channel, value):
    record = read({"timestamp": value}, channel=channel)
    assert record.timestamp is None
    assert record.extra == {"timestamp": value}


def test_a_naive_time_that_utc_cannot_hold_goes_to_extra():
    clock = PublisherClock()
    clock.utc_offset = timedelta(hours=2)
    record = read({"timestamp": "0001-01-01T00:30:00"}, channel="codeworm:events", clock=clock)
    assert (record.timestamp, record.extra) == (None, {"timestamp": "0001-01-01T00:30:00"})


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("2026-11-22T21:56:46Z", 21, 56),
        ("2026-11-22T21:56:46+00:00", 21, 56),
        ("2026-11-23T03:26:46+05:30", 21, 56),
        ("2026-11-22T16:56:46-05:00", 21, 56),
    ],
)
def test_an_aware_time_of_any_zone_is_read_as_utc(text, hour, minute):
    assert read({"timestamp": text}).timestamp == datetime(2026, 11, 22, hour, minute, 46, tzinfo=UTC)


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_the_first_and_the_last_year_are_read(year):
    record = read({"timestamp": f"{year}-06-01T00:00:00Z"})
    assert record.timestamp == datetime(int(year), 6, 1, tzinfo=UTC)


def test_an_absurd_log_time_does_not_spoil_the_offset_already_learnt():
    clock = PublisherClock()
    read({"timestamp": "2026-11-22T16:56:46"}, channel="codeworm:events", clock=clock)
    read({"timestamp": "0001-01-01T00:00:00Z"}, clock=clock)
    event = read({"timestamp": "2026-11-22T16:56:46"}, channel="codeworm:events", clock=clock)
    assert clock.utc_offset == timedelta(hours=-5)
    assert event.timestamp == NOW


quarters = st.integers(-12 * 4, 14 * 4).map(lambda count: count * timedelta(minutes=15))
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))
delivery = st.floats(0, 60).map(lambda seconds: timedelta(seconds=seconds))


@given(moments, quarters, delivery)
def test_any_utc_offset_in_use_is_learnt_from_one_naive_time(at, offset, delay):
    clock = PublisherClock()
    assert clock.to_utc((at + offset).replace(tzinfo=None), at + delay) == at
    assert clock.utc_offset == offset


@given(moments, quarters, st.timedeltas(timedelta(days=-400), timedelta(days=400)), delivery)
def test_a_wrong_clock_of_the_publisher_is_known_from_its_log_lines(at, offset, error, delay):
    """The times read are then those of its clock, and the offset is right all the same."""
    clock = PublisherClock()
    written = at + error
    line = read({"timestamp": written.isoformat()}, at=at, clock=clock)
    local = (written + offset).replace(tzinfo=None)
    event = read({"timestamp": local.isoformat()}, channel="codeworm:events", at=at + delay, clock=clock)
    assert event.timestamp == line.timestamp == written
    assert clock.utc_offset == offset


@pytest.mark.parametrize(
    "zone", ["Asia/Kolkata", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Niue"]
)
def test_zones_off_the_whole_hour_and_at_the_rims_are_learnt(zone):
    local = NOW.astimezone(ZoneInfo(zone))
    clock = PublisherClock()
    event = read({"timestamp": local.replace(tzinfo=None).isoformat()}, channel="codeworm:events", clock=clock)
    assert event.timestamp == NOW
    assert clock.utc_offset == local.utcoffset()


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
def test_the_hour_that_a_clock_shows_twice_is_told_apart(zone):
    """Through both changes of a year, every ten minutes, each naive time is read as the moment it was written."""
    clock = PublisherClock()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    folds = 0
    while at.year == 2026:
        local = at.astimezone(ZoneInfo(zone))
        if local.utcoffset() != (at - timedelta(hours=6)).astimezone(ZoneInfo(zone)).utcoffset() or local.fold:
            folds += local.fold
            event = read(
                {"timestamp": local.replace(tzinfo=None, fold=0).isoformat()},
                channel="codeworm:events",
                at=at,
                clock=clock,
            )
            assert event.timestamp == at
        at += timedelta(minutes=10)
    assert folds


def test_a_naive_time_far_from_its_arrival_teaches_nothing():
    clock = PublisherClock()
    clock.utc_offset = timedelta(hours=2)
    for wrong_by in (timedelta(days=30), timedelta(minutes=7), timedelta(hours=-17)):
        local = (NOW + timedelta(hours=2) + wrong_by).replace(tzinfo=None)
        assert clock.to_utc(local, NOW) == NOW + wrong_by
        assert clock.utc_offset == timedelta(hours=2)


def test_times_told_beside_the_timestamp_use_the_offset_learnt():
    clock = PublisherClock()
    stats = read(
        {"timestamp": "2026-11-22T16:56:46", "last_success": "2026-11-22T16:50:00"},
        channel="codeworm:stats",
        clock=clock,
    )
    assert stats.last_success == datetime(2026, 11, 22, 21, 50, tzinfo=UTC)
    event = read(
        {"type": "next_cycle", "timestamp": "2026-11-22T16:56:46", "data": {"time": "2026-11-22T17:00:00"}},
        channel="codeworm:events",
        clock=clock,
    )
    assert event.next_cycle_at == datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


def test_a_next_cycle_that_names_its_zone_is_taken_at_its_word():
    inner = {"time": datetime(2026, 11, 22, 17, tzinfo=timezone(timedelta(hours=-5))).isoformat()}
    event = read({"type": "next_cycle", "data": inner}, channel="codeworm:events")
    assert event.next_cycle_at == datetime(2026, 11, 22, 22, tzinfo=UTC)


# Recorded traffic


@pytest.mark.parametrize("number", [1, 2])
def test_recorded_messages_are_dated_within_a_second_before_their_arrival(number):
    clock = PublisherClock()
    for channel, payload, at in recorded(number):
        record = parse_record(channel, payload, at, clock)
        assert 0 <= at - record.timestamp.timestamp() < 1
    assert clock.utc_offset == timedelta(hours=-5)


@pytest.mark.parametrize("number", [1, 2])
def test_every_recorded_value_fits_its_field(number):
    clock = PublisherClock()
    names = {kind: {f.name for f in dataclasses.fields(kind)} for kind in (LogLine, WormEvent, StatsSnapshot)}
    for channel, payload, at in recorded(number):
        record = parse_record(channel, payload, at, clock)
        assert not record.extra.keys() & names[type(record)]
        assert channel == "codeworm:logs" or record.extra == {}


def test_a_recorded_commit_is_read_in_full():
    clock = PublisherClock()
    event = next(
        parse_record(channel, payload, at, clock)
        for channel, payload, at in recorded(1)
        if payload.get("type") == "documentation_committed"
    )
    assert event == WormEvent(
        timestamp=datetime(2026, 11, 22, 21, 58, 50, 767039, tzinfo=UTC),
        type="documentation_committed",
        target="dedent",
        repo="textwrap",
        doc_type="function_doc",
        language="rust",
        commit="11673369",
        commit_message="Cover edge cases of dedent",
        tokens=1311,
        time_ms=950.0,
    )


def test_recorded_stats_are_read_in_full():
    clock = PublisherClock()
    stats = next(
        parse_record(channel, payload, at, clock) for channel, payload, at in recorded(1) if channel == "codeworm:stats"
    )
    assert stats == StatsSnapshot(
        timestamp=datetime(2026, 11, 22, 21, 58, 50, 800300, tzinfo=UTC),
        last_success=datetime(2026, 11, 22, 21, 58, 50, 799848, tzinfo=UTC),
        total_cycles=3,
        successful_cycles=1,
        failed_cycles=2,
        skipped_cycles=0,
        success_rate=33.3,
        consecutive_failures=0,
        total_documented=1,
        last_7_days=1,
        by_repo={"textwrap": 1},
    )


def test_a_recorded_failure_carries_its_target_error_and_traceback():
    line = next(
        parse_record(channel, payload, at, PublisherClock())
        for channel, payload, at in recorded(1)
        if payload.get("event") == "documentation_failed"
    )
    assert (line.level, line.component, line.target) == ("error", "daemon", "dedent")
    assert line.error == "Ref 'HEAD' did not resolve to an object"
    assert line.exception.startswith("Traceback")


def test_a_record_shows_what_it_says_and_nothing_else() -> None:
    line = parse_record(
        "codeworm:logs", {"event": "x", "timestamp": "2026-11-22T21:57:36Z", "a": 1}, 0.0, PublisherClock()
    )
    assert repr(line) == "LogLine(timestamp=2026-11-22 21:57:36.000000Z, extra={'a': 1}, event='x')"
    long = parse_record("codeworm:logs", {"exception": "Traceback\n" * 500}, 0.0, PublisherClock())
    assert len(repr(long)) < 200
