"""Kinds of errors: those that the recordings are known to hold, and what hand-made messages tell of."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorded_frames import DATA, START, Script, episodes, recording

from codeworm_monitor.analysis.failures import GROUPS, HEIGHTS, MOST_BUCKETS, STRIP, error_times, errors, similar
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.recording import recorded

COLUMNS = {
    "event": "str",
    "template": "str",
    "level": "category",
    "count": "int64",
    "first": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "cycles": "int64",
    "cycle_share": "float64",
    "strip": "str",
    "preceded_by": "str",
    "preceded_share": "float64",
    "example": "str",
    "exception": "str",
    "root": "str",
    "example_epoch": "str",
    "example_offset": "int64",
}
TIMES = {
    "started_at": "datetime64[us, UTC]",
    "ended_at": "datetime64[us, UTC]",
    "covered": "float64",
    "event": "str",
    "template": "str",
    "level": "category",
    "count": "int64",
}
BEFORE_THE_LLM = "analyzing → documenting → generating"
BEFORE_THE_PUSH = "documenting → generating → documentation_committed"


def outage(started_at, ended_at):
    return Gap(cause=GapCause.SOURCE_OUTAGE, started_at=started_at, ended_at=ended_at)


def dtypes(columns):
    texts = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
    return {name: texts if dtype == "str" else dtype for name, dtype in columns.items()}


def dtypes_of(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def only(script, gaps=(), **words):
    found = errors(script.traffic(gaps), **words)
    assert len(found) == 1, found.to_string()
    return found.iloc[0]


@pytest.mark.parametrize("traffic", [recording(1), recording(2), Traffic.of(), Script().good(1).traffic()])
def test_columns_and_dtypes_are_those_of_the_docstring_always(traffic):
    assert dtypes_of(errors(traffic)) == dtypes(COLUMNS)
    assert dtypes_of(error_times(traffic, zone="UTC")) == dtypes(TIMES)
    for by in GROUPS:
        found = errors(traffic, by=by)
        assert list(found.columns) == [*list(COLUMNS)[:2], by, *list(COLUMNS)[2:]]
        assert dtypes_of(found)[by] == dtypes(COLUMNS)["event"]


# What was done (the episode, and what ended it), and the errors that came of it.
MADE = {
    ("push_failed", "Push rejected due to conflict: Cmd('"): (7, "push_rejected", "push_rejected_fixed"),
    ("push_failed", "Push failed: Cmd('"): (5, "push_broken", "push_fixed"),
    ("documentation_failed", "Unterminated string starting at"): (2, "badjson", "normal"),
    ("documentation_failed", "Server disconnected without send"): (2, "reset", "stopped"),
    ("llm_error", 'Model OOM: {"error": "llama runner'): (2, "oom_commit", "normal"),
    ("documentation_failed", "Ref '<text>' did not resolve"): (2, "daemon_start", "operator_initial_commit"),
    ("llm_error", "Generation failed: {"): (1, "notfound", "normal"),
    ("push_failed", "Push failed after <number> retries"): (1, "push_refused", "push_refused_fixed"),
    ("llm_error", "Model OOM after recovery attempt"): (1, "oom", "normal"),
}
ROOTS = {
    "Unterminated string": "llm/client.py:186 generate",
    "Server disconnected": "llm/client.py:177 generate",
    "Ref '<text>' did no": "git/ops.py:229 commit",
}


def test_the_first_recording_has_the_errors_that_were_made_when_they_were_made():
    found = errors(recording(1))
    assert (found["event"] == "ollama_unavailable_waiting").sum() == 1
    done = [(one["t"], one.get("mode", one["episode"])) for one in episodes(1)]
    rest = found[found["event"] != "ollama_unavailable_waiting"]
    assert len(rest) == len(MADE)
    for (event, begin), (count, fault, mended) in MADE.items():
        (row,) = rest[(rest["event"] == event) & rest["template"].str.startswith(begin)].itertuples()
        since = next(t for t, what in done if what == fault)
        until = next(t for t, what in done if what == mended and t > since)
        assert since < row.first.timestamp() <= row.last.timestamp() < until
        assert (row.count, row.cycles) == (count, count), row
        assert row.level == ("warning" if event == "push_failed" else "error")
        assert row.preceded_by == (BEFORE_THE_PUSH if event == "push_failed" else BEFORE_THE_LLM)
        assert row.preceded_share == 1
        assert (row.root if isinstance(row.root, str) else None) == ROOTS.get(row.template[:19])
        assert isinstance(row.exception, str) == (event == "documentation_failed")
    assert found["cycle_share"].tolist() == [count / 110 for count in found["cycles"]]
    assert found["count"].is_monotonic_decreasing
    assert errors(recording(1)).plot is not None
    assert found.attrs["picture"] == "errors"
    assert found.coverage == 1


def test_waiting_for_ollama_has_no_words_but_its_event():
    row = errors(recording(1)).set_index("event").loc["ollama_unavailable_waiting"]
    assert (row["template"], row["count"], row["cycles"]) == ("", 4, 1)
    assert (row["preceded_by"], row["preceded_share"]) == ("daemon_starting → state_loaded → waiting_for_ollama", 0.75)
    assert orjson.loads(row["example"]) == {
        "url": "http://localhost:47311",
        "retry_in_seconds": 10,
        "consecutive_failures": 1,
    }


def test_the_second_recording_runs_out_of_candidates_and_has_no_other_error():
    (row,) = errors(recording(2)).itertuples()
    assert (row.event, row.count, row.cycles) == ("cycle_skipped_no_candidates", 26, 26)
    assert row.preceded_by == "next_scheduled_run → next_cycle → cycle_starting"


@pytest.mark.parametrize("number", [1, 2])
def test_no_line_of_a_recording_is_lost_or_counted_twice(number):
    traffic = recording(number)
    payloads = [payload for _, payload in recorded(DATA / f"recording-{number}.jsonl.gz")]
    told = [one for one in payloads if one.get("level") in ("warning", "error", "critical")]
    found = errors(traffic)
    assert found["count"].sum() == len(told) == error_times(traffic, zone="UTC")["count"].sum()
    lines = [similar(traffic, row) for _, row in found.iterrows()]
    assert [len(some) for some in lines] == found["count"].tolist()
    assert sorted(time for some in lines for time in some["received_at"]) == sorted(
        traffic.logs["received_at"][traffic.logs["level"].isin(["warning", "error"])]
    )
    for some, row in zip(lines, found.itertuples(), strict=True):
        assert some.columns.tolist() == traffic.logs.columns.tolist()
        assert (some["received_at"].min(), some["received_at"].max()) == (row.first, row.last)
        assert (some["epoch"].iloc[-1], some["offset"].iloc[-1]) == (row.example_epoch, row.example_offset)
    for by in GROUPS:
        parted = errors(traffic, by=by)
        assert parted["count"].sum() == len(told)
        assert [len(similar(traffic, row)) for _, row in parted.iterrows()] == parted["count"].tolist()


def test_an_example_is_what_the_newest_says_in_full():
    traceback = 'Traceback (most recent call last):\n  File "/a/lib/x.py", line 3, in f\n    g()\nKeyError: 7'
    script = Script().log("failed", level="error", error="gone 1", exception=traceback)
    row = only(script.wait(1).log("failed", level="error", error="gone 2"))
    assert (row["example"], row["exception"], row["root"]) == ("gone 2", traceback, "lib/x.py:3 f")
    row = only(Script().log("failed", level="error", error="gone", exception=traceback))
    assert row["example"] == "gone\nKeyError: 7"
    row = only(Script().log("failed", level="error", error="7", exception=traceback))
    assert row["example"] == "KeyError: 7"
    row = only(Script().log("failed", level="error", error="", exception=traceback))
    assert (row["template"], row["example"]) == ("KeyError: <number>", "KeyError: 7")


@pytest.mark.parametrize(
    ("files", "root"),
    [
        (["/srv/w/a.py", "/srv/w/.venv/lib/python3.12/site-packages/git/b.py"], "w/a.py:1 f"),
        (["/srv/w/a.py", "/usr/lib/python3.12/json/decoder.py", "<frozen runpy>"], "w/a.py:1 f"),
        (["/usr/lib/python3.12/json/decoder.py"], "json/decoder.py:1 f"),
        (["C:\\w\\deep\\a.py"], "deep/a.py:1 f"),
        (["a\x1b[31m\u202e.py"], "a.py:1 f"),
        ([], None),
    ],
)
def test_the_root_is_the_innermost_place_of_the_publishers_own(files, root):
    frames = "".join(
        f'  File "{file}", line {len(files) - number}, in f\n    x()\n' for number, file in enumerate(files)
    )
    traceback = f"Traceback (most recent call last):\n{frames}ValueError: no"
    row = only(Script().log("failed", level="error", exception=traceback))
    expected = root and root.replace(":1 ", f":{1 + sum(1 for file in files[1:])} ")
    assert (row["root"] if isinstance(row["root"], str) else None) == expected


def test_names_of_what_a_line_is_about_are_masked():
    script = Script()
    for target in ("wrap_columns", "HelpFormatter", "Session.get it", "prompt"):
        script.log("llm_error", level="error", target=target, error=f"no answer for {target} in 3 s")
    assert only(script)["template"] == "no answer for <target> in <number>s".replace(">s", "> s")
    script = Script()
    for function in ("parse_line", "Café.join"):  # of a one-shot run
        script.log("failed", level="error", function=function, error=f"{function}: no answer")
    assert only(script)["template"] == "<function>: no answer"
    script = Script()
    for commit in ("11673369", "deadbeef", "bf74fa5b"):
        script.log("failed", level="error", commit=commit, error=f"cannot push {commit}")
    assert only(script)["template"] == "cannot push <commit>"


def test_what_came_before_is_of_the_same_run_and_of_what_was_heard():
    def script():
        return Script().good(1).log("daemon_starting").wait(60)

    assert only(script().log("odd", level="error"))["preceded_by"] == "daemon_starting"
    assert pd.isna(only(Script().log("odd", level="error"))["preceded_by"])
    asked = script().log("a").wait(60).log("odd", level="error")
    gap = outage(asked.at.timestamp() - 30, asked.at.timestamp() - 20)
    row = only(asked, [gap])
    assert pd.isna(row["preceded_by"])
    assert pd.isna(row["preceded_share"])
    assert only(asked)["preceded_by"] == "daemon_starting → a"


def test_what_came_before_is_the_last_three_other_names():
    script = Script().log("a").log("b").log("c").log("d")
    for _ in range(15):
        script.log("d").log("odd", level="error").log("c")
    row = only(script)
    assert row["preceded_by"] == "b → c → d"
    assert row["preceded_share"] == 1
    for _ in range(60):  # what lies too far back came no longer before
        script.log("d").log("odd", level="error").log("c")
    assert only(script)["preceded_by"] == "c → d"


def test_the_order_is_that_of_the_relays_log_across_its_restarts():
    """Offsets begin again under another epoch; within one, they decide, not the order of the rows."""
    names = ["b", "odd", "d", "a", "c"]
    logs = pd.DataFrame({"event": names, "level": ["info", "error", "info", "info", "info"]})
    logs["received_at"] = pd.Timestamp(START) + pd.to_timedelta([1, 4, 3, 0, 2], unit="s")
    logs["epoch"], logs["offset"] = ["x", "y", "y", "x", "y"], [8, 3, 2, 7, 1]
    events = pd.DataFrame({"type": ["e"], "received_at": [pd.Timestamp(START)], "epoch": ["x"], "offset": [9]})
    for shown in (logs, logs.sort_values("received_at"), logs.sort_values("offset")):
        assert errors(Traffic.of(logs=shown, events=events))["preceded_by"].tolist() == ["e → c → d"]
    logs["offset"] = np.nan
    assert errors(Traffic.of(logs=logs, events=events))["preceded_by"].tolist() == ["b → c → d"]


def test_cycles_are_told_apart_across_restarts_and_lost_messages():
    script = Script()
    for number in (1, 2, 1, 1, 2):  # twice the daemon started anew, unheard
        script.start(number).log("odd", level="error", error=f"no {number}").log("odd", level="error", error="no 9")
    row = only(script)
    assert (row["count"], row["cycles"], row["cycle_share"]) == (10, 5, 1)
    script = Script().log("odd", level="error").start(1).drop(1).log("odd", level="error")
    script.start(2).drop(2).log("odd", level="error").start(3)
    row = only(script)
    assert (row["count"], row["cycles"], row["cycle_share"]) == (3, 2, 2 / 3)
    row = only(Script().log("odd", level="error"))
    assert (row["cycles"], np.isnan(row["cycle_share"])) == (0, True)


def test_a_line_that_came_twice_counts_once():
    script = Script().log("odd", level="error", error="no").log("odd", level="error", error="no")
    (first, payload), (second, _) = script.messages
    script.messages = [(first, payload), (second, payload)]
    assert only(script)["count"] == 1
    script.messages[1] = (second, {**payload, "target": "x"})
    assert only(script)["count"] == 2


def test_it_can_be_told_apart_by_what_the_cycle_named():
    script = Script()
    for number, repo in enumerate(["click", "httpx", "click"]):
        script.start(number).work("f", repo=repo).log("push_failed", level="warning", error="no", component="daemon")
    script.start(9).log("push_failed", level="warning", error="no")
    found = errors(script.traffic(), by="repo")
    assert found[["repo", "count"]].fillna("?").to_numpy().tolist() == [["click", 2], ["?", 1], ["httpx", 1]]
    assert len(similar(script.traffic(), found.iloc[0])) == 2
    with pytest.raises(ValueError, match="by='mood' tells no errors apart: give one of repo, doc_type"):
        errors(script.traffic(), by="mood")


def test_the_level_is_chosen_as_for_where_and_the_worst_is_told():
    script = Script().log("a", level="info").log("b", level="warning").log("b", level="critical").log("b", level="odd")
    assert errors(script.traffic())[["event", "level", "count"]].to_numpy().tolist() == [["b", "critical", 2]]
    assert errors(script.traffic(), level="info")["event"].tolist() == ["a"]
    assert errors(script.traffic(), level=None)["count"].tolist() == [3, 1]
    assert errors(script.traffic(), level=["info", "critical"])["count"].sum() == 2
    with pytest.raises(ValueError, match="level is one of"):
        errors(script.traffic(), level=">=wrong")


def test_a_program_that_writes_sentences_is_understood():
    """Any publisher's errors: the event a sentence, the reason under another name, or nothing but a raw line."""
    script = Script()
    for number in range(3):
        script.log(f"job {number} failed", level="error", message=f"disk {number} is full")
        script.log("odd", level="error", error={"code": number})
    found = errors(script.traffic())
    assert sorted(found[["event", "template", "count"]].to_numpy().tolist()) == [
        ["job <number> failed", "disk <number> is full", 3],
        ["odd", '{"code":<number>}', 3],
    ]
    times = pd.date_range(START, periods=2, freq="1min")
    broken = pd.DataFrame({"timestamp": times, "level": "error", "extra": ['{"message":', '["message":1]']})
    assert errors(Traffic.of(logs=broken))["template"].tolist() == [""]
    plain = errors(Traffic.of(logs=pd.DataFrame({"timestamp": times, "level": "error", "error": ["no 1", "no 2"]})))
    assert plain[["template", "count", "example_offset"]].to_numpy().tolist() == [["no <number>", 2, -1]]
    assert pd.isna(plain["event"].iloc[0])
    assert (
        len(
            similar(
                Traffic.of(logs=pd.DataFrame({"timestamp": times, "level": "error"})), {"event": None, "template": ""}
            )
        )
        == 2
    )
    with pytest.raises(ValueError, match=r"give a row of errors\(\)"):
        similar(recording(1), {"template": "x"})


def test_a_strip_shows_when_and_how_many_and_what_was_not_heard():
    script = Script().log("a")
    for minute, count in ((5, 1), (10, 3), (20, 200)):
        script.at = START + timedelta(minutes=minute)
        for _ in range(count):
            script.log("odd", level="error")
    script.at = START + timedelta(minutes=60)
    gap = outage(START.timestamp() + 30 * 60, START.timestamp() + 40 * 60)
    found = errors(script.log("a").traffic([gap]))
    (strip,) = found["strip"]
    assert len(strip) == STRIP
    shown = [HEIGHTS[0], HEIGHTS[1], HEIGHTS[7]]
    assert [strip[minute - 1 : minute + 1].strip() for minute in (5, 10, 20)] == shown
    assert strip.count("░") == 9
    assert strip.strip(" ░" + "".join(HEIGHTS)) == ""
    assert found.coverage == pytest.approx(50 / 60, abs=1e-3)


def test_buckets_of_time_are_the_viewers_and_tell_what_was_heard():
    script = Script(start=START).log("a")
    for _ in range(4):
        script.wait(3600).log("odd", level="error", error="no")
    traffic = script.traffic([outage(START.timestamp() + 8000, START.timestamp() + 9000)])
    found = error_times(traffic, every="1d", zone="Europe/Berlin")  # midnight is at 23:00 UTC
    assert found["count"].tolist() == [1, 3]
    assert found["started_at"].dt.hour.tolist() == [23, 23]
    assert found["covered"].between(0, 0.2).all()
    hours = error_times(traffic, every="1h", zone="UTC")
    assert hours["count"].tolist() == [1, 1, 1, 1]
    assert hours["covered"].iloc[1] == pytest.approx(1 - 1000 / 3600)
    assert ((hours["ended_at"] - hours["started_at"]) == pd.Timedelta("1h")).all()
    with pytest.raises(ValueError, match="sometimes"):
        error_times(traffic, every="sometimes")


@pytest.mark.parametrize("days", [0, 0.01, 1, 30, 365, 4000])
def test_buckets_are_few_if_nobody_says_how_long_they_are(days):
    script = Script().log("odd", level="error", error="no")
    script.at += timedelta(days=days)
    traffic = script.log("odd", level="error", error="no").traffic()
    found = error_times(traffic, zone="UTC")
    assert found["count"].sum() == 2
    assert (traffic.until - traffic.since) / (found["ended_at"] - found["started_at"]).iloc[0] <= MOST_BUCKETS
    assert found["started_at"].is_monotonic_increasing


STEPS = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "odd", "worse", "daemon_starting"]), st.sampled_from(["le", "ev"])
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=60))
def test_what_is_told_is_what_one_would_count_by_hand(steps):
    script = Script()
    names, at = [], []
    for name, kind in steps:
        if name in ("odd", "worse"):
            script.log(name, level="error", error=f"no {len(names)}")
            at.append(len(names))
        else:
            script.log(name) if kind == "le" or name == "daemon_starting" else script.event(name)
        names.append(name)
    found = errors(script.traffic())
    before = {}
    for place in at:
        nearest = []
        for name in reversed(names[:place]):
            if names[place] != name and name not in nearest and len(nearest) < 3:
                nearest.append(name)
            if name == "daemon_starting":
                break
        before.setdefault(names[place], []).append(" → ".join(reversed(nearest)))
    assert dict(zip(found["event"], found["count"], strict=True)) == {name: len(all_) for name, all_ in before.items()}
    for row in found.itertuples():
        all_ = [one for one in before[row.event] if one]
        most = max(map(all_.count, all_), default=0)
        if most:
            assert all_.count(row.preceded_by) == most
            assert row.preceded_share == most / row.count
        else:
            assert pd.isna(row.preceded_by)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20)), max_size=10))
def test_any_text_is_counted_and_can_be_found_again(lines):
    times = pd.date_range(START, periods=len(lines), freq="1s")
    words = [dict(zip(("event", "error", "exception"), line, strict=True)) for line in lines]
    logs = pd.DataFrame(words, index=range(len(lines))).assign(received_at=times, level="error", target="a b")
    traffic = Traffic.of(logs=logs)
    found = errors(traffic)
    assert found["count"].sum() == len(lines)
    assert [len(similar(traffic, row)) for _, row in found.iterrows()] == found["count"].tolist()
    assert all(text.isprintable() for text in [*found["event"].dropna(), *found["template"], *found["strip"]])


def test_hundred_thousand_different_errors_are_a_few_kinds():
    """Their work is bounded: each distinct text is masked once, each shape of it once more."""
    count = 100_000
    numbers = np.arange(count)
    logs = pd.DataFrame({"offset": numbers, "received_at": pd.Timestamp(START) + pd.to_timedelta(numbers, unit="s")})
    logs["event"], logs["level"] = "llm_error", "error"
    logs["target"] = [f"fun_{number % 5000}.call" for number in numbers]
    logs["error"] = [
        f"{name} timed out after {n / 7:.2f} s\n" + "x" * 1_000 for name, n in zip(logs["target"], numbers, strict=True)
    ]
    (row,) = errors(Traffic.of(logs=logs)).itertuples()
    assert (row.count, row.template) == (count, "<target> timed out after <number> s <blob>")
