"""Health: from what a relay tells of itself and of CodeWorm, whether all is well, and if not, why and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from codeworm_monitor.moments import in_two_units
from codeworm_monitor.told import Told

__all__ = [
    "FAILED_EVENTS",
    "QUIET",
    "SUCCEEDED_EVENTS",
    "Disk",
    "Health",
    "Look",
    "Reason",
    "Verdict",
    "failures_in_a_row",
    "judge",
]

QUIET = 45 * 60.0
"""Seconds without a message, or without a commit, that are well: after as long the daemon itself raises an alarm."""
LATE = 5 * 60.0
"""Seconds by which what was announced may be late."""
FURTHEST = 86_400.0
"""Seconds: what is announced for later than this is not believed."""
FAILURES = 3
"""Failures in a row from which on it is no chance."""
LOOP_LAG = 1.0
"""Seconds by which the relay's event loop may be late."""
WAITING = 20_000
"""Entries that may wait for the archive, which writes some hundred thousand a second."""
LEAST_FREE, LEAST_SHARE = 2**30, 0.02
"""Bytes, and share, of the disk that should be free."""

FAILED_EVENTS = frozenset({"documentation_failed", "llm_error"})
SUCCEEDED_EVENTS = frozenset({"documentation_committed", "dry_run_complete"})


class Verdict(StrEnum):
    """How it is, on the whole."""

    HEALTHY = "healthy"
    """CodeWorm is heard, and works."""
    DEGRADED = "degraded"
    """Something needs a look, but nothing is lost, or not all."""
    DOWN = "down"
    """CodeWorm does not work, or is not heard."""

    @property
    def rank(self) -> int:
        """0, 1 or 2: the worse the higher, as the exit statuses of monitoring plugins have it."""
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why it is not well.

    Attributes:
        verdict: How bad that is.
        about: What it concerns: relay, upstream, codeworm, ollama, archive, disk.
        what: What is wrong, in one line.
        mend: What to do, in one line.
    """

    verdict: Verdict
    about: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Disk:
    """Room on the disk that holds the archive.

    Attributes:
        free: Bytes that this user may still write.
        total: Bytes of the disk.
    """

    free: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a relay at one moment.

    Attributes:
        at: When, Unix seconds by this machine's clock.
        url: Where it was looked for.
        problem: Why nothing answered there; None: a relay did.
        is_ready: What `/readyz` said; None: it was not asked, or said neither.
        ready_text: Its first line.
        refusal: Why `/info` could not be had from a relay that answers; empty: it could.
        info: What `/info` answered, decoded; None: it could not be had.
        failures: Failed cycles since the newest document; None: not known.
        disk: Of the archive, if it is on this machine; None: not known.
        is_replay: Whether the relay serves the past, in which there is no silence.
    """

    at: float
    url: str
    problem: str | None = None
    is_ready: bool | None = None
    ready_text: str = ""
    refusal: str = ""
    info: Any = None
    failures: int | None = None
    disk: Disk | None = None
    is_replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The verdict.

    Attributes:
        verdict: The worst of the reasons; healthy without any.
        reasons: The worst first.
        look: What it rests on.
        silence: Seconds since the newest message, or since the relay began to hear if that was later; None: not known.
    """

    verdict: Verdict
    reasons: list[Reason] = field(default_factory=list)
    look: Look
    silence: float | None = None


def judge(look: Look, *, quiet: float = QUIET) -> Health:
    """Return the verdict on what was seen, whatever form that has.

    Args:
        look: What was seen.
        quiet: Seconds without a message, or without a commit, that are well; twice as long without a message is down.
    """
    told = Told(look.info)
    silence = None if look.is_replay else _silence(told, look.at)
    found = list(_reasons(look, told, silence, quiet))
    found.sort(key=lambda reason: -reason.verdict.rank)
    return Health(verdict=found[0].verdict if found else Verdict.HEALTHY, reasons=found, look=look, silence=silence)


def failures_in_a_row(entries: Iterable[object]) -> int:
    """Return how many cycles failed since the newest document.

    Args:
        entries: Of `/history` of the logs, the newest first, as they came.
    """
    failures = 0
    for entry in entries:
        match entry:
            case {"data": {"event": str(event)}} if event in FAILED_EVENTS:
                failures += 1
            case {"data": {"event": str(event)}} if event in SUCCEEDED_EVENTS:
                break
    return failures


def _silence(told: Told, now: float) -> float | None:
    heard = told.time("statistics", "last_message_at") or told.time("snapshot", "last_message_at")
    # While it was not listening, silence says nothing.
    since = told.time("statistics", "upstream_since") if told.flag("statistics", "is_connected") else None
    known = [time for time in (heard, since) if time is not None]
    return max(0.0, now - max(known)) if known else None


def _reasons(look: Look, told: Told, silence: float | None, quiet: float) -> Iterator[Reason]:
    if look.problem is not None:
        yield Reason(
            Verdict.DOWN,
            "relay",
            f"no relay answers at {look.url}: {look.problem}",
            "start it (python -m codeworm_monitor), or name another with --url",
        )
        return
    if look.info is None:
        yield from _seen_from_outside(look)
        return
    is_heard = told.flag("statistics", "is_connected")
    if is_heard is None:
        yield Reason(
            Verdict.DEGRADED,
            "relay",
            f"what answers at {look.url} tells nothing of its state: it is another program, or another release",
            "bring both to the same release (pip install -U codeworm-monitor) and restart the relay",
        )
        return
    if not is_heard:
        reason = told.text("statistics", "upstream_reason") or "it has not subscribed yet"
        upstream = told.text("statistics", "upstream") or "Redis"
        yield Reason(
            Verdict.DOWN,
            "upstream",
            f"the relay does not hear {upstream}{_for(told.time('statistics', 'upstream_since'), look.at)}: {reason}",
            "`python -m codeworm_monitor doctor` says what is in the way; the relay returns by itself once it is mended",
        )
    elif told.text("statistics", "probe_state") == "unsent":
        yield Reason(
            Verdict.DEGRADED,
            "upstream",
            told.text("statistics", "probe_reason") or "no probe can be published",
            "`python -m codeworm_monitor doctor` says what is in the way",
        )
    yield from _of_codeworm(look, told, silence if is_heard else None, quiet)
    yield from _of_ollama(look, told)
    yield from _of_keeping(look, told)


def _seen_from_outside(look: Look) -> Iterator[Reason]:
    if look.is_ready is False:
        yield Reason(
            Verdict.DOWN,
            "upstream",
            f"the relay does not hear Redis: {look.ready_text.removeprefix('deaf: ') or 'it says not why'}",
            "`python -m codeworm_monitor doctor` says what is in the way",
        )
    yield Reason(
        Verdict.DEGRADED,
        "relay",
        f"the relay at {look.url} does not tell its state: {look.refusal or 'no reason is known'}",
        "give its token in --token or CODEWORM_MONITOR_TOKEN, or run this as the user who runs the relay",
    )


def _of_codeworm(look: Look, told: Told, silence: float | None, quiet: float) -> Iterator[Reason]:
    now = look.at
    stage = told.text("snapshot", "stage")
    since = told.time("snapshot", "since")
    error = _error(told)
    if stage == "stopped":
        yield Reason(
            Verdict.DOWN, "codeworm", f"CodeWorm said that it stopped{_ago(since, now)}", "start CodeWorm again"
        )
        return
    too_quiet = silence is not None and silence > quiet and not _is_announced(told, now)
    if too_quiet and silence is not None:
        upstream = told.text("statistics", "upstream") or "the relay's Redis"
        yield Reason(
            Verdict.DOWN if silence > 2 * quiet else Verdict.DEGRADED,
            "codeworm",
            f"nothing was heard from CodeWorm for {in_two_units(silence)}",
            f"see whether CodeWorm runs and hangs (its log), and whether it publishes to {upstream} "
            "(its compose file has port 26849)",
        )
    if stage == "waiting":
        yield Reason(
            Verdict.DEGRADED,
            "codeworm",
            f"CodeWorm waits for Ollama{_for(since, now)}",
            "start Ollama (ollama serve); `python -m codeworm_monitor doctor` looks at it",
        )
    elif stage == "backing_off":
        yield Reason(
            Verdict.DEGRADED,
            "codeworm",
            f"CodeWorm pauses after repeated failures{error}",
            "`python -m codeworm_monitor history --since 2h --level error` shows them",
        )
    if look.failures is not None and look.failures >= FAILURES and stage != "backing_off":
        yield Reason(
            Verdict.DEGRADED,
            "codeworm",
            f"{look.failures} cycles failed in a row{error}",
            "`python -m codeworm_monitor history --since 2h --level error` shows them",
        )
    committed = told.time("snapshot", "last_commit", "at")
    is_due = not too_quiet and silence is not None and not _is_announced(told, now)
    if committed is not None and is_due and now - committed > quiet:
        yield Reason(
            Verdict.DEGRADED,
            "codeworm",
            f"no document was committed for {in_two_units(now - committed)}",
            "`python -m codeworm_monitor history --since 2h` shows what it does instead",
        )
    failed_at = told.time("snapshot", "last_error", "at")
    if told.text("snapshot", "last_error", "event") == "push_failed" and failed_at and failed_at >= (committed or 0):
        yield Reason(
            Verdict.DEGRADED,
            "codeworm",
            f"the newest document could not be pushed{error}",
            "run `git push` by hand where CodeWorm commits: it says what the remote wants",
        )


def _of_ollama(look: Look, told: Told) -> Iterator[Reason]:
    """Yield that Ollama is away, if the relay looks at it (`--ollama`)."""
    ollama = told.object("ollama")
    if ollama is not None and ollama.flag("is_reachable") is False:
        yield Reason(
            Verdict.DEGRADED,
            "ollama",
            f"Ollama at {ollama.text('url') or 'its URL'} is not reached{_for(ollama.time('since'), look.at)}: "
            f"{ollama.text('reason') or 'no reason is known'}",
            "start it (ollama serve, or systemctl start ollama), or give the relay its right place with --ollama",
        )


def _of_keeping(look: Look, told: Told) -> Iterator[Reason]:
    archive = told.object("statistics", "archive")
    if archive is not None and archive.flag("is_writing") is False:
        directory = archive.text("directory") or "its directory"
        yield Reason(
            Verdict.DEGRADED,
            "archive",
            f"nothing is kept{_for(archive.time('since'), look.at)}: {archive.text('reason') or 'no reason is known'}",
            f"make room on the disk of {directory} and let this user write there: writing goes on by itself",
        )
    elif archive is not None and (waiting := archive.count("waiting") or 0) > WAITING:
        yield Reason(
            Verdict.DEGRADED,
            "archive",
            f"{waiting:,} messages are not on disk yet",
            "see what else keeps the disk busy (iostat -x 5), or give the archive another with --archive",
        )
    disk = look.disk
    if disk is not None and disk.total > 0 and (disk.free < LEAST_FREE or disk.free < LEAST_SHARE * disk.total):
        yield Reason(
            Verdict.DEGRADED,
            "disk",
            f"the archive's disk has {disk.free / 2**20:,.0f} MiB left ({disk.free / disk.total:.1%})",
            "make room, or have the relay keep less (--archive-bytes, --archive-days)",
        )
    lag = told.number("statistics", "loop_lag")
    if lag is not None and lag > LOOP_LAG:
        yield Reason(
            Verdict.DEGRADED,
            "relay",
            f"the relay's event loop is {lag:.1f} s late: its machine is too busy, or it was suspended",
            "give the relay a share of the processor (nice, CPUWeight=)",
        )


def _is_announced(told: Told, now: float) -> bool:
    """Tell whether the next cycle was announced for a time that has not passed, or only just."""
    starts_at = told.time("snapshot", "next_cycle_at")
    return starts_at is not None and now <= starts_at + LATE and starts_at <= now + FURTHEST


def _error(told: Told) -> str:
    text = told.text("snapshot", "last_error", "error") or told.text("snapshot", "last_error", "event")
    return f": {text}" if text else ""


def _for(since: float | None, now: float) -> str:
    return "" if since is None or now - since < 1 else f" for {in_two_units(now - since)}"


def _ago(since: float | None, now: float) -> str:
    return "" if since is None or now - since < 1 else f" {in_two_units(now - since)} ago"
