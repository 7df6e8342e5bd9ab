"""Slowdown: what is one and what only looks like one: other documents, longer ones, an outage, a slow cycle or two."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from support.recorded_frames import Script, episodes, recording

from codeworm_monitor.analysis.answer import Answer
from codeworm_monitor.analysis.coverage import Coverage
from codeworm_monitor.analysis.slowdown import (
    ALL,
    GROUPS,
    MEASURES,
    MOST_GROUPS,
    MOST_POINTS,
    VERDICTS,
    slowdown,
    slowdown_of,
)
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.synthetic import Days, Episode, Plan, Trouble

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
NOWHERE = Coverage(None, None, np.empty((0, 2), np.int64))
USUAL = {"function_doc": 20.0, "class_doc": 45.0, "file_doc": 90.0, "til": 10.0, "security_review": 60.0}
WEIGHTS = [35, 12, 12, 10, 10]
EVERY = timedelta(minutes=11)
TEXT = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"


def cycles_of(count, seed=0, *, slower=1.0, since=None, until=None, doc_type=None, tokens=None, **columns):
    """Good cycles, one in eleven minutes: times depend on the type and are skewed; from `since` to `until` slower."""
    random = np.random.default_rng(seed)
    if doc_type is None:
        doc_type = random.choice(list(USUAL), count, p=np.array(WEIGHTS) / sum(WEIGHTS))
    if tokens is None:
        tokens = np.full(count, np.nan)
    places = np.arange(count)
    is_slow = (places >= (count if since is None else since)) & (places < (count if until is None else until))
    per_token = np.where(np.isnan(tokens), 1.0, tokens / 1000)
    seconds = np.array([USUAL[name] for name in doc_type]) * per_token
    seconds = seconds * np.exp(0.3 * random.gumbel(size=count)) * np.where(is_slow, slower, 1.0)
    started = pd.DatetimeIndex([BEGIN + place * EVERY for place in range(count)], tz=UTC).as_unit("us")
    frame = {
        "started_at": started,
        "doc_type": pd.Categorical(doc_type),
        "model": pd.Categorical(["qwen2.5:7b"] * count),
        "repo": pd.Categorical(random.choice(["click", "httpx"], count)),
        "language": pd.Categorical(["python"] * count),
        "generate_s": seconds,
        "find_s": random.lognormal(0, 0.4, count),
        "commit_s": random.lognormal(-3, 0.4, count),
        "push_s": random.lognormal(-3, 0.4, count),
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "outcome": pd.Categorical(["committed"] * count),
        "pushed": pd.array([True] * count, dtype="boolean"),
        "wait_s": np.zeros(count),
    }
    return pd.DataFrame(frame | columns)


def asked(frame, **how):
    return slowdown_of(frame, NOWHERE, **how)


def together(frame, **how):
    return asked(frame, **how).iloc[0]


def at(place):
    return pd.Timestamp(BEGIN + place * EVERY)


# The recordings


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("by", GROUPS)
def test_the_recordings_generate_at_a_steady_pace(number, by):
    answer = slowdown(recording(number), by=by)
    assert set(answer["verdict"]) <= {"steady", "too_few"}
    assert answer["verdict"].iloc[0] == "steady"
    assert answer["since"].isna().all()


def test_the_two_slow_generations_of_recording_1_are_outliers_and_no_change():
    slow = next(one["t"] for one in episodes(1) if one["episode"] == "ollama_mode" and one["mode"] == "slow")
    row = slowdown(recording(1)).iloc[0]
    assert (row["verdict"], row["n_outliers"]) == ("steady", 2)
    before = recording(1).between(None, datetime.fromtimestamp(slow, UTC))
    assert slowdown(before).iloc[0]["n_outliers"] == 0


# Calibration


def test_without_a_change_any_row_raises_an_alarm_in_at_most_one_of_twenty_answers():
    runs = 150
    alarms = sum(not set(asked(cycles_of(150, seed))["verdict"]) <= {"steady", "too_few"} for seed in range(runs))
    assert binomtest(alarms, runs, 0.05, alternative="greater").pvalue > 0.05
    assert alarms / runs < 0.05


def test_a_slowdown_by_half_is_found_after_40_cycles_at_its_time():
    ratios, found = [], 0
    for seed in range(50):
        row = together(cycles_of(140, seed, slower=1.5, since=100))
        is_found = row["verdict"] == "slower" and abs(row["since"] - at(100)) <= 12 * EVERY
        found += is_found
        if is_found:
            ratios.append(row["ratio"])
    assert found >= 43
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1.5, rel=0.1)


def test_a_day_that_truly_was_slower_is_told_with_its_hours():
    slow = Episode(what=Trouble.SLOW, at=2 * 86_400.0, lasts=12 * 3600.0, by=3.0)
    plan = Plan(seed=3, lasts=3 * 86_400, episodes=(slow,))
    row = slowdown(Traffic.of(**Days.of(plan).frames())).iloc[0]
    assert row["verdict"] == "was_slower"
    assert abs(row["since"] - (plan.starts_at + timedelta(seconds=slow.at))) < timedelta(hours=1)
    assert abs(row["until"] - (plan.starts_at + timedelta(seconds=slow.at + slow.lasts))) < timedelta(hours=1)
    assert row["ratio"] == pytest.approx(3, rel=0.15)
    assert row["tokens_per_s_before"] / row["tokens_per_s_after"] == pytest.approx(3, rel=0.2)


# What is no slowdown


@pytest.mark.parametrize("by", ["doc_type", "model"])
@pytest.mark.parametrize("seed", range(5))
def test_other_kinds_of_documents_are_no_slowdown(by, seed):
    random = np.random.default_rng(1000 + seed)  # not that of the noise
    short, long = ["til", "function_doc"], ["file_doc", "security_review"]
    doc_type = [*random.choice(short * 9 + long, 120), *random.choice(short + long * 9, 120)]
    frame = cycles_of(240, seed, doc_type=doc_type)
    assert frame["generate_s"][120:].median() > 2 * frame["generate_s"][:120].median()
    assert together(frame, by=by)["verdict"] == "steady"


@pytest.mark.parametrize("seed", range(5))
def test_longer_documents_of_the_same_kind_are_no_slowdown(seed):
    random = np.random.default_rng(1000 + seed)  # not that of the noise
    tokens = random.uniform(800, 1200, 200) * np.where(np.arange(200) >= 120, 2.5, 1)
    frame = cycles_of(200, seed, tokens=tokens)
    row = together(frame)
    assert row["verdict"] == "steady"
    # Not so if nobody knows of the tokens.
    assert together(frame.assign(tokens=np.nan))["verdict"] == "slower"


def test_where_tokens_say_nothing_of_the_time_they_do_not_count():
    random = np.random.default_rng(1001)
    frame = cycles_of(300, 1, slower=1.6, since=200)
    frame["tokens"] = random.uniform(500, 3000, 300)
    row = together(frame)
    assert row["verdict"] == "slower"
    assert row["ratio"] == pytest.approx(1.6, rel=0.2)


def test_with_other_documents_a_true_slowdown_is_still_found():
    random = np.random.default_rng(1002)
    doc_type = [*random.choice(["file_doc", "file_doc", "til"], 120), *random.choice(["til", "til", "file_doc"], 120)]
    frame = cycles_of(240, 2, doc_type=doc_type, slower=1.7, since=120)
    assert frame["generate_s"][120:].median() < frame["generate_s"][:120].median()
    row = together(frame)
    assert row["verdict"] == "slower"
    assert row["after_s"] < row["before_s"]
    assert row["ratio"] == pytest.approx(1.7, rel=0.2)


@pytest.mark.parametrize("few", [1, 2])
def test_a_slow_cycle_or_two_are_no_slowdown_even_at_the_end(few):
    for place in (0, 80, 160 - few):
        frame = cycles_of(160, 3)
        frame.loc[place : place + few - 1, "generate_s"] *= 200
        row = together(frame)
        assert row["verdict"] == "steady"
        assert row["n_outliers"] >= few


def test_an_outage_is_no_slowdown():
    frame = cycles_of(160, 4)
    frame.loc[60:90, "generate_s"] *= 30
    assert together(frame)["verdict"] == "was_slower"
    failed = frame["outcome"].astype("object")
    failed[60:91] = ["failed", "llm_error", None, "interrupted"] * 7 + ["failed"] * 3
    assert together(frame.assign(outcome=pd.Categorical(failed)))["verdict"] == "steady"
    assert together(frame.assign(wait_s=np.where(frame.index.isin(range(60, 91)), 300.0, 0.0)))["verdict"] == "steady"


def test_a_push_that_is_refused_is_no_quick_push():
    frame = cycles_of(160, 5)
    frame.loc[60:90, "push_s"] /= 10
    assert together(frame, measure="push_s")["verdict"] == "was_faster"
    frame.loc[60:90, "pushed"] = False
    assert together(frame, measure="push_s")["verdict"] == "steady"


@pytest.mark.parametrize("missing", [np.nan, np.inf, -1.0])
def test_what_is_not_known_is_left_out(missing):
    frame = cycles_of(160, 6)
    frame.loc[40:120, "generate_s"] = missing
    frame.loc[130, "started_at"] = pd.NaT
    row = together(frame)
    assert (row["verdict"], row["n_before"], row["n_after"]) == ("steady", 78, 0)


def test_a_change_within_a_gap_is_dated_to_the_first_cycle_after_it():
    frame = cycles_of(300, 7, slower=50.0, since=150)
    kept = frame[(frame.index < 140) | (frame.index >= 160)]
    assert together(kept)["since"] == at(160)


# What is one


def test_a_passing_slowdown_is_told_with_its_end_and_the_pace_outside_it():
    row = together(cycles_of(300, 8, slower=3.0, since=120, until=180))
    assert row["verdict"] == "was_slower"
    assert abs(row["since"] - at(120)) <= 4 * EVERY
    assert abs(row["until"] - at(180)) <= 4 * EVERY
    assert row["n_before"] + row["n_after"] == 300
    assert row["n_after"] == pytest.approx(60, abs=8)


@pytest.mark.parametrize(("slower", "verdict"), [(2.0, "slower"), (0.5, "faster")])
def test_a_lasting_change_has_no_end(slower, verdict):
    row = together(cycles_of(200, 9, slower=slower, since=120))
    assert row["verdict"] == verdict
    assert pd.isna(row["until"])
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
    assert row["ratio"] == pytest.approx(slower, rel=0.2)
    assert row["p_value"] < 1e-6


def test_one_kind_of_document_alone_may_have_become_slower():
    frame = cycles_of(400, 10)
    is_slow = (frame["doc_type"] == "file_doc") & (frame.index >= 200)
    frame.loc[is_slow, "generate_s"] *= 3
    answer = asked(frame).set_index("doc_type")
    assert answer.loc["file_doc", "verdict"] == "slower"
    others = answer.drop(index=[ALL, "file_doc"])
    assert set(others["verdict"]) <= {"steady", "too_few"}


def test_a_slower_model_is_a_slowdown_by_type_and_not_by_model():
    model = pd.Categorical(["small"] * 120 + ["large"] * 120)
    frame = cycles_of(240, 11, slower=2.5, since=120, model=model)
    assert together(frame)["verdict"] == "slower"
    by_model = asked(frame, by="model").set_index("model")
    assert list(by_model.index) == [ALL, "small", "large"] or list(by_model.index) == [ALL, "large", "small"]
    assert set(by_model["verdict"]) == {"steady"}
    assert by_model.loc["large", "before_s"] > 2 * by_model.loc["small", "before_s"]


def test_least_is_what_counts():
    frame = cycles_of(2000, 12, slower=1.25, since=1000)
    assert together(frame)["verdict"] == "slower"
    row = together(frame, least=1.6)
    assert row["verdict"] == "steady"
    assert row["p_value"] < 0.05


# The answer


@pytest.mark.parametrize(
    "traffic", [Traffic.of(), Script().good(1).traffic(), recording(1), recording(2).between(None, None)]
)
@pytest.mark.parametrize("by", GROUPS)
def test_columns_and_dtypes_are_those_of_the_docstring_always(traffic, by):
    answer = slowdown(traffic, by=by)
    assert isinstance(answer, Answer)
    expected = {by: TEXT, "verdict": "category", "since": "datetime64[us, UTC]", "until": "datetime64[us, UTC]"}
    expected |= dict.fromkeys(("before_s", "after_s", "ratio", "ratio_low", "ratio_high"), "float64")
    expected |= {"n_before": "int64", "n_after": "int64", "p_value": "float64"}
    expected |= {"tokens_per_s_before": "float64", "tokens_per_s_after": "float64", "n_outliers": "int64"}
    assert {name: str(dtype) for name, dtype in answer.dtypes.items()} == expected
    assert tuple(answer["verdict"].cat.categories) == VERDICTS
    assert answer[by].iloc[0] == ALL
    assert answer.attrs["picture"] == "slowdown"
    assert (answer.attrs["by"], answer.attrs["measure"]) == (by, "generate_s")
    json.dumps(answer.attrs)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_can_be_asked_for(measure):
    answer = slowdown(recording(1), measure=measure)
    assert answer.attrs["measure"] == measure
    assert answer["n_before"].iloc[0] + answer["n_after"].iloc[0] > 80


def test_with_few_cycles_nothing_is_said():
    answer = asked(cycles_of(19, 13, slower=50, since=10))
    assert set(answer["verdict"]) == {"too_few"}
    assert answer["p_value"].isna().all()
    assert answer["n_before"].iloc[0] == 19


def test_points_are_the_evidence_and_bounded():
    frame = cycles_of(3000, 14, slower=4.0, since=2500)
    answer = asked(frame)
    points = answer.attrs["points"]
    times = [datetime.fromisoformat(one) for one in points["at"]]
    assert len(times) == len(points["relative"]) == len(points["group"]) == MOST_POINTS
    assert times == sorted(times)
    assert (times[0], times[-1]) == (at(0), at(2999))
    relative = np.array(points["relative"])
    is_after = np.array(times) >= answer["since"].iloc[0]
    assert np.median(relative[~is_after]) == pytest.approx(1, rel=0.1)
    assert np.median(relative[is_after]) == pytest.approx(4, rel=0.15)


def test_of_many_groups_the_largest_have_rows():
    repo = pd.Categorical([f"<b>{place % 400}</b>" for place in range(4000)] + ["click"] * 100)
    answer = asked(cycles_of(4100, 15, repo=repo), by="repo")
    assert len(answer) == 1 + MOST_GROUPS
    assert answer["repo"].iloc[1] == "click"
    assert "<b>" not in answer._repr_html_()


def test_rows_without_a_group_count_in_the_first_row_only():
    doc_type = pd.Categorical(["til", None] * 60)
    frame = cycles_of(120, 16).assign(doc_type=doc_type, generate_s=np.exp(np.random.default_rng(0).normal(size=120)))
    answer = asked(frame)
    assert answer["doc_type"].tolist() == [ALL, "til"]
    assert answer["n_before"].tolist() == [120, 60]


@settings(max_examples=20)
@given(st.floats(1e-2, 1e3), st.integers(0, 30), st.integers(-400, 400))
def test_the_unit_of_time_and_the_date_do_not_matter(factor, seed, days):
    frame = cycles_of(120, seed, slower=3.0, since=80)
    shifted = frame.assign(
        generate_s=frame["generate_s"] * factor, started_at=frame["started_at"] + pd.Timedelta(days=days)
    )
    row, other = together(frame), together(shifted)
    assert other["verdict"] == row["verdict"]
    assert other["ratio"] == pytest.approx(row["ratio"], rel=1e-6, nan_ok=True)
    assert other["before_s"] == pytest.approx(row["before_s"] * factor)
    assert pd.isna(row["since"]) or other["since"] - row["since"] == pd.Timedelta(days=days)


def test_rows_in_another_order_give_the_same_answer():
    frame = cycles_of(200, 17, slower=2.0, since=120)
    pd.testing.assert_frame_equal(asked(frame.sample(frac=1, random_state=1)), asked(frame))


@pytest.mark.parametrize(
    "how",
    [{"by": "target"}, {"measure": "tokens"}, {"least": 0.9}, {"least": math.nan}, {"least": math.inf}],
)
def test_what_cannot_be_asked_is_refused_with_what_can(how):
    [name] = how
    with pytest.raises(ValueError, match=f"^{name} is "):
        slowdown(Traffic.of(), **how)
