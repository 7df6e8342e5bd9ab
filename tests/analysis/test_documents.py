"""Documents: the recorded database against the recorded cycles, one to one; and what makes that hard."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded_frames import DATA, START, Script, recording
from support.worm_database import INSERT, make_database, row, writer

from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.document_rows import joined
from codeworm_monitor.analysis.documents import documents
from codeworm_monitor.analysis.matching import matched
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.snippets import Snippet, SnippetFile

DATABASE = DATA / "codeworm.db"
FAR_ZONES = ["America/Bogota", "Asia/Kolkata", "UTC", "Europe/Berlin"]
COLUMNS = {
    "id": "str",
    "documented_at": "datetime64[us, UTC]",
    "repo": "category",
    "file": "str",
    "target": "str",
    "language": "category",
    "doc_type": "category",
    "snippet_path": "str",
    "commit": "str",
    "code_hash": "str",
    "cycle_num": "float64",
    "run": "float64",
    "started_at": "datetime64[us, UTC]",
    "generate_s": "float64",
    "tokens": "float64",
    "tokens_per_s": "float64",
    "pushed": "boolean",
    "commit_message": "str",
    "is_recorded": "bool",
    "is_in_database": "bool",
}


def written_at(script, *, utc_offset=-5):
    """Returns the local time at which a document of now would be recorded."""
    return (script.at + timedelta(hours=utc_offset)).replace(tzinfo=None).isoformat()


def made(tmp_path, *rows):
    return make_database(tmp_path / "codeworm.db", rows)


# The recordings


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("zone", FAR_ZONES)
def test_the_recorded_commits_are_those_of_the_database_one_to_one(number, zone):
    traffic = recording(number)
    found = documents(traffic, DATABASE, zone=zone)
    done = cycles(traffic).dropna(subset="commit").set_index("commit")
    heard = found[found.is_recorded].set_index("commit")
    assert len(found) == 215
    assert found.is_in_database.all()
    assert sorted(heard.index) == sorted(done.index)
    assert heard.id.is_unique
    done = done.loc[heard.index]
    for column in ("target", "commit_message"):
        assert heard[column].tolist() == done[column].tolist()
    for column in ("repo", "doc_type"):
        assert heard[column].astype("object").tolist() == done[column].astype("object").tolist()
    for column in ("cycle_num", "tokens", "generate_s", "tokens_per_s", "pushed", "started_at"):
        assert heard[column].isna().sum() == 0
        assert (heard[column] == done[column]).all()
    delay = (done.ended_at - heard.documented_at).dt.total_seconds() - done.push_s
    assert delay.between(0, 1).all()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("zone", FAR_ZONES)
def test_within_the_recorded_stretch_no_document_lacks_its_cycle(number, zone):
    traffic = recording(number)
    within = documents(traffic, DATABASE, zone=zone, since=traffic.since, until=traffic.until)
    assert len(within) == {1: 99, 2: 49}[number]
    assert within.is_recorded.all()


def test_together_the_recordings_leave_out_what_was_made_between_them():
    first, second = (documents(recording(number), DATABASE) for number in (1, 2))
    assert (first.id == second.id).all()
    assert not (first.is_recorded & second.is_recorded).any()
    between = ~first.is_recorded & ~second.is_recorded
    assert between.sum() == 215 - 99 - 49
    assert first[between].documented_at.between(recording(1).until, recording(2).since).all()


def test_the_times_are_those_of_the_daemons_host_wherever_the_notebook_is():
    found = documents(recording(1), DATABASE, zone="Asia/Tokyo")
    assert found.documented_at[0] == pd.Timestamp("2026-11-22T21:58:50.764629Z")
    unheard = documents(Traffic.of(), DATABASE, zone="America/Bogota")
    assert (unheard.documented_at == found.documented_at).all()
    assert not unheard.is_recorded.any()


# Always so


@pytest.mark.parametrize("rows", [(), (row(1),)])
@pytest.mark.parametrize("traffic", [recording(2), Traffic.of(), Script().good(1).traffic()])
def test_columns_and_dtypes_are_those_of_the_docstring_always(tmp_path, rows, traffic):
    texts = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
    expected = {name: texts if dtype == "str" else dtype for name, dtype in COLUMNS.items()}
    found = documents(traffic, made(tmp_path, *rows))
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == expected
    assert found.is_in_database.sum() == len(rows)
    assert isinstance(found.index, pd.RangeIndex)


def test_the_answer_says_how_much_of_the_traffic_was_heard():
    assert documents(recording(1), DATABASE).coverage == 1
    assert documents(Traffic.of(), DATABASE).attrs["since"] is None


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(CodeWormFileError, match="is not there"):
        documents(recording(1), tmp_path / "codeworm.db")


def test_a_zone_that_is_none_is_told():
    with pytest.raises(ValueError, match="is no time zone"):
        documents(Traffic.of(), DATABASE, zone="Europe/Atlantis")


def test_the_file_is_read_again_when_it_was_written_to(tmp_path):
    traffic, path = Script().good(1).traffic(), made(tmp_path, row(1))
    assert documents(traffic, path).is_in_database.sum() == 1
    with closing(sqlite3.connect(path)) as daemon:
        daemon.execute(INSERT, row(2))
        daemon.commit()
    assert documents(traffic, path).is_in_database.sum() == 2


def test_beside_a_writing_daemon_documents_come_whole(tmp_path):
    path, seen = made(tmp_path), []
    with writer(path, is_kept=False) as stop:
        while len(seen) < 10 or seen[-1] == seen[0]:
            seen.append(len(documents(Traffic.of(), path)))
        written = stop()
    assert all(count % 2 == 0 for count in seen)
    assert len(documents(Traffic.of(), path)) == 2 * written


# What makes it hard


def test_a_commit_that_the_database_lacks_is_there(tmp_path):
    script = Script().good(1, "prompt", "aaaaaaaa", repo="click")
    script.wait(60).good(2, "style", "bbbbbbbb", repo="click", doc_type="til")
    known = row(2, git_commit="bbbbbbbb", function_name="style", doc_type="til", documented_at=written_at(script))
    found = documents(script.traffic(), made(tmp_path, known))
    assert found.commit.tolist() == ["aaaaaaaa", "bbbbbbbb"]
    assert found.is_in_database.tolist() == [False, True]
    assert found.is_recorded.all()
    lacking = found.iloc[0]
    assert (lacking.target, lacking.repo, lacking.language, lacking.doc_type) == (
        "prompt",
        "click",
        "python",
        "function_doc",
    )
    assert lacking[["id", "file", "snippet_path", "code_hash"]].isna().all()
    assert lacking.documented_at == pd.Timestamp(START) + pd.Timedelta("3.005s")
    assert lacking.cycle_num == 1


def test_failed_and_skipped_cycles_and_dry_runs_are_no_documents(tmp_path):
    script = Script().start(1).work("f").log("documentation_failed", level="error", target="f", error="no").wait(1)
    script.start(2).log("cycle_skipped_no_candidates", level="warning", repos_exhausted=[]).wait(1)
    script.start(3).log("documenting", target="g", doc_type="til", repo="click", score=1.0, dry_run=True).wait(1)
    script.log("dry_run_complete", target="g", doc_type="til", tokens=5, time_ms=900, would_commit="Add g").wait(1)
    assert len(cycles(script.traffic())) == 3
    assert len(documents(script.traffic(), made(tmp_path))) == 0


def test_two_documents_of_one_hash_go_to_the_cycle_of_their_time(tmp_path):
    """Of 50,000 hashes of 32 bits, two are alike in one year of four."""
    script, rows = Script(), []
    for number in (1, 2, 3):
        script.good(number, "f", "deadbeef" if number < 3 else "0badcafe")
        rows.append(
            row(
                number,
                function_name="f",
                git_commit=("deadbeef", "deadbeef", "0badcafe")[number - 1],
                documented_at=written_at(script),
            )
        )
        script.wait(3600)
    old = row(9, function_name="f", git_commit="deadbeef", documented_at="2026-01-05T10:00:00")
    found = documents(script.traffic(), made(tmp_path, old, *rows)).set_index("id")
    assert found.loc["id9"].is_recorded == False  # noqa: E712
    assert found.loc[["id1", "id2", "id3"]].cycle_num.tolist() == [1, 2, 3]
    assert len(found) == 4


@pytest.mark.parametrize("place", [0, 1])
def test_of_two_cycles_of_one_hash_the_nearer_has_the_document(tmp_path, place):
    script = Script()
    times = []
    for number in (1, 2):
        script.good(number, "f", "deadbeef")
        times.append(written_at(script))
        script.wait(20)
    known = row(1, function_name="f", git_commit="deadbeef", documented_at=times[place])
    other = row(2, function_name="g", git_commit="0badcafe", documented_at=written_at(script))
    found = documents(script.good(3, "g", "0badcafe").traffic(), made(tmp_path, known, other))
    assert found.cycle_num.tolist() == [1, 2, 3]
    assert found.is_in_database.tolist() == [place == 0, place == 1, True]


def test_one_hash_of_another_document_is_no_match(tmp_path):
    script = Script().good(1, "f", "deadbeef")
    for other in (
        {"function_name": "g"},
        {"source_repo": "httpx"},
        {"doc_type": "til"},
        {"documented_at": "2026-01-05T10:00:00"},
        {"git_commit": None},
        {"git_commit": "DEADBEEF"},
    ):
        known = {"function_name": "f", "git_commit": "deadbeef", "documented_at": written_at(script)}
        assert documents(script.traffic(), made(tmp_path, row(1, **known))).is_recorded.tolist() == [True]
        found = documents(script.traffic(), make_database(tmp_path / "other.db", [row(1, **(known | other))]))
        assert sorted(zip(found.is_recorded, found.is_in_database, strict=True)) == [(False, True), (True, False)]
        (tmp_path / "codeworm.db").unlink()
        (tmp_path / "other.db").unlink()


def test_one_commit_that_is_told_of_two_documents_is_matched_by_the_target(tmp_path):
    """Git makes no commit of what changes nothing: the daemon then takes the newest one for it."""
    script = Script().good(1, "f", "deadbeef")
    first = row(1, function_name="f", git_commit="deadbeef", documented_at=written_at(script))
    script.wait(30).good(2, "g", "deadbeef")
    second = row(2, function_name="g", git_commit="deadbeef", documented_at=written_at(script))
    third = row(3, function_name="h", git_commit="0badcafe", documented_at=written_at(script))
    script.good(3, "h", "0badcafe")
    found = documents(script.traffic(), made(tmp_path, first, second, third))
    assert found.cycle_num.tolist() == [1, 2, 3]
    assert found.is_in_database.all()


def test_a_document_whose_cycle_is_known_by_its_end_alone_is_matched(tmp_path):
    script = Script().good(1, "f", "deadbeef")
    known = row(1, function_name="f", git_commit="deadbeef", documented_at=written_at(script))
    place = next(i for i, (_, said) in enumerate(script.messages) if said.get("event") == "documentation_committed")
    script.messages[:] = script.messages[place : place + 1]
    (found,) = documents(script.traffic(), made(tmp_path, known)).itertuples()
    assert found.is_recorded
    assert found.is_in_database
    assert found.tokens == 1000
    assert pd.isna(found.cycle_num)


def test_an_unreadable_time_is_missing_and_last_and_loses_no_document(tmp_path):
    script = Script().good(1, "f", "deadbeef")
    found = documents(
        script.traffic(),
        made(
            tmp_path,
            row(1, documented_at="yesterday"),
            row(2, documented_at=5),
            row(3, documented_at="9999-12-31T23:59:59"),
            row(4, function_name="f", git_commit="deadbeef", documented_at=""),
            row(5, documented_at="2026-11-22T12:00:00+02:00"),
        ),
    )
    assert found.id.tolist() == ["id5", "id1", "id2", "id3", "id4"]
    assert found.documented_at[0] == pd.Timestamp("2026-11-22T10:00Z")
    assert found.documented_at[1:].isna().all()
    assert found.is_recorded.tolist() == [False] * 4 + [True]


def test_strange_text_stays_text(tmp_path):
    strange = "<script>alert(1)</script>\ud7ff\N{RIGHT-TO-LEFT OVERRIDE}\n"
    names = ("source_repo", "source_file", "function_name", "class_name", "snippet_path", "git_commit", "doc_type")
    found = documents(Traffic.of(), made(tmp_path, row(1, **dict.fromkeys(names, strange)), row(2)))
    assert found.repo.tolist() == [strange, "click"]
    assert found.target[0] == f"{strange}.{strange}"
    assert "<script>" not in found._repr_html_()


def test_across_a_change_of_the_hosts_clock_each_document_has_its_time(tmp_path):
    """1 November 2026, 2:00 becomes 1:00 in New York; the notebook is in Tokyo."""
    script = Script(start=datetime(2026, 11, 1, 4, 40, tzinfo=UTC), utc_offset=-4)
    rows, moments = [], []
    for number in range(1, 13):
        script.utc_offset = timedelta(hours=-4 if script.at < datetime(2026, 11, 1, 6, tzinfo=UTC) else -5)
        moments.append(script.at)
        rows.append(
            row(
                number,
                function_name=f"f{number}",
                git_commit=f"{number:08x}",
                documented_at=written_at(script, utc_offset=script.utc_offset / timedelta(hours=1)),
            )
        )
        if number % 2:  # every other one was not heard
            script.wait(-3).good(number, f"f{number}", f"{number:08x}")
        script.wait(600)
    for zone in ("America/New_York", "Asia/Tokyo"):
        found = documents(script.traffic(), made(tmp_path, *rows), zone=zone)
        (tmp_path / "codeworm.db").unlink()
        assert found.documented_at.tolist() == moments
        assert found.is_recorded.tolist() == [True, False] * 6


# Any days


ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC")]


@st.composite
def days(draw):
    """Draws documents: when each was made, of what, under which hash, whether it was heard and whether it is recorded."""
    count = draw(st.integers(0, 25))
    moment = datetime(2026, draw(st.sampled_from([3, 7, 10])), 25, tzinfo=UTC)
    drawn = []
    for number in range(count):
        moment += timedelta(minutes=draw(st.integers(10, 3000)), seconds=draw(st.integers(0, 59)))
        drawn.append(
            {
                "at": moment,
                "target": f"f{number}",
                "commit": draw(st.sampled_from(["deadbeef", f"{number:08x}", f"{number:08x}"])),
                "is_heard": draw(st.booleans()),
                "is_recorded": draw(st.integers(0, 5)) > 0,
            }
        )
    return drawn


def heard(drawn):
    some = [one for one in drawn if one["is_heard"]]
    return pd.DataFrame(
        {
            "commit": pd.Series([one["commit"] for one in some], dtype="object"),
            "ended_at": pd.DatetimeIndex([one["at"] + timedelta(seconds=2) for one in some], tz=UTC),
            "push_s": [1.5] * len(some),
            "repo": pd.Categorical(["click"] * len(some)),
            "target": pd.Series([one["target"] for one in some], dtype="object"),
            "doc_type": pd.Categorical(["til"] * len(some)),
        }
    )


def recorded(drawn, zone):
    rows = [
        row(
            number,
            function_name=one["target"],
            git_commit=one["commit"],
            doc_type="til",
            documented_at=one["at"].astimezone(zone).replace(tzinfo=None).isoformat(),
        )
        for number, one in enumerate(drawn)
        if one["is_recorded"]
    ]
    return [Snippet(*one) for one in rows]


@given(days(), st.sampled_from(ZONES), st.sampled_from(ZONES))
def test_a_document_is_matched_with_no_cycle_but_its_own(drawn, host, zone):
    done, snippets = heard(drawn), recorded(drawn, host)
    place, _ = matched(snippets, done, zone)
    chosen = [
        (snippet.target, done.target[at]) for snippet, at in zip(snippets, place.tolist(), strict=True) if at >= 0
    ]
    assert all(one == other for one, other in chosen)
    assert len({at for at in place.tolist() if at >= 0}) == len(chosen)
    of_one_hash = [one for one in drawn if one["commit"] == "deadbeef"]
    both = [one for one in drawn if one["is_heard"] and one["is_recorded"] and one not in of_one_hash]
    assert len(chosen) >= len(both)


@given(days(), st.sampled_from(ZONES))
def test_in_the_hosts_zone_every_document_that_was_heard_has_its_cycle_and_its_time(drawn, host):
    done, snippets = heard(drawn), recorded(drawn, host)
    place, times = matched(snippets, done, host)
    by_target = {one["target"]: one for one in drawn}
    for snippet, at, time in zip(snippets, place.tolist(), times.tolist(), strict=True):
        one = by_target[snippet.target]
        local = one["at"].astimezone(host)
        is_doubtful = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
        assert is_doubtful or (at >= 0) == one["is_heard"]
        assert is_doubtful or abs(time / 1e6 - one["at"].timestamp()) < 1e-3


def test_a_hundred_thousand_of_one_hash_are_looked_at_in_turn():
    """Made to do harm: every pair would be ten thousand million."""
    count = 100_000
    start = pd.Timestamp("2026-01-01T00:00Z")
    at = start + pd.to_timedelta(range(count), "min")
    snippets = [
        Snippet(*row(0, git_commit="deadbeef", documented_at=text)) for text in at.strftime("%Y-%m-%dT%H:%M:%S")
    ]
    done = pd.DataFrame(
        {
            "commit": "deadbeef",
            "ended_at": at.as_unit("us"),
            "push_s": 0.0,
            "repo": pd.Categorical(["click"] * count),
            "target": "f0",
            "doc_type": pd.Categorical(["function_doc"] * count),
        }
    )
    place, _ = matched(snippets, done, ZoneInfo("UTC"))
    assert place.tolist() == list(range(count))


def test_the_pure_join_takes_any_frame_of_cycles():
    done = cycles(recording(2))
    found = joined(SnippetFile(DATABASE).snippets(), done.sample(frac=1, random_state=1), ZoneInfo("UTC"))
    assert found.is_recorded.sum() == 49
