"""The activity calendar: each document in the hour of its day, and hours that nobody heard hatched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.drawn_cycles import drawn_cycles, drawn_gaps
from support.seen import words

from codeworm_monitor.plots import activity_calendar


def documents(*times: str, since: str | None = None, until: str | None = None) -> pd.DataFrame:
    """Return cycles that were committed at some times, UTC."""
    ended = pd.to_datetime(list(times), utc=True, format="ISO8601").as_unit("us")
    frame = drawn_cycles(len(times)).assign(started_at=ended, ended_at=ended, outcome="committed")
    frame.attrs = {"since": since, "until": until, "covered": 1.0}
    return frame


def figures(ax) -> dict[tuple[int, int], int]:
    """Return the counts that are written into cells, by column and hour."""
    return {
        (int(text.get_position()[0]), int(text.get_position()[1])): int(text.get_text())
        for text in ax.texts
        if text.get_text().isdigit()
    }


def hatched(ax, hatch: str) -> set[tuple[int, int]]:
    """Return the cells that are hatched."""
    return {
        (round(path.vertices[0, 0]), round(path.vertices[0, 1]))
        for collection in ax.collections
        if collection.get_hatch() == hatch
        for path in collection.get_paths()
    }


def test_a_document_is_in_the_hour_of_its_day_in_the_viewers_zone() -> None:
    frame = documents("2026-10-12T06:59:59", "2026-10-12T22:00:00", "2026-10-12T22:30:00")
    assert figures(activity_calendar(frame, zone="UTC")) == {(0, 6): 1, (0, 22): 2}
    assert figures(activity_calendar(frame, zone="Europe/Berlin")) == {(0, 8): 1, (1, 0): 2}
    assert figures(activity_calendar(frame, zone="Asia/Kathmandu")) == {(0, 12): 1, (1, 3): 1, (1, 4): 1}


def test_a_full_hour_is_in_the_hour_that_it_begins() -> None:
    times = pd.date_range("2026-10-01", "2026-10-12", freq="h").astype(str)
    assert set(figures(activity_calendar(documents(*times), zone="UTC")).values()) == {1}


def test_an_hour_that_comes_twice_counts_both() -> None:
    frame = documents("2026-10-24T23:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30")
    assert figures(activity_calendar(frame, zone="Europe/Berlin")) == {(0, 1): 1, (0, 2): 2, (0, 3): 1}


def test_an_hour_that_the_clock_leaves_out_is_neither_hatched_nor_counted() -> None:
    frame = documents(
        "2026-03-29T00:30", "2026-03-29T01:30", since="2026-03-28T23:00+00:00", until="2026-03-29T22:00+00:00"
    )
    ax = activity_calendar(frame, zone="Europe/Berlin")
    assert figures(ax) == {(0, 1): 1, (0, 3): 1}
    assert hatched(ax, "xxxx") == hatched(ax, "//") == set()


def test_hours_outside_of_the_stretch_are_hatched() -> None:
    frame = documents("2026-10-12T06:10", since="2026-10-12T05:30+00:00", until="2026-10-12T08:00+00:00")
    ax = activity_calendar(frame, zone="UTC")
    assert hatched(ax, "//") == {(0, 5)}
    assert hatched(ax, "xxxx") == {(0, hour) for hour in range(24) if hour not in {5, 6, 7}}
    assert "not heard" in words(ax)
    assert "partly heard" in words(ax)


def test_hours_in_a_gap_are_hatched() -> None:
    frame = documents("2026-10-12T06:10", since="2026-10-12T00:00+00:00", until="2026-10-13T00:00+00:00")
    gaps = drawn_gaps(("2026-10-12 09:00", "2026-10-12 11:20"), ("2026-10-12 11:40", "2026-10-12 11:41"))
    gaps.loc[2] = [pd.NaT, pd.NaT]
    ax = activity_calendar(frame, gaps=gaps, zone="UTC")
    assert hatched(ax, "xxxx") == {(0, 9), (0, 10)}
    assert hatched(ax, "//") == {(0, 11)}


def test_heard_hours_without_a_document_are_not_empty_of_meaning() -> None:
    frame = documents(since="2026-10-12T00:00+00:00", until="2026-10-14T00:00+00:00")
    ax = activity_calendar(frame, zone="UTC")
    assert figures(ax) == {}
    assert hatched(ax, "xxxx") == hatched(ax, "//") == set()
    assert ax.get_xlim() == (0, 2)
    assert "none" in words(ax)


def test_only_commits_are_documents() -> None:
    frame = documents("2026-10-12T06:10", "2026-10-12T06:20", "2026-10-12T06:30")
    frame["outcome"] = pd.Categorical(["committed", "dry_run", None], categories=["committed", "dry_run"])
    assert figures(activity_calendar(frame, zone="UTC")) == {(0, 6): 1}


def test_a_document_whose_end_was_lost_counts_where_it_began() -> None:
    frame = documents("2026-10-12T06:10")
    frame["ended_at"] = pd.Series([pd.NaT], dtype="datetime64[us, UTC]")
    assert figures(activity_calendar(frame, zone="UTC")) == {(0, 6): 1}


@pytest.mark.parametrize("years", [1, 5])
def test_years_are_taken_together_by_days_and_the_picture_says_so(years: int) -> None:
    count = years * 365 * 4
    times = pd.date_range("2021-01-01", periods=count, freq="6h", tz="UTC").as_unit("us")
    frame = drawn_cycles(count).assign(started_at=times, ended_at=times, outcome="committed")
    frame.attrs = {}
    ax = activity_calendar(frame, zone="UTC")
    columns = ax.get_xlim()[1]
    assert columns <= 370
    assert ("Each column is 5 days" in words(ax)) == (years == 5)
    # One at each of four hours of every day, however many days are a column.
    cells = [path for one in ax.collections if one.get_hatch() is None for path in one.get_paths()]
    assert {round(path.vertices[0, 1]) for path in cells} == {0, 6, 12, 18}
    assert len(cells) == 4 * columns
    assert np.allclose([np.ptp(path.vertices[:4, 0]) for path in cells], 1)
