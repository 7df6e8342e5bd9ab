from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.health import Disk, Health, Look, Verdict, failures_in_a_row, judge

NOW = 1_795_384_606.0
MINUTE = 60.0


def told(
    *,
    statistics: dict[str, Any] | None = None,
    snapshot: dict[str, Any] | None = None,
    ollama: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a relay tells with which all is well, but for these fields."""
    archive = {"directory": "/a", "is_writing": True, "reason": "", "since": NOW - 900, "waiting": 0, "lost": 0}
    return {
        "statistics": {
            "version": "1",
            "started_at": NOW - 86_400,
            "upstream": "redis://127.0.0.1:26849",
            "is_connected": True,
            "upstream_since": NOW - 86_400,
            "upstream_reason": "",
            "probe_state": "heard",
            "last_message_at": NOW - MINUTE,
            "loop_lag": 0.001,
            "archive": archive,
        }
        | (statistics or {}),
        "snapshot": {"stage": "generating", "since": NOW - MINUTE, "last_commit": {"at": NOW - 10 * MINUTE}}
        | (snapshot or {}),
        "ollama": {"url": "http://ollama:11434", "is_reachable": True, "since": NOW - 900, "reason": ""}
        | {"models": [{"name": "qwen2.5-coder:7b"}], "models_loaded": 1, "size": 7, "size_vram": 7, "outages": 0}
        | (ollama or {}),
    }


def health(info: Any = None, **look: Any) -> Health:
    return judge(Look(at=NOW, url="ws://127.0.0.1:8765/ws", info=told() if info is None else info, **look))


def test_a_relay_that_hears_a_working_codeworm_is_healthy() -> None:
    found = health(failures=0, disk=Disk(free=2**36, total=2**38))
    assert (found.verdict, found.reasons, found.silence) == (Verdict.HEALTHY, [], MINUTE)


@pytest.mark.parametrize(
    ("info", "look", "verdict", "what", "mend"),
    [
        (None, {"problem": "nothing listens there"}, "down", "no relay answers", "python -m codeworm_monitor"),
        (
            told(statistics={"is_connected": False, "upstream_reason": "Connection refused"}),
            {},
            "down",
            "Connection refused",
            "doctor",
        ),
        (told(snapshot={"stage": "stopped", "since": NOW - 300}), {}, "down", "stopped 5 min ago", "start CodeWorm"),
        (told(statistics={"last_message_at": NOW - 50 * MINUTE}), {}, "degraded", "for 50 min", "26849"),
        (told(statistics={"last_message_at": NOW - 100 * MINUTE}), {}, "down", "for 1 h 40 min", "26849"),
        (
            told(statistics={"last_message_at": None}),
            {},
            "down",
            "nothing was heard from CodeWorm for 1 d",
            "see whether CodeWorm runs",
        ),
        (
            told(snapshot={"stage": "waiting", "since": NOW - 90}),
            {},
            "degraded",
            "waits for Ollama for 1 min 30 s",
            "ollama serve",
        ),
        (
            told(snapshot={"stage": "backing_off", "last_error": {"error": "out of memory"}}),
            {},
            "degraded",
            "repeated failures: out of memory",
            "history",
        ),
        (told(), {"failures": 3}, "degraded", "3 cycles failed in a row", "history"),
        (
            told(snapshot={"last_commit": {"at": NOW - 46 * MINUTE}}),
            {},
            "degraded",
            "no document was committed for 46 min",
            "history",
        ),
        (
            told(snapshot={"last_error": {"at": NOW - MINUTE, "event": "push_failed", "error": "denied"}}),
            {},
            "degraded",
            "could not be pushed: denied",
            "git push",
        ),
        (
            told(statistics={"archive": {"is_writing": False, "reason": "No space left on device", "directory": "/a"}}),
            {},
            "degraded",
            "No space left on device",
            "room on the disk of /a",
        ),
        (
            told(statistics={"archive": {"is_writing": True, "waiting": 90_000}}),
            {},
            "degraded",
            "90,000 messages are not on disk",
            "disk",
        ),
        (told(), {"disk": Disk(free=2**28, total=2**40)}, "degraded", "256 MiB left", "--archive-bytes"),
        (told(statistics={"loop_lag": 2.5}), {}, "degraded", "2.5 s late", "processor"),
        (
            told(statistics={"probe_state": "unsent", "probe_reason": "no probe can be published: full"}),
            {},
            "degraded",
            "full",
            "doctor",
        ),
        ({"statistics": "?"}, {}, "degraded", "tells nothing of its state", "same release"),
        (
            told(ollama={"is_reachable": False, "since": NOW - 300, "reason": "connection refused"}),
            {},
            "degraded",
            "Ollama at http://ollama:11434 is not reached for 5 min: connection refused",
            "ollama serve",
        ),
    ],
)
def test_each_trouble_has_its_verdict_and_names_its_mend(
    info: Any, look: dict[str, Any], verdict: str, what: str, mend: str
) -> None:
    found = health(info, **look)
    assert found.verdict == verdict
    assert any(what in one.what and mend in one.mend for one in found.reasons), found.reasons


def test_ollama_that_is_away_is_told_as_a_reason_about_ollama_also_while_codeworm_does_not_wait_for_it() -> None:
    away = {"is_reachable": False, "since": NOW - 300, "reason": "connection refused"}
    assert [one.about for one in health(told(ollama=away)).reasons] == ["ollama"]
    assert [one.about for one in health(told(ollama={"is_reachable": False, "reason": None})).reasons] == ["ollama"]
    waiting = told(ollama=away, snapshot={"stage": "waiting"})
    assert [one.about for one in health(waiting).reasons] == ["codeworm", "ollama"]
    assert health(told(ollama=away, snapshot={"stage": "stopped"})).verdict is Verdict.DOWN


@pytest.mark.parametrize("ollama", [None, {}, "?", {"is_reachable": None}, {"is_reachable": 0}])
def test_ollama_that_is_not_looked_at_or_not_yet_is_no_reason(ollama: object) -> None:
    assert health(told() | {"ollama": ollama}).verdict is Verdict.HEALTHY


@pytest.mark.parametrize(("is_ready", "verdict"), [(True, Verdict.DEGRADED), (False, Verdict.DOWN)])
def test_without_the_token_what_anybody_may_see_decides(is_ready: bool, verdict: Verdict) -> None:  # noqa: FBT001
    look = Look(
        at=NOW, url="ws://x/ws", is_ready=is_ready, ready_text="deaf: redis: refused", refusal="a token is wanted"
    )
    found = judge(look)
    assert found.verdict is verdict
    assert any("--token" in one.mend for one in found.reasons)


def test_a_pause_that_was_announced_is_no_silence_until_it_is_over() -> None:
    quiet = told(statistics={"last_message_at": NOW - 3000}, snapshot={"next_cycle_at": NOW + 60, "stage": "idle"})
    assert not any("heard" in one.what for one in health(quiet).reasons)
    quiet["snapshot"]["next_cycle_at"] = NOW - 600
    assert any("nothing was heard" in one.what for one in health(quiet).reasons)
    quiet["snapshot"]["next_cycle_at"] = NOW + 10 * 86_400  # nobody waits for ten days
    assert any("nothing was heard" in one.what for one in health(quiet).reasons)


def test_silence_counts_from_when_the_relay_heard_again() -> None:
    found = health(told(statistics={"last_message_at": NOW - 86_000, "upstream_since": NOW - 120}))
    assert (found.silence, found.verdict) == (120.0, Verdict.HEALTHY)


def test_a_replay_of_the_past_is_never_silent() -> None:
    info = told(statistics={"last_message_at": NOW - 86_000}, snapshot={"last_commit": {"at": NOW - 86_000}})
    assert health(info, is_replay=True).verdict is Verdict.HEALTHY


def test_the_worst_reason_comes_first_and_is_the_verdict() -> None:
    found = health(told(snapshot={"stage": "stopped"}, statistics={"loop_lag": 9}), failures=5)
    assert [one.verdict.rank for one in found.reasons] == sorted(
        (one.verdict.rank for one in found.reasons), reverse=True
    )
    assert found.verdict is Verdict.DOWN
    assert [verdict.rank for verdict in Verdict] == [0, 1, 2]


def line(event: str) -> dict[str, Any]:
    return {"epoch": "e", "offset": 1, "received_at": NOW, "channel": "codeworm:logs", "data": {"event": event}}


def test_failures_are_counted_back_to_the_newest_document() -> None:
    newest_first = ["backing_off", "llm_error", "cycle_starting", "documentation_failed", "documentation_committed"]
    assert failures_in_a_row([*map(line, newest_first), line("llm_error")]) == 2
    assert failures_in_a_row([line("dry_run_complete"), line("llm_error")]) == 0
    assert failures_in_a_row([{"epoch": "e", "gap": {}}, {"data": "raw"}, None, line("llm_error")]) == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.sampled_from(["statistics", "snapshot", "ollama"]), field=st.data(), value=_json)
def test_whatever_a_field_holds_there_is_a_verdict(name: str, field: st.DataObject, value: Any) -> None:
    from codeworm_monitor.doctor.status_report import status_as_dict, status_rows

    info = told(snapshot={"last_error": {"at": NOW, "event": "push_failed"}, "next_cycle_at": NOW})
    info[name][field.draw(st.sampled_from(sorted(info[name])))] = value
    found = health(info)
    assert found.verdict in set(Verdict)
    assert status_as_dict(found)["verdict"] == found.verdict
    assert status_rows(found)


@given(value=_json)
def test_whatever_answers_there_is_a_verdict(value: Any) -> None:
    assert health(value if value is not None else 0).verdict is not Verdict.HEALTHY
