"""Documents and repositories: those of the recorded database."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.pictures import DATA
from support.recorded_frames import recording
from support.seen import verts, words

from codeworm_monitor.analysis import documents as asked
from codeworm_monitor.plots import documents, repos
from codeworm_monitor.plots.buckets import GROUPS
from codeworm_monitor.plots.palette import BLUE

ZONE = "America/New_York"


def known() -> pd.DataFrame:
    return asked.documents(recording(1), DATA / "codeworm.db", zone=ZONE)


def found() -> pd.DataFrame:
    return asked.repos(recording(1), config=DATA / "config", database=DATA / "codeworm.db", zone=ZONE)


def test_every_document_is_in_a_bar() -> None:
    frame = known()
    ax = documents(frame, zone=ZONE)
    assert ax.get_title(loc="left") == f"Documents by repository: {len(frame)}"
    heights = sum((verts(ax, look.colour)[:, 3] - verts(ax, look.colour)[:, 2]).sum() for look in GROUPS)
    largest = frame["repo"].value_counts().head(5).sum()
    assert heights == largest
    assert "3 others" in words(ax)


def test_a_lane_tells_what_nobody_heard() -> None:
    frame = known()
    assert "not heard, up to" in words(documents(frame, zone=ZONE))
    assert "not heard" not in words(documents(frame.assign(is_recorded=True), zone=ZONE))


def test_documents_without_a_time_are_counted() -> None:
    frame = known()
    frame.loc[:2, "documented_at"] = pd.NaT
    assert "Left out: 3 documents without a time." in words(documents(frame, zone=ZONE))


def test_one_document_is_a_bar() -> None:
    assert len(verts(documents(known().head(1), zone=ZONE), GROUPS[0].colour)) == 1


def test_a_repository_is_as_long_as_its_documents_and_its_backlog() -> None:
    frame = found()
    ax = repos(frame, zone=ZONE)
    bars = verts(ax, BLUE)
    assert bars[:, 1].tolist() == frame["documents"].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == frame["name"].tolist()
    hatched = [path.vertices for one in ax.collections if one.get_hatch() == "//" for path in one.get_paths()]
    assert [round(box[1, 0] - box[0, 0]) for box in hatched] == frame["backlog_estimate"].loc[
        lambda b: b > 0
    ].round().tolist()
    marks = next(line for line in ax.lines if line.get_marker() == "D")
    expected = frame["expected_share"] * frame["documents"].sum()
    assert marks.get_xdata() == pytest.approx(expected.tolist(), nan_ok=True)


def test_words_behind_a_repository_say_when_it_was_last_at_work() -> None:
    frame = found().head(3)
    frame["enabled"] = pd.array([True, False, None], "boolean")
    frame["exhausted_at"] = pd.Series([frame["last_activity"].iloc[0], pd.NaT, pd.NaT], dtype="datetime64[us, UTC]")
    frame.loc[0, "backlog_estimate"] = 0.0
    said = words(repos(frame, zone=ZONE))
    assert f"last {frame['last_activity'].iloc[0].tz_convert(ZONE):%d %b %H:%M}" in said
    assert said.count("exhausted since") == 1
    assert said.count("not enabled") == 1
    assert "Times: America/New_York (EST)" in said


def test_of_many_repositories_those_with_most_documents_are_shown() -> None:
    frame = pd.concat([found()] * 5, ignore_index=True)
    frame["documents"] = np.arange(len(frame)) + 1
    ax = repos(frame, zone=ZONE)
    assert verts(ax, BLUE)[:, 1].tolist() == list(range(len(frame) - 29, len(frame) + 1))
    assert f"Not shown: {len(frame) - 30} with fewer documents." in words(ax)
