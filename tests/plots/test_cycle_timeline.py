"""The timeline: every cycle is in it, one by one or taken together, and what is not is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.drawn_cycles import KINDS, drawn_cycles, drawn_gaps, drawn_outages
from support.seen import counted, verts, words

from codeworm_monitor.plots import cycles, timeline
from codeworm_monitor.plots.outage_spans import united
from codeworm_monitor.plots.palette import GREY, OUTAGES, OUTCOMES, RED, STAGES

NAMES = {"dry_run": "dry run", "llm_error": "LLM error", "unknown": "end lost"}


def steady(count: int, **columns: object) -> pd.DataFrame:
    """Return cycles of which each found its target in 2 s, generated for 10 s, and committed and pushed in 1 s each."""
    frame = drawn_cycles(count)
    ended = frame["started_at"] + pd.Timedelta("14s")
    frame = frame.assign(
        outcome="committed", find_s=2.0, wait_s=0.0, generate_s=10.0, commit_s=1.0, push_s=1.0, ended_at=ended
    ).assign(**columns)
    frame["ended_at"] = frame["ended_at"].astype("datetime64[us, UTC]")
    return frame


def points(ax) -> int:
    """Return how many marks there are."""
    return sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() not in {"None", "^"})


def test_few_cycles_are_rows_with_names_and_outcomes() -> None:
    frame = steady(5)
    frame.loc[3, ["outcome", "error"]] = ["failed", "no route to host"]
    frame.loc[4, "pushed"] = False
    ax = timeline(frame, zone="Europe/Berlin")
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(labels) == 5
    assert all(f"module_{i}.function_{i}" in label for i, label in enumerate(labels))
    first = frame["started_at"].iloc[0].tz_convert("Europe/Berlin")
    assert labels[0].startswith(f"{first:%H:%M:%S}")
    assert ax.get_ylabel() == "started, Europe/Berlin (CEST)"
    said = words(ax)
    assert said.count("committed") == 4
    assert "failed: no route to host" in said
    assert "committed, not pushed" in said


def test_the_stages_of_a_row_follow_one_another_for_as_long_as_they_lasted() -> None:
    ax = timeline(steady(3))
    for stage, left, right in (("find", 0, 2), ("generate", 2, 12), ("commit", 12, 13), ("push", 13, 14)):
        found = verts(ax, STAGES[stage].colour)
        assert found[:, 0] == pytest.approx([left] * 3)
        assert found[:, 1] == pytest.approx([right] * 3)


def test_what_no_message_tells_of_is_a_stage_of_its_own() -> None:
    frame = steady(3, generate_s=np.nan, commit_s=np.nan, push_s=np.nan, outcome="failed")
    ax = timeline(frame)
    assert verts(ax, STAGES["other"].colour)[:, :2] == pytest.approx(np.array([[2.0, 14.0]] * 3))


def test_a_running_cycle_lasts_until_the_end_of_the_stretch() -> None:
    frame = steady(3)
    frame.loc[2, ["outcome", "ended_at", "generate_s", "commit_s", "push_s"]] = [
        "running",
        pd.NaT,
        np.nan,
        np.nan,
        np.nan,
    ]
    frame.attrs["until"] = (frame["started_at"].iloc[2] + pd.Timedelta("9s")).isoformat()
    assert verts(timeline(frame), STAGES["other"].colour)[:, 1] == pytest.approx([9.0])


@pytest.mark.parametrize("count", [60, 250])
def test_a_day_of_cycles_is_shown_one_by_one(count: int) -> None:
    frame = drawn_cycles(count)
    ax = timeline(frame, zone="UTC")
    assert points(ax) == count
    assert "taken together" not in words(ax)
    assert len(verts(ax, STAGES["find"].colour)) == count


@pytest.mark.parametrize("count", [60, 250, 1000, 20_000])
def test_a_lane_counts_every_cycle_of_its_outcome(count: int) -> None:
    frame = drawn_cycles(count)
    ax = timeline(frame, zone="UTC")
    told = frame["outcome"].astype(object).where(frame["outcome"].notna(), "unknown")
    for outcome, number in told.value_counts().items():
        assert counted(ax, NAMES.get(str(outcome), str(outcome))) == number


def test_many_cycles_are_taken_together_and_the_picture_says_so() -> None:
    ax = timeline(steady(20_000), zone="UTC")
    assert "20,000 cycles taken together by" in words(ax)
    found = verts(ax, STAGES["generate"].colour)
    assert 20 <= len(found) <= 112
    assert found[:, 2] == pytest.approx([2.0] * len(found))
    assert found[:, 3] == pytest.approx([12.0] * len(found))
    assert (found[1:, 0] >= found[:-1, 1] - 1e-9).all()


def test_a_lane_of_many_tells_how_the_share_of_an_outcome_went() -> None:
    frame = steady(6000)
    frame["outcome"] = np.where((np.arange(6000) < 3000) & (np.arange(6000) % 4 == 0), "failed", "committed")
    found = verts(timeline(frame, zone="UTC"), OUTCOMES["failed"].colour)
    middle = frame["started_at"].iloc[3000].timestamp() / 86_400
    assert len(found) > 10
    assert (found[:, 0] <= middle).all()


def test_very_long_cycles_are_cut_and_counted() -> None:
    frame = steady(100)
    frame.loc[[20, 70], "wait_s"] = [3600.0, 7200.0]
    ax = timeline(frame, zone="UTC")
    assert "2 cut at" in words(ax)
    assert "the longest lasted 2 h" in words(ax)
    assert verts(ax, RED)[:, 3].max() <= 6 * 14


def test_cycles_without_a_time_and_by_a_wrong_clock_are_counted_as_left_out() -> None:
    frame = steady(50)
    frame.loc[[3, 4], ["started_at", "ended_at"]] = pd.NaT
    frame.loc[7, ["started_at", "ended_at"]] += pd.Timedelta("900D")
    ax = timeline(frame, zone="UTC")
    assert "3 cycles left out" in words(ax)
    assert counted(ax, "committed") == 47


def test_cycles_that_are_all_in_a_small_part_are_seen_from_near() -> None:
    frame = drawn_cycles(5000)
    part = frame.iloc[2000:2060]
    ax = timeline(part, zone="UTC")
    assert "of which only this part is shown" in words(ax)
    assert points(ax) == 60


def test_a_picture_says_how_much_was_heard() -> None:
    assert "Not complete: 82.3 % of this stretch" in words(timeline(drawn_cycles(50, covered=0.8239)))
    assert "Not complete" not in words(timeline(drawn_cycles(50)))
    # What has a hole is not 100 %.
    assert "99.9 %" in words(timeline(drawn_cycles(50, covered=0.99999)))


def test_what_was_not_heard_is_hatched() -> None:
    frame = drawn_cycles(132)
    ax = timeline(frame, gaps=drawn_gaps(("2026-10-12 09:10", "2026-10-12 11:30")), zone="UTC")
    assert "not heard" in words(ax)
    hole = next(one for one in ax.collections if one.get_hatch() == "xxxx").get_paths()[0].vertices
    assert (hole[1, 0] - hole[0, 0]) * 24 == pytest.approx(2 + 1 / 3)


@pytest.mark.parametrize("count", [20, 132, 5000])
def test_outages_are_named_by_their_kind_and_shaded(count: int) -> None:
    frame = drawn_cycles(count)
    span = (frame["started_at"].max() - frame["started_at"].min()).total_seconds()
    ax = timeline(frame, drawn_outages(frame, 7, seconds=span / 8), zone="UTC")
    assert all(f"outage: {kind}" in words(ax) for kind in KINDS)
    shades = [one for one in ax.collections if one.get_alpha() == 0.18]
    assert shades
    assert sum(len(one.get_paths()) for one in shades) >= 1


def test_an_outage_stands_in_its_lane_for_as_long_as_it_lasted() -> None:
    frame = drawn_cycles(132)
    down = drawn_outages(frame, 1, seconds=9000.0)
    down["ended_at"] = down["started_at"] + pd.Timedelta("2h")
    found = verts(timeline(frame, down, zone="UTC"), OUTAGES["ollama"].colour, is_hatched=True)
    left, right, *_ = max(found, key=lambda box: box[1] - box[0])  # waits have this colour, too, and are short
    assert left * 86_400 == pytest.approx(down["started_at"].iloc[0].timestamp(), abs=1)
    assert (right - left) * 24 == pytest.approx(2.0)


def test_shades_that_overlap_are_one() -> None:
    begin, end = united(np.array([0.0, 1.0, 2.0, 10.0]), np.array([5.0, 2.0, 6.0, 11.0]))
    assert begin.tolist() == [0.0, 10.0]
    assert end.tolist() == [6.0, 11.0]
    assert [len(one) for one in united(np.empty(0), np.empty(0))] == [0, 0]


def test_numbers_that_no_cycle_can_have_break_nothing() -> None:
    frame = steady(60)
    frame.loc[:5, "generate_s"] = [np.inf, -np.inf, -5.0, 1e300, np.nan, 0.0]
    frame.loc[6, "ended_at"] = frame.loc[6, "started_at"] - pd.Timedelta("400D")
    ax = timeline(frame, zone="UTC")
    ax.figure.canvas.draw()
    assert counted(ax, "committed") == 60
    assert ax.get_ylim()[1] < 1000


def test_what_cycles_draw_is_the_timeline() -> None:
    frame = drawn_cycles(60)
    assert words(cycles(frame, zone="UTC")) == words(timeline(frame, zone="UTC"))
    assert GREY not in {look.colour for name, look in OUTCOMES.items() if name == "failed"}
