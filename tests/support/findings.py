"""Findings of the doctor, by check."""

from __future__ import annotations

import asyncio
from typing import Any

from codeworm_monitor.doctor.asking import Whereabouts
from codeworm_monitor.doctor.case import Case, Check, Finding, Outcome

NOWHERE = "ws://127.0.0.1:1/ws"


def case_of(url: str = NOWHERE, *, token: str | None = None, is_announced: bool = False, **options: Any) -> Case:
    """Return a case about the relay at a URL."""
    options = {"listen": 0.3, "step": 2.0, **options}
    return Case(place=Whereabouts(url, token, is_announced=is_announced), **options)


async def findings(check: Check, case: Case) -> dict[str, Finding]:
    """Run one check as the doctor does, in a thread, and return what it found, by what was looked at."""

    def run() -> dict[str, Finding]:
        return {finding.check: finding for finding in check(case)}

    return await asyncio.to_thread(run)


def outcomes(found: dict[str, Finding]) -> dict[str, Outcome]:
    """Return the outcomes by check."""
    return {name: finding.outcome for name, finding in found.items()}
