"""An answer is a frame that stays one, and keeps saying how complete it is."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.coverage import Coverage

mpl.use("agg")
START = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
GAPS = pd.DataFrame(
    {name: pd.DatetimeIndex([START + timedelta(minutes=m)]) for name, m in (("started_at", 10), ("ended_at", 13))}
)


@pytest.fixture
def made():
    coverage = Coverage.of(START, START + timedelta(hours=1), GAPS)
    return answer(pd.DataFrame({"n": [3, 1, 2], "name": ["a", "b", "<b>"]}), coverage)


def test_it_carries_its_stretch_and_the_share_that_was_heard(made):
    assert made.attrs == {"since": "2026-11-22T21:00:00+00:00", "until": "2026-11-22T22:00:00+00:00", "covered": 0.95}
    assert made.coverage == 0.95


def test_what_pandas_makes_of_it_carries_the_same(made, tmp_path):
    for frame in (
        made[made.n > 1],
        made.sort_values("n"),
        made.head(1),
        made.assign(m=1),
        pickle.loads(pickle.dumps(made)),
    ):
        assert isinstance(frame, Answer)
        assert frame.coverage == 0.95
    made.to_parquet(tmp_path / "answer.parquet")
    assert pd.read_parquet(tmp_path / "answer.parquet").attrs["covered"] == 0.95


def test_it_says_so_where_it_is_shown_and_shows_text_as_text(made):
    assert "95 % of 2026-11-22 21:00 to 2026-11-22 22:00 UTC was heard" in repr(made)
    html = made._repr_html_()
    assert "95 % of" in html
    assert "<b>" not in html


def test_a_column_of_the_same_name_is_not_hidden():
    coverage = Coverage.of(START, START + timedelta(hours=1), GAPS)
    made = answer(pd.DataFrame({"covered": [0.5, 1.0]}), coverage)
    assert made.covered.tolist() == [0.5, 1.0]


def test_what_is_no_such_answer_any_more_is_drawn_by_pandas():
    frame = pd.DataFrame({"repo": ["a", "a", "b"], "tokens": [1.0, 2.0, 3.0]})
    made = answer(frame, Coverage.of(START, START + timedelta(hours=1), GAPS), "cycles")
    axes = made.groupby("repo")[["tokens"]].sum().plot()
    assert axes.lines[0].get_ydata().tolist() == [3, 3]
    plt.close("all")


def test_a_hole_never_counts_as_all():
    gaps = GAPS.assign(ended_at=GAPS.started_at + pd.Timedelta("1ms"))
    made = answer(pd.DataFrame({"n": [1]}), Coverage.of(START, START + timedelta(hours=1), gaps))
    assert "99.9 % of" in repr(made)
    whole = answer(pd.DataFrame({"n": [1]}), Coverage.of(START, START + timedelta(hours=1), GAPS[:0]))
    assert "all of" in repr(whole)


def test_two_stretches_laid_together_claim_nothing(made):
    other = answer(made, Coverage.of(START, START + timedelta(hours=2), GAPS[:0]))
    assert "heard" not in repr(pd.concat([made, other]))


def test_plots_of_pandas_are_there_as_ever(made):
    axes = made.plot.line(y="n")
    assert axes.lines[0].get_ydata().tolist() == [3, 1, 2]
    axes = made.plot(kind="bar", x="name", y="n")
    assert len(axes.patches) == 3
    plt.close("all")


def test_a_stretch_of_no_length_is_shown_without_a_word_on_it():
    made = answer(pd.DataFrame({"n": [1]}), Coverage.of(START, START, GAPS[:0]))
    assert repr(made) == repr(pd.DataFrame(made))
    assert "heard" not in made._repr_html_()
