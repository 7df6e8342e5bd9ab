"""Repositories: those of the recordings, and what is said of each by which files are known."""

from __future__ import annotations

import json
from datetime import timedelta

import orjson
import pandas as pd
import pytest
from support.recorded_frames import DATA, START, Script, recording
from support.worm_database import make_database, row

from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.repos import repos
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.records import Kind

CONFIG, DATABASE = DATA / "config", DATA / "codeworm.db"
CONFIGURED = ["starlette", "pflag", "websockets", "query", "axios", "httpx", "click", "textwrap"]
COLUMNS = {
    "name": "str",
    "path": "str",
    "weight": "float64",
    "enabled": "boolean",
    "is_configured": "boolean",
    "documents": "int64",
    "documents_from": "category",
    "last_activity": "datetime64[us, UTC]",
    "share": "float64",
    "expected_share": "float64",
    "cycles": "int64",
    "success_rate": "float64",
    "exhausted_at": "datetime64[us, UTC]",
    "new_share": "float64",
    "backlog_estimate": "float64",
}


def by_name(traffic, **files):
    return repos(traffic, **files).set_index("name")


def listed(tmp_path, *names, **more):
    path = tmp_path / "repos.yaml"
    path.write_bytes(orjson.dumps({"repositories": [{"name": name, "path": f"/x/{name}", **more} for name in names]}))
    return path


def counted(script, **by_repo):
    script.stats(1, 1)
    envelope, payload = script.messages[-1]
    script.messages[-1] = (envelope, payload | {"by_repo": by_repo})
    return script


@pytest.mark.parametrize("traffic", [recording(1), Traffic.of(), Script().good(1).traffic()])
@pytest.mark.parametrize("config", [CONFIG, None])
@pytest.mark.parametrize("database", [DATABASE, None])
def test_columns_and_dtypes_are_those_of_the_docstring_always(traffic, config, database):
    texts = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
    expected = {name: texts if dtype == "str" else dtype for name, dtype in COLUMNS.items()}
    found = repos(traffic, config=config, database=database)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == expected
    assert found.name.is_unique


def test_the_recorded_repositories_are_there_in_the_order_of_the_list_then_who_was_only_seen():
    found = repos(recording(2), config=CONFIG, database=DATABASE)
    assert found.name.tolist() == [*CONFIGURED, "dotfiles-scripts"]
    assert found.is_configured.tolist() == [True] * 8 + [False]
    found = found.set_index("name")
    assert found.documents.to_dict() == {
        **{"starlette": 40, "pflag": 0, "websockets": 23, "query": 2, "axios": 39},
        **{"httpx": 12, "click": 56, "textwrap": 32, "dotfiles-scripts": 11},
    }
    assert set(found.documents_from) == {"database"}
    assert found.share.sum() == pytest.approx(1)
    assert found.expected_share.click == pytest.approx(8 / 48)
    assert found.expected_share[CONFIGURED].sum() == pytest.approx(1)
    assert pd.isna(found.expected_share["dotfiles-scripts"])
    assert pd.isna(found.enabled["dotfiles-scripts"])
    assert pd.isna(found.last_activity.pflag)
    assert found.last_activity.websockets == pd.Timestamp("2026-11-22T22:35:02.784436Z")  # nobody listened


def test_the_recorded_cycles_are_counted_by_repository():
    done = cycles(recording(1))
    found = by_name(recording(1), config=CONFIG)
    assert found.cycles.sum() == done.repo.notna().sum()
    for name in ("click", "httpx", "textwrap"):
        its = done[done.repo == name]
        tried = its.outcome.isin(["committed", "failed", "llm_error"])
        assert found.success_rate[name] == pytest.approx((its.outcome == "committed").sum() / tried.sum())
    assert pd.isna(found.success_rate.axios)


@pytest.mark.parametrize("number", [1, 2])
def test_without_the_database_the_daemons_own_counts_say_the_same(number):
    by_stats = by_name(recording(number), config=CONFIG)
    assert set(by_stats.documents_from) == {"stats"}
    if number == 2:  # at its end the database was copied
        by_database = by_name(recording(2), config=CONFIG, database=DATABASE)
        assert by_stats.documents.to_dict() == by_database.documents.to_dict()
    assert by_stats.new_share.isna().all()


def test_the_recorded_repository_that_ran_out_of_candidates_is_told():
    found = by_name(recording(2), config=CONFIG, database=DATABASE)
    done = cycles(recording(2))
    last = done[done.repo == "dotfiles-scripts"].ended_at.max()
    skips = done[(done.outcome == "skipped") & (done.ended_at > last)]
    assert found.exhausted_at["dotfiles-scripts"] == skips.ended_at.min()
    assert found.backlog_estimate["dotfiles-scripts"] == 0
    assert found.exhausted_at.drop("dotfiles-scripts").isna().all()


def test_the_recorded_backlogs_are_those_of_lists_gone_through_and_lists_begun():
    found = by_name(recording(1), config=CONFIG, database=DATABASE)
    assert found.backlog_estimate.textwrap == 0  # each of its five functions has each of the four kinds
    assert found.backlog_estimate.axios <= 4
    assert found.backlog_estimate.click > 30
    assert pd.isna(found.backlog_estimate.query)  # two documents
    assert pd.isna(found.backlog_estimate.httpx)  # no function came again
    assert found.new_share.httpx == 1
    assert found.new_share.textwrap == pytest.approx(0.5)


# What is known by what


def test_without_any_file_those_are_known_that_were_seen():
    found = by_name(Script().good(1, repo="b").good(2, repo="a").good(3, repo="b").traffic())
    assert found.documents.to_dict() == {"b": 2, "a": 1}
    assert set(found.documents_from) == {"cycles"}
    assert (
        found[["path", "weight", "enabled", "is_configured", "expected_share", "backlog_estimate"]].isna().all().all()
    )


def test_what_was_committed_after_the_daemons_last_count_is_added():
    script = counted(Script().good(1, repo="a"), a=5, b=2)
    script.good(2, repo="a").good(3, repo="c")
    assert by_name(script.traffic()).documents.to_dict() == {"a": 6, "b": 2, "c": 1}


@pytest.mark.parametrize("count", ["many", -1, True, 1.5, None, 10**30])
def test_a_count_that_is_none_is_passed_over(count):
    told = pd.DataFrame({"received_at": [START], "by_repo": [json.dumps({"a": 5, "b": count})]})
    assert by_name(Traffic.of(stats=told)).documents.to_dict() == {"a": 5}


@pytest.mark.parametrize("text", ["", "[1]", "5", "{", "[" * 100_000, "NaN"])
def test_counts_that_cannot_be_read_leave_it_to_those_before(text):
    told = pd.DataFrame({"received_at": [START, START], "by_repo": ['{"a": 5}', text]})
    assert by_name(Traffic.of(stats=told)).documents.to_dict() == {"a": 5}


def test_a_repository_that_is_switched_off_is_expected_to_have_nothing(tmp_path):
    path = tmp_path / "repos.yaml"
    path.write_text("repositories: [{name: a, weight: 3}, {name: b, enabled: false, weight: 9}, {name: c, weight: x}]")
    found = by_name(Traffic.of(), config=path)
    assert found.enabled.tolist() == [True, False, True]
    assert found.expected_share[["a", "b"]].tolist() == [1, 0]
    assert pd.isna(found.expected_share.c)


def test_a_name_that_is_listed_twice_is_one_repository(tmp_path):
    path = tmp_path / "repos.yaml"
    path.write_text("repositories: [{name: a, path: /1}, {name: b}, {name: a, path: /2}]")
    assert repos(Traffic.of(), config=path).path.tolist()[0] == "/1"
    assert repos(Traffic.of(), config=path).name.tolist() == ["a", "b"]


@pytest.mark.parametrize("files", [{"config": "nowhere"}, {"database": "nowhere"}])
def test_a_file_that_is_not_there_is_told(files):
    with pytest.raises(CodeWormFileError, match="is not there"):
        repos(Traffic.of(), **files)


# What has nothing left


def skipped(script, number):
    return script.start(number).log("cycle_skipped_no_candidates", level="warning", repos_exhausted=[]).wait(600)


def started(script, repos):
    return script.log("daemon_starting", mode="normal", repos=repos, devlog="/x", debug=False).wait(1)


def test_a_cycle_without_candidates_speaks_of_all_that_its_run_takes_part_in(tmp_path):
    config = listed(tmp_path, "a", "b")
    script = started(Script(), 2).good(1, repo="a")
    since = script.at
    found = by_name(skipped(skipped(script, 2), 3).traffic(), config=config)
    assert found.exhausted_at.tolist() == [found.exhausted_at.a] * 2
    assert abs(found.exhausted_at.a - since) < timedelta(seconds=5)
    assert found.backlog_estimate.tolist() == [0, 0]


def test_a_run_of_one_repository_says_nothing_of_the_others(tmp_path):
    config = listed(tmp_path, "a", "b")
    script = skipped(started(Script(), 1).good(1, repo="a"), 2)
    found = by_name(script.traffic(), config=config)
    assert found.exhausted_at.isna().to_dict() == {"a": False, "b": True}


def test_what_was_done_since_ends_it(tmp_path):
    config = listed(tmp_path, "a", "b")
    script = skipped(started(Script(), 2).good(1, repo="a").good(2, repo="b"), 3).good(4, repo="b")
    found = by_name(script.traffic(), config=config)
    assert found.exhausted_at.isna().to_dict() == {"a": False, "b": True}


def test_a_document_that_only_the_database_tells_of_ends_it_as_well(tmp_path):
    script = skipped(started(Script(), 1).good(1, repo="a"), 2)
    late = (script.at + timedelta(hours=-4)).replace(tzinfo=None).isoformat()
    path = make_database(tmp_path / "codeworm.db", [row(1, source_repo="a", documented_at=late)])
    assert pd.isna(by_name(script.traffic(), database=path, zone="America/Bogota").exhausted_at.a)


def test_hostile_messages_are_no_counts(tmp_path):
    script = skipped(started(Script(), ["a", "b"]).good(1, repo="<b>"), 2)
    script._add(Kind.STATS, {"timestamp": "2026", "by_repo": {"\ud7ff": 1, "": 2}})
    found = by_name(script.traffic(), config=listed(tmp_path, "a"))
    assert found.exhausted_at.isna().to_dict()["a"]
    assert "<b>" not in repos(script.traffic())._repr_html_()
