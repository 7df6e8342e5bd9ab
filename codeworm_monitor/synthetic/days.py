"""Synthetic days: what a plan and its faults give, as messages, as a recording, and as frames."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import orjson

from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.records import Kind, kind_of
from codeworm_monitor.synthetic.daemon import Publishing
from codeworm_monitor.synthetic.plan import Plan
from codeworm_monitor.synthetic.transport import Faults, Heard, heard
from codeworm_monitor.synthetic.truth import Published, Truth

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Days", "frames_of", "write_recording"]


@dataclass(frozen=True, slots=True)
class Days:
    """A stretch of synthetic traffic, whole in memory.

    Attributes:
        plan: What was to happen.
        faults: What went wrong on the way.
        truth: What happened.
        published: All messages as they were published.
        heard: Those that a relay heard, and its own.
        gaps: What the relay says that it may have missed, each with its epoch.
    """

    plan: Plan
    faults: Faults
    truth: Truth
    published: list[Published]
    heard: list[Heard]
    gaps: list[tuple[str, Gap]]

    @classmethod
    def of(cls, plan: Plan, faults: Faults | None = None) -> Self:
        """Make the days of a plan.

        Args:
            plan: What is to happen.
            faults: What goes wrong on the way to the relay; None: nothing.
        """
        publishing = Publishing(plan)
        published = list(publishing)
        messages: list[Heard] = []
        gaps: list[tuple[str, Gap]] = []
        for one in heard(published, faults):
            if isinstance(one, Heard):
                messages.append(one)
            else:
                gaps.append(one)
        return cls(plan, faults or Faults(), publishing.truth, published, messages, gaps)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Return `logs`, `events`, `stats` and `gaps` as a monitor has them (needs the extra `notebook`)."""
        return frames_of([*self.heard, *self.gaps])

    def write(self, path: str | os.PathLike[str]) -> int:
        """Write what was heard as a recording; see `write_recording`."""
        return write_recording(path, self.heard)


def write_recording(path: str | os.PathLike[str], messages: Iterable[Heard | tuple[str, Gap]]) -> int:
    """Write messages as a recording, JSON Lines as `sources.recording` reads them; return how many.

    What the relay itself says, gaps included, is left out, as a recording is made without one.

    Args:
        path: The file; compressed if its name ends in `.gz`.
        messages: As `transport.heard` yields them.
    """
    count = 0
    with gzip.open(path, "wb", 6) if Path(path).suffix == ".gz" else Path(path).open("wb") as file:
        for message in messages:
            if isinstance(message, Heard) and message.channel != RELAY_CHANNEL:
                line = {"t": message.received_at, "channel": message.channel, "payload": message.payload.decode()}
                file.write(orjson.dumps(line) + b"\n")
                count += 1
    return count


def frames_of(messages: Iterable[Heard | tuple[str, Gap]]) -> dict[str, pd.DataFrame]:
    """Return messages and gaps as frames, by kind and `gaps`; columns as `columns.LAYOUTS` and `columns.GAP_LAYOUT`.

    Args:
        messages: As `transport.heard` yields them, of any number; they are read as they come.
    """
    from codeworm_monitor.rows import RowReader  # pyarrow and pandas, only for who wants frames
    from codeworm_monitor.tables import gap_table, message_table

    reader = RowReader()
    tables = {kind: message_table(kind, capacity=100_000_000) for kind in Kind}
    gaps = gap_table(capacity=1_000_000)
    for message in messages:
        if isinstance(message, Heard):
            offset, received_at, channel, payload, epoch, _ = message
            envelope = Envelope(offset, received_at, channel, b"")
            tables[kind_of(channel)].append([reader.read(epoch, envelope, orjson.loads(payload))])
        else:
            gaps.append([message])
    return {str(kind): table.df for kind, table in tables.items()} | {"gaps": gaps.df}
