"""Questions: what a person asks of CodeWorm's work, in one line each, of whatever holds its messages."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any

import pandas as pd

from codeworm_monitor.analysis.answer import Answer
from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.documents import documents
from codeworm_monitor.analysis.failures import errors
from codeworm_monitor.analysis.outages import outages
from codeworm_monitor.analysis.rates import Every, durations, success_rate, throughput, tokens
from codeworm_monitor.analysis.repos import repos
from codeworm_monitor.analysis.schedule import schedule
from codeworm_monitor.analysis.silence import Silence, silence
from codeworm_monitor.analysis.slowdown import slowdown, slowdown_of
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.conditions import Moment, moment
from codeworm_monitor.worm_files import PathText, WormFiles

__all__ = ["Frames", "Questions", "open_frames"]

By = str | Sequence[str] | None
"""One column to group by, several, or none."""
Zone = str | tzinfo | None
"""A time zone, by name or as an object; None: this machine's."""


class Questions(ABC):
    """The questions; an answer is a frame that carries which part of its stretch of time was heard (`Answer`).

    Without `since` and `until` an answer is of all that is here: of a live monitor its tables, of an archive, a history
    or a recording the whole. Each answer's columns are in the docstring of its function in `codeworm_monitor.analysis`.
    """

    @abstractmethod
    def traffic(self, since: Moment | None = None, until: Moment | None = None) -> Traffic:
        """Return the messages and gaps of a stretch of time, as frames.

        Args:
            since: A time (see `conditions.Moment`), the earliest that is wanted; None: all that is here.
            until: The first that is not; None: to the end.

        Raises:
            ValueError: A time cannot be read, or what is here was chosen by conditions and is no whole.
        """

    @property
    @abstractmethod
    def worm_files(self) -> WormFiles:
        """Where CodeWorm's own files are."""

    @property
    def cycles(self) -> Answer:
        """One row per documentation cycle, with its outcome; see `analysis.cycles.cycles`."""
        return cycles(self.traffic())

    @property
    def outages(self) -> Answer:
        """Stretches in which Ollama, git, Redis, the relay or the daemon was down or failing; see `analysis.outages.outages`."""
        return outages(self.traffic())

    @property
    def documents(self) -> Answer:
        """CodeWorm's own list of its documents, with the cycles that made them; see `analysis.documents.documents`."""
        return documents(self.traffic(), self.worm_files.database())

    def throughput(
        self,
        every: Every = "1h",
        by: By = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        zone: Zone = None,
    ) -> Answer:
        """Return cycles and documents in each stretch of time; see `analysis.rates.throughput`.

        Example:
            >>> mon.throughput(every="1d", by="repo", since="7d").plot()
        """
        return throughput(self.traffic(since, until), every=every, by=by, zone=zone)

    def success_rate(
        self,
        every: Every = None,
        by: By = None,
        *,
        confidence: float = 0.95,
        since: Moment | None = None,
        until: Moment | None = None,
        zone: Zone = None,
    ) -> Answer:
        """Return which share of the cycles ended well, with its interval; see `analysis.rates.success_rate`."""
        return success_rate(self.traffic(since, until), every=every, by=by, confidence=confidence, zone=zone)

    def durations(
        self,
        every: Every = None,
        by: By = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        zone: Zone = None,
    ) -> Answer:
        """Return how long the stages of a cycle take: median, 90th and 99th percentile; see `analysis.rates.durations`."""
        return durations(self.traffic(since, until), by=by, every=every, zone=zone)

    def tokens(
        self,
        every: Every = None,
        by: By = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        zone: Zone = None,
    ) -> Answer:
        """Return how many tokens were generated, and how fast; see `analysis.rates.tokens`."""
        return tokens(self.traffic(since, until), by=by, every=every, zone=zone)

    def schedule(
        self, *, since: Moment | None = None, until: Moment | None = None, zone: Zone = None, **bounds: Any
    ) -> Answer:
        """Return the commits of each day beside CodeWorm's own plan, and a forecast for today.

        Args:
            since: The earliest that is wanted.
            until: The first that is not.
            zone: Of the days.
            bounds: `target` and `min_gap`, see `analysis.schedule.schedule`.
        """
        return schedule(self.traffic(since, until), zone=zone, **bounds)

    def slowdown(
        self, by: str = "doc_type", *, since: Moment | None = None, until: Moment | None = None, **how: Any
    ) -> Answer:
        """Return whether generation has become slower, since when, and how sure that is.

        Args:
            by: Column whose groups are looked at each for itself: doc_type, model, repo or language.
            since: The earliest that is wanted.
            until: The first that is not.
            how: `measure` and `least`, see `analysis.slowdown.slowdown`.
        """
        return slowdown(self.traffic(since, until), by=by, **how)

    def silence(self, now: Moment | None = None) -> Silence:
        """Return whether it is quiet for too long, from the learnt gap between messages; see `analysis.silence.silence`.

        Args:
            now: The moment to judge; None: now, or of what is past its end.

        Returns:
            A `Silence`: quiet_for, typical and limit (seconds), expected_at and last_message_at (UTC), is_silent, is_learnt,
            and reason, one sentence for a person.
        """
        return silence(self.traffic(), now=now)

    def errors(
        self,
        level: str = ">=warning",
        *,
        by: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Answer:
        """Return what went wrong, alike errors together: count, first, last, an example, what came before.

        Args:
            level: As for `where`.
            by: Column to tell apart by, see `analysis.failures.errors`.
            since: The earliest that is wanted.
            until: The first that is not.
        """
        return errors(self.traffic(since, until), level=level, by=by)

    def repos(self, *, since: Moment | None = None, until: Moment | None = None) -> Answer:
        """Return the repositories with their documents, last activity, share and what is left to document.

        See `analysis.repos.repos`. Without CodeWorm's own files it knows those that were seen at work.
        """
        files = self.worm_files
        return repos(
            self.traffic(since, until),
            config=files.configuration(or_none=True),
            database=files.database(or_none=True),
        )


def _tell_columns() -> None:
    """Give each question the columns of its answer, as its function states them: that is where a person asks for help."""
    asked: tuple[Callable[..., Answer], ...] = (cycles, outages, documents, throughput, success_rate, durations, tokens)
    functions = {one.__name__: one for one in (*asked, schedule, errors, repos)}
    functions["slowdown"] = slowdown_of
    for name, function in functions.items():
        returns = (inspect.getdoc(function) or "").partition("\nReturns:\n")[2].partition("\nRaises:")[0]
        returns = returns.partition("\nExample:")[0].rstrip()
        member = Questions.__dict__[name]
        before, example, after = (inspect.getdoc(member) or "").partition("\nExample:")
        member.__doc__ = f"{before.rstrip()}\n\nReturns:\n{returns}\n{example and chr(10) + example.strip()}{after}"


_tell_columns()


class Frames(Questions):
    """Frames of messages to ask; made by `open_frames`."""

    def __init__(self, traffic: Traffic, files: WormFiles) -> None:
        self._traffic = traffic
        self._files = files

    def traffic(self, since: Moment | None = None, until: Moment | None = None) -> Traffic:
        """Return the frames, or the part of them that was received in a span of time; see `Questions.traffic`."""
        newest = 0.0 if self._traffic.until is None else self._traffic.until.timestamp()
        begin = None if since is None else moment(since, newest)
        end = None if until is None else moment(until, newest)
        return self._traffic.between(begin, end)

    @property
    def worm_files(self) -> WormFiles:
        """Where CodeWorm's own files are."""
        return self._files

    def __repr__(self) -> str:
        held = self._traffic
        counts = ", ".join(f"{len(frame):,} {name}" for name, frame in (("logs", held.logs), ("events", held.events)))
        return f"<Frames: {counts}, {len(held.stats):,} stats, {len(held.gaps):,} gaps>"


def open_frames(
    *,
    logs: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    stats: pd.DataFrame | None = None,
    gaps: pd.DataFrame | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    codeworm_db: PathText = None,
    codeworm_config: PathText = None,
) -> Frames:
    """Return frames, of whatever origin, as something that can be asked what a monitor can.

    Args:
        logs: Columns as `Monitor.logs.df`, those that there are; None: there are none.
        events: So.
        stats: So.
        gaps: As `Monitor.gaps`.
        since: Beginning of the stretch that the frames are of; None: their first message.
        until: Its end; None: their last.
        codeworm_db: CodeWorm's own database, for `documents` and `repos`; None: see `worm_files.WormFiles`.
        codeworm_config: The directory of its configuration, which holds repos.yaml; None: likewise.

    Raises:
        TypeError: One is no frame.
        ValueError: A frame has no times, or a time cannot be read.

    Example:
        >>> open_frames(logs=logs, events=events).outages
    """
    made = Traffic.of(logs=logs, events=events, stats=stats, gaps=gaps)
    if since is not None or until is not None:
        newest = 0.0 if made.until is None else made.until.timestamp()
        begin = made.since if since is None else moment(since, newest)
        end = made.until if until is None else moment(until, newest)
        made = Traffic.of(logs=logs, events=events, stats=stats, gaps=gaps, since=begin, until=end)
    return Frames(made, WormFiles(codeworm_db, codeworm_config))
