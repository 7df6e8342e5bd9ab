from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.envelope import Envelope
from codeworm_monitor.errors import FrameError
from codeworm_monitor.filters import MAX_CHOICES, MAX_TEXT, Filter
from codeworm_monitor.frames import Subscribe, encode_from_client, parse_from_client
from codeworm_monitor.records import LEVELS

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
choices = st.frozensets(st.sampled_from(["daemon", "click", "httpx", "a b", "ß", ""]), max_size=4)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | words
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4)
)
filters = st.builds(
    Filter,
    channels=choices,
    level=st.none() | st.sampled_from(LEVELS),
    components=choices,
    repos=choices,
    text=st.none() | words,
)
payloads = (
    st.fixed_dictionaries(
        {},
        optional={
            "level": st.sampled_from([*LEVELS, "WARN", "notice", 3]),
            "component": st.sampled_from(["daemon", "scanner", None, 7]),
            "repo": st.sampled_from(["click", "httpx", "", None]),
            "event": st.sampled_from(["Llm_ERROR", "straße", "x"]),
            "data": st.fixed_dictionaries(
                {}, optional={"repo": st.sampled_from(["click", "axios", 5]), "x": json_values}
            )
            | json_values,
        },
    )
    | json_values
)


def message(channel="codeworm:logs"):
    return Envelope(1, 0.0, channel, b"")


def accepts(payload, channel="codeworm:logs", **conditions):
    return Filter(**conditions).accepts(message(channel), payload)


def strings_in(value):
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for one in inner for text in strings_in(one)]


def naive_accepts(wanted, channel, payload):
    fields = payload if isinstance(payload, dict) else {}
    ranks = {"debug": 0, "info": 1, "warn": 2, "warning": 2, "error": 3, "critical": 4}
    if wanted.channels and channel not in wanted.channels:
        return False
    level = fields.get("level")
    if (
        wanted.level
        and isinstance(level, str)
        and level.lower() in ranks
        and ranks[level.lower()] < ranks[wanted.level]
    ):
        return False
    component = fields.get("component")
    if wanted.components and isinstance(component, str) and component not in wanted.components:
        return False
    inner = fields.get("data") if isinstance(fields.get("data"), dict) else {}
    repo = fields.get("repo") or inner.get("repo")
    if wanted.repos and isinstance(repo, str) and repo not in wanted.repos:
        return False
    return wanted.text is None or any(wanted.text.casefold() in text.casefold() for text in strings_in(payload))


@given(filters, st.sampled_from(["daemon", "click", "codeworm:logs"]), payloads)
def test_a_filter_accepts_what_a_naive_reading_accepts(wanted, channel, payload):
    seen = payload if wanted.reads_payload else None
    assert wanted.accepts(message(channel), seen) == naive_accepts(wanted, channel, payload)


@given(filters)
def test_a_filter_survives_the_wire(wanted):
    assert parse_from_client(encode_from_client(Subscribe(filter=wanted))) == Subscribe(filter=wanted)


@given(json_values, json_values)
def test_any_json_is_a_filter_or_a_frame_error(channels, conditions):
    try:
        wanted = Filter.from_dict(channels, conditions)
    except FrameError:
        return
    assert isinstance(wanted, Filter)


@given(
    st.fixed_dictionaries({}, optional={"level": json_values, "component": json_values, "repo": json_values}),
    json_values,
)
def test_any_value_of_a_condition_is_taken_or_a_frame_error(conditions, text):
    try:
        wanted = Filter.from_dict(None, conditions | {"text": text})
    except FrameError:
        return
    assert Filter.from_dict(None, wanted.as_dict()["filter"]) == wanted


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=MAX_TEXT - 3, max_size=MAX_TEXT + 3))
def test_a_text_that_is_accepted_is_accepted_again_in_its_folded_form(text):
    try:
        wanted = Filter.from_dict(None, {"text": text})
    except FrameError:
        assert len(text.casefold()) > MAX_TEXT
        return
    assert Filter.from_dict(None, {"text": wanted.text}) == wanted


def test_a_text_that_grows_over_its_limit_when_folded_is_refused():
    with pytest.raises(FrameError, match=r"filter\.text"):
        Filter.from_dict(None, {"text": "ß" * MAX_TEXT})


def test_an_empty_filter_accepts_everything_without_reading_it():
    wanted = Filter.from_dict(None, None)
    assert wanted == Filter()
    assert not wanted.reads_payload
    assert wanted.accepts(message("any"), None)


@pytest.mark.parametrize("field", ["level", "components", "repos", "text"])
def test_every_condition_but_the_channel_reads_the_payload(field):
    value = {"level": "info", "text": "x"}.get(field, frozenset({"x"}))
    assert Filter(**{field: value}).reads_payload
    assert not Filter(channels=frozenset({"c"})).reads_payload


def test_the_channel_must_be_one_of_those_named():
    assert accepts(None, channel="a", channels=frozenset({"a", "b"}))
    assert not accepts(None, channel="c", channels=frozenset({"a", "b"}))


def test_the_level_is_the_least_severe_one_that_passes():
    passed = [level for level in LEVELS if accepts({"level": level}, level="warning")]
    assert passed == ["warning", "error", "critical"]


@pytest.mark.parametrize("payload", [{}, {"level": None}, {"level": 3}, {"level": "notice"}, [], "text", None, 7])
def test_what_has_no_level_passes_every_level(payload):
    assert accepts(payload, level="critical")


@pytest.mark.parametrize("payload", [{}, {"component": None}, {"component": 5}, {"repo": 5}, [1], "x"])
def test_what_has_no_component_or_repository_passes(payload):
    assert accepts(payload, components=frozenset({"daemon"}))
    assert accepts(payload, repos=frozenset({"click"}))


def test_the_repository_of_an_event_lies_in_its_data():
    event = {"type": "analyzing", "data": {"repo": "click"}}
    assert accepts(event, repos=frozenset({"click"}))
    assert not accepts(event, repos=frozenset({"httpx"}))


def test_text_is_found_in_any_string_value_however_deep_and_in_no_key():
    payload = {"needle": 1, "data": [{"x": ["a", {"y": "Some NEEDLE here"}]}]}
    assert accepts(payload, text="needle")
    assert accepts(payload, text="NEEDLE")
    assert not accepts({"needle": 1}, text="needle")
    assert not accepts({"x": 12345}, text="234")


def test_a_search_in_very_deep_nesting_does_not_recurse():
    payload = "needle"
    for _ in range(100_000):
        payload = [payload]
    assert accepts(payload, text="needle")
    while isinstance(payload, list):  # taken apart by hand, as its destructor would recurse
        payload = payload.pop()


def test_a_text_with_the_signs_of_a_pattern_means_itself():
    assert accepts({"x": "(a+)+$"}, text="(a+)+$")
    assert not accepts({"x": "aaaa"}, text="(a+)+$")


def test_filters_that_ask_the_same_are_equal_however_they_are_spelt():
    spelt = Filter.from_dict(["a", "b", "a"], {"level": "WARNING", "text": "OOM", "repo": "click"})
    assert spelt == Filter(
        channels=frozenset({"b", "a"}), level="Warning", text="oom", repos=frozenset({"click"}), components=frozenset()
    )
    assert hash(spelt) == hash(Filter.from_dict(["b", "a"], {"level": "warning", "text": "oom", "repo": ["click"]}))
    assert Filter(text="") == Filter()


@pytest.mark.parametrize(
    ("channels", "conditions", "said"),
    [
        (5, None, "channels"),
        ([1], None, "channels"),
        (["c"] * (MAX_CHOICES + 1), None, "channels"),
        (None, [], "filter is an object"),
        (None, "x", "filter is an object"),
        (None, {"regex": "(a+)+"}, "'regex'"),
        (None, {"level": "loud"}, r"filter\.level"),
        (None, {"level": 3}, r"filter\.level"),
        (None, {"text": 5}, r"filter\.text"),
        (None, {"text": "x" * (MAX_TEXT + 1)}, r"filter\.text"),
        (None, {"component": {}}, r"filter\.component"),
        (None, {"component": [None]}, r"filter\.component"),
        (None, {"repo": ["r"] * (MAX_CHOICES + 1)}, r"filter\.repo"),
    ],
)
def test_a_frame_error_names_the_field(channels, conditions, said):
    with pytest.raises(FrameError, match=said):
        Filter.from_dict(channels, conditions)


def test_the_limits_themselves_are_allowed():
    wanted = Filter.from_dict([str(n) for n in range(MAX_CHOICES)], {"text": "x" * MAX_TEXT})
    assert len(wanted.channels) == MAX_CHOICES
    assert len(wanted.text) == MAX_TEXT


def test_a_long_unknown_condition_is_quoted_in_part_only():
    with pytest.raises(FrameError) as caught:
        Filter.from_dict(None, {"x" * 100_000: 1})
    assert len(str(caught.value)) < 200


def test_a_filter_is_written_as_the_subscribe_frame_carries_it():
    wanted = Filter(channels=frozenset({"b", "a"}), level="error", repos=frozenset({"click"}))
    assert orjson.loads(orjson.dumps(wanted.as_dict())) == {
        "channels": ["a", "b"],
        "filter": {"level": "error", "component": [], "repo": ["click"], "text": None},
    }
