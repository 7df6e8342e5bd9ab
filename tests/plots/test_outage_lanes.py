"""Outages: a row for each kind, with how often, how long and what it cost."""

from __future__ import annotations

import pandas as pd
import pytest
from support.drawn_cycles import drawn_cycles, drawn_outages
from support.seen import verts, words

from codeworm_monitor.plots import outages
from codeworm_monitor.plots.palette import OUTAGES

TIMES = "\N{MULTIPLICATION SIGN}"


def some(count: int = 7) -> pd.DataFrame:
    return drawn_outages(drawn_cycles(132), count)


def test_a_row_tells_how_often_how_long_and_what_was_lost() -> None:
    frame = some(14)
    frame["ended_at"] = frame["started_at"] + pd.Timedelta("10min")
    frame["cycles_lost"] = [2, *[0] * 13]
    labels = [label.get_text().replace("\n", " ") for label in outages(frame, zone="UTC").get_yticklabels()]
    assert labels == [
        f"ollama 2{TIMES}, 20 min, 2 cycles lost",
        *(f"{kind} 2{TIMES}, 20 min" for kind in OUTAGES if kind != "ollama"),
    ]


def test_an_outage_is_as_long_as_it_lasted() -> None:
    frame = some(1)
    frame["ended_at"] = frame["started_at"] + pd.Timedelta("3h")
    left, right, *_ = verts(outages(frame, zone="UTC"), OUTAGES["ollama"].colour)[0]
    assert left * 86_400 == pytest.approx(frame["started_at"].iloc[0].timestamp(), abs=1)
    assert (right - left) * 24 == pytest.approx(3.0)


def test_a_short_one_is_still_seen() -> None:
    frame = some(1)
    frame["ended_at"] = frame["started_at"] + pd.Timedelta("1ms")
    ax = outages(frame, zone="UTC")
    left, right, *_ = verts(ax, OUTAGES["ollama"].colour)[0]
    pixels = ax.transData.transform([(left, 0), (right, 0)])[:, 0]
    assert pixels[1] - pixels[0] >= 2


def test_what_lasts_reaches_the_end_and_has_an_arrow() -> None:
    frame = some(3)
    ax = outages(frame, zone="UTC")
    arrow = next(line for line in ax.lines if line.get_marker() == ">")
    end = pd.Timestamp(frame.attrs["until"]).timestamp() / 86_400
    assert arrow.get_xdata() == pytest.approx([end])


def test_what_cannot_be_drawn_is_counted() -> None:
    frame = some(7)
    frame["kind"] = frame["kind"].astype(object)
    frame.loc[0, "kind"] = "weather"
    frame.loc[1, ["started_at", "ended_at"]] = pd.NaT
    ax = outages(frame, zone="UTC")
    assert "2 left out" in words(ax)
    assert ax.get_title(loc="left") == "Outages: 5"


def test_no_outage_in_what_was_heard_is_said_with_care() -> None:
    frame = some(0)
    assert "No outage was found in this stretch" in words(outages(frame))
    frame.attrs["covered"] = 0.25
    assert "No outage was found in the 25 % of this stretch" in words(outages(frame))
