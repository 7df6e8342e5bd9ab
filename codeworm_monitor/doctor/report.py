"""The examination and its report: all checks at one time, each bounded, and none able to break the others."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from codeworm_monitor import __version__
from codeworm_monitor.doctor.archive_checks import check_archive
from codeworm_monitor.doctor.case import Case, Check, Finding, Outcome
from codeworm_monitor.doctor.clock_checks import check_clock
from codeworm_monitor.doctor.notebook_checks import check_notebook, check_versions
from codeworm_monitor.doctor.ollama_checks import check_ollama
from codeworm_monitor.doctor.redis_checks import check_redis
from codeworm_monitor.doctor.relay_checks import check_relay
from codeworm_monitor.doctor.screen import Row
from codeworm_monitor.doctor.worm_checks import check_worm_files
from codeworm_monitor.logformat import printable
from codeworm_monitor.settings import redacted

__all__ = ["CHECKS", "examine", "report_as_dict", "report_rows"]

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "redis": check_redis,
        "relay": check_relay,
        "archive": check_archive,
        "clock": check_clock,
        "versions": check_versions,
        "jupyter": check_notebook,
        "ollama": check_ollama,
        "codeworm": check_worm_files,
    }
)
"""One check for each class of failures, in the order of the report."""
_STYLES = {Outcome.OK: "good", Outcome.WARNING: "bad", Outcome.FAILED: "worst", Outcome.SKIPPED: ""}


def examine(case: Case, *, within: float, checks: Mapping[str, Check] = CHECKS) -> list[Finding]:
    """Return what the checks find, in their order; never raises, and takes no longer than it may.

    All run at one time, each in a thread of its own. One that has not ended when the time is over is a finding, and so
    is one that breaks; what it had found before stays.

    Args:
        case: What is looked at.
        within: Seconds for all.
        checks: Which.
    """
    deadline = time.monotonic() + within
    told: queue.SimpleQueue[tuple[str, Finding | None]] = queue.SimpleQueue()

    def run(name: str, check: Check) -> None:
        try:
            for finding in check(case):
                told.put((name, finding))
        except Exception as error:  # noqa: BLE001  # whatever broke, the others' findings are worth to be read
            said = printable(redacted(" ".join(str(error).split())))[:200]
            mend = "this is a mistake of the check: report it, with this line; all else was looked at"
            told.put((name, Finding(name, Outcome.FAILED, f"the check broke on {type(error).__name__}: {said}", mend)))
        finally:
            told.put((name, None))

    found: dict[str, list[Finding]] = {name: [] for name in checks}
    pending = set(checks)
    for name, check in checks.items():
        threading.Thread(target=run, args=(name, check), name=f"doctor:{name}", daemon=True).start()
    while pending:
        try:
            name, finding = told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if finding is None:
            pending.discard(name)
        else:
            found[name].append(finding)
    for name in pending:
        mend = "see whether the machine or its name server hangs, and try again"
        found[name].append(Finding(name, Outcome.FAILED, f"it was not done within {within:g} s", mend))
    return [finding for findings in found.values() for finding in findings]


def report_as_dict(findings: list[Finding]) -> dict[str, Any]:
    """Return the report, ready for JSON: `version`, `is_sound`, `counts` by outcome, and `findings`."""
    counts = {str(outcome): sum(finding.outcome is outcome for finding in findings) for outcome in Outcome}
    return {
        "version": __version__,
        "is_sound": not counts[Outcome.FAILED],
        "counts": counts,
        "findings": [
            {
                "check": finding.check,
                "outcome": str(finding.outcome),
                "said": printable(finding.said),
                "mend": printable(finding.mend),
            }
            for finding in findings
        ],
    }


def report_rows(findings: list[Finding]) -> list[Row]:
    """Return the report as rows: one a finding, the mend below it where something is to be done."""
    rows = []
    for finding in findings:
        rows.append(Row(finding.check, finding.said, _STYLES[finding.outcome], str(finding.outcome)))
        if finding.mend and finding.outcome is not Outcome.OK:
            rows.append(Row("", f"→ {finding.mend}"))
    counts = report_as_dict(findings)["counts"]
    rows.append(Row("", ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number), "title"))
    return rows
