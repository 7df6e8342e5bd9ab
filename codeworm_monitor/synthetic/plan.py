"""Plans: what synthetic days are like, and what befalls the daemon in them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

__all__ = ["Episode", "Plan", "Trouble"]


class Trouble(StrEnum):
    """What an episode is; in brackets what `how` may say, the first of them by default."""

    OLLAMA_DOWN = "ollama_down"
    """Ollama is away: cycles wait for it, the generation under way breaks off."""
    LLM_ERRORS = "llm_errors"
    """Generations fail (oom, notfound, nonsense, silence: no answer, until the daemon gives up after half an hour)."""
    SLOW = "slow"
    """Generations take `by` times as long."""
    COMMIT_BROKEN = "commit_broken"
    """The commit fails."""
    PUSH_BROKEN = "push_broken"
    """The push fails (fatal, rejected, refused: three tries, half a minute)."""
    DATABASE_LOCKED = "database_locked"
    """CodeWorm's database is locked by another program."""
    EXHAUSTED = "exhausted"
    """There is nothing left to document."""
    STOP = "stop"
    """A clean stop (SIGTERM, SIGINT), and a start when the episode ends; `late`: the cycle under way ends after it."""
    KILL = "kill"
    """kill -9, and a start when the episode ends."""
    HANG = "hang"
    """The daemon stands still (resumed, killed), and goes on, or is killed and started again, when the episode ends."""
    RELOAD = "reload"
    """SIGHUP."""
    RUN_ONCE = "run_once"
    """A one-shot run beside the daemon (commit, dry_run)."""
    CLOCK_STEP = "clock_step"
    """The publisher's clock is set by `by` seconds."""
    RATE = "rate"
    """There are `by` times as many cycles; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Something that befalls the daemon, or what it works with.

    Attributes:
        what: Which kind of trouble.
        at: When it begins, seconds after the plan's start.
        lasts: Seconds; infinite: to the end.
        how: Variant; see `Trouble`.
        by: Factor or seconds; see `Trouble`.
        then: Mode of the daemon that is started afterwards: normal, dry_run or debug.
        late: Of a stop: the cycle under way ends after `daemon_stopped` instead of being cut off.
    """

    what: Trouble
    at: float
    lasts: float = 0.0
    how: str = ""
    by: float = 1.0
    then: str = "normal"
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a stretch of synthetic traffic is like. The same plan gives the same messages.

    Attributes:
        seed: Of all that is left to chance.
        starts_at: When the daemon is started, aware.
        lasts: Length of the stretch, seconds.
        zone: Zone of the daemon's host, in which events and stats are written.
        cycles_per_day: On average, where no episode changes it.
        min_gap: Least time between two scheduled cycles, seconds.
        quiet_hours: Hours of the local day in which nothing is scheduled.
        find_s: Typical time of the search for a target.
        generate_s: Typical time of a generation.
        failures: Share of the cycles that fail for no reason an episode gives.
        retries: Chance that a cycle takes up the target at which the one before failed.
        skips: Share of the cycles that find nothing to document.
        mode: Of the first run: normal, dry_run or debug.
        has_remote: Whether commits are pushed.
        skew: Publisher's clock less the true time, seconds.
        stop_timeout: How long after a stop signal the daemon is killed if it lives on, seconds; infinite: never.
        model: Name of the model.
        episodes: What befalls it.
    """

    seed: int = 0
    starts_at: datetime = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
    lasts: float = 86_400.0
    # The daemon's habits
    zone: str = "America/New_York"
    cycles_per_day: float = 132.0
    min_gap: float = 300.0
    quiet_hours: tuple[int, ...] = ()
    find_s: float = 1.5
    generate_s: float = 20.0
    failures: float = 0.02
    retries: float = 0.5
    skips: float = 0.01
    # Its settings
    mode: str = "normal"
    has_remote: bool = True
    skew: float = 0.0
    stop_timeout: float = 90.0
    model: str = "qwen2.5:7b"
    # What befalls it
    episodes: tuple[Episode, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.starts_at.tzinfo is None:
            raise ValueError("starts_at has no zone: write for instance datetime(2026, 3, 2, tzinfo=UTC)")
        if not 0 < self.lasts < math.inf or self.cycles_per_day <= 0:
            raise ValueError("lasts and cycles_per_day are above 0, and lasts is finite")

    @classmethod
    def drawn(cls, seed: int, *, lasts: float = 86_400.0, troubles: float | None = None, **settings: object) -> Self:
        """Draw a plan: with troubles of all kinds at random times, often close to each other.

        Args:
            seed: Of the draw, and of the plan.
            lasts: Length of the stretch, seconds.
            troubles: Episodes on average; None: one in two hours.
            settings: Attributes of the plan that are not left to chance.
        """
        draw = random.Random(f"plan {seed}")
        wanted = lasts / 7_200 if troubles is None else troubles
        episodes = [_draw_episode(draw, lasts) for _ in range(round(wanted * draw.uniform(0.5, 1.5)))]
        drawn: dict[str, object] = {
            "cycles_per_day": draw.choice((132.0, 132.0, 500.0, 5_000.0)),
            "min_gap": draw.choice((5.0, 60.0, 300.0)),
            "generate_s": draw.choice((1.0, 6.0, 20.0)),
            "failures": draw.choice((0.0, 0.02, 0.2)),
            "skips": draw.choice((0.0, 0.02, 0.1)),
            "mode": draw.choice(("normal", "normal", "normal", "dry_run", "debug")),
            "has_remote": draw.random() < 0.9,
            "skew": draw.choice((0.0, 0.0, 0.4, -40.0)),
            "stop_timeout": draw.choice((90.0, 90.0, math.inf)),
            "zone": draw.choice(("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")),
        }
        episodes.sort(key=lambda episode: episode.at)
        return cls(seed=seed, lasts=lasts, episodes=tuple(episodes), **{**drawn, **settings})  # type: ignore[arg-type]


_VARIANTS = {
    Trouble.LLM_ERRORS: ("oom", "notfound", "nonsense", "silence"),
    Trouble.PUSH_BROKEN: ("fatal", "rejected", "refused"),
    Trouble.STOP: ("SIGTERM", "SIGTERM", "SIGINT"),
    Trouble.HANG: ("resumed", "killed"),
    Trouble.RUN_ONCE: ("commit", "commit", "dry_run"),
}
_LENGTHS = {
    Trouble.STOP: (1.0, 30.0, 900.0),
    Trouble.KILL: (1.0, 30.0, 900.0),
    Trouble.HANG: (20.0, 300.0, 2_400.0),
    Trouble.RATE: (1_800.0, 7_200.0),
}


def _draw_episode(draw: random.Random, lasts: float) -> Episode:
    what = draw.choice([kind for kind in Trouble if kind is not Trouble.CLOCK_STEP])
    by = {Trouble.SLOW: (3.0, 10.0), Trouble.RATE: (0.0, 0.2, 4.0)}.get(what, (1.0,))
    return Episode(
        what=what,
        at=draw.uniform(0, lasts),
        lasts=draw.choice(_LENGTHS.get(what, (15.0, 120.0, 900.0, 4_000.0))) * draw.uniform(0.5, 1.5),
        how=draw.choice(_VARIANTS.get(what, ("",))),
        by=draw.choice(by),
        then=draw.choice(("normal", "normal", "normal", "dry_run", "debug")),
        late=draw.random() < 0.3,
    )
