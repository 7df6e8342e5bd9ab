from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
from support.findings import case_of

from codeworm_monitor.doctor.case import Case, Finding, Outcome
from codeworm_monitor.doctor.report import CHECKS, examine, report_as_dict, report_rows
from codeworm_monitor.doctor.screen import show


def sound(case: Case) -> Iterator[Finding]:
    yield Finding("sound.it", Outcome.OK, "it is well")


def breaking(case: Case) -> Iterator[Finding]:
    yield Finding("breaking.first", Outcome.WARNING, "so far", "look")
    raise KeyError("redis://worm:secret-word@host/0\x1b[2J\nnext")


async def test_a_check_that_breaks_is_a_finding_and_what_it_found_before_stays() -> None:
    found = await asyncio.to_thread(examine, case_of(), within=10, checks={"breaking": breaking, "sound": sound})
    assert [finding.check for finding in found] == ["breaking.first", "breaking", "sound.it"]
    assert found[1].outcome is Outcome.FAILED
    assert "KeyError" in found[1].said
    assert not any(text in found[1].said for text in ("secret-word", "\x1b", "\n"))


async def test_a_check_that_hangs_is_left_behind_when_the_time_is_over() -> None:
    release = threading.Event()

    def hanging(case: Case) -> Iterator[Finding]:
        release.wait(60)
        yield Finding("hanging.late", Outcome.OK, "too late")

    try:
        found = await asyncio.to_thread(examine, case_of(), within=2, checks={"hanging": hanging, "sound": sound})
    finally:
        release.set()
    assert [(finding.check, finding.outcome) for finding in found] == [
        ("hanging", Outcome.FAILED),
        ("sound.it", Outcome.OK),
    ]


def test_the_report_says_how_many_of_each_and_repeats_the_mend() -> None:
    found = [Finding("a", Outcome.OK, "well", "unused"), Finding("b", Outcome.FAILED, "ill", "do it")]
    report = report_as_dict(found)
    assert (report["is_sound"], report["counts"]) == (False, {"ok": 1, "warning": 0, "failed": 1, "skipped": 0})
    assert json.loads(json.dumps(report)) == report
    texts = [row.text for row in report_rows(found)]
    assert texts == ["well", "ill", "→ do it", "1 ok, 1 failed"]
    assert report_as_dict(found[:1])["is_sound"]


def test_text_on_the_screen_is_inert(capsys: pytest.CaptureFixture[str]) -> None:
    show(report_rows([Finding("a", Outcome.OK, "[bold]x[/bold] \x1b[31m\n\u202eabc" + "y" * 1000)]))
    out = capsys.readouterr().out
    assert "[bold]x[/bold] ·[31m··abc" in out
    assert len(out.splitlines()[0]) < 400
    assert len(out.splitlines()) == 2


def test_every_class_of_failures_has_its_check() -> None:
    assert list(CHECKS) == ["redis", "relay", "archive", "clock", "versions", "jupyter", "ollama", "codeworm"]
