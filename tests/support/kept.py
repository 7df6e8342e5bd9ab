"""A hub whose log is kept on disk, in the test's own loop, and what is then found there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from codeworm_monitor.archive.reader import ArchiveReader
from codeworm_monitor.archive.rows import entry_of
from codeworm_monitor.archive.writer import ArchiveWriter, Opening
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.envelope import Entry
from codeworm_monitor.hub import Hub
from codeworm_monitor.sources import Message

LOGS = "codeworm:logs"


class Kept:
    """A hub whose log is kept.

    Attributes:
        hub: The log.
        archive: What keeps it.
        opening: What the archive said of the run before.
        notes: Events that the writer told of.
    """

    def __init__(self, hub: Hub, archive: ArchiveWriter, opening: Opening, notes: list[str]) -> None:
        self.hub, self.archive, self.opening, self.notes = hub, archive, opening, notes

    def publish(self, *payloads: bytes, channel: str = LOGS, at: float | None = None) -> None:
        """Number payloads, one second after the other unless a time is given."""
        head = self.hub.head
        self.hub.receive([Message(channel, payload, 1000.0 + head if at is None else at) for payload in payloads])


@contextlib.asynccontextmanager
async def kept(directory: Path, *, entries: int = 200_000) -> AsyncIterator[Kept]:
    """Yield a hub that goes on where the archive ends, as a relay's does."""
    hub, notes = Hub(backlog=Backlog(max_entries=entries)), list[str]()
    archive = ArchiveWriter(directory, note=lambda event, **_: notes.append(event))
    opening = await archive.open(hub.epoch)
    hub.take_up(opening.epoch, opening.head, opening.past)
    archive.follow(hub.backlog)
    hub.listen(archive.on_growth)
    if opening.gap is not None:
        hub.report(opening.gap)
    try:
        yield Kept(hub, archive, opening, notes)
    finally:
        await archive.aclose()


async def on_disk(directory: Path) -> list[Entry]:
    """Return all entries of an archive, numbering by numbering."""

    def read() -> list[Entry]:
        with ArchiveReader(directory) as reader:
            return [entry_of(*row[1:]) for key in reader.epochs() for row in reader.after(key, 0, limit=1_000_000)]

    return await asyncio.to_thread(read)
