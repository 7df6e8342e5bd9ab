"""Truth: what really happened in synthetic days, told beside the messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Published", "Sign", "Step", "TrueCycle", "TrueOutage", "TrueRun", "Truth"]


class Published(NamedTuple):
    """A message as the daemon publishes it.

    Attributes:
        number: Its number, from 0.
        at: When it was published, microseconds since 1970.
        stamp: The time that is written in it, in UTC: `at` by the publisher's clock.
        channel: Where.
        payload: Its text.
        name: Kind of the channel and name of the message, such as `logs/cycle_starting`.
    """

    number: int
    at: int
    stamp: int
    channel: str
    payload: bytes
    name: str


class Step(NamedTuple):
    """A message of a cycle: its name, the time written in it, and its number among all that were published."""

    name: str
    stamp: int
    number: int


@dataclass(slots=True, kw_only=True)
class TrueCycle:
    """One documentation cycle; times are microseconds since 1970 by the publisher's clock, as its messages have them.

    Attributes:
        run: Number of the daemon's run, from 1; None for a one-shot run.
        cycle_num: Its number in the run; None for a one-shot run.
        scheduled_at: What was announced for it; None if nothing was.
        started_at: When it started.
        ended_at: When its last message was written; None while it runs.
        target: What was documented; None if it did not come so far. So are the next three.
        repo: Its repository.
        language: Of the target; None for a one-shot run.
        doc_type: None for a one-shot run.
        wait_us: How long it waited for Ollama.
        time_ms: How long the generation took, as told.
        tokens: Generated.
        commit: Hash of the commit.
        commit_message: None for a one-shot run, which does not tell it.
        pushed: Whether the push succeeded; None if there was none.
        outcome: As in `analysis.cycles`.
        error: What went wrong, as told.
        model: Of the run.
        is_overlapped: Whether another cycle of its run went on at some time of it: the daemon does not wait for one that
            takes over half an hour.
        is_beside: Whether a cycle of another process did: a one-shot run, or the daemon beside one.
        has_step: Whether the publisher's clock was set within it.
        steps: Its messages, in order; an announcement of the next cycle counts to the one before.
    """

    run: int | None
    cycle_num: int | None
    scheduled_at: int | None
    started_at: int
    ended_at: int | None = None
    target: str | None = None
    repo: str | None = None
    language: str | None = None
    doc_type: str | None = None
    wait_us: int = 0
    time_ms: int | None = None
    tokens: int | None = None
    commit: str | None = None
    commit_message: str | None = None
    pushed: bool | None = None
    outcome: str = "running"
    error: str | None = None
    model: str | None = None
    is_overlapped: bool = False
    is_beside: bool = False
    has_step: bool = False
    steps: list[Step] = field(default_factory=list)

    def stamp(self, name: str) -> int | None:
        """Return the time written in the first of its messages of that name, such as `events/analyzing`."""
        return next((step.stamp for step in self.steps if step.name == name), None)


@dataclass(slots=True, kw_only=True)
class TrueRun:
    """One run of the daemon.

    Attributes:
        number: From 1.
        started_at: Of its first message, by the publisher's clock.
        ended_at: When it stopped or was killed, so; None: it goes on.
        end: `stopped`, `aborted` (while it waited for Ollama at its start), `killed`, or `running`.
    """

    number: int
    started_at: int
    ended_at: int | None = None
    end: str = "running"


@dataclass(slots=True, kw_only=True)
class TrueOutage:
    """A stretch in which something was down or failing.

    Attributes:
        kind: As in `analysis.outages`.
        started_at: When it began, microseconds since 1970 by the publisher's clock.
        ended_at: When it ended; None: it lasts.
    """

    kind: str
    started_at: int
    ended_at: int | None


class Sign(NamedTuple):
    """A message that tells of a failure.

    Attributes:
        kind: What failed, as in `analysis.outages`.
        stamp: The time written in it.
        number: Of the message.
    """

    kind: str
    stamp: int
    number: int


@dataclass(slots=True)
class Truth:
    """All that happened; complete when the last message has been published."""

    cycles: list[TrueCycle] = field(default_factory=list)
    runs: list[TrueRun] = field(default_factory=list)
    outages: list[TrueOutage] = field(default_factory=list)
    signs: list[Sign] = field(default_factory=list)
