"""Conditions: on a table and on a record they decide the same; what they take is checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.columns import LAYOUTS
from codeworm_monitor.conditions import Conditions, moment
from codeworm_monitor.envelope import Envelope
from codeworm_monitor.records import LEVELS, Kind, PublisherClock, level_rank, parse_record
from codeworm_monitor.rows import BUILDERS, RowReader

LOGS = LAYOUTS[Kind.LOGS]
NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)

words = st.sampled_from(["daemon", "Daemon", "client", "héllo", "HÉLLO", 'a"b', ""])
lines = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from([*LEVELS, "WARNING", "warn", "notice", 3]),
        "component": words,
        "event": words,
        "target": words,
        "error": words,
        "score": words,
    },
)
level_conditions = st.builds(
    lambda sign, level: sign + level, st.sampled_from(["", ">=", ">", "<=", "<", "==", "!="]), st.sampled_from(LEVELS)
) | st.lists(st.sampled_from(LEVELS), max_size=2)
wishes = st.fixed_dictionaries(
    {}, optional={"level": level_conditions, "component": words | st.lists(words, max_size=2), "text": words}
)


def naive(line: dict[str, Any], wish: dict[str, Any]) -> bool:
    """Decide as the documentation says, value by value."""
    level = line["level"].lower() if isinstance(line.get("level"), str) else None
    match wish.get("level"):
        case None:
            fits = True
        case list(chosen):
            rank = level_rank(level)
            fits = rank is not None and rank in [level_rank(name) for name in chosen]
        case text:
            name = text.lstrip("<>=!")
            sign = text.removesuffix(name) or "=="
            rank = level_rank(level)
            fits = sign == "!=" if rank is None else eval(f"{rank} {sign} {level_rank(name)}")
    if (component := wish.get("component")) is not None:
        fits = fits and line.get("component") in ([component] if isinstance(component, str) else component)
    if text := wish.get("text"):
        shown = [str(value) for key, value in line.items() if key not in ("score", "level") and value is not None]
        shown += [level or ""]
        if isinstance(line.get("level"), int):
            shown.append('"level"')
        if "score" in line:
            shown.append('{"score":"' + line["score"].replace('"', '\\"') + '"}')
        fits = fits and any(text.lower() in value.lower() for value in shown)
    return fits


@given(st.lists(lines, max_size=8), wishes)
def test_table_and_record_decide_as_documented(sent: list[dict[str, Any]], wish: dict[str, Any]) -> None:
    conditions = Conditions(LOGS, now=NOW.timestamp, **wish)
    reader, clock = RowReader(), PublisherClock()
    envelopes = [Envelope(offset, 1000.0, "codeworm:logs", b"") for offset in range(1, len(sent) + 1)]
    expected = [naive(line, wish) for line in sent]
    rows = [reader.read("e", envelope, line) for envelope, line in zip(envelopes, sent, strict=True)]
    # In two batches, whose dictionaries differ.
    parts = [part for part in (rows[:3], rows[3:]) if part]
    table = pa.Table.from_batches([BUILDERS[Kind.LOGS](part) for part in parts], schema=LOGS.schema)
    assert conditions.mask(table).tolist() == expected
    records = [parse_record("codeworm:logs", line, 1000.0, clock) for line in sent]
    assert [conditions.accepts(record, "codeworm:logs", "e", None) for record in records] == expected


def test_an_unknown_keyword_names_those_that_are() -> None:
    with pytest.raises(TypeError, match=r"'levle' is no condition here; there are .*level, component, .*text, since"):
        Conditions(LOGS, now=NOW.timestamp, levle="error")
    with pytest.raises(TypeError, match="'level' is no condition"):
        Conditions(LAYOUTS[Kind.STATS], now=NOW.timestamp, level="error")
    with pytest.raises(TypeError, match="'since' is no condition"):
        Conditions(LOGS, since="15min")


@pytest.mark.parametrize("level", [">=wrning", "=> error", "", ">="])
def test_a_level_that_is_none_is_refused(level: str) -> None:
    with pytest.raises(ValueError, match="level is"):
        Conditions(LOGS, level=level)


@pytest.mark.parametrize(("name", "value"), [("component", 3), ("repo", [1]), ("text", 5), ("level", 2)])
def test_values_of_another_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        Conditions(LOGS, **{name: value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("15min", NOW - timedelta(minutes=15)),
        ("1h 30min", NOW - timedelta(minutes=90)),
        ("1.5d", NOW - timedelta(hours=36)),
        ("2h", NOW - timedelta(hours=2)),
        (timedelta(days=1), NOW - timedelta(days=1)),
        (pd.Timedelta("90s"), NOW - timedelta(seconds=90)),
        ("now", NOW),
        ("today", datetime(2026, 11, 22, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 21, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T16:00:00-05:00", NOW),
        (NOW.astimezone(timezone(timedelta(hours=2))), NOW),
        (datetime(2026, 11, 22, 21), NOW),
        (pd.Timestamp("2026-11-22T21:00", tz="UTC"), NOW),
    ],
)
def test_moments(value: Any, expected: datetime) -> None:
    assert moment(value, NOW.timestamp()) == expected


@pytest.mark.parametrize("value", ["soon", "", "5 parsecs", "99999999999d", "9e9d", "2026-13-01", pd.NaT])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="time"):
        moment(value, NOW.timestamp())


def test_a_number_is_no_time() -> None:
    with pytest.raises(TypeError, match="a time is a text"):
        moment(15, NOW.timestamp())  # type: ignore[arg-type]


def test_a_text_is_looked_for_in_the_message_and_not_in_what_the_relay_put_around_it() -> None:
    around = Conditions(LOGS, text="codeworm")
    reader, envelope = RowReader(), Envelope(1, 1000.0, "codeworm:logs", b"")
    record = parse_record("codeworm:logs", {"event": "x"}, 1000.0, PublisherClock())
    rows = [reader.read("codeworm-epoch", envelope, {"event": "x"})]
    table = pa.Table.from_batches([BUILDERS[Kind.LOGS](rows)])
    assert not around.accepts(record, "codeworm:logs", "codeworm-epoch", "codeworm-mark")
    assert around.mask(table).tolist() == [False]
    assert Conditions(LOGS, channel="codeworm:logs").mask(table).tolist() == [True]


@pytest.mark.parametrize("level", ["errror", ">=warnings", "!=eror", ["warning", "critcal"]])
def test_a_misspelt_level_is_refused_and_not_an_empty_frame(level: Any) -> None:
    with pytest.raises(ValueError, match="level is one of debug, info"):
        Conditions(LOGS, level=level)


def test_a_level_of_another_programs_can_be_asked_for() -> None:
    record = parse_record("codeworm:logs", {"event": "x", "level": "NOTICE"}, 1000.0, PublisherClock())
    assert Conditions(LOGS, level="notice").accepts(record, "codeworm:logs", "e", None)
    assert Conditions(LOGS, level=["notice", "error"]).accepts(record, "codeworm:logs", "e", None)
