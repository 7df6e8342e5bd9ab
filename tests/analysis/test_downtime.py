"""Downtimes of Ollama: what the relay saw of it, and what the daemon says, told once."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest
from support.recorded_frames import START, Script, recording

from codeworm_monitor.analysis.outages import outages
from codeworm_monitor.analysis.traffic import Traffic, ollama_records

URL = "http://127.0.0.1:11434"
REFUSED = "All connection attempts failed: connection refused"


class Journal:
    """What a relay that looks at Ollama told, by seconds after the start."""

    def __init__(self):
        self.rows = []

    def tell(self, at, event, *, error=None, url=URL, **extra):
        words = {name: _iso(value) if name in ("since", "last_heard_at") else value for name, value in extra.items()}
        time = START + timedelta(seconds=at)
        text = "{" + ", ".join(f'"{name}": "{value}"' for name, value in {"url": url, **words}.items()) + "}"
        self.rows.append({"received_at": time, "timestamp": time, "event": event, "error": error, "extra": text})
        return self

    def down(self, at, *, since=None, heard=None, error="connection refused", url=URL):
        heard = {} if heard is None else {"last_heard_at": heard}
        since = at - 2 if since is None else since
        return self.tell(at, "ollama_unreachable", error=error, url=url, since=since, **heard)

    def up(self, at, **extra):
        return self.tell(at, "ollama_reachable", **extra)

    @property
    def df(self):
        return pd.DataFrame(self.rows)


def _iso(at):
    return (START + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")


def found(journal, script=None, **words):
    frames = {}
    if script is not None:
        traffic = script.traffic()
        frames = {"logs": traffic.logs, "events": traffic.events, "stats": traffic.stats}
    rows = outages(Traffic.of(journal=journal.df, **frames, **words))
    return rows[rows.kind == "ollama"].reset_index(drop=True)


def spans(rows):
    return [
        tuple(None if pd.isna(time) else (time - START).total_seconds() for time in (row.started_at, row.ended_at))
        for row in rows.itertuples()
    ]


def test_what_the_relay_saw_is_an_outage_by_itself():
    rows = found(Journal().up(0).down(102, since=100, heard=70).up(400, since=100))
    assert spans(rows) == [(100, 400)]
    assert rows.cause.tolist() == ["not reachable"]
    assert rows.evidence.tolist() == ["the relay could not reach it: connection refused"]
    assert rows.cycles_lost.tolist() == [0]


def test_one_that_lasts_has_no_end_until_the_daemon_has_used_ollama():
    assert spans(found(Journal().down(102, since=100))) == [(100, None)]
    script = Script().wait(500).good(1)
    ((begin, end),) = spans(found(Journal().down(102, since=100), script))
    assert begin == 100
    assert 500 < end < 510
    script = Script().wait(50).good(1)
    assert spans(found(Journal().down(102, since=100), script)) == [(100, None)]


@pytest.mark.parametrize("event", ["ollama_models", "ollama_unchanged", "ollama_version_changed"])
def test_whatever_else_is_told_of_it_shows_that_it_answers(event):
    assert spans(found(Journal().down(102, since=100).tell(300, event))) == [(100, 300)]


def test_a_relay_that_starts_again_meanwhile_makes_no_second_one():
    journal = Journal().down(102, since=100).tell(702, "ollama_still_unreachable", error="x", since=100).down(900)
    rows = found(journal.up(1000, since=898))
    assert spans(rows) == [(100, 1000)]
    assert rows.evidence[0].startswith("the relay could not reach it: connection refused")


def test_a_relay_that_looks_elsewhere_says_nothing_more_of_the_first_place():
    journal = Journal().down(102, since=100).tell(702, "ollama_still_unreachable", since=100)
    assert spans(found(journal.up(900, url="http://other:11434"))) == [(100, 702)]


def test_one_that_began_before_the_stretch_is_told_by_its_end():
    journal = Journal().up(400, since=100)
    assert spans(found(journal, since=START, until=START + timedelta(hours=1))) == [(100, 400)]
    late = START + timedelta(seconds=200)
    assert spans(found(journal, since=late, until=START + timedelta(hours=1))) == [(200, 400)]


def test_what_both_tell_is_one_with_the_times_that_the_relay_proved():
    script = Script().good(1).wait(600).start(2).work("b")
    begun = (script.at - START).total_seconds()
    script.log("llm_error", level="error", target="b", error=REFUSED)
    script.wait(900).good(3)
    # The generation began 2 s before it failed; Ollama answered the relay in between.
    journal = Journal().up(0).down(begun + 1.5, since=begun - 0.5, heard=begun - 1).up(begun + 120, since=begun - 0.5)
    rows = found(journal, script)
    assert spans(rows) == [(pytest.approx(begun - 0.5, abs=0.1), begun + 120)]
    assert rows.cause.tolist() == ["not reachable"]
    assert rows.cycles_lost.tolist() == [1]
    assert rows.evidence[0] == (f"the relay could not reach it: connection refused; the daemon: llm_error: {REFUSED}")


def test_the_relays_answer_does_not_prove_that_a_model_is_found():
    script = Script().good(1).wait(600).start(2).work("b")
    begun = (script.at - START).total_seconds()
    script.log("llm_error", level="error", target="b", error="model not found, try pulling it first")
    script.wait(900).good(3)
    alone = outages(script.traffic())
    rows = found(Journal().down(begun, since=begun - 1).up(begun + 120), script)
    assert rows.ended_at.tolist() == alone.ended_at.tolist()
    assert rows.started_at.tolist() == alone.started_at.tolist()
    assert rows.cause.tolist() == ["model not found; not reachable"]


def test_what_does_not_overlap_stays_apart():
    script = Script().good(1).wait(600).start(2).work("b")
    script.log("llm_error", level="error", target="b", error="Model OOM: out of memory").wait(30).good(3)
    rows = found(Journal().down(102, since=100).up(200).down(5002, since=5000).up(5100), script)
    assert rows.cause.tolist() == ["not reachable", "out of memory", "not reachable"]
    assert spans(rows)[0] == (100, 200)
    assert spans(rows)[2] == (5000, 5100)


def test_two_stretches_within_one_of_the_daemons_are_one():
    script = Script().good(1).wait(600).start(2).work("b")
    begun = (script.at - START).total_seconds()
    for _ in range(3):
        script.log("llm_error", level="error", target="b", error="Model OOM: out of memory").wait(300).start(3).work(
            "b"
        )
    script.commit("b", "bbbbbbbb")
    journal = Journal().down(begun + 50).up(begun + 60).down(begun + 200).up(begun + 260)
    rows = found(journal, script)
    assert rows.cause.tolist() == ["out of memory; not reachable"]
    assert rows.evidence[0].startswith(
        "the relay could not reach it 2 times, last: connection refused; the daemon: 3 times"
    )


def test_it_explains_no_silence_of_the_daemon():
    script = Script()
    for number in range(1, 4):
        script.good(number)
        script.event("next_cycle", time=(script.at + pd.Timedelta("12min")).isoformat()).wait(720)
    script.wait(3 * 3600).good(4)
    traffic = script.traffic()
    journal = Journal().down(5002, since=5000).up(5060)
    rows = outages(Traffic.of(logs=traffic.logs, events=traffic.events, stats=traffic.stats, journal=journal.df))
    assert rows.kind.tolist() == ["daemon", "ollama"]


@pytest.mark.parametrize("number", [1, 2])
def test_without_an_outage_seen_by_the_relay_the_answer_is_the_same(number):
    traffic = recording(number)
    with_looks = Traffic.of(
        logs=traffic.logs,
        events=traffic.events,
        stats=traffic.stats,
        gaps=traffic.gaps,
        journal=Journal().up(0).tell(600, "ollama_unchanged").df,
        since=traffic.since,
        until=traffic.until,
    )
    pd.testing.assert_frame_equal(pd.DataFrame(outages(with_looks)), pd.DataFrame(outages(traffic)))


def test_rows_of_the_relay_among_the_logs_count_as_well():
    journal = Journal().down(102, since=100).up(400, since=100).tell(500, "reader_evicted").df
    traffic = Traffic.of(logs=journal.assign(channel="codeworm:relay", level="info"))
    assert len(traffic.logs) == 0
    assert traffic.journal.event.tolist() == ["ollama_unreachable", "ollama_reachable"]
    assert spans(outages(traffic)) == [(100, 400)]


def test_a_part_of_the_traffic_has_its_part_of_the_records():
    whole = Traffic.of(journal=Journal().down(102, since=100).up(400, since=100).df)
    part = whole.between(START + timedelta(seconds=300), None)
    assert part.journal.event.tolist() == ["ollama_reachable"]
    assert spans(outages(part)) == [(300, 400)]


@pytest.mark.parametrize("extra", [None, "", "[]", "{", '{"since": 7}', '{"since": "never"}', '{"since": "9999-99"}'])
def test_broken_records_are_read_as_far_as_they_go(extra):
    rows = Journal().down(102).up(400).df.assign(extra=extra)
    assert spans(outages(Traffic.of(journal=rows))) == [(102, 400)]


def test_without_a_frame_there_are_no_records():
    assert list(ollama_records(None).columns) == ["received_at", "timestamp", "event", "error", "extra"]
    assert len(Traffic.of().journal) == 0
