"""Checks of clocks: this machine's, the relay's and the publisher's, by which all times in the tables are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from statistics import median

from codeworm_monitor.doctor.case import Case, Finding, Outcome
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.moments import in_two_units
from codeworm_monitor.told import Told

__all__ = ["check_clock"]

NOTED, WRONG = 2.0, 60.0
"""Seconds by which clocks may differ; by which they may at most."""
_RECENT = 50
_OLD = 3600.0
"""Seconds by which recorded traffic lags at least, when it is played."""
_SET = "set the clock of the machine that is wrong: timedatectl set-ntp true (then: timedatectl status)"


def check_clock(case: Case) -> Iterator[Finding]:
    """Compare the clocks, as far as a relay is there to tell of them."""
    if case.place.is_replay:
        yield Finding("clock.relay", Outcome.SKIPPED, "the relay serves the past, and tells the time of then")
        return
    try:
        relay = case.clock()
    except ConnectError:
        yield Finding("clock.relay", Outcome.SKIPPED, "no relay tells its time")
        return
    yield _judged("clock.relay", "the relay's clock", "this machine's", relay.ahead, relay.unsure)
    entries = case.recent(channel="logs", reverse="true", limit=_RECENT, since="2d")
    apart = [seconds for entry in entries if (seconds := _apart(entry)) is not None]
    if not apart:
        yield Finding("clock.publisher", Outcome.SKIPPED, "no log line of the last two days tells CodeWorm's time")
        return
    found = _judged("clock.publisher", "CodeWorm's clock", "the relay's", median(apart), 0.0)
    if median(apart) < -_OLD:
        found = replace(found, said=f"{found.said}, unless what comes is recorded traffic, as of `demo`")
    yield found


def _judged(check: str, one: str, other: str, ahead: float, unsure: float) -> Finding:
    apart = max(0.0, abs(ahead) - unsure)
    if apart < NOTED:
        return Finding(check, Outcome.OK, f"{one} agrees with {other}, within {max(apart, unsure, 0.01):.2f} s")
    said = f"{one} is {in_two_units(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} {other}"
    return Finding(check, Outcome.FAILED if apart >= WRONG else Outcome.WARNING, said, _SET)


def _apart(entry: Told) -> float | None:
    """Return the seconds by which a log line's own time is later than that of its receipt."""
    received, text = entry.time("received_at"), entry.text("data", "timestamp")
    if received is None or text is None or len(text) > 40:
        return None
    try:
        said = datetime.fromisoformat(text)
        # Without a zone it is local time of a machine that is not known here.
        return None if said.tzinfo is None else said.timestamp() - received
    except (ValueError, OverflowError):
        return None
