"""The world of the daemon: what it works with, and in what state that is."""

from __future__ import annotations

import math
import random
from collections import deque

from codeworm_monitor.synthetic.clockwork import SECOND, Clockwork
from codeworm_monitor.synthetic.plan import Plan, Trouble
from codeworm_monitor.synthetic.publisher import Publisher
from codeworm_monitor.synthetic.texts import Target, Targets
from codeworm_monitor.synthetic.truth import Published, Sign, TrueCycle, Truth

__all__ = ["World"]


class World:
    """Time, chance, the publisher's clock, and the episodes that are under way.

    Attributes:
        plan: What is to happen.
        truth: What did.
        clockwork: Time.
        draw: Chance.
        publisher: Writes the messages.
        documents: By repository, how many there are; survives the daemon.
        recent: When each of the last seven days was made.
        under_way: The cycles that are not over, of any run.
        failed_at: The target of the cycle before, if that failed.
    """

    def __init__(self, plan: Plan, truth: Truth) -> None:
        begin = round(plan.starts_at.timestamp() * SECOND)
        self.plan, self.truth = plan, truth
        self.clockwork = Clockwork(begin)
        self.draw = random.Random(plan.seed)
        self.publisher = Publisher(plan.zone, round(plan.skew * SECOND))
        self.targets = Targets(self.draw)
        self.documents: dict[str, int] = {}
        self.recent: deque[int] = deque()
        self.under_way: list[TrueCycle] = []
        self.failed_at: Target | None = None
        self._begin = begin
        self._commits = self.draw.getrandbits(32)
        self._spans: dict[Trouble, list[tuple[int, float, str, float]]] = {}
        for one in plan.episodes:
            start = begin + round(one.at * SECOND)
            end = math.inf if math.isinf(one.lasts) else start + round(one.lasts * SECOND)
            self._spans.setdefault(one.what, []).append((start, end, one.how, one.by))

    @property
    def now(self) -> int:
        """Microseconds since 1970."""
        return self.clockwork.now

    @property
    def stamp(self) -> int:
        """So by the publisher's clock."""
        return self.clockwork.now + self.publisher.clock

    def at(self, seconds: float) -> int:
        """Return a time of the plan."""
        return self._begin + round(seconds * SECOND)

    def trouble(self, what: Trouble, since: int | None = None) -> tuple[int, float, str, float] | None:
        """Return the episode of a kind that is under way, or was at some time since then: begin, end, how, by."""
        now = self.now
        earliest = now if since is None else since
        for span in self._spans.get(what, ()):
            if span[0] <= now and span[1] > earliest:
                return span
        return None

    def next_start(self, what: Trouble, until: int) -> int | None:
        """Return when the next episode of a kind begins, if that is before a time."""
        starts = (span[0] for span in self._spans.get(what, ()) if self.now < span[0] <= until)
        return min(starts, default=None)

    def factor(self, what: Trouble) -> float:
        """Return the factor of a kind of trouble now."""
        span = self.trouble(what)
        return 1.0 if span is None else span[3]

    def sign(self, kind: str, message: Published) -> None:
        """Note that a message tells of a failure."""
        self.truth.signs.append(Sign(kind, message.stamp, message.number))

    def micros(self, typical_s: float, spread: float = 0.5) -> int:
        """Draw a length of time about a typical one, in microseconds."""
        return max(200, round(typical_s * SECOND * self.draw.lognormvariate(0, spread)))

    def commit(self) -> str:
        """Return the hash of a new commit, which no other has."""
        self._commits = (self._commits + 0x9E3779B1) % 2**32  # odd: every 32-bit number comes once
        return f"{self._commits:08x}"
