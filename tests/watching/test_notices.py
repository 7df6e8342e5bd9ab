"""Notices: one inert line, whatever they quote."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.watched import NASTY, notice

from codeworm_monitor.watching.notices import LONGEST, NoticeKind, plain


@given(st.text(st.characters()), st.integers(1, 50))
def test_plain_text_is_one_bounded_line_of_valid_unicode(text: str, longest: int) -> None:
    made = plain(text, longest)
    assert len(made) <= longest
    assert made.splitlines() in ([made], [])
    assert not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in made)
    made.encode()


def test_what_is_inert_stays_as_it_is() -> None:
    assert plain("größer: 漢字 🐛 <b>") == "größer: 漢字 🐛 <b>"


def test_escape_sequences_direction_marks_and_nul_go() -> None:
    made = plain(NASTY)
    assert "red" in made
    assert not {"\x1b", "\0", "\u2028", "\u202e"} & set(made)
    assert "[31m" not in made
    assert plain("\ud800") == "?"
    assert plain("x" * 10_000) == "x" * (LONGEST - 1) + "…"


def test_a_notice_says_all_in_one_line_and_in_json() -> None:
    made = notice("quiet", since=datetime(2026, 11, 21, 23, 59, tzinfo=UTC), withheld=3)
    assert str(made) == ("▲ 2026-11-22 00:00:00 UTC · default · failures >= 3 · fired: quiet (3 held back before)")
    assert json.loads(json.dumps(made.as_dict())) == {
        "text": str(made),
        "kind": "fired",
        "rule": "failures >= 3",
        "detail": "quiet",
        "monitor": "default",
        "time": "2026-11-22T00:00:00+00:00",
        "since": "2026-11-21T23:59:00+00:00",
        "withheld": 3,
    }


def test_whatever_it_is_made_of_a_notice_is_inert() -> None:
    made = notice(f"{NASTY}\ud800" * 100, rule=NASTY * 100, monitor=NASTY * 100)
    assert str(made) == plain(str(made), 2_000)
    assert len(str(made)) < 1_000


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_kind_can_be_shown(kind: NoticeKind) -> None:
    html = notice(NASTY, kind=kind)._repr_html_()
    assert f"· {kind}:" in html
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
