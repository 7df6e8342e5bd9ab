"""Who failed, and of what, read from hostile text as well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.analysis.blame import blame, push_cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("Model OOM after recovery attempt", "out of memory"),
        ("boom went the room", "boom went the room"),
        ('Generation failed: {"error": "model \'x\' not found"}', "model not found"),
        ("Request timed out", "timed out"),
        ("server busy, please try again. maximum pending requests exceeded", "busy"),
        ("HTTP 503", "busy"),
        ("line 5031", "line 5031"),
        ("All connection attempts failed", "not reachable"),
        ("first line\nsecond", "first line"),
        ("", "not told"),
        (None, "not told"),
    ],
)
def test_the_llm_says_itself_that_it_failed_and_its_text_of_what(error, cause):
    assert blame("llm_error", error, None) == ("ollama", cause)


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("httpx.ReadTimeout: timed out", "ollama"),
        ("git.exc.GitCommandError: Cmd('git') failed", "commit"),
        ("gitdb.exc.BadName: Ref 'HEAD' did not resolve", "commit"),
        ("sqlite3.OperationalError: database is locked", "database"),
        ('  File "/x/codeworm/llm/client.py"\n  File "/x/codeworm/git/ops.py"\nKeyError: 1', "commit"),
        ('  File "/x/codeworm/git/ops.py"\n  File "/x/codeworm/llm/client.py"\nKeyError: 1', "ollama"),
        ('  File "/v/site-packages/httpx/_models.py"\njson.decoder.JSONDecodeError: x', "ollama"),
        ("ZeroDivisionError: division by zero", "daemon"),
        (None, "daemon"),
    ],
)
def test_the_innermost_part_of_the_traceback_that_is_known_tells_whose_fault_it_was(exception, kind):
    assert blame("documentation_failed", "it broke", exception)[0] == kind


def test_a_push_says_why_it_failed():
    assert push_cause("Authentication failed for 'https://x'") == "not allowed"
    assert push_cause("! [rejected] main -> main (fetch first)").startswith("rejected")
    assert push_cause(None) == "not told"


@given(st.text(max_size=200) | st.none(), st.text(max_size=400) | st.none())
def test_no_text_breaks_it_and_what_is_shown_is_short(error, exception):
    kind, cause = blame("documentation_failed", error, exception)
    assert kind in {"ollama", "commit", "database", "daemon"}
    assert 0 < len(cause) <= 120
    assert "\n" not in cause


def test_a_huge_text_is_looked_at_from_its_end():
    assert blame("documentation_failed", "x", "y" * 10_000_000 + "\nsqlite3.Error: z")[0] == "database"
