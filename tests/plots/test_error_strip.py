"""The error strip: when which error was told, and what was not listened to."""

from __future__ import annotations

import pandas as pd
import pytest
from support.recorded_frames import recording
from support.seen import verts, words

from codeworm_monitor.analysis.failures import error_times
from codeworm_monitor.analysis.failures import errors as asked
from codeworm_monitor.plots import errors
from codeworm_monitor.plots.palette import GOLD, RED

TIMES = "\N{MULTIPLICATION SIGN}"


def strips(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Return an answer of an hour: template, strip and count of each row."""
    frame = pd.DataFrame(rows, columns=["template", "strip", "count"]).assign(event="llm_error", level="error")
    frame.attrs = {"since": "2026-10-12T06:00:00+00:00", "until": "2026-10-12T07:00:00+00:00", "covered": 0.9}
    return frame


def test_a_cell_is_where_the_strip_has_one_and_higher_for_more() -> None:
    ax = errors(strips(("a", "▁   █" + " " * 55, 129)), zone="UTC")
    found = verts(ax, RED)
    begin = pd.Timestamp("2026-10-12T06:00", tz="UTC").timestamp() / 86_400
    assert (found[:, 0] - begin) * 24 * 60 == pytest.approx([0, 4], abs=1e-3)
    assert (found[:, 1] - begin) * 24 * 60 == pytest.approx([1, 5], abs=1e-3)
    heights = found[:, 2] - found[:, 3]
    assert heights[1] / heights[0] == pytest.approx(8)


def test_rows_are_by_count_with_their_name() -> None:
    ax = errors(strips(("rare", "▁" * 60, 3), ("often", "█" * 60, 9000)), zone="UTC")
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"9,000{TIMES} llm_error: often", f"3{TIMES} llm_error: rare"]
    assert "9,003 messages of 2 kinds" in words(ax)


def test_what_was_not_listened_to_is_hatched() -> None:
    ax = errors(strips(("a", "▁" + "░" * 59, 1)), zone="UTC")
    hatches = [one for one in ax.collections if one.get_hatch() == "xxxx"]
    assert sum(len(one.get_paths()) for one in hatches) == 59
    assert "not heard" in words(ax)
    assert "Not complete: 90 %" in words(ax)


def test_rare_kinds_that_have_no_room_are_counted() -> None:
    ax = errors(strips(*((f"t{i}", "▁" * 60, 100 - i) for i in range(25))), zone="UTC")
    assert len(ax.get_yticklabels()) == 18
    assert f"Not shown: 7 rarer kinds with {sum(100 - i for i in range(18, 25))} messages." in words(ax)


def test_times_of_errors_are_drawn_in_their_buckets() -> None:
    told = error_times(recording(1), every="1min", zone="UTC")
    ax = errors(told, zone="UTC")
    found = [*verts(ax, RED), *verts(ax, GOLD)]
    assert len(found) == len(told)
    assert sorted({round(box[0] * 86_400) for box in found}) == sorted({int(t.timestamp()) for t in told["started_at"]})


@pytest.mark.parametrize("number", [1, 2])
def test_the_errors_of_a_recording_are_all_there(number: int) -> None:
    frame = asked(recording(number))
    said = words(errors(frame, zone="UTC"))
    assert f"{frame['count'].sum()} message" in said
    for event in frame["event"].head(18).unique():
        assert event in said


def test_groups_are_named() -> None:
    frame = asked(recording(1), by="repo")
    assert f"{TIMES} click: push_failed: " in words(errors(frame, zone="UTC"))


def test_no_error_is_said_with_care() -> None:
    frame = strips().assign(event=[], level=[])
    assert "No error was told in the 90 % of this stretch" in words(errors(frame))
